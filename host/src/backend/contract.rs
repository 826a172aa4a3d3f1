//! Sums of small integers weighted with elements of the extension: matrices of integers, bound along one axis.
//!
//! A product of an integer and a coordinate of a weight fits 64 bits with room for more of them, so sums are
//! reduced seldom: hardly ever for entries of sixteen bits.

use circlet_core::field::{M31, P, QM31};
use rayon::prelude::*;

/// Columns whose sums are kept in the fastest cache.
const TILE: usize = 512;
/// Rows that are added at once.
const GROUP: usize = 4;
/// Entries that one task reads at least.
const TASK: usize = 1 << 16;

/// Integers that can be weighted.
pub trait Integer: Copy + Send + Sync + Into<i64> {}
impl Integer for i16 {}
impl Integer for i32 {}

/// Coordinates between `-P/2` and `P/2`: 30 bits and a sign.
type Weight = [i32; 4];

fn weight(x: QM31) -> Weight {
    x.coordinates().map(M31::signed)
}

/// How many products with a weight can be added to a sum below `2^33` before it has to be reduced.
fn capacity<T: Integer>(cells: &[T]) -> usize {
    let largest = cells.iter().map(|&v| v.into().unsigned_abs()).max().unwrap_or(0);
    (1 << 32) / largest.max(1) as usize
}

/// The same residue, below `2^33`.
fn fold(sum: i64) -> i64 {
    (sum & i64::from(P)) + (sum >> 31)
}

fn element(sums: [i64; 4]) -> QM31 {
    QM31::from_coordinates(sums.map(M31::from_i64))
}

/// Integers whose products are small enough: residues of those that are not.
fn residues<T: Integer>(cells: &[T]) -> Vec<i32> {
    cells.iter().map(|&v| M31::from_i64(v.into()).signed()).collect()
}

/// `sum_t weights(t) cells(t, c)` for every column of a matrix.
pub fn over_rows<T: Integer>(cells: &[T], width: usize, weights: &[QM31]) -> Vec<QM31> {
    let weights: Vec<Weight> = weights.iter().copied().map(weight).collect();
    sum_rows(cells, width, &weights)
}

/// The same for matrices that lie one after the other.
pub fn over_blocks<T: Integer>(cells: &[T], width: usize, weights: &[QM31]) -> Vec<QM31> {
    cells.chunks(weights.len() * width).flat_map(|cells| over_rows(cells, width, weights)).collect()
}

fn sum_rows<T: Integer>(cells: &[T], width: usize, weights: &[Weight]) -> Vec<QM31> {
    let height = (TASK / width).next_multiple_of(GROUP).max(GROUP);
    cells
        .par_chunks(height * width)
        .zip(weights.par_chunks(height))
        .map(|(cells, weights)| {
            let groups = capacity(cells) / GROUP;
            if groups == 0 {
                return sum_task(&residues(cells), width, weights, 1);
            }
            sum_task(cells, width, weights, groups)
        })
        .reduce_with(|left, right| left.into_iter().zip(right).map(|(x, y)| x + y).collect())
        .unwrap_or_default()
}

/// Sums over a few rows, reduced each time that so many groups have been added.
fn sum_task<T: Integer>(cells: &[T], width: usize, weights: &[Weight], groups: usize) -> Vec<QM31> {
    let mut out = Vec::with_capacity(width);
    for from in (0..width).step_by(TILE) {
        let range = from..width.min(from + TILE);
        let mut sums = [[0i64; TILE]; 4];
        let blocks = cells.chunks(groups * GROUP * width).zip(weights.chunks(groups * GROUP));
        for (i, (cells, weights)) in blocks.enumerate() {
            if i > 0 {
                sums.iter_mut().flatten().for_each(|sum| *sum = fold(*sum));
            }
            for (rows, weights) in cells.chunks(GROUP * width).zip(weights.chunks(GROUP)) {
                // Rows that are missing count nothing.
                let row = |i: usize| &rows[i % weights.len() * width..][range.clone()];
                let weights = [0, 1, 2, 3].map(|i| weights.get(i).copied().unwrap_or_default());
                add_rows(&mut sums, [row(0), row(1), row(2), row(3)], &weights);
            }
        }
        out.extend((0..range.len()).map(|k| element([0, 1, 2, 3].map(|c| sums[c][k]))));
    }
    out
}

fn add_rows<T: Integer>(sums: &mut [[i64; TILE]; 4], rows: [&[T]; GROUP], weights: &[Weight; GROUP]) {
    let len = rows[0].len().min(TILE);
    let [r0, r1, r2, r3] = rows.map(|row| &row[..len]);
    let [s0, s1, s2, s3] = sums.each_mut().map(|sums| &mut sums[..len]);
    for k in 0..len {
        let v: [i64; GROUP] = [r0[k].into(), r1[k].into(), r2[k].into(), r3[k].into()];
        let sum = |c: usize| -> i64 {
            v[0] * i64::from(weights[0][c])
                + v[1] * i64::from(weights[1][c])
                + v[2] * i64::from(weights[2][c])
                + v[3] * i64::from(weights[3][c])
        };
        s0[k] += sum(0);
        s1[k] += sum(1);
        s2[k] += sum(2);
        s3[k] += sum(3);
    }
}

/// `sum_c weights(c) cells(t, c)` for every row of a matrix.
pub fn over_cols<T: Integer>(cells: &[T], weights: &[QM31]) -> Vec<QM31> {
    let width = weights.len();
    let signed: Vec<Weight> = weights.iter().copied().map(weight).collect();
    let coordinates = [0, 1, 2, 3].map(|c| signed.iter().map(|w| w[c]).collect());
    cells
        .par_chunks((TASK / width).max(1) * width)
        .flat_map_iter(|cells| {
            let capacity = capacity(cells);
            if capacity < GROUP {
                return cells.chunks(width).map(|row| dot(&residues(row), &coordinates, GROUP)).collect();
            }
            cells.chunks(width).map(|row| dot(row, &coordinates, capacity)).collect::<Vec<_>>()
        })
        .collect()
}

fn dot<T: Integer>(row: &[T], weights: &[Vec<i32>; 4], capacity: usize) -> QM31 {
    element([0, 1, 2, 3].map(|c| {
        let pieces = row.chunks(capacity).zip(weights[c].chunks(capacity));
        pieces.fold(0, |sum, (row, weights)| {
            let products = row.iter().zip(weights).map(|(&v, &w)| -> i64 { v.into() * i64::from(w) });
            fold(sum + products.sum::<i64>())
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(n: usize) -> Vec<QM31> {
        let limb = |i: usize| match i % 5 {
            0 => M31::reduce(u64::from(P) / 2),
            1 => M31::reduce(u64::from(P) / 2 + 1),
            _ => M31::reduce((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        (0..n).map(|i| QM31::from_coordinates([0, 1, 2, 3].map(|k| limb(4 * i + k)))).collect()
    }

    fn agrees<T: Integer>(rows: usize, width: usize, cells: &[T]) {
        let element = |v: T| QM31::from_i64(v.into());
        let (row_weights, col_weights) = (weights(rows), weights(width));
        let column = |c: usize| (0..rows).map(|t| row_weights[t] * element(cells[t * width + c])).sum();
        let row = |t: usize| (0..width).map(|c| col_weights[c] * element(cells[t * width + c])).sum();
        let (columns, rows): (Vec<QM31>, Vec<QM31>) =
            ((0..width).map(column).collect(), (0..rows).map(row).collect());
        assert_eq!(over_rows(cells, width, &row_weights), columns);
        assert_eq!(over_cols(cells, &col_weights), rows);
    }

    #[test]
    fn sums_are_their_definition() {
        for (rows, width) in [(1, 1), (2, 8), (1, 1024), (64, 1), (16, 64), (512, 256), (256, 2048)] {
            let narrow = |i: usize| match i % 3 {
                0 => i16::MIN,
                1 => i16::MAX,
                _ => (i * 7919) as i16,
            };
            agrees(rows, width, &(0..rows * width).map(narrow).collect::<Vec<_>>());
            for extreme in [1 << 20, 1 << 29, 1 << 30, i32::MAX, i32::MIN] {
                let wide = |i: usize| match i % 3 {
                    0 => extreme,
                    1 => !extreme,
                    _ => (i * 7919) as i32,
                };
                agrees(rows, width, &(0..rows * width).map(wide).collect::<Vec<_>>());
            }
        }
    }
}
