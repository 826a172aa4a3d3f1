//! The Fiat-Shamir transcript: what every implementation of the protocol absorbs and squeezes.
//!
//! Each message has a [`Label`] and a length, and both are bound (`protocol-amendments.md` C3, C7); the order of
//! messages is fixed by the key, so labels guard against mistakes and against schedules of different keys that
//! look alike. The two instances are [`Poseidon2Transcript`] and [`Blake2sTranscript`].

mod blake2s;
mod label;
mod poseidon2;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use blake2s::Blake2sTranscript;
pub use label::Label;
pub use poseidon2::{Poseidon2Transcript, Rounds};

use crate::field::{M31, QM31};
use crate::hash::blake2s::{self as hash, Hasher};

/// A public-coin verifier's coins, derived from everything said before.
pub trait Transcript {
    /// The digests of the trees whose roots are absorbed.
    type Digest;

    /// An empty transcript; `domain` names the protocol, its version and the profile.
    fn new(domain: &[u8]) -> Self
    where
        Self: Sized;

    /// Absorbs a message of field elements.
    fn absorb(&mut self, label: Label, data: &[M31]);

    /// Absorbs a message of bytes.
    fn absorb_bytes(&mut self, label: Label, bytes: &[u8]);

    /// Absorbs a root.
    fn absorb_digest(&mut self, label: Label, digest: &Self::Digest);

    /// One uniform element of the extension.
    fn challenge(&mut self, label: Label) -> QM31;

    /// The low `bits` bits of one squeezed element, for `bits` up to 30 (at a distance below `2^-30` from
    /// uniform).
    fn index(&mut self, label: Label, bits: u32) -> u32;

    /// Squeezes the seed of a proof of work under [`Label::PowSeed`].
    fn pow_seed(&mut self) -> [u8; 32];

    /// Absorbs a message of extension elements, four coordinates each.
    fn absorb_ext(&mut self, label: Label, data: &[QM31]) {
        let coordinates: Vec<M31> = data.iter().flat_map(|element| element.coordinates()).collect();
        self.absorb(label, &coordinates);
    }

    /// `n` uniform elements of the extension.
    fn challenges(&mut self, label: Label, n: usize) -> Vec<QM31> {
        (0..n).map(|_| self.challenge(label)).collect()
    }

    /// For provers that go on elsewhere, with rounds that each absorb two elements of the extension and draw one: what
    /// these do to the state. `None` if the transcript is of another kind than [`Rounds`] describes.
    fn rounds(&self, _send: Label, _draw: Label) -> Option<Rounds> {
        None
    }

    /// Absorbs the nonce that answers the last seed, as eight little-endian bytes under [`Label::Nonce`].
    fn absorb_nonce(&mut self, nonce: u64) {
        self.absorb_bytes(Label::Nonce, &nonce.to_le_bytes());
    }
}

/// A message that is sent later, when the verifier needs it: what is absorbed now is its digest, Blake2s(`circlt-M`,
/// elements as little-endian words), as bytes. Whoever receives it hashes it as it comes.
#[derive(Clone)]
pub struct Promise(Hasher);

impl Default for Promise {
    fn default() -> Self {
        Self(Hasher::new(hash::MESSAGE))
    }
}

impl Promise {
    /// Adds an element to the message.
    pub fn push(&mut self, element: QM31) {
        let words = element.coordinates().map(|coordinate| coordinate.value().to_le_bytes());
        self.0.update(words.as_flattened());
    }

    /// The digest of the message.
    pub fn digest(self) -> [u8; 32] {
        self.0.finish()
    }
}

/// What kind of message a tag belongs to; a tag is `label + 2^8 kind`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// A message of field elements.
    Elements = 1,
    /// A message of bytes.
    Bytes = 2,
    /// A root.
    Root = 3,
    /// Extension elements drawn.
    Challenge = 4,
    /// Indices drawn.
    Index = 5,
    /// A seed drawn.
    Seed = 6,
}

/// The tag of a message.
fn tag(kind: Kind, label: Label) -> u32 {
    u32::from(kind as u8) << 8 | u32::from(label as u8)
}
