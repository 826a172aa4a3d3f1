//! `circlet demo`.

use std::fmt::Write;
use std::time::Instant;

use circlet::backend::device::Device;
use circlet::estimate::estimate;
use circlet::graph::Tensor;
use circlet::import::{ImportOptions, onnx};
use circlet::samples::parse_inputs;
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;
use clap::Args;
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::model::{Calibration, Model, quantized};
use super::{Context, Outcome, llm, statement, system, text};

const MODEL: &[u8] = include_bytes!("../../../models/digits.onnx");
const SAMPLES: &[u8] = include_bytes!("../../../models/digits-samples.json");
const CALIBRATION: &[u8] = include_bytes!("../../../models/digits-calibration.json");
/// Width and height of an image.
const SIDE: usize = 8;

/// Take the bundled digits model all the way: compile, commit, classify an image, prove, verify.
///
/// The model is a trained classifier of handwritten digits; the images are real ones that it has not seen in
/// training. With --llm it is a small trained language model that continues a prompt. Nothing of yours is read or
/// written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet demo
  circlet demo --image 5 --profile p100-j8
  circlet demo --llm
  circlet demo --llm --prompt \"The Queen\" --tokens 20")]
pub struct Arguments {
    /// Which of the bundled images, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    image: usize,
    /// Security profile, see `circlet security`
    #[arg(long, value_name = "NAME", default_value = "p100-u", value_parser = super::profile_parser())]
    profile: ProfileId,
    /// What is said only of the language model
    #[command(flatten)]
    llm: llm::demo::Options,
}

/// The bundled model, quantized.
pub fn digits() -> Result<Model, Failure> {
    let bundled = "the bundled model cannot be read";
    let graph = tracing::info_span!("import")
        .in_scope(|| onnx::import_bytes(MODEL, ImportOptions::default()))
        .or_file(bundled)?;
    let calibration = Calibration::Samples(parse_inputs(CALIBRATION).or_file(bundled)?);
    quantized(graph, "digits", 1, &calibration)
}

/// The bundled images.
pub fn images(model: &Model) -> Result<Vec<Tensor>, Failure> {
    let bundled = "the bundled images cannot be read";
    let shape = super::model::input_shape(&model.graph).or_file(bundled)?;
    parse_inputs(SAMPLES).and_then(|samples| samples.for_input(shape)).or_file(bundled)
}

fn labels() -> Vec<u64> {
    let samples: Value = serde_json::from_slice(SAMPLES).unwrap_or_default();
    samples["labels"]
        .as_array()
        .map(|labels| labels.iter().filter_map(Value::as_u64).collect())
        .unwrap_or_default()
}

/// Runs the demonstration.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    if arguments.llm.llm {
        return llm::demo::run(context, &arguments.llm, arguments.profile);
    }
    let model = digits()?;
    let images = images(&model)?;
    let (Some(image), Some(&digit)) = (images.get(arguments.image), labels().get(arguments.image)) else {
        return Err(Failure::usage(format!(
            "there is no image {}; choose one with --image, from 0 to {}",
            arguments.image,
            images.len() - 1
        )));
    };
    let parameters = model.graph.parameters() as u64;
    let layers: Vec<&str> = model.quantized.program.ops.iter().map(circlet_core::program::Op::name).collect();
    let layers = layers.join(", ");
    let inputs: Vec<Vec<i32>> =
        model.quantized.quantize_inputs(std::slice::from_ref(image)).into_iter().map(|i| i.values).collect();
    let protocol = Protocol::new(&model.quantized.program, *arguments.profile.profile())
        .or_file("the bundled model cannot be proven")?;
    let times = estimate(&protocol, rayon::current_num_threads()).times;
    let shown = context.monitor.plan(&job::plan(&times), 1);

    let key = Key::new(
        &Device::Cpu,
        model.quantized.program,
        model.quantized.data,
        arguments.profile,
        Suite::default(),
    )?;
    let trace = key.execute(&inputs).or_file("the bundled image has no result")?;
    let statement = key.statement(&trace);
    let proof = key.prove(&trace, &statement)?;
    drop(trace);
    let start = Instant::now();
    let verdict = circlet_verifier::verify(key.verifying(), &statement, &proof);
    let verify = start.elapsed().as_secs_f64();
    drop(shown);

    let mut stages = context.monitor.take();
    stages.push(("verify", verify));
    let program = &key.verifying().program;
    let scores = statement.outputs.first().map(Vec::as_slice).unwrap_or_default();
    let predicted = (0..scores.len()).max_by_key(|&i| (scores[i], std::cmp::Reverse(i))).unwrap_or(0);
    let report = job::security(key.protocol())?;
    let memory = system::peak_memory();
    let mut out =
        format!("image {} of {} that the model has not seen in training\n\n", arguments.image, images.len());
    out += &draw(image.data());
    let _ = writeln!(out, "\n  the model says {predicted}, the true digit is {digit}\n");
    out += "statement: the model with this key maps this input to this output\n";
    out += &statement::lines(program, &statement);
    out += "\naccount\n";
    let mut fields =
        vec![
        ("model", format!("{}: {} parameters, {layers}", program.name, text::count(parameters))),
        ("key", text::hex(&key.digest())),
        ("proof", format!("{}, {}", text::bytes(proof.len() as u64), match &verdict {
            Ok(()) => "accepted",
            Err(_) => "REJECTED",
        })),
        ("security", job::security_line(&report)),
        (
            "what it shows",
            "that the result is right (a validity proof); nothing is hidden by it: input and output are\n\
             public, and the proof reveals some of the weights' combinations"
                .into(),
        ),
        ("threads", rayon::current_num_threads().to_string()),
    ];
    if let Some(memory) = memory {
        fields.push(("peak memory", text::bytes(memory)));
    }
    out += &text::fields(&fields);
    out += "\ntimes\n";
    out += &text::fields(&job::stage_fields(&stages));
    let mut json = json!({
        "model": program.name,
        "parameters": parameters,
        "key": text::hex(&key.digest()),
        "image": arguments.image,
        "predicted": predicted,
        "digit": digit,
        "accepted": verdict.is_ok(),
        "proof_bytes": proof.len(),
        "security": job::security_json(&report),
        "threads": rayon::current_num_threads(),
        "peak_memory_bytes": memory,
        "seconds": job::stage_json(&stages),
    });
    if let Some(object) = json.as_object_mut() {
        object.extend(statement::json(program, &statement));
    }
    Ok(Outcome { text: out, json, rejected: verdict.err().map(|reject| reject.to_string()) })
}

/// An image as text, two characters for each pixel.
fn draw(pixels: &[f32]) -> String {
    let shade = |&x: &f32| match x {
        x if x <= 0.0 => "  ",
        x if x < 0.25 => "..",
        x if x < 0.5 => "::",
        x if x < 0.75 => "oo",
        _ => "##",
    };
    pixels.chunks(SIDE).fold(String::new(), |mut out, row| {
        let _ = writeln!(out, "  |{}|", row.iter().map(shade).collect::<String>());
        out
    })
}
