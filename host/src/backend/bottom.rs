//! The two lowest layers of a fraction tree, over leaves that are not stored.
//!
//! With `l = lambda q + p` the summand of a layer is `(l0 l1 - p0 p1) / lambda`. Leaves are linear in the
//! columns, so `l` is read off them as easily as `q`; and `p` is one for every lookup, so that `p0 p1` costs
//! nothing but where there are tables.

use circlet_core::field::QM31;
use circlet_core::lookup::Children as Ends;
use rayon::prelude::*;

use super::field::{E, Ext};
use super::fractions::{Children, Room, Workspace, elements_of};
use super::lazy::{Acc, Factor, dot, mix, product};
use super::leaves::Leaves;
use super::memory::Memory;
use super::rounds::{Node, Rounds, Sums, Weights};
use super::runs::Runs;

/// The layer above the leaves, as the children of the next.
pub struct Above<'a>(pub &'a Leaves<'a>);

impl Children for Above<'_> {
    fn vectors(&self) -> usize {
        self.0.vectors() / 2
    }

    fn tile<'a>(&'a self, at: usize, len: usize, room: &'a mut Room) -> [&'a [E]; 2] {
        let (leaves, half) = (self.0, self.0.vectors() / 2);
        let [p, q, p1, q1] = &mut room.0;
        let (p, q, p1, q1) = (&mut p[..len], &mut q[..len], &mut p1[..len], &mut q1[..len]);
        leaves.combine(at, q, QM31::ONE, false);
        let ones = leaves.are_ones(at..at + len);
        if at + half >= leaves.used() {
            leaves.numerators(at, p);
            return [p, q];
        }
        leaves.combine(at + half, q1, QM31::ONE, false);
        if ones && leaves.are_ones(at + half..at + half + len) {
            for ((p, q), &q1) in p.iter_mut().zip(&mut *q).zip(&*q1) {
                (*p, *q) = (*q + q1, product(*q, q1));
            }
            return [p, q];
        }
        leaves.numerators(at, p);
        leaves.numerators(at + half, p1);
        for (((p, q), &p1), &q1) in p.iter_mut().zip(&mut *q).zip(&*p1).zip(&*q1) {
            (*p, *q) = (dot([*p, p1], [q1, *q]), product(*q, q1));
        }
        [p, q]
    }

    fn elements(&self) -> [Vec<QM31>; 2] {
        elements_of(self)
    }
}

/// The sumcheck of the layer above the leaves.
pub struct LeafSumcheck<'a> {
    leaves: &'a Leaves<'a>,
    lambda: QM31,
    inverse: QM31,
    /// `t(0)` of the first round.
    start: QM31,
    combined: Combined,
    numerators: Numerators,
}

/// The sumcheck of `l0 l1`.
enum Combined {
    /// The leading coefficient of the first round.
    Unfolded(QM31, Memory),
    Folded(Rounds<2>),
}

/// The sumcheck of `p0 p1`.
enum Numerators {
    Runs([Runs; 2], Sums),
    Narrow(Rounds<2>),
}

impl<'a> LeafSumcheck<'a> {
    /// The sumcheck over the leaves at a point; `start` is `t(0)` of the first round. Leaves are many.
    pub fn new(leaves: &'a Leaves<'a>, lambda: QM31, start: QM31, point: &[QM31], room: Workspace) -> Self {
        let (below, half) = (&point[..point.len() - 1], leaves.vectors() / 2);
        let runs = [leaves.runs(0..half), leaves.runs(half..2 * half)];
        let sums = Runs::round(&runs[0], &runs[1], below);
        Self {
            leaves,
            lambda,
            // No challenge is zero.
            inverse: lambda.inverse().unwrap_or(QM31::ONE),
            start,
            combined: Combined::Unfolded(first_lead(leaves, lambda, below), room.0),
            numerators: Numerators::Runs(runs, sums),
        }
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn round(&self) -> Sums {
        let numerators = match &self.numerators {
            Numerators::Runs(_, sums) => *sums,
            Numerators::Narrow(rounds) => rounds.sums(),
        };
        match &self.combined {
            Combined::Unfolded(lead, _) => (self.start, (*lead - numerators.1) * self.inverse),
            Combined::Folded(rounds) => {
                let (t0, t2) = rounds.sums();
                ((t0 - numerators.0) * self.inverse, (t2 - numerators.1) * self.inverse)
            }
        }
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) {
        match &mut self.combined {
            Combined::Unfolded(_, room) => {
                let room = std::mem::take(room);
                self.combined = Combined::Folded(fold_leaves(self.leaves, self.lambda, room, r, below));
            }
            Combined::Folded(rounds) => rounds.bind(r, below),
        }
        match &mut self.numerators {
            Numerators::Runs(runs, sums) => {
                let [p0, p1] = [runs[0].bind(r), runs[1].bind(r)];
                if p0.len() > 1 {
                    *sums = Runs::round(&p0, &p1, below);
                    *runs = [p0, p1];
                } else {
                    let nodes = p0.elements().into_iter().zip(p1.elements()).map(|(p0, p1)| [p0, p1]);
                    self.numerators =
                        Numerators::Narrow(Rounds::of_few(Memory::default(), nodes.collect(), below));
                }
            }
            Numerators::Narrow(rounds) => rounds.bind(r, below),
        }
    }

    /// The leaves at the random point, after all rounds, and the memory.
    pub fn finish(self) -> (Ends, Workspace) {
        let (Combined::Folded(combined), Numerators::Narrow(numerators)) = (self.combined, self.numerators)
        else {
            unreachable!("all coordinates are bound")
        };
        let ([l0, l1], room) = combined.finish();
        let ([p0, p1], _) = numerators.finish();
        ([p0, p1, (l0 - p0) * self.inverse, (l1 - p1) * self.inverse], Workspace(room))
    }
}

/// The leading coefficient of the first round of `l0 l1`.
fn first_lead(leaves: &Leaves<'_>, lambda: QM31, below: &[QM31]) -> QM31 {
    let (half, weights) = (leaves.vectors() / 2, Weights::new(below));
    let (quarter, width, full) = (half / 2, weights.inner.len(), leaves.used() - half);
    let tasks = (0..quarter / width).into_par_iter();
    let [lead] = weights.sum(tasks, Room::default, |room, _, at, inner| {
        // Where both right children are missing nothing changes along the coordinate.
        if at >= full {
            return [E::splat(QM31::ZERO)];
        }
        let mut sum = Acc::zero();
        for (place, out) in [at, at + quarter, at + half, at + half + quarter].into_iter().zip(&mut room.0) {
            leaves.combine(place, &mut out[..width], lambda, true);
        }
        let [l0, h0, l1, h1] = &room.0;
        for (i, weight) in inner.iter().enumerate() {
            sum.add(product(h0[i] - l0[i], h1[i] - l1[i]), weight);
        }
        [sum.finish()]
    });
    lead
}

/// The nodes `l0, l1` after the first round.
fn fold_leaves(leaves: &Leaves<'_>, lambda: QM31, room: Memory, r: QM31, below: &[QM31]) -> Rounds<2> {
    let (half, by) = (leaves.vectors() / 2, Factor::new(r));
    let (len, full) = (half / 2, (leaves.used() - half).min(half / 2));
    let missing = E::splat(lambda);
    Rounds::new(room, (len, full, lambda), below, Room::default, |room, at, out: &mut [Node<2>]| {
        let [low, high, ..] = &mut room.0;
        let (low, high) = (&mut low[..out.len()], &mut high[..out.len()]);
        for k in 0..2 {
            if k == 1 && at >= full {
                for node in out.iter_mut() {
                    node[1] = missing;
                }
                continue;
            }
            leaves.combine(at + k * half, low, lambda, true);
            leaves.combine(at + k * half + len, high, lambda, true);
            for (i, node) in out.iter_mut().enumerate() {
                node[k] = mix(low[i], high[i], &by);
            }
        }
    })
}

#[cfg(test)]
mod tests;
