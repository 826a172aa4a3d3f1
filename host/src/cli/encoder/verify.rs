//! `circlet verify` for sentence encoders. What is accepted is decided by `circlet_verifier` alone.

use std::path::Path;

use circlet::files;
use circlet_core::encoder::{EncoderKey, Encoding};
use circlet_core::protocol::Outline;
use circlet_verifier::{Key, Proven};
use serde_json::Value;

use super::{direction, encoding_json, lines, open_tokenizer};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::verify::{About, Arguments, Judged, judge, of_kind, settle};
use crate::cli::{Outcome, job, text};

/// Verifies.
pub fn run(arguments: &Arguments, own: &Key, key: &EncoderKey) -> Result<Outcome, Failure> {
    let options = &arguments.llm;
    if options.expect_prompt.is_some() || options.form.is_given() {
        return Err(Failure::usage(
            "--expect-prompt, --chat and --special are for language models that generate text; say which sentence you \
             expect with --expect-text",
        ));
    }
    let tokenizer = options.tokenizer.as_deref().map(open_tokenizer).transpose()?;
    let expected = arguments.expect_output.as_deref().map(read_vector).transpose()?;

    let Judged { verdict, bytes, seconds } = judge(arguments, own)?;
    let verdict = verdict.and_then(|proven| {
        let encoding = of_kind(match proven {
            Proven::Encoding(encoding) => Some(encoding),
            _ => None,
        })?;
        if let (Some(tokenizer), Some(expected)) = (&tokenizer, &options.expect_text)
            && tokenizer.encode(expected) != encoding.tokens
        {
            return Err(format!(
                "the proof is valid, but for another sentence: {}",
                text::name(&format!("{:?}", tokenizer.decode(&encoding.tokens)))
            ));
        }
        if let Some(expected) = &expected {
            compare(&encoding, expected, arguments.tolerance)?;
        }
        Ok(encoding)
    });
    let about = About { model: &key.encoder.name, digest: key.digest(), bytes, seconds };
    let registered = circlet_verifier::registered_encoder(key);
    let (mut json, encoding) = match settle(arguments, verdict, &about, &registered)? {
        Ok(accepted) => accepted,
        Err(rejected) => return Ok(rejected),
    };
    let length = key.encoder.length(&encoding.tokens).or_file("cannot use the key")?;
    let report = job::security(&Outline::of_key(&key.instance(length)).or_file("cannot use the key")?)?;
    json.insert("security".into(), job::security_json(&report));
    json.extend(encoding_json(&encoding, tokenizer.as_ref()));
    let mut out =
        format!("accepted: {} gives this vector for this sentence\n", text::name(&key.encoder.name));
    out += &lines(&encoding, tokenizer.as_ref());
    if !circlet_core::security::meets_target(&report) {
        out += "warning: for a sentence of this size the profile does not reach the bits that it promises\n";
    }
    let mut fields = vec![
        (
            "proven",
            "every integer of the vector is the one that the committed integer model gives for these tokens; the\n\
             length of one is made here"
                .to_owned(),
        ),
        ("key", text::hex(&about.digest)),
        ("bounds", arguments.bounds.line()),
    ];
    if tokenizer.is_some() {
        fields.push(("tokenizer", "what token numbers mean is not part of the key".into()));
    }
    fields.extend([
        ("security", job::security_line(&report)),
        ("proof", text::bytes(bytes)),
        ("time", text::seconds(seconds)),
    ]);
    out += &text::fields(&fields);
    Ok(Outcome { text: out, json: json.into(), rejected: None })
}

/// A vector: a JSON array of numbers, or an object with one under `embedding`, as `circlet prove --json` prints it.
fn read_vector(path: &Path) -> Result<Vec<f64>, Failure> {
    let bytes = files::read_bytes(path, 1 << 26).or_bad()?;
    let value: Value = serde_json::from_slice(&bytes)
        .or_file(format!("{} is no JSON; give an array of numbers", path.display()))?;
    let entries = value.as_array().or_else(|| value.get("embedding")?.as_array());
    let numbers: Option<Vec<f64>> = entries.and_then(|entries| entries.iter().map(Value::as_f64).collect());
    numbers.ok_or_else(|| {
        Failure::file(format!("{} holds neither an array of numbers nor an embedding", path.display()))
    })
}

/// Whether the vector is the expected one, both made of length one, up to rounding and the tolerance.
fn compare(encoding: &Encoding, expected: &[f64], tolerance: f64) -> Result<(), String> {
    let found = direction(encoding);
    let expected = circlet::llm::encoder::report::normalized(expected.iter().copied());
    if found.len() != expected.len() {
        return Err(format!(
            "the proof is valid, but its vector has {} numbers and not {}",
            found.len(),
            expected.len()
        ));
    }
    let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if most <= tolerance + 1e-9 {
        return Ok(());
    }
    Err(format!("the proof is valid, but its vector differs from the expected one by {most:.6}"))
}
