//! All relations at one random point, and the sumcheck that proves their products.
//!
//! A relation is a multilinear polynomial that vanishes on the cells of its shape. At a point `(r_t, r_c)`
//! drawn after all columns are committed, and batched by powers of `gamma`, the relations become
//!
//! ```text
//! sum_i gamma^i ( products_i(r) + sums_i(r) + form_i(r) ) = 0.
//! ```
//!
//! The linear part is a linear claim on the columns. The products, with sum `V`, are one sumcheck:
//!
//! ```text
//! V = sum_j gamma^(i_j) c_j sum_x w_j(x) a_j(x) b_j(x)
//! ```
//!
//! | kind | variables `x` | `w(x)` | `a`, `b` are read at |
//! |---|---|---|---|
//! | entrywise | `(c, t)` | `eq(r_c, c) eq(r_t, t)` | `(t, c)`, `(t, c)` |
//! | row dot | `(c, t)` | `[c < len] eq(r_t, t)` | `(t, c)`, `(t, c)` |
//! | contract | `k` | `[k < len]` | `(r_t, k)`, `(r_c, k)` |
//! | contract transposed | `k` | `[k < len]` | `(r_t, k)`, `(k, r_c)` |
//!
//! Coordinates are bound from the highest down. A product with `v` of the `n` variables counts as `2^(v - n)`
//! times itself over all `n`, so that it is constant until its own variables come. The prover ends by sending
//! `a_j` and `b_j` at the random point; each is a linear claim.

use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, Form, Kind, Product, Shape};
use crate::claims::{Claims, PointId, Slice};
use crate::field::QM31;
use crate::poly::{eq, powers};

/// Degree of the round polynomials: weight, `a` and `b`.
pub const DEGREE: usize = 3;

/// Which point an axis of an operand is read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The row coordinates of the relations' point.
    Rows,
    /// The column coordinates of the relations' point.
    Cols,
    /// The sumcheck's point, from this coordinate on.
    Bound(u32),
}

/// A linear form and where it is evaluated: one element of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// The form.
    pub form: Form,
    /// Shape over which it is read.
    pub shape: Shape,
    /// Where its rows are read.
    pub rows: At,
    /// Where its columns are read.
    pub cols: At,
}

/// One product in the sumcheck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The relation it belongs to.
    pub relation: usize,
    /// Integer factor.
    pub coefficient: i64,
    /// How the operands meet.
    pub kind: Kind,
    /// Number of its variables.
    pub variables: u32,
    /// Number of variables that belong to columns (the low ones).
    pub low: u32,
    /// Number of real entries along the summed axis.
    pub len: u32,
    /// Left operand, an index into [`Reduction::operands`].
    pub a: usize,
    /// Right operand.
    pub b: usize,
}

/// The sumcheck of a circuit: fixed by the program alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// All products, in the order of relations.
    pub terms: Vec<Term>,
    /// All distinct operands, in order of first use.
    pub operands: Vec<Operand>,
    /// Number of rounds.
    pub rounds: u32,
    /// Row coordinates of the relations' point.
    pub row_variables: u32,
    /// Column coordinates of the relations' point.
    pub col_variables: u32,
}

/// The relations' point and batching challenge.
#[derive(Clone, Debug)]
pub struct Point {
    /// Row coordinates.
    pub rows: Vec<QM31>,
    /// Column coordinates.
    pub cols: Vec<QM31>,
    /// Powers of `gamma`, one for each relation.
    pub gammas: Vec<QM31>,
}

impl Reduction {
    /// Collects the products of a circuit.
    pub fn new(circuit: &Circuit) -> Self {
        let shapes = || circuit.relations.iter().map(|r| r.shape);
        let mut reduction = Self {
            terms: Vec::new(),
            operands: Vec::new(),
            rounds: 0,
            row_variables: shapes().map(Shape::log_rows).max().unwrap_or(0),
            col_variables: shapes().map(Shape::log_cols).max().unwrap_or(0),
        };
        for (relation, r) in circuit.relations.iter().enumerate() {
            for product in &r.value.products {
                reduction.push(relation, product);
            }
        }
        reduction.rounds = reduction.terms.iter().map(|t| t.variables).max().unwrap_or(0);
        reduction
    }

    fn push(&mut self, relation: usize, product: &Product) {
        let Product { coefficient, kind, a_shape, b_shape, .. } = *product;
        let low = a_shape.log_cols();
        let variables = match kind {
            Kind::Entrywise | Kind::RowDot => a_shape.log_size(),
            Kind::Contract | Kind::ContractTransposed => low,
        };
        let (a_rows, b_rows, b_cols) = match kind {
            Kind::Entrywise | Kind::RowDot => (At::Bound(low), At::Bound(low), At::Bound(0)),
            Kind::Contract => (At::Rows, At::Cols, At::Bound(0)),
            Kind::ContractTransposed => (At::Rows, At::Bound(0), At::Cols),
        };
        let a = Operand { form: product.a.clone(), shape: a_shape, rows: a_rows, cols: At::Bound(0) };
        let b = Operand { form: product.b.clone(), shape: b_shape, rows: b_rows, cols: b_cols };
        let (a, b) = (self.operand(a), self.operand(b));
        self.terms.push(Term { relation, coefficient, kind, variables, low, len: a_shape.cols, a, b });
    }

    fn operand(&mut self, operand: Operand) -> usize {
        if let Some(index) = self.operands.iter().position(|o| *o == operand) {
            return index;
        }
        self.operands.push(operand);
        self.operands.len() - 1
    }

    /// The claim that the linear parts sum to `-V`.
    pub fn linear_claim(&self, circuit: &Circuit, point: &Point, products: QM31, claims: &mut Claims) {
        let rows = Slice { point: claims.point(point.rows.clone()), from: 0 };
        let cols = Slice { point: claims.point(point.cols.clone()), from: 0 };
        let constants: QM31 = circuit
            .relations
            .iter()
            .zip(&point.gammas)
            .map(|(r, &gamma)| gamma * QM31::from_i64(r.value.form.constant))
            .sum();
        claims.begin(-products - constants);
        for (relation, &gamma) in circuit.relations.iter().zip(&point.gammas) {
            claims.add_form(circuit, gamma, &relation.value.form, relation.shape, rows, cols);
            for sum in &relation.value.sums {
                let shape = circuit.column(sum.column).shape;
                let row_axis = claims.eq(rows, shape.log_rows());
                let col_axis = claims.axis(Axis::sum(shape.cols));
                claims.add(gamma * QM31::from_i64(sum.coefficient), sum.column, row_axis, col_axis);
            }
        }
    }

    /// What the sumcheck must end in, given the operands' values at its point.
    pub fn expected(&self, point: &Point, bound: &[QM31], values: &[QM31]) -> QM31 {
        let halves = powers(QM31::HALF, self.rounds as usize + 1);
        let value = |index: usize| values.get(index).copied().unwrap_or(QM31::ZERO);
        self.terms
            .iter()
            .map(|term| {
                let gamma = point.gammas.get(term.relation).copied().unwrap_or(QM31::ZERO);
                let scale =
                    halves.get((self.rounds - term.variables) as usize).copied().unwrap_or(QM31::ZERO);
                gamma
                    * QM31::from_i64(term.coefficient)
                    * scale
                    * term.weight(point, bound)
                    * value(term.a)
                    * value(term.b)
            })
            .sum()
    }

    /// One claim for each operand: its form takes the value that was sent.
    pub fn operand_claims(
        &self,
        circuit: &Circuit,
        point: &Point,
        bound: &[QM31],
        values: &[QM31],
        claims: &mut Claims,
    ) {
        let rows = claims.point(point.rows.clone());
        let cols = claims.point(point.cols.clone());
        let bound = claims.point(bound.to_vec());
        let slice = |at: At| -> Slice {
            let (point, from): (PointId, u32) = match at {
                At::Rows => (rows, 0),
                At::Cols => (cols, 0),
                At::Bound(from) => (bound, from),
            };
            Slice { point, from }
        };
        for (operand, &value) in self.operands.iter().zip(values) {
            claims.begin(value - QM31::from_i64(operand.form.constant));
            claims.add_form(
                circuit,
                QM31::ONE,
                &operand.form,
                operand.shape,
                slice(operand.rows),
                slice(operand.cols),
            );
        }
    }
}

impl Term {
    /// The weight at the sumcheck's point.
    fn weight(&self, point: &Point, bound: &[QM31]) -> QM31 {
        let (low, high) = bound
            .get(..self.variables as usize)
            .unwrap_or_default()
            .split_at_checked(self.low as usize)
            .unwrap_or_default();
        match self.kind {
            Kind::Entrywise => eq(&point.cols, low) * eq(&point.rows, high),
            Kind::RowDot => Axis::sum(self.len).evaluate(low) * eq(&point.rows, high),
            Kind::Contract | Kind::ContractTransposed => Axis::sum(self.len).evaluate(low),
        }
    }
}

/// A round polynomial `s_0 + s_1 X + s_2 X^2 + s_3 X^3`; all but `s_1` are sent, which follows from
/// `s(0) + s(1) = claim`.
pub fn round(claim: QM31, [s0, s2, s3]: [QM31; DEGREE]) -> [QM31; DEGREE + 1] {
    [s0, claim - s0.double() - s2 - s3, s2, s3]
}
