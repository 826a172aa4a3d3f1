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
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

extern crate alloc;

pub mod channel;
mod chat;
mod encoding;
pub mod file;
mod registration;
mod reject;
pub mod source;
pub mod stages;
mod stream;
mod text;

use alloc::boxed::Box;
use alloc::vec::Vec;

use circlet_core::circuit::{self, Tree};
use circlet_core::claims::Points;
use circlet_core::field::QM31;
use circlet_core::hash::{Blake2sBlake2s, Blake2sTrees, HashSuite, Poseidon2Blake2s, Trees};
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::merkle::cap_root;
use circlet_core::pin;
use circlet_core::protocol::{DOMAIN, Outline, Protocol};
use circlet_core::transcript::{Label, Transcript};

use crate::channel::Channel;
pub use crate::chat::{Standing, verify_chat, verify_turn, verify_turn_from};
pub use crate::encoding::{verify_encoding, verify_encoding_from};
pub use crate::file::{Key, ProofKey, Proven, Refusal, verify_file, verify_files, verify_payload};
pub use crate::registration::{
    registered, registered_encoder, verify_registration, verify_registration_file,
};
pub use crate::reject::{KeyDigests, Reject, Stage};
pub use crate::source::{ReadError, Source};
pub use crate::stream::verify_stream;
pub use crate::text::{verify_text, verify_text_from};

/// Accepts exactly if `proof` shows that the program committed to in `key` maps `statement.inputs` to
/// `statement.outputs`; the error names the stage and the check that failed.
pub fn verify(key: &VerifyingKey, statement: &Statement, mut proof: &[u8]) -> Result<(), Reject> {
    verify_from(key, statement, &mut proof)
}

/// [`verify`] for a proof that is read as it comes.
pub fn verify_from(key: &VerifyingKey, statement: &Statement, proof: &mut dyn Source) -> Result<(), Reject> {
    let outline = Outline::of_key(key).map_err(Reject::Key)?;
    verify_after(outline, &key.program, key, &key.digest(), None, statement, proof).map(|_| ())
}

/// Judges a proof under the key of a member of a family of programs, which the family has named. It may go on from the
/// state of an earlier one; the result is the state that it hands on.
fn verify_member(
    key: &VerifyingKey,
    past: Option<&State>,
    statement: &Statement,
    proof: &mut dyn Source,
) -> Result<State, Reject> {
    // Names of other programs take code that is not needed here.
    let name = key.member.ok_or(Reject::MalformedKey)?;
    let outline = Outline::of_key(key).map_err(Reject::Key)?;
    verify_after(outline, &key.program, key, &name, past, statement, proof)
}

/// [`verify`] for a circuit that was spelled out before, or that is no program's.
///
/// The outline must be the circuit's, and both must be those of the key: under others a proof shows nothing.
pub fn verify_with(
    protocol: &Protocol,
    key: &VerifyingKey,
    statement: &Statement,
    mut proof: &[u8],
) -> Result<(), Reject> {
    let outline = protocol.outline.clone();
    verify_after(outline, &protocol.circuit, key, &key.digest(), None, statement, &mut proof).map(|_| ())
}

/// The cap of a tree that a proof commits to for a later one to read. Only the verifier makes one, of a proof that it
/// has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State(Vec<[u8; 32]>);

/// Judges a proof that may go on from the state of an earlier one; the result is the state that it hands on. The digest is
/// the key's.
fn verify_after(
    outline: Outline,
    circuit: &dyn circuit::Source,
    key: &VerifyingKey,
    digest: &[u8; 32],
    past: Option<&State>,
    statement: &Statement,
    proof: &mut dyn Source,
) -> Result<State, Reject> {
    let run = |transcript: fn(&[u8]) -> AnyTranscript<Blake2sTrees>| {
        run::<Blake2sTrees>(outline, circuit, (key, digest), past, statement, transcript, proof)
    };
    match key.suite {
        Poseidon2Blake2s::ID => run(transcript::<Poseidon2Blake2s>),
        Blake2sBlake2s::ID => run(transcript::<Blake2sBlake2s>),
        other => Err(Reject::UnknownSuite(other)),
    }
}

/// A transcript of any suite with these trees.
type AnyTranscript<T> = Box<dyn Transcript<Digest = <T as Trees>::Digest>>;

/// A new transcript of a suite.
fn transcript<S: HashSuite>(domain: &[u8]) -> Box<dyn Transcript<Digest = S::Digest>> {
    Box::new(S::Transcript::new(domain))
}

/// One run for all suites with the same trees.
fn run<T: Trees>(
    mut outline: Outline,
    circuit: &dyn circuit::Source,
    (key, digest): (&VerifyingKey, &[u8; 32]),
    past: Option<&State>,
    statement: &Statement,
    new_transcript: fn(&[u8]) -> AnyTranscript<T>,
    proof: &mut dyn Source,
) -> Result<State, Reject> {
    stages::statement::check(&outline, statement)?;
    let fixed_cap = stages::opening::fixed_cap::<T>(&outline, key)?;
    let past_cap = stages::opening::past_cap::<T>(&outline, past.map(|state| state.0.as_slice()))?;
    let mut transcript = new_transcript(DOMAIN);
    transcript.absorb_bytes(Label::Key, digest);
    transcript.absorb_bytes(Label::Statement, &statement.digest());
    if outline.has(Tree::Past) {
        transcript.absorb_digest(Label::PastRoot, &cap_root::<T>(&past_cap));
    }
    let mut channel = Channel::<T>::new(&mut *transcript, proof);

    let cap_log = outline.cap_log(outline.codeword_log());
    let witness_cap = channel.cap(Label::WitnessRoot, cap_log)?;
    let hands_on = outline.has(Tree::State);
    let state_cap = if hands_on { channel.cap(Label::StateRoot, cap_log)? } else { Vec::new() };
    let state = State(state_cap.iter().map(T::digest_to_bytes).collect());

    let mut points = Points::default();
    let fractions = stages::lookup::verify(&outline, &mut channel)?;
    points.lookup.clone_from(&fractions.point);
    let sumcheck = stages::relation::verify(&outline, &mut channel, &mut points)?;
    let (theta, publics) = stages::statement::values(&outline, statement, &mut channel)?;
    let mu = channel.challenge(Label::OpeningBatch);
    let ends = stages::opening::fold(&outline, &mut channel)?;
    if outline.pinned() {
        points.pin = pin::point::<T>(&mut *new_transcript(pin::DOMAIN), &outline.stacking, &fixed_cap);
    }
    let batch = stages::claims::Batch {
        lists: &statement.lists,
        points: &points,
        fractions: &fractions,
        theta,
        publics: &publics,
        pin: key.pin.map(QM31::from_coordinates),
        mu,
        end: &ends.point(),
    };
    let claims = stages::claims::collect(&mut outline, circuit, &mut channel, &batch, &sumcheck)?;
    if !ends.holds(&outline, &claims) {
        return Err(Reject::FinalClaim(Stage::Opening));
    }
    let caps = [fixed_cap, witness_cap, state_cap, past_cap];
    stages::opening::query(&outline, &mut channel, &caps, &ends)?;
    channel.finish()?;
    Ok(state)
}
