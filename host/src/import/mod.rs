//! Importers: foreign model files become a [`Graph`](crate::graph::Graph) or a named refusal.
//!
//! Readers are total: any bytes give a graph or an [`ImportError`], sizes are checked before memory
//! is taken, and nothing is skipped silently.

pub mod encoder;
mod error;
pub mod onnx;
pub mod onnx_writer;

pub use error::ImportError;

/// What the caller decides about an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The size given to a symbolic first dimension of the inputs.
    pub batch: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { batch: 1 }
    }
}
