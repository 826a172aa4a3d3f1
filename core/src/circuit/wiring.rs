//! Cells as sequences: wirings between columns, and public tensors.

use alloc::vec::Vec;

use super::{ColumnId, Shape};

/// A digit of the position of a cell in a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    /// Number of values.
    pub len: u32,
    /// Distance in the sequence between neighbouring values.
    pub stride: u64,
}

/// The positions in a sequence of the entries of one axis: entries `skip .. skip + take` of a mixed-radix
/// index with the given digits, most significant first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Digits.
    pub digits: Vec<Stride>,
    /// Entries of the index that lie before this axis.
    pub skip: u32,
    /// Entries of the index on this axis.
    pub take: u32,
}

/// The real cells of a column, placed in a sequence: cell `(t, c)` at `rows[t] + cols[c]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The column.
    pub column: ColumnId,
    /// Positions of rows.
    pub rows: Positions,
    /// Positions of columns.
    pub cols: Positions,
}

/// Two sets of cells hold the same sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Cells that give the sequence.
    pub from: Vec<Placement>,
    /// Cells that repeat it.
    pub to: Vec<Placement>,
}

/// A public tensor: its cells, row by row, are the sequence that the statement holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Real rows of the tensor.
    pub rows: u32,
    /// Real columns of the tensor.
    pub cols: u32,
    /// Every entry lies in `-bound..=bound`.
    pub bound: i64,
    /// Its cells.
    pub cells: Vec<Placement>,
}

/// A public list of indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Number of entries.
    pub len: u32,
    /// Every entry is below this.
    pub limit: u32,
}

/// Which rows a [`Gather`] takes. The last one stands for all rows of the padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those that a list of the statement names.
    Listed(usize),
    /// These.
    Given(Vec<u32>),
}

impl Rows {
    /// The rows themselves.
    pub fn list<'a>(&'a self, lists: &'a [Vec<u32>]) -> &'a [u32] {
        match self {
            Self::Listed(list) => lists.get(*list).map_or(&[], Vec::as_slice),
            Self::Given(rows) => rows,
        }
    }
}

/// `output(t, c) = source(rows[t], c)` in every cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The source, in blocks of rows: the first row of each and its column.
    pub source: Vec<(u32, ColumnId)>,
    /// Which rows.
    pub rows: Rows,
    /// Receives them.
    pub output: ColumnId,
}

/// `sum_k coefficient_k column_k(t, list[t] - first) = 0` in every row `t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Blocks of channels: index of the first channel, and coefficients and columns.
    pub blocks: Vec<(u32, Vec<(i64, ColumnId)>)>,
    /// Which list of the statement.
    pub list: usize,
    /// Number of rows.
    pub rows: u32,
}

impl Positions {
    /// The position of every entry of the axis.
    pub fn list(&self) -> Vec<u64> {
        let mut all = alloc::vec![0u64];
        for digit in &self.digits {
            all = all
                .iter()
                .flat_map(|&base| (0..u64::from(digit.len)).map(move |k| base + k * digit.stride))
                .collect();
        }
        all.into_iter().skip(self.skip as usize).take(self.take as usize).collect()
    }
}

impl Placement {
    /// Every real cell as `(index in the padded column, position in the sequence)`.
    pub fn cells(&self, shape: Shape) -> Vec<(usize, u64)> {
        let cols = self.cols.list();
        let mut cells = Vec::new();
        for (t, row) in self.rows.list().into_iter().enumerate() {
            cells.extend(cols.iter().enumerate().map(|(c, col)| ((t << shape.log_cols()) + c, row + col)));
        }
        cells
    }
}
