//! The prover of [`circlet_core::opening`].

use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::opening::{column_weights, round};
use circlet_core::poly::univariate;
use circlet_core::protocol::{Outline, Protocol};
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;
use rayon::prelude::*;

use super::channel::Channel;
use super::commit::Commitment;
use super::weight::Weight;
use crate::backend::device::Error;
use crate::backend::encode::Encoder;
use crate::backend::field::{B, E, Ext, LANES, pack, to_stwo, to_stwo_base, unpack};
use crate::backend::matrix::{Matrix, Rows};
use crate::backend::merkle::{BulkHash, Tree};
use crate::backend::slots::combine;
use crate::backend::stack::Stack;
use crate::backend::table::{Table, low_round};

/// Inverse coordinates of the folds of a code, level by level, in vectors.
pub struct Twiddles(Vec<Vec<B>>);

impl Twiddles {
    /// For every fold of the protocol's codewords.
    pub fn new(protocol: &Protocol) -> Self {
        let levels = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
        let half = 1u32 << (protocol.codeword_log() - 1);
        let mut coordinates: Vec<M31> = Vec::new();
        let level = |level: u32| -> Vec<B> {
            // From the third level on a coordinate is the double of one of the level before.
            coordinates = if level < 2 {
                let at = |m: u32| protocol.domain.coordinate(level, 2 * m);
                (0..half >> level).into_par_iter().with_min_len(1 << 10).map(at).collect()
            } else {
                coordinates.par_iter().step_by(2).map(|&t| (t * t).double() - M31::ONE).collect()
            };
            let mut inverses = coordinates.clone();
            inverses.par_chunks_mut(1 << 12).for_each(circlet_core::code::invert);
            inverses
                .chunks(LANES)
                .map(|c| {
                    B::from_array(std::array::from_fn(|i| {
                        to_stwo_base(c.get(i).copied().unwrap_or_default())
                    }))
                })
                .collect()
        };
        Self((0..levels).map(level).collect())
    }
}

/// Neighbouring values in a leaf; as many as a vector has lanes.
const ARITY: usize = 1 << FoldSchedule::ARITY_LOG;

/// A committed word of the fold.
struct Layer<S: BulkHash> {
    /// Sixty-four columns: four coordinates of sixteen neighbouring values.
    columns: Vec<Vec<B>>,
    tree: Tree<S>,
}

impl<S: BulkHash> Layer<S> {
    fn new(word: &[QM31], cap_log: u32) -> Self {
        /// Vectors of every column that one task fills.
        const TASK: usize = 1 << 6;
        let vectors = word.len() / ARITY / LANES;
        let mut columns = vec![vec![B::from_array([to_stwo_base(M31::ZERO); LANES]); vectors]; 4 * ARITY];
        let mut tasks: Vec<Vec<&mut [B]>> = Vec::new();
        tasks.resize_with(vectors.div_ceil(TASK), Vec::new);
        for column in &mut columns {
            tasks.iter_mut().zip(column.chunks_mut(TASK)).for_each(|(task, part)| task.push(part));
        }
        tasks.into_par_iter().zip(word.par_chunks(TASK * ARITY * LANES)).for_each(|(mut columns, word)| {
            for (vector, leaves) in word.chunks_exact(ARITY * LANES).enumerate() {
                for (slot, columns) in columns.chunks_exact_mut(4).enumerate() {
                    let lanes = std::array::from_fn(|i| to_stwo(leaves[i * ARITY + slot]));
                    let coordinates = E::from_array(lanes).into_packed_m31s();
                    columns.iter_mut().zip(coordinates).for_each(|(column, v)| column[vector] = v);
                }
            }
        });
        let tree = Tree::new(&columns, cap_log);
        Self { columns, tree }
    }
}

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
    let Weight { slots, factors } = Weight::new(&protocol.declared.columns, stacking, claims, mu);
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "contract").entered();
    let matrices = commitments.map(|c| c.map(|c| &c.matrix));
    let mut stack = Stack::new(&slots, matrices, factors, stacking);
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
    let weights = column_weights(&point, stacking.log_columns);
    let u = combine_all(matrices, &weights);
    drop(stage);

    let stage = tracing::debug_span!(target: "opening", "encode").entered();
    let mut word = encode_extension(encoder, &u)?;
    drop(stage);
    let stage = tracing::debug_span!(target: "opening", "row rounds").entered();
    let (mut u, mut w) = (Table::of_vectors(u), Table::of_vectors(w));
    let mut layers: Vec<Layer<S>> = Vec::new();
    remaining(Label::FoldedRoot, &mut u, &w, claim, channel);
    commit_layer(protocol, Label::FoldedRoot, &mut word, &mut layers, channel);
    let folds = schedule.layers * FoldSchedule::ARITY_LOG;
    // Challenges by which the last committed word is not folded yet.
    let mut challenges: Vec<QM31> = Vec::new();
    for bound in 1..=stacking.log_rows {
        let message = channel.send(Label::OpeningRound, low_round(&u, &w));
        if bound <= folds {
            channel.work(profile.g_fold);
        }
        let r = channel.challenge(Label::OpeningChallenge);
        claim = univariate(&round(claim, message), r);
        u.bind_low(r);
        w.bind_low(r);
        challenges.push(r);
        if bound == folds {
            remaining(Label::FinalMessage, &mut u, &w, claim, channel);
            let mut message = u.elements();
            channel.send_slice(Label::FinalMessage, &mut message);
            u = Table::new(message);
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            word = fold(&word, &twiddles.0[(bound - FoldSchedule::ARITY_LOG) as usize..], &challenges);
            challenges.clear();
            remaining(Label::FoldRoot, &mut u, &w, claim, channel);
            commit_layer(protocol, Label::FoldRoot, &mut word, &mut layers, channel);
        }
    }
    drop(stage);
    channel.keep_promise();
    channel.work(profile.pow_bits);
    answer(protocol, encoder, commitments, &layers, channel)
}

/// `sum weight column` over all matrix columns.
fn combine_all(matrices: [Option<&Matrix>; 4], weights: &[Vec<QM31>]) -> Vec<E> {
    let weighted =
        || matrices.into_iter().zip(weights).filter_map(|(matrix, weights)| Some((matrix?, weights)));
    let mut columns: Vec<(&[B], QM31)> = Vec::new();
    for (matrix, weights) in weighted() {
        if let Matrix::Kept { messages, .. } = matrix {
            columns.extend(messages.iter().map(Vec::as_slice).zip(weights.iter().copied()));
        }
    }
    let mut sum = combine(&columns);
    for (matrix, weights) in weighted().filter(|(matrix, _)| matches!(matrix, Matrix::Made { .. })) {
        for range in matrix.groups() {
            let messages = matrix.messages(range.clone());
            let part: Vec<_> =
                messages.iter().map(Vec::as_slice).zip(weights[range].iter().copied()).collect();
            sum.par_iter_mut().zip(combine(&part)).for_each(|(sum, part)| *sum += part);
        }
    }
    sum
}

/// Shows what is left to who might change it.
fn remaining<S: BulkHash>(label: Label, u: &mut Table, w: &Table, claim: QM31, channel: &mut Channel<'_, S>) {
    if channel.adversary.meddles() {
        let mut message = u.elements();
        channel.adversary.remaining(label, &mut message, &w.elements(), claim);
        *u = Table::new(message);
    }
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
fn encode_extension(encoder: &Encoder, message: &[E]) -> Result<Vec<QM31>, Error> {
    let coordinate = |c: usize| message.iter().map(|v| v.into_packed_m31s()[c]).collect();
    let coordinates: Vec<Vec<B>> = (0..4).into_par_iter().map(coordinate).collect();
    let words = encoder.encode_all(&coordinates)?;
    let mut word = vec![QM31::ZERO; words[0].len() * LANES];
    word.par_chunks_mut(LANES).enumerate().with_min_len(1 << 8).for_each(|(v, elements)| {
        let vector = E::from_packed_m31s(std::array::from_fn(|c| words[c][v]));
        elements.copy_from_slice(&unpack(&[vector]));
    });
    Ok(word)
}

/// Folds each group of sixteen neighbours to one value, level by level.
fn fold(word: &[QM31], twiddles: &[Vec<B>], challenges: &[QM31]) -> Vec<QM31> {
    let half = E::splat(QM31::HALF);
    // Sums `x` and differences `y` of neighbours, the latter over the coordinate: `((1 - r) x + r y) / 2`.
    let factors: Vec<(E, E)> =
        challenges.iter().map(|&r| (E::splat(QM31::ONE - r) * half, E::splat(r) * half)).collect();
    let fold_block = |(block, values): (usize, &[QM31])| -> Vec<QM31> {
        let mut vectors = pack(values);
        for (&(low, high), inverses) in factors.iter().zip(twiddles) {
            let len = vectors.len() / 2;
            for i in 0..len {
                let (u, v) = vectors[2 * i].deinterleave(vectors[2 * i + 1]);
                vectors[i] = low * (u + v) + high * ((u - v) * inverses[block * len + i]);
            }
            vectors.truncate(len);
        }
        unpack(&vectors)
    };
    word.par_chunks_exact(ARITY * LANES).enumerate().with_min_len(1 << 4).flat_map_iter(fold_block).collect()
}

/// Opens everything at the queried positions.
fn answer<S: BulkHash>(
    protocol: &Protocol,
    encoder: &Encoder,
    commitments: [Option<&Commitment<S>>; 4],
    layers: &[Layer<S>],
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
    for layer in layers {
        for position in &mut positions {
            *position >>= FoldSchedule::ARITY_LOG;
        }
        positions.dedup();
        open(&Rows::Of(&layer.columns), &layer.tree, &positions, channel);
    }
    Ok(())
}

fn open<S: BulkHash>(rows: &Rows<'_>, tree: &Tree<S>, indices: &[u32], channel: &mut Channel<'_, S>) {
    for &index in indices {
        channel.open(&rows.row(index));
    }
    for digest in tree.multiproof(rows, indices) {
        channel.digest(&digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::device::Device;
    use crate::backend::field::pack_base;
    use circlet_core::code::Domain;
    use circlet_core::profile::P100_U;
    use circlet_core::program::{Op, Program, Table as Function, TableId, Tensor, TensorId};

    /// The smallest protocol there is, and larger ones.
    fn protocol(log_rows: u32) -> Protocol {
        let tensor =
            |name: &str| Tensor { name: name.to_owned(), rows: 1, cols: 1, bound: 1, fraction_bits: 0 };
        let program = Program {
            name: String::from("map"),
            tensors: vec![tensor("x"), tensor("y")],
            constants: Vec::new(),
            tables: vec![Function { name: String::from("id"), bits: 1, bound: 1 }],
            ops: vec![Op::Map { x: TensorId(0), table: TableId(0), y: TensorId(1) }],
            inputs: vec![TensorId(0)],
            outputs: vec![TensorId(1)],
            lists: Vec::new(),
        };
        let mut protocol = Protocol::new(&program, P100_U).unwrap();
        let outline = &mut protocol.outline;
        outline.stacking.log_rows = log_rows;
        outline.schedule = FoldSchedule::new(log_rows);
        outline.domain = Domain::new(log_rows + outline.profile.log_blowup);
        protocol
    }

    #[test]
    fn words_fold_to_those_of_bound_messages() {
        for log in [8, 9, 12] {
            let protocol = protocol(log);
            let twiddles = Twiddles::new(&protocol);
            let encoder = Encoder::new(log, protocol.profile.log_blowup, &Device::Cpu).unwrap();
            let cells: Vec<i32> = (0..1i32 << log).map(|i| i.wrapping_mul(0x1234_5677) >> 3).collect();
            let message: Vec<E> = cells
                .chunks(LANES)
                .map(|c| {
                    let base = pack_base(c);
                    E::from_packed_m31s([base, base + base, base * base, -base])
                })
                .collect();
            let mut word = encode_extension(&encoder, &message).unwrap();
            let mut table = Table::new(unpack(&message));
            for layer in 0..protocol.schedule.layers {
                let level = layer * FoldSchedule::ARITY_LOG;
                for (position, &value) in word.iter().enumerate().step_by(word.len() / 16 - 1) {
                    let expected = protocol.domain.evaluate(level, &table.elements(), position as u32);
                    assert_eq!(value, expected, "{log} {layer} {position}");
                }
                let challenges: Vec<QM31> = (0..4)
                    .map(|k| QM31::from_coordinates([3, 5, 7, 11].map(|c| M31::reduce(c << (level + k)))))
                    .collect();
                let next = fold(&word, &twiddles.0[level as usize..], &challenges);
                for (leaf, &value) in next.iter().enumerate() {
                    let values = &word[leaf * ARITY..][..ARITY];
                    assert_eq!(value, protocol.domain.fold(level, leaf as u32, values, &challenges));
                }
                for &r in &challenges {
                    table.bind_low(r);
                }
                word = next;
            }
        }
    }

    #[test]
    fn leaves_hold_neighbours() {
        let word: Vec<QM31> = (0..1u64 << 10)
            .map(|i| QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(i * 1000 + k))))
            .collect();
        let layer = Layer::<circlet_core::hash::suite::Blake2sBlake2s>::new(&word, 2);
        for leaf in 0..word.len() / ARITY {
            let expected: Vec<M31> =
                word[leaf * ARITY..][..ARITY].iter().flat_map(|x| x.coordinates()).collect();
            assert_eq!(*Rows::Of(&layer.columns).row(leaf as u32), expected);
        }
    }
}
