//! `circlet bench`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use circlet::backend::device::Device;
use circlet::queue;
use circlet_core::profile::ProfileId;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::model::{Calibration, Model, import, quantized};
use super::{Context, Outcome, demo, device, llm, system, text};
use crate::progress::Stage;

/// Measure whole jobs: compile, commit, execute, prove, verify.
///
/// For each model and profile: reading and quantizing the model, committing to its weights (both once per
/// model: "cold"), then runs and proofs with the key in memory ("warm"), of which the median is shown. With --llm,
/// over numbers of layers and positions.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet bench
  circlet bench all --profile all --runs 5
  circlet bench residual --threads 1 --json
  circlet bench --llm
  circlet bench --shape qwen3-14b --layers 1 --positions 1,32 --runs 1
  circlet bench --llm smollm2.circlet --layers 1,30 --positions 1,32 --runs 1 --json")]
pub struct Arguments {
    /// What to measure; models other than digits are read from the models folder of the source tree
    #[arg(value_enum, default_value_t = Which::Digits)]
    model: Which,
    /// Proofs of each kind
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Security profile, or all
    #[arg(long, value_name = "NAME", default_value = "p100-u", value_parser = profiles_parser())]
    profile: Profiles,
    /// What is said only of language models
    #[command(flatten)]
    llm: llm::bench::Options,
    /// Where the work is done
    #[command(flatten)]
    pub(super) device: device::Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Classifier of handwritten digits
    Digits,
    /// One product of 128 x 128 matrices
    Matmul,
    /// Eight fully connected layers with LayerNorm
    Layernorm,
    /// Residual blocks with GELU, SiLU, reshapes
    Residual,
    /// All of them
    All,
}

/// The profiles to measure.
#[derive(Clone, Debug)]
struct Profiles(Vec<ProfileId>);

fn profiles_parser() -> impl TypedValueParser<Value = Profiles> {
    let names = ProfileId::all().map(|id| id.profile().name).into_iter().chain(["all"]);
    PossibleValuesParser::new(names).map(|name| {
        Profiles(ProfileId::from_name(&name).map_or_else(|| ProfileId::all().to_vec(), |id| vec![id]))
    })
}

/// What was measured in one job.
struct Row {
    model: String,
    profile: &'static str,
    operations: usize,
    parameters: usize,
    import: f64,
    weights: f64,
    execute: f64,
    prove: f64,
    cpu: Option<f64>,
    verify: f64,
    proof: usize,
    memory: Option<u64>,
    bits: f64,
    /// Mean seconds of each stage of a proof.
    stages: Vec<Stage>,
    /// Proofs in a second on all devices.
    together: Option<f64>,
}

/// Measures.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    if arguments.llm.asked() {
        return llm::bench::run(context, &arguments.llm, &arguments.profile.0, arguments.runs);
    }
    let all = [Which::Digits, Which::Matmul, Which::Layernorm, Which::Residual];
    let models = all.into_iter().filter(|m| [*m, Which::All].contains(&arguments.model));
    let mut rows = Vec::new();
    for which in models {
        for &profile in &arguments.profile.0 {
            rows.push(measure(context, which, profile, arguments.runs)?);
        }
    }
    let threads = rayon::current_num_threads();
    let hardware = hardware(context);
    let mut cells = vec![
        [
            "model", "profile", "ops", "compile", "commit", "execute", "prove", "cpu", "verify", "proof",
            "memory", "bits",
        ]
        .map(String::from)
        .to_vec(),
    ];
    let unknown = || String::from("?");
    cells.extend(rows.iter().map(|row| {
        vec![
            row.model.clone(),
            row.profile.into(),
            row.operations.to_string(),
            text::seconds(row.import),
            text::seconds(row.weights),
            text::seconds(row.execute),
            text::seconds(row.prove),
            row.cpu.map_or_else(unknown, text::seconds),
            text::seconds(row.verify),
            text::bytes(row.proof as u64),
            row.memory.map_or_else(unknown, text::bytes),
            text::bits(row.bits),
        ]
    }));
    let out = format!(
        "{hardware}; {}; batch 1; {} run{} each\n{}\
         compile (import, quantize) and commit are cold, done once per model; execute, prove (execution\n\
         included) and cpu (processor seconds of prove) are warm, with the key in memory. Medians; cpu is the\n\
         mean. Memory is the peak of the whole job{}.\n{}",
        thread_line(),
        arguments.runs,
        if arguments.runs == 1 { "" } else { "s" },
        text::table(&cells, 2),
        if system::reset_peak_memory() { "" } else { " or an earlier one" },
        rows.iter()
            .filter_map(|row| Some(together_line(
                context,
                &format!("{}, {}", row.model, row.profile),
                row.together?
            )))
            .collect::<String>(),
    );
    let json = json!({
        "hardware": hardware,
        "threads": threads,
        "batch": 1,
        "runs": arguments.runs,
        "jobs": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    Ok(Outcome { text: out, json, rejected: None })
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "model": self.model, "profile": self.profile, "operations": self.operations,
            "parameters": self.parameters,
            "cold_seconds": { "compile": self.import, "commit": self.weights },
            "warm_seconds": { "execute": self.execute, "prove": self.prove },
            "prove_cpu_seconds": self.cpu, "verify_seconds": self.verify, "proof_bytes": self.proof,
            "peak_memory_bytes": self.memory, "bits": self.bits,
            "stage_seconds": job::stage_json(&self.stages), "proofs_per_second_on_all": self.together,
        })
    }
}

fn models_folder() -> Result<PathBuf, Failure> {
    [Path::new("models").to_owned(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")]
        .into_iter()
        .find(|folder| folder.join("residual.onnx").is_file())
        .ok_or_else(|| {
            Failure::file(
                "there is no models folder here; run this in the source tree of circlet, or measure digits, \
                 which is bundled",
            )
        })
}

fn load(which: Which) -> Result<Model, Failure> {
    let (file, calibration) = match which {
        Which::Digits | Which::All => return demo::digits(),
        Which::Matmul => ("matmul128", "calibration-matmul128.json"),
        Which::Layernorm => ("layernorm", "calibration-layernorm.json"),
        Which::Residual => ("residual", "calibration-residual.json"),
    };
    let folder = models_folder()?;
    let calibration = Calibration::read(&folder.join(calibration))?;
    quantized(import(&folder.join(file).with_extension("onnx"), 1)?, file, 1, &calibration)
}

fn measure(context: &Context, which: Which, profile: ProfileId, runs: u32) -> Result<Row, Failure> {
    system::reset_peak_memory();
    let timed = Instant::now();
    let model = load(which)?;
    let import = timed.elapsed().as_secs_f64();
    let sample = model.calibration.first().map(Vec::as_slice).unwrap_or_default();
    let inputs: Vec<Vec<i32>> =
        model.quantized.quantize_inputs(sample).into_iter().map(|input| input.values).collect();
    let parameters = model.graph.parameters();
    let operations = model.quantized.program.ops.len();
    let (program, data) = (model.quantized.program, Arc::new(model.quantized.data));
    drop((model.graph, model.calibration));
    let key_on = |device: &Device| Key::new(device, program.clone(), data.clone(), profile, Suite::default());

    context.monitor.take();
    let timed = Instant::now();
    let key = key_on(&context.device)?;
    let weights = timed.elapsed().as_secs_f64();
    context.monitor.take();
    let times = circlet::estimate::estimate(key.protocol(), rayon::current_num_threads()).times;
    let shown = context.monitor.plan(&job::plan(&times)[1..], runs);
    let (mut executions, mut proofs, mut verifications) = (Vec::new(), Vec::new(), Vec::new());
    let mut proof_bytes = 0;
    let mut cpu = Some(0.0);
    for _ in 0..runs {
        let before = system::cpu_seconds();
        let timed = Instant::now();
        let trace = key.execute(&inputs).or_file("the model has no result for its first sample")?;
        executions.push(timed.elapsed().as_secs_f64());
        let statement = key.statement(&trace);
        let proof = key.prove(&trace, &statement)?;
        proofs.push(timed.elapsed().as_secs_f64());
        let spent = system::cpu_seconds().zip(before).map(|(after, before)| after - before);
        cpu = cpu.zip(spent).map(|(sum, spent)| sum + spent);
        let timed = Instant::now();
        circlet_verifier::verify(key.verifying(), &statement, &proof)
            .or_file("a proof that was just made is rejected; this is a bug in circlet")?;
        verifications.push(timed.elapsed().as_secs_f64());
        proof_bytes = proof.len();
    }
    drop(shown);
    let mut stages = context.monitor.take();
    for (_, seconds) in &mut stages {
        *seconds /= f64::from(runs);
    }
    let memory = system::peak_memory();
    let prove = |key: &&Key| -> Result<(), Failure> {
        let trace = key.execute(&inputs).or_file("the model has no result for its first sample")?;
        key.prove(&trace, &key.statement(&trace)).map(drop)
    };
    let others = context.others.iter().map(key_on).collect::<Result<Vec<_>, _>>()?;
    let together = together(&std::iter::once(&key).chain(&others).collect::<Vec<_>>(), runs, prove)?;
    Ok(Row {
        model: key.verifying().program.name.clone(),
        profile: profile.profile().name,
        operations,
        parameters,
        import,
        weights,
        execute: median(executions),
        prove: median(proofs),
        cpu: cpu.map(|sum| sum / f64::from(runs)),
        verify: median(verifications),
        proof: proof_bytes,
        memory,
        bits: job::security(key.protocol())?.bits,
        stages,
        together,
    })
}

/// Proofs in a second, when all of several workers make some; each has made one before.
pub fn together<W: Sync>(
    workers: &[W],
    runs: u32,
    prove: impl Fn(&W) -> Result<(), Failure> + Sync,
) -> Result<Option<f64>, Failure> {
    if workers.len() < 2 {
        return Ok(None);
    }
    workers.iter().try_for_each(&prove)?;
    let jobs = vec![(); runs as usize * workers.len()];
    let timed = Instant::now();
    queue::on_all(workers, &jobs, |worker, ()| prove(worker))?;
    Ok(Some(jobs.len() as f64 / timed.elapsed().as_secs_f64()))
}

/// What was measured on all devices, in words.
pub fn together_line(context: &Context, what: &str, together: f64) -> String {
    format!("{what}: {together:.2} proofs a second on {} GPUs at once\n", context.others.len() + 1)
}

/// The processor, and the GPUs that do heavy work.
pub fn hardware(context: &Context) -> String {
    let devices = std::iter::once(&context.device).chain(&context.others);
    let gpus = devices.flat_map(Device::machines).map(|machine| machine.describe());
    std::iter::once(system::hardware()).chain(gpus).collect::<Vec<_>>().join("; ")
}

/// The number of threads in words.
pub fn thread_line() -> String {
    let threads = rayon::current_num_threads();
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
