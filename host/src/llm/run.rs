//! Running a decoder of integers: texts with all that a proof needs, greedy continuations, logits.

use std::sync::Arc;

use anyhow::{Context, ensure};
use circlet_core::circuit::{Circuit, Step};
use circlet_core::decoder::{Decoder, Extent, Text};
use circlet_core::program::Data;

use crate::execute::{Fixed, State, Trace, execute_after, values};

/// A decoder with its numbers.
pub struct Runner {
    decoder: Decoder,
    tables: Vec<Vec<i32>>,
    /// A circuit of the family and the fixed columns in its order.
    family: Circuit,
    fixed: Arc<Fixed>,
}

impl Runner {
    /// A decoder with its numbers, which are kept as columns.
    pub fn new(decoder: Decoder, data: &Data) -> anyhow::Result<Self> {
        let program = decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None });
        let family = Circuit::new(&program)?;
        let fixed = Arc::new(Fixed::new(&family, &program, data));
        Ok(Self { decoder, tables: data.tables.clone(), family, fixed })
    }

    /// A decoder whose fixed columns are those of one of its circuits.
    pub fn with_columns(decoder: Decoder, tables: Vec<Vec<i32>>, family: Circuit, fixed: Arc<Fixed>) -> Self {
        Self { decoder, tables, family, fixed }
    }

    /// Its structure.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Runs a circuit of the decoder's on lists; those that it computes are given empty.
    pub fn run(&self, circuit: &Circuit, lists: &[Vec<u32>]) -> anyhow::Result<Trace> {
        self.run_after(circuit, &State::new(), lists)
    }

    /// The same for a circuit that goes on from a state.
    pub fn run_after(&self, circuit: &Circuit, past: &State, lists: &[Vec<u32>]) -> anyhow::Result<Trace> {
        let fixed = Arc::new(self.fixed.of_family(&self.family, circuit));
        Ok(execute_after(circuit, fixed, &self.tables, past, &[], lists)?)
    }

    /// The greedy continuation by one token.
    pub fn next(&self, tokens: &[u32]) -> anyhow::Result<u32> {
        let text = open(&self.decoder, tokens);
        let circuit = Circuit::new(&self.decoder.program(self.decoder.extent(&text)?))?;
        let inputs = self.decoder.statement(&text)?.lists.swap_remove(0);
        let trace = self.run(&circuit, &[inputs, Vec::new()])?;
        let generated = trace.lists.get(1).and_then(|list| list.first());
        generated.copied().context("a program that generates a token")
    }

    /// Logits as integers after every token of a text, the constant first one excepted.
    pub fn logits(&self, tokens: &[u32]) -> anyhow::Result<Vec<Vec<i64>>> {
        let text = open(&self.decoder, tokens);
        let extent = self.decoder.extent(&text)?;
        let count = tokens.len() - usize::from(self.decoder.prefix.is_some());
        let whole = Extent { first: 0, generated: count as u32, ..extent };
        let mut circuit = Circuit::new(&self.decoder.program(whole))?;
        // Everything but the head, whose values are wanted and not only the greatest.
        let head = circuit.steps.iter().position(|step| matches!(step, Step::Best { .. }));
        let last = circuit.steps.split_off(head.context("a decoder ends in its head")?);
        // Nor is anything to be proven.
        circuit.lookups.clear();
        let inputs = self.decoder.statement(&text)?.lists.swap_remove(0);
        let trace = self.run(&circuit, &[inputs, vec![0; count]])?;
        let mut logits = vec![Vec::new(); count];
        let Some(Step::Best { blocks, .. }) = last.first() else { unreachable!("its position was found") };
        for (_, shape, value) in blocks {
            let all = values(&circuit, &trace, value, *shape);
            for (logits, row) in logits.iter_mut().zip(all.chunks(1 << shape.log_cols())) {
                logits.extend(&row[..shape.cols as usize]);
            }
        }
        ensure!(logits.iter().all(|row| row.len() == self.decoder.vocab as usize), "a logit for every token");
        Ok(logits)
    }
}

/// A text with one token to come.
fn open(decoder: &Decoder, tokens: &[u32]) -> Text {
    Text { tokens: [tokens, &[decoder.pad]].concat(), prompt: tokens.len() as u32 }
}
