//! Layer normalization: `y = requantize(gamma n + beta)` with `n = (x - mean) sqrt(C) / |x - mean|`, exactly
//! as follows, for a row of `C` channels of at most 14 bits.
//!
//! ```text
//! mu  = floor((2 sum x + C) / 2C)                  v = x - mu
//! S   = sum v^2                                    q = floor(sqrt(S + epsilon))
//! r   = floor(numerator / q)                       n = floor((v r + 2^(shift-1)) / 2^shift)
//! ```
//!
//! `numerator` is about `2^k sqrt(C)`, so `n` has `k - shift` fraction bits. Nothing here is a shift that
//! depends on the row, and nothing is left to the prover:
//!
//! * `S` may reach `2^40`, so it is proven in base 256: with `v = 256 h + l` the sums of `h^2`, `h l`, `l^2`
//!   fit the field, and carries make `S = 65536 H + 256 c1 + c0` with digits below 256.
//! * `q` is unique by `0 <= S + epsilon - q^2 <= 2q`, checked with `q = 256 q1 + q0` in two identities.
//! * `r` is unique by `0 <= numerator - r q < q`, checked modulo `P` and modulo `2^20`.
//! * `v r` is one product in the field although `|v| < 2^14` and `r < 2^27`: `v^2 <= S < (q + 1)^2` gives
//!   `|v| <= q`, hence `|v| r <= numerator < 2^27`.
//!
//! Per channel this costs six lookups, all the rest is per row.

use alloc::vec::Vec;

use super::elementwise::{alike, scaled};
use super::integer::{Divisor, computed, inverse, limbs};
use crate::circuit::{
    Builder, Checked, ColumnId, Form, Int, Interval, Kind, Product, RowSum, Shape, Step, Value,
};
use crate::program::{LayerNorm, TensorId};

/// Largest magnitude of the operand.
const MAX_BOUND: i64 = (1 << 13) - 1;
/// Largest number of channels.
const MAX_COLS: u32 = 1 << 12;

pub(super) fn define(b: &mut Builder<'_>, x: TensorId, params: LayerNorm, y: TensorId) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    if (tx.rows, tx.cols) != (ty.rows, ty.cols) {
        return Err(b.refuse("operand and result must have the same shape"));
    }
    if tx.bound > MAX_BOUND || tx.cols > MAX_COLS {
        return Err(b.refuse("LayerNorm takes at most 4096 channels of at most 14 bits"));
    }
    if params.epsilon == 0 || params.epsilon >= 1 << 24 || params.numerator >= 1 << 27 || params.shift > 20 {
        return Err(b.refuse("LayerNorm parameters out of range"));
    }
    if reach(params) > 1 << 19 {
        return Err(b.refuse("normalized values need more than 20 bits"));
    }
    for id in [params.gamma, params.beta] {
        let constant = b.constant(id)?;
        if (constant.rows, constant.cols) != (1, tx.cols) {
            return Err(b.refuse("gamma and beta need one entry per channel"));
        }
    }
    let row = Shape { rows: tx.rows, cols: 1 };
    let blocks: Vec<(u32, ColumnId)> =
        b.blocks(x)?.into_iter().map(|(at, x)| (at, padded(b, at, x))).collect();
    let mean = mean(b, &blocks, row, tx.cols, tx.bound);
    let deviations: Vec<Deviation> = blocks.iter().map(|&(at, x)| deviation(b, at, x, mean)).collect();
    let energy = energy(b, &deviations, row);
    let root = root(b, &energy, row, params.epsilon);
    let inverse = inverse(b, &root, row, params.numerator, 12);
    let outputs = alike(b, x, y)?;
    for (deviation, (at, output)) in deviations.iter().zip(outputs) {
        let shape = b.shape(output);
        let normalized = normalize(b, deviation, &inverse, shape, params);
        scaled(b, shape, normalized, params.gamma, params.beta, at, params.requantize, output)?;
    }
    Ok(())
}

/// The operand, or where it has padding channels a copy of it. Relations hold in padding too, and there an
/// operand far from the mean would have a deviation above `q`; the copy's padding repeats a real channel.
fn padded(b: &mut Builder<'_>, at: u32, x: ColumnId) -> ColumnId {
    if b.shape(x).cols.is_power_of_two() { x } else { b.copy(&format_args!("operand{at}"), x) }
}

/// `2 sum x + C = 2C mu + remainder`.
fn mean(b: &mut Builder<'_>, blocks: &[(u32, ColumnId)], row: Shape, cols: u32, bound: i64) -> ColumnId {
    let divisor = 2 * i64::from(cols);
    let mu = b.ranged(&"mean", row, Interval::symmetric(bound));
    let remainder = b.ranged(&"mean.remainder", row, Interval { low: 0, high: divisor - 1 });
    let sums = blocks.iter().map(|&(_, column)| RowSum { coefficient: 2, column }).collect();
    let value = Value { sums, form: Form::constant(cols.into()), ..Value::default() };
    b.step(|| Step::Divide {
        shape: row,
        value: value.clone(),
        divisor,
        quotient: mu,
        remainder: Some(remainder),
    });
    let form = value.form.clone().plus(-divisor, mu).plus(-1, remainder);
    b.relation(&"mean", row, Value { form, ..value });
    mu
}

/// `v = x - mu = 256 high + low` for one block of channels.
struct Deviation {
    shape: Shape,
    value: Form,
    high: ColumnId,
    low: ColumnId,
}

fn deviation(b: &mut Builder<'_>, at: u32, x: ColumnId, mu: ColumnId) -> Deviation {
    let shape = b.shape(x);
    let value = Form::from(x).plus(-1, mu);
    let high = b.ranged(&format_args!("deviation{at}.high"), shape, Interval { low: -64, high: 63 });
    let low = b.ranged(&format_args!("deviation{at}.remainder"), shape, Interval::bits(8));
    b.divide(&format_args!("deviation{at}"), shape, value.clone().into(), 256, (high, Some(low)));
    Deviation { shape, value, high, low }
}

/// `S = 65536 high + 256 c1 + c0`.
struct Energy {
    high: Form,
    c1: Form,
    c0: Form,
    total: Value,
}

fn energy(b: &mut Builder<'_>, deviations: &[Deviation], row: Shape) -> Energy {
    let dot = |coefficient, left: fn(&Deviation) -> Form, right: fn(&Deviation) -> Form| -> Value {
        let product = |d: &Deviation| Product {
            coefficient,
            ..Product::new(Kind::RowDot, (left(d), d.shape), (right(d), d.shape))
        };
        Value { products: deviations.iter().map(product).collect(), ..Value::default() }
    };
    let high = |d: &Deviation| d.high.into();
    let low = |d: &Deviation| d.low.into();
    let whole = |d: &Deviation| d.value.clone();
    let (squares, cross, lows) = (dot(1, high, high), dot(2, high, low), dot(1, low, low));

    let byte = Interval::bits(8);
    let c0 = computed(b, &"energy.c0", row, byte, || Int::from(lows.clone()).modulo(256));
    let k0 = limbs(b, &"energy.k0", row, 0, 21, || Int::from(lows.clone()).over(256));
    let carried = || Int::from(cross.clone()).plus(k0.clone());
    let c1 = computed(b, &"energy.c1", row, byte, || carried().modulo(256));
    let k1 = limbs(b, &"energy.k1", row, -(1 << 20), 21, || carried().over(256));
    let top = limbs(b, &"energy.high", row, 0, 24, || Int::from(squares.clone()).plus(k1.clone()));

    let with = |value: Value, form: Form| Value { form, ..value };
    b.relation(&"energy.low", row, with(lows, k0.clone().times(-256).plus_form(c0.clone().times(-1))));
    b.relation(
        &"energy.middle",
        row,
        with(cross, k0.plus_form(k1.clone().times(-256)).plus_form(c1.clone().times(-1))),
    );
    b.relation(&"energy.high", row, with(squares, k1.plus_form(top.clone().times(-1))));
    Energy { high: top, c1, c0, total: dot(1, whole, whole) }
}

/// `q = 256 q1 + q0` with `0 <= S + epsilon - q^2 <= 2q`.
fn root(b: &mut Builder<'_>, energy: &Energy, row: Shape, epsilon: u32) -> Divisor {
    let (epsilon_high, epsilon_low) = (i64::from(epsilon >> 16), i64::from(epsilon & 0xffff));
    let sum = || Int::from(energy.total.clone()).plus(i64::from(epsilon));
    let q = || sum().root();
    let q0 = computed(b, &"root.low", row, Interval::bits(8), || q().modulo(256));
    let q1 = computed(b, &"root.high", row, Interval::bits(Divisor::HIGH), || q().over(256));
    let divisor = Divisor { high: q1.clone(), low: q0.clone(), low_bits: 8 };
    let root = divisor.form();
    let rest = || sum().minus(Int::from(root.clone()).times(root.clone()));
    let rest = limbs(b, &"root.rest", row, 0, 22, rest);
    let slack = limbs(b, &"root.slack", row, 0, 22, || Int::from(root.clone()).times(2).minus(rest.clone()));
    let square = |b: &Builder<'_>, c, x: &Form, y: &Form| b.entrywise(c, row, x.clone(), y.clone());
    let low_products = [square(b, 1, &q0, &q0), square(b, 512, &q1, &q0)];
    let low_form = rest
        .clone()
        .plus_form(energy.c1.clone().times(-256))
        .plus_form(energy.c0.clone().times(-1))
        .plus_constant(-epsilon_low);
    let low = Value { products: low_products.into(), form: low_form, ..Value::default() };
    let carry = limbs(b, &"root.carry", row, -4, 14, || Int::from(low.clone()).over(65536));
    b.relation(
        &"root.low",
        row,
        Value { form: low.form.clone().plus_form(carry.clone().times(-65536)), ..low },
    );
    let high_form = carry.plus_form(energy.high.clone().times(-1)).plus_constant(-epsilon_high);
    let high = Value { products: [square(b, 1, &q1, &q1)].into(), form: high_form, ..Value::default() };
    b.relation(&"root.high", row, high);
    let slack = root.times(2).plus_form(rest.times(-1)).plus_form(slack.times(-1));
    b.relation(&"root.slack", row, slack.into());
    divisor
}

/// One more than the largest magnitude of `n`.
fn reach(params: LayerNorm) -> i64 {
    let half = (1i64 << params.shift) / 2;
    ((i64::from(params.numerator) + half) >> params.shift) + 1
}

/// `v r + half = 2^shift n + remainder`.
fn normalize(
    b: &mut Builder<'_>,
    deviation: &Deviation,
    inverse: &Form,
    shape: Shape,
    params: LayerNorm,
) -> ColumnId {
    let mut product = b.entrywise(1, shape, deviation.value.clone(), inverse.clone());
    product.bound = Some(params.numerator.into());
    let half = (1i64 << params.shift) / 2;
    let value = Value { products: [product].into(), form: Form::constant(half), ..Value::default() };
    let half_width = (reach(params) as u64).next_power_of_two() as i64;
    let normalized = b.ranged(&"normalized", shape, Interval { low: -half_width, high: half_width - 1 });
    b.shift(&"normalize", shape, value, params.shift.into(), normalized);
    normalized
}
