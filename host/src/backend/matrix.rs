//! Matrices that are committed to: in memory with their codewords, on a GPU, or made again whenever they are needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::field::{M31, QM31};
use rayon::prelude::*;

use super::device::Error;
use super::encode::Encoder;
use super::field::{B, E};
use super::gpu::matrix as gpu;
use super::merkle::{BLOCK, row};
use super::slots::{Slots, combine};

/// The columns of a matrix: messages, each with its codeword.
pub enum Matrix {
    /// In memory.
    Kept {
        /// The messages.
        messages: Vec<Vec<B>>,
        /// Their codewords, in the same order.
        codewords: Vec<Vec<B>>,
    },
    /// On the GPUs that have encoded them.
    OnGpu(Arc<gpu::Matrix>),
    /// Made when they are asked for.
    Made {
        /// How many there are.
        count: usize,
        /// Makes some of the messages.
        make: Box<Make>,
    },
}

/// Makes messages.
pub type Make = dyn Fn(Range<usize>) -> Vec<Vec<B>> + Send + Sync;

/// Columns that are made at once with so many threads: whole blocks of the hash, and no fewer than there are threads.
pub fn at_once(threads: usize) -> usize {
    threads.next_multiple_of(BLOCK)
}

impl Matrix {
    /// Number of columns.
    pub fn count(&self) -> usize {
        match self {
            Self::Kept { messages, .. } => messages.len(),
            Self::OnGpu(matrix) => matrix.count(),
            Self::Made { count, .. } => *count,
        }
    }

    /// What every column is contracted to, in their order.
    pub fn contracted(&self, slots: &Slots) -> Result<Vec<Vec<E>>, Error> {
        let contract = |messages: &[Vec<B>]| -> Vec<Vec<E>> {
            messages.par_iter().map(|cells| slots.contract(cells)).collect()
        };
        match self {
            Self::Kept { messages, .. } => Ok(contract(messages)),
            Self::OnGpu(matrix) => matrix.contracted(slots),
            Self::Made { count, make } => {
                Ok(groups(*count).flat_map(|range| contract(&make(range))).collect())
            }
        }
    }

    /// `sum weight column` over all columns.
    pub fn combined(&self, weights: &[QM31]) -> Result<Vec<E>, Error> {
        let combine = |messages: &[Vec<B>], weights: &[QM31]| {
            let columns = messages.iter().map(Vec::as_slice).zip(weights.iter().copied());
            combine(&columns.collect::<Vec<_>>())
        };
        match self {
            Self::Kept { messages, .. } => Ok(combine(messages, weights)),
            Self::OnGpu(matrix) => matrix.combined(weights),
            Self::Made { count, make } => {
                let parts = groups(*count).map(|range| combine(&make(range.clone()), &weights[range]));
                Ok(parts.reduce(plus).unwrap_or_default())
            }
        }
    }

    /// The rows of codewords with these indices, and maybe others.
    pub fn rows(&self, encoder: &Encoder, indices: &[u32]) -> Result<Rows<'_>, Error> {
        match self {
            Self::Kept { codewords, .. } => Ok(Rows::Of(codewords)),
            Self::OnGpu(matrix) => Ok(Rows::Some(matrix.rows(indices)?)),
            Self::Made { count, make } => {
                let mut rows: BTreeMap<u32, Vec<M31>> =
                    indices.iter().map(|&index| (index, Vec::new())).collect();
                for range in groups(*count) {
                    let codewords = encoder.encode_all(&make(range))?;
                    for (&index, cells) in &mut rows {
                        cells.extend(row(&codewords, index));
                    }
                }
                Ok(Rows::Some(rows))
            }
        }
    }
}

/// So many columns in groups of [`at_once`].
pub fn groups(count: usize) -> impl Iterator<Item = Range<usize>> {
    let step = at_once(rayon::current_num_threads());
    (0..count).step_by(step).map(move |first| first..count.min(first + step))
}

/// The sum of two vectors, in the place of the first.
pub fn plus(mut sum: Vec<E>, other: Vec<E>) -> Vec<E> {
    sum.par_iter_mut().zip(other).with_min_len(1 << 10).for_each(|(sum, other)| *sum += other);
    sum
}

/// Rows of a matrix.
pub enum Rows<'a> {
    /// All rows of these columns.
    Of(&'a [Vec<B>]),
    /// Those that will be asked for.
    Some(BTreeMap<u32, Vec<M31>>),
}

impl Rows<'_> {
    /// A row.
    pub fn row(&self, index: u32) -> Cow<'_, [M31]> {
        match self {
            Self::Of(columns) => row(columns, index).into(),
            Self::Some(rows) => rows[&index].as_slice().into(),
        }
    }
}
