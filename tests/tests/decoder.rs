//! Decoders: greedy texts of random models, executed and proven.

use circlet::execute::{ExecuteError, Trace, execute_listed};
use circlet::keys::ProvingKey;
use circlet::llm::shape::Shape;
use circlet::prove::prove_trace;
use circlet::prove::{adversary::Honest, statement};
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Decoder, Text};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::program::Data;
use circlet_core::protocol::Protocol;
use circlet_tests::cheat::TOY;
use circlet_tests::programs::{decoder, prompt};
use circlet_tests::satisfied::violations;
use circlet_verifier::verify_with;

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
        let key = ProvingKey::<Poseidon2Blake2s>::build(program, data, protocol, &mut Honest);
        let lists = [claimed.lists[0].clone(), vec![]];
        let trace = execute_listed(key.circuit(), &key.verifying.program, &key.data, &[], &lists).unwrap();
        assert_eq!(statement(&key, &trace), claimed, "all at once is one after the other");
        let proof = prove_trace(&key, &trace, &claimed, &mut Honest);
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
    let (decoder, data) = shape.decoder(1, 50, 8);
    let tokens = [3, 1, 4, 1, 5];
    let (circuit, trace) = step(&decoder, &data, &tokens);
    let trace = trace.unwrap();
    assert_eq!(violations(&circuit, &trace), Vec::<String>::new());
    let text = Text { tokens: [&tokens[..], &trace.lists[1]].concat(), prompt: 5 };
    let claimed = decoder.statement(&text).unwrap();
    let program = decoder.program(decoder.extent(&text).unwrap());
    let protocol = Protocol::new(&program, TOY).unwrap();
    let key = ProvingKey::<Poseidon2Blake2s>::build(program, data, protocol, &mut Honest);
    let proof = prove_trace(&key, &trace, &claimed, &mut Honest);
    verify_with(&key.protocol, &key.verifying, &claimed, &proof).unwrap();
}
