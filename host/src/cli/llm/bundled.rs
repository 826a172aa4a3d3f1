//! The bundled language model.

use std::fs;

use circlet::llm::quantize::Options;
use circlet::llm::{Opened, Tokenizer};

use super::source::{self, Budget, Integers, Room, Texts, integers};
use crate::cli::Context;
use crate::cli::failure::{Failure, OrFail};

/// Its files.
const FILES: [(&str, &[u8]); 3] = [
    ("config.json", include_bytes!("../../../../models/tiny-llama/config.json")),
    ("tokenizer.json", include_bytes!("../../../../models/tiny-llama/tokenizer.json")),
    ("model.safetensors", include_bytes!("../../../../models/tiny-llama/model.safetensors")),
];
/// The text that it is calibrated on.
pub const CALIBRATION: &str = include_str!("../../../../models/tiny-llama/calibration.txt");
/// Most positions of its texts.
const POSITIONS: u32 = 256;
/// Tokens of the calibration text.
const TOKENS: usize = 1024;
/// What cannot happen.
const BROKEN: &str = "the bundled language model cannot be read";

/// The bundled model as integers.
pub struct Bundled {
    /// The decoder.
    pub integers: Integers,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a text.
    pub end: Vec<u32>,
    /// Number of weights.
    pub parameters: u64,
}

/// Opens the model. Readers map files, so it is laid out in a folder for a moment.
fn open() -> Result<Opened, Failure> {
    let folder = tempfile::tempdir().or_file("cannot make a temporary folder")?;
    // The model is called like its folder.
    let named = folder.path().join("tiny-llama");
    fs::create_dir(&named).or_file("cannot make a temporary folder")?;
    for (name, bytes) in FILES {
        fs::write(named.join(name), bytes).or_file("cannot write to the temporary folder")?;
    }
    source::open(&named)
}

/// Calibrates and quantizes it, and compares it with the floats if asked to.
pub fn model(context: &Context, report: usize) -> Result<Bundled, Failure> {
    let opened = open()?;
    let (prefix, _) = source::prefix(None, &opened)?;
    let tokenizer = opened.tokenizer().or_file(BROKEN)?.clone();
    let tokens = tokenizer.encode(CALIBRATION, false);
    let config = opened.checkpoint.config();
    let budget = Budget::new(POSITIONS, config, TOKENS, report);
    let texts = if report > 0 {
        budget.split(&tokens)
    } else {
        Texts { calibration: budget.calibration(&tokens), report: Vec::new(), own: true }
    };
    let integers =
        integers(context, &opened, &texts, Options { prefix, positions: POSITIONS }, Room::Memory, None)?;
    let parameters = circlet::llm::parameters(config);
    Ok(Bundled { integers, tokenizer, end: config.eos.clone(), parameters })
}
