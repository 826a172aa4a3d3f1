//! Linear forms in the cells of a shape.

use circlet_core::circuit::{Circuit, Form, Shape};
use rayon::prelude::*;

use super::{Cells, TASK, Trace};

/// A linear form in every cell of a shape.
pub fn form_values(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape) -> Vec<i64> {
    let mut out = vec![0; shape.size()];
    out.par_chunks_mut(TASK)
        .enumerate()
        .for_each(|(i, out)| form_range(circuit, trace, form, shape, i * TASK, out));
    out
}

/// A linear form in the cells of a shape from `from` on.
pub fn form_range(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape, from: usize, out: &mut [i64]) {
    out.fill(form.constant);
    for &(coefficient, id) in &form.terms {
        let own = circuit.column(id).shape;
        match trace.cells(id) {
            Cells::Narrow(cells) => add_column(coefficient, cells, own, shape, from, out),
            Cells::Wide(cells) => add_column(coefficient, cells, own, shape, from, out),
        }
    }
    for &(coefficient, set) in &form.indicators {
        for (slot, at) in out.iter_mut().zip(from..) {
            let (t, c) = (at >> shape.log_cols(), at & ((1 << shape.log_cols()) - 1));
            if set.contains(&trace.lists, t, c) {
                *slot += coefficient;
            }
        }
    }
}

/// Adds a multiple of a column, repeated where it is shorter than the shape.
fn add_column<T: Copy + Into<i64>>(
    c: i64,
    cells: &[T],
    own: Shape,
    shape: Shape,
    from: usize,
    out: &mut [i64],
) {
    if (own.log_rows(), own.log_cols()) == (shape.log_rows(), shape.log_cols()) {
        for (slot, &v) in out.iter_mut().zip(&cells[from..]) {
            *slot += c * v.into();
        }
        return;
    }
    let width = 1usize << shape.log_cols();
    let row_mask = (1usize << own.log_rows()) - 1;
    let (mut at, end) = (from, from + out.len());
    while at < end {
        let (t, k) = (at >> shape.log_cols() & row_mask, at & (width - 1));
        let len = (width - k).min(end - at);
        let out = &mut out[at - from..at - from + len];
        let row = &cells[t << own.log_cols()..(t + 1) << own.log_cols()];
        if row.len() == width {
            for (slot, &v) in out.iter_mut().zip(&row[k..]) {
                *slot += c * v.into();
            }
        } else {
            for (slot, k) in out.iter_mut().zip(k..) {
                *slot += c * row[k & (row.len() - 1)].into();
            }
        }
        at += len;
    }
}
