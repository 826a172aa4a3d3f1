//! Registration: the proofs, once per key, that its numbers keep the bounds that it declares.

use circlet_core::circuit::Circuit;
use circlet_core::decoder::{DecoderKey, Extent};
use circlet_core::encoder::EncoderKey;
use circlet_core::file::{ContentError, Header, Kind};
use circlet_core::hash::blake2s;
use circlet_core::key::VerifyingKey;
use circlet_core::protocol::Outline;
use circlet_core::registration::{circuits, statement};

use crate::file::{Key, Refusal};
use crate::source::{Source, Take};
use crate::{Reject, verify_after};

/// Accepts exactly if `proofs` show that the constants and tables committed to in `key` keep their declared
/// bounds. Without that, a proof under the key shows what it says only to who knows the bounds otherwise: who made
/// the commitment, or made it again from the numbers.
pub fn verify_registration<P: AsRef<[u8]>>(key: &VerifyingKey, proofs: &[P]) -> Result<(), Reject> {
    let circuits = circuits(&key.program).map_err(Reject::Key)?;
    if circuits.len() != proofs.len() {
        return Err(Reject::StatementShape);
    }
    for (index, (circuit, proof)) in circuits.into_iter().zip(proofs).enumerate() {
        one(key, &circuit, (index, proofs.len()), &mut proof.as_ref())?;
    }
    Ok(())
}

/// One of several proofs.
fn one(
    key: &VerifyingKey,
    circuit: &Circuit,
    (index, count): (usize, usize),
    proof: &mut dyn Source,
) -> Result<(), Reject> {
    let outline = Outline::with_rows(circuit, *key.profile.profile(), key.log_rows.into());
    let outline = outline.map_err(Reject::Key)?;
    verify_after(outline, circuit, key, &key.digest(), None, &statement(index, count), proof).map(|_| ())
}

/// The program of a decoder's family that is registered for all of them: they share constants, tables and layout.
pub fn registered(key: &DecoderKey) -> VerifyingKey {
    key.instance(Extent { rows: 1, first: 0, generated: 1, past: None })
}

/// The program of an encoder's family that is registered for all of them.
pub fn registered_encoder(key: &EncoderKey) -> VerifyingKey {
    key.instance(1)
}

/// [`verify_registration`] with the bytes of a registration's file, for a key of any kind.
pub fn verify_registration_file(key: &Key, registration: &[u8]) -> Result<(), Refusal> {
    let (header, mut payload) = Header::split(registration, &[Kind::Registration]).map_err(Refusal::Proof)?;
    if blake2s::hash(blake2s::DIGEST, payload) != header.digest {
        return Err(Refusal::Proof(ContentError::Damaged));
    }
    let instance = match key {
        Key::Program(key) => key.clone(),
        Key::Decoder(key) => registered(key),
        Key::Encoder(key) => registered_encoder(key),
    };
    from_payload(&instance, key.digest(), &mut payload).map_err(Refusal::Reject)
}

fn from_payload(key: &VerifyingKey, digest: [u8; 32], source: &mut dyn Source) -> Result<(), Reject> {
    let named = source.array()?;
    if named != digest {
        return Err(Reject::key_digest(named, digest));
    }
    let circuits = circuits(&key.program).map_err(Reject::Key)?;
    let count = circuits.len();
    if source.number()? != count as u64 {
        return Err(Reject::StatementShape);
    }
    for (index, circuit) in circuits.into_iter().enumerate() {
        let length = source.number()?;
        one(key, &circuit, (index, count), &mut Take::new(source, length))?;
    }
    if source.is_at_end()? { Ok(()) } else { Err(Reject::TooLong) }
}
