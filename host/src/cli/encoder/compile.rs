//! `circlet compile` for sentence encoders.

use std::fmt::Write;
use std::path::Path;

use circlet::estimate::estimate;
use circlet::files::{self, EncoderFile, EncoderHead, Outputs};
use circlet::llm::encoder::float::{FloatEncoder, Maxima};
use circlet::llm::encoder::prover::EncoderRunner;
use circlet::llm::encoder::quantize::quantize;
use circlet::llm::encoder::report::{Accuracy, compare};
use circlet::llm::encoder::{OpenedEncoder, open};
use serde_json::{Value, json};

use super::prover::{commit, protocol};
use crate::cli::compile::Arguments;
use crate::cli::failure::{Failure, OrFail};
use crate::cli::llm::prompt::{parse_ids, read_text};
use crate::cli::{Context, Outcome, job, text};

/// Positions that a model is compiled for, if the user does not say.
const POSITIONS: u32 = 256;
/// Most sentences of the report.
const REPORT: usize = 100;
/// Of so many lines of the calibration text one is held out for the report.
const HELD_OUT: usize = 5;
/// Tokens of the sentence that the printed estimate is for.
pub const USUAL: u32 = 16;

/// The sentences of a text, one on each line; lines of token numbers if the model has no tokenizer.
fn sentences(path: &Path, opened: &OpenedEncoder, positions: u32) -> Result<Vec<Vec<u32>>, Failure> {
    let content = read_text(path)?;
    let vocab = opened.weights.config().vocab as u32;
    let mut all = Vec::new();
    for line in content.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut tokens = match &opened.tokenizer {
            Some(tokenizer) => tokenizer.encode(line),
            None => parse_ids(line, vocab).or_file(format!(
                "{} must hold lines of token numbers, because the model's tokenizer is not usable: {}",
                path.display(),
                opened.tokenizer_error.as_deref().unwrap_or("there is none")
            ))?,
        };
        tokens.truncate(positions as usize);
        all.push(tokens);
    }
    if all.is_empty() {
        return Err(Failure::file(format!(
            "{} is empty; give some dozen sentences like those that will be proven, one on each line",
            path.display()
        )));
    }
    Ok(all)
}

/// Positions to compile for.
fn positions(arguments: &Arguments, most: usize) -> Result<u32, Failure> {
    let longest = most.min(512);
    // The largest power of two that the model has.
    let own = 1u32 << longest.max(1).ilog2();
    let Some(positions) = arguments.llm.positions else { return Ok(POSITIONS.min(own)) };
    if positions.is_power_of_two() && positions <= own {
        return Ok(positions);
    }
    Err(Failure::usage(format!(
        "--positions {positions}: must be a power of two up to {own}, the most that this encoder can be proven with"
    )))
}

/// Compiles.
pub fn run(
    context: &Context,
    arguments: &Arguments,
    calibrate: &Path,
    outputs: &Outputs<2>,
    vk: &Path,
) -> Result<Outcome, Failure> {
    if let Some(option) = arguments.llm.given_for_texts() {
        return Err(Failure::usage(format!(
            "{option} is for language models that generate text, and {} is a sentence encoder",
            arguments.model.display()
        )));
    }
    let unusable = || format!("cannot use the model {}", arguments.model.display());
    let opened = tracing::info_span!("import").in_scope(|| open(&arguments.model)).or_file(unusable())?;
    let config = opened.weights.config();
    let positions = positions(arguments, config.positions)?;
    let all = sentences(calibrate, &opened, positions)?;
    let (calibration, report): (Vec<_>, Vec<_>) = match arguments.llm.path() {
        Some(path) => (all, sentences(path, &opened, positions)?),
        None if arguments.llm.no_report() || all.len() < 2 => (all, Vec::new()),
        None => {
            let (held, kept): (Vec<_>, Vec<_>) = all
                .into_iter()
                .enumerate()
                .partition(|(index, _)| index % HELD_OUT == HELD_OUT - 1 || *index == 1);
            let sentences =
                |list: Vec<(usize, Vec<u32>)>| list.into_iter().map(|(_, tokens)| tokens).collect();
            (sentences(kept), sentences(held))
        }
    };
    let report = &report[..report.len().min(REPORT)];

    let model = FloatEncoder::new(&opened.weights);
    let mut maxima = Maxima::default();
    tracing::info_span!("calibrate")
        .in_scope(|| calibration.iter().try_for_each(|tokens| model.encode(tokens, &mut maxima).map(|_| ())))
        .or_file(unusable())?;
    let pad = opened.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.data().pad);
    let quantized = tracing::info_span!("quantize")
        .in_scope(|| quantize(&opened.weights, &maxima, positions, pad))
        .or_file(format!("cannot compile the model {}", text::name(&config.name)))?;
    let runner = EncoderRunner::new(quantized.encoder, &quantized.numbers).or_file(unusable())?;
    let accuracy = if report.is_empty() {
        None
    } else {
        let progress = |done: usize| context.monitor.advance(done as f64 / report.len() as f64);
        let accuracy = tracing::info_span!("compare")
            .in_scope(|| compare(&model, &runner, report, progress))
            .or_file("cannot compare the integer model with the float model")?;
        Some(accuracy)
    };

    let usual = USUAL.min(positions);
    let before = protocol(runner.encoder(), arguments.profile, usual)?;
    let expected = estimate(&before, rayon::current_num_threads());
    context.check_memory(expected.key_bytes, "committing to the weights")?;
    let security = job::security(&before)?;
    let prover = commit(&context.device, runner, arguments.profile, arguments.suite)?;
    let key = prover.key();
    let file = EncoderFile {
        head: EncoderHead {
            encoder: key.encoder.clone(),
            tokenizer: opened.tokenizer.as_ref().map(|tokenizer| tokenizer.data().clone()),
            bits: quantized.bits,
            profile: arguments.profile,
            suite: arguments.suite.id(),
            key_digest: key.digest(),
            accuracy,
        },
        numbers: quantized.numbers,
    };
    let (program, verifying) = (files::encode(&file), files::encode(key));
    outputs.write([&program, &verifying]).or_bad()?;

    let stages = context.monitor.take();
    let digest = text::hex(&file.head.key_digest);
    let mut out = format!("compiled {}\n", text::name(&config.name));
    if let Some(error) = &opened.tokenizer_error {
        let _ = writeln!(
            out,
            "warning: no tokenizer, sentences must be given as token numbers: {}",
            text::name(error)
        );
    }
    out += &text::fields(&[
        ("parameters", text::count(config.parameters())),
        ("layers", config.layers.to_string()),
        ("positions", positions.to_string()),
        ("key", digest.clone()),
        ("security", job::security_line(&security)),
        ("model", format!("{} ({})", arguments.output.display(), text::bytes(program.len() as u64))),
        ("verifying key", format!("{} ({})", vk.display(), text::bytes(verifying.len() as u64))),
        (
            "proof, estimated",
            format!(
                "{}, {}, {} of memory for {usual} tokens",
                text::bytes(expected.proof_bytes),
                text::seconds(expected.times.prove()),
                text::bytes(expected.memory_bytes)
            ),
        ),
    ]);
    if let Some(accuracy) = &accuracy {
        let on = if arguments.llm.path().is_some() {
            "sentences of --report"
        } else {
            "sentences of the calibration text, not calibrated on"
        };
        let _ = writeln!(out, "accuracy against the float model on {on}");
        out += &text::fields(&accuracy_fields(accuracy));
    }
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let json = json!({
        "model": config.name,
        "parameters": config.parameters(),
        "layers": config.layers,
        "positions": positions,
        "calibration_sentences": calibration.len(),
        "key": digest,
        "security": job::security_json(&security),
        "program": arguments.output, "program_bytes": program.len(),
        "verifying_key": vk, "verifying_key_bytes": verifying.len(),
        "accuracy": accuracy.as_ref().map(accuracy_json),
        "seconds": job::stage_json(&stages),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

/// How close the integer model is to the float model.
pub fn accuracy_fields(accuracy: &Accuracy) -> Vec<(&'static str, String)> {
    vec![
        ("sentences", text::count(accuracy.sentences as u64)),
        ("cosine", format!("{:.6} on average, {:.6} at least", accuracy.mean_cosine, accuracy.least_cosine)),
        (
            "same nearest sentence",
            format!(
                "{} of {}",
                text::count(accuracy.neighbours as u64),
                text::count(accuracy.sentences as u64)
            ),
        ),
    ]
}

/// The same for programs.
pub fn accuracy_json(accuracy: &Accuracy) -> Value {
    json!({
        "sentences": accuracy.sentences,
        "mean_cosine": accuracy.mean_cosine,
        "least_cosine": accuracy.least_cosine,
        "same_nearest": accuracy.neighbours,
    })
}
