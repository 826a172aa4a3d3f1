//! The fraction tree and the sumcheck of one of its layers, see [`circlet_core::lookup`].
//!
//! One pass over the nodes folds them and sums the next round: for every pair of nodes four products for the
//! summand, two for the `eq` weight and eight for the folds. The weight is the product of a short table over
//! the low coordinates, inside the loop, and one over the high coordinates, outside of it.

use std::ops::{Add, Mul, Range, Sub};

use circlet_core::field::QM31;
use circlet_core::lookup::Children;
use rayon::prelude::*;

use super::field::{E, Ext, LANES, LOG_LANES, pack, unpack};
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
    let (mut sums_p, mut sums_q) = (Vec::new(), Vec::new());
    (0..half)
        .into_par_iter()
        .with_min_len(TASK)
        .map(|i| match q.get(i + half) {
            Some(&right) => (right * p[i] + q[i] * p[i + half], q[i] * right),
            None => alone(p[i], q[i]),
        })
        .unzip_into_vecs(&mut sums_p, &mut sums_q);
    (sums_p, sums_q)
}

/// The children of a node, with the second numerator as `p1 + lambda q1`: the summand is `p0 q1 + q0 last`.
#[derive(Clone, Copy, Debug)]
struct Node<V> {
    p0: V,
    q0: V,
    q1: V,
    last: V,
}

/// `(1 - r) low + r high`.
#[inline(always)]
fn mix<V: Ext>(low: V, high: V, r: V) -> V {
    low + (high - low) * r
}

impl<V: Ext> Node<V> {
    /// `(1 - r) self + r high`; nodes that both lack their right child agree in it.
    #[inline(always)]
    fn fold(&mut self, high: &Self, r: V, full: bool) {
        self.p0 = mix(self.p0, high.p0, r);
        self.q0 = mix(self.q0, high.q0, r);
        if full {
            self.q1 = mix(self.q1, high.q1, r);
            self.last = mix(self.last, high.last, r);
        }
    }

    /// The summand at 0 and its leading coefficient along the coordinate from `self` to `high`; there is no
    /// leading part where both lack their right child.
    #[inline(always)]
    fn ends(&self, high: &Self, full: bool) -> (V, V) {
        let low = self.p0 * self.q1 + self.q0 * self.last;
        if !full {
            return (low, V::splat(QM31::ZERO));
        }
        let lead = (high.p0 - self.p0) * (high.q1 - self.q1) + (high.q0 - self.q0) * (high.last - self.last);
        (low, lead)
    }
}

/// The nodes of a layer, in vectors, read from their children: nothing is folded yet. Numerators may still be
/// in the base field, where products with them are cheap.
struct Unfolded<'a, P> {
    p: &'a [P],
    q: &'a [E],
    half: usize,
    lambda: E,
}

impl<P> Unfolded<'_, P>
where
    P: Copy + Sync + Sub<Output = P>,
    E: Ext + Mul<P, Output = E> + Add<P, Output = E>,
{
    /// Number of vectors before those whose nodes all lack their right child.
    fn full(&self) -> usize {
        self.q.len() - self.half
    }

    /// The summand `p0 q1 + p1 q0 + lambda q0 q1`.
    #[inline(always)]
    fn summand(&self, (p0, q0): (P, E), right: Option<(P, E)>) -> E {
        match right {
            Some((p1, q1)) => q1 * p0 + q0 * p1 + self.lambda * (q0 * q1),
            None => self.lambda * q0 + p0,
        }
    }

    #[inline(always)]
    fn right(&self, i: usize) -> Option<(P, E)> {
        self.q.get(i + self.half).map(|&q1| (self.p[i + self.half], q1))
    }

    /// The sums of the first round.
    fn first_round(&self, below: &[QM31]) -> (QM31, QM31) {
        let half = self.half / 2;
        let weights = Weights::new(below);
        weights.sum((0..weights.outer.len()).into_par_iter(), |_, range, inner| {
            let mut sums = zero();
            for (i, &weight) in range.zip(inner) {
                let (left, above) = ((self.p[i], self.q[i]), (self.p[i + half], self.q[i + half]));
                let right = self.right(i);
                sums.0 += weight * self.summand(left, right);
                if let Some((p1, q1)) = right {
                    let (dq0, dp0) = (above.1 - left.1, above.0 - left.0);
                    // Above a node with a right child there may be one without, that is with `0 / 1`.
                    let lead = if let Some((p, q)) = self.right(i + half) {
                        self.summand((dp0, dq0), Some((p - p1, q - q1)))
                    } else {
                        let dq1 = E::splat(QM31::ONE) - q1;
                        dq1 * dp0 - dq0 * p1 + self.lambda * (dq0 * dq1)
                    };
                    sums.1 += weight * lead;
                }
            }
            sums
        })
    }

    /// The node `i`, folded with the one above it.
    #[inline(always)]
    fn fold(&self, i: usize, r: E) -> Node<E> {
        let above = i + self.half / 2;
        let numerator = |low: P, high: P| r * (high - low) + low;
        let p0 = numerator(self.p[i], self.p[above]);
        let q0 = mix(self.q[i], self.q[above], r);
        let one = E::splat(QM31::ONE);
        let (p1, q1) = match (self.right(i), self.right(above)) {
            (Some(low), Some(high)) => (numerator(low.0, high.0), mix(low.1, high.1, r)),
            (Some(low), None) => ((one - r) * low.0, mix(low.1, one, r)),
            (None, _) => return Node { p0, q0, q1: one, last: self.lambda },
        };
        Node { p0, q0, q1, last: p1 + self.lambda * q1 }
    }
}

type Sums = (E, E);

fn zero() -> Sums {
    (E::splat(QM31::ZERO), E::splat(QM31::ZERO))
}

#[inline(always)]
fn add<V: Ext>(x: (V, V), y: (V, V)) -> (V, V) {
    (x.0 + y.0, x.1 + y.1)
}

/// Both elements times a weight.
#[inline(always)]
fn scale(weight: E, (x, y): Sums) -> Sums {
    (weight * x, weight * y)
}

/// `eq(below, .)` as the product of a table in vectors over the low coordinates and one over the others.
struct Weights {
    inner: Vec<E>,
    outer: Vec<QM31>,
}

impl Weights {
    fn new(below: &[QM31]) -> Self {
        debug_assert!(below.len() >= LOG_LANES as usize);
        let (low, high) = below.split_at(below.len().min(LOG_INNER));
        let inner = match eq(low) {
            Table::Wide(v) => v,
            table => pack(&table.elements()),
        };
        Self { inner, outer: circlet_core::poly::eq_table(high) }
    }

    /// Weighted sums over blocks of vectors, in parallel; `block` gets the range and the weights inside it.
    fn sum<T: Send>(
        &self,
        tasks: impl IndexedParallelIterator<Item = T>,
        block: impl Fn(T, Range<usize>, &[E]) -> Sums + Sync + Send,
    ) -> (QM31, QM31) {
        let width = self.inner.len();
        let sums = tasks
            .zip(&self.outer)
            .enumerate()
            .with_min_len((TASK / width).max(1))
            .map(|(k, (task, &weight))| {
                scale(E::splat(weight), block(task, k * width..(k + 1) * width, &self.inner))
            })
            .reduce(zero, add);
        (sums.0.total(), sums.1.total())
    }
}

/// Folds nodes into `low` and `high`, the two halves of the result, and sums the next round in the same pass.
/// `fold` leaves the folded node of a position in each half; it is told whether they have a right child.
fn fold_round(
    (low, high): (&mut [Node<E>], &mut [Node<E>]),
    full: usize,
    below: &[QM31],
    fold: impl Fn(usize, &mut Node<E>, &mut Node<E>, bool) + Sync,
) -> (QM31, QM31) {
    let weights = Weights::new(below);
    let width = weights.inner.len();
    let tasks = low.par_chunks_mut(width).zip(high.par_chunks_mut(width));
    weights.sum(tasks, |(low, high), range, inner| {
        let mut sums = zero();
        for (((low, high), i), &weight) in low.iter_mut().zip(high).zip(range).zip(inner) {
            fold(i, low, high, i < full);
            sums = add(sums, scale(weight, low.ends(high, i < full)));
        }
        sums
    })
}

/// Memory for the nodes of a layer, to be handed from layer to layer.
#[derive(Default)]
pub struct Workspace(Vec<Node<E>>);

impl Workspace {
    /// Room for all layers above these leaves.
    pub fn new(leaves: &Fractions) -> Self {
        Self(Vec::with_capacity(leaves.half() / 2 / LANES))
    }
}

/// The sumcheck of a layer: the children of all its nodes, folded as rounds go by. Each fold also sums the next
/// round.
pub struct LayerSumcheck<'a> {
    children: &'a Fractions,
    lambda: QM31,
    state: State,
    /// Folded nodes, once there are any; at least two vectors while they are in use.
    wide: Vec<Node<E>>,
    /// `(t(0), t_2)` of the next round.
    sums: (QM31, QM31),
}

enum State {
    /// Nodes are read from the children.
    Unfolded,
    /// Nodes are in `wide`, of which so many have a right child.
    Wide(usize),
    /// Fewer than two vectors of nodes.
    Narrow(Vec<Node<QM31>>),
}

/// Calls `$f` with the children as [`Unfolded`] nodes.
macro_rules! with_children {
    ($this:expr, $f:expr) => {{
        let (half, lambda) = ($this.children.half() / LANES, E::splat($this.lambda));
        match (&$this.children.p, &$this.children.q) {
            (Table::Base(p), Table::Wide(q)) => $f(&Unfolded { p, q, half, lambda }),
            (Table::Wide(p), Table::Wide(q)) => $f(&Unfolded { p, q, half, lambda }),
            _ => unreachable!("numerators and denominators are equally many"),
        }
    }};
}

/// The elements of a vector of nodes.
fn elements(node: &Node<E>) -> Vec<Node<QM31>> {
    let [p0, q0, q1, last] = [node.p0, node.q0, node.q1, node.last].map(|v| unpack(&[v]));
    (0..LANES).map(|i| Node { p0: p0[i], q0: q0[i], q1: q1[i], last: last[i] }).collect()
}

impl<'a> LayerSumcheck<'a> {
    /// The sumcheck over the children of a layer at a point.
    pub fn new(children: &'a Fractions, lambda: QM31, point: &[QM31], workspace: Workspace) -> Self {
        let half = children.half();
        let below = &point[..point.len().saturating_sub(1)];
        let (wide, sums) = (workspace.0, (QM31::ZERO, QM31::ZERO));
        let mut this = Self { children, lambda, state: State::Unfolded, wide, sums };
        if half >= 2 * LANES {
            this.sums = with_children!(this, |nodes: &Unfolded<'_, _>| nodes.first_round(below));
        } else {
            let (mut p, mut q) = (children.p.elements(), children.q.elements());
            p.resize(2 * half, QM31::ZERO);
            q.resize(2 * half, QM31::ONE);
            let node = |i: usize| {
                let (p1, q1) = (p[half + i], q[half + i]);
                Node { p0: p[i], q0: q[i], q1, last: p1 + lambda * q1 }
            };
            this.narrow((0..half).map(node).collect(), below);
        }
        this
    }

    /// Goes on with these nodes and sums the next round.
    fn narrow(&mut self, nodes: Vec<Node<QM31>>, below: &[QM31]) {
        let half = nodes.len() / 2;
        let weights = circlet_core::poly::eq_table(below);
        self.sums = (0..half).zip(weights).fold((QM31::ZERO, QM31::ZERO), |sums, (i, e)| {
            let (low, lead) = nodes[i].ends(&nodes[i + half], true);
            add(sums, (e * low, e * lead))
        });
        self.state = State::Narrow(nodes);
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn round(&self) -> (QM31, QM31) {
        self.sums
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) {
        let by = E::splat(r);
        match &mut self.state {
            State::Unfolded => self.bind_children(by, below),
            State::Wide(_) if self.wide.len() == 2 => {
                let (low, high) = self.wide.split_at_mut(1);
                low[0].fold(&high[0], by, true);
                let nodes = elements(&low[0]);
                self.narrow(nodes, below);
            }
            State::Wide(full) => {
                let half = self.wide.len() / 2;
                *full = (*full).min(half);
                let (front, back) = self.wide.split_at_mut(half);
                let (third, fourth) = back.split_at(half / 2);
                let halves = front.split_at_mut(half / 2);
                self.sums = fold_round(halves, *full, below, |i, low, high, full| {
                    low.fold(&third[i], by, full);
                    high.fold(&fourth[i], by, full);
                });
                self.wide.truncate(half);
            }
            State::Narrow(nodes) => {
                let mut nodes = std::mem::take(nodes);
                let high = nodes.split_off(nodes.len() / 2);
                nodes.iter_mut().zip(&high).for_each(|(low, high)| low.fold(high, r, true));
                self.narrow(nodes, below);
            }
        }
    }

    fn bind_children(&mut self, r: E, below: &[QM31]) {
        let half = self.children.half() / LANES / 2;
        if half == 1 {
            let node = with_children!(self, |nodes: &Unfolded<'_, _>| nodes.fold(0, r));
            self.narrow(elements(&node), below);
            return;
        }
        let zero = E::splat(QM31::ZERO);
        self.wide.clear();
        self.wide.resize(half, Node { p0: zero, q0: zero, q1: zero, last: zero });
        let halves = self.wide.split_at_mut(half / 2);
        let (full, sums) = with_children!(self, |nodes: &Unfolded<'_, _>| {
            let full = nodes.full().min(half);
            let sums = fold_round(halves, full, below, |i, low, high, _| {
                *low = nodes.fold(i, r);
                *high = nodes.fold(i + half / 2, r);
            });
            (full, sums)
        });
        (self.state, self.sums) = (State::Wide(full), sums);
    }

    /// The children at the random point, after all rounds, and the memory for the next layer.
    pub fn finish(self) -> (Children, Workspace) {
        let State::Narrow(nodes) = self.state else { unreachable!("all coordinates are bound") };
        let Node { p0, q0, q1, last } = nodes[0];
        ([p0, last - self.lambda * q1, q0, q1], Workspace(self.wide))
    }
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
        let mut fast = LayerSumcheck::new(fractions, lambda, &point, Workspace::default());
        for (j, &r) in (0..log).rev().zip(&challenges) {
            let below = &point[..j];
            let (t0, t2) = fast.round();
            let t1 = naive(&children, lambda, below, QM31::ONE);
            assert_eq!(t0, naive(&children, lambda, below, QM31::ZERO));
            let message = [t1 - t0 - t2, t2];
            assert_eq!(round(claim, point[j], message)[0], t0);
            claim = univariate(&round(claim, point[j], message), r);
            fast.bind(r, &point[..j.saturating_sub(1)]);
            for table in &mut children {
                bind_high(table, r);
            }
        }
        let ends = children.map(|t| t[0]);
        assert_eq!(fast.finish().0, ends);
        assert_eq!(summand(ends, lambda), claim);
        let (x, mut at) = (sample(1, 6)[0], challenges.clone());
        at.reverse();
        at.push(x);
        assert_eq!(merge(ends, x), (evaluate(p, &at), evaluate(q, &at)));
    }
}
