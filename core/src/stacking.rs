//! Where every column lies in the stacked vector.
//!
//! Each tree is a matrix of `2^a` rows; its columns, read one after the other, are one long vector into which
//! the circuit's columns are laid as aligned blocks, largest first. The vectors of all trees, padded to the same
//! power of two, are the parts of the *stacked vector* `F`: the top coordinates select the tree, one where there
//! are but the fixed and the witness tree, two where there is state; the next ones the matrix column, the lowest
//! `a` the row. A column's own index is then the low part of its index in `F`, and its place is an `eq` factor in
//! the rest.

use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::{ColumnId, Columns, Starts, Tree};
use crate::field::QM31;
use crate::poly::BySize;
use crate::profile::Profile;

/// Rows of a matrix: at least `2^MIN_LOG_ROWS`, so that there is a fold layer.
pub const MIN_LOG_ROWS: u32 = 8;

/// The layout of all trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stacking {
    /// `a`: log of the rows of all matrices.
    pub log_rows: u32,
    /// Matrix columns of each tree; zero for a tree that there is not.
    pub matrix_columns: [usize; 4],
    /// Number of variables that select a matrix column within a tree.
    pub log_columns: u32,
    /// Number of variables that select a tree.
    pub log_trees: u32,
    /// Where the columns of each size begin, in each tree.
    starts: [Starts; 4],
}

impl Stacking {
    /// Lays out columns. The number of rows is the one for which query answers are smallest.
    pub fn new(columns: &Columns, profile: &Profile) -> Self {
        Self::build(columns, |ends| best_log_rows(ends, profile))
    }

    /// Lays out columns in matrices of `2^log_rows` rows.
    pub fn with_rows(columns: &Columns, log_rows: u32) -> Self {
        Self::build(columns, |_| log_rows)
    }

    fn build(columns: &Columns, log_rows: impl Fn([u64; 4]) -> u32) -> Self {
        let ends = Tree::ALL.map(|tree| columns.sizes(tree).cells());
        let log_rows = log_rows(ends);
        let mut matrix_columns = ends.map(|end| end.div_ceil(1 << log_rows) as usize);
        // These two are always there.
        let [fixed, witness, _, _] = &mut matrix_columns;
        for columns in [fixed, witness] {
            *columns = (*columns).max(1);
        }
        let widest = matrix_columns.iter().copied().max().unwrap_or(1);
        let log_columns = widest.next_power_of_two().trailing_zeros();
        let log_trees = if matrix_columns.iter().skip(2).any(|&columns| columns > 0) { 2 } else { 1 };
        let starts = Tree::ALL.map(|tree| columns.sizes(tree).starts());
        Self { log_rows, matrix_columns, log_columns, log_trees, starts }
    }

    /// First index of a column in the stacked vector.
    pub fn offset(&self, columns: &Columns, id: ColumnId) -> u64 {
        self.offset_of(columns.block(id))
    }

    fn offset_of(&self, block: (u32, Tree, u32)) -> u64 {
        let tree = block.1.index() as u64;
        (tree << (self.log_rows + self.log_columns)) + self.within(block)
    }

    fn within(&self, (log, tree, nth): (u32, Tree, u32)) -> u64 {
        self.starts.get(tree.index()).map_or(0, |starts| starts.offset(log, nth))
    }

    /// First index of a column within its tree's vector.
    pub fn offset_in_tree(&self, columns: &Columns, id: ColumnId) -> u64 {
        self.within(columns.block(id))
    }

    /// Number of variables above the row: those of the matrix column, then those of the tree.
    pub fn stack_variables(&self) -> u32 {
        self.log_columns + self.log_trees
    }

    /// Number of variables of the stacked vector.
    pub fn variables(&self) -> u32 {
        self.log_rows + self.stack_variables()
    }
}

/// The places of columns at a point of the stacked vector, or of a tree's vector for the columns of that tree: `eq` in
/// the coordinates above a column's own.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    stacking: &'a Stacking,
    /// Of each tree.
    blocks: [BySize<'a>; 4],
    /// Places asked for not long ago, by the low bits of the column's index.
    recent: Vec<(u32, QM31)>,
}

impl<'a> Places<'a> {
    /// Places that are remembered.
    pub const RECENT: usize = 1 << 9;

    /// Places at a point.
    pub fn new(stacking: &'a Stacking, point: &'a [QM31]) -> Self {
        // No column has the largest number.
        let recent = vec![(u32::MAX, QM31::ZERO); Self::RECENT];
        Self { stacking, blocks: Tree::ALL.map(|_| BySize::new(point)), recent }
    }

    /// The place of a column.
    pub fn of(&mut self, columns: &Columns, id: ColumnId) -> QM31 {
        let slot = id.0 as usize % Self::RECENT;
        if let Some(&(known, place)) = self.recent.get(slot)
            && known == id.0
        {
            return place;
        }
        let block @ (log, tree, _) = columns.block(id);
        let offset = self.stacking.offset_of(block);
        let place = self.blocks.get_mut(tree.index()).map_or(QM31::ZERO, |own| own.weight(log, offset));
        if let Some(slot) = self.recent.get_mut(slot) {
            *slot = (id.0, place);
        }
        place
    }
}

/// Bytes of one query as a function of `a`, minimized.
fn best_log_rows(ends: [u64; 4], profile: &Profile) -> u32 {
    let trees = 2 + ends.iter().skip(2).filter(|&&end| end > 0).count() as u64;
    let cost = |a: u32| -> u64 {
        let height = a + profile.log_blowup;
        let path = |height: u32| 32 * u64::from(height.saturating_sub(profile.cap_height));
        let cells: u64 = ends.iter().map(|end| 4 * end.div_ceil(1 << a)).sum();
        let folds: u64 = (1..=FoldSchedule::new(a).layers).map(|k| 256 + path(height - 4 * k)).sum();
        cells + trees * path(height) + folds
    };
    (MIN_LOG_ROWS..=profile.max_log_rows).min_by_key(|&a| cost(a)).unwrap_or(MIN_LOG_ROWS)
}

/// How a codeword of a message of `2^a` entries is folded: `layers` committed words, four variables each,
/// then a message of `2^last` entries in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldSchedule {
    /// Number of committed words, including the unfolded one.
    pub layers: u32,
    /// Log of the length of the message that is sent in clear.
    pub last: u32,
}

impl FoldSchedule {
    /// Log of the fold arity: every opened leaf holds sixteen neighbouring values.
    pub const ARITY_LOG: u32 = 4;

    /// The schedule for `a >= MIN_LOG_ROWS`; the last message has 16 to 128 entries.
    pub fn new(a: u32) -> Self {
        let layers = a.saturating_sub(4) / Self::ARITY_LOG;
        Self { layers, last: a - layers * Self::ARITY_LOG }
    }
}
