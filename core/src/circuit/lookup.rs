//! Lookups and the tables they read.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ColumnId, Form, Shape};

/// What fills one component of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// `low + index of the row`: a closed form, never committed.
    Index {
        /// Value in row zero.
        low: i64,
    },
    /// `index of the row - 2^(bits-1)`, but row zero repeats row one: a closed form too.
    Signed,
    /// The magnitude of [`Component::Signed`].
    Magnitude,
    /// One in row `at`, zero elsewhere: a closed form too.
    Unit {
        /// The row.
        at: u32,
    },
    /// A column of the fixed tree.
    Column(ColumnId),
    /// A shorter column of the fixed tree in the first rows, zero in the others.
    First(ColumnId),
}

/// A table of `2^bits` rows; its index plus one is the tag that keeps its rows apart from other tables'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupTable {
    /// Name, for people.
    pub name: String,
    /// Log of the number of rows.
    pub bits: u32,
    /// Components of a row.
    pub components: Vec<Component>,
    /// How often each row is used: a column of the witness tree.
    pub multiplicity: ColumnId,
}

/// `forms` is a row of `table` in every cell of `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The cells.
    pub shape: Shape,
    /// Index into [`super::Circuit::tables`].
    pub table: u32,
    /// One form for each component of the table.
    pub forms: Vec<Form>,
}

/// A lookup that someone else holds.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// The cells.
    pub shape: Shape,
    /// Index of the table.
    pub table: u32,
    /// One form for each component of the table.
    pub forms: &'a [Form],
}

impl Lookup {
    /// The same, held here.
    pub fn looked(&self) -> Looked<'_> {
        Looked { shape: self.shape, table: self.table, forms: &self.forms }
    }
}
