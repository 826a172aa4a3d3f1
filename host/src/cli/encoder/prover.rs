//! A committed encoder under any hash suite.

use circlet::backend::device::Device;
use circlet::backend::merkle::BulkHash;
use circlet::files::EncoderHead;
use circlet::keys::KeyError;
use circlet::llm::encoder::prover::{EncoderProver, EncoderRunner};
use circlet::numbers::Numbers;
use circlet_core::encoder::{Encoder, EncoderKey, Encoding};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;

use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::Suite;
use crate::cli::text;

/// Proves vectors of sentences, whatever the hash suite.
pub trait Prover {
    /// What verifiers hold.
    fn key(&self) -> &EncoderKey;

    /// Proves that the weights keep their declared bounds.
    fn register(&self, done: &dyn Fn(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>>;

    /// Runs a sentence and proves its vector.
    fn prove(&self, tokens: &[u32]) -> anyhow::Result<(Encoding, Vec<u8>)>;
}

impl<S: BulkHash> Prover for EncoderProver<S> {
    fn key(&self) -> &EncoderKey {
        &self.key
    }

    fn register(&self, done: &dyn Fn(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        self.register(done)
    }

    fn prove(&self, tokens: &[u32]) -> anyhow::Result<(Encoding, Vec<u8>)> {
        let run = tracing::info_span!("execute").in_scope(|| self.run(tokens))?;
        let proof = run.prove()?;
        Ok((run.encoding, proof))
    }
}

/// Commits to an encoder on a device.
pub fn commit(
    device: &Device,
    runner: EncoderRunner,
    profile: ProfileId,
    suite: Suite,
) -> Result<Box<dyn Prover>, Failure> {
    let name = runner.encoder().name.clone();
    let _stage = tracing::info_span!("weights").entered();
    let prover: Result<Box<dyn Prover>, KeyError> =
        match suite {
            Suite::Poseidon2 => EncoderProver::<Poseidon2Blake2s>::of(device, runner, profile)
                .map(|prover| Box::new(prover) as _),
            Suite::Blake2s => EncoderProver::<Blake2sBlake2s>::of(device, runner, profile)
                .map(|prover| Box::new(prover) as _),
        };
    match prover {
        Err(error @ KeyError::Security { .. }) => Err(error).or_usage("cannot use this --profile"),
        other => other.or_file(format!("cannot commit to {}", text::name(&name))),
    }
}

/// Commits to the encoder of a file, which says what key that gives.
pub fn commit_file(
    device: &Device,
    head: &EncoderHead,
    runner: EncoderRunner,
    suite: Suite,
) -> Result<Box<dyn Prover>, Failure> {
    let prover = commit(device, runner, head.profile, suite)?;
    if prover.key().digest() == head.key_digest {
        return Ok(prover);
    }
    Err(Failure::file(
        "the compiled encoder is inconsistent: its weights do not give the key that it names; compile it again",
    ))
}

/// The encoder of a file, ready to run.
pub fn runner(head: &EncoderHead, numbers: &Numbers) -> Result<EncoderRunner, Failure> {
    let name = || format!("cannot use the encoder {}", text::name(&head.encoder.name));
    tracing::info_span!("import")
        .in_scope(|| EncoderRunner::new(head.encoder.clone(), numbers))
        .or_file(name())
}

/// The protocol for sentences of so many tokens, before there is a key.
pub fn protocol(encoder: &Encoder, profile: ProfileId, length: u32) -> Result<Protocol, Failure> {
    circlet::llm::encoder::prover::protocol(encoder, profile, length).or_file("this encoder cannot be proven")
}
