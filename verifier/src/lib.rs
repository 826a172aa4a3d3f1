//! Verifies that a committed integer program maps given inputs to given outputs.
//!
//! One function, [`verify`] (and [`verify_text`] for texts of language models, [`verify_encoding`] for sentences of encoders), and one file for each stage of the protocol, in the order in which they run:
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
mod encoding;
mod registration;
mod reject;
pub mod stages;
mod text;

use circlet_core::claims::Claims;
use circlet_core::hash::HashSuite;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::protocol::{DOMAIN, Protocol};
use circlet_core::transcript::{Label, Transcript};

use crate::channel::Channel;
pub use crate::encoding::verify_encoding;
pub use crate::registration::{registered, registered_encoder, verify_registration};
pub use crate::reject::{Reject, Stage};
pub use crate::text::verify_text;

/// Accepts exactly if `proof` shows that the program committed to in `key` maps `statement.inputs` to
/// `statement.outputs`; the error names the stage and the check that failed.
pub fn verify(key: &VerifyingKey, statement: &Statement, proof: &[u8]) -> Result<(), Reject> {
    let protocol = Protocol::of_key(key).map_err(Reject::Key)?;
    verify_with(&protocol, key, statement, proof)
}

/// [`verify`] for a protocol that was derived from the key before; worth it for many proofs under one key.
///
/// The protocol must be `Protocol::of_key(key)`: under another one a proof shows nothing.
pub fn verify_with(
    protocol: &Protocol,
    key: &VerifyingKey,
    statement: &Statement,
    proof: &[u8],
) -> Result<(), Reject> {
    match key.suite {
        Poseidon2Blake2s::ID => run::<Poseidon2Blake2s>(protocol, key, statement, proof),
        Blake2sBlake2s::ID => run::<Blake2sBlake2s>(protocol, key, statement, proof),
        other => Err(Reject::UnknownSuite(other)),
    }
}

fn run<S: HashSuite>(
    protocol: &Protocol,
    key: &VerifyingKey,
    statement: &Statement,
    proof: &[u8],
) -> Result<(), Reject> {
    stages::statement::check(protocol, statement)?;
    let fixed_cap = stages::opening::fixed_cap::<S>(protocol, key)?;

    let mut transcript = S::Transcript::new(DOMAIN);
    transcript.absorb_bytes(Label::Key, &key.digest());
    transcript.absorb_bytes(Label::Statement, &statement.digest());
    let mut channel = Channel::<S>::new(transcript, proof);

    let witness_cap = channel.cap(Label::WitnessRoot, protocol.cap_log(protocol.codeword_log()))?;
    let mut claims = Claims::default();
    stages::lookup::verify(protocol, &statement.lists, &mut channel, &mut claims)?;
    stages::relation::verify(protocol, &statement.lists, &mut channel, &mut claims)?;
    stages::statement::claims(protocol, statement, &mut channel, &mut claims)?;
    stages::opening::pin::<S>(protocol, key, &fixed_cap, &mut claims);
    stages::opening::verify(protocol, &mut channel, &claims, &[fixed_cap, witness_cap])?;
    channel.finish()
}
