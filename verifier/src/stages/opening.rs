//! The batched opening. See [`circlet_core::opening`].

use alloc::vec;
use alloc::vec::Vec;

use circlet_core::circuit::Tree;
use circlet_core::field::{M31, QM31};
use circlet_core::hash::Trees;
use circlet_core::key::VerifyingKey;
use circlet_core::merkle::verify_multiproof;
use circlet_core::opening::{MESSAGE, column_weights, round};
use circlet_core::poly::{evaluate, univariate};
use circlet_core::protocol::Outline;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;

use crate::Reject;
use crate::channel::Channel;
use crate::stages::claims::Batched;

const ARITY: usize = 1 << FoldSchedule::ARITY_LOG;

/// The cap of the fixed tree, decoded from the key, which must have a pin exactly if the profile asks for one.
pub fn fixed_cap<T: Trees>(outline: &Outline, key: &VerifyingKey) -> Result<Vec<T::Digest>, Reject> {
    if key.fixed_cap.len() != 1 << outline.cap_log(outline.codeword_log()) {
        return Err(Reject::MalformedKey);
    }
    if outline.pinned() != key.pin.is_some() {
        return Err(Reject::MalformedKey);
    }
    key.fixed_cap.iter().map(|d| T::digest_from_bytes(d).ok_or(Reject::MalformedKey)).collect()
}

/// The cap of the state that the program reads, if it reads any. It is one of an accepted proof under the same key, so
/// it has the length of all caps.
pub fn past_cap<T: Trees>(outline: &Outline, past: Option<&[[u8; 32]]>) -> Result<Vec<T::Digest>, Reject> {
    match past {
        Some(cap) => cap.iter().map(|d| T::digest_from_bytes(d).ok_or(Reject::Past)).collect(),
        None if outline.has(Tree::Past) => Err(Reject::Past),
        None => Ok(Vec::new()),
    }
}

/// Where the sumcheck of the opening ends.
pub struct Ends<D> {
    /// What is claimed of the stacked vector times the weight of all claims: so many times the batched value of all
    /// claims, and so much more.
    claim: [QM31; 2],
    /// Coordinates of the row.
    rows: Vec<QM31>,
    /// Coordinates that select matrix column and tree.
    stack: Vec<QM31>,
    /// The caps of all fold layers.
    layers: Vec<Vec<D>>,
    /// The message in clear.
    last: Vec<QM31>,
}

impl<D> Ends<D> {
    /// The point of the stacked vector.
    pub fn point(&self) -> Vec<QM31> {
        self.rows.iter().chain(&self.stack).copied().collect()
    }

    /// Whether the claims hold, given their value and their weight at the point.
    pub fn holds(&self, outline: &Outline, claims: &Batched) -> bool {
        let [times, more] = self.claim;
        let folds = outline.schedule.layers * FoldSchedule::ARITY_LOG;
        let opened = evaluate(&self.last, self.rows.get(folds as usize..).unwrap_or_default());
        opened * claims.weight == times * claims.value + more
    }
}

/// Reduces the batched claim to one at a point, while the stacked vector is folded. Each round's claim is linear in the
/// one before, so the first one need not be known yet.
pub fn fold<T: Trees>(outline: &Outline, channel: &mut Channel<'_, T>) -> Result<Ends<T::Digest>, Reject> {
    let Outline { profile, stacking, schedule, .. } = outline;
    let mut claim = [QM31::ONE, QM31::ZERO];
    // The round polynomial of a claim `c` at `r` is that of the claim 0 there, and `c r`.
    let next = |[times, more]: [QM31; 2], message: [QM31; MESSAGE], r: QM31| {
        [times * r, more * r + univariate(&round(QM31::ZERO, message), r)]
    };
    let mut stack: Vec<QM31> = Vec::new();
    for _ in 0..stacking.stack_variables() {
        let message = channel.receive_array(Label::OpeningRound)?;
        channel.work(profile.g_stack)?;
        let r = channel.challenge(Label::OpeningChallenge);
        claim = next(claim, message, r);
        stack.push(r);
    }
    stack.reverse();

    let mut layers = vec![channel.cap(Label::FoldedRoot, outline.cap_log(outline.fold_height(0)))?];
    let mut rows: Vec<QM31> = Vec::new();
    let mut last = Vec::new();
    let folds = schedule.layers * FoldSchedule::ARITY_LOG;
    for bound in 1..=stacking.log_rows {
        let message = channel.receive_array(Label::OpeningRound)?;
        if bound <= folds {
            channel.work(profile.g_fold)?;
        }
        let r = channel.challenge(Label::OpeningChallenge);
        claim = next(claim, message, r);
        rows.push(r);
        if bound == folds {
            last = channel.receive(Label::FinalMessage, 1 << schedule.last)?;
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            let height = outline.fold_height(bound / FoldSchedule::ARITY_LOG);
            layers.push(channel.cap(Label::FoldRoot, outline.cap_log(height))?);
        }
    }
    Ok(Ends { claim, rows, stack, layers, last })
}

/// Checks, at random positions, that the columns under the caps of all trees fold to the message in clear. A tree that
/// there is not has no cap.
pub fn query<T: Trees>(
    outline: &Outline,
    channel: &mut Channel<'_, T>,
    caps: &[Vec<T::Digest>; 4],
    ends: &Ends<T::Digest>,
) -> Result<(), Reject> {
    channel.work(outline.profile.pow_bits)?;
    // In ascending order, each once. There are few.
    let mut positions: Vec<u32> = Vec::new();
    for _ in 0..outline.profile.queries {
        let position = channel.index(outline.codeword_log());
        if let Err(place) = positions.binary_search(&position) {
            positions.insert(place, position);
        }
    }

    // What the rows of all matrices combine to.
    let weights = column_weights(&ends.stack, outline.stacking.log_columns);
    let mut words: Vec<(u32, QM31)> = positions.iter().map(|&position| (position, QM31::ZERO)).collect();
    for ((cap, weights), &width) in caps.iter().zip(&weights).zip(&outline.stacking.matrix_columns) {
        if width == 0 {
            continue;
        }
        let mut leaves = Vec::with_capacity(words.len());
        let mut row = vec![M31::ZERO; width];
        for (position, word) in &mut words {
            channel.opened(&mut row)?;
            leaves.push((*position, T::leaf(&row)));
            *word += QM31::dot(weights, &row);
        }
        path(channel, cap, outline.codeword_log(), &leaves)?;
    }

    // Each word is one of sixteen neighbours, which fold to a word of the next layer.
    let mut mismatch = Reject::RowCombination;
    for (layer, cap) in (0u32..).zip(&ends.layers) {
        let level = layer * FoldSchedule::ARITY_LOG;
        let challenges = ends.rows.get(level as usize..).and_then(|rows| rows.get(..4)).unwrap_or_default();
        let (mut leaves, mut folded) = (Vec::with_capacity(words.len()), Vec::with_capacity(words.len()));
        let (mut row, mut same) = ([M31::ZERO; 4 * ARITY], true);
        let mut rest = words.as_slice();
        while let Some(&(position, _)) = rest.first() {
            let leaf = position >> FoldSchedule::ARITY_LOG;
            channel.opened(&mut row)?;
            leaves.push((leaf, T::leaf(&row)));
            let mut values = [QM31::ZERO; ARITY];
            for (value, c) in values.iter_mut().zip(row.as_chunks().0) {
                *value = QM31::from_coordinates(*c);
            }
            while let Some((&(position, word), after)) = rest.split_first() {
                if position >> FoldSchedule::ARITY_LOG != leaf {
                    break;
                }
                same &= values.get(position as usize % ARITY) == Some(&word);
                rest = after;
            }
            folded.push((leaf, outline.domain.fold(level, leaf, &values, challenges)));
        }
        path(channel, cap, outline.fold_height(layer), &leaves)?;
        if !same {
            return Err(mismatch);
        }
        (words, mismatch) = (folded, Reject::Fold);
    }
    let level = outline.schedule.layers * FoldSchedule::ARITY_LOG;
    let in_clear =
        |&(position, word): &(u32, QM31)| outline.domain.evaluate(level, &ends.last, position) == word;
    if words.iter().all(in_clear) { Ok(()) } else { Err(Reject::FinalMessage) }
}

/// Reads the siblings that lead leaves, given with their indices, to the cap.
fn path<T: Trees>(
    channel: &mut Channel<'_, T>,
    cap: &[T::Digest],
    height: u32,
    leaves: &[(u32, T::Digest)],
) -> Result<(), Reject> {
    if verify_multiproof::<T, Reject>(cap, height, leaves, &mut || channel.digest())? {
        Ok(())
    } else {
        Err(Reject::MerklePath)
    }
}
