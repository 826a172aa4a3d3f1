//! Weights on the columns of matrices, in factors: every run of cells has a multiple of a pattern (see [`super::slots`]), and
//! the multiples are products of weights along two axes.

use std::ops::Range;

use circlet_core::field::QM31;
use rayon::prelude::*;

use super::field::{E, LANES, LOG_LANES, to_stwo};
use super::slots::{Slot, Slots, Sparse};

/// A pattern, and the multiple of it that a run weighs.
pub type Multiple = (u32, QM31);

/// Weights on some runs of a tree: run `t n + i` of them, of `n` inner weights, weighs the coefficient times outer weight `t`
/// times inner weight `i`, a multiple of a pattern.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The first of its runs in its tree.
    pub first: usize,
    /// What all are multiplied with.
    pub coefficient: QM31,
    /// Which outer weights.
    pub outer: usize,
    /// Which inner weights.
    pub inner: usize,
}

/// Weights that products are made of.
#[derive(Debug, Default)]
pub struct Factors {
    /// Outer weights, and others.
    pub outer: Vec<Vec<QM31>>,
    /// Inner weights: a power of two of them.
    pub inner: Vec<Vec<Multiple>>,
}

impl Factors {
    /// How many runs a product has.
    pub fn len(&self, product: &Product) -> usize {
        self.outer[product.outer].len() * self.inner[product.inner].len()
    }

    /// The patterns that products have in each tile of a matrix, in increasing order.
    pub fn patterns<'a>(&self, grid: Grid, products: impl Iterator<Item = &'a Product>) -> Vec<Vec<u32>> {
        let words =
            self.inner.iter().flatten().map(|&(pattern, _)| pattern as usize / 64 + 1).max().unwrap_or(1);
        // Runs of a tile that lie under one outer weight, and their patterns, a bit for each.
        let inner = |multiples: &Vec<Multiple>| -> Vec<Vec<u64>> {
            let of = |multiples: &[Multiple]| {
                let mut bits = vec![0; words];
                for &(pattern, _) in multiples.iter().filter(|(_, factor)| *factor != QM31::ZERO) {
                    bits[pattern as usize / 64] |= 1 << (pattern % 64);
                }
                bits
            };
            multiples.chunks(LANES).map(of).collect()
        };
        let inner: Vec<Vec<Vec<u64>>> = self.inner.par_iter().map(inner).collect();
        let none = || vec![0u64; grid.tiles() * words];
        let add = |mut all: Vec<u64>, product: &Product| {
            let (n, parts) = (self.inner[product.inner].len(), &inner[product.inner]);
            for (t, _) in self.outer[product.outer].iter().enumerate().filter(|(_, w)| **w != QM31::ZERO) {
                for (k, part) in parts.iter().enumerate() {
                    let (_, tile, _) = grid.place(product.first + t * n + k * LANES);
                    all[tile * words..].iter_mut().zip(part).for_each(|(all, part)| *all |= part);
                }
            }
            all
        };
        let either = |mut a: Vec<u64>, b: Vec<u64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
            a
        };
        let products: Vec<&Product> = products.collect();
        let all = products.par_iter().fold(none, |all, product| add(all, product)).reduce(none, either);
        let patterns = |bits: &[u64]| {
            let is = |pattern: &u32| bits[*pattern as usize / 64] >> (pattern % 64) & 1 == 1;
            (0..64 * words as u32).filter(is).collect()
        };
        all.chunks(words).map(patterns).collect()
    }

    /// Calls `f` with the place in the tree, the pattern and the factor of those of some runs of a product that are not
    /// zero.
    pub fn runs(&self, product: &Product, runs: Range<usize>, mut f: impl FnMut(usize, u32, QM31)) {
        let (outer, inner) = (&self.outer[product.outer], &self.inner[product.inner]);
        let n = inner.len();
        for t in runs.start / n..runs.end.div_ceil(n) {
            if outer[t] == QM31::ZERO {
                continue;
            }
            let outer = product.coefficient * outer[t];
            let range = runs.start.saturating_sub(t * n)..n.min(runs.end - t * n);
            for (i, &(pattern, factor)) in range.clone().zip(&inner[range]) {
                if factor != QM31::ZERO {
                    f(product.first + t * n + i, pattern, outer * factor);
                }
            }
        }
    }
}

/// Where a run lies in a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Log of the rows in a run.
    pub log_run: u32,
    /// Log of the runs in a matrix column.
    pub log_runs: u32,
}

/// Log of the rows in a run, where there are enough rows.
const LOG_RUN: u32 = 6;

impl Grid {
    /// Runs of a matrix with `2^log_rows` rows.
    pub fn new(log_rows: u32) -> Self {
        let log_run = LOG_RUN.min(log_rows - LOG_LANES);
        Self { log_run, log_runs: log_rows - log_run }
    }

    /// Cells of a tile.
    pub fn tile(self) -> usize {
        LANES << self.log_run
    }

    /// Tiles of a matrix column.
    pub fn tiles(self) -> usize {
        (1 << self.log_runs) / LANES
    }

    /// Matrix column, tile and lane of a run.
    pub fn place(self, run: usize) -> (usize, usize, usize) {
        let in_column = run & ((1 << self.log_runs) - 1);
        (run >> self.log_runs, in_column / LANES, in_column % LANES)
    }
}

/// The weights on the columns of one tree.
#[derive(Debug, Default)]
pub struct OfTree {
    /// How many columns it has.
    pub columns: usize,
    /// Sums of these; some have the same runs.
    pub products: Vec<Product>,
    /// Slots that are those of one column alone, each with its column, in increasing order: they weigh one.
    pub own: Vec<(usize, u32)>,
}

/// The weights on the columns of all trees.
#[derive(Debug)]
pub struct Weights {
    /// What matrix columns are contracted with.
    pub slots: Slots,
    /// Where runs lie.
    pub grid: Grid,
    /// What products are made of.
    pub factors: Factors,
    /// The trees.
    pub trees: [OfTree; 4],
}

impl Weights {
    /// The slot of a pattern in a tile, if it has one.
    pub fn slot(&self, tile: usize, pattern: u32) -> Option<u32> {
        let slot = Slot { pattern, step: 0 };
        self.slots.of_tile(tile).find(|&index| self.slots.slot(index) == slot).map(|index| index as u32)
    }

    /// For each matrix column of a tree, the factors of the patterns in its weight.
    pub fn sparse(&self, tree: usize) -> Vec<Sparse> {
        let OfTree { columns, products, own } = &self.trees[tree];
        let log_runs = self.grid.log_runs;
        let mut parts: Vec<Vec<(&Product, Range<usize>)>> = vec![Vec::new(); *columns];
        for product in products {
            // Of the runs of the tree, those of this product; of these, those in each matrix column.
            let range = product.first..product.first + self.factors.len(product);
            let columns = range.start >> log_runs..range.end.div_ceil(1 << log_runs);
            for (column, parts) in columns.clone().zip(&mut parts[columns]) {
                let start = range.start.max(column << log_runs);
                let end = range.end.min((column + 1) << log_runs);
                parts.push((product, start - product.first..end - product.first));
            }
        }
        let column = |(column, parts): (usize, Vec<_>)| {
            let own =
                own.partition_point(|&(of, _)| of < column)..own.partition_point(|&(of, _)| of <= column);
            self.sparse_column(&parts, own.map(|k| self.trees[tree].own[k].1))
        };
        parts.into_par_iter().enumerate().map(column).collect()
    }

    /// The factors of one matrix column.
    fn sparse_column(&self, parts: &[(&Product, Range<usize>)], own: impl Iterator<Item = u32>) -> Sparse {
        let mut factors: Vec<Option<Box<[QM31; LANES]>>> = vec![None; self.slots.len()];
        for (product, runs) in parts {
            let mut last = (usize::MAX, u32::MAX, 0);
            self.factors.runs(product, runs.clone(), |run, pattern, factor| {
                let (_, tile, lane) = self.grid.place(run);
                if (last.0, last.1) != (tile, pattern) {
                    let slot = self.slot(tile, pattern);
                    let slot = slot.unwrap_or_else(|| unreachable!("every pattern has a slot where it is"));
                    last = (tile, pattern, slot as usize);
                }
                factors[last.2].get_or_insert_with(|| Box::new([QM31::ZERO; LANES]))[lane] += factor;
            });
        }
        for slot in own {
            factors[slot as usize] = Some(Box::new([QM31::ONE; LANES]));
        }
        let mut sparse = Sparse::default();
        for (slot, lanes) in factors.into_iter().enumerate() {
            if let Some(lanes) = lanes {
                sparse.slots.push(slot as u32);
                sparse.vectors.push(E::from_array(lanes.map(to_stwo)));
            }
        }
        sparse
    }
}
