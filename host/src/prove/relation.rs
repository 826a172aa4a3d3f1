//! The prover of [`circlet_core::relations`].

use std::collections::BTreeMap;
use std::ops::Range;

use circlet_core::circuit::{ColumnId, Kind};
use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::poly::{eq_table, powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{At, Operand, Part, Point, Term, round};
use circlet_core::transcript::Label;
use circlet_core::wiring::{gather_terms, pick_terms};
use rayon::prelude::*;

use super::channel::Channel;
use crate::backend::contract::{over_blocks, over_cols};
use crate::backend::device::Error;
use crate::backend::field::{LANES, pack_all};
use crate::backend::gpu::matrix as gpu;
use crate::backend::matrix::Matrix;
use crate::backend::merkle::BulkHash;
use crate::backend::products::{Coefficients, sum, sum_round};
use crate::backend::table::{Table, eq};
use crate::execute::{Cells, Trace, form_values};
use crate::prove::read::{form_lanes, on_gpu, whole_column};

/// Proves that all relations hold; leaves a claim for their linear parts and one for each operand. Matrices of trees are
/// those that the trace was committed to.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    trace: &Trace,
    matrices: [Option<&Matrix>; 4],
    lists: &[Vec<u32>],
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) -> Result<(), Error> {
    let (circuit, reduction) = (&protocol.circuit, &protocol.reduction);
    let rows = channel.challenges(Label::RelationPoint, reduction.row_variables);
    let cols = channel.challenges(Label::RelationPoint, reduction.col_variables);
    let gamma = channel.challenge(Label::RelationBatch);
    let point = Point { rows, cols, gammas: powers(gamma, circuit.relations.len()) };

    let reader = Reader { protocol, trace, matrices, point: &point };
    let operands = reduction.operands.par_iter().map(|held| reader.read(&held.operand()));
    let operands: Vec<Table> = operands.collect::<Result<_, Error>>()?;
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
    let values = channel.promise(Label::RelationEvals, sumcheck.operands.iter().map(Table::first).collect());
    claims.points.rows.clone_from(&point.rows);
    claims.points.cols.clone_from(&point.cols);
    claims.points.bound = bound;
    let (columns, numbers) = (&protocol.declared.columns, &protocol.numbers);
    reduction.claims(circuit, columns, lists, &point.gammas, (products, &values), claims);
    for (claim, gather) in (numbers.first_gather()..).zip(&circuit.gathers) {
        gather_terms(columns, claim, gather, lists, claims);
    }
    let points = claims.points.clone();
    for (claim, pick) in (numbers.first_pick()..).zip(&circuit.picks) {
        pick_terms(columns, claim, pick, lists, &points, claims);
    }
    Ok(())
}

/// Reads operands.
struct Reader<'a> {
    protocol: &'a Protocol,
    trace: &'a Trace,
    matrices: [Option<&'a Matrix>; 4],
    point: &'a Point,
}

impl Reader<'_> {
    /// An operand over the variables that the sumcheck binds: the others are bound to the relations' point.
    fn read(&self, operand: &Operand<'_>) -> Result<Table, Error> {
        let Self { protocol, trace, point, .. } = *self;
        let cells = || form_values(&protocol.circuit, trace, operand.form, operand.shape);
        let (rows, rest) = known(&operand.rows, point);
        let (cols, _) = known(&operand.cols, point);
        let width = 1usize << operand.shape.log_cols();

        let values: Vec<QM31> = if rows.is_empty() && cols.is_empty() {
            if let Some(At::Flipped(bit)) = operand.cols.get(1).map(|part| part.at()) {
                let cells = residues(cells());
                let flipped: Vec<i32> = (0..cells.len()).map(|i| cells[i ^ 1 << bit]).collect();
                return Ok(base(&flipped));
            }
            if !rest.iter().any(|part| part.is_groups()) {
                if operand.shape.size() >= LANES {
                    let lanes = form_lanes(&protocol.circuit, trace, operand.form, operand.shape);
                    return Ok(Table::of_base(lanes));
                }
                return Ok(base(&residues(cells())));
            }
            cells().into_iter().map(QM31::from_i64).collect()
        } else {
            let id = whole_column(&protocol.circuit, operand.form, operand.shape);
            if cols.is_empty() {
                let weights = eq_table(&rows);
                match id.and_then(|id| self.on_gpu(id, width)) {
                    Some((matrix, cells)) => matrix.over_rows(cells, width, &weights)?,
                    None => match id.map(|id| trace.cells(id)) {
                        Some(Cells::Narrow(cells)) => over_blocks(cells, width, &weights),
                        Some(Cells::Wide(cells)) => over_blocks(cells, width, &weights),
                        None => over_blocks(&residues(cells()), width, &weights),
                    },
                }
            } else {
                let weights = eq_table(&cols);
                match id.map(|id| trace.cells(id)) {
                    Some(Cells::Narrow(cells)) => over_cols(cells, &weights),
                    Some(Cells::Wide(cells)) => over_cols(cells, &weights),
                    None => over_cols(&residues(cells()), &weights),
                }
            }
        };
        let Some((_, below)) = rest.split_last().filter(|(last, _)| last.is_groups()) else {
            return Ok(Table::new(values));
        };
        // Every head reads the rows of its group.
        let inner = (1usize << below.iter().map(|part| part.len()).sum::<u32>())
            * if cols.is_empty() { width } else { 1 };
        let of = |&g: &u32| &values[g as usize * inner..][..inner];
        Ok(Table::new(operand.groups.iter().flat_map(of).copied().collect()))
    }

    /// Where a column lies on a GPU, if its sums are better off there.
    fn on_gpu(&self, id: ColumnId, width: usize) -> Option<(&gpu::Matrix, Range<usize>)> {
        let (matrix, cells) = on_gpu(self.protocol, self.trace, self.matrices, id)?;
        let enough = cells.len() >= gpu::LEAST_SUM && width >= gpu::LEAST_WIDTH;
        (enough && matrix.messages().alike(&cells)).then_some((matrix, cells))
    }
}

/// The coordinates that are known before the sumcheck, which lead an axis, and the parts after them.
fn known<'a>(parts: &'a [Part], point: &Point) -> (Vec<QM31>, &'a [Part]) {
    let mut coordinates = Vec::new();
    for (k, part) in parts.iter().enumerate() {
        let (from, at) = match part.at() {
            At::Rows(at) => (&point.rows, at as usize),
            At::Cols(at) => (&point.cols, at as usize),
            At::Bound(_) | At::Flipped(_) | At::Groups(_) | At::Lookup(_) | At::Pin(_) => {
                return (coordinates, &parts[k..]);
            }
        };
        coordinates.extend(&from[at..at + part.len() as usize]);
    }
    (coordinates, &[])
}

/// Integers as elements of the base field, in vectors if there are enough.
fn base(cells: &[i32]) -> Table {
    if cells.len() >= LANES {
        return Table::of_base(pack_all(cells));
    }
    Table::new(cells.iter().map(|&v| QM31::from_i64(v.into())).collect())
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
        let mut known: BTreeMap<(bool, u32, u32, u32, u32), usize> = BTreeMap::new();
        let mut weight_of = Vec::new();
        for term in terms {
            let full = term.meeting.len == 1 << term.meeting.low && term.meeting.high_len.is_power_of_two();
            let entrywise = term.meeting.kind == Kind::Entrywise;
            let summed = !entrywise && !weighs_rows(term.meeting.kind);
            if summed && full {
                weight_of.push(None);
                continue;
            }
            let outer = if summed { u32::MAX - term.meeting.high_len } else { term.meeting.inner };
            let key = (
                entrywise,
                term.meeting.low,
                term.meeting.variables,
                outer,
                if entrywise { 0 } else { term.meeting.len },
            );
            let index = *known.entry(key).or_insert_with(|| {
                weights.push((term.meeting.variables, weight(term, point)));
                weights.len() - 1
            });
            weight_of.push(Some(index));
        }
        let mut variables_of = vec![0; operands.len()];
        for term in terms {
            variables_of[term.a] = term.meeting.variables;
            variables_of[term.b] = term.meeting.variables;
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
                if self.terms[i].meeting.variables <= variable {
                    return Coefficients { s0: self.waiting[i] * QM31::HALF, ..Coefficients::default() };
                }
                let (w, a, b) = self.tables(i);
                sum_round(w, a, b).times(self.factors[i])
            })
            .reduce(Coefficients::default, Coefficients::plus)
    }

    fn bind(&mut self, variable: u32, r: QM31) {
        for (i, term) in self.terms.iter().enumerate() {
            if term.meeting.variables <= variable {
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
    let (low, high) = (term.meeting.low as usize, (term.meeting.variables - term.meeting.low) as usize);
    match term.meeting.kind {
        Kind::Entrywise => {
            let joined: Vec<QM31> = point.cols[..low].iter().chain(&point.rows[..high]).copied().collect();
            eq(&joined)
        }
        kind => {
            let high = if weighs_rows(kind) {
                eq_table(&point.rows[term.meeting.inner as usize..][..high])
            } else {
                (0..1u32 << high).map(|h| QM31::from_i64(i64::from(h < term.meeting.high_len))).collect()
            };
            let inside = |c: usize| c < term.meeting.len as usize;
            let row = |&e: &QM31| (0..1 << low).map(move |c| if inside(c) { e } else { QM31::ZERO });
            Table::new(high.iter().flat_map(row).collect())
        }
    }
}

/// Whether the high variables of a term meet row coordinates of the relations' point; else they are summed.
fn weighs_rows(kind: Kind) -> bool {
    matches!(kind, Kind::RowDot | Kind::Scores { .. } | Kind::Mix { .. })
}
