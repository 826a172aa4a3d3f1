//! LogUp-GKR: all lookups of the program in one fraction tree (ePrint 2022/1530, 2023/1284).
//!
//! With `h(row) = tag + alpha c_0 + alpha^2 c_1 + ...` a row's fingerprint, all lookups hold if
//!
//! ```text
//! sum over lookups and cells 1 / (beta - h(cell))  -  sum over tables and rows m(row) / (beta - h(row)) = 0
//! ```
//!
//! with multiplicities `m` committed before `alpha` and `beta` are drawn. The fractions are the leaves of a
//! binary tree of sums `p0/q0 + p1/q1 = (p0 q1 + p1 q0) / (q0 q1)`; node `x` of a layer has the children `x`
//! and `x + 2^k` of the next, `k` being the layer's number of variables. Each layer is reduced to the next by
//! a sumcheck over
//!
//! ```text
//! p(z) + lambda q(z) = sum_x eq(z, x) ( p0(x) q1(x) + q0(x) (p1(x) + lambda q1(x)) )
//! ```
//!
//! whose round polynomials carry no `eq` factor (ePrint 2024/108). Leaves are linear in the columns, so the
//! last layer ends in two linear claims and no column is evaluated by itself.

use alloc::vec::Vec;

use crate::circuit::{Columns, Component, Form, Indicator, Looked, LookupTable, Sizes, Starts};
use crate::claims::{At, COUNTS, Part, Reading, Terms};
use crate::field::{M31, QM31};
use crate::poly::{BySize, eq_index, powers};

/// The order of the leaves: aligned blocks by falling size, of equal ones those of lookups before those of tables, each
/// in their order; behind them fractions `0 / 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    starts: Starts,
    lookups: Sizes,
    /// Number of leaves that blocks have.
    pub used: u64,
    /// Number of layers: the tree has `2^depth` leaves.
    pub depth: u32,
}

impl Leaves {
    /// Lays out the leaves of so many lookups and tables of each size.
    pub fn new(lookups: &Sizes, tables: &[LookupTable]) -> Self {
        let mut all = lookups.clone();
        for table in tables {
            all.push(table.bits);
        }
        let used = all.cells();
        let depth = used.clamp(2, 1 << 62).next_power_of_two().trailing_zeros();
        Self { starts: all.starts(), lookups: lookups.clone(), used, depth }
    }

    /// First leaf of the `nth` lookup in `2^log` cells.
    pub fn lookup(&self, log: u32, nth: u32) -> u64 {
        self.starts.offset(log, nth)
    }

    /// First leaf of the `nth` table of `2^log` rows.
    pub fn table(&self, log: u32, nth: u32) -> u64 {
        self.starts.offset(log, self.lookups.count(log).saturating_add(nth))
    }
}

/// The challenges that make fractions of rows.
#[derive(Clone, Copy, Debug)]
pub struct Challenges {
    /// Folds the components of a row.
    pub alpha: QM31,
    /// The pole.
    pub beta: QM31,
}

/// The four children of the layer's random node: `[p0, p1, q0, q1]`.
pub type Children = [QM31; 4];

/// What the values `p` and `q` of the leaf layer at a point say about the columns, lookup by lookup and table by table:
///
/// ```text
/// sum_tables eq m(rho) = sum_lookups eq - p
/// sum_blocks eq (h(rho) without constants) = sum_blocks eq (beta - constants of h) + padding - q
/// ```
#[derive(Clone, Debug)]
pub struct Fractions<'a> {
    leaves: &'a Leaves,
    point: &'a [QM31],
    beta: QM31,
    /// `alpha, alpha^2, ...`
    alphas: Vec<QM31>,
    /// Lookups and tables of each size so far.
    seen: [Sizes; 2],
    blocks: BySize<'a>,
    /// The indicators of the last forms that had any.
    indicators: Vec<Known>,
}

/// Indicators, read over so many rows and columns, and what they were.
#[derive(Clone, Debug)]
struct Known {
    indicators: Vec<(i64, Indicator)>,
    log_rows: u32,
    log_cols: u32,
    value: QM31,
}

impl<'a> Fractions<'a> {
    /// Layers have the same few indicators.
    const INDICATORS: usize = 4;

    /// Nothing of what a point says.
    pub fn new(leaves: &'a Leaves, challenges: Challenges, point: &'a [QM31]) -> Self {
        let Challenges { alpha, beta } = challenges;
        let (seen, blocks) = (<[Sizes; 2]>::default(), BySize::new(point));
        let indicators = Vec::new();
        Self { leaves, point, beta, alphas: powers(alpha, 5).split_off(1), seen, blocks, indicators }
    }

    /// So many powers of `alpha`.
    fn extend(&mut self, count: usize) {
        while let (true, Some(&first), Some(&last)) =
            (self.alphas.len() < count, self.alphas.first(), self.alphas.last())
        {
            self.alphas.push(last * first);
        }
    }

    /// `alpha, alpha^2, ...`, as many as the components of any row that has come.
    pub fn alphas(&self) -> &[QM31] {
        &self.alphas
    }

    fn weight(&mut self, log: u32, leaf: u64) -> QM31 {
        self.blocks.weight(log, leaf)
    }

    /// The weight of the next lookup's block.
    pub fn lookup(&mut self, lookup: Looked<'_>) -> QM31 {
        self.extend(lookup.forms.len());
        let log = lookup.shape.log_size();
        let [lookups, _] = &mut self.seen;
        let nth = lookups.push(log);
        self.weight(log, self.leaves.lookup(log, nth))
    }

    /// The weight of the next table's block.
    pub fn table(&mut self, table: &LookupTable) -> QM31 {
        self.extend(table.components.len());
        let [_, tables] = &mut self.seen;
        let nth = tables.push(table.bits);
        self.weight(table.bits, self.leaves.table(table.bits, nth))
    }

    fn low(&self, len: u32) -> &'a [QM31] {
        self.point.get(..len as usize).unwrap_or_default()
    }

    /// What both sides know of a lookup's fingerprints.
    pub fn lookup_value(&mut self, lookup: Looked<'_>, lists: &[Vec<u32>]) -> QM31 {
        let own = self.low(lookup.shape.log_size());
        let (cols, rows) = own.split_at_checked(lookup.shape.log_cols() as usize).unwrap_or_default();
        let mut constant = self.beta - tag_of(lookup.table as usize) - QM31::ONE;
        for (form, &alpha) in lookup.forms.iter().zip(&self.alphas) {
            if form.constant != 0 {
                constant -= alpha * M31::from_i64(form.constant);
            }
            if !form.indicators.is_empty() {
                let (log_rows, log_cols) = (rows.len() as u32, cols.len() as u32);
                let same = |known: &&Known| {
                    known.indicators == form.indicators
                        && (known.log_rows, known.log_cols) == (log_rows, log_cols)
                };
                let value = if let Some(known) = self.indicators.iter().find(same) {
                    known.value
                } else {
                    let form = Form { indicators: form.indicators.clone(), ..Form::default() };
                    let value = form.known(lists, rows, cols);
                    if self.indicators.len() == Self::INDICATORS {
                        self.indicators.remove(0);
                    }
                    self.indicators.push(Known { indicators: form.indicators, log_rows, log_cols, value });
                    value
                };
                constant -= value * alpha;
            }
        }
        constant
    }

    /// What is claimed of the columns of a lookup.
    pub fn lookup_terms(&self, columns: &Columns, lookup: Looked<'_>, weight: QM31, terms: &mut impl Terms) {
        let (log_rows, log_cols) = (lookup.shape.log_rows(), lookup.shape.log_cols());
        let rows = [Part::new(log_rows, At::Lookup(log_cols))];
        let cols = [Part::new(log_cols, At::Lookup(0))];
        for (component, (form, &alpha)) in lookup.forms.iter().zip(&self.alphas).enumerate() {
            let (rows, cols) = (Reading::parts(&rows), Reading::parts(&cols));
            terms.add_component(columns, (component, alpha), weight, &form.terms, rows, cols);
        }
    }

    /// What both sides know of the fingerprints of a table, given its index.
    pub fn table_value(&self, index: usize, table: &LookupTable) -> QM31 {
        let own = self.low(table.bits);
        let mut constant = self.beta - tag_of(index) - QM31::ONE;
        for (component, &alpha) in table.components.iter().zip(&self.alphas) {
            constant -= alpha
                * match *component {
                    Component::Index { low } => index_at(low, own),
                    Component::Signed => signed_at(own),
                    Component::Magnitude => magnitude_at(own),
                    Component::Unit { at } => eq_index(own, at.into()),
                    Component::First(_) | Component::Column(_) => continue,
                };
        }
        constant
    }

    /// What is claimed of the columns of a table.
    pub fn table_terms(&self, columns: &Columns, table: &LookupTable, weight: QM31, terms: &mut impl Terms) {
        let here = |len: u32| [Part::new(len, At::Lookup(0))];
        let whole = here(table.bits);
        let (none, whole) = (Reading::parts(&[]), Reading::parts(&whole));
        terms.add(columns, COUNTS, weight, &[(1, table.multiplicity)], none, whole);
        for (index, (component, &alpha)) in table.components.iter().zip(&self.alphas).enumerate() {
            match *component {
                Component::First(column) => {
                    let own = columns.shape(column).log_size();
                    let above = self.low(table.bits).get(own as usize..).unwrap_or_default();
                    let (first, here) = (weight * eq_index(above, 0), here(own));
                    let here = Reading::parts(&here);
                    terms.add_component(columns, (index, alpha), first, &[(1, column)], none, here);
                }
                Component::Column(column) => {
                    terms.add_component(columns, (index, alpha), weight, &[(1, column)], none, whole);
                }
                Component::Index { .. }
                | Component::Signed
                | Component::Magnitude
                | Component::Unit { .. } => {}
            }
        }
    }
}

/// The tag of a table: its index plus one.
pub fn tag_of(table: usize) -> QM31 {
    M31::reduce(table as u64 + 1).into()
}

/// The extension of `i -> low + i` at a point.
fn index_at(low: i64, point: &[QM31]) -> QM31 {
    point.iter().rev().fold(QM31::ZERO, |acc, &x| acc.double() + x) + QM31::from_i64(low)
}

/// The extension of `i -> max(i, 1) - 2^(n-1)` at a point of `n` coordinates.
fn signed_at(point: &[QM31]) -> QM31 {
    index_at(0, point) + eq_index(point, 0) - half(point)
}

/// The extension of its magnitude: the highest coordinate tells the sign.
fn magnitude_at(point: &[QM31]) -> QM31 {
    let Some((&sign, low)) = point.split_last() else { return QM31::ZERO };
    let low = index_at(0, low);
    sign * low + (QM31::ONE - sign) * (half(point) - low) - eq_index(point, 0)
}

/// `2^(n-1)`.
fn half(point: &[QM31]) -> QM31 {
    QM31::from_i64(1 << point.len().saturating_sub(1).min(40))
}

/// The summand of a layer without its `eq` factor.
pub fn summand([p0, p1, q0, q1]: Children, lambda: QM31) -> QM31 {
    p0 * q1 + q0 * (p1 + lambda * q1)
}

/// A round polynomial `t(X) = t_0 + t_1 X + t_2 X^2` from which the `eq` factor of the bound coordinate is
/// taken out; `t_1` and `t_2` are sent, `t_0` follows from `(1 - z) t(0) + z t(1) = claim`.
pub fn round(claim: QM31, z: QM31, [t1, t2]: [QM31; 2]) -> [QM31; 3] {
    [claim - z * (t1 + t2), t1, t2]
}

/// The claims `(p, q)` at `(x, top)` from the children at `x`.
pub fn merge([p0, p1, q0, q1]: Children, top: QM31) -> (QM31, QM31) {
    (p0 + (p1 - p0) * top, q0 + (q1 - q0) * top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::Shape;

    fn element(seed: u32) -> QM31 {
        QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(u64::from(seed * 977 + k) << 21)))
    }

    /// What is remembered of indicators is of the same ones, over as many rows and columns.
    #[test]
    fn indicators_are_remembered_for_what_they_are() {
        let leaves = Leaves::new(&Sizes::default(), &[]);
        let point: Vec<QM31> = (1..9).map(element).collect();
        let challenges = Challenges { alpha: element(20), beta: element(21) };
        let mut fractions = Fractions::new(&leaves, challenges, &point);
        let forms: Vec<Form> = [
            Indicator::Beyond { cols: 1 },
            Indicator::Beyond { cols: 2 },
            Indicator::Future { log: 1, past: 0 },
            Indicator::Future { log: 0, past: 1 },
        ]
        .map(|indicator| Form::default().plus_indicator(3, indicator).plus_constant(5))
        .into();
        let shapes = [(2, 16), (4, 8), (8, 4), (2, 8)].map(|(rows, cols)| Shape { rows, cols });
        for round in 0..2 {
            for (form, shape) in forms.iter().flat_map(|form| shapes.map(|shape| (form, shape))) {
                let lookup = Looked { shape, table: 6, forms: core::slice::from_ref(form) };
                let (cols, rows) = point.split_at(shape.log_cols() as usize);
                let known = form.known(&[], &rows[..shape.log_rows() as usize], cols);
                let expected = challenges.beta - tag_of(6) - QM31::ONE - challenges.alpha * known;
                assert_eq!(fractions.lookup_value(lookup, &[]), expected, "{round} {form:?} {shape:?}");
                assert!(fractions.indicators.len() <= Fractions::INDICATORS);
            }
        }
    }

    /// A row has as many components as it has, each with its power.
    #[test]
    fn long_rows_have_powers_of_their_own() {
        let leaves = Leaves::new(&Sizes::default(), &[]);
        let challenges = Challenges { alpha: element(20), beta: element(21) };
        let mut fractions = Fractions::new(&leaves, challenges, &[]);
        let forms: Vec<Form> = (0..7).map(|k| Form::default().plus_constant(k)).collect();
        let lookup = Looked { shape: Shape::CELL, table: 0, forms: &forms };
        fractions.lookup(lookup);
        assert_eq!(fractions.alphas(), &powers(challenges.alpha, 8)[1..]);
        let row: QM31 =
            (1u32..8).map(|k| challenges.alpha.pow(k.into()) * M31::reduce(u64::from(k) - 1)).sum();
        let expected = challenges.beta - tag_of(0) - QM31::ONE - row;
        assert_eq!(fractions.lookup_value(lookup, &[]), expected);
    }
}
