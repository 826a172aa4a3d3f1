//! GGUF, versions 2 and 3: magic, counts, metadata, tensor directory, aligned data.
//!
//! All integers are little-endian. `magic "GGUF", version u32, tensors u64, keys u64`, then per key
//! `name, type u32, value` and per tensor `name, n u32, extents n x u64 (fastest first), type u32, offset u64`; a string is
//! a `u64` length and its bytes, an array is `type u32, count u64` and its values. Offsets count from the first multiple of
//! `general.alignment` (32 unless given) after the directory.
//!
//! The reader is total: every count and length is checked against what is left before memory is taken.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use crate::llm::Block;
use crate::llm::stored::Found;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list.
    Array(Vec<Value>),
}

/// Metadata by key.
#[derive(Debug, Default)]
pub struct Metadata(BTreeMap<String, Value>);

/// Most values that the metadata may hold, lists counted by element. The largest vocabularies have some 10^5.
const MOST_VALUES: u64 = 1 << 22;
/// Longest text.
const LONGEST_TEXT: u64 = 1 << 24;
/// Longest name of a tensor or key. The format allows tensors 64 bytes and keys 65535.
const LONGEST_NAME: u64 = 1 << 16;
/// Most tensors.
const MOST_TENSORS: u64 = 1 << 20;
/// Deepest list of lists.
const DEEPEST: usize = 3;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> anyhow::Result<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|n| self.at.checked_add(n));
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            bail!(
                "the GGUF file ends too early: {count} bytes are needed at byte {} of {}; download it again",
                self.at,
                self.bytes.len()
            );
        };
        self.at += bytes.len();
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        Ok(self.take(N as u64)?.try_into()?)
    }

    fn u32(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self, longest: u64) -> anyhow::Result<String> {
        let at = self.at;
        let length = self.u64()?;
        ensure!(length <= longest, "text of {length} bytes at byte {at}; at most {longest} are read");
        let text = str::from_utf8(self.take(length)?);
        Ok(text.with_context(|| format!("the text at byte {at} is not UTF-8"))?.to_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> anyhow::Result<Value> {
        self.values += 1;
        ensure!(self.values <= MOST_VALUES, "the metadata holds more than {MOST_VALUES} values");
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match self.array::<1>()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => bail!("truth value {other} at byte {}", self.at - 1),
            },
            8 => Value::Text(self.text(LONGEST_TEXT)?),
            9 => {
                ensure!(depth < DEEPEST, "lists nested more than {DEEPEST} deep");
                let (kind, count) = (self.u32()?, self.u64()?);
                let left = (self.bytes.len() - self.at) as u64;
                ensure!(
                    count <= left && count <= MOST_VALUES,
                    "a list of {count} values, but {left} bytes are left"
                );
                let mut values = Vec::with_capacity(count.min(1 << 16) as usize);
                for _ in 0..count {
                    values.push(self.value(kind, depth + 1)?);
                }
                Value::Array(values)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("value type {other} at byte {}, which GGUF does not have", self.at),
        })
    }
}

/// Reads metadata and tensor directory of a mapped file.
pub(in crate::llm) fn read(bytes: &[u8]) -> anyhow::Result<(Metadata, Vec<Found>)> {
    let mut r = Reader { bytes, at: 0, values: 0 };
    ensure!(r.take(4)? == b"GGUF", "not a GGUF file: it does not begin with \"GGUF\"");
    match r.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            bail!("the GGUF file is big-endian, which is not supported; convert it to little-endian")
        }
        version => bail!("GGUF version {version} is not supported; convert the model to version 3"),
    }
    let (tensors, keys) = (r.u64()?, r.u64()?);
    ensure!(
        tensors <= MOST_TENSORS,
        "the GGUF file declares {tensors} tensors; at most {MOST_TENSORS} are read"
    );
    ensure!(
        keys <= MOST_VALUES,
        "the GGUF file declares {keys} metadata keys; at most {MOST_VALUES} are read"
    );
    let mut metadata = Metadata::default();
    for index in 0..keys {
        let key = r.text(LONGEST_NAME).with_context(|| format!("metadata key {index} cannot be read"))?;
        let value = r.u32().and_then(|kind| r.value(kind, 0));
        let value = value.with_context(|| format!("metadata key {key:?} cannot be read"))?;
        ensure!(!metadata.0.contains_key(&key), "metadata key {key:?} occurs twice; download the file again");
        metadata.0.insert(key, value);
    }
    let mut found = Vec::new();
    for index in 0..tensors {
        let entry =
            tensor(&mut r).with_context(|| format!("entry {index} of the tensor directory is damaged"))?;
        found.push(entry);
    }
    place(&mut found, &metadata, r.at, bytes.len())?;
    Ok((metadata, found))
}

/// One entry of the tensor directory; `start` is still relative.
fn tensor(r: &mut Reader) -> anyhow::Result<Found> {
    let name = r.text(LONGEST_NAME)?;
    let count = r.u32()?;
    ensure!((1..=4).contains(&count), "tensor {name:?} has {count} extents; 1 to 4 are possible");
    let mut dims = Vec::new();
    for _ in 0..count {
        let extent = r.u64()?;
        let extent = usize::try_from(extent).ok().filter(|&e| (1..=1 << 40).contains(&e));
        dims.push(extent.with_context(|| format!("tensor {name:?} has an impossible extent"))?);
    }
    dims.reverse();
    let block = block(r.u32()?);
    let start = usize::try_from(r.u64()?).with_context(|| format!("tensor {name:?} lies beyond the file"))?;
    Ok(Found { name, file: 0, start, dims, block })
}

/// Turns relative into absolute offsets and checks alignment, bounds and that tensors do not overlap.
fn place(found: &mut [Found], metadata: &Metadata, end: usize, size: usize) -> anyhow::Result<()> {
    let alignment = metadata.count("general.alignment")?.unwrap_or(32);
    ensure!(
        alignment.is_power_of_two() && (8..=1 << 20).contains(&alignment),
        "general.alignment is {alignment}; it must be a power of two from 8 to 2^20"
    );
    let base = end.next_multiple_of(alignment);
    let mut spans = Vec::new();
    for tensor in &mut *found {
        let name = &tensor.name;
        ensure!(
            tensor.start.is_multiple_of(alignment),
            "tensor {name:?} lies at offset {}, which is no multiple of {alignment}; download the file again",
            tensor.start
        );
        tensor.start = tensor.start.saturating_add(base);
        // The size of an unknown format is unknown; such a tensor is refused when it is assigned.
        let Ok(block) = tensor.block else { continue };
        let Some(&cols) = tensor.dims.last() else { continue };
        let Some(row) = block.size(cols) else {
            bail!("tensor {name:?} has rows of {cols} weights, which are no whole blocks of {block:?}");
        };
        let bytes = tensor.dims[..tensor.dims.len() - 1].iter().try_fold(row, |n, &d| n.checked_mul(d));
        let span =
            bytes.and_then(|bytes| Some((tensor.start, tensor.start.checked_add(bytes)?, name.clone())));
        let Some(span) = span.filter(|s| s.1 <= size) else {
            bail!(
                "the data of tensor {name:?} reaches beyond the end of the file ({size} bytes); \
                 it is truncated, download it again"
            );
        };
        spans.push(span);
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        ensure!(
            pair[0].1 <= pair[1].0,
            "the data of tensors {:?} and {:?} overlap; download the file again",
            pair[0].2,
            pair[1].2
        );
    }
    Ok(())
}

/// The format of a type number, or a name for one that is not read.
fn block(kind: u32) -> Result<Block, String> {
    let name = match kind {
        0 => return Ok(Block::F32),
        1 => return Ok(Block::F16),
        2 => return Ok(Block::Q4_0),
        3 => return Ok(Block::Q4_1),
        6 => return Ok(Block::Q5_0),
        7 => return Ok(Block::Q5_1),
        8 => return Ok(Block::Q8_0),
        12 => return Ok(Block::Q4K),
        13 => return Ok(Block::Q5K),
        14 => return Ok(Block::Q6K),
        30 => return Ok(Block::BF16),
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        other => return Err(format!("number {other}")),
    };
    Err(name.to_owned())
}

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A nonnegative integer, if the key is there.
    pub fn count(&self, key: &str) -> anyhow::Result<Option<usize>> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(n)) => usize::try_from(*n).ok(),
            Some(Value::Signed(n)) => usize::try_from(*n).ok(),
            Some(_) => None,
        };
        Ok(Some(number.with_context(|| format!("metadata key {key:?} is no nonnegative integer"))?))
    }

    /// A number, if the key is there.
    pub fn float(&self, key: &str) -> anyhow::Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(Value::Signed(n)) => Ok(Some(*n as f64)),
            Some(_) => bail!("metadata key {key:?} is no number"),
        }
    }

    /// A text, if the key is there.
    pub fn text(&self, key: &str) -> anyhow::Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(t)) => Ok(Some(t)),
            Some(_) => bail!("metadata key {key:?} is no text"),
        }
    }

    /// A truth value, if the key is there.
    pub fn truth(&self, key: &str) -> anyhow::Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => bail!("metadata key {key:?} is neither true nor false"),
        }
    }

    /// A list, if the key is there.
    pub fn list(&self, key: &str) -> anyhow::Result<Option<&[Value]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => bail!("metadata key {key:?} is no list"),
        }
    }
}
