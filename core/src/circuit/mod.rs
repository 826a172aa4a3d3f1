//! Circuits: a program spelled out as columns, lookups, relations and wirings.
//!
//! Every op of a program is expanded once, by its definition in [`crate::ops`], into this description. All
//! others read it: the executor runs its [`Step`]s, the prover commits its [`Column`]s and proves its
//! [`Lookup`]s and [`Relation`]s, the verifier checks them at random points, [`check`](Circuit::check) bounds
//! them. Nothing about an op is written anywhere else.
//!
//! * A **column** is a matrix of `rows x cols` integers, padded to powers of two, committed in one of up to four
//!   trees. Lookups and relations hold in padding cells too, but no real cell depends on one.
//! * A **lookup** says that in every cell a tuple of linear forms is a row of a table.
//! * A **relation** says that in every cell `products + sums + linear form = 0`, as integers: it is proven
//!   modulo `P`, and `check` shows from the proven ranges that both sides are too small to wrap.
//! * A **wiring** says that two sets of cells hold the same sequence of numbers.
//! * A **gather** says that every row of a column is the row of another that a public list names.
//! * A **pick** says that a form vanishes in one cell of every row, which a public list names.

mod builder;
mod check;
mod columns;
mod form;
mod interval;
mod lookup;
mod name;
mod parts;
mod step;
#[cfg(test)]
pub(crate) mod tests;
mod wiring;

use alloc::string::String;
use alloc::vec::Vec;

pub use builder::{Builder, Limbs, split, split_wide};
pub use check::{Check, Checked, CircuitError};
pub use columns::{Columns, Declared, Sizes, Starts};
pub use form::{Form, Indicator, Kind, Product, Relation, RowSum, Summands, Value};
pub use lookup::{Component, Looked, Lookup, LookupTable};
pub(crate) use name::written;
pub use name::{Name, Named};
pub use parts::{Reader, Source};
pub use step::{Int, Step};
pub use wiring::{Gather, List, Pick, Placement, Positions, Public, Rows, Stride, Wiring};

use crate::program::{ConstantId, Program, TableId};

/// Index of a column in [`Circuit::columns`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u32);

/// The extents of a column and of the cube it is padded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Real rows.
    pub rows: u32,
    /// Real columns.
    pub cols: u32,
}

impl Shape {
    /// One cell.
    pub const CELL: Self = Self { rows: 1, cols: 1 };

    /// Number of variables of the row index.
    pub fn log_rows(self) -> u32 {
        u32::BITS - self.rows.saturating_sub(1).leading_zeros()
    }

    /// Number of variables of the column index; these are the low coordinates.
    pub fn log_cols(self) -> u32 {
        u32::BITS - self.cols.saturating_sub(1).leading_zeros()
    }

    /// Number of variables.
    pub fn log_size(self) -> u32 {
        self.log_rows() + self.log_cols()
    }

    /// Number of cells with padding.
    pub fn cells(self) -> u64 {
        1u64.checked_shl(self.log_size()).unwrap_or(u64::MAX)
    }

    /// The same, for who holds so many numbers in memory.
    pub fn size(self) -> usize {
        1 << self.log_size()
    }
}

/// The integers from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Least element.
    pub low: i64,
    /// Greatest element.
    pub high: i64,
}

impl Interval {
    /// `-bound..=bound`.
    pub fn symmetric(bound: i64) -> Self {
        Self { low: -bound, high: bound }
    }

    /// `0 .. 2^bits`.
    pub fn bits(bits: u32) -> Self {
        Self { low: 0, high: (1 << bits) - 1 }
    }

    /// The least interval around both.
    fn around(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// Which commitment holds a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tree {
    /// Committed once, in the verifying key: parameters and tables.
    Fixed,
    /// Committed in every proof.
    Witness,
    /// Committed in every proof, for a later proof to read.
    State,
    /// The state of an earlier proof, whose commitment the verifier has from there.
    Past,
}

impl Tree {
    /// All trees, in the order of their places in the stacked vector.
    pub const ALL: [Self; 4] = [Self::Fixed, Self::Witness, Self::State, Self::Past];

    /// The place in [`Tree::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Where the numbers of a column come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A rectangle of a constant.
    Constant {
        /// Which constant.
        constant: ConstantId,
        /// First row of the rectangle.
        row: u32,
        /// First column of the rectangle.
        col: u32,
    },
    /// The values of a program table.
    Table(TableId),
    /// Public input or the result of a [`Step`].
    Trace,
    /// How often each row of a lookup table is used (index into [`Circuit::tables`]).
    Multiplicity(u32),
    /// The result of a [`Step`], for a later program to read.
    State,
    /// The state of an earlier program.
    Past,
}

/// A committed matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, for people.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Range of every real cell, implied by lookups (`Circuit::check` makes sure), by the key, or by the proof that
    /// committed to a past state.
    pub bound: Interval,
    /// Origin of the numbers.
    pub content: Content,
}

impl Column {
    /// The commitment that holds it.
    pub fn tree(&self) -> Tree {
        self.content.tree()
    }
}

impl Content {
    /// The commitment that holds such a column.
    pub fn tree(self) -> Tree {
        match self {
            Self::Constant { .. } | Self::Table(_) => Tree::Fixed,
            Self::Trace | Self::Multiplicity(_) => Tree::Witness,
            Self::State => Tree::State,
            Self::Past => Tree::Past,
        }
    }
}

/// A program spelled out. Built by [`Circuit::new`], the same for prover and verifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuit {
    /// All committed columns.
    pub columns: Vec<Column>,
    /// All lookup tables.
    pub tables: Vec<LookupTable>,
    /// All lookups.
    pub lookups: Vec<Lookup>,
    /// All relations.
    pub relations: Vec<Relation>,
    /// All wirings.
    pub wirings: Vec<Wiring>,
    /// All gathers.
    pub gathers: Vec<Gather>,
    /// All picks.
    pub picks: Vec<Pick>,
    /// Public lists of indices, in the program's order.
    pub lists: Vec<List>,
    /// Public inputs, in the program's order.
    pub inputs: Vec<Public>,
    /// Public outputs, in the program's order.
    pub outputs: Vec<Public>,
    /// How to fill the trace; left out for verifiers.
    pub steps: Vec<Step>,
}

impl Circuit {
    /// Spells out a program, or says why it is refused: malformed, or not provably free of wrap-around.
    #[cfg(feature = "execute")]
    pub fn new(program: &Program) -> Checked<Self> {
        Self::build(program, true)
    }

    /// The same without the steps of the executor, which a verifier has no use for.
    pub fn without_steps(program: &Program) -> Checked<Self> {
        Self::build(program, false)
    }

    fn build(program: &Program, executable: bool) -> Checked<Self> {
        let mut circuit = Self::default();
        let declared = builder::spell_out(program, executable, Columns::default(), &mut circuit)?;
        let Declared { tables, lists, inputs, outputs, .. } = declared;
        let circuit = Self { tables, lists, inputs, outputs, ..circuit };
        circuit.check()?;
        Ok(circuit)
    }

    /// What its parts speak of.
    pub fn declared(&self, mut columns: Columns) -> Declared {
        columns.again();
        for column in &self.columns {
            columns.declare(column.shape, column.bound, column.tree());
        }
        Declared {
            columns,
            names: self.columns.iter().map(|column| column.name.clone()).collect(),
            tables: self.tables.clone(),
            lists: self.lists.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
        }
    }

    /// Checks shapes, ranges and rule U. [`Circuit::new`] has done so.
    pub fn check(&self) -> Checked<()> {
        let mut check = Check::default();
        let declared = self.read(Columns::default(), &mut check)?;
        check.finish(&declared)
    }

    /// Whether a tree holds any columns.
    pub fn has(&self, tree: Tree) -> bool {
        self.columns.iter().any(|column| column.tree() == tree)
    }

    /// The column with this index, for who executes the circuit.
    #[cfg(feature = "execute")]
    #[allow(clippy::indexing_slicing)] // Not in a verifier; an index is one of this circuit's columns.
    pub fn column(&self, id: ColumnId) -> &Column {
        &self.columns[id.0 as usize]
    }
}
