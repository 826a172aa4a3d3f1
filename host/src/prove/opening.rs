//! The prover of [`circlet_core::opening`].

mod rows;

use circlet_core::claims::Claims;
use circlet_core::field::QM31;
use circlet_core::opening::{column_weights, round};
use circlet_core::poly::univariate;
use circlet_core::protocol::{Outline, Protocol};
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;

use super::channel::Channel;
use super::commit::Commitment;
use super::weight::weigh;
use crate::backend::device::Error;
use crate::backend::encode::Encoder;
use crate::backend::field::E;
use crate::backend::matrix::{Matrix, Rows, plus};
use crate::backend::merkle::{BulkHash, Tree};
use crate::backend::stack::{Left, Stack};
use rows::RowRounds;
pub use rows::Twiddles;

/// Proves that the columns of the commitments of all trees, as far as there are any, satisfy all claims.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    encoder: &Encoder,
    twiddles: &Twiddles,
    commitments: [Option<&Commitment<S>>; 4],
    claims: &Claims,
    channel: &mut Channel<'_, S>,
) -> Result<(), Error> {
    let Outline { profile, stacking, schedule, .. } = &protocol.outline;
    let mu = channel.challenge(Label::OpeningBatch);
    let mut claim = claims.batched_value(mu);

    let stage = tracing::debug_span!(target: "opening", "weight").entered();
    let weights = weigh(&protocol.declared.columns, stacking, claims, mu);
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "contract").entered();
    let matrices = commitments.map(|c| c.map(|c| &c.matrix));
    let mut stack = Stack::new(&weights, matrices, stacking)?;
    let slots = weights.slots;
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "stack rounds").entered();
    let mut point = Vec::new();
    for _ in 0..stacking.stack_variables() {
        let message = channel.send(Label::OpeningRound, stack.round());
        channel.work(profile.g_stack)?;
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        stack.bind(r)?;
        point.push(r);
    }
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "message").entered();
    point.reverse();
    let factors = column_weights(&point, stacking.log_columns);
    let mut rows = match (stack.finish(), twiddles.gpu(channel.adversary)) {
        (Left::OnGpu(left), Some(twiddles)) => rows::begin_there(left.rows(&matrices, &factors)?, twiddles),
        (left, _) => {
            let w = slots.expand(&left.multiples()?);
            rows::begin(encoder, twiddles, combine_all(matrices, &factors)?, w, channel.adversary)?
        }
    };
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "row rounds").entered();
    let cap_log = |layer| protocol.cap_log(protocol.fold_height(layer));
    rows.show(Label::FoldedRoot, claim, channel.adversary);
    let tree = rows.commit(Label::FoldedRoot, cap_log(0), channel.adversary)?;
    channel.cap(Label::FoldedRoot, tree.cap());
    let folds = schedule.layers * FoldSchedule::ARITY_LOG;
    // Challenges by which the last committed word is not folded yet.
    let mut challenges: Vec<QM31> = Vec::new();
    for bound in 1..=stacking.log_rows {
        let message = channel.send(Label::OpeningRound, rows.round());
        if bound <= folds {
            channel.work(profile.g_fold)?;
        }
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        rows.bind(r)?;
        challenges.push(r);
        if bound == folds {
            rows.show(Label::FinalMessage, claim, channel.adversary);
            let mut message = rows.message()?;
            channel.send_slice(Label::FinalMessage, &mut message);
            rows.replace(message)?;
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            rows.fold(bound - FoldSchedule::ARITY_LOG, &challenges)?;
            challenges.clear();
            rows.show(Label::FoldRoot, claim, channel.adversary);
            let tree =
                rows.commit(Label::FoldRoot, cap_log(bound / FoldSchedule::ARITY_LOG), channel.adversary)?;
            channel.cap(Label::FoldRoot, tree.cap());
        }
    }
    drop(stage);
    channel.keep_promise();
    channel.work(profile.pow_bits)?;
    answer(protocol, encoder, commitments, &*rows, channel)
}

/// `sum weight column` over the columns of all matrices.
fn combine_all(matrices: [Option<&Matrix>; 4], weights: &[Vec<QM31>]) -> Result<Vec<E>, Error> {
    let mut sum: Option<Vec<E>> = None;
    for (matrix, weights) in matrices.into_iter().zip(weights).filter_map(|(m, w)| Some((m?, w))) {
        let part = matrix.combined(weights)?;
        sum = Some(if let Some(sum) = sum { plus(sum, part) } else { part });
    }
    Ok(sum.unwrap_or_default())
}

/// Opens everything at the queried positions.
fn answer<S: BulkHash>(
    protocol: &Protocol,
    encoder: &Encoder,
    commitments: [Option<&Commitment<S>>; 4],
    words: &dyn RowRounds<S>,
    channel: &mut Channel<'_, S>,
) -> Result<(), Error> {
    let bits = protocol.codeword_log();
    let mut positions: Vec<u32> = (0..protocol.profile.queries).map(|_| channel.index(bits)).collect();
    channel.adversary.positions(&mut positions);
    positions.sort_unstable();
    positions.dedup();
    for commitment in commitments.into_iter().flatten() {
        let rows = commitment.matrix.rows(encoder, &commitment.tree.needed(&positions))?;
        open(&rows, &commitment.tree, &positions, channel);
    }
    for layer in 0..protocol.schedule.layers as usize {
        for position in &mut positions {
            *position >>= FoldSchedule::ARITY_LOG;
        }
        positions.dedup();
        let tree = words.tree(layer);
        open(&words.groups(layer, &tree.needed(&positions))?, tree, &positions, channel);
    }
    Ok(())
}

/// Opens a tree over rows at some of them.
fn open<S: BulkHash>(rows: &Rows<'_>, tree: &Tree<S>, indices: &[u32], channel: &mut Channel<'_, S>) {
    for &index in indices {
        channel.open(&rows.row(index));
    }
    for digest in tree.multiproof(rows, indices) {
        channel.digest(&digest);
    }
}
