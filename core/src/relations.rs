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
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, Columns, Form, Kind, Product, Relation, Shape};
pub use crate::claims::{At, Part};
use crate::claims::{Claims, LINEAR, OPERANDS, Points, Reading, Terms};
use crate::field::{M31, QM31};
use crate::poly::{eq, powers};

/// Degree of the round polynomials: weight, `a` and `b`.
pub const DEGREE: usize = 3;

/// Up to three stretches of coordinates, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts {
    parts: [Part; 3],
    len: usize,
}

impl<const N: usize> From<[Part; N]> for Parts {
    fn from(given: [Part; N]) -> Self {
        let mut parts = [Part::new(0, At::Rows(0)); 3];
        for (slot, part) in parts.iter_mut().zip(given) {
            *slot = part;
        }
        Self { parts, len: N.min(3) }
    }
}

impl core::ops::Deref for Parts {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        self.parts.get(..self.len).unwrap_or_default()
    }
}

/// A linear form and where it is evaluated: one element of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand<'a> {
    /// The form.
    pub form: &'a Form,
    /// Shape over which it is read.
    pub shape: Shape,
    /// Where its rows are read, lowest coordinates first.
    pub rows: Parts,
    /// Where its columns are read, lowest coordinates first.
    pub cols: Parts,
    /// The group of each choice, where rows are read in groups.
    pub groups: &'a [u32],
}

/// An operand with a form of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    form: Form,
    shape: Shape,
    rows: Parts,
    cols: Parts,
    groups: Vec<u32>,
}

impl Held {
    /// The operand.
    pub fn operand(&self) -> Operand<'_> {
        let Self { form, shape, rows, cols, groups } = self;
        Operand { form, shape: *shape, rows: *rows, cols: *cols, groups }
    }

    /// Whether it is this one.
    fn is(&self, operand: &Operand<'_>) -> bool {
        let Operand { form, shape, rows, cols, groups } = operand;
        self.rows == *rows
            && self.cols == *cols
            && self.shape == *shape
            && self.form == **form
            && self.groups.as_slice() == *groups
    }
}

impl Operand<'_> {
    /// Number of variables that the sumcheck binds.
    pub fn variables(&self) -> u32 {
        let bound = |part: &&Part| !matches!(part.at(), At::Rows(_) | At::Cols(_));
        self.rows.iter().chain(self.cols.iter()).filter(bound).map(|part| part.len()).sum()
    }

    /// A number that differs for most operands of an op.
    fn mark(&self) -> u32 {
        let first = self.form.terms.first().map_or(0, |&(_, column)| column.0);
        let last = |parts: &Parts| parts.last().map_or(0, |part| part.code());
        let at = last(&self.rows) ^ last(&self.cols).rotate_left(12);
        first ^ at.rotate_left(7) ^ (self.form.terms.len() as u32) << 28
    }

    fn held(&self) -> Held {
        let Self { form, shape, rows, cols, groups } = *self;
        Held { form: form.clone(), shape, rows, cols, groups: groups.to_vec() }
    }
}

/// How the operands of a product meet in the sumcheck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meeting {
    /// The kind of product.
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
}

/// One product in the sumcheck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The relation it belongs to.
    pub relation: usize,
    /// Integer factor.
    pub coefficient: i64,
    /// How the operands meet.
    pub meeting: Meeting,
    /// Left operand, an index into [`Reduction::operands`].
    pub a: usize,
    /// Right operand.
    pub b: usize,
}

/// How a product is read: how its operands meet, and what they are.
#[inline]
pub fn read(product: &Product) -> (Meeting, [Operand<'_>; 2]) {
    let Product { kind, a_shape, b_shape, .. } = *product;
    let low = a_shape.log_cols();
    let part = |len: u32, at: At| Part::new(len, at);
    let all = |shape: Shape, at: At| Parts::from([part(shape.log_rows(), at)]);
    let (b_low, heads) = (b_shape.log_cols(), (product.groups.len().max(1) as u32).trailing_zeros());
    // Row coordinates below the heads', in `a`.
    let tokens = a_shape.log_rows().saturating_sub(heads);
    let headed = || Parts::from([part(tokens, At::Rows(0)), part(heads, At::Bound(low))]);
    let grouped = |below: Part| Parts::from([below, part(heads, At::Groups(low))]);
    let summed = Parts::from([part(b_low, At::Bound(0))]);
    let (variables, inner, a_rows, b_rows, b_cols) = match kind {
        Kind::Entrywise | Kind::RowDot => {
            (a_shape.log_size(), 0, all(a_shape, At::Bound(low)), all(b_shape, At::Bound(low)), summed)
        }
        Kind::Contract => (low, 0, all(a_shape, At::Rows(0)), all(b_shape, At::Cols(0)), summed),
        Kind::ContractTransposed => {
            let b_cols = Parts::from([part(b_low, At::Cols(0))]);
            (low, 0, all(a_shape, At::Rows(0)), all(b_shape, At::Bound(0)), b_cols)
        }
        Kind::ToHeads { channels } => {
            let b_rows = Parts::from([
                part(channels, At::Cols(0)),
                part(b_shape.log_rows().saturating_sub(channels), At::Rows(a_shape.log_rows())),
            ]);
            (low, 0, all(a_shape, At::Rows(0)), b_rows, summed)
        }
        Kind::FromHeads { tokens } => {
            let heads = a_shape.log_rows().saturating_sub(tokens);
            let a_rows = Parts::from([part(tokens, At::Rows(0)), part(heads, At::Bound(low))]);
            (b_low, 0, a_rows, all(b_shape, At::Cols(0)), summed)
        }
        Kind::Scores { group } => (low + heads, tokens, headed(), grouped(part(group, At::Cols(0))), summed),
        Kind::Mix { group } => {
            let b_cols = Parts::from([part(b_low, At::Cols(0))]);
            (low + heads, tokens, headed(), grouped(part(group, At::Bound(0))), b_cols)
        }
    };
    let a_cols = match product.flip {
        None => Parts::from([part(low, At::Bound(0))]),
        Some(bit) => Parts::from([
            part(bit, At::Bound(0)),
            part(1, At::Flipped(bit)),
            part(low.saturating_sub(bit + 1), At::Bound(bit + 1)),
        ]),
    };
    let high_len = match kind {
        Kind::FromHeads { tokens } => a_shape.rows.checked_shr(tokens).unwrap_or(0),
        _ => 1,
    };
    let meeting = Meeting { kind, variables, low, len: a_shape.cols, high_len, inner };
    let a = Operand { form: &product.a, shape: a_shape, rows: a_rows, cols: a_cols, groups: &[] };
    let (form, groups) = (&product.b, product.groups.as_slice());
    (meeting, [a, Operand { form, shape: b_shape, rows: b_rows, cols: b_cols, groups }])
}

/// Numbers operands in order of first use. Those of one op that are the same have one number.
#[derive(Clone, Debug, Default)]
pub struct Operands {
    count: u32,
    /// Those of the op so far, with their numbers.
    known: Vec<(u32, Held)>,
    /// Of each its mark, and where the one before it with the same slot is: zero for none, otherwise its place plus one.
    marks: Vec<(u32, u32)>,
    /// Where the last operand with each slot is, in the same way.
    last: Vec<u32>,
}

/// Slots of [`Operands`].
const SLOTS: usize = 64;

impl Operands {
    /// An op begins; the result is the operands of the one before, with their numbers.
    pub fn op(&mut self) -> impl Iterator<Item = (u32, Held)> + use<'_> {
        self.marks.clear();
        self.last.clear();
        self.known.drain(..)
    }

    /// The number of operands so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of an operand, and whether it is new.
    pub fn number(&mut self, operand: &Operand<'_>) -> (u32, bool) {
        let mark = operand.mark();
        let slot = (mark.wrapping_mul(0x9e37_79b9) >> 16) as usize % SLOTS;
        let before = self.last.get(slot).copied().unwrap_or(0);
        let mut at = before;
        while let Some(place) = at.checked_sub(1).map(|place| place as usize) {
            let Some(&(own, next)) = self.marks.get(place) else { break };
            if own == mark
                && let Some((number, known)) = self.known.get(place)
                && known.is(operand)
            {
                return (*number, false);
            }
            at = next;
        }
        self.marks.push((mark, before));
        self.last.resize(SLOTS, 0);
        if let Some(last) = self.last.get_mut(slot) {
            *last = self.marks.len() as u32;
        }
        let number = self.count;
        self.count += 1;
        self.known.push((number, operand.held()));
        (number, true)
    }
}

/// The sumcheck of a circuit: fixed by the program alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// All products, in the order of relations.
    pub terms: Vec<Term>,
    /// All operands, in order of first use.
    pub operands: Vec<Held>,
    /// Number of rounds.
    pub rounds: u32,
    /// Row coordinates of the relations' point.
    pub row_variables: u32,
    /// Column coordinates of the relations' point.
    pub col_variables: u32,
}

/// Sizes of the sumcheck and of its point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Number of rounds.
    pub rounds: u32,
    /// Row coordinates of the relations' point.
    pub row_variables: u32,
    /// Column coordinates of the relations' point.
    pub col_variables: u32,
}

impl Extent {
    /// Makes room for cells at which something is read.
    pub fn cover(&mut self, shape: Shape) {
        self.row_variables = self.row_variables.max(shape.log_rows());
        self.col_variables = self.col_variables.max(shape.log_cols());
    }

    /// Makes room for a product.
    pub fn bind(&mut self, meeting: &Meeting) {
        self.rounds = self.rounds.max(meeting.variables);
    }
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
    pub fn new(circuit: &Circuit, extent: Extent) -> Self {
        let Extent { rounds, row_variables, col_variables } = extent;
        let (mut terms, mut operands) = (Vec::new(), Vec::new());
        let (mut numbers, mut op) = (Operands::default(), None);
        for (relation, r) in circuit.relations.iter().enumerate() {
            if op != Some(r.op) {
                op = Some(r.op);
                operands.extend(numbers.op().map(|(_, operand)| operand));
            }
            for product in &r.value.products {
                let (meeting, [a, b]) = read(product);
                let (a, b) = (numbers.number(&a).0 as usize, numbers.number(&b).0 as usize);
                terms.push(Term { relation, coefficient: product.coefficient, meeting, a, b });
            }
        }
        operands.extend(numbers.op().map(|(_, operand)| operand));
        Self { terms, operands, rounds, row_variables, col_variables }
    }

    /// What the sumcheck must end in, given the operands' values at its point.
    pub fn expected(&self, point: &Point, bound: &[QM31], values: &[QM31]) -> QM31 {
        let points = Points {
            rows: point.rows.clone(),
            cols: point.cols.clone(),
            bound: bound.to_vec(),
            ..Points::default()
        };
        let mut sums = Sums::default();
        let value = |index: usize| values.get(index).copied().unwrap_or(QM31::ZERO);
        for term in &self.terms {
            let gamma = point.gammas.get(term.relation).copied().unwrap_or(QM31::ZERO);
            sums.add(&term.meeting, gamma * value(term.a) * value(term.b) * M31::from_i64(term.coefficient));
        }
        sums.total(self.rounds, &points)
    }

    /// Leaves a claim for all linear parts and one for each operand.
    pub fn claims(
        &self,
        circuit: &Circuit,
        columns: &Columns,
        lists: &[Vec<u32>],
        gammas: &[QM31],
        (products, values): (QM31, &[QM31]),
        claims: &mut Claims,
    ) {
        let known: QM31 = circuit
            .relations
            .iter()
            .zip(gammas)
            .filter_map(|(r, &g)| Some(g * known(r, lists, &claims.points)?))
            .sum();
        claims.value(LINEAR, -products - known);
        for (relation, &gamma) in circuit.relations.iter().zip(gammas) {
            linear_terms(columns, relation, gamma, claims);
        }
        for (number, (operand, &value)) in (0u32..).zip(self.operands.iter().zip(values)) {
            let operand = operand.operand();
            claims.value(OPERANDS + number, value - known_of(&operand));
            operand_terms(columns, number, &operand, claims);
        }
    }
}

/// What both sides know of an operand.
pub fn known_of(operand: &Operand<'_>) -> QM31 {
    QM31::from_i64(operand.form.constant)
}

/// What both sides know of the linear part of a relation, at the relations' point, if it is anything.
pub fn known(relation: &Relation, lists: &[Vec<u32>], points: &Points) -> Option<QM31> {
    let form = &relation.value.form;
    if !form.is_known() {
        return None;
    }
    if form.indicators.is_empty() {
        return Some(QM31::from(M31::from_i64(form.constant)));
    }
    let first = |point: &[QM31], len: u32| point.get(..len as usize).unwrap_or_default().to_vec();
    let rows = first(&points.rows, relation.shape.log_rows());
    Some(form.known(lists, &rows, &first(&points.cols, relation.shape.log_cols())))
}

/// What is claimed of the columns of the linear part of a relation.
pub fn linear_terms(columns: &Columns, relation: &Relation, gamma: QM31, terms: &mut impl Terms) {
    let here = |shape: Shape| {
        let rows = [Part::new(shape.log_rows(), At::Rows(0))];
        (rows, [Part::new(shape.log_cols(), At::Cols(0))])
    };
    let (rows, cols) = here(relation.shape);
    let (rows, cols) = (Reading::parts(&rows), Reading::parts(&cols));
    terms.add(columns, LINEAR, gamma, &relation.value.form.terms, rows, cols);
    for sum in &relation.value.sums {
        let shape = columns.shape(sum.column);
        let (rows, cols) = (here(shape).0, Reading::Sum(shape.cols));
        terms.add(columns, LINEAR, gamma, &[(sum.coefficient, sum.column)], Reading::parts(&rows), cols);
    }
}

/// What is claimed of the columns of an operand.
pub fn operand_terms(columns: &Columns, number: u32, operand: &Operand<'_>, terms: &mut impl Terms) {
    let rows = Reading::Parts { parts: &operand.rows, groups: operand.groups };
    let cols = Reading::parts(&operand.cols);
    terms.add(columns, OPERANDS + number, QM31::ONE, &operand.form.terms, rows, cols);
}

/// What products make of the sumcheck's summand, by how their operands meet. Most circuits have `FEW` ways, and searching
/// these one by one is quickest; a program that has more of them makes no search long.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    few: Vec<(Meeting, QM31)>,
    more: BTreeMap<Meeting, QM31>,
}

const FEW: usize = 32;

impl Sums {
    /// Adds a product of operands' values, times its factors.
    pub fn add(&mut self, meeting: &Meeting, product: QM31) {
        if let Some((_, sum)) = self.few.iter_mut().find(|(own, _)| own == meeting) {
            *sum += product;
        } else if self.few.len() < FEW {
            self.few.push((*meeting, product));
        } else {
            *self.more.entry(*meeting).or_default() += product;
        }
    }

    /// All of them, with their weights at the point where the sumcheck of so many rounds has ended: each has the share
    /// of all vertices that its own variables leave.
    pub fn total(&self, rounds: u32, points: &Points) -> QM31 {
        let halves = powers(QM31::HALF, rounds as usize + 1);
        let share = |meeting: &Meeting| {
            let unused = halves.len().checked_sub(meeting.variables as usize + 1);
            unused.and_then(|unused| halves.get(unused)).copied().unwrap_or(QM31::ZERO)
        };
        let sums = self.few.iter().map(|(meeting, sum)| (meeting, sum)).chain(&self.more);
        sums.map(|(meeting, &sum)| sum * share(meeting) * meeting.weight(points)).sum()
    }
}

impl Meeting {
    /// The weight at the sumcheck's point.
    fn weight(&self, points: &Points) -> QM31 {
        let (low, high) = points
            .bound
            .get(..self.variables as usize)
            .unwrap_or_default()
            .split_at_checked(self.low as usize)
            .unwrap_or_default();
        let outer = points.rows.get(self.inner as usize..).unwrap_or_default();
        match self.kind {
            Kind::Entrywise => eq(&points.cols, low) * eq(&points.rows, high),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Operands that differ in one thing alone have numbers of their own, whatever their marks.
    #[test]
    fn operands_are_what_they_are_in_all() {
        use crate::circuit::ColumnId;

        let part = |len: u32| Part::new(len, At::Bound(len));
        let form = |coefficient: i64| Form::from(ColumnId(3)).plus(coefficient, ColumnId(4));
        let (one, other) = (form(1), form(2));
        let base = Operand {
            form: &one,
            shape: Shape { rows: 4, cols: 8 },
            rows: Parts::from([part(1), part(2)]),
            cols: Parts::from([part(1), part(3)]),
            groups: &[0, 1],
        };
        let all = [
            base,
            Operand { form: &other, ..base },
            Operand { shape: Shape { rows: 4, cols: 7 }, ..base },
            Operand { rows: Parts::from([part(5), part(2)]), ..base },
            Operand { cols: Parts::from([part(5), part(3)]), ..base },
            Operand { groups: &[0, 2], ..base },
        ];
        let mut operands = Operands::default();
        for (number, operand) in (0..).zip(&all) {
            assert_eq!(operand.mark(), base.mark(), "another mark would tell them apart too");
            assert_eq!(operands.number(operand), (number, true));
        }
        for (number, operand) in (0..).zip(&all) {
            assert_eq!(operands.number(operand), (number, false));
        }
        assert_eq!((operands.op().count(), operands.count()), (all.len(), all.len() as u32));
        // Those of another op are new.
        assert_eq!(operands.number(&base), (all.len() as u32, true));
    }

    #[test]
    fn sums_of_many_meetings_are_those_of_each() {
        let element = |seed: u32| {
            QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(u64::from(seed * 977 + k) << 20)))
        };
        let bound: Vec<QM31> = (0..7).map(element).collect();
        let points = Points { bound, ..Points::default() };
        let meeting =
            |len: u32| Meeting { kind: Kind::Contract, variables: 7, low: 7, len, high_len: 1, inner: 0 };
        let ways = 3 * FEW as u32;
        let mut sums = Sums::default();
        let mut expected = QM31::ZERO;
        for round in 0..2 {
            for len in 1..=ways {
                let product = element(100 + len + round * ways);
                sums.add(&meeting(len), product);
                expected += product * Axis::sum(len).evaluate(&points.bound);
            }
        }
        assert_eq!((sums.few.len(), sums.more.len()), (FEW, 2 * FEW));
        assert_eq!(sums.total(7, &points), expected);
    }
}
