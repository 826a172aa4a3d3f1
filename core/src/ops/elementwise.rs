//! Ops that work entry by entry: sum, product, a scale and offset per channel, and tables.

use alloc::vec::Vec;

use crate::circuit::{Builder, Checked, ColumnId, Form, Shape, Value};
use crate::program::{ConstantId, Requantize, TableId, TensorId};

/// The operands have the shape of the result.
fn same_shape(b: &Builder<'_>, operands: &[TensorId], y: TensorId) -> Checked<()> {
    let result = b.tensor(y)?;
    for &id in operands {
        let tensor = b.tensor(id)?;
        if (tensor.rows, tensor.cols) != (result.rows, result.cols) {
            return Err(b.refuse("operands must have the same shape"));
        }
    }
    Ok(())
}

/// Declares a result in the blocks of the operand.
pub(super) fn alike(b: &mut Builder<'_>, x: TensorId, y: TensorId) -> Checked<Vec<(u32, ColumnId)>> {
    let layout = b.layout(x)?;
    b.produce_blocks(y, layout)
}

/// The same with two operands, which must lie alike.
fn both_alike(
    b: &mut Builder<'_>,
    (p, q): (TensorId, TensorId),
    y: TensorId,
) -> Checked<Vec<(u32, ColumnId)>> {
    if b.layout(p)? != b.layout(q)? {
        return Err(b.refuse("operands lie in different blocks"));
    }
    alike(b, p, y)
}

/// `y = requantize(2^i p + 2^j q)`: linear, so it costs no sumcheck.
pub(super) fn add(
    b: &mut Builder<'_>,
    (p, i): (TensorId, u8),
    (q, j): (TensorId, u8),
    requantize: Requantize,
    y: TensorId,
) -> Checked<()> {
    same_shape(b, &[p, q], y)?;
    if i > 30 || j > 30 {
        return Err(b.refuse("alignment shift above 30"));
    }
    let (left, right) = (b.blocks(p)?, b.blocks(q)?);
    let out = both_alike(b, (p, q), y)?;
    for (((_, left), (_, right)), (_, out)) in left.into_iter().zip(right).zip(out) {
        let form = Form::default().plus(1 << i, left).plus(1 << j, right);
        b.requantize(b.shape(out), form.into(), requantize, out)?;
    }
    Ok(())
}

/// `y = requantize(p q)`.
pub(super) fn mul(
    b: &mut Builder<'_>,
    p: TensorId,
    q: TensorId,
    requantize: Requantize,
    y: TensorId,
) -> Checked<()> {
    same_shape(b, &[p, q], y)?;
    let (left, right) = (b.blocks(p)?, b.blocks(q)?);
    let out = both_alike(b, (p, q), y)?;
    for (((_, left), (_, right)), (_, out)) in left.into_iter().zip(right).zip(out) {
        let shape = b.shape(out);
        let product = b.entrywise(1, shape, left.into(), right.into());
        b.requantize(shape, Value { products: [product].into(), ..Value::default() }, requantize, out)?;
    }
    Ok(())
}

/// `y = requantize(x scale + offset)`, `scale` and `offset` repeated over the rows.
pub(super) fn affine(
    b: &mut Builder<'_>,
    x: TensorId,
    scale: ConstantId,
    offset: ConstantId,
    requantize: Requantize,
    y: TensorId,
) -> Checked<()> {
    same_shape(b, &[x], y)?;
    let cols = b.tensor(x)?.cols;
    for id in [scale, offset] {
        let constant = b.constant(id)?;
        if (constant.rows, constant.cols) != (1, cols) {
            return Err(b.refuse("scale and offset need one entry per channel"));
        }
    }
    let input = b.blocks(x)?;
    let out = alike(b, x, y)?;
    for ((at, input), (_, out)) in input.into_iter().zip(out) {
        let shape = b.shape(out);
        scaled(b, shape, input, scale, offset, at, requantize, out)?;
    }
    Ok(())
}

/// One block of [`affine`]; LayerNorm ends with it too.
#[allow(clippy::too_many_arguments)]
pub(super) fn scaled(
    b: &mut Builder<'_>,
    shape: Shape,
    input: ColumnId,
    scale: ConstantId,
    offset: ConstantId,
    at: u32,
    requantize: Requantize,
    out: ColumnId,
) -> Checked<()> {
    let row = Shape { rows: 1, cols: shape.cols };
    let (scale, offset) = (b.rectangle(scale, 0, at, row)?, b.rectangle(offset, 0, at, row)?);
    let product = b.entrywise(1, shape, input.into(), scale.into());
    let value = Value { products: [product].into(), form: offset.into(), ..Value::default() };
    b.requantize(shape, value, requantize, out)
}

/// `y = table[x]`.
pub(super) fn map(b: &mut Builder<'_>, x: TensorId, table: TableId, y: TensorId) -> Checked<()> {
    same_shape(b, &[x], y)?;
    let input = b.blocks(x)?;
    let out = alike(b, x, y)?;
    for ((_, input), (_, out)) in input.into_iter().zip(out) {
        b.map(table, input, out)?;
    }
    Ok(())
}
