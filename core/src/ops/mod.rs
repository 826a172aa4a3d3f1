//! The definition of every op, once: its shapes, columns, lookups, relations, and how its trace is computed.

mod argmax;
mod attention;
mod center;
mod elementwise;
mod gather;
mod integer;
mod layernorm;
mod matmul;
mod mean;
mod rewire;
mod rmsnorm;
#[cfg(test)]
mod tests;
mod wide;

use crate::circuit::{Builder, Checked};
use crate::program::Op;

/// Spells out one op.
pub(crate) fn define(b: &mut Builder<'_>, op: &Op) -> Checked<()> {
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
        Op::Gather { source, rows, y } => gather::define(b, *source, rows, *y),
        Op::Widen { base, x, left, right, y } => wide::widen(b, *base, *x, (*left, *right), *y),
        Op::MatMulAdd { base, x, weight, bias, shift, y } => {
            wide::matmul(b, *base, *x, *weight, *bias, *shift, *y)
        }
        Op::RmsNorm { x, params, y } => rmsnorm::define(b, *x, *params, *y),
        Op::Attention { base, x, params, y } => attention::define(b, *base, *x, params, *y),
        Op::ArgMax { x, weight, list } => argmax::define(b, *x, *weight, *list),
        Op::Center { x, offset, y } => center::define(b, *x, *offset, *y),
        Op::Mean { x, len, y } => mean::define(b, *x, *len, *y),
    }
}
