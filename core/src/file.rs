//! The files of circlet: how they begin, and what proofs look like in them.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic: `CIRCLETP` (program and numbers), `CIRCLETK` (verifying key) or `CIRCLETX` (statement and proof); of language models `CIRCLETL` (decoder, numbers, tokenizer), `CIRCLETV` (verifying key) or `CIRCLETT` (text and proof), `CIRCLETC` (conversation and proofs), `CIRCLETU` (unfinished compilation); of sentence encoders `CIRCLETE` (encoder, numbers, tokenizer), `CIRCLETW` (verifying key) or `CIRCLETS` (sentence, vector and proof) |
//! | 2 | [`VERSION`], little-endian |
//! | 32 | Blake2s digest of the payload; of a language model or encoder, of the digests of its pieces |
//! | rest | payload: postcard, in its one canonical encoding; numbers of a language model or encoder follow it packed |
//!
//! The digest finds accidents, not attacks: nothing read here is trusted, and a key or proof is judged by the verifier
//! alone.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decoder::{Chat, Text};
use crate::encoder::Encoding;
use crate::key::{Statement, VERSION};

const MAGIC_LEN: usize = 8;
const DIGEST_AT: usize = MAGIC_LEN + 2;
/// Bytes before the payload.
pub const HEADER: usize = DIGEST_AT + 32;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A compiled program.
    Program,
    /// A verifying key.
    Key,
    /// A [`ProofFile`].
    Proof,
    /// A compiled language model.
    Model,
    /// A language model's verifying key.
    ModelKey,
    /// A [`TextFile`].
    Text,
    /// A compiled sentence encoder.
    Encoder,
    /// A sentence encoder's verifying key.
    EncoderKey,
    /// An [`EncodingFile`].
    Encoding,
    /// A [`ChatFile`].
    Chat,
    /// A [`RegistrationFile`].
    Registration,
    /// An unfinished compilation.
    Partial,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Program,
        Self::Key,
        Self::Proof,
        Self::Model,
        Self::ModelKey,
        Self::Text,
        Self::Encoder,
        Self::EncoderKey,
        Self::Encoding,
        Self::Chat,
        Self::Registration,
        Self::Partial,
    ];

    /// The first bytes of such a file.
    pub const fn magic(self) -> &'static [u8; MAGIC_LEN] {
        match self {
            Self::Program => b"CIRCLETP",
            Self::Key => b"CIRCLETK",
            Self::Proof => b"CIRCLETX",
            Self::Model => b"CIRCLETL",
            Self::ModelKey => b"CIRCLETV",
            Self::Text => b"CIRCLETT",
            Self::Encoder => b"CIRCLETE",
            Self::EncoderKey => b"CIRCLETW",
            Self::Encoding => b"CIRCLETS",
            Self::Chat => b"CIRCLETC",
            Self::Registration => b"CIRCLETR",
            Self::Partial => b"CIRCLETU",
        }
    }

    /// The largest such file that is read.
    pub const fn limit(self) -> u64 {
        match self {
            Self::Program => 1 << 32,
            Self::Key | Self::ModelKey | Self::EncoderKey => 1 << 26,
            Self::Proof | Self::Text | Self::Chat | Self::Encoding | Self::Registration => 1 << 28,
            Self::Encoder | Self::Partial => 1 << 34,
            Self::Model => 1 << 40,
        }
    }

    /// The kind whose magic these bytes start with.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| bytes.starts_with(kind.magic()))
    }
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Program => "a compiled program (.circlet)",
            Self::Key => "a verifying key (.vk)",
            Self::Proof => "a proof (.proof)",
            Self::Model => "a compiled language model (.circlet)",
            Self::ModelKey => "a language model's verifying key (.vk)",
            Self::Text => "a proof of a text (.proof)",
            Self::Encoder => "a compiled sentence encoder (.circlet)",
            Self::EncoderKey => "a sentence encoder's verifying key (.vk)",
            Self::Encoding => "a proof of a sentence's vector (.proof)",
            Self::Chat => "proofs of a conversation (.proof)",
            Self::Registration => "a registration (.reg)",
            Self::Partial => "an unfinished compilation (.partial)",
        })
    }
}

/// A statement with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFile {
    /// Digest of the key that the proof is for.
    pub key_digest: [u8; 32],
    /// The public inputs and outputs.
    pub statement: Statement,
    /// The proof.
    pub proof: Vec<u8>,
}

/// The proofs that the numbers under a key keep their declared bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationFile {
    /// Digest of the key that they are for.
    pub key_digest: [u8; 32],
    /// The proofs, in order.
    pub proofs: Vec<Vec<u8>>,
}

/// A text with the proof that a decoder continues its prompt so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Digest of the key that the proof is for.
    pub key_digest: [u8; 32],
    /// The tokens.
    pub text: Text,
    /// The proof.
    pub proof: Vec<u8>,
}

/// A conversation with a proof of each turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatFile {
    /// Digest of the key that the proofs are for.
    pub key_digest: [u8; 32],
    /// The tokens.
    pub chat: Chat,
    /// One proof for each turn, in their order.
    pub proofs: Vec<Vec<u8>>,
}

/// A sentence and its vector with the proof that an encoder gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodingFile {
    /// Digest of the key that the proof is for.
    pub key_digest: [u8; 32],
    /// Tokens and vector.
    pub encoding: Encoding,
    /// The proof.
    pub proof: Vec<u8>,
}

/// Why the contents of a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// There are no bytes.
    #[error("the file is empty; {expected} was expected")]
    Empty {
        /// What should be there.
        expected: Kind,
    },
    /// There are too many bytes.
    #[error("the file has more than {limit} bytes, the most that {expected} may have")]
    TooLarge {
        /// What should be there.
        expected: Kind,
        /// The most that is read.
        limit: u64,
    },
    /// Not a file of circlet.
    #[error("this is no file that circlet wrote; {expected} was expected{hint}")]
    Foreign {
        /// What should be there.
        expected: Kind,
        /// What to do about it.
        hint: &'static str,
    },
    /// A file of another kind.
    #[error("this is {found}; {expected} was expected")]
    WrongKind {
        /// What should be there.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// A file of another version.
    #[error(
        "the file has format version {found}, this circlet reads version {VERSION}; compile the model again"
    )]
    Version {
        /// The version in the file.
        found: u16,
    },
    /// The file ends too early.
    #[error("the file is cut short; copy or make it again")]
    Truncated,
    /// The payload does not have the digest that the header names.
    #[error("the file is damaged: its contents do not match their checksum; copy or make it again")]
    Damaged,
    /// The payload does not decode, or is not the canonical encoding of what it decodes to.
    #[error("the file is malformed: {0}; make it again")]
    Malformed(String),
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the file holds.
    pub kind: Kind,
    /// The digest of its payload.
    pub digest: [u8; 32],
}

impl Header {
    /// The bytes before a payload.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.kind.magic().to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.digest);
        bytes
    }

    /// The header of a file of one of the expected kinds, of which there is at least one, and its payload. Whether the
    /// payload has the digest is for the caller to see.
    pub fn split<'a>(bytes: &'a [u8], expected: &[Kind]) -> Result<(Self, &'a [u8]), ContentError> {
        let first = expected.first().copied().unwrap_or(Kind::Proof);
        if bytes.is_empty() {
            return Err(ContentError::Empty { expected: first });
        }
        let kind = match Kind::of(bytes) {
            Some(kind) if expected.contains(&kind) => kind,
            Some(found) => return Err(ContentError::WrongKind { expected: first, found }),
            None if expected.iter().any(|kind| kind.magic().starts_with(bytes)) => {
                return Err(ContentError::Truncated);
            }
            None => return Err(ContentError::Foreign { expected: first, hint: hint(first) }),
        };
        if bytes.len() as u64 > kind.limit() {
            return Err(ContentError::TooLarge { expected: kind, limit: kind.limit() });
        }
        let (header, payload) = bytes.split_at_checked(HEADER).ok_or(ContentError::Truncated)?;
        let version = header.get(MAGIC_LEN..DIGEST_AT).and_then(|bytes| bytes.try_into().ok());
        let found = version.map_or(0, u16::from_le_bytes);
        if found != VERSION {
            return Err(ContentError::Version { found });
        }
        let digest = header.get(DIGEST_AT..).and_then(|bytes| bytes.try_into().ok());
        Ok((Self { kind, digest: digest.unwrap_or_default() }, payload))
    }
}

fn hint(expected: Kind) -> &'static str {
    match expected {
        Kind::Program | Kind::Key | Kind::Model | Kind::ModelKey | Kind::Encoder | Kind::EncoderKey => {
            " (`circlet compile` makes one from a model)"
        }
        Kind::Proof | Kind::Text | Kind::Chat | Kind::Encoding => " (`circlet prove` makes one)",
        Kind::Registration => " (`circlet register` makes one)",
        Kind::Partial => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beyond_their_limit_are_refused() {
        let limit = Kind::Key.limit();
        for (more, too_large) in [(0, false), (1, true), (2, true)] {
            let mut bytes = alloc::vec![0; (limit + more) as usize];
            bytes[..MAGIC_LEN].copy_from_slice(Kind::Key.magic());
            let refused = Header::split(&bytes, &[Kind::Key]).unwrap_err();
            assert_eq!(matches!(refused, ContentError::TooLarge { .. }), too_large, "{refused}");
            assert!(too_large || matches!(refused, ContentError::Version { .. }), "{refused}");
        }
    }
}
