//! Attention: `y = base + concat_h(softmax(q_h k_g(h)^T) v_g(h)) W_o^T`, exactly as follows.
//!
//! For `T` positions, a power of two, and heads of `C` channels, queries, keys and values lie head by head: row
//! `h T + t` of a column of `C` channels. In the cells of head `h`, position `t`, with the group `g` of the head:
//!
//! ```text
//! q, k, v   = requantize(x W^T + bias)                    then, for q and k: norm, rotation
//! z(t, j)   = table[floor((sum_c q(t, c) k(j, c) + half) / 2^s)]
//! m(t)      = max over visible j of z(t, j)               d(t, j) = m(t) - z(t, j)
//! e(t, j)   = exp[d(t, j)]                                E(t)    = sum over visible j of e(t, j)
//! o(t, c)   = floor((2 sum_j e(t, j) v(j, c) + E(t)) / 2E(t))
//! y(t, n)   = base(t, n) + floor((sum_(h, c) o(h, t, c) W_o(n, h C + c) + half) / 2^s)
//! ```
//!
//! A constant prefix position, if there is one, is visible to all and counts in the maximum, in `E` and in the sum.
//!
//! An attention that continues takes the keys and values of `past` positions from an earlier program and hands those
//! and its own first ones on, each in a column of as many rows per group as the next power of two (the last position
//! is repeated). Positions are counted from the first of all, `k` and `v` are the columns that are handed on.
//!
//! * Visibility: for a hidden `j` the table's argument is `d + 2^15`. Clamped scores differ by less than
//!   `2^15 - 1024`, and every row sees a position, where `d` is not negative; so the argument is above 1024. From
//!   1024 on the looked-up table is zero by its form, so such a position has no weight whatever its score.
//! * The maximum: `d` is an argument of the table, so no visible score exceeds `m`; and the indicator of argument
//!   zero, a component of the same table, is one somewhere in every row. It cannot be one at a hidden `j`, where the
//!   argument is above 1024; so `d` is zero at a visible one.
//! * The division: `0 <= remainder < 2E` makes `o` unique, and `E >= exp[0] > 0`. Nothing wraps: from the ranges
//!   alone, four times `(T + 1) max(e) (max|v| + 1)` stays below `2^31`.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::rmsnorm;
use super::wide::bases;
use crate::circuit::{
    Builder, Checked, ColumnId, Form, Indicator, Int, Interval, Kind, Limbs, Name, Product, RowSum, Shape,
    Step, Value, split, split_wide,
};
use crate::limits;
use crate::program::{Attention, HeadNorm, Memory, Projection, Requantize, Rotation, TensorId, Visible};

/// Added to the distance of invisible positions.
const FAR: i64 = 1 << 15;
/// From this distance on the exponential is zero.
const NEAR: i64 = 1 << 10;

pub(super) fn define(
    b: &mut Builder<'_>,
    base: Option<TensorId>,
    x: TensorId,
    params: &Attention,
    y: TensorId,
) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    let Attention { heads, groups, channels, .. } = *params;
    if !tx.rows.is_power_of_two() || !channels.is_power_of_two() || tx.rows != ty.rows {
        return Err(b.refuse("attention takes a power of two of rows and of channels of a head"));
    }
    if groups == 0 || heads == 0 || !heads.is_multiple_of(groups) || heads > 1 << 10 {
        return Err(b.refuse("the number of heads must be a multiple of the number of groups"));
    }
    let most = limits::EXTENT / heads;
    if tx.rows > most || channels > most {
        return Err(b.refuse("too many positions or channels for that many heads"));
    }
    let memory = match params.visible {
        Visible::Continued(memory) => Some(memory),
        Visible::All | Visible::Causal | Visible::First(_) => None,
    };
    let positions = memory.map_or(tx.rows, Memory::window);
    if memory.is_some_and(|memory| memory.new == 0 || memory.new > tx.rows) || positions > most {
        return Err(b.refuse("no positions are handed on, or more than there are rows, or too many"));
    }
    let shared = Shared {
        input: b.blocks(x)?,
        bound: tx.bound,
        cols: tx.cols,
        tokens: tx.rows,
        past: memory.map_or(0, |memory| memory.past),
        new: memory.map_or(tx.rows, |memory| memory.new),
        positions,
        params,
    };
    let mut keys =
        shared.heads(b, &"key", (0, groups, groups), &params.key, params.rotation.map(|r| (r, r.key)))?;
    let mut values = shared.heads(b, &"value", (0, groups, groups), &params.value, None)?;
    if let Some(memory) = memory {
        keys = shared.remembered(b, &"keys", keys, memory);
        values = shared.remembered(b, &"values", values, memory);
    }

    let weight = b.constant(params.output)?;
    if (weight.rows, u64::from(weight.cols)) != (ty.cols, u64::from(heads) * u64::from(channels)) {
        return Err(b.refuse("the output projection has another shape"));
    }
    let mut mixed = Vec::new();
    for (first, count) in split(heads) {
        let rotation = params.rotation.map(|r| (r, r.query));
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "{what}{first}"));
        let query = shared.heads(b, &name("query"), (first, count, heads), &params.query, rotation)?;
        let head = Heads { first, count, query, keys, values };
        mixed.push((first, count, shared.attend(b, &head)?));
    }

    let bases = bases(b, base, y, split_wide(ty.cols).len())?;
    let bound = mixed.iter().map(|&(_, _, o)| b.bound(o)).max().unwrap_or(0);
    let outputs = b.produce_wide(y)?;
    for ((offset, limbs), base) in outputs.into_iter().zip(bases) {
        let shape = b.shape(limbs.high);
        let mut value = Value { bound: Some(bound.saturating_mul(weight.row_l1)), ..Value::default() };
        for &(first, count, o) in &mixed {
            let b_shape = Shape { rows: shape.cols, cols: count * channels };
            let column = b.rectangle(params.output, offset, first * channels, b_shape)?;
            let kind = Kind::FromHeads { tokens: tx.rows.trailing_zeros() };
            value.products.push(Product::new(kind, (o.into(), b.shape(o)), (column.into(), b_shape)));
        }
        b.accumulate(shape, value, params.output_shift, base, limbs)?;
    }
    Ok(())
}

/// What all heads have in common.
struct Shared<'a> {
    input: Vec<(u32, ColumnId)>,
    bound: i64,
    cols: u32,
    tokens: u32,
    /// Positions before the first row's.
    past: u32,
    /// Rows that are not padding.
    new: u32,
    /// Positions that keys and values have, a power of two.
    positions: u32,
    params: &'a Attention,
}

/// A block of heads.
struct Heads {
    first: u32,
    count: u32,
    query: ColumnId,
    keys: ColumnId,
    values: ColumnId,
}

impl Shared<'_> {
    /// A projection into `count` heads from `first` on, of all that the weight has, normalized and rotated.
    fn heads(
        &self,
        b: &mut Builder<'_>,
        name: Name<'_>,
        (first, count, all): (u32, u32, u32),
        projection: &Projection,
        rotation: Option<(Rotation, Requantize)>,
    ) -> Checked<ColumnId> {
        let channels = self.params.channels;
        let shape = Shape { rows: count * self.tokens, cols: channels };
        let weight = b.constant(projection.weight)?;
        let rows = all * channels;
        if (weight.rows, weight.cols) != (rows, self.cols) {
            return Err(b.refuse("a projection has another shape"));
        }
        let kind = Kind::ToHeads { channels: channels.trailing_zeros() };
        let mut bound = self.bound.saturating_mul(weight.row_l1);
        let mut value = Value::default();
        for &(offset, input) in &self.input {
            let a_shape = b.shape(input);
            let b_shape = Shape { rows: count * channels, cols: a_shape.cols };
            let column = b.rectangle(projection.weight, first * channels, offset, b_shape)?;
            value.products.push(Product::new(kind, (input.into(), a_shape), (column.into(), b_shape)));
        }
        if let Some(bias) = projection.bias {
            let b_shape = Shape { rows: count * channels, cols: 1 };
            let declared = b.constant(bias)?;
            if (declared.rows, declared.cols) != (rows, 1) {
                return Err(b.refuse("a projection's bias needs one row per channel of every head"));
            }
            bound = bound.saturating_add(declared.bound);
            let column = b.rectangle(bias, first * channels, 0, b_shape)?;
            let one = (Form::constant(1), Shape { rows: self.tokens, cols: 1 });
            value.products.push(Product::new(kind, one, (column.into(), b_shape)));
        }
        value.bound = Some(bound);
        let mut column = result(b, name, shape, projection.requantize)?;
        b.requantize(shape, value, projection.requantize, column)?;
        if let Some(norm) = projection.norm {
            column = normalized(b, name, column, norm)?;
        }
        if let Some((rotation, requantize)) = rotation {
            column = self.rotated(b, name, column, rotation, requantize)?;
        }
        Ok(column)
    }

    /// `requantize(x cos + partner sin)`.
    fn rotated(
        &self,
        b: &mut Builder<'_>,
        name: Name<'_>,
        x: ColumnId,
        rotation: Rotation,
        requantize: Requantize,
    ) -> Checked<ColumnId> {
        let shape = b.shape(x);
        let mut products = Vec::new();
        for (id, flip) in [(rotation.cos, None), (rotation.sin, Some(u32::from(rotation.pair)))] {
            let angles = b.constant(id)?;
            // Rows that are not handed on need no angles of their own.
            if angles.cols != shape.cols || angles.rows < self.past.saturating_add(self.new) {
                return Err(b.refuse("more rows than the rotation has positions"));
            }
            // Row `h T + t` meets position `past + t`: the positions are repeated for every head.
            let angle = b.rows_from(id, self.past, self.tokens)?;
            products.push(Product { flip, ..b.entrywise(1, shape, x.into(), angle.into()) });
        }
        let column = result(b, &format_args!("{name}.rotated"), shape, requantize)?;
        b.requantize(shape, Value { products, ..Value::default() }, requantize, column)?;
        Ok(column)
    }

    /// The keys or values of all positions, in a column that is handed on: those of earlier programs, then those of
    /// the rows that are not padding.
    fn remembered(&self, b: &mut Builder<'_>, name: Name<'_>, own: ColumnId, memory: Memory) -> ColumnId {
        let Attention { groups, channels, .. } = *self.params;
        let Memory { past, new } = memory;
        let (before, window) = (memory.before(), memory.window());
        let bound = b.column_bound(own);
        let shape = |positions: u32| Shape { rows: groups * positions, cols: channels };
        let mut source = Vec::new();
        if past > 0 {
            source.push((0, b.past(&format_args!("past.{name}"), shape(before), bound)));
        }
        source.push((groups * before, own));
        let row = |g: u32, j: u32| {
            if j < past { g * before + j } else { groups * before + g * self.tokens + (j - past) }
        };
        let last = past + new - 1;
        let rows = (0..groups).flat_map(|g| (0..window).map(move |j| row(g, j.min(last)))).collect();
        b.hand_on(name, shape(window), bound, (source, rows))
    }

    /// The positions that a position does not see: those after it, or those beyond the first.
    fn hidden(&self, b: &Builder<'_>) -> Checked<Option<Indicator>> {
        match self.params.visible {
            Visible::All => Ok(None),
            Visible::Causal | Visible::Continued(_) => {
                Ok(Some(Indicator::Future { log: self.tokens.trailing_zeros(), past: self.past }))
            }
            // Without a visible position there would be no maximum.
            Visible::First(len) if len == 0 || len > self.tokens => {
                Err(b.refuse("the number of visible positions must be at least one and at most that of rows"))
            }
            Visible::First(len) => Ok(Some(Indicator::Beyond { cols: len })),
        }
    }

    /// The attention of a block of heads: `o`.
    fn attend(&self, b: &mut Builder<'_>, heads: &Heads) -> Checked<ColumnId> {
        let Attention { groups, channels, heads: all, .. } = *self.params;
        let Heads { first, count, query, keys, values } = *heads;
        let rows = count * self.tokens;
        let (row, cells) = (Shape { rows, cols: 1 }, Shape { rows, cols: self.positions });
        let log = self.positions.trailing_zeros();
        let share = all / groups;
        // Padding heads belong to the last head's group.
        let group_of = |h: u32| (first + h.min(count - 1)) / share;
        let of: Vec<u32> = (0..count.next_power_of_two()).map(group_of).collect();
        let per_group = |kind: Kind, a: (Form, Shape), b: (Form, Shape)| Product {
            groups: of.clone(),
            ..Product::new(kind, a, b)
        };
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "{what}{first}"));

        // Scores, of all positions and of the prefix.
        let (_, clamp) = b.table_bound(self.params.score.table)?;
        if clamp >= (FAR - NEAR) / 2 {
            return Err(b.refuse("scores need a clamp below 2^14 - 512"));
        }
        let (a, k) = ((query.into(), b.shape(query)), (keys.into(), b.shape(keys)));
        let mut parts = Vec::new();
        let product = per_group(Kind::Scores { group: log }, a.clone(), k);
        let hidden = self.hidden(b)?;
        parts.push((["score", "weight", "tie"], cells, product, hidden));
        let prefix_shape = Shape { rows: groups, cols: channels };
        if let Some(prefix) = self.params.prefix {
            for id in [prefix.key, prefix.value] {
                let constant = b.constant(id)?;
                if (constant.rows, constant.cols) != (groups, channels) {
                    return Err(b.refuse("the prefix needs one row of channels for each group"));
                }
            }
            let column = b.rectangle(prefix.key, 0, 0, prefix_shape)?;
            let product = per_group(Kind::Scores { group: 0 }, a, (column.into(), prefix_shape));
            parts.push((["prefix.score", "prefix.weight", "prefix.tie"], row, product, None));
        }
        let mut scores = Vec::new();
        for ([score, weight, tie], shape, product, hidden) in parts {
            let z = result(b, &name(score), shape, self.params.score)?;
            let value = Value { products: [product].into(), ..Value::default() };
            b.requantize(shape, value, self.params.score, z)?;
            scores.push(([weight, tie], shape, z, hidden));
        }

        // Their maximum, and the exponentials of the distances from it.
        let (exp_bits, exp_max) = b.table_bound(self.params.exp)?;
        if 1 << exp_bits != NEAR {
            return Err(b.refuse("the exponential needs a table of 10 bits"));
        }
        let reach = Interval { low: -(FAR / 2), high: FAR / 2 - 1 };
        let maximum = b.ranged(&name("maximum"), row, reach);
        b.step(|| {
            let columns = scores.iter().map(|&(_, _, z, hidden)| (z, hidden)).collect();
            Step::RowMax { columns, output: maximum }
        });
        let mut weights = Vec::new();
        let (mut ties, mut total) = (Value::default(), Value::default());
        for (k, &([weight, tie], shape, z, hidden)) in scores.iter().enumerate() {
            let mut distance = Form::from(maximum).plus(-1, z);
            if let Some(hidden) = hidden {
                distance = distance.plus_indicator(FAR, hidden);
            }
            let weight = b.witness(&name(weight), shape, Interval::symmetric(exp_max));
            let tie = b.witness(&name(tie), shape, Interval { low: 0, high: 1 });
            b.distance(self.params.exp, shape, &distance, weight, tie)?;
            for (value, column) in [(&mut ties, tie), (&mut total, weight)] {
                if k == 0 {
                    value.sums.push(RowSum { coefficient: 1, column });
                } else {
                    value.form = value.form.clone().plus(1, column);
                }
            }
            weights.push((shape, weight));
        }
        let seen = self.positions + u32::from(self.params.prefix.is_some());
        let tie_bits = seen.next_power_of_two().trailing_zeros().max(1);
        let tie_range = Interval { low: 1, high: 1 << tie_bits };
        sum(b, &name("ties"), row, ties, tie_range);
        let most = i64::from(seen) * exp_max;
        if most >= 1 << 29 {
            return Err(b.refuse("the weights of a row may sum to more than 29 bits"));
        }
        let sum_bits = 64 - most.leading_zeros();
        let sum = sum(b, &name("sum"), row, total, Interval::bits(sum_bits));

        // The weighted mean of the values.
        let out = Shape { rows, cols: channels };
        let v_bound = b.bound(values) + 1;
        let limit = Interval { low: -v_bound, high: v_bound - 1 };
        let mean = b.ranged(&name("mean"), out, limit);
        let bits = sum_bits + 1;
        let remainder = b.ranged(&name("mean.remainder"), out, Interval::bits(bits));
        let twice = Form::default().plus(2, sum);
        let below = twice.clone().plus_constant(-1).plus(-1, remainder);
        b.range(out, &below, bits);
        let mut value = Value { form: sum.into(), ..Value::default() };
        let mut mixed = vec![(log, (values.into(), b.shape(values)))];
        if let Some(prefix) = self.params.prefix {
            mixed.push((0, (b.rectangle(prefix.value, 0, 0, prefix_shape)?.into(), prefix_shape)));
        }
        for ((shape, weight), (group, values)) in weights.into_iter().zip(mixed) {
            let own = per_group(Kind::Mix { group }, (weight.into(), shape), values);
            value.products.push(Product { coefficient: 2, ..own });
        }
        let dividend = || Int::from(value.clone());
        b.step(|| Step::Set { shape: out, value: dividend().over(twice.clone()), column: mean });
        b.step(|| Step::Set { shape: out, value: dividend().modulo(twice.clone()), column: remainder });
        let mut product = b.entrywise(-2, out, sum.into(), mean.into());
        // The sum is one of `seen` weights.
        product.bound = Some(most.saturating_mul(v_bound));
        value.products.push(product);
        value.form = value.form.plus(-1, remainder);
        b.relation(&name("mean"), out, value);
        Ok(mean)
    }
}

/// The column that a requantization fills.
fn result(b: &mut Builder<'_>, name: Name<'_>, shape: Shape, requantize: Requantize) -> Checked<ColumnId> {
    let (_, bound) = b.table_bound(requantize.table)?;
    Ok(b.witness(name, shape, Interval::symmetric(bound)))
}

/// A column that is the given sums along rows.
fn sum(b: &mut Builder<'_>, name: Name<'_>, row: Shape, value: Value, bound: Interval) -> ColumnId {
    let column = b.ranged(name, row, bound);
    b.step(|| Step::Set { shape: row, value: value.clone().into(), column });
    let mut value = value;
    value.form = value.form.plus(-1, column);
    b.relation(name, row, value);
    column
}

/// A norm of every row and a scale of every channel.
fn normalized(b: &mut Builder<'_>, name: Name<'_>, x: ColumnId, params: HeadNorm) -> Checked<ColumnId> {
    let shape = b.shape(x);
    let declared = b.constant(params.gain)?;
    if (declared.rows, declared.cols) != (1, shape.cols) {
        return Err(b.refuse("a norm's gain needs one entry per channel of a head"));
    }
    let gain = b.rectangle(params.gain, 0, 0, Shape { rows: 1, cols: shape.cols })?;
    let half = 1i64 << 6;
    let high = b.ranged(&format_args!("{name}.high"), shape, Interval { low: -half, high: half - 1 });
    let low = b.ranged(&format_args!("{name}.low"), shape, Interval::bits(Limbs::LOW));
    let limbs = Limbs { high, low };
    let divisor = 1 << Limbs::LOW;
    b.step(|| Step::Divide {
        shape,
        value: Form::from(x).into(),
        divisor,
        quotient: high,
        remainder: Some(low),
    });
    b.relation(&format_args!("{name}.limbs"), shape, limbs.form().plus(-1, x).into());
    let middle = result(b, &format_args!("{name}.normalized"), shape, params.norm.requantize)?;
    rmsnorm::normalize(b, &[limbs], params.norm, &[middle])?;
    let column = result(b, &format_args!("{name}.scaled"), shape, params.requantize)?;
    let product = b.entrywise(1, shape, middle.into(), gain.into());
    b.requantize(shape, Value { products: [product].into(), ..Value::default() }, params.requantize, column)?;
    Ok(column)
}
