//! Integers of a row that need several columns, and exact division of a constant.

use alloc::vec::Vec;

use crate::circuit::{Builder, Form, Int, Interval, Name, Shape, Value};

/// Bits of a lower limb.
const LIMB: u32 = 11;

/// A column whose values a step computes and a range check bounds.
pub fn computed(
    b: &mut Builder<'_>,
    name: Name<'_>,
    shape: Shape,
    bound: Interval,
    value: impl FnOnce() -> Int,
) -> Form {
    let column = b.ranged(name, shape, bound);
    b.step(|| crate::circuit::Step::Set { shape, value: value(), column });
    column.into()
}

/// An integer of `low .. low + 2^bits` as range-checked limbs.
pub fn limbs(
    b: &mut Builder<'_>,
    name: Name<'_>,
    shape: Shape,
    low: i64,
    bits: u32,
    value: impl Fn() -> Int,
) -> Form {
    let names = ["low", "high", "top"];
    // What the limbs below the `k`-th leave.
    let rest = |k: usize| (0..k).fold(value().minus(low), |rest, _| rest.over(1 << LIMB));
    let mut form = Form::constant(low);
    let mut done = 0;
    for (k, suffix) in names.iter().enumerate() {
        let last = bits - done <= LIMB + 2 || k + 1 == names.len();
        let width = if last { bits - done } else { LIMB };
        let digit = || if last { rest(k) } else { rest(k).modulo(1 << LIMB) };
        let part = computed(b, &format_args!("{name}.{suffix}"), shape, Interval::bits(width), digit);
        form = form.plus_form(part.times(1 << done));
        if last {
            break;
        }
        done += LIMB;
    }
    form
}

/// Sizes of a division.
#[derive(Clone, Copy)]
pub struct Width {
    /// Bits of a limb of the quotient.
    pub limb: u32,
    /// Number of limbs.
    pub limbs: u32,
    /// Bits of the divisor.
    pub divisor: u32,
}

/// `r = floor(numerator / q)` of a positive `q`, unique by `0 <= numerator - r q < q`; the product is formed
/// limb by limb of `r` with carries.
pub fn inverse(b: &mut Builder<'_>, q: &Form, row: Shape, numerator: u32, width: Width) -> Form {
    let Width { limb, limbs: count, divisor } = width;
    let base = 1i64 << limb;
    let digit = |k: u32| i64::from(numerator) >> (limb * k) & (base - 1);
    let quotient = || Int::from(i64::from(numerator)).over(q.clone());
    let parts: Vec<Form> = (0..count)
        .map(|k| {
            let value = || quotient().over(1 << (limb * k)).modulo(base);
            computed(b, &format_args!("inverse.{k}"), row, Interval::bits(limb), value)
        })
        .collect();
    let inverse = (0u32..)
        .zip(&parts)
        .fold(Form::default(), |sum, (k, part)| sum.plus_form(part.clone().times(1 << (limb * k))));
    let rest = || Int::from(i64::from(numerator)).minus(Int::from(inverse.clone()).times(q.clone()));
    let rest = limbs(b, &"inverse.rest", row, 0, divisor, rest);
    let slack = || Int::from(q.clone()).minus(1).minus(rest.clone());
    let slack = limbs(b, &"inverse.slack", row, 0, divisor, slack);
    b.relation(
        &"inverse.slack",
        row,
        q.clone().plus_constant(-1).plus_form(rest.clone().times(-1)).plus_form(slack.times(-1)).into(),
    );
    let mut carry = rest;
    for (k, part) in (0u32..).zip(parts) {
        let product = b.entrywise(1, row, part, q.clone());
        // What the numerator has above the last limb belongs to it.
        let last = k + 1 == count;
        let own = if last { i64::from(numerator) >> (limb * k) } else { digit(k) };
        let form = carry.plus_constant(-own);
        let value = Value { products: [product].into(), form, ..Value::default() };
        if last {
            b.relation(&format_args!("inverse.{k}"), row, value);
            break;
        }
        // With `rest < 2^divisor` and `part <= base - 1`, every carry is below `2^divisor` too.
        carry = limbs(b, &format_args!("inverse.carry{k}"), row, 0, divisor, || {
            Int::from(value.clone()).over(base)
        });
        let form = value.form.clone().plus_form(carry.clone().times(-base));
        b.relation(&format_args!("inverse.{k}"), row, Value { form, ..value });
    }
    inverse
}
