//! Products with weights where these lie on a GPU.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use circlet_cuda::columns::Cell;
use circlet_cuda::forward::{PIECE, Room, Weights, are_counted};
use circlet_cuda::{Error, Machine};

use super::fits;
use super::matrix::Matrix;

/// Multiplications that are left to the processor, if there are fewer: copies and launches take longer.
pub const LEAST: usize = 1 << 20;

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

/// Fixed columns on a GPU.
pub struct Resident {
    matrix: Arc<Matrix>,
    /// Where activations and sums were, and will be next.
    room: Mutex<Option<Room>>,
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resident").field(&self.machine().describe()).finish()
    }
}

impl Resident {
    /// The columns of a matrix.
    pub fn new(matrix: Arc<Matrix>) -> Self {
        Self { matrix, room: Mutex::default() }
    }

    fn machine(&self) -> &Arc<dyn Machine> {
        self.matrix.encoder().machine()
    }

    /// Whether products with these weights can be computed there.
    pub fn has(&self, weights: &Weights) -> bool {
        let kind = self.matrix.messages().kind(&weights.cells());
        weights.are_aligned() && matches!(kind, Some(Cell::Byte | Cell::Half))
    }

    /// The sums of products of each row of activations with all rows of weights, of which there are so many, row by row;
    /// those beyond the rows of weights are zero. All fit 32 bits. None where there is too little memory, or more than is counted.
    pub fn products(
        &self,
        weights: &Weights,
        activations: &Activations,
        width: usize,
    ) -> Result<Option<Vec<i32>>, Error> {
        let needed = (activations.cells.len(), activations.rows * width);
        if !are_counted(activations.rows, width) {
            return Ok(None);
        }
        let mut room = self.room();
        if !room.as_ref().is_some_and(|room| needed.0 <= room.size().0 && needed.1 <= room.size().1) {
            *room = match self.larger(room.take(), needed) {
                Err(Error::Memory { .. }) => return Ok(None),
                made => Some(made?),
            };
        }
        let Some(room) = room.as_mut() else { return Ok(None) };
        room.write(&activations.cells)?;
        room.forward(self.matrix.messages(), weights, activations.rows, width)?;
        let mut sums = vec![0; needed.1];
        room.read(bytemuck::cast_slice_mut(&mut sums))?;
        Ok(Some(sums))
    }

    /// Room for what there was room for, and for more.
    fn larger(&self, old: Option<Room>, (activations, sums): (usize, usize)) -> Result<Room, Error> {
        let size = old.map_or((0, 0), |room| room.size());
        let (activations, sums) = (activations.max(size.0), sums.max(size.1));
        fits(&**self.machine(), Room::memory(activations, sums))?;
        Room::new(self.machine(), activations, sums)
    }

    /// Gives the memory back that was for activations and sums.
    pub fn rest(&self) {
        self.room().take();
    }

    /// A panic leaves nothing half done.
    fn room(&self) -> MutexGuard<'_, Option<Room>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
