//! Merkle trees, sixteen hashes at a time.

use std::ops::Range;

use circlet_core::field::M31;
use circlet_core::hash::HashSuite;
use circlet_core::hash::blake2s::{self, Word, compress, initial_state};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::merkle::sibling_positions;
use rayon::prelude::*;

use super::field::{B, LANES};
use super::words::Wide;

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
        }
    };
}
blake2s_bulk!(Poseidon2Blake2s);
blake2s_bulk!(Blake2sBlake2s);

/// Vectors of rows that are hashed side by side: columns are read in stretches of so many.
const STRETCH: usize = 16;

/// Digests of the rows of a stretch of vectors.
fn hash_rows(columns: &[Vec<B>], range: Range<usize>) -> [[Wide; 8]; STRETCH] {
    let zero = <Wide as Word>::splat(0);
    let length = 4 * columns.len() as u64;
    let mut states = [initial_state(blake2s::LEAF).map(<Wide as Word>::splat); STRETCH];
    let mut blocks = columns.chunks(16).peekable();
    let mut hashed = 0;
    while let Some(chunk) = blocks.next() {
        let mut words = [[zero; 16]; STRETCH];
        for (k, column) in chunk.iter().enumerate() {
            for (words, vector) in words.iter_mut().zip(&column[range.clone()]) {
                words[k] = Wide::new(vector.to_array().map(|x| x.0));
            }
        }
        let last = blocks.peek().is_none();
        hashed = if last { length } else { hashed + 64 };
        for (state, words) in states.iter_mut().zip(&words).take(range.len()) {
            compress(state, words, hashed, last);
        }
    }
    states
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
        let dropped = DROPPED.min(height.saturating_sub(cap_log));
        let level = if dropped == DROPPED && rows >= SUBTREES {
            S::roots(columns)
        } else {
            (0..dropped).fold(S::leaves(columns), |level, _| S::parents(&level))
        };
        let mut levels = vec![level];
        while levels[levels.len() - 1].len() > 1 << cap_log {
            let next = S::parents(&levels[levels.len() - 1]);
            levels.push(next);
        }
        Self { levels, dropped, height }
    }

    /// The cap.
    pub fn cap(&self) -> &[S::Digest] {
        &self.levels[self.levels.len() - 1]
    }

    /// The siblings that lead sorted, distinct leaves to the cap; `columns` are those of the tree.
    pub fn multiproof(&self, columns: &[Vec<B>], indices: &[u32]) -> Vec<S::Digest> {
        sibling_positions(self.height, self.cap().len().trailing_zeros(), indices)
            .into_iter()
            .map(|(level, index)| match level.checked_sub(self.dropped) {
                Some(kept) => self.levels[kept as usize][index as usize],
                None => digest::<S>(columns, level, index),
            })
            .collect()
    }
}

/// A node computed from the rows under it.
fn digest<S: HashSuite>(columns: &[Vec<B>], level: u32, index: u32) -> S::Digest {
    match level.checked_sub(1) {
        None => S::leaf(&row(columns, index)),
        Some(below) => {
            let [left, right] = [0, 1].map(|side| digest::<S>(columns, below, 2 * index + side));
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
            assert_eq!(Some(tree.multiproof(&columns, &indices)), plain.multiproof(2, &indices));
            let all = Tree::<S>::new(&columns, log);
            assert_eq!(all.cap(), plain.cap(log));
        }
    }
}
