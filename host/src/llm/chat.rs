//! Conversations: running and proving one turn after the other.
//!
//! What a turn hands on are the integers of its keys and values. They are kept in memory from turn to turn; who has
//! only the tokens of the turns before runs them again, which gives the same integers.

use anyhow::ensure;
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Chat, Reached, Turn};
use circlet_core::key::Statement;

use super::prover::DecoderProver;
use super::run::Runner;
use crate::backend::device::Error;
use crate::backend::merkle::BulkHash;
use crate::execute::{State, Trace};
use crate::keys::ProvingKey;
use crate::prove::adversary::Honest;
use crate::prove::prove_trace;

/// A conversation up to the end of a turn, or before the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How far it is.
    pub reached: Option<Reached>,
    /// Keys and values of all positions that it has reached.
    pub state: State,
}

/// A turn that has been run and can be proven.
pub struct TurnRun<S: BulkHash> {
    /// The key of its program.
    pub key: ProvingKey<S>,
    /// All columns.
    pub trace: Trace,
    /// What the proof says.
    pub statement: Statement,
    /// The conversation after it.
    pub standing: Standing,
}

impl Runner {
    /// Runs a turn, whose generated tokens must be the model's.
    pub fn follow(&self, before: &Standing, turn: &Turn) -> anyhow::Result<Standing> {
        let program = self.decoder().turn(before.reached, turn)?;
        let circuit = Circuit::new(&self.decoder().program(program.extent))?;
        let trace = self.run_after(&circuit, &before.state, &open(program.statement.clone()))?;
        greedy(&trace, &program.statement)?;
        Ok(Standing { reached: Some(program.reached), state: trace.state(&circuit) })
    }

    /// Runs all turns of a conversation.
    pub fn replay(&self, chat: &Chat) -> anyhow::Result<Standing> {
        chat.turns.iter().try_fold(Standing::default(), |standing, turn| self.follow(&standing, turn))
    }
}

impl<S: BulkHash> DecoderProver<S> {
    /// Runs a turn, whose generated tokens must be the model's.
    pub fn run_turn(&self, before: &Standing, turn: &Turn) -> anyhow::Result<TurnRun<S>> {
        let program = self.key.decoder.turn(before.reached, turn)?;
        let key = self.sibling(program.extent)?;
        let trace = self.runner.run_after(key.circuit(), &before.state, &open(program.statement.clone()))?;
        greedy(&trace, &program.statement)?;
        let standing = Standing { reached: Some(program.reached), state: trace.state(key.circuit()) };
        Ok(TurnRun { key, trace, statement: program.statement, standing })
    }
}

impl<S: BulkHash> TurnRun<S> {
    /// Proves it.
    pub fn prove(&self) -> Result<Vec<u8>, Error> {
        prove_trace(&self.key, &self.trace, &self.statement, &mut Honest)
    }
}

/// The lists of a statement without those that the program computes.
pub(super) fn open(statement: Statement) -> [Vec<u32>; 2] {
    [statement.lists.into_iter().next().unwrap_or_default(), Vec::new()]
}

fn greedy(trace: &Trace, statement: &Statement) -> anyhow::Result<()> {
    ensure!(
        trace.lists == statement.lists,
        "the turn is not the model's greedy continuation of what is given and of the turns before"
    );
    Ok(())
}
