//! The columns of a matrix in a machine's memory, and what the opening asks of them (`kernels/columns.cu`).

use std::ops::Range;
use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{EXTENSION, Element};

pub(crate) static FAMILY: Family = Family { name: "columns", ptx: include_str!("../ptx/columns.ptx") };

static CONTRACT: Kernel = FAMILY.kernel("columns_contract");
static COMBINE: Kernel = FAMILY.kernel("columns_combine");
static GATHER: Kernel = FAMILY.kernel("columns_gather");

/// Runs of a tile.
pub const RUNS: usize = 16;

/// A pattern in a tile. Run `i` of the tile meets pattern `pattern + i step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which tile: [`RUNS`] runs of rows.
    pub tile: u32,
    /// The pattern of the first run.
    pub pattern: u32,
    /// Zero or one.
    pub step: u32,
}

/// What columns are contracted with.
#[derive(Debug)]
pub struct Slots {
    patterns: Buffer,
    places: Buffer,
    log_run: u32,
    count: usize,
    tiles: usize,
}

impl Slots {
    /// Bytes of memory for so many elements of patterns and so many slots.
    pub fn memory(elements: usize, slots: usize) -> u64 {
        16 * (elements + slots) as u64
    }

    /// Patterns of `2^log_run` canonical elements each, at least four, one after the other, and slots.
    pub fn new(
        machine: &Arc<dyn Machine>,
        log_run: u32,
        patterns: &[Element],
        slots: &[Slot],
    ) -> Result<Self, Error> {
        let count = patterns.len() >> log_run;
        assert!(log_run >= 2 && patterns.len() == count << log_run, "no patterns of this size");
        let last = |slot: &Slot| slot.pattern as usize + (RUNS - 1) * slot.step as usize;
        assert!(slots.iter().all(|slot| last(slot) < count), "patterns that there are not");
        let words: Vec<[u32; 4]> = slots.iter().map(|slot| [slot.tile, slot.pattern, slot.step, 0]).collect();
        let buffer = |all: &[[u32; 4]]| {
            let mut buffer = Buffer::new(machine, 4 * all.len())?;
            buffer.write(0, all.as_flattened())?;
            Ok(buffer)
        };
        let tiles = slots.iter().map(|slot| slot.tile as usize + 1).max().unwrap_or(0);
        Ok(Self { patterns: buffer(patterns)?, places: buffer(&words)?, log_run, count: slots.len(), tiles })
    }

    /// Words of what a column is contracted to: of each slot the first coordinates of all runs, then the second ones.
    pub fn words(&self) -> usize {
        EXTENSION * RUNS * self.count
    }
}

/// Columns of `2^log` words each, one after the other.
#[derive(Debug)]
pub struct Columns {
    machine: Arc<dyn Machine>,
    cells: Buffer,
    count: usize,
    log: u32,
}

impl Columns {
    /// Bytes of memory for so many.
    pub fn memory(count: usize, log: u32) -> u64 {
        4 * ((count as u64) << log)
    }

    /// So many columns of `2^log` words, from four to `2^30`, of any value.
    pub fn new(machine: &Arc<dyn Machine>, count: usize, log: u32) -> Result<Self, Error> {
        Ok(Self::of(machine, Buffer::new(machine, count << log)?, log))
    }

    /// The columns that lie in a buffer.
    pub fn of(machine: &Arc<dyn Machine>, cells: Buffer, log: u32) -> Self {
        let count = cells.len() >> log;
        assert!((2..=30).contains(&log) && cells.len() == count << log, "no columns of this size");
        Self { machine: machine.clone(), cells, count, log }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All cells.
    pub fn cells(&self) -> &Buffer {
        &self.cells
    }

    /// Writes a column.
    pub fn write(&mut self, column: usize, cells: &[u32]) -> Result<(), Error> {
        assert_eq!(cells.len(), 1 << self.log, "no column");
        self.cells.write(column << self.log, cells)
    }

    /// What columns are contracted to, one after the other; they may have `P` for zero.
    pub fn contract(&self, slots: &Slots, range: Range<usize>) -> Result<Buffer, Error> {
        assert!(
            range.end <= self.count && (slots.tiles * RUNS) << slots.log_run <= 1 << self.log,
            "no such cells"
        );
        let sums = Buffer::new(&self.machine, range.len() * slots.words())?;
        for first in range.clone().step_by(Grid::ROWS).filter(|_| slots.count > 0) {
            let count = Grid::ROWS.min(range.end - first);
            let mut grid = Grid::of(RUNS * slots.count);
            grid.blocks[1] = count as u32;
            let buffers = [
                self.cells.address_of(first << self.log),
                slots.places.address(),
                slots.patterns.address(),
                sums.address_of((first - range.start) * slots.words()),
            ];
            let words = [1 << (slots.log_run - 2), 1 << (self.log - 2), RUNS * slots.count];
            let words = words.map(|word| Argument::Word(word as u32));
            // SAFETY: tiles lie in columns and patterns are there, as was checked, and there is room for all sums.
            unsafe { self.machine.launch(&CONTRACT, grid, &[&buffers[..], &words[..]].concat())? }
        }
        Ok(sums)
    }

    /// The sum of all columns, each times its weight: the first coordinates of all rows, then the second ones. Columns may
    /// have `P` for zero.
    pub fn combine(&self, weights: &[Element]) -> Result<Buffer, Error> {
        assert_eq!(weights.len(), self.count, "other weights");
        let mut by = Buffer::new(&self.machine, EXTENSION * weights.len())?;
        by.write(0, weights.as_flattened())?;
        let sums = Buffer::new(&self.machine, EXTENSION << self.log)?;
        let buffers = [self.cells.address(), by.address(), sums.address()];
        let words = [self.count as u32, 1 << self.log].map(Argument::Word);
        // SAFETY: there are so many columns of so many cells, a weight for each, and room for the sums of all rows.
        unsafe {
            self.machine.launch(&COMBINE, Grid::of(1 << self.log), &[&buffers[..], &words[..]].concat())?;
        }
        Ok(sums)
    }

    /// The cells of all columns in some rows, row by row.
    pub fn gather(&self, rows: &[u32]) -> Result<Vec<u32>, Error> {
        assert!(rows.iter().all(|&row| row < 1 << self.log), "rows that there are not");
        let mut cells = vec![0; rows.len() * self.count];
        if cells.is_empty() {
            return Ok(cells);
        }
        let mut places = Buffer::new(&self.machine, rows.len())?;
        places.write(0, rows)?;
        let gathered = Buffer::new(&self.machine, cells.len())?;
        let buffers = [self.cells.address(), places.address(), gathered.address()];
        let words = [self.count as u32, 1 << self.log, cells.len() as u32].map(Argument::Word);
        // SAFETY: there are so many columns with these rows, and room for so many cells.
        unsafe { self.machine.launch(&GATHER, Grid::of(cells.len()), &[&buffers[..], &words[..]].concat())? }
        gathered.read(0, &mut cells)?;
        Ok(cells)
    }
}
