//! The definition of every op, once: its shapes, columns, lookups, relations, and how its trace is computed.

mod elementwise;
mod layernorm;
mod matmul;
mod rewire;
#[cfg(test)]
mod tests;

use crate::circuit::{Builder, CircuitError};
use crate::program::Op;

/// Spells out one op.
pub(crate) fn define(b: &mut Builder<'_>, op: &Op) -> Result<(), CircuitError> {
    match op {
        Op::MatMul { x, factor, bias, requantize, y } => {
            matmul::define(b, *x, *factor, *bias, *requantize, *y)
        }
        Op::Add { a, a_shift, b: other, b_shift, requantize, y } => {
            elementwise::add(b, (*a, *a_shift), (*other, *b_shift), *requantize, *y)
        }
        Op::Mul { a, b: other, requantize, y } => elementwise::mul(b, *a, *other, *requantize, *y),
        Op::Affine { x, scale, offset, requantize, y } => {
            elementwise::affine(b, *x, *scale, *offset, *requantize, *y)
        }
        Op::Map { x, table, y } => elementwise::map(b, *x, *table, *y),
        Op::LayerNorm { x, params, y } => layernorm::define(b, *x, *params, *y),
        Op::Rewire { x, dims, permutation, y } => rewire::define(b, *x, dims, permutation, *y),
    }
}
