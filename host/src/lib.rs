//! The circlet host: import, quantization, execution, proving.

pub mod backend;
pub mod execute;
pub mod float;
pub mod graph;
pub mod import;
pub mod keys;
pub mod prove;
pub mod quantize;
pub mod samples;
