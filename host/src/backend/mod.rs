//! The heavy forms of the prover, on SIMD lanes and threads: encoding, hashing, folding, fraction trees,
//! sums of products, grinding. What a GPU can compute too is in [`gpu`], and chosen by [`device`]. Each has a slow twin in
//! `circlet-core` that its tests compare it with.

pub mod bottom;
pub mod contract;
pub mod device;
pub mod encode;
pub mod field;
pub mod fractions;
pub mod gpu;
pub mod grind;
pub mod lazy;
pub mod leaves;
pub mod matrix;
pub mod memory;
pub mod merkle;
pub mod products;
pub mod relations;
pub mod rounds;
mod runs;
pub mod slots;
pub mod stack;
pub mod table;
pub mod weights;
pub mod words;
