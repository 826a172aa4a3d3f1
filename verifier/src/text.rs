//! Texts of decoders: which program and statement a proof has to be of, then [`crate::verify`].

use circlet_core::decoder::{DecoderKey, Text};

use crate::{Reject, verify};

/// Accepts exactly if `proof` shows that the decoder committed to in `key` continues the prompt of `text` greedily
/// with the rest of it.
pub fn verify_text(key: &DecoderKey, text: &Text, proof: &[u8]) -> Result<(), Reject> {
    let extent = key.decoder.extent(text).map_err(Reject::Text)?;
    let statement = key.decoder.statement(text).map_err(Reject::Text)?;
    verify(&key.instance(extent), &statement, proof)
}
