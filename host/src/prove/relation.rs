//! The prover of [`circlet_core::relations`].

use std::ops::Range;

use circlet_core::circuit::ColumnId;
use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::poly::{eq_table, powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{At, Operand, Part, Point, round};
use circlet_core::transcript::Label;
use circlet_core::wiring::{gather_terms, pick_terms};

use super::channel::Channel;
use crate::backend::contract::{over_blocks, over_cols};
use crate::backend::device::{Device, Error};
use crate::backend::field::{LANES, pack_all};
use crate::backend::gpu::matrix as gpu;
use crate::backend::gpu::products::{self, Entries, is_base};
use crate::backend::gpu::thresholds::LEAST;
use crate::backend::matrix::Matrix;
use crate::backend::merkle::BulkHash;
use crate::backend::products::Coefficients;
use crate::backend::relations::Sumcheck;
use crate::backend::table::Table;
use crate::execute::{Cells, Trace, form_values};
use crate::prove::read::{form_lanes, on_gpu, whole_column};

/// Proves that all relations hold; leaves a claim for their linear parts and one for each operand. Matrices of trees are
/// those that the trace was committed to.
pub fn prove<S: BulkHash>(
    device: &Device,
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
    let entries: Vec<Entries<'_>> =
        reduction.operands.iter().map(|held| reader.entries(&held.operand())).collect();
    let read = |operand: usize| reader.read(&reduction.operands[operand].operand());
    let terms = (&reduction.terms[..], reduction.rounds);
    let mut sumcheck = Sumcheck::new(device, terms, &point, &entries, read)?;
    let [products] = channel.send(Label::RelationClaim, [sumcheck.total()]);
    let mut claim = products;
    let mut bound: Vec<QM31> = Vec::new();
    for variable in (0..reduction.rounds).rev() {
        let Coefficients { s0, s2, s3 } = sumcheck.round(variable)?;
        let message = channel.send(Label::RelationRound, [s0, s2, s3]);
        let r = channel.challenge(Label::RelationChallenge);
        claim = univariate(&round(claim, message), r);
        sumcheck.bind(variable, r)?;
        bound.push(r);
    }
    bound.reverse();
    let values = channel.promise(Label::RelationEvals, sumcheck.values());
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

impl<'a> Reader<'a> {
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

    /// Where an operand's entries come from.
    fn entries(&self, operand: &Operand<'_>) -> Entries<'a> {
        if !is_base(operand) {
            return Entries::Extension;
        }
        let flip = match operand.cols.get(1).map(|part| part.at()) {
            Some(At::Flipped(bit)) => 1 << bit,
            _ => 0,
        };
        let id = whole_column(&self.protocol.circuit, operand.form, operand.shape);
        let there = id
            .and_then(|id| on_gpu(self.protocol, self.trace, self.matrices, id))
            .filter(|(_, cells)| cells.len() == operand.shape.size());
        let there = there.and_then(|(matrix, cells)| matrix.on_first(cells));
        let cells = there.and_then(|(columns, cells)| products::Cells::new(columns, cells, flip));
        cells.map_or(Entries::Base, Entries::Cells)
    }

    /// Where a column lies on a GPU, if its sums are better off there.
    fn on_gpu(&self, id: ColumnId, width: usize) -> Option<(&'a gpu::Matrix, Range<usize>)> {
        let (matrix, cells) = on_gpu(self.protocol, self.trace, self.matrices, id)?;
        let large = cells.len() >= LEAST.sums && width >= LEAST.width;
        (large && matrix.sums(&cells, width)).then_some((matrix, cells))
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
