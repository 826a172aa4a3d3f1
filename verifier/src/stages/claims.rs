//! The claims about columns that the lookup and relation stages leave, in two passes over the circuit: what their values
//! are, and, once the opening has ended in a point, what their weight is there.
//!
//! Each pass spells the circuit out again, so that nothing of it need be kept.

use alloc::vec::Vec;

use circlet_core::circuit::{Columns, Declared, Gather, Looked, Pick, Reader, Relation, Source, Wiring};
use circlet_core::claims::{Numbers, Points};
use circlet_core::field::{M31, QM31};
use circlet_core::lookup::Fractions;
use circlet_core::pin;
use circlet_core::protocol::Outline;
use circlet_core::relations::{Operands, Weights, known, known_of, linear_terms, operand_terms, read};
use circlet_core::stacking::Stacking;
use circlet_core::weight::Weight;
use circlet_core::wiring::{gather_terms, pick_terms, public_terms, wiring_terms};

use super::{lookup, relation};
use crate::{Reject, Stage};

/// The values of all claims but those about public tensors and the pin; gathers, picks and wirings have zero.
pub struct Values {
    counts: QM31,
    rows: QM31,
    linear: QM31,
    operands: Vec<QM31>,
}

impl Values {
    /// The value of the batched claim, `sum_i mu^i v_i`.
    pub fn batched(&self, numbers: &Numbers, publics: &[QM31], pin: Option<QM31>, mu: QM31) -> QM31 {
        let late = publics.iter().chain(&pin).rev().fold(QM31::ZERO, |sum, &v| sum * mu + v);
        let zeros = numbers.gathers + numbers.picks + numbers.wirings;
        let late = late * mu.pow(u128::from(zeros));
        let early = [self.counts, self.rows, self.linear];
        early.iter().chain(&self.operands).rev().fold(late, |sum, &v| sum * mu + v)
    }
}

/// The values of claims, and what the operands make of the sumcheck's summand.
struct Evaluate<'a> {
    fractions: Fractions<'a>,
    points: &'a Points,
    lists: &'a [Vec<u32>],
    gamma: QM31,
    /// The power of `gamma` that the next relation has.
    power: QM31,
    operands: Operands,
    weights: Weights,
    values: Values,
    summand: QM31,
}

impl Reader for Evaluate<'_> {
    fn op(&mut self) {
        for (number, operand) in self.operands.op() {
            if let Some(value) = self.values.operands.get_mut(number as usize) {
                *value -= known_of(&operand);
            }
        }
    }

    fn lookup(&mut self, _: &Declared, lookup: Looked<'_>) {
        let weight = self.fractions.lookup(lookup);
        self.values.counts += weight;
        self.values.rows += weight * self.fractions.lookup_value(lookup, self.lists);
    }

    fn relation(&mut self, _: &Declared, relation: Relation) {
        let mut sum = QM31::ZERO;
        for product in &relation.value.products {
            let (meeting, operands) = read(product);
            let mut value = self.weights.get(&meeting, self.points) * M31::from_i64(product.coefficient);
            for operand in operands {
                let (number, _) = self.operands.number(operand);
                value *= self.values.operands.get(number as usize).copied().unwrap_or_default();
            }
            sum += value;
        }
        self.summand += self.power * sum;
        self.values.linear -= self.power * known(&relation, self.lists, self.points);
        self.power *= self.gamma;
    }

    fn wiring(&mut self, _: &Declared, _: Wiring) {}

    fn gather(&mut self, _: &Declared, _: Gather) {}

    fn pick(&mut self, _: &Declared, _: Pick) {}
}

/// The values of all claims that two stages leave, if the second one's sumcheck has ended in what they say.
pub fn values(
    outline: &mut Outline,
    circuit: &dyn Source,
    lists: &[Vec<u32>],
    points: &Points,
    fractions: &lookup::Ends,
    sumcheck: relation::Ends,
) -> Result<Values, Reject> {
    let columns = core::mem::take(&mut outline.declared.columns);
    let mut evaluate = Evaluate {
        fractions: Fractions::new(&outline.leaves, fractions.challenges, &points.lookup),
        points,
        lists,
        gamma: sumcheck.gamma,
        power: QM31::ONE,
        operands: Operands::default(),
        weights: Weights::new(outline.extent.rounds),
        values: Values {
            counts: -fractions.numerator,
            rows: QM31::ONE - fractions.denominator,
            linear: -sumcheck.products,
            operands: sumcheck.values,
        },
        summand: QM31::ZERO,
    };
    let declared = circuit.read(columns, &mut evaluate).map_err(Reject::Key)?;
    evaluate.op();
    for (index, table) in declared.tables.iter().enumerate() {
        let weight = evaluate.fractions.table(table);
        evaluate.values.rows += weight * evaluate.fractions.table_value(index, table);
    }
    let Evaluate { values, summand, .. } = evaluate;
    outline.declared = declared;
    if summand == sumcheck.claim { Ok(values) } else { Err(Reject::FinalClaim(Stage::Relation)) }
}

/// What the terms of all claims are made of.
pub struct Batch<'a> {
    /// The lists of the statement.
    pub lists: &'a [Vec<u32>],
    /// The points of all stages.
    pub points: &'a Points,
    /// The end of the fraction tree.
    pub fractions: &'a lookup::Ends,
    /// Batches the relations.
    pub gamma: QM31,
    /// Batches the entries of wirings and public tensors.
    pub theta: QM31,
    /// Batches the claims.
    pub mu: QM31,
}

/// The weight of claims.
struct Weigh<'a> {
    weight: Weight<'a>,
    fractions: Fractions<'a>,
    batch: &'a Batch<'a>,
    /// The power of `gamma` that the next relation has.
    power: QM31,
    operands: Operands,
    /// Numbers of the next gather, pick and wiring.
    next: [u32; 3],
}

impl Weigh<'_> {
    fn next(&mut self, sort: usize) -> u32 {
        let Some(next) = self.next.get_mut(sort) else { return u32::MAX };
        let claim = *next;
        *next += 1;
        claim
    }
}

impl Reader for Weigh<'_> {
    fn op(&mut self) {
        self.operands.op().for_each(drop);
    }

    fn lookup(&mut self, declared: &Declared, lookup: Looked<'_>) {
        let weight = self.fractions.lookup(lookup);
        self.fractions.lookup_terms(&declared.columns, lookup, weight, &mut self.weight);
    }

    fn relation(&mut self, declared: &Declared, relation: Relation) {
        let columns = &declared.columns;
        linear_terms(columns, &relation, self.power, &mut self.weight);
        self.power *= self.batch.gamma;
        for product in &relation.value.products {
            for operand in read(product).1 {
                let (number, new) = self.operands.number(operand.clone());
                if new {
                    operand_terms(columns, number, &operand, &mut self.weight);
                }
            }
        }
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

/// The multilinear extension of the weight of all claims at a point of the stacked vector.
pub fn weight(
    outline: &mut Outline,
    circuit: &dyn Source,
    batch: &Batch<'_>,
    end: &[QM31],
) -> Result<QM31, Reject> {
    let columns: Columns = core::mem::take(&mut outline.declared.columns);
    let (stacking, numbers): (&Stacking, &Numbers) = (&outline.stacking, &outline.numbers);
    let mut weigh = Weigh {
        weight: Weight::new(batch.points, numbers, stacking, batch.mu, end),
        fractions: Fractions::new(&outline.leaves, batch.fractions.challenges, &batch.points.lookup),
        batch,
        power: QM31::ONE,
        operands: Operands::default(),
        next: [numbers.first_gather(), numbers.first_pick(), numbers.first_wiring()],
    };
    let declared = circuit.read(columns, &mut weigh).map_err(Reject::Key)?;
    let Weigh { mut weight, mut fractions, .. } = weigh;
    let columns = &declared.columns;
    for table in &declared.tables {
        let own = fractions.table(table);
        fractions.table_terms(columns, table, own, &mut weight);
    }
    for (claim, public) in (numbers.first_public()..).zip(declared.inputs.iter().chain(&declared.outputs)) {
        public_terms(columns, claim, public, batch.theta, &mut weight);
    }
    if outline.pinned() {
        pin::terms(columns, stacking, numbers.pin(), &batch.points.pin, &mut weight);
    }
    let total = weight.total();
    outline.declared = declared;
    Ok(total)
}
