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
