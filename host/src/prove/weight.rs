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

use circlet_core::circuit::{ColumnId, Columns};
use circlet_core::claims::{AxisId, Claims};
use circlet_core::field::QM31;
use circlet_core::poly::powers;
use circlet_core::stacking::Stacking;
use rayon::prelude::*;

use crate::backend::field::LANES;
use crate::backend::slots::{Slot, Slots};
use crate::backend::weights::{Factors, Grid, Multiple, OfTree, Product, Weights};

/// An axis with more patterns than this counts as one that does not repeat.
const PATTERNS: usize = 4;

/// An axis of `2^log` entries.
type Along = (AxisId, u32);

/// The axes that a run lies on: columns, and rows if it holds several.
type Inner = (Option<Along>, Along);

/// `coefficient u (x) w` on a column.
struct Loose {
    /// Place of its first cell in its tree.
    offset: usize,
    coefficient: QM31,
    /// Which weights, along both axes.
    rows: usize,
    cols: usize,
}

/// Weights that repeat.
struct Repeated {
    patterns: Vec<Vec<QM31>>,
    factors: Vec<Multiple>,
}

/// The weight of all claims on all rows of all matrices, batched by the powers of `mu`.
pub fn weigh(columns: &Columns, stacking: &Stacking, claims: &Claims, mu: QM31) -> Weights {
    let grid = Grid::new(stacking.log_rows);
    let products = merge(claims, mu);
    let Axes { index, dense } = Axes::new(columns, claims, products.keys());
    let shape = |id: ColumnId| columns.shape(id);
    let side = |id: ColumnId| columns.tree(id).index();
    let along = |axis: Along| &dense[index[&axis]];

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
            None => repeated(along(cols), 1 << grid.log_run),
            Some(rows) => repeated_rows(along(rows), along(cols), 1 << grid.log_run),
        })
        .collect();
    let mut patterns = Patterns::default();
    let mut known: BTreeMap<Inner, usize> = BTreeMap::new();
    let mut inners = Vec::new();
    for (&key, repeated) in keys.iter().zip(repeated) {
        if let Some(repeated) = repeated {
            known.insert(key, inners.len());
            inners.push(patterns.register(repeated));
        }
    }

    let mut trees = stacking.matrix_columns.map(|columns| OfTree { columns, ..OfTree::default() });
    let mut loose = [(); 4].map(|()| Vec::new());
    for (key @ &(id, rows, cols), &coefficient) in &products {
        let offset = stacking.offset_in_tree(columns, id) as usize;
        let rows = index[&(rows, shape(id).log_rows())];
        if let Some((several, inner)) = inner(key).and_then(|k| Some((k.0.is_some(), *known.get(&k)?))) {
            let outer = if several { Axes::ONE } else { rows };
            let first = offset >> grid.log_run;
            trees[side(id)].products.push(Product { first, coefficient, outer, inner });
        } else {
            let cols = index[&(cols, shape(id).log_cols())];
            loose[side(id)].push(Loose { offset, coefficient, rows, cols });
        }
    }
    let factors = Factors { outer: dense, inner: inners };
    assemble(stacking, grid, patterns, factors, trees, &loose)
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

/// Weights along axes.
struct Axes {
    /// The place of each among all.
    index: BTreeMap<Along, usize>,
    dense: Vec<Vec<QM31>>,
}

impl Axes {
    /// The place of a one alone.
    const ONE: usize = 0;

    /// Those of products.
    fn new<'a>(
        columns: &Columns,
        claims: &Claims,
        products: impl Iterator<Item = &'a (ColumnId, AxisId, AxisId)>,
    ) -> Self {
        let along = |&(id, rows, cols): &(ColumnId, AxisId, AxisId)| {
            let shape = columns.shape(id);
            [(rows, shape.log_rows()), (cols, shape.log_cols())]
        };
        let all: BTreeSet<Along> = products.flat_map(along).collect();
        let weights = |&(id, log): &Along| claims.axes[id.0 as usize].dense(log);
        let mut dense = vec![vec![QM31::ONE]];
        dense.par_extend(all.par_iter().map(weights));
        Self { index: all.into_iter().zip(1..).collect(), dense }
    }
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
    fn register(&mut self, repeated: Repeated) -> Vec<Multiple> {
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
    factors: Factors,
    mut trees: [OfTree; 4],
    loose: &[Vec<Loose>; 4],
) -> Weights {
    let products = trees.iter().flat_map(|tree| &tree.products);
    let slots = |patterns: Vec<u32>| patterns.into_iter().map(|pattern| Slot { pattern, step: 0 }).collect();
    let mut tiles: Vec<Vec<Slot>> = factors.patterns(grid, products).into_iter().map(slots).collect();

    // Tiles with weights of their own.
    let dense = |axis: usize| factors.outer[axis].as_slice();
    let mut own: BTreeMap<Place, Vec<&Loose>> = BTreeMap::new();
    for (side, products) in loose.iter().enumerate() {
        for product in products {
            let last = product.offset + dense(product.rows).len() * dense(product.cols).len() - 1;
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
                product.add([product.rows, product.cols].map(dense), first, &mut weights);
            }
            weights
        })
        .collect();
    let mut all = patterns.all;
    let mut owners = Vec::new();
    for ((side, column, tile), weights) in own.into_keys().zip(weights) {
        all.extend(weights.chunks(1 << grid.log_run).map(<[QM31]>::to_vec));
        owners.push((side, column, tile, tiles[tile].len()));
        tiles[tile].push(Slot { pattern: (all.len() - LANES) as u32, step: 1 });
    }
    let slots = Slots::new(grid.log_run, &all, &tiles);
    for (side, column, tile, at) in owners {
        trees[side].own.push((column, (slots.of_tile(tile).start + at) as u32));
    }
    Weights { slots, grid, factors, trees }
}

impl Loose {
    /// Adds its weights, given along both axes, on the cells of its tree from `first` on.
    fn add(&self, [rows, cols]: [&[QM31]; 2], first: usize, weights: &mut [QM31]) {
        let (width, len) = (cols.len(), rows.len() * cols.len());
        let start = self.offset.max(first);
        let end = (self.offset + len).min(first + weights.len());
        for cell in start..end {
            let (t, c) = ((cell - self.offset) / width, (cell - self.offset) % width);
            weights[cell - first] += self.coefficient * rows[t] * cols[c];
        }
    }
}

#[cfg(test)]
mod tests;
