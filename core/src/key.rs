//! Keys and statements: what a verifier holds before it looks at a proof.

use alloc::vec::Vec;

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::field::M31;
use crate::hash::blake2s::{self, Hasher};
use crate::profile::ProfileId;
use crate::program::Program;

/// Version of the protocol and of all file formats; absorbed first and checked first.
pub const VERSION: u16 = 5;

/// All that a verifier knows about a model: the program's structure, the commitment to its numbers, and the
/// security parameters. A proof chooses nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingKey {
    /// The integer program.
    pub program: Program,
    /// The set of security parameters.
    pub profile: ProfileId,
    /// Log of the number of rows of the committed matrices.
    pub log_rows: u8,
    /// The hash suite, by id.
    pub suite: u8,
    /// The cap of the fixed tree: weights and tables.
    pub fixed_cap: Vec<[u8; 32]>,
    /// The value that pins the fixed columns, in profiles beyond unique decoding (see [`crate::pin`]).
    pub pin: Option<[M31; 4]>,
    /// The name of a program that follows from the key of a family of programs, as that of a decoder: the program's names
    /// and numbers need not be read to tell it from others. No file holds it; only the family makes it.
    #[serde(skip)]
    pub member: Option<[u8; 32]>,
}

impl VerifyingKey {
    /// The canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a key; `None` for anything but the canonical encoding of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        decode(bytes)
    }

    /// The digest that names the model, its commitment and its parameters.
    pub fn digest(&self) -> [u8; 32] {
        self.member.unwrap_or_else(|| digest(self))
    }
}

/// What names the member of a family: the digest of the family's key, and all that the member's program depends on beside
/// it.
pub(crate) fn member(family: &[u8; 32], extent: &[u32]) -> [u8; 32] {
    let mut hasher = Hasher::new(blake2s::MEMBER);
    hasher.update(family);
    for number in extent {
        hasher.update(&number.to_le_bytes());
    }
    hasher.finish()
}

/// The canonical encoding of a key.
pub(crate) fn encode<K: Serialize>(key: &K) -> Vec<u8> {
    let mut encoding = Vec::new();
    write(key, &mut |bytes| {
        encoding.extend(bytes);
        true
    });
    encoding
}

/// The key that has this canonical encoding.
pub(crate) fn decode<K: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<K> {
    let key: K = postcard::from_bytes(bytes).ok()?;
    let mut left = Some(bytes);
    write(&key, &mut |bytes| {
        left = left.and_then(|left| left.strip_prefix(bytes));
        left.is_some()
    });
    (left == Some(&[])).then_some(key)
}

/// The digest of the version and the canonical encoding of a key.
pub(crate) fn digest<K: Serialize>(key: &K) -> [u8; 32] {
    let mut hasher = Hasher::new(blake2s::DIGEST);
    hasher.update(&VERSION.to_le_bytes());
    write(key, &mut |bytes| {
        hasher.update(bytes);
        true
    });
    hasher.finish()
}

/// Gives away the canonical encoding of a key as it is made, until it is not taken.
fn write<K: Serialize>(key: &K, take: &mut dyn FnMut(&[u8]) -> bool) {
    // This fails only for what is not taken, and for types that postcard does not support; these are plain.
    let _ = postcard::serialize_with_flavor(key, Taken(take));
}

/// Whoever takes an encoding: one type, so that there is one piece of code that encodes a key.
struct Taken<'a>(&'a mut dyn FnMut(&[u8]) -> bool);

impl Flavor for Taken<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if (self.0)(bytes) { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// What a proof is about: the public tensors, row by row, as integers at the program's scales, and the public
/// lists of indices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// One list for each input of the program.
    pub inputs: Vec<Vec<i32>>,
    /// One list for each output of the program.
    pub outputs: Vec<Vec<i32>>,
    /// One list of indices for each of the program's.
    pub lists: Vec<Vec<u32>>,
}

impl Statement {
    /// The digest that the transcript absorbs: all entries with the number of tensors and their lengths.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        for tensors in [&self.inputs, &self.outputs] {
            bytes.extend((tensors.len() as u64).to_le_bytes());
            for tensor in tensors {
                bytes.extend((tensor.len() as u64).to_le_bytes());
                bytes.extend(tensor.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        bytes.extend((self.lists.len() as u64).to_le_bytes());
        for list in &self.lists {
            bytes.extend((list.len() as u64).to_le_bytes());
            bytes.extend(list.iter().flat_map(|v| v.to_le_bytes()));
        }
        blake2s::hash(blake2s::DIGEST, &bytes)
    }
}
