//! Wirings and public tensors as linear claims.
//!
//! A sequence `v_0, v_1, ...` of cells is fixed by `sum_i theta^i v_i` for a `theta` drawn after the cells are
//! committed: two different sequences of length `n` agree with probability at most `n / |F|`. Positions add up
//! along the axes of a column, so the weights are products of powers along each axis.
//!
//! Gathers and picks hold in every row of a column, so they are claims at the relations' random point.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::axis::{Axis, Digit};
use crate::circuit::{Circuit, Placement, Positions, Public, Shape};
use crate::claims::{AxisId, Claims};
use crate::field::{M31, QM31};
use crate::poly::eq_table;
use crate::relations::Point;

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

/// One claim for each gather and each pick of the circuit, at the relations' point.
pub fn listed_claims(circuit: &Circuit, lists: &[Vec<u32>], point: &Point, claims: &mut Claims) {
    let rows = |log: u32| point.rows.get(..log as usize).unwrap_or_default();
    // Gathers of the same rows out of equally many share their weights, which are the costly part for a verifier.
    let mut listed_axes: BTreeMap<(Vec<u32>, u32, u32), AxisId> = BTreeMap::new();
    for gather in &circuit.gathers {
        let shape = circuit.column(gather.output).shape;
        let at = rows(shape.log_rows());
        claims.begin(QM31::ZERO);
        let row_axis = claims.eq_at(at);
        let col_axis = claims.eq_at(point.cols.get(..shape.log_cols() as usize).unwrap_or_default());
        claims.add(QM31::ONE, gather.output, row_axis, col_axis);
        for &(first, source) in &gather.source {
            let own = circuit.column(source).shape;
            let inside = |&row: &u32| row.checked_sub(first).filter(|&r| r < own.rows).unwrap_or(u32::MAX);
            let list: Vec<u32> = gather.rows.list(lists).iter().map(inside).collect();
            let listed = *listed_axes
                .entry((list.clone(), shape.log_rows(), own.log_rows()))
                .or_insert_with(|| claims.axis(Axis::Listed { list, point: at.to_vec() }));
            claims.add(-QM31::ONE, source, listed, col_axis);
        }
    }
    for pick in &circuit.picks {
        let at = rows(Shape { rows: pick.rows, cols: 1 }.log_rows());
        let entries = lists.get(pick.list).map_or(&[][..], Vec::as_slice);
        claims.begin(QM31::ZERO);
        for (t, weight) in (0u32..).zip(eq_table(at)) {
            let entry = entries.get(t as usize).or(entries.last()).copied().unwrap_or(0);
            let block = pick.blocks.iter().rev().find(|(first, _)| *first <= entry);
            let Some((first, terms)) = block else { continue };
            let one = |index: u32| Axis::Listed { list: vec![index], point: Vec::new() };
            let (row_axis, col_axis) = (claims.axis(one(t)), claims.axis(one(entry - first)));
            for &(c, column) in terms {
                claims.add(weight * QM31::from_i64(c), column, row_axis, col_axis);
            }
        }
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
