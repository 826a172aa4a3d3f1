//! All relations: one random point and one sumcheck. See [`circlet_core::relations`].

use alloc::vec::Vec;

use circlet_core::claims::Claims;
use circlet_core::field::QM31;
use circlet_core::hash::HashSuite;
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::relations::{Point, round};
use circlet_core::transcript::Label;
use circlet_core::wiring::listed_claims;

use crate::channel::Channel;
use crate::{Reject, Stage};

/// Reduces "all relations hold" to claims on the columns: one for all linear parts, one for each operand,
/// one for each gather and pick.
pub fn verify<S: HashSuite>(
    protocol: &Protocol,
    lists: &[Vec<u32>],
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) -> Result<(), Reject> {
    let reduction = &protocol.reduction;
    let rows = channel.challenges(Label::RelationPoint, reduction.row_variables);
    let cols = channel.challenges(Label::RelationPoint, reduction.col_variables);
    let gamma = channel.challenge(Label::RelationBatch);
    let point = Point { rows, cols, gammas: powers(gamma, protocol.circuit.relations.len()) };

    let [products] = channel.receive_array(Label::RelationClaim)?;
    let mut claim = products;
    let mut bound: Vec<QM31> = Vec::new();
    for _ in 0..reduction.rounds {
        let message = channel.receive_array(Label::RelationRound)?;
        let r = channel.challenge(Label::RelationChallenge);
        claim = univariate(&round(claim, message), r);
        bound.push(r);
    }
    bound.reverse();
    let values = channel.receive(Label::RelationEvals, reduction.operands.len())?;
    if reduction.expected(&point, &bound, &values) != claim {
        return Err(Reject::FinalClaim(Stage::Relation));
    }
    reduction.linear_claim(&protocol.circuit, lists, &point, products, claims);
    reduction.operand_claims(&protocol.circuit, &point, &bound, &values, claims);
    listed_claims(&protocol.circuit, lists, &point, claims);
    Ok(())
}
