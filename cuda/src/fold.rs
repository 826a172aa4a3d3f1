//! The rounds of the opening over rows, and the codeword that is folded with them, on a machine (`kernels/fold.cu`).

use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::merkle::{self, DIGEST};
use crate::sums::{EXTENSION, Element, Sums, Total, WIDTH};

pub(crate) static FAMILY: Family = Family { name: "fold", ptx: include_str!("../ptx/fold.ptx") };

static SUM: Kernel = FAMILY.kernel("tables_sum");
static BIND: Kernel = FAMILY.kernel("tables_bind");
static JOIN: Kernel = FAMILY.kernel("word_join");
static FOLD: Kernel = FAMILY.kernel("word_fold");

/// Log of the number of neighbours that become one element of a folded word.
pub const ARITY: u32 = 4;

/// Entries that are left in tables at their end here.
pub const LAST: usize = 4 << WIDTH;

/// Two tables of as many elements, in the rounds of a sumcheck over the sum of their products, from the lowest coordinate up.
#[derive(Debug)]
pub struct Tables {
    /// Each with room for what it is bound to.
    pair: [[Buffer; 2]; 2],
    len: usize,
    total: Total,
}

impl Tables {
    /// Bytes of memory for tables of so many elements.
    pub fn memory(len: usize) -> u64 {
        12 * (EXTENSION * len) as u64
    }

    /// Tables of these elements, at least [`LAST`] in each.
    pub fn new(machine: &Arc<dyn Machine>, [a, b]: [Buffer; 2]) -> Result<Self, Error> {
        let len = a.len() / EXTENSION;
        assert!(len >= LAST && len.is_power_of_two() && b.len() == a.len(), "no such tables");
        let half = || Buffer::new(machine, EXTENSION * len / 2);
        let pair = [[a, half()?], [b, half()?]];
        Ok(Self { pair, len, total: Total::new(machine)? })
    }

    /// Elements that are left in each.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none are left, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sums of the first round.
    pub fn first(&self) -> Result<Sums, Error> {
        let [a, b] = self.pair.each_ref().map(|table| table[0].address());
        let pairs = self.len / 2;
        // SAFETY: there are so many pairs in both tables.
        unsafe { self.total.launch(&SUM, pairs >> WIDTH, &[a, b], &[Argument::Word(pairs as u32)])? }
        self.total.read()
    }

    /// Binds the lowest coordinate and gives the sums of the next round; more than [`LAST`] elements are left before.
    pub fn bind(&mut self, r: Element) -> Result<Sums, Error> {
        assert!(self.len > LAST, "few elements are bound elsewhere");
        let [[a, bound_a], [b, bound_b]] =
            self.pair.each_ref().map(|table| table.each_ref().map(Buffer::address));
        let pairs = self.len / 4;
        let after = [Argument::Word(pairs as u32), Argument::Element(r)];
        // SAFETY: there are twice so many pairs in both tables, and room for half of them.
        unsafe { self.total.launch(&BIND, pairs >> WIDTH, &[a, b, bound_a, bound_b], &after)? }
        self.pair.iter_mut().for_each(|table| table.swap(0, 1));
        self.len /= 2;
        self.total.read()
    }

    /// What is left.
    pub fn read(&self) -> Result<[Vec<Element>; 2], Error> {
        let mut tables = [(); 2].map(|()| vec![[0; EXTENSION]; self.len]);
        for (table, [from, _]) in tables.iter_mut().zip(&self.pair) {
            from.read(0, table.as_flattened_mut())?;
        }
        Ok(tables)
    }
}

/// What words of a code are folded by: inverse coordinates of pairs, level by level.
#[derive(Debug)]
pub struct Twiddles {
    inverses: Buffer,
    log: u32,
}

impl Twiddles {
    /// Inverse coordinates for the first levels of words of `2^log` elements, all pairs of a level one after the other.
    pub fn new<'a>(
        machine: &Arc<dyn Machine>,
        log: u32,
        levels: impl ExactSizeIterator<Item = &'a [u32]>,
    ) -> Result<Self, Error> {
        let mut inverses = Buffer::new(machine, Self::first(log, levels.len() as u32))?;
        for (level, inverse) in (0..).zip(levels) {
            let twice: Vec<u32> = inverse[..1 << (log - 1 - level)].iter().map(|&t| 2 * t).collect();
            inverses.write(Self::first(log, level), &twice)?;
        }
        Ok(Self { inverses, log })
    }

    /// Where a level's are.
    fn first(log: u32, level: u32) -> usize {
        (1 << log) - (1 << (log - level))
    }
}

/// The elements, a power of two of them, whose coordinates four arrays have, one after the other.
pub fn join(machine: &Arc<dyn Machine>, coordinates: &Buffer) -> Result<Buffer, Error> {
    let count = coordinates.len() / EXTENSION;
    assert!(count.is_power_of_two() && coordinates.len() == count * EXTENSION, "no four arrays");
    let elements = Buffer::new(machine, coordinates.len())?;
    let arguments = [coordinates.address(), elements.address(), Argument::Word(count as u32)];
    // SAFETY: there are so many coordinates of each kind, and room for so many elements.
    unsafe { machine.launch(&JOIN, Grid::of(count), &arguments)? }
    Ok(elements)
}

/// A word of elements of the extension.
#[derive(Debug)]
pub struct Word {
    machine: Arc<dyn Machine>,
    elements: Buffer,
    log: u32,
}

impl Word {
    /// The word whose coordinates four codewords are.
    pub fn of_codewords(machine: &Arc<dyn Machine>, codewords: &Buffer) -> Result<Self, Error> {
        let elements = join(machine, codewords)?;
        Ok(Self { machine: machine.clone(), log: (elements.len() / EXTENSION).ilog2(), elements })
    }

    /// Log of the number of elements.
    pub fn log(&self) -> u32 {
        self.log
    }

    /// The digests of all groups of sixteen elements, hashed from this state on.
    pub fn leaves(&self, begin: [u32; DIGEST]) -> Result<Buffer, Error> {
        merkle::hash_rows(&self.machine, &self.elements, EXTENSION << ARITY, begin)
    }

    /// The words of the groups with these indices.
    pub fn groups(&self, indices: &[u32]) -> Result<Vec<[u32; EXTENSION << ARITY]>, Error> {
        let words = merkle::gather_rows(&self.machine, &self.elements, EXTENSION << ARITY, indices)?;
        Ok(words.as_chunks().0.to_vec())
    }

    /// Folds each group to one element; of each challenge r, `(1 - r) / 2` and `r / 2`.
    pub fn fold(&self, twiddles: &Twiddles, factors: [[Element; 2]; ARITY as usize]) -> Result<Self, Error> {
        let level = twiddles.log - self.log;
        assert!(self.log >= ARITY && Twiddles::first(twiddles.log, level + ARITY) <= twiddles.inverses.len());
        let log = self.log - ARITY;
        let mut by = Buffer::new(&self.machine, factors.as_flattened().as_flattened().len())?;
        by.write(0, factors.as_flattened().as_flattened())?;
        let elements = Buffer::new(&self.machine, EXTENSION << log)?;
        let arguments = [
            self.elements.address(),
            elements.address(),
            twiddles.inverses.address_of(Twiddles::first(twiddles.log, level)),
            by.address(),
            Argument::Word(1 << (self.log - 1)),
            Argument::Word(1 << log),
        ];
        // SAFETY: there are so many groups, inverse coordinates of all pairs of four levels, as was just checked, and room.
        unsafe { self.machine.launch(&FOLD, Grid::of(1 << log), &arguments)? }
        Ok(Self { machine: self.machine.clone(), elements, log })
    }
}
