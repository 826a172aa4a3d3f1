//! Which of several GPUs has a column of a matrix.
//!
//! Blocks of the hash are dealt to a power of two of GPUs in turn. Columns that meet in the rounds over columns are those whose
//! numbers differ in one bit, from the highest down, so that they lie on one GPU until few are left; and digests of rows go from GPU to
//! GPU instead of cells.

use std::ops::Range;

use crate::backend::merkle::BLOCK;

/// How the columns of matrices are dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Log of the number of GPUs.
    log_parts: u32,
}

/// Log of the columns that are dealt at once.
const LOG_BLOCK: u32 = BLOCK.ilog2();

impl Split {
    /// Over so many GPUs, a power of two of them.
    pub fn new(parts: usize) -> Self {
        assert!(parts.is_power_of_two(), "columns are dealt to a power of two of GPUs");
        Self { log_parts: parts.ilog2() }
    }

    /// How many GPUs there are.
    pub fn parts(self) -> usize {
        1 << self.log_parts
    }

    /// Which GPU has a column, and its number there.
    pub fn place(self, column: usize) -> (usize, usize) {
        let (block, rest) = (column >> LOG_BLOCK, column % BLOCK);
        (block % self.parts(), ((block >> self.log_parts) << LOG_BLOCK) + rest)
    }

    /// How many of so many columns a GPU has.
    pub fn count(self, part: usize, columns: usize) -> usize {
        let turn = BLOCK << self.log_parts;
        let rest = (columns % turn).saturating_sub(part * BLOCK).min(BLOCK);
        columns / turn * BLOCK + rest
    }

    /// Those of so many columns that a GPU has, in order.
    pub fn columns(self, part: usize, columns: usize) -> impl Iterator<Item = usize> {
        (0..self.count(part, columns)).map(move |own| self.column(part, own))
    }

    /// The column that has this number on a GPU.
    pub fn column(self, part: usize, own: usize) -> usize {
        ((((own >> LOG_BLOCK) << self.log_parts) + part) << LOG_BLOCK) + own % BLOCK
    }

    /// Stretches of cells, of columns of `2^log` one after the other, that lie on one GPU: each with that GPU, and with where it
    /// begins among the cells that are there.
    pub fn stretches(
        self,
        cells: Range<usize>,
        log: u32,
    ) -> impl Iterator<Item = (Range<usize>, usize, usize)> {
        let block = if self.log_parts == 0 { usize::MAX } else { BLOCK << log };
        let end = cells.end;
        let mut at = cells.start;
        std::iter::from_fn(move || {
            let last = end.min((at / block).saturating_add(1).saturating_mul(block));
            let (part, own) = self.place(at >> log);
            let stretch = (at..last, part, (own << log) + (at & ((1 << log) - 1)));
            at = last;
            (!stretch.0.is_empty()).then_some(stretch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_its_place() {
        for parts in [1, 2, 4, 8] {
            let split = Split::new(parts);
            for columns in [0, 1, 15, 16, 17, 100, 128, 300] {
                let mut found: Vec<usize> =
                    (0..parts).flat_map(|part| split.columns(part, columns)).collect();
                found.sort_unstable();
                assert!(found.into_iter().eq(0..columns));
                for part in 0..parts {
                    for (own, column) in split.columns(part, columns).enumerate() {
                        assert_eq!(split.place(column), (part, own));
                    }
                }
            }
            // Columns that differ in a high bit lie together.
            assert!((0..64).all(|column| split.place(column).0 == split.place(column + 256).0));
        }
    }

    #[test]
    fn stretches_lie_together() {
        for parts in [1, 2, 4] {
            let split = Split::new(parts);
            for cells in [0..0, 3..4, 0..1 << 12, 1000..5000, 16 << 6..20 << 6] {
                let mut next = cells.start;
                for (stretch, part, own) in split.stretches(cells.clone(), 6) {
                    assert_eq!(stretch.start, next);
                    next = stretch.end;
                    for (k, cell) in stretch.enumerate() {
                        let place = own + k;
                        assert_eq!((split.column(part, place >> 6) << 6) + place % 64, cell);
                    }
                }
                assert_eq!(next, cells.end);
            }
        }
    }
}
