//! Attacks: what a cheating prover would send, everything after the lie computed honestly.
//!
//! One program of tests, so that the prover is compiled into it once.

mod bytes;
mod chat;
mod corpus;
mod decoding;
mod encoding;
mod messages;
mod opening;
mod semantics;
mod statement;
mod texts;
mod witness;
mod witness_decoding;

use circlet_tests::cheat::{LOOKUP, OPENING, Verdict};

/// A trace that is rejected, at the stage that its other numbers decide.
#[track_caller]
fn rejected(verdict: &Verdict, what: &str) {
    assert!(matches!(*verdict, LOOKUP | OPENING), "{what}: {verdict:?}");
}
