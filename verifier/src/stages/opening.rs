//! The batched opening. See [`circlet_core::opening`].

use alloc::vec;
use alloc::vec::Vec;

use circlet_core::circuit::Tree;
use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::hash::HashSuite;
use circlet_core::key::VerifyingKey;
use circlet_core::merkle::verify_multiproof;
use circlet_core::opening::{column_weights, combine_rows, round};
use circlet_core::pin;
use circlet_core::poly::{evaluate, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;

use crate::channel::Channel;
use crate::{Reject, Stage};

const ARITY: usize = 1 << FoldSchedule::ARITY_LOG;

/// The cap of the fixed tree, decoded from the key, which must have a pin exactly if the profile asks for one.
pub fn fixed_cap<S: HashSuite>(protocol: &Protocol, key: &VerifyingKey) -> Result<Vec<S::Digest>, Reject> {
    if key.fixed_cap.len() != 1 << protocol.cap_log(protocol.codeword_log()) {
        return Err(Reject::MalformedKey);
    }
    if protocol.pinned() != key.pin.is_some() {
        return Err(Reject::MalformedKey);
    }
    key.fixed_cap.iter().map(|d| S::digest_from_bytes(d).ok_or(Reject::MalformedKey)).collect()
}

/// The cap of the state that the program reads, if it reads any. It is one of an accepted proof under the same key, so
/// it has the length of all caps.
pub fn past_cap<S: HashSuite>(
    protocol: &Protocol,
    past: Option<&[[u8; 32]]>,
) -> Result<Vec<S::Digest>, Reject> {
    match past {
        Some(cap) => cap.iter().map(|d| S::digest_from_bytes(d).ok_or(Reject::Past)).collect(),
        None if protocol.circuit.has(Tree::Past) => Err(Reject::Past),
        None => Ok(Vec::new()),
    }
}

/// The claim that the fixed columns are the ones that the key pins, in profiles where the cap alone does not.
pub fn pin<S: HashSuite>(protocol: &Protocol, key: &VerifyingKey, cap: &[S::Digest], claims: &mut Claims) {
    if let Some(value) = key.pin {
        let point = pin::point::<S>(protocol, cap);
        pin::claim(protocol, &point, QM31::from_coordinates(value), claims);
    }
}

/// Checks that the columns under the caps of all trees satisfy all claims. A tree that there is not has no cap.
pub fn verify<S: HashSuite>(
    protocol: &Protocol,
    channel: &mut Channel<'_, S>,
    claims: &Claims,
    caps: &[Vec<S::Digest>; 4],
) -> Result<(), Reject> {
    let Protocol { profile, stacking, schedule, .. } = protocol;
    let mu = channel.challenge(Label::OpeningBatch);
    let mut claim = claims.batched_value(mu);

    let mut stack: Vec<QM31> = Vec::new();
    for _ in 0..stacking.stack_variables() {
        let message = channel.receive_array(Label::OpeningRound)?;
        channel.work(profile.g_stack)?;
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        stack.push(r);
    }
    stack.reverse();

    let mut layers = vec![channel.cap(Label::FoldedRoot, protocol.cap_log(protocol.fold_height(0)))?];
    let mut rows: Vec<QM31> = Vec::new();
    let mut last = Vec::new();
    let folds = schedule.layers * FoldSchedule::ARITY_LOG;
    for bound in 1..=stacking.log_rows {
        let message = channel.receive_array(Label::OpeningRound)?;
        if bound <= folds {
            channel.work(profile.g_fold)?;
        }
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        rows.push(r);
        if bound == folds {
            last = channel.receive(Label::FinalMessage, 1 << schedule.last)?;
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            let height = protocol.fold_height(bound / FoldSchedule::ARITY_LOG);
            layers.push(channel.cap(Label::FoldRoot, protocol.cap_log(height))?);
        }
    }

    let point: Vec<QM31> = rows.iter().chain(&stack).copied().collect();
    let opened = evaluate(&last, rows.get(folds as usize..).unwrap_or_default());
    if opened * claims.weight_at(&protocol.circuit, stacking, mu, &point) != claim {
        return Err(Reject::FinalClaim(Stage::Opening));
    }

    channel.work(profile.pow_bits)?;
    let positions = (0..profile.queries).map(|_| channel.index(protocol.codeword_log())).collect();
    let opened = Opened::read(protocol, channel, caps, &layers, positions)?;
    opened.check(protocol, &stack, &rows, &last)
}

/// Everything opened at the queried positions.
struct Opened {
    positions: Vec<u32>,
    /// Rows of the trees' matrices, one for each position; none of a tree that there is not.
    rows: [Vec<Vec<M31>>; 4],
    /// For each fold layer the opened leaves: their index and sixteen values.
    layers: Vec<Vec<(u32, Vec<QM31>)>>,
}

impl Opened {
    fn read<S: HashSuite>(
        protocol: &Protocol,
        channel: &mut Channel<'_, S>,
        caps: &[Vec<S::Digest>; 4],
        layer_caps: &[Vec<S::Digest>],
        mut positions: Vec<u32>,
    ) -> Result<Self, Reject> {
        positions.sort_unstable();
        positions.dedup();
        let mut rows = [(); 4].map(|()| Vec::new());
        for ((cap, rows), &width) in caps.iter().zip(&mut rows).zip(&protocol.stacking.matrix_columns) {
            if width == 0 {
                continue;
            }
            *rows = leaves(channel, cap, protocol.codeword_log(), &positions, width)?;
        }
        let mut layers = Vec::new();
        for (k, cap) in (0u32..).zip(layer_caps) {
            let mut indices: Vec<u32> =
                positions.iter().map(|p| p >> ((k + 1) * FoldSchedule::ARITY_LOG)).collect();
            indices.dedup();
            let words = leaves(channel, cap, protocol.fold_height(k), &indices, 4 * ARITY)?;
            let values = words.iter().map(|words| {
                words
                    .chunks_exact(4)
                    .map(|c| QM31::from_coordinates(c.try_into().unwrap_or([M31::ZERO; 4])))
                    .collect()
            });
            layers.push(indices.iter().copied().zip(values).collect());
        }
        Ok(Self { positions, rows, layers })
    }

    fn check(&self, protocol: &Protocol, stack: &[QM31], rows: &[QM31], last: &[QM31]) -> Result<(), Reject> {
        let weights = column_weights(stack, protocol.stacking.log_columns);
        let domain = &protocol.domain;
        for (i, &position) in self.positions.iter().enumerate() {
            let rows_at = self.rows.iter().map(|rows| rows.get(i).map_or(&[][..], Vec::as_slice));
            let mut value = combine_rows(&weights, rows_at);
            let mut position = position;
            let mut mismatch = Reject::RowCombination;
            for (k, layer) in (0u32..).zip(&self.layers) {
                let leaf = position >> FoldSchedule::ARITY_LOG;
                let values = layer
                    .binary_search_by_key(&leaf, |(index, _)| *index)
                    .ok()
                    .and_then(|i| layer.get(i))
                    .map_or(&[][..], |(_, values)| values.as_slice());
                if values.get(position as usize % ARITY) != Some(&value) {
                    return Err(mismatch);
                }
                let level = k * FoldSchedule::ARITY_LOG;
                let challenges =
                    rows.get(level as usize..(level + FoldSchedule::ARITY_LOG) as usize).unwrap_or_default();
                value = domain.fold(level, leaf, values, challenges);
                position = leaf;
                mismatch = Reject::Fold;
            }
            if domain.evaluate(protocol.schedule.layers * FoldSchedule::ARITY_LOG, last, position) != value {
                return Err(Reject::FinalMessage);
            }
        }
        Ok(())
    }
}

/// Reads leaves of `width` elements at the given indices and the siblings that lead them to the cap.
fn leaves<S: HashSuite>(
    channel: &mut Channel<'_, S>,
    cap: &[S::Digest],
    height: u32,
    indices: &[u32],
    width: usize,
) -> Result<Vec<Vec<M31>>, Reject> {
    let rows = indices.iter().map(|_| channel.opened(width)).collect::<Result<Vec<_>, _>>()?;
    let digests: Vec<(u32, S::Digest)> =
        indices.iter().zip(&rows).map(|(&index, row)| (index, S::leaf(row))).collect();
    if verify_multiproof::<S, Reject>(cap, height, &digests, &mut || channel.digest())? {
        Ok(rows)
    } else {
        Err(Reject::MerklePath)
    }
}
