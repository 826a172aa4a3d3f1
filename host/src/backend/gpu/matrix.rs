//! Matrices that stay on a GPU between forms: their messages, and their codewords too where there is room.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::circuit::Tree as Which;
use circlet_core::field::{M31, QM31};
use circlet_core::protocol::Outline;
use circlet_cuda::columns::{self, Cell, Columns, Packed, Slot};
use circlet_cuda::fractions::{LEAST, Leaves};
use circlet_cuda::merkle::DIGEST;
use circlet_cuda::{Buffer, Error, Machine};
use rayon::prelude::*;

use super::encode::Encoder;
use super::{WORD, element, fold, groups, refused, stack, usable, words};
use crate::backend::field::{B, E, LANES};
use crate::backend::matrix;
use crate::backend::merkle::{BLOCK, BulkHash, Tree};
use crate::backend::slots::Slots;

/// Cells of matrices of numbers whose sums are left to the processor, if there are fewer.
pub const LEAST_SUM: usize = 1 << 16;

/// Columns of such matrices, at least.
pub const LEAST_WIDTH: usize = 4;

/// Bytes that are left beside the matrix of a tree once that is committed to.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// For the matrices of the trees that come after it, and for what takes most of all that is computed then.
    pub needed: u64,
    /// The same with room for rounds over columns, which the processor has where there is none: rather than codewords.
    pub better: u64,
}

impl Later {
    /// Beside the matrix of a tree.
    pub fn new(outline: &Outline, which: Which) -> Self {
        let (log_rows, log_codeword) = (outline.stacking.log_rows, outline.codeword_log());
        let log = outline.sizes().gkr_log;
        let lookups = if log < LEAST { 0 } else { Leaves::memory(log) };
        let rows = fold::Rows::memory(log_rows, log_codeword);
        let most = lookups.max(rows).max(committing(log_rows, log_codeword));
        let all = outline.stacking.matrix_columns;
        let [_, others @ ..] = all;
        let held = |columns| Columns::memory(columns, log_rows) + Columns::memory(columns, log_codeword);
        let others = if which == Which::Fixed { others.into_iter().map(held).sum() } else { 0 };
        let better = most.max(stack::reserved(all.into_iter().sum(), log_rows));
        Self { needed: most + others, better: better + others }
    }
}

/// Bytes that it takes to commit to columns, or to open them, a few at a time.
fn committing(log_message: u32, log_codeword: u32) -> u64 {
    let few = Columns::memory(BLOCK, log_message) + Columns::memory(BLOCK, log_codeword);
    few + hashing(log_codeword)
}

/// Bytes of the digests of all rows, and of the level above.
fn hashing(log_codeword: u32) -> u64 {
    (3 * DIGEST as u64 * WORD) << (log_codeword - 1)
}

/// A matrix on a GPU.
pub struct Matrix {
    encoder: Arc<Encoder>,
    messages: Columns,
    /// If there is room for them; else they are made again.
    codewords: Option<Columns>,
}

impl Matrix {
    /// Commits to a matrix that stays on the GPU, of columns of these cells, if there is room for its messages at least beside
    /// so many bytes that are needed later. They are made a few at a time; columns that do not fit into their cells take words.
    pub fn commit<S: BulkHash>(
        encoder: &Arc<Encoder>,
        cells: &[Cell],
        make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
        cap_log: u32,
        later: Later,
    ) -> Result<Option<(Self, Tree<S>)>, Error> {
        let (machine, count) = (encoder.machine(), cells.len());
        let (log_message, log_codeword) = (encoder.log_message(), encoder.log_codeword());
        let (_, usable) = usable(&**machine)?;
        let all = Columns::memory(count, log_codeword);
        let mut cells = cells.to_vec();
        let (columns, held) = loop {
            let held = Columns::memory_of(&cells, log_message);
            if held + later.needed.max(committing(log_message, log_codeword)) > usable {
                return Ok(None);
            }
            let mut columns = Columns::new(machine, &cells, log_message)?;
            let large = fill(&mut columns, &cells, &make)?;
            if large.is_empty() {
                break (columns, held);
            }
            // Numbers that are larger than they are said to be.
            for column in large {
                cells[column] = Cell::Word;
            }
        };
        let keeps = held + all + later.better.max(hashing(log_codeword)) <= usable;
        let mut leaves = encoder.leaves(count)?;
        let codewords = if keeps {
            let codewords = columns.encode(encoder.code(), 0..count)?;
            leaves.absorb(&codewords, count)?;
            Some(Columns::of(machine, codewords, log_codeword))
        } else {
            for range in encoder.groups(count, encoder.reserved())? {
                let codewords = columns.encode(encoder.code(), range.clone())?;
                leaves.absorb(&codewords, range.len())?;
            }
            None
        };
        let matrix = Self { encoder: encoder.clone(), messages: columns, codewords };
        Ok(Some((matrix, leaves.tree(cap_log)?)))
    }

    /// What has encoded it.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The messages.
    pub fn messages(&self) -> &Columns {
        &self.messages
    }

    /// Number of columns.
    pub fn count(&self) -> usize {
        self.messages.count()
    }

    /// What every column is contracted to, see [`Slots::contract`].
    pub fn contracted(&self, slots: &Slots) -> Result<Vec<Vec<E>>, Error> {
        let fixed = columns::Slots::memory(slots.elements().count(), slots.len(), slots.tiles());
        let column = WORD * (slots.len() * VECTORS * LANES) as u64;
        let machine = self.encoder.machine();
        let (free, usable) = usable(&**machine)?;
        let at_once = usable.saturating_sub(fixed) / column.max(1);
        if at_once == 0 {
            return Err(refused(&**machine, fixed + column, free));
        }
        let there = self::slots(machine, slots)?;
        let mut all = Vec::with_capacity(self.count());
        let mut vectors: Vec<B> = Vec::new();
        for range in groups(self.count(), usize::try_from(at_once).unwrap_or(usize::MAX)) {
            vectors.resize(range.len() * slots.len() * VECTORS, bytemuck::Zeroable::zeroed());
            self.messages.contract(&there, range.clone())?.read(0, bytemuck::cast_slice_mut(&mut vectors))?;
            let mut sums = vectors.as_chunks::<VECTORS>().0.iter().map(|&sum| E::from_packed_m31s(sum));
            all.extend(range.map(|_| sums.by_ref().take(slots.len()).collect::<Vec<E>>()));
        }
        Ok(all)
    }

    /// `sum weight column` over all columns.
    pub fn combined(&self, weights: &[QM31]) -> Result<Vec<E>, Error> {
        let sums = self.add(weights, None)?;
        let mut coordinates: Vec<B> = vec![bytemuck::Zeroable::zeroed(); sums.len() / LANES];
        sums.read(0, bytemuck::cast_slice_mut(&mut coordinates))?;
        let rows = coordinates.len() / VECTORS;
        let row = |row| E::from_packed_m31s(std::array::from_fn(|c| coordinates[c * rows + row]));
        Ok((0..rows).map(row).collect())
    }

    /// The same, added to a sum if there is one, where it is.
    pub fn add(&self, weights: &[QM31], sum: Option<Buffer>) -> Result<Buffer, Error> {
        let weights: Vec<[u32; 4]> = weights[..self.count()].iter().copied().map(words).collect();
        self.messages.combine(&weights, sum)
    }

    /// Weighted sums of the rows of matrices of numbers that lie in these cells, of all columns one after the other.
    pub fn over_rows(&self, cells: Range<usize>, width: usize, weights: &[QM31]) -> Result<Vec<QM31>, Error> {
        let weights: Vec<[u32; 4]> = weights.iter().copied().map(words).collect();
        Ok(self.messages.over_rows(cells, width, &weights)?.into_iter().map(element).collect())
    }

    /// The rows of codewords with these indices.
    pub fn rows(&self, indices: &[u32]) -> Result<BTreeMap<u32, Vec<M31>>, Error> {
        let mut rows: BTreeMap<u32, Vec<M31>> = indices.iter().map(|&index| (index, Vec::new())).collect();
        let mut extend = |columns: &Columns| {
            let cells = columns.gather(indices)?;
            for (index, cells) in indices.iter().zip(cells.chunks_exact(columns.count())) {
                let cells = cells.iter().map(|&cell| M31::reduce(cell.into()));
                rows.entry(*index).or_default().extend(cells);
            }
            Ok(())
        };
        if let Some(codewords) = &self.codewords {
            extend(codewords)?;
        } else {
            let encoder = &self.encoder;
            for range in encoder.groups(self.count(), 0)? {
                let codewords = self.messages.encode(encoder.code(), range)?;
                extend(&Columns::of(encoder.machine(), codewords, encoder.log_codeword()))?;
            }
        }
        Ok(rows)
    }
}

/// Writes all columns, in groups that are packed by all threads, while the next group is made; ends where columns do not fit
/// into their cells, and gives these.
fn fill(
    columns: &mut Columns,
    cells: &[Cell],
    make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
) -> Result<Vec<usize>, Error> {
    let made = |range: Range<usize>| (range.clone(), make(range));
    let mut groups = matrix::groups(cells.len());
    let mut group = groups.next().map(made);
    while let Some((range, messages)) = group {
        let following = groups.next();
        let (large, next) = rayon::join(
            || write(columns, range.clone(), &cells[range.clone()], &messages),
            || following.map(made),
        );
        let large = large?;
        if !large.is_empty() {
            return Ok(large);
        }
        group = next;
    }
    Ok(Vec::new())
}

/// Writes some columns; if there are some that do not fit into their cells nothing is written, and these are given.
fn write(
    columns: &mut Columns,
    range: Range<usize>,
    cells: &[Cell],
    messages: &[Vec<B>],
) -> Result<Vec<usize>, Error> {
    let columns_of = cells.par_iter().zip(messages);
    let packed: Vec<Option<Packed<'_>>> =
        columns_of.map(|(cell, message)| cell.pack(bytemuck::cast_slice(message))).collect();
    let large = range.clone().zip(&packed).filter(|(_, packed)| packed.is_none());
    let large: Vec<usize> = large.map(|(column, _)| column).collect();
    if large.is_empty() {
        for (column, packed) in range.zip(packed.iter().flatten()) {
            columns.write(column, packed)?;
        }
    }
    Ok(large)
}

/// Slots on a GPU.
pub fn slots(machine: &Arc<dyn Machine>, slots: &Slots) -> Result<columns::Slots, Error> {
    let there = slots.all().map(|(tile, slot)| Slot { tile, pattern: slot.pattern, step: slot.step });
    let patterns: Vec<[u32; 4]> = slots.elements().map(words).collect();
    columns::Slots::new(machine, slots.log_run(), &patterns, slots.tiles(), &there.collect::<Vec<_>>())
}

/// Coordinates of an element, each in a vector.
const VECTORS: usize = 4;
