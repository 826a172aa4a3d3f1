//! Commands on sentence encoders. Each is reached through the command of its name.

pub mod compile;
pub mod inspect;
pub mod prove;
pub mod prover;
pub mod verify;

use std::fmt::Write;
use std::path::Path;

use circlet::files::{self, EncoderFile, EncoderHead, Kind};
use circlet::llm::encoder::report::normalized;
use circlet::llm::encoder::{WordPiece, wordpiece};
use circlet_core::encoder::Encoding;
use serde_json::{Map, Value, json};

use super::failure::{Failure, OrFail};
use super::text;

/// The tokenizer of a compiled encoder, if it has one.
fn tokenizer(head: &mut EncoderHead) -> Result<Option<WordPiece>, Failure> {
    let data = head.tokenizer.take();
    data.map(WordPiece::new).transpose().or_file("cannot use the tokenizer of the compiled encoder")
}

/// Opens a tokenizer: that of a compiled encoder or of a model directory, a `tokenizer.json` or a `vocab.txt`.
fn open_tokenizer(path: &Path) -> Result<WordPiece, Failure> {
    if !path.is_dir() && files::kind_of(path).or_bad()? == Some(Kind::Encoder) {
        let mut file: EncoderFile = files::read(path).or_bad()?;
        return tokenizer(&mut file.head)?.ok_or_else(|| {
            Failure::file(format!("{} was compiled without a tokenizer; give another", path.display()))
        });
    }
    wordpiece::open(path).or_file(format!("cannot use the tokenizer of {}", path.display()))
}

/// The vector of length one.
fn direction(encoding: &Encoding) -> Vec<f64> {
    normalized(encoding.embedding.iter().map(|&v| f64::from(v)))
}

/// Sentence and vector for people: the text or the tokens, and the first numbers.
fn lines(encoding: &Encoding, tokenizer: Option<&WordPiece>) -> String {
    let tokens = &encoding.tokens;
    let mut out = format!("sentence ({} tokens)\n", text::count(tokens.len() as u64));
    out += &text::quoted(&match tokenizer {
        Some(tokenizer) => tokenizer.decode(tokens),
        None => tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    });
    let vector = direction(encoding);
    let _ = writeln!(out, "vector ({} numbers, made of length one)", vector.len());
    out + &text::quoted(&text::shortened(&vector, 8, |v| format!("{v:.5}")))
}

/// Sentence and vector for programs.
fn encoding_json(encoding: &Encoding, tokenizer: Option<&WordPiece>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("tokens".into(), json!(encoding.tokens));
    object.insert("text".into(), json!(tokenizer.map(|t| t.decode(&encoding.tokens))));
    object.insert("embedding".into(), json!(direction(encoding)));
    object.insert("embedding_integers".into(), json!(encoding.embedding));
    object
}
