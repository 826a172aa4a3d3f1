//! Running an encoder of integers and proving its vectors: one commitment to the weights, a proof for every sentence.

use std::sync::Arc;

use anyhow::Context;
use circlet_core::circuit::{Circuit, CircuitError};
use circlet_core::encoder::{Encoder, EncoderKey, Encoding};
use circlet_core::key::Statement;
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_core::protocol::Protocol;

use crate::backend::merkle::BulkHash;
use crate::execute::{Fixed, Trace, execute_with};
use crate::keys::{KeyError, ProvingKey};
use crate::prove::adversary::Honest;
use crate::prove::{prove_trace, statement};
use crate::register::register;

/// Tokens of the sentence that the layout of the commitment is chosen for.
const USUAL: u32 = 32;

fn usual(encoder: &Encoder) -> u32 {
    USUAL.min(encoder.positions)
}

/// The protocol for sentences of so many tokens, before there is a key.
pub fn protocol(encoder: &Encoder, profile: ProfileId, length: u32) -> Result<Protocol, CircuitError> {
    let profile = *profile.profile();
    let log_rows = Protocol::new(&encoder.program(usual(encoder)), profile)?.stacking.log_rows;
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
    pub fn new(encoder: Encoder, data: &Data) -> anyhow::Result<Self> {
        let program = encoder.program(1);
        let family = Circuit::new(&program)?;
        let fixed = Arc::new(Fixed::new(&family, &program, data));
        Ok(Self { encoder, tables: data.tables.clone(), family, fixed })
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
    pub fn new(encoder: Encoder, data: impl Into<Arc<Data>>, profile: ProfileId) -> Result<Self, KeyError> {
        let mut base = ProvingKey::<S>::new(encoder.program(usual(&encoder)), data, profile)?;
        // From here on the columns hold the numbers.
        let tables = base.data.tables.clone();
        base.data = Arc::new(Data { constants: Vec::new(), tables: tables.clone() });
        let key = EncoderKey {
            encoder: encoder.clone(),
            profile,
            suite: S::ID,
            log_rows: base.verifying.log_rows,
            fixed_cap: base.verifying.fixed_cap.clone(),
            pin: base.verifying.pin,
        };
        let (family, fixed) = (base.circuit().clone(), base.columns.clone());
        Ok(Self { key, runner: EncoderRunner { encoder, tables, family, fixed }, base })
    }

    /// Proves that the weights keep their declared bounds, see [`register`].
    pub fn register(&self, done: impl FnMut(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        register(&self.base.sibling(self.key.encoder.program(1))?, done)
    }

    /// Runs a sentence.
    pub fn run(&self, tokens: &[u32]) -> anyhow::Result<Run<S>> {
        let encoder = &self.key.encoder;
        let key = self.base.sibling(encoder.program(encoder.length(tokens)?))?;
        let trace = self.runner.run(key.circuit(), tokens)?;
        let statement = statement(&key, &trace);
        let embedding = statement.outputs.first().cloned().context("an encoder has an output")?;
        let encoding = Encoding { tokens: tokens.to_vec(), embedding };
        Ok(Run { key, trace, statement, encoding })
    }
}

impl<S: BulkHash> Run<S> {
    /// Proves it.
    pub fn prove(&self) -> Vec<u8> {
        prove_trace(&self.key, &self.trace, &self.statement, &mut Honest)
    }
}
