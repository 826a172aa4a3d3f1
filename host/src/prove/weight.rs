//! The batched weight of all linear claims, in factors.
//!
//! Along an axis almost every weight is a product over the coordinates: `eq` at a point, powers of a number. On
//! runs of `2^l` rows the weight of a matrix column is then a multiple of few patterns,
//!
//! ```text
//! W_j(h 2^l + i) = sum_p factor_(j,p)(h) pattern_p(i),
//! ```
//!
//! and the same patterns serve all matrix columns. They are found by looking at the axes' weights, whatever these
//! are. Where there is no pattern (columns smaller than a run, axes that do not repeat) the weights themselves are
//! the pattern, of one tile of one matrix column, with factors of one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use circlet_core::circuit::{ColumnId, Columns};
use circlet_core::claims::{AxisId, Claims};
use circlet_core::field::QM31;
use circlet_core::poly::powers;
use circlet_core::stacking::Stacking;
use rayon::prelude::*;

use crate::backend::field::{E, LANES, LOG_LANES, to_stwo};
use crate::backend::slots::{Slot, Slots, Sparse};

/// Log of the rows in a run, where there are enough rows.
const LOG_RUN: u32 = 6;
/// An axis with more patterns than this counts as one that does not repeat.
const PATTERNS: usize = 4;

/// The weight on all rows of all matrices.
pub struct Weight {
    /// What matrix columns are contracted with.
    pub slots: Slots,
    /// For each matrix column of each tree, the factors of the patterns in its weight.
    pub factors: [Vec<Sparse>; 4],
}

/// An axis of `2^log` entries.
type Along = (AxisId, u32);

/// The axes that a run lies on: columns, and rows if it holds several.
type Inner = (Option<Along>, Along);

/// For each run the number of its pattern, and the multiple of it.
type Factors = Vec<(u32, QM31)>;

/// `coefficient u (x) w` on a column.
struct Product<'a> {
    /// Place of its first cell in its tree.
    offset: usize,
    coefficient: QM31,
    rows: &'a [QM31],
    cols: &'a [QM31],
}

/// Weights that repeat.
struct Repeated {
    patterns: Vec<Vec<QM31>>,
    factors: Factors,
}

/// A product whose runs are known patterns: run `t n + i`, with `n` factors, is `outer[t]` times that of run `i`.
struct Regular<'a> {
    /// Its first run in its tree.
    first: usize,
    coefficient: QM31,
    outer: &'a [QM31],
    factors: &'a [(u32, QM31)],
}

/// Places of runs in a matrix.
#[derive(Clone, Copy)]
struct Grid {
    log_run: u32,
    /// Log of the runs in a matrix column.
    log_runs: u32,
}

impl Grid {
    fn new(stacking: &Stacking) -> Self {
        let log_run = LOG_RUN.min(stacking.log_rows - LOG_LANES);
        Self { log_run, log_runs: stacking.log_rows - log_run }
    }

    /// Cells of a tile.
    fn tile(self) -> usize {
        LANES << self.log_run
    }

    /// Matrix column, tile and lane of a run.
    fn place(self, run: usize) -> (usize, usize, usize) {
        let in_column = run & ((1 << self.log_runs) - 1);
        (run >> self.log_runs, in_column / LANES, in_column % LANES)
    }
}

impl Weight {
    /// The weight of all claims, batched by the powers of `mu`.
    pub fn new(columns: &Columns, stacking: &Stacking, claims: &Claims, mu: QM31) -> Self {
        let grid = Grid::new(stacking);
        let products = merge(claims, mu);
        let dense = dense_axes(columns, claims, products.keys());
        let shape = |id: ColumnId| columns.shape(id);
        let side = |id: ColumnId| columns.tree(id).index();

        // How each product repeats, axes that several products share looked at once.
        let inner = |&(id, rows, cols): &(ColumnId, AxisId, AxisId)| -> Option<Inner> {
            let (log_rows, log_cols) = (shape(id).log_rows(), shape(id).log_cols());
            if log_cols >= grid.log_run {
                Some((None, (cols, log_cols)))
            } else if log_rows + log_cols >= grid.log_run {
                Some((Some((rows, log_rows)), (cols, log_cols)))
            } else {
                None
            }
        };
        let keys: BTreeSet<Inner> = products.keys().filter_map(inner).collect();
        let repeated: Vec<Option<Repeated>> = keys
            .par_iter()
            .map(|&(rows, cols)| match rows {
                None => repeated(&dense[&cols], 1 << grid.log_run),
                Some(rows) => repeated_rows(&dense[&rows], &dense[&cols], 1 << grid.log_run),
            })
            .collect();
        let mut patterns = Patterns::default();
        let known: BTreeMap<Inner, Factors> = keys
            .iter()
            .zip(repeated)
            .filter_map(|(&key, repeated)| Some((key, patterns.register(repeated?))))
            .collect();

        let one = [QM31::ONE];
        let (mut regular, mut loose) = ([(); 4].map(|()| Vec::new()), [(); 4].map(|()| Vec::new()));
        for (key @ &(id, rows, cols), &coefficient) in &products {
            let (log_rows, log_cols) = (shape(id).log_rows(), shape(id).log_cols());
            let offset = stacking.offset_in_tree(columns, id) as usize;
            let row_weights = dense[&(rows, log_rows)].as_slice();
            if let Some((inner, factors)) = inner(key).and_then(|k| Some((k, known.get(&k)?))) {
                let outer = if inner.0.is_some() { &one[..] } else { row_weights };
                let first = offset >> grid.log_run;
                regular[side(id)].push(Regular { first, coefficient, outer, factors });
            } else {
                let cols = &dense[&(cols, log_cols)];
                loose[side(id)].push(Product { offset, coefficient, rows: row_weights, cols });
            }
        }
        assemble(stacking, grid, patterns, &regular, &loose)
    }
}

/// The sum of all coefficients with the same column and the same weights.
fn merge(claims: &Claims, mu: QM31) -> BTreeMap<(ColumnId, AxisId, AxisId), QM31> {
    let powers = powers(mu, claims.values.len());
    let mut products = BTreeMap::new();
    for term in &claims.terms {
        let sum = products.entry((term.column, term.rows, term.cols)).or_insert(QM31::ZERO);
        *sum += term.coefficient * powers[term.claim as usize];
    }
    products
}

fn dense_axes<'a>(
    columns: &Columns,
    claims: &Claims,
    products: impl Iterator<Item = &'a (ColumnId, AxisId, AxisId)>,
) -> BTreeMap<Along, Vec<QM31>> {
    let along = |&(id, rows, cols): &(ColumnId, AxisId, AxisId)| {
        let shape = columns.shape(id);
        [(rows, shape.log_rows()), (cols, shape.log_cols())]
    };
    let axes: BTreeSet<Along> = products.flat_map(along).collect();
    axes.into_par_iter().map(|(id, log)| ((id, log), claims.axes[id.0 as usize].dense(log))).collect()
}

/// The multiple of a vector that has one as its first entry other than zero, with the factor that gives it back.
fn normal(mut weights: Vec<QM31>) -> Option<(QM31, Vec<QM31>)> {
    let factor = *weights.iter().find(|&&w| w != QM31::ZERO)?;
    let inverse = factor.inverse()?;
    for weight in &mut weights {
        *weight *= inverse;
    }
    Some((factor, weights))
}

/// How weights repeat after every `run` entries, if they do.
fn repeated(weights: &[QM31], run: usize) -> Option<Repeated> {
    let mut patterns: Vec<Vec<QM31>> = Vec::new();
    let mut factors = Vec::with_capacity(weights.len() / run);
    for weights in weights.chunks(run) {
        let Some(&factor) = weights.iter().find(|&&w| w != QM31::ZERO) else {
            factors.push((0, QM31::ZERO));
            continue;
        };
        let is = |pattern: &Vec<QM31>| weights.iter().zip(pattern).all(|(&w, &p)| w == factor * p);
        let index = match patterns.iter().position(is) {
            Some(index) => index,
            None if patterns.len() == PATTERNS => return None,
            None => {
                patterns.push(normal(weights.to_vec())?.1);
                patterns.len() - 1
            }
        };
        factors.push((index as u32, factor));
    }
    Some(Repeated { patterns, factors })
}

/// The same for `rows (x) cols` where a run holds several rows.
fn repeated_rows(rows: &[QM31], cols: &[QM31], run: usize) -> Option<Repeated> {
    let Repeated { patterns, mut factors } = repeated(rows, run / cols.len())?;
    let Some((factor, cols)) = normal(cols.to_vec()) else {
        let factors = vec![(0, QM31::ZERO); factors.len()];
        return Some(Repeated { patterns: Vec::new(), factors });
    };
    let wide = |pattern: Vec<QM31>| pattern.iter().flat_map(|&p| cols.iter().map(move |&c| p * c)).collect();
    for (_, multiple) in &mut factors {
        *multiple *= factor;
    }
    Some(Repeated { patterns: patterns.into_iter().map(wide).collect(), factors })
}

/// All patterns that some product has.
#[derive(Default)]
struct Patterns {
    all: Vec<Vec<QM31>>,
    index: HashMap<Vec<QM31>, u32>,
}

impl Patterns {
    /// The factors of a product's runs, with the numbers of its patterns among all.
    fn register(&mut self, repeated: Repeated) -> Factors {
        let numbers: Vec<u32> = repeated
            .patterns
            .into_iter()
            .map(|pattern| {
                *self.index.entry(pattern).or_insert_with_key(|pattern| {
                    self.all.push(pattern.clone());
                    self.all.len() as u32 - 1
                })
            })
            .collect();
        let number = |index: u32| numbers.get(index as usize).copied().unwrap_or(0);
        repeated.factors.into_iter().map(|(index, factor)| (number(index), factor)).collect()
    }
}

/// A tile of a matrix column of a tree.
type Place = (usize, usize, usize);

fn assemble(
    stacking: &Stacking,
    grid: Grid,
    patterns: Patterns,
    regular: &[Vec<Regular<'_>>; 4],
    loose: &[Vec<Product<'_>>; 4],
) -> Weight {
    let mut tiles: Vec<Vec<Slot>> = vec![Vec::new(); (1 << grid.log_runs) / LANES];
    for product in regular.iter().flatten() {
        product.runs(0..product.len(), |run, pattern, _| {
            let tile = &mut tiles[grid.place(run).1];
            let slot = Slot { pattern, step: 0 };
            if !tile.contains(&slot) {
                tile.push(slot);
            }
        });
    }

    // Tiles with weights of their own.
    let mut own: BTreeMap<Place, Vec<&Product<'_>>> = BTreeMap::new();
    for (side, products) in loose.iter().enumerate() {
        for product in products {
            let last = product.offset + product.rows.len() * product.cols.len() - 1;
            for tile in product.offset / grid.tile()..=last / grid.tile() {
                let (column, tile, _) = grid.place(tile * LANES);
                own.entry((side, column, tile)).or_default().push(product);
            }
        }
    }
    let weights: Vec<Vec<QM31>> = own
        .par_iter()
        .map(|(&(_, column, tile), products)| {
            let mut weights = vec![QM31::ZERO; grid.tile()];
            let first = (column << stacking.log_rows) + tile * grid.tile();
            for product in products {
                product.add(first, &mut weights);
            }
            weights
        })
        .collect();
    let mut all = patterns.all;
    let mut owners: [BTreeMap<usize, Vec<(usize, Slot)>>; 4] = Default::default();
    for ((side, column, tile), weights) in own.into_keys().zip(weights) {
        let slot = Slot { pattern: all.len() as u32, step: 1 };
        all.extend(weights.chunks(1 << grid.log_run).map(<[QM31]>::to_vec));
        tiles[tile].push(slot);
        owners[side].entry(column).or_default().push((tile, slot));
    }
    let slots = Slots::new(grid.log_run, &all, &tiles);

    let factors = [0, 1, 2, 3].map(|side| {
        let mut parts: Vec<Vec<(&Regular<'_>, Range<usize>)>> =
            vec![Vec::new(); stacking.matrix_columns[side]];
        for product in &regular[side] {
            // Of the runs of the tree, those of this product; of these, those in each matrix column.
            let range = product.first..product.first + product.len();
            let columns = range.start >> grid.log_runs..range.end.div_ceil(1 << grid.log_runs);
            for (column, parts) in columns.clone().zip(&mut parts[columns]) {
                let start = range.start.max(column << grid.log_runs);
                let end = range.end.min((column + 1) << grid.log_runs);
                parts.push((product, start - product.first..end - product.first));
            }
        }
        let owners = &owners[side];
        parts
            .into_par_iter()
            .enumerate()
            .map(|(column, parts)| {
                let own = owners.get(&column).map_or(&[][..], Vec::as_slice);
                column_factors(&slots, grid, &parts, own)
            })
            .collect()
    });
    Weight { slots, factors }
}

/// The factors of one matrix column.
fn column_factors(
    slots: &Slots,
    grid: Grid,
    parts: &[(&Regular<'_>, Range<usize>)],
    own: &[(usize, Slot)],
) -> Sparse {
    let mut factors: Vec<Option<Box<[QM31; LANES]>>> = vec![None; slots.len()];
    let index = |tile: usize, slot: Slot| -> usize {
        let mut range = slots.of_tile(tile);
        range.find(|&i| slots.slot(i) == slot).unwrap_or_else(|| unreachable!("every pattern has a slot"))
    };
    for (product, runs) in parts {
        let mut last = (usize::MAX, u32::MAX, 0);
        product.runs(runs.clone(), |run, pattern, factor| {
            let (_, tile, lane) = grid.place(run);
            if (last.0, last.1) != (tile, pattern) {
                last = (tile, pattern, index(tile, Slot { pattern, step: 0 }));
            }
            factors[last.2].get_or_insert_with(|| Box::new([QM31::ZERO; LANES]))[lane] += factor;
        });
    }
    for &(tile, slot) in own {
        factors[index(tile, slot)] = Some(Box::new([QM31::ONE; LANES]));
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

impl Regular<'_> {
    /// Number of its runs.
    fn len(&self) -> usize {
        self.outer.len() * self.factors.len()
    }

    /// Calls `f` with the place in the tree, the pattern and the factor of those of its runs that are not zero.
    fn runs(&self, runs: Range<usize>, mut f: impl FnMut(usize, u32, QM31)) {
        let n = self.factors.len();
        for t in runs.start / n..runs.end.div_ceil(n) {
            let outer = self.outer[t];
            if outer == QM31::ZERO {
                continue;
            }
            let outer = self.coefficient * outer;
            for i in runs.start.saturating_sub(t * n)..n.min(runs.end - t * n) {
                let (pattern, factor) = self.factors[i];
                if factor != QM31::ZERO {
                    f(self.first + t * n + i, pattern, outer * factor);
                }
            }
        }
    }
}

impl Product<'_> {
    /// Adds its weights on the cells of its tree from `first` on.
    fn add(&self, first: usize, weights: &mut [QM31]) {
        let (width, len) = (self.cols.len(), self.rows.len() * self.cols.len());
        let start = self.offset.max(first);
        let end = (self.offset + len).min(first + weights.len());
        for cell in start..end {
            let (t, c) = ((cell - self.offset) / width, (cell - self.offset) % width);
            weights[cell - first] += self.coefficient * self.rows[t] * self.cols[c];
        }
    }
}

#[cfg(test)]
mod tests;
