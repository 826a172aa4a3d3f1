//! The files that circlet writes: compiled programs, verifying keys and proofs.
//!
//! How they begin is written in [`circlet_core::file`]; numbers of a language model or encoder follow their payload
//! packed, see [`crate::numbers`].
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
pub use circlet_core::file::{
    ChatFile, ContentError, EncodingFile, HEADER, Header, Kind, ProofFile, RegistrationFile, TextFile,
};
use circlet_core::hash::blake2s::{self, Hasher};
use circlet_core::key::VerifyingKey;
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::map;

mod encoding;
mod outputs;
mod partial;
mod text;

pub use encoding::{EncoderFile, EncoderHead};
pub use outputs::{Outputs, folder};
pub use partial::PartialFile;
pub use text::{Head, ModelFile, PrefixOrigin};

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

/// The bytes of a file.
pub fn encode<T: Format>(value: &T) -> Vec<u8> {
    encode_parts(value).concat()
}

/// The bytes of a file in parts, of which large ones are shared with the value.
pub fn encode_parts<T: Format>(value: &T) -> Vec<Bytes> {
    let payload = value.payload();
    let header = Header { kind: T::KIND, digest: checksum(T::KIND, &payload) }.to_bytes();
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
    let (header, payload) = Header::split(&bytes, &[expected])?;
    let payload = bytes.slice_ref(payload);
    let intact = header.digest == checksum(expected, std::slice::from_ref(&payload));
    match T::parse(&payload) {
        Err(ParseError::End) if !intact => Err(ContentError::Truncated),
        _ if !intact => Err(ContentError::Damaged),
        Err(ParseError::End) => Err(ContentError::Malformed("it ends too early".into())),
        Err(ParseError::Malformed(what)) => Err(ContentError::Malformed(what)),
        Ok(value) => Ok(value),
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
    Ok(Kind::of(&read_bytes(path, HEADER as u64)?))
}

#[cfg(test)]
mod tests;
