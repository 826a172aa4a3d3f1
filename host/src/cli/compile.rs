//! `circlet compile`.

use std::path::PathBuf;

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
use super::{Context, Outcome, text};

/// Compile an ONNX model to an integer program and commit to its weights.
///
/// Writes the program (for provers) and, next to it, the verifying key (for everyone). The numbers of the
/// model become integers whose scales are chosen by running the float model on calibration samples: give some
/// that are like the inputs to be proven. An accuracy report against the float model is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet compile digits.onnx --calibrate digits-calibration.json -o digits.circlet
  circlet compile mlp.onnx --calibrate inputs.npy --batch 8 --profile p100-j8 -o mlp.circlet
  circlet compile mlp.onnx --calibrate random -o mlp.circlet   # standard normal inputs, to try it out")]
pub struct Arguments {
    /// The model: an ONNX file, opset 13 or newer
    model: PathBuf,
    /// Where the program goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where the verifying key goes [default: the output with the extension .vk]
    #[arg(long, value_name = "FILE")]
    vk: Option<PathBuf>,
    /// Inputs to calibrate with (.json or .npy), or "random"
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Samples in one proof, for models with a symbolic batch dimension
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// Security profile, see `circlet security`
    #[arg(long, value_name = "NAME", default_value = "p100-u", value_parser = super::profile_parser())]
    profile: ProfileId,
    /// Hash functions of the key
    #[arg(long, value_enum, default_value_t)]
    suite: Suite,
}

/// Compiles.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let Some(calibrate) = &arguments.calibrate else {
        return Err(Failure::usage(
            "compiling needs samples to calibrate with; give --calibrate FILE with inputs like those that will \
             be proven (.json or .npy), or --calibrate random to try it with standard normal ones",
        ));
    };
    let vk = arguments.vk.clone().unwrap_or_else(|| arguments.output.with_extension("vk"));
    let outputs = Outputs::new([&arguments.output, &vk], &[&arguments.model, calibrate]).or_bad()?;

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
    let shown = context.monitor.plan(&[("weights", expected.times.weights)]);
    let key = Key::new(quantized.program, quantized.data, arguments.profile, arguments.suite)?;
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
    let mut out = format!("compiled {}\n", key.verifying().program.name);
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
    out += &format!(
        "accuracy against the float model on the calibration samples\n{}\n",
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
