//! Integer matrices as fine as their largest accumulator allows.

use std::collections::BTreeMap;

use circlet_core::decoder::Matrix;
use rayon::prelude::*;

/// A matrix of integers.
pub struct Fitted {
    /// Its bounds.
    pub matrix: Matrix,
    /// Row-major entries.
    pub cells: Vec<i32>,
    /// An entry `q` stands for `q * 2^-fraction`.
    pub fraction: i32,
}

impl Fitted {
    /// A matrix of given entries.
    pub fn of(cells: Vec<i32>, cols: usize, fraction: i32) -> Self {
        let row = |row: &[i32]| {
            row.iter().fold((0, 0), |(most, sum): (i64, i64), &v| {
                let magnitude = i64::from(v).abs();
                (most.max(magnitude), sum + magnitude)
            })
        };
        let (bound, row_l1) =
            cells.par_chunks(cols).map(row).reduce(|| (0, 0), |x, y| (x.0.max(y.0), x.1.max(y.1)));
        // Bounds below a power of two are registered with the fewest lookups.
        let bound = (bound as u64 + 1).next_power_of_two() as i64 - 1;
        Self { matrix: Matrix { bound, row_l1 }, cells, fraction }
    }

    /// Puts the entries away under a name.
    pub fn keep(self, constants: &mut BTreeMap<String, Vec<i32>>, name: &str) -> Matrix {
        constants.insert(name.into(), self.cells);
        self.matrix
    }
}

/// The finest power-of-two scale at which inputs up to `input` give accumulators up to `limit` in every row, and
/// entries have at most `bits` bits and a sign. Halves are rounded to even.
pub fn fit(cells: &[f32], cols: usize, (input, limit): (i64, i64), bits: i32) -> Fitted {
    let row = |row: &[f32]| {
        row.iter().fold((0f64, 0f64), |(most, sum), &w| {
            let magnitude = f64::from(w).abs();
            (most.max(magnitude), sum + magnitude)
        })
    };
    let (most, sum) =
        cells.par_chunks(cols).map(row).reduce(|| (0.0, 0.0), |x, y| (x.0.max(y.0), x.1.max(y.1)));
    let by_sum = (limit as f64 / input as f64 / sum.max(1e-30)).log2().floor();
    let by_most = (((1i64 << bits) - 1) as f64 / most.max(1e-30)).log2().floor();
    let mut fraction = by_sum.min(by_most).clamp(-30.0, 40.0) as i32;
    loop {
        let scale = 2f64.powi(fraction);
        let round = |&w: &f32| (f64::from(w) * scale).round_ties_even() as i32;
        let fitted = Fitted::of(cells.par_iter().map(round).collect(), cols, fraction);
        // Rounding may lead a row over the limit.
        if fitted.matrix.row_l1.saturating_mul(input) <= limit || fraction <= -30 {
            return fitted;
        }
        fraction -= 1;
    }
}
