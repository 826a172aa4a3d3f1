//! `circlet inspect` for language models.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use circlet::estimate::{Estimate, Times, estimate};
use circlet::files::{self, Head, ModelFile, TextFile};
use circlet::llm::quantize::{Options as Quantize, calibrate, quantize};
use circlet::llm::{self, Checkpoint, Config, Opened, RopeScaling, Weight};
use circlet::numbers::Spool;
use circlet_core::decoder::{Decoder, DecoderKey, Extent};
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;
use clap::Args;
use serde_json::{Value, json};

use super::compile::{USUAL, accuracy_fields, accuracy_json};
use super::prover::{Holding, extent, protocol};
use super::source;
use crate::cli::failure::{Failure, OrFail};
use crate::cli::inspect::{Arguments, estimate_fields, estimate_json, fields_json, suite};
use crate::cli::{Outcome, job, text};

/// The text that an estimate is for.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Language models")]
pub struct Options {
    /// Tokens that follow the prompt, for the estimate [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    tokens: Option<u32>,
    /// Tokens of the prompt, the constant first one not counted, for the estimate [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    prompt_tokens: Option<u32>,
}

impl Options {
    /// The first of these options that is given.
    pub fn given(&self) -> Option<&'static str> {
        self.tokens.map(|_| "--tokens").or(self.prompt_tokens.map(|_| "--prompt-tokens"))
    }

    /// Tokens of the prompt and of what follows.
    fn counts(&self) -> (u32, u32) {
        (self.prompt_tokens.unwrap_or(USUAL.0), self.tokens.unwrap_or(USUAL.1))
    }

    fn extent(&self, decoder: &Decoder) -> Result<Extent, Failure> {
        let (prompt, tokens) = self.counts();
        extent(decoder, prompt, tokens).or_usage("there is no estimate for --prompt-tokens and --tokens")
    }
}

/// A compiled model.
pub fn model(arguments: &Arguments) -> Result<Outcome, Failure> {
    let ModelFile { head, numbers } = files::read(&arguments.file).or_bad()?;
    let weights = numbers.count();
    let tokenizer = match &head.tokenizer {
        Some(data) => format!("{} tokens", text::count(data.tokens.len() as u64)),
        None => "none: prompts are token numbers".into(),
    };
    let more = [
        ("constants", format!("{} integers", text::count(weights))),
        ("tokenizer", tokenizer),
        ("prefix", source::describe_prefix(head.decoder.prefix, &head.prefix, None)),
        ("ends a text", join(&head.end)),
        ("suite", suite(head.suite)),
        ("key", text::hex(&head.key_digest)),
    ];
    let Head { decoder, profile, accuracy, .. } = head;
    let mut outcome =
        decoded(arguments, "compiled language model", &decoder, arguments.profile.unwrap_or(profile), &more)?;
    if let Some(accuracy) = accuracy {
        outcome.text += "accuracy against the float model when it was compiled\n";
        outcome.text += &text::fields(&accuracy_fields(&accuracy));
        if let Some(object) = outcome.json.as_object_mut() {
            object.insert("accuracy".into(), accuracy_json(&accuracy));
        }
    }
    Ok(outcome)
}

/// A verifying key.
pub fn key(arguments: &Arguments) -> Result<Outcome, Failure> {
    let key: DecoderKey = files::read(&arguments.file).or_bad()?;
    let prefix = key.decoder.prefix.map_or_else(
        || "none".into(),
        |id| format!("token {id}: its keys and values are parameters of the key, computed outside proofs"),
    );
    let more = [("prefix", prefix), ("suite", suite(key.suite)), ("key", text::hex(&key.digest()))];
    let profile = arguments.profile.unwrap_or(key.profile);
    decoded(arguments, "language model's verifying key", &key.decoder, profile, &more)
}

/// A proof.
pub fn proof(path: &Path) -> Result<Outcome, Failure> {
    let file: TextFile = files::read(path).or_bad()?;
    let out = String::from("proof of a text (not verified here; use `circlet verify`)\n")
        + &text::fields(&[
            ("for the key", text::hex(&file.key_digest)),
            ("tokens", file.text.tokens.len().to_string()),
            ("of the prompt", file.text.prompt.to_string()),
            ("proof", text::bytes(file.proof.len() as u64)),
        ]);
    let json = json!({
        "kind": "proof of a text",
        "key": text::hex(&file.key_digest),
        "tokens": file.text.tokens,
        "prompt": file.text.prompt,
        "proof_bytes": file.proof.len(),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

fn join(ids: &[u32]) -> String {
    if ids.is_empty() {
        return "no token".into();
    }
    ids.iter().map(|id| format!("token {id}")).collect::<Vec<_>>().join(", ")
}

/// A decoder of integers and what proving will take.
fn decoded(
    arguments: &Arguments,
    kind: &str,
    decoder: &Decoder,
    profile: ProfileId,
    more: &[(&str, String)],
) -> Result<Outcome, Failure> {
    let extent = arguments.llm.extent(decoder)?;
    let protocol = protocol(decoder, profile, extent)?;
    let mut out = format!("{}: {kind}\n", text::name(&decoder.name));
    let mut fields = vec![
        ("layers", decoder.layers.len().to_string()),
        ("width", format!("{}, feed-forward {}", decoder.width, decoder.ffn)),
        ("heads", format!("{} of {} channels, {} groups", decoder.heads, decoder.channels, decoder.groups)),
        ("vocabulary", text::count(decoder.vocab.into())),
        ("positions", decoder.positions.to_string()),
    ];
    fields.extend(more.iter().cloned());
    out += &text::fields(&fields);
    let mut json = json!({ "model": decoder.name, "kind": kind, "details": fields_json(&fields) });
    estimated(arguments, &protocol, extent, &mut out, &mut json)?;
    Ok(Outcome { text: out, json, rejected: None })
}

fn estimated(
    arguments: &Arguments,
    protocol: &Protocol,
    extent: Extent,
    out: &mut String,
    json: &mut Value,
) -> Result<(), Failure> {
    let threads = rayon::current_num_threads();
    let whole: Estimate = estimate(protocol, threads);
    let expected = Holding::soonest(&whole, |_| true).map_or(whole, |holding| holding.expected(whole));
    let security = job::security(protocol)?;
    let (prompt, tokens) = arguments.llm.counts();
    let _ = writeln!(
        out,
        "{tokens} token{} after a prompt of {prompt}: {} rows",
        if tokens == 1 { "" } else { "s" },
        extent.rows
    );
    *out += &estimate_fields(&expected, threads, &security);
    let ways = Holding::ALL.map(|holding| (holding, holding.expected(whole)));
    *out += "ways to hold the weights, of which prove takes the soonest that fits\n";
    let lines = ways.each_ref().map(|(holding, way)| {
        let Times { weights, .. } = way.times;
        let (memory, weights) = (text::bytes(way.memory_bytes), text::seconds(weights));
        let prove = text::seconds(way.times.prove());
        (holding.name(), format!("{memory}, {weights} to commit and {prove} to prove"))
    });
    *out += &text::fields(&lines);
    if let Some(object) = json.as_object_mut() {
        object.insert("prompt_tokens".into(), json!(prompt));
        object.insert("tokens".into(), json!(tokens));
        object.insert("rows".into(), json!(extent.rows));
        object.insert("estimate".into(), estimate_json(&expected, threads));
        let ways = ways.map(|(holding, way)| {
            json!({ "way": holding.name(), "memory_bytes": way.memory_bytes,
                    "seconds": { "weights": way.times.weights, "prove": way.times.prove() } })
        });
        object.insert("ways".into(), json!(ways));
        object.insert("security".into(), job::security_json(&security));
    }
    Ok(())
}

/// A model before it is compiled.
pub fn source(arguments: &Arguments) -> Result<Outcome, Failure> {
    let opened = source::open(&arguments.file)?;
    let config = opened.checkpoint.config();
    let scaling = match config.rope.scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", linear scaling by {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!(", Llama 3 scaling by {factor}"),
    };
    let mut fields = vec![
        ("family", format!("{:?}", config.family)),
        ("parameters", text::count(llm::parameters(config))),
        ("tensors", formats(&opened)),
        ("layers", config.layers.to_string()),
        ("width", format!("{}, feed-forward {} ({:?})", config.width, config.ffn, config.activation)),
        (
            "heads",
            format!(
                "{} of {} channels, {} key/value heads{}{}",
                config.heads,
                config.head_dim,
                config.kv_heads,
                if config.qk_norm { ", normalized" } else { "" },
                if config.attention_bias { ", with biases" } else { "" }
            ),
        ),
        ("rotation", format!("base {}{scaling}", config.rope.base)),
        ("vocabulary", text::count(config.vocab as u64)),
        ("head", if config.tied_head { "the embedding" } else { "its own" }.into()),
        ("context", text::count(config.context as u64)),
        ("begins a text", join(config.bos.as_slice())),
        ("ends a text", join(&config.eos)),
        (
            "tokenizer",
            match (&opened.tokenizer, &opened.tokenizer_error) {
                (Some(t), _) => format!("{} tokens", text::count(t.len() as u64)),
                (None, error) => format!(
                    "not usable, prompts must be token numbers: {}",
                    text::name(error.as_deref().unwrap_or_default())
                ),
            },
        ),
    ];
    let profile = arguments.profile.unwrap_or(ProfileId::P100U);
    let sketched = sketch(&opened).and_then(|decoder| {
        let (prompt, tokens) = arguments.llm.counts();
        let extent = extent(&decoder, prompt, tokens)?;
        Ok((llm::prover::protocol(&decoder, profile, extent)?, extent))
    });
    fields.push((
        "supported",
        match &sketched {
            Ok(_) => "yes".into(),
            Err(error) => format!("no: {}", text::name(&format!("{error:#}"))),
        },
    ));
    let mut out = format!("{}: language model\n", text::name(&config.name));
    out += &text::fields(&fields);
    let mut json = json!({
        "model": config.name, "kind": "language model", "supported": sketched.is_ok(),
        "parameters": llm::parameters(config), "details": fields_json(&fields),
    });
    if let Ok((protocol, extent)) = sketched {
        estimated(arguments, &protocol, extent, &mut out, &mut json)?;
        out += "  (scales are guessed from a few tokens; compiling chooses them)\n";
    }
    Ok(Outcome { text: out, json, rejected: None })
}

/// How many tensors there are of each number format.
fn formats(opened: &Opened) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for weight in llm::weights(opened.checkpoint.config()) {
        let format = opened.checkpoint.format(weight).unwrap_or_else(|| "unknown".into());
        *counts.entry(format).or_default() += 1;
    }
    counts.iter().map(|(format, n)| format!("{n} {format}")).collect::<Vec<_>>().join(", ")
}

/// The first layer of a model.
struct First<'a> {
    all: &'a dyn Checkpoint,
    config: Config,
}

impl Checkpoint for First<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn shape(&self, weight: Weight) -> Option<(usize, usize)> {
        self.all.shape(weight)
    }

    fn read(&self, weight: Weight, rows: std::ops::Range<usize>, out: &mut [f32]) -> anyhow::Result<()> {
        self.all.read(weight, rows, out)
    }
}

/// A decoder of the shape that a model will have: its first layer, quantized, over and over.
fn sketch(opened: &Opened) -> anyhow::Result<Decoder> {
    let all = &*opened.checkpoint;
    let layers = all.config().layers;
    let first = First { all, config: Config { layers: 1, ..all.config().clone() } };
    let prefix = first.config.bos;
    let most = first.config.context.min(1024) as u32;
    let positions = if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 };
    let tokens: Vec<u32> = (0..16.min(positions)).map(|i| i * 7919 % first.config.vocab as u32).collect();
    let calibration = calibrate(&first, prefix, &[tokens])?;
    let options = Quantize { prefix, positions };
    let (maxima, spool) = (&calibration.maxima, Spool::memory());
    let mut decoder = quantize(&first, maxima, &calibration.prefix, options, spool)?.decoder;
    decoder.layers = vec![decoder.layers[0].clone(); layers];
    Ok(decoder)
}
