//! Products with weights where these lie on GPUs.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use circlet_cuda::columns::Cell;
use circlet_cuda::forward::{PIECE, Room, Weights, are_counted};
use circlet_cuda::{Error, Machine};

use super::matrix::Matrix;
use super::{at_once, fits};

/// Activations of sixteen bits, row by row.
#[derive(Debug)]
pub struct Activations {
    /// Rows of so many as [`padded`] says, with zeros at their ends.
    pub cells: Vec<i16>,
    /// How many rows there are.
    pub rows: usize,
}

/// Cells of a row of so many activations.
pub fn padded(len: usize) -> usize {
    len.next_multiple_of(PIECE)
}

/// Fixed columns on GPUs.
pub struct Resident {
    matrix: Arc<Matrix>,
    /// Of each GPU, where activations and sums were, and will be next.
    rooms: Vec<Mutex<Option<Room>>>,
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.matrix.parts().iter().map(|part| part.encoder().machine().describe()))
            .finish()
    }
}

impl Resident {
    /// The columns of a matrix.
    pub fn new(matrix: Arc<Matrix>) -> Self {
        let rooms = matrix.parts().iter().map(|_| Mutex::default()).collect();
        Self { matrix, rooms }
    }

    /// Rows of weights by the GPUs that have them, if every row lies on one: their number, the GPU, and where they are there.
    fn stretches(&self, weights: &Weights) -> Option<Vec<(usize, usize, Weights)>> {
        let stretch = |(cells, part, first): (Range<usize>, usize, usize)| {
            let whole = (cells.start - weights.first).is_multiple_of(weights.pitch)
                && cells.len().is_multiple_of(weights.pitch);
            let rows = cells.len() / weights.pitch;
            let row = (cells.start - weights.first) / weights.pitch;
            whole.then_some((row, part, Weights { first, rows, ..*weights }))
        };
        self.matrix.stretches(weights.cells()).map(stretch).collect()
    }

    /// Whether products with these weights can be computed there.
    pub fn has(&self, weights: &Weights) -> bool {
        let there = |&(_, part, own): &(usize, usize, Weights)| {
            let kind = self.matrix.parts()[part].messages().kind(&own.cells());
            own.are_aligned() && matches!(kind, Some(Cell::Byte | Cell::Half))
        };
        self.stretches(weights).is_some_and(|all| all.iter().all(there))
    }

    /// The sums of products of each row of activations with all rows of weights ([`Self::has`]), of which there are so many,
    /// row by row; those beyond the rows of weights are zero. All fit 32 bits. None where there is too little memory, or more than
    /// is counted.
    pub fn products(
        &self,
        weights: &Weights,
        activations: &Activations,
        width: usize,
    ) -> Result<Option<Vec<i32>>, Error> {
        let Some(stretches) = self.stretches(weights) else { return Ok(None) };
        if let [(_, part, own)] = stretches[..] {
            return self.on(part, &own, activations, width);
        }
        // A thread for each GPU, which waits for nothing but that.
        let each = |k: usize| -> Result<Vec<_>, Error> {
            let own = stretches.iter().filter(|&&(_, part, _)| part == k);
            own.map(|(row, _, own)| Ok((*row, own.rows, self.on(k, own, activations, own.rows)?))).collect()
        };
        let found = at_once((0..self.rooms.len()).map(|k| move || each(k)))?;
        let mut sums = vec![0; activations.rows * width];
        for (row, rows, found) in found.into_iter().flatten() {
            let Some(found) = found else { return Ok(None) };
            for (sums, found) in sums.chunks_mut(width).zip(found.chunks(rows)) {
                sums[row..row + rows].copy_from_slice(found);
            }
        }
        Ok(Some(sums))
    }

    /// The same for weights that lie on one GPU.
    fn on(
        &self,
        part: usize,
        weights: &Weights,
        activations: &Activations,
        width: usize,
    ) -> Result<Option<Vec<i32>>, Error> {
        let needed = (activations.cells.len(), activations.rows * width);
        if !are_counted(activations.rows, width) {
            return Ok(None);
        }
        let own = &self.matrix.parts()[part];
        // Nobody waits for a room that is used: threads that copy may do something else in between, and want one too.
        let old = room(&self.rooms[part]).take();
        let is_enough = |room: &Room| needed.0 <= room.size().0 && needed.1 <= room.size().1;
        let mut taken = match old {
            Some(room) if is_enough(&room) => room,
            old => match larger(own.encoder().machine(), old, needed) {
                Err(Error::Memory { .. }) => return Ok(None),
                made => made?,
            },
        };
        taken.write(&activations.cells)?;
        taken.forward(own.messages(), weights, activations.rows, width)?;
        let mut sums = vec![0; needed.1];
        taken.read(bytemuck::cast_slice_mut(&mut sums))?;
        *room(&self.rooms[part]) = Some(taken);
        Ok(Some(sums))
    }

    /// Gives the memory back that was for activations and sums.
    pub fn rest(&self) {
        for of_one in &self.rooms {
            room(of_one).take();
        }
    }
}

/// Room for what there was room for, and for more.
fn larger(
    machine: &Arc<dyn Machine>,
    old: Option<Room>,
    (activations, sums): (usize, usize),
) -> Result<Room, Error> {
    let size = old.map_or((0, 0), |room| room.size());
    let (activations, sums) = (activations.max(size.0), sums.max(size.1));
    fits(&**machine, Room::memory(activations, sums))?;
    Room::new(machine, activations, sums)
}

/// A panic leaves nothing half done.
fn room(of_one: &Mutex<Option<Room>>) -> MutexGuard<'_, Option<Room>> {
    of_one.lock().unwrap_or_else(PoisonError::into_inner)
}
