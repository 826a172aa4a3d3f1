//! `circlet inspect` for sentence encoders.

use std::fmt::Write;
use std::path::Path;

use circlet::estimate::estimate;
use circlet::files::{self, EncoderFile, EncodingFile};
use circlet::llm::encoder::open;
use circlet_core::encoder::{Encoder, EncoderKey};
use circlet_core::profile::ProfileId;
use serde_json::json;

use super::compile::{USUAL, accuracy_fields, accuracy_json};
use super::prover::protocol;
use crate::cli::failure::{Failure, OrFail};
use crate::cli::inspect::{Arguments, estimate_fields, estimate_json, fields_json, suite};
use crate::cli::{Outcome, job, text};

/// A model before it is compiled.
pub fn source(path: &Path) -> Result<Outcome, Failure> {
    let opened = open(path).or_file(format!("cannot use the model {}", path.display()))?;
    let config = opened.weights.config();
    let tokenizer = match (&opened.tokenizer, &opened.tokenizer_error) {
        (Some(tokenizer), _) => format!("{} tokens", text::count(tokenizer.len() as u64)),
        (None, error) => format!("none: {}", text::name(error.as_deref().unwrap_or_default())),
    };
    let fields = [
        ("parameters", text::count(config.parameters())),
        ("layers", config.layers.to_string()),
        ("width", format!("{}, feed-forward {} ({:?})", config.width, config.ffn, config.activation)),
        ("heads", format!("{} of {} channels", config.heads, config.head_dim())),
        ("vocabulary", text::count(config.vocab as u64)),
        ("positions", config.positions.to_string()),
        ("pooling", "mean".into()),
        ("tokenizer", tokenizer),
    ];
    let out = format!("{}: sentence encoder\n", text::name(&config.name)) + &text::fields(&fields);
    let json = json!({ "model": config.name, "kind": "sentence encoder", "details": fields_json(&fields) });
    Ok(Outcome { text: out, json, rejected: None })
}

/// A compiled encoder.
pub fn model(arguments: &Arguments) -> Result<Outcome, Failure> {
    let EncoderFile { head, numbers } = files::read(&arguments.file).or_bad()?;
    let weights = numbers.count();
    let tokenizer = match &head.tokenizer {
        Some(data) => format!("{} tokens", text::count(data.tokens.len() as u64)),
        None => "none: sentences are token numbers".into(),
    };
    let more = [
        ("constants", format!("{} integers", text::count(weights))),
        ("tokenizer", tokenizer),
        ("suite", suite(head.suite)),
        ("key", text::hex(&head.key_digest)),
    ];
    let profile = arguments.profile.unwrap_or(head.profile);
    let mut outcome = described("compiled sentence encoder", &head.encoder, profile, &more)?;
    if let Some(accuracy) = &head.accuracy {
        outcome.text += "accuracy against the float model when it was compiled\n";
        outcome.text += &text::fields(&accuracy_fields(accuracy));
        if let Some(object) = outcome.json.as_object_mut() {
            object.insert("accuracy".into(), accuracy_json(accuracy));
        }
    }
    Ok(outcome)
}

/// A verifying key.
pub fn key(arguments: &Arguments) -> Result<Outcome, Failure> {
    let key: EncoderKey = files::read(&arguments.file).or_bad()?;
    let more = [("suite", suite(key.suite)), ("key", text::hex(&key.digest()))];
    let profile = arguments.profile.unwrap_or(key.profile);
    described("sentence encoder's verifying key", &key.encoder, profile, &more)
}

/// A proof.
pub fn proof(path: &Path) -> Result<Outcome, Failure> {
    let file: EncodingFile = files::read(path).or_bad()?;
    let out = String::from("proof of a sentence's vector (not verified here; use `circlet verify`)\n")
        + &text::fields(&[
            ("for the key", text::hex(&file.key_digest)),
            ("tokens", file.encoding.tokens.len().to_string()),
            ("numbers", file.encoding.embedding.len().to_string()),
            ("proof", text::bytes(file.proof.len() as u64)),
        ]);
    let json = json!({
        "kind": "proof of a sentence's vector",
        "key": text::hex(&file.key_digest),
        "tokens": file.encoding.tokens,
        "embedding_integers": file.encoding.embedding,
        "proof_bytes": file.proof.len(),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

/// An encoder of integers and what proving will take.
fn described(
    kind: &str,
    encoder: &Encoder,
    profile: ProfileId,
    more: &[(&str, String)],
) -> Result<Outcome, Failure> {
    let usual = USUAL.min(encoder.positions);
    let protocol = protocol(encoder, profile, usual)?;
    let threads = rayon::current_num_threads();
    let (expected, security) = (estimate(&protocol, threads), job::security(&protocol)?);
    let mut fields = vec![
        ("layers", encoder.layers.len().to_string()),
        ("width", format!("{}, feed-forward {}", encoder.width, encoder.ffn)),
        ("heads", format!("{} of {} channels", encoder.heads, encoder.channels)),
        ("vocabulary", text::count(encoder.vocab.into())),
        ("positions", encoder.positions.to_string()),
    ];
    fields.extend(more.iter().cloned());
    let mut out = format!("{}: {kind}\n", text::name(&encoder.name));
    out += &text::fields(&fields);
    let _ = writeln!(out, "a sentence of {usual} tokens");
    out += &estimate_fields(&expected, threads, &security);
    let json = json!({
        "model": encoder.name, "kind": kind, "details": fields_json(&fields), "tokens": usual,
        "estimate": estimate_json(&expected, threads), "security": job::security_json(&security),
    });
    Ok(Outcome { text: out, json, rejected: None })
}
