//! The greedy head: a public list names, for every row, the first channel at which `x W^T` is greatest.
//!
//! With `m(t)` the greatest value, `y(t)` the listed channel and `l = x W^T`, every cell `(t, n)` has
//!
//! ```text
//! m(t) - l(t, n) - [n < y(t)] = 2^15 high + low,      0 <= high, low < 2^15,
//! ```
//!
//! so no channel exceeds `m`, and those before `y` stay below it. That `m(t) = l(t, y(t))` is a pick: both limbs
//! vanish at `(t, y(t))`. The values themselves stay virtual.

use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::{
    Builder, Checked, Form, Indicator, Interval, Kind, Pick, Product, Shape, Step, Value, split,
};
use crate::program::{ConstantId, ListId, TensorId};

/// Bits of a limb of the differences and of the maximum.
const LIMB: u32 = 15;

pub(super) fn define(b: &mut Builder<'_>, x: TensorId, weight: ConstantId, list: ListId) -> Checked<()> {
    let (tx, tw, declared) = (b.tensor(x)?, b.constant(weight)?, b.list(list)?);
    if tx.cols != tw.cols {
        return Err(b.refuse("operand and weight do not fit"));
    }
    if declared.len != tx.rows || declared.limit > tw.rows {
        return Err(b.refuse("the list needs one entry per row, each a channel of the result"));
    }
    let bound = tx.bound.saturating_mul(tw.row_l1);
    // In padding channels `l` is zero and `m` may be negative: there `2^log` is added to the difference.
    let padded = split(tw.rows).iter().any(|(_, rows)| !rows.is_power_of_two());
    let log = if padded { 28 } else { 29 };
    if bound > (1 << log) - 2 {
        return Err(b.refuse("values may be too large to compare; use fewer bits for the head's weights"));
    }
    let row = Shape { rows: tx.rows, cols: 1 };
    let inputs = b.blocks(x)?;
    let mut logits: Vec<(u32, Shape, Value)> = Vec::new();
    for (first, rows) in split(tw.rows) {
        let mut value = Value { bound: Some(bound), ..Value::default() };
        for &(offset, input) in &inputs {
            let a_shape = b.shape(input);
            let b_shape = Shape { rows, cols: a_shape.cols };
            let column = b.rectangle(weight, first, offset, b_shape)?;
            value.products.push(Product::new(
                Kind::Contract,
                (input.into(), a_shape),
                (column.into(), b_shape),
            ));
        }
        logits.push((first, Shape { rows: tx.rows, cols: rows }, value));
    }

    let limb = Interval::bits(LIMB);
    let high = b.ranged(&"maximum.high", row, Interval::bits(log + 1 - LIMB));
    let low = b.ranged(&"maximum.low", row, limb);
    let offset = 1i64 << log;
    let maximum = Form::from(low).plus(1 << LIMB, high).plus_constant(-offset);
    let index = list.0 as usize;
    b.step(|| Step::Best { blocks: logits.clone(), list: index, high, low, bits: LIMB, offset });

    let mut picked = Vec::new();
    for (first, shape, mut value) in logits {
        for product in &mut value.products {
            product.coefficient = -1;
        }
        value.form = maximum.clone().plus_indicator(-1, Indicator::Below { list: index, first });
        if !shape.cols.is_power_of_two() {
            value.form = value.form.plus_indicator(offset, Indicator::Beyond { cols: shape.cols });
        }
        let name = core::fmt::from_fn(|f| write!(f, "difference{first}"));
        let high = b.ranged(&format_args!("{name}.high"), shape, limb);
        let low = b.ranged(&format_args!("{name}.low"), shape, limb);
        b.step(|| Step::Divide {
            shape,
            value: value.clone(),
            divisor: 1 << LIMB,
            quotient: high,
            remainder: Some(low),
        });
        value.form = value.form.plus(-(1 << LIMB), high).plus(-1, low);
        b.relation(&name, shape, value);
        picked.push((first, vec![(1, low), (1 << LIMB, high)]));
    }
    b.pick(Pick { blocks: picked, list: index, rows: tx.rows });
    Ok(())
}
