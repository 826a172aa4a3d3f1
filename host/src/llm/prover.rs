//! Proving texts: one commitment to the weights, a proof for every text.

use anyhow::{Context, ensure};
use circlet_core::circuit::Checked;
use circlet_core::decoder::{Decoder, DecoderKey, Extent, Text};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::program::Program;
use circlet_core::protocol::{Outline, Protocol};

use super::run::Runner;
use crate::backend::device::{Device, Error};
use crate::backend::merkle::BulkHash;
use crate::execute::Trace;
use crate::keys::{Keep, KeyError, ProvingKey};
use crate::numbers::Source;
use crate::prove::adversary::Honest;
use crate::prove::prove_trace;
use crate::register::register;

/// Rows of the program that the layout of the commitment is chosen for.
const USUAL_ROWS: u32 = 32;

/// The program that the layout of the commitment is chosen for.
pub(super) fn usual(decoder: &Decoder) -> Program {
    let rows = USUAL_ROWS.min(decoder.positions);
    decoder.program(Extent { rows, first: rows - 1, generated: 1, past: None })
}

/// The protocol for texts of one extent, before there is a key.
pub fn protocol(decoder: &Decoder, profile: ProfileId, extent: Extent) -> Checked<Protocol> {
    let profile = *profile.profile();
    let log_rows = Outline::new(&usual(decoder), profile)?.stacking.log_rows;
    Protocol::with_rows(&decoder.program(extent), profile, log_rows)
}

/// What verifiers hold of a decoder, given the key of its usual program.
fn decoder_key(decoder: &Decoder, usual: &VerifyingKey) -> DecoderKey {
    DecoderKey {
        decoder: decoder.clone(),
        profile: usual.profile,
        suite: usual.suite,
        log_rows: usual.log_rows,
        fixed_cap: usual.fixed_cap.clone(),
        pin: usual.pin,
    }
}

/// What verifiers hold, for which nothing need be kept to prove with.
pub fn key<S: BulkHash>(
    device: &Device,
    runner: &Runner,
    profile: ProfileId,
) -> Result<DecoderKey, KeyError> {
    let usual = runner.columns(profile)?.verifying_key::<S>(device)?;
    Ok(decoder_key(runner.decoder(), &usual))
}

/// A decoder whose weights are committed to.
pub struct DecoderProver<S: BulkHash> {
    /// What verifiers hold.
    pub key: DecoderKey,
    /// Runs it.
    pub runner: Runner,
    /// The key of one of its programs.
    base: ProvingKey<S>,
}

/// A text that has been run and can be proven.
pub struct Run<S: BulkHash> {
    /// The key of its program.
    pub key: ProvingKey<S>,
    /// All columns.
    pub trace: Trace,
    /// What the proof says.
    pub statement: Statement,
    /// The text.
    pub text: Text,
}

impl<S: BulkHash> DecoderProver<S> {
    /// Commits to a decoder.
    ///
    /// # Errors
    ///
    /// Where the numbers are not as the decoder declares them, or there is no sound protocol.
    pub fn new(decoder: Decoder, source: &impl Source, profile: ProfileId) -> anyhow::Result<Self> {
        Ok(Self::of(&Device::Cpu, Runner::new(decoder, source)?, profile, Keep::Codewords)?)
    }

    /// Commits to the decoder that this runs, on a device.
    pub fn of(device: &Device, runner: Runner, profile: ProfileId, keep: Keep) -> Result<Self, KeyError> {
        let base = ProvingKey::<S>::of_columns(device, runner.columns(profile)?, keep)?;
        let runner = runner.with_columns(base.circuit(), &base.columns);
        let key = decoder_key(runner.decoder(), &base.verifying);
        Ok(Self { key, runner, base })
    }

    /// Proves that the weights keep their declared bounds, see [`register`].
    pub fn register(&self, done: impl FnMut(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        register(&self.sibling(Extent { rows: 1, first: 0, generated: 1, past: None })?, done)
    }

    /// The key of the program of an extent.
    pub(super) fn sibling(&self, extent: Extent) -> Result<ProvingKey<S>, KeyError> {
        self.base.sibling(self.key.instance(extent))
    }

    /// Runs a text, whose last tokens after the prompt must be the model's.
    pub fn run(&self, text: Text) -> anyhow::Result<Run<S>> {
        let decoder = &self.key.decoder;
        let extent = decoder.extent(&text)?;
        let statement = decoder.statement(&text)?;
        let key = self.sibling(extent)?;
        let lists = [statement.lists.first().cloned().context("a list of tokens")?, Vec::new()];
        let trace = self.runner.run(key.circuit(), &lists)?;
        ensure!(
            trace.lists == statement.lists,
            "the text is not the model's greedy continuation of its prompt"
        );
        Ok(Run { key, trace, statement, text })
    }
}

impl<S: BulkHash> Run<S> {
    /// Proves it.
    pub fn prove(&self) -> Result<Vec<u8>, Error> {
        prove_trace(&self.key, &self.trace, &self.statement, &mut Honest)
    }
}
