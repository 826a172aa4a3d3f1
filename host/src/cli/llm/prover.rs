//! A committed decoder under any hash suite.

use std::path::Path;

use circlet::backend::device::Device;
use circlet::backend::merkle::BulkHash;
use circlet::estimate::{Estimate, Times};
use circlet::files::Head;
use circlet::keys::{Keep, KeyError};
use circlet::llm::chat::Standing;
use circlet::llm::prover::{self, DecoderProver};
use circlet::llm::run::Runner;
use circlet::numbers::Numbers;
use circlet_core::decoder::{Decoder, DecoderKey, Extent, Text, TextError, Turn};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;

use crate::cli::failure::{Failure, OrFail};
use crate::cli::job::{self, Suite};
use crate::cli::{Context, text};
use crate::progress::Shown;

/// Proves texts, whatever the hash suite.
pub trait Prover: Sync {
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
        Ok(run.prove()?)
    }

    fn prove_turn(&self, before: &Standing, turn: &Turn) -> anyhow::Result<Vec<u8>> {
        let run = tracing::info_span!("execute").in_scope(|| self.run_turn(before, turn))?;
        Ok(run.prove()?)
    }
}

/// Says what is wrong where there is no commitment.
fn committed<T>(result: Result<T, KeyError>, decoder: &str) -> Result<T, Failure> {
    match result {
        Err(error @ KeyError::Security { .. }) => Err(error).or_usage("cannot use this --profile"),
        other => other.or_file(format!("cannot commit to {}", text::name(decoder))),
    }
}

/// How a decoder is held while it is run and proven.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// What is kept of the commitment.
    pub keep: Keep,
    /// Whether its weights are in a file.
    pub in_file: bool,
}

impl Holding {
    /// Everything in memory.
    pub const MEMORY: Self = Self { keep: Keep::Codewords, in_file: false };

    /// All ways; where two take the same time, the one that needs less of the machine comes later.
    pub const ALL: [Self; 3] =
        [Self::MEMORY, Self { keep: Keep::Tree, in_file: false }, Self { keep: Keep::Tree, in_file: true }];

    /// What leads to a proof soonest in the memory that there is.
    pub fn new(context: &Context, expected: &Estimate) -> Result<Self, Failure> {
        if let Some(holding) = Self::soonest(expected, |needed| context.fits(needed)) {
            return Ok(holding);
        }
        let least = Self::ALL.map(|holding| holding.expected(*expected).memory_bytes).into_iter().min();
        context.check_memory(least.unwrap_or(u64::MAX), "this proof")?;
        Ok(Self::MEMORY)
    }

    /// What leads from the file to a proof soonest, of what fits.
    pub fn soonest(expected: &Estimate, fits: impl Fn(u64) -> bool) -> Option<Self> {
        let seconds = |holding: &Self| {
            let times = holding.expected(*expected).times;
            times.weights + times.prove()
        };
        Self::ALL
            .into_iter()
            .filter(|holding| fits(holding.expected(*expected).memory_bytes))
            .min_by(|a, b| seconds(a).total_cmp(&seconds(b)))
    }

    /// What a proof takes then.
    pub fn expected(self, mut expected: Estimate) -> Estimate {
        if self.keep == Keep::Tree {
            expected.times = expected.lean_times;
            expected.memory_bytes =
                expected.lean_bytes + if self.in_file { 0 } else { expected.column_bytes };
        }
        expected
    }

    /// What is kept.
    pub fn name(self) -> &'static str {
        match self {
            Self { keep: Keep::Codewords, .. } => "codewords kept",
            Self { in_file: false, .. } => "weights kept",
            Self { in_file: true, .. } => "weights in a file",
        }
    }

    /// What to say of it.
    pub fn note(self) -> Option<(&'static str, String)> {
        let note = match self {
            Self { keep: Keep::Codewords, .. } => return None,
            Self { in_file: false, .. } => "the codewords of the weights were made twice and not kept",
            Self { in_file: true, .. } => "the codewords were made twice, and the weights were in a file",
        };
        Some(("to save memory", note.into()))
    }
}

/// Commits to a decoder on a device.
pub fn commit(
    device: &Device,
    runner: Runner,
    profile: ProfileId,
    suite: Suite,
    keep: Keep,
) -> Result<Box<dyn Prover>, Failure> {
    let name = runner.decoder().name.clone();
    let _stage = tracing::info_span!("weights").entered();
    let prover: Result<Box<dyn Prover>, KeyError> = match suite {
        Suite::Poseidon2 => DecoderProver::<Poseidon2Blake2s>::of(device, runner, profile, keep)
            .map(|prover| Box::new(prover) as _),
        Suite::Blake2s => DecoderProver::<Blake2sBlake2s>::of(device, runner, profile, keep)
            .map(|prover| Box::new(prover) as _),
    };
    committed(prover, &name)
}

/// Commits to a decoder for the key alone, which takes less memory.
pub fn verifying_key(
    device: &Device,
    runner: &Runner,
    profile: ProfileId,
    suite: Suite,
) -> Result<DecoderKey, Failure> {
    let _stage = tracing::info_span!("weights").entered();
    let key = match suite {
        Suite::Poseidon2 => prover::key::<Poseidon2Blake2s>(device, runner, profile),
        Suite::Blake2s => prover::key::<Blake2sBlake2s>(device, runner, profile),
    };
    committed(key, &runner.decoder().name)
}

/// Commits to the decoder of a file, which says what key that gives.
pub fn commit_file(
    device: &Device,
    head: &Head,
    runner: Runner,
    suite: Suite,
    keep: Keep,
) -> Result<Box<dyn Prover>, Failure> {
    let prover = commit(device, runner, head.profile, suite, keep)?;
    if prover.key().digest() == head.key_digest {
        return Ok(prover);
    }
    Err(Failure::file(
        "the compiled model is inconsistent: its weights do not give the key that it names; compile it again",
    ))
}

/// Runs the decoder of a file for what is to be proven, and commits to it; the time of what is left is shown. A GPU comes
/// first: it then runs the decoder with the weights that it holds.
pub fn run_and_commit<T>(
    context: &Context,
    head: &Head,
    runner: Runner,
    (suite, keep): (Suite, Keep),
    times: &Times,
    run: impl FnOnce(&Runner) -> Result<T, Failure>,
) -> Result<(T, Box<dyn Prover>, Shown), Failure> {
    let run = |runner: &Runner| tracing::info_span!("generate").in_scope(|| run(runner));
    let commit = |runner| commit_file(&context.device, head, runner, suite, keep);
    let stages = job::plan(times);
    Ok(match context.device {
        Device::Cpu => {
            let ran = run(&runner)?;
            let shown = context.monitor.plan(&stages, 1);
            (ran, commit(runner)?, shown)
        }
        Device::Gpu(_) | Device::Gpus(_) => {
            let shown = context.monitor.plan(&stages[..1], 1);
            let prover = commit(runner)?;
            drop(shown);
            (run(prover.runner())?, prover, context.monitor.plan(&stages[1..], 1))
        }
    })
}

/// The decoder of a file, ready to run, with its weights in a nameless file in a folder, if one is given. The numbers
/// are not needed any more.
pub fn runner(head: &Head, numbers: Numbers, folder: Option<&Path>) -> Result<Runner, Failure> {
    let _stage = tracing::info_span!("import").entered();
    let runner = match folder {
        Some(folder) => Runner::in_file(head.decoder.clone(), &numbers, folder),
        None => Runner::new(head.decoder.clone(), &numbers),
    };
    drop(numbers);
    runner.or_file(format!("cannot use the model {}", text::name(&head.decoder.name)))
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
    prover::protocol(decoder, profile, extent).or_file("this decoder cannot be proven")
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet::estimate::estimate;
    use circlet::llm::shape::Shape;

    #[test]
    fn less_memory_is_taken_before_none() {
        let shape = Shape {
            name: "large",
            layers: 2,
            width: 1024,
            ffn: 4096,
            heads: 8,
            groups: 2,
            channels: 64,
            vocab: 16_384,
            qk_norm: false,
        };
        let (decoder, _) = shape.decoder(2, 16_384, 16);
        let extent = extent(&decoder, 2, 1).unwrap();
        let whole = estimate(&protocol(&decoder, ProfileId::P100U, extent).unwrap(), 2);
        let needed = Holding::ALL.map(|holding| holding.expected(whole).memory_bytes);
        assert!(needed[0] > needed[1] && needed[1] > needed[2], "{needed:?}");
        assert_eq!((needed[0], needed[1] - needed[2]), (whole.memory_bytes, whole.column_bytes));
        let chosen = |expected: &Estimate, memory: u64| {
            let holding = Holding::soonest(expected, |needed| needed <= memory)?;
            Some((holding.keep == Keep::Tree, holding.in_file, holding.note().is_some()))
        };
        // Where encoding twice takes longest, memory decides.
        let mut slow = whole;
        slow.lean_times.opening += 1000.0;
        assert_eq!(chosen(&slow, needed[0]), Some((false, false, false)));
        assert_eq!(chosen(&slow, needed[0] - 1), Some((true, false, true)));
        // Where it does not, there is no reason for more.
        let mut fast = whole;
        fast.lean_times = Times::default();
        assert_eq!(chosen(&fast, needed[0]), Some((true, false, true)));
        for expected in [slow, whole, fast] {
            assert_eq!(chosen(&expected, needed[1]), Some((true, false, true)));
            assert_eq!(chosen(&expected, needed[1] - 1), Some((true, true, true)));
            assert_eq!(chosen(&expected, needed[2]), Some((true, true, true)));
            assert_eq!(chosen(&expected, needed[2] - 1), None);
        }
        assert!(whole.lean_times.opening > whole.times.opening);
        assert!(whole.lean_times.weights < whole.times.weights);
    }
}
