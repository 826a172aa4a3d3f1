//! Conversations: texts that go on where an earlier proof has stopped.
//!
//! A turn is a text of its own whose program reads the keys and values of all positions before it from the state
//! that the proof of the turn before has committed to, and commits to those of all positions up to its own end. Its
//! first row is the last token of the turn before, which has not been through the model yet.

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Decoder, Extent, TextError};
use crate::key::Statement;

/// A stretch of a conversation: tokens that are given, then tokens proven to be the model's greedy choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What is given. In the first turn the prefix included and something after it; in a later one maybe nothing.
    pub given: Vec<u32>,
    /// What the model makes of it; at least one token.
    pub generated: Vec<u32>,
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// Its turns, each after all before it.
    pub turns: Vec<Turn>,
}

/// Where a conversation stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Positions that have been through the model: all but the prefix and the last token.
    pub positions: u32,
    /// The last token.
    pub last: u32,
}

/// What a proof of a turn is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnProgram {
    /// The shape of its program.
    pub extent: Extent,
    /// Its public lists.
    pub statement: Statement,
    /// Where the conversation stands after it.
    pub reached: Reached,
}

impl Chat {
    /// All tokens, one turn after the other.
    pub fn tokens(&self) -> Vec<u32> {
        self.turns.iter().flat_map(|turn| turn.given.iter().chain(&turn.generated)).copied().collect()
    }
}

impl Decoder {
    /// The program and statement of a turn that follows others, or that is the first.
    pub fn turn(&self, before: Option<Reached>, turn: &Turn) -> Result<TurnProgram, TextError> {
        if let Some(&token) = turn.given.iter().chain(&turn.generated).find(|&&token| token >= self.vocab) {
            return Err(TextError::Token(token));
        }
        let mut inputs: Vec<u32> = if let Some(before) = before {
            [&[before.last], turn.given.as_slice()].concat()
        } else {
            if let Some(prefix) = self.prefix.filter(|prefix| turn.given.first() != Some(prefix)) {
                return Err(TextError::Prefix(prefix));
            }
            turn.given.iter().copied().skip(usize::from(self.prefix.is_some())).collect()
        };
        let Some((&last, fed)) = turn.generated.split_last().filter(|_| !inputs.is_empty()) else {
            return Err(TextError::Empty);
        };
        inputs.extend(fed);
        let past = before.map_or(0, |before| before.positions);
        let (new, generated) = (inputs.len(), turn.generated.len());
        let positions = (past as usize).saturating_add(new);
        let limit = self.positions;
        let fits = u32::try_from(positions).ok().filter(|&positions| positions <= limit);
        let Some(positions) = fits.filter(|p| self.exponential(p.next_power_of_two()).is_some()) else {
            return Err(TextError::TooLong { got: positions, limit });
        };
        let rows = new.next_power_of_two();
        inputs.resize(rows, self.pad);
        Ok(TurnProgram {
            extent: Extent {
                rows: rows as u32,
                first: (new - generated) as u32,
                generated: generated as u32,
                past: Some(past),
            },
            statement: Statement { lists: vec![inputs, turn.generated.clone()], ..Statement::default() },
            reached: Reached { positions, last },
        })
    }
}
