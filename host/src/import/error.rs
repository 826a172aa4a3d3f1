//! Why a model file is refused, and what to do about it.

use std::path::PathBuf;

use crate::graph::GraphError;

/// Why a model file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {source}; check the path and its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is larger than any ONNX file can be.
    #[error("{path:?} has {size} bytes, but an ONNX file has at most 2 GiB; is this the right file?")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model, or a damaged one: {detail} (at byte {offset}); export or download it again")]
    Malformed {
        /// Where reading failed.
        offset: usize,
        /// What is wrong there.
        detail: String,
    },
    /// There is no graph in the file.
    #[error("not an ONNX model, or a truncated one: it holds no graph; export or download it again")]
    NoGraph,
    /// The file does not say which operator set it uses.
    #[error(
        "the model does not declare its ONNX operator set (opset), or the file is truncated; \
         export it with opset 13 or newer"
    )]
    OpsetMissing,
    /// The operator set is too old.
    #[error(
        "the model uses opset {found}, but opset 13 or newer is needed; export it again with opset_version=17"
    )]
    OpsetTooOld {
        /// The declared version.
        found: i64,
    },
    /// The model needs operators that cannot be proven.
    #[error(
        "node {node:?} uses operator {op}, which is not supported; unsupported operators in this model: {}; \
         replace them by supported ones ({supported})",
        all.join(", ")
    )]
    UnsupportedOps {
        /// The first node that uses one.
        node: String,
        /// Its operator.
        op: String,
        /// All distinct unsupported operators, in order of first use.
        all: Vec<String>,
        /// The supported ones.
        supported: &'static str,
    },
    /// An operator is used in a way that is not supported.
    #[error("node {node:?} ({op}): {detail}")]
    Unsupported {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What is not supported and what to do.
        detail: String,
    },
    /// A node reads a tensor that does not exist.
    #[error(
        "{reader} reads tensor {name:?}, which is no input, initializer or node output; \
         the file is incomplete, so export it again with its weights"
    )]
    UnknownTensor {
        /// The node or output that reads it.
        reader: String,
        /// The missing name.
        name: String,
    },
    /// Two things have the same name.
    #[error("tensor {name:?} is defined twice; every tensor needs its own name, so export the model again")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A name is missing.
    #[error("{what} has no name; export the model again")]
    Unnamed {
        /// What should have one.
        what: String,
    },
    /// The nodes depend on each other in a circle.
    #[error("node {node:?} depends on its own result; a model must be free of cycles, so unroll the loop")]
    Cycle {
        /// A node on the circle.
        node: String,
    },
    /// A graph input of an element type or kind that is not supported.
    #[error("input {name:?} {detail}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The batch size is zero.
    #[error("the batch size is 0; choose at least 1")]
    BatchZero,
    /// A batch size was asked for, but the model fixes it.
    #[error(
        "a batch of {batch} was asked for, but no input has a symbolic first dimension; \
         export the model with a dynamic batch, or leave the batch at 1"
    )]
    BatchFixed {
        /// The requested size.
        batch: usize,
    },
    /// There is no input.
    #[error("the model has no input; export it with at least one")]
    NoInputs,
    /// A tensor in the file is not usable.
    #[error("tensor {name:?} {detail}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The weights are in another file.
    #[error(
        "tensor {name:?} is stored outside the file (external data), which is not supported; \
         save the model as one file (onnx.save_model with save_as_external_data=False)"
    )]
    ExternalData {
        /// The tensor.
        name: String,
    },
    /// A model has the inputs of an encoder, but is none that can be proven.
    #[error("the model {detail}")]
    Encoder {
        /// What is wrong with it.
        detail: String,
    },
    /// The graph breaks a rule that holds for every model format.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
