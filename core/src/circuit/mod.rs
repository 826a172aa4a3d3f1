//! Circuits: a program spelled out as columns, lookups, relations and wirings.
//!
//! Every op of a program is expanded once, by its definition in [`crate::ops`], into this description. All
//! others read it: the executor runs its [`Step`]s, the prover commits its [`Column`]s and proves its
//! [`Lookup`]s and [`Relation`]s, the verifier checks them at random points, [`check`](Circuit::check) bounds
//! them. Nothing about an op is written anywhere else.
//!
//! * A **column** is a matrix of `rows x cols` integers, padded to powers of two, committed in one of two
//!   trees. Padding cells are unconstrained; no lookup, relation or wiring lets a real cell depend on one.
//! * A **lookup** says that in every cell a tuple of linear forms is a row of a table.
//! * A **relation** says that in every cell `products + sums + linear form = 0`, as integers: it is proven
//!   modulo `P`, and `check` shows from the proven ranges that both sides are too small to wrap.
//! * A **wiring** says that two sets of cells hold the same sequence of numbers.

mod builder;
mod check;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

pub use builder::{Builder, split};
pub use check::CircuitError;

use crate::program::{ConstantId, Program, TableId};

/// Index of a column in [`Circuit::columns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub u32);

/// The extents of a column and of the cube it is padded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        self.rows.max(1).next_power_of_two().trailing_zeros()
    }

    /// Number of variables of the column index; these are the low coordinates.
    pub fn log_cols(self) -> u32 {
        self.cols.max(1).next_power_of_two().trailing_zeros()
    }

    /// Number of variables.
    pub fn log_size(self) -> u32 {
        self.log_rows() + self.log_cols()
    }

    /// Number of cells with padding.
    pub fn size(self) -> usize {
        1 << self.log_size()
    }
}

/// The integers from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Which commitment holds a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// Committed once, in the verifying key: parameters and tables.
    Fixed,
    /// Committed in every proof.
    Witness,
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
}

/// A committed matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, for people.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Range of every real cell, implied by lookups (`Circuit::check` makes sure) or by the key.
    pub bound: Interval,
    /// Origin of the numbers.
    pub content: Content,
}

impl Column {
    /// The commitment that holds it.
    pub fn tree(&self) -> Tree {
        match self.content {
            Content::Constant { .. } | Content::Table(_) => Tree::Fixed,
            Content::Trace | Content::Multiplicity(_) => Tree::Witness,
        }
    }
}

/// A linear form over the cells of some shape: `constant + sum coefficient * column(cell)`. A column with one
/// row (or one column) where the shape has more is repeated along that axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Coefficients and columns.
    pub terms: Vec<(i64, ColumnId)>,
    /// Constant term.
    pub constant: i64,
}

impl Form {
    /// A constant.
    pub fn constant(constant: i64) -> Self {
        Self { terms: Vec::new(), constant }
    }

    /// Adds `coefficient * column`.
    #[must_use]
    pub fn plus(mut self, coefficient: i64, column: ColumnId) -> Self {
        self.terms.push((coefficient, column));
        self
    }

    /// Adds a constant.
    #[must_use]
    pub fn plus_constant(mut self, constant: i64) -> Self {
        self.constant += constant;
        self
    }

    /// `coefficient * self`.
    #[must_use]
    pub fn times(mut self, coefficient: i64) -> Self {
        for (c, _) in &mut self.terms {
            *c *= coefficient;
        }
        self.constant *= coefficient;
        self
    }

    /// `self + other`.
    #[must_use]
    pub fn plus_form(mut self, other: Self) -> Self {
        self.terms.extend(other.terms);
        self.constant += other.constant;
        self
    }
}

impl From<ColumnId> for Form {
    fn from(column: ColumnId) -> Self {
        Self::default().plus(1, column)
    }
}

/// How the cells of two operands meet in a [`Product`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `a(t, c) b(t, c)` in the cell `(t, c)`.
    Entrywise,
    /// `sum_{c < len} a(t, c) b(t, c)` in the cell `(t, 0)`.
    RowDot,
    /// `sum_{k < len} a(t, k) b(n, k)` in the cell `(t, n)`.
    Contract,
    /// `sum_{k < len} a(t, k) b(k, n)` in the cell `(t, n)`.
    ContractTransposed,
}

/// A product of two linear forms, summed as its [`Kind`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Integer factor.
    pub coefficient: i64,
    /// How the operands meet.
    pub kind: Kind,
    /// Left operand.
    pub a: Form,
    /// Right operand.
    pub b: Form,
    /// Shape over which `a` is read.
    pub a_shape: Shape,
    /// Shape over which `b` is read.
    pub b_shape: Shape,
    /// A bound on the absolute value of the (summed) product that follows from other proven facts, where the
    /// operands' ranges alone would not do; the op that claims it gives the argument.
    pub bound: Option<i64>,
}

/// `coefficient * sum_{c < cols} column(t, c)` in the cell `(t, 0)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSum {
    /// Integer factor.
    pub coefficient: i64,
    /// The column, summed over its real columns.
    pub column: ColumnId,
}

/// An integer in every cell of a shape: products, row sums and a linear form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Products.
    pub products: Vec<Product>,
    /// Sums along rows; only for shapes of one column.
    pub sums: Vec<RowSum>,
    /// Linear form.
    pub form: Form,
}

impl From<Form> for Value {
    fn from(form: Form) -> Self {
        Self { form, ..Self::default() }
    }
}

/// `value = 0` in every cell of `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Name, for people.
    pub name: String,
    /// The cells.
    pub shape: Shape,
    /// What vanishes.
    pub value: Value,
}

/// What fills one component of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// `low + index of the row`: a closed form, never committed.
    Index {
        /// Value in row zero.
        low: i64,
    },
    /// A column of the fixed tree.
    Column(ColumnId),
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
    /// Index into [`Circuit::tables`].
    pub table: u32,
    /// One form for each component of the table.
    pub forms: Vec<Form>,
}

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

/// An integer expression over the cells of a shape, for witness columns that no relation gives directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Int {
    /// Products, row sums and a linear form.
    Value(Box<Value>),
    /// Sum.
    Add(Box<[Int; 2]>),
    /// Difference.
    Sub(Box<[Int; 2]>),
    /// Product.
    Mul(Box<[Int; 2]>),
    /// Quotient, rounded down; the divisor is positive.
    Div(Box<[Int; 2]>),
    /// Remainder of [`Int::Div`].
    Mod(Box<[Int; 2]>),
    /// `floor(sqrt(x))` of a non-negative `x`.
    Root(Box<Int>),
}

/// How the executor fills columns of the trace, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `quotient = floor(value / divisor)`, `remainder = value mod divisor`.
    Divide {
        /// The cells.
        shape: Shape,
        /// The dividend.
        value: Value,
        /// A positive divisor.
        divisor: i64,
        /// Receives the quotient.
        quotient: ColumnId,
        /// Receives the remainder; absent where the divisor is one.
        remainder: Option<ColumnId>,
    },
    /// `column = value` in every cell.
    Set {
        /// The cells.
        shape: Shape,
        /// The number.
        value: Int,
        /// Receives it.
        column: ColumnId,
    },
    /// `output = table[input]` in every cell.
    Map {
        /// Program table.
        table: TableId,
        /// Argument.
        input: ColumnId,
        /// Receives the value.
        output: ColumnId,
    },
    /// Copies a sequence of cells.
    Wire(usize),
}

impl From<Value> for Int {
    fn from(value: Value) -> Self {
        Self::Value(Box::new(value))
    }
}

impl From<Form> for Int {
    fn from(form: Form) -> Self {
        Value::from(form).into()
    }
}

impl Int {
    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: impl Into<Self>) -> Self {
        Self::Add([self, other.into()].into())
    }

    /// `self - other`.
    #[must_use]
    pub fn minus(self, other: impl Into<Self>) -> Self {
        Self::Sub([self, other.into()].into())
    }

    /// `self * other`.
    #[must_use]
    pub fn times(self, other: impl Into<Self>) -> Self {
        Self::Mul([self, other.into()].into())
    }

    /// `floor(self / divisor)`.
    #[must_use]
    pub fn over(self, divisor: impl Into<Self>) -> Self {
        Self::Div([self, divisor.into()].into())
    }

    /// `self - divisor * floor(self / divisor)`.
    #[must_use]
    pub fn modulo(self, divisor: impl Into<Self>) -> Self {
        Self::Mod([self, divisor.into()].into())
    }

    /// `floor(sqrt(self))`.
    #[must_use]
    pub fn root(self) -> Self {
        Self::Root(Box::new(self))
    }
}

impl From<i64> for Int {
    fn from(constant: i64) -> Self {
        Form::constant(constant).into()
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
    /// Public inputs, in the program's order.
    pub inputs: Vec<Public>,
    /// Public outputs, in the program's order.
    pub outputs: Vec<Public>,
    /// How to fill the trace.
    pub steps: Vec<Step>,
    /// For every step, the index of the op it belongs to.
    pub step_ops: Vec<u32>,
}

impl Circuit {
    /// Spells out a program, or says why it is refused: malformed, or not provably free of wrap-around.
    pub fn new(program: &Program) -> Result<Self, CircuitError> {
        let mut builder = Builder::new(program)?;
        for (index, op) in program.ops.iter().enumerate() {
            builder.begin(index, op);
            crate::ops::define(&mut builder, op)?;
        }
        let circuit = builder.finish()?;
        circuit.check()?;
        Ok(circuit)
    }

    /// The column with this index.
    pub fn column(&self, id: ColumnId) -> &Column {
        &self.columns[id.0 as usize]
    }
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
