//! Why a graph cannot be built.

use super::MAX_RANK;

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
