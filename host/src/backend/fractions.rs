//! The fraction tree and the sumcheck of one of its layers, see [`circlet_core::lookup`].
//!
//! A layer's sums cost, for every pair of nodes that a round binds, four products for the summand, two for the
//! `eq` weight, and four to fold. The weight is the product of a short table over the low coordinates, inside
//! the loop, and one over the high coordinates, outside of it.

use std::ops::{Mul, Sub};

use circlet_core::field::QM31;
use circlet_core::lookup::Children;
use circlet_core::poly::bind_high;
use rayon::prelude::*;

use super::field::{E, Ext, LANES, LOG_LANES, unpack};
use super::table::{Table, eq};

/// Vectors that one task works on.
const TASK: usize = 1 << 9;
/// Coordinates of the inner weight table.
const LOG_INNER: usize = 9;

/// Numerators and denominators of one layer.
///
/// Only the leaves may be fewer than a power of two (but more than half of one): those that are missing are
/// `0 / 1`. They cost nothing but a product by a constant.
#[derive(Clone, Debug)]
pub struct Fractions {
    /// Numerators.
    pub p: Table,
    /// Denominators.
    pub q: Table,
}

impl Fractions {
    /// Half of the number of nodes, with the missing ones.
    fn half(&self) -> usize {
        self.q.len().next_power_of_two() / 2
    }

    /// The layer above: node `x` is the sum of `x` and `x + half`.
    pub fn parents(&self) -> Self {
        let half = self.half();
        match (&self.p, &self.q) {
            (Table::Wide(p), Table::Wide(q)) => {
                let (p, q) = add_halves(p, q, half / LANES, |p, q| (p, q));
                Self { p: Table::of_vectors(p), q: Table::of_vectors(q) }
            }
            (Table::Base(p), Table::Wide(q)) => {
                let one = E::splat(QM31::ONE);
                let (p, q) = add_halves(p, q, half / LANES, |p, q| (one * p, q));
                Self { p: Table::of_vectors(p), q: Table::of_vectors(q) }
            }
            (p, q) => {
                let (p, q) = add_halves(&p.elements(), &q.elements(), half, |p, q| (p, q));
                Self { p: Table::Narrow(p), q: Table::Narrow(q) }
            }
        }
    }
}

/// Sums of the first and the second half; `alone` is a node whose partner is `0 / 1`.
fn add_halves<P, V>(p: &[P], q: &[V], half: usize, alone: impl Fn(P, V) -> (V, V) + Sync) -> (Vec<V>, Vec<V>)
where
    P: Copy + Sync,
    V: Ext + Mul<P, Output = V>,
{
    (0..half)
        .into_par_iter()
        .with_min_len(TASK)
        .map(|i| match q.get(i + half) {
            Some(&right) => (right * p[i] + q[i] * p[i + half], q[i] * right),
            None => alone(p[i], q[i]),
        })
        .unzip()
}

/// The right children of a layer: a table whose missing entries are a constant.
struct Right {
    entries: Vec<E>,
    rest: QM31,
}

impl Right {
    /// Binds the highest coordinate of a table of `2 half` vectors.
    fn bind(&mut self, half: usize, r: E) {
        let missing = E::splat(self.rest);
        let at = |i: usize| self.entries.get(i).copied().unwrap_or(missing);
        let len = self.entries.len().min(half);
        self.entries = (0..len).map(|i| at(i) + (at(i + half) - at(i)) * r).collect();
    }

    fn elements(&self, len: usize) -> Vec<QM31> {
        let mut entries = self.entries.clone();
        entries.resize(len, E::splat(self.rest));
        unpack(&entries)
    }
}

/// The sumcheck of a layer: the children of all its nodes, folded as rounds go by.
///
/// The two numerators are kept as `p0` and `p1 + lambda q1`, which makes the summand two products.
pub struct LayerSumcheck {
    state: State,
    lambda: QM31,
}

enum State {
    /// At least two vectors each.
    Wide {
        p0: Table,
        q0: Vec<E>,
        q1: Right,
        /// `p1 + lambda q1`.
        last: Right,
    },
    /// `[p0, q1, q0, p1 + lambda q1]`.
    Narrow([Vec<QM31>; 4]),
}

/// `t(0)` and the leading coefficient of `a b + c d` along the bound coordinate, from the entries at both ends.
#[inline(always)]
fn ends<P, V>(a: (P, P), b: (V, V), c: (V, V), d: (V, V)) -> (V, V)
where
    P: Copy + Sub<Output = P>,
    V: Ext + Mul<P, Output = V>,
{
    (b.0 * a.0 + c.0 * d.0, (b.1 - b.0) * (a.1 - a.0) + (c.1 - c.0) * (d.1 - d.0))
}

impl LayerSumcheck {
    /// The sumcheck over the children of a layer.
    pub fn new(children: &Fractions, lambda: QM31) -> Self {
        let half = children.half();
        let by = E::splat(lambda);
        let right = |entries: Vec<E>, rest: QM31| Right { entries, rest };
        let state = match (&children.p, &children.q) {
            (Table::Wide(p), Table::Wide(q)) if half >= 2 * LANES => {
                let half = half / LANES;
                let last = p[half..].par_iter().zip(&q[half..]).map(|(&p, &q)| p + by * q).collect();
                State::Wide {
                    p0: Table::Wide(p[..half].to_vec()),
                    q0: q[..half].to_vec(),
                    q1: right(q[half..].to_vec(), QM31::ONE),
                    last: right(last, lambda),
                }
            }
            (Table::Base(p), Table::Wide(q)) if half >= 2 * LANES => {
                let half = half / LANES;
                let last = p[half..].par_iter().zip(&q[half..]).map(|(&p, &q)| by * q + p).collect();
                State::Wide {
                    p0: Table::Base(p[..half].to_vec()),
                    q0: q[..half].to_vec(),
                    q1: right(q[half..].to_vec(), QM31::ONE),
                    last: right(last, lambda),
                }
            }
            (p, q) => {
                let (mut p, mut q) = (p.elements(), q.elements());
                p.resize(2 * half, QM31::ZERO);
                q.resize(2 * half, QM31::ONE);
                let last = (0..half).map(|i| p[half + i] + lambda * q[half + i]).collect();
                State::Narrow([p[..half].to_vec(), q[half..].to_vec(), q[..half].to_vec(), last])
            }
        };
        Self { state, lambda }
    }

    /// `(t(0), t_2)` of the round that binds coordinate `below.len()`; `below` are the layer point's lower
    /// coordinates.
    pub fn round(&self, below: &[QM31]) -> (QM31, QM31) {
        match &self.state {
            State::Wide { p0: Table::Base(p0), q0, q1, last } => wide_round(p0, q0, q1, last, below),
            State::Wide { p0: Table::Wide(p0), q0, q1, last } => wide_round(p0, q0, q1, last, below),
            State::Wide { .. } => unreachable!("all tables of a layer are equally long"),
            State::Narrow(tables) => {
                let half = tables[0].len() / 2;
                circlet_core::poly::eq_table(below)
                    .into_iter()
                    .enumerate()
                    .map(|(i, e)| {
                        let [a, b, c, d] = tables.each_ref().map(|t| (t[i], t[i + half]));
                        let (low, lead) = ends(a, b, c, d);
                        (e * low, e * lead)
                    })
                    .fold((QM31::ZERO, QM31::ZERO), add)
            }
        }
    }

    /// Binds the round's coordinate.
    pub fn bind(&mut self, r: QM31) {
        match &mut self.state {
            State::Narrow(tables) => tables.iter_mut().for_each(|t| bind_high(t, r)),
            State::Wide { p0, q0, q1, last } => {
                let half = q0.len() / 2;
                let mut left = Table::Wide(std::mem::take(q0));
                let by = E::splat(r);
                rayon::join(
                    || rayon::join(|| p0.bind_high(r), || left.bind_high(r)),
                    || rayon::join(|| q1.bind(half, by), || last.bind(half, by)),
                );
                if let Table::Wide(vectors) = left {
                    *q0 = vectors;
                } else {
                    let right = [&*q1, &*last].map(|t| t.elements(half));
                    let [q1, last] = right;
                    self.state = State::Narrow([p0.elements(), q1, left.elements(), last]);
                }
            }
        }
    }

    /// The children at the random point, after all rounds.
    pub fn children(&self) -> Children {
        let [p0, q1, q0, last] = match &self.state {
            State::Narrow(tables) => tables.each_ref().map(|t| t[0]),
            State::Wide { .. } => unreachable!("all coordinates are bound"),
        };
        [p0, last - self.lambda * q1, q0, q1]
    }
}

fn add<V: Ext>(x: (V, V), y: (V, V)) -> (V, V) {
    (x.0 + y.0, x.1 + y.1)
}

/// Both elements times a weight.
#[inline(always)]
fn scale(weight: E, (x, y): (E, E)) -> (E, E) {
    (weight * x, weight * y)
}

fn wide_round<P>(p0: &[P], q0: &[E], q1: &Right, last: &Right, below: &[QM31]) -> (QM31, QM31)
where
    P: Copy + Sync + Sub<Output = P>,
    E: Ext + Mul<P, Output = E>,
{
    let half = p0.len() / 2;
    let inner = match eq(&below[..below.len().min(LOG_INNER)]) {
        Table::Wide(v) => v,
        Table::Narrow(v) if v.len() == LANES => super::field::pack(&v),
        Table::Narrow(_) | Table::Base(_) => {
            unreachable!("a wide table binds a coordinate above the lanes")
        }
    };
    let outer = circlet_core::poly::eq_table(&below[below.len().min(LOG_INNER)..]);
    let zero = E::splat(QM31::ZERO);
    // Pairs below `both` have two right children, those below `one` the lower of them, the others none.
    let (both, one) = (q1.entries.len().saturating_sub(half), q1.entries.len().min(half));
    let (q1_rest, last_rest) = (E::splat(q1.rest), E::splat(last.rest));
    let left = |i: usize| ((p0[i], p0[i + half]), (q0[i], q0[i + half]));
    let (low, lead) = outer
        .par_iter()
        .with_min_len((TASK / inner.len()).max(1))
        .enumerate()
        .map(|(block, &weight)| {
            let range = block * inner.len()..(block + 1) * inner.len();
            let part =
                |from: usize, to: usize| from.clamp(range.start, range.end)..to.clamp(range.start, range.end);
            let e = |i: usize| inner[i - range.start];
            let mut sums = (zero, zero);
            for i in part(0, both) {
                let (a, c) = left(i);
                let b = (q1.entries[i], q1.entries[i + half]);
                let d = (last.entries[i], last.entries[i + half]);
                sums = add(sums, scale(e(i), ends(a, b, c, d)));
            }
            for i in part(both, one) {
                let (a, c) = left(i);
                let (b, d) = ((q1.entries[i], q1_rest), (last.entries[i], last_rest));
                sums = add(sums, scale(e(i), ends(a, b, c, d)));
            }
            for i in part(one, half) {
                sums.0 += e(i) * (q1_rest * p0[i] + q0[i] * last_rest);
            }
            scale(E::splat(weight), sums)
        })
        .reduce(|| (zero, zero), add);
    debug_assert_eq!(outer.len() * inner.len(), half);
    debug_assert!(below.len() >= LOG_LANES as usize);
    (low.total(), lead.total())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::pack_all;
    use circlet_core::field::M31;
    use circlet_core::lookup::{merge, round, summand};
    use circlet_core::poly::{eq_table, evaluate, univariate};

    fn sample(n: usize, seed: u64) -> Vec<QM31> {
        (0..n as u64)
            .map(|i| {
                let limb =
                    |k: u64| M31::reduce((seed * 1000 + i * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                QM31::from_coordinates([limb(1), limb(2), limb(3), limb(4)])
            })
            .collect()
    }

    /// The sum that a round polynomial has at `x`, from the definition.
    fn naive(children: &[Vec<QM31>; 4], lambda: QM31, below: &[QM31], x: QM31) -> QM31 {
        let bound = children.clone().map(|mut t| {
            bind_high(&mut t, x);
            t
        });
        eq_table(below)
            .into_iter()
            .enumerate()
            .map(|(i, e)| e * summand([bound[0][i], bound[1][i], bound[2][i], bound[3][i]], lambda))
            .sum()
    }

    #[test]
    fn rounds_are_those_of_the_naive_prover() {
        for log in 1..=12usize {
            let (p, q) = (sample(2 << log, 1), sample(2 << log, 2));
            agrees(log, &p, &q, &Fractions { p: Table::new(p.clone()), q: Table::new(q.clone()) });
        }
        for log in 3..=12usize {
            let cells: Vec<i32> = (0..2i32 << log).map(|i| i * 1001 - 7000).collect();
            let fractions =
                Fractions { p: Table::of_base(pack_all(&cells)), q: Table::new(sample(2 << log, 2)) };
            agrees(log, &fractions.p.elements(), &fractions.q.elements(), &fractions);
        }
    }

    #[test]
    fn missing_leaves_are_zero_over_one() {
        for log in 4..=12usize {
            for used in [(1 << log) + 1, (1 << log) + (1 << log) / 4, (2 << log) - 1] {
                let used = (used as usize).div_ceil(LANES) * LANES;
                let cells: Vec<i32> = (0..used as i32).map(|i| i * 1001 - 7000).collect();
                let fractions =
                    Fractions { p: Table::of_base(pack_all(&cells)), q: Table::new(sample(used, 2)) };
                let (mut p, mut q) = (fractions.p.elements(), fractions.q.elements());
                p.resize(2 << log, QM31::ZERO);
                q.resize(2 << log, QM31::ONE);
                agrees(log, &p, &q, &fractions);
            }
        }
    }

    fn agrees(log: usize, p: &[QM31], q: &[QM31], fractions: &Fractions) {
        let (point, challenges) = (sample(log, 3), sample(log, 4));
        let lambda = sample(1, 5)[0];
        let half = 1 << log;
        let mut children = [p[..half].to_vec(), p[half..].to_vec(), q[..half].to_vec(), q[half..].to_vec()];
        let parents = fractions.parents();
        let mut claim =
            evaluate(&parents.p.elements(), &point) + lambda * evaluate(&parents.q.elements(), &point);
        let mut fast = LayerSumcheck::new(fractions, lambda);
        for (j, &r) in (0..log).rev().zip(&challenges) {
            let below = &point[..j];
            let (t0, t2) = fast.round(below);
            let t1 = naive(&children, lambda, below, QM31::ONE);
            assert_eq!(t0, naive(&children, lambda, below, QM31::ZERO));
            let message = [t1 - t0 - t2, t2];
            assert_eq!(round(claim, point[j], message)[0], t0);
            claim = univariate(&round(claim, point[j], message), r);
            fast.bind(r);
            for table in &mut children {
                bind_high(table, r);
            }
        }
        let ends = children.map(|t| t[0]);
        assert_eq!(fast.children(), ends);
        assert_eq!(summand(ends, lambda), claim);
        let (x, mut at) = (sample(1, 6)[0], challenges.clone());
        at.reverse();
        at.push(x);
        assert_eq!(merge(ends, x), (evaluate(p, &at), evaluate(q, &at)));
    }
}
