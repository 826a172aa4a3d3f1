//! The batched weight of all linear claims, as a table over the stacked vector.

use std::collections::{BTreeMap, BTreeSet};

use circlet_core::circuit::{ColumnId, Shape, Tree};
use circlet_core::claims::{AxisId, Claims, Term};
use circlet_core::field::QM31;
use circlet_core::poly::powers;
use circlet_core::protocol::Protocol;
use rayon::prelude::*;

use crate::backend::field::{E, Ext, LANES, LOG_LANES, pack, to_stwo};

/// The stacked weight of each tree: its matrix columns, one after the other.
pub fn dense_weight(protocol: &Protocol, claims: &Claims, mu: QM31) -> [Vec<E>; 2] {
    let (circuit, stacking) = (&protocol.circuit, &protocol.stacking);
    let powers = powers(mu, claims.values.len());
    let mut terms_of: Vec<Vec<&Term>> = vec![Vec::new(); circuit.columns.len()];
    let mut logs: BTreeSet<(AxisId, u32)> = BTreeSet::new();
    for term in &claims.terms {
        let shape = circuit.column(term.column).shape;
        terms_of[term.column.0 as usize].push(term);
        logs.insert((term.rows, shape.log_rows()));
        logs.insert((term.cols, shape.log_cols()));
    }
    let axes: BTreeMap<(AxisId, u32), Vec<QM31>> =
        logs.into_par_iter().map(|(id, log)| ((id, log), claims.axes[id.0 as usize].dense(log))).collect();
    let fill = |id: ColumnId, mut block: Block<'_>| {
        let shape = circuit.column(id).shape;
        for term in &terms_of[id.0 as usize] {
            let coefficient = term.coefficient * powers[term.claim as usize];
            let rows = &axes[&(term.rows, shape.log_rows())];
            let cols = &axes[&(term.cols, shape.log_cols())];
            block.add(coefficient, rows, cols);
        }
        block.finish();
    };

    let vectors = (1usize << stacking.log_rows) / LANES;
    let mut sides = stacking.matrix_columns.map(|n| vec![E::splat(QM31::ZERO); n * vectors]);
    for (which, side) in [Tree::Fixed, Tree::Witness].into_iter().zip(&mut sides) {
        let mut columns: Vec<ColumnId> = (0..circuit.columns.len() as u32)
            .map(ColumnId)
            .filter(|&id| circuit.column(id).tree() == which)
            .collect();
        columns.sort_by_key(|&id| stacking.offset_in_tree(id));
        // Columns lie one after the other, largest first: those of whole vectors, then those within vectors.
        let whole = columns.partition_point(|&id| circuit.column(id).shape.size() >= LANES);
        let mut slots = Vec::new();
        let mut rest = side.as_mut_slice();
        for &id in &columns[..whole] {
            let (slot, tail) = rest.split_at_mut(circuit.column(id).shape.size() / LANES);
            slots.push((id, slot));
            rest = tail;
        }
        slots.into_par_iter().for_each(|(id, slot)| {
            fill(id, Block::new(circuit.column(id).shape, slot));
        });
        for &id in &columns[whole..] {
            let (at, size) = (stacking.offset_in_tree(id), circuit.column(id).shape.size());
            let mut vector = [E::splat(QM31::ZERO)];
            fill(id, Block::new(circuit.column(id).shape, &mut vector));
            let mut lanes = side[at / LANES].to_array();
            lanes[at % LANES..at % LANES + size].copy_from_slice(&vector[0].to_array()[..size]);
            side[at / LANES] = E::from_array(lanes);
        }
    }
    sides
}

/// The weight on one column: vectors along rows where they are long enough, else elements that become vectors
/// in the end.
enum Block<'a> {
    Wide(&'a mut [E]),
    Narrow(Vec<QM31>, &'a mut [E]),
}

impl<'a> Block<'a> {
    fn new(shape: Shape, vectors: &'a mut [E]) -> Self {
        if shape.log_cols() >= LOG_LANES {
            Self::Wide(vectors)
        } else {
            Self::Narrow(vec![QM31::ZERO; shape.size()], vectors)
        }
    }

    fn add(&mut self, coefficient: QM31, rows: &[QM31], cols: &[QM31]) {
        match self {
            Self::Wide(cells) => {
                let cols = pack(cols);
                for (row, &weight) in cells.chunks_mut(cols.len()).zip(rows) {
                    if weight == QM31::ZERO {
                        continue;
                    }
                    let weight = E::splat(coefficient * weight);
                    for (cell, &c) in row.iter_mut().zip(&cols) {
                        *cell += c * weight;
                    }
                }
            }
            Self::Narrow(cells, _) => {
                for (row, &weight) in cells.chunks_mut(cols.len()).zip(rows) {
                    let weight = coefficient * weight;
                    for (cell, &c) in row.iter_mut().zip(cols) {
                        *cell += c * weight;
                    }
                }
            }
        }
    }

    fn finish(self) {
        if let Self::Narrow(cells, vectors) = self {
            for (vector, chunk) in vectors.iter_mut().zip(cells.chunks(LANES)) {
                let lane = |i: usize| to_stwo(chunk.get(i).copied().unwrap_or(QM31::ZERO));
                *vector = E::from_array(std::array::from_fn(lane));
            }
        }
    }
}
