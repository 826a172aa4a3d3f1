//! Columns of the trace as the prover's kernels read them.

use std::ops::Range;

use circlet_core::circuit::{Circuit, ColumnId, Form, Shape, Tree};
use circlet_core::field::M31;
use circlet_core::protocol::Protocol;

use crate::backend::field::{B, LANES, pack_all, pack_base, to_stwo_base};
use crate::backend::gpu::matrix as gpu;
use crate::backend::matrix::Matrix;
use crate::execute::{Cells, Trace, form_values};

/// A column, modulo `P`; the last vector is filled with zeros.
pub fn column_lanes(trace: &Trace, id: ColumnId) -> Vec<B> {
    match trace.cells(id) {
        Cells::Narrow(cells) => cells.chunks(LANES).map(pack_narrow).collect(),
        Cells::Wide(cells) => pack_all(cells),
    }
}

fn pack_narrow(cells: &[i16]) -> B {
    let mut lanes = [0; LANES];
    for (lane, &cell) in lanes.iter_mut().zip(cells) {
        *lane = cell.into();
    }
    pack_base(&lanes)
}

/// Where a column lies on a GPU, among the cells of all columns of a matrix there, if the trace has the cells of the matrix that is
/// there. Matrices of trees are those that the trace was committed to.
pub fn on_gpu<'a>(
    protocol: &Protocol,
    trace: &Trace,
    matrices: [Option<&'a Matrix>; 4],
    id: ColumnId,
) -> Option<(&'a gpu::Matrix, Range<usize>)> {
    let columns = &protocol.declared.columns;
    let tree = columns.tree(id);
    let Some(Matrix::OnGpu(matrix)) = matrices[tree.index()] else { return None };
    if tree == Tree::Fixed && !trace.is_shared(id) {
        return None;
    }
    let first = protocol.stacking.offset_in_tree(columns, id) as usize;
    Some((matrix, first..first + trace.cells(id).len()))
}

/// The column that a form is in every cell of a shape, if it is just one.
pub fn whole_column(circuit: &Circuit, form: &Form, shape: Shape) -> Option<ColumnId> {
    let [(1, id)] = form.terms[..] else { return None };
    let own = circuit.column(id).shape;
    let alike = (own.log_rows(), own.log_cols()) == (shape.log_rows(), shape.log_cols());
    (form.constant == 0 && form.indicators.is_empty() && alike).then_some(id)
}

/// A linear form in every cell of a shape, modulo `P`; the last vector is filled with zeros.
pub fn form_lanes(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape) -> Vec<B> {
    if let Some(id) = whole_column(circuit, form, shape) {
        return column_lanes(trace, id);
    }
    form_values(circuit, trace, form, shape)
        .chunks(LANES)
        .map(|chunk| {
            let mut lanes = [to_stwo_base(M31::ZERO); LANES];
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = to_stwo_base(M31::from_i64(value));
            }
            B::from_array(lanes)
        })
        .collect()
}
