//! Proving a registration, see [`circlet_core::registration`].

use circlet_core::protocol::Protocol;
use circlet_core::registration::{circuits, statement};

use crate::backend::merkle::BulkHash;
use crate::execute::execute_with;
use crate::keys::ProvingKey;
use crate::prove::adversary::Honest;
use crate::prove::prove_trace;

/// Proves that the numbers of a key keep the bounds that it declares; `done` hears after each proof how many of
/// how many there are.
pub fn register<S: BulkHash>(
    key: &ProvingKey<S>,
    mut done: impl FnMut(usize, usize),
) -> anyhow::Result<Vec<Vec<u8>>> {
    let circuits = circuits(&key.verifying.program)?;
    let count = circuits.len();
    let mut proofs = Vec::with_capacity(count);
    for (index, circuit) in circuits.into_iter().enumerate() {
        let protocol = Protocol::of_circuit(circuit, key.protocol.profile, key.verifying.log_rows.into())?;
        let statement = statement(index, count);
        let key = key.with_protocol(protocol);
        let trace = execute_with(key.circuit(), key.columns.clone(), &[], &[], &statement.lists)?;
        proofs.push(prove_trace(&key, &trace, &statement, &mut Honest)?);
        done(index + 1, count);
    }
    Ok(proofs)
}
