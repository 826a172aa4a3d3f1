//! The columns of the fixed tree: built once for a program, shared by all its traces.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use circlet_core::circuit::{Circuit, Column, ColumnId, Content, Tree};
use circlet_core::program::{Data, Program};
use circlet_core::protocol::Protocol;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::backend::gpu::forward::Resident;
use crate::map::map;
use crate::numbers::Source;

/// A column as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells<'a> {
    /// Numbers of sixteen bits.
    Narrow(&'a [i16]),
    /// Numbers of 32 bits.
    Wide(&'a [i32]),
}

impl Cells<'_> {
    /// Number of cells, padding included.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(cells) => cells.len(),
            Self::Wide(cells) => cells.len(),
        }
    }

    /// Whether there are no cells: the column has not been filled yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A column in the fewest bits, sixteen or 32, that hold its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    /// The cells, and the largest sum of absolute values in a row.
    Narrow(Shorts, i64),
    Wide(Vec<i32>),
}

/// Numbers of sixteen bits in memory or in a file.
#[derive(Clone, Debug)]
enum Shorts {
    Memory(Vec<i16>),
    /// The bytes of a file between two offsets that are even.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Deref for Shorts {
    type Target = [i16];

    fn deref(&self) -> &[i16] {
        match self {
            Self::Memory(cells) => cells,
            Self::Mapped(map, range) => bytemuck::cast_slice(&map[range.clone()]),
        }
    }
}

impl PartialEq for Shorts {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Shorts {}

/// A column, and the place of its first cell where a GPU holds it.
#[derive(Clone, Debug)]
struct Held {
    stored: Arc<Stored>,
    place: usize,
}

impl From<Stored> for Held {
    fn from(stored: Stored) -> Self {
        Self { stored: stored.into(), place: 0 }
    }
}

/// The columns of the fixed tree, in as few bits as their numbers take.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    columns: Vec<Held>,
    /// The GPUs that hold them too.
    gpu: Option<Arc<Resident>>,
}

/// Wherever they are.
impl PartialEq for Fixed {
    fn eq(&self, other: &Self) -> bool {
        self.columns.iter().map(|column| &column.stored).eq(other.columns.iter().map(|column| &column.stored))
    }
}

impl Eq for Fixed {}

impl Fixed {
    /// The fixed columns of a program.
    pub fn new(circuit: &Circuit, program: &Program, source: &impl Source) -> Self {
        let stored = |column: &Column| {
            let mut cells = Vec::with_capacity(if is_fixed(column) { column.shape.size() } else { 0 });
            let Ok(norm) = narrow(column, program, source, |part| {
                cells.extend_from_slice(part);
                Ok::<(), Infallible>(())
            });
            match norm {
                Some(norm) => Stored::Narrow(Shorts::Memory(cells), norm),
                None => Stored::Wide(wide(column, program, source)),
            }
            .into()
        };
        Self { columns: circuit.columns.par_iter().map(stored).collect(), gpu: None }
    }

    /// The same columns with nearly all of them in a nameless file in a folder, for programs that are larger than
    /// memory: it is read when it is needed, and gone with the program.
    pub fn in_file(
        circuit: &Circuit,
        program: &Program,
        source: &impl Source,
        folder: &Path,
    ) -> io::Result<Self> {
        /// A column while the file is written.
        enum Made {
            Narrow(Range<usize>, i64),
            Wide(Vec<i32>),
        }
        let mut end = 0;
        let starts: Vec<usize> = circuit
            .columns
            .iter()
            .map(|column| {
                let start = end;
                end += if is_fixed(column) { 2 * column.shape.size() } else { 0 };
                start
            })
            .collect();
        let file = Mutex::new(tempfile::tempfile_in(folder)?);
        let made = |(column, &start): (&Column, &usize)| {
            let mut at = start;
            let norm = narrow(column, program, source, |part| {
                let bytes: &[u8] = bytemuck::cast_slice(part);
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                write_at(&mut file, at, bytes)?;
                at += bytes.len();
                Ok::<(), io::Error>(())
            })?;
            Ok(match norm {
                Some(norm) => Made::Narrow(start..at, norm),
                None => Made::Wide(wide(column, program, source)),
            })
        };
        let made: Vec<Made> = circuit.columns.par_iter().zip(&starts).map(made).collect::<io::Result<_>>()?;
        let map = Arc::new(map(&file.into_inner().unwrap_or_else(PoisonError::into_inner))?);
        let stored = |made| match made {
            Made::Narrow(range, norm) if range.is_empty() => Stored::Narrow(Shorts::Memory(Vec::new()), norm),
            Made::Narrow(range, norm) => Stored::Narrow(Shorts::Mapped(map.clone(), range), norm),
            Made::Wide(cells) => Stored::Wide(cells),
        };
        Ok(Self { columns: made.into_iter().map(|made| stored(made).into()).collect(), gpu: None })
    }

    /// The same columns, which a GPU holds too, in the layout of the protocol that they were committed under: products with
    /// them are computed there.
    #[must_use]
    pub fn on_gpu(&self, protocol: &Protocol, gpu: Resident) -> Self {
        let place = |id| protocol.stacking.offset_in_tree(&protocol.declared.columns, id) as usize;
        let held = |(id, column): (ColumnId, &Column)| Held {
            stored: self.columns[id.0 as usize].stored.clone(),
            place: if is_fixed(column) { place(id) } else { 0 },
        };
        let columns = (0..).map(ColumnId).zip(&protocol.circuit.columns).map(held).collect();
        Self { columns, gpu: Some(gpu.into()) }
    }

    /// The same columns for another circuit of one family: its fixed columns are those of this one in order.
    #[must_use]
    pub fn of_family(&self, own: &Circuit, other: &Circuit) -> Self {
        let mut columns = own.columns.iter().zip(&self.columns).filter(|(column, _)| is_fixed(column));
        let empty = Held::from(Stored::Wide(Vec::new()));
        let next = |column: &Column| {
            if !is_fixed(column) {
                return empty.clone();
            }
            let (original, cells) = columns.next().expect("as many fixed columns");
            assert_eq!(original.shape, column.shape, "fixed columns of one family");
            cells.clone()
        };
        Self { columns: other.columns.iter().map(next).collect(), gpu: self.gpu.clone() }
    }

    fn stored(&self, id: ColumnId) -> Option<&Stored> {
        self.columns.get(id.0 as usize).map(|column| &*column.stored)
    }

    /// A GPU that holds the columns, and the place of the first cell of one there.
    pub(super) fn gpu(&self, id: ColumnId) -> Option<(&Resident, usize)> {
        Some((self.gpu.as_deref()?, self.columns.get(id.0 as usize)?.place))
    }

    /// Gives the memory back that a GPU has used beside the columns.
    pub(super) fn rest(&self) {
        if let Some(gpu) = &self.gpu {
            gpu.rest();
        }
    }

    /// A column; empty if it is not of the fixed tree.
    pub fn cells(&self, id: ColumnId) -> Cells<'_> {
        match self.stored(id) {
            Some(Stored::Narrow(cells, _)) => Cells::Narrow(cells),
            Some(Stored::Wide(cells)) => Cells::Wide(cells),
            None => Cells::Wide(&[]),
        }
    }

    /// A column in sixteen bits, with the largest sum of absolute values in a row.
    pub(super) fn matrix(&self, id: ColumnId) -> Option<(&[i16], i64)> {
        match self.stored(id) {
            Some(Stored::Narrow(cells, norm)) if !cells.is_empty() => Some((cells, *norm)),
            _ => None,
        }
    }
}

fn is_fixed(column: &Column) -> bool {
    column.tree() == Tree::Fixed
}

fn write_at(file: &mut File, at: usize, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(bytes)
}

/// Cells that are handed on at once, or one row if it has more.
const PART: usize = 1 << 16;

/// Hands on the cells of a fixed column part by part, each of whole rows padded with zeros; nothing for other columns.
fn fill<E>(
    column: &Column,
    program: &Program,
    source: &impl Source,
    mut emit: impl FnMut(&[i32]) -> Result<(), E>,
) -> Result<(), E> {
    let Content::Constant { constant, row, col } = column.content else {
        return match column.content {
            Content::Table(table) => emit(&source.tables()[table.0 as usize]),
            _ => Ok(()),
        };
    };
    let width = program.constants[constant.0 as usize].cols as usize;
    let shape = column.shape;
    let (rows, cols, stride) = (shape.rows as usize, shape.cols as usize, 1 << shape.log_cols());
    let count = (PART / stride).max(1);
    let mut part = vec![0; count * stride];
    for first in (0..1 << shape.log_rows()).step_by(count) {
        let part = &mut part[..count.min((1 << shape.log_rows()) - first) * stride];
        for (t, cells) in (first..).zip(part.chunks_exact_mut(stride)) {
            // Cells behind the columns are zero from the start.
            if t < rows {
                let from = (row as usize + t) * width + col as usize;
                source.read(constant.0 as usize, from, &mut cells[..cols]);
            } else {
                cells.fill(0);
            }
        }
        emit(part)?;
    }
    Ok(())
}

/// The same in sixteen bits, with the largest sum of absolute values in a row; `None` if they are too few.
fn narrow<E>(
    column: &Column,
    program: &Program,
    source: &impl Source,
    mut emit: impl FnMut(&[i16]) -> Result<(), E>,
) -> Result<Option<i64>, E> {
    /// Why it ends early.
    enum Stop<E> {
        Wide,
        Failed(E),
    }
    if column.bound.low < i16::MIN.into() || column.bound.high > i16::MAX.into() {
        return Ok(None);
    }
    let (mut most, mut shorts) = (0, Vec::new());
    let stride = 1 << column.shape.log_cols();
    let filled = fill(column, program, source, |part| {
        shorts.clear();
        for row in part.chunks(stride) {
            let mut norm = 0;
            for &cell in row {
                // A key may hold numbers beyond their bounds; then they are stored as they are.
                shorts.push(i16::try_from(cell).map_err(|_| Stop::Wide)?);
                norm += i64::from(cell).abs();
            }
            most = most.max(norm);
        }
        emit(&shorts).map_err(Stop::Failed)
    });
    match filled {
        Ok(()) => Ok(Some(most)),
        Err(Stop::Wide) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn wide(column: &Column, program: &Program, source: &impl Source) -> Vec<i32> {
    let mut cells = Vec::new();
    let Ok(()) = fill(column, program, source, |part| {
        cells.extend_from_slice(part);
        Ok::<(), Infallible>(())
    });
    cells
}

/// The columns of the fixed tree: constants and tables, padded with zeros.
pub fn fixed_columns(circuit: &Circuit, program: &Program, data: &Data) -> Vec<(ColumnId, Vec<i32>)> {
    let columns = (0..).map(ColumnId).zip(&circuit.columns).filter(|(_, column)| is_fixed(column));
    columns.map(|(id, column)| (id, wide(column, program, data))).collect()
}
