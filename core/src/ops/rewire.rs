//! Reshape and transpose: the same numbers in another order.
//!
//! With `theta` drawn after the columns are committed, `sum_i theta^i x_i = sum_i theta^i y_i` over the
//! entries of both tensors in the order of the result. The weights are products of powers along each axis,
//! so both sides are linear claims of the closed list in [`crate::axis`].

use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::{Builder, Checked, Stride, Wiring};
use crate::program::TensorId;

pub(super) fn define(
    b: &mut Builder<'_>,
    x: TensorId,
    dims: &[u32],
    permutation: &[u8],
    y: TensorId,
) -> Checked<()> {
    let (tx, ty) = (b.tensor(x)?, b.tensor(y)?);
    let count = u64::from(tx.rows) * u64::from(tx.cols);
    let product = dims.iter().try_fold(1u64, |p, &d| p.checked_mul(u64::from(d)));
    if product != Some(count) || u64::from(ty.rows) * u64::from(ty.cols) != count || dims.len() > 16 {
        return Err(b.refuse("dimensions do not multiply to the number of entries"));
    }
    // With the distance in the result between neighbours along each axis of the operand, zero for axes to come.
    let mut digits: Vec<Stride> = dims.iter().map(|&len| Stride { len, stride: 0 }).collect();
    let mut stride = 1u64;
    for &axis in permutation.iter().rev() {
        match digits.get_mut(usize::from(axis)) {
            Some(digit) if digit.stride == 0 => {
                digit.stride = stride;
                stride *= u64::from(digit.len);
            }
            _ => return Err(b.refuse("not a permutation of the axes")),
        }
    }
    if permutation.len() != dims.len() {
        return Err(b.refuse("not a permutation of the axes"));
    }
    if ty.bound < tx.bound {
        return Err(b.refuse("the result has a smaller bound than the operand"));
    }
    digits.retain(|digit| digit.len > 1);
    // The trailing digits that make up a row of the operand.
    let mut before = digits.as_slice();
    let mut cols = 1u64;
    while let ([rest @ .., last], true) = (before, cols < u64::from(tx.cols)) {
        before = rest;
        cols *= u64::from(last.len);
    }
    if cols != u64::from(tx.cols) {
        return Err(b.refuse("no suffix of the dimensions is a row of the operand"));
    }
    let whole = |digits: &[Stride]| {
        let merged = merge(digits);
        if merged.is_empty() { vec![Stride { len: 1, stride: 0 }] } else { merged }
    };
    let (rows, cols) = digits.split_at(before.len());
    let from = b.placed(x, &whole(rows), &whole(cols))?;
    b.produce(y)?;
    let to = b.in_row_order(y)?;
    b.wire(Wiring { from, to });
    Ok(())
}

/// Joins neighbouring digits that count on without a gap.
fn merge(digits: &[Stride]) -> Vec<Stride> {
    let mut out: Vec<Stride> = Vec::new();
    for &digit in digits {
        match out.last_mut() {
            Some(last) if last.stride == digit.stride * u64::from(digit.len) => {
                *last = Stride { len: last.len * digit.len, stride: digit.stride };
            }
            _ => out.push(digit),
        }
    }
    out
}
