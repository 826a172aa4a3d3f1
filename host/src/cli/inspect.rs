//! `circlet inspect`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::estimate::{Estimate, TreeSize, estimate};
use circlet::files::{self, Kind, PartialFile, ProgramFile, ProofFile, RegistrationFile};
use circlet_core::key::VerifyingKey;
use circlet_core::profile::ProfileId;
use circlet_core::program::Program;
use circlet_core::protocol::Protocol;
use circlet_core::security::Report;
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::job::{self, Suite};
use super::model::{Calibration, import, name_of, quantized};
use super::{Context, Outcome, encoder, llm, text};

/// Show what a model, program, key or proof consists of, and what proving it will take.
///
/// Nothing is proven or written. Proof size is exact within a few percent; memory and time are estimates for
/// this machine's number of threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet inspect model.onnx
  circlet inspect model.onnx --batch 16 --profile p100-j8 --threads 8
  circlet inspect model.circlet
  circlet inspect image.proof --json
  circlet inspect smollm2.gguf
  circlet inspect smollm2.circlet --prompt-tokens 20 --tokens 12")]
pub struct Arguments {
    /// A model (.onnx, .gguf, .safetensors or a directory), program (.circlet), key (.vk) or proof (.proof)
    pub(super) file: PathBuf,
    /// Inputs to calibrate an ONNX model with (.json or .npy) [default: random ones]
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Samples in one proof, for ONNX models with a symbolic batch dimension
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Security profile [default: that of the file, or p100-u]
    #[arg(long, value_name = "NAME", value_parser = super::profile_parser())]
    pub(super) profile: Option<ProfileId>,
    /// The text that an estimate is for
    #[command(flatten)]
    pub(super) llm: llm::inspect::Options,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        [self.file.as_path()].into_iter().chain(self.calibrate.as_deref()).collect()
    }
}

/// Inspects.
pub fn run(_: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let kind = if arguments.file.is_dir() { None } else { files::kind_of(&arguments.file).or_bad()? };
    let model = matches!(kind, Some(Kind::Model | Kind::ModelKey))
        || kind.is_none() && circlet::llm::recognizes(&arguments.file);
    if let Some(option) = arguments.llm.given().filter(|_| !model) {
        return Err(Failure::usage(format!(
            "{option} is for language models and their keys, and {} is none",
            arguments.file.display()
        )));
    }
    match kind {
        None if circlet::llm::encoder::recognizes(&arguments.file) => {
            encoder::inspect::source(&arguments.file)
        }
        None if model => llm::inspect::source(arguments),
        None => onnx(arguments),
        Some(Kind::Program) => {
            let file: ProgramFile = files::read(&arguments.file).or_bad()?;
            let more = [("suite", suite(file.suite)), ("key", text::hex(&file.key_digest))];
            describe("compiled program", &file.program, arguments.profile.unwrap_or(file.profile), &more)
        }
        Some(Kind::Key) => {
            let key: VerifyingKey = files::read(&arguments.file).or_bad()?;
            let more = [("suite", suite(key.suite)), ("key", text::hex(&key.digest()))];
            describe("verifying key", &key.program, arguments.profile.unwrap_or(key.profile), &more)
        }
        Some(Kind::Proof) => proof(&arguments.file),
        Some(Kind::Model) => llm::inspect::model(arguments),
        Some(Kind::ModelKey) => llm::inspect::key(arguments),
        Some(Kind::Text) => llm::inspect::proof(&arguments.file),
        Some(Kind::Encoder) => encoder::inspect::model(arguments),
        Some(Kind::EncoderKey) => encoder::inspect::key(arguments),
        Some(Kind::Encoding) => encoder::inspect::proof(&arguments.file),
        Some(Kind::Registration) => registration(&arguments.file),
        Some(Kind::Partial) => {
            let file: PartialFile = files::read(&arguments.file).or_bad()?;
            let layers = file.calibrating.layers();
            let out = String::from("unfinished compilation of a language model\n")
                + &text::fields(&[("layers calibrated", layers.to_string())]);
            Ok(Outcome { text: out, json: json!({ "kind": "partial", "layers": layers }), rejected: None })
        }
    }
}

fn registration(path: &Path) -> Result<Outcome, Failure> {
    let file: RegistrationFile = files::read(path).or_bad()?;
    let bytes: usize = file.proofs.iter().map(Vec::len).sum();
    let key = text::hex(&file.key_digest);
    let out = String::from("registration\n")
        + &text::fields(&[
            ("key", key.clone()),
            ("proofs", format!("{} ({})", file.proofs.len(), text::bytes(bytes as u64))),
        ]);
    let json =
        json!({ "kind": "registration", "key": key, "proofs": file.proofs.len(), "proof_bytes": bytes });
    Ok(Outcome { text: out, json, rejected: None })
}

/// A hash suite by name.
pub fn suite(id: u8) -> String {
    Suite::of(id).map_or_else(|| format!("unknown ({id})"), |suite| suite.name().into())
}

fn onnx(arguments: &Arguments) -> Result<Outcome, Failure> {
    let batch = arguments.batch as usize;
    let graph = import(&arguments.file, batch)?;
    let calibration = match &arguments.calibrate {
        Some(path) => Calibration::read(path)?,
        None => Calibration::Random,
    };
    let parameters = text::count(graph.parameters() as u64);
    let shapes = |ports: &[circlet::graph::Port]| {
        let one =
            |port: &circlet::graph::Port| format!("{} {:?}", text::name(&port.name), graph.shape(port.value));
        ports.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut more = vec![
        ("parameters", parameters),
        ("inputs", shapes(graph.inputs())),
        ("outputs", shapes(graph.outputs())),
        ("batch", batch.to_string()),
    ];
    if matches!(calibration, Calibration::Random) {
        more.push(("calibration", "standard normal inputs; sizes may differ a little with real ones".into()));
    }
    let model = quantized(graph, &name_of(&arguments.file), batch, &calibration)?;
    let profile = arguments.profile.unwrap_or(ProfileId::P100U);
    describe("ONNX model", &model.quantized.program, profile, &more)
}

fn describe(
    kind: &str,
    program: &Program,
    profile: ProfileId,
    more: &[(&str, String)],
) -> Result<Outcome, Failure> {
    let protocol = Protocol::new(program, *profile.profile()).or_file("this program cannot be proven")?;
    let threads = rayon::current_num_threads();
    let report = job::security(&protocol)?;
    let expected = estimate(&protocol, threads);
    let mut operations: BTreeMap<&str, usize> = BTreeMap::new();
    for op in &program.ops {
        *operations.entry(op.name()).or_default() += 1;
    }
    let list: Vec<String> = operations.iter().map(|(name, n)| format!("{n} {name}")).collect();
    let constants: u64 = program.constants.iter().map(|c| u64::from(c.rows) * u64::from(c.cols)).sum();

    let mut out = format!("{}: {kind}\n", text::name(&program.name));
    let mut fields: Vec<(&str, String)> = more.to_vec();
    fields.extend([
        ("operations", list.join(", ")),
        ("constants", format!("{} integers in {} tensors", text::count(constants), program.constants.len())),
        ("tables", format!("{}", program.tables.len())),
    ]);
    out += &text::fields(&fields);
    out += &estimate_fields(&expected, threads, &report);
    let json = json!({
        "model": program.name,
        "kind": kind,
        "details": fields_json(more),
        "operations": operations,
        "constants": constants,
        "estimate": estimate_json(&expected, threads),
        "security": job::security_json(&report),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

/// What is committed to and what proving will take, for people.
pub fn estimate_fields(expected: &Estimate, threads: usize, security: &Report) -> String {
    let mut out = String::from("committed\n");
    out += &text::fields(&[
        ("once, in the key", tree(expected.fixed)),
        ("in every proof", tree(expected.witness)),
        ("matrix rows", format!("2^{}", expected.log_rows)),
        (
            "lookups",
            format!("{} in a tree of 2^{} fractions", text::count(expected.lookups), expected.fraction_log),
        ),
        ("relations", expected.relations.to_string()),
        ("multiplications", text::count(expected.multiplications)),
    ]);
    let times = expected.times;
    let _ = writeln!(out, "estimate for {threads} thread{}", if threads == 1 { "" } else { "s" });
    out += &text::fields(&[
        ("proof size", format!("about {}", text::bytes(expected.proof_bytes))),
        ("memory", format!("about {}", text::bytes(expected.memory_bytes))),
        ("commit to weights", format!("about {} (once)", text::seconds(times.weights))),
        ("prove", format!("about {}", text::seconds(times.prove()))),
        ("verify", format!("about {}", text::seconds(times.verify))),
        ("security", job::security_line(security)),
    ]);
    if !circlet_core::security::meets_target(security) {
        out += "warning: for a program of this size the profile does not reach the bits that it promises\n";
    }
    out
}

/// Fields for programs.
pub fn fields_json(fields: &[(&str, String)]) -> Value {
    fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn tree(size: TreeSize) -> String {
    format!(
        "{} columns, {} cells (a matrix of {} columns)",
        text::count(size.columns as u64),
        text::count(size.cells),
        text::count(size.matrix_columns)
    )
}

/// An estimate for programs.
pub fn estimate_json(e: &Estimate, threads: usize) -> Value {
    let tree = |size: TreeSize| json!({ "columns": size.columns, "cells": size.cells, "matrix_columns": size.matrix_columns });
    json!({
        "fixed": tree(e.fixed),
        "witness": tree(e.witness),
        "log_rows": e.log_rows,
        "lookups": e.lookups,
        "table_rows": e.table_rows,
        "fraction_log": e.fraction_log,
        "relations": e.relations,
        "multiplications": e.multiplications,
        "threads": threads,
        "proof_bytes": e.proof_bytes,
        "memory_bytes": e.memory_bytes,
        "stage_seconds": {
            "execute": e.times.execute, "commit": e.times.commit, "lookup": e.times.lookup,
            "relation": e.times.relation, "opening": e.times.opening,
        },
        "seconds": { "weights": e.times.weights, "prove": e.times.prove(), "verify": e.times.verify },
    })
}

fn proof(path: &Path) -> Result<Outcome, Failure> {
    let file: ProofFile = files::read(path).or_bad()?;
    let lengths = |lists: &[Vec<i32>]| {
        lists.iter().map(|list| text::count(list.len() as u64)).collect::<Vec<_>>().join(", ")
    };
    let key = text::hex(&file.key_digest);
    let out = String::from("proof (not verified here; use `circlet verify`)\n")
        + &text::fields(&[
            ("for the key", key.clone()),
            ("input entries", lengths(&file.statement.inputs)),
            ("output entries", lengths(&file.statement.outputs)),
            ("proof", text::bytes(file.proof.len() as u64)),
        ]);
    let json = json!({
        "kind": "proof",
        "key": key,
        "input_integers": file.statement.inputs,
        "output_integers": file.statement.outputs,
        "proof_bytes": file.proof.len(),
    });
    Ok(Outcome { text: out, json, rejected: None })
}
