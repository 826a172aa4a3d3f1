//! The statement: its shape, its ranges, and the claims that tie it to the committed columns.

use alloc::vec::Vec;

use circlet_core::circuit::Public;
use circlet_core::claims::Claims;
use circlet_core::hash::HashSuite;
use circlet_core::key::Statement;
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;
use circlet_core::wiring::{public_claims, wiring_claims};

use crate::Reject;
use crate::channel::Channel;

/// The public tensors of the program beside those of the statement.
fn tensors<'a>(
    protocol: &'a Protocol,
    statement: &'a Statement,
) -> impl Iterator<Item = (&'a Public, &'a [i32])> {
    let publics = protocol.circuit.inputs.iter().chain(&protocol.circuit.outputs);
    publics.zip(statement.inputs.iter().chain(&statement.outputs).map(Vec::as_slice))
}

/// Every tensor has its length, and every entry lies in the tensor's range.
pub fn check(protocol: &Protocol, statement: &Statement) -> Result<(), Reject> {
    let circuit = &protocol.circuit;
    if statement.inputs.len() != circuit.inputs.len() || statement.outputs.len() != circuit.outputs.len() {
        return Err(Reject::StatementShape);
    }
    if statement.lists.len() != circuit.lists.len() {
        return Err(Reject::StatementShape);
    }
    for (list, entries) in circuit.lists.iter().zip(&statement.lists) {
        if entries.len() as u64 != u64::from(list.len) {
            return Err(Reject::StatementShape);
        }
        if entries.iter().any(|&entry| entry >= list.limit) {
            return Err(Reject::StatementRange);
        }
    }
    for (public, entries) in tensors(protocol, statement) {
        if entries.len() as u64 != u64::from(public.rows) * u64::from(public.cols) {
            return Err(Reject::StatementShape);
        }
        if entries.iter().any(|&v| i64::from(v).abs() > public.bound) {
            return Err(Reject::StatementRange);
        }
    }
    Ok(())
}

/// Wirings and public tensors hold as sequences: claims at a random `theta`.
pub fn claims<S: HashSuite>(
    protocol: &Protocol,
    statement: &Statement,
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) -> Result<(), Reject> {
    channel.work(protocol.profile.g_wiring)?;
    let theta = channel.challenge(Label::WiringChallenge);
    wiring_claims(&protocol.circuit, theta, claims);
    public_claims(tensors(protocol, statement), theta, claims);
    Ok(())
}
