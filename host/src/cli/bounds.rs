//! Why the weights under a key can be relied on to keep the bounds that it declares.
//!
//! That no accumulator wraps, and so that a proof shows anything, follows from these bounds. A verifier who has not
//! seen the weights needs a registration; without one a key is accepted only from whom the user relies on.

use std::path::{Path, PathBuf};

use circlet::backend::device::Device;
use circlet::files::{self, EncoderFile, Kind, ModelFile, ProgramFile, RegistrationFile};
use circlet_core::key::VerifyingKey;
use circlet_verifier::verify_registration;
use clap::Args;

use super::failure::{Failure, OrFail};
use super::job::{Key, Suite};
use super::llm::prover::{runner, verifying_key};
use super::{encoder, text};

/// One of the reasons.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Why the key can be relied on (one of these)")]
#[group(multiple = false)]
pub struct Bounds {
    /// This registration proves that the weights keep the bounds that the key declares
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    /// This compiled model gives the key: its weights are checked and committed to again
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// You made the key, or rely on who did
    #[arg(long)]
    trust_key: bool,
}

impl Bounds {
    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.registration.as_deref().or(self.model.as_deref())
    }

    /// Makes sure that a reason is given.
    pub fn check(&self) -> Result<(), Failure> {
        if self.trust_key || self.path().is_some() {
            return Ok(());
        }
        Err(Failure::usage(
            "a key declares bounds on its weights without which a proof shows nothing. Give --registration FILE (made \
             once by `circlet register`) to have them proven, --model FILE to commit to the weights again, or \
             --trust-key if you made the key or rely on who did",
        ))
    }

    /// What is wrong with the reason, if anything is; `registered` is the key that registrations are for.
    pub fn judge(&self, digest: [u8; 32], registered: &VerifyingKey) -> Result<Result<(), String>, Failure> {
        if let Some(path) = &self.registration {
            let file: RegistrationFile = files::read(path).or_bad()?;
            return Ok(same("registration is for", file.key_digest, digest).and_then(|()| {
                verify_registration(registered, &file.proofs)
                    .map_err(|reject| format!("the registration: {reject}"))
            }));
        }
        if let Some(path) = &self.model {
            return Ok(same("model gives", committed(path)?, digest));
        }
        Ok(Ok(()))
    }

    /// The reason, for people.
    pub fn line(&self) -> String {
        let why = match (&self.registration, &self.model) {
            (Some(_), _) => "proven by the registration",
            (_, Some(_)) => "found by committing to the model again",
            _ => "taken on trust, as asked for",
        };
        format!("the weights keep the bounds that the key declares: {why}")
    }

    /// The reason, for programs.
    pub fn name(&self) -> &'static str {
        match (&self.registration, &self.model) {
            (Some(_), _) => "registration",
            (_, Some(_)) => "model",
            _ => "trusted",
        }
    }
}

fn same(what: &str, found: [u8; 32], expected: [u8; 32]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("the {what} the key {}, not {}", text::hex(&found), text::hex(&expected)))
}

/// The key that a compiled model gives.
fn committed(path: &Path) -> Result<[u8; 32], Failure> {
    let suite = |id: u8| {
        let unknown = || Failure::file(format!("cannot use {}: unknown hash suite {id}", path.display()));
        Suite::of(id).ok_or_else(unknown)
    };
    let kind = files::kind_of(path).or_bad()?;
    if kind == Some(Kind::Encoder) {
        let EncoderFile { head, numbers } = files::read(path).or_bad()?;
        let (runner, suite) = (encoder::prover::runner(&head, &numbers)?, suite(head.suite)?);
        return Ok(encoder::prover::commit(&Device::Cpu, runner, head.profile, suite)?.key().digest());
    }
    if kind == Some(Kind::Model) {
        let ModelFile { head, numbers } = files::read(path).or_bad()?;
        let suite = suite(head.suite)?;
        return Ok(verifying_key(&Device::Cpu, &runner(&head, numbers, None)?, head.profile, suite)?.digest());
    }
    let file: ProgramFile = files::read(path).or_bad()?;
    let suite = suite(file.suite)?;
    Ok(Key::new(&Device::Cpu, file.program, file.data, file.profile, suite)?.digest())
}
