//! Arguments, exit codes, and the way from a command to what is printed.

mod bench;
mod bounds;
mod compile;
mod completions;
mod demo;
mod device;
mod encoder;
mod failure;
mod inspect;
mod job;
mod llm;
mod model;
mod prove;
mod register;
mod security;
mod send;
mod statement;
mod system;
pub mod text;
mod values;
mod verify;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use circlet::backend::device::Device;
use circlet::files::Outputs;
use circlet_core::profile::ProfileId;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::progress::Monitor;
use failure::{Failure, OrFail};

const AFTER_HELP: &str = "\
Examples:
  circlet demo
  circlet inspect model.onnx
  circlet compile model.onnx --calibrate samples.json -o model.circlet
  circlet prove model.circlet --input image.json -o image.proof
  circlet verify model.vk image.proof --trust-key --expect-input image.json

  circlet demo --llm
  circlet compile model.gguf --calibrate text.txt -o model.circlet
  circlet prove model.circlet --prompt \"Once upon a time\" --tokens 16 -o text.proof
  circlet verify model.vk text.proof --trust-key --tokenizer model.gguf

Exit codes:
  0  done; for verify and send: the proof is accepted
  1  the proof is rejected, or does not say what was expected
  2  wrong usage: an unknown, missing or contradictory option
  3  a file that cannot be read, used or written, a model that cannot be proven, a device that gives no verdict, or too
     little memory";

/// Proves that a neural network, committed to in a short key, maps an input to an output.
///
/// A model (ONNX; GGUF or safetensors for language models) is compiled to an integer program and a verifying key that commits to its weights. Whoever
/// has the program can prove results; whoever has the key can verify them in milliseconds. Proofs show that
/// results are right; they are not designed to hide anything.
#[derive(Debug, Parser)]
#[command(name = "circlet", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Print one JSON object instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Print nothing but errors and no progress; the exit code tells the result
    #[arg(long, short, global = true, conflicts_with = "json", help_heading = "Global options")]
    quiet: bool,
    /// Number of threads [default: one for each processor]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024),
          help_heading = "Global options")]
    threads: Option<u16>,
    /// Write a Chrome trace (chrome://tracing, ui.perfetto.dev) of all stages to this file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    trace_out: Option<PathBuf>,
    /// Memory that may be used, such as 8G, or "any": work that is estimated to need more is not started
    /// [default: what is available]
    #[arg(long, global = true, value_name = "SIZE", value_parser = system::parse_memory,
          help_heading = "Global options")]
    memory: Option<system::Limit>,
}

/// What to do; each command is described with its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Inspect(inspect::Arguments),
    Compile(compile::Arguments),
    Prove(prove::Arguments),
    Register(register::Arguments),
    Verify(verify::Arguments),
    Send(send::Arguments),
    Security(security::Arguments),
    Bench(bench::Arguments),
    Devices(device::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Where it does its heavy work, if the user can say.
    fn device(&self) -> Option<device::Where> {
        match self {
            Self::Compile(arguments) => Some(arguments.device.clone()),
            Self::Prove(arguments) => Some(arguments.device.clone()),
            Self::Register(arguments) => Some(arguments.device.clone()),
            Self::Bench(arguments) => Some(arguments.device.clone()),
            _ => None,
        }
    }

    /// All files that the command reads or writes.
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Demo(_) | Self::Bench(_) | Self::Devices(_) | Self::Completions(_) => Vec::new(),
            Self::Inspect(arguments) => arguments.paths(),
            Self::Compile(arguments) => arguments.paths(),
            Self::Prove(arguments) => arguments.paths(),
            Self::Register(arguments) => arguments.paths(),
            Self::Verify(arguments) => arguments.paths(),
            Self::Send(arguments) => arguments.paths(),
            Self::Security(arguments) => arguments.paths(),
        }
    }
}

/// What every command can use.
struct Context {
    monitor: Monitor,
    /// Whether text is shown as it comes.
    stream: bool,
    /// Memory that may be used, if the user says.
    memory: Option<system::Limit>,
    /// What does the heavy work.
    device: Device,
    /// What does independent proofs beside it.
    others: Vec<Device>,
}

impl Context {
    /// The memory that there is, as far as is known.
    fn memory(&self) -> Option<u64> {
        match self.memory {
            Some(system::Limit::Bytes(bytes)) => Some(bytes),
            Some(system::Limit::Any) | None => system::available_memory(),
        }
    }

    /// Whether work that is estimated to need so much memory may start.
    fn fits(&self, needed: u64) -> bool {
        self.memory == Some(system::Limit::Any) || self.memory().is_none_or(|limit| needed <= limit)
    }

    /// Refuses work that is estimated to need more memory than there is.
    fn check_memory(&self, needed: u64, what: &str) -> Result<(), Failure> {
        let there = match self.memory {
            Some(_) => "--memory allows",
            None => "this machine has available",
        };
        match self.memory() {
            Some(limit) if !self.fits(needed) => Err(Failure::file(format!(
                "{what} is estimated to need {} of memory, {there} {}; use a machine with more, or a shorter text or \
                 smaller model, or start it anyway with --memory any",
                text::bytes(needed),
                text::bytes(limit)
            ))),
            _ => Ok(()),
        }
    }
}

/// What a command has to say.
#[derive(Default)]
struct Outcome {
    /// For people.
    text: String,
    /// For programs.
    json: Value,
    /// Why a proof was rejected, if it was.
    rejected: Option<String>,
}

/// The parser of `--profile`.
fn profile_parser() -> impl TypedValueParser<Value = ProfileId> {
    PossibleValuesParser::new(ProfileId::all().map(|id| id.profile().name))
        .map(|name| ProfileId::from_name(&name).unwrap_or(ProfileId::P100U))
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" with exit code zero.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (json, quiet) = (cli.global.json, cli.global.quiet);
    match run(cli) {
        Ok(outcome) => finish(&outcome, json, quiet),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli) -> Result<Outcome, Failure> {
    if let Some(threads) = cli.global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .or_usage("cannot start the threads; choose fewer with --threads")?;
    }
    let monitor = Monitor::new(!cli.global.quiet && io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(monitor.clone());
    let _trace = match &cli.global.trace_out {
        None => {
            registry.init();
            None
        }
        Some(path) => {
            Outputs::new([path.as_path()], &cli.command.paths()).or_bad()?;
            let file =
                std::fs::File::create(path).or_file(format!("cannot write the trace {}", path.display()))?;
            let (layer, guard) = tracing_chrome::ChromeLayerBuilder::new().writer(file).build();
            registry.with(layer).init();
            Some(guard)
        }
    };
    let stream = !cli.global.json && !cli.global.quiet;
    let several = matches!(cli.command, Command::Bench(_));
    let (device, others) =
        cli.command.device().map_or(Ok((Device::Cpu, Vec::new())), |place| place.open(several))?;
    let context = Context { monitor, stream, memory: cli.global.memory, device, others };
    match cli.command {
        Command::Demo(arguments) => demo::run(&context, &arguments),
        Command::Inspect(arguments) => inspect::run(&context, &arguments),
        Command::Compile(arguments) => compile::run(&context, &arguments),
        Command::Prove(arguments) => prove::run(&context, &arguments),
        Command::Register(arguments) => register::run(&context, &arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Send(arguments) => send::run(&context, &arguments),
        Command::Security(arguments) => security::run(&context, &arguments),
        Command::Bench(arguments) => bench::run(&context, &arguments),
        Command::Devices(_) => Ok(device::run()),
        Command::Completions(arguments) => Ok(completions::run::<Cli>(&arguments)),
    }
}

fn finish(outcome: &Outcome, json: bool, quiet: bool) -> ExitCode {
    let text = if json { format!("{:#}\n", outcome.json) } else { outcome.text.clone() };
    if !quiet {
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that has seen enough is no failure.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("error: cannot write to standard output: {error}");
                return ExitCode::from(failure::FILE);
            }
        }
    }
    match &outcome.rejected {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            eprintln!("rejected: {reason}");
            ExitCode::from(failure::REJECTED)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
