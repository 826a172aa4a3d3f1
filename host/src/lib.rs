//! The circlet host: import, quantization, execution, proving.

pub mod backend;
pub mod execute;
pub mod keys;
pub mod prove;
