//! Rounds of a sumcheck over `sum_x eq(z, x) s(x)`, from the highest coordinate down, where `s` is a sum of
//! products of two multilinear polynomials.
//!
//! One pass over the nodes folds them and sums the next round. The weight is the product of three tables: over
//! the coordinates inside a vector, over those inside a tile of vectors, and over those above; only the second
//! costs a product for every node, and its sums are reduced once for a tile.

use circlet_core::field::QM31;
use circlet_core::poly::eq_table;
use rayon::prelude::*;

use super::field::{E, Ext, LANES, LOG_LANES, pack, unpack};
use super::lazy::{Acc, Factor, dot, mix, product, times};
use super::memory::Memory;

/// Coordinates of a tile of vectors.
const LOG_TILE: usize = 5;
/// Vectors in a tile.
pub const TILE: usize = 1 << LOG_TILE;
/// Tiles that a task works on, at least.
const TASK: usize = 16;

/// `eq(below, .)` in three factors.
pub struct Weights {
    lanes: E,
    /// Over the vectors of a tile.
    pub inner: Vec<Factor>,
    outer: Vec<Factor>,
}

impl Weights {
    /// The weights of at least a vector.
    pub fn new(below: &[QM31]) -> Self {
        let (lanes, above) = below.split_at(LOG_LANES as usize);
        let (inner, outer) = above.split_at(above.len().min(LOG_TILE));
        let factors = |point: &[QM31]| eq_table(point).into_iter().map(Factor::new).collect();
        Self { lanes: pack(&eq_table(lanes))[0], inner: factors(inner), outer: factors(outer) }
    }

    /// Weighted sums in parallel; `tile` gets the task, its first vector and the weights inside a tile.
    pub fn sum<T: Send, R, const N: usize>(
        &self,
        tasks: impl IndexedParallelIterator<Item = T>,
        room: impl Fn() -> R + Sync + Send,
        tile: impl Fn(&mut R, T, usize, &[Factor]) -> [E; N] + Sync + Send,
    ) -> [QM31; N] {
        let zero = || [E::splat(QM31::ZERO); N];
        let sums = tasks
            .zip(&self.outer)
            .enumerate()
            .with_min_len(TASK)
            .map_init(room, |room, (k, (task, outer))| {
                tile(room, task, k * self.inner.len(), &self.inner).map(|sum| times(sum, outer))
            })
            .reduce(zero, |x, y| std::array::from_fn(|k| x[k] + y[k]));
        sums.map(|sum| product(sum, self.lanes).total())
    }
}

/// Sixteen nodes: a summand is `n[0] n[1]`, or `n[0] n[1] + n[2] n[3]`.
pub type Node<const W: usize> = [E; W];

#[inline(always)]
fn summand<const W: usize>(node: &Node<W>) -> E {
    if W == 2 { product(node[0], node[1]) } else { dot([node[0], node[2]], [node[1], node[3]]) }
}

/// The leading coefficient of the summand along the coordinate from `low` to `high`.
#[inline(always)]
fn lead<const W: usize>(low: &Node<W>, high: &Node<W>) -> E {
    let mut difference = *low;
    for k in 0..W {
        difference[k] = high[k] - low[k];
    }
    summand(&difference)
}

fn scalar<const W: usize>(node: &[QM31; W]) -> QM31 {
    (0..W / 2).map(|k| node[2 * k] * node[2 * k + 1]).sum()
}

/// `(t(0), t_2)` of a round.
pub type Sums = (QM31, QM31);

/// The weighted sums of a tile of nodes, those of `low` and those of `high` being neighbours along the highest
/// coordinate. From `full` on all second factors are `tail`, and there are only two.
#[inline(always)]
pub fn tile_sums<const W: usize>(
    low: &[Node<W>],
    high: &[Node<W>],
    full: usize,
    tail: &Factor,
    inner: &[Factor],
) -> [E; 2] {
    let (mut sums, mut rest) = ([Acc::zero(); 2], Acc::zero());
    for ((low, high), weight) in low.iter().zip(high).zip(inner).take(full) {
        sums[0].add(summand(low), weight);
        sums[1].add(lead(low, high), weight);
    }
    for (low, weight) in low.iter().zip(inner).skip(full) {
        rest.add(low[0], weight);
    }
    let [low, lead] = sums.map(Acc::finish);
    if full < inner.len() { [low + times(rest.finish(), tail), lead] } else { [low, lead] }
}

/// The nodes of a sumcheck after its first round.
pub struct Rounds<const W: usize> {
    /// Nodes in vectors, `W` for each sixteen.
    room: Memory,
    /// How many sixteens there are.
    len: usize,
    /// How many of them have second factors other than `tail`.
    full: usize,
    tail: QM31,
    narrow: Vec<[QM31; W]>,
    sums: Sums,
}

impl<const W: usize> Rounds<W> {
    /// Begins with `len >= 2` sixteens of nodes. `fill` gets a place for them, in tiles, and the first of them; in
    /// a place from `full` on the second factor must be `tail`.
    pub fn new<R>(
        mut room: Memory,
        (len, full, tail): (usize, usize, QM31),
        below: &[QM31],
        scratch: impl Fn() -> R + Sync + Send,
        fill: impl Fn(&mut R, usize, &mut [Node<W>]) + Sync + Send,
    ) -> Self {
        if room.len() < len * W {
            drop(std::mem::replace(&mut room, Memory::new(len * W)));
        }
        let weights = Weights::new(below);
        let (low, high) = room[..len * W].as_chunks_mut::<W>().0.split_at_mut(len / 2);
        let width = weights.inner.len();
        let tasks = low.par_chunks_mut(width).zip(high.par_chunks_mut(width));
        let last = Factor::new(tail);
        let [t0, t2] = weights.sum(tasks, scratch, |scratch, (low, high), at, inner| {
            fill(scratch, at, low);
            fill(scratch, at + len / 2, high);
            tile_sums(low, high, full.saturating_sub(at).min(width), &last, inner)
        });
        Self { room, len, full, tail, narrow: Vec::new(), sums: (t0, t2) }
    }

    /// Begins with few nodes.
    pub fn of_few(room: Memory, nodes: Vec<[QM31; W]>, below: &[QM31]) -> Self {
        let sums = (QM31::ZERO, QM31::ZERO);
        let mut this = Self { room, len: 0, full: 0, tail: QM31::ZERO, narrow: Vec::new(), sums };
        this.narrow(nodes, below);
        this
    }

    /// Goes on with these nodes and sums the next round.
    fn narrow(&mut self, nodes: Vec<[QM31; W]>, below: &[QM31]) {
        let (low, high) = nodes.split_at(nodes.len() / 2);
        let mut sums = (QM31::ZERO, QM31::ZERO);
        for ((low, high), weight) in low.iter().zip(high).zip(eq_table(below)) {
            sums.0 += weight * scalar(low);
            sums.1 += weight * scalar::<W>(&std::array::from_fn(|k| high[k] - low[k]));
        }
        (self.sums, self.narrow) = (sums, nodes);
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn sums(&self) -> Sums {
        self.sums
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) {
        if !self.narrow.is_empty() {
            let mut nodes = std::mem::take(&mut self.narrow);
            let high = nodes.split_off(nodes.len() / 2);
            for (low, high) in nodes.iter_mut().zip(&high) {
                *low = std::array::from_fn(|k| low[k] + (high[k] - low[k]) * r);
            }
            return self.narrow(nodes, below);
        }
        let by = Factor::new(r);
        if self.len == 2 {
            let folded: [Vec<QM31>; W] =
                std::array::from_fn(|k| unpack(&[mix(self.room[k], self.room[W + k], &by)]));
            let nodes = (0..LANES).map(|i| std::array::from_fn(|k| folded[k][i])).collect();
            return self.narrow(nodes, below);
        }
        let half = self.len / 2;
        self.full = self.full.min(half);
        let (full, weights, tail) = (self.full, Weights::new(below), Factor::new(self.tail));
        let width = weights.inner.len();
        let (front, back) = self.room[..self.len * W].as_chunks_mut::<W>().0.split_at_mut(half);
        let (low, high) = front.split_at_mut(half / 2);
        let (third, fourth) = back.split_at(half / 2);
        let tasks = low.par_chunks_mut(width).zip(high.par_chunks_mut(width));
        let tasks = tasks.zip(third.par_chunks(width).zip(fourth.par_chunks(width)));
        let [t0, t2] = weights.sum(
            tasks,
            || (),
            |(), ((low, high), (third, fourth)), at, inner| {
                let full_low = full.saturating_sub(at).min(width);
                fold(low, third, &by, full_low);
                fold(high, fourth, &by, full.saturating_sub(at + half / 2).min(width));
                tile_sums(low, high, full_low, &tail, inner)
            },
        );
        (self.len, self.sums) = (half, (t0, t2));
    }

    /// The node at the random point, after all rounds, and the memory.
    pub fn finish(self) -> ([QM31; W], Memory) {
        (self.narrow[0], self.room)
    }
}

/// Folds nodes; from `full` on only their first factor changes.
#[inline(always)]
fn fold<const W: usize>(low: &mut [Node<W>], high: &[Node<W>], r: &Factor, full: usize) {
    for (low, high) in low.iter_mut().zip(high).take(full) {
        for k in 0..W {
            low[k] = mix(low[k], high[k], r);
        }
    }
    for (low, high) in low.iter_mut().zip(high).skip(full) {
        low[0] = mix(low[0], high[0], r);
    }
}
