//! `circlet prove`.

use std::path::PathBuf;

use circlet::estimate::estimate;
use circlet::files::{self, Outputs, ProgramFile, ProofFile};
use circlet_core::protocol::Protocol;
use clap::Args;
use serde_json::json;

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::values::{self, Choice};
use super::{Context, Outcome, statement, system, text};
use crate::progress::Stage;

/// Run a compiled program on an input and prove the result.
///
/// The proof file holds the statement (inputs and outputs, as integers) and its proof. Inputs are arrays of
/// numbers (.json or .npy); with several samples in a file, --index chooses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet prove digits.circlet --input image.json -o image.proof
  circlet prove digits.circlet --input images.npy --index 7 -o image7.proof
  circlet prove digits.circlet --input image.json -o image.proof --json > result.json")]
pub struct Arguments {
    /// The program that `circlet compile` made
    program: PathBuf,
    /// The input: .json or .npy
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the proof goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which sample of the input file, from 0
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// The input holds integers at the program's scale
    #[arg(long)]
    raw: bool,
}

/// Proves.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let outputs = Outputs::new([&arguments.output], &[&arguments.program, &arguments.input]).or_bad()?;
    let file: ProgramFile = files::read(&arguments.program).or_bad()?;
    let unusable = || format!("cannot use {}", arguments.program.display());
    let suite = Suite::of(file.suite)
        .ok_or_else(|| Failure::file(format!("{}: unknown hash suite {}", unusable(), file.suite)))?;
    let protocol = Protocol::new(&file.program, *file.profile.profile()).or_file(unusable())?;

    let input = file.program.inputs.first().and_then(|id| file.program.tensors.get(id.0 as usize));
    let (Some(tensor), 1) = (input, file.program.inputs.len()) else {
        return Err(Failure::file(format!(
            "{} has {} inputs; only programs with one can be proven from the command line",
            file.program.name,
            file.program.inputs.len()
        )));
    };
    let choice = Choice { index: arguments.index, raw: arguments.raw };
    let input = values::read(&arguments.input, tensor, file.inputs.first(), false, choice)?;

    let times = estimate(&protocol, rayon::current_num_threads()).times;
    drop(protocol);
    let shown = context.monitor.plan(&[
        ("weights", times.weights),
        ("execute", times.execute),
        ("commit", times.commit),
        ("lookup", times.lookup),
        ("relation", times.relation),
        ("opening", times.opening),
    ]);
    let expected = file.key_digest;
    let key = Key::new(file.program, file.data, file.profile, suite)?;
    if key.digest() != expected {
        return Err(Failure::file(format!(
            "{} is inconsistent: its weights do not give the key that it names; compile the model again",
            arguments.program.display()
        )));
    }
    let trace = key
        .execute(&[input.integers])
        .or_file(format!("the model has no result for {}", arguments.input.display()))?;
    let statement = key.statement(&trace);
    let proof = key.prove(&trace, &statement);
    drop(trace);
    drop(shown);
    let file = ProofFile { key_digest: key.digest(), statement, proof };
    let bytes = files::encode(&file);
    outputs.write([&bytes]).or_bad()?;

    let stages = context.monitor.take();
    let sum = |cold: bool| {
        let matching = |(name, _): &&Stage| (*name == "weights") == cold;
        stages.iter().filter(matching).map(|(_, seconds)| seconds).sum::<f64>()
    };
    let (cold, warm) = (sum(true), sum(false));
    let security = job::security(key.protocol())?;
    let program = &key.verifying().program;
    let mut out = format!("proved {}\n", program.name);
    if input.clamped > 0 {
        out += &format!(
            "warning: {} input entries were beyond the range of the calibration and were clamped\n",
            text::count(input.clamped as u64)
        );
    }
    out += &statement::lines(program, &file.statement);
    let memory = system::peak_memory();
    out += &text::fields(&[
        ("key", text::hex(&file.key_digest)),
        ("security", job::security_line(&security)),
        ("proof", format!("{} ({})", arguments.output.display(), text::bytes(bytes.len() as u64))),
        (
            "time",
            format!(
                "{} warm, and {} cold for the commitment to the weights",
                text::seconds(warm),
                text::seconds(cold)
            ),
        ),
        ("peak memory", memory.map_or_else(|| "unknown on this system".into(), text::bytes)),
    ]);
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let mut json = json!({
        "model": program.name,
        "key": text::hex(&file.key_digest),
        "security": job::security_json(&security),
        "proof": arguments.output,
        "proof_bytes": file.proof.len(),
        "file_bytes": bytes.len(),
        "peak_memory_bytes": memory,
        "clamped_inputs": input.clamped,
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(statement::json(program, &file.statement));
    }
    Ok(Outcome { text: out, json, rejected: None })
}
