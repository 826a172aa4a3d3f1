//! Files of sentence encoders: the compiled encoder and proofs of vectors.

use bytes::Bytes;
use circlet_core::encoder::Encoder;
use circlet_core::profile::ProfileId;
use serde::{Deserialize, Serialize};

use super::text::{read_numbers, with_numbers};
use super::{Format, Kind, ParseError};
use crate::llm::encoder::report::Accuracy;
use crate::llm::encoder::wordpiece;
use crate::numbers::Numbers;

/// A compiled encoder: all that a prover needs.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderFile {
    /// All but the numbers.
    pub head: EncoderHead,
    /// Weights and tables.
    pub numbers: Numbers,
}

/// A compiled encoder without its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderHead {
    /// The structure.
    pub encoder: Encoder,
    /// The tokenizer, if the model has one that is supported.
    pub tokenizer: Option<wordpiece::Data>,
    /// An entry `q` of a vector stands for `q * 2^-bits`.
    pub bits: i32,
    /// The security profile it was compiled for.
    pub profile: ProfileId,
    /// The hash suite, by id.
    pub suite: u8,
    /// Digest of its verifying key: the commitment, made again when the model is loaded, must give it.
    pub key_digest: [u8; 32],
    /// How close it was to the float model on sentences that it was not calibrated on, if that was measured.
    pub accuracy: Option<Accuracy>,
}

impl Format for EncoderFile {
    const KIND: Kind = Kind::Encoder;

    fn payload(&self) -> Vec<Bytes> {
        with_numbers(&self.head, &self.numbers)
    }

    fn parse(payload: &Bytes) -> Result<Self, ParseError> {
        let (head, numbers) = read_numbers(payload)?;
        Ok(Self { head, numbers })
    }
}
