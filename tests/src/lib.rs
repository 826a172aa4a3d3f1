//! What the tests of circlet share: a slow interpreter of integer programs, a library of small programs, and
//! a naive checker of traces. All of it is written from the documentation, apart from the code under test.

pub mod attack;
pub mod cheat;
pub mod programs;
pub mod reference;
pub mod satisfied;
