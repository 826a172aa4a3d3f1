//! The rounds of the opening over columns on a machine: contracted columns and the weights on them (`kernels/stack.cu`).

use std::ops::Range;
use std::sync::Arc;

use crate::columns::{Columns, RUNS, Slots};
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{BLOCKS, EXTENSION, Element, WIDTH, sum};

pub(crate) static FAMILY: Family = Family { name: "stack", ptx: include_str!("../ptx/stack.ptx") };

static JOIN: Kernel = FAMILY.kernel("stack_join");
static CLEAR: Kernel = FAMILY.kernel("stack_clear");
static WEIGH: Kernel = FAMILY.kernel("stack_weigh");
static OWN: Kernel = FAMILY.kernel("stack_own");

/// In place of what is not there.
const NONE: u32 = u32::MAX;

/// Words of a slot.
const SLOT: usize = EXTENSION * RUNS;

/// Runs of a tree on which there are weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first run.
    pub first: u32,
    /// How many there are.
    pub runs: u32,
    /// The products that are these weights, added up.
    pub products: Range<u32>,
}

/// Weights on a span: that of run `t n + i` is the coefficient times outer weight `t` times inner weight `i`, of `n`, and
/// counts with the pattern of that inner weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Where its outer weights begin.
    pub outer: u32,
    /// Where its inner weights begin.
    pub inner: u32,
    /// Log of the number of inner weights.
    pub log_inner: u32,
    /// Their common factor.
    pub coefficient: Element,
}

/// What weights are made of.
#[derive(Debug)]
pub struct Factors {
    outer: Buffer,
    inner: Buffer,
    pattern_of: Buffer,
    slot_of: Buffer,
    tiles: usize,
    patterns: usize,
    slots: usize,
}

impl Factors {
    /// Outer weights, and inner ones with the pattern of each. For each tile there are the slots of all patterns, of `slots`
    /// in all; patterns that have no slot in a tile have no weight there.
    pub fn new(
        machine: &Arc<dyn Machine>,
        outer: &[Element],
        inner: &[(u32, Element)],
        slot_of: &[Vec<Option<u32>>],
        slots: usize,
    ) -> Result<Self, Error> {
        let patterns = slot_of.first().map_or(0, Vec::len);
        assert!(slot_of.iter().all(|tile| tile.len() == patterns), "tiles with other patterns");
        assert!(slot_of.iter().flatten().flatten().all(|&slot| (slot as usize) < slots), "no such slots");
        assert!(inner.iter().all(|&(pattern, _)| (pattern as usize) < patterns), "no such patterns");
        let buffer = |words: &[u32]| {
            let mut buffer = Buffer::new(machine, words.len())?;
            buffer.write(0, words)?;
            Ok(buffer)
        };
        let (pattern_of, inner): (Vec<u32>, Vec<Element>) = inner.iter().copied().unzip();
        let all: Vec<u32> = slot_of.iter().flatten().map(|slot| slot.unwrap_or(NONE)).collect();
        Ok(Self {
            outer: buffer(outer.as_flattened())?,
            inner: buffer(inner.as_flattened())?,
            pattern_of: buffer(&pattern_of)?,
            slot_of: buffer(&all)?,
            tiles: slot_of.len(),
            patterns,
            slots,
        })
    }

    /// Whether all of a product's weights are there, for so many runs.
    fn has(&self, product: &Product, runs: u32) -> bool {
        let inner = 1usize << product.log_inner.min(u32::BITS);
        product.inner as usize + inner <= self.inner.len() / EXTENSION
            && product.outer as usize + (runs as usize).div_ceil(inner) <= self.outer.len() / EXTENSION
    }
}

/// One side of a [`Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The column that changes.
    pub column: u32,
    /// If it changes: what it is multiplied with, the other column and what that is multiplied with.
    pub with: Option<(Element, u32, Element)>,
}

/// Two columns after what happens to them, or one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// One.
    pub a: Side,
    /// The other.
    pub b: Option<Side>,
}

impl Join {
    /// All columns that it reads.
    fn columns(&self) -> impl Iterator<Item = u32> {
        let both = [Some(self.a), self.b].into_iter().flatten();
        both.flat_map(|side| [Some(side.column), side.with.map(|with| with.1)]).flatten()
    }

    /// The columns that it changes.
    fn changed(&self) -> impl Iterator<Item = u32> {
        let both = [Some(self.a), self.b].into_iter().flatten();
        both.filter_map(|side| side.with.map(|_| side.column))
    }

    fn words(&self) -> ([u32; 4], [Element; 4]) {
        let mut columns = [NONE; 4];
        let mut factors = [[0; EXTENSION]; 4];
        for (k, side) in [Some(self.a), self.b].into_iter().enumerate() {
            let Some(side) = side else { continue };
            columns[2 * k] = side.column;
            if let Some((low, other, high)) = side.with {
                columns[2 * k + 1] = other;
                [factors[2 * k], factors[2 * k + 1]] = [low, high];
            }
        }
        (columns, factors)
    }
}

/// Makes the first words of a buffer zeros, in fours.
pub(crate) fn clear(machine: &Arc<dyn Machine>, buffer: &Buffer, fours: usize) -> Result<(), Error> {
    assert!(4 * fours <= buffer.len(), "words that there are not");
    if fours == 0 {
        return Ok(());
    }
    let arguments = [buffer.address(), Argument::Long(fours as u64)];
    // SAFETY: there are so many words.
    unsafe { machine.launch(&CLEAR, Grid::of(fours), &arguments) }
}

/// Contracted columns, and the weights on them.
#[derive(Debug)]
pub struct Stack {
    machine: Arc<dyn Machine>,
    columns: Buffer,
    weights: Buffer,
    count: usize,
    slots: usize,
}

impl Stack {
    /// Bytes of memory for so many columns of so many slots.
    pub fn memory(columns: usize, slots: usize) -> u64 {
        8 * (columns * slots * SLOT) as u64
    }

    /// So many columns of any value, with weights of zero.
    pub fn new(machine: &Arc<dyn Machine>, count: usize, slots: usize) -> Result<Self, Error> {
        let words = count * slots * SLOT;
        let (columns, weights) = (Buffer::new(machine, words)?, Buffer::new(machine, words)?);
        clear(machine, &weights, words / 4)?;
        Ok(Self { machine: machine.clone(), columns, weights, count, slots })
    }

    /// Contracts columns into those from `first` on.
    pub fn contract(&mut self, first: usize, columns: &Columns, slots: &Slots) -> Result<(), Error> {
        assert!(
            first + columns.count() <= self.count && slots.words() == self.slots * SLOT,
            "no such columns"
        );
        columns.contract_to(slots, 0..columns.count(), &self.columns, first * slots.words())
    }

    /// Adds weights to those on so many columns from `first` on, of `2^log_runs` runs each, in which spans of runs lie in
    /// increasing order.
    pub fn weigh(
        &mut self,
        (first, count): (usize, usize),
        log_runs: u32,
        factors: &Factors,
        spans: &[Span],
        products: &[Product],
    ) -> Result<(), Error> {
        let runs = count << log_runs;
        let ends = spans.iter().map(|span| span.first as usize + span.runs as usize);
        let next = spans.iter().skip(1).map(|span| span.first as usize).chain([runs]);
        assert!(ends.zip(next).all(|(end, next)| end <= next), "spans that are not in order");
        assert!(
            spans.iter().all(|span| {
                let own = products.get(span.products.start as usize..span.products.end as usize);
                own.is_some_and(|own| own.iter().all(|product| factors.has(product, span.runs)))
            }),
            "weights that there are not"
        );
        assert!(
            first + count <= self.count
                && factors.slots == self.slots
                && log_runs < u32::BITS
                && factors.tiles * RUNS == 1 << log_runs
                && u32::try_from(runs).is_ok(),
            "no such columns"
        );
        if spans.is_empty() {
            return Ok(());
        }
        let mut ranges = Buffer::new(&self.machine, 4 * spans.len())?;
        let words: Vec<u32> =
            spans.iter().flat_map(|s| [s.first, s.runs, s.products.start, s.products.end]).collect();
        ranges.write(0, &words)?;
        let mut own = Buffer::new(&self.machine, 8 * products.len())?;
        let words: Vec<[u32; 4]> =
            products.iter().flat_map(|p| [[p.outer, p.inner, p.log_inner, 0], p.coefficient]).collect();
        own.write(0, words.as_flattened())?;
        let arguments = [
            self.weights.address_of(first * self.slots * SLOT),
            ranges.address(),
            Argument::Word(spans.len() as u32),
            own.address(),
            factors.outer.address(),
            factors.inner.address(),
            factors.pattern_of.address(),
            factors.slot_of.address(),
            Argument::Word(factors.patterns as u32),
            Argument::Word(self.slots as u32),
            Argument::Word(log_runs),
            Argument::Word(runs as u32),
        ];
        // SAFETY: there are so many columns of so many slots, and all weights of all products, as was checked.
        unsafe { self.machine.launch(&WEIGH, Grid::of(runs), &arguments) }
    }

    /// Makes the weight of slots one: each with its column.
    pub fn own(&mut self, own: &[[u32; 2]]) -> Result<(), Error> {
        let there =
            |&[column, slot]: &[u32; 2]| (column as usize) < self.count && (slot as usize) < self.slots;
        assert!(own.iter().all(there), "no such slots");
        if own.is_empty() {
            return Ok(());
        }
        let mut places = Buffer::new(&self.machine, 2 * own.len())?;
        places.write(0, own.as_flattened())?;
        let count = own.len() * RUNS;
        let words = [self.slots, count].map(|word| Argument::Word(word as u32));
        let arguments = [self.weights.address(), places.address(), words[0], words[1]];
        // SAFETY: all these slots are there.
        unsafe { self.machine.launch(&OWN, Grid::of(count), &arguments) }
    }

    /// Joins columns, of which those that change are in no other join, and gives for every join the sum of a's column times b's weight and b's column
    /// times a's weight: zero without b.
    pub fn join(&mut self, joins: &[Join]) -> Result<Vec<Element>, Error> {
        assert!(joins.iter().flat_map(Join::columns).all(|c| (c as usize) < self.count), "no such columns");
        let mut changed: Vec<u32> = joins.iter().flat_map(Join::changed).collect();
        changed.sort_unstable();
        let read =
            joins.iter().flat_map(Join::columns).filter(|column| changed.binary_search(column).is_ok());
        assert!(read.count() == changed.len(), "a column that changes is read elsewhere");
        let all = self.slots * RUNS;
        let parts = ((BLOCKS * self.machine.multiprocessors()) as usize / joins.len().max(1))
            .clamp(1, all.div_ceil(1 << WIDTH).max(1));
        let mut sums = Vec::with_capacity(joins.len());
        for joins in joins.chunks(Grid::ROWS) {
            let (columns, factors): (Vec<[u32; 4]>, Vec<[Element; 4]>) =
                joins.iter().map(Join::words).unzip();
            let mut places = Buffer::new(&self.machine, 4 * joins.len())?;
            places.write(0, columns.as_flattened())?;
            let mut by = Buffer::new(&self.machine, 4 * EXTENSION * joins.len())?;
            by.write(0, factors.as_flattened().as_flattened())?;
            let out = Buffer::new(&self.machine, EXTENSION * parts * joins.len())?;
            let buffers = [&self.columns, &self.weights, &places, &by, &out].map(Buffer::address);
            let arguments = [&buffers[..], &[Argument::Word(self.slots as u32)]].concat();
            let grid = Grid { blocks: [parts as u32, joins.len() as u32, 1], threads: 1 << WIDTH, shared: 0 };
            // SAFETY: all columns are there, no two blocks change the same, and there is room for the sums of all blocks.
            unsafe { self.machine.launch(&JOIN, grid, &arguments)? }
            let mut found = vec![[0; EXTENSION]; parts * joins.len()];
            out.read(0, found.as_flattened_mut())?;
            sums.extend(found.chunks_exact(parts).map(sum));
        }
        Ok(sums)
    }

    /// Writes a column and its weight that another stack of the same slots has, of this machine or another.
    pub fn receive(&mut self, column: usize, other: &Self, at: usize) -> Result<(), Error> {
        assert!(column < self.count && at < other.count && self.slots == other.slots, "no such columns");
        let words = self.slots * SLOT;
        self.columns.receive(column * words, &other.columns, at * words, words)?;
        self.weights.receive(column * words, &other.weights, at * words, words)
    }

    /// The weight on a column: of each slot the first coordinates of all runs, then the second ones.
    pub fn weight(&self, column: usize) -> Result<Vec<u32>, Error> {
        let mut words = vec![0; self.slots * SLOT];
        self.weights.read(column * words.len(), &mut words)?;
        Ok(words)
    }

    /// The weight on a column, scaled, for each of its rows.
    pub fn expand(self, column: usize, slots: &Slots, scale: Element) -> Result<Buffer, Error> {
        assert!(column < self.count, "no such column");
        drop(self.columns);
        slots.expand(&self.weights, column * slots.words(), scale)
    }
}
