//! The columns of the fixed tree: built once for a program, shared by all its traces.

use std::sync::Arc;

use circlet_core::circuit::{Circuit, Column, ColumnId, Content, Tree};
use circlet_core::program::{Data, Program};
use rayon::prelude::*;

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
    Narrow(Vec<i16>, i64),
    Wide(Vec<i32>),
}

/// The columns of the fixed tree, in as few bits as their numbers take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed(Vec<Arc<Stored>>);

impl Fixed {
    /// The fixed columns of a program.
    pub fn new(circuit: &Circuit, program: &Program, data: &Data) -> Self {
        let stored = |column: &Column| {
            if column.bound.low >= i16::MIN.into() && column.bound.high <= i16::MAX.into() {
                // A key may hold numbers beyond their bounds; then they are stored as they are.
                let cells = match content(column, program, data, |&v| i16::try_from(v)) {
                    Some(Ok(cells)) => cells,
                    Some(Err(_)) => return wide(column, program, data),
                    None => Vec::new(),
                };
                let norm = |row: &[i16]| row.iter().map(|&v| i64::from(v).abs()).sum();
                let norms = cells.chunks(1 << column.shape.log_cols()).map(norm);
                let norm = norms.max().unwrap_or(0);
                return Stored::Narrow(cells, norm);
            }
            wide(column, program, data)
        };
        Self(circuit.columns.par_iter().map(|column| Arc::new(stored(column))).collect())
    }

    /// The same columns for another circuit of one family: its fixed columns are those of this one in order.
    #[must_use]
    pub fn of_family(&self, own: &Circuit, other: &Circuit) -> Self {
        let fixed = |column: &&Column| column.tree() == Tree::Fixed;
        let mut columns = own.columns.iter().zip(&self.0).filter(|(column, _)| fixed(column));
        let empty = Arc::new(Stored::Wide(Vec::new()));
        let next = |column: &Column| {
            if !fixed(&column) {
                return empty.clone();
            }
            let (original, cells) = columns.next().expect("as many fixed columns");
            assert_eq!(original.shape, column.shape, "fixed columns of one family");
            cells.clone()
        };
        Self(other.columns.iter().map(next).collect())
    }

    /// A column; empty if it is not of the fixed tree.
    pub fn cells(&self, id: ColumnId) -> Cells<'_> {
        match self.0.get(id.0 as usize).map(Arc::as_ref) {
            Some(Stored::Narrow(cells, _)) => Cells::Narrow(cells),
            Some(Stored::Wide(cells)) => Cells::Wide(cells),
            None => Cells::Wide(&[]),
        }
    }

    /// A column in sixteen bits, with the largest sum of absolute values in a row.
    pub(super) fn matrix(&self, id: ColumnId) -> Option<(&[i16], i64)> {
        match self.0.get(id.0 as usize).map(Arc::as_ref) {
            Some(Stored::Narrow(cells, norm)) if !cells.is_empty() => Some((cells, *norm)),
            _ => None,
        }
    }
}

fn wide(column: &Column, program: &Program, data: &Data) -> Stored {
    let cells = content(column, program, data, |&v| Ok::<i32, ()>(v));
    Stored::Wide(cells.and_then(Result::ok).unwrap_or_default())
}

/// The cells of a fixed column, padded with zeros; nothing for other columns.
fn content<T: Clone + Default, E>(
    column: &Column,
    program: &Program,
    data: &Data,
    convert: impl Fn(&i32) -> Result<T, E>,
) -> Option<Result<Vec<T>, E>> {
    match column.content {
        Content::Constant { constant, row, col } => {
            let width = program.constants[constant.0 as usize].cols as usize;
            let source = &data.constants[constant.0 as usize];
            let shape = column.shape;
            let (cols, stride) = (shape.cols as usize, 1 << shape.log_cols());
            let mut cells = Vec::with_capacity(shape.size());
            for t in 0..shape.rows as usize {
                let from = (row as usize + t) * width + col as usize;
                for cell in &source[from..from + cols] {
                    match convert(cell) {
                        Ok(cell) => cells.push(cell),
                        Err(error) => return Some(Err(error)),
                    }
                }
                cells.resize((t + 1) * stride, T::default());
            }
            cells.resize(shape.size(), T::default());
            Some(Ok(cells))
        }
        Content::Table(table) => Some(data.tables[table.0 as usize].iter().map(convert).collect()),
        Content::Trace | Content::Multiplicity(_) | Content::State | Content::Past => None,
    }
}

/// The columns of the fixed tree: constants and tables, padded with zeros.
pub fn fixed_columns(circuit: &Circuit, program: &Program, data: &Data) -> Vec<(ColumnId, Vec<i32>)> {
    let columns = circuit.columns.iter().enumerate();
    columns
        .filter_map(|(i, column)| {
            let cells = content(column, program, data, |&v| Ok::<i32, ()>(v))?.ok()?;
            Some((ColumnId(i as u32), cells))
        })
        .collect()
}
