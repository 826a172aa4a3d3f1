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

use crate::circuit::{Circuit, Component};
use crate::claims::{Claims, Reading, Slice};
use crate::field::{M31, QM31};
use crate::poly::{Blocks, eq_index, powers};

/// What a block of leaves belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A lookup, by index: numerators one.
    Lookup(usize),
    /// A table, by index: numerators minus the multiplicities.
    Table(usize),
}

/// An aligned block of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where its fractions come from.
    pub source: Source,
    /// Log of the number of leaves.
    pub log_size: u32,
    /// First leaf.
    pub offset: u64,
}

/// The order of the leaves: blocks by falling size; behind them fractions `0 / 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    /// All blocks.
    pub blocks: Vec<Block>,
    /// Number of layers: the tree has `2^depth` leaves.
    pub depth: u32,
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

impl Leaves {
    /// Lays out the leaves of a circuit.
    pub fn new(circuit: &Circuit) -> Self {
        let lookups = circuit.lookups.iter().enumerate().map(|(i, lookup)| Block {
            source: Source::Lookup(i),
            log_size: lookup.shape.log_size(),
            offset: 0,
        });
        let tables = circuit.tables.iter().enumerate().map(|(i, table)| Block {
            source: Source::Table(i),
            log_size: table.bits,
            offset: 0,
        });
        let mut blocks: Vec<Block> = lookups.chain(tables).collect();
        blocks.sort_by_key(|block| core::cmp::Reverse(block.log_size));
        let mut end = 0u64;
        for block in &mut blocks {
            block.offset = end;
            end += 1 << block.log_size;
        }
        Self { blocks, depth: end.max(2).next_power_of_two().trailing_zeros() }
    }

    /// Turns the values `p` and `q` of the leaf layer at `point` into two claims on the columns.
    pub fn claims(
        &self,
        circuit: &Circuit,
        challenges: Challenges,
        point: &[QM31],
        lists: &[Vec<u32>],
        [numerator, denominator]: [QM31; 2],
        claims: &mut Claims,
    ) {
        let low = |len: u32| point.get(..len as usize).unwrap_or_default();
        let alphas = powers(
            challenges.alpha,
            2 + circuit.tables.iter().map(|t| t.components.len()).max().unwrap_or(0),
        );
        let mut weights = Blocks::new(point);
        let weights: Vec<QM31> =
            self.blocks.iter().map(|block| weights.weight(block.log_size, block.offset)).collect();
        let start = Slice { point: claims.point(point), from: 0 };

        // sum_tables eq m(rho) = sum_lookups eq - p
        claims.begin(-numerator);
        for (block, &weight) in self.blocks.iter().zip(&weights) {
            match block.source {
                Source::Lookup(_) => add_to_last(claims, weight),
                Source::Table(i) => {
                    let (rows, cols) = (claims.eq_at(&[]), claims.eq(start, block.log_size));
                    claims.add(weight, circuit.tables[i].multiplicity, rows, cols);
                }
            }
        }

        // sum_blocks eq (h(rho) without constants) = sum_blocks eq (beta - constants of h) + padding - q
        claims.begin(QM31::ONE - denominator);
        for (block, &weight) in self.blocks.iter().zip(&weights) {
            let tag = match block.source {
                Source::Lookup(i) => circuit.lookups[i].table as usize,
                Source::Table(i) => i,
            };
            let mut constant = challenges.beta - tag_of(tag) - QM31::ONE;
            match block.source {
                Source::Lookup(i) => {
                    let lookup = &circuit.lookups[i];
                    let (log_rows, log_cols) = (lookup.shape.log_rows(), lookup.shape.log_cols());
                    let own = low(block.log_size).split_at_checked(log_cols as usize);
                    let (own_cols, own_rows) = own.unwrap_or_default();
                    let rows = Reading::Slice(Slice { from: log_cols, ..start }, log_rows);
                    let cols = Reading::Slice(start, log_cols);
                    for (form, &alpha) in lookup.forms.iter().zip(&alphas[1..]) {
                        constant -= form.known(lists, own_rows, own_cols) * alpha;
                        claims.add_form(circuit, weight * alpha, form, &rows, &cols);
                    }
                }
                Source::Table(i) => {
                    for (component, &alpha) in circuit.tables[i].components.iter().zip(&alphas[1..]) {
                        match *component {
                            Component::Index { low: least } => {
                                constant -= alpha * index_at(least, low(block.log_size));
                            }
                            Component::Signed => constant -= alpha * signed_at(low(block.log_size)),
                            Component::Magnitude => constant -= alpha * magnitude_at(low(block.log_size)),
                            Component::Unit { at } => {
                                constant -= alpha * eq_index(low(block.log_size), at.into());
                            }
                            Component::First(column) => {
                                let own = circuit.column(column).shape.log_size();
                                let above = low(block.log_size).get(own as usize..).unwrap_or_default();
                                let first = weight * alpha * eq_index(above, 0);
                                let row_axis = claims.eq_at(&[]);
                                let col_axis = claims.eq(start, own);
                                claims.add(first, column, row_axis, col_axis);
                            }
                            Component::Column(column) => {
                                let row_axis = claims.eq_at(&[]);
                                let col_axis = claims.eq(start, block.log_size);
                                claims.add(weight * alpha, column, row_axis, col_axis);
                            }
                        }
                    }
                }
            }
            add_to_last(claims, weight * constant);
        }
    }
}

fn add_to_last(claims: &mut Claims, value: QM31) {
    if let Some(last) = claims.values.last_mut() {
        *last += value;
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
