//! Sums of a round of a sumcheck on a machine (`kernels/sums.cu`).

use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};

pub(crate) static FAMILY: Family = Family { name: "sums", ptx: include_str!("../ptx/sums.ptx") };
static TOTAL: Kernel = FAMILY.kernel("total");

/// The coordinates of an element of the extension, canonical.
pub type Element = [u32; 4];

/// Words of an element.
pub(crate) const EXTENSION: usize = 4;

/// Log of the number of threads of a block.
pub(crate) const WIDTH: u32 = 8;

/// Blocks of a sum, at most, for each multiprocessor.
pub(crate) const BLOCKS: u32 = 8;

/// The sum of elements.
pub(crate) fn sum(elements: &[Element]) -> Element {
    /// The field's modulus.
    const P: u64 = (1 << 31) - 1;
    let coordinate = |c: usize| elements.iter().map(|x| u64::from(x[c])).sum::<u64>() % P;
    std::array::from_fn(|c| coordinate(c) as u32)
}

/// What a round says: a value at 0, and a leading coefficient.
pub type Sums = [Element; 2];

/// Where blocks leave their sums.
#[derive(Debug)]
pub(crate) struct Total {
    machine: Arc<dyn Machine>,
    /// The sum of all, then theirs.
    sums: Buffer,
    blocks: u32,
}

impl Total {
    pub fn new(machine: &Arc<dyn Machine>) -> Result<Self, Error> {
        let blocks = BLOCKS * machine.multiprocessors();
        let sums = Buffer::new(machine, size_of::<Sums>() / size_of::<u32>() * (blocks as usize + 1))?;
        Ok(Self { machine: machine.clone(), sums, blocks })
    }

    /// Launches a kernel that sums over so many tiles, each with a place for every thread of a block; it is given where blocks
    /// leave their sums between the other arguments. Says where that is, and how many blocks there are.
    ///
    /// # Safety
    /// As [`Machine::launch`].
    pub unsafe fn parts(
        &self,
        kernel: &Kernel,
        tiles: usize,
        before: &[Argument],
        after: &[Argument],
    ) -> Result<(Argument, u32), Error> {
        let blocks = self.blocks.min(tiles as u32);
        let grid = Grid { blocks: [blocks, 1, 1], threads: 1 << WIDTH, shared: 0 };
        let parts = self.sums.address_of(2 * EXTENSION);
        // SAFETY: the caller answers for the kernel; there is room for the sums of so many blocks.
        unsafe { self.machine.launch(kernel, grid, &[before, &[parts], after].concat())? }
        Ok((parts, blocks))
    }

    /// The same, and launches what adds them up: [`Self::read`] gives the sums.
    ///
    /// # Safety
    /// As [`Machine::launch`].
    pub unsafe fn launch(
        &self,
        kernel: &Kernel,
        tiles: usize,
        before: &[Argument],
        after: &[Argument],
    ) -> Result<(), Error> {
        let one = Grid { blocks: [1, 1, 1], threads: 1 << WIDTH, shared: 0 };
        // SAFETY: the caller answers for the kernel; so many blocks have left their sums.
        unsafe {
            let (parts, blocks) = self.parts(kernel, tiles, before, after)?;
            self.machine.launch(&TOTAL, one, &[parts, self.sums.address(), Argument::Word(blocks)])
        }
    }

    /// The sums of the last launch.
    pub fn read(&self) -> Result<Sums, Error> {
        let mut sums = [[0; EXTENSION]; 2];
        self.sums.read(0, sums.as_flattened_mut())?;
        Ok(sums)
    }
}
