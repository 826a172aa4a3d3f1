//! Multilinear polynomials over the Boolean cube.
//!
//! One convention everywhere: entry `i` of a table belongs to the vertex whose coordinate `j` is bit `j`
//! of `i`, and `point[j]` is the value of that coordinate. Slices of a point therefore belong to aligned
//! blocks of a table: the low coordinates move inside a block, the high ones select it.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::field::{M31, QM31};

/// `eq(a, b) = prod_j (a_j b_j + (1 - a_j)(1 - b_j))`, over the coordinates that both points have.
pub fn eq(a: &[QM31], b: &[QM31]) -> QM31 {
    a.iter().zip(b).map(|(&x, &y)| eq1(x, y)).product()
}

/// `eq` in one coordinate.
pub fn eq1(x: QM31, y: QM31) -> QM31 {
    let xy = x * y;
    QM31::ONE - x - y + xy + xy
}

/// `eq(point, bits of index)`.
pub fn eq_index(point: &[QM31], index: u64) -> QM31 {
    point
        .iter()
        .enumerate()
        .map(|(j, &x)| if index.checked_shr(j as u32).unwrap_or(0) & 1 == 1 { x } else { QM31::ONE - x })
        .product()
}

/// `eq` of the high coordinates of a point for many aligned blocks of its table. Blocks that follow each other
/// share most of their factors.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    point: &'a [QM31],
    /// First entry of the last block.
    offset: u64,
    /// For every coordinate `j`: the product of the factors of the coordinates from `j` on, and what it would be if the
    /// block were in the upper half of coordinate `j`. All ones behind the last.
    products: Vec<[QM31; 2]>,
    /// Coordinates below this one are never asked for.
    least: usize,
    /// From this coordinate on both are known.
    known: usize,
}

impl<'a> Blocks<'a> {
    /// Blocks, of `2^least` entries or more, of the table that belongs to a point.
    pub fn new(point: &'a [QM31], least: u32) -> Self {
        let least = (least as usize).min(point.len());
        let products = vec![[QM31::ONE; 2]; point.len() + 1 - least];
        Self { point, offset: 0, products, least, known: point.len() }
    }

    /// `eq(point[log..], offset >> log)`: the weight of the block of `2^log` entries from `offset` on.
    pub fn weight(&mut self, log: u32, offset: u64) -> QM31 {
        let log = (log as usize).clamp(self.least, self.point.len());
        let changed = u64::BITS as usize - (self.offset ^ offset).leading_zeros() as usize;
        self.offset = offset;
        let high = |j: usize| offset.checked_shr(j as u32).unwrap_or(0) & 1 == 1;
        // The highest coordinate that changes goes to its other half; what is below it begins anew.
        let changed = changed.max(self.least);
        if changed > self.known && changed <= self.point.len() {
            let top = changed - 1;
            let above = self.above(top);
            if let Some([product, upper]) = self.products.get_mut(top - self.least) {
                *product = if high(top) { *upper } else { above - *upper };
            }
            self.known = top;
        } else {
            self.known = self.known.max(changed).min(self.point.len());
        }
        while self.known > log {
            let j = self.known - 1;
            let above = self.above(j);
            let upper = self.point.get(j).map_or(QM31::ZERO, |&x| x * above);
            if let Some(slot) = self.products.get_mut(j - self.least) {
                *slot = [if high(j) { upper } else { above - upper }, upper];
            }
            self.known = j;
        }
        self.above_or(log)
    }

    fn above(&self, j: usize) -> QM31 {
        self.above_or(j + 1)
    }

    fn above_or(&self, j: usize) -> QM31 {
        self.products.get(j - self.least).map_or(QM31::ONE, |[product, _]| *product)
    }
}

/// [`Blocks`] of all sizes. Those of one size lie side by side.
#[derive(Clone, Debug)]
pub struct BySize<'a> {
    point: &'a [QM31],
    sizes: Vec<Option<Blocks<'a>>>,
}

impl<'a> BySize<'a> {
    /// Blocks of the table that belongs to a point.
    pub fn new(point: &'a [QM31]) -> Self {
        Self { point, sizes: Vec::new() }
    }

    /// The weight of the block of `2^log` entries from `offset` on.
    pub fn weight(&mut self, log: u32, offset: u64) -> QM31 {
        let log = log.min(u64::BITS);
        let size = log as usize;
        if size >= self.sizes.len() {
            self.sizes.resize(size + 1, None);
        }
        let blocks = || Blocks::new(self.point, log);
        self.sizes
            .get_mut(size)
            .map_or(QM31::ZERO, |slot| slot.get_or_insert_with(blocks).weight(log, offset))
    }
}

/// All `2^n` values `eq(point, i)`.
pub fn eq_table(point: &[QM31]) -> Vec<QM31> {
    let mut table = Vec::with_capacity(1 << point.len());
    table.push(QM31::ONE);
    for &x in point {
        let half = table.len();
        table.resize(2 * half, QM31::ZERO);
        let (low, high) = table.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *high = *low * x;
            *low -= *high;
        }
    }
    table
}

/// The multilinear extension of a base-field table at a point; missing high entries count as zero.
pub fn evaluate_base(table: &[M31], point: &[QM31]) -> QM31 {
    QM31::dot(&eq_table(point), table)
}

/// The multilinear extension of a table at a point; missing high entries count as zero.
pub fn evaluate(table: &[QM31], point: &[QM31]) -> QM31 {
    eq_table(point).into_iter().zip(table).map(|(e, &v)| e * v).sum()
}

/// Binds the highest coordinate: entry `i` becomes `(1 - r) t[i] + r t[i + half]`.
pub fn bind_high(table: &mut Vec<QM31>, r: QM31) {
    let half = table.len() / 2;
    let (low, high) = table.split_at_mut(half);
    for (low, &mut high) in low.iter_mut().zip(high) {
        *low += (high - *low) * r;
    }
    table.truncate(half);
}

/// Binds the lowest coordinate: entry `i` becomes `(1 - r) t[2i] + r t[2i + 1]`.
pub fn bind_low(table: &mut Vec<QM31>, r: QM31) {
    let half = halve(table, |low, high| low + (high - low) * r);
    table.truncate(half);
}

/// Entry `i` becomes `f(t[2i], t[2i + 1])`. Half of the table, how much is returned, is left; a last entry without a
/// neighbour goes.
pub(crate) fn halve<T: Copy>(table: &mut [T], mut f: impl FnMut(T, T) -> T) -> usize {
    let cells = Cell::from_mut(table).as_slice_of_cells();
    let (pairs, _) = cells.as_chunks::<2>();
    for (cell, [low, high]) in cells.iter().zip(pairs) {
        cell.set(f(low.get(), high.get()));
    }
    pairs.len()
}

/// Horner evaluation of `sum_i coefficients[i] x^i`.
pub fn univariate(coefficients: &[QM31], x: QM31) -> QM31 {
    coefficients.iter().rev().fold(QM31::ZERO, |acc, &c| acc * x + c)
}

/// `1, x, x^2, ..., x^(n-1)`.
pub fn powers(x: QM31, n: usize) -> Vec<QM31> {
    let mut out = vec![QM31::ONE; n];
    let mut power = QM31::ONE;
    for slot in out.iter_mut().skip(1) {
        power *= x;
        *slot = power;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u32) -> Vec<QM31> {
        (0..n)
            .map(|i| {
                QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(u64::from(i * 77 + k) * 0x9e37_79b9)))
            })
            .collect()
    }

    #[test]
    fn eq_forms_agree() {
        let point = sample(5);
        for (i, value) in eq_table(&point).into_iter().enumerate() {
            assert_eq!(value, eq_index(&point, i as u64));
            let vertex: Vec<QM31> =
                (0..5).map(|j| if i >> j & 1 == 1 { QM31::ONE } else { QM31::ZERO }).collect();
            assert_eq!(value, eq(&point, &vertex));
        }
    }

    #[test]
    fn blocks_have_the_weights_of_their_offsets() {
        let point = sample(6);
        let mut blocks = Blocks::new(&point, 0);
        for (log, at) in
            [(4, 0), (4, 1), (3, 4), (3, 5), (1, 24), (0, 50), (0, 51), (5, 0), (6, 0), (0, 63), (7, 0)]
        {
            let high = point.get(log as usize..).unwrap_or_default();
            assert_eq!(blocks.weight(log, at << log), eq_index(high, at), "block {at} of 2^{log}");
        }
        // Coordinates above the point's do not count.
        assert_eq!(blocks.weight(2, 64 + 4), eq_index(&point[2..], 1));
    }

    #[test]
    fn binding_in_either_order_evaluates() {
        let (table, point) = (sample(32), sample(5));
        let expected = evaluate(&table, &point);
        let (mut high, mut low) = (table.clone(), table);
        for j in 0..5 {
            bind_high(&mut high, point[4 - j]);
            bind_low(&mut low, point[j]);
        }
        assert_eq!((high[0], low[0]), (expected, expected));
    }
}
