//! The transcript of rounds that a machine runs by itself, and Poseidon2 (`kernels/transcript.cu`).

use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
use crate::sums::{EXTENSION, Element, Sums, WIDTH};

pub(crate) static FAMILY: Family = Family { name: "transcript", ptx: include_str!("../ptx/transcript.ptx") };
static PERMUTE: Kernel = FAMILY.kernel("permute_all");
static ROUND: Kernel = FAMILY.kernel("layer_round");

/// Words of a state of Poseidon2.
pub const LANES: usize = 16;

/// Words of it that hold a message.
const RATE: usize = 8;

/// Constants of the permutation, in the order in which its rounds use them.
pub const CONSTANTS: usize = 142;

/// Words of a round: two numbers before it, three more after it.
const OF_ROUND: usize = 5 * EXTENSION;

/// The permutation of many states.
#[derive(Debug)]
pub struct Permutation {
    machine: Arc<dyn Machine>,
    constants: Buffer,
}

impl Permutation {
    /// With its constants, on a machine.
    pub fn new(machine: &Arc<dyn Machine>, constants: &[u32; CONSTANTS]) -> Result<Self, Error> {
        let mut given = Buffer::new(machine, CONSTANTS)?;
        given.write(0, constants)?;
        Ok(Self { machine: machine.clone(), constants: given })
    }

    /// Permutes all states that a buffer has, of [`LANES`] canonical words each.
    pub fn permute(&self, states: &mut Buffer) -> Result<(), Error> {
        let count = states.len() / LANES;
        assert!(states.len() == count * LANES, "part of a state");
        let arguments = [states.address(), self.constants.address(), Argument::Word(count as u32)];
        // SAFETY: there are so many states, and all constants.
        unsafe { self.machine.launch(&PERMUTE, Grid::of(count), &arguments) }
    }
}

/// A transcript that is Poseidon2 in a sponge, in which every round absorbs two elements of the extension and draws one right
/// after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sponge {
    /// The constants of the permutation.
    pub constants: [u32; CONSTANTS],
    /// The state before the first round.
    pub state: [u32; LANES],
    /// What a message adds to the words behind it, before the permutation.
    pub absorbed: [u32; LANES - RATE],
    /// What a challenge adds to them, after it.
    pub drawn: [u32; LANES - RATE],
}

/// What there was of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its sums.
    pub sums: Sums,
    /// The challenge that was drawn.
    pub challenge: Element,
}

/// Rounds of a layer of the lookups, one after the other, with their transcript.
#[derive(Debug)]
pub(crate) struct Rounds {
    machine: Arc<dyn Machine>,
    /// The constants, the sponge, the claim, all rounds, and what is read with them.
    words: Buffer,
    count: usize,
    run: usize,
}

impl Rounds {
    const SPONGE: usize = CONSTANTS.next_multiple_of(EXTENSION);
    const CLAIM: usize = Self::SPONGE + LANES + 2 * (LANES - RATE);
    const FIRST: usize = Self::CLAIM + EXTENSION;

    /// Words of memory for so many rounds.
    pub const fn words(count: usize) -> usize {
        Self::FIRST + count * OF_ROUND
    }

    /// Rounds that begin with a claim and bind these coordinates in turn, each given with its inverse; and room for so many words that
    /// are read with them.
    pub fn new(
        machine: &Arc<dyn Machine>,
        sponge: &Sponge,
        claim: Element,
        coordinates: &[[Element; 2]],
        rest: usize,
    ) -> Result<Self, Error> {
        let Sponge { constants, state, absorbed, drawn } = sponge;
        let mut all = vec![0; Self::words(coordinates.len())];
        all[..CONSTANTS].copy_from_slice(constants);
        all[Self::SPONGE..][..LANES].copy_from_slice(state);
        all[Self::SPONGE + LANES..Self::CLAIM].copy_from_slice([*absorbed, *drawn].as_flattened());
        all[Self::CLAIM..Self::FIRST].copy_from_slice(&claim);
        for (round, coordinate) in all[Self::FIRST..].chunks_exact_mut(OF_ROUND).zip(coordinates) {
            round[..2 * EXTENSION].copy_from_slice(coordinate.as_flattened());
        }
        let mut words = Buffer::new(machine, all.len() + rest)?;
        words.write(0, &all)?;
        Ok(Self { machine: machine.clone(), words, count: coordinates.len(), run: 0 })
    }

    /// Where a round begins.
    fn place(round: usize) -> usize {
        Self::FIRST + round * OF_ROUND
    }

    /// Launches the end of the next round, of which so many blocks have left sums at an address, and says where its challenge
    /// will be.
    ///
    /// # Safety
    /// There are so many pairs of sums.
    pub unsafe fn end(&mut self, sums: Argument, blocks: u32) -> Result<Argument, Error> {
        assert!(self.run < self.count, "more rounds than there are");
        let place = Self::place(self.run);
        let arguments = [
            sums,
            Argument::Word(blocks),
            self.words.address(),
            self.words.address_of(Self::SPONGE),
            self.words.address_of(place),
        ];
        let grid = Grid { blocks: [1, 1, 1], threads: 1 << WIDTH, shared: 0 };
        // SAFETY: there are such sums, as the caller says, a state and a round.
        unsafe { self.machine.launch(&ROUND, grid, &arguments)? }
        self.run += 1;
        Ok(self.words.address_of(place + OF_ROUND - EXTENSION))
    }

    /// Where the rest is.
    pub fn rest(&self) -> Argument {
        self.words.address_of(Self::place(self.count))
    }

    /// What there was of all rounds, and the rest, of which there are whole elements.
    pub fn read(&self) -> Result<(Vec<Round>, Vec<Element>), Error> {
        assert!(self.run == self.count, "rounds that have not been");
        let mut all = vec![[0; EXTENSION]; (self.words.len() - Self::FIRST) / EXTENSION];
        self.words.read(Self::FIRST, all.as_flattened_mut())?;
        let rest = all.split_off(self.count * OF_ROUND / EXTENSION);
        let of_round = |round: &[Element]| Round { sums: [round[2], round[3]], challenge: round[4] };
        Ok((all.chunks_exact(OF_ROUND / EXTENSION).map(of_round).collect(), rest))
    }
}
