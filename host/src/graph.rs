//! The float graph: what every importer produces and the quantizer reads.
//!
//! A [`Graph`] is a list of [`Node`]s in topological order over values with concrete shapes. Every
//! value is an input, a constant or the output of exactly one node. The operations are few and in
//! one normal form: a fully connected layer is [`Op::MatMul`] and then [`Op::Add`] of a bias, a
//! constant operand of `Add` and `Mul` stands second, and anything that only renames or regroups
//! elements is [`Op::Reshape`]. [`GraphBuilder`] keeps these rules, so a `Graph` always holds them.

mod builder;
mod shape;
mod tensor;

use std::collections::BTreeMap;

pub use builder::GraphBuilder;
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

/// An operation of the float graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `[.., m, k] x [k, n]`, or `[.., m, k] x [.., k, n]` with equal leading dimensions.
    MatMul,
    /// Elementwise sum. The second operand has the same shape, or is a constant vector over the
    /// last dimension, or a constant scalar (shape `[]`).
    Add,
    /// Elementwise product, with the operands of [`Op::Add`].
    Mul,
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
    /// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` over the last dimension. The inputs
    /// are `x`, then the constant vectors `gamma` and `beta`.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
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
            Self::Relu => "Relu",
            Self::Gelu { .. } => "Gelu",
            Self::Silu => "Silu",
            Self::Sigmoid => "Sigmoid",
            Self::LayerNorm { .. } => "LayerNorm",
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

/// Why a graph cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The operand shapes do not fit the operation.
    #[error("node {node:?} ({op}): {detail}; correct the shapes in the model and export it again")]
    Shape {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// An operand must be a constant.
    #[error(
        "node {node:?} ({op}): {which} must be a constant, but it is computed from the model's input; \
         export the model with that operand as a weight"
    )]
    NotConstant {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Which operand.
        which: &'static str,
    },
    /// There are too many dimensions.
    #[error("tensor {name:?} has {rank} dimensions; use at most {MAX_RANK}")]
    Rank {
        /// The tensor.
        name: String,
        /// Its number of dimensions.
        rank: usize,
    },
    /// A dimension is zero.
    #[error(
        "tensor {name:?} has shape {dims:?} with a dimension of size 0; export the model with real sizes"
    )]
    ZeroSize {
        /// The tensor.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// The element count is too large.
    #[error("tensor {name:?} has shape {dims:?}, more than 2^31 elements; use a smaller model or batch")]
    TooLarge {
        /// The tensor.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// The data does not fill the shape.
    #[error(
        "tensor {name:?} of shape {dims:?} needs {expected} elements, but holds {found}; write the file again"
    )]
    DataLength {
        /// The tensor.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
        /// Elements the shape asks for.
        expected: usize,
        /// Elements there are.
        found: usize,
    },
    /// A constant is NaN or infinite.
    #[error(
        "tensor {name:?} holds {value} at element {index}; only finite weights can be proven, \
         so check the training run or the conversion to f32"
    )]
    NonFinite {
        /// The tensor.
        name: String,
        /// The first bad element, in row-major order.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Folding constants would need too much memory.
    #[error(
        "node {node:?} ({op}) has only constant operands and is too large to compute at import; \
         fold constants before exporting"
    )]
    FoldTooLarge {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
    },
    /// An output does not depend on the inputs.
    #[error(
        "output {name:?} does not depend on any input, so there is nothing to prove; remove it from the model"
    )]
    ConstantOutput {
        /// The output.
        name: String,
    },
    /// There is no output.
    #[error("the model has no output; mark at least one tensor as output")]
    NoOutputs,
    /// There is no node.
    #[error("the model computes nothing: its outputs are its inputs; export a model with at least one layer")]
    NoNodes,
}

#[cfg(test)]
mod tests;
