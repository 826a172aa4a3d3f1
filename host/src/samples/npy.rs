//! NumPy's `.npy` files of plain numbers.
//!
//! The format is six magic bytes, a version, the header's length and the header: a Python dictionary
//! with the keys `descr`, `fortran_order` and `shape`, then the elements. Only the form that NumPy
//! itself writes is read, with little-endian or one-byte elements.

use super::SampleError;
use crate::graph::{Shape, Tensor, elements};

/// How every file begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

struct Header {
    descr: String,
    fortran: bool,
    shape: Shape,
}

pub(super) fn read(bytes: &[u8]) -> Result<Tensor, SampleError> {
    let cut = || refuse("the file is cut off");
    let rest = bytes.get(MAGIC.len()..).ok_or_else(cut)?;
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (u16::from_le_bytes([*a, *b]) as usize, rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [1..=3, ..] => return Err(cut()),
        _ => return Err(refuse("the format version is unknown")),
    };
    let (header, data) = rest.split_at_checked(len).ok_or_else(cut)?;
    let text = std::str::from_utf8(header).map_err(|_| refuse("the header is not text"))?;
    let header = parse_header(text).ok_or_else(|| refuse("the header is not in NumPy's form"))?;
    if header.shape.contains(&0) {
        return Err(SampleError::Empty { at: "input".into() });
    }
    let count = elements("input", &header.shape)?;
    if header.fortran && header.shape.iter().filter(|&&d| d != 1).count() > 1 {
        return Err(refuse("the array is in Fortran order (use numpy.ascontiguousarray)"));
    }
    let data = Elements { data, count };
    let values = match header.descr.as_str() {
        "<f4" => data.read(|b| f32::from_le_bytes(b).into()),
        "<f8" => data.read(f64::from_le_bytes),
        "|i1" => data.read(|b| i8::from_le_bytes(b).into()),
        "|u1" | "|b1" => data.read(|b| u8::from_le_bytes(b).into()),
        "<i2" => data.read(|b| i16::from_le_bytes(b).into()),
        "<u2" => data.read(|b| u16::from_le_bytes(b).into()),
        "<i4" => data.read(|b| i32::from_le_bytes(b).into()),
        "<u4" => data.read(|b| u32::from_le_bytes(b).into()),
        "<i8" => data.read(|b| i64::from_le_bytes(b) as f64),
        "<u8" => data.read(|b| u64::from_le_bytes(b) as f64),
        other => return Err(refuse(&format!("the element type is {other:?}"))),
    }?;
    Ok(Tensor::new(header.shape, values)?)
}

fn refuse(detail: &str) -> SampleError {
    SampleError::Npy(detail.into())
}

struct Elements<'a> {
    data: &'a [u8],
    count: usize,
}

impl Elements<'_> {
    fn read<const N: usize>(&self, convert: impl Fn([u8; N]) -> f64) -> Result<Vec<f32>, SampleError> {
        // `count` is at most 2^31 and N at most 8.
        let (expected, found) = (self.count * N, self.data.len());
        if expected != found {
            return Err(refuse(&format!("the shape needs {expected} bytes of data, but there are {found}")));
        }
        let mut values = Vec::with_capacity(self.count);
        let (chunks, _) = self.data.as_chunks::<N>();
        for (index, &chunk) in chunks.iter().enumerate() {
            let value = convert(chunk);
            let narrow = value as f32;
            if !narrow.is_finite() {
                return Err(SampleError::NonFinite { index, value });
            }
            values.push(narrow);
        }
        Ok(values)
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` with the keys in any order.
fn parse_header(text: &str) -> Option<Header> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" if descr.is_none() => {
                let (text, after) = quoted(value)?;
                descr = Some(text.to_owned());
                after
            }
            "fortran_order" if fortran.is_none() => {
                fortran = Some(value.starts_with("True"));
                value.strip_prefix("False").or_else(|| value.strip_prefix("True"))?
            }
            "shape" if shape.is_none() => {
                let (tuple, after) = value.strip_prefix('(')?.split_once(')')?;
                shape = Some(dimensions(tuple.trim())?);
                after
            }
            _ => return None,
        }
        .trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(Header { descr: descr?, fortran: fortran?, shape: shape? })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn dimensions(tuple: &str) -> Option<Shape> {
    if tuple.is_empty() {
        return Some(Shape::new());
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
    tuple.strip_suffix(',').unwrap_or(tuple).split(',').map(|part| digits(part.trim())).collect()
}
