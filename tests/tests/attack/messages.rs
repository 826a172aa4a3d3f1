//! Lies in the prover's messages: everything after them is computed as if they were true.

use circlet::execute::Trace;
use circlet::prove::adversary::Adversary;
use circlet_core::field::QM31;
use circlet_core::hash::HashSuite;
use circlet_core::key::Statement;
use circlet_core::transcript::{Label, Transcript};
use circlet_tests::attack::Change;
use circlet_tests::cheat::{Bench, Lie, Suite, TOY, sections};
use circlet_tests::liars::{LookupLiar, OpeningLiar, RelationLiar};
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
        let proof = circlet::prove::prove_trace(&bench.key, &trace, &bench.statement, &mut LookupLiar::new())
            .unwrap();
        assert_eq!(bench.verify(&bench.statement, &proof), Err(Reject::FinalClaim(Stage::Opening)));
    }
}

/// A false sum of products that is carried through all rounds and hidden in the operands' values: each of
/// those is a claim of its own.
#[test]
fn false_products_carried_to_the_operands() {
    let bench = Bench::new(programs::mlp(), TOY);
    for operand in 0..bench.key.protocol.reduction.operands.len() {
        assert_eq!(bench.lie(&mut RelationLiar::new(&bench.key.protocol, QM31::ZERO, operand)), Ok(()));
        let mut liar = RelationLiar::new(&bench.key.protocol, QM31::ONE, operand);
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
        let mut liar = OpeningLiar::new(protocol, label);
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
        let mut transcript = <Suite as HashSuite>::Transcript::new(b"test");
        let mut channel = Channel::<Suite>::new(&mut transcript, &mut bytes);
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
