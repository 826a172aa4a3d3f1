//! Decoders: greedy texts of random models, executed and proven.

use std::fs;

use circlet::backend::device::Device;
use circlet::execute::{ExecuteError, Trace, execute_listed};
use circlet::keys::{Keep, ProvingKey};
use circlet::llm::chat::Standing;
use circlet::llm::prover::{DecoderProver, key};
use circlet::llm::run::Runner;
use circlet::llm::shape::Shape;
use circlet::numbers::Numbers;
use circlet::prove::prove_trace;
use circlet::prove::{adversary::Honest, statement};
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Decoder, Extent, Text};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_core::protocol::Protocol;
use circlet_tests::cheat::TOY;
use circlet_tests::programs::{decoder, prompt};
use circlet_tests::satisfied::violations;
use circlet_verifier::{verify_text, verify_with};

/// A text whose last token is not known yet.
fn step(decoder: &Decoder, data: &Data, tokens: &[u32]) -> (Circuit, Result<Trace, ExecuteError>) {
    let text = Text { tokens: [tokens, &[0]].concat(), prompt: tokens.len() as u32 };
    let program = decoder.program(decoder.extent(&text).unwrap());
    let circuit = Circuit::new(&program).unwrap();
    let inputs = decoder.statement(&text).unwrap().lists[0].clone();
    let trace = execute_listed(&circuit, &program, data, &[], &[inputs, vec![]]);
    (circuit, trace)
}

#[test]
fn texts_are_greedy_and_proven() {
    for (layers, heads, groups, prefix, given, more) in
        [(1, 3, 1, true, 3, 1), (2, 3, 3, false, 5, 2), (1, 4, 2, true, 1, 1), (1, 6, 2, true, 6, 3)]
    {
        let (decoder, data) = decoder(layers, heads, groups, prefix);
        let mut tokens = prompt(&decoder, given);
        let given = tokens.len();
        for _ in 0..more {
            let (circuit, trace) = step(&decoder, &data, &tokens);
            let trace = trace.unwrap();
            assert_eq!(violations(&circuit, &trace), Vec::<String>::new());
            tokens.push(trace.lists[1][0]);
        }
        let text = Text { tokens, prompt: given as u32 };
        let extent = decoder.extent(&text).unwrap();
        let claimed = decoder.statement(&text).unwrap();
        let program = decoder.program(extent);
        let protocol = Protocol::new(&program, TOY).unwrap();
        let key = ProvingKey::<Poseidon2Blake2s>::build(&Device::Cpu, program, data, protocol, &mut Honest)
            .unwrap();
        let lists = [claimed.lists[0].clone(), vec![]];
        let trace = execute_listed(key.circuit(), &key.verifying.program, &key.data, &[], &lists).unwrap();
        assert_eq!(statement(&key, &trace), claimed, "all at once is one after the other");
        let proof = prove_trace(&key, &trace, &claimed, &mut Honest).unwrap();
        verify_with(&key.protocol, &key.verifying, &claimed, &proof).unwrap();
        let mut other = claimed.clone();
        other.lists[1][0] ^= 1;
        assert!(verify_with(&key.protocol, &key.verifying, &other, &proof).is_err());
    }
}

/// Rows of more than 1024 channels lie in several blocks.
#[test]
fn wide_rows_are_normalized_in_blocks() {
    let shape = Shape {
        name: "wide",
        layers: 1,
        width: 1100,
        ffn: 40,
        heads: 2,
        groups: 1,
        channels: 16,
        vocab: 50,
        qk_norm: true,
    };
    let (decoder, numbers) = shape.decoder(1, 50, 8);
    let data = numbers.to_data();
    let tokens = [3, 1, 4, 1, 5];
    let (circuit, trace) = step(&decoder, &data, &tokens);
    let trace = trace.unwrap();
    assert_eq!(violations(&circuit, &trace), Vec::<String>::new());
    let text = Text { tokens: [&tokens[..], &trace.lists[1]].concat(), prompt: 5 };
    let claimed = decoder.statement(&text).unwrap();
    let program = decoder.program(decoder.extent(&text).unwrap());
    let protocol = Protocol::new(&program, TOY).unwrap();
    let key =
        ProvingKey::<Poseidon2Blake2s>::build(&Device::Cpu, program, data, protocol, &mut Honest).unwrap();
    let proof = prove_trace(&key, &trace, &claimed, &mut Honest).unwrap();
    verify_with(&key.protocol, &key.verifying, &claimed, &proof).unwrap();
}

/// Numbers packed or not, columns in memory or in a file, with a tree to prove from or for the key alone: one key.
#[test]
fn the_key_does_not_depend_on_where_the_numbers_are() {
    let folder = tempfile::tempdir().unwrap();
    let (decoder, data) = decoder(2, 6, 3, true);
    let numbers = Numbers::from(data.clone());
    for profile in [ProfileId::P100U, ProfileId::P100J] {
        let prover = DecoderProver::<Poseidon2Blake2s>::new(decoder.clone(), &data, profile).unwrap();
        assert_eq!(prover.key.pin.is_some(), profile == ProfileId::P100J);
        let mapped = || Runner::in_file(decoder.clone(), &numbers, folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for runner in [Runner::new(decoder.clone(), &numbers).unwrap(), mapped()] {
            let key = key::<Poseidon2Blake2s>(&Device::Cpu, &runner, profile).unwrap();
            assert!(key == prover.key);
        }
        let other = key::<Blake2sBlake2s>(&Device::Cpu, &mapped(), profile).unwrap();
        assert_eq!((other.suite == prover.key.suite, other.fixed_cap == prover.key.fixed_cap), (false, true));

        let from_file =
            DecoderProver::<Poseidon2Blake2s>::of(&Device::Cpu, mapped(), profile, Keep::Tree).unwrap();
        assert!(from_file.key == prover.key);
        let given = prompt(&decoder, 5);
        let generated = from_file.runner.generate(&Standing::default(), &given, 3, &[], |_| {}).unwrap();
        let text = Text { tokens: [given.as_slice(), &generated].concat(), prompt: given.len() as u32 };
        let (one, two) = (prover.run(text.clone()).unwrap(), from_file.run(text.clone()).unwrap());
        assert!(one.trace == two.trace);
        let proof = two.prove().unwrap();
        assert_eq!(verify_text(&prover.key, &text, &proof), Ok(()));
        assert!(proof == one.prove().unwrap());
    }
    // Numbers beyond their bounds, too many in a row, and a constant too few.
    let refused = |change: &dyn Fn(&mut Data)| {
        let mut data = data.clone();
        change(&mut data);
        let error = Runner::new(decoder.clone(), &data).err().unwrap().to_string();
        assert_eq!(
            Runner::in_file(decoder.clone(), &Numbers::from(data), folder.path()).err().unwrap().to_string(),
            error
        );
        error
    };
    let bound = decoder.embedding.bound as i32;
    assert!(refused(&|data| data.constants[0][9] = bound + 1).contains("embedding: an entry is beyond"));
    assert!(refused(&|data| data.constants[0][9] = i32::MIN).contains("embedding: an entry is beyond"));
    let query = decoder.layers[0].query.matrix.bound as i32;
    let at = decoder
        .program(Extent { rows: 1, first: 0, generated: 1, past: None })
        .constants
        .iter()
        .position(|constant| constant.name == "layers.0.query")
        .unwrap();
    assert!(refused(&|data| data.constants[at][3] = -query - 1).contains("query: an entry is beyond"));
    let mut tight = decoder.clone();
    tight.layers[0].query.matrix.row_l1 = query.into();
    let error = Runner::new(tight, &data).err().unwrap().to_string();
    assert!(error.contains("layers.0.query: a row's L1 norm is beyond"), "{error}");
    let most = decoder.tables[0].bound as i32;
    assert!(refused(&|data| data.tables[0][5] = most + 1).contains("a value is beyond"));
    assert!(refused(&|data| data.constants.truncate(3)).contains("number of constants"));
    assert!(refused(&|data| data.constants[0].truncate(7)).contains("wrong number of entries"));
    assert!(refused(&|data| data.tables[0].truncate(7)).contains("wrong number of values"));
}

/// Nor does it, or a proof, depend on the groups in which matrix columns are made.
#[test]
fn groups_of_matrix_columns_do_not_show() {
    let shape = Shape {
        name: "grouped",
        layers: 2,
        width: 128,
        ffn: 1024,
        heads: 4,
        groups: 2,
        channels: 32,
        vocab: 2048,
        qk_norm: false,
    };
    let (decoder, numbers) = shape.decoder(2, 2048, 16);
    let runner = || Runner::new(decoder.clone(), &numbers).unwrap();
    let given = [7, 1, 2000];
    let generated = runner().generate(&Standing::default(), &given, 2, &[], |_| {}).unwrap();
    let text = Text { tokens: [&given[..], &generated].concat(), prompt: 3 };
    let [kept, made] = [Keep::Codewords, Keep::Tree].map(|keep| {
        let prover =
            DecoderProver::<Poseidon2Blake2s>::of(&Device::Cpu, runner(), ProfileId::P100U, keep).unwrap();
        let run = prover.run(text.clone()).unwrap();
        assert!(run.key.protocol.stacking.matrix_columns[0] > 32);
        (prover.key.clone(), run.prove().unwrap())
    });
    assert!(kept == made);
    assert_eq!(verify_text(&made.0, &text, &made.1), Ok(()));
}
