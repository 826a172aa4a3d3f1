//! Leaves of numbers that lie in columns.

use std::sync::Arc;

use circlet_core::field::{M31, QM31};
use circlet_cuda::columns::Cell::{Byte, Half, Word};
use circlet_cuda::fractions::{LEAST, Leaves};
use circlet_cuda::{Error, Machine};

use super::{element, elements, filled};

/// Numbers of all cells, from everywhere in columns and across them, in denominators and numerators.
pub fn leaves(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    const LOG: u32 = 10;
    let half = 1usize << (LEAST + 2);
    let (columns, all) = filled(machine, &[Byte, Byte, Half, Word, Word, Half, Byte], LOG)?;
    let cell = |at: usize| QM31::from(M31::reduce(all[at >> LOG][at % (1 << LOG)].into()));
    let [constant, factor] = [1, 2].map(|seed| elements(1, seed)[0]);
    let mut leaves = Leaves::new(machine, LEAST + 3)?;
    leaves.fill(0, half, 3, constant.0)?;
    // So that the layer above has the others.
    leaves.fill(half, half, 0, [1, 0, 0, 0])?;
    let (mut p, mut q) = (vec![QM31::from_i64(3); half], vec![constant.1; half]);
    for (first, cells) in [
        (0, 0..1 << LOG),
        (5, 3..7 << LOG),
        (1000, 1023..1026),
        (1001, 2047..4097),
        (half - 9, (5 << LOG) + 1..(5 << LOG) + 10),
        (77, 6143..6146),
        (0, 9..9),
    ] {
        leaves.add_cells(first, &columns, cells.clone(), factor.0)?;
        for (q, at) in q[first..].iter_mut().zip(cells) {
            *q += factor.1 * cell(at);
        }
    }
    for (first, cells) in [(1, (3 << LOG)..(3 << LOG) + 1), (700, (3 << LOG) + 5..5 << LOG)] {
        leaves.subtract_cells(first, &columns, cells.clone())?;
        for (p, at) in p[first..].iter_mut().zip(cells) {
            *p = -cell(at);
        }
    }
    let above = leaves.finish().above()?.read()?;
    let [found_p, found_q] = above.map(|all| all.into_iter().map(element).collect::<Vec<_>>());
    assert!(found_p == p && found_q == q, "leaves of numbers in columns");
    Ok(())
}
