//! Verifies one proof many times.
use std::time::Instant;

use circlet::llm::prover::DecoderProver;
use circlet::llm::quantize::{LayerMaxima, Maxima, Options, quantize};
use circlet_core::circuit::Circuit;
use circlet_core::decoder::Text;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let opened = circlet::llm::open(std::path::Path::new(&args[1]))?;
    let config = opened.checkpoint.config();
    let layer = LayerMaxima {
        attention_normalized: 10.0,
        query_raw: 15.0,
        query_normalized: 8.0,
        query: 15.0,
        key_raw: 15.0,
        key_normalized: 8.0,
        key: 15.0,
        value: 5.0,
        ffn_normalized: 10.0,
        gate: 20.0,
        up: 20.0,
        gated: 100.0,
    };
    let maxima = Maxima {
        layers: vec![layer; config.layers],
        residual: 1000.0,
        final_normalized: 20.0,
        final_norm: 50.0,
    };
    let zeros = vec![0.0; config.kv_heads * config.head_dim];
    let prefix = vec![(zeros.clone(), zeros); config.layers];
    let q = quantize(&*opened.checkpoint, &maxima, &prefix, Options { prefix: Some(1), positions: 64 })?;
    let prover = DecoderProver::<Poseidon2Blake2s>::new(q.decoder, q.data, ProfileId::P100U)?;
    let mut text = vec![1, 504];
    text.push(prover.runner.next(&text)?);
    let run = prover.run(Text { tokens: text, prompt: 2 })?;
    let proof = run.prove();
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..50 {
            circlet_verifier::verify_with(&run.key.protocol, &run.key.verifying, &run.statement, &proof)?;
        }
        println!("verify {:?}", start.elapsed() / 50);
        let start = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(prover.key.instance(prover.key.decoder.extent(&run.text)?));
        }
        println!("instance {:?}", start.elapsed() / 20);
        let start = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(run.key.verifying.digest());
        }
        println!("digest {:?}", start.elapsed() / 20);
        let start = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(Circuit::new(&run.key.verifying.program)?);
        }
        println!("circuit {:?}", start.elapsed() / 20);
        let start = Instant::now();
        for _ in 0..20 {
            std::hint::black_box(Protocol::of_key(&run.key.verifying)?);
        }
        println!("protocol {:?}", start.elapsed() / 20);
    }
    Ok(())
}
