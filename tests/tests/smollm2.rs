//! SmolLM2-135M, whole: as close to the float model as promised, a golden transcript, proven and verified.
//!
//! Needs the model's file: `scripts/fetch-models`. Without it the test is skipped and says so.

use std::path::PathBuf;

use circlet::llm::chat::Standing;
use circlet::llm::float::FloatModel;
use circlet::llm::prover::DecoderProver;
use circlet::llm::quantize::{Options, calibrate, quantize};
use circlet::llm::report::compare;
use circlet::numbers::Spool;
use circlet_core::decoder::{DecoderKey, Text};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_verifier::{Reject, verify_text};

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const CALIBRATION: &str = include_str!("../../models/tiny-llama/calibration.txt");
const HELD_OUT: &str = include_str!("../../models/tiny-llama/heldout.txt");
const PROMPT: &str = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";

fn file() -> Option<PathBuf> {
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/cache");
    let folder = std::env::var_os("CIRCLET_MODELS").map_or(cache, PathBuf::from);
    let path = folder.join(FILE);
    if !path.is_file() {
        println!("skipped: {} is not there; run scripts/fetch-models", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn a_whole_model_is_close_and_proven() {
    let Some(path) = file() else { return };
    let opened = circlet::llm::open(&path).unwrap();
    let tokenizer = opened.tokenizer().unwrap();
    let prefix = tokenizer.id("<|im_start|>");
    let pieces = |text: &str| -> Vec<Vec<u32>> {
        tokenizer.encode(text, false).chunks(250).map(<[u32]>::to_vec).collect()
    };
    let model = FloatModel::load(&*opened.checkpoint).unwrap();
    let calibration = calibrate(&*opened.checkpoint, prefix, &pieces(CALIBRATION)).unwrap();
    let options = Options { prefix, positions: 256 };
    let quantized =
        quantize(&*opened.checkpoint, &calibration.maxima, &calibration.prefix, options, Spool::memory());
    let quantized = quantized.unwrap();
    let logit_bits = quantized.logit_bits;
    let prover =
        DecoderProver::<Poseidon2Blake2s>::new(quantized.decoder, &quantized.numbers, ProfileId::P100U)
            .unwrap();

    let accuracy = compare(&model, &prover.runner, logit_bits, &pieces(HELD_OUT)[..3], |_| {}).unwrap();
    drop(model);
    println!("{accuracy:?}");
    assert!(accuracy.positions >= 700);
    assert!(accuracy.divergence <= 0.002);
    assert!(accuracy.agreement() >= 0.97);
    assert!(accuracy.confident_agreement() >= 0.999);
    assert!((accuracy.integer_perplexity / accuracy.float_perplexity - 1.0).abs() <= 0.005);

    // One token after the other gives the golden transcript.
    let mut tokens = tokenizer.encode(PROMPT, true);
    let prompt = tokens.len() as u32;
    while tokenizer.id("<|im_end|>") != tokens.last().copied() || tokens.len() == prompt as usize {
        tokens.push(prover.runner.next(&tokens).unwrap());
        assert!(tokens.len() < 40);
    }
    // So does going on from the state of the tokens before.
    let (given, golden) = tokens.split_at(prompt as usize);
    let end = tokenizer.id("<|im_end|>");
    let generated = prover.runner.generate(&Standing::default(), given, 16, end.as_slice(), |_| {}).unwrap();
    assert_eq!(generated, golden);
    let answer = tokenizer.decode(&tokens[prompt as usize..]);
    assert_eq!(answer, "The capital of France is Paris.<|im_end|>");

    let text = Text { tokens, prompt };
    let run = prover.run(text.clone()).unwrap();
    let proof = run.prove().unwrap();
    println!("{} bytes, key of {}", proof.len(), prover.key.to_bytes().len());
    assert!(proof.len() <= 450 << 10);
    let key = DecoderKey::from_bytes(&prover.key.to_bytes()).unwrap();
    verify_text(&key, &text, &proof).unwrap();

    // Another answer, another question, or another cut between them is not proven.
    let rejected = |text: &Text| verify_text(&key, text, &proof).unwrap_err();
    let mut other = text.clone();
    *other.tokens.last_mut().unwrap() -= 1;
    assert_ne!(rejected(&other), Reject::TooShort);
    let mut other = text.clone();
    other.tokens[4] += 1;
    rejected(&other);
    rejected(&Text { prompt: prompt + 1, ..text });
}
