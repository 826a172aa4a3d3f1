//! The statement: its shape, its ranges, and the values of the claims that tie it to the committed columns.

use alloc::vec::Vec;

use circlet_core::circuit::Public;
use circlet_core::field::QM31;
use circlet_core::hash::Trees;
use circlet_core::key::Statement;
use circlet_core::protocol::Outline;
use circlet_core::transcript::Label;
use circlet_core::wiring::public_value;

use crate::Reject;
use crate::channel::Channel;

/// The public tensors of the program beside those of the statement.
fn tensors<'a>(
    outline: &'a Outline,
    statement: &'a Statement,
) -> impl Iterator<Item = (&'a Public, &'a [i32])> {
    let publics = outline.declared.inputs.iter().chain(&outline.declared.outputs);
    publics.zip(statement.inputs.iter().chain(&statement.outputs).map(Vec::as_slice))
}

/// Every tensor has its length, and every entry lies in the tensor's range.
pub fn check(outline: &Outline, statement: &Statement) -> Result<(), Reject> {
    let circuit = &outline.declared;
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
    for (public, entries) in tensors(outline, statement) {
        if entries.len() as u64 != u64::from(public.rows) * u64::from(public.cols) {
            return Err(Reject::StatementShape);
        }
        if entries.iter().any(|&v| i64::from(v).abs() > public.bound) {
            return Err(Reject::StatementRange);
        }
    }
    Ok(())
}

/// Draws `theta`, which makes one number of a sequence; the result has the value of every public tensor too.
pub fn values<T: Trees>(
    outline: &Outline,
    statement: &Statement,
    channel: &mut Channel<'_, T>,
) -> Result<(QM31, Vec<QM31>), Reject> {
    channel.work(outline.profile.g_wiring)?;
    let theta = channel.challenge(Label::WiringChallenge);
    let entries = statement.inputs.iter().chain(&statement.outputs);
    Ok((theta, entries.map(|entries| public_value(entries, theta)).collect()))
}
