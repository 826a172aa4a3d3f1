//! Honest provers: programs executed, constrained, proven and verified as a whole.
//!
//! One program of tests, so that the prover is compiled into it once.

mod chat;
mod decoder;
mod executor;
mod generate;
mod registration;
mod soundness;
