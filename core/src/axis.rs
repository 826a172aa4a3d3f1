//! Weights along one axis of a column: the closed list from which every linear claim is built.
//!
//! A linear claim says `sum_{t,c} F(t,c) u(t) w(c) = v` for a committed column `F`. Both `u` and `w` come
//! from [`Axis`], so that the verifier can evaluate the multilinear extension of the whole weight at the
//! one point where the batched opening ends. No other wiring between tensors exists.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::field::QM31;
use crate::poly::{Blocks, eq, eq_table, powers};

/// One digit of a mixed-radix index, most significant digit first in an [`Axis::Geometric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// Number of values of this digit, at least one.
    pub len: u32,
    /// The weight gains this factor each time the digit goes up by one.
    pub ratio: QM31,
}

/// Weights `w(0), ..., w(2^n - 1)` along an axis of `2^n` entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// `w(i) = eq(point, i)`: the multilinear extension at `point`.
    Eq(Vec<QM31>),
    /// `w(i) = prod_k ratio_k^(digit_k(skip + i))` for `i < take`, zero beyond it: a stretch of a
    /// mixed-radix sequence. A single digit of ratio one is the sum over the first `take` entries.
    Geometric {
        /// The digits, most significant first.
        digits: Vec<Digit>,
        /// Entries of the sequence that lie before this axis.
        skip: u32,
        /// Entries of the sequence on this axis.
        take: u32,
    },
    /// `w(i) = sum over the entries k with list[k] = i of eq(point, k)`: the rows that a list names, at a point.
    /// The last entry of the list stands for all `k` beyond it; entries outside the axis weigh nothing.
    Listed {
        /// Index into the axis for each `k`.
        list: Vec<u32>,
        /// Coordinates of `k`.
        point: Vec<QM31>,
    },
    /// `w(low + 2^n high) = low-axis(low) high-axis(high)`, with `n` variables in the low axis.
    Product {
        /// Number of low variables.
        split: u32,
        /// Weights of the low and of the high part of the index.
        parts: Box<[Axis; 2]>,
    },
}

impl Axis {
    /// The sum over the first `len` entries.
    pub fn sum(len: u32) -> Self {
        Self::Geometric { digits: vec![Digit { len, ratio: QM31::ONE }], skip: 0, take: len }
    }

    /// The `2^log` weights themselves.
    pub fn dense(&self, log: u32) -> Vec<QM31> {
        match self {
            Self::Eq(point) => eq_table(point),
            Self::Geometric { digits, skip, take } => {
                let mut weights = vec![QM31::ONE];
                for digit in digits {
                    let steps = powers(digit.ratio, digit.len as usize);
                    weights = weights.iter().flat_map(|&w| steps.iter().map(move |&s| w * s)).collect();
                }
                let mut weights: Vec<QM31> =
                    weights.into_iter().skip(*skip as usize).take(*take as usize).collect();
                weights.resize(1 << log, QM31::ZERO);
                weights
            }
            Self::Listed { list, point } => {
                let mut weights = vec![QM31::ZERO; 1 << log];
                for (k, e) in eq_table(point).into_iter().enumerate() {
                    let entry = list.get(k).or(list.last()).copied();
                    if let Some(weight) = entry.and_then(|entry| weights.get_mut(entry as usize)) {
                        *weight += e;
                    }
                }
                weights
            }
            Self::Product { split, parts } => {
                let [low, high] = parts.as_ref();
                let (low, high) = (low.dense(*split), high.dense(log.saturating_sub(*split)));
                high.iter().flat_map(|&h| low.iter().map(move |&l| h * l)).collect()
            }
        }
    }

    /// The multilinear extension of the weights at `point`, whose length is the axis' number of variables.
    pub fn evaluate(&self, point: &[QM31]) -> QM31 {
        match self {
            Self::Eq(own) => eq(own, point),
            Self::Geometric { digits, skip, take } => {
                if let [digit] = digits.as_slice() {
                    let first = digit.ratio.pow(u128::from(*skip));
                    return first * geometric(digit.ratio, u64::from(*take), point);
                }
                let table = eq_table(point);
                self.dense(point.len() as u32).into_iter().zip(table).map(|(w, e)| w * e).sum()
            }
            Self::Listed { list, point: own } => {
                let inside = |entry: &u32| u64::from(*entry) >> point.len().min(63) == 0;
                // Neighbours in a list are often neighbours on the axis.
                let mut blocks = Blocks::new(point, 0);
                eq_table(own)
                    .into_iter()
                    .enumerate()
                    .filter_map(|(k, e)| Some((list.get(k).or(list.last()).filter(|v| inside(v))?, e)))
                    .map(|(&entry, e)| e * blocks.weight(0, u64::from(entry)))
                    .sum()
            }
            Self::Product { split, parts } => {
                let (below, above) = point.split_at_checked(*split as usize).unwrap_or((point, &[]));
                let [low, high] = parts.as_ref();
                low.evaluate(below) * high.evaluate(above)
            }
        }
    }
}

/// `sum_{i < len} ratio^i eq(point, i)`, one step for each coordinate: with `h = 2^j`, the entries below
/// `h` have coordinate `j` zero and the others repeat them times `ratio^h`.
fn geometric(ratio: QM31, len: u64, point: &[QM31]) -> QM31 {
    if ratio == QM31::ONE {
        // `full` is always one, and a step takes one product.
        let part = point.iter().enumerate().fold(QM31::ZERO, |part, (j, &x)| {
            if len >> j & 1 == 1 { QM31::ONE - x * (QM31::ONE - part) } else { part - x * part }
        });
        return if len >> point.len() != 0 { QM31::ONE } else { part };
    }
    // `full` is the sum over all 2^j entries of the coordinates so far; `part` the sum over those below
    // `len mod 2^j`.
    let (mut full, mut part, mut step) = (QM31::ONE, QM31::ZERO, ratio);
    for (j, &x) in point.iter().enumerate() {
        let (low, high) = (QM31::ONE - x, x * step);
        part = if len >> j & 1 == 1 { low * full + high * part } else { low * part };
        full = (low + high) * full;
        step = step * step;
    }
    if len >> point.len() != 0 { full } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::M31;
    use crate::poly::evaluate;

    fn element(seed: u64) -> QM31 {
        QM31::from_coordinates(
            [1, 2, 3, 4].map(|k| M31::reduce((seed * 91 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        )
    }

    #[test]
    fn evaluation_is_the_extension_of_the_dense_weights() {
        for log in 0..6u32 {
            let point: Vec<QM31> = (0..u64::from(log)).map(element).collect();
            let mut axes = vec![Axis::Eq((0..u64::from(log)).map(|j| element(j + 50)).collect())];
            for len in 1..=1u32 << log {
                axes.push(Axis::sum(len));
                axes.push(Axis::Geometric {
                    digits: vec![Digit { len: len + 3, ratio: element(7) }],
                    skip: 3,
                    take: len,
                });
            }
            if log >= 4 {
                let digits = vec![Digit { len: 3, ratio: element(8) }, Digit { len: 5, ratio: element(9) }];
                axes.push(Axis::Geometric { digits: digits.clone(), skip: 0, take: 15 });
                axes.push(Axis::Geometric { digits, skip: 4, take: 9 });
            }
            let own: Vec<QM31> = (0..2).map(|j| element(j + 80)).collect();
            axes.push(Axis::Listed { list: vec![0, (1 << log) - 1, 1 << log], point: own.clone() });
            if log > 1 {
                let high = Axis::Listed { list: vec![1, 0, 1], point: own };
                axes.push(Axis::Product { split: log - 1, parts: [Axis::sum(2), high].into() });
            }
            for axis in axes {
                let dense = axis.dense(log);
                assert_eq!(dense.len(), 1 << log);
                assert_eq!(axis.evaluate(&point), evaluate(&dense, &point), "{axis:?} over {log}");
            }
        }
    }
}
