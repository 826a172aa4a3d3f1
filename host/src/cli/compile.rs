//! `circlet compile`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use circlet::estimate::estimate;
use circlet::files::{self, InputPort, Outputs, ProgramFile};
use circlet::quantize::report;
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;
use clap::Args;
use serde_json::json;

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::model::{Calibration, RANDOM, import, name_of, quantized};
use super::{Context, Outcome, device, encoder, llm, text};

/// Compile a model to an integer program and commit to its weights.
///
/// Writes the program (for provers) and, next to it, the verifying key (for everyone). The numbers of the
/// model become integers whose scales are chosen by running the float model on calibration samples: give some
/// that are like the inputs to be proven; for language models, a text; for sentence encoders (BERT), a sentence on each
/// line of a text. An accuracy report against the float
/// model is printed. Nothing is written before everything is done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet compile digits.onnx --calibrate digits-calibration.json -o digits.circlet
  circlet compile mlp.onnx --calibrate inputs.npy --batch 8 --profile p100-j8 -o mlp.circlet
  circlet compile mlp.onnx --calibrate random -o mlp.circlet   # standard normal inputs, to try it out
  circlet compile smollm2.gguf --calibrate text.txt -o smollm2.circlet
  circlet compile models/cache/all-MiniLM-L6-v2 --calibrate sentences.txt -o minilm.circlet
  circlet compile models/tiny-llama --calibrate text.txt --report heldout.txt -o tiny.circlet")]
pub struct Arguments {
    /// The model: an ONNX file (opset 13 or newer), a GGUF or safetensors file, or a directory with config.json
    pub(super) model: PathBuf,
    /// Where the program goes
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Where the verifying key goes [default: the output with the extension .vk]
    #[arg(long, value_name = "FILE")]
    pub(super) vk: Option<PathBuf>,
    /// Inputs to calibrate with (.json or .npy), or "random"; for language models a text
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Samples in one proof, for models with a symbolic batch dimension
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Security profile, see `circlet security`
    #[arg(long, value_name = "NAME", default_value = "p100-u", value_parser = super::profile_parser())]
    pub(super) profile: ProfileId,
    /// Hash functions of the key
    #[arg(long, value_enum, default_value_t)]
    pub(super) suite: Suite,
    /// What is said only of language models
    #[command(flatten)]
    pub(super) llm: llm::compile::Options,
    /// Where the work is done
    #[command(flatten)]
    pub(super) device: device::Where,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        [self.model.as_path(), self.output.as_path()]
            .into_iter()
            .chain(self.calibrate.as_deref())
            .chain(self.vk.as_deref())
            .chain(self.llm.path())
            .collect()
    }
}

/// Compiles.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let Some(calibrate) = &arguments.calibrate else {
        return Err(Failure::usage(
            "compiling needs samples to calibrate with; give --calibrate FILE with inputs like those that will \
             be proven (.json or .npy), or --calibrate random to try it with standard normal ones; for a language \
             model, a text, for a sentence encoder, sentences on lines",
        ));
    };
    let vk = arguments.vk.clone().unwrap_or_else(|| arguments.output.with_extension("vk"));
    let inputs: Vec<&Path> =
        [arguments.model.as_path(), calibrate].into_iter().chain(arguments.llm.path()).collect();
    let outputs = Outputs::new([&arguments.output, &vk], &inputs).or_bad()?;
    if circlet::llm::encoder::recognizes(&arguments.model) {
        if arguments.batch != 1 {
            return Err(Failure::usage(
                "--batch is for ONNX models; a sentence encoder proves one sentence at a time",
            ));
        }
        return encoder::compile::run(context, arguments, calibrate, &outputs, &vk);
    }
    if circlet::llm::recognizes(&arguments.model) {
        if arguments.batch != 1 {
            return Err(Failure::usage(
                "--batch is for ONNX models; a language model proves one text at a time",
            ));
        }
        return llm::compile::run(context, arguments, calibrate, &outputs, &vk);
    }
    if let Some(option) = arguments.llm.given() {
        return Err(Failure::usage(format!(
            "{option} is for language models (GGUF, safetensors), and {} is none",
            arguments.model.display()
        )));
    }

    let batch = arguments.batch as usize;
    let graph = import(&arguments.model, batch)?;
    let calibration = Calibration::read(calibrate)?;
    let model = quantized(graph, &name_of(&arguments.model), batch, &calibration)?;
    let accuracy = tracing::info_span!("compare")
        .in_scope(|| report(&model.graph, &model.quantized, &model.calibration))
        .or_file("cannot compare the integer model with the float model")?;
    let ports = model.graph.inputs().iter().map(|port| InputPort {
        name: port.name.clone(),
        shape: model.graph.shape(port.value).iter().map(|&d| d as u32).collect(),
    });
    let inputs = ports.collect();
    let parameters = model.graph.parameters() as u64;
    let quantized = model.quantized;
    let operations = quantized.program.ops.len();

    let protocol = Protocol::new(&quantized.program, *arguments.profile.profile())
        .or_file("the model cannot be proven")?;
    let expected = estimate(&protocol, rayon::current_num_threads());
    context.check_memory(expected.key_bytes, "committing to the weights")?;
    let shown = context.monitor.plan(&[("weights", expected.times.weights)], 1);
    let key =
        Key::new(&context.device, quantized.program, quantized.data, arguments.profile, arguments.suite)?;
    drop(shown);
    let security = job::security(key.protocol())?;
    let program = ProgramFile {
        program: key.verifying().program.clone(),
        data: key.data().clone(),
        profile: arguments.profile,
        suite: arguments.suite.id(),
        key_digest: key.digest(),
        inputs,
    };
    let (program, verifying) = (files::encode(&program), files::encode(key.verifying()));
    outputs.write([&program, &verifying]).or_bad()?;

    let stages = context.monitor.take();
    let digest = text::hex(&key.digest());
    let mut out = format!("compiled {}\n", text::name(&key.verifying().program.name));
    if calibrate.as_os_str() == RANDOM {
        out += "warning: calibrated on standard normal inputs; real ones may saturate or be refused\n";
    }
    let mut fields = vec![
        ("parameters", text::count(parameters)),
        ("operations", operations.to_string()),
        ("batch", batch.to_string()),
        ("key", digest.clone()),
        ("security", job::security_line(&security)),
        ("program", format!("{} ({})", arguments.output.display(), text::bytes(program.len() as u64))),
        ("verifying key", format!("{} ({})", vk.display(), text::bytes(verifying.len() as u64))),
        (
            "proof, estimated",
            format!(
                "{}, {}, {} of memory",
                text::bytes(expected.proof_bytes),
                text::seconds(expected.times.prove()),
                text::bytes(expected.memory_bytes)
            ),
        ),
    ];
    if !quantized.open.is_empty() {
        fields.push((
            "refusals",
            format!("{} roundings refuse inputs far beyond the calibration samples", quantized.open.len()),
        ));
    }
    out += &text::fields(&fields);
    let _ = writeln!(
        out,
        "accuracy against the float model on the calibration samples\n{}",
        indent(&accuracy.to_string())
    );
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let outputs: Vec<_> = accuracy
        .outputs
        .iter()
        .map(|o| {
            json!({
                "name": o.name, "max_error": o.max_error, "rms_error": o.rms_error, "max_float": o.max_float,
                "agreeing_rows": o.agreeing_rows, "rows": o.rows,
            })
        })
        .collect();
    let json = json!({
        "model": key.verifying().program.name,
        "parameters": parameters,
        "operations": operations,
        "batch": batch,
        "key": digest,
        "security": job::security_json(&security),
        "program": arguments.output, "program_bytes": program.len(),
        "verifying_key": vk, "verifying_key_bytes": verifying.len(),
        "accuracy": {
            "samples": accuracy.samples, "refused": accuracy.refused.len(),
            "clamped_inputs": accuracy.clamped_inputs, "outputs": outputs,
        },
        "seconds": job::stage_json(&stages),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
