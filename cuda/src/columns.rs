//! The columns of a matrix in a machine's memory, and what the opening asks of them (`kernels/columns.cu`).

use std::ops::Range;
use std::sync::Arc;

pub use crate::cells::{Cell, Packed};
use crate::encode::Code;
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{EXTENSION, Element};

pub(crate) static FAMILY: Family = Family { name: "columns", ptx: include_str!("../ptx/columns.ptx") };

static CONTRACT: [Kernel; 3] = [
    FAMILY.kernel("columns_contract_bytes"),
    FAMILY.kernel("columns_contract_halves"),
    FAMILY.kernel("columns_contract"),
];
static COMBINE: [Kernel; 3] = [
    FAMILY.kernel("columns_combine_bytes"),
    FAMILY.kernel("columns_combine_halves"),
    FAMILY.kernel("columns_combine"),
];
static EXPAND: Kernel = FAMILY.kernel("columns_expand");
static GATHER: Kernel = FAMILY.kernel("columns_gather");
static OVER_ROWS: [Kernel; 3] = [
    FAMILY.kernel("matrices_over_rows_bytes"),
    FAMILY.kernel("matrices_over_rows_halves"),
    FAMILY.kernel("matrices_over_rows"),
];
static TOTAL: Kernel = FAMILY.kernel("matrices_total");

/// Runs of a tile.
pub const RUNS: usize = 16;

/// Threads of a sum over rows, at least, for each multiprocessor, where there are enough rows.
const THREADS: usize = 1 << 10;

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
    machine: Arc<dyn Machine>,
    patterns: Buffer,
    places: Buffer,
    /// The first slot of each tile, and the end of the last one's.
    starts: Buffer,
    log_run: u32,
    count: usize,
    tiles: usize,
}

impl Slots {
    /// Bytes of memory for so many elements of patterns and so many slots and tiles.
    pub fn memory(elements: usize, slots: usize, tiles: usize) -> u64 {
        16 * (elements + slots) as u64 + 4 * (tiles as u64 + 1)
    }

    /// Patterns of `2^log_run` canonical elements each, at least four, one after the other, and the slots of so many tiles,
    /// in the order of these.
    pub fn new(
        machine: &Arc<dyn Machine>,
        log_run: u32,
        patterns: &[Element],
        tiles: usize,
        slots: &[Slot],
    ) -> Result<Self, Error> {
        let count = patterns.len() >> log_run;
        assert!(log_run >= 2 && patterns.len() == count << log_run, "no patterns of this size");
        let last = |slot: &Slot| slot.pattern as usize + (RUNS - 1) * slot.step as usize;
        assert!(slots.iter().all(|slot| last(slot) < count), "patterns that there are not");
        let in_order = slots.windows(2).all(|pair| pair[0].tile <= pair[1].tile);
        assert!(
            in_order && slots.iter().all(|slot| (slot.tile as usize) < tiles),
            "tiles that are not in order"
        );
        let words: Vec<[u32; 4]> = slots.iter().map(|slot| [slot.tile, slot.pattern, slot.step, 0]).collect();
        let starts = (0..=tiles as u32).map(|tile| slots.partition_point(|slot| slot.tile < tile) as u32);
        let buffer = |all: &[u32]| {
            let mut buffer = Buffer::new(machine, all.len())?;
            buffer.write(0, all)?;
            Ok(buffer)
        };
        Ok(Self {
            machine: machine.clone(),
            patterns: buffer(patterns.as_flattened())?,
            places: buffer(words.as_flattened())?,
            starts: buffer(&starts.collect::<Vec<_>>())?,
            log_run,
            count: slots.len(),
            tiles,
        })
    }

    /// The weights of all rows: in every tile the sum of a multiple of the pattern of each slot. Multiples are those of all
    /// slots, as [`Columns::contract`] has them, from a word on, and all are scaled.
    pub fn expand(&self, multiples: &Buffer, first: usize, scale: Element) -> Result<Buffer, Error> {
        assert!(first + self.words() <= multiples.len(), "other slots");
        let rows = (self.tiles * RUNS) << self.log_run;
        let out = Buffer::new(&self.machine, EXTENSION * rows)?;
        let [places, starts, patterns, to] =
            [&self.places, &self.starts, &self.patterns, &out].map(Buffer::address);
        let buffers = [multiples.address_of(first), places, starts, patterns, to];
        let after = [Argument::Word(self.log_run), Argument::Word(rows as u32), Argument::Element(scale)];
        if rows > 0 {
            let arguments = [&buffers[..], &after[..]].concat();
            // SAFETY: there is a multiple for each run of each slot, and its pattern, and room for all rows.
            unsafe { self.machine.launch(&EXPAND, Grid::of(rows), &arguments)? }
        }
        Ok(out)
    }

    /// Words of what a column is contracted to: of each slot the first coordinates of all runs, then the second ones.
    pub fn words(&self) -> usize {
        EXTENSION * RUNS * self.count
    }
}

/// Columns of the same cells, one after the other.
#[derive(Debug)]
struct Part {
    cell: Cell,
    cells: Buffer,
    columns: Range<usize>,
}

impl Part {
    /// The address of the first cell of a column, of so many cells each.
    fn address(&self, column: usize, log: u32) -> Argument {
        self.cells.address_of(self.cell.words((column - self.columns.start) << log))
    }
}

/// Columns of `2^log` cells each, one after the other.
#[derive(Debug)]
pub struct Columns {
    machine: Arc<dyn Machine>,
    parts: Vec<Part>,
    count: usize,
    log: u32,
}

impl Columns {
    /// Bytes of memory for so many words each.
    pub fn memory(count: usize, log: u32) -> u64 {
        4 * ((count as u64) << log)
    }

    /// Bytes of memory for columns of these cells.
    pub fn memory_of(cells: &[Cell], log: u32) -> u64 {
        cells.iter().map(|cell| 4 * cell.words(1 << log) as u64).sum()
    }

    /// A column of `2^log` cells, from four to `2^30`, for each of these: of any value.
    pub fn new(machine: &Arc<dyn Machine>, cells: &[Cell], log: u32) -> Result<Self, Error> {
        assert!((2..=30).contains(&log), "no columns of this size");
        let mut parts = Vec::new();
        let mut first = 0;
        for same in cells.chunk_by(|a, b| a == b) {
            let columns = first..first + same.len();
            first = columns.end;
            let words = same[0].words(same.len() << log);
            parts.push(Part { cell: same[0], cells: Buffer::new(machine, words)?, columns });
        }
        Ok(Self { machine: machine.clone(), parts, count: cells.len(), log })
    }

    /// The columns of words that lie in a buffer.
    pub fn of(machine: &Arc<dyn Machine>, cells: Buffer, log: u32) -> Self {
        let count = cells.len() >> log;
        assert!((2..=30).contains(&log) && cells.len() == count << log, "no columns of this size");
        let parts = vec![Part { cell: Cell::Word, cells, columns: 0..count }];
        Self { machine: machine.clone(), parts, count, log }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes a column, which is packed in its cells.
    pub fn write(&mut self, column: usize, packed: &Packed<'_>) -> Result<(), Error> {
        let part = self.parts.iter_mut().find(|part| part.columns.contains(&column));
        let Some(part) = part else { panic!("there is no column {column}") };
        assert_eq!(packed.cells(), (part.cell, 1 << self.log), "other cells than those of column {column}");
        let first = part.cell.words((column - part.columns.start) << self.log);
        match packed {
            Packed::Bytes(cells) => part.cells.write_bytes(first, cells),
            Packed::Halves(cells) => part.cells.write_halves(first, cells),
            Packed::Words(cells) => part.cells.write(first, cells),
        }
    }

    /// The parts of some columns: the columns of each, what their cells are, and where they begin.
    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, Cell, Argument)> {
        assert!(range.end <= self.count, "no such columns");
        self.parts.iter().filter_map(move |part| {
            let columns = range.start.max(part.columns.start)..range.end.min(part.columns.end);
            (!columns.is_empty()).then(|| {
                let address = part.address(columns.start, self.log);
                (columns, part.cell, address)
            })
        })
    }

    /// The parts of some cells, of all columns one after the other: the cells of each, what they are, and where they begin.
    pub(crate) fn cells(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, Cell, Argument)> {
        assert!(range.end <= self.count << self.log, "no such cells");
        self.parts.iter().filter_map(move |part| {
            let first = part.columns.start << self.log;
            let cells = range.start.max(first)..range.end.min(part.columns.end << self.log);
            (!cells.is_empty()).then(|| {
                let from = part.cells.address().after(part.cell.bytes(cells.start - first));
                (cells, part.cell, from)
            })
        })
    }

    /// The codewords of some columns, which are messages without `P`.
    pub fn encode(&self, code: &Code, range: Range<usize>) -> Result<Buffer, Error> {
        assert_eq!(code.log_message(), self.log, "messages of another length");
        let mut codewords = Buffer::new(&self.machine, range.len() << code.log_codeword())?;
        for (columns, cell, from) in self.parts(range.clone()) {
            let at = columns.start - range.start;
            // SAFETY: there are so many messages of these cells.
            unsafe { code.encode_cells(cell, from, columns.len(), &mut codewords, at)? }
        }
        Ok(codewords)
    }

    /// What columns are contracted to, one after the other; they may have `P` for zero.
    pub fn contract(&self, slots: &Slots, range: Range<usize>) -> Result<Buffer, Error> {
        let sums = Buffer::new(&self.machine, range.len() * slots.words())?;
        self.contract_to(slots, range, &sums, 0)?;
        Ok(sums)
    }

    /// The same into a buffer, from a word on.
    pub(crate) fn contract_to(
        &self,
        slots: &Slots,
        range: Range<usize>,
        sums: &Buffer,
        to: usize,
    ) -> Result<(), Error> {
        assert!(
            range.end <= self.count
                && (slots.tiles * RUNS) << slots.log_run <= 1 << self.log
                && to + range.len() * slots.words() <= sums.len(),
            "no such cells"
        );
        for (columns, cell, from) in self.parts(range.clone()).filter(|_| slots.count > 0) {
            for first in columns.clone().step_by(Grid::ROWS) {
                let mut grid = Grid::of(RUNS * slots.count);
                grid.blocks[1] = Grid::ROWS.min(columns.end - first) as u32;
                let buffers = [
                    from.after(4 * cell.words((first - columns.start) << self.log)),
                    slots.places.address(),
                    slots.patterns.address(),
                    sums.address_of(to + (first - range.start) * slots.words()),
                ];
                let words = [1 << (slots.log_run - 2), 1 << (self.log - 2), RUNS * slots.count];
                let words = words.map(|word| Argument::Word(word as u32));
                let arguments = [&buffers[..], &words[..]].concat();
                // SAFETY: tiles lie in columns and patterns are there, as was checked, and there is room for all sums.
                unsafe { self.machine.launch(&CONTRACT[cell as usize], grid, &arguments)? }
            }
        }
        Ok(())
    }

    /// The sum of all columns, each times its weight: the first coordinates of all rows, then the second ones; added to a sum
    /// if there is one. Columns may have `P` for zero.
    pub fn combine(&self, weights: &[Element], sum: Option<Buffer>) -> Result<Buffer, Error> {
        assert!(weights.len() == self.count && self.count > 0, "other weights");
        let by = self.elements(weights)?;
        let mut more = sum.is_some();
        let sums = sum.map_or_else(|| Buffer::new(&self.machine, EXTENSION << self.log), Ok)?;
        assert_eq!(sums.len(), EXTENSION << self.log, "another sum");
        for (columns, cell, from) in self.parts(0..self.count) {
            let buffers = [from, by.address_of(EXTENSION * columns.start), sums.address()];
            let words = [columns.len() as u32, 1 << self.log, more.into()].map(Argument::Word);
            let (grid, arguments) = (Grid::of(1 << self.log), [&buffers[..], &words[..]].concat());
            // SAFETY: there are so many columns of so many cells, a weight for each, and room for the sums of all rows.
            unsafe { self.machine.launch(&COMBINE[cell as usize], grid, &arguments)? }
            more = true;
        }
        Ok(sums)
    }

    /// The cells of all columns, which are words, in some rows, row by row.
    pub fn gather(&self, rows: &[u32]) -> Result<Vec<u32>, Error> {
        let words = self.parts.iter().all(|part| part.cell == Cell::Word) && self.parts.len() < 2;
        assert!(words, "columns of other cells");
        assert!(rows.iter().all(|&row| row < 1 << self.log), "rows that there are not");
        let mut cells = vec![0; rows.len() * self.count];
        if cells.is_empty() {
            return Ok(cells);
        }
        let mut places = Buffer::new(&self.machine, rows.len())?;
        places.write(0, rows)?;
        let gathered = Buffer::new(&self.machine, cells.len())?;
        let buffers = [self.parts[0].cells.address(), places.address(), gathered.address()];
        let words = [self.count as u32, 1 << self.log, cells.len() as u32].map(Argument::Word);
        // SAFETY: there are so many columns with these rows, and room for so many cells.
        unsafe { self.machine.launch(&GATHER, Grid::of(cells.len()), &[&buffers[..], &words[..]].concat())? }
        gathered.read(0, &mut cells)?;
        Ok(cells)
    }

    /// Whether these cells, of all columns one after the other, are of one kind.
    pub fn alike(&self, cells: &Range<usize>) -> bool {
        self.kind(cells).is_some()
    }

    /// What these cells are, if they are of one kind.
    pub fn kind(&self, cells: &Range<usize>) -> Option<Cell> {
        self.part_of(cells).map(|part| part.cell)
    }

    /// What these cells are, if they are of one kind, and where they begin: at the first of a word.
    pub(crate) fn cells_at(&self, cells: &Range<usize>) -> Option<(Cell, Argument)> {
        let part = self.part_of(cells).filter(|_| cells.start.is_multiple_of(4))?;
        let first = cells.start - (part.columns.start << self.log);
        Some((part.cell, part.cells.address_of(part.cell.words(first))))
    }

    /// The part in which cells lie.
    fn part_of(&self, cells: &Range<usize>) -> Option<&Part> {
        let columns = cells.start >> self.log..cells.end.div_ceil(1 << self.log);
        self.parts.iter().find(|part| part.columns.start <= columns.start && columns.end <= part.columns.end)
    }

    /// Whether they lie on this machine.
    pub(crate) fn lie_on(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(&self.machine, machine)
    }

    /// The sums of the rows of matrices of a power of two of columns, at least four, each row times its weight: of the
    /// matrices that lie one after the other in these cells, which are alike and begin at a multiple of four.
    pub fn over_rows(
        &self,
        cells: Range<usize>,
        width: usize,
        weights: &[Element],
    ) -> Result<Vec<Element>, Error> {
        let rows = weights.len();
        assert!(
            width.is_power_of_two() && width >= 4 && rows > 0 && cells.len().is_multiple_of(width * rows),
            "no such matrices"
        );
        let Some((cell, from)) = self.cells_at(&cells) else { panic!("there are no such cells") };
        let sums = cells.len() / rows;
        if sums == 0 {
            return Ok(Vec::new());
        }
        // Enough threads, each with some rows at least.
        let wanted = (THREADS * self.machine.multiprocessors() as usize).div_ceil(sums).min(Grid::ROWS);
        let part = rows.div_ceil(wanted).next_multiple_of(4).max(16);
        let parts = rows.div_ceil(part);
        let by = self.elements(weights)?;
        let mut out = Buffer::new(&self.machine, EXTENSION * parts * sums)?;
        let buffers = [from, by.address(), out.address()];
        let words = [rows as u32, width.ilog2(), part as u32, sums as u32].map(Argument::Word);
        let mut grid = Grid::of(sums);
        grid.blocks[1] = parts as u32;
        assert!(parts <= Grid::ROWS && u32::try_from(sums).is_ok(), "too many sums");
        let arguments = [&buffers[..], &words[..]].concat();
        // SAFETY: all these cells are there, a weight for each row, and room for the sums of all parts.
        unsafe { self.machine.launch(&OVER_ROWS[cell as usize], grid, &arguments)? }
        if parts > 1 {
            let total = Buffer::new(&self.machine, EXTENSION * sums)?;
            let words = [sums as u32, parts as u32].map(Argument::Word);
            let arguments = [out.address(), total.address(), words[0], words[1]];
            // SAFETY: there are so many sums in so many parts, and room for as many.
            unsafe { self.machine.launch(&TOTAL, Grid::of(sums), &arguments)? }
            out = total;
        }
        let mut all = vec![[0; EXTENSION]; sums];
        out.read(0, all.as_flattened_mut())?;
        Ok(all)
    }

    fn elements(&self, elements: &[Element]) -> Result<Buffer, Error> {
        let mut buffer = Buffer::new(&self.machine, EXTENSION * elements.len())?;
        buffer.write(0, elements.as_flattened())?;
        Ok(buffer)
    }
}
