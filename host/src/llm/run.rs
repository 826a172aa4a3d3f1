//! Running a decoder of integers: texts with all that a proof needs, greedy continuations, logits.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Decoder, Extent, Text};
use circlet_core::program::{Data, Op, Program};
use rayon::prelude::*;

use crate::execute::{Fixed, Trace, execute_with};

/// A decoder with its numbers.
pub struct Runner {
    decoder: Decoder,
    data: Arc<Data>,
    /// A circuit of the family and the fixed columns in its order.
    family: Mutex<Option<(Circuit, Arc<Fixed>)>>,
}

impl Runner {
    /// A decoder with its numbers.
    pub fn new(decoder: Decoder, data: Arc<Data>) -> Self {
        Self { decoder, data, family: Mutex::new(None) }
    }

    /// Its structure.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Its numbers.
    pub fn data(&self) -> &Arc<Data> {
        &self.data
    }

    /// The fixed columns for a circuit of one of the decoder's programs; they are laid out once.
    pub fn fixed(&self, program: &Program, circuit: &Circuit) -> Arc<Fixed> {
        let mut family = self.family.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (own, fixed) = family
            .get_or_insert_with(|| (circuit.clone(), Arc::new(Fixed::new(circuit, program, &self.data))));
        Arc::new(fixed.of_family(own, circuit))
    }

    fn execute(&self, program: &Program, lists: &[Vec<u32>]) -> anyhow::Result<(Circuit, Trace)> {
        let circuit = Circuit::new(program)?;
        let trace = self.run(program, &circuit, lists)?;
        Ok((circuit, trace))
    }

    /// Runs a program of the decoder's on lists; those that it computes are given empty.
    pub fn run(&self, program: &Program, circuit: &Circuit, lists: &[Vec<u32>]) -> anyhow::Result<Trace> {
        let fixed = self.fixed(program, circuit);
        Ok(execute_with(circuit, fixed, &self.data.tables, &[], lists)?)
    }

    /// Runs a text whose last `generated` tokens are not looked at: the trace holds those that the model gives.
    pub fn text(&self, text: &Text) -> anyhow::Result<(Circuit, Trace)> {
        let extent = self.decoder.extent(text)?;
        let inputs = self.decoder.statement(text)?.lists.swap_remove(0);
        self.execute(&self.decoder.program(extent), &[inputs, Vec::new()])
    }

    /// The greedy continuation by one token.
    pub fn next(&self, tokens: &[u32]) -> anyhow::Result<u32> {
        let text = Text { tokens: [tokens, &[self.decoder.pad]].concat(), prompt: tokens.len() as u32 };
        let (_, trace) = self.text(&text)?;
        trace.lists[1].first().copied().context("a program that generates a token")
    }

    /// Logits as integers after every token of a text, the constant first one excepted.
    pub fn logits(&self, tokens: &[u32]) -> anyhow::Result<Vec<Vec<i32>>> {
        let skip = usize::from(self.decoder.prefix.is_some());
        let text = Text { tokens: [tokens, &[self.decoder.pad]].concat(), prompt: tokens.len() as u32 };
        let extent = self.decoder.extent(&text)?;
        let count = tokens.len() - skip;
        let whole = Extent { first: 0, generated: count as u32, ..extent };
        let mut program = self.decoder.program(whole);
        let Some(Op::ArgMax { x, weight, .. }) = program.ops.pop() else {
            anyhow::bail!("a decoder ends in its head");
        };
        program.outputs.push(x);
        program.lists.truncate(1);
        let inputs = self.decoder.statement(&text)?.lists.swap_remove(0);
        let (circuit, trace) = self.execute(&program, &[inputs])?;
        let hidden = trace.public(&circuit, &circuit.outputs[0].cells);
        let width = self.decoder.width as usize;
        let head = &self.data.constants[weight.0 as usize];
        Ok(hidden
            .par_chunks(width)
            .map(|x| {
                head.chunks(width).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum::<i32>()).collect()
            })
            .collect())
    }
}
