//! Cheating provers who keep the verifier's books: after a lie they send messages that fit it, down to where it meets
//! what was committed before.

use circlet::prove::adversary::Adversary;
use circlet_core::field::QM31;
use circlet_core::lookup::{merge, round as lookup_round, summand};
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{Point, round as relation_round};
use circlet_core::transcript::Label;

/// Keeps the books of the lookup stage and answers each layer's end with a numerator that fits its claim.
pub struct LookupLiar {
    point: Vec<QM31>,
    next: Vec<QM31>,
    claim: QM31,
    numerator: QM31,
    denominator: QM31,
    lambda: QM31,
    children: [QM31; 4],
    message: [QM31; 2],
    /// How often it had to lie.
    pub lies: usize,
}

impl Default for LookupLiar {
    fn default() -> Self {
        Self::new()
    }
}

impl LookupLiar {
    /// A liar.
    pub fn new() -> Self {
        let zero = QM31::ZERO;
        Self {
            point: Vec::new(),
            next: Vec::new(),
            claim: zero,
            numerator: zero,
            denominator: zero,
            lambda: zero,
            children: [zero; 4],
            message: [zero; 2],
            lies: 0,
        }
    }
}

impl Adversary for LookupLiar {
    fn message(&mut self, label: Label, message: &mut [QM31]) {
        match label {
            Label::LookupRoot => self.denominator = message[0],
            Label::LookupRound => self.message = [message[0], message[1]],
            Label::LookupLayer => {
                let [p0, p1, q0, q1] = [message[0], message[1], message[2], message[3]];
                let fitting =
                    (self.claim - q0 * (p1 + self.lambda * q1)) * q1.inverse().expect("no pole at the point");
                self.lies += usize::from(fitting != p0);
                message[0] = fitting;
                self.children = [fitting, p1, q0, q1];
                assert_eq!(summand(self.children, self.lambda), self.claim);
            }
            _ => {}
        }
    }

    fn challenge(&mut self, label: Label, challenge: QM31) {
        match label {
            Label::LookupLambda => {
                self.lambda = challenge;
                self.claim = self.numerator + challenge * self.denominator;
                self.next.clear();
            }
            Label::LookupRound => {
                let z = self.point[self.point.len() - 1 - self.next.len()];
                self.claim = univariate(&lookup_round(self.claim, z, self.message), challenge);
                self.next.push(challenge);
            }
            Label::LookupLayer => {
                (self.numerator, self.denominator) = merge(self.children, challenge);
                self.next.reverse();
                self.next.push(challenge);
                self.point = std::mem::take(&mut self.next);
            }
            _ => {}
        }
    }
}

/// Keeps the books of the relation stage; its last message makes the last claim true.
pub struct RelationLiar<'a> {
    protocol: &'a Protocol,
    rows: Vec<QM31>,
    cols: Vec<QM31>,
    gamma: QM31,
    claim: QM31,
    message: [QM31; 3],
    bound: Vec<QM31>,
    /// Added to the claimed sum of all products.
    excess: QM31,
    /// The operand that is adjusted.
    operand: usize,
}

impl<'a> RelationLiar<'a> {
    /// A liar about the sum, by `excess`, and about this operand.
    pub fn new(protocol: &'a Protocol, excess: QM31, operand: usize) -> Self {
        let zero = QM31::ZERO;
        Self {
            protocol,
            rows: Vec::new(),
            cols: Vec::new(),
            gamma: zero,
            claim: zero,
            message: [zero; 3],
            bound: Vec::new(),
            excess,
            operand,
        }
    }
}

impl Adversary for RelationLiar<'_> {
    fn message(&mut self, label: Label, message: &mut [QM31]) {
        match label {
            Label::RelationClaim => {
                message[0] += self.excess;
                self.claim = message[0];
            }
            Label::RelationRound => self.message = [message[0], message[1], message[2]],
            Label::RelationEvals => {
                let point = Point {
                    rows: self.rows.clone(),
                    cols: self.cols.clone(),
                    gammas: powers(self.gamma, self.protocol.circuit.relations.len()),
                };
                let mut bound = self.bound.clone();
                bound.reverse();
                let reduction = &self.protocol.reduction;
                let mut at = |value: QM31| {
                    message[self.operand] = value;
                    reduction.expected(&point, &bound, message)
                };
                let (zero, one) = (at(QM31::ZERO), at(QM31::ONE));
                let slope = (one - zero).inverse().expect("a generic slope");
                message[self.operand] = (self.claim - zero) * slope;
                assert_eq!(reduction.expected(&point, &bound, message), self.claim);
            }
            _ => {}
        }
    }

    fn challenge(&mut self, label: Label, challenge: QM31) {
        match label {
            Label::RelationPoint if self.rows.len() < self.protocol.reduction.row_variables as usize => {
                self.rows.push(challenge);
            }
            Label::RelationPoint => self.cols.push(challenge),
            Label::RelationBatch => self.gamma = challenge,
            Label::RelationChallenge => {
                self.claim = univariate(&relation_round(self.claim, self.message), challenge);
                self.bound.push(challenge);
            }
            _ => {}
        }
    }
}

/// Makes the message of the opening fit a false claim at one of the points where it could.
pub struct OpeningLiar<'a> {
    protocol: &'a Protocol,
    when: Option<Label>,
    changed: Option<(usize, QM31)>,
    level: u32,
}

impl<'a> OpeningLiar<'a> {
    /// A liar before the first message with this label.
    pub fn new(protocol: &'a Protocol, when: Label) -> Self {
        Self { protocol, when: Some(when), changed: None, level: 0 }
    }
}

impl Adversary for OpeningLiar<'_> {
    fn remaining(&mut self, label: Label, message: &mut [QM31], weight: &[QM31], claim: QM31) {
        if self.when != Some(label) {
            return;
        }
        self.when = None;
        let product: QM31 = message.iter().zip(weight).map(|(&m, &w)| m * w).sum();
        assert_ne!(product, claim, "the claim is true");
        let at = weight.iter().position(|&w| w != QM31::ZERO).expect("some weight");
        let change = (claim - product) * weight[at].inverse().expect("a weight that is not zero");
        message[at] += change;
        self.changed = Some((at, change));
    }

    fn word(&mut self, _: Label, word: &mut [QM31]) {
        let Some((at, change)) = self.changed.take() else {
            self.level += 4;
            return;
        };
        let bits: Vec<u32> = (0..usize::BITS).filter(|j| at >> j & 1 == 1).collect();
        for (position, value) in (0u32..).zip(word.iter_mut()) {
            let coordinate = |&j: &u32| self.protocol.domain.coordinate(self.level + j, position >> j);
            *value += bits.iter().map(coordinate).fold(change, |product, t| product * t);
        }
        self.level += 4;
    }
}
