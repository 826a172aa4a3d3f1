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
//! | to heads | `k` | `[k < len]` | `(r_t, k)`, `((r_c, r_h), k)` |
//! | from heads | `(c, h)` | `[c < C] [h < H]` | `((r_t, h), c)`, `(r_c, (c, h))` |
//! | scores | `(c, h)` | `[c < len] eq(r_h, h)` | `((r_t, h), c)`, `((r_c, g(h)), c)` |
//! | mix | `(j, h)` | `[j < len] eq(r_h, h)` | `((r_t, h), j)`, `((j, g(h)), r_c)` |
//!
//! Where heads occur, the row `h T + t` of a shape has the coordinates `r_t` low and `r_h` high.
//!
//! Coordinates are bound from the highest down. A product with `v` of the `n` variables counts as `2^(v - n)`
//! times itself over all `n`, so that it is constant until its own variables come. The prover ends by sending
//! `a_j` and `b_j` at the random point; each is a linear claim.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, ColumnId, Form, Kind, Product, Shape};
use crate::claims::{Claims, PointId, Reading, Slice};
use crate::field::QM31;
use crate::poly::{eq, powers};

/// Degree of the round polynomials: weight, `a` and `b`.
pub const DEGREE: usize = 3;

/// Where some consecutive coordinates of an axis come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The row coordinates of the relations' point, from this one on.
    Rows(u32),
    /// The column coordinates of the relations' point, from this one on.
    Cols(u32),
    /// The sumcheck's point, from this coordinate on.
    Bound(u32),
    /// One minus a coordinate of the sumcheck's point.
    Flipped(u32),
    /// The sumcheck's point from this coordinate on, as a choice of groups: the last part of an axis.
    Groups(u32, Vec<u32>),
}

/// A stretch of coordinates of an axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Number of coordinates; for groups, of those that choose.
    pub len: u32,
    /// Where they come from.
    pub at: At,
}

/// A linear form and where it is evaluated: one element of the proof.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operand {
    /// The form.
    pub form: Form,
    /// Shape over which it is read.
    pub shape: Shape,
    /// Where its rows are read, lowest coordinates first.
    pub rows: Vec<Part>,
    /// Where its columns are read, lowest coordinates first.
    pub cols: Vec<Part>,
}

impl Operand {
    /// Number of variables that the sumcheck binds.
    pub fn variables(&self) -> u32 {
        let bound = |part: &&Part| !matches!(part.at, At::Rows(_) | At::Cols(_));
        self.rows.iter().chain(&self.cols).filter(bound).map(|part| part.len).sum()
    }
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
    /// Number of low variables: those of a column index.
    pub low: u32,
    /// Number of real entries along the low variables, where they are summed.
    pub len: u32,
    /// Number of real entries along the high variables, where they are summed.
    pub high_len: u32,
    /// First row coordinate of the relations' point that meets the high variables, where they are not.
    pub inner: u32,
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

/// The numbers of the operands so far. The first column of a form tells most of them apart.
type Known = BTreeMap<(Option<ColumnId>, Operand), usize>;

impl Reduction {
    /// Collects the products of a circuit.
    pub fn new(circuit: &Circuit) -> Self {
        // Gathers and picks are read at the same point.
        let shapes = || {
            let gathered = circuit.gathers.iter().map(|gather| circuit.column(gather.output).shape);
            let picked = circuit.picks.iter().map(|pick| Shape { rows: pick.rows, cols: 1 });
            circuit.relations.iter().map(|r| r.shape).chain(gathered).chain(picked)
        };
        let mut reduction = Self {
            terms: Vec::new(),
            operands: Vec::new(),
            rounds: 0,
            row_variables: shapes().map(Shape::log_rows).max().unwrap_or(0),
            col_variables: shapes().map(Shape::log_cols).max().unwrap_or(0),
        };
        let mut known = Known::new();
        for (relation, r) in circuit.relations.iter().enumerate() {
            for product in &r.value.products {
                reduction.push(relation, product, &mut known);
            }
        }
        let mut operands: Vec<(usize, Operand)> =
            known.into_iter().map(|((_, operand), index)| (index, operand)).collect();
        operands.sort_unstable_by_key(|(index, _)| *index);
        reduction.operands = operands.into_iter().map(|(_, operand)| operand).collect();
        reduction.rounds = reduction.terms.iter().map(|t| t.variables).max().unwrap_or(0);
        reduction
    }

    fn push(&mut self, relation: usize, product: &Product, known: &mut Known) {
        let Product { coefficient, kind, a_shape, b_shape, .. } = *product;
        let low = a_shape.log_cols();
        let part = |len: u32, at: At| Part { len, at };
        let all = |shape: Shape, at: At| vec![part(shape.log_rows(), at)];
        let (b_low, heads) = (b_shape.log_cols(), (product.groups.len().max(1) as u32).trailing_zeros());
        // Row coordinates below the heads', in `a`.
        let tokens = a_shape.log_rows().saturating_sub(heads);
        let grouped = || part(heads, At::Groups(low, product.groups.clone()));
        let headed = || vec![part(tokens, At::Rows(0)), part(heads, At::Bound(low))];
        let summed = vec![part(b_low, At::Bound(0))];
        let (variables, inner, a_rows, b_rows, b_cols) = match kind {
            Kind::Entrywise | Kind::RowDot => {
                (a_shape.log_size(), 0, all(a_shape, At::Bound(low)), all(b_shape, At::Bound(low)), summed)
            }
            Kind::Contract => (low, 0, all(a_shape, At::Rows(0)), all(b_shape, At::Cols(0)), summed),
            Kind::ContractTransposed => {
                let b_cols = vec![part(b_low, At::Cols(0))];
                (low, 0, all(a_shape, At::Rows(0)), all(b_shape, At::Bound(0)), b_cols)
            }
            Kind::ToHeads { channels } => {
                let b_rows = vec![
                    part(channels, At::Cols(0)),
                    part(b_shape.log_rows().saturating_sub(channels), At::Rows(a_shape.log_rows())),
                ];
                (low, 0, all(a_shape, At::Rows(0)), b_rows, summed)
            }
            Kind::FromHeads { tokens } => {
                let heads = a_shape.log_rows().saturating_sub(tokens);
                let a_rows = vec![part(tokens, At::Rows(0)), part(heads, At::Bound(low))];
                (b_low, 0, a_rows, all(b_shape, At::Cols(0)), summed)
            }
            Kind::Scores { group } => {
                (low + heads, tokens, headed(), vec![part(group, At::Cols(0)), grouped()], summed)
            }
            Kind::Mix { group } => {
                let b_cols = vec![part(b_low, At::Cols(0))];
                (low + heads, tokens, headed(), vec![part(group, At::Bound(0)), grouped()], b_cols)
            }
        };
        let a_cols = match product.flip {
            None => vec![part(low, At::Bound(0))],
            Some(bit) => vec![
                part(bit, At::Bound(0)),
                part(1, At::Flipped(bit)),
                part(low.saturating_sub(bit + 1), At::Bound(bit + 1)),
            ],
        };
        let high_len = match kind {
            Kind::FromHeads { tokens } => a_shape.rows >> tokens,
            _ => 1,
        };
        let a = Operand { form: product.a.clone(), shape: a_shape, rows: a_rows, cols: a_cols };
        let b = Operand { form: product.b.clone(), shape: b_shape, rows: b_rows, cols: b_cols };
        let mut index = |operand: Operand| {
            let (first, count) = (operand.form.terms.first().map(|(_, column)| *column), known.len());
            *known.entry((first, operand)).or_insert(count)
        };
        let (a, b) = (index(a), index(b));
        let len = a_shape.cols;
        self.terms.push(Term { relation, coefficient, kind, variables, low, len, high_len, inner, a, b });
    }

    /// The claim that the linear parts sum to `-V`.
    pub fn linear_claim(
        &self,
        circuit: &Circuit,
        lists: &[Vec<u32>],
        point: &Point,
        products: QM31,
        claims: &mut Claims,
    ) {
        let first = |point: &[QM31], len: u32| point.get(..len as usize).unwrap_or_default().to_vec();
        let known: QM31 = circuit
            .relations
            .iter()
            .zip(&point.gammas)
            .filter(|(r, _)| !r.value.form.indicators.is_empty() || r.value.form.constant != 0)
            .map(|(r, &gamma)| {
                let (rows, cols) =
                    (first(&point.rows, r.shape.log_rows()), first(&point.cols, r.shape.log_cols()));
                gamma * r.value.form.known(lists, &rows, &cols)
            })
            .sum();
        claims.begin(-products - known);
        let at_rows = Slice { point: claims.point(point.rows.as_slice()), from: 0 };
        let at_cols = Slice { point: claims.point(point.cols.as_slice()), from: 0 };
        for (relation, &gamma) in circuit.relations.iter().zip(&point.gammas) {
            let rows = Reading::Slice(at_rows, relation.shape.log_rows());
            let cols = Reading::Slice(at_cols, relation.shape.log_cols());
            claims.add_form(circuit, gamma, &relation.value.form, &rows, &cols);
            for sum in &relation.value.sums {
                let shape = circuit.column(sum.column).shape;
                let row_axis = claims.eq(at_rows, shape.log_rows());
                let col_axis = claims.axis(Axis::sum(shape.cols));
                claims.add(gamma * QM31::from_i64(sum.coefficient), sum.column, row_axis, col_axis);
            }
        }
    }

    /// What the sumcheck must end in, given the operands' values at its point.
    pub fn expected(&self, point: &Point, bound: &[QM31], values: &[QM31]) -> QM31 {
        let halves = powers(QM31::HALF, self.rounds as usize + 1);
        let mut weights = BTreeMap::new();
        let value = |index: usize| values.get(index).copied().unwrap_or(QM31::ZERO);
        self.terms
            .iter()
            .map(|term| {
                // Few weights are different ones.
                let key = (term.kind, term.variables, term.low, term.len, term.high_len, term.inner);
                let weight = *weights.entry(key).or_insert_with(|| term.weight(point, bound));
                let gamma = point.gammas.get(term.relation).copied().unwrap_or(QM31::ZERO);
                let scale =
                    halves.get((self.rounds - term.variables) as usize).copied().unwrap_or(QM31::ZERO);
                gamma * QM31::from_i64(term.coefficient) * scale * weight * value(term.a) * value(term.b)
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
        let points = [point.rows.as_slice(), point.cols.as_slice(), bound];
        let points = points.map(|coordinates| (claims.point(coordinates), coordinates));
        for (operand, &value) in self.operands.iter().zip(values) {
            claims.begin(value - QM31::from_i64(operand.form.constant));
            let (rows, cols) = (reading(&operand.rows, &points), reading(&operand.cols, &points));
            claims.add_form(circuit, QM31::ONE, &operand.form, &rows, &cols);
        }
    }
}

/// Where the parts of an axis lead, once the points of rows, of columns and of the sumcheck are known.
fn reading(parts: &[Part], [rows, cols, bound]: &[(PointId, &[QM31]); 3]) -> Reading {
    // Most axes lie at one stretch of one point.
    let mut stretches = parts.iter().filter(|part| part.len > 0 || matches!(part.at, At::Groups(..)));
    if let (Some(part), None) = (stretches.next(), stretches.next()) {
        let whole = match part.at {
            At::Rows(from) => Some((rows.0, from)),
            At::Cols(from) => Some((cols.0, from)),
            At::Bound(from) => Some((bound.0, from)),
            At::Flipped(_) | At::Groups(..) => None,
        };
        if let Some((point, from)) = whole {
            return Reading::Slice(Slice { point, from }, part.len);
        }
    }
    let take = |(_, from): &(PointId, &[QM31]), at: u32, len: u32| -> Vec<QM31> {
        let range = at as usize..at as usize + len as usize;
        from.get(range).unwrap_or_default().to_vec()
    };
    let mut low: Vec<QM31> = Vec::new();
    for part in parts {
        match &part.at {
            At::Rows(from) => low.extend(take(rows, *from, part.len)),
            At::Cols(from) => low.extend(take(cols, *from, part.len)),
            At::Bound(from) => low.extend(take(bound, *from, part.len)),
            At::Flipped(from) => low.extend(take(bound, *from, part.len).into_iter().map(|x| QM31::ONE - x)),
            At::Groups(from, list) => {
                return Reading::Listed { low, list: list.clone(), point: take(bound, *from, part.len) };
            }
        }
    }
    Reading::At(low)
}

impl Term {
    /// The weight at the sumcheck's point.
    fn weight(&self, point: &Point, bound: &[QM31]) -> QM31 {
        let (low, high) = bound
            .get(..self.variables as usize)
            .unwrap_or_default()
            .split_at_checked(self.low as usize)
            .unwrap_or_default();
        let outer = point.rows.get(self.inner as usize..).unwrap_or_default();
        match self.kind {
            Kind::Entrywise => eq(&point.cols, low) * eq(&point.rows, high),
            Kind::RowDot | Kind::Scores { .. } | Kind::Mix { .. } => {
                Axis::sum(self.len).evaluate(low) * eq(outer, high)
            }
            Kind::Contract | Kind::ContractTransposed | Kind::ToHeads { .. } => {
                Axis::sum(self.len).evaluate(low)
            }
            Kind::FromHeads { .. } => {
                Axis::sum(self.len).evaluate(low) * Axis::sum(self.high_len).evaluate(high)
            }
        }
    }
}

/// A round polynomial `s_0 + s_1 X + s_2 X^2 + s_3 X^3`; all but `s_1` are sent, which follows from
/// `s(0) + s(1) = claim`.
pub fn round(claim: QM31, [s0, s2, s3]: [QM31; DEGREE]) -> [QM31; DEGREE + 1] {
    [s0, claim - s0.double() - s2 - s3, s2, s3]
}
