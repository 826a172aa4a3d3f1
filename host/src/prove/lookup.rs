//! The prover of [`circlet_core::lookup`].

use circlet_core::circuit::{Circuit, ColumnId, Component, Form, Lookup, LookupTable, Shape, Sizes};
use circlet_core::claims::{COUNTS, Claims, ROWS};
use circlet_core::field::QM31;
use circlet_core::lookup::{Challenges, Children as Ends, Fractions, merge, round, tag_of};
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::transcript::{Label, Rounds};

use super::channel::Channel;
use super::read::on_gpu;
use crate::backend::bottom::{Above, LeafSumcheck};
use crate::backend::device::{Device, Error};
use crate::backend::field::LOG_LANES;
use crate::backend::fractions::{Children, LayerSumcheck, Workspace, parents};
use crate::backend::gpu::fractions as gpu;
use crate::backend::leaves::{Counts, Leaves, Numbers, Term, There};
use crate::backend::matrix::Matrix;
use crate::backend::merkle::BulkHash;
use crate::backend::rounds::Sums;
use crate::execute::{Cells, Trace, form_values};

/// Proves that all lookups hold; leaves two claims on the columns. Matrices of trees are those that the trace was committed to.
pub fn prove<S: BulkHash>(
    device: &Device,
    protocol: &Protocol,
    trace: &Trace,
    matrices: [Option<&Matrix>; 4],
    lists: &[Vec<u32>],
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) -> Result<(), Error> {
    channel.work(protocol.profile.g_lookup)?;
    let alpha = channel.challenge(Label::LookupChallenge);
    let beta = channel.challenge(Label::LookupChallenge);
    let challenges = Challenges { alpha, beta };

    let leaves = leaves(protocol, trace, matrices, challenges);
    let depth = protocol.leaves.depth as usize;
    let mut layers_there = gpu::Layers::new(device.machines(), &leaves)?;
    // Layers from the bottom up, but those on a GPU, and on the processor the two lowest of a large tree, which are not
    // stored.
    let above = layers_there.above()?;
    let computed = above.is_none() && leaves.are_many();
    let (mut layers, stored) = match above {
        Some((layer, log)) => (vec![layer], log),
        None if computed => (vec![parents(&Above(&leaves))], depth - 2),
        None => (vec![leaves.stored()], depth),
    };
    while layers.len() < stored {
        let next = parents(&layers[layers.len() - 1]);
        layers.push(next);
    }
    let top = parents(&layers[layers.len() - 1]);
    let start = top.first();
    let [root] = channel.send(Label::LookupRoot, [start[1]]);

    let mut room =
        if layers.len() > 1 { Workspace::new(Children::vectors(&layers[0])) } else { Workspace::default() };
    let mut state = Layers { claim: (QM31::ZERO, root), point: Vec::new(), start: start.into() };
    while let Some(children) = layers.pop() {
        room = state.prove(channel, |Begin { lambda, start, point, .. }| {
            Ok(LayerSumcheck::new(&children, lambda, start, point, room))
        })?;
        // The lowest stored layer is as large as what the two below it need.
        if computed && layers.is_empty() {
            room = children.into_workspace();
        }
    }
    if computed {
        let above = Above(&leaves);
        room = state.prove(channel, |Begin { lambda, start, point, .. }| {
            Ok(LayerSumcheck::new(&above, lambda, start, point, room))
        })?;
        state.prove(channel, |Begin { lambda, start, point, .. }| {
            Ok(LeafSumcheck::new(&leaves, lambda, start, point, room))
        })?;
    }
    // A layer is as large as the nodes of the layer below.
    let mut room = None;
    while let Some(children) = layers_there.pop() {
        state.prove(channel, |Begin { lambda, claim, point, rounds, .. }| {
            gpu::LayerSumcheck::new(&children, lambda, (claim, point), room, rounds)
        })?;
        room = Some(children.into_room());
    }
    let ends = [state.claim.0, state.claim.1];
    claim(protocol, lists, challenges, &state.point, ends, claims);
    Ok(())
}

/// The sumcheck of a layer.
trait Sumcheck {
    /// What is left for the next.
    type Room;
    fn round(&self) -> Sums;
    fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error>;
    fn finish(self) -> (Ends, Self::Room);
}

impl<C: Children> Sumcheck for LayerSumcheck<'_, C> {
    type Room = Workspace;
    fn round(&self) -> Sums {
        self.round()
    }
    fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error> {
        self.bind(r, below);
        Ok(())
    }
    fn finish(self) -> (Ends, Workspace) {
        self.finish()
    }
}

impl Sumcheck for LeafSumcheck<'_> {
    type Room = Workspace;
    fn round(&self) -> Sums {
        self.round()
    }
    fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error> {
        self.bind(r, below);
        Ok(())
    }
    fn finish(self) -> (Ends, Workspace) {
        self.finish()
    }
}

impl Sumcheck for gpu::LayerSumcheck<'_> {
    type Room = ();
    fn round(&self) -> Sums {
        self.round()
    }
    fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error> {
        self.bind(r, below)
    }
    fn finish(self) -> (Ends, ()) {
        (self.finish(), ())
    }
}

/// What a sumcheck begins with.
struct Begin<'a> {
    /// The challenge that batches numerators and denominators.
    lambda: QM31,
    /// What is claimed of the layer at the point.
    claim: QM31,
    /// `t(0)` of the first round.
    start: QM31,
    point: &'a [QM31],
    /// What it takes to go on with the transcript elsewhere.
    rounds: Option<Rounds>,
}

/// What is known between two layers.
struct Layers {
    /// The claim on the layer as it has been sent.
    claim: (QM31, QM31),
    point: Vec<QM31>,
    /// The fraction at the point with its highest coordinate at zero, as it is.
    start: (QM31, QM31),
}

impl Layers {
    /// Reduces the claim to one on the next layer, by a sumcheck.
    fn prove<S: BulkHash, T: Sumcheck>(
        &mut self,
        channel: &mut Channel<'_, S>,
        begin: impl FnOnce(Begin<'_>) -> Result<T, Error>,
    ) -> Result<T::Room, Error> {
        let lambda = channel.challenge(Label::LookupLambda);
        let (numerator, denominator) = self.claim;
        let mut claim = numerator + lambda * denominator;
        let point = &self.point;
        let start = self.start.0 + lambda * self.start.1;
        let rounds = channel.rounds(Label::LookupRound, Label::LookupRound);
        let mut sumcheck = begin(Begin { lambda, claim, start, point, rounds })?;
        let mut next: Vec<QM31> = Vec::new();
        for j in (0..point.len()).rev() {
            let (t0, t2) = sumcheck.round();
            // (1 - z) t(0) + z t(1) = claim gives t(1), unless z = 0, which no challenge is.
            let z: QM31 = point[j];
            let t1 = (claim - t0) * z.inverse().unwrap_or(QM31::ONE) - t2;
            let message = channel.send(Label::LookupRound, [t1, t2]);
            let r = channel.challenge(Label::LookupRound);
            claim = univariate(&round(claim, z, message), r);
            sumcheck.bind(r, &point[..j.saturating_sub(1)])?;
            next.push(r);
        }
        next.reverse();
        let (children, room) = sumcheck.finish();
        let ends = channel.send(Label::LookupLayer, children);
        let top = channel.challenge(Label::LookupLayer);
        next.push(top);
        self.claim = merge(ends, top);
        self.start = (children[0], children[2]);
        self.point = next;
        Ok(room)
    }
}

/// Leaves what the leaves' values at a point say about the columns.
fn claim(
    protocol: &Protocol,
    lists: &[Vec<u32>],
    challenges: Challenges,
    point: &[QM31],
    [numerator, denominator]: [QM31; 2],
    claims: &mut Claims,
) {
    let columns = &protocol.declared.columns;
    claims.points.lookup = point.to_vec();
    claims.value(COUNTS, -numerator);
    claims.value(ROWS, QM31::ONE - denominator);
    let mut fractions = Fractions::new(&protocol.leaves, challenges, point);
    for lookup in protocol.circuit.lookups.iter().map(Lookup::looked) {
        let weight = fractions.lookup(lookup);
        claims.value(COUNTS, weight);
        claims.value(ROWS, weight * fractions.lookup_value(lookup, lists));
        fractions.lookup_terms(columns, lookup, weight, claims);
    }
    for (index, table) in protocol.circuit.tables.iter().enumerate() {
        let weight = fractions.table(table);
        claims.value(ROWS, weight * fractions.table_value(index, table));
        fractions.table_terms(columns, table, weight, claims);
    }
}

/// What a block of leaves belongs to.
#[derive(Clone, Copy)]
enum Source {
    /// A lookup, by index: numerators one.
    Lookup(usize),
    /// A table, by index: numerators minus the multiplicities.
    Table(usize),
}

/// All blocks of leaves as they lie, with the log of their size.
fn blocks(protocol: &Protocol) -> Vec<(u32, Source)> {
    let (mut lookups, mut tables) = (Sizes::default(), Sizes::default());
    let mut blocks: Vec<(u64, u32, Source)> = Vec::new();
    for (index, lookup) in protocol.circuit.lookups.iter().enumerate() {
        let log = lookup.shape.log_size();
        blocks.push((protocol.leaves.lookup(log, lookups.push(log)), log, Source::Lookup(index)));
    }
    for (index, table) in protocol.circuit.tables.iter().enumerate() {
        let log = table.bits;
        blocks.push((protocol.leaves.table(log, tables.push(log)), log, Source::Table(index)));
    }
    blocks.sort_by_key(|block| block.0);
    blocks.into_iter().map(|(_, log, source)| (log, source)).collect()
}

/// The fractions of all blocks.
fn leaves<'a>(
    protocol: &'a Protocol,
    trace: &'a Trace,
    matrices: [Option<&'a Matrix>; 4],
    challenges: Challenges,
) -> Leaves<'a> {
    let circuit = &protocol.circuit;
    let widest = circuit.tables.iter().map(|t| t.components.len()).max().unwrap_or(0);
    let alphas = powers(challenges.alpha, widest + 1);
    let there = |id| {
        let (matrix, cells) = on_gpu(protocol, trace, matrices, id)?;
        Some(There { matrix, cells })
    };
    let mut leaves = Leaves::new(protocol.leaves.depth);
    let (mut few_p, mut few_q) = (Vec::new(), Vec::new());
    for (log_size, source) in blocks(protocol) {
        let len = 1usize << log_size;
        let (table, components, counts) = match source {
            Source::Lookup(i) => {
                let lookup = &circuit.lookups[i];
                let forms = lookup.forms.iter().map(|form| numbers_of(circuit, trace, form, lookup.shape));
                (lookup.table as usize, forms.collect::<Vec<_>>(), None)
            }
            Source::Table(i) => {
                let table = &circuit.tables[i];
                let numbers = table.components.iter().map(|c| (0, 1, rows_of(trace, table, *c)));
                let id = table.multiplicity;
                let numerators = trace.columns[id.0 as usize].as_slice();
                (i, numbers.collect(), Some(Counts { numbers: numerators, there: there(id) }))
            }
        };
        // beta - tag - sum_k alpha^k (constant_k + factor_k numbers_k)
        let mut constant = challenges.beta - tag_of(table);
        let mut terms = Vec::new();
        for ((known, factor, Made { numbers, column }), &alpha) in components.into_iter().zip(&alphas[1..]) {
            constant -= alpha * QM31::from_i64(known);
            let there = column.and_then(there);
            terms.push(Term { factor: -alpha * QM31::from_i64(factor), numbers, there });
        }
        if log_size >= LOG_LANES {
            leaves.push(constant, terms, counts, len);
            continue;
        }
        for i in 0..len {
            few_p.push(counts.as_ref().map_or(QM31::ONE, |c| -QM31::from_i64(c.numbers[i].into())));
            let sum: QM31 = terms.iter().map(|term| term.factor * term.numbers.at(i)).sum();
            few_q.push(constant + sum);
        }
    }
    if !few_q.is_empty() {
        leaves.push_given(few_p, few_q);
    }
    leaves
}

/// A form as `constant + factor * numbers`.
fn numbers_of<'a>(circuit: &Circuit, trace: &'a Trace, form: &Form, shape: Shape) -> (i64, i64, Made<'a>) {
    if let ([(factor, id)], []) = (&form.terms[..], &form.indicators[..]) {
        let own = circuit.column(*id).shape;
        if (own.log_rows(), own.log_cols()) == (shape.log_rows(), shape.log_cols()) {
            return (form.constant, *factor, column(trace, *id));
        }
    }
    (0, 1, Made { numbers: Numbers::of_form(&form_values(circuit, trace, form, shape)), column: None })
}

/// Numbers, and the column that they are, if they are one.
struct Made<'a> {
    numbers: Numbers<'a>,
    column: Option<ColumnId>,
}

/// A column as it is stored.
fn column(trace: &Trace, id: ColumnId) -> Made<'_> {
    let numbers = match trace.cells(id) {
        Cells::Narrow(cells) => Numbers::Narrow(cells),
        Cells::Wide(cells) => Numbers::Wide(cells),
    };
    Made { numbers, column: Some(id) }
}

/// A component of all rows of a table.
fn rows_of<'a>(trace: &'a Trace, table: &LookupTable, component: Component) -> Made<'a> {
    let half = (1i32 << table.bits) / 2;
    let rows = 0..1i32 << table.bits;
    let signed = rows.clone().map(|row| row.max(1) - half);
    let numbers = match component {
        Component::Index { low } => rows.map(|row| (low + i64::from(row)) as i32).collect(),
        Component::Signed => signed.collect(),
        Component::Magnitude => signed.map(i32::abs).collect(),
        Component::Unit { at } => rows.map(|row| i32::from(row as u32 == at)).collect(),
        Component::First(id) => {
            let mut cells: Vec<i32> = match trace.cells(id) {
                Cells::Narrow(cells) => cells.iter().map(|&cell| cell.into()).collect(),
                Cells::Wide(cells) => cells.to_vec(),
            };
            cells.resize(1 << table.bits, 0);
            cells
        }
        Component::Column(id) => return column(trace, id),
    };
    Made { numbers: Numbers::Owned(numbers), column: None }
}
