//! The mean of the first rows: `y(c) = floor((2 sum_{t < n} x(t, c) + n) / 2n)`.
//!
//! With `0 <= remainder < 2n` and `sum` a product of ones with the first `n` rows, `2 sum + n = 2n y + remainder`
//! has one solution in every channel. Rows from `n` on do not enter.

use super::elementwise::alike;
use crate::circuit::{Builder, Checked, Form, Interval, Kind, Product, Shape, Step, Value};
use crate::program::TensorId;

pub(super) fn define(b: &mut Builder<'_>, x: TensorId, len: u32, y: TensorId) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    if ty.rows != 1 || tx.cols != ty.cols || ty.bound < tx.bound {
        return Err(b.refuse("the result needs one row, the columns of its operand and at least its bound"));
    }
    if len == 0 || len > tx.rows || !tx.rows.is_power_of_two() {
        return Err(b.refuse("takes the mean of at least one of a power of two of rows"));
    }
    let n = i64::from(len);
    let limit = Interval::symmetric(ty.bound);
    let inputs = b.blocks(x)?;
    for ((_, input), (_, output)) in inputs.into_iter().zip(alike(b, x, y)?) {
        let shape = b.shape(output);
        let ones = (Form::constant(1), Shape { rows: 1, cols: len });
        let rows = (input.into(), Shape { rows: len, cols: shape.cols });
        let sum = Product { coefficient: 2, ..Product::new(Kind::ContractTransposed, ones, rows) };
        let mut value = Value { products: [sum].into(), form: Form::constant(n), ..Value::default() };
        b.between(shape, output.into(), limit);
        let rest = b.ranged(&"remainder", shape, Interval { low: 0, high: 2 * n - 1 });
        b.step(|| Step::Divide {
            shape,
            value: value.clone(),
            divisor: 2 * n,
            quotient: output,
            remainder: Some(rest),
        });
        value.form = value.form.plus(-2 * n, output).plus(-1, rest);
        b.relation(&"mean", shape, value);
    }
    Ok(())
}
