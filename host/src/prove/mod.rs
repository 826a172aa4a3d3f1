//! The prover: the stages of `circlet_verifier`, file by file, seen from the other side.

pub mod adversary;
mod channel;
pub mod commit;
mod lookup;
pub mod opening;
mod read;
mod relation;
mod weight;

use circlet_core::circuit::{ColumnId, Public, Tree as Which};
use circlet_core::claims::Claims;
use circlet_core::field::QM31;
use circlet_core::key::Statement;
use circlet_core::merkle::cap_root;
use circlet_core::pin;
use circlet_core::protocol::DOMAIN;
use circlet_core::transcript::{Label, Transcript};
use circlet_core::wiring::{public_terms, public_value, wiring_terms};

use crate::backend::device::Error;
use crate::backend::merkle::BulkHash;
use crate::execute::{Trace, execute_with};
use crate::keys::ProvingKey;
use adversary::{Adversary, Honest};
use channel::Channel;
use commit::Commitment;

/// Runs a program without lists on the inputs and proves the outputs.
pub fn prove<S: BulkHash>(key: &ProvingKey<S>, inputs: &[Vec<i32>]) -> anyhow::Result<(Statement, Vec<u8>)> {
    let trace = execute_with(key.circuit(), key.columns.clone(), &key.data.tables, inputs, &[])?;
    let statement = statement(key, &trace);
    let proof = prove_trace(key, &trace, &statement, &mut Honest)?;
    Ok((statement, proof))
}

/// The public tensors of a trace.
pub fn statement<S: BulkHash>(key: &ProvingKey<S>, trace: &Trace) -> Statement {
    let read = |publics: &[Public]| publics.iter().map(|p| trace.public(key.circuit(), &p.cells)).collect();
    let lists = trace.lists.clone();
    Statement { inputs: read(&key.circuit().inputs), outputs: read(&key.circuit().outputs), lists }
}

/// Proves a statement with whatever trace it is given. The trace is not checked: if it is not one of the
/// program, the result is a proof that verifiers reject. There is none if the key's device fails.
pub fn prove_trace<S: BulkHash>(
    key: &ProvingKey<S>,
    trace: &Trace,
    statement: &Statement,
    adversary: &mut dyn Adversary,
) -> Result<Vec<u8>, Error> {
    let protocol = &key.protocol;
    let mut transcript = S::Transcript::new(DOMAIN);
    transcript.absorb_bytes(Label::Key, &key.digest);
    transcript.absorb_bytes(Label::Statement, &statement.digest());

    let stage = tracing::info_span!("commit").entered();
    let mut commit = |which: Which| {
        let ids = (0..protocol.circuit.columns.len() as u32).map(ColumnId);
        let columns = ids.filter(|&id| protocol.circuit.column(id).tree() == which);
        let columns = columns.map(|id| (id, trace.cells(id)));
        Commitment::<S>::new(protocol, &key.encoder, which, columns, adversary)
    };
    let witness = commit(Which::Witness)?;
    // What the earlier proof committed to, once more.
    let mut handed = |which| protocol.circuit.has(which).then(|| commit(which)).transpose();
    let (state, past) = (handed(Which::State)?, handed(Which::Past)?);
    if let Some(past) = &past {
        transcript.absorb_digest(Label::PastRoot, &cap_root::<S>(past.tree.cap()));
    }
    let mut channel = Channel::<S>::new(transcript, &key.device, adversary);
    channel.cap(Label::WitnessRoot, witness.tree.cap());
    if let Some(state) = &state {
        channel.cap(Label::StateRoot, state.tree.cap());
    }
    drop(stage);

    let mut claims = Claims::new(&protocol.numbers);
    let commitments = [Some(&*key.fixed), Some(&witness), state.as_ref(), past.as_ref()];
    let matrices = commitments.map(|c| c.map(|c| &c.matrix));
    tracing::info_span!("lookup").in_scope(|| {
        lookup::prove(&key.device, protocol, trace, matrices, &statement.lists, &mut channel, &mut claims)
    })?;
    tracing::info_span!("relation").in_scope(|| {
        relation::prove(&key.device, protocol, trace, matrices, &statement.lists, &mut channel, &mut claims)
    })?;
    let stage = tracing::info_span!("opening").entered();
    channel.work(protocol.profile.g_wiring)?;
    let theta = channel.challenge(Label::WiringChallenge);
    let (columns, numbers) = (&protocol.declared.columns, &protocol.numbers);
    for (claim, wiring) in (numbers.first_wiring()..).zip(&protocol.circuit.wirings) {
        wiring_terms(columns, claim, wiring, theta, &mut claims);
    }
    let publics = protocol.circuit.inputs.iter().chain(&protocol.circuit.outputs);
    let entries = statement.inputs.iter().chain(&statement.outputs);
    for (claim, (public, entries)) in (numbers.first_public()..).zip(publics.zip(entries)) {
        claims.value(claim, public_value(entries, theta));
        public_terms(columns, claim, public, theta, &mut claims);
    }
    if let Some(value) = key.verifying.pin.filter(|_| protocol.pinned()) {
        claims.points.pin =
            pin::point::<S>(&mut S::Transcript::new(pin::DOMAIN), &protocol.stacking, key.fixed.tree.cap());
        claims.value(numbers.pin(), QM31::from_coordinates(value));
        let point = claims.points.pin.clone();
        pin::terms(columns, &protocol.stacking, numbers.pin(), &point, &mut claims);
    }
    opening::prove(protocol, &key.encoder, &key.twiddles, commitments, &claims, &mut channel)?;
    drop(stage);
    Ok(channel.finish())
}
