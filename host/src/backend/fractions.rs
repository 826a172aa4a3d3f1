//! The fraction tree and the sumcheck of one of its layers, see [`circlet_core::lookup`].
//!
//! A layer's sums cost, for every pair of nodes that a round binds, four products for the summand, two for the
//! `eq` weight, and four to fold. The weight is the product of a short table over the low coordinates, inside
//! the loop, and one over the high coordinates, outside of it.

use std::ops::{Mul, Sub};

use circlet_core::field::QM31;
use circlet_core::lookup::Children;
use rayon::prelude::*;

use super::field::{E, Ext, LANES, LOG_LANES};
use super::table::{Table, eq};

/// Vectors that one task works on.
const TASK: usize = 1 << 9;
/// Coordinates of the inner weight table.
const LOG_INNER: usize = 9;

/// Numerators and denominators of one layer.
#[derive(Clone, Debug)]
pub struct Fractions {
    /// Numerators.
    pub p: Table,
    /// Denominators.
    pub q: Table,
}

impl Fractions {
    /// The layer above: node `x` is the sum of `x` and `x + half`.
    pub fn parents(&self) -> Self {
        match (&self.p, &self.q) {
            (Table::Wide(p), Table::Wide(q)) => {
                let (p, q) = add_halves(p, q);
                Self { p: Table::of_vectors(p), q: Table::of_vectors(q) }
            }
            (Table::Base(p), Table::Wide(q)) => {
                let (p, q) = add_halves(p, q);
                Self { p: Table::of_vectors(p), q: Table::of_vectors(q) }
            }
            (p, q) => {
                let (p, q) = add_halves(&p.elements(), &q.elements());
                Self { p: Table::Narrow(p), q: Table::Narrow(q) }
            }
        }
    }
}

fn add_halves<P: Copy + Sync, V: Ext + Mul<P, Output = V>>(p: &[P], q: &[V]) -> (Vec<V>, Vec<V>) {
    let half = p.len() / 2;
    (0..half)
        .into_par_iter()
        .with_min_len(TASK)
        .map(|i| (q[i + half] * p[i] + q[i] * p[i + half], q[i] * q[i + half]))
        .unzip()
}

/// The sumcheck of a layer: the children of all its nodes, folded as rounds go by.
///
/// The two numerators are kept as `p0` and `p1 + lambda q1`, which makes the summand two products.
pub struct LayerSumcheck {
    /// `[p0, q1, q0, p1 + lambda q1]`.
    tables: [Table; 4],
    lambda: QM31,
}

/// `t(0)` and the leading coefficient of `p0 q1 + q0 (p1 + lambda q1)` along the bound coordinate.
#[inline(always)]
fn pair<P, V>(p0: &[P], t: [&[V]; 3], half: usize, i: usize) -> (V, V)
where
    P: Copy + Sub<Output = P>,
    V: Ext + Mul<P, Output = V>,
{
    let a = (p0[i], p0[i + half]);
    let [b, c, d] = t.map(|t| (t[i], t[i + half]));
    let low = b.0 * a.0 + c.0 * d.0;
    let lead = (b.1 - b.0) * (a.1 - a.0) + (c.1 - c.0) * (d.1 - d.0);
    (low, lead)
}

impl LayerSumcheck {
    /// The sumcheck over the children of a layer.
    pub fn new(children: &Fractions, lambda: QM31) -> Self {
        let tables = match (&children.p, &children.q) {
            (Table::Wide(p), Table::Wide(q)) if p.len() > 2 => {
                let half = p.len() / 2;
                let by = E::splat(lambda);
                let last = (0..half)
                    .into_par_iter()
                    .with_min_len(TASK)
                    .map(|i| p[half + i] + by * q[half + i])
                    .collect();
                [p[..half].to_vec(), q[half..].to_vec(), q[..half].to_vec(), last].map(Table::Wide)
            }
            (Table::Base(p), Table::Wide(q)) if p.len() > 2 => {
                let half = p.len() / 2;
                let by = E::splat(lambda);
                let last = (0..half)
                    .into_par_iter()
                    .with_min_len(TASK)
                    .map(|i| by * q[half + i] + p[half + i])
                    .collect();
                let [q1, q0, last] = [q[half..].to_vec(), q[..half].to_vec(), last].map(Table::Wide);
                [Table::Base(p[..half].to_vec()), q1, q0, last]
            }
            (p, q) => {
                let (p, q) = (p.elements(), q.elements());
                let half = p.len() / 2;
                let last = (0..half).map(|i| p[half + i] + lambda * q[half + i]).collect();
                [p[..half].to_vec(), q[half..].to_vec(), q[..half].to_vec(), last].map(Table::new)
            }
        };
        Self { tables, lambda }
    }

    /// `(t(0), t_2)` of the round that binds coordinate `below.len()`; `below` are the layer point's lower
    /// coordinates.
    pub fn round(&self, below: &[QM31]) -> (QM31, QM31) {
        if let [p0, Table::Wide(b), Table::Wide(c), Table::Wide(d)] = &self.tables {
            match p0 {
                Table::Base(a) => return wide_round(a, [b, c, d], below),
                Table::Wide(a) => return wide_round(a, [b, c, d], below),
                Table::Narrow(_) => {}
            }
        }
        let tables = self.tables.each_ref().map(Table::elements);
        let [p0, rest @ ..] = tables.each_ref().map(Vec::as_slice);
        let half = p0.len() / 2;
        circlet_core::poly::eq_table(below)
            .into_iter()
            .enumerate()
            .map(|(i, e)| {
                let (low, lead) = pair(p0, rest, half, i);
                (e * low, e * lead)
            })
            .fold((QM31::ZERO, QM31::ZERO), add)
    }

    /// Binds the round's coordinate.
    pub fn bind(&mut self, r: QM31) {
        self.tables.par_iter_mut().for_each(|t| t.bind_high(r));
    }

    /// The children at the random point, after all rounds.
    pub fn children(&self) -> Children {
        let [p0, q1, q0, last] = self.tables.each_ref().map(Table::first);
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

fn wide_round<P>(p0: &[P], rest: [&[E]; 3], below: &[QM31]) -> (QM31, QM31)
where
    P: Copy + Sync + Sub<Output = P>,
    E: Ext + Mul<P, Output = E>,
{
    let half = p0.len() / 2;
    let inner = match eq(&below[..below.len().min(LOG_INNER)]) {
        Table::Wide(v) => v,
        Table::Narrow(v) if v.len() == LANES => super::field::pack(&v),
        Table::Narrow(_) | Table::Base(_) => unreachable!("a wide table binds a coordinate above the lanes"),
    };
    let outer = circlet_core::poly::eq_table(&below[below.len().min(LOG_INNER)..]);
    let zero = E::splat(QM31::ZERO);
    let (low, lead) = outer
        .par_iter()
        .with_min_len((TASK / inner.len()).max(1))
        .enumerate()
        .map(|(block, &weight)| {
            let start = block * inner.len();
            let mut sums = (zero, zero);
            for (k, &e) in inner.iter().enumerate() {
                let (low, lead) = pair(p0, rest, half, start + k);
                sums = add(sums, scale(e, (low, lead)));
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
    use circlet_core::poly::{bind_high, eq_table, evaluate, univariate};

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
