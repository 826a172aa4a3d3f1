//! Root-mean-square normalization: `y = requantize(x sqrt(C) / |x|)`, exactly as follows, for a row of `C`
//! channels of `x = 1024 h + l`, twenty bits with sign.
//!
//! ```text
//! S = sum x^2 + epsilon          q = floor(sqrt(S))          r = floor(numerator / q)
//! y = table[floor((x r + 2^(shift-1)) / 2^shift)]
//! ```
//!
//! `numerator` is about `2^k sqrt(C)`, so the quotient has `k - shift` fraction bits. Nothing here is a shift that
//! depends on the row, and nothing is left to the prover:
//!
//! * `S` may reach `2^48`. The sums of `h l` and `l^2` over a block of at most 1024 channels and of `h^2` over all
//!   fit the field, and carries make `sum x^2 = 2^20 A + sum over blocks of (2^11 b + d)` with `b < 2^9`, `d < 2^11`.
//! * `q = 1024 q1 + q0` is unique by `0 <= S - q^2 <= 2q`. With `q1 q0 = 2^9 m1 + m0` the low twenty bits and the
//!   rest are two identities with a carry between them.
//! * `r` is unique by `0 <= numerator - r q < q`.
//! * `x r` is one product in the field although `|x| <= 2^19` and `r` may have thirty bits: `x^2 <= S < (q + 1)^2`
//!   gives `|x| <= q`, hence `|x| r <= numerator < 2^30`.
//!
//! Per channel this costs the two lookups of the rounding, all the rest is per row.

use alloc::vec::Vec;
use core::fmt;

use super::integer::{Width, computed, inverse, limbs};
use crate::circuit::{
    Builder, CircuitError, ColumnId, Form, Int, Interval, Kind, Limbs, Name, Product, Shape, Value,
};
use crate::program::{RmsNorm, TensorId};

/// Largest number of channels: the sum of `h^2` stays below `2^31`.
const MAX_COLS: u32 = (1 << 13) - 1;

pub(super) fn define(
    b: &mut Builder<'_>,
    x: TensorId,
    params: RmsNorm,
    y: TensorId,
) -> Result<(), CircuitError> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    if (tx.rows, tx.cols) != (ty.rows, ty.cols) {
        return Err(b.refuse("operand and result must have the same shape"));
    }
    let inputs = b.wide_blocks(x)?;
    // The result lies in the blocks of the operand.
    let alike = inputs.iter().map(|&(at, limbs)| (at, b.shape(limbs.high).cols)).collect();
    let blocks: Vec<Limbs> = inputs.into_iter().map(|(_, limbs)| limbs).collect();
    let outputs: Vec<ColumnId> = b.produce_blocks(y, alike)?.into_iter().map(|(_, column)| column).collect();
    normalize(b, &blocks, params, &outputs)
}

/// The norm of rows that consist of the given blocks.
pub(super) fn normalize(
    b: &mut Builder<'_>,
    blocks: &[Limbs],
    params: RmsNorm,
    outputs: &[ColumnId],
) -> Result<(), CircuitError> {
    if params.epsilon == 0 || params.epsilon >= 1 << 30 || params.numerator >= 1 << 30 {
        return Err(b.refuse("RMSNorm parameters out of range"));
    }
    let cols: u32 = blocks.iter().map(|limbs| b.shape(limbs.high).cols).sum();
    if cols > MAX_COLS {
        return Err(b.refuse("RMSNorm takes at most 8191 channels"));
    }
    // Relations hold in padding too, and there an operand above the row's norm would not be normalized; the copy's
    // padding repeats a real channel.
    let blocks: Vec<Limbs> = blocks
        .iter()
        .enumerate()
        .map(|(k, &limbs)| {
            if b.shape(limbs.high).cols.is_power_of_two() {
                return limbs;
            }
            let mut copy = |name: Name<'_>, column| b.copy(&format_args!("operand{k}.{name}"), column);
            Limbs { high: copy(&"high", limbs.high), low: copy(&"low", limbs.low) }
        })
        .collect();
    let row = Shape { rows: blocks.first().map_or(1, |limbs| b.shape(limbs.high).rows), cols: 1 };
    let squares = squares(b, &blocks, row);
    let root = root(b, &squares, row, params.epsilon);
    let inverse = inverse(b, &root, row, params.numerator, Width { limb: 6, limbs: 5, divisor: 24 });
    for (limbs, &output) in blocks.iter().zip(outputs) {
        let shape = b.shape(output);
        let mut product = b.entrywise(1, shape, limbs.form(), inverse.clone());
        product.bound = Some(params.numerator.into());
        let value = Value { products: [product].into(), ..Value::default() };
        b.requantize(shape, value, params.requantize, output)?;
    }
    Ok(())
}

/// `sum x^2 = 2^20 top + low`.
struct Squares {
    top: Form,
    low: Form,
    /// Blocks and their shapes.
    blocks: Vec<(Limbs, Shape)>,
}

fn squares(b: &mut Builder<'_>, blocks: &[Limbs], row: Shape) -> Squares {
    let blocks: Vec<(Limbs, Shape)> = blocks.iter().map(|&limbs| (limbs, b.shape(limbs.high))).collect();
    let high = |limbs: Limbs| limbs.high.into();
    let low = |limbs: Limbs| limbs.low.into();
    let with = |value: Value, form: Form| Value { form, ..value };

    // What lies below 2^20, block by block: `2^11 middle + low`, with carries to what lies above.
    let (mut below, mut carried_up) = (Form::default(), Form::default());
    for (k, block) in blocks.chunks(1).enumerate() {
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "squares{k}.{what}"));
        let channels: u32 = block.iter().map(|(_, shape)| shape.cols).sum();
        let (cross, lows) = (dot(block, high, low), dot(block, low, low));
        let d =
            computed(b, &name("low"), row, Interval::bits(11), || Int::from(lows.clone()).modulo(1 << 11));
        // `sum l^2 < 2^20 C`.
        let bits = 9 + channels.next_power_of_two().trailing_zeros();
        let carry = limbs(b, &name("carry"), row, 0, bits, || Int::from(lows.clone()).over(1 << 11));
        let carried = || Int::from(cross.clone()).plus(carry.clone());
        let middle = computed(b, &name("middle"), row, Interval::bits(9), || carried().modulo(1 << 9));
        let up = limbs(b, &name("up"), row, -(1 << 21), 22, || carried().over(1 << 9));
        let form = carry.clone().times(-(1 << 11)).plus_form(d.clone().times(-1));
        b.relation(&name("low"), row, with(lows, form));
        let form = carry.plus_form(up.clone().times(-(1 << 9))).plus_form(middle.clone().times(-1));
        b.relation(&name("middle"), row, with(cross, form));
        below = below.plus_form(middle.times(1 << 11)).plus_form(d);
        carried_up = carried_up.plus_form(up);
    }
    let highs = dot(&blocks, high, high);
    let top = limbs(b, &"squares.high", row, 0, 30, || Int::from(highs.clone()).plus(carried_up.clone()));
    b.relation(&"squares.high", row, with(highs, carried_up.plus_form(top.clone().times(-1))));
    Squares { top, low: below, blocks }
}

/// The sum of products over all channels.
fn dot(blocks: &[(Limbs, Shape)], left: fn(Limbs) -> Form, right: fn(Limbs) -> Form) -> Value {
    let product = |&(limbs, shape): &(Limbs, Shape)| {
        Product::new(Kind::RowDot, (left(limbs), shape), (right(limbs), shape))
    };
    Value { products: blocks.iter().map(product).collect(), ..Value::default() }
}

/// `q = 1024 q1 + q0` with `0 <= S - q^2 <= 2q`.
fn root(b: &mut Builder<'_>, squares: &Squares, row: Shape, epsilon: u32) -> Form {
    let (epsilon_high, epsilon_low) = (i64::from(epsilon >> 20), i64::from(epsilon & 0xf_ffff));
    let total = || Int::from(dot(&squares.blocks, Limbs::form, Limbs::form));
    let sum = || total().plus(i64::from(epsilon));
    let q = || sum().root();
    let q0 = computed(b, &"root.low", row, Interval::bits(10), || q().modulo(1 << 10));
    let q1 = computed(b, &"root.high", row, Interval::bits(14), || q().over(1 << 10));
    let root = q1.clone().times(1 << 10).plus_form(q0.clone());
    let rest = || sum().minus(Int::from(root.clone()).times(root.clone()));
    let rest = limbs(b, &"root.rest", row, 0, 25, rest);
    let slack = || Int::from(root.clone()).times(2).minus(rest.clone());
    let slack = limbs(b, &"root.slack", row, 0, 25, slack);
    let slack = root.clone().times(2).plus_form(rest.clone().times(-1)).plus_form(slack.times(-1));
    b.relation(&"root.slack", row, slack.into());

    let cross = Value { products: [b.entrywise(1, row, q1.clone(), q0.clone())].into(), ..Value::default() };
    let m0 =
        computed(b, &"root.cross.low", row, Interval::bits(9), || Int::from(cross.clone()).modulo(1 << 9));
    let m1 =
        computed(b, &"root.cross.high", row, Interval::bits(15), || Int::from(cross.clone()).over(1 << 9));
    let form = m1.clone().times(-(1 << 9)).plus_form(m0.clone().times(-1));
    b.relation(&"root.cross", row, Value { form, ..cross });

    let form = rest
        .plus_form(m0.times(1 << 11))
        .plus_form(squares.low.clone().times(-1))
        .plus_constant(-epsilon_low);
    let product = b.entrywise(1, row, q0.clone(), q0);
    let low = Value { products: [product].into(), form, ..Value::default() };
    let carry = || Int::from(low.clone()).over(1 << 20);
    // `rest` is below `2^25`, every block's part below `2^20`.
    let least = -(squares.blocks.len() as i64) - 3;
    let carry = computed(b, &"root.carry", row, Interval { low: least, high: least + 127 }, carry);
    let form = low.form.clone().plus_form(carry.clone().times(-(1 << 20)));
    b.relation(&"root.low", row, Value { form, ..low });
    let form = carry.plus_form(m1).plus_form(squares.top.clone().times(-1)).plus_constant(-epsilon_high);
    let product = b.entrywise(1, row, q1.clone(), q1);
    b.relation(&"root.high", row, Value { products: [product].into(), form, ..Value::default() });
    root
}
