//! How the executor fills the trace.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{ColumnId, Form, Indicator, Shape, Value};
use crate::program::TableId;

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
    /// One where the number is zero, else zero.
    IsZero(Box<Int>),
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
    /// The value of row `input` of a program table, counted from zero; zero beyond its last row, up to `2^bits`.
    MapForm {
        /// Program table.
        table: TableId,
        /// Bits of the argument.
        bits: u32,
        /// The cells.
        shape: Shape,
        /// Argument.
        input: Form,
        /// Receives the value.
        output: ColumnId,
    },
    /// The greatest number of every row.
    RowMax {
        /// Columns of equally many rows, each with the cells that do not count.
        columns: Vec<(ColumnId, Option<Indicator>)>,
        /// Receives it; one column.
        output: ColumnId,
    },
    /// `output = |input|` in every cell.
    Magnitude {
        /// Argument.
        input: ColumnId,
        /// Receives the value.
        output: ColumnId,
    },
    /// Copies a sequence of cells.
    Wire(usize),
    /// Copies rows.
    Gather(usize),
    /// The greatest number `m` of every row and the index of its first occurrence, over blocks of channels:
    /// `m = 2^bits high + low - offset`.
    Best {
        /// Index of the first channel, cells and numbers of each block.
        blocks: Vec<(u32, Shape, Value)>,
        /// The statement's list that receives the index.
        list: usize,
        /// Receives the quotient; one column.
        high: ColumnId,
        /// Receives the remainder; one column.
        low: ColumnId,
        /// Log of the divisor.
        bits: u32,
        /// Added before division.
        offset: i64,
    },
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

    /// One where `self` is zero, else zero.
    #[must_use]
    pub fn is_zero(self) -> Self {
        Self::IsZero(Box::new(self))
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
