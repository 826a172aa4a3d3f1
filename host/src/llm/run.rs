//! Running a decoder of integers: texts with all that a proof needs, greedy continuations, logits.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use circlet_core::circuit::{Circuit, Step};
use circlet_core::decoder::{Decoder, Extent, Text};
use circlet_core::profile::ProfileId;
use circlet_core::program::Program;
use circlet_core::protocol::Protocol;

use super::prover::usual;
use crate::execute::{Fixed, State, Trace, execute_after, values};
use crate::keys::{Columns, KeyError, check};
use crate::numbers::Source;

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
    ///
    /// # Errors
    ///
    /// Where the numbers are not as the decoder declares them.
    pub fn new(decoder: Decoder, source: &impl Source) -> anyhow::Result<Self> {
        let (program, family) = Self::check(&decoder, source)?;
        let fixed = Arc::new(Fixed::new(&family, &program, source));
        Ok(Self { decoder, tables: source.tables().to_vec(), family, fixed })
    }

    /// The same with the columns in a nameless file in a folder, for decoders that are larger than memory.
    pub fn in_file(decoder: Decoder, source: &impl Source, folder: &Path) -> anyhow::Result<Self> {
        let (program, family) = Self::check(&decoder, source)?;
        let fixed = Fixed::in_file(&family, &program, source, folder);
        let fixed = Arc::new(fixed.context("cannot write the weights of the model to a file")?);
        Ok(Self { decoder, tables: source.tables().to_vec(), family, fixed })
    }

    fn check(decoder: &Decoder, source: &impl Source) -> anyhow::Result<(Program, Circuit)> {
        let program = decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None });
        check(&program, source)?;
        let family = Circuit::new(&program)?;
        Ok((program, family))
    }

    /// What a commitment to the weights is to, laid out for texts of the usual length.
    pub fn columns(&self, profile: ProfileId) -> Result<Columns, KeyError> {
        let program = usual(&self.decoder);
        let protocol = Protocol::new(&program, *profile.profile())?;
        let columns = self.fixed.of_family(&self.family, &protocol.circuit).into();
        Ok(Columns { program, tables: self.tables.clone(), columns, protocol })
    }

    /// The same decoder with the columns of its key, in the order of a circuit of the family: a device may hold them.
    pub(super) fn with_columns(self, circuit: &Circuit, columns: &Fixed) -> Self {
        let fixed = columns.of_family(circuit, &self.family).into();
        Self { fixed, ..self }
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
            let all = values(&circuit, &trace, value, *shape)?;
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
