//! Registration: the proofs, once per key, that its numbers keep the bounds that it declares.

use circlet_core::decoder::{DecoderKey, Extent};
use circlet_core::encoder::EncoderKey;
use circlet_core::key::VerifyingKey;
use circlet_core::protocol::Protocol;
use circlet_core::registration::{circuits, statement};

use crate::{Reject, verify_with};

/// Accepts exactly if `proofs` show that the constants and tables committed to in `key` keep their declared
/// bounds. Without that, a proof under the key shows what it says only to who knows the bounds otherwise: who made
/// the commitment, or made it again from the numbers.
pub fn verify_registration<P: AsRef<[u8]>>(key: &VerifyingKey, proofs: &[P]) -> Result<(), Reject> {
    let circuits = circuits(&key.program).map_err(Reject::Key)?;
    if circuits.len() != proofs.len() {
        return Err(Reject::StatementShape);
    }
    for (index, (circuit, proof)) in circuits.into_iter().zip(proofs).enumerate() {
        let protocol = Protocol::of_circuit(circuit, *key.profile.profile(), key.log_rows.into());
        let protocol = protocol.map_err(Reject::Key)?;
        verify_with(&protocol, key, &statement(index, proofs.len()), proof.as_ref())?;
    }
    Ok(())
}

/// The program of a decoder's family that is registered for all of them: they share constants, tables and layout.
pub fn registered(key: &DecoderKey) -> VerifyingKey {
    key.instance(Extent { rows: 1, first: 0, generated: 1 })
}

/// The program of an encoder's family that is registered for all of them.
pub fn registered_encoder(key: &EncoderKey) -> VerifyingKey {
    key.instance(1)
}
