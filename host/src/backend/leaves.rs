//! The leaves of the fraction tree, computed from columns whenever they are needed.

use std::ops::Range;

use circlet_core::field::{M31, P, QM31};
use rayon::prelude::*;

use super::field::{B, E, Ext, LANES, pack, pack_base, unpack};
use super::fractions::Fractions;
use super::gpu::matrix::Matrix;
use super::lazy::{Factor, add_scaled, times};
use super::runs::{Runs, Values};

/// Numbers of which leaves are made.
pub enum Numbers<'a> {
    /// A column of narrow numbers.
    Narrow(&'a [i16]),
    /// A column.
    Wide(&'a [i32]),
    /// Values of a form.
    Owned(Vec<i32>),
}

/// Where cells lie on a GPU too.
#[derive(Clone)]
pub struct There<'a> {
    /// The matrix.
    pub matrix: &'a Matrix,
    /// Which cells, of all its columns one after the other.
    pub cells: Range<usize>,
}

/// A part of denominators.
pub struct Term<'a> {
    /// How many times the numbers count.
    pub factor: QM31,
    /// The numbers.
    pub numbers: Numbers<'a>,
    /// Where they lie on a GPU, if they do.
    pub there: Option<There<'a>>,
}

impl<'a> Term<'a> {
    /// Numbers that lie on no GPU.
    pub fn new(factor: QM31, numbers: Numbers<'a>) -> Self {
        Self { factor, numbers, there: None }
    }
}

/// What numerators are minus of.
pub struct Counts<'a> {
    /// The numbers.
    pub numbers: &'a [i32],
    /// Where they lie on a GPU, if they do: as words.
    pub there: Option<There<'a>>,
}

impl<'a> From<&'a [i32]> for Counts<'a> {
    /// Numbers that lie on no GPU.
    fn from(numbers: &'a [i32]) -> Self {
        Self { numbers, there: None }
    }
}

/// A block of leaves, in whole vectors.
pub enum Block<'a> {
    /// Denominators `constant + sum_k factor_k numbers_k`.
    Forms {
        /// In all of them.
        constant: QM31,
        /// Factors and numbers.
        terms: Vec<Term<'a>>,
        /// Numerators are minus these, or one.
        counts: Option<Counts<'a>>,
    },
    /// What they are.
    Given {
        /// Numerators, of the base field.
        p: Vec<E>,
        /// Denominators.
        q: Vec<E>,
    },
}

/// All leaves; behind them fractions `0 / 1` up to a power of two.
pub struct Leaves<'a> {
    /// Blocks and the vectors behind them.
    blocks: Vec<(usize, Block<'a>)>,
    /// Log of the number of leaves.
    depth: u32,
}

impl<'a> Leaves<'a> {
    /// A tree of so many layers.
    pub fn new(depth: u32) -> Self {
        Self { blocks: Vec::new(), depth }
    }

    /// Appends leaves with denominators `constant + sum_k factor_k numbers_k`, at least a vector of them. The
    /// numerators are minus the counts, or one.
    pub fn push(&mut self, constant: QM31, terms: Vec<Term<'a>>, counts: Option<Counts<'a>>, len: usize) {
        debug_assert!(len.is_multiple_of(LANES));
        let end = self.used() + len / LANES;
        self.blocks.push((end, Block::Forms { constant, terms, counts }));
    }

    /// Appends the last leaves. Numerators are of the base field.
    pub fn push_given(&mut self, mut p: Vec<QM31>, mut q: Vec<QM31>) {
        let len = q.len().next_multiple_of(LANES);
        p.resize(len, QM31::ZERO);
        q.resize(len, QM31::ONE);
        let end = self.used() + len / LANES;
        self.blocks.push((end, Block::Given { p: pack(&p), q: pack(&q) }));
    }

    /// Log of the number of leaves.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Blocks and the vectors behind them; behind the last one there are only fractions `0 / 1`.
    pub fn blocks(&self) -> &[(usize, Block<'a>)] {
        &self.blocks
    }

    /// Vectors before those that hold only `0 / 1`.
    pub fn used(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.0)
    }

    /// Number of vectors.
    pub fn vectors(&self) -> usize {
        (1usize << self.depth) / LANES
    }

    /// Whether the tree is so large that its lowest layers are better computed than stored.
    pub fn are_many(&self) -> bool {
        self.depth >= 8
    }

    /// Leaves of a small tree.
    pub fn stored(&self) -> Fractions {
        let vectors = self.vectors().max(1);
        let [mut p, mut q] = [(); 2].map(|()| vec![E::splat(QM31::ZERO); vectors]);
        self.numerators(0, &mut p);
        self.combine(0, &mut q, QM31::ONE, false);
        let [mut p, mut q] = [p, q].map(|vectors| unpack(&vectors));
        p.truncate(1 << self.depth);
        q.truncate(1 << self.depth);
        Fractions::new(p, q)
    }

    /// The parts of blocks in a range: the block, the vectors in it, and the vectors in the range.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (&Block<'a>, Range<usize>, Range<usize>)> {
        let first = self.blocks.partition_point(|block| block.0 <= range.start);
        let start = if first == 0 { 0 } else { self.blocks[first - 1].0 };
        let blocks = self.blocks[first..]
            .iter()
            .scan(start, |start, (end, block)| Some((block, std::mem::replace(start, *end)..*end)));
        let Range { start: from, end: to } = range;
        blocks.take_while(move |(_, own)| own.start < to).map(move |(block, own)| {
            let (start, end) = (own.start.max(from), own.end.min(to));
            (block, start - own.start..end - own.start, start - from..end - from)
        })
    }

    /// Whether all numerators of a range are one.
    pub fn are_ones(&self, range: Range<usize>) -> bool {
        range.end <= self.used()
            && self.parts(range).all(|(block, ..)| matches!(block, Block::Forms { counts: None, .. }))
    }

    /// `scale q`, with the numerators added or without, from a vector on.
    pub fn combine(&self, at: usize, out: &mut [E], scale: QM31, numerators: bool) {
        let used = self.used().saturating_sub(at).min(out.len());
        out[used..].fill(E::splat(scale));
        for (block, own, place) in self.parts(at..at + used) {
            let out = &mut out[place];
            match block {
                Block::Forms { constant, terms, counts } => {
                    let ones = if numerators && counts.is_none() { QM31::ONE } else { QM31::ZERO };
                    out.fill(E::splat(scale * *constant + ones));
                    for Term { factor, numbers, .. } in terms {
                        numbers.add_to(out, own.clone(), &Factor::new(scale * *factor));
                    }
                    if let (Some(counts), true) = (counts, numerators) {
                        for (out, cells) in out.iter_mut().zip(vectors_of(counts.numbers, own)) {
                            *out = *out - pack_base(cells);
                        }
                    }
                }
                Block::Given { p, q } => {
                    let scale = Factor::new(scale);
                    for (out, i) in out.iter_mut().zip(own) {
                        *out = times(q[i], &scale);
                        if numerators {
                            *out += p[i];
                        }
                    }
                }
            }
        }
    }

    /// The numerators from a vector on.
    pub fn numerators(&self, at: usize, out: &mut [E]) {
        out.fill(E::splat(QM31::ZERO));
        for (block, own, place) in self.parts(at..at + out.len()) {
            for (out, i) in out[place].iter_mut().zip(own) {
                *out = block.numerator(i);
            }
        }
    }

    /// The same, as runs.
    pub fn runs(&self, range: Range<usize>) -> Runs {
        let (len, mut runs) = (range.len(), Runs::default());
        for (block, own, _) in self.parts(range) {
            let values = match block {
                Block::Forms { counts: None, .. } => Values::Same(QM31::ONE),
                _ => Values::Each(own.clone().map(|i| block.numerator(i)).collect()),
            };
            runs.push(own.len(), values);
        }
        runs.push(len - runs.len(), Values::Same(QM31::ZERO));
        runs
    }
}

impl Block<'_> {
    fn numerator(&self, i: usize) -> E {
        match self {
            Self::Forms { counts: None, .. } => E::splat(QM31::ONE),
            Self::Forms { counts: Some(counts), .. } => {
                E::splat(QM31::ZERO) - pack_base(&counts.numbers[i * LANES..][..LANES])
            }
            Self::Given { p, .. } => p[i],
        }
    }
}

/// The vectors of a range.
fn vectors_of<T>(cells: &[T], range: Range<usize>) -> std::slice::ChunksExact<'_, T> {
    cells[range.start * LANES..range.end * LANES].chunks_exact(LANES)
}

impl Numbers<'_> {
    /// Values of a form, modulo `P`.
    pub fn of_form(values: &[i64]) -> Self {
        let residue = |&value: &i64| {
            let residue = M31::from_i64(value).value();
            debug_assert!(residue < P);
            residue as i32
        };
        Self::Owned(values.par_iter().with_min_len(1 << 14).map(residue).collect())
    }

    /// A number.
    pub fn at(&self, i: usize) -> QM31 {
        QM31::from_i64(match self {
            Self::Narrow(cells) => cells[i].into(),
            Self::Wide(cells) => cells[i].into(),
            Self::Owned(cells) => cells[i].into(),
        })
    }

    /// Adds so many times the numbers of a range of vectors.
    #[inline(always)]
    fn add_to(&self, out: &mut [E], range: Range<usize>, factor: &Factor) {
        let add = |out: &mut [E], cells: std::slice::ChunksExact<'_, i32>| {
            for (out, cells) in out.iter_mut().zip(cells) {
                *out = add_scaled(*out, pack_base(cells), factor);
            }
        };
        match self {
            Self::Narrow(cells) => {
                for (out, cells) in out.iter_mut().zip(vectors_of(cells, range)) {
                    *out = add_scaled(*out, pack_narrow(cells), factor);
                }
            }
            Self::Wide(cells) => add(out, vectors_of(cells, range)),
            Self::Owned(cells) => add(out, vectors_of(cells, range)),
        }
    }
}

fn pack_narrow(cells: &[i16]) -> B {
    let mut lanes = [0; LANES];
    for (lane, &cell) in lanes.iter_mut().zip(cells) {
        *lane = cell.into();
    }
    pack_base(&lanes)
}
