//! Long sums of the opening: columns over the base field against weights over the extension.
//!
//! The rows of the matrices are cut into *runs* of `2^l`, sixteen runs are a *tile*. Weights of runs are multiples
//! of few *patterns*; a *slot* is a pattern in one tile. A column is contracted once with the pattern of every
//! slot, run by run, and all that the rounds need are sums over slots from then on.
//!
//! Products of two elements of the base field have 62 bits, so four of them fit a word of 64 before they are
//! reduced.

use circlet_core::field::{M31, P, QM31};
use rayon::prelude::*;

use super::field::{B, E, Ext, LANES, from_stwo, to_stwo_base};

/// A pattern in a tile. Run `i` of the tile has pattern `pattern + i step`: the same for all, or its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Pattern of the first run.
    pub pattern: u32,
    /// Zero or one.
    pub step: u32,
}

/// The slots of all tiles.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Vectors in a run.
    run: usize,
    /// All patterns, one after the other: of each its elements' first coordinates, then their second ones, and so
    /// on, each in a word of its own.
    patterns: Vec<u64>,
    all: Vec<Slot>,
    /// Where each tile's slots start, and where the last one's end.
    starts: Vec<u32>,
}

/// Vectors in few slots, in increasing order of slots.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    /// The slots.
    pub slots: Vec<u32>,
    /// A vector for each: one lane for each run.
    pub vectors: Vec<E>,
}

impl Sparse {
    /// `sum v x` over the slots.
    pub fn dot(&self, x: &[E]) -> QM31 {
        let zero = E::splat(QM31::ZERO);
        let pairs = self.slots.iter().zip(&self.vectors);
        pairs.fold(zero, |sum, (&slot, &v)| sum + v * x[slot as usize]).total()
    }

    /// All vectors times a factor.
    #[must_use]
    pub fn scaled(mut self, factor: QM31) -> Self {
        let factor = E::splat(factor);
        self.vectors.iter_mut().for_each(|v| *v = factor * *v);
        self
    }

    /// `low a + high b`.
    pub fn mix(a: &Self, b: &Self, low: QM31, high: QM31) -> Self {
        let (low, high) = (E::splat(low), E::splat(high));
        let mut mixed = Self::default();
        let (mut i, mut j) = (0, 0);
        while let Some(&slot) = [a.slots.get(i), b.slots.get(j)].into_iter().flatten().min() {
            let mut sum = E::splat(QM31::ZERO);
            if a.slots.get(i) == Some(&slot) {
                sum += low * a.vectors[i];
                i += 1;
            }
            if b.slots.get(j) == Some(&slot) {
                sum += high * b.vectors[j];
                j += 1;
            }
            mixed.slots.push(slot);
            mixed.vectors.push(sum);
        }
        mixed
    }
}

impl Slots {
    /// Patterns of `2^log_run` elements each, and the slots of all tiles.
    pub fn new(log_run: u32, patterns: &[Vec<QM31>], tiles: &[Vec<Slot>]) -> Self {
        let mut starts = vec![0];
        starts.extend(tiles.iter().scan(0, |end, tile| {
            *end += tile.len() as u32;
            Some(*end)
        }));
        let coordinate =
            |c: usize, pattern: &Vec<QM31>| -> Vec<u64> { pattern.iter().map(|&x| words(x)[c]).collect() };
        let patterns = patterns.iter().flat_map(|p| (0..4).flat_map(|c| coordinate(c, p))).collect();
        Self { run: (1 << log_run) / LANES, patterns, all: tiles.concat(), starts }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.starts.len() - 1
    }

    /// The slots of a tile.
    pub fn of_tile(&self, tile: usize) -> std::ops::Range<usize> {
        self.starts[tile] as usize..self.starts[tile + 1] as usize
    }

    /// A slot.
    pub fn slot(&self, index: usize) -> Slot {
        self.all[index]
    }

    /// All slots, each with its tile, in the order of tiles.
    pub fn all(&self) -> impl Iterator<Item = (u32, Slot)> {
        let tiles = (0u32..).zip(self.starts.windows(2));
        tiles.flat_map(|(tile, ends)| (ends[0]..ends[1]).map(move |_| tile)).zip(self.all.iter().copied())
    }

    /// Log of the cells of a run.
    pub fn log_run(&self) -> u32 {
        (self.run * LANES).ilog2()
    }

    /// All patterns, one after the other.
    pub fn elements(&self) -> impl Iterator<Item = QM31> {
        let len = self.run * LANES;
        let element = move |pattern: &[u64], at: usize| {
            QM31::from_coordinates(std::array::from_fn(|c| M31::reduce(pattern[c * len + at])))
        };
        self.patterns.chunks_exact(4 * len).flat_map(move |p| (0..len).map(move |at| element(p, at)))
    }

    /// The coordinates of a pattern, one after the other.
    fn pattern(&self, number: u32) -> &[u64] {
        let len = 4 * self.run * LANES;
        &self.patterns[number as usize * len..][..len]
    }

    fn pattern_vectors(&self, number: u32) -> Vec<E> {
        let pattern = self.pattern(number);
        let coordinate = |c: usize, v: usize| &pattern[(c * self.run + v) * LANES..][..LANES];
        (0..self.run)
            .map(|v| E::from_packed_m31s(std::array::from_fn(|c| vector(coordinate(c, v)))))
            .collect()
    }

    /// The inner products of a column's runs with the patterns of all slots.
    pub fn contract(&self, column: &[B]) -> Vec<E> {
        match self.run {
            1 => self.contract_quarters::<4>(column),
            2 => self.contract_quarters::<8>(column),
            4 => self.contract_quarters::<16>(column),
            _ => unreachable!("runs have at most four vectors"),
        }
    }

    /// The same for runs of four times `Q` cells.
    fn contract_quarters<const Q: usize>(&self, column: &[B]) -> Vec<E> {
        let mut sums = Vec::with_capacity(self.len());
        let cells: &[u32] = bytemuck::cast_slice(column);
        let runs = cells.as_chunks::<Q>().0.as_chunks::<4>().0;
        for (tile, runs) in runs.chunks_exact(LANES).enumerate() {
            for slot in &self.all[self.of_tile(tile)] {
                let mut lanes = [[M31::ZERO; LANES]; 4];
                for (lane, run) in runs.iter().enumerate() {
                    let number = slot.pattern + lane as u32 * slot.step;
                    let pattern = self.pattern(number).as_chunks::<Q>().0.as_chunks::<4>().0;
                    for (lanes, sum) in lanes.iter_mut().zip(dot(run, pattern)) {
                        lanes[lane] = sum;
                    }
                }
                sums.push(E::from_packed_m31s(lanes.map(|c| B::from_array(c.map(to_stwo_base)))));
            }
        }
        sums
    }

    /// The weights of all rows, of which `factors` holds the multiples of the patterns.
    pub fn expand(&self, factors: &Sparse) -> Vec<E> {
        let zero = E::splat(QM31::ZERO);
        let mut rows = vec![zero; self.tiles() * LANES * self.run];
        let mut dense = vec![None; self.len()];
        for (&slot, &factor) in factors.slots.iter().zip(&factors.vectors) {
            dense[slot as usize] = Some(factor);
        }
        rows.par_chunks_mut(LANES * self.run).enumerate().for_each(|(tile, rows)| {
            for index in self.of_tile(tile) {
                let Some(factor) = dense[index] else { continue };
                let slot = self.all[index];
                let mut pattern = self.pattern_vectors(slot.pattern);
                for (lane, factor) in factor.to_array().into_iter().enumerate() {
                    if slot.step != 0 {
                        pattern = self.pattern_vectors(slot.pattern + lane as u32);
                    }
                    let factor = E::splat(from_stwo(factor));
                    for (row, &p) in rows[lane * self.run..].iter_mut().zip(&pattern) {
                        *row += factor * p;
                    }
                }
            }
        });
        rows
    }
}

/// A product of numbers below `2^32`.
#[inline(always)]
fn product(x: u32, y: u64) -> u64 {
    u64::from(x) * (y & 0xffff_ffff)
}

/// A number below `2^34` of the same residue.
#[inline(always)]
fn fold(x: u64) -> u64 {
    (x & u64::from(P)) + (x >> 31)
}

/// The inner product of a run and a pattern, coordinate by coordinate. Four products at a distance of `Q` are added
/// before they are folded, so that neighbours can be in one vector.
#[inline(always)]
fn dot<const Q: usize>(run: &[[u32; Q]; 4], pattern: &[[[u64; Q]; 4]]) -> [M31; 4] {
    let [p0, p1, p2, p3] = pattern else { unreachable!("an element has four coordinates") };
    let mut sums = [0u64; 4];
    for i in 0..Q {
        for (sum, pattern) in sums.iter_mut().zip([p0, p1, p2, p3]) {
            let products = [0, 1, 2, 3].map(|k| product(run[k][i], pattern[k][i]));
            *sum += fold(products[0] + products[1] + products[2] + products[3]);
        }
    }
    sums.map(M31::reduce)
}

/// Cells that one task combines: their sums stay in a near cache.
const TASK: usize = 1 << 9;

/// `sum weight column` over all columns.
pub fn combine(columns: &[(&[B], QM31)]) -> Vec<E> {
    let vectors = columns.first().map_or(0, |c| c.0.len());
    let columns: Vec<(&[[u32; LANES]], [u64; 4])> =
        columns.iter().map(|&(cells, weight)| (bytemuck::cast_slice(cells), words(weight))).collect();
    let mut combined = vec![E::splat(QM31::ZERO); vectors];
    combined.par_chunks_mut(TASK / LANES).enumerate().with_min_len(8).for_each(|(task, combined)| {
        let len = combined.len();
        let mut sums = [[[0u64; LANES]; TASK / LANES]; 4];
        for group in columns.chunks(4) {
            // Where there are fewer than four columns left, the first one counts with weight zero.
            let group: [_; 4] = std::array::from_fn(|k| {
                let (cells, weight) = group.get(k).copied().unwrap_or((group[0].0, [0; 4]));
                (&cells[task * (TASK / LANES)..][..len], weight)
            });
            for (c, sums) in sums.iter_mut().enumerate() {
                add_products(&mut sums[..len], group.map(|g| g.0), group.map(|g| g.1[c]));
            }
        }
        for (v, combined) in combined.iter_mut().enumerate() {
            *combined = E::from_packed_m31s(sums.each_ref().map(|sums| vector(&sums[v])));
        }
    });
    combined
}

/// Adds the weighted sum of four columns to `sums`. On its own, and over arrays, so that the compiler always makes
/// vector instructions of it.
#[inline(never)]
fn add_products(sums: &mut [[u64; LANES]], [a, b, c, d]: [&[[u32; LANES]]; 4], [u, v, w, x]: [u64; 4]) {
    for ((((sums, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let products = product(a[i], u) + product(b[i], v) + product(c[i], w) + product(d[i], x);
            *sum += fold(products);
        }
    }
}

/// Sixteen residues.
fn vector(words: &[u64]) -> B {
    B::from_array(std::array::from_fn(|i| to_stwo_base(M31::reduce(words[i]))))
}

/// The coordinates of an element.
fn words(x: QM31) -> [u64; 4] {
    x.coordinates().map(|c| u64::from(c.value()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::{pack, unpack};

    fn elements(n: usize, seed: u64) -> Vec<QM31> {
        (0..n as u64)
            .map(|i| {
                let limb = |k: u64| {
                    let word = (seed * 1000 + i * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    // Now and then the largest element.
                    if word >> 61 == 0 { M31::reduce(u64::from(P) - 1) } else { M31::reduce(word >> 3) }
                };
                QM31::from_coordinates([limb(1), limb(2), limb(3), limb(4)])
            })
            .collect()
    }

    /// Cells, and vectors of them in which `P` stands for some zeros.
    fn cells(n: usize, seed: u64) -> (Vec<M31>, Vec<B>) {
        let cells: Vec<M31> = elements(n, seed)
            .iter()
            .enumerate()
            .map(|(i, x)| if i % 5 == 0 { M31::ZERO } else { x.coordinates()[0] })
            .collect();
        let stwo = |(i, &x): (usize, &M31)| {
            let zero = if i % 2 == 0 { stwo::core::fields::m31::M31(P) } else { to_stwo_base(x) };
            if x == M31::ZERO { zero } else { to_stwo_base(x) }
        };
        let lanes: Vec<_> = cells.iter().enumerate().map(stwo).collect();
        let vectors = lanes.chunks(LANES).map(|c| B::from_array(std::array::from_fn(|i| c[i]))).collect();
        (cells, vectors)
    }

    #[test]
    fn contractions_and_expansions_are_sums() {
        for (log_run, tiles) in [(4, 1), (5, 3), (6, 2)] {
            let run = 1 << log_run;
            let patterns = elements(20 * run, 3);
            let slots: Vec<Vec<Slot>> = (0..tiles)
                .map(|tile| {
                    let same = |pattern| Slot { pattern, step: 0 };
                    vec![same(0), Slot { pattern: 2, step: 1 }, same(tile)][tile as usize % 3..].to_vec()
                })
                .collect();
            let all =
                Slots::new(log_run, &patterns.chunks(run).map(<[QM31]>::to_vec).collect::<Vec<_>>(), &slots);
            let (cells, vectors) = cells(tiles as usize * LANES * run, 5);
            let contracted = unpack(&all.contract(&vectors));
            let factors = elements(all.len() * LANES, 6);
            let sparse = Sparse { slots: (0..all.len() as u32).collect(), vectors: pack(&factors) };
            let expanded = unpack(&all.expand(&sparse));
            let mut expected = vec![QM31::ZERO; cells.len()];
            let mut index = 0;
            for (tile, slots) in slots.iter().enumerate() {
                for slot in slots {
                    for lane in 0..LANES {
                        let first = (slot.pattern as usize + lane * slot.step as usize) * run;
                        let rows = (tile * LANES + lane) * run..(tile * LANES + lane + 1) * run;
                        let pattern = &patterns[first..first + run];
                        let sum = cells[rows.clone()].iter().zip(pattern).map(|(&x, &p)| p * x).sum();
                        assert_eq!(contracted[index * LANES + lane], sum);
                        for (row, &p) in expected[rows].iter_mut().zip(pattern) {
                            *row += factors[index * LANES + lane] * p;
                        }
                    }
                    index += 1;
                }
            }
            assert_eq!(expanded, expected);
            assert_eq!(index, all.len());
        }
    }

    #[test]
    fn combinations_are_sums() {
        for (count, log) in [(1usize, 4u32), (3, 6), (4, 9), (9, 10)] {
            let columns: Vec<_> = (0..count).map(|c| cells(1 << log, c as u64)).collect();
            let weights = elements(count, 77);
            let pairs: Vec<_> = columns.iter().zip(&weights).map(|(c, &w)| (c.1.as_slice(), w)).collect();
            let sums = unpack(&combine(&pairs));
            for (i, sum) in sums.into_iter().enumerate() {
                assert_eq!(sum, columns.iter().zip(&weights).map(|(c, &w)| w * c.0[i]).sum());
            }
        }
    }

    #[test]
    fn sparse_vectors_are_dense_ones() {
        let dense = |s: &Sparse| {
            let mut all = vec![QM31::ZERO; 10 * LANES];
            for (&slot, &v) in s.slots.iter().zip(&s.vectors) {
                all[slot as usize * LANES..][..LANES].copy_from_slice(&unpack(&[v]));
            }
            all
        };
        let sparse = |slots: &[u32], seed| Sparse {
            slots: slots.to_vec(),
            vectors: pack(&elements(slots.len() * LANES, seed)),
        };
        let x = elements(10 * LANES, 8);
        let [low, high] = [elements(1, 9)[0], elements(1, 10)[0]];
        for (a, b) in [(&[0u32, 3, 4][..], &[3u32, 9][..]), (&[], &[1]), (&[2, 5], &[]), (&[], &[])] {
            let (a, b) = (sparse(a, 1), sparse(b, 2));
            assert_eq!(a.dot(&pack(&x)), dense(&a).iter().zip(&x).map(|(&a, &x)| a * x).sum());
            let mixed = dense(&Sparse::mix(&a, &b, low, high));
            let expected: Vec<QM31> =
                dense(&a).iter().zip(dense(&b)).map(|(&a, b)| low * a + high * b).collect();
            assert_eq!(mixed, expected);
        }
    }
}
