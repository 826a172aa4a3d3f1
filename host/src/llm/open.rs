//! Opens a model, whatever its format.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

use super::stored::Stores;
use super::{Checkpoint, Tokenizer, gguf, safetensors, tokenizer};

/// An opened model.
pub struct Opened {
    /// Configuration and weights.
    pub checkpoint: Box<dyn Checkpoint>,
    /// The tokenizer, if the model has one that is supported.
    pub tokenizer: Option<Tokenizer>,
    /// Why there is no tokenizer.
    pub tokenizer_error: Option<String>,
}

impl Opened {
    pub(super) fn new(stores: Stores, tokenizer: anyhow::Result<Tokenizer>) -> Self {
        let vocab = stores.config().vocab;
        let tokenizer = tokenizer.and_then(|t| {
            anyhow::ensure!(
                t.len() <= vocab,
                "the tokenizer has {} tokens, but the model only {vocab}; they do not belong together",
                t.len()
            );
            Ok(t)
        });
        let (tokenizer, tokenizer_error) = match tokenizer {
            Ok(tokenizer) => (Some(tokenizer), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self { checkpoint: Box::new(stores), tokenizer, tokenizer_error }
    }

    /// The tokenizer, or why there is none.
    pub fn tokenizer(&self) -> anyhow::Result<&Tokenizer> {
        self.tokenizer.as_ref().with_context(|| self.tokenizer_error.clone().unwrap_or_default())
    }
}

/// Whether something looks like a language model: a directory, or a file that begins like one or is called like one.
pub fn recognizes(path: &Path) -> bool {
    let named = path.extension().is_some_and(|e| e == "gguf" || e == "safetensors");
    path.is_dir() || named || start(path).is_ok_and(|start| is_gguf(&start) || is_safetensors(&start))
}

/// The tokenizer of a GGUF file or a model directory, or a `tokenizer.json`.
pub fn open_tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    if path.is_dir() {
        return tokenizer::from_directory(path);
    }
    if is_gguf(&start(path)?) {
        return gguf::open_tokenizer(path);
    }
    tokenizer::from_json(&safetensors::json(path)?).with_context(|| format!("cannot use {}", path.display()))
}

/// The first bytes of a file.
fn start(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut start = Vec::new();
    let file =
        File::open(path).with_context(|| format!("cannot open {}; check its permissions", path.display()))?;
    file.take(9).read_to_end(&mut start).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start)
}

fn is_gguf(start: &[u8]) -> bool {
    start.starts_with(b"GGUF")
}

/// A safetensors file is the length of its header and the header, which is a JSON object.
fn is_safetensors(start: &[u8]) -> bool {
    matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{'])
}

/// Opens a GGUF file, a safetensors file with its `config.json` beside it, or a directory with such files.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    let kind = std::fs::metadata(path)
        .with_context(|| format!("cannot open {}; check the path and its permissions", path.display()))?;
    if kind.is_dir() {
        return safetensors::open(path);
    }
    let start = start(path)?;
    if is_gguf(&start) {
        return gguf::open(path);
    }
    if is_safetensors(&start) {
        return safetensors::open(path);
    }
    bail!(
        "{} is neither a GGUF file nor a safetensors file nor a directory with a model; \
         give a .gguf file, or a directory with config.json and *.safetensors",
        path.display()
    )
}
