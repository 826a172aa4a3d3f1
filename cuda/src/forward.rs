//! Products of activations with weights, where these lie in the columns of a matrix (`kernels/forward.cu`).

use std::ops::Range;
use std::sync::Arc;

use crate::columns::{Cell, Columns};
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::stack::clear;

pub(crate) static FAMILY: Family = Family { name: "forward", ptx: include_str!("../ptx/forward.ptx") };

static FEW: [Kernel; 2] = [FAMILY.kernel("forward_few_bytes"), FAMILY.kernel("forward_few_halves")];
static MANY: [Kernel; 2] = [FAMILY.kernel("forward_many_bytes"), FAMILY.kernel("forward_many_halves")];

/// Cells to whose multiples rows of activations are padded, and of which rows of weights are multiples.
pub const PIECE: usize = 16;

/// Positions that each weight is read once for by a kernel that is as fast as memory, at most.
const FEW_POSITIONS: usize = 8;

/// Rows that a warp of it has, at least, and its warps and threads in a block.
const FEW_ROWS: usize = 2;
const FEW_WARPS: usize = 4;
const FEW_THREADS: u32 = 128;

/// Of the kernel for more positions: threads of a block, and of its tile the rows, the positions and the pieces.
const THREADS: u32 = 256;
const ROWS: usize = 128;
const POSITIONS: usize = 32;
const DEPTH: usize = 4;

/// Tiles of a part of the pieces of all rows, at least.
const TILES: usize = 4;

/// Blocks of that kernel for each multiprocessor, if rows are long enough to be parted.
const BLOCKS: usize = 4;

/// Whether kernels count so many positions and sums of each.
pub fn are_counted(positions: usize, width: usize) -> bool {
    positions.div_ceil(POSITIONS) <= Grid::ROWS && u32::try_from(positions * width).is_ok()
}

/// Rows of weights that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The first cell, of all columns one after the other: a multiple of [`PIECE`].
    pub first: usize,
    /// How many rows there are.
    pub rows: usize,
    /// Weights of a row.
    pub len: usize,
    /// Cells from a row to the next, a multiple of [`PIECE`].
    pub pitch: usize,
}

impl Weights {
    /// Whether rows begin where they may and are long enough.
    pub fn are_aligned(&self) -> bool {
        [self.first, self.pitch].iter().all(|cells| cells.is_multiple_of(PIECE)) && self.len <= self.pitch
    }

    /// All their cells.
    pub fn cells(&self) -> Range<usize> {
        self.first..self.first + self.rows * self.pitch
    }

    /// Activations of a position, padded.
    pub fn padded(&self) -> usize {
        self.len.next_multiple_of(PIECE)
    }
}

/// Where activations and sums are.
#[derive(Debug)]
pub struct Room {
    machine: Arc<dyn Machine>,
    activations: Buffer,
    sums: Buffer,
}

/// Words of so many activations.
fn words(activations: usize) -> usize {
    activations.div_ceil(2)
}

/// Words of so many sums, which are cleared in fours.
fn fours(sums: usize) -> usize {
    sums.next_multiple_of(4)
}

impl Room {
    /// Bytes of memory for so many activations, padded, and sums.
    pub fn memory(activations: usize, sums: usize) -> u64 {
        4 * (words(activations) + fours(sums)) as u64
    }

    /// Room for so many of them.
    pub fn new(machine: &Arc<dyn Machine>, activations: usize, sums: usize) -> Result<Self, Error> {
        Ok(Self {
            machine: machine.clone(),
            activations: Buffer::new(machine, words(activations))?,
            sums: Buffer::new(machine, fours(sums))?,
        })
    }

    /// For how many activations and sums there is room.
    pub fn size(&self) -> (usize, usize) {
        (2 * self.activations.len(), self.sums.len())
    }

    /// Writes activations, position after position, each padded with zeros.
    pub fn write(&mut self, activations: &[i16]) -> Result<(), Error> {
        self.activations.write_halves(0, activations)
    }

    /// Reads sums, position after position: words that are signed integers.
    pub fn read(&self, sums: &mut [u32]) -> Result<(), Error> {
        self.sums.read(0, sums)
    }

    /// Sums of the products of the activations of so many positions with each of these rows, which are bytes or halves and
    /// alike, modulo `2^32`. There are `width` sums for each position: those beyond the rows are zero.
    pub fn forward(
        &mut self,
        columns: &Columns,
        weights: &Weights,
        positions: usize,
        width: usize,
    ) -> Result<(), Error> {
        let Weights { first, rows, pitch, .. } = *weights;
        let there = columns.cells_at(&weights.cells()).filter(|(cell, _)| *cell != Cell::Word);
        let Some((cell, from)) = there.filter(|_| weights.are_aligned()) else {
            panic!("there are no such weights from cell {first} on")
        };
        let padded = weights.padded();
        let sums = positions * width;
        assert!(rows <= width, "more rows than sums of a position");
        assert!(positions * padded <= self.size().0 && sums <= self.size().1, "too little room");
        assert!(are_counted(positions, width), "more than kernels count");
        if sums == 0 {
            return Ok(());
        }
        // Pieces of sixteen bytes.
        let pieces = |cells: usize| if cell == Cell::Byte { cells / PIECE } else { 2 * cells / PIECE };
        let buffers = [from, self.activations.address(), self.sums.address()];
        let numbers = [positions, rows, width, pieces(padded), pieces(pitch)];
        let mut arguments = buffers.to_vec();
        arguments.extend(numbers.map(|number| Argument::Word(number as u32)));
        if positions <= FEW_POSITIONS {
            let blocks = width.div_ceil(FEW_ROWS * FEW_WARPS) as u32;
            let grid = Grid { blocks: [blocks, 1, 1], threads: FEW_THREADS, shared: 0 };
            // SAFETY: all weights are there, as was checked, and so are so many activations and room for all sums.
            return unsafe { self.machine.launch(&FEW[cell as usize], grid, &arguments) };
        }
        let tiles = [width.div_ceil(ROWS), positions.div_ceil(POSITIONS)];
        let busy = rows.div_ceil(ROWS).max(1) * tiles[1];
        let wanted = (BLOCKS * self.machine.multiprocessors() as usize).div_ceil(busy);
        let part = pieces(padded).div_ceil(wanted).next_multiple_of(DEPTH).max(TILES * DEPTH);
        let parts = pieces(padded).div_ceil(part).max(1);
        if parts > 1 {
            clear(&self.machine, &self.sums, fours(sums) / 4)?;
        }
        let grid =
            Grid { blocks: [tiles[0] as u32, tiles[1] as u32, parts as u32], threads: THREADS, shared: 0 };
        arguments.push(Argument::Word(part as u32));
        // SAFETY: as above, and sums of several parts begin as zeros.
        unsafe { self.machine.launch(&MANY[cell as usize], grid, &arguments) }
    }
}
