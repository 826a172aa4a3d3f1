//! Encoding on a machine (`kernels/encode.cu`).

use std::sync::Arc;

use crate::columns::Cell;
use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};

pub(crate) static FAMILY: Family = Family { name: "encode", ptx: include_str!("../ptx/encode.ptx") };
static PASS: [Kernel; 3] =
    [FAMILY.kernel("encode_pass_bytes"), FAMILY.kernel("encode_pass_halves"), FAMILY.kernel("encode_pass")];

/// Threads of a block, and of a block with a tile for all of them to have a group of butterflies.
const THREADS: u32 = 512;

/// The log of the number of words of a tile, and of the number that blocks with little shared memory have.
const TILES: [u32; 2] = [14, 13];

/// The log of the least number of neighbouring words that a pass over far ones reads: a sector of memory.
const RUN: u32 = 3;

/// Bytes of shared memory for a tile, with unused words between.
fn shared(tile: u32) -> u32 {
    4 * ((1 << tile) + (1 << tile >> 5))
}

/// The log of the number of words of a tile on a machine.
fn tile(machine: &dyn Machine) -> u32 {
    TILES.into_iter().find(|&tile| shared(tile) <= machine.shared()).unwrap_or(TILES[1])
}

/// Layers that are computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    /// The lowest.
    low: u32,
    /// How many.
    layers: u32,
    /// Log of the number of neighbouring words in a tile.
    run: u32,
}

/// The passes over a message of `2^log` words, in their order.
fn passes(log: u32, tile: u32) -> Vec<Pass> {
    let last = log.min(tile);
    let mut far = log - last;
    let mut passes = Vec::new();
    // As many as it takes, of about the same number of layers each.
    let mut count = far.div_ceil(tile - RUN);
    while count > 0 {
        let layers = far.div_ceil(count);
        far -= layers;
        let low = last + far;
        passes.push(Pass { low, layers, run: (tile - layers).min(low) });
        count -= 1;
    }
    passes.push(Pass { low: 0, layers: last, run: 0 });
    passes
}

/// A code whose twiddles are in a machine's memory.
#[derive(Debug)]
pub struct Code {
    machine: Arc<dyn Machine>,
    twiddles: Buffer,
    log_message: u32,
    log_codeword: u32,
}

impl Code {
    /// The number of twiddles that a code needs: those of the layers that a message has.
    pub fn twiddles(log_message: u32, log_codeword: u32) -> usize {
        (1 << log_codeword) - (1 << (log_codeword - log_message))
    }

    /// The number of times that memory is read and written in encoding: by each pass.
    pub fn passes(&self) -> usize {
        passes(self.log_message, tile(&*self.machine)).len()
    }

    /// The code of messages of `2^log_message` words, from one on, in codewords of at most `2^30`; canonical coordinates of
    /// all pairs, layer by layer.
    pub fn new(
        machine: &Arc<dyn Machine>,
        log_message: u32,
        log_codeword: u32,
        coordinates: &[u32],
    ) -> Result<Self, Error> {
        assert!(1 <= log_message && log_message <= log_codeword && log_codeword <= 30, "no such code");
        assert_eq!(coordinates.len(), Self::twiddles(log_message, log_codeword), "other twiddles");
        let mut twiddles = Buffer::new(machine, coordinates.len())?;
        let mut doubled = vec![0; coordinates.len().min(1 << 20)];
        for (part, from) in coordinates.chunks(1 << 20).enumerate() {
            doubled.iter_mut().zip(from).for_each(|(doubled, &t)| *doubled = 2 * t);
            twiddles.write(part << 20, &doubled[..from.len()])?;
        }
        Ok(Self { machine: machine.clone(), twiddles, log_message, log_codeword })
    }

    /// Log of the length of a message.
    pub fn log_message(&self) -> u32 {
        self.log_message
    }

    /// Log of the length of a codeword.
    pub fn log_codeword(&self) -> u32 {
        self.log_codeword
    }

    /// The codewords of messages of canonical words that lie one after the other, as they do.
    pub fn encode(&self, messages: &Buffer) -> Result<Buffer, Error> {
        let mut codewords =
            Buffer::new(&self.machine, messages.len() >> self.log_message << self.log_codeword)?;
        self.encode_into(messages, &mut codewords)?;
        Ok(codewords)
    }

    /// [`Self::encode`] into a buffer that is there.
    pub fn encode_into(&self, messages: &Buffer, codewords: &mut Buffer) -> Result<(), Error> {
        let count = messages.len() >> self.log_message;
        // SAFETY: there are so many messages of words.
        unsafe { self.encode_cells(Cell::Word, messages.address(), count, codewords, 0) }
    }

    /// Encodes so many messages of these cells into codewords from one on.
    ///
    /// # Safety
    /// There are so many of them at the address.
    pub(crate) unsafe fn encode_cells(
        &self,
        cell: Cell,
        messages: Argument,
        count: usize,
        codewords: &mut Buffer,
        first: usize,
    ) -> Result<(), Error> {
        assert!(codewords.len() >= (first + count) << self.log_codeword, "no room for the codewords");
        for part in (0..count).step_by(Grid::ROWS) {
            let from = messages.after(4 * cell.words(part << self.log_message));
            let to = codewords.address_of((first + part) << self.log_codeword);
            // SAFETY: the caller answers for the messages, and there is room for the codewords.
            unsafe { self.launch(cell, from, to, Grid::ROWS.min(count - part))? }
        }
        Ok(())
    }

    /// Encodes so many messages, at most as many as a grid has rows.
    ///
    /// # Safety
    /// There are so many of them at the address, and room for their codewords at the other.
    unsafe fn launch(&self, cell: Cell, messages: Argument, to: Argument, count: usize) -> Result<(), Error> {
        let mut from = (cell, messages, self.log_message);
        for pass in passes(self.log_message, tile(&*self.machine)) {
            let size = pass.layers + pass.run;
            let grid = Grid {
                blocks: [1 << (self.log_codeword - size), count as u32, 1],
                threads: THREADS.min((1 << size) / 8).max(32),
                shared: shared(size),
            };
            let words = [from.2, self.log_codeword, pass.low, pass.layers, pass.run].map(Argument::Word);
            let buffers = [from.1, to, self.twiddles.address()];
            // SAFETY: tiles cover all words of every codeword once and read messages below their length; the passes' layers
            // are those that there are twiddles of.
            unsafe {
                self.machine.launch(&PASS[from.0 as usize], grid, &[&buffers[..], &words[..]].concat())?;
            }
            from = (Cell::Word, to, self.log_codeword);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_have_every_layer_once() {
        for tile in TILES {
            for log in 1..=30 {
                let passes = passes(log, tile);
                let mut left = log;
                for pass in &passes {
                    left -= pass.layers;
                    assert_eq!(pass.low, left, "{passes:?}");
                    assert!(pass.layers + pass.run <= tile && pass.run <= pass.low, "{passes:?}");
                    assert!(pass.low == 0 || pass.run >= RUN, "{passes:?}");
                }
                assert_eq!(left, 0);
                assert!(
                    passes.len() as u32 <= 1 + log.saturating_sub(tile).div_ceil(tile - RUN),
                    "{passes:?}"
                );
            }
        }
    }
}
