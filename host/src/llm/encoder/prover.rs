//! Running an encoder of integers and proving its vectors: one commitment to the weights, a proof for every sentence.

use std::sync::Arc;

use anyhow::Context;
use circlet_core::circuit::{Checked, Circuit};
use circlet_core::encoder::{Encoder, EncoderKey, Encoding};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::protocol::{Outline, Protocol};

use crate::backend::device::{Device, Error};
use crate::backend::merkle::BulkHash;
use crate::execute::{Fixed, Trace, execute_with};
use crate::keys::{Columns, Keep, KeyError, ProvingKey, check};
use crate::numbers::Source;
use crate::prove::adversary::Honest;
use crate::prove::{prove_trace, statement};
use crate::register::register;

/// Tokens of the sentence that the layout of the commitment is chosen for.
const USUAL: u32 = 32;

fn usual(encoder: &Encoder) -> u32 {
    USUAL.min(encoder.positions)
}

/// The protocol for sentences of so many tokens, before there is a key.
pub fn protocol(encoder: &Encoder, profile: ProfileId, length: u32) -> Checked<Protocol> {
    let profile = *profile.profile();
    let log_rows = Outline::new(&encoder.program(usual(encoder)), profile)?.stacking.log_rows;
    Protocol::with_rows(&encoder.program(length), profile, log_rows)
}

/// Runs an encoder of integers.
pub struct EncoderRunner {
    encoder: Encoder,
    tables: Vec<Vec<i32>>,
    /// A circuit of the family and the fixed columns in its order.
    family: Circuit,
    fixed: Arc<Fixed>,
}

impl EncoderRunner {
    /// An encoder with its numbers, which are kept as columns.
    ///
    /// # Errors
    ///
    /// Where the numbers are not as the encoder declares them.
    pub fn new(encoder: Encoder, source: &impl Source) -> anyhow::Result<Self> {
        let program = encoder.program(1);
        check(&program, source)?;
        let family = Circuit::new(&program)?;
        let fixed = Arc::new(Fixed::new(&family, &program, source));
        Ok(Self { encoder, tables: source.tables().to_vec(), family, fixed })
    }

    /// What a commitment to the weights is to, laid out for sentences of the usual length.
    fn columns(&self, profile: ProfileId) -> Result<Columns, KeyError> {
        let program = self.encoder.program(usual(&self.encoder));
        let protocol = Protocol::new(&program, *profile.profile())?;
        let columns = self.fixed.of_family(&self.family, &protocol.circuit).into();
        Ok(Columns { program, tables: self.tables.clone(), columns, protocol })
    }

    /// Its structure.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Runs a circuit of the encoder's for a sentence.
    fn run(&self, circuit: &Circuit, tokens: &[u32]) -> anyhow::Result<Trace> {
        let fixed = Arc::new(self.fixed.of_family(&self.family, circuit));
        Ok(execute_with(circuit, fixed, &self.tables, &[], &[self.encoder.rows(tokens)?])?)
    }

    /// The vector of a sentence.
    pub fn encode(&self, tokens: &[u32]) -> anyhow::Result<Vec<i32>> {
        let mut circuit = Circuit::new(&self.encoder.program(self.encoder.length(tokens)?))?;
        // Nothing is to be proven.
        circuit.lookups.clear();
        let trace = self.run(&circuit, tokens)?;
        let output = circuit.outputs.first().context("an encoder has an output")?;
        Ok(trace.public(&circuit, &output.cells))
    }
}

/// An encoder whose weights are committed to.
pub struct EncoderProver<S: BulkHash> {
    /// What verifiers hold.
    pub key: EncoderKey,
    /// Runs it.
    pub runner: EncoderRunner,
    /// The key of one of its programs.
    base: ProvingKey<S>,
}

/// A sentence that has been run and can be proven.
pub struct Run<S: BulkHash> {
    /// The key of its program.
    pub key: ProvingKey<S>,
    /// All columns.
    pub trace: Trace,
    /// What the proof says.
    pub statement: Statement,
    /// The sentence with its vector.
    pub encoding: Encoding,
}

impl<S: BulkHash> EncoderProver<S> {
    /// Commits to an encoder.
    ///
    /// # Errors
    ///
    /// Where the numbers are not as the encoder declares them, or there is no sound protocol.
    pub fn new(encoder: Encoder, source: &impl Source, profile: ProfileId) -> anyhow::Result<Self> {
        Ok(Self::of(&Device::Cpu, EncoderRunner::new(encoder, source)?, profile)?)
    }

    /// Commits to the encoder that this runs, on a device.
    pub fn of(device: &Device, runner: EncoderRunner, profile: ProfileId) -> Result<Self, KeyError> {
        let base = ProvingKey::<S>::of_columns(device, runner.columns(profile)?, Keep::Codewords)?;
        // A device may hold them.
        let fixed = base.columns.of_family(base.circuit(), &runner.family).into();
        let runner = EncoderRunner { fixed, ..runner };
        let VerifyingKey { profile, suite, log_rows, pin, .. } = base.verifying;
        let (encoder, fixed_cap) = (runner.encoder.clone(), base.verifying.fixed_cap.clone());
        Ok(Self { key: EncoderKey { encoder, profile, suite, log_rows, fixed_cap, pin }, runner, base })
    }

    /// Proves that the weights keep their declared bounds, see [`register`].
    pub fn register(&self, done: impl FnMut(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        register(&self.base.sibling(self.key.instance(1))?, done)
    }

    /// Runs a sentence.
    pub fn run(&self, tokens: &[u32]) -> anyhow::Result<Run<S>> {
        let encoder = &self.key.encoder;
        let key = self.base.sibling(self.key.instance(encoder.length(tokens)?))?;
        let trace = self.runner.run(key.circuit(), tokens)?;
        let statement = statement(&key, &trace);
        let embedding = statement.outputs.first().cloned().context("an encoder has an output")?;
        let encoding = Encoding { tokens: tokens.to_vec(), embedding };
        Ok(Run { key, trace, statement, encoding })
    }
}

impl<S: BulkHash> Run<S> {
    /// Proves it.
    pub fn prove(&self) -> Result<Vec<u8>, Error> {
        prove_trace(&self.key, &self.trace, &self.statement, &mut Honest)
    }
}
