//! Greedy continuations: what has been through the model once is not run again.
//!
//! Every token is a turn of one row after the state of all positions before it, so that its cost does not grow with
//! the text but for attention. The integers are those of the program that proves the whole continuation: what
//! depends on the number of positions there, the table of exponentials, is chosen for that program from the start.

use anyhow::Context;
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Decoder, Reached, Turn};

use super::chat::{Standing, open};
use super::run::Runner;
use crate::execute::ExecuteError;

/// What is said while a continuation is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The next token.
    Token(u32),
    /// All tokens so far are taken back, and others come. A text that ends early is proven by a program for fewer
    /// positions; its exponentials are finer, and where two tokens are almost equal another one can win.
    Again,
}

impl Runner {
    /// What the model says after what is given, up to one of the tokens that end a text, or so many.
    ///
    /// # Errors
    ///
    /// Where the decoder has no program for the whole of it, or an integer leaves its range.
    pub fn generate(
        &self,
        before: &Standing,
        given: &[u32],
        count: u32,
        end: &[u32],
        mut say: impl FnMut(Said),
    ) -> anyhow::Result<Vec<u32>> {
        let mut most = count;
        loop {
            let decoder = self.decoder_for(before, given, most)?;
            let mut generated: Vec<u32> = Vec::new();
            let mut standing = before.clone();
            while generated.len() < most as usize {
                let given = if generated.is_empty() { given } else { &[] };
                let token;
                (token, standing) = self.step(&decoder, &standing, given)?;
                generated.push(token);
                say(Said::Token(token));
                if end.contains(&token) {
                    break;
                }
            }
            let shorter = self.decoder_for(before, given, generated.len() as u32)?;
            if shorter.exponentials == decoder.exponentials {
                return Ok(generated);
            }
            let turn = Turn { given: given.to_vec(), generated };
            match self.follow(before, &turn) {
                Ok(_) => return Ok(turn.generated),
                // Another text comes, unless it is the device that has failed.
                Err(error) if matches!(error.downcast_ref(), Some(ExecuteError::Device(_))) => {
                    return Err(error);
                }
                Err(_) => {}
            }
            // From here on only as many as that table serves, which are fewer than before.
            let positions = |count: u32| self.positions(before, given, count);
            let (least, served) = (turn.generated.len() as u32, shorter.exponentials[0].0);
            most = least + served.saturating_sub(positions(least)?);
            say(Said::Again);
        }
    }

    /// One token, and the conversation up to it.
    fn step(&self, decoder: &Decoder, before: &Standing, given: &[u32]) -> anyhow::Result<(u32, Standing)> {
        let turn = Turn { given: given.to_vec(), generated: vec![decoder.pad] };
        let program = decoder.turn(before.reached, &turn)?;
        let mut circuit = Circuit::new(&decoder.program(program.extent))?;
        // Nothing is to be proven.
        circuit.lookups.clear();
        let trace = self.run_after(&circuit, &before.state, &open(program.statement))?;
        let token = trace.lists.get(1).and_then(|list| list.first());
        let last = *token.context("a program that generates a token")?;
        let reached = Reached { last, ..program.reached };
        Ok((last, Standing { reached: Some(reached), state: trace.state(&circuit) }))
    }

    /// The decoder with the one table of exponentials that a continuation by so many tokens is proven with, and how
    /// many positions that serves.
    fn decoder_for(&self, before: &Standing, given: &[u32], count: u32) -> anyhow::Result<Decoder> {
        let rows = self.positions(before, given, count)?.next_power_of_two();
        let mut decoder = self.decoder().clone();
        decoder.exponentials.retain(|&(most, _)| rows <= most);
        decoder.exponentials.truncate(1);
        Ok(decoder)
    }

    /// Positions that a continuation by so many tokens reaches.
    fn positions(&self, before: &Standing, given: &[u32], count: u32) -> anyhow::Result<u32> {
        let decoder = self.decoder();
        let turn = Turn { given: given.to_vec(), generated: vec![decoder.pad; count as usize] };
        Ok(decoder.turn(before.reached, &turn)?.reached.positions)
    }
}
