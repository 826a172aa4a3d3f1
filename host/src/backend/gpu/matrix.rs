//! Matrices that stay on GPUs between forms: their messages, and their codewords too where there is room.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::circuit::Tree as Which;
use circlet_core::field::{M31, QM31};
use circlet_core::protocol::Protocol;
use circlet_cuda::columns::{self, Cell, Columns, Packed, Slot};
use circlet_cuda::merkle::DIGEST;
use circlet_cuda::{Buffer, Error, Machine};
use rayon::prelude::*;

use super::encode::Encoder;
use super::ring;
use super::split::Split;
use super::{WORD, element, fold, fractions, groups, products, refused, stack, usable, words};
use crate::backend::field::{B, E, LANES};
use crate::backend::matrix;
use crate::backend::merkle::{BLOCK, BulkHash, Tree};
use crate::backend::slots::Slots;

/// What needs memory after the matrix of a tree is committed to.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    which: Which,
    /// Columns of the matrices of all trees.
    columns: [usize; 4],
    log_rows: u32,
    log_codeword: u32,
    /// Log of the number of fractions of the lookups.
    log_fractions: u32,
    /// Bytes for the relations' rounds.
    products: u64,
}

impl Later {
    /// After the matrix of a tree.
    pub fn new(protocol: &Protocol, which: Which) -> Self {
        Self {
            which,
            columns: protocol.stacking.matrix_columns,
            log_rows: protocol.stacking.log_rows,
            log_codeword: protocol.codeword_log(),
            log_fractions: protocol.sizes().gkr_log,
            products: products::reserved(&protocol.reduction),
        }
    }

    /// Bytes for the matrices of the trees that come after it, as much of them as a GPU has.
    fn others(&self, split: Split, part: usize) -> u64 {
        let [_, others @ ..] = self.columns;
        let held = |columns| {
            let own = split.count(part, columns);
            Columns::memory(own, self.log_rows) + Columns::memory(own, self.log_codeword)
        };
        if self.which == Which::Fixed { others.into_iter().map(held).sum() } else { 0 }
    }

    /// Bytes for what takes most of all that is computed then.
    fn most(&self, split: Split, part: usize) -> u64 {
        let lookups = fractions::memory(self.log_fractions, split.parts());
        // One has the rounds over rows.
        let rows = if part == 0 { fold::Rows::memory(self.log_rows, self.log_codeword) } else { 0 };
        lookups.max(rows).max(committing(self.log_rows, self.log_codeword))
    }

    /// Bytes that must be left on a GPU.
    pub fn needed(&self, split: Split, part: usize) -> u64 {
        self.most(split, part) + self.others(split, part)
    }

    /// The same with room for the relations' rounds, and for rounds over columns, which the processor has where there is none:
    /// rather than codewords.
    pub fn better(&self, split: Split, part: usize) -> u64 {
        let all = self.columns.map(|columns| split.count(part, columns)).into_iter().sum();
        let columns = stack::reserved(all, split, self.log_rows);
        // One has the relations' rounds.
        let products = if part == 0 { self.products } else { 0 };
        self.most(split, part).max(columns).max(products) + self.others(split, part)
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

/// The columns that one GPU has of a matrix.
pub struct Part {
    encoder: Arc<Encoder>,
    messages: Columns,
    /// If there is room for them; else they are made again.
    codewords: Option<Columns>,
}

/// A matrix on GPUs.
pub struct Matrix {
    split: Split,
    count: usize,
    parts: Vec<Part>,
}

impl Matrix {
    /// Commits to a matrix that stays on the GPUs, a power of two of them, of columns of these cells, if there is room for its
    /// messages at least beside what is needed later. They are made a few at a time; columns that do not fit into their cells
    /// take words.
    pub fn commit<S: BulkHash>(
        encoders: &[Arc<Encoder>],
        cells: &[Cell],
        make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
        cap_log: u32,
        later: Later,
    ) -> Result<Option<(Self, Tree<S>)>, Error> {
        let (split, count) = (Split::new(encoders.len()), cells.len());
        let mut cells = cells.to_vec();
        let (mut parts, keeps) = loop {
            let Some((mut parts, keeps)) = room(encoders, split, &cells, later)? else { return Ok(None) };
            let large = fill(&mut parts, split, &cells, &make)?;
            if large.is_empty() {
                break (parts, keeps);
            }
            // Numbers that are larger than they are said to be.
            for column in large {
                cells[column] = Cell::Word;
            }
        };
        let tree = ring::hash(&mut parts, &keeps, split, count, cap_log)?;
        Ok(Some((Self { split, count, parts }, tree)))
    }

    /// How its columns are dealt.
    pub fn split(&self) -> Split {
        self.split
    }

    /// What each GPU has of it.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Number of columns.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What every column is contracted to, see [`Slots::contract`].
    pub fn contracted(&self, slots: &Slots) -> Result<Vec<Vec<E>>, Error> {
        let parts: Result<Vec<_>, Error> = self.parts.par_iter().map(|part| part.contracted(slots)).collect();
        Ok(self.in_order(parts?))
    }

    /// What parts have of their columns, in the order of all columns.
    fn in_order<T>(&self, parts: Vec<Vec<T>>) -> Vec<T> {
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        (0..self.count).filter_map(|column| parts[self.split.place(column).0].next()).collect()
    }

    /// `sum weight column` over all columns.
    pub fn combined(&self, weights: &[QM31]) -> Result<Vec<E>, Error> {
        let mut sums = self.parts.iter().map(|_| None).collect::<Vec<_>>();
        self.add(weights, &mut sums)?;
        let first = &self.parts[0].encoder;
        let Some(sums) = gathered(first, sums)? else { return Ok(Vec::new()) };
        let mut coordinates: Vec<B> = vec![bytemuck::Zeroable::zeroed(); sums.len() / LANES];
        sums.read(0, bytemuck::cast_slice_mut(&mut coordinates))?;
        let rows = coordinates.len() / VECTORS;
        let row = |row| E::from_packed_m31s(std::array::from_fn(|c| coordinates[c * rows + row]));
        Ok((0..rows).map(row).collect())
    }

    /// The same in a sum for each GPU, over its own columns, added to what is there.
    pub fn add(&self, weights: &[QM31], sums: &mut [Option<Buffer>]) -> Result<(), Error> {
        for (k, (part, sum)) in self.parts.iter().zip(sums).enumerate() {
            let own = self.split.columns(k, self.count).map(|column| words(weights[column]));
            let own: Vec<[u32; 4]> = own.collect();
            if !own.is_empty() {
                *sum = Some(part.messages.combine(&own, sum.take())?);
            }
        }
        Ok(())
    }

    /// Cells of all columns one after the other, if they lie together on the first GPU: its columns, and which cells of them.
    pub fn on_first(&self, cells: Range<usize>) -> Option<(&Columns, Range<usize>)> {
        let (stretch, part, own) = self.stretches(cells.clone()).next()?;
        (stretch == cells && part == 0).then(|| (&self.parts[0].messages, own..own + cells.len()))
    }

    /// Whether matrices of so many columns of numbers that lie in these cells can be summed where they are.
    pub fn sums(&self, cells: &Range<usize>, width: usize) -> bool {
        self.stretches(cells.clone()).all(|(stretch, part, own)| {
            let whole = |at: usize| (at - cells.start).is_multiple_of(width);
            whole(stretch.start)
                && whole(stretch.end)
                && self.parts[part].messages.alike(&(own..own + stretch.len()))
        })
    }

    /// Weighted sums of the rows of matrices of numbers that lie in these cells ([`Self::sums`]), of all columns one after the
    /// other.
    pub fn over_rows(&self, cells: Range<usize>, width: usize, weights: &[QM31]) -> Result<Vec<QM31>, Error> {
        let (size, rows) = (width * weights.len(), weights.iter().copied().map(words).collect::<Vec<_>>());
        let mut sums = vec![QM31::ZERO; cells.len() / weights.len()];
        // Stretches end between matrices or lie within one.
        let of = |(stretch, part, own): (Range<usize>, usize, usize)| {
            let (at, len) = (stretch.start - cells.start, stretch.len());
            let first = at % size / width;
            let rows = &rows[first..rows.len().min(first + len / width)];
            let found = self.parts[part].messages.over_rows(own..own + len, width, rows)?;
            Ok((at / size * width, found))
        };
        let stretches: Vec<_> = self.stretches(cells.clone()).collect();
        let found: Result<Vec<_>, Error> = stretches.into_par_iter().map(of).collect();
        for (at, found) in found? {
            for (sum, found) in sums[at..].iter_mut().zip(found) {
                *sum += element(found);
            }
        }
        Ok(sums)
    }

    /// Cells of all columns one after the other, in stretches that lie on one GPU: each with its number, and with where it
    /// begins among the cells that are there.
    pub fn stretches(&self, cells: Range<usize>) -> impl Iterator<Item = (Range<usize>, usize, usize)> {
        self.split.stretches(cells, self.parts[0].encoder.log_message())
    }

    /// The rows of codewords with these indices.
    pub fn rows(&self, indices: &[u32]) -> Result<BTreeMap<u32, Vec<M31>>, Error> {
        let parts: Result<Vec<_>, Error> = self.parts.par_iter().map(|part| part.rows(indices)).collect();
        let mut parts: Vec<_> = parts?.into_iter().map(Vec::into_iter).collect();
        let row = |&index: &u32| {
            let own = parts.iter_mut().map(|rows| rows.next().unwrap_or_default()).collect();
            (index, self.in_order(own))
        };
        Ok(indices.iter().map(row).collect())
    }
}

impl Part {
    /// What has encoded it.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The messages.
    pub fn messages(&self) -> &Columns {
        &self.messages
    }

    /// Keeps the codewords of all columns.
    pub fn keep(&mut self, codewords: Buffer) {
        let log = self.encoder.log_codeword();
        self.codewords = Some(Columns::of(self.encoder.machine(), codewords, log));
    }

    fn contracted(&self, slots: &Slots) -> Result<Vec<Vec<E>>, Error> {
        let count = self.messages.count();
        let fixed = columns::Slots::memory(slots.elements().count(), slots.len(), slots.tiles());
        let column = WORD * (slots.len() * VECTORS * LANES) as u64;
        let machine = self.encoder.machine();
        let (free, usable) = usable(&**machine)?;
        let at_once = usable.saturating_sub(fixed) / column.max(1);
        if at_once == 0 {
            return Err(refused(&**machine, fixed + column, free));
        }
        let there = self::slots(machine, slots)?;
        let mut all = Vec::with_capacity(count);
        let mut vectors: Vec<B> = Vec::new();
        for range in groups(count, usize::try_from(at_once).unwrap_or(usize::MAX)) {
            vectors.resize(range.len() * slots.len() * VECTORS, bytemuck::Zeroable::zeroed());
            self.messages.contract(&there, range.clone())?.read(0, bytemuck::cast_slice_mut(&mut vectors))?;
            let mut sums = vectors.as_chunks::<VECTORS>().0.iter().map(|&sum| E::from_packed_m31s(sum));
            all.extend(range.map(|_| sums.by_ref().take(slots.len()).collect::<Vec<E>>()));
        }
        Ok(all)
    }

    /// Of its columns, in order, the cells in each of the rows with these indices.
    fn rows(&self, indices: &[u32]) -> Result<Vec<Vec<M31>>, Error> {
        let mut rows = vec![Vec::new(); indices.len()];
        let mut extend = |columns: &Columns| {
            let cells = columns.gather(indices)?;
            for (row, cells) in rows.iter_mut().zip(cells.chunks_exact(columns.count().max(1))) {
                row.extend(cells.iter().map(|&cell| M31::reduce(cell.into())));
            }
            Ok(())
        };
        if let Some(codewords) = &self.codewords {
            extend(codewords)?;
        } else {
            let encoder = &self.encoder;
            for range in encoder.groups(self.messages.count(), 0)? {
                let codewords = self.messages.encode(encoder.code(), range)?;
                extend(&Columns::of(encoder.machine(), codewords, encoder.log_codeword()))?;
            }
        }
        Ok(rows)
    }
}

/// What GPUs are to have of a matrix, and which of them have room for codewords too.
type Room = (Vec<Part>, Vec<bool>);

/// Room for columns of these cells; none, if there is not enough.
fn room(
    encoders: &[Arc<Encoder>],
    split: Split,
    cells: &[Cell],
    later: Later,
) -> Result<Option<Room>, Error> {
    let (mut plan, mut keeps) = (Vec::new(), Vec::new());
    for (part, encoder) in encoders.iter().enumerate() {
        let own: Vec<Cell> = split.columns(part, cells.len()).map(|column| cells[column]).collect();
        let (log_message, log_codeword) = (encoder.log_message(), encoder.log_codeword());
        let (_, usable) = usable(&**encoder.machine())?;
        let held = Columns::memory_of(&own, log_message);
        let needed = later.needed(split, part).max(committing(log_message, log_codeword));
        if held + needed > usable {
            return Ok(None);
        }
        let better = later.better(split, part).max(hashing(log_codeword));
        keeps.push(held + Columns::memory(own.len(), log_codeword) + better <= usable);
        plan.push((encoder, own));
    }
    let part = |(encoder, own): (&Arc<Encoder>, Vec<Cell>)| {
        let messages = Columns::new(encoder.machine(), &own, encoder.log_message())?;
        Ok(Part { encoder: encoder.clone(), messages, codewords: None })
    };
    let parts: Result<Vec<Part>, Error> = plan.into_iter().map(part).collect();
    Ok(Some((parts?, keeps)))
}

/// Writes all columns, in groups that are packed by all threads, while the next group is made; ends where columns do not fit
/// into their cells, and gives these.
fn fill(
    parts: &mut [Part],
    split: Split,
    cells: &[Cell],
    make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
) -> Result<Vec<usize>, Error> {
    let made = |range: Range<usize>| (range.clone(), make(range));
    let mut groups = matrix::groups(cells.len());
    let mut group = groups.next().map(made);
    while let Some((range, messages)) = group {
        let following = groups.next();
        let (large, next) = rayon::join(
            || write(parts, split, range.clone(), &cells[range.clone()], &messages),
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
    parts: &mut [Part],
    split: Split,
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
            let (part, own) = split.place(column);
            parts[part].messages.write(own, packed)?;
        }
    }
    Ok(large)
}

/// The sum of what GPUs have summed up over all rows, on the one that has an encoder; none, if there is nothing.
pub fn gathered(encoder: &Encoder, sums: Vec<Option<Buffer>>) -> Result<Option<Buffer>, Error> {
    // Coordinates of an element times these are the element.
    let basis: [[u32; 4]; 4] = std::array::from_fn(|k| std::array::from_fn(|c| u32::from(c == k)));
    let mut sums = sums.into_iter();
    let mut all = sums.next().flatten();
    for sum in sums.flatten() {
        let mut there = Buffer::new(encoder.machine(), sum.len())?;
        there.receive(0, &sum, 0, sum.len())?;
        drop(sum);
        all = Some(match all {
            None => there,
            all => Columns::of(encoder.machine(), there, encoder.log_message()).combine(&basis, all)?,
        });
    }
    Ok(all)
}

// A run for each lane of a vector.
const _: () = assert!(columns::RUNS == LANES);

/// Slots on a GPU.
pub fn slots(machine: &Arc<dyn Machine>, slots: &Slots) -> Result<columns::Slots, Error> {
    let there = slots.all().map(|(tile, slot)| Slot { tile, pattern: slot.pattern, step: slot.step });
    let patterns: Vec<[u32; 4]> = slots.elements().map(words).collect();
    columns::Slots::new(machine, slots.log_run(), &patterns, slots.tiles(), &there.collect::<Vec<_>>())
}

/// Coordinates of an element, each in a vector.
const VECTORS: usize = 4;
