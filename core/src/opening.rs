//! The batched opening: all linear claims as one sumcheck whose last rounds are the folds of a codeword.
//!
//! With `W` the claims' weight on the stacked vector `F`, batched by powers of `mu`, the claim is
//! `sum_x F(x) W(x) = v`. The coordinates that select tree and matrix column are bound first, from the highest
//! down; then the prover commits to the codeword of `u(row) = sum_j eq(s, j) F(row, j)` and the rows'
//! coordinates are bound from the lowest up, each binding a fold of that codeword (ePrint 2023/1705). When few
//! coordinates are left, the message is sent in clear. At random positions the opened rows must combine to
//! `u`, and every fold layer to the next.

use alloc::vec::Vec;

use crate::field::{M31, QM31};
use crate::poly::eq_table;

/// Coefficients of the round polynomial of `F W` that are sent: those of `1` and `X^2`.
pub const MESSAGE: usize = 2;

/// A round polynomial `s_0 + s_1 X + s_2 X^2`; `s_1` follows from `s(0) + s(1) = claim`.
pub fn round(claim: QM31, [s0, s2]: [QM31; MESSAGE]) -> [QM31; 3] {
    [s0, claim - s0.double() - s2, s2]
}

/// `eq(s, j)` for the matrix columns of all trees, given the coordinates that select them: `log_columns` of the
/// column within its tree, then those that select the tree.
pub fn column_weights(stack: &[QM31], log_columns: u32) -> Vec<Vec<QM31>> {
    let (columns, trees) = stack.split_at_checked(log_columns as usize).unwrap_or((stack, &[]));
    let weights = eq_table(columns);
    eq_table(trees).into_iter().map(|side| weights.iter().map(|&w| w * side).collect()).collect()
}

/// The value of `u` at a position from the opened rows of all trees.
pub fn combine_rows<'a>(weights: &[Vec<QM31>], rows: impl IntoIterator<Item = &'a [M31]>) -> QM31 {
    weights.iter().zip(rows).map(|(weights, row)| QM31::dot(weights, row)).sum()
}
