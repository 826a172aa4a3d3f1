//! Committing to the columns of one tree.

use std::ops::Range;
use std::sync::Arc;

use circlet_core::circuit::{ColumnId, Tree as Which};
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;
use circlet_cuda::columns::Cell;
use rayon::prelude::*;

use super::adversary::Adversary;
use crate::backend::device::Error;
use crate::backend::encode::Encoder;
use crate::backend::field::{B, LANES, pack_base};
use crate::backend::gpu::matrix::Later;
use crate::backend::matrix::{Matrix, groups};
use crate::backend::merkle::{BulkHash, Tree};
use crate::execute::{Cells, Fixed};

/// A tree with what is under it.
pub struct Commitment<S: BulkHash> {
    /// Matrix columns and their codewords.
    pub matrix: Matrix,
    /// The tree over the codewords' rows.
    pub tree: Tree<S>,
}

impl<S: BulkHash> Commitment<S> {
    /// Stacks columns into the matrix of a tree, encodes and hashes it.
    pub fn new<'a>(
        protocol: &Protocol,
        encoder: &Encoder,
        which: Which,
        columns: impl Iterator<Item = (ColumnId, Cells<'a>)>,
        adversary: &mut dyn Adversary,
    ) -> Result<Self, Error> {
        let label = match which {
            Which::Fixed => Label::Key,
            Which::Witness => Label::WitnessRoot,
            Which::State => Label::StateRoot,
            Which::Past => Label::PastRoot,
        };
        let stacking = &protocol.stacking;
        let columns = placed(protocol, columns);
        let count = stacking.matrix_columns[which.index()];
        let make = |range| stack(&columns, range, 1 << stacking.log_rows);
        let cap_log = protocol.cap_log(protocol.codeword_log());
        if adversary.meddles() {
            let messages = make(0..count);
            let mut codewords = encoder.encode_all(&messages)?;
            adversary.codewords(label, &mut codewords);
            let tree = Tree::new(&codewords, cap_log);
            return Ok(Self { matrix: Matrix::Kept { messages, codewords }, tree });
        }
        let (matrix, tree) =
            encoder.commit(&cells(protocol, which), make, cap_log, Later::new(protocol, which))?;
        Ok(Self { matrix, tree })
    }

    /// The same for the fixed tree with nothing in memory but the tree, unless it stays on a GPU: messages and codewords are
    /// made from the columns a few at a time, now and in every proof.
    pub fn made(protocol: &Protocol, encoder: &Encoder, columns: Arc<Fixed>) -> Result<Self, Error> {
        let stacking = &protocol.stacking;
        let (count, rows) = (stacking.matrix_columns[Which::Fixed.index()], 1 << stacking.log_rows);
        let ids = (0..).map(ColumnId).zip(&protocol.circuit.columns);
        let mut places: Vec<(usize, ColumnId)> = ids
            .filter(|(_, column)| column.tree() == Which::Fixed)
            .map(|(id, _)| (stacking.offset_in_tree(&protocol.declared.columns, id) as usize, id))
            .collect();
        places.sort_unstable();
        let make = move |range| {
            let columns: Vec<(usize, Cells<'_>)> =
                places.iter().map(|&(offset, id)| (offset, columns.cells(id))).collect();
            stack(&columns, range, rows)
        };
        let cap_log = protocol.cap_log(protocol.codeword_log());
        let (cells, later) = (cells(protocol, Which::Fixed), Later::new(protocol, Which::Fixed));
        if let Some((matrix, tree)) = encoder.commit_there(&cells, &make, cap_log, later)? {
            return Ok(Self { matrix, tree });
        }
        let tree = encoder.tree(count, groups(count).map(&make), cap_log)?;
        Ok(Self { matrix: Matrix::Made { count, make: Box::new(make) }, tree })
    }
}

/// What cells hold the matrix columns of a tree: the program's numbers are within their declared bounds, which is checked.
fn cells(protocol: &Protocol, which: Which) -> Vec<Cell> {
    let stacking = &protocol.stacking;
    let count = stacking.matrix_columns[which.index()];
    if which != Which::Fixed {
        return vec![Cell::Word; count];
    }
    let mut cells = vec![Cell::Byte; count];
    for (id, column) in (0..).map(ColumnId).zip(&protocol.circuit.columns) {
        if column.tree() == which {
            let first = stacking.offset_in_tree(&protocol.declared.columns, id) as usize;
            let last = first + (1 << (column.shape.log_rows() + column.shape.log_cols())) - 1;
            // Padding is zero.
            let own = Cell::of(column.bound.low.min(0), column.bound.high.max(0));
            for cell in &mut cells[first >> stacking.log_rows..=last >> stacking.log_rows] {
                *cell = own.max(*cell);
            }
        }
    }
    cells
}

/// Columns with the place of each in the tree's vector, in their order there.
fn placed<'a>(
    protocol: &Protocol,
    columns: impl Iterator<Item = (ColumnId, Cells<'a>)>,
) -> Vec<(usize, Cells<'a>)> {
    let place =
        |(id, cells)| (protocol.stacking.offset_in_tree(&protocol.declared.columns, id) as usize, cells);
    let mut columns: Vec<(usize, Cells<'_>)> = columns.map(place).collect();
    columns.sort_by_key(|(offset, _)| *offset);
    columns
}

/// Vectors that are filled by one task.
const TASK: usize = 1 << 12;

/// Some of the matrix columns in which columns lie one after the other, given the first cell of each in increasing
/// order.
fn stack(columns: &[(usize, Cells<'_>)], range: Range<usize>, rows: usize) -> Vec<Vec<B>> {
    let mut messages = vec![vec![pack_base(&[]); rows / LANES]; range.len()];
    let tasks = messages.par_iter_mut().zip(range).flat_map(|(message, j)| {
        let chunks = message.par_chunks_mut(TASK).enumerate();
        chunks.map(move |(k, chunk)| (j * rows + k * TASK * LANES, chunk))
    });
    tasks.for_each(|(first, vectors)| {
        let end = first + vectors.len() * LANES;
        let start = columns.partition_point(|(offset, cells)| offset + cells.len() <= first);
        let mut partial = Partial::default();
        for (offset, cells) in columns[start..].iter().take_while(|(offset, _)| *offset < end) {
            let (from, to) = (first.max(*offset), end.min(offset + cells.len()));
            let range = from - offset..to - offset;
            if range.len() % LANES == 0 {
                let vectors = &mut vectors[(from - first) / LANES..];
                match cells {
                    Cells::Wide(cells) => {
                        for (vector, part) in vectors.iter_mut().zip(cells[range].chunks_exact(LANES)) {
                            *vector = pack_base(part);
                        }
                    }
                    Cells::Narrow(cells) => {
                        for (vector, part) in vectors.iter_mut().zip(cells[range].chunks_exact(LANES)) {
                            let mut wide = [0; LANES];
                            wide.iter_mut().zip(part).for_each(|(wide, &cell)| *wide = cell.into());
                            *vector = pack_base(&wide);
                        }
                    }
                }
            } else {
                // Columns are aligned blocks: one that is smaller than a vector lies within one.
                let part: Vec<i32> = match cells {
                    Cells::Wide(cells) => cells[range].to_vec(),
                    Cells::Narrow(cells) => cells[range].iter().map(|&cell| cell.into()).collect(),
                };
                partial.add(from - first, &part, vectors);
            }
        }
    });
    messages
}

/// A vector of several columns.
#[derive(Default)]
struct Partial {
    vector: usize,
    cells: [i32; LANES],
}

impl Partial {
    fn add(&mut self, at: usize, cells: &[i32], vectors: &mut [B]) {
        if at / LANES != self.vector {
            *self = Self { vector: at / LANES, cells: [0; LANES] };
        }
        self.cells[at % LANES..][..cells.len()].copy_from_slice(cells);
        vectors[self.vector] = pack_base(&self.cells);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::from_stwo_base;
    use circlet_core::field::M31;

    #[test]
    fn columns_lie_where_they_belong() {
        // Sizes in the order of a layout: aligned blocks, largest first.
        let sizes = [1 << 17, 1 << 10, 1 << 10, 256, 32, 16, 16, 8, 4, 4, 2, 1, 1];
        for rows in [256, 1 << 9, 1 << 16, 1 << 18] {
            let (mut columns, mut all) = (Vec::new(), Vec::new());
            for size in sizes {
                let cells: Vec<i32> = (0..size).map(|i: i32| (i - 7).wrapping_mul(1_000_003)).collect();
                columns.push((all.len(), cells.clone()));
                all.extend(cells);
            }
            let count = all.len().div_ceil(rows);
            all.resize(count * rows, 0);
            let views: Vec<(usize, Cells<'_>)> =
                columns.iter().map(|(at, c)| (*at, Cells::Wide(c))).collect();
            let messages = stack(&views, 0..count, rows);
            for at in 0..count {
                let range = at..count.min(at + 2);
                let some = stack(&views, range.clone(), rows);
                assert!(
                    some.iter()
                        .flatten()
                        .map(|v| v.to_array())
                        .eq(messages[range].iter().flatten().map(|v| v.to_array()))
                );
            }
            assert_eq!((messages.len(), messages[0].len()), (count, rows / LANES));
            let cells = messages.iter().flatten().flat_map(|v| v.to_array());
            assert!(cells.map(from_stwo_base).eq(all.iter().map(|&c| M31::from_i64(c.into()))));
        }
    }
}
