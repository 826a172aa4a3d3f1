//! What the tests of circlet share: a slow interpreter of integer programs, a library of small programs, a
//! naive checker of traces, and a cheating prover. All but the last is written from the documentation, apart
//! from the code under test.

pub mod attack;
pub mod cheat;
pub mod norms;
pub mod programs;
pub mod reference;
pub mod satisfied;
pub mod search;
