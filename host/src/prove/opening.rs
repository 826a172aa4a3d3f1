//! The prover of [`circlet_core::opening`].

use circlet_core::claims::Claims;
use circlet_core::code::fold_pair;
use circlet_core::field::{M31, QM31};
use circlet_core::opening::{column_weights, round};
use circlet_core::poly::{bind_low, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;

use super::channel::Channel;
use super::commit::Commitment;
use super::weight::Weight;
use crate::backend::contract::combine;
use crate::backend::encode::Encoder;
use crate::backend::field::{B, LANES, to_stwo_base, unpack};
use crate::backend::merkle::{BulkHash, Tree, row};
use crate::backend::stack::Stack;

/// Inverse coordinates of the folds of a code, level by level.
pub struct Twiddles(Vec<Vec<M31>>);

impl Twiddles {
    /// For every fold of the protocol's codewords.
    pub fn new(protocol: &Protocol) -> Self {
        let levels = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
        let half = 1u32 << (protocol.codeword_log() - 1);
        Self(
            (0..levels)
                .map(|level| {
                    let coordinates: Vec<M31> =
                        (0..half >> level).map(|m| protocol.domain.coordinate(level, 2 * m)).collect();
                    circlet_core::code::batch_inverse(&coordinates)
                })
                .collect(),
        )
    }
}

/// A committed word of the fold.
struct Layer<S: BulkHash> {
    /// Sixty-four columns: four coordinates of sixteen neighbouring values.
    columns: Vec<Vec<B>>,
    tree: Tree<S>,
}

impl<S: BulkHash> Layer<S> {
    fn new(word: &[QM31], cap_log: u32) -> Self {
        let arity = 1 << FoldSchedule::ARITY_LOG;
        let leaves = word.len() / arity;
        let columns = (0..4 * arity)
            .map(|c| {
                let cell = |leaf: usize| to_stwo_base(word[leaf * arity + c / 4].coordinates()[c % 4]);
                (0..leaves / LANES)
                    .map(|v| B::from_array(std::array::from_fn(|i| cell(v * LANES + i))))
                    .collect()
            })
            .collect::<Vec<Vec<B>>>();
        let tree = Tree::new(&columns, cap_log);
        Self { columns, tree }
    }
}

/// Proves that the columns of both commitments satisfy all claims.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    encoder: &Encoder,
    twiddles: &Twiddles,
    commitments: [&Commitment<S>; 2],
    claims: &Claims,
    channel: &mut Channel<'_, S>,
) {
    let Protocol { profile, stacking, schedule, .. } = protocol;
    let mu = channel.challenge(Label::OpeningBatch);
    let mut claim = claims.batched_value(mu);

    let stage = tracing::debug_span!(target: "opening", "weight").entered();
    let Weight { slots, factors } = Weight::new(&protocol.circuit, stacking, claims, mu);
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "contract").entered();
    let mut stack =
        Stack::new(&slots, commitments.map(|c| c.messages.as_slice()), factors, stacking.log_columns);
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "stack rounds").entered();
    let mut point = Vec::new();
    for _ in 0..stacking.stack_variables() {
        let message = channel.send(Label::OpeningRound, stack.round());
        channel.work(profile.g_stack);
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        stack.bind(r);
        point.push(r);
    }
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "message").entered();
    point.reverse();
    let w = slots.expand(&stack.finish());
    let weights = column_weights(&point);
    let columns: Vec<(&[B], QM31)> = commitments
        .iter()
        .zip(&weights)
        .flat_map(|(c, weights)| c.messages.iter().map(Vec::as_slice).zip(weights.iter().copied()))
        .collect();
    let u = combine(&columns);
    drop(stage);

    let stage = tracing::debug_span!(target: "opening", "encode").entered();
    let mut word = encode_extension(encoder, &u);
    let (mut u, mut w) = (unpack(&u), unpack(&w));
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "row rounds").entered();
    let mut layers: Vec<Layer<S>> = Vec::new();
    channel.adversary.remaining(Label::FoldedRoot, &mut u, &w, claim);
    commit_layer(protocol, Label::FoldedRoot, &mut word, &mut layers, channel);
    let folds = schedule.layers * FoldSchedule::ARITY_LOG;
    for bound in 1..=stacking.log_rows {
        let message = channel.send(Label::OpeningRound, row_round(&u, &w));
        if bound <= folds {
            channel.work(profile.g_fold);
        }
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        bind_low(&mut u, r);
        bind_low(&mut w, r);
        if bound <= folds {
            word = fold(&word, &twiddles.0[bound as usize - 1], r);
        }
        if bound == folds {
            channel.adversary.remaining(Label::FinalMessage, &mut u, &w, claim);
            channel.send_slice(Label::FinalMessage, &mut u);
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            channel.adversary.remaining(Label::FoldRoot, &mut u, &w, claim);
            commit_layer(protocol, Label::FoldRoot, &mut word, &mut layers, channel);
        }
    }

    drop(stage);
    channel.work(profile.pow_bits);
    answer(protocol, commitments, &layers, channel);
}

fn commit_layer<S: BulkHash>(
    protocol: &Protocol,
    label: Label,
    word: &mut [QM31],
    layers: &mut Vec<Layer<S>>,
    channel: &mut Channel<'_, S>,
) {
    channel.adversary.word(label, word);
    let height = protocol.fold_height(layers.len() as u32);
    let layer = Layer::new(word, protocol.cap_log(height));
    channel.cap(label, layer.tree.cap());
    layers.push(layer);
}

/// The codeword of a message over the extension: one for each coordinate.
fn encode_extension(encoder: &Encoder, message: &[crate::backend::field::E]) -> Vec<QM31> {
    let coordinates: Vec<Vec<B>> =
        (0..4).map(|c| message.iter().map(|v| v.into_packed_m31s()[c]).collect()).collect();
    let words = encoder.encode_all(&coordinates);
    (0..words[0].len())
        .flat_map(|v| {
            let lanes: [_; 4] = std::array::from_fn(|c| words[c][v].to_array());
            (0..LANES).map(move |i| {
                QM31::from_coordinates(std::array::from_fn(|c| {
                    crate::backend::field::from_stwo_base(lanes[c][i])
                }))
            })
        })
        .collect()
}

/// `[s_0, s_2]` of the round that binds the lowest coordinate.
fn row_round(u: &[QM31], w: &[QM31]) -> [QM31; 2] {
    let (mut s0, mut s2) = (QM31::ZERO, QM31::ZERO);
    for (u, w) in u.chunks_exact(2).zip(w.chunks_exact(2)) {
        s0 += u[0] * w[0];
        s2 += (u[1] - u[0]) * (w[1] - w[0]);
    }
    [s0, s2]
}

fn fold(word: &[QM31], inverses: &[M31], r: QM31) -> Vec<QM31> {
    word.chunks_exact(2).zip(inverses).map(|(pair, &t)| fold_pair(pair[0], pair[1], t, r)).collect()
}

/// Opens everything at the queried positions.
fn answer<S: BulkHash>(
    protocol: &Protocol,
    commitments: [&Commitment<S>; 2],
    layers: &[Layer<S>],
    channel: &mut Channel<'_, S>,
) {
    let bits = protocol.codeword_log();
    let mut positions: Vec<u32> = (0..protocol.profile.queries).map(|_| channel.index(bits)).collect();
    channel.adversary.positions(&mut positions);
    positions.sort_unstable();
    positions.dedup();
    for commitment in commitments {
        open(&commitment.codewords, &commitment.tree, &positions, channel);
    }
    for layer in layers {
        for position in &mut positions {
            *position >>= FoldSchedule::ARITY_LOG;
        }
        positions.dedup();
        open(&layer.columns, &layer.tree, &positions, channel);
    }
}

fn open<S: BulkHash>(columns: &[Vec<B>], tree: &Tree<S>, indices: &[u32], channel: &mut Channel<'_, S>) {
    for &index in indices {
        channel.open(&row(columns, index));
    }
    for digest in tree.multiproof(indices) {
        channel.digest(&digest);
    }
}
