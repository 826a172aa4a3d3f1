//! Matrices that are committed to: in memory with their codewords, or made again whenever they are needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use circlet_core::field::M31;

use super::device::Error;
use super::encode::Encoder;
use super::field::B;
use super::merkle::{BLOCK, row};

/// The columns of a matrix: messages, each with its codeword.
pub enum Matrix {
    /// In memory.
    Kept {
        /// The messages.
        messages: Vec<Vec<B>>,
        /// Their codewords, in the same order.
        codewords: Vec<Vec<B>>,
    },
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
            Self::Made { count, .. } => *count,
        }
    }

    /// The columns in groups that can be in memory at once.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.count();
        let step = match self {
            Self::Kept { .. } => count.max(1),
            Self::Made { .. } => at_once(rayon::current_num_threads()),
        };
        (0..count).step_by(step).map(move |first| first..count.min(first + step))
    }

    /// Some of the messages.
    pub fn messages(&self, range: Range<usize>) -> Cow<'_, [Vec<B>]> {
        match self {
            Self::Kept { messages, .. } => messages[range].into(),
            Self::Made { make, .. } => make(range).into(),
        }
    }

    /// The rows of codewords with these indices, and maybe others.
    pub fn rows(&self, encoder: &Encoder, indices: &[u32]) -> Result<Rows<'_>, Error> {
        if let Self::Kept { codewords, .. } = self {
            return Ok(Rows::Of(codewords));
        }
        let mut rows: BTreeMap<u32, Vec<M31>> = indices.iter().map(|&index| (index, Vec::new())).collect();
        for range in self.groups() {
            let codewords = encoder.encode_all(&self.messages(range))?;
            for (&index, cells) in &mut rows {
                cells.extend(row(&codewords, index));
            }
        }
        Ok(Rows::Some(rows))
    }
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
