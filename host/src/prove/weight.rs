//! The batched weight of all linear claims, as a table over the stacked vector.

use std::collections::{BTreeMap, BTreeSet};

use circlet_core::circuit::ColumnId;
use circlet_core::claims::{AxisId, Claims, Term};
use circlet_core::field::QM31;
use circlet_core::poly::powers;
use circlet_core::protocol::Protocol;
use rayon::prelude::*;

use crate::backend::field::{E, Ext, LANES, LOG_LANES, pack, to_stwo};

/// One table for each matrix column of each tree.
pub fn dense_weight(protocol: &Protocol, claims: &Claims, mu: QM31) -> [Vec<Vec<E>>; 2] {
    let (circuit, stacking) = (&protocol.circuit, &protocol.stacking);
    let powers = powers(mu, claims.values.len());
    let mut by_column: BTreeMap<ColumnId, Vec<&Term>> = BTreeMap::new();
    let mut logs: BTreeSet<(AxisId, u32)> = BTreeSet::new();
    for term in &claims.terms {
        let shape = circuit.column(term.column).shape;
        by_column.entry(term.column).or_default().push(term);
        logs.insert((term.rows, shape.log_rows()));
        logs.insert((term.cols, shape.log_cols()));
    }
    let axes: BTreeMap<(AxisId, u32), Vec<QM31>> =
        logs.into_par_iter().map(|(id, log)| ((id, log), claims.axes[id.0 as usize].dense(log))).collect();

    let blocks: Vec<(ColumnId, Vec<E>)> = by_column
        .into_par_iter()
        .map(|(column, terms)| {
            let shape = circuit.column(column).shape;
            let mut block = Block::new(shape.log_rows(), shape.log_cols());
            for term in terms {
                let coefficient = term.coefficient * powers[term.claim as usize];
                let rows = &axes[&(term.rows, shape.log_rows())];
                let cols = &axes[&(term.cols, shape.log_cols())];
                block.add(coefficient, rows, cols);
            }
            (column, block.finish())
        })
        .collect();

    let vectors = (1usize << stacking.log_rows) / LANES;
    let zero = E::splat(QM31::ZERO);
    let mut sides = stacking.matrix_columns.map(|n| vec![zero; n * vectors]);
    for (column, block) in blocks {
        let side = usize::from(circuit.column(column).tree() == circlet_core::circuit::Tree::Witness);
        let offset = stacking.offset_in_tree(column);
        let size = circuit.column(column).shape.size();
        let target = &mut sides[side][offset / LANES..];
        if size >= LANES {
            target[..block.len()].copy_from_slice(&block);
        } else {
            let (from, at) = (block[0].to_array(), offset % LANES);
            let mut lanes = target[0].to_array();
            lanes[at..at + size].copy_from_slice(&from[..size]);
            target[0] = E::from_array(lanes);
        }
    }
    sides.map(|side| side.chunks(vectors).map(<[E]>::to_vec).collect())
}

/// The weight on one column: vectors along rows where they are long enough, else plain elements.
enum Block {
    Wide(Vec<E>),
    Narrow(Vec<QM31>),
}

impl Block {
    fn new(log_rows: u32, log_cols: u32) -> Self {
        let size = 1 << (log_rows + log_cols);
        if log_cols >= LOG_LANES {
            Self::Wide(vec![E::splat(QM31::ZERO); size / LANES])
        } else {
            Self::Narrow(vec![QM31::ZERO; size])
        }
    }

    fn add(&mut self, coefficient: QM31, rows: &[QM31], cols: &[QM31]) {
        match self {
            Self::Wide(cells) => {
                let cols = pack(cols);
                for (row, &weight) in cells.chunks_mut(cols.len()).zip(rows) {
                    let weight = coefficient * weight;
                    if weight == QM31::ZERO {
                        continue;
                    }
                    let weight = E::splat(weight);
                    for (cell, &c) in row.iter_mut().zip(&cols) {
                        *cell += c * weight;
                    }
                }
            }
            Self::Narrow(cells) => {
                for (row, &weight) in cells.chunks_mut(cols.len()).zip(rows) {
                    let weight = coefficient * weight;
                    for (cell, &c) in row.iter_mut().zip(cols) {
                        *cell += c * weight;
                    }
                }
            }
        }
    }

    /// Vectors; a last incomplete one is filled with zeros.
    fn finish(self) -> Vec<E> {
        match self {
            Self::Wide(cells) => cells,
            Self::Narrow(cells) => cells
                .chunks(LANES)
                .map(|chunk| {
                    E::from_array(std::array::from_fn(|i| {
                        to_stwo(chunk.get(i).copied().unwrap_or(QM31::ZERO))
                    }))
                })
                .collect(),
        }
    }
}
