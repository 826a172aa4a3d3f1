//! GGUF files: metadata, weights, tokenizer.

use bytes::Bytes;
use circlet::llm::gguf::read_parts;
use circlet::llm::tokenizer::from_gguf;
use circlet::llm::{Checkpoint, weights};

use crate::tokenizer::use_tokenizer;

/// Rows of each weight that are read.
const ROWS: usize = 4;

/// A whole file.
pub fn gguf(data: &[u8]) {
    let Ok((model, metadata)) = read_parts(Bytes::copy_from_slice(data)) else { return };
    if let Ok(tokenizer) = from_gguf(&metadata) {
        use_tokenizer(&tokenizer, "Once upon a time, 12 caf\u{e9}s\n\n  it's", true);
    }
    read_weights(&model);
}

/// Reads the first and last rows of all weights, all numbers of which must be finite.
pub fn read_weights(model: &dyn Checkpoint) {
    for weight in weights(model.config()) {
        let (rows, cols) = model.shape(weight).expect("every weight has been found");
        for rows in [0..rows.min(ROWS), rows.saturating_sub(ROWS)..rows] {
            let mut out = vec![0.0; rows.len() * cols];
            if model.read(weight, rows, &mut out).is_ok() {
                assert!(out.iter().all(|number: &f32| number.is_finite()));
            }
        }
        assert!(model.read(weight, rows..rows + 1, &mut vec![0.0; cols]).is_err(), "a row behind the last");
    }
}
