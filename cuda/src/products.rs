//! The rounds of the relations on a machine (`kernels/products.cu`): sums of products of two tables, each with a weight or
//! without, bound from the highest variable down.

use std::ops::Range;
use std::sync::Arc;

use crate::columns::{Cell, Columns};
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{BLOCKS, EXTENSION, Element, WIDTH, sum};

pub(crate) static FAMILY: Family = Family { name: "products", ptx: include_str!("../ptx/products.ptx") };

static ROUND: Kernel = FAMILY.kernel("products_round");
static SUM: Kernel = FAMILY.kernel("products_sum");
static TOTAL: Kernel = FAMILY.kernel("products_total");
static BIND: Kernel = FAMILY.kernel("products_bind");

/// In place of what is not there.
const NONE: u32 = u32::MAX;

/// Words of a table's description.
const DESCRIBED: usize = 8;

/// Coefficients of a round.
const SENT: usize = 3;

/// The kind of a table whose entries are elements of the extension; others are those of [`Cell`].
const ELEMENTS: u32 = 3;

/// What a round says: the coefficients of `1`, `X^2` and `X^3`.
pub type Coefficients = [Element; SENT];

/// Cells of columns, a power of two of them, as the entries of a table: cell `k ^ flip` is entry `k`.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    columns: &'a Columns,
    range: Range<usize>,
    flip: u32,
}

impl<'a> Cells<'a> {
    /// These cells, of all columns one after the other, if they are alike, at least four and at most `2^30`.
    pub fn new(columns: &'a Columns, range: Range<usize>, flip: u32) -> Option<Self> {
        let there = columns.cells_at(&range).is_some() && range.len().is_power_of_two();
        let size = 4..=1 << Table::MOST;
        (there && size.contains(&range.len()) && (flip as usize) < range.len()).then_some(Self {
            columns,
            range,
            flip,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// Where a table's entries come from.
#[derive(Clone, Debug)]
pub enum Entries<'a> {
    /// They lie on the machine.
    Cells(Cells<'a>),
    /// Words that are written, elements of the base field or `P` for zero.
    Base,
    /// Elements of the extension that are written.
    Extension,
}

/// A table of a multilinear polynomial.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// Where its entries come from.
    pub entries: Entries<'a>,
    /// Its variables, of those that are bound; if they are of the base field, there are two at least, from 0 on.
    pub variables: Range<u32>,
}

impl Table<'_> {
    /// Variables, at most.
    const MOST: u32 = 30;

    /// How many entries it has, where all variables from one on are bound.
    fn left(&self, variable: u32) -> usize {
        1 << variable.clamp(self.variables.start, self.variables.end).saturating_sub(self.variables.start)
    }

    /// Words of cells that are written, and of elements: all entries, or half of them if there are cells.
    fn words(&self) -> [usize; 2] {
        let all = self.left(u32::MAX);
        match self.entries {
            Entries::Cells(_) => [0, EXTENSION * all / 2],
            Entries::Base => [all, EXTENSION * all / 2],
            Entries::Extension => [0, EXTENSION * all],
        }
    }

    /// Bytes of memory, beside those of cells that are there.
    pub fn memory(&self) -> u64 {
        4 * self.words().iter().sum::<usize>() as u64
    }

    fn is_extension(&self) -> bool {
        matches!(self.entries, Entries::Extension)
    }
}

/// A product of two tables.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Its variables, from one on: those of both tables.
    pub variables: u32,
    /// The tables.
    pub tables: [usize; 2],
    /// Tables of the extension, of which it is weighted with the product: outer weights of the highest variables, inner
    /// weights of those below.
    pub weights: Option<[usize; 2]>,
    /// Its factor in the rounds in which its variables are bound.
    pub factor: Element,
}

/// Tables and the terms that are made of them.
#[derive(Debug)]
pub struct Products<'a> {
    machine: Arc<dyn Machine>,
    tables: Vec<Table<'a>>,
    /// Where each table's own cells and elements are.
    places: Vec<[usize; 2]>,
    room: Buffer,
    /// The last variables of tables, in the order in which they are described: most first.
    ends: Vec<u32>,
    described: Buffer,
    /// Variables of terms, most first, and the number of each among those that were given.
    order: Vec<(u32, usize)>,
    terms: Buffer,
    factors: Buffer,
    /// What rounds say, and the sums of all blocks.
    sums: Buffer,
    /// How many variables are left.
    left: u32,
}

/// Blocks of a launch, by and large.
fn blocks(machine: &dyn Machine) -> usize {
    (BLOCKS * machine.multiprocessors()) as usize
}

/// In how many parts each of so many tables or terms of so many places is worked on.
fn parts(machine: &dyn Machine, count: usize, places: usize) -> usize {
    (blocks(machine) / count.max(1)).clamp(1, places.div_ceil(1 << WIDTH))
}

/// The grid of so many parts of so many things, in which every thread of a block has a place.
fn grid(parts: usize, things: usize) -> Grid {
    Grid { blocks: [parts as u32, things as u32, 1], threads: 1 << WIDTH, shared: 0 }
}

impl<'a> Products<'a> {
    /// Bytes of memory for tables and so many terms.
    pub fn memory(machine: &dyn Machine, tables: &[Table<'_>], terms: usize) -> u64 {
        let entries: u64 = tables.iter().map(Table::memory).sum();
        let sums = 1 + terms.max(blocks(machine));
        let lists = DESCRIBED * tables.len() + 2 * EXTENSION * terms + SENT * EXTENSION * sums;
        entries + 4 * lists as u64
    }

    /// Tables of any value but for those whose cells are there, and terms, of which some have all variables that tables have.
    pub fn new(machine: &Arc<dyn Machine>, tables: Vec<Table<'a>>, terms: &[Term]) -> Result<Self, Error> {
        let most = terms.iter().map(|term| term.variables).max().unwrap_or(0);
        for Table { entries, variables: own } in &tables {
            assert!(own.start <= own.end && own.end <= most.min(Table::MOST), "no such table");
            let least = if let Entries::Extension = entries { own.end } else { own.end.max(2) };
            assert!(own.end == least, "a table that is too small");
            assert!(own.start == 0 || matches!(entries, Entries::Extension), "other variables");
            if let Entries::Cells(cells) = entries {
                assert!(cells.len() == 1 << own.end, "other cells");
                assert!(cells.columns.lie_on(machine), "cells that are elsewhere");
            }
        }
        for term in terms {
            let has =
                |table: usize, own: Range<u32>| tables.get(table).is_some_and(|table| table.variables == own);
            assert!(term.variables > 0, "a term without variables");
            assert!(term.tables.iter().all(|&table| has(table, 0..term.variables)), "no such tables");
            if let Some([outer, inner]) = term.weights {
                let low = tables.get(inner).map_or(0, |inner| inner.variables.end);
                assert!(has(outer, low..term.variables) && has(inner, 0..low), "no such weights");
                assert!(tables[outer].is_extension() && tables[inner].is_extension(), "no such weights");
            }
        }
        let buffer = |words: &[u32]| {
            let mut buffer = Buffer::new(machine, words.len())?;
            buffer.write(0, words)?;
            Ok(buffer)
        };
        let mut end = 0;
        let mut place = |words: usize| {
            end += words;
            end - words
        };
        let places: Vec<[usize; 2]> = tables.iter().map(|table| table.words().map(&mut place)).collect();
        let room = Buffer::new(machine, end)?;
        let mut sorted: Vec<usize> = (0..tables.len()).collect();
        sorted.sort_by_key(|&table| u32::MAX - tables[table].variables.end);
        let mut number = vec![NONE; tables.len()];
        (0..).zip(&sorted).for_each(|(at, &table)| number[table] = at);
        let described = sorted.iter().flat_map(|&table| {
            let (table, [own, bound]) = (&tables[table], places[table]);
            let (kind, cells, flip) = match &table.entries {
                Entries::Cells(Cells { columns, range, flip }) => {
                    let Some((cell, cells)) = columns.cells_at(range) else { unreachable!("they are there") };
                    (cell as u32, cells, *flip)
                }
                Entries::Base => (Cell::Word as u32, room.address_of(own), 0),
                Entries::Extension => (ELEMENTS, room.address_of(bound), 0),
            };
            let [[a, b], [c, d]] = [cells, room.address_of(bound)].map(Argument::words);
            [a, b, c, d, kind, table.variables.start, table.variables.end, flip]
        });
        let described: Vec<u32> = described.collect();
        let mut order: Vec<(u32, usize)> =
            terms.iter().enumerate().map(|(at, term)| (term.variables, at)).collect();
        order.sort_by_key(|&(variables, _)| u32::MAX - variables);
        let own = order.iter().map(|&(_, at)| &terms[at]);
        let listed: Vec<[u32; 4]> = own
            .clone()
            .map(|&Term { tables: [a, b], weights, .. }| {
                let [outer, inner] = weights.map_or([NONE; 2], |weights| weights.map(|table| number[table]));
                [number[a], number[b], outer, inner]
            })
            .collect();
        let factors: Vec<Element> = own.map(|term| term.factor).collect();
        Ok(Self {
            machine: machine.clone(),
            left: most,
            ends: sorted.iter().map(|&table| tables[table].variables.end).collect(),
            described: buffer(&described)?,
            terms: buffer(listed.as_flattened())?,
            factors: buffer(factors.as_flattened())?,
            sums: Buffer::new(machine, SENT * EXTENSION * (1 + terms.len().max(blocks(&**machine))))?,
            tables,
            places,
            room,
            order,
        })
    }

    /// Writes the entries of a table of the base field.
    pub fn write_base(&mut self, table: usize, entries: &[u32]) -> Result<(), Error> {
        let [own, _] = self.tables[table].words();
        assert!(own > 0 && entries.len() == own, "another table");
        self.room.write(self.places[table][0], entries)
    }

    /// Writes the entries of a table of the extension.
    pub fn write(&mut self, table: usize, entries: &[Element]) -> Result<(), Error> {
        let own = &self.tables[table];
        assert!(own.is_extension() && entries.len() == own.left(u32::MAX), "another table");
        self.room.write(self.places[table][1], entries.as_flattened())
    }

    /// The variables that are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Launches a kernel over some terms, of so many places each, that come one after the other, and says in how many parts
    /// of each; blocks leave so many sums each.
    ///
    /// # Safety
    /// As [`Machine::launch`], of the kernel with these terms, the sums and another number.
    unsafe fn over(
        &self,
        kernel: &Kernel,
        terms: Range<usize>,
        places: usize,
        sums: usize,
        number: u32,
    ) -> Result<usize, Error> {
        let parts = parts(&*self.machine, terms.len(), places);
        for first in terms.clone().step_by(Grid::ROWS) {
            let arguments = [
                self.described.address(),
                self.terms.address_of(4 * first),
                self.sums.address_of(EXTENSION * (SENT + sums * parts * (first - terms.start))),
                Argument::Word(number),
            ];
            let grid = grid(parts, Grid::ROWS.min(terms.end - first));
            // SAFETY: the caller's; there is room for the sums of so many blocks.
            unsafe { self.machine.launch(kernel, grid, &arguments)? }
        }
        Ok(parts)
    }

    /// The sum of every term, without its factor, over all entries: before anything is bound.
    pub fn sums(&self) -> Result<Vec<Element>, Error> {
        assert!(self.order.first().is_none_or(|most| most.0 == self.left), "something is bound");
        let mut all = vec![[0; EXTENSION]; self.order.len()];
        let mut first = 0;
        for alike in self.order.chunk_by(|a, b| a.0 == b.0) {
            let (terms, variables) = (first..first + alike.len(), alike[0].0);
            first = terms.end;
            // SAFETY: all tables of these terms are there and have so many variables.
            let parts = unsafe { self.over(&SUM, terms, 1 << variables, 1, variables)? };
            let mut found = vec![[0; EXTENSION]; parts * alike.len()];
            self.sums.read(EXTENSION * SENT, found.as_flattened_mut())?;
            for (&(_, at), found) in alike.iter().zip(found.chunks_exact(parts)) {
                all[at] = sum(found);
            }
        }
        Ok(all)
    }

    /// The round that binds the highest variable that is left, of all terms that have it, each times its factor.
    pub fn round(&self) -> Result<Coefficients, Error> {
        let Some(variable) = self.left.checked_sub(1) else { panic!("all variables are bound") };
        let count = self.order.partition_point(|&(variables, _)| variables > variable);
        // SAFETY: all tables of these terms are there, and those variables are bound that come before.
        let parts = unsafe { self.over(&ROUND, 0..count, 1 << variable, SENT, variable)? };
        let buffers = [self.sums.address_of(EXTENSION * SENT), self.factors.address(), self.sums.address()];
        let words = [parts, count].map(|word| Argument::Word(word as u32));
        // SAFETY: there are so many sums, a factor for each term, and room for what they sum to.
        unsafe { self.machine.launch(&TOTAL, grid(1, 1), &[&buffers[..], &words[..]].concat())? }
        let mut sums = [[0; EXTENSION]; SENT];
        self.sums.read(0, sums.as_flattened_mut())?;
        Ok(sums)
    }

    /// Binds that variable.
    pub fn bind(&mut self, r: Element) -> Result<(), Error> {
        let Some(variable) = self.left.checked_sub(1) else { panic!("all variables are bound") };
        let count = self.ends.partition_point(|&end| end > variable);
        let parts = parts(&*self.machine, count, 1 << variable);
        for first in (0..count).step_by(Grid::ROWS) {
            let arguments = [
                self.described.address_of(DESCRIBED * first),
                Argument::Word(variable),
                Argument::Element(r),
            ];
            let grid = grid(parts, Grid::ROWS.min(count - first));
            // SAFETY: all these tables are there, and no two have entries in the same place.
            unsafe { self.machine.launch(&BIND, grid, &arguments)? }
        }
        self.left = variable;
        Ok(())
    }

    /// What is left of a table, at least one of whose variables is bound if it is not of the extension.
    pub fn read(&self, table: usize) -> Result<Vec<Element>, Error> {
        let own = &self.tables[table];
        assert!(own.is_extension() || self.left < own.variables.end, "a table with cells");
        let mut entries = vec![[0; EXTENSION]; own.left(self.left)];
        self.room.read(self.places[table][1], entries.as_flattened_mut())?;
        Ok(entries)
    }
}
