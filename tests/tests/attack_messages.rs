//! Lies in the prover's messages: everything after them is computed as if they were true.

use circlet::execute::Trace;
use circlet::prove::adversary::Adversary;
use circlet_core::field::QM31;
use circlet_core::key::Statement;
use circlet_core::lookup::{merge, round as lookup_round, summand};
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{Point, round as relation_round};
use circlet_core::transcript::{Label, Transcript};
use circlet_tests::attack::Change;
use circlet_tests::cheat::{Bench, Lie, Suite, TOY, sections};
use circlet_tests::programs;
use circlet_verifier::channel::Channel;
use circlet_verifier::{Reject, Stage};

fn stage(label: Label) -> Stage {
    match label {
        Label::LookupRoot | Label::LookupRound | Label::LookupLayer => Stage::Lookup,
        Label::RelationClaim | Label::RelationRound | Label::RelationEvals => Stage::Relation,
        _ => Stage::Opening,
    }
}

/// Every element of every message, changed by itself.
#[test]
fn every_message_counts() {
    let bench = Bench::new(programs::matmul(), TOY);
    let mut messages = Vec::new();
    let recorded =
        bench.lie(&mut Lie::new(|label, index, message| messages.push((label, index, message.len()))));
    assert_eq!(recorded, Ok(()));
    let labels: std::collections::BTreeSet<Label> = messages.iter().map(|m| m.0).collect();
    assert_eq!(labels.len(), 8, "{labels:?}");
    for (label, index, len) in messages {
        for element in (0..len).step_by(len.div_ceil(8)) {
            let mut lie = Lie::new(|l, i, message: &mut [QM31]| {
                if (l, i) == (label, index) {
                    message[element] += QM31::ONE;
                }
            });
            let verdict = bench.lie(&mut lie);
            assert_eq!(verdict, Err(Reject::FinalClaim(stage(label))), "{label:?} {index} {element}");
        }
    }
}

/// What was absorbed is not what is sent: all challenges after it differ.
#[test]
fn every_message_is_absorbed() {
    let bench = Bench::new(programs::matmul(), TOY);
    let proof = bench.proof();
    let parts = sections(&bench.key.protocol, proof.len());
    for part in &parts[..parts.len() - 1] {
        let mut changed = proof.clone();
        changed[part.start + part.len / 2] ^= 1;
        let verdict = bench.verify(&bench.statement, &changed);
        let stages: &[Stage] = match part.label {
            Label::WitnessRoot | Label::Nonce => &[Stage::Lookup, Stage::Relation, Stage::Opening],
            Label::FoldedRoot => &[Stage::Opening],
            label => &[stage(label)],
        };
        // Work is checked before the relation stage's last claim, which waits for the evaluations.
        let before_work =
            stage(part.label) == Stage::Relation || matches!(part.label, Label::WitnessRoot | Label::Nonce);
        let work = before_work && verdict == Err(Reject::Work);
        let promise = part.label == Label::RelationEvals && verdict == Err(Reject::Promise(Stage::Relation));
        // The last nonce decides the positions only.
        let answers = matches!(verdict, Err(Reject::MerklePath | Reject::TooShort | Reject::NonCanonical));
        let last = part.label == Label::Nonce && part.start > proof.len() / 4 && answers;
        let claim = stages.iter().any(|&s| verdict == Err(Reject::FinalClaim(s)));
        assert!(work || last || claim || promise, "{part:?}: {verdict:?}");
    }
}

#[test]
fn roots_and_children() {
    let bench = Bench::new(programs::matmul(), TOY);
    let zero = &mut Lie::new(|label, _, message| {
        if label == Label::LookupRoot {
            message[0] = QM31::ZERO;
        }
    });
    assert_eq!(bench.lie(zero), Err(Reject::ZeroDenominator));
    for layer in 0..bench.key.protocol.leaves.depth as usize {
        for (i, j) in [(0, 1), (2, 3), (0, 2)] {
            let mut swapped = Lie::new(|label, index, message: &mut [QM31]| {
                if label == Label::LookupLayer && index == layer {
                    message.swap(i, j);
                }
            });
            // The first layer is symmetric in the two halves up to their sum.
            let verdict = bench.lie(&mut swapped);
            assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Lookup)), "layer {layer}: {i} and {j}");
        }
    }
}

/// Keeps the books of the lookup stage and answers each layer's end with a numerator that fits its claim.
struct LookupLiar {
    point: Vec<QM31>,
    next: Vec<QM31>,
    claim: QM31,
    numerator: QM31,
    denominator: QM31,
    lambda: QM31,
    children: [QM31; 4],
    message: [QM31; 2],
    lies: usize,
}

impl LookupLiar {
    fn new() -> Self {
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

/// A false lookup whose missing fraction is hidden in every layer down to the leaves.
#[test]
fn false_lookup_carried_to_the_leaves() {
    let bench = Bench::new(programs::mlp(), TOY);
    let column = bench.column("requantize.remainder");
    let shape = bench.key.circuit().column(column).shape;
    let mut trace = bench.trace.clone();
    trace.columns[column.0 as usize][shape.size() - 1] += 1 << 20;
    assert_eq!(bench.judge(&trace), Err(Reject::FinalClaim(Stage::Lookup)));
    let mut liar = LookupLiar::new();
    assert_eq!(bench.judge_with(&trace, &mut liar), Err(Reject::FinalClaim(Stage::Opening)));
    assert_eq!(liar.lies, bench.key.protocol.leaves.depth as usize);

    // The same stands against a value outside of a table, whatever the multiplicities: some that sum up right,
    // and a false one for the row next to it.
    let table = &bench.key.circuit().tables[0];
    for row in [0, 31] {
        let mut trace = trace.clone();
        circlet::execute::count_multiplicities(bench.key.circuit(), &mut trace);
        trace.columns[table.multiplicity.0 as usize][row] += 1;
        let proof = circlet::prove::prove_trace(&bench.key, &trace, &bench.statement, &mut LookupLiar::new());
        assert_eq!(bench.verify(&bench.statement, &proof), Err(Reject::FinalClaim(Stage::Opening)));
    }
}

/// Keeps the books of the relation stage; its last message makes the last claim true.
struct RelationLiar<'a> {
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

fn relation_liar(bench: &Bench, excess: QM31, operand: usize) -> RelationLiar<'_> {
    let zero = QM31::ZERO;
    RelationLiar {
        protocol: &bench.key.protocol,
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

/// A false sum of products that is carried through all rounds and hidden in the operands' values: each of
/// those is a claim of its own.
#[test]
fn false_products_carried_to_the_operands() {
    let bench = Bench::new(programs::mlp(), TOY);
    for operand in 0..bench.key.protocol.reduction.operands.len() {
        assert_eq!(bench.lie(&mut relation_liar(&bench, QM31::ZERO, operand)), Ok(()));
        let mut liar = relation_liar(&bench, QM31::ONE, operand);
        assert_eq!(bench.lie(&mut liar), Err(Reject::FinalClaim(Stage::Opening)), "operand {operand}");
    }
    // An output that is one larger, and a remainder that is smaller by the divisor; or the sum of products so
    // that all linear parts are as they should be.
    let output = bench.column("requantize.remainder");
    let mut trace = bench.trace.clone();
    trace.columns[output.0 as usize][0] ^= 1;
    assert_eq!(bench.judge(&trace), Err(Reject::FinalClaim(Stage::Opening)));
}

/// Operand values that keep all products.
#[test]
fn operands_scaled_against_each_other() {
    let bench = Bench::new(programs::product(), TOY);
    let term = &bench.key.protocol.reduction.terms[0];
    let mut lie = Lie::new(|label, _, message: &mut [QM31]| {
        if label == Label::RelationEvals {
            message[term.a] = message[term.a].double();
            for other in bench.key.protocol.reduction.terms.iter().filter(|t| t.a == term.a) {
                message[other.b] *= QM31::HALF;
            }
        }
    });
    assert_eq!(bench.lie(&mut lie), Err(Reject::FinalClaim(Stage::Opening)));
}

/// Makes the message of the opening fit a false claim at one of the points where it could.
struct OpeningLiar<'a> {
    protocol: &'a Protocol,
    when: (Label, usize),
    seen: usize,
    changed: Option<(usize, QM31)>,
    level: u32,
}

impl Adversary for OpeningLiar<'_> {
    fn remaining(&mut self, label: Label, message: &mut [QM31], weight: &[QM31], claim: QM31) {
        let here = (label, self.seen) == self.when;
        self.seen += usize::from(label == self.when.0);
        if !here {
            return;
        }
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

/// A forged output: the false claim is refuted at the end of the sumcheck; or, if the prover goes on with a
/// message that fits it, where that message meets what was committed before.
#[test]
fn forged_output_stage_by_stage() {
    let bench = Bench::new(deep(), TOY);
    let protocol = &bench.key.protocol;
    assert_eq!(protocol.schedule.layers, 2, "a program with two fold layers");
    let mut forged = bench.statement.clone();
    forged.outputs[0][1] -= forged.outputs[0][1].signum();
    let verdict = bench.claim(&forged, &mut Lie::new(|_, _, _| {}));
    assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Opening)));
    for (label, expected) in [
        (Label::FoldedRoot, Reject::RowCombination),
        (Label::FoldRoot, Reject::Fold),
        (Label::FinalMessage, Reject::FinalMessage),
    ] {
        let mut liar = OpeningLiar { protocol, when: (label, 0), seen: 0, changed: None, level: 0 };
        assert_eq!(bench.claim(&forged, &mut liar), Err(expected), "{label:?}");
    }
    // The honest statement, a word that is not the fold of the one before it.
    for (label, expected) in [(Label::FoldedRoot, Reject::RowCombination), (Label::FoldRoot, Reject::Fold)] {
        struct Word(Label);
        impl Adversary for Word {
            fn word(&mut self, label: Label, word: &mut [QM31]) {
                if label == self.0 {
                    for value in word {
                        *value += QM31::ONE;
                    }
                }
            }
        }
        assert_eq!(bench.lie(&mut Word(label)), Err(expected));
    }
}

/// A table so long that the opening folds twice.
fn deep() -> programs::Case {
    let mut b = programs::ProgramBuilder::new("deep");
    let x = b.input(1, 4, 127);
    let clamp = b.clamp(19, 127);
    let y = b.linear(x, 4, 15, 3, clamp);
    b.finish(&[y])
}

/// All that a forger of an output can do in the trace: change the output alone, the quotient with it, or the
/// remainder as well.
#[test]
fn forged_output_in_the_trace() {
    let bench = Bench::new(programs::matmul(), TOY);
    let (output, quotient) = (bench.column("t1"), bench.column("quotient"));
    let outputs = &bench.trace.columns[output.0 as usize];
    let cell = outputs.iter().position(|&y| y.abs() < 126).expect("an output that is not saturated");
    let mut trace = bench.trace.clone();
    trace.columns[output.0 as usize][cell] -= 1;
    assert_eq!(bench.judge(&trace), Err(Reject::FinalClaim(Stage::Lookup)));
    trace.columns[quotient.0 as usize][cell] -= 1;
    assert_eq!(bench.judge(&trace), Err(Reject::FinalClaim(Stage::Opening)));
    let follow: Trace = bench.changed(&[Change { column: quotient, cell, delta: -1 }]);
    assert_eq!(bench.judge(&follow), Err(Reject::FinalClaim(Stage::Lookup)));
    // An honest trace and another output in the statement.
    let mut statement: Statement = bench.statement.clone();
    statement.outputs[0][0] -= statement.outputs[0][0].signum();
    let verdict = bench.claim(&statement, &mut Lie::new(|_, _, _| {}));
    assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Opening)));
}

/// The channel, through which all messages go: every later challenge depends on all that is read, on its label,
/// and on nothing that is not read.
#[test]
fn channels_absorb_what_they_read() {
    type Read = fn(&mut Channel<'_, Suite>) -> Result<(), Reject>;
    let drawn = |read: Read, mut bytes: &[u8]| {
        let mut channel = Channel::<Suite>::new(Transcript::new(b"test"), &mut bytes);
        read(&mut channel).map(|()| channel.challenge(Label::LookupLambda))
    };
    let reads: [(Read, usize); 6] = [
        (|c| c.receive(Label::LookupRound, 2).map(drop), 32),
        (|c| c.receive(Label::OpeningRound, 2).map(drop), 32),
        (|c| c.receive_array::<1>(Label::LookupRound).map(drop), 16),
        (|c| c.cap(Label::FoldRoot, 0).map(drop), 32),
        (|c| c.cap(Label::FoldedRoot, 0).map(drop), 32),
        (|c| c.cap(Label::FoldRoot, 1).map(drop), 64),
    ];
    let bytes: Vec<u8> = (0..64).collect();
    let mut all = vec![drawn(|_| Ok(()), &bytes).unwrap()];
    for (read, len) in reads {
        let honest = drawn(read, &bytes).unwrap();
        assert!(!all.contains(&honest), "another label or length");
        all.push(honest);
        for place in 0..64 {
            let mut bytes = bytes.clone();
            bytes[place] ^= 2;
            assert_eq!(drawn(read, &bytes).unwrap() == honest, place >= len, "byte {place}");
        }
    }
    let good = |nonce: &u64| drawn(|c| c.work(4), &nonce.to_le_bytes()).is_ok();
    let nonces: Vec<u64> = (0..400).filter(good).collect();
    assert!((5..80).contains(&nonces.len()), "{} nonces of 4 bits", nonces.len());
    for nonce in &nonces {
        let challenge = drawn(|c| c.work(4), &nonce.to_le_bytes()).unwrap();
        assert!(!all.contains(&challenge));
        all.push(challenge);
    }
}
