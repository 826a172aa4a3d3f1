//! All lookups: the fraction tree, from its root to its leaves. See [`circlet_core::lookup`].

use alloc::vec::Vec;

use circlet_core::field::QM31;
use circlet_core::hash::Trees;
use circlet_core::lookup::{Challenges, merge, round, summand};
use circlet_core::poly::univariate;
use circlet_core::protocol::Outline;
use circlet_core::transcript::Label;

use crate::channel::Channel;
use crate::{Reject, Stage};

/// Where the fraction tree ends.
pub struct Ends {
    /// What makes fractions of rows.
    pub challenges: Challenges,
    /// A point of the leaf layer.
    pub point: Vec<QM31>,
    /// What its numerators are claimed to be there.
    pub numerator: QM31,
    /// What its denominators are claimed to be there.
    pub denominator: QM31,
}

/// Reduces "all lookups hold" to what the leaves are at one point.
pub fn verify<T: Trees>(outline: &Outline, channel: &mut Channel<'_, T>) -> Result<Ends, Reject> {
    channel.work(outline.profile.g_lookup)?;
    let alpha = channel.challenge(Label::LookupChallenge);
    let beta = channel.challenge(Label::LookupChallenge);

    // The root: numerator zero, which is why it is not sent, and a denominator that is not.
    let [root] = channel.receive_array(Label::LookupRoot)?;
    if root == QM31::ZERO {
        return Err(Reject::ZeroDenominator);
    }
    let (mut numerator, mut denominator, mut point) = (QM31::ZERO, root, Vec::new());
    for variables in 0..outline.leaves.depth {
        let lambda = channel.challenge(Label::LookupLambda);
        let mut claim = numerator + lambda * denominator;
        let mut next: Vec<QM31> = Vec::with_capacity(variables as usize + 1);
        for j in (0..variables as usize).rev() {
            let message = channel.receive_array(Label::LookupRound)?;
            let r = channel.challenge(Label::LookupRound);
            claim = univariate(&round(claim, point.get(j).copied().unwrap_or_default(), message), r);
            next.push(r);
        }
        next.reverse();
        let children = channel.receive_array(Label::LookupLayer)?;
        if summand(children, lambda) != claim {
            return Err(Reject::FinalClaim(Stage::Lookup));
        }
        let top = channel.challenge(Label::LookupLayer);
        (numerator, denominator) = merge(children, top);
        next.push(top);
        point = next;
    }
    Ok(Ends { challenges: Challenges { alpha, beta }, point, numerator, denominator })
}
