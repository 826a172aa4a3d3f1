//! `circlet verify`. What is accepted is decided by `circlet_verifier` alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use circlet::files::{self, FileError, Kind};
use circlet_core::key::VerifyingKey;
use circlet_core::program::{Program, Tensor, TensorId};
use circlet_core::protocol::Outline;
use circlet_verifier::{Key, Proven, Refusal, Reject};
use clap::Args;
use serde_json::{Value, json};

use super::bounds::Bounds;
use super::failure::{Failure, OrFail};
use super::values::{self, Choice};
use super::{Outcome, encoder, job, llm, statement, text};

/// Check a proof and print the statement that it proves.
///
/// Exit code 0 means: the program that the key commits to maps exactly these inputs to exactly these outputs; or
/// the language model that the key commits to continues exactly this prompt with exactly this text; or the sentence
/// encoder that the key commits to gives exactly this vector for exactly this sentence.
/// Where the key comes from is for you to know: compare its digest with the one that was published. That the weights
/// under it keep the bounds that it declares, without which a proof shows nothing, needs a reason too: --registration,
/// --model or --trust-key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet verify digits.vk image.proof --trust-key
  circlet verify digits.vk image.proof --registration digits.reg --expect-input images.npy --index 7
  circlet verify digits.vk image.proof --model digits.circlet --expect-output result.json --json
  circlet verify smollm2.vk text.proof --trust-key --tokenizer smollm2.gguf
  circlet verify minilm.vk sentence.proof --trust-key --tokenizer minilm.circlet --expect-text \"A man is eating food.\"
  circlet verify smollm2.vk text.proof --registration smollm2.reg --tokenizer tokenizer.json --expect-prompt \"The capital of France is\"")]
pub struct Arguments {
    /// The verifying key
    pub(super) key: PathBuf,
    /// The proof
    pub(super) proof: PathBuf,
    /// Reject unless the input is the one in this file (.json or .npy), rounded to the program's scale
    #[arg(long, value_name = "FILE")]
    expect_input: Option<PathBuf>,
    /// Reject unless the output is the one in this file, rounded to the program's scale
    #[arg(long, value_name = "FILE")]
    pub(super) expect_output: Option<PathBuf>,
    /// Which sample of these files, from 0
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// These files hold integers at the program's scale
    #[arg(long)]
    raw: bool,
    /// Let outputs differ from the expected ones by this much
    #[arg(long, value_name = "X", default_value_t = 0.0, requires = "expect_output")]
    pub(super) tolerance: f64,
    /// Why the key can be relied on
    #[command(flatten)]
    pub(super) bounds: Bounds,
    /// What is said only of texts
    #[command(flatten)]
    pub(super) llm: llm::verify::Options,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        [self.key.as_path(), self.proof.as_path()]
            .into_iter()
            .chain(self.expect_input.as_deref())
            .chain(self.expect_output.as_deref())
            .chain(self.llm.path())
            .chain(self.bounds.path())
            .collect()
    }
}

/// Verifies.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    arguments.bounds.check()?;
    if arguments.tolerance.is_nan() || arguments.tolerance < 0.0 {
        return Err(Failure::usage("--tolerance must be zero or a positive number"));
    }
    let key = read_key(&arguments.key)?;
    match &key {
        Key::Program(own) => program(arguments, &key, own),
        Key::Decoder(own) => {
            if arguments.expect_input.is_some() || arguments.expect_output.is_some() || arguments.raw {
                return Err(Failure::usage(format!(
                    "{} is {}; say what you expect with --expect-prompt and --expect-text",
                    arguments.key.display(),
                    Kind::ModelKey
                )));
            }
            llm::verify::run(arguments, &key, own)
        }
        Key::Encoder(own) => {
            if arguments.expect_input.is_some() || arguments.raw {
                return Err(Failure::usage(format!(
                    "{} is {}; say what you expect with --expect-text and --expect-output",
                    arguments.key.display(),
                    Kind::EncoderKey
                )));
            }
            encoder::verify::run(arguments, &key, own)
        }
    }
}

fn read_key(path: &Path) -> Result<Key, Failure> {
    let bytes = files::read_bytes(path, Kind::Key.limit()).or_bad()?;
    Key::from_file(&bytes).map_err(|source| FileError::Contents { path: path.into(), source }).or_bad()
}

/// What the verifier says of a proof's file.
pub struct Judged {
    /// What was proven, or why the proof is rejected, in the verifier's words.
    pub verdict: Result<Proven, String>,
    /// Length of the file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Has the verifier judge the proof's file.
pub fn judge(arguments: &Arguments, key: &Key) -> Result<Judged, Failure> {
    let path = &arguments.proof;
    let bytes = files::read_bytes(path, Kind::Proof.limit()).or_bad()?;
    let start = Instant::now();
    let verdict = circlet_verifier::verify_file(key, &bytes);
    let seconds = start.elapsed().as_secs_f64();
    let verdict = match verdict {
        Err(Refusal::Key(source) | Refusal::Proof(source)) => {
            return Err(FileError::Contents { path: path.into(), source }).or_bad();
        }
        Err(Refusal::Reject(reject)) => Err(reject.to_string()),
        Ok(proven) => Ok(proven),
    };
    Ok(Judged { verdict, bytes: bytes.len() as u64, seconds })
}

/// The part of a statement that there has to be.
pub fn of_kind<T>(part: Option<T>) -> Result<T, String> {
    part.ok_or_else(|| Reject::OtherKind.to_string())
}

fn program(arguments: &Arguments, own: &Key, key: &VerifyingKey) -> Result<Outcome, Failure> {
    if let Some(option) = arguments.llm.given() {
        return Err(Failure::usage(format!(
            "{option} is for language models, and {} is {}",
            arguments.key.display(),
            Kind::Key
        )));
    }
    let choice = Choice { index: arguments.index, raw: arguments.raw };
    let (inputs, outputs) = (&key.program.inputs, &key.program.outputs);
    let read = |path: &PathBuf, ids, outputs| expectation(path, &key.program, ids, outputs, choice);
    let input = arguments.expect_input.as_ref().map(|path| read(path, inputs, false)).transpose()?;
    let output = arguments.expect_output.as_ref().map(|path| read(path, outputs, true)).transpose()?;

    let Judged { verdict, bytes, seconds } = judge(arguments, own)?;
    let verdict = verdict.and_then(|proven| {
        let statement = of_kind(match proven {
            Proven::Program(statement) => Some(statement),
            _ => None,
        })?;
        if let Some(input) = &input {
            compare("input", input, &statement.inputs, 0.0)?;
        }
        if let Some(output) = &output {
            compare("output", output, &statement.outputs, arguments.tolerance)?;
        }
        Ok(statement)
    });

    let about = About { model: &key.program.name, digest: key.digest(), bytes, seconds };
    let (mut json, statement) = match settle(arguments, verdict, &about, key)? {
        Ok(accepted) => accepted,
        Err(rejected) => return Ok(rejected),
    };
    let protocol = Outline::of_key(key).or_file("cannot use the key")?;
    let report = job::security(&protocol)?;
    json.insert("security".into(), job::security_json(&report));
    json.extend(statement::json(&key.program, &statement));
    let mut out = format!("accepted: {} maps this input to this output\n", text::name(&key.program.name));
    out += &statement::lines(&key.program, &statement);
    if !circlet_core::security::meets_target(&report) {
        out += "warning: for a program of this size the profile does not reach the bits that it promises\n";
    }
    out += &text::fields(&[
        ("key", text::hex(&about.digest)),
        ("bounds", arguments.bounds.line()),
        ("security", job::security_line(&report)),
        ("proof", text::bytes(bytes)),
        ("time", text::seconds(seconds)),
    ]);
    Ok(Outcome { text: out, json: json.into(), rejected: None })
}

/// What was verified.
pub struct About<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Digest of the key.
    pub digest: [u8; 32],
    /// Length of the proof's file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// A report to be filled and what was proven, or the end of it.
type Settled<T> = Result<(serde_json::Map<String, Value>, T), Outcome>;

/// Lets the reason for the key decide too, and begins the report: a rejection is a whole one. `registered` is the key
/// that registrations are for.
pub fn settle<T>(
    arguments: &Arguments,
    verdict: Result<T, String>,
    about: &About<'_>,
    registered: &VerifyingKey,
) -> Result<Settled<T>, Failure> {
    let verdict = match verdict {
        Ok(proven) => arguments.bounds.judge(about.digest, registered)?.map(|()| proven),
        rejected => rejected,
    };
    let json = json!({
        "accepted": verdict.is_ok(),
        "bounds": arguments.bounds.name(),
        "model": about.model,
        "key": text::hex(&about.digest),
        "proof_bytes": about.bytes,
        "seconds": about.seconds,
    });
    let Value::Object(mut json) = json else { unreachable!("it is written as an object") };
    Ok(match verdict {
        Ok(proven) => Ok((json, proven)),
        Err(reason) => {
            json.insert("reason".into(), json!(reason));
            Err(Outcome { text: String::new(), json: json.into(), rejected: Some(reason) })
        }
    })
}

/// What one tensor should hold.
struct Expected<'a> {
    tensor: &'a Tensor,
    integers: Vec<i32>,
}

fn expectation<'a>(
    path: &Path,
    program: &'a Program,
    ids: &'a [TensorId],
    outputs: bool,
    choice: Choice,
) -> Result<Expected<'a>, Failure> {
    let mut tensors = statement::tensors(program, ids);
    let (Some(tensor), None) = (tensors.next(), tensors.next()) else {
        return Err(Failure::usage(format!(
            "{} has {} such tensors; only a single one can be compared with a file",
            text::name(&program.name),
            ids.len()
        )));
    };
    let integers = values::read(path, tensor, None, outputs, choice)?.integers;
    Ok(Expected { tensor, integers })
}

fn compare(side: &str, expected: &Expected, found: &[Vec<i32>], tolerance: f64) -> Result<(), String> {
    let unit = libm::scalbn(1.0, -i32::from(expected.tensor.fraction_bits));
    let [found] = found else {
        return Err(format!("the {side} has another number of tensors than expected"));
    };
    if found.len() != expected.integers.len() {
        return Err(format!("the {side} has another length than expected"));
    }
    let differs = |(&a, &b): (&i32, &i32)| (f64::from(a) - f64::from(b)).abs() * unit > tolerance;
    match expected.integers.iter().zip(found).position(differs) {
        None => Ok(()),
        Some(entry) => Err(format!(
            "the proof is valid, but for another {side}: entry {entry} is {} ({} as an integer), expected {} ({})",
            f64::from(found[entry]) * unit,
            found[entry],
            f64::from(expected.integers[entry]) * unit,
            expected.integers[entry]
        )),
    }
}
