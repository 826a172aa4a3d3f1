//! What cells of a matrix hold.

/// What a cell of memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// A signed integer of eight bits.
    Byte,
    /// A signed integer of sixteen bits.
    Half,
    /// An element of the field, which may be `P` for zero.
    Word,
}

impl Cell {
    /// The smallest that holds all integers between two.
    pub fn of(low: i64, high: i64) -> Self {
        if low >= i8::MIN.into() && high <= i8::MAX.into() {
            Self::Byte
        } else if low >= i16::MIN.into() && high <= i16::MAX.into() {
            Self::Half
        } else {
            Self::Word
        }
    }

    /// How many words so many cells take, a multiple of four.
    pub(crate) fn words(self, cells: usize) -> usize {
        cells >> (2 - self as u32)
    }

    /// How many bytes so many cells take.
    pub(crate) fn bytes(self, cells: usize) -> usize {
        cells << self as u32
    }

    /// Elements, up to `P`, in such cells; nothing if they do not hold one of them.
    pub fn pack(self, elements: &[u32]) -> Option<Packed<'_>> {
        match self {
            Self::Byte => narrow(elements, |x| x as i8).map(Packed::Bytes),
            Self::Half => narrow(elements, |x| x as i16).map(Packed::Halves),
            Self::Word => Some(Packed::Words(elements)),
        }
    }
}

/// Elements in cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packed<'a> {
    /// Those of [`Cell::Byte`].
    Bytes(Vec<i8>),
    /// Those of [`Cell::Half`].
    Halves(Vec<i16>),
    /// Those of [`Cell::Word`], as they are.
    Words(&'a [u32]),
}

impl Packed<'_> {
    /// Which cells, and how many.
    pub fn cells(&self) -> (Cell, usize) {
        match self {
            Self::Bytes(cells) => (Cell::Byte, cells.len()),
            Self::Halves(cells) => (Cell::Half, cells.len()),
            Self::Words(cells) => (Cell::Word, cells.len()),
        }
    }
}

/// Elements as signed integers of fewer bits, if they are no larger.
fn narrow<T: Copy + Into<i32>>(elements: &[u32], cast: impl Fn(i32) -> T) -> Option<Vec<T>> {
    let cells: Vec<T> = elements.iter().map(|&x| cast(signed(x))).collect();
    // Without an early end, of which vectors know nothing.
    let same = |all: bool, (&x, &cell): (&u32, &T)| all & (signed(x) == cell.into());
    elements.iter().zip(&cells).fold(true, same).then_some(cells)
}

/// An element as a signed integer, `P` as zero.
fn signed(word: u32) -> i32 {
    const P: u32 = (1 << 31) - 1;
    if word > P / 2 { word.wrapping_sub(P) as i32 } else { word as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u32 = (1 << 31) - 1;

    #[test]
    fn what_fits_is_packed() {
        let bytes = [0, P, 1, P - 1, 127, P - 128];
        assert_eq!(Cell::Byte.pack(&bytes), Some(Packed::Bytes(vec![0, 0, 1, -1, 127, -128])));
        assert_eq!(Cell::Half.pack(&bytes), Some(Packed::Halves(vec![0, 0, 1, -1, 127, -128])));
        let halves = [0, 128, 32767, P - 32768, P - 129];
        assert_eq!(Cell::Half.pack(&halves), Some(Packed::Halves(vec![0, 128, 32767, -32768, -129])));
        assert_eq!(Cell::Word.pack(&halves), Some(Packed::Words(&halves)));
        assert_eq!(Cell::Byte.pack(&[]), Some(Packed::Bytes(Vec::new())));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for large in [128, P - 129, 256, P / 2, P / 2 + 1] {
            for at in 0..5 {
                let mut elements = [1; 5];
                elements[at] = large;
                assert_eq!(Cell::Byte.pack(&elements), None, "{large}");
            }
        }
        for large in [32768, P - 32769, 65536, P / 2, P / 2 + 1] {
            assert_eq!(Cell::Half.pack(&[0, large]), None, "{large}");
        }
    }
}
