//! The first rounds of the opening: the coordinates that select tree and matrix column.
//!
//! In these rounds rows are only summed over, so every column and its weight may be replaced by anything of the
//! same inner products: by the contraction of the column with the patterns of all slots, and by the multiples of
//! these patterns that its weight is (see [`super::slots`]).

use circlet_core::field::QM31;
use circlet_core::opening::MESSAGE;
use circlet_core::stacking::Stacking;
use rayon::prelude::*;

use super::device::Error;
use super::field::{E, Ext};
use super::gpu::stack as gpu;
use super::matrix::Matrix;
use super::slots::Sparse;
use super::weights::Weights;

/// A contracted matrix column `scale f` with its weight `scale w`.
#[derive(Clone, Copy)]
struct Column {
    /// Where `f` and `w` are.
    place: usize,
    /// A column without a partner is scaled by every round.
    scale: QM31,
    /// `<f, w>`.
    product: QM31,
}

/// What becomes of the column in a place.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// The place.
    pub place: usize,
    /// If it is mixed with another one: the factor of its own, that place, and its factor.
    pub mixed: Option<(QM31, usize, QM31)>,
}

/// A column, maybe mixed with another, and the one that it meets in the next round.
pub type Join = (Side, Option<Side>);

/// Contracted columns with their weights, each pair in a place.
enum Columns {
    OnProcessor(Vec<Option<(Vec<E>, Sparse)>>),
    OnGpu(Box<gpu::Columns>),
}

/// A stacked vector `F` and its weight `W`.
pub struct Stack {
    /// One place for each matrix column, a power of two of them; absent columns are zero.
    all: Vec<Option<Column>>,
    columns: Columns,
    /// For each pair that the next round joins, `<f0, w1> + <f1, w0>`.
    cross: Vec<QM31>,
}

impl Stack {
    /// The matrix columns of all trees and the weights on them.
    pub fn new(
        weights: &Weights,
        matrices: [Option<&Matrix>; 4],
        stacking: &Stacking,
    ) -> Result<Self, Error> {
        let trees = 1 << stacking.log_trees;
        let columns = match gpu::Columns::new(weights, &matrices[..trees])? {
            Some(columns) => Columns::OnGpu(columns.into()),
            None => Columns::on_processor(weights, &matrices[..trees])?,
        };
        let mut places = 0..;
        let mut all: Vec<Option<usize>> = Vec::new();
        for matrix in &matrices[..trees] {
            let end = all.len() + (1 << stacking.log_columns);
            let count = matrix.map_or(0, Matrix::count);
            all.extend(places.by_ref().take(count).map(Some));
            all.resize(end, None);
        }
        let mut stack = Self { all: Vec::new(), columns, cross: Vec::new() };
        let products = stack.columns.products()?;
        let column = |place| Column { place, scale: QM31::ONE, product: products[place] };
        stack.all = all.into_iter().map(|place| place.map(column)).collect();
        stack.join(|column| Side { place: column.place, mixed: None })?;
        Ok(stack)
    }

    /// Lets columns become what they are from now on, and makes [`Self::cross`] for them.
    fn join(&mut self, side: impl Fn(&Column) -> Side) -> Result<(), Error> {
        let side = |column: &Option<Column>| column.as_ref().map(&side);
        let (low, high) = self.all.split_at(self.all.len().div_ceil(2));
        let high = high.iter().map(side).chain(std::iter::repeat(None));
        // One alone that stays as it is needs nothing.
        let join = |(a, b): (Option<Side>, Option<Side>)| {
            let join: Join = (a.or(b)?, a.and(b));
            (join.1.is_some() || join.0.mixed.is_some()).then_some(join)
        };
        let joins: Vec<Option<Join>> = low.iter().map(side).zip(high).map(join).collect();
        let mut found = self.columns.join(&joins.iter().copied().flatten().collect::<Vec<_>>())?.into_iter();
        let cross = joins.iter().map(|join| join.and_then(|_| found.next()).unwrap_or_default());
        self.cross = cross.collect();
        Ok(())
    }

    /// `[s_0, s_2]` of the round that binds the highest coordinate left.
    pub fn round(&self) -> [QM31; MESSAGE] {
        let (low, high) = self.all.split_at(self.all.len() / 2);
        let square =
            |column: &Option<Column>| column.as_ref().map_or(QM31::ZERO, |c| c.scale * c.scale * c.product);
        let scale = |column: &Option<Column>| column.as_ref().map_or(QM31::ZERO, |c| c.scale);
        let mut sums = [QM31::ZERO; MESSAGE];
        for ((a, b), &cross) in low.iter().zip(high).zip(&self.cross) {
            sums[0] += square(a);
            sums[1] += square(a) + square(b) - scale(a) * scale(b) * cross;
        }
        sums
    }

    /// Binds that coordinate.
    pub fn bind(&mut self, r: QM31) -> Result<(), Error> {
        let high = self.all.split_off(self.all.len() / 2);
        let mut mixed = vec![None; self.columns.count()];
        for ((a, b), &cross) in self.all.iter_mut().zip(high).zip(&self.cross) {
            *a = match (*a, b) {
                (Some(a), Some(b)) => {
                    let (low, high) = ((QM31::ONE - r) * a.scale, r * b.scale);
                    mixed[a.place] = Some((low, b.place, high));
                    let product = low * low * a.product + high * high * b.product + low * high * cross;
                    Some(Column { place: a.place, scale: QM31::ONE, product })
                }
                (Some(a), None) => Some(Column { scale: a.scale * (QM31::ONE - r), ..a }),
                (None, Some(b)) => Some(Column { scale: b.scale * r, ..b }),
                (None, None) => None,
            };
        }
        self.join(|column| Side { place: column.place, mixed: mixed[column.place] })
    }

    /// What is left of `W` when all coordinates are bound.
    pub fn finish(self) -> Left {
        let Some(&Some(Column { place, scale, .. })) = self.all.first() else {
            return Left::OnProcessor(Sparse::default());
        };
        match self.columns {
            Columns::OnGpu(columns) => Left::OnGpu(gpu::Left::new(columns, place, scale)),
            Columns::OnProcessor(mut columns) => {
                Left::OnProcessor(columns[place].take().unwrap_or_default().1.scaled(scale))
            }
        }
    }
}

/// The weight of `u`.
pub enum Left {
    /// Multiples of the patterns.
    OnProcessor(Sparse),
    /// The same on a GPU.
    OnGpu(gpu::Left),
}

impl Left {
    /// The multiples of the patterns.
    pub fn multiples(self) -> Result<Sparse, Error> {
        match self {
            Self::OnProcessor(multiples) => Ok(multiples),
            Self::OnGpu(left) => left.multiples(),
        }
    }
}

impl Columns {
    /// Contracts matrices, wherever they are, and spells out the weights on them.
    fn on_processor(weights: &Weights, matrices: &[Option<&Matrix>]) -> Result<Self, Error> {
        let mut columns = Vec::new();
        for (tree, matrix) in matrices.iter().enumerate() {
            if let Some(matrix) = matrix {
                let contracted = matrix.contracted(&weights.slots)?;
                columns.extend(contracted.into_iter().zip(weights.sparse(tree)).map(Some));
            }
        }
        Ok(Self::OnProcessor(columns))
    }

    /// How many places there are.
    fn count(&self) -> usize {
        match self {
            Self::OnProcessor(columns) => columns.len(),
            Self::OnGpu(columns) => columns.count(),
        }
    }

    /// `<f, w>` of all.
    fn products(&mut self) -> Result<Vec<QM31>, Error> {
        match self {
            Self::OnGpu(columns) => columns.products(),
            Self::OnProcessor(columns) => {
                let product = |column: &Option<(Vec<E>, Sparse)>| column.as_ref().map(|(f, w)| w.dot(f));
                Ok(columns.par_iter().map(|column| product(column).unwrap_or_default()).collect())
            }
        }
    }

    /// Mixes columns, each no more than once, and of all joins gives `<f0, w1> + <f1, w0>` then: zero for one alone.
    fn join(&mut self, joins: &[Join]) -> Result<Vec<QM31>, Error> {
        match self {
            Self::OnGpu(columns) => columns.join(joins),
            Self::OnProcessor(columns) => {
                let sides = joins.iter().flat_map(|join| [Some(join.0), join.1]).flatten();
                let mixes = sides.filter_map(|side| Some((side.place, side.mixed?)));
                let taken: Vec<_> = mixes
                    .map(|(place, (low, other, high))| {
                        let [own, other] = [place, other].map(|place| columns[place].take());
                        (place, (low, own.unwrap_or_default()), (high, other.unwrap_or_default()))
                    })
                    .collect();
                let mix = |(place, a, b)| (place, mix(a, b));
                let mixed: Vec<_> = taken.into_par_iter().map(mix).collect();
                for (place, column) in mixed {
                    columns[place] = Some(column);
                }
                let column = |side: &Side| columns[side.place].as_ref();
                let cross = |(a, b): &Join| {
                    let (a, b) = (column(a)?, column(b.as_ref()?)?);
                    Some(a.1.dot(&b.0) + b.1.dot(&a.0))
                };
                Ok(joins.par_iter().map(|join| cross(join).unwrap_or_default()).collect())
            }
        }
    }
}

/// The sum of two columns and that of their weights, each times a factor.
fn mix(
    (low, (mut f, w)): (QM31, (Vec<E>, Sparse)),
    (high, (other, weight)): (QM31, (Vec<E>, Sparse)),
) -> (Vec<E>, Sparse) {
    let w = Sparse::mix(&w, &weight, low, high);
    let (low, high) = (E::splat(low), E::splat(high));
    f.iter_mut().zip(&other).for_each(|(a, &b)| *a = low * *a + high * b);
    (f, w)
}
