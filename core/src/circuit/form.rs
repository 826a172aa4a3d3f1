//! Integers in the cells of a shape: linear forms, products, sums along rows; and relations between them.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ColumnId, Shape};

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
