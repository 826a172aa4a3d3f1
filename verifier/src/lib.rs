//! Verifies that a committed integer program maps given inputs to given outputs.
//!
//! One function, [`verify`] ([`verify_text`] and [`verify_chat`] for language models, [`verify_encoding`] for encoders of
//! sentences), and one file for each stage of the protocol, in the order in which they run:
//!
//! 1. [`stages::lookup`]: every lookup holds (one fraction tree, a sumcheck for each layer);
//! 2. [`stages::relation`]: every relation holds (one point, one sumcheck);
//! 3. [`stages::opening`]: the committed columns satisfy all linear claims that the first two ended in, and
//!    those that tie them to the statement.
//!
//! The proof is read through the [`channel`]: nothing can be used before the transcript has absorbed it. The
//! key alone decides what is read; a proof carries no lengths and no parameters. Nothing here panics on any
//! input, and no feature, build profile or environment variable changes a check.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channel;
mod chat;
mod encoding;
pub mod file;
mod registration;
mod reject;
pub mod source;
pub mod stages;
mod text;

use alloc::vec::Vec;

use circlet_core::circuit::Tree;
use circlet_core::claims::Claims;
use circlet_core::hash::HashSuite;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::merkle::cap_root;
use circlet_core::protocol::{DOMAIN, Protocol};
use circlet_core::transcript::{Label, Transcript};

use crate::channel::Channel;
pub use crate::chat::{Standing, verify_chat, verify_turn, verify_turn_from};
pub use crate::encoding::{verify_encoding, verify_encoding_from};
pub use crate::file::{Key, Proven, Refusal, verify_file, verify_files, verify_payload};
pub use crate::registration::{
    registered, registered_encoder, verify_registration, verify_registration_file,
};
pub use crate::reject::{Reject, Stage};
pub use crate::source::{ReadError, Source};
pub use crate::text::{verify_text, verify_text_from};

/// Accepts exactly if `proof` shows that the program committed to in `key` maps `statement.inputs` to
/// `statement.outputs`; the error names the stage and the check that failed.
pub fn verify(key: &VerifyingKey, statement: &Statement, mut proof: &[u8]) -> Result<(), Reject> {
    verify_from(key, statement, &mut proof)
}

/// [`verify`] for a proof that is read as it comes.
pub fn verify_from(key: &VerifyingKey, statement: &Statement, proof: &mut dyn Source) -> Result<(), Reject> {
    let protocol = Protocol::of_key(key).map_err(Reject::Key)?;
    verify_after(&protocol, key, None, statement, proof).map(|_| ())
}

/// [`verify`] for a protocol that was derived from the key before; worth it for many proofs under one key.
///
/// The protocol must be `Protocol::of_key(key)`: under another one a proof shows nothing.
pub fn verify_with(
    protocol: &Protocol,
    key: &VerifyingKey,
    statement: &Statement,
    mut proof: &[u8],
) -> Result<(), Reject> {
    verify_after(protocol, key, None, statement, &mut proof).map(|_| ())
}

/// The cap of a tree that a proof commits to for a later one to read. Only the verifier makes one, of a proof that it
/// has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State(Vec<[u8; 32]>);

/// [`verify_with`] for a program that may read the state of an earlier one; the result is the state that it hands on.
fn verify_after(
    protocol: &Protocol,
    key: &VerifyingKey,
    past: Option<&State>,
    statement: &Statement,
    proof: &mut dyn Source,
) -> Result<State, Reject> {
    match key.suite {
        Poseidon2Blake2s::ID => run::<Poseidon2Blake2s>(protocol, key, past, statement, proof),
        Blake2sBlake2s::ID => run::<Blake2sBlake2s>(protocol, key, past, statement, proof),
        other => Err(Reject::UnknownSuite(other)),
    }
}

fn run<S: HashSuite>(
    protocol: &Protocol,
    key: &VerifyingKey,
    past: Option<&State>,
    statement: &Statement,
    proof: &mut dyn Source,
) -> Result<State, Reject> {
    stages::statement::check(protocol, statement)?;
    let fixed_cap = stages::opening::fixed_cap::<S>(protocol, key)?;
    let past_cap = stages::opening::past_cap::<S>(protocol, past.map(|state| state.0.as_slice()))?;

    let mut transcript = S::Transcript::new(DOMAIN);
    transcript.absorb_bytes(Label::Key, &key.digest());
    transcript.absorb_bytes(Label::Statement, &statement.digest());
    if protocol.circuit.has(Tree::Past) {
        transcript.absorb_digest(Label::PastRoot, &cap_root::<S>(&past_cap));
    }
    let mut channel = Channel::<S>::new(transcript, proof);

    let cap_log = protocol.cap_log(protocol.codeword_log());
    let witness_cap = channel.cap(Label::WitnessRoot, cap_log)?;
    let hands_on = protocol.circuit.has(Tree::State);
    let state_cap = if hands_on { channel.cap(Label::StateRoot, cap_log)? } else { Vec::new() };
    let state = State(state_cap.iter().map(S::digest_to_bytes).collect());
    let mut claims = Claims::default();
    stages::lookup::verify(protocol, &statement.lists, &mut channel, &mut claims)?;
    stages::relation::verify(protocol, &statement.lists, &mut channel, &mut claims)?;
    stages::statement::claims(protocol, statement, &mut channel, &mut claims)?;
    stages::opening::pin::<S>(protocol, key, &fixed_cap, &mut claims);
    let caps = [fixed_cap, witness_cap, state_cap, past_cap];
    stages::opening::verify(protocol, &mut channel, &claims, &caps)?;
    channel.finish()?;
    Ok(state)
}
