//! A committed decoder under any hash suite.

use std::sync::Arc;

use circlet::backend::merkle::BulkHash;
use circlet::files::Head;
use circlet::keys::KeyError;
use circlet::llm::chat::Standing;
use circlet::llm::prover::DecoderProver;
use circlet::llm::run::Runner;
use circlet_core::decoder::{Decoder, DecoderKey, Extent, Text, TextError, Turn};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_core::protocol::Protocol;

use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::Suite;
use crate::cli::text;

/// Proves texts, whatever the hash suite.
pub trait Prover {
    /// What verifiers hold.
    fn key(&self) -> &DecoderKey;

    /// Runs the decoder.
    fn runner(&self) -> &Runner;

    /// Proves that the weights keep their declared bounds.
    fn register(&self, done: &dyn Fn(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>>;

    /// Runs a text and proves it.
    fn prove(&self, text: &Text) -> anyhow::Result<Vec<u8>>;

    /// Runs a turn of a conversation and proves it.
    fn prove_turn(&self, before: &Standing, turn: &Turn) -> anyhow::Result<Vec<u8>>;
}

impl<S: BulkHash> Prover for DecoderProver<S> {
    fn key(&self) -> &DecoderKey {
        &self.key
    }

    fn runner(&self) -> &Runner {
        &self.runner
    }

    fn register(&self, done: &dyn Fn(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        self.register(done)
    }

    fn prove(&self, text: &Text) -> anyhow::Result<Vec<u8>> {
        let run = tracing::info_span!("execute").in_scope(|| self.run(text.clone()))?;
        Ok(run.prove())
    }

    fn prove_turn(&self, before: &Standing, turn: &Turn) -> anyhow::Result<Vec<u8>> {
        let run = tracing::info_span!("execute").in_scope(|| self.run_turn(before, turn))?;
        Ok(run.prove())
    }
}

/// Commits to a decoder.
pub fn commit(
    decoder: Decoder,
    data: Arc<Data>,
    profile: ProfileId,
    suite: Suite,
) -> Result<Box<dyn Prover>, Failure> {
    let name = decoder.name.clone();
    let _stage = tracing::info_span!("weights").entered();
    let prover: Result<Box<dyn Prover>, KeyError> = match suite {
        Suite::Poseidon2 => {
            DecoderProver::<Poseidon2Blake2s>::new(decoder, data, profile).map(|p| Box::new(p) as _)
        }
        Suite::Blake2s => {
            DecoderProver::<Blake2sBlake2s>::new(decoder, data, profile).map(|p| Box::new(p) as _)
        }
    };
    match prover {
        Err(error @ KeyError::Security { .. }) => Err(error).or_usage("cannot use this --profile"),
        other => other.or_file(format!("cannot commit to {}", text::name(&name))),
    }
}

/// Commits to the decoder of a file, which says what key that gives.
pub fn commit_file(head: &Head, data: Arc<Data>, suite: Suite) -> Result<Box<dyn Prover>, Failure> {
    let prover = commit(head.decoder.clone(), data, head.profile, suite)?;
    if prover.key().digest() == head.key_digest {
        return Ok(prover);
    }
    Err(Failure::file(
        "the compiled model is inconsistent: its weights do not give the key that it names; compile it again",
    ))
}

/// The extent of a text of so many tokens, the constant first one not counted.
pub fn extent(decoder: &Decoder, prompt: u32, generated: u32) -> Result<Extent, TextError> {
    let skip = u32::from(decoder.prefix.is_some());
    let first = decoder.prefix.unwrap_or(decoder.pad);
    let tokens = vec![first; (prompt + generated + skip) as usize];
    decoder.extent(&Text { tokens, prompt: prompt + skip })
}

/// The protocol for texts of one extent, before there is a key.
pub fn protocol(decoder: &Decoder, profile: ProfileId, extent: Extent) -> Result<Protocol, Failure> {
    circlet::llm::prover::protocol(decoder, profile, extent).or_file("this decoder cannot be proven")
}
