//! Integers in the cells of a shape: linear forms, products, sums along rows; and relations between them.

use alloc::string::String;
use alloc::vec::Vec;

use tinyvec::TinyVec;

use super::{ColumnId, Shape};
use crate::field::{M31, QM31};
use crate::poly::eq_index;

/// Coefficients and columns; few forms have more than four.
pub type Summands = TinyVec<[(i64, ColumnId); 4]>;

/// A linear form over the cells of some shape: `constant + sum coefficient * column(cell)` and public
/// indicators of cells.
///
/// A column may have other extents than the shape along an axis if its own is a power of two: a shorter column
/// is repeated, of a longer one the first entries are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// Coefficients and columns.
    pub terms: Summands,
    /// Constant term.
    pub constant: i64,
    /// Coefficients and sets of cells that both sides know.
    pub indicators: Vec<(i64, Indicator)>,
}

/// A public set of cells `(t, c)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Indicator {
    /// `c > past + t mod 2^log`: positions after a row's own.
    Future {
        /// Log of the number of rows of a head.
        log: u32,
        /// The position of a head's first row.
        past: u32,
    },
    /// `first + c < list[t]`: channels before the one that a public list names for the row.
    Below {
        /// Which list of the statement.
        list: usize,
        /// Index of the shape's first channel.
        first: u32,
    },
    /// `c >= cols`: padding channels, or positions that do not count.
    Beyond {
        /// Number of the others.
        cols: u32,
    },
}

impl Indicator {
    /// Whether a cell is in the set. The last entry of a list stands for all rows after it.
    pub fn contains(self, lists: &[Vec<u32>], row: usize, col: usize) -> bool {
        match self {
            Self::Future { log, past } => col > past as usize + (row & ((1 << log) - 1)),
            Self::Beyond { cols } => col >= cols as usize,
            Self::Below { list, first } => {
                let entries = lists.get(list).map_or(&[][..], Vec::as_slice);
                let entry = entries.get(row).or(entries.last());
                entry.is_some_and(|&entry| first as usize + col < entry as usize)
            }
        }
    }

    /// The multilinear extension of the set's indicator.
    pub fn evaluate(self, lists: &[Vec<u32>], rows: &[QM31], cols: &[QM31]) -> QM31 {
        match self {
            Self::Future { log, past } => later(past, rows.get(..log as usize).unwrap_or_default(), cols),
            Self::Beyond { cols: real } => QM31::ONE - crate::axis::Axis::sum(real).evaluate(cols),
            Self::Below { list, first } => {
                let entries = lists.get(list).map_or(&[][..], Vec::as_slice);
                (0..1u64 << rows.len().min(32))
                    .map(|t| {
                        let entry = entries.get(t as usize).or(entries.last()).copied().unwrap_or(0);
                        let len = entry.saturating_sub(first).min(1 << cols.len().min(31));
                        eq_index(rows, t) * crate::axis::Axis::sum(len).evaluate(cols)
                    })
                    .sum()
            }
        }
    }
}

/// The multilinear extension of `[c > past + t]`, bit by bit from the lowest one up.
///
/// Of the bits so far, a pair `(carry, after)` remembers the carry of the sum and whether `c` is greater than it; the
/// higher of two differing bits decides. `states` holds the weight of each pair.
fn later(past: u32, rows: &[QM31], cols: &[QM31]) -> QM31 {
    // Neither the sum nor `c` has more bits.
    let bits = 1 + rows.len().max(cols.len()).max((u32::BITS - past.leading_zeros()) as usize);
    let mut states = [[QM31::ONE, QM31::ZERO], [QM31::ZERO; 2]];
    for j in 0..bits {
        // Bits that an index does not have are zero.
        let weights = |point: &[QM31]| {
            let high = point.get(j).copied().unwrap_or_default();
            [QM31::ONE - high, high]
        };
        let (t, c) = (weights(rows), weights(cols));
        let own = usize::from(j < 32 && past >> j & 1 == 1);
        let mut next = [[QM31::ZERO; 2]; 2];
        for (carry, known) in states.iter().enumerate() {
            for (row, &row_weight) in t.iter().enumerate() {
                let sum = own + carry + row;
                for (col, &col_weight) in c.iter().enumerate() {
                    let weight = row_weight * col_weight;
                    let Some(next) = next.get_mut(sum >> 1) else { continue };
                    for (after, &state) in known.iter().enumerate() {
                        let decided = match col.cmp(&(sum & 1)) {
                            core::cmp::Ordering::Less => 0,
                            core::cmp::Ordering::Equal => after,
                            core::cmp::Ordering::Greater => 1,
                        };
                        if let Some(slot) = next.get_mut(decided) {
                            *slot += state * weight;
                        }
                    }
                }
            }
        }
        states = next;
    }
    states.iter().map(|[_, after]| *after).sum()
}

impl Form {
    /// A constant.
    #[inline]
    pub fn constant(constant: i64) -> Self {
        Self { constant, ..Self::default() }
    }

    /// Adds `coefficient` in the cells of a set.
    #[must_use]
    pub fn plus_indicator(mut self, coefficient: i64, indicator: Indicator) -> Self {
        self.indicators.push((coefficient, indicator));
        self
    }

    /// Adds `coefficient * column`.
    #[inline]
    #[must_use]
    pub fn plus(mut self, coefficient: i64, column: ColumnId) -> Self {
        self.add(coefficient, column);
        self
    }

    /// Adds `coefficient * column` in place.
    #[inline]
    pub fn add(&mut self, coefficient: i64, column: ColumnId) {
        self.terms.push((coefficient, column));
    }

    /// Adds a constant.
    #[inline]
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
        for (c, _) in &mut self.indicators {
            *c *= coefficient;
        }
        self.constant *= coefficient;
        self
    }

    /// `self + other`.
    #[inline]
    #[must_use]
    pub fn plus_form(mut self, other: Self) -> Self {
        for (coefficient, column) in other.terms {
            self.add(coefficient, column);
        }
        self.indicators.extend(other.indicators);
        self.constant += other.constant;
        self
    }

    /// Whether both sides know anything of the form but that it is linear.
    pub fn is_known(&self) -> bool {
        self.constant != 0 || !self.indicators.is_empty()
    }

    /// The extension, at a point, of what both sides know of the form: its constant and indicators.
    pub fn known(&self, lists: &[Vec<u32>], rows: &[QM31], cols: &[QM31]) -> QM31 {
        let constant = QM31::from(M31::from_i64(self.constant));
        let sets = self.indicators.iter();
        constant + sets.map(|(c, set)| QM31::from_i64(*c) * set.evaluate(lists, rows, cols)).sum::<QM31>()
    }
}

impl From<ColumnId> for Form {
    #[inline]
    fn from(column: ColumnId) -> Self {
        Self::default().plus(1, column)
    }
}

/// How the cells of two operands meet in a [`Product`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `a(t, c) b(t, c)` in the cell `(t, c)`.
    Entrywise,
    /// `sum_{c < len} a(t, c) b(t, c)` in the cell `(t, 0)`.
    RowDot,
    /// `sum_{k < len} a(t, k) b(n, k)` in the cell `(t, n)`.
    Contract,
    /// `sum_{k < len} a(t, k) b(k, n)` in the cell `(t, n)`.
    ContractTransposed,
    /// `sum_{k < len} a(t, k) b(h C + c, k)` in the cell `(h T + t, c)`: a projection into heads.
    ToHeads {
        /// Log of `C`, the number of channels of a head.
        channels: u32,
    },
    /// `sum_{h < H, c < C} a(h T + t, c) b(n, h C + c)` in the cell `(t, n)`: a projection out of `H` heads.
    FromHeads {
        /// Log of `T`, the number of rows of a head.
        tokens: u32,
    },
    /// `sum_{c < len} a(h T + t, c) b(g(h) J + j, c)` in the cell `(h T + t, j)`: every row of a head against
    /// all rows of the head's group.
    Scores {
        /// Log of `J`, the number of rows of a group.
        group: u32,
    },
    /// `sum_{j < len} a(h T + t, j) b(g(h) J + j, c)` in the cell `(h T + t, c)`: rows of the head's group, mixed.
    Mix {
        /// Log of `J`, the number of rows of a group.
        group: u32,
    },
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
    /// For [`Kind::Scores`] and [`Kind::Mix`]: `g`, the group of each head, for a power of two of heads.
    pub groups: Vec<u32>,
    /// `a` is read in the column whose index differs in this bit.
    pub flip: Option<u32>,
}

impl Product {
    /// A product of two forms over the given shapes.
    pub fn new(kind: Kind, (a, a_shape): (Form, Shape), (b, b_shape): (Form, Shape)) -> Self {
        Self { coefficient: 1, kind, a, b, a_shape, b_shape, bound: None, groups: Vec::new(), flip: None }
    }

    /// How many products are summed in a cell.
    pub fn summands(&self) -> u32 {
        match self.kind {
            Kind::Entrywise => 1,
            Kind::FromHeads { .. } => self.b_shape.cols,
            _ => self.a_shape.cols,
        }
    }
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
    /// A bound on the absolute value of all products together, like [`Product::bound`].
    pub bound: Option<i64>,
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
    /// Index of the op that it belongs to.
    pub op: u32,
    /// The cells.
    pub shape: Shape,
    /// What vanishes.
    pub value: Value,
    /// Whether it need vanish modulo `P` only. The op that wants no more gives the argument why that is enough.
    pub modular: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::M31;

    #[test]
    fn the_future_is_its_extension() {
        let element = |seed: u64| {
            let word = |k: u64| M31::reduce((seed * 91 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            QM31::from_coordinates([1, 2, 3, 4].map(word))
        };
        for (log_rows, log, log_cols) in [(0, 0, 0), (2, 2, 2), (3, 2, 2), (3, 2, 4), (2, 2, 5), (4, 3, 1)] {
            let rows: Vec<QM31> = (0..log_rows).map(element).collect();
            let cols: Vec<QM31> = (0..log_cols).map(|j| element(j + 40)).collect();
            for past in (0..20).chain([31, 32, 1 << 20, u32::MAX]) {
                let set = Indicator::Future { log, past };
                let cells = (0..1u64 << log_rows).flat_map(|t| (0..1u64 << log_cols).map(move |c| (t, c)));
                let sum: QM31 = cells
                    .filter(|&(t, c)| set.contains(&[], t as usize, c as usize))
                    .map(|(t, c)| eq_index(&rows, t) * eq_index(&cols, c))
                    .sum();
                assert_eq!(set.evaluate(&[], &rows, &cols), sum, "{log_rows} {log_cols} {set:?}");
            }
        }
    }

    /// Sets of channels: those before the one that a list names, the last entry standing for all rows after it, and those
    /// beyond a number.
    #[test]
    fn sets_of_channels_are_their_extensions() {
        let element =
            |seed: u32| QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce((seed * 77 + k).into())));
        let (rows, cols) = ([1, 2].map(element), [3, 4, 5].map(element));
        let lists = [vec![3, 0, 11, 8], vec![5], vec![2, 7, 1], Vec::new()];
        let below = (0..5).flat_map(|list| [0, 1, 4, 9].map(|first| Indicator::Below { list, first }));
        for set in below.chain((0..=8).map(|cols| Indicator::Beyond { cols })) {
            let mut cells = Vec::new();
            for (t, c) in (0..4).flat_map(|t| (0..8).map(move |c| (t, c))) {
                let inside = match set {
                    Indicator::Below { list, first } => match lists.get(list).map(Vec::as_slice) {
                        None | Some([]) => false,
                        Some(entries) => first + (c as u32) < entries[t.min(entries.len() - 1)],
                    },
                    Indicator::Beyond { cols } => c >= cols as usize,
                    Indicator::Future { .. } => unreachable!("there are none"),
                };
                assert_eq!(set.contains(&lists, t, c), inside, "{set:?} ({t}, {c})");
                if inside {
                    cells.push(eq_index(&rows, t as u64) * eq_index(&cols, c as u64));
                }
            }
            assert_eq!(set.evaluate(&lists, &rows, &cols), cells.into_iter().sum(), "{set:?}");
        }
    }

    #[test]
    fn what_is_known_of_a_form() {
        let column = Form::from(ColumnId(3));
        assert!(!column.is_known());
        assert!(column.clone().plus_constant(-1).is_known());
        assert!(column.clone().plus_indicator(2, Indicator::Beyond { cols: 1 }).is_known());
        assert!(Form::constant(5).is_known() && !Form::constant(0).is_known());
        let value = Value::from(column.clone());
        assert!(value.form == column && value.products.is_empty() && value.sums.is_empty());
    }

    /// How many products are summed in a cell.
    #[test]
    fn kinds_have_their_summands() {
        let (a, b) = (Shape { rows: 2, cols: 5 }, Shape { rows: 2, cols: 7 });
        let summands = |kind| Product::new(kind, (Form::default(), a), (Form::default(), b)).summands();
        assert_eq!(summands(Kind::Entrywise), 1);
        assert_eq!(summands(Kind::FromHeads { tokens: 1 }), 7);
        for kind in [Kind::RowDot, Kind::Contract, Kind::ContractTransposed, Kind::ToHeads { channels: 1 }] {
            assert_eq!(summands(kind), 5);
        }
    }
}
