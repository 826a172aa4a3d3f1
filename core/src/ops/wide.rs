//! Ops on the residual sum: a wide tensor of twenty bits that many ops add to.

use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::{Builder, Checked, Form, Kind, Limbs, Product, Shape, Value, split_wide};
use crate::program::{ConstantId, TensorId};

/// The limbs of the summand for every block of the result, if there is one.
pub(super) fn bases(
    b: &Builder<'_>,
    base: Option<TensorId>,
    y: TensorId,
    blocks: usize,
) -> Checked<Vec<Option<Limbs>>> {
    let Some(base) = base else { return Ok(vec![None; blocks]) };
    let (tb, ty) = (b.tensor(base)?, b.tensor(y)?);
    if (tb.rows, tb.cols) != (ty.rows, ty.cols) {
        return Err(b.refuse("summand and result must have the same shape"));
    }
    Ok(b.wide_blocks(base)?.into_iter().map(|(_, limbs)| Some(limbs)).collect())
}

/// `y = base + floor((2^left x + half) / 2^right)`.
pub(super) fn widen(
    b: &mut Builder<'_>,
    base: Option<TensorId>,
    x: TensorId,
    (left, right): (u8, u8),
    y: TensorId,
) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    if (tx.rows, tx.cols) != (ty.rows, ty.cols) || left > 20 {
        return Err(
            b.refuse("operand and result must have the same shape, with an alignment of at most 20 bits")
        );
    }
    let input = b.blocks(x)?;
    if input.len() != split_wide(ty.cols).len() {
        return Err(b.refuse("the operand lies in other blocks than a wide tensor"));
    }
    let bases = bases(b, base, y, input.len())?;
    let outputs = b.produce_wide(y)?;
    for (((_, input), base), (_, limbs)) in input.into_iter().zip(bases).zip(outputs) {
        let form = Form::default().plus(1 << left, input);
        b.accumulate(b.shape(input), form.into(), right, base, limbs)?;
    }
    Ok(())
}

/// `y = base + floor((x W^T + bias + half) / 2^shift)`.
pub(super) fn matmul(
    b: &mut Builder<'_>,
    base: Option<TensorId>,
    x: TensorId,
    weight: ConstantId,
    bias: Option<ConstantId>,
    shift: u8,
    y: TensorId,
) -> Checked<()> {
    let (tx, ty, tw) = (b.tensor(x)?, b.tensor(y)?, b.constant(weight)?);
    if tx.rows != ty.rows || tx.cols != tw.cols || ty.cols != tw.rows {
        return Err(b.refuse("operand and result shapes do not fit"));
    }
    if let Some(bias) = bias {
        let bias = b.constant(bias)?;
        if (bias.rows, bias.cols) != (1, ty.cols) {
            return Err(b.refuse("bias needs one entry per output channel"));
        }
    }
    let inputs = b.blocks(x)?;
    let blocks = split_wide(ty.cols).len();
    let bases = bases(b, base, y, blocks)?;
    let outputs = b.produce_wide(y)?;
    for ((out_offset, limbs), base) in outputs.into_iter().zip(bases) {
        let shape = b.shape(limbs.high);
        let mut value = Value { bound: Some(tx.bound.saturating_mul(tw.row_l1)), ..Value::default() };
        for &(in_offset, input) in &inputs {
            let a_shape = b.shape(input);
            let b_shape = Shape { rows: shape.cols, cols: a_shape.cols };
            let column = b.rectangle(weight, out_offset, in_offset, b_shape)?;
            let product = Product::new(Kind::Contract, (input.into(), a_shape), (column.into(), b_shape));
            value.products.push(product);
        }
        if let Some(bias) = bias {
            let column = b.rectangle(bias, 0, out_offset, Shape { rows: 1, cols: shape.cols })?;
            value.form = value.form.plus(1, column);
        }
        b.accumulate(shape, value, shift, base, limbs)?;
    }
    Ok(())
}
