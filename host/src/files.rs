//! The files that circlet writes: compiled programs, verifying keys and proofs.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic: `CIRCLETP` (program and numbers), `CIRCLETK` (verifying key) or `CIRCLETX` (statement and proof); of language models `CIRCLETL` (decoder, numbers, tokenizer), `CIRCLETV` (verifying key) or `CIRCLETT` (text and proof), `CIRCLETC` (conversation and proofs), `CIRCLETU` (unfinished compilation); of sentence encoders `CIRCLETE` (encoder, numbers, tokenizer), `CIRCLETW` (verifying key) or `CIRCLETS` (sentence, vector and proof) |
//! | 2 | [`VERSION`], little-endian |
//! | 32 | Blake2s digest of the payload; of a language model or encoder, of the digests of its pieces |
//! | rest | payload: postcard, in its one canonical encoding; numbers of a language model or encoder follow it packed, see [`crate::numbers`] |
//!
//! Readers are total: any bytes give a value or a [`FileError`] that names what is wrong. The digest finds
//! accidents, not attacks: nothing read here is trusted, and a key or proof is judged by the verifier alone.
//! Writers never leave half a file: they write beside the target, sync and rename.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use circlet_core::decoder::DecoderKey;
use circlet_core::encoder::EncoderKey;
use circlet_core::hash::blake2s::{self, Hasher};
use circlet_core::key::{Statement, VERSION, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::map;

mod encoding;
mod outputs;
mod partial;
mod text;

pub use encoding::{EncoderFile, EncoderHead, EncodingFile};
pub use outputs::{Outputs, folder};
pub use partial::PartialFile;
pub use text::{ChatFile, Head, ModelFile, PrefixOrigin, TextFile};

const MAGIC_LEN: usize = 8;
const DIGEST_AT: usize = MAGIC_LEN + 2;
/// Bytes before the payload.
pub const HEADER: usize = DIGEST_AT + 32;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`ProgramFile`].
    Program,
    /// A verifying key.
    Key,
    /// A [`ProofFile`].
    Proof,
    /// A [`ModelFile`].
    Model,
    /// A [`DecoderKey`].
    ModelKey,
    /// A [`TextFile`].
    Text,
    /// An [`EncoderFile`].
    Encoder,
    /// An [`EncoderKey`].
    EncoderKey,
    /// An [`EncodingFile`].
    Encoding,
    /// A [`ChatFile`].
    Chat,
    /// A [`RegistrationFile`].
    Registration,
    /// A [`PartialFile`].
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

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// A compiled model: all that a prover needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramFile {
    /// The integer program.
    pub program: Program,
    /// Its weights and tables.
    pub data: Data,
    /// The security profile it was compiled for.
    pub profile: ProfileId,
    /// The hash suite, by id.
    pub suite: u8,
    /// Digest of its verifying key: the commitment, made again when the program is loaded, must give it.
    pub key_digest: [u8; 32],
    /// The inputs as the source model has them, in order.
    pub inputs: Vec<InputPort>,
}

/// An input of the source model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPort {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u32>,
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

/// A type that has a file of its own.
pub trait Format: Sized {
    /// Its kind.
    const KIND: Kind;

    /// The payload of its file, in parts.
    fn payload(&self) -> Vec<Bytes>;

    /// Reads a payload; nothing may follow it, and it must be the one that [`Self::payload`] writes.
    fn parse(payload: &Bytes) -> Result<Self, ParseError>;
}

/// Why a payload does not decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It ends too early.
    End,
    /// What is wrong with it.
    Malformed(String),
}

/// Formats that are postcard and nothing else.
macro_rules! plain {
    ($($type:ty => $kind:ident),*) => {$(
        impl Format for $type {
            const KIND: Kind = Kind::$kind;

            fn payload(&self) -> Vec<Bytes> {
                vec![to_postcard(self).into()]
            }

            fn parse(payload: &Bytes) -> Result<Self, ParseError> {
                let (value, rest) = from_postcard(payload)?;
                nothing_follows(rest)?;
                Ok(value)
            }
        }
    )*};
}

plain!(
    ProgramFile => Program,
    VerifyingKey => Key,
    ProofFile => Proof,
    DecoderKey => ModelKey,
    TextFile => Text,
    EncoderKey => EncoderKey,
    EncodingFile => Encoding,
    ChatFile => Chat,
    RegistrationFile => Registration,
    PartialFile => Partial
);

fn to_postcard<T: Serialize>(value: &T) -> Vec<u8> {
    // Encoding to memory can only fail for types that postcard does not support; these are plain.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// A value in its canonical encoding, and the bytes after it.
fn from_postcard<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), ParseError> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|error| match error {
        postcard::Error::DeserializeUnexpectedEnd => ParseError::End,
        error => ParseError::Malformed(error.to_string()),
    })?;
    if to_postcard(&value) != bytes[..bytes.len() - rest.len()] {
        return Err(ParseError::Malformed("its encoding is not the canonical one".into()));
    }
    Ok((value, rest))
}

fn nothing_follows(rest: &[u8]) -> Result<(), ParseError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(ParseError::Malformed(format!("{} bytes follow its end", rest.len())))
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {source}; check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path:?}: {source}; check the folder, its permissions and the free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The output would replace something that was read.
    #[error("{path:?} is an input of this command and would be overwritten; choose another output path")]
    Overwrites {
        /// The file.
        path: PathBuf,
    },
    /// The contents are no good.
    #[error("cannot use {path:?}: {source}")]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ContentError,
    },
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

/// The bytes of a file.
pub fn encode<T: Format>(value: &T) -> Vec<u8> {
    encode_parts(value).concat()
}

/// The bytes of a file in parts, of which large ones are shared with the value.
pub fn encode_parts<T: Format>(value: &T) -> Vec<Bytes> {
    let payload = value.payload();
    let mut header = T::KIND.magic().to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(checksum(T::KIND, &payload));
    [vec![header.into()], payload].concat()
}

/// What the header says of the payload.
fn checksum(kind: Kind, payload: &[Bytes]) -> [u8; 32] {
    match kind {
        Kind::Model | Kind::Encoder => text::checksum(payload),
        _ => {
            let mut hasher = Hasher::new(blake2s::DIGEST);
            for part in payload {
                hasher.update(part);
            }
            hasher.finish()
        }
    }
}

/// Reads the bytes of a file. The value may share them.
pub fn decode<T: Format>(bytes: impl Into<Bytes>) -> Result<T, ContentError> {
    let (bytes, expected) = (bytes.into(), T::KIND);
    if bytes.is_empty() {
        return Err(ContentError::Empty { expected });
    }
    if bytes.len() as u64 > expected.limit() {
        return Err(ContentError::TooLarge { expected, limit: expected.limit() });
    }
    match Kind::of(&bytes) {
        Some(found) if found == expected => {}
        Some(found) => return Err(ContentError::WrongKind { expected, found }),
        None if expected.magic().starts_with(&bytes) => return Err(ContentError::Truncated),
        None => return Err(ContentError::Foreign { expected, hint: hint(expected) }),
    }
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(ContentError::Truncated)?;
    let found = u16::from_le_bytes([header[MAGIC_LEN], header[MAGIC_LEN + 1]]);
    if found != VERSION {
        return Err(ContentError::Version { found });
    }
    let payload = bytes.slice_ref(payload);
    let intact = header[DIGEST_AT..] == checksum(expected, std::slice::from_ref(&payload));
    match T::parse(&payload) {
        Err(ParseError::End) if !intact => Err(ContentError::Truncated),
        _ if !intact => Err(ContentError::Damaged),
        Err(ParseError::End) => Err(ContentError::Malformed("it ends too early".into())),
        Err(ParseError::Malformed(what)) => Err(ContentError::Malformed(what)),
        Ok(value) => Ok(value),
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

/// Reads a file. Numbers of a model stay in it until they are needed.
pub fn read<T: Format>(path: &Path) -> Result<T, FileError> {
    let bytes = match T::KIND {
        Kind::Model | Kind::Encoder => map_bytes(path)?,
        kind => read_bytes(path, kind.limit())?.into(),
    };
    decode(bytes).map_err(|source| FileError::Contents { path: path.into(), source })
}

/// The bytes of a file, which is mapped, if that is possible, and not read.
fn map_bytes(path: &Path) -> Result<Bytes, FileError> {
    let failed = |source| FileError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.len() > 0 {
        return Ok(Bytes::from_owner(map::map(&file).map_err(failed)?));
    }
    // A pipe fills memory.
    Ok(read_bytes(path, Kind::Encoder.limit())?.into())
}

/// The first `limit + 1` bytes of a file: enough to see that it is too large.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_or(0, |metadata| metadata.len().min(limit));
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The kind of a file, by its first bytes.
pub fn kind_of(path: &Path) -> Result<Option<Kind>, FileError> {
    Ok(Kind::of(&read_bytes(path, MAGIC_LEN as u64)?))
}

#[cfg(test)]
mod tests;
