//! Why a graph has no integer program.

use circlet_core::circuit::CircuitError;

use crate::float::FloatError;

/// Why a graph cannot be quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// An option is out of range.
    #[error("{option} is out of range; {reason}")]
    Option {
        /// Which option.
        option: &'static str,
        /// What is allowed.
        reason: &'static str,
    },
    /// There is nothing to calibrate with.
    #[error("no calibration samples; supply at least one input like those that will be proven")]
    NoCalibration,
    /// The float model does not run on a calibration sample.
    #[error("calibration sample {sample}: {source}")]
    Calibration {
        /// Which one.
        sample: usize,
        /// What is wrong with it.
        source: FloatError,
    },
    /// A node has no integer counterpart.
    #[error("node {node:?} ({op}): {reason}")]
    Unsupported {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What is not supported and what to do.
        reason: String,
    },
    /// A tensor's numbers are too large for any scale.
    #[error("tensor {name:?} reaches {max:e} in calibration, too large for any scale; rescale the model")]
    Range {
        /// The tensor.
        name: String,
        /// Its largest magnitude.
        max: f64,
    },
    /// An accumulator could leave the field at every useful scale.
    #[error(
        "node {node:?} ({op}): sums of {terms} products could leave the field unless the weights had fewer \
         than 4 bits; use fewer activation bits or split the layer"
    )]
    Accumulator {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// Number of products in a sum.
        terms: usize,
    },
    /// The program was refused.
    #[error("the quantized model cannot be proven: {0}")]
    Circuit(#[from] Box<CircuitError>),
}
