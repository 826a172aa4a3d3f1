//! all-MiniLM-L6-v2 as an ONNX file with weights in eight bits: recognised, close to the original, proven and verified.
//!
//! Needs the model's files: `scripts/fetch-models`. Without them the test is skipped and says so.

use std::path::PathBuf;

use circlet::import::encoder::{Pooling, read};
use circlet::llm::encoder::float::{FloatEncoder, Maxima};
use circlet::llm::encoder::prover::EncoderProver;
use circlet::llm::encoder::quantize::quantize;
use circlet::llm::encoder::report::normalized;
use circlet::llm::encoder::{open, recognizes};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_verifier::verify_encoding;

const FOLDER: &str = "all-MiniLM-L6-v2";
const SENTENCES: [&str; 4] = [
    "This is an example sentence",
    "The cat sat on the mat.",
    "Proofs are checked in milliseconds, without the weights.",
    "What is the capital of France?",
];

#[test]
fn weights_in_eight_bits_are_read_from_onnx() {
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/cache");
    let folder = std::env::var_os("CIRCLET_MODELS").map_or(cache, PathBuf::from).join(FOLDER);
    let path = folder.join("model.int8.onnx");
    if !path.is_file() || !folder.join("model.safetensors").is_file() {
        println!("skipped: {} or model.safetensors is not there; run scripts/fetch-models", path.display());
        return;
    }
    assert!(recognizes(&path));
    assert_eq!(read(&std::fs::read(&path).unwrap(), "minilm").unwrap().pooling, Pooling::None);
    let (codes, original) = (open(&path).unwrap(), open(&folder).unwrap());
    let (config, wanted) = (codes.weights.config(), original.weights.config());
    assert_eq!((config.layers, config.heads, config.width), (wanted.layers, wanted.heads, wanted.width));
    assert_eq!((config.vocab, config.positions), (wanted.vocab, wanted.positions));
    assert_eq!(config.activation, wanted.activation);

    let tokenizer = codes.tokenizer.unwrap();
    let models = [FloatEncoder::new(&codes.weights), FloatEncoder::new(&original.weights)];
    let mut maxima = Maxima::default();
    for sentence in SENTENCES {
        let tokens = tokenizer.encode(sentence);
        let encode = |model: &FloatEncoder| model.encode(&tokens, &mut Maxima::default()).unwrap();
        let [a, b] = models.each_ref().map(|model| normalized(encode(model).into_iter().map(f64::from)));
        let cosine: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.99, "{sentence}: {cosine}");
        models[0].encode(&tokens, &mut maxima).unwrap();
    }
    let quantized = quantize(&codes.weights, &maxima, 32, tokenizer.data().pad).unwrap();
    let prover =
        EncoderProver::<Poseidon2Blake2s>::new(quantized.encoder, &quantized.numbers, ProfileId::P100U)
            .unwrap();
    let tokens = tokenizer.encode(SENTENCES[1]);
    let run = prover.run(&tokens).unwrap();
    let exact = models[0].encode(&tokens, &mut Maxima::default()).unwrap();
    let exact = normalized(exact.into_iter().map(f64::from));
    let own = normalized(run.encoding.embedding.iter().map(|&v| f64::from(v)));
    assert!(own.iter().zip(&exact).map(|(a, b)| a * b).sum::<f64>() >= 0.999);
    verify_encoding(&prover.key, &run.encoding, &run.prove().unwrap()).unwrap();
}
