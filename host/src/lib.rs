//! The circlet host.

pub mod float;
pub mod graph;
pub mod import;
pub mod samples;
