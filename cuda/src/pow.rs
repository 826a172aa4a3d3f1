//! Proof of work on a machine (`kernels/pow.cu`).

use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::merkle::DIGEST;

pub(crate) static FAMILY: Family = Family { name: "pow", ptx: include_str!("../ptx/pow.ptx") };
static SEARCH: Kernel = FAMILY.kernel("pow_search");

/// Nonces of a launch, at most.
pub const MOST: u32 = 1 << 30;

/// Nonces of a thread, at most.
const EACH: u32 = 16;

/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks that a multiprocessor runs at once, at most.
const BLOCKS: u32 = 8;

/// Times that a launch fills the machine before threads try several nonces each: what was begun when an answer is found is a
/// small part of all.
const FILLS: u32 = 16;

/// In place of a nonce.
const NONE: u32 = u32::MAX;

/// What work is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The state in which the hash begins.
    pub begin: [u32; DIGEST],
    /// What the message begins with.
    pub seed: [u32; DIGEST],
    /// The number of bits, as the message has it.
    pub bits: u32,
    /// The bits of the first word of the digest that must be zero.
    pub mask: u32,
}

/// Searches for nonces.
#[derive(Debug)]
pub struct Search {
    machine: Arc<dyn Machine>,
    /// The smallest that was found, as a number from the first one of a launch on.
    found: Buffer,
}

impl Search {
    /// On a machine, of whose memory it takes a word.
    pub fn new(machine: &Arc<dyn Machine>) -> Result<Self, Error> {
        Ok(Self { machine: machine.clone(), found: Buffer::new(machine, 1)? })
    }

    /// Nonces that the machine tries at once.
    fn fill(&self) -> u32 {
        self.machine.multiprocessors().saturating_mul(BLOCKS * THREADS).min(MOST)
    }

    /// Nonces for a launch that looks for so many bits: twice as many as are tried on average, and as many as the machine tries
    /// at once, but at most [`MOST`]. Those behind what is found cost little.
    pub fn count(&self, bits: u32) -> u32 {
        1u32.checked_shl(bits + 1).unwrap_or(MOST).clamp(self.fill(), MOST)
    }

    /// The smallest good nonce of `count`, at most [`MOST`], from `first` on.
    pub fn smallest(&mut self, puzzle: &Puzzle, first: u64, count: u32) -> Result<Option<u64>, Error> {
        assert!(count <= MOST && first.checked_add(count.into()).is_some(), "more nonces than there are");
        if count == 0 {
            return Ok(None);
        }
        self.found.write(0, &[NONE])?;
        let each = (count / self.fill() / FILLS).clamp(1, EACH);
        let grid = Grid { blocks: [count.div_ceil(THREADS * each), 1, 1], threads: THREADS, shared: 0 };
        let arguments = [
            Argument::Words(puzzle.begin),
            Argument::Words(puzzle.seed),
            Argument::Word(puzzle.bits),
            Argument::Word(puzzle.mask),
            Argument::Long(first),
            Argument::Word(count),
            Argument::Word(each),
            self.found.address(),
        ];
        // SAFETY: there is a word for what is found.
        unsafe { self.machine.launch(&SEARCH, grid, &arguments)? }
        let mut found = [NONE];
        self.found.read(0, &mut found)?;
        Ok((found != [NONE]).then(|| first + u64::from(found[0])))
    }
}
