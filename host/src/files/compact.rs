//! Lists of integers in as few bytes as the largest of a list takes.
//!
//! Each list is one byte with its width (1, 2 or 4 bytes for each number), its length as eight bytes, and its
//! numbers, all little-endian and signed. The width is the smallest that serves, so that a list has one encoding.
//! Weights of a language model are read at the speed of a copy this way.

use rayon::prelude::*;

use super::ParseError;

/// Numbers that are converted by one task.
const TASK: usize = 1 << 16;

/// An integer of some width.
trait Number: Copy + Default + Send + Sync {
    const BYTES: usize;
    fn from(value: i32) -> Self;
    fn put(self, out: &mut [u8]);
    fn get(bytes: &[u8]) -> i32;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            fn from(value: i32) -> Self {
                value as Self
            }

            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> i32 {
                Self::from_le_bytes(bytes.try_into().unwrap_or_default()).into()
            }
        }
    )*};
}

number!(i8, i16, i32);

/// The smallest width for a list.
fn width(list: &[i32]) -> u8 {
    let extreme =
        |chunk: &[i32]| chunk.iter().fold((0, 0), |(low, high): (i32, i32), &v| (low.min(v), high.max(v)));
    let (low, high) =
        list.par_chunks(TASK).map(extreme).reduce(|| (0, 0), |(a, b), (c, d)| (a.min(c), b.max(d)));
    match () {
        () if low >= i8::MIN.into() && high <= i8::MAX.into() => 1,
        () if low >= i16::MIN.into() && high <= i16::MAX.into() => 2,
        () => 4,
    }
}

/// Appends lists.
pub fn write(lists: &[Vec<i32>], out: &mut Vec<u8>) {
    out.extend((lists.len() as u64).to_le_bytes());
    for list in lists {
        let width = width(list);
        out.push(width);
        out.extend((list.len() as u64).to_le_bytes());
        match width {
            1 => put::<i8>(list, out),
            2 => put::<i16>(list, out),
            _ => put::<i32>(list, out),
        }
    }
}

fn put<T: Number>(list: &[i32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + list.len() * T::BYTES, 0);
    out[start..].par_chunks_mut(TASK * T::BYTES).zip(list.par_chunks(TASK)).for_each(|(bytes, list)| {
        bytes.chunks_exact_mut(T::BYTES).zip(list).for_each(|(bytes, &v)| T::from(v).put(bytes));
    });
}

/// Reads lists from the start of `bytes`, of which the rest is left.
pub fn read(bytes: &mut &[u8]) -> Result<Vec<Vec<i32>>, ParseError> {
    let count = length(bytes)?;
    let mut lists = Vec::new();
    for _ in 0..count {
        let (&width, rest) = bytes.split_first().ok_or(ParseError::End)?;
        *bytes = rest;
        let numbers = length(bytes)?;
        let size = numbers.checked_mul(width.into()).ok_or(ParseError::End)?;
        let (own, rest) = bytes.split_at_checked(size).ok_or(ParseError::End)?;
        *bytes = rest;
        let list = match width {
            1 => get::<i8>(own),
            2 => get::<i16>(own),
            4 => get::<i32>(own),
            _ => return Err(ParseError::Malformed(format!("numbers of {width} bytes"))),
        };
        if width != self::width(&list) {
            return Err(ParseError::Malformed("a list of numbers is wider than it needs to be".into()));
        }
        lists.push(list);
    }
    Ok(lists)
}

fn length(bytes: &mut &[u8]) -> Result<usize, ParseError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(ParseError::End)?;
    *bytes = rest;
    usize::try_from(u64::from_le_bytes(*length)).map_err(|_| ParseError::End)
}

fn get<T: Number>(bytes: &[u8]) -> Vec<i32> {
    let mut list = vec![0; bytes.len() / T::BYTES];
    list.par_chunks_mut(TASK).zip(bytes.par_chunks(TASK * T::BYTES)).for_each(|(list, bytes)| {
        list.iter_mut().zip(bytes.chunks_exact(T::BYTES)).for_each(|(v, bytes)| *v = T::get(bytes));
    });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_one_encoding() {
        let long: Vec<i32> = (0..200_000).map(|i| (i * 7919) % 5000 - 2500).collect();
        let lists = vec![
            vec![],
            vec![-128, 127],
            vec![128],
            vec![-32_768, 32_767],
            vec![i32::MIN, 0, i32::MAX],
            long,
        ];
        let mut bytes = Vec::new();
        write(&lists, &mut bytes);
        let at = bytes.len();
        bytes.extend([7, 8]);
        let mut rest = bytes.as_slice();
        assert_eq!(read(&mut rest), Ok(lists));
        assert_eq!(rest, [7, 8]);
        for end in (0..200).chain(at - 5..at) {
            assert_eq!(read(&mut &bytes[..end]), Err(ParseError::End), "{end}");
        }
        // A list of one number, zero, in two bytes.
        let wide = [1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(read(&mut wide.as_slice()), Err(ParseError::Malformed(_))));
        let strange = [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(read(&mut strange.as_slice()), Err(ParseError::Malformed(_))));
        let huge = [255; 17];
        assert_eq!(read(&mut huge.as_slice()), Err(ParseError::End));
    }
}
