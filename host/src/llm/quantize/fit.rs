//! Integer matrices as fine as their largest accumulator allows, read and written a few rows at a time.

use std::ops::Range;

use circlet_core::decoder::Matrix;
use rayon::prelude::*;

use crate::numbers::Spool;

/// Weights that are in memory at once, or one row if it has more.
const PART: usize = 1 << 22;

/// Puts rows into as many numbers.
type Read<'a> = dyn Fn(Range<usize>, &mut [f32]) -> anyhow::Result<()> + 'a;

/// A matrix of floats that is read a few rows at a time.
pub struct Floats<'a> {
    rows: usize,
    cols: usize,
    read: Box<Read<'a>>,
}

/// A scale for a matrix, and what it makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Bounds of the integers.
    pub matrix: Matrix,
    /// An entry `q` stands for `q * 2^-fraction`.
    pub fraction: i32,
    /// The smallest and the largest integer.
    range: (i32, i32),
}

impl<'a> Floats<'a> {
    /// A matrix whose rows `read` puts into as many numbers.
    pub fn new(
        (rows, cols): (usize, usize),
        read: impl Fn(Range<usize>, &mut [f32]) -> anyhow::Result<()> + 'a,
    ) -> Self {
        Self { rows, cols, read: Box::new(read) }
    }

    /// A matrix in memory, times a factor.
    pub fn of(cells: &'a [f32], cols: usize, factor: f32) -> Self {
        let read = move |rows: Range<usize>, out: &mut [f32]| {
            let cells = &cells[rows.start * cols..rows.end * cols];
            out.iter_mut().zip(cells).for_each(|(out, cell)| *out = cell * factor);
            Ok(())
        };
        Self::new((cells.len() / cols, cols), read)
    }

    /// Goes over all rows, some at a time.
    fn parts(&self, mut each: impl FnMut(&[f32]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let count = (PART / self.cols).clamp(1, self.rows.max(1));
        let mut part = vec![0.0; count * self.cols];
        for first in (0..self.rows).step_by(count) {
            let rows = first..self.rows.min(first + count);
            let part = &mut part[..rows.len() * self.cols];
            (self.read)(rows, part)?;
            each(part)?;
        }
        Ok(())
    }

    /// What a scale makes of it. Halves are rounded to even.
    pub fn at(&self, fraction: i32) -> anyhow::Result<Fitted> {
        let scale = 2f64.powi(fraction);
        let (mut range, mut row_l1) = ((0, 0), 0);
        self.parts(|part| {
            let row = |row: &[f32]| {
                row.iter().fold((0, 0, 0), |(low, high, sum): (i32, i32, i64), &w| {
                    let cell = round(w, scale);
                    (low.min(cell), high.max(cell), sum + i64::from(cell).abs())
                })
            };
            let wider = |a: (i32, i32, i64), b: (i32, i32, i64)| (a.0.min(b.0), a.1.max(b.1), a.2.max(b.2));
            let found = part.par_chunks(self.cols).map(row).reduce(|| (0, 0, 0), wider);
            (range.0, range.1, row_l1) = wider((range.0, range.1, row_l1), found);
            Ok(())
        })?;
        let most = i64::from(range.0).abs().max(i64::from(range.1));
        // Bounds below a power of two are registered with the fewest lookups.
        let bound = (most as u64 + 1).next_power_of_two() as i64 - 1;
        Ok(Fitted { matrix: Matrix { bound, row_l1 }, fraction, range })
    }

    /// The finest power-of-two scale at which inputs up to `input` give accumulators up to `limit` in every row, and
    /// entries have at most `bits` bits and a sign.
    pub fn fit(&self, (input, limit): (i64, i64), bits: i32) -> anyhow::Result<Fitted> {
        let (mut most, mut sum) = (0f64, 0f64);
        self.parts(|part| {
            let row = |row: &[f32]| {
                row.iter().fold((0f64, 0f64), |(most, sum), &w| {
                    let magnitude = f64::from(w).abs();
                    (most.max(magnitude), sum + magnitude)
                })
            };
            let larger = |x: (f64, f64), y: (f64, f64)| (x.0.max(y.0), x.1.max(y.1));
            let found = part.par_chunks(self.cols).map(row).reduce(|| (0.0, 0.0), larger);
            (most, sum) = larger((most, sum), found);
            Ok(())
        })?;
        let by_sum = (limit as f64 / input as f64 / sum.max(1e-30)).log2().floor();
        let by_most = (((1i64 << bits) - 1) as f64 / most.max(1e-30)).log2().floor();
        let mut fraction = by_sum.min(by_most).clamp(-30.0, 40.0) as i32;
        loop {
            let fitted = self.at(fraction)?;
            // Rounding may lead a row over the limit.
            if fitted.matrix.row_l1.saturating_mul(input) <= limit || fraction <= -30 {
                return Ok(fitted);
            }
            fraction -= 1;
        }
    }

    /// Puts the integers of a scale away under a name.
    pub fn keep(&self, fitted: &Fitted, spool: &mut Spool, name: &str) -> anyhow::Result<()> {
        let scale = 2f64.powi(fitted.fraction);
        spool.begin(name, fitted.range);
        self.parts(|part| {
            let cells: Vec<i32> = part.par_iter().map(|&w| round(w, scale)).collect();
            Ok(spool.push(&cells)?)
        })
    }
}

fn round(weight: f32, scale: f64) -> i32 {
    (f64::from(weight) * scale).round_ties_even() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_the_finest_that_keep_their_limits() {
        let cells: Vec<f32> = (0..6 * 50).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013).collect();
        let floats = Floats::of(&cells, 50, 0.5);
        let row_l1 = |fitted: &Fitted| {
            let cell = |&w: &f32| round(w * 0.5, 2f64.powi(fitted.fraction));
            cells.chunks(50).map(|row| row.iter().map(|w| i64::from(cell(w)).abs()).sum::<i64>()).max()
        };
        for (input, limit, bits) in [(8191, 1 << 30, 13), (8191, 1 << 26, 13), (1, i64::MAX, 12), (1, 40, 13)]
        {
            let fitted = floats.fit((input, limit), bits).unwrap();
            assert_eq!(Some(fitted.matrix.row_l1), row_l1(&fitted));
            assert!(fitted.matrix.row_l1 * input <= limit && fitted.matrix.bound < 1 << bits);
            let finer = floats.at(fitted.fraction + 1).unwrap();
            assert_eq!(Some(finer.matrix.row_l1), row_l1(&finer));
            let allowed = finer.matrix.row_l1.saturating_mul(input) <= limit;
            assert!(!allowed || i64::from(finer.range.0.abs().max(finer.range.1)) > (1 << bits) - 1);
            let mut spool = Spool::memory();
            floats.keep(&fitted, &mut spool, "x").unwrap();
            let kept = spool.finish(["x"].into_iter(), Vec::new()).unwrap().to_data().constants.remove(0);
            let bounds =
                kept.chunks(50).map(|row| row.iter().map(|&v| i64::from(v).abs()).sum::<i64>()).max();
            assert_eq!(bounds, Some(fitted.matrix.row_l1));
            assert_eq!(
                (kept.iter().min(), kept.iter().max()),
                (Some(&fitted.range.0), Some(&fitted.range.1))
            );
        }
        let broken = Floats::new((3, 2), |_, _| anyhow::bail!("no such row"));
        assert!(broken.fit((1, 1), 3).is_err());
    }
}
