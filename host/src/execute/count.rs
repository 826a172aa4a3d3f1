//! Multiplicities: how often each row of a table is looked up.

use std::ops::Range;

use circlet_core::circuit::{Circuit, Component, Lookup};
use rayon::prelude::*;

use super::{Cells, Trace, form_range};

/// Lookups that one task counts at least.
const TASK: usize = 1 << 16;

/// Counts, for every table, how often each row is looked up.
pub fn count_multiplicities(circuit: &Circuit, trace: &mut Trace) {
    let pieces: Vec<(&Lookup, Range<usize>)> = circuit
        .lookups
        .iter()
        .flat_map(|lookup| {
            let size = lookup.shape.size();
            (0..size).step_by(TASK).map(move |from| (lookup, from..size.min(from + TASK)))
        })
        .collect();
    // As many counters as threads are few enough to add up.
    let cells: usize = pieces.iter().map(|(_, range)| range.len()).sum();
    let tasks = rayon::current_num_threads().min(cells.div_ceil(TASK)).max(1);
    let counts = pieces
        .par_chunks(pieces.len().div_ceil(tasks).max(1))
        .map(|pieces| {
            let mut counts: Vec<Vec<i32>> = vec![Vec::new(); circuit.tables.len()];
            for (lookup, range) in pieces {
                count(circuit, trace, lookup, range.clone(), &mut counts[lookup.table as usize]);
            }
            counts
        })
        .reduce(
            || vec![Vec::new(); circuit.tables.len()],
            |left, right| left.into_iter().zip(right).map(|(left, right)| add(left, right)).collect(),
        );
    for (table, mut counts) in circuit.tables.iter().zip(counts) {
        counts.resize(1 << table.bits, 0);
        trace.columns[table.multiplicity.0 as usize] = counts;
    }
}

fn add(mut left: Vec<i32>, right: Vec<i32>) -> Vec<i32> {
    if left.is_empty() {
        return right;
    }
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
    left
}

fn count(circuit: &Circuit, trace: &Trace, lookup: &Lookup, range: Range<usize>, counts: &mut Vec<i32>) {
    let table = &circuit.tables[lookup.table as usize];
    let low = match table.components.first() {
        Some(Component::Index { low }) => *low,
        Some(Component::Signed) => -(1i64 << table.bits) / 2,
        _ => return,
    };
    counts.resize(1 << table.bits, 0);
    // A cheating trace may hold values that are in no row; they are then counted nowhere.
    let mut hit = |value: i64| {
        if let Some(count) = usize::try_from(value - low).ok().and_then(|i| counts.get_mut(i)) {
            *count += 1;
        }
    };
    let form = &lookup.forms[0];
    if let [(sign @ (1 | -1), id)] = form.terms[..]
        && form.indicators.is_empty()
        && circuit.column(id).shape == lookup.shape
        && let Cells::Wide(cells) = trace.cells(id)
    {
        for &cell in &cells[range] {
            hit(sign * i64::from(cell) + form.constant);
        }
        return;
    }
    let mut values = [0; 1 << 10];
    for from in range.clone().step_by(values.len()) {
        let values = &mut values[..(range.end - from).min(1 << 10)];
        form_range(circuit, trace, form, lookup.shape, from, values);
        for &value in &*values {
            hit(value);
        }
    }
}
