//! all-MiniLM-L6-v2, whole: as close to the float model as promised, proven and verified.
//!
//! Needs the model's files: `scripts/fetch-models`. Without them the test is skipped and says so.

use std::path::PathBuf;

use circlet::llm::encoder::float::{FloatEncoder, Maxima};
use circlet::llm::encoder::prover::EncoderProver;
use circlet::llm::encoder::quantize::quantize;
use circlet::llm::encoder::report::{compare, normalized};
use circlet::llm::encoder::{open, recognizes};
use circlet_core::encoder::EncoderKey;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_verifier::verify_encoding;

const FOLDER: &str = "all-MiniLM-L6-v2";
const CALIBRATION: &str = include_str!("../../../models/tiny-llama/calibration.txt");
const HELD_OUT: &str = include_str!("../../../models/tiny-llama/heldout.txt");

fn folder() -> Option<PathBuf> {
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/cache");
    let path = std::env::var_os("CIRCLET_MODELS").map_or(cache, PathBuf::from).join(FOLDER);
    if !path.join("model.safetensors").is_file() {
        println!("skipped: {} is not there; run scripts/fetch-models", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn a_whole_encoder_is_close_and_proven() {
    let Some(path) = folder() else { return };
    assert!(recognizes(&path));
    let opened = open(&path).unwrap();
    let tokenizer = opened.tokenizer.unwrap();
    let model = FloatEncoder::new(&opened.weights);
    assert_eq!(opened.weights.config().parameters(), 22_565_376);

    // The tokens and the first numbers that sentence-transformers gives.
    let tokens = tokenizer.encode("This is an example sentence");
    assert_eq!(tokens, [101, 2023, 2003, 2019, 2742, 6251, 102]);
    let vector = model.encode(&tokens, &mut Maxima::default()).unwrap();
    let vector = normalized(vector.into_iter().map(f64::from));
    for (found, expected) in vector.iter().zip([0.067_657, 0.063_496, 0.048_713]) {
        assert!((found - expected).abs() < 2e-5, "{found} and {expected}");
    }

    let sentences = |text: &str| -> Vec<Vec<u32>> {
        let split = text.split(['.', ';', '\n']).map(str::trim).filter(|s| s.len() > 20);
        split.map(|s| tokenizer.encode(s)).filter(|tokens| tokens.len() <= 128).collect()
    };
    let mut maxima = Maxima::default();
    for tokens in sentences(CALIBRATION) {
        model.encode(&tokens, &mut maxima).unwrap();
    }
    let quantized = quantize(&opened.weights, &maxima, 128, tokenizer.data().pad).unwrap();
    let prover =
        EncoderProver::<Poseidon2Blake2s>::new(quantized.encoder, &quantized.numbers, ProfileId::P100U)
            .unwrap();

    let held_out = sentences(HELD_OUT);
    assert!(held_out.len() >= 40);
    let accuracy = compare(&model, &prover.runner, &held_out[..40], |_| {}).unwrap();
    println!("{accuracy:?}");
    assert!(accuracy.mean_cosine >= 0.9995);
    assert!(accuracy.least_cosine >= 0.999);
    assert!(accuracy.neighbours >= 38);

    let run = prover.run(&tokens).unwrap();
    let own = normalized(run.encoding.embedding.iter().map(|&v| f64::from(v)));
    assert!(own.iter().zip(&vector).map(|(a, b)| a * b).sum::<f64>() >= 0.9995);
    let proof = run.prove().unwrap();
    println!("{} bytes, key of {}", proof.len(), prover.key.to_bytes().len());
    let key = EncoderKey::from_bytes(&prover.key.to_bytes()).unwrap();
    verify_encoding(&key, &run.encoding, &proof).unwrap();

    // Another sentence or another vector is not proven.
    let mut other = run.encoding.clone();
    other.tokens[4] += 1;
    verify_encoding(&key, &other, &proof).unwrap_err();
    let mut other = run.encoding.clone();
    other.embedding[7] -= 1;
    verify_encoding(&key, &other, &proof).unwrap_err();
}
