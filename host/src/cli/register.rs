//! `circlet register`.

use std::path::{Path, PathBuf};

use circlet::files::{self, EncoderFile, Kind, ModelFile, Outputs, ProgramFile, RegistrationFile};
use circlet::keys::Keep;
use circlet_verifier::{registered, registered_encoder, verify_registration};
use clap::Args;
use serde_json::json;

use super::failure::{Failure, OrFail};
use super::job::{self, Key, Suite};
use super::llm::prover::{commit_file, runner};
use super::{Context, Outcome, device, encoder, system, text};

/// Prove, once per key, that the committed weights keep their declared bounds.
///
/// That no accumulator of a program can wrap follows from bounds on its weights, which the key declares. Whoever
/// has the weights can commit to them again; everyone else needs this proof, and gives it to `circlet verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet register digits.circlet -o digits.reg
  circlet verify digits.vk image.proof --registration digits.reg")]
pub struct Arguments {
    /// What `circlet compile` made
    model: PathBuf,
    /// Where the registration goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where the work is done
    #[command(flatten)]
    pub(super) device: device::Where,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        vec![self.model.as_path(), self.output.as_path()]
    }
}

/// Proves the bounds of a key.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let outputs = Outputs::new([&arguments.output], &[&arguments.model]).or_bad()?;
    let unknown = |id: u8| {
        let path = arguments.model.display();
        Failure::file(format!("cannot use {path}: unknown hash suite {id}"))
    };
    let advance = |done: usize, count: usize| context.monitor.advance(done as f64 / count as f64);
    let failed = "cannot register this model";
    let kind = files::kind_of(&arguments.model).or_bad()?;
    let (name, key, key_digest, proofs) = if kind == Some(Kind::Encoder) {
        let EncoderFile { head, numbers } = files::read(&arguments.model).or_bad()?;
        let suite = Suite::of(head.suite).ok_or_else(|| unknown(head.suite))?;
        let prover = encoder::prover::commit_file(
            &context.device,
            &head,
            encoder::prover::runner(&head, &numbers)?,
            suite,
        )?;
        let stage = tracing::info_span!("register").entered();
        let proofs = prover.register(&advance).or_file(failed)?;
        drop(stage);
        (head.encoder.name, registered_encoder(prover.key()), head.key_digest, proofs)
    } else if kind == Some(Kind::Model) {
        let ModelFile { head, numbers } = files::read(&arguments.model).or_bad()?;
        let suite = Suite::of(head.suite).ok_or_else(|| unknown(head.suite))?;
        let prover =
            commit_file(&context.device, &head, runner(&head, numbers, None)?, suite, Keep::Codewords)?;
        let stage = tracing::info_span!("register").entered();
        let proofs = prover.register(&advance).or_file(failed)?;
        drop(stage);
        (head.decoder.name, registered(prover.key()), head.key_digest, proofs)
    } else {
        let file: ProgramFile = files::read(&arguments.model).or_bad()?;
        let suite = Suite::of(file.suite).ok_or_else(|| unknown(file.suite))?;
        let key = Key::new(&context.device, file.program, file.data, file.profile, suite)?;
        let stage = tracing::info_span!("register").entered();
        let proofs = key.register(&advance).or_file(failed)?;
        drop(stage);
        (key.verifying().program.name.clone(), key.verifying().clone(), key.digest(), proofs)
    };
    let verified = tracing::info_span!("verify").in_scope(|| verify_registration(&key, &proofs));
    verified.or_file("the registration does not verify; this is a defect of circlet, please report it")?;
    let bytes = files::encode(&RegistrationFile { key_digest, proofs: proofs.clone() });
    outputs.write([&bytes]).or_bad()?;

    let stages = context.monitor.take();
    let memory = system::peak_memory();
    let mut out = format!("registered {}\n", text::name(&name));
    out += &text::fields(&[
        ("key", text::hex(&key_digest)),
        (
            "registration",
            format!(
                "{} ({}, {} proofs)",
                arguments.output.display(),
                text::bytes(bytes.len() as u64),
                proofs.len()
            ),
        ),
        ("peak memory", memory.map_or_else(|| "unknown on this system".into(), text::bytes)),
    ]);
    out += "times\n";
    out += &text::fields(&job::stage_fields(&stages));
    let json = json!({
        "model": name,
        "key": text::hex(&key_digest),
        "registration": arguments.output,
        "file_bytes": bytes.len(),
        "proofs": proofs.len(),
        "peak_memory_bytes": memory,
        "seconds": job::stage_json(&stages),
    });
    Ok(Outcome { text: out, json, rejected: None })
}
