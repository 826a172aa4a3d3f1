//! Statements that are not those of the proof, and proofs under other keys.

use circlet::backend::device::Device;
use circlet::keys::{KeyError, ProvingKey};
use circlet::prove::adversary::Honest;
use circlet::prove::{prove, prove_trace};
use circlet_core::circuit::CircuitError;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::key::Statement;
use circlet_core::profile::{P100_U, Profile, ProfileId};
use circlet_core::program::Op;
use circlet_core::protocol::Protocol;
use circlet_tests::cheat::{Bench, TOY};
use circlet_tests::programs;
use circlet_verifier::{Reject, Stage, verify, verify_with};

/// Enough work before the first challenge that a nonce of another transcript does not fit by chance.
const WORK: Profile = Profile { g_lookup: 14, ..TOY };

/// A proof is of its statement: any other one gives other challenges. A prover who makes the proof for the
/// other statement from the honest trace fails at the end of the opening.
#[test]
fn statements_with_another_entry() {
    for case in [programs::residual(), programs::rewire(), programs::no_shift()] {
        let bench = Bench::new(case, WORK);
        let proof = bench.proof();
        assert_eq!(bench.verify(&bench.statement, &proof), Ok(()));
        let outputs = bench.statement.outputs.len();
        for tensor in 0..bench.statement.inputs.len() + outputs {
            for end in [false, true] {
                let mut forged = bench.statement.clone();
                let all = forged.inputs.iter_mut().chain(&mut forged.outputs);
                let entries = all.into_iter().nth(tensor).unwrap();
                let entry = if end { entries.last_mut() } else { entries.first_mut() }.unwrap();
                *entry += if *entry > 0 { -1 } else { 1 };
                assert_eq!(bench.verify(&forged, &proof), Err(Reject::Work));
                let verdict = bench.claim(&forged, &mut Honest);
                assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Opening)), "tensor {tensor}");
            }
        }
    }
}

/// Two entries, two rows or two tensors exchanged.
#[test]
fn statements_in_another_order() {
    let bench = Bench::new(programs::mul(), TOY);
    let mut forged = Vec::new();
    for edit in [
        (|s: &mut Statement| s.inputs.swap(0, 1)) as fn(&mut Statement),
        |s| s.inputs[0].swap(0, 1),
        |s| s.inputs[1].rotate_left(6),
        |s| s.outputs[0].swap(0, 1),
        |s| s.outputs[0].rotate_left(6),
        |s| s.outputs[0].reverse(),
    ] {
        let mut statement = bench.statement.clone();
        edit(&mut statement);
        assert_ne!(statement, bench.statement);
        forged.push(statement);
    }
    for statement in forged {
        let verdict = bench.claim(&statement, &mut Honest);
        assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Opening)), "{statement:?}");
    }
    let bench = Bench::new(programs::no_shift(), TOY);
    let mut statement = bench.statement.clone();
    statement.outputs.swap(0, 1);
    assert_eq!(bench.claim(&statement, &mut Honest), Err(Reject::FinalClaim(Stage::Opening)));
}

#[test]
fn statements_of_another_shape() {
    let bench = Bench::new(programs::mul(), TOY);
    let proof = bench.proof();
    for edit in [
        (|s: &mut Statement| s.inputs.clear()) as fn(&mut Statement),
        |s| s.outputs.clear(),
        |s| s.inputs.push(Vec::new()),
        |s| s.outputs.push(s.outputs[0].clone()),
        |s| s.inputs[1].push(0),
        |s| {
            s.inputs[0].pop();
        },
        |s| {
            s.outputs[0].pop();
        },
        |s| s.outputs[0].push(0),
        |s| s.outputs[0].clear(),
        |s| {
            let output = s.outputs.pop().unwrap();
            s.inputs.push(output);
        },
    ] {
        let mut statement = bench.statement.clone();
        edit(&mut statement);
        assert_eq!(bench.verify(&statement, &proof), Err(Reject::StatementShape), "{statement:?}");
    }
}

/// Entries out of range: just beyond the bound, or congruent modulo `P` to the true one.
#[test]
fn statements_out_of_range() {
    let bench = Bench::new(programs::mul(), TOY);
    let congruent = |v: i32| if v >= 1 { v - 1 - i32::MAX + 1 } else { v + i32::MAX };
    for (tensor, value) in [(0, 128), (1, -128), (2, 128), (2, i32::MIN), (0, i32::MAX)] {
        let mut statement = bench.statement.clone();
        let mut all = statement.inputs.iter_mut().chain(&mut statement.outputs);
        all.nth(tensor).unwrap()[3] = value;
        assert_eq!(bench.verify(&statement, &bench.proof()), Err(Reject::StatementRange));
    }
    for input in [false, true] {
        let mut statement = bench.statement.clone();
        let entry = if input { &mut statement.inputs[1][2] } else { &mut statement.outputs[0][2] };
        *entry = congruent(*entry);
        let proof = prove_trace(&bench.key, &bench.trace, &statement, &mut Honest).unwrap();
        assert_eq!(bench.verify(&statement, &proof), Err(Reject::StatementRange));
    }
}

/// The same proof and statement under the key of a program that differs in one number or one parameter.
#[test]
fn replay_under_another_key() {
    let bench = Bench::new(programs::matmul(), WORK);
    let proof = bench.proof();
    let mut renamed = bench.case.clone();
    renamed.0.name.push('2');
    let mut weights = bench.case.clone();
    weights.1.constants[0][7] += 1;
    weights.0.constants[0].row_l1 += 1;
    let mut table = bench.case.clone();
    table.1.tables[0][1000] -= 1;
    let mut shift = bench.case.clone();
    let Op::MatMul { requantize, .. } = &mut shift.0.ops[0] else { panic!("no MatMul") };
    requantize.shift += 1;
    for case in [renamed, weights, table, shift] {
        let other = Bench::new(case, WORK);
        assert_eq!(other.verify(&bench.statement, &proof), Err(Reject::Work));
    }
    // The key with another profile, or another suite.
    let mut key = bench.key.verifying.clone();
    key.profile = ProfileId::P100J;
    let verdict = verify_with(&bench.key.protocol, &key, &bench.statement, &proof);
    assert_eq!(verdict, Err(Reject::Work));
    key.profile = ProfileId::P100U;
    key.suite = 2;
    let verdict = verify_with(&bench.key.protocol, &key, &bench.statement, &proof);
    assert_eq!(verdict, Err(Reject::Work));
    for suite in [0, 3, 255] {
        key.suite = suite;
        let verdict = verify_with(&bench.key.protocol, &key, &bench.statement, &proof);
        assert_eq!(verdict, Err(Reject::UnknownSuite(suite)));
    }
}

/// What a weaker profile gives is nothing under the real one.
#[test]
fn downgraded_profiles() {
    let (program, data, inputs) = programs::matmul();
    let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, ProfileId::P100U).unwrap();
    let (statement, proof) = prove(&key, &inputs).unwrap();
    assert_eq!(verify(&key.verifying, &statement, &proof), Ok(()));
    for profile in [
        // One query less may be no less: positions repeat.
        Profile { queries: 100, ..P100_U },
        Profile { pow_bits: 8, ..P100_U },
        Profile { g_lookup: 0, ..P100_U },
        Profile { g_wiring: 0, ..P100_U },
        Profile { log_blowup: 1, ..P100_U },
        TOY,
    ] {
        let mut bench = Bench::new(programs::matmul(), profile);
        if profile.log_blowup == 2 {
            assert_eq!(bench.key.digest, key.digest);
        }
        bench.key.digest = key.digest;
        let proof = bench.proof();
        assert!(verify(&key.verifying, &statement, &proof).is_err(), "{profile:?}");
    }
}

#[test]
fn both_suites() {
    let (program, data, inputs) = programs::matmul();
    let protocol = Protocol::new(&program, TOY).unwrap();
    let key =
        ProvingKey::<Blake2sBlake2s>::build(&Device::Cpu, program, data, protocol, &mut Honest).unwrap();
    let (statement, proof) = prove(&key, &inputs).unwrap();
    assert_eq!(verify_with(&key.protocol, &key.verifying, &statement, &proof), Ok(()));
    let mut forged = statement.clone();
    forged.outputs[0][0] -= forged.outputs[0][0].signum();
    let trace = circlet::execute::execute(key.circuit(), &key.verifying.program, &key.data, &inputs).unwrap();
    let proof = prove_trace(&key, &trace, &forged, &mut Honest).unwrap();
    let verdict = verify_with(&key.protocol, &key.verifying, &forged, &proof);
    assert_eq!(verdict, Err(Reject::FinalClaim(Stage::Opening)));
    let other = Bench::new(programs::matmul(), TOY);
    assert!(other.verify(&statement, &proof).is_err());
}

/// Programs whose accumulators could wrap have no protocol, neither for the maker of a key nor for a verifier.
#[test]
fn programs_that_may_wrap() {
    let (mut program, mut data, _) = programs::matmul();
    program.constants[0].bound = 1 << 23;
    program.constants[0].row_l1 = 1 << 28;
    data.constants[0][0] = 1 << 23;
    let refused = ProvingKey::<Poseidon2Blake2s>::new(program.clone(), data, ProfileId::P100U);
    assert!(matches!(refused, Err(KeyError::Circuit(why)) if matches!(*why, CircuitError::MayWrap { .. })));
    let bench = Bench::new(programs::matmul(), TOY);
    let mut key = bench.key.verifying.clone();
    key.program = program;
    let verdict = verify(&key, &bench.statement, &bench.proof());
    let Err(Reject::Key(why)) = verdict else { panic!("{verdict:?}") };
    assert!(matches!(*why, CircuitError::MayWrap { .. }), "{why}");
    key = bench.key.verifying.clone();
    key.program.outputs.clear();
    let verdict = verify(&key, &bench.statement, &bench.proof());
    let Err(Reject::Key(why)) = verdict else { panic!("{verdict:?}") };
    assert!(matches!(*why, CircuitError::Malformed(_)), "{why}");
    // More lookups than a proof can have: the counts of many more would be zero modulo P.
    let mut b = programs::ProgramBuilder::new("many");
    let x = b.input(1, 4, 100);
    let table = b.table("half", 8, |x| x / 2);
    let y = b.map(x, table);
    let y = b.map(y, table);
    let mut program = b.finish(&[y]).0;
    for tensor in &mut program.tensors {
        (tensor.rows, tensor.cols) = (1 << 14, 1 << 14);
    }
    assert!(matches!(Protocol::new(&program, TOY), Err(why) if matches!(*why, CircuitError::TooLarge(..))));
    for tensor in &mut program.tensors {
        tensor.rows /= 2;
    }
    assert!(Protocol::new(&program, TOY).is_ok());
}
