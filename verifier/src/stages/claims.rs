//! The claims about columns that the lookup and relation stages leave: their values, and their weight at the point in which
//! the opening has ended.
//!
//! One pass over the circuit gives both. It spells the circuit out once more, so that nothing of it need be kept.

use alloc::vec::Vec;

use circlet_core::circuit::{Declared, Gather, Looked, Pick, Reader, Relation, Source, Wiring};
use circlet_core::claims::{OPERANDS, Points};
use circlet_core::field::{M31, QM31};
use circlet_core::hash::Trees;
use circlet_core::lookup::Fractions;
use circlet_core::pin;
use circlet_core::poly::univariate;
use circlet_core::protocol::Outline;
use circlet_core::relations::{Operands, Sums, known, known_of, linear_terms, operand_terms, read};
use circlet_core::transcript::Promise;
use circlet_core::weight::Weight;
use circlet_core::wiring::{gather_terms, pick_terms, public_terms, wiring_terms};

use super::{lookup, relation};
use crate::channel::Channel;
use crate::{Reject, Stage};

/// What the claims are made of, and the end of the opening.
pub struct Batch<'a> {
    /// The lists of the statement.
    pub lists: &'a [Vec<u32>],
    /// The points of all stages.
    pub points: &'a Points,
    /// The end of the fraction tree.
    pub fractions: &'a lookup::Ends,
    /// Batches the entries of wirings and public tensors.
    pub theta: QM31,
    /// The values of public tensors.
    pub publics: &'a [QM31],
    /// The value of the fixed columns at the key's point, where the key pins them.
    pub pin: Option<QM31>,
    /// Batches the claims.
    pub mu: QM31,
    /// Where the opening has ended.
    pub end: &'a [QM31],
}

/// All claims, batched.
pub struct Batched {
    /// Their value: `sum_i mu^i v_i`.
    pub value: QM31,
    /// The multilinear extension of their weight at the end of the opening.
    pub weight: QM31,
}

/// Values of operands that are read at once.
const BLOCK: usize = 16;

/// The claims as they come.
struct Collect<'a, 'r> {
    batch: &'a Batch<'a>,
    fractions: Fractions<'a>,
    weight: Weight<'a>,
    operands: Operands,
    /// What the operands make of the sumcheck's summand.
    products: Sums,
    gamma: QM31,
    /// The power of `gamma` that the next relation has.
    power: QM31,
    /// Values of the claims about multiplicities, fingerprints and linear parts.
    early: [QM31; 3],
    /// Fills what it is given with the operands' next values, as they come.
    read: &'r mut dyn FnMut(&mut [QM31]) -> Result<(), Reject>,
    /// How many of them have not been read.
    unread: u32,
    /// Those that were read and not yet used: the last ones.
    ready: [QM31; BLOCK],
    used: usize,
    /// Values of the op's operands, from this number on.
    values: Vec<QM31>,
    first: u32,
    /// The sum of the values of operands' claims.
    claimed: QM31,
    /// What has gone wrong with a value.
    fault: Option<Reject>,
    /// Numbers of the next gather, pick and wiring. Their claims have the value zero.
    next: [u32; 3],
}

impl Collect<'_, '_> {
    fn next(&mut self, sort: usize) -> u32 {
        let Some(next) = self.next.get_mut(sort) else { return u32::MAX };
        let claim = *next;
        *next += 1;
        claim
    }

    fn value(&mut self) -> QM31 {
        if self.used == BLOCK {
            // Fewer in the end; a circuit that asks for more than there are would get zeros.
            let len = self.unread.min(BLOCK as u32);
            self.unread = self.unread.saturating_sub(len);
            self.used = BLOCK - len as usize;
            self.ready = [QM31::ZERO; BLOCK];
            let block = self.ready.get_mut(self.used..).unwrap_or_default();
            if self.fault.is_none() {
                self.fault = (self.read)(block).err();
            }
        }
        let value = self.ready.get(self.used).copied().unwrap_or_default();
        self.used = (self.used + 1).min(BLOCK);
        value
    }
}

impl Reader for Collect<'_, '_> {
    fn op(&mut self) {
        self.operands.op().for_each(drop);
        self.values.clear();
        self.first = self.operands.count();
    }

    fn lookup(&mut self, declared: &Declared, lookup: Looked<'_>) {
        let weight = self.fractions.lookup(lookup);
        let [counts, rows, _] = &mut self.early;
        *counts += weight;
        *rows += weight * self.fractions.lookup_value(lookup, self.batch.lists);
        self.fractions.lookup_terms(&declared.columns, lookup, weight, &mut self.weight);
    }

    fn relation(&mut self, declared: &Declared, relation: &Relation) {
        let columns = &declared.columns;
        linear_terms(columns, relation, self.power, &mut self.weight);
        for product in &relation.value.products {
            let (meeting, operands) = read(product);
            let mut value = self.power * M31::from_i64(product.coefficient);
            for operand in &operands {
                let (number, new) = self.operands.number(operand);
                if new {
                    operand_terms(columns, number, operand, &mut self.weight);
                    let value = self.value();
                    self.values.push(value);
                    self.claimed += self.weight.power(OPERANDS + number) * (value - known_of(operand));
                }
                let place = number.wrapping_sub(self.first) as usize;
                value *= self.values.get(place).copied().unwrap_or_default();
            }
            self.products.add(&meeting, value);
        }
        if let Some(known) = known(relation, self.batch.lists, self.batch.points) {
            let [_, _, linear] = &mut self.early;
            *linear -= self.power * known;
        }
        self.power *= self.gamma;
    }

    fn gather(&mut self, declared: &Declared, gather: Gather) {
        let claim = self.next(0);
        gather_terms(&declared.columns, claim, &gather, self.batch.lists, &mut self.weight);
    }

    fn pick(&mut self, declared: &Declared, pick: Pick) {
        let claim = self.next(1);
        let Batch { lists, points, .. } = *self.batch;
        pick_terms(&declared.columns, claim, &pick, lists, points, &mut self.weight);
    }

    fn wiring(&mut self, declared: &Declared, wiring: Wiring) {
        let claim = self.next(2);
        wiring_terms(&declared.columns, claim, &wiring, self.batch.theta, &mut self.weight);
    }
}

/// Collects all claims, if the sumcheck of the relation stage has ended in what they say of its operands.
pub fn collect<T: Trees>(
    outline: &mut Outline,
    circuit: &dyn Source,
    channel: &mut Channel<'_, T>,
    batch: &Batch<'_>,
    sumcheck: &relation::Ends,
) -> Result<Batched, Reject> {
    let mut promise = Promise::default();
    let columns = core::mem::take(&mut outline.declared.columns);
    let (stacking, numbers) = (&outline.stacking, &outline.numbers);
    let relation::Ends { gamma, products, claim, .. } = *sumcheck;
    let mut read = |out: &mut [QM31]| channel.promised(&mut promise, out);
    let mut all = Collect {
        batch,
        fractions: Fractions::new(&outline.leaves, batch.fractions.challenges, &batch.points.lookup),
        weight: Weight::new(batch.points, numbers, stacking, batch.mu, batch.end),
        operands: Operands::default(),
        products: Sums::default(),
        gamma,
        power: QM31::ONE,
        early: [-batch.fractions.numerator, QM31::ONE - batch.fractions.denominator, -products],
        read: &mut read,
        unread: numbers.operands,
        ready: [QM31::ZERO; BLOCK],
        used: BLOCK,
        values: Vec::new(),
        first: 0,
        claimed: QM31::ZERO,
        fault: None,
        next: [numbers.first_gather(), numbers.first_pick(), numbers.first_wiring()],
    };
    let declared = circuit.read(columns, &mut all).map_err(Reject::Key)?;
    let Collect { mut weight, mut fractions, products, mut early, claimed, fault, .. } = all;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if promise.digest() != sumcheck.promise {
        return Err(Reject::Promise(Stage::Relation));
    }
    if products.total(outline.extent.rounds, batch.points) != claim {
        return Err(Reject::FinalClaim(Stage::Relation));
    }
    let columns = &declared.columns;
    for (index, table) in declared.tables.iter().enumerate() {
        let own = fractions.table(table);
        let [_, rows, _] = &mut early;
        *rows += own * fractions.table_value(index, table);
        fractions.table_terms(columns, table, own, &mut weight);
    }
    for (claim, public) in (numbers.first_public()..).zip(declared.inputs.iter().chain(&declared.outputs)) {
        public_terms(columns, claim, public, batch.theta, &mut weight);
    }
    if batch.pin.is_some() {
        pin::terms(columns, stacking, numbers.pin(), &batch.points.pin, &mut weight);
    }
    // The claims about public tensors and the pin come after others whose value is zero.
    let late = weight.power(numbers.first_public()) * univariate(batch.publics, batch.mu)
        + weight.power(numbers.pin()) * batch.pin.unwrap_or_default();
    let value = univariate(&early, batch.mu) + claimed + late;
    let weight = weight.total(fractions.alphas());
    outline.declared = declared;
    Ok(Batched { value, weight })
}
