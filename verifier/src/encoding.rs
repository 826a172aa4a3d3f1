//! Encodings of sentences: which program and statement a proof has to be of, then [`crate::verify`].

use circlet_core::encoder::{EncoderKey, Encoding};

use crate::{Reject, verify};

/// Accepts exactly if `proof` shows that the encoder committed to in `key` gives the vector of `encoding` for its tokens.
pub fn verify_encoding(key: &EncoderKey, encoding: &Encoding, proof: &[u8]) -> Result<(), Reject> {
    let length = key.encoder.length(&encoding.tokens).map_err(Reject::Encoding)?;
    let statement = key.encoder.statement(encoding).map_err(Reject::Encoding)?;
    verify(&key.instance(length), &statement, proof)
}
