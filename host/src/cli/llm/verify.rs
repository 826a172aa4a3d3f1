//! `circlet verify` for language models. What is accepted is decided by `circlet_verifier` alone.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::files::{self, Kind, ModelFile};
use circlet::llm::{self, Tokenizer};
use circlet_core::decoder::{DecoderKey, Text};
use circlet_core::protocol::Outline;
use circlet_verifier::{Key, Proven};
use clap::Args;
use serde_json::json;

use super::prompt::{Form, encode};
use super::prove::{text_json, tokenizer, tokens_in_words};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::verify::{About, Arguments, Judged, judge, of_kind, settle};
use crate::cli::{Outcome, job, text};

/// What is said only of texts.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Language models")]
pub struct Options {
    /// Where token numbers get their meaning from: a compiled model, a GGUF file, a tokenizer.json or a model
    /// directory. It is not part of the key: take one that you trust
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) tokenizer: Option<PathBuf>,
    /// Reject unless the prompt is exactly this text, in the form that --chat, --system and --special say
    #[arg(long, value_name = "TEXT", requires = "tokenizer")]
    pub(in crate::cli) expect_prompt: Option<String>,
    /// Reject unless the continuation is this text (of a sentence encoder: unless the sentence is written in the tokens
    /// of this text); a token at its end that ends texts is left out
    #[arg(long, value_name = "TEXT", requires = "tokenizer")]
    pub(in crate::cli) expect_text: Option<String>,
    /// How the expected prompt is written
    #[command(flatten)]
    pub(in crate::cli) form: Form,
}

impl Options {
    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// Whether a single text is expected.
    pub fn expects(&self) -> bool {
        self.expect_prompt.is_some() || self.expect_text.is_some()
    }

    /// The first of these options that is given.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--tokenizer", self.tokenizer.is_some()),
            ("--chat", self.form.chat),
            ("--special", self.form.special),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// Opens a tokenizer, wherever it is.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, Failure> {
    if !path.is_dir() && files::kind_of(path).or_bad()? == Some(Kind::Model) {
        let mut file: ModelFile = files::read(path).or_bad()?;
        return tokenizer(&mut file.head)?.ok_or_else(|| {
            Failure::file(format!("{} was compiled without a tokenizer; give another", path.display()))
        });
    }
    llm::open_tokenizer(path).or_file(format!("cannot use the tokenizer of {}", path.display()))
}

/// Verifies.
pub fn run(arguments: &Arguments, own: &Key, key: &DecoderKey) -> Result<Outcome, Failure> {
    let options = &arguments.llm;
    if files::kind_of(&arguments.proof).or_bad()? == Some(Kind::Chat) {
        return super::chat::verify(arguments, own, key);
    }
    let tokenizer = options.tokenizer.as_deref().map(open_tokenizer).transpose()?;

    let Judged { verdict, bytes, seconds } = judge(arguments, own)?;
    let verdict = verdict.and_then(|proven| {
        of_kind(match proven {
            Proven::Text(text) => Some(text),
            _ => None,
        })
    });
    let verdict = match (verdict, &tokenizer) {
        (Ok(text), Some(tokenizer)) => expectations(options, key, &text, tokenizer)?.map(|()| text),
        (verdict, _) => verdict,
    };

    let about = About { model: &key.decoder.name, digest: key.digest(), bytes, seconds };
    let (mut json, text) = match settle(arguments, verdict, &about, &circlet_verifier::registered(key))? {
        Ok(accepted) => accepted,
        Err(rejected) => return Ok(rejected),
    };
    let extent = key.decoder.extent(&text).or_file("cannot use the key")?;
    let protocol = Outline::of_key(&key.instance(extent)).or_file("cannot use the key")?;
    let report = job::security(&protocol)?;
    json.insert("security".into(), job::security_json(&report));
    json.insert("prefix".into(), json!(key.decoder.prefix));
    json.extend(text_json(&text, tokenizer.as_ref()));
    let mut out =
        format!("accepted: {} continues this prompt with this text\n", text::name(&key.decoder.name));
    out += &lines(&text, tokenizer.as_ref());
    if !circlet_core::security::meets_target(&report) {
        out += "warning: for a text of this size the profile does not reach the bits that it promises\n";
    }
    let mut fields = claims(key, arguments, tokenizer.is_some());
    fields.extend([
        ("security", job::security_line(&report)),
        ("proof", text::bytes(bytes)),
        ("time", text::seconds(seconds)),
    ]);
    out += &text::fields(&fields);
    Ok(Outcome { text: out, json: json.into(), rejected: None })
}

/// What an accepted proof says, and what it relies on.
pub fn claims(key: &DecoderKey, arguments: &Arguments, meanings: bool) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        (
            "proven",
            "every token of the text is the one to which the committed integer model gives the largest logit\n\
             after all tokens before it (of equal ones that with the lowest number)"
                .to_owned(),
        ),
        ("key", text::hex(&key.digest())),
        ("bounds", arguments.bounds.line()),
    ];
    if let Some(prefix) = key.decoder.prefix {
        fields.push((
            "prefix",
            format!(
                "the keys and values of the first token ({prefix}) are parameters of the key, computed outside \
                 the proof"
            ),
        ));
    }
    if meanings {
        fields.push(("tokenizer", "what token numbers mean is not part of the key".into()));
    }
    fields
}

/// Prompt and continuation, as text or as token numbers.
pub fn lines(text: &Text, tokenizer: Option<&Tokenizer>) -> String {
    let (prompt, rest) = text.tokens.split_at((text.prompt as usize).min(text.tokens.len()));
    let mut out = String::new();
    for (name, tokens) in [("prompt", prompt), ("text", rest)] {
        let _ = writeln!(out, "{name} ({})", tokens_in_words(tokens.len()));
        out += &text::quoted(&match tokenizer {
            Some(tokenizer) => tokenizer.decode(tokens),
            None => tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        });
    }
    out
}

/// Whether the text is what the user expects.
fn expectations(
    options: &Options,
    key: &DecoderKey,
    text: &Text,
    tokenizer: &Tokenizer,
) -> Result<Result<(), String>, Failure> {
    let (prompt, rest) = text.tokens.split_at((text.prompt as usize).min(text.tokens.len()));
    if let Some(expected) = &options.expect_prompt {
        let expected = encode(&key.decoder, tokenizer, expected, &options.form)?;
        if expected != prompt {
            let same = tokenizer.decode(&expected) == tokenizer.decode(prompt);
            return Ok(Err(format!(
                "the proof is valid, but for another prompt: {}",
                if same {
                    "its text is the expected one, but it is written in other tokens".to_owned()
                } else {
                    text::name(&format!("{:?}", tokenizer.decode(prompt)))
                }
            )));
        }
    }
    if let Some(expected) = &options.expect_text {
        let last = rest.last().is_some_and(|&id| tokenizer.is_special(id));
        let found = tokenizer.decode(&rest[..rest.len() - usize::from(last)]);
        if found != *expected {
            return Ok(Err(format!(
                "the proof is valid, but for another text: {}",
                text::name(&format!("{found:?}"))
            )));
        }
    }
    Ok(Ok(()))
}
