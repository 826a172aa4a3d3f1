//! Encodings of sentences: which program and statement a proof has to be of, then [`crate::verify`].

use circlet_core::encoder::{EncoderKey, Encoding};

use crate::source::Source;
use crate::{Reject, verify_member};

/// Accepts exactly if `proof` shows that the encoder committed to in `key` gives the vector of `encoding` for its tokens.
pub fn verify_encoding(key: &EncoderKey, encoding: &Encoding, mut proof: &[u8]) -> Result<(), Reject> {
    verify_encoding_from(key, encoding, &mut proof)
}

/// [`verify_encoding`] for a proof that is read as it comes.
pub fn verify_encoding_from(
    key: &EncoderKey,
    encoding: &Encoding,
    proof: &mut dyn Source,
) -> Result<(), Reject> {
    under(key, &key.digest(), encoding, proof)
}

/// [`verify_encoding_from`], given the digest of the key.
pub(crate) fn under(
    key: &EncoderKey,
    digest: &[u8; 32],
    encoding: &Encoding,
    proof: &mut dyn Source,
) -> Result<(), Reject> {
    let length = key.encoder.length(&encoding.tokens).map_err(Reject::Sentence)?;
    let statement = key.encoder.statement(encoding).map_err(Reject::Sentence)?;
    verify_member(&key.instance_of(digest, length), None, &statement, proof).map(|_| ())
}
