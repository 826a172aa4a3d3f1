//! All lookups: the fraction tree, from its root to its leaves. See [`circlet_core::lookup`].

use alloc::vec::Vec;

use circlet_core::claims::Claims;
use circlet_core::field::QM31;
use circlet_core::hash::HashSuite;
use circlet_core::lookup::{Challenges, merge, round, summand};
use circlet_core::poly::univariate;
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;

use crate::channel::Channel;
use crate::{Reject, Stage};

/// Reduces "all lookups hold" to two claims on the columns.
pub fn verify<S: HashSuite>(
    protocol: &Protocol,
    lists: &[Vec<u32>],
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) -> Result<(), Reject> {
    channel.work(protocol.profile.g_lookup)?;
    let alpha = channel.challenge(Label::LookupChallenge);
    let beta = channel.challenge(Label::LookupChallenge);

    // The root: numerator zero, which is why it is not sent, and a denominator that is not.
    let [root] = channel.receive_array(Label::LookupRoot)?;
    if root == QM31::ZERO {
        return Err(Reject::ZeroDenominator);
    }
    let (mut numerator, mut denominator, mut point) = (QM31::ZERO, root, Vec::new());
    for variables in 0..protocol.leaves.depth {
        let lambda = channel.challenge(Label::LookupLambda);
        let mut claim = numerator + lambda * denominator;
        let mut next: Vec<QM31> = Vec::new();
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
    let challenges = Challenges { alpha, beta };
    let ends = [numerator, denominator];
    protocol.leaves.claims(&protocol.circuit, challenges, &point, lists, ends, claims);
    Ok(())
}
