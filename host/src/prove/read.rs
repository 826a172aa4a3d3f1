//! Columns of the trace as the prover's kernels read them.

use circlet_core::circuit::{Circuit, Form, Shape};
use circlet_core::field::M31;

use crate::backend::field::{B, LANES, pack_all, to_stwo_base};
use crate::execute::{Trace, form_values};

/// A linear form in every cell of a shape, modulo `P`; the last vector is filled with zeros.
pub fn form_lanes(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape) -> Vec<B> {
    if let [(1, id)] = form.terms[..] {
        let column = circuit.column(id);
        let alike =
            (column.shape.log_rows(), column.shape.log_cols()) == (shape.log_rows(), shape.log_cols());
        if form.constant == 0 && form.indicators.is_empty() && alike {
            return pack_all(&trace.columns[id.0 as usize]);
        }
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
