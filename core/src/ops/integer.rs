//! Integers of a row that need several columns, and exact division of a constant.

use crate::circuit::{Builder, Form, Int, Interval, Name, Shape, Value};

/// Bits of a lower limb.
const LIMB: u32 = 12;

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

/// An integer of `low .. low + 2^bits` as one range-checked limb, or two if that is more than fourteen bits.
pub fn limbs(
    b: &mut Builder<'_>,
    name: Name<'_>,
    shape: Shape,
    low: i64,
    bits: u32,
    value: impl Fn() -> Int,
) -> Form {
    let limbs = || value().minus(low);
    let lower = format_args!("{name}.low");
    if bits <= LIMB + 2 {
        return computed(b, &lower, shape, Interval::bits(bits), limbs).plus_constant(low);
    }
    let lower = computed(b, &lower, shape, Interval::bits(LIMB), || limbs().modulo(1 << LIMB));
    let upper = Interval::bits(bits - LIMB);
    let upper = computed(b, &format_args!("{name}.high"), shape, upper, || limbs().over(1 << LIMB));
    lower.plus_form(upper.times(1 << LIMB)).plus_constant(low)
}

/// Bits of the lower limb of a quotient.
const QUOTIENT_LOW: u32 = 15;

/// A positive divisor `2^low_bits high + low` below `2^(low_bits + 12)`, in range-checked columns.
pub struct Divisor {
    /// Twelve bits.
    pub high: Form,
    /// The rest.
    pub low: Form,
    /// Bits of `low`: at most twelve.
    pub low_bits: u32,
}

impl Divisor {
    /// Bits of the upper limb.
    pub const HIGH: u32 = 12;

    /// The number.
    pub fn form(&self) -> Form {
        self.high.clone().times(1 << self.low_bits).plus_form(self.low.clone())
    }
}

/// `r = floor(numerator / q)` of a positive `q`, for a numerator below `2^30` and a quotient of `15 + high_bits` bits, at most
/// thirty. It is unique by `0 <= numerator - r q < q`.
///
/// With `rest` in its range, `D = r q + rest - numerator` vanishes if it does modulo `P` and modulo `2^n`, `n = low_bits + 12`
/// being the bits of `q`: it is less than `2^(n + 30) + 2^n`, which is less than `2^n P`. With `r = 2^15 r1 + r0` and
/// `q = 2^b q1 + q0`, and because `15 + b >= n`,
///
/// ```text
/// r q = 2^b (2^(15-b) r1 q0 + r0 q1) + r0 q0   modulo 2^n
/// ```
///
/// where both sums fit the field.
pub fn inverse(b: &mut Builder<'_>, q: &Divisor, row: Shape, numerator: u32, high_bits: u32) -> Form {
    let bits = q.low_bits + Divisor::HIGH;
    let divisor = q.form();
    let quotient = || Int::from(i64::from(numerator)).over(divisor.clone());
    let r0 = computed(b, &"inverse.low", row, Interval::bits(QUOTIENT_LOW), || {
        quotient().modulo(1 << QUOTIENT_LOW)
    });
    let r1 =
        computed(b, &"inverse.high", row, Interval::bits(high_bits), || quotient().over(1 << QUOTIENT_LOW));
    let inverse = r0.clone().plus_form(r1.clone().times(1 << QUOTIENT_LOW));
    let rest = || Int::from(i64::from(numerator)).minus(Int::from(inverse.clone()).times(divisor.clone()));
    let rest = limbs(b, &"inverse.rest", row, 0, bits, rest);
    let slack = || Int::from(divisor.clone()).minus(1).minus(rest.clone());
    let slack = limbs(b, &"inverse.slack", row, 0, bits, slack);
    let form = divisor.clone().plus_constant(-1).plus_form(rest.clone().times(-1)).plus_form(slack.times(-1));
    b.relation(&"inverse.slack", row, form.into());

    let times = |b: &Builder<'_>, c, x: &Form, y: &Form| b.entrywise(c, row, x.clone(), y.clone());
    let middle = [times(b, 1 << (QUOTIENT_LOW - q.low_bits), &r1, &q.low), times(b, 1, &r0, &q.high)];
    let middle = Value { products: middle.into(), ..Value::default() };
    let w = computed(b, &"inverse.middle", row, Interval::bits(Divisor::HIGH), || {
        Int::from(middle.clone()).modulo(1 << Divisor::HIGH)
    });
    // Its quotient is below this; what the range has beyond lies half on either side, so that nothing wraps.
    let most = (1i64 << (high_bits + 3)) + (1 << QUOTIENT_LOW);
    let up_bits = (most as u64).next_power_of_two().trailing_zeros();
    let up = limbs(b, &"inverse.up", row, (most - (1 << up_bits)) / 2, up_bits, || {
        Int::from(middle.clone()).over(1 << Divisor::HIGH)
    });
    let form = up.times(-(1 << Divisor::HIGH)).plus_form(w.clone().times(-1));
    b.relation(&"inverse.middle", row, Value { form, ..middle });

    let own = i64::from(numerator) & ((1 << bits) - 1);
    let products = [times(b, 1, &r0, &q.low)].into();
    let form = rest.clone().plus_form(w.times(1 << q.low_bits)).plus_constant(-own);
    let low = Value { products, form, ..Value::default() };
    let carry = computed(b, &"inverse.carry", row, Interval { low: -1, high: 14 }, || {
        Int::from(low.clone()).over(1 << bits)
    });
    let form = low.form.clone().plus_form(carry.times(-(1 << bits)));
    b.relation(&"inverse.low", row, Value { form, ..low });

    let products = [times(b, 1, &inverse, &divisor)].into();
    let form = rest.plus_constant(-i64::from(numerator));
    b.congruence(&"inverse", row, Value { products, form, ..Value::default() });
    inverse
}
