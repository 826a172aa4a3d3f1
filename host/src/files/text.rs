//! Files of language models: the compiled decoder and proofs of texts.

use bytes::{Buf, Bytes};
use circlet_core::decoder::Decoder;
use circlet_core::hash::blake2s::{self, Hasher};
use circlet_core::profile::ProfileId;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Format, Kind, ParseError, from_postcard, nothing_follows, to_postcard};
use crate::llm::report::Accuracy;
use crate::llm::tokenizer;
use crate::numbers::{List, Numbers};

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
    pub numbers: Numbers,
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

impl Format for ModelFile {
    const KIND: Kind = Kind::Model;

    fn payload(&self) -> Vec<Bytes> {
        with_numbers(&self.head, &self.numbers)
    }

    fn parse(payload: &Bytes) -> Result<Self, ParseError> {
        let (head, numbers) = read_numbers(payload)?;
        Ok(Self { head, numbers })
    }
}

/// A head and the numbers after it: how many constants there are and each of them, then tables likewise.
pub(super) fn with_numbers<T: Serialize>(head: &T, numbers: &Numbers) -> Vec<Bytes> {
    let mut out = vec![to_postcard(head).into()];
    let mut write = |lists: &[List]| {
        out.push(Bytes::copy_from_slice(&(lists.len() as u64).to_le_bytes()));
        out.extend(lists.iter().flat_map(List::encoded));
    };
    write(&numbers.constants);
    write(&numbers.tables.iter().map(|table| List::pack(table)).collect::<Vec<_>>());
    out
}

/// Reads what [`with_numbers`] writes. Constants stay where they are.
pub(super) fn read_numbers<T: Serialize + DeserializeOwned>(
    payload: &Bytes,
) -> Result<(T, Numbers), ParseError> {
    let (head, rest) = from_postcard(payload)?;
    let mut rest = payload.slice_ref(rest);
    let mut read = || {
        let count = rest.first_chunk().copied().map(u64::from_le_bytes).ok_or(ParseError::End)?;
        rest.advance(size_of::<u64>());
        let mut lists = Vec::new();
        for _ in 0..count {
            lists.push(List::take(&mut rest).map_err(ParseError::Malformed)?.ok_or(ParseError::End)?);
        }
        Ok(lists)
    };
    let (constants, tables) = (read()?, read()?);
    nothing_follows(&rest)?;
    Ok((head, Numbers { constants, tables: tables.iter().map(List::unpack).collect() }))
}

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// The digest of the digests of all pieces, which are made in parallel.
pub(super) fn checksum(payload: &[Bytes]) -> [u8; 32] {
    // Pieces as parts of what they lie in.
    let (mut pieces, mut room) = (Vec::<Vec<&[u8]>>::new(), 0);
    for mut part in payload.iter().map(Bytes::as_ref) {
        while !part.is_empty() {
            if room == 0 {
                pieces.push(Vec::new());
                room = PIECE;
            }
            let (now, later) = part.split_at(part.len().min(room));
            if let Some(piece) = pieces.last_mut() {
                piece.push(now);
            }
            (room, part) = (room - now.len(), later);
        }
    }
    let digest = |piece: &Vec<&[u8]>| {
        let mut hasher = Hasher::new(blake2s::DIGEST);
        for part in piece {
            hasher.update(part);
        }
        hasher.finish()
    };
    let digests: Vec<[u8; 32]> = pieces.par_iter().map(digest).collect();
    blake2s::hash(blake2s::DIGEST, digests.as_flattened())
}
