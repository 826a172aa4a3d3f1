//! The fraction tree and the sumcheck of one of its layers, see [`circlet_core::lookup`].
//!
//! The first round of a layer needs only its leading coefficient: `t(0) = p + lambda q` at the end of the layer
//! above, before its last coordinate is drawn, because that coordinate is bound first here.

use circlet_core::field::QM31;
use circlet_core::lookup::Children as Ends;
use rayon::prelude::*;

use super::field::{E, Ext, LANES, pack, unpack};
use super::lazy::{Acc, Factor, dot, mix, product, times};
use super::memory::Memory;
use super::rounds::{Node, Rounds, Sums, TILE, Weights};

/// Vectors below which a layer is folded element by element.
const FEW: usize = 8;

/// A layer of a power of two of fractions, wherever they come from.
pub trait Children: Sync {
    /// Number of vectors, or zero if there is not even one.
    fn vectors(&self) -> usize;

    /// Numerators and denominators of the vectors from `at` on, at most [`TILE`] of them; those that are not
    /// stored are computed in `room`.
    fn tile<'a>(&'a self, at: usize, len: usize, room: &'a mut Room) -> [&'a [E]; 2];

    /// All numerators and denominators of a layer of few.
    fn elements(&self) -> [Vec<QM31>; 2];
}

/// Memory for computed tiles.
pub struct Room(pub [Vec<E>; 4]);

impl Default for Room {
    fn default() -> Self {
        Self(std::array::from_fn(|_| vec![E::splat(QM31::ZERO); TILE]))
    }
}

type Rooms = [Room; 4];

/// The tiles at four places.
fn tiles<'a, C: Children>(
    children: &'a C,
    at: [usize; 4],
    len: usize,
    [a, b, c, d]: &'a mut Rooms,
) -> [[&'a [E]; 2]; 4] {
    let [i, j, k, l] = at;
    [children.tile(i, len, a), children.tile(j, len, b), children.tile(k, len, c), children.tile(l, len, d)]
}

/// Numerators and denominators of one layer, a power of two of each.
#[derive(Debug)]
pub enum Fractions {
    /// Vectors: first all numerators, then all denominators.
    Many(Memory),
    /// Fewer than two vectors.
    Few([Vec<QM31>; 2]),
}

impl Fractions {
    /// A layer of these.
    pub fn new(p: Vec<QM31>, q: Vec<QM31>) -> Self {
        if q.len() >= 2 * LANES {
            Self::Many([pack(&p), pack(&q)].concat().into())
        } else {
            Self::Few([p, q])
        }
    }

    /// The first fraction.
    pub fn first(&self) -> [QM31; 2] {
        self.elements().map(|elements| elements[0])
    }

    /// The memory of a layer that is no longer needed.
    pub fn into_workspace(self) -> Workspace {
        if let Self::Many(memory) = self { Workspace(memory) } else { Workspace::default() }
    }
}

impl Children for Fractions {
    fn vectors(&self) -> usize {
        if let Self::Many(memory) = self { memory.len() / 2 } else { 0 }
    }

    fn tile<'a>(&'a self, at: usize, len: usize, _: &'a mut Room) -> [&'a [E]; 2] {
        let Self::Many(memory) = self else { unreachable!("the layer has vectors") };
        let (p, q) = memory.split_at(memory.len() / 2);
        [&p[at..at + len], &q[at..at + len]]
    }

    fn elements(&self) -> [Vec<QM31>; 2] {
        match self {
            Self::Many(memory) => {
                let (p, q) = memory.split_at(memory.len() / 2);
                [unpack(p), unpack(q)]
            }
            Self::Few(elements) => elements.clone(),
        }
    }
}

/// The layer above: node `x` is the sum of `x` and `x + half`.
pub fn parents<C: Children>(children: &C) -> Fractions {
    let half = children.vectors() / 2;
    if half == 0 {
        let [p, q] = children.elements();
        let half = q.len() / 2;
        let sum = |i: usize| (p[i] * q[i + half] + p[i + half] * q[i], q[i] * q[i + half]);
        let (p, q) = (0..half).map(sum).unzip();
        return Fractions::Few([p, q]);
    }
    let mut memory = Memory::new(2 * half);
    let (p, q) = memory.split_at_mut(half);
    let out = p.par_chunks_mut(TILE).zip(q.par_chunks_mut(TILE)).enumerate().with_min_len(8);
    out.for_each_init(
        || [Room::default(), Room::default()],
        |[left, right], (k, (p, q))| {
            let [p0, q0] = children.tile(k * TILE, p.len(), left);
            let [p1, q1] = children.tile(k * TILE + half, p.len(), right);
            for (i, (p, q)) in p.iter_mut().zip(q).enumerate() {
                *p = dot([p0[i], p1[i]], [q1[i], q0[i]]);
                *q = product(q0[i], q1[i]);
            }
        },
    );
    if half == 1 {
        Fractions::Few([unpack(&memory[..1]), unpack(&memory[1..])])
    } else {
        Fractions::Many(memory)
    }
}

/// Memory to be handed from layer to layer.
#[derive(Default)]
pub struct Workspace(pub Memory);

impl Workspace {
    /// Room for all sumchecks of a tree of so many vectors of leaves.
    pub fn new(vectors: usize) -> Self {
        Self(Memory::new(vectors / 2))
    }
}

/// The sumcheck of a layer: the children of all its nodes, folded as rounds go by. A node is `p0, q1, q0, last`
/// with `last = p1 + lambda q1`, its summand `p0 q1 + q0 last`.
pub struct LayerSumcheck<'a, C> {
    children: &'a C,
    lambda: QM31,
    state: State,
}

enum State {
    /// Nodes are read from the children.
    Unfolded(Sums, Memory),
    Folded(Rounds<4>),
}

impl<'a, C: Children> LayerSumcheck<'a, C> {
    /// The sumcheck over the children of a layer at a point; `start` is `t(0)` of the first round.
    pub fn new(
        children: &'a C,
        lambda: QM31,
        start: QM31,
        point: &[QM31],
        Workspace(room): Workspace,
    ) -> Self {
        let below = &point[..point.len().saturating_sub(1)];
        let state = if children.vectors() < FEW {
            let [p, q] = children.elements();
            let half = q.len() / 2;
            let node = |i: usize| [p[i], q[i + half], q[i], p[i + half] + lambda * q[i + half]];
            State::Folded(Rounds::of_few(room, (0..half).map(node).collect(), below))
        } else {
            State::Unfolded((start, first_lead(children, lambda, below)), room)
        };
        Self { children, lambda, state }
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn round(&self) -> Sums {
        match &self.state {
            State::Unfolded(sums, _) => *sums,
            State::Folded(rounds) => rounds.sums(),
        }
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) {
        let room = match &mut self.state {
            State::Unfolded(_, room) => std::mem::take(room),
            State::Folded(rounds) => return rounds.bind(r, below),
        };
        let (children, half) = (self.children, self.children.vectors() / 2);
        let (len, by, lambda) = (half / 2, Factor::new(r), Factor::new(self.lambda));
        let fill = |rooms: &mut Rooms, at: usize, out: &mut [Node<4>]| {
            let [[p0, q0], [p2, q2], [p1, q1], [p3, q3]] =
                tiles(children, [at, at + len, at + half, at + half + len], out.len(), rooms);
            for (i, node) in out.iter_mut().enumerate() {
                let q1 = mix(q1[i], q3[i], &by);
                let last = mix(p1[i], p3[i], &by) + times(q1, &lambda);
                *node = [mix(p0[i], p2[i], &by), q1, mix(q0[i], q2[i], &by), last];
            }
        };
        self.state = State::Folded(Rounds::new(room, (len, len, QM31::ZERO), below, Rooms::default, fill));
    }

    /// The children at the random point, after all rounds, and the memory for the next layer.
    pub fn finish(self) -> (Ends, Workspace) {
        let State::Folded(rounds) = self.state else { unreachable!("all coordinates are bound") };
        let ([p0, q1, q0, last], room) = rounds.finish();
        ([p0, last - self.lambda * q1, q0, q1], Workspace(room))
    }
}

/// The leading coefficient of the first round.
fn first_lead<C: Children>(children: &C, lambda: QM31, below: &[QM31]) -> QM31 {
    let (half, lambda, weights) = (children.vectors() / 2, Factor::new(lambda), Weights::new(below));
    let quarter = half / 2;
    let [lead] =
        weights.sum((0..quarter.div_ceil(TILE)).into_par_iter(), Rooms::default, |rooms, _, at, inner| {
            let [[p0, q0], [p2, q2], [p1, q1], [p3, q3]] =
                tiles(children, [at, at + quarter, at + half, at + half + quarter], inner.len(), rooms);
            let mut sum = Acc::zero();
            for (i, weight) in inner.iter().enumerate() {
                let (p0, q0, p1, q1) = (p2[i] - p0[i], q2[i] - q0[i], p3[i] - p1[i], q3[i] - q1[i]);
                sum.add(dot([p0, q0], [q1, p1 + times(q1, &lambda)]), weight);
            }
            [sum.finish()]
        });
    lead
}

/// The elements of vectors of a computed layer of few.
pub fn elements_of<C: Children>(children: &C) -> [Vec<QM31>; 2] {
    let mut room = Room::default();
    let tile = children.tile(0, children.vectors(), &mut room);
    tile.map(unpack)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use circlet_core::field::M31;
    use circlet_core::lookup::{merge, round, summand};
    use circlet_core::poly::{bind_high, eq_table, evaluate, univariate};

    pub fn sample(n: usize, seed: u64) -> Vec<QM31> {
        (0..n as u64)
            .map(|i| {
                let limb =
                    |k: u64| M31::reduce((seed * 1000 + i * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                QM31::from_coordinates([limb(1), limb(2), limb(3), limb(4)])
            })
            .collect()
    }

    /// The sum that a round polynomial has at `x`, from the definition.
    pub fn naive(children: &[Vec<QM31>; 4], lambda: QM31, below: &[QM31], x: QM31) -> QM31 {
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
            agrees(log, &p, &q, &Fractions::new(p.clone(), q.clone()));
        }
    }

    fn agrees(log: usize, p: &[QM31], q: &[QM31], fractions: &Fractions) {
        let (point, challenges) = (sample(log, 3), sample(log, 4));
        let lambda = sample(1, 5)[0];
        let half = 1 << log;
        let mut children = [p[..half].to_vec(), p[half..].to_vec(), q[..half].to_vec(), q[half..].to_vec()];
        let parents = parents(fractions);
        let [above_p, above_q] = parents.elements();
        let mut claim = evaluate(&above_p, &point) + lambda * evaluate(&above_q, &point);
        let start = naive(&children, lambda, &point[..log - 1], QM31::ZERO);
        let mut fast = LayerSumcheck::new(fractions, lambda, start, &point, Workspace::default());
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
