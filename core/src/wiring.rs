//! Wirings and public tensors as linear claims.
//!
//! A sequence `v_0, v_1, ...` of cells is fixed by `sum_i theta^i v_i` for a `theta` drawn after the cells are
//! committed: two different sequences of length `n` agree with probability at most `n / |F|`. Positions add up
//! along the axes of a column, so the weights are products of powers along each axis.

use alloc::vec::Vec;

use crate::axis::{Axis, Digit};
use crate::circuit::{Circuit, Placement, Positions, Public};
use crate::claims::Claims;
use crate::field::{M31, QM31};

fn axis(positions: &Positions, theta: QM31) -> Axis {
    let digits = positions
        .digits
        .iter()
        .map(|d| Digit { len: d.len, ratio: theta.pow(u128::from(d.stride)) })
        .collect();
    Axis::Geometric { digits, skip: positions.skip, take: positions.take }
}

fn add(claims: &mut Claims, sign: QM31, placements: &[Placement], theta: QM31) {
    for placement in placements {
        let rows = claims.axis(axis(&placement.rows, theta));
        let cols = claims.axis(axis(&placement.cols, theta));
        claims.add(sign, placement.column, rows, cols);
    }
}

/// One claim for each wiring of the circuit: both sides have the same sum.
pub fn wiring_claims(circuit: &Circuit, theta: QM31, claims: &mut Claims) {
    for wiring in &circuit.wirings {
        claims.begin(QM31::ZERO);
        add(claims, QM31::ONE, &wiring.from, theta);
        add(claims, -QM31::ONE, &wiring.to, theta);
    }
}

/// One claim for each public tensor: its cells have the sum of the statement's entries.
pub fn public_claims<'a>(
    publics: impl Iterator<Item = (&'a Public, &'a [i32])>,
    theta: QM31,
    claims: &mut Claims,
) {
    for (public, entries) in publics {
        let value =
            entries.iter().rev().fold(QM31::ZERO, |sum, &v| sum * theta + M31::from_i64(i64::from(v)));
        claims.begin(value);
        add(claims, QM31::ONE, &public.cells, theta);
    }
}

/// The degree in `theta` of all claims of this module: one less than the longest sequence.
pub fn degree(circuit: &Circuit) -> u64 {
    let public = circuit.inputs.iter().chain(&circuit.outputs).map(|p| u64::from(p.rows) * u64::from(p.cols));
    let wired = circuit.wirings.iter().map(|w| {
        let cells: Vec<u64> = w.to.iter().map(|p| u64::from(p.rows.take) * u64::from(p.cols.take)).collect();
        cells.iter().sum()
    });
    public.chain(wired).max().unwrap_or(1).saturating_sub(1)
}
