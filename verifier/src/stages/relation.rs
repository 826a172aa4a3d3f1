//! All relations: one random point and one sumcheck. See [`circlet_core::relations`].

use circlet_core::claims::Points;
use circlet_core::field::QM31;
use circlet_core::hash::Trees;
use circlet_core::poly::univariate;
use circlet_core::protocol::Outline;
use circlet_core::relations::round;
use circlet_core::transcript::Label;

use crate::Reject;
use crate::channel::Channel;

/// Where the sumcheck ends.
pub struct Ends {
    /// Batches the relations.
    pub gamma: QM31,
    /// The claimed sum of all products.
    pub products: QM31,
    /// What the summand is claimed to be at the sumcheck's point.
    pub claim: QM31,
    /// The digest of what the operands are claimed to be there.
    pub promise: [u8; 32],
}

/// Reduces "all relations hold" to what the operands are at one point, which is added to the points.
pub fn verify<T: Trees>(
    outline: &Outline,
    channel: &mut Channel<'_, T>,
    points: &mut Points,
) -> Result<Ends, Reject> {
    points.rows = channel.challenges(Label::RelationPoint, outline.extent.row_variables);
    points.cols = channel.challenges(Label::RelationPoint, outline.extent.col_variables);
    let gamma = channel.challenge(Label::RelationBatch);

    let [products] = channel.receive_array(Label::RelationClaim)?;
    let mut claim = products;
    for _ in 0..outline.extent.rounds {
        let message = channel.receive_array(Label::RelationRound)?;
        let r = channel.challenge(Label::RelationChallenge);
        claim = univariate(&round(claim, message), r);
        points.bound.push(r);
    }
    points.bound.reverse();
    let promise = channel.promise(Label::RelationEvals)?;
    Ok(Ends { gamma, products, claim, promise })
}
