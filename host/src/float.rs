//! The float reference executor: what the model computes, before any quantization.
//!
//! Values are stored as `f32`; every operation works in `f64` and rounds once per element. It serves
//! calibration and comparison, not speed.

pub(crate) mod elementwise;
mod movement;
mod rows;

use rayon::prelude::*;

use self::elementwise::{code, value, zip, zip3};
use crate::graph::{GeluKind, Graph, Node, Op, Shape, Tensor, ValueId};

/// Why a graph cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FloatError {
    /// The wrong number of inputs.
    #[error("the model takes {expected} inputs, but {found} are given; supply one tensor per input")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input of the wrong shape.
    #[error("input {name:?} must have shape {expected:?}, but has {found:?}; reshape it")]
    InputShape {
        /// The input.
        name: String,
        /// Its shape in the graph.
        expected: Shape,
        /// The shape given.
        found: Shape,
    },
    /// An index points outside of what it chooses from.
    #[error(
        "node {node:?} takes row {index} of {rows}; the input must hold whole numbers from 0 to {}",
        rows - 1
    )]
    Index {
        /// The node.
        node: String,
        /// The bad index.
        index: f32,
        /// How many rows there are.
        rows: usize,
    },
    /// A value is NaN or infinite.
    #[error("value {name:?} is not finite at element {index}; the input or the weights are out of range")]
    NonFinite {
        /// The value.
        name: String,
        /// The first bad element, in row-major order.
        index: usize,
    },
}

/// Every value of one run.
#[derive(Debug)]
pub struct Activations<'g> {
    graph: &'g Graph,
    computed: Vec<Option<Tensor>>,
}

impl Activations<'_> {
    /// The tensor of a value: an input, a constant or a node's result. Panics if `id` belongs to
    /// another graph.
    pub fn get(&self, id: ValueId) -> &Tensor {
        match &self.computed[id.0] {
            Some(tensor) => tensor,
            None => &self.graph.constants()[&id],
        }
    }

    /// The tensors of the graph's outputs, in order.
    pub fn outputs(&self) -> Vec<Tensor> {
        self.graph.outputs().iter().map(|port| self.get(port.value).clone()).collect()
    }
}

/// Runs the graph and returns its outputs.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, FloatError> {
    Ok(run_all(graph, inputs)?.outputs())
}

/// Runs the graph and returns every value.
pub fn run_all<'g>(graph: &'g Graph, inputs: &[Tensor]) -> Result<Activations<'g>, FloatError> {
    let (expected, found) = (graph.inputs().len(), inputs.len());
    if expected != found {
        return Err(FloatError::InputCount { expected, found });
    }
    let mut state = Activations { graph, computed: vec![None; graph.values().len()] };
    for (port, tensor) in graph.inputs().iter().zip(inputs) {
        let expected = graph.shape(port.value);
        if expected != tensor.shape() {
            return Err(FloatError::InputShape {
                name: port.name.clone(),
                expected: expected.to_vec(),
                found: tensor.shape().to_vec(),
            });
        }
        state.set(port.value, tensor.clone())?;
    }
    for node in graph.nodes() {
        let operands: Vec<&Tensor> = node.inputs.iter().map(|&id| state.get(id)).collect();
        check_indices(node, &operands)?;
        let result = apply(&node.op, &operands, graph.shape(node.output).to_vec());
        state.set(node.output, result)?;
    }
    Ok(state)
}

impl Activations<'_> {
    fn set(&mut self, id: ValueId, tensor: Tensor) -> Result<(), FloatError> {
        if let Some(index) = tensor.data().iter().position(|x| !x.is_finite()) {
            return Err(FloatError::NonFinite { name: self.graph.value(id).name.clone(), index });
        }
        self.computed[id.0] = Some(tensor);
        Ok(())
    }
}

fn check_indices(node: &Node, operands: &[&Tensor]) -> Result<(), FloatError> {
    let (Op::Gather, [table, indices]) = (&node.op, operands) else { return Ok(()) };
    let rows = table.shape()[0];
    match indices.data().iter().find(|&&index| movement::row(index, rows).is_none()) {
        Some(&index) => Err(FloatError::Index { node: node.name.clone(), index, rows }),
        None => Ok(()),
    }
}

/// One operation. `shape` is the result's shape as inferred from the operands.
pub(crate) fn apply(op: &Op, inputs: &[&Tensor], shape: Shape) -> Tensor {
    let x = inputs[0];
    match op {
        Op::MatMul => matmul(x, inputs[1], shape),
        Op::Add => zip(x, inputs[1], shape, |a, b| a + b),
        Op::Mul => zip(x, inputs[1], shape, |a, b| a * b),
        Op::Div => zip(x, inputs[1], shape, |a, b| a / b),
        Op::Relu => x.map(|v| v.max(0.0)),
        Op::Gelu { kind } => x.map(|v| gelu(*kind, v.into()) as f32),
        Op::Silu => x.map(|v| (f64::from(v) * sigmoid(v.into())) as f32),
        Op::Sigmoid => x.map(|v| sigmoid(v.into()) as f32),
        Op::Tanh => x.map(|v| libm::tanh(v.into()) as f32),
        Op::Exp => x.map(|v| libm::exp(v.into()) as f32),
        Op::Erf => x.map(|v| libm::erf(v.into()) as f32),
        Op::Sqrt => x.map(|v| f64::from(v).sqrt() as f32),
        Op::Reciprocal => x.map(|v| f64::from(v).recip() as f32),
        Op::Round => x.map(f32::round_ties_even),
        Op::Clamp { low, high } => x.map(|v| v.max(*low).min(*high)),
        Op::Quantize { low, high } => {
            zip3(x, inputs[1], inputs[2], shape, |x, scale, zero| code(x, scale, zero, *low, *high))
        }
        Op::Dequantize => zip3(x, inputs[1], inputs[2], shape, value),
        Op::Softmax => rows::softmax(x, shape),
        Op::Reduce(reduction) => rows::reduce(x, *reduction, shape),
        Op::ArgMax { last } => rows::arg_max(x, *last, shape),
        Op::LayerNorm { epsilon } => rows::layer_norm(x, inputs[1], inputs[2], *epsilon, shape),
        Op::RmsNorm { epsilon } => rows::rms_norm(x, inputs[1], *epsilon, shape),
        Op::Select { axis, indices } => movement::select(x, *axis, indices, shape),
        Op::Gather => movement::gather(x, inputs[1], shape),
        Op::Concat { axis } => movement::concat(inputs, *axis, shape),
        Op::Reshape { .. } => Tensor::from_parts(shape, x.data().to_vec()),
        Op::Transpose { perm } => movement::transpose(x, perm, shape),
    }
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// GELU in one of its two forms.
pub fn gelu(kind: GeluKind, x: f64) -> f64 {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};
    match kind {
        GeluKind::Erf => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        GeluKind::Tanh => 0.5 * x * (1.0 + libm::tanh(FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x))),
    }
}

fn matmul(a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let (k, n) = (b.shape()[b.shape().len() - 2], b.shape()[b.shape().len() - 1]);
    let m = a.shape()[a.shape().len() - 2];
    let batched = b.shape().len() > 2;
    let mut data = vec![0f32; shape.iter().product()];
    data.par_chunks_mut(n).enumerate().for_each(|(row, out)| {
        let weight = if batched { &b.data()[row / m * k * n..][..k * n] } else { b.data() };
        let mut sums = vec![0f64; n];
        for (&x, weights) in a.data()[row * k..][..k].iter().zip(weight.chunks_exact(n)) {
            for (sum, &w) in sums.iter_mut().zip(weights) {
                *sum += f64::from(x) * f64::from(w);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum as f32;
        }
    });
    Tensor::from_parts(shape, data)
}

#[cfg(test)]
mod tests;
