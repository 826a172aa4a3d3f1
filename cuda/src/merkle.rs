//! Merkle trees of Blake2s on a machine (`kernels/merkle.cu`).

use std::sync::Arc;

use crate::machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};

pub(crate) static FAMILY: Family = Family { name: "merkle", ptx: include_str!("../ptx/merkle.ptx") };
static ABSORB: Kernel = FAMILY.kernel("absorb_columns");
static HASH_ROWS: Kernel = FAMILY.kernel("hash_rows");
static GATHER_ROWS: Kernel = FAMILY.kernel("gather_rows");
static PARENTS: Kernel = FAMILY.kernel("parents");

/// Words of a digest.
pub const DIGEST: usize = 8;

/// Columns whose cells fill a block of the hash.
const BLOCK: usize = 16;

/// Rows of a matrix that are being hashed.
#[derive(Debug)]
pub struct Rows {
    machine: Arc<dyn Machine>,
    states: Buffer,
    begin: [u32; DIGEST],
    count: usize,
    /// Bytes of a row that are absorbed, and all.
    absorbed: usize,
    length: usize,
}

impl Rows {
    /// So many rows, at most `2^30`, of so many columns, at least one, hashed from this state on.
    pub fn new(
        machine: &Arc<dyn Machine>,
        rows: usize,
        columns: usize,
        begin: [u32; DIGEST],
    ) -> Result<Self, Error> {
        assert!(rows <= 1 << 30 && (1..1 << 28).contains(&columns), "no such matrix");
        let states = Buffer::new(machine, rows * DIGEST)?;
        Ok(Self { machine: machine.clone(), states, begin, count: rows, absorbed: 0, length: 4 * columns })
    }

    /// Absorbs the next columns, which lie one after the other: a multiple of sixteen, unless they are the last.
    pub fn absorb(&mut self, columns: &Buffer, count: usize) -> Result<(), Error> {
        assert_eq!(columns.len(), count * self.count, "other columns");
        self.absorb_rows(columns, 0, count, self.count)
    }

    /// The same of these rows of longer columns, `stride` cells from one to the next; the first of their cells is at `first`.
    pub fn absorb_rows(
        &mut self,
        columns: &Buffer,
        first: usize,
        count: usize,
        stride: usize,
    ) -> Result<(), Error> {
        assert!(
            count > 0 && self.count <= stride && first + (count - 1) * stride + self.count <= columns.len(),
            "other columns"
        );
        let after = self.absorbed + 4 * count;
        assert!(
            after == self.length || after < self.length && count.is_multiple_of(BLOCK),
            "columns out of order"
        );
        let words = [count, self.count, stride, self.absorbed, self.length];
        let words = words.map(|word| Argument::Word(word as u32));
        let buffers = [columns.address_of(first), self.states.address(), Argument::Words(self.begin)];
        // SAFETY: there are so many columns of so many rows, and a state for every row.
        unsafe { self.machine.launch(&ABSORB, Grid::of(self.count), &[&buffers[..], &words[..]].concat())? }
        self.absorbed = after;
        Ok(())
    }

    /// Words of memory that they take.
    pub fn words(&self) -> usize {
        self.states.len()
    }

    /// Whether they are on this machine.
    pub fn are_on(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(machine, &self.machine)
    }

    /// The same rows in other memory of as many words, of any machine, and the memory in which they were.
    pub fn moved(self, machine: &Arc<dyn Machine>, mut to: Buffer) -> Result<(Self, Buffer), Error> {
        assert_eq!(to.len(), self.states.len(), "memory for other rows");
        if self.absorbed > 0 {
            to.receive(0, &self.states, 0, self.states.len())?;
        }
        Ok((Self { machine: machine.clone(), states: to, ..self }, self.states))
    }

    /// The digests of all rows, when they are absorbed.
    pub fn digests(self) -> Buffer {
        assert_eq!(self.absorbed, self.length, "columns are missing");
        self.states
    }
}

/// The digests of rows of so many cells each, a multiple of sixteen, which lie one after the other, hashed from this state on.
pub fn hash_rows(
    machine: &Arc<dyn Machine>,
    cells: &Buffer,
    row: usize,
    begin: [u32; DIGEST],
) -> Result<Buffer, Error> {
    assert!(row > 0 && row.is_multiple_of(BLOCK) && cells.len().is_multiple_of(row), "other rows");
    let rows = cells.len() / row;
    let digests = Buffer::new(machine, rows * DIGEST)?;
    let words = [row / BLOCK, rows].map(|word| Argument::Word(word as u32));
    let buffers = [cells.address(), digests.address(), Argument::Words(begin)];
    // SAFETY: there are so many rows, and a digest for every one.
    unsafe { machine.launch(&HASH_ROWS, Grid::of(rows), &[&buffers[..], &words[..]].concat())? }
    Ok(digests)
}

/// The rows of so many cells each, a multiple of four, that have these indices, one after the other.
pub fn gather_rows(
    machine: &Arc<dyn Machine>,
    cells: &Buffer,
    row: usize,
    indices: &[u32],
) -> Result<Vec<u32>, Error> {
    assert!(row > 0 && row.is_multiple_of(4) && cells.len().is_multiple_of(row), "other rows");
    assert!(indices.iter().all(|&index| (index as usize) < cells.len() / row), "rows that there are not");
    let mut places = Buffer::new(machine, indices.len())?;
    places.write(0, indices)?;
    let gathered = Buffer::new(machine, indices.len() * row)?;
    let words = [row / 4, indices.len()].map(|word| Argument::Word(word as u32));
    let buffers = [cells.address(), places.address(), gathered.address()];
    if !indices.is_empty() {
        let grid = Grid::of(indices.len() * row / 4);
        // SAFETY: there are rows of all these indices, as was just checked, and room for so many.
        unsafe { machine.launch(&GATHER_ROWS, grid, &[&buffers[..], &words[..]].concat())? }
    }
    let mut words = vec![0; gathered.len()];
    gathered.read(0, &mut words)?;
    Ok(words)
}

/// The level above a level of nodes, hashed from this state on.
pub fn parents(machine: &Arc<dyn Machine>, level: &Buffer, begin: [u32; DIGEST]) -> Result<Buffer, Error> {
    let mut above = Buffer::new(machine, level.len() / 2)?;
    parents_into(machine, level, begin, &mut above)?;
    Ok(above)
}

/// [`parents`] into a buffer that is there.
pub fn parents_into(
    machine: &Arc<dyn Machine>,
    level: &Buffer,
    begin: [u32; DIGEST],
    above: &mut Buffer,
) -> Result<(), Error> {
    let count = level.len() / (2 * DIGEST);
    assert!(count > 0 && level.len() == count * 2 * DIGEST, "no level of pairs");
    assert_eq!(above.len(), count * DIGEST, "no room for the parents");
    let arguments = [level.address(), above.address(), Argument::Words(begin), Argument::Word(count as u32)];
    // SAFETY: the level has two nodes for each of these, and there is so much memory for them.
    unsafe { machine.launch(&PARENTS, Grid::of(count), &arguments) }
}
