use std::path::PathBuf;

use super::*;
use crate::llm;

/// A large model file, if it was fetched.
pub(in crate::llm) fn model_file(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CIRCLET_MODELS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/cache")),
        PathBuf::from,
    );
    let path = directory.join(name);
    if !path.exists() {
        eprintln!(
            "skipped: {} is not there; run scripts/fetch-models, or set CIRCLET_MODELS",
            path.display()
        );
        return None;
    }
    Some(path)
}

#[test]
fn smollm2_answers() {
    let Some(path) = model_file("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let opened = llm::open(&path).unwrap();
    let tokenizer = opened.tokenizer().unwrap();
    let start = std::time::Instant::now();
    let model = FloatModel::load(opened.checkpoint.as_ref()).unwrap();
    eprintln!("loaded in {:?}", start.elapsed());
    let prompt = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                  <|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    let tokens = tokenizer.encode(prompt, true);
    let start = std::time::Instant::now();
    let answer = model.greedy(&tokens, 12).unwrap();
    eprintln!("{} + {} tokens in {:?}", tokens.len(), answer.len(), start.elapsed());
    assert_eq!(tokenizer.decode(&answer), "The capital of France is Paris.<|im_end|>");
}
