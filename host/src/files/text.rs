//! Files of language models: the compiled decoder and proofs of texts.

use std::sync::Arc;

use circlet_core::decoder::{Decoder, Text};
use circlet_core::hash::blake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Format, Kind, ParseError, compact, from_postcard, nothing_follows, to_postcard};
use crate::llm::report::Accuracy;
use crate::llm::tokenizer;

/// How the constant first token was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrefixOrigin {
    /// The user said which, or that there is none.
    Given,
    /// The model wants this token before every text.
    Begin,
    /// The vocabulary has a token that begins texts or turns; this is its text.
    Marker(String),
    /// Nothing suggests itself.
    None,
}

/// A compiled language model: all that a prover needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// All but the numbers.
    pub head: Head,
    /// Weights and tables.
    pub data: Arc<Data>,
}

/// A compiled language model without its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The structure.
    pub decoder: Decoder,
    /// The tokenizer, if the model has one that is supported.
    pub tokenizer: Option<tokenizer::Data>,
    /// Tokens that end a text.
    pub end: Vec<u32>,
    /// A logit `q` stands for `q * 2^-logit_bits`.
    pub logit_bits: i32,
    /// How the constant first token was chosen.
    pub prefix: PrefixOrigin,
    /// The security profile it was compiled for.
    pub profile: ProfileId,
    /// The hash suite, by id.
    pub suite: u8,
    /// Digest of its verifying key: the commitment, made again when the model is loaded, must give it.
    pub key_digest: [u8; 32],
    /// How close it is to the float model, if that was measured.
    pub accuracy: Option<Accuracy>,
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

impl Format for ModelFile {
    const KIND: Kind = Kind::Model;

    fn payload(&self) -> Vec<u8> {
        with_numbers(&self.head, &self.data)
    }

    fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let (head, data) = read_numbers(payload)?;
        Ok(Self { head, data })
    }
}

/// A head and the numbers after it.
pub(super) fn with_numbers<T: Serialize>(head: &T, data: &Data) -> Vec<u8> {
    let mut out = to_postcard(head);
    compact::write(&data.constants, &mut out);
    compact::write(&data.tables, &mut out);
    out
}

/// Reads what [`with_numbers`] writes.
pub(super) fn read_numbers<T: Serialize + DeserializeOwned>(
    payload: &[u8],
) -> Result<(T, Arc<Data>), ParseError> {
    let (head, mut rest) = from_postcard(payload)?;
    let (constants, tables) = (compact::read(&mut rest)?, compact::read(&mut rest)?);
    nothing_follows(rest)?;
    Ok((head, Arc::new(Data { constants, tables })))
}

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// The digest of the digests of all pieces, which are made in parallel.
pub(super) fn checksum(payload: &[u8]) -> [u8; 32] {
    let pieces: Vec<[u8; 32]> =
        payload.par_chunks(PIECE).map(|piece| blake2s::hash(blake2s::DIGEST, piece)).collect();
    blake2s::hash(blake2s::DIGEST, pieces.as_flattened())
}
