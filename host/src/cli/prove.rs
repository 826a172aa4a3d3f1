//! `circlet prove`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::estimate::estimate;
use circlet::files::{self, Kind, Outputs, ProgramFile, ProofFile};
use circlet_core::protocol::Protocol;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::values::{self, Choice};
use super::{Context, Outcome, device, encoder, llm, statement, system, text};
use crate::progress::Stage;

/// Run a compiled program on an input and prove the result.
///
/// The proof file holds the statement (inputs and outputs, as integers) and its proof. Inputs are arrays of
/// numbers (.json or .npy); with several samples in a file, --index chooses. A language model continues a
/// prompt, of which the text is shown as it comes, and the proof file holds all tokens. The proof is written when
/// it is complete; a run that was stopped leaves nothing and can be started again.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("given").required(true)), after_help = "Examples:
  circlet prove digits.circlet --input image.json -o image.proof
  circlet prove digits.circlet --input images.npy --index 7 -o image7.proof
  circlet prove digits.circlet --input image.json -o image.proof --json > result.json
  circlet prove smollm2.circlet --prompt \"The capital of France is\" --tokens 8 -o text.proof
  circlet prove minilm.circlet --text \"A man is eating food.\" -o sentence.proof
  circlet prove smollm2.circlet --chat --prompt \"Name a color.\" --tokens 20 --resumable -o one.proof
  circlet prove smollm2.circlet --chat --prompt \"And another.\" --tokens 20 --continue one.proof -o two.proof")]
pub struct Arguments {
    /// The program that `circlet compile` made
    pub(super) program: PathBuf,
    /// The input: .json or .npy
    #[arg(long, value_name = "FILE", group = "given")]
    input: Option<PathBuf>,
    /// Where the proof goes
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Which sample of the input file, from 0
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// The input holds integers at the program's scale
    #[arg(long)]
    raw: bool,
    /// What is to be continued
    #[command(flatten)]
    pub(super) prompt: llm::prompt::Prompt,
    /// The sentence whose vector is to be proven
    #[arg(long = "text", value_name = "TEXT", group = "given", help_heading = "Sentence encoders")]
    pub(super) sentence: Option<String>,
    /// How the text is part of a conversation
    #[command(flatten)]
    pub(super) chain: llm::chat::Options,
    /// Most tokens that follow; an end of text comes earlier [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024),
          help_heading = "Language models")]
    pub(super) tokens: Option<u32>,
    /// Where the work is done
    #[command(flatten)]
    pub(super) device: device::Where,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        self.inputs().into_iter().chain([self.output.as_path()]).collect()
    }

    /// All files that it reads.
    fn inputs(&self) -> Vec<&Path> {
        [self.program.as_path()]
            .into_iter()
            .chain(self.input.as_deref())
            .chain(self.prompt.path())
            .chain(self.chain.path())
            .collect()
    }
}

/// Proves.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let outputs = Outputs::new([&arguments.output], &arguments.inputs()).or_bad()?;
    let kind = files::kind_of(&arguments.program).or_bad()?;
    if kind == Some(Kind::Encoder) {
        return encoder::prove::run(context, arguments, &outputs);
    }
    if arguments.sentence.is_some() {
        return Err(Failure::usage(format!(
            "--text is for sentence encoders, and {} is none; a language model continues a --prompt",
            arguments.program.display()
        )));
    }
    let Some(input) = &arguments.input else {
        if kind == Some(Kind::Program) {
            return Err(Failure::usage(format!(
                "{} is {}, which has no prompt; give --input FILE",
                arguments.program.display(),
                Kind::Program
            )));
        }
        return llm::prove::run(context, arguments, &outputs);
    };
    if kind == Some(Kind::Model) {
        return Err(Failure::usage(format!(
            "{} is {}, which has no --input; give --prompt TEXT",
            arguments.program.display(),
            Kind::Model
        )));
    }
    if arguments.tokens.is_some() || arguments.prompt.form.is_given() || arguments.chain.is_given() {
        return Err(Failure::usage(
            "--tokens, --chat, --special, --resumable and --continue are for language models",
        ));
    }
    let file: ProgramFile = files::read(&arguments.program).or_bad()?;
    let unusable = || format!("cannot use {}", arguments.program.display());
    let suite = Suite::of(file.suite)
        .ok_or_else(|| Failure::file(format!("{}: unknown hash suite {}", unusable(), file.suite)))?;
    let protocol = Protocol::new(&file.program, *file.profile.profile()).or_file(unusable())?;

    let first = file.program.inputs.first().and_then(|id| file.program.tensors.get(id.0 as usize));
    let (Some(tensor), 1) = (first, file.program.inputs.len()) else {
        return Err(Failure::file(format!(
            "{} has {} inputs; only programs with one can be proven from the command line",
            text::name(&file.program.name),
            file.program.inputs.len()
        )));
    };
    let choice = Choice { index: arguments.index, raw: arguments.raw };
    let values = values::read(input, tensor, file.inputs.first(), false, choice)?;

    let estimated = estimate(&protocol, rayon::current_num_threads());
    drop(protocol);
    context.check_memory(estimated.memory_bytes, "this proof")?;
    let shown = context.monitor.plan(&job::plan(&estimated.times), 1);
    let expected = file.key_digest;
    let key = Key::new(&context.device, file.program, file.data, file.profile, suite)?;
    if key.digest() != expected {
        return Err(Failure::file(format!(
            "{} is inconsistent: its weights do not give the key that it names; compile the model again",
            arguments.program.display()
        )));
    }
    let trace = key
        .execute(&[values.integers])
        .or_file(format!("the model has no result for {}", input.display()))?;
    let statement = key.statement(&trace);
    let proof = key.prove(&trace, &statement)?;
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
    let mut out = format!("proved {}\n", text::name(&program.name));
    if values.clamped > 0 {
        let _ = writeln!(
            out,
            "warning: {} input entries were beyond the range of the calibration and were clamped",
            text::count(values.clamped as u64)
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
                "{} to run and prove, and {} (cold) to commit to the weights",
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
        "clamped_inputs": values.clamped,
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(statement::json(program, &file.statement));
    }
    Ok(Outcome { text: out, json, rejected: None })
}
