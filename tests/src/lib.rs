//! What the tests of circlet share: a slow interpreter of integer programs, a library of small programs, a
//! naive checker of traces, cheating provers, and a corpus of their proofs. All but the last two is written from the
//! documentation, apart from the code under test.

pub mod attack;
pub mod cheat;
pub mod corpus;
pub mod liars;
pub mod norms;
pub mod programs;
pub mod reference;
pub mod satisfied;
pub mod search;
