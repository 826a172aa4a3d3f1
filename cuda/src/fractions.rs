//! The fraction tree of the lookups and the sumchecks of its layers on a machine (`kernels/fractions.cu`).

use std::ops::Range;
use std::sync::Arc;

use crate::columns::{Cell, Columns};
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{EXTENSION, Element, Sums, Total, WIDTH};
use crate::transcript::{Round, Rounds, Sponge};

pub(crate) static FAMILY: Family = Family { name: "fractions", ptx: include_str!("../ptx/fractions.ptx") };

static FILL: Kernel = FAMILY.kernel("leaves_fill");
/// Of the numbers that cells hold.
static ADD: [Kernel; 3] =
    [FAMILY.kernel("leaves_add_bytes"), FAMILY.kernel("leaves_add_narrow"), FAMILY.kernel("leaves_add")];
static SUBTRACT: Kernel = FAMILY.kernel("leaves_subtract");
/// Each over children in the extension, and over leaves.
static ABOVE: [Kernel; 2] = [FAMILY.kernel("layer_above"), FAMILY.kernel("layer_above_leaves")];
static FIRST: [Kernel; 2] = [FAMILY.kernel("layer_first"), FAMILY.kernel("layer_first_leaves")];
static BIND: [Kernel; 2] = [FAMILY.kernel("layer_bind"), FAMILY.kernel("layer_bind_leaves")];
static BIND_NODES: Kernel = FAMILY.kernel("nodes_bind");
static GATHER: Kernel = FAMILY.kernel("nodes_gather");
static WEIGHTS: Kernel = FAMILY.kernel("weights");

/// Words of memory for numbers on their way to `2^log` leaves, which come a part at a time.
fn staged(log: u32) -> usize {
    1 << log.saturating_sub(2).min(24)
}

/// The log of the least number of fractions in a layer whose sumcheck is run here.
pub const LEAST: u32 = WIDTH + 3;

/// The log of the greatest.
pub const MOST: u32 = 30;

/// A node: `p0, q1, q0, last` with `last = p1 + lambda q1`, its summand `p0 q1 + q0 last`.
pub type Node = [Element; 4];

/// Words of a node.
const NODE: usize = 4 * EXTENSION;

/// Nodes that are left when a sumcheck is at its end here.
pub const LAST: usize = 2 << WIDTH;

/// The words as arguments.
fn numbers<const N: usize>(words: [usize; N]) -> [Argument; N] {
    words.map(|word| Argument::Word(word as u32))
}

/// A layer of `2^log` fractions: denominators, then numerators, which are of the base field in the leaves.
#[derive(Debug)]
pub struct Fractions {
    machine: Arc<dyn Machine>,
    words: Buffer,
    log: u32,
    leaves: bool,
}

/// Leaves that are being made.
#[derive(Debug)]
pub struct Leaves {
    fractions: Fractions,
    staged: Buffer,
}

/// Numbers that leaves are made of.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Of sixteen bits.
    Narrow(&'a [i16]),
    /// Of 32 bits.
    Wide(&'a [i32]),
}

impl Leaves {
    /// Bytes of memory for a tree over `2^log` leaves, and for all its sumchecks.
    pub fn memory(log: u32) -> u64 {
        let words = |count: usize| 4 * count as u64;
        let leaves = words(((EXTENSION + 1) << log) + staged(log));
        // All layers above are as large as one of so many fractions; the last sumcheck has the greatest weights.
        let above = words((2 * EXTENSION) << log);
        leaves
            + above
            + words(Weights::words(log.saturating_sub(2).max(WIDTH)))
            + words(Rounds::words(log as usize) + NODE * LAST)
    }

    /// Room for `2^log` leaves of any value; from [`LEAST`] to [`MOST`].
    pub fn new(machine: &Arc<dyn Machine>, log: u32) -> Result<Self, Error> {
        assert!((LEAST..=MOST).contains(&log), "no such layer");
        let fractions = Fractions {
            machine: machine.clone(),
            words: Buffer::new(machine, (EXTENSION + 1) << log)?,
            log,
            leaves: true,
        };
        Ok(Self { fractions, staged: Buffer::new(machine, staged(log))? })
    }

    /// `count` leaves from one on are `numerator / denominator`.
    pub fn fill(
        &mut self,
        first: usize,
        count: usize,
        numerator: u32,
        denominator: Element,
    ) -> Result<(), Error> {
        self.within(first, count);
        if count == 0 {
            return Ok(());
        }
        let [q, p] = self.fractions.addresses();
        let [first, words] = numbers([first, count]);
        let arguments = [q, p, first, words, Argument::Element(denominator), Argument::Word(numerator)];
        // SAFETY: there are so many leaves.
        unsafe { self.fractions.machine.launch(&FILL, Grid::of(count), &arguments) }
    }

    /// These leaves, from one on.
    pub fn write(&mut self, first: usize, numerators: &[u32], denominators: &[Element]) -> Result<(), Error> {
        assert_eq!(numerators.len(), denominators.len(), "half a fraction");
        self.within(first, numerators.len());
        let Fractions { words, log, .. } = &mut self.fractions;
        words.write(EXTENSION * first, denominators.as_flattened())?;
        words.write((EXTENSION << *log) + first, numerators)
    }

    /// Adds so many times each number to a denominator, from one on.
    pub fn add(&mut self, first: usize, numbers: Numbers<'_>, factor: Element) -> Result<(), Error> {
        match numbers {
            Numbers::Narrow(all) => {
                for (part, numbers) in all.chunks(2 * self.staged.len()).enumerate() {
                    self.staged.write_halves(0, numbers)?;
                    let place = first + part * 2 * self.staged.len();
                    self.add_at(Cell::Half, self.staged.address(), place, numbers.len(), factor)?;
                }
            }
            Numbers::Wide(all) => {
                for (part, numbers) in all.chunks(self.staged.len()).enumerate() {
                    self.staged.write(0, unsigned(numbers))?;
                    let place = first + part * self.staged.len();
                    self.add_at(Cell::Word, self.staged.address(), place, numbers.len(), factor)?;
                }
            }
        }
        Ok(())
    }

    /// The same with the numbers of some cells, of all columns one after the other.
    pub fn add_cells(
        &mut self,
        first: usize,
        columns: &Columns,
        cells: Range<usize>,
        factor: Element,
    ) -> Result<(), Error> {
        for (part, cell, from) in columns.cells(cells.clone()) {
            self.add_at(cell, from, first + part.start - cells.start, part.len(), factor)?;
        }
        Ok(())
    }

    /// Adds numbers that lie at an address, where there are so many of these cells.
    fn add_at(
        &self,
        cell: Cell,
        from: Argument,
        first: usize,
        count: usize,
        factor: Element,
    ) -> Result<(), Error> {
        self.within(first, count);
        let [q, _] = self.fractions.addresses();
        let [first, words] = numbers([first, count]);
        let arguments = [q, from, first, words, Argument::Element(factor)];
        // SAFETY: there are so many leaves, and so many numbers, as callers say.
        unsafe { self.fractions.machine.launch(&ADD[cell as usize], Grid::of(count), &arguments) }
    }

    /// Numerators from one on: minus these numbers.
    pub fn subtract(&mut self, first: usize, all: &[i32]) -> Result<(), Error> {
        for (part, own) in all.chunks(self.staged.len()).enumerate() {
            self.staged.write(0, unsigned(own))?;
            let place = first + part * self.staged.len();
            self.subtract_at(self.staged.address(), place, own.len())?;
        }
        Ok(())
    }

    /// The same with the numbers of some cells, which are words, of all columns one after the other.
    pub fn subtract_cells(
        &mut self,
        first: usize,
        columns: &Columns,
        cells: Range<usize>,
    ) -> Result<(), Error> {
        for (part, cell, from) in columns.cells(cells.clone()) {
            assert_eq!(cell, Cell::Word, "other cells than words");
            self.subtract_at(from, first + part.start - cells.start, part.len())?;
        }
        Ok(())
    }

    /// Subtracts numbers that lie at an address, where there are so many words.
    fn subtract_at(&self, from: Argument, first: usize, count: usize) -> Result<(), Error> {
        self.within(first, count);
        let [_, p] = self.fractions.addresses();
        let [first, words] = numbers([first, count]);
        let arguments = [p, from, first, words];
        // SAFETY: there are so many leaves, and so many numbers, as callers say.
        unsafe { self.fractions.machine.launch(&SUBTRACT, Grid::of(count), &arguments) }
    }

    fn within(&self, first: usize, count: usize) {
        assert!(first + count <= 1 << self.fractions.log, "leaves that there are not");
    }

    /// The layer, when every leaf is made.
    pub fn finish(self) -> Fractions {
        self.fractions
    }
}

/// The same words.
fn unsigned(numbers: &[i32]) -> &[u32] {
    // SAFETY: both types are words of any value.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
}

impl Fractions {
    /// Log of the number of fractions.
    pub fn log(&self) -> u32 {
        self.log
    }

    /// Where denominators and numerators are.
    fn addresses(&self) -> [Argument; 2] {
        [self.words.address(), self.words.address_of(EXTENSION << self.log)]
    }

    /// The layer above: node `x` is the sum of the fractions `x` and `x + half`.
    pub fn above(&self) -> Result<Self, Error> {
        assert!(self.log > 0, "nothing is above");
        let log = self.log - 1;
        let words = Buffer::new(&self.machine, (2 * EXTENSION) << log)?;
        let above = Self { machine: self.machine.clone(), words, log, leaves: false };
        let ([q, p], [above_q, above_p]) = (self.addresses(), above.addresses());
        let arguments = [q, p, above_q, above_p, Argument::Word(1 << log)];
        let kernel = &ABOVE[usize::from(self.leaves)];
        // SAFETY: there are so many fractions in either layer.
        unsafe { self.machine.launch(kernel, Grid::of(1 << log), &arguments)? }
        Ok(above)
    }

    /// All numerators and denominators of a layer above the leaves.
    pub fn read(&self) -> Result<[Vec<Element>; 2], Error> {
        assert!(!self.leaves, "numerators of leaves are of the base field");
        let mut parts = [(); 2].map(|()| vec![[0; EXTENSION]; 1 << self.log]);
        let [p, q] = &mut parts;
        self.words.read(0, q.as_flattened_mut())?;
        self.words.read(EXTENSION << self.log, p.as_flattened_mut())?;
        Ok(parts)
    }

    /// That what its machine was asked for has failed, and why.
    pub fn failed(&self, what: &str, why: &str) -> Error {
        let device = self.machine.describe();
        Error::Failed { device, what: what.into(), why: why.into() }
    }

    /// Its memory, for nodes of the layer below.
    pub fn into_room(self) -> Buffer {
        self.words
    }
}

/// `eq(point[..k], .)` for all `k`, the first coordinates apart from the others.
#[derive(Debug)]
struct Weights(Buffer);

impl Weights {
    /// Words before the weights of the coordinates from [`WIDTH`] on.
    const OUTER: usize = (2 * EXTENSION) << WIDTH;

    /// Words of those of so many coordinates, at least [`WIDTH`].
    fn words(coordinates: u32) -> usize {
        Self::OUTER + ((2 * EXTENSION) << (coordinates - WIDTH))
    }

    /// Those of a point of at least [`WIDTH`] coordinates.
    fn new(machine: &Arc<dyn Machine>, point: &[Element]) -> Result<Self, Error> {
        let all = point.len() as u32;
        let outer = all - WIDTH;
        let mut coordinates = Buffer::new(machine, EXTENSION * point.len())?;
        coordinates.write(0, point.as_flattened())?;
        let this = Self(Buffer::new(machine, Self::words(all))?);
        for (first, count, to) in [(0, WIDTH, 0), (WIDTH, outer, Self::OUTER)] {
            let from = coordinates.address_of(EXTENSION * first as usize);
            let arguments = [from, this.0.address_of(to), Argument::Word(count)];
            // SAFETY: there are so many coordinates, and there is room for two to their power elements twice.
            unsafe { machine.launch(&WEIGHTS, Grid::of(2 << count), &arguments)? }
        }
        Ok(this)
    }

    /// The inner and the outer weights of `2^log` places.
    fn of(&self, log: u32) -> [Argument; 2] {
        let level = |log: u32| EXTENSION << log;
        [self.0.address_of(level(WIDTH)), self.0.address_of(Self::OUTER + level(log - WIDTH))]
    }
}

/// The sumcheck of a layer, while there are more than [`LAST`] nodes: the children of all its nodes, folded as rounds go by.
#[derive(Debug)]
pub struct Sumcheck<'a> {
    children: &'a Fractions,
    weights: Weights,
    lambda: Element,
    nodes: Buffer,
    /// Nodes that are left; before the first round, those of the layer.
    count: usize,
    total: Total,
}

/// What sums a round: a kernel that sums over `2^log` pairs, and what it is given.
struct Sum {
    kernel: &'static Kernel,
    log: u32,
    before: Vec<Argument>,
    after: Vec<Argument>,
}

impl<'a> Sumcheck<'a> {
    /// The sumcheck over the children of a layer, at least `2^`[`LEAST`] of them, at a point; `room` may be that of the layer.
    pub fn new(
        children: &'a Fractions,
        lambda: Element,
        point: &[Element],
        room: Option<Buffer>,
    ) -> Result<Self, Error> {
        assert!(children.log >= LEAST && point.len() + 1 == children.log as usize, "another layer");
        let machine = &children.machine;
        let needed = (4 * EXTENSION) << (children.log - 2);
        let nodes = match room {
            Some(room) if room.len() >= needed => room,
            _ => Buffer::new(machine, needed)?,
        };
        Ok(Self {
            children,
            weights: Weights::new(machine, &point[..point.len() - 1])?,
            lambda,
            nodes,
            count: 1 << (children.log - 1),
            total: Total::new(machine)?,
        })
    }

    /// Nodes that are left.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Launches the sums of a round, of a kernel that sums over `2^log` pairs.
    fn launch(&self, Sum { kernel, log, before, after }: &Sum) -> Result<(), Error> {
        // SAFETY: a round has what its kernel takes.
        unsafe { self.total.launch(kernel, 1 << (log - WIDTH), before, after) }
    }

    /// What sums over `2^log` pairs, with the weights of so many places.
    fn sum(&self, kernel: &'static Kernel, log: u32, before: &[Argument], after: &[Argument]) -> Sum {
        Sum { kernel, log, before: [before, &self.weights.of(log)].concat(), after: after.to_vec() }
    }

    fn first_sum(&self) -> Sum {
        let children = self.children;
        let after = [Argument::Word(1 << (children.log - 1)), Argument::Element(self.lambda)];
        self.sum(&FIRST[usize::from(children.leaves)], children.log - 2, &children.addresses(), &after)
    }

    /// Launches the sums of the first round.
    pub fn first(&self) -> Result<(), Error> {
        self.launch(&self.first_sum())
    }

    /// Launches all rounds that are run here, instead of [`Self::first`] and [`Self::bind`] with challenges of the processor, and gives
    /// what there was of them and the nodes that are left. It is claimed what the layer says at the point; the coordinates that are
    /// bound are given in turn, each with its inverse.
    pub fn run(
        mut self,
        sponge: &Sponge,
        claim: Element,
        coordinates: &[[Element; 2]],
    ) -> Result<(Vec<Round>, Vec<Node>), Error> {
        let rounds = (self.count / LAST).ilog2() as usize;
        assert!(coordinates.len() == rounds && self.count == 1 << (self.children.log - 1), "other rounds");
        let mut there = Rounds::new(&self.children.machine, sponge, claim, coordinates, NODE * LAST)?;
        let mut sum = self.first_sum();
        for _ in 0..rounds {
            let Sum { kernel, log, before, after } = &sum;
            // SAFETY: a round has what its kernel takes; its blocks have left their sums.
            let r = unsafe {
                let (sums, blocks) = self.total.parts(kernel, 1 << (log - WIDTH), before, after)?;
                there.end(sums, blocks)?
            };
            sum = self.bound([0; EXTENSION], r);
        }
        // Binds for the last time.
        self.launch(&sum)?;
        self.gather(there.rest())?;
        let (rounds, nodes) = there.read()?;
        Ok((rounds, nodes.as_chunks().0.to_vec()))
    }

    /// What was launched last: of a round at 0, and the leading coefficient.
    pub fn sums(&self) -> Result<Sums, Error> {
        self.total.read()
    }

    /// Binds the highest coordinate and launches the sums of the next round; more than [`LAST`] nodes are left before.
    pub fn bind(&mut self, r: Element) -> Result<(), Error> {
        let sum = self.bound(r, Argument::Address(0));
        self.launch(&sum)
    }

    /// What binds the highest coordinate, by a number or one that lies at an address, if that is not zero, and sums the next round.
    fn bound(&mut self, r: Element, there: Argument) -> Sum {
        assert!(self.count > LAST, "few nodes are bound elsewhere");
        let children = self.children;
        let all = 1usize << (children.log - 1);
        let stride = all / 2;
        let count = self.count / 2;
        let log = count.ilog2() - 1;
        let r = [Argument::Element(r), there];
        let sum = if self.count == all {
            let [q, p] = children.addresses();
            let after = [&[Argument::Word(all as u32), Argument::Element(self.lambda)], &r[..]].concat();
            let kernel = &BIND[usize::from(children.leaves)];
            self.sum(kernel, log, &[q, p, self.nodes.address()], &after)
        } else {
            let after = [&numbers([stride, count]), &r[..]].concat();
            self.sum(&BIND_NODES, log, &[self.nodes.address()], &after)
        };
        self.count = count;
        sum
    }

    /// The nodes that are left, fewer than at the beginning.
    pub fn nodes(&self) -> Result<Vec<Node>, Error> {
        let all = Buffer::new(&self.children.machine, NODE * self.count)?;
        self.gather(all.address())?;
        let mut nodes = vec![[[0; EXTENSION]; 4]; self.count];
        all.read(0, nodes.as_flattened_mut().as_flattened_mut())?;
        Ok(nodes)
    }

    /// Writes them to an address where there is room for all.
    fn gather(&self, to: Argument) -> Result<(), Error> {
        let stride = 1usize << (self.children.log - 2);
        assert!(self.count <= stride, "nothing is bound");
        let [stride, count] = numbers([stride, self.count]);
        // SAFETY: there are so many nodes, and there is room, as callers say.
        unsafe {
            let grid = Grid::of(4 * self.count);
            self.children.machine.launch(&GATHER, grid, &[self.nodes.address(), stride, count, to])
        }
    }
}
