//! Merkle trees, sixteen hashes at a time.

use std::ops::Range;

use circlet_core::field::M31;
use circlet_core::hash::HashSuite;
use circlet_core::hash::blake2s::{self, Word, initial_state};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::merkle::sibling_positions;
use rayon::prelude::*;

use super::field::{B, LANES};
use super::matrix::Rows;
use super::words::{Wide, compress};

/// Leaves or parents that one task hashes.
const TASK: usize = 1 << 10;

/// A suite whose trees can be built in bulk.
pub trait BulkHash: HashSuite {
    /// The digests of the rows of a matrix given by columns of vectors.
    fn leaves(columns: &[Vec<B>]) -> Vec<Self::Digest>;
    /// The level above.
    fn parents(level: &[Self::Digest]) -> Vec<Self::Digest>;
    /// Level [`DROPPED`] over the rows of a matrix of at least [`SUBTREES`] rows, without those below.
    fn roots(columns: &[Vec<B>]) -> Vec<Self::Digest>;
    /// The digests of rows that were absorbed.
    fn absorbed(rows: Absorbed) -> Vec<Self::Digest>;
    /// The digest with these words.
    fn digest_of_words(words: [u32; 8]) -> Self::Digest;
}

macro_rules! blake2s_bulk {
    ($suite:ty) => {
        impl BulkHash for $suite {
            fn leaves(columns: &[Vec<B>]) -> Vec<[u8; 32]> {
                blake2s_leaves(columns)
            }
            fn parents(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
                blake2s_parents(level)
            }
            fn roots(columns: &[Vec<B>]) -> Vec<[u8; 32]> {
                blake2s_roots(columns)
            }
            fn absorbed(rows: Absorbed) -> Vec<[u8; 32]> {
                rows.digests()
            }
            fn digest_of_words(words: [u32; 8]) -> [u8; 32] {
                blake2s::to_bytes(words)
            }
        }
    };
}
blake2s_bulk!(Poseidon2Blake2s);
blake2s_bulk!(Blake2sBlake2s);

/// Vectors of rows that are hashed side by side: columns are read in stretches of so many.
const STRETCH: usize = 16;

/// Digests of the rows of a stretch of vectors.
fn hash_rows(columns: &[Vec<B>], range: Range<usize>) -> [[Wide; 8]; STRETCH] {
    let length = 4 * columns.len() as u64;
    let mut states = [begun(); STRETCH];
    for (k, block) in (1..).zip(columns.chunks(BLOCK)) {
        absorb(&mut states[..range.len()], block, range.start, length.min(64 * k), length);
    }
    states
}

/// Columns whose cells fill a block of the hash.
pub const BLOCK: usize = 16;

/// The state in which a row begins.
fn begun() -> [Wide; 8] {
    initial_state(blake2s::LEAF).map(<Wide as Word>::splat)
}

/// Absorbs a block of columns into the states of at most a stretch of vectors from one on. With it `hashed` of all
/// `length` bytes of a row are absorbed.
fn absorb(states: &mut [[Wide; 8]], block: &[Vec<B>], from: usize, hashed: u64, length: u64) {
    let mut words = [[<Wide as Word>::splat(0); 16]; STRETCH];
    for (k, column) in block.iter().enumerate() {
        for (words, vector) in words.iter_mut().zip(&column[from..from + states.len()]) {
            words[k] = Wide::new(vector.to_array().map(|x| x.0));
        }
    }
    for (state, words) in states.iter_mut().zip(&words) {
        compress(state, words, hashed, hashed == length);
    }
}

/// Rows whose columns come a few at a time.
pub struct Absorbed {
    states: Vec<[Wide; 8]>,
    /// Bytes of a row that are absorbed, and all.
    hashed: u64,
    length: u64,
}

impl Absorbed {
    /// Rows of so many vectors, of so many columns in all.
    pub fn new(vectors: usize, columns: usize) -> Self {
        Self { states: vec![begun(); vectors], hashed: 0, length: 4 * columns as u64 }
    }

    /// Absorbs the next columns: a multiple of sixteen, unless they are the last.
    pub fn absorb(&mut self, columns: &[Vec<B>]) {
        for block in columns.chunks(BLOCK) {
            self.hashed = self.length.min(self.hashed + 64);
            let (hashed, length) = (self.hashed, self.length);
            let states = self.states.par_chunks_mut(STRETCH).enumerate();
            states.for_each(|(task, states)| absorb(states, block, task * STRETCH, hashed, length));
        }
    }

    fn digests(self) -> Vec<[u8; 32]> {
        let mut out = vec![[0; 32]; self.states.len() * LANES];
        out.par_chunks_mut(LANES).zip(&self.states).for_each(|(out, state)| scatter(state, out));
        out
    }
}

fn blake2s_leaves(columns: &[Vec<B>]) -> Vec<[u8; 32]> {
    let vectors = columns.first().map_or(0, Vec::len);
    let mut out = vec![[0; 32]; vectors * LANES];
    out.par_chunks_mut(STRETCH * LANES).enumerate().with_min_len(4).for_each(|(task, out)| {
        let states = hash_rows(columns, task * STRETCH..task * STRETCH + out.len() / LANES);
        for (state, out) in states.iter().zip(out.chunks_mut(LANES)) {
            scatter(state, out);
        }
    });
    out
}

/// The parents of the nodes in two vectors, which lie side by side.
fn join(left: &[Wide; 8], right: &[Wide; 8]) -> [Wide; 8] {
    let mut block = [<Wide as Word>::splat(0); 16];
    for (k, (left, right)) in left.iter().zip(right).enumerate() {
        [block[k], block[k + 8]] = left.halves(*right);
    }
    let mut h = initial_state(blake2s::NODE).map(<Wide as Word>::splat);
    compress(&mut h, &block, 64, true);
    h
}

fn blake2s_roots(columns: &[Vec<B>]) -> Vec<[u8; 32]> {
    let vectors = columns.first().map_or(0, Vec::len);
    let mut out = vec![[0; 32]; (vectors * LANES) >> DROPPED];
    let stretch = (STRETCH * LANES) >> DROPPED;
    out.par_chunks_exact_mut(stretch).enumerate().with_min_len(4).for_each(|(task, out)| {
        let mut states = hash_rows(columns, task * STRETCH..(task + 1) * STRETCH);
        for level in 1..=DROPPED {
            for i in 0..STRETCH >> level {
                states[i] = join(&states[2 * i], &states[2 * i + 1]);
            }
        }
        for (state, out) in states.iter().zip(out.chunks_mut(LANES)) {
            scatter(state, out);
        }
    });
    out
}

fn blake2s_parents(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut out = vec![[0; 32]; level.len() / 2];
    out.par_chunks_mut(TASK).zip(level.par_chunks(2 * TASK)).for_each(|(out, level)| {
        for (out, children) in out.chunks_mut(LANES).zip(level.chunks(2 * LANES)) {
            let mut words = [[0; LANES]; 16];
            for (lane, pair) in children.chunks_exact(2).enumerate() {
                let (left, right) = (blake2s::to_words(&pair[0]), blake2s::to_words(&pair[1]));
                for k in 0..8 {
                    words[k][lane] = left[k];
                    words[k + 8][lane] = right[k];
                }
            }
            let block = words.map(Wide::new);
            let mut h = initial_state(blake2s::NODE).map(<Wide as Word>::splat);
            compress(&mut h, &block, 64, true);
            scatter(&h, out);
        }
    });
    out
}

/// Digests from lanes.
fn scatter(h: &[Wide; 8], out: &mut [[u8; 32]]) {
    let h = h.map(Wide::to_array);
    for (lane, digest) in out.iter_mut().enumerate() {
        *digest = blake2s::to_bytes(std::array::from_fn(|k| h[k][lane]));
    }
}

/// Levels next to the leaves that a tree does not keep: they are most of it, and few of their digests are asked
/// for.
pub const DROPPED: u32 = 3;

/// The number of levels that a tree of some height does not keep.
pub fn dropped(height: u32, cap_log: u32) -> u32 {
    DROPPED.min(height.saturating_sub(cap_log))
}

/// Rows of whole stretches.
pub const SUBTREES: usize = STRETCH * LANES;

/// The levels of a tree up to its cap, without the lowest ones.
pub struct Tree<S: HashSuite> {
    /// Levels from `dropped` on.
    levels: Vec<Vec<S::Digest>>,
    dropped: u32,
    height: u32,
}

impl<S: BulkHash> Tree<S> {
    /// The tree over the rows of a matrix given by columns, up to a cap of `2^cap_log` digests.
    pub fn new(columns: &[Vec<B>], cap_log: u32) -> Self {
        let rows = columns.first().map_or(0, Vec::len) * LANES;
        let height = rows.trailing_zeros();
        if height >= cap_log + DROPPED && rows >= SUBTREES {
            return Self::above(S::roots(columns), DROPPED, height, cap_log);
        }
        Self::over(S::leaves(columns), cap_log)
    }

    /// The tree over digests of rows.
    pub fn over(leaves: Vec<S::Digest>, cap_log: u32) -> Self {
        let height = leaves.len().trailing_zeros();
        let dropped = dropped(height, cap_log);
        let level = (0..dropped).fold(leaves, |level, _| S::parents(&level));
        Self::above(level, dropped, height, cap_log)
    }

    fn above(level: Vec<S::Digest>, dropped: u32, height: u32, cap_log: u32) -> Self {
        let mut levels = vec![level];
        while levels[levels.len() - 1].len() > 1 << cap_log {
            let next = S::parents(&levels[levels.len() - 1]);
            levels.push(next);
        }
        Self::of_levels(levels, dropped, height)
    }

    /// The tree of some height with these levels, up to the cap, from `dropped` on.
    pub fn of_levels(levels: Vec<Vec<S::Digest>>, dropped: u32, height: u32) -> Self {
        Self { levels, dropped, height }
    }

    /// The cap.
    pub fn cap(&self) -> &[S::Digest] {
        &self.levels[self.levels.len() - 1]
    }

    fn siblings(&self, indices: &[u32]) -> Vec<(u32, u32)> {
        sibling_positions(self.height, self.cap().len().trailing_zeros(), indices)
    }

    /// The rows that [`Self::multiproof`] asks for and that are opened with it.
    pub fn needed(&self, indices: &[u32]) -> Vec<u32> {
        let siblings = self.siblings(indices).into_iter().filter(|(level, _)| *level < self.dropped);
        let under = siblings.flat_map(|(level, index)| index << level..(index + 1) << level);
        indices.iter().copied().chain(under).collect()
    }

    /// The siblings that lead sorted, distinct leaves to the cap; `rows` are those of the tree's matrix.
    pub fn multiproof(&self, rows: &Rows<'_>, indices: &[u32]) -> Vec<S::Digest> {
        self.siblings(indices)
            .into_iter()
            .map(|(level, index)| match level.checked_sub(self.dropped) {
                Some(kept) => self.levels[kept as usize][index as usize],
                None => digest::<S>(rows, level, index),
            })
            .collect()
    }
}

/// A node computed from the rows under it.
fn digest<S: HashSuite>(rows: &Rows<'_>, level: u32, index: u32) -> S::Digest {
    match level.checked_sub(1) {
        None => S::leaf(&rows.row(index)),
        Some(below) => {
            let [left, right] = [0, 1].map(|side| digest::<S>(rows, below, 2 * index + side));
            S::node(&left, &right)
        }
    }
}

/// One row of a matrix given by columns of vectors.
pub fn row(columns: &[Vec<B>], index: u32) -> Vec<M31> {
    let (vector, lane) = (index as usize / LANES, index as usize % LANES);
    columns.iter().map(|c| super::field::from_stwo_base(c[vector].to_array()[lane])).collect()
}

#[cfg(test)]
mod tests {
    use circlet_core::hash::Trees;

    use super::*;
    use crate::backend::field::pack_base;

    #[test]
    fn bulk_trees_are_the_plain_ones() {
        type S = Poseidon2Blake2s;
        for (width, log) in [(1usize, 4u32), (15, 5), (16, 6), (17, 7), (64, 8), (70, 11)] {
            let columns: Vec<Vec<B>> = (0..width)
                .map(|c| {
                    let cells: Vec<i32> = (0..1i32 << log).map(|r| r * 1009 - (c as i32) * 77).collect();
                    cells.chunks(LANES).map(pack_base).collect()
                })
                .collect();
            let tree = Tree::<S>::new(&columns, 2);
            let leaves = (0..1u32 << log).map(|i| S::leaf(&row(&columns, i))).collect();
            let plain = circlet_core::merkle::Tree::<S>::new(leaves).unwrap();
            assert_eq!(tree.cap(), plain.cap(2));
            let indices = [1, 2, 3, (1 << log) - 1];
            assert_eq!(Some(tree.multiproof(&Rows::Of(&columns), &indices)), plain.multiproof(2, &indices));
            let mut absorbed = Absorbed::new(columns[0].len(), width);
            columns.chunks(32).for_each(|columns| absorbed.absorb(columns));
            let other = Tree::<S>::over(S::absorbed(absorbed), 2);
            assert_eq!(other.levels, tree.levels);
            // Those that are needed are enough.
            let needed = tree.needed(&indices).into_iter().map(|index| (index, row(&columns, index)));
            let some = Rows::Some(needed.collect());
            assert_eq!(Some(other.multiproof(&some, &indices)), plain.multiproof(2, &indices));
            let all = Tree::<S>::new(&columns, log);
            assert_eq!(all.cap(), plain.cap(log));
        }
    }
}
