//! Wirings and public tensors as linear claims.
//!
//! A sequence `v_0, v_1, ...` of cells is fixed by `sum_i theta^i v_i` for a `theta` drawn after the cells are
//! committed: two different sequences of length `n` agree with probability at most `n / |F|`. Positions add up
//! along the axes of a column, so the weights are products of powers along each axis.
//!
//! Gathers and picks hold in every row of a column, so they are claims at the relations' random point.

use alloc::vec::Vec;

use crate::circuit::{Columns, Gather, Pick, Placement, Public, Shape, Wiring};
use crate::claims::{At, Part, Points, Reading, Terms};
use crate::field::{M31, QM31};
use crate::poly::eq_table;

fn add(
    columns: &Columns,
    (claim, sign): (u32, QM31),
    placements: &[Placement],
    theta: QM31,
    terms: &mut impl Terms,
) {
    for placement in placements {
        let rows = Reading::Sequence(&placement.rows, theta);
        let cols = Reading::Sequence(&placement.cols, theta);
        terms.add(columns, claim, sign, &[(1, placement.column)], rows, cols);
    }
}

/// The claim about a wiring: both sides have the same sum, so its value is zero.
pub fn wiring_terms(columns: &Columns, claim: u32, wiring: &Wiring, theta: QM31, terms: &mut impl Terms) {
    add(columns, (claim, QM31::ONE), &wiring.from, theta, terms);
    add(columns, (claim, -QM31::ONE), &wiring.to, theta, terms);
}

/// The value of the claim about a public tensor: the sum of the statement's entries.
pub fn public_value(entries: &[i32], theta: QM31) -> QM31 {
    entries.iter().rev().fold(QM31::ZERO, |sum, &v| sum * theta + M31::from_i64(i64::from(v)))
}

/// The claim about a public tensor: its cells have the sum of the statement's entries.
pub fn public_terms(columns: &Columns, claim: u32, public: &Public, theta: QM31, terms: &mut impl Terms) {
    add(columns, (claim, QM31::ONE), &public.cells, theta, terms);
}

/// The claim about a gather, at the relations' point; its value is zero.
pub fn gather_terms(
    columns: &Columns,
    claim: u32,
    gather: &Gather,
    lists: &[Vec<u32>],
    terms: &mut impl Terms,
) {
    let shape = columns.shape(gather.output);
    let rows = [Part::new(shape.log_rows(), At::Rows(0))];
    let cols = [Part::new(shape.log_cols(), At::Cols(0))];
    let cols = Reading::parts(&cols);
    terms.add(columns, claim, QM31::ONE, &[(1, gather.output)], Reading::parts(&rows), cols);
    for &(first, source) in &gather.source {
        let own = columns.shape(source);
        let inside = |&row: &u32| row.checked_sub(first).filter(|&r| r < own.rows).unwrap_or(u32::MAX);
        let list: Vec<u32> = gather.rows.list(lists).iter().map(inside).collect();
        let rows = Reading::Listed { list: &list, len: shape.log_rows() };
        terms.add(columns, claim, -QM31::ONE, &[(1, source)], rows, cols);
    }
}

/// The claim about a pick, at the relations' point; its value is zero.
pub fn pick_terms(
    columns: &Columns,
    claim: u32,
    pick: &Pick,
    lists: &[Vec<u32>],
    points: &Points,
    terms: &mut impl Terms,
) {
    let len = Shape { rows: pick.rows, cols: 1 }.log_rows();
    let at = points.stretch(Part::new(len, At::Rows(0)));
    let entries = lists.get(pick.list).map_or(&[][..], Vec::as_slice);
    for (t, weight) in (0u32..).zip(eq_table(at)) {
        let entry = entries.get(t as usize).or(entries.last()).copied().unwrap_or(0);
        let block = pick.blocks.iter().rev().find(|(first, _)| *first <= entry);
        let Some((first, own)) = block else { continue };
        let (rows, cols) = (Reading::Entry(t), Reading::Entry(entry - first));
        terms.add(columns, claim, weight, own, rows, cols);
    }
}

/// The degree in `theta` of the claim about a public tensor: one less than the length of its sequence.
pub fn public_degree(public: &Public) -> u64 {
    (u64::from(public.rows) * u64::from(public.cols)).saturating_sub(1)
}

/// The degree in `theta` of the claim about a wiring.
pub fn wiring_degree(wiring: &Wiring) -> u64 {
    let cells = wiring.to.iter().map(|p| u64::from(p.rows.take) * u64::from(p.cols.take));
    cells.fold(0, u64::saturating_add).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::circuit::{ColumnId, Interval, Rows, Tree};

    /// Which rows of a column are listed, and with what sign.
    #[derive(Default)]
    struct Listed(Vec<(ColumnId, QM31, Vec<u32>)>);

    impl Terms for Listed {
        fn add(
            &mut self,
            _: &Columns,
            _: u32,
            coefficient: QM31,
            terms: &[(i64, ColumnId)],
            rows: Reading<'_>,
            _: Reading<'_>,
        ) {
            if let Reading::Listed { list, .. } = rows {
                self.0.push((terms[0].1, coefficient, list.to_vec()));
            }
        }
    }

    /// Each row that a list names is read in the one block that has it, also where a block has fewer rows than its padding.
    #[test]
    fn rows_are_gathered_from_the_block_that_has_them() {
        let mut columns = Columns::default();
        let mut column = |rows| columns.declare(Shape { rows, cols: 2 }, Interval::bits(1), Tree::Witness);
        let (first, second, output) = (column(3), column(6), column(4));
        let gather =
            Gather { source: vec![(0, first), (3, second)], rows: Rows::Given(vec![2, 3, 8, 0, 9]), output };
        let mut found = Listed::default();
        gather_terms(&columns, 0, &gather, &[], &mut found);
        let none = u32::MAX;
        let expected = [
            (first, -QM31::ONE, vec![2, none, none, 0, none]),
            (second, -QM31::ONE, vec![none, 0, 5, none, none]),
        ];
        assert_eq!(found.0, expected);
    }
}
