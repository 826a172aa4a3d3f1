//! A committed program under any hash suite, and the run of one proof.

use std::sync::Arc;

use circlet::backend::device::Device;
use circlet::estimate::Times;
use circlet::execute::{ExecuteError, Trace, execute_with};
use circlet::keys::{KeyError, ProvingKey};
use circlet::prove::{adversary::Honest, prove_trace, statement};
use circlet_core::hash::HashSuite;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use circlet_core::protocol::{Outline, Protocol};
use circlet_core::security::Report;
use clap::ValueEnum;

use super::failure::{Failure, OrFail};
use super::text;
use crate::progress::Stage;

/// The hash functions of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Poseidon2-M31 transcript over Blake2s trees
    #[default]
    Poseidon2,
    /// Blake2s for both: cheaper to verify where Blake2s is native
    Blake2s,
}

impl Suite {
    /// The suite with this id.
    pub fn of(id: u8) -> Option<Self> {
        [Self::Poseidon2, Self::Blake2s].into_iter().find(|suite| suite.id() == id)
    }

    /// Its id in keys.
    pub fn id(self) -> u8 {
        match self {
            Self::Poseidon2 => Poseidon2Blake2s::ID,
            Self::Blake2s => Blake2sBlake2s::ID,
        }
    }

    /// Its full name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poseidon2 => Poseidon2Blake2s::NAME,
            Self::Blake2s => Blake2sBlake2s::NAME,
        }
    }
}

/// A proving key under one of the suites.
pub enum Key {
    /// See [`Suite::Poseidon2`].
    Poseidon2(Box<ProvingKey<Poseidon2Blake2s>>),
    /// See [`Suite::Blake2s`].
    Blake2s(Box<ProvingKey<Blake2sBlake2s>>),
}

macro_rules! with_key {
    ($self:expr, $key:ident => $result:expr) => {
        match $self {
            Key::Poseidon2($key) => $result,
            Key::Blake2s($key) => $result,
        }
    };
}

impl Key {
    /// Commits to a program on a device.
    pub fn new(
        device: &Device,
        program: Program,
        data: impl Into<Arc<Data>>,
        profile: ProfileId,
        suite: Suite,
    ) -> Result<Self, Failure> {
        let name = program.name.clone();
        let key = tracing::info_span!("weights").in_scope(|| {
            Ok(match suite {
                Suite::Poseidon2 => {
                    Self::Poseidon2(Box::new(ProvingKey::on(device, program, data, profile)?))
                }
                Suite::Blake2s => Self::Blake2s(Box::new(ProvingKey::on(device, program, data, profile)?)),
            })
        });
        match key {
            Err(error @ KeyError::Security { .. }) => Err(error).or_usage("cannot use this --profile"),
            other => other.or_file(format!("cannot commit to {name}")),
        }
    }

    /// What verifiers hold.
    pub fn verifying(&self) -> &VerifyingKey {
        with_key!(self, key => &key.verifying)
    }

    /// Its digest.
    pub fn digest(&self) -> [u8; 32] {
        with_key!(self, key => key.digest)
    }

    /// What the key fixes.
    pub fn protocol(&self) -> &Protocol {
        with_key!(self, key => &key.protocol)
    }

    /// The numbers.
    pub fn data(&self) -> &Data {
        with_key!(self, key => &key.data)
    }

    /// Runs the program.
    pub fn execute(&self, inputs: &[Vec<i32>]) -> Result<Trace, ExecuteError> {
        tracing::info_span!("execute")
            .in_scope(|| with_key!(self, key => execute_with(key.circuit(), key.columns.clone(), &key.data.tables, inputs, &[])))
    }

    /// The statement that a trace shows.
    pub fn statement(&self, trace: &Trace) -> Statement {
        with_key!(self, key => statement(key, trace))
    }

    /// Proves that the numbers keep their declared bounds.
    pub fn register(&self, done: impl FnMut(usize, usize)) -> anyhow::Result<Vec<Vec<u8>>> {
        with_key!(self, key => circlet::register::register(key, done))
    }

    /// Proves it.
    pub fn prove(&self, trace: &Trace, statement: &Statement) -> Result<Vec<u8>, Failure> {
        with_key!(self, key => prove_trace(key, trace, statement, &mut Honest)).or_file("there is no proof")
    }
}

/// The calculator's result for a protocol.
pub fn security(protocol: &Outline) -> Result<Report, Failure> {
    circlet::keys::security(protocol).or_file("this program is too large for the protocol")
}

/// Bits and regime in one line.
pub fn security_line(report: &Report) -> String {
    let kind = if report.profile.regime.is_proven() { "" } else { " (conjectured!)" };
    format!(
        "{} bits{kind}; {}; limited by {}; profile {}",
        text::bits(report.bits),
        report.profile.regime,
        report.limited_by,
        report.profile.name
    )
}

/// Bits and regime for programs.
pub fn security_json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "profile": report.profile.name,
        "bits": report.bits,
        "proven_bits": report.proven_bits,
        "proven": report.profile.regime.is_proven(),
        "regime": report.profile.regime.to_string(),
        "limited_by": report.limited_by,
        "meets_target": circlet_core::security::meets_target(report),
    })
}

/// The stages of a proof with their estimated times, the commitment to the weights first.
pub fn plan(times: &Times) -> [Stage; 6] {
    [
        ("weights", times.weights),
        ("execute", times.execute),
        ("commit", times.commit),
        ("lookup", times.lookup),
        ("relation", times.relation),
        ("opening", times.opening),
    ]
}

/// What stages mean, for people.
pub fn stage_title(stage: &str) -> &str {
    match stage {
        "import" => "read the model",
        "quantize" => "quantize",
        "load" => "read the weights",
        "calibrate" => "calibrate",
        "compare" => "compare with the floats",
        "generate" => "generate the text",
        "weights" => "commit to weights",
        "execute" => "run the program",
        "commit" => "commit to the trace",
        "lookup" => "prove lookups",
        "relation" => "prove relations",
        "opening" => "open commitments",
        "register" => "prove the bounds",
        "verify" => "verify",
        other => other,
    }
}

/// Stages as lines of a list.
pub fn stage_fields(stages: &[Stage]) -> Vec<(&str, String)> {
    stages.iter().map(|(name, seconds)| (stage_title(name), text::seconds(*seconds))).collect()
}

/// Stages for programs.
pub fn stage_json(stages: &[Stage]) -> serde_json::Value {
    stages.iter().map(|(name, seconds)| ((*name).to_owned(), serde_json::json!(seconds))).collect()
}
