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
//! * `q = 4096 q1 + q0` is unique by `0 <= rest <= 2q` with `rest = S - q^2`. The number `V = S - q^2 - rest` lies between
//!   `-2^49` and `2^20 P`, so that it vanishes if it does modulo `P` and modulo `2^20`. The former is one relation. For the
//!   latter only `sum l^2 - q0^2` and the lowest nine bits of `sum h l - 4 q1 q0` count,
//!
//!   ```text
//!   V = 2^11 (sum h l - 4 q1 q0) + sum l^2 - q0^2 + epsilon - rest   modulo 2^20
//!   ```
//!
//!   and over at most 1024 channels both sums fit the field. A row of more is cut into groups of so many.
//! * `r` is unique by `0 <= numerator - r q < q`.
//! * `x r` is one product in the field although `|x| <= 2^19` and `r` may have thirty bits: `x^2 <= S < (q + 1)^2`
//!   gives `|x| <= q`, hence `|x| r <= numerator < 2^30`.
//!
//! Per channel this costs the two lookups of the rounding, all the rest is per row.

use alloc::vec::Vec;
use core::fmt;

use super::integer::{Divisor, computed, inverse, limbs};
use crate::circuit::{
    Builder, Checked, ColumnId, Form, Int, Interval, Kind, Limbs, Name, Product, Shape, Value,
};
use crate::program::{RmsNorm, TensorId};

/// Largest number of channels: `S` stays below `2^20 P`.
const MAX_COLS: u32 = (1 << 13) - 1;
/// Channels over which sums of products of ten bits fit the field.
const GROUP: u32 = 1 << 10;
/// Bits of what `V` is looked at in, besides modulo `P`.
const BITS: u32 = 20;

pub(super) fn define(b: &mut Builder<'_>, x: TensorId, params: RmsNorm, y: TensorId) -> Checked<()> {
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
) -> Checked<()> {
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
    let root = root(b, &blocks, row, params.epsilon);
    let inverse = inverse(b, &root, row, params.numerator, 15);
    for (limbs, &output) in blocks.iter().zip(outputs) {
        let shape = b.shape(output);
        let mut product = b.entrywise(1, shape, limbs.form(), inverse.clone());
        product.bound = Some(params.numerator.into());
        let value = Value { products: [product].into(), ..Value::default() };
        b.requantize(shape, value, params.requantize, output)?;
    }
    Ok(())
}

/// What a sum of squares of ten bits over a group has above `BITS`, with room for what is added to it.
const CARRY: Interval = Interval { low: -64, high: (1 << 11) - 65 };

/// Blocks of a row with their shapes.
type Blocks = [(Limbs, Shape)];

/// The parts of a row, of at most 1024 channels each.
fn groups(mut blocks: &Blocks) -> Vec<&Blocks> {
    let mut groups = Vec::new();
    while !blocks.is_empty() {
        let mut channels = 0;
        let fits = |(_, shape): &&(Limbs, Shape)| {
            channels += shape.cols;
            channels <= GROUP
        };
        let (group, rest) = blocks.split_at(blocks.iter().take_while(fits).count().max(1));
        groups.push(group);
        blocks = rest;
    }
    groups
}

/// The sum of products over all channels.
fn dot(blocks: &Blocks, left: fn(Limbs) -> Form, right: fn(Limbs) -> Form) -> Value {
    let product = |&(limbs, shape): &(Limbs, Shape)| {
        Product::new(Kind::RowDot, (left(limbs), shape), (right(limbs), shape))
    };
    Value { products: blocks.iter().map(product).collect(), ..Value::default() }
}

/// The lowest nine bits of `cross`, which is less than `2^30` in magnitude.
fn middle(b: &mut Builder<'_>, name: Name<'_>, row: Shape, cross: Value) -> Form {
    let named = |what: &'static str| fmt::from_fn(move |f| write!(f, "{name}.{what}"));
    let middle =
        computed(b, &named("middle"), row, Interval::bits(9), || Int::from(cross.clone()).modulo(1 << 9));
    let up = limbs(b, &named("up"), row, -(1 << 21), 22, || Int::from(cross.clone()).over(1 << 9));
    let form = up.times(-(1 << 9)).plus_form(middle.clone().times(-1));
    b.relation(&named("middle"), row, Value { form, ..cross });
    middle
}

/// `q` with `0 <= S - q^2 <= 2q`.
fn root(b: &mut Builder<'_>, blocks: &[Limbs], row: Shape, epsilon: u32) -> Divisor {
    let blocks: Vec<(Limbs, Shape)> = blocks.iter().map(|&limbs| (limbs, b.shape(limbs.high))).collect();
    let high = |limbs: Limbs| limbs.high.into();
    let low = |limbs: Limbs| limbs.low.into();
    let groups = groups(&blocks);

    // What all groups but the first have below `2^20`.
    let mut below = Form::constant(i64::from(epsilon) & ((1 << BITS) - 1));
    for (k, group) in groups.iter().enumerate().skip(1) {
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "squares{k}{what}"));
        let middle = middle(b, &name(""), row, dot(group, high, low));
        let lows = Value { form: middle.times(1 << 11), ..dot(group, low, low) };
        let rest = limbs(b, &name(".rest"), row, 0, BITS, || Int::from(lows.clone()).modulo(1 << BITS));
        let carry = computed(b, &name(".carry"), row, CARRY, || Int::from(lows.clone()).over(1 << BITS));
        let form = carry.times(-(1 << BITS)).plus_form(rest.clone().times(-1));
        let form = lows.form.clone().plus_form(form);
        b.relation(&name(".low"), row, Value { form, ..lows });
        below = below.plus_form(rest);
    }

    let total = || Int::from(dot(&blocks, Limbs::form, Limbs::form)).plus(i64::from(epsilon));
    let q = || total().root();
    let q0 = computed(b, &"root.low", row, Interval::bits(12), || q().modulo(1 << 12));
    let q1 = computed(b, &"root.high", row, Interval::bits(Divisor::HIGH), || q().over(1 << 12));
    let divisor = Divisor { high: q1.clone(), low: q0.clone(), low_bits: 12 };
    let root = divisor.form();
    let rest = || total().minus(Int::from(root.clone()).times(root.clone()));
    let rest = limbs(b, &"root.rest", row, 0, 25, rest);
    let slack = || Int::from(root.clone()).times(2).minus(rest.clone());
    let slack = limbs(b, &"root.slack", row, 0, 25, slack);
    let form = root.clone().times(2).plus_form(rest.clone().times(-1)).plus_form(slack.times(-1));
    b.relation(&"root.slack", row, form.into());

    let first = groups.first().copied().unwrap_or_default();
    let mut cross = dot(first, high, low);
    cross.products.push(b.entrywise(-4, row, q1, q0.clone()));
    let middle = middle(b, &"squares0", row, cross);
    let mut lows = dot(first, low, low);
    lows.products.push(b.entrywise(-1, row, q0.clone(), q0));
    lows.form = below.plus_form(middle.times(1 << 11)).plus_form(rest.clone().times(-1));
    // `q0^2` and the rest are below `2^24` and `2^25`, the sum of squares below `2^30`, all others below `2^20`.
    let carry = computed(b, &"squares0.carry", row, CARRY, || Int::from(lows.clone()).over(1 << BITS));
    let form = lows.form.clone().plus_form(carry.times(-(1 << BITS)));
    b.relation(&"squares0.low", row, Value { form, ..lows });

    let mut all = dot(&blocks, Limbs::form, Limbs::form);
    all.products.push(b.entrywise(-1, row, root.clone(), root));
    all.form = rest.times(-1).plus_constant(i64::from(epsilon));
    b.congruence(&"root", row, all);
    divisor
}
