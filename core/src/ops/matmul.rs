//! Matrix product with bias: `y = requantize(x W^T + bias)`, or `x z` of two activations.
//!
//! The accumulator stays virtual. For every block of output channels one relation says, in each cell
//! `(t, n)`, `sum_k x(t, k) w(n, k) + bias(n) + half = 2^s z + remainder`; the sum runs over the blocks of
//! input channels. Its static bound is `max |x|` times the largest L1 norm of a row of `W`.

use alloc::vec::Vec;

use crate::circuit::{Builder, Checked, ColumnId, Kind, Product, Shape, Value};
use crate::program::{ConstantId, Factor, Requantize, TensorId};

/// What a block of the result is a product with.
#[derive(Clone, Copy)]
enum Right {
    /// Rows of a constant.
    Weight(ConstantId),
    /// A block of an activation.
    Block(ColumnId),
}

pub(super) fn define(
    b: &mut Builder<'_>,
    x: TensorId,
    factor: Factor,
    bias: Option<ConstantId>,
    requantize: Requantize,
    y: TensorId,
) -> Checked<()> {
    let inputs = b.blocks(x)?;
    let outputs: Vec<(u32, ColumnId, Right)> = match factor {
        Factor::Weight(w) => {
            b.produce(y)?.into_iter().map(|(offset, output)| (offset, output, Right::Weight(w))).collect()
        }
        Factor::Tensor(z) => {
            // Before the result is declared, which must not be its own factor.
            let (rights, layout) = (b.blocks(z)?, b.layout(z)?);
            let outputs = b.produce_blocks(y, layout)?.into_iter().zip(rights);
            outputs.map(|((offset, output), (_, right))| (offset, output, Right::Block(right))).collect()
        }
    };
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    let (inner, outer) = match factor {
        Factor::Weight(w) => (b.constant(w)?.cols, b.constant(w)?.rows),
        Factor::Tensor(z) => (b.tensor(z)?.rows, b.tensor(z)?.cols),
    };
    if tx.rows != ty.rows || tx.cols != inner || ty.cols != outer {
        return Err(b.refuse("operand and result shapes do not fit"));
    }
    if let Some(bias) = bias {
        let bias = b.constant(bias)?;
        if (bias.rows, bias.cols) != (1, outer) {
            return Err(b.refuse("bias needs one entry per output channel"));
        }
    }
    if matches!(factor, Factor::Tensor(_)) && inputs.len() > 1 {
        return Err(b.refuse("a product of two activations needs an inner dimension that is one block"));
    }
    for (out_offset, output, right) in outputs {
        let shape = b.shape(output);
        let mut value = Value::default();
        for &(in_offset, input) in &inputs {
            let a_shape = b.shape(input);
            let (kind, right, b_shape) = match right {
                Right::Weight(w) => {
                    let b_shape = Shape { rows: shape.cols, cols: a_shape.cols };
                    let column = b.rectangle(w, out_offset, in_offset, b_shape)?;
                    (Kind::Contract, column, b_shape)
                }
                Right::Block(column) => (Kind::ContractTransposed, column, b.shape(column)),
            };
            value.products.push(Product::new(kind, (input.into(), a_shape), (right.into(), b_shape)));
        }
        if let Factor::Weight(w) = factor {
            value.bound = Some(tx.bound.saturating_mul(b.constant(w)?.row_l1));
        }
        if let Some(bias) = bias {
            let column = b.rectangle(bias, 0, out_offset, Shape { rows: 1, cols: shape.cols })?;
            value.form = value.form.plus(1, column);
        }
        b.requantize(shape, value, requantize, output)?;
    }
    Ok(())
}
