//! Hash functions: the Poseidon2 permutation over M31, Blake2s over any word type, and the suites that say
//! which of them a profile uses for its trees and its transcript.

pub mod blake2s;
pub mod poseidon2;
mod poseidon2_constants;
pub mod suite;

pub use suite::{Blake2sBlake2s, Blake2sTrees, HashSuite, Poseidon2Blake2s, Trees};
