//! The float graph: what every importer produces and the quantizer reads.
//!
//! A [`Graph`] is a list of [`Node`]s in topological order over values with concrete shapes. Every
//! value is an input, a constant or the output of exactly one node. The operations are few and in
//! one normal form: a fully connected layer is [`Op::MatMul`] and then [`Op::Add`] of a bias, a
//! constant operand of `Add` and `Mul` stands second, and anything that only renames or regroups
//! elements is [`Op::Reshape`]. What works along a dimension works along the last one, behind an
//! [`Op::Transpose`] where need be. [`GraphBuilder`] keeps these rules, so a `Graph` always holds them.
//!
//! All values are `f32`. An integer, such as an index, a quantized number or a truth value, is a value
//! that happens to be whole; it is exact up to 2^24, and beyond that rounded as a cast to float would.

mod builder;
mod error;
mod shape;
mod tensor;

use std::collections::BTreeMap;

pub use builder::GraphBuilder;
pub use error::GraphError;
pub use tensor::{MAX_ELEMENTS, MAX_RANK, Shape, Tensor, elements};

/// Names a value of one graph: an index into [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// Which formula a GELU node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GeluKind {
    /// `x/2 (1 + erf(x / sqrt 2))`, the exact form.
    Erf,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, the usual approximation.
    Tanh,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The sum divided by the count.
    Mean,
    /// The largest element.
    Max,
}

/// An operation of the float graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `[.., m, k] x [k, n]`, or `[.., m, k] x [.., k, n]` with equal leading dimensions.
    MatMul,
    /// Elementwise sum. Dimensions are aligned at the last one; where one operand has size 1 or no
    /// dimension, it is repeated. A constant stands second.
    Add,
    /// Elementwise product, with the operands of [`Op::Add`].
    Mul,
    /// Elementwise quotient, with the operands of [`Op::Add`].
    Div,
    /// `max(x, 0)`.
    Relu,
    /// Gaussian error linear unit.
    Gelu {
        /// Exact or approximate form.
        kind: GeluKind,
    },
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `e^x`.
    Exp,
    /// The error function.
    Erf,
    /// The square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// To the nearest whole number, ties to even.
    Round,
    /// `min(max(x, low), high)`.
    Clamp {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
    /// `min(max(round(x / scale) + zero, low), high)`, ties to even. The inputs are `x` and the constants `scale`
    /// and `zero`, which repeat over `x` as in [`Op::Add`].
    Quantize {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
    /// `(x - zero) * scale` of whole numbers, with the inputs of [`Op::Quantize`].
    Dequantize,
    /// `exp(x) / sum(exp(x))` over the last dimension.
    Softmax,
    /// A sum, mean or maximum over the last dimension, which keeps size 1.
    Reduce(Reduction),
    /// The index of the largest element of the last dimension, which keeps size 1.
    ArgMax {
        /// The last of equal elements instead of the first.
        last: bool,
    },
    /// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` over the last dimension. The inputs
    /// are `x`, then the constant vectors `gamma` and `beta`.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x / sqrt(mean(x^2) + epsilon) * gamma` over the last dimension. The inputs are `x` and the
    /// constant vector `gamma`.
    RmsNorm {
        /// Added to the mean of squares.
        epsilon: f32,
    },
    /// The given places of one dimension, in the given order.
    Select {
        /// The dimension.
        axis: usize,
        /// Which places of it.
        indices: Vec<usize>,
    },
    /// Rows of the first operand (along its first dimension), chosen by the whole numbers in the second.
    Gather,
    /// Any number of operands one after the other along a dimension.
    Concat {
        /// The dimension.
        axis: usize,
    },
    /// The same elements in the same order under another shape.
    Reshape {
        /// The new shape.
        shape: Shape,
    },
    /// Output dimension `i` is input dimension `perm[i]`.
    Transpose {
        /// A permutation of the dimensions.
        perm: Vec<usize>,
    },
}

impl Op {
    /// The short name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MatMul => "MatMul",
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Relu => "Relu",
            Self::Gelu { .. } => "Gelu",
            Self::Silu => "Silu",
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Exp => "Exp",
            Self::Erf => "Erf",
            Self::Sqrt => "Sqrt",
            Self::Reciprocal => "Reciprocal",
            Self::Round => "Round",
            Self::Clamp { .. } => "Clamp",
            Self::Quantize { .. } => "Quantize",
            Self::Dequantize => "Dequantize",
            Self::Softmax => "Softmax",
            Self::Reduce(Reduction::Sum) => "ReduceSum",
            Self::Reduce(Reduction::Mean) => "ReduceMean",
            Self::Reduce(Reduction::Max) => "ReduceMax",
            Self::ArgMax { .. } => "ArgMax",
            Self::LayerNorm { .. } => "LayerNorm",
            Self::RmsNorm { .. } => "RmsNorm",
            Self::Select { .. } => "Select",
            Self::Gather => "Gather",
            Self::Concat { .. } => "Concat",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
        }
    }
}

/// A named value and its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The name the model file gives it, or one derived from its node.
    pub name: String,
    /// Its concrete shape.
    pub shape: Shape,
}

/// One operation applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name the model file gives it, or one made up from its position.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<ValueId>,
    /// Its result.
    pub output: ValueId,
}

/// A value that the caller supplies or receives.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name in the model file.
    pub name: String,
    /// The value behind it.
    pub value: ValueId,
}

/// A float graph in topological order.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    constants: BTreeMap<ValueId, Tensor>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    nodes: Vec<Node>,
}

impl Graph {
    /// All values; a [`ValueId`] is an index into this.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values that the caller supplies, in the order of the model file.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The values that the caller receives, in the order of the model file.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The nodes, each after the nodes it reads from.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All constants, by value.
    pub fn constants(&self) -> &BTreeMap<ValueId, Tensor> {
        &self.constants
    }

    /// The tensor behind a value that is a constant.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.constants.get(&id)
    }

    /// The name and shape of a value. Panics if `id` belongs to another graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The shape of a value. Panics if `id` belongs to another graph.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.value(id).shape
    }

    /// How many numbers the constants hold together.
    pub fn parameters(&self) -> usize {
        self.constants.values().map(|t| t.data().len()).sum()
    }
}

#[cfg(test)]
mod tests;
