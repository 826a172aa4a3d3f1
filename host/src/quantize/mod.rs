//! From a float graph to an integer program.
//!
//! All scales are powers of two. An activation gets the largest number of fraction bits at which its
//! calibrated range, times a margin, fits the activation bits; a weight the largest at which no accumulator
//! can leave the field, whatever the activations are. Rounding is to the nearest, ties to even, and every
//! transcendental function comes from `libm`: the same graph and calibration give the same program anywhere.

mod activation;
mod assembly;
mod calibrate;
mod emit;
mod error;
mod fit;
mod grid;
mod layernorm;
mod lower;
pub mod report;
mod view;

use circlet_core::circuit::Circuit;
use circlet_core::program::{self, Data, Program, TensorId};

pub use error::QuantizeError;
pub use report::{Report, report};

use crate::graph::{Graph, Tensor};

/// What the caller decides about a quantization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Bits of an activation, sign included.
    pub activation_bits: u8,
    /// Bits of the domain of a table that rounds an accumulator.
    pub table_bits: u8,
    /// Most bits of a weight, sign included.
    pub weight_bits: u8,
    /// Activations may be this much larger than in calibration before they saturate.
    pub margin: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { activation_bits: 14, table_bits: 16, weight_bits: 14, margin: 1.15 }
    }
}

impl Options {
    /// Largest magnitude of an activation.
    pub fn activation_bound(&self) -> i64 {
        (1 << (self.activation_bits - 1)) - 1
    }

    fn check(&self) -> Result<(), QuantizeError> {
        let refuse = |option, reason| Err(QuantizeError::Option { option, reason });
        if !(4..=15).contains(&self.activation_bits) {
            return refuse("activation_bits", "choose 4 to 15");
        }
        if !(2..=16).contains(&self.weight_bits) {
            return refuse("weight_bits", "choose 2 to 16");
        }
        if self.table_bits < self.activation_bits || self.table_bits > 20 {
            return refuse("table_bits", "choose at least activation_bits and at most 20");
        }
        if !(self.margin >= 1.0 && self.margin <= 1e6) {
            return refuse("margin", "choose a factor of at least 1");
        }
        Ok(())
    }
}

/// A rounding whose table does not cover everything that its operands' ranges allow: an accumulator beyond
/// the table has no result, so the executor refuses such an input (it never wraps).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSite {
    /// Index of the op in the program.
    pub op: usize,
    /// Name of its result.
    pub tensor: String,
    /// The largest rounded accumulator that the operands' ranges allow.
    pub reach: i64,
    /// The largest that the table covers.
    pub covered: i64,
}

/// A quantized model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// Its structure.
    pub program: Program,
    /// Its numbers.
    pub data: Data,
    /// Roundings that can refuse an input far outside of the calibration.
    pub open: Vec<OpenSite>,
}

/// Quantizes a graph. Every element of `calibration` is one run: a tensor for each input of the graph.
pub fn quantize(
    graph: &Graph,
    calibration: &[Vec<Tensor>],
    options: Options,
) -> Result<Quantized, QuantizeError> {
    options.check()?;
    let ranges = calibrate::Ranges::measure(graph, calibration)?;
    let quantized = lower::lower(graph, &ranges, options)?;
    Circuit::new(&quantized.program)?;
    Ok(quantized)
}

/// A float input as integers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntegerInput {
    /// Entries, row by row.
    pub values: Vec<i32>,
    /// How many were clamped to the input's range.
    pub clamped: usize,
}

/// Rounds (ties to even) and clamps numbers to a tensor's scale and range.
pub fn quantize_input(tensor: &program::Tensor, values: &[f32]) -> IntegerInput {
    let scale = calibrate::exp2(tensor.fraction_bits.into());
    let bound = tensor.bound as f64;
    let mut clamped = 0;
    let values = values.iter().map(|&x| {
        let exact = (f64::from(x) * scale).round_ties_even();
        let inside = exact.abs() <= bound;
        clamped += usize::from(!inside);
        // Of a NaN nothing can be said; it becomes zero and counts as clamped.
        if inside { exact as i32 } else { exact.clamp(-bound, bound) as i32 }
    });
    IntegerInput { values: values.collect(), clamped }
}

/// The numbers that integers at a tensor's scale stand for.
pub fn dequantize_output(tensor: &program::Tensor, values: &[i32]) -> Vec<f32> {
    let step = calibrate::exp2(-i32::from(tensor.fraction_bits));
    values.iter().map(|&q| (f64::from(q) * step) as f32).collect()
}

impl Quantized {
    /// A tensor of the program.
    pub fn tensor(&self, id: TensorId) -> &program::Tensor {
        &self.program.tensors[id.0 as usize]
    }

    /// All inputs as integers, in order.
    pub fn quantize_inputs(&self, inputs: &[Tensor]) -> Vec<IntegerInput> {
        let tensors = self.program.inputs.iter().map(|&id| self.tensor(id));
        tensors.zip(inputs).map(|(tensor, input)| quantize_input(tensor, input.data())).collect()
    }

    /// All outputs as floats, in order, row by row.
    pub fn dequantize_outputs(&self, outputs: &[Vec<i32>]) -> Vec<Vec<f32>> {
        let tensors = self.program.outputs.iter().map(|&id| self.tensor(id));
        tensors.zip(outputs).map(|(tensor, output)| dequantize_output(tensor, output)).collect()
    }
}

#[cfg(test)]
mod tests;
