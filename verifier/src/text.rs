//! Texts of decoders: which program and statement a proof has to be of, then [`crate::verify`].

use circlet_core::decoder::{DecoderKey, Text};

use crate::source::Source;
use crate::{Reject, verify_member};

/// Accepts exactly if `proof` shows that the decoder committed to in `key` continues the prompt of `text` greedily
/// with the rest of it.
pub fn verify_text(key: &DecoderKey, text: &Text, mut proof: &[u8]) -> Result<(), Reject> {
    verify_text_from(key, text, &mut proof)
}

/// [`verify_text`] for a proof that is read as it comes.
pub fn verify_text_from(key: &DecoderKey, text: &Text, proof: &mut dyn Source) -> Result<(), Reject> {
    under(key, &key.digest(), text, proof)
}

/// [`verify_text_from`], given the digest of the key.
pub(crate) fn under(
    key: &DecoderKey,
    digest: &[u8; 32],
    text: &Text,
    proof: &mut dyn Source,
) -> Result<(), Reject> {
    let extent = key.decoder.extent(text).map_err(Reject::Text)?;
    let statement = key.decoder.statement(text).map_err(Reject::Text)?;
    verify_member(&key.instance_of(digest, extent), None, &statement, proof).map(|_| ())
}
