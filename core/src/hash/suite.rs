//! Hash suites: which hash builds the trees and which one drives the transcript.
//!
//! Protocol code is generic over [`Trees`] and [`HashSuite`] and treats digests as opaque; a suite is chosen by the profile
//! and its id is part of the key.

use core::fmt::Debug;

use super::blake2s;
use crate::{
    field::M31,
    transcript::{Blake2sTranscript, Poseidon2Transcript, Transcript},
};

/// A tree hash.
pub trait Trees: 'static + Copy + Clone + Debug + Default + Eq + Send + Sync {
    /// The length of an encoded digest, at most 32.
    const DIGEST_BYTES: usize = 32;
    /// A node of a tree.
    type Digest: Copy + Eq + Debug + Default + Send + Sync;

    /// Decodes a digest; `None` unless `bytes` is its one canonical encoding.
    fn digest_from_bytes(bytes: &[u8]) -> Option<Self::Digest>;
    /// Encodes a digest; bytes from `DIGEST_BYTES` on are zero.
    fn digest_to_bytes(digest: &Self::Digest) -> [u8; 32];
    /// The digest of a leaf: a row of field elements.
    fn leaf(words: &[M31]) -> Self::Digest;
    /// The digest of an inner node.
    fn node(left: &Self::Digest, right: &Self::Digest) -> Self::Digest;
}

/// A tree hash and a transcript that can absorb its digests.
pub trait HashSuite: Trees {
    /// The id in profiles and keys.
    const ID: u8;
    /// The name in messages to people.
    const NAME: &'static str;
    /// The Fiat-Shamir transcript.
    type Transcript: Transcript<Digest = Self::Digest> + Clone;
}

/// Blake2s trees: a leaf is the hash of the elements as little-endian words under the leaf personalisation, a
/// node the hash of its two children (one block) under the node personalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blake2sTrees;

impl Trees for Blake2sTrees {
    type Digest = [u8; 32];

    fn digest_from_bytes(bytes: &[u8]) -> Option<Self::Digest> {
        bytes.try_into().ok()
    }

    fn digest_to_bytes(digest: &Self::Digest) -> [u8; 32] {
        *digest
    }

    fn leaf(words: &[M31]) -> Self::Digest {
        blake2s::to_bytes(blake2s::hash_slice(blake2s::LEAF, words, M31::value))
    }

    fn node(left: &Self::Digest, right: &Self::Digest) -> Self::Digest {
        let words = [blake2s::to_words(left), blake2s::to_words(right)];
        blake2s::to_bytes(blake2s::hash_slice(blake2s::NODE, words.as_flattened(), |word| word))
    }
}

/// A suite has these trees.
macro_rules! trees_of {
    ($suite:ty, $trees:ty) => {
        impl Trees for $suite {
            type Digest = <$trees as Trees>::Digest;

            fn digest_from_bytes(bytes: &[u8]) -> Option<Self::Digest> {
                <$trees>::digest_from_bytes(bytes)
            }

            fn digest_to_bytes(digest: &Self::Digest) -> [u8; 32] {
                <$trees>::digest_to_bytes(digest)
            }

            fn leaf(words: &[M31]) -> Self::Digest {
                <$trees>::leaf(words)
            }

            fn node(left: &Self::Digest, right: &Self::Digest) -> Self::Digest {
                <$trees>::node(left, right)
            }
        }
    };
}

/// The default: a Poseidon2-M31 transcript over Blake2s trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poseidon2Blake2s;

impl HashSuite for Poseidon2Blake2s {
    const ID: u8 = 1;
    const NAME: &'static str = "poseidon2-m31/blake2s";
    type Transcript = Poseidon2Transcript;
}
trees_of!(Poseidon2Blake2s, Blake2sTrees);

/// Blake2s for both, which is cheaper where Blake2s is native (contracts, small devices).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blake2sBlake2s;

impl HashSuite for Blake2sBlake2s {
    const ID: u8 = 2;
    const NAME: &'static str = "blake2s/blake2s";
    type Transcript = Blake2sTranscript;
}
trees_of!(Blake2sBlake2s, Blake2sTrees);

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn leaves_and_nodes_are_personalised_hashes() {
        type Suite = Poseidon2Blake2s;
        let words: Vec<M31> = (0..37).map(|i| M31::reduce(i * 999_999_937)).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.value().to_le_bytes()).collect();
        assert_eq!(Suite::leaf(&words), blake2s::hash(blake2s::LEAF, &bytes));
        // Sixteen elements have the shape of a node, and still another digest.
        let (left, right) = (Suite::leaf(&words[..3]), Suite::leaf(&words[3..]));
        let node = Suite::node(&left, &right);
        assert_eq!(node, blake2s::hash(blake2s::NODE, &[left, right].concat()));
        assert_ne!(node, blake2s::hash(blake2s::LEAF, &[left, right].concat()));
        assert_eq!(node, Blake2sBlake2s::node(&left, &right));
        assert_ne!(node, Suite::node(&right, &left));
    }

    #[test]
    fn digests_decode_at_their_own_length_only() {
        let digest = Poseidon2Blake2s::leaf(&[]);
        let bytes = Poseidon2Blake2s::digest_to_bytes(&digest);
        assert_eq!(Poseidon2Blake2s::digest_from_bytes(&bytes), Some(digest));
        assert_eq!(Poseidon2Blake2s::digest_from_bytes(&bytes[1..]), None);
        assert_eq!(Poseidon2Blake2s::digest_from_bytes(&[0; 33]), None);
    }
}
