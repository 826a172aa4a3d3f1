//! The prover of [`circlet_core::relations`].

use std::collections::BTreeMap;

use circlet_core::circuit::Kind;
use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::poly::{eq_table, powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{At, Operand, Point, Term, round};
use circlet_core::transcript::Label;
use rayon::prelude::*;

use super::channel::Channel;
use crate::backend::contract::{over_cols, over_rows};
use crate::backend::field::LANES;
use crate::backend::merkle::BulkHash;
use crate::backend::products::{Coefficients, sum, sum_round};
use crate::backend::table::{Table, eq};
use crate::execute::{Cells, Trace, form_values};
use crate::prove::read::form_lanes;

/// Proves that all relations hold; leaves a claim for their linear parts and one for each operand.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    trace: &Trace,
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) {
    let (circuit, reduction) = (&protocol.circuit, &protocol.reduction);
    let rows = channel.challenges(Label::RelationPoint, reduction.row_variables);
    let cols = channel.challenges(Label::RelationPoint, reduction.col_variables);
    let gamma = channel.challenge(Label::RelationBatch);
    let point = Point { rows, cols, gammas: powers(gamma, circuit.relations.len()) };

    let operands: Vec<Table> =
        reduction.operands.par_iter().map(|operand| read(protocol, trace, &point, operand)).collect();
    let mut sumcheck = Sumcheck::new(&reduction.terms, &point, operands);
    let [products] = channel.send(Label::RelationClaim, [sumcheck.total()]);
    let mut claim = products;
    let mut bound: Vec<QM31> = Vec::new();
    for variable in (0..reduction.rounds).rev() {
        let Coefficients { s0, s2, s3 } = sumcheck.round(variable);
        let message = channel.send(Label::RelationRound, [s0, s2, s3]);
        let r = channel.challenge(Label::RelationChallenge);
        claim = univariate(&round(claim, message), r);
        sumcheck.bind(variable, r);
        bound.push(r);
    }
    bound.reverse();
    let mut values: Vec<QM31> = sumcheck.operands.iter().map(Table::first).collect();
    channel.send_slice(Label::RelationEvals, &mut values);
    reduction.linear_claim(circuit, &point, products, claims);
    reduction.operand_claims(circuit, &point, &bound, &values, claims);
}

/// An operand over the variables that the sumcheck binds: the others are bound to the relations' point.
fn read(protocol: &Protocol, trace: &Trace, point: &Point, operand: &Operand) -> Table {
    let (log_rows, log_cols) = (operand.shape.log_rows() as usize, operand.shape.log_cols() as usize);
    let lanes = || form_lanes(&protocol.circuit, trace, &operand.form, operand.shape);
    let cells = || form_values(&protocol.circuit, trace, &operand.form, operand.shape);
    let fixed = |at: At| -> Option<&[QM31]> {
        match at {
            At::Rows => Some(&point.rows),
            At::Cols => Some(&point.cols),
            At::Bound(_) => None,
        }
    };
    match (fixed(operand.rows), fixed(operand.cols)) {
        (None, None) if operand.shape.size() >= LANES => Table::of_base(lanes()),
        (None, None) => Table::new(cells().into_iter().map(QM31::from_i64).collect()),
        (Some(rows), _) => {
            let weights = eq_table(&rows[..log_rows]);
            Table::new(match plain(protocol, trace, operand) {
                Some(Cells::Narrow(cells)) => over_rows(cells, 1 << log_cols, &weights),
                Some(Cells::Wide(cells)) => over_rows(cells, 1 << log_cols, &weights),
                None => over_rows(&residues(cells()), 1 << log_cols, &weights),
            })
        }
        (None, Some(cols)) => {
            let weights = eq_table(&cols[..log_cols]);
            Table::new(match plain(protocol, trace, operand) {
                Some(Cells::Narrow(cells)) => over_cols(cells, &weights),
                Some(Cells::Wide(cells)) => over_cols(cells, &weights),
                None => over_cols(&residues(cells()), &weights),
            })
        }
    }
}

/// The column that an operand is, if it is just one.
fn plain<'a>(protocol: &Protocol, trace: &'a Trace, operand: &Operand) -> Option<Cells<'a>> {
    let [(1, id)] = operand.form.terms[..] else { return None };
    let own = protocol.circuit.column(id).shape;
    let whole = operand.form.constant == 0 && own.log_size() == operand.shape.log_size();
    whole.then(|| trace.cells(id))
}

/// Integers modulo `P`, as 32 bits.
fn residues(values: Vec<i64>) -> Vec<i32> {
    values.into_iter().map(|v| M31::from_i64(v).signed()).collect()
}

/// What a term is weighted with: nothing, or one of the shared tables.
type Weight = Option<usize>;

struct Sumcheck<'a> {
    terms: &'a [Term],
    /// `gamma^i` times the integer factor.
    factors: Vec<QM31>,
    weights: Vec<(u32, Table)>,
    weight_of: Vec<Weight>,
    operands: Vec<Table>,
    variables_of: Vec<u32>,
    /// For terms whose variables have not come yet, their part of the current claim.
    waiting: Vec<QM31>,
}

impl<'a> Sumcheck<'a> {
    fn new(terms: &'a [Term], point: &Point, operands: Vec<Table>) -> Self {
        let mut weights = Vec::new();
        let mut known: BTreeMap<(bool, u32, u32, u32), usize> = BTreeMap::new();
        let mut weight_of = Vec::new();
        for term in terms {
            let full = term.len == 1 << term.low;
            let entrywise = term.kind == Kind::Entrywise;
            let contract = matches!(term.kind, Kind::Contract | Kind::ContractTransposed);
            if contract && full {
                weight_of.push(None);
                continue;
            }
            let key = (entrywise, term.low, term.variables, if entrywise { 0 } else { term.len });
            let index = *known.entry(key).or_insert_with(|| {
                weights.push((term.variables, weight(term, point)));
                weights.len() - 1
            });
            weight_of.push(Some(index));
        }
        let mut variables_of = vec![0; operands.len()];
        for term in terms {
            variables_of[term.a] = term.variables;
            variables_of[term.b] = term.variables;
        }
        let factors: Vec<QM31> =
            terms.iter().map(|t| point.gammas[t.relation] * QM31::from_i64(t.coefficient)).collect();
        let mut this =
            Self { terms, factors, weights, weight_of, operands, variables_of, waiting: Vec::new() };
        this.waiting = (0..terms.len())
            .into_par_iter()
            .map(|i| {
                let (w, a, b) = this.tables(i);
                sum(w, a, b) * this.factors[i]
            })
            .collect();
        this
    }

    fn tables(&self, i: usize) -> (Option<&Table>, &Table, &Table) {
        let term = &self.terms[i];
        let weight = self.weight_of[i].map(|w| &self.weights[w].1);
        (weight, &self.operands[term.a], &self.operands[term.b])
    }

    /// The sum of all terms.
    fn total(&self) -> QM31 {
        self.waiting.iter().copied().sum()
    }

    /// The round that binds a variable: terms that do not have it are constant.
    fn round(&self, variable: u32) -> Coefficients {
        (0..self.terms.len())
            .into_par_iter()
            .map(|i| {
                if self.terms[i].variables <= variable {
                    return Coefficients { s0: self.waiting[i] * QM31::HALF, ..Coefficients::default() };
                }
                let (w, a, b) = self.tables(i);
                sum_round(w, a, b).times(self.factors[i])
            })
            .reduce(Coefficients::default, Coefficients::plus)
    }

    fn bind(&mut self, variable: u32, r: QM31) {
        for (i, term) in self.terms.iter().enumerate() {
            if term.variables <= variable {
                self.waiting[i] *= QM31::HALF;
                self.factors[i] *= QM31::HALF;
            }
        }
        self.weights.par_iter_mut().filter(|w| w.0 > variable).for_each(|w| w.1.bind_high(r));
        self.operands
            .par_iter_mut()
            .zip(&self.variables_of)
            .filter(|(_, v)| **v > variable)
            .for_each(|(table, _)| table.bind_high(r));
    }
}

fn weight(term: &Term, point: &Point) -> Table {
    let (low, high) = (term.low as usize, (term.variables - term.low) as usize);
    match term.kind {
        Kind::Entrywise => {
            let joined: Vec<QM31> = point.cols[..low].iter().chain(&point.rows[..high]).copied().collect();
            eq(&joined)
        }
        Kind::RowDot => {
            let rows = eq_table(&point.rows[..high]);
            let inside = |c: usize| c < term.len as usize;
            let row = |&e: &QM31| (0..1 << low).map(move |c| if inside(c) { e } else { QM31::ZERO });
            Table::new(rows.iter().flat_map(row).collect())
        }
        Kind::Contract | Kind::ContractTransposed => {
            let inside = |c: usize| if c < term.len as usize { QM31::ONE } else { QM31::ZERO };
            Table::new((0..1 << low).map(inside).collect())
        }
    }
}
