//! `circlet compile` for language models.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::estimate::estimate;
use circlet::files::{self, Head, ModelFile, Outputs, folder};
use circlet::llm;
use circlet::llm::quantize::Options as Quantize;
use circlet::llm::report::Accuracy;
use clap::Args;
use serde_json::{Value, json};

use super::partial::Partial;
use super::prover::{Holding, extent, protocol, verifying_key};
use super::source::{self, Budget, Integers, Room, describe_prefix, integers};
use crate::cli::compile::Arguments;
use crate::cli::failure::{Failure, OrFail};
use crate::cli::{Context, Outcome, job, text};

/// Word for no report, and for no first token.
const NONE: &str = "none";
/// Positions that a model is compiled for, if the user does not say.
const POSITIONS: u32 = 256;
/// Tokens of prompt and of text that the printed estimate is for.
pub const USUAL: (u32, u32) = (16, 16);

/// What is said only of language models.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Language models")]
pub struct Options {
    /// The constant first token, whose keys and values become parameters: its number, its text, or "none"
    /// [default: the one that the model wants before every text, else <|im_start|> or <|begin_of_text|>]
    #[arg(long, value_name = "TOKEN")]
    prefix: Option<String>,
    /// Most positions of a text, a power of two up to 1024 [default: 256]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) positions: Option<u32>,
    /// A text to compare the integer model with the float model on, or "none"
    /// [default: the end of the calibration text, which is then not calibrated on]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Most tokens to calibrate with [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    calibrate_tokens: Option<u32>,
    /// Most tokens of the report [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    report_tokens: Option<u32>,
}

impl Options {
    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.report.as_deref().filter(|path| path.as_os_str() != NONE)
    }

    /// Whether a report is not wanted.
    pub fn no_report(&self) -> bool {
        self.report.is_some() && self.path().is_none()
    }

    /// The first of these options that is given and is for models that generate text alone.
    pub fn given_for_texts(&self) -> Option<&'static str> {
        [
            ("--prefix", self.prefix.is_some()),
            ("--calibrate-tokens", self.calibrate_tokens.is_some()),
            ("--report-tokens", self.report_tokens.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    /// The first of these options that is given.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--prefix", self.prefix.is_some()),
            ("--positions", self.positions.is_some()),
            ("--report", self.report.is_some()),
            ("--calibrate-tokens", self.calibrate_tokens.is_some()),
            ("--report-tokens", self.report_tokens.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// Compiles.
pub fn run(
    context: &Context,
    arguments: &Arguments,
    calibrate: &Path,
    outputs: &Outputs<2>,
    vk: &Path,
) -> Result<Outcome, Failure> {
    let options = &arguments.llm;
    let opened = source::open(&arguments.model)?;
    let config = opened.checkpoint.config();
    let (prefix, origin) = source::prefix(options.prefix.as_deref(), &opened)?;
    let positions = options.positions.unwrap_or(POSITIONS);
    check_positions(positions, config.context)?;
    let budget = Budget::new(
        positions,
        config,
        options.calibrate_tokens.unwrap_or(4096) as usize,
        options.report_tokens.unwrap_or(1024) as usize,
    );
    let tokens = source::read_tokens(calibrate, &opened)?;
    let texts = match (options.path(), &options.report) {
        (Some(path), _) => budget.both(&tokens, &source::read_tokens(path, &opened)?),
        (None, Some(_)) => budget.both(&tokens, &[]),
        (None, None) => budget.split(&tokens),
    };
    let room = Room::new(context, config, folder(&arguments.output));
    context.check_memory(source::memory(config, room), "quantizing this model")?;

    let shown = context.monitor.plan(&source::plan(config, &texts), 1);
    let choice = Quantize { prefix, positions };
    let mut partial = Partial::new(&arguments.output, &arguments.model, &texts, choice)?;
    let Integers { numbers, runner, logit_bits, accuracy } =
        integers(context, &opened, &texts, choice, room, Some(&mut partial))?;
    drop(shown);
    let decoder = runner.decoder();
    let usual = extent(decoder, USUAL.0.min(positions), USUAL.1.min(positions.div_ceil(2)))
        .or_else(|_| extent(decoder, 1, 1))
        .or_file("this decoder cannot be proven")?;
    let expected = estimate(&protocol(decoder, arguments.profile, usual)?, rayon::current_num_threads());
    let soonest =
        Holding::soonest(&expected, |_| true).map_or(expected, |holding| holding.expected(expected));
    let needed = expected.key_alone_bytes + room.bytes(config);
    context.check_memory(needed, "committing to the weights")?;
    let shown = context.monitor.plan(&[("weights", expected.lean_times.weights)], 1);
    let key = &verifying_key(&context.device, &runner, arguments.profile, arguments.suite)?;
    drop((shown, runner));
    let file = ModelFile {
        head: Head {
            decoder: key.decoder.clone(),
            tokenizer: opened.tokenizer.clone().map(Into::into),
            end: config.eos.clone(),
            logit_bits,
            prefix: origin.clone(),
            profile: arguments.profile,
            suite: arguments.suite.id(),
            key_digest: key.digest(),
            accuracy,
        },
        numbers,
    };
    let (model, verifying) = (files::encode_parts(&file), files::encode_parts(key));
    outputs.write_parts([&model, &verifying]).or_bad()?;
    let [model_bytes, verifying_bytes] =
        [&model, &verifying].map(|parts| parts.iter().map(|part| part.len() as u64).sum::<u64>());
    partial.remove();

    let stages = context.monitor.take();
    let digest = text::hex(&file.head.key_digest);
    let parameters = llm::parameters(config);
    let mut out = format!("compiled {}\n", text::name(&config.name));
    if let Some(error) = &opened.tokenizer_error {
        let _ = writeln!(
            out,
            "warning: no tokenizer, prompts must be given as token numbers: {}",
            text::name(error)
        );
    }
    let security = job::security(&protocol(&key.decoder, arguments.profile, usual)?.outline)?;
    out += &text::fields(&[
        ("parameters", text::count(parameters)),
        ("layers", config.layers.to_string()),
        ("positions", positions.to_string()),
        ("prefix", describe_prefix(prefix, &origin, opened.tokenizer.as_ref())),
        ("key", digest.clone()),
        ("security", job::security_line(&security)),
        ("model", format!("{} ({})", arguments.output.display(), text::bytes(model_bytes))),
        ("verifying key", format!("{} ({})", vk.display(), text::bytes(verifying_bytes))),
        (
            "proof, estimated",
            format!(
                "{}, {}, {} of memory for {} positions and {} token{} that follow",
                text::bytes(expected.proof_bytes),
                text::seconds(soonest.times.prove()),
                text::bytes(soonest.memory_bytes),
                usual.rows,
                usual.generated,
                if usual.generated == 1 { "" } else { "s" }
            ),
        ),
    ]);
    if let Some(accuracy) = &accuracy {
        let on = if texts.own {
            "the end of the calibration text, not calibrated on"
        } else {
            "the text of --report"
        };
        let _ = writeln!(out, "accuracy against the float model on {on}");
        out += &text::fields(&accuracy_fields(accuracy));
    }
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let json = json!({
        "model": config.name,
        "parameters": parameters,
        "layers": config.layers,
        "positions": positions,
        "prefix": prefix,
        "prefix_origin": format!("{origin:?}"),
        "calibration_tokens": texts.calibration.iter().map(Vec::len).sum::<usize>(),
        "key": digest,
        "security": job::security_json(&security),
        "program": arguments.output, "program_bytes": model_bytes,
        "verifying_key": vk, "verifying_key_bytes": verifying_bytes,
        "accuracy": accuracy.as_ref().map(accuracy_json),
        "seconds": job::stage_json(&stages),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

fn check_positions(positions: u32, context: usize) -> Result<(), Failure> {
    if !positions.is_power_of_two() || !(2..=1024).contains(&positions) {
        return Err(Failure::usage(format!(
            "--positions {positions}: must be a power of two from 2 to 1024"
        )));
    }
    if positions as usize > context {
        return Err(Failure::usage(format!(
            "--positions {positions}: the model was trained for {context} tokens; take a smaller power of two"
        )));
    }
    Ok(())
}

/// How close the integer model is to the float model.
pub fn accuracy_fields(accuracy: &Accuracy) -> Vec<(&'static str, String)> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    vec![
        ("positions", text::count(accuracy.positions as u64)),
        ("same most likely token", percent(accuracy.agreement())),
        (
            "where the float model is sure",
            format!(
                "{} (it gives its token more than one half, at {} positions)",
                percent(accuracy.confident_agreement()),
                text::count(accuracy.confident as u64)
            ),
        ),
        ("mean KL divergence", format!("{:.6} nats", accuracy.divergence)),
        (
            "perplexity",
            format!(
                "{:.3} (integers), {:.3} (floats)",
                accuracy.integer_perplexity, accuracy.float_perplexity
            ),
        ),
    ]
}

/// The same for programs.
pub fn accuracy_json(accuracy: &Accuracy) -> Value {
    json!({
        "positions": accuracy.positions,
        "agreement": accuracy.agreement(),
        "confident_positions": accuracy.confident,
        "confident_agreement": accuracy.confident_agreement(),
        "divergence": accuracy.divergence,
        "float_perplexity": accuracy.float_perplexity,
        "integer_perplexity": accuracy.integer_perplexity,
    })
}
