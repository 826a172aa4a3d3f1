//! Centring: `y = z - mean(z)` of every row of `z = x + offset`, exactly as follows, for a row of `C` channels.
//!
//! ```text
//! mu = floor((2 sum z + C) / 2C)           y = z - mu
//! ```
//!
//! Together with a norm and an affine map this is a LayerNorm of a wide tensor.
//!
//! * `mu` is a column with a range check, and `sum y` lies in `-floor(C/2) ..= floor((C-1)/2)`. These are `C` numbers
//!   that follow each other and `sum y = sum z - C mu`, so there is one `mu` for every row: the one above.
//! * The sum is taken over the limbs of `y`, `1024 sum high + sum low`, which stays below `2^31` for at most 4000
//!   channels.

use alloc::vec::Vec;

use super::integer::computed;
use crate::circuit::{
    Builder, Checked, ColumnId, Form, Int, Interval, Kind, Limbs, Name, Product, RowSum, Shape, Step, Value,
};
use crate::program::{ConstantId, TensorId, WIDE};

/// Largest number of channels.
const MAX_COLS: u32 = 4000;

pub(super) fn define(
    b: &mut Builder<'_>,
    x: TensorId,
    offset: Option<ConstantId>,
    y: TensorId,
) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    if (tx.rows, tx.cols) != (ty.rows, ty.cols) {
        return Err(b.refuse("operand and result must have the same shape"));
    }
    if tx.cols > MAX_COLS {
        return Err(b.refuse("centring takes at most 4000 channels"));
    }
    if let Some(offset) = offset {
        let constant = b.constant(offset)?;
        if (constant.rows, constant.cols) != (1, tx.cols) {
            return Err(b.refuse("an offset needs one entry per channel"));
        }
    }
    let mut shifted: Vec<(Form, Shape)> = Vec::new();
    for (k, (at, limbs)) in b.wide_blocks(x)?.into_iter().enumerate() {
        let shape = b.shape(limbs.high);
        // Relations hold in padding too, and there an operand far from the mean would have no difference; the copy's
        // padding repeats a real channel.
        let mut own = |name: Name<'_>, column: ColumnId| {
            if shape.cols.is_power_of_two() {
                column
            } else {
                b.copy(&format_args!("operand{k}.{name}"), column)
            }
        };
        let limbs = Limbs { high: own(&"high", limbs.high), low: own(&"low", limbs.low) };
        let mut form = limbs.form();
        if let Some(offset) = offset {
            form = form.plus(1, b.rectangle(offset, 0, at, Shape { rows: 1, cols: shape.cols })?);
        }
        shifted.push((form, shape));
    }
    let row = Shape { rows: tx.rows, cols: 1 };
    let channels = i64::from(tx.cols);
    let mean = computed(b, &"mean", row, Interval { low: -WIDE, high: WIDE - 1 }, || {
        let twice = |(form, shape): &(Form, Shape)| Product {
            coefficient: 2,
            ..Product::new(Kind::RowDot, (form.clone(), *shape), (Form::constant(1), *shape))
        };
        let products = shifted.iter().map(twice).collect();
        Int::from(Value { products, form: Form::constant(channels), ..Value::default() }).over(2 * channels)
    });
    let mut sums = Vec::new();
    for ((form, shape), (_, limbs)) in shifted.into_iter().zip(b.produce_wide(y)?) {
        let difference = form.plus_form(mean.clone().times(-1));
        b.step(|| Step::Divide {
            shape,
            value: difference.clone().into(),
            divisor: 1 << Limbs::LOW,
            quotient: limbs.high,
            remainder: Some(limbs.low),
        });
        b.relation(&"difference", shape, difference.plus_form(limbs.form().times(-1)).into());
        sums.push(RowSum { coefficient: 1 << Limbs::LOW, column: limbs.high });
        sums.push(RowSum { coefficient: 1, column: limbs.low });
    }
    let rest = Interval { low: -(channels / 2), high: (channels - 1) / 2 };
    let value = Value { sums, ..Value::default() };
    let rest = computed(b, &"rest", row, rest, || value.clone().into());
    b.relation(&"rest", row, Value { form: rest.times(-1), ..value });
    Ok(())
}
