//! The first rounds of the opening: the coordinates that select tree and matrix column.
//!
//! In these rounds rows are only summed over, so every column and its weight may be replaced by anything of the
//! same inner products: by the contraction of the column with the patterns of all slots, and by the multiples of
//! these patterns that its weight is (see [`super::contract`]).

use circlet_core::field::QM31;
use circlet_core::opening::MESSAGE;
use circlet_core::stacking::Stacking;
use rayon::prelude::*;

use super::device::Error;
use super::field::{E, Ext};
use super::matrix::Matrix;
use super::slots::{Slots, Sparse};

/// A contracted matrix column `scale f` with its weight `scale w`.
struct Column {
    f: Vec<E>,
    w: Sparse,
    /// A column without a partner is scaled by every round.
    scale: QM31,
    /// `<f, w>`.
    product: QM31,
}

/// A stacked vector `F` and its weight `W`.
pub struct Stack {
    /// One place for each matrix column, a power of two of them; absent columns are zero.
    columns: Vec<Option<Column>>,
    /// For each pair that the next round joins, `<f0, w1> + <f1, w0>`.
    cross: Vec<QM31>,
}

impl Stack {
    /// The matrix columns of all trees and the weights on them.
    pub fn new(
        slots: &Slots,
        matrices: [Option<&Matrix>; 4],
        weights: [Vec<Sparse>; 4],
        stacking: &Stacking,
    ) -> Result<Self, Error> {
        let mut columns: Vec<Option<Column>> = Vec::new();
        for (matrix, weights) in matrices.into_iter().zip(weights).take(1 << stacking.log_trees) {
            let end = columns.len() + (1 << stacking.log_columns);
            if let Some(matrix) = matrix {
                let contracted = matrix.contracted(slots)?;
                columns.par_extend(contracted.into_par_iter().zip(weights).map(|(f, w)| {
                    let product = w.dot(&f);
                    Some(Column { f, w, scale: QM31::ONE, product })
                }));
            }
            columns.resize_with(end, || None);
        }
        let mut stack = Self { columns, cross: Vec::new() };
        stack.cross();
        Ok(stack)
    }

    fn cross(&mut self) {
        let (low, high) = self.columns.split_at(self.columns.len() / 2);
        let cross = |(a, b): (&Option<Column>, &Option<Column>)| match (a, b) {
            (Some(a), Some(b)) => a.w.dot(&b.f) + b.w.dot(&a.f),
            _ => QM31::ZERO,
        };
        self.cross = low.par_iter().zip(high).map(cross).collect();
    }

    /// `[s_0, s_2]` of the round that binds the highest coordinate left.
    pub fn round(&self) -> [QM31; MESSAGE] {
        let (low, high) = self.columns.split_at(self.columns.len() / 2);
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
    pub fn bind(&mut self, r: QM31) {
        let high = self.columns.split_off(self.columns.len() / 2);
        self.columns.par_iter_mut().zip(high).zip(&self.cross).for_each(|((a, b), &cross)| {
            *a = match (a.take(), b) {
                (Some(a), Some(b)) => Some(a.mix(&b, cross, r)),
                (Some(a), None) => Some(Column { scale: a.scale * (QM31::ONE - r), ..a }),
                (None, Some(b)) => Some(Column { scale: b.scale * r, ..b }),
                (None, None) => None,
            };
        });
        if self.columns.len() > 1 {
            self.cross();
        }
    }

    /// The multiples of the patterns that the weight of `u` is, when all coordinates are bound.
    pub fn finish(self) -> Sparse {
        self.columns.into_iter().next().flatten().map_or_else(Sparse::default, |column| {
            let scale = E::splat(column.scale);
            let vectors = column.w.vectors.into_iter().map(|v| scale * v).collect();
            Sparse { vectors, ..column.w }
        })
    }
}

impl Column {
    /// The line through two columns at `r`.
    fn mix(mut self, other: &Self, cross: QM31, r: QM31) -> Self {
        let (low, high) = ((QM31::ONE - r) * self.scale, r * other.scale);
        let product = low * low * self.product + high * high * other.product + low * high * cross;
        let w = Sparse::mix(&self.w, &other.w, low, high);
        let (low, high) = (E::splat(low), E::splat(high));
        self.f.iter_mut().zip(&other.f).for_each(|(a, &b)| *a = low * *a + high * b);
        Self { f: self.f, w, scale: QM31::ONE, product }
    }
}
