//! The circlet host: import, quantization, execution, proving.

pub mod backend;
pub mod estimate;
pub mod execute;
pub mod files;
pub mod float;
pub mod graph;
pub mod import;
pub mod keys;
pub mod llm;
mod map;
pub mod numbers;
pub mod pages;
pub mod prove;
pub mod quantize;
pub mod queue;
pub mod register;
pub mod samples;
