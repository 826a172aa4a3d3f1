//! Cells as sequences: runs of neighbours are copied whole.

use circlet_core::circuit::{Circuit, Placement};

use super::{Cells, Trace};

/// A run of cells of a row that are neighbours in the sequence too.
struct Run {
    cell: usize,
    position: usize,
    len: usize,
}

/// The runs that every row consists of.
fn runs(cols: &[u64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (cell, &position) in cols.iter().enumerate() {
        let position = position as usize;
        match runs.last_mut() {
            Some(last) if last.position + last.len == position => last.len += 1,
            _ => runs.push(Run { cell, position, len: 1 }),
        }
    }
    runs
}

/// Reads a sequence from its cells.
pub fn sequence(trace: &Trace, circuit: &Circuit, cells: &[Placement]) -> Vec<i32> {
    let mut entries = Vec::new();
    for placement in cells {
        let log_cols = circuit.column(placement.column).shape.log_cols();
        let (rows, cols) = (placement.rows.list(), placement.cols.list());
        let last = |list: &[u64]| list.iter().max().map_or(0, |&position| position as usize);
        let len = if rows.is_empty() || cols.is_empty() { 0 } else { last(&rows) + last(&cols) + 1 };
        if entries.len() < len {
            entries.resize(len, 0);
        }
        let (column, runs) = (trace.cells(placement.column), runs(&cols));
        for (t, row) in rows.into_iter().enumerate() {
            for run in &runs {
                let (from, to) = ((t << log_cols) + run.cell, row as usize + run.position);
                let entries = &mut entries[to..to + run.len];
                match column {
                    Cells::Wide(column) => entries.copy_from_slice(&column[from..from + run.len]),
                    Cells::Narrow(column) => {
                        for (entry, &cell) in entries.iter_mut().zip(&column[from..]) {
                            *entry = cell.into();
                        }
                    }
                }
            }
        }
    }
    entries
}

/// Writes a sequence to its cells. Padding repeats the last real row and column: what is computed from it then
/// stays in range wherever the real cells do.
pub fn place(trace: &mut Trace, circuit: &Circuit, cells: &[Placement], entries: &[i32]) {
    for placement in cells {
        let shape = circuit.column(placement.column).shape;
        let column = &mut trace.columns[placement.column.0 as usize];
        column.resize(shape.size(), 0);
        let runs = runs(&placement.cols.list());
        for (t, row) in placement.rows.list().into_iter().enumerate() {
            for run in &runs {
                let (to, from) = ((t << shape.log_cols()) + run.cell, row as usize + run.position);
                column[to..to + run.len].copy_from_slice(&entries[from..from + run.len]);
            }
        }
        let (rows, cols, width) = (shape.rows as usize, shape.cols as usize, 1 << shape.log_cols());
        if cols < width {
            for row in column.chunks_mut(width).take(rows) {
                let last = row[cols - 1];
                row[cols..].fill(last);
            }
        }
        for row in rows..1 << shape.log_rows() {
            column.copy_within((rows - 1) * width..rows * width, row * width);
        }
    }
}
