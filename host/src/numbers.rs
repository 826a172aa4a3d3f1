//! The numbers of a program: in memory as they are computed with, or packed, and then maybe in a file that is larger
//! than memory.
//!
//! A packed list is one byte with its width (1, 2 or 4 bytes for each number), its length as eight bytes, and its
//! numbers, all little-endian and signed. The width is the smallest that serves, so that a list has one encoding.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use circlet_core::program::Data;
use rayon::prelude::*;

use crate::map::map;

/// Numbers that are converted by one task.
const TASK: usize = 1 << 16;

/// Where a program's numbers come from.
pub trait Source: Sync {
    /// How many constants there are.
    fn constants(&self) -> usize;

    /// Number of entries of a constant.
    fn len(&self, constant: usize) -> usize;

    /// Entries of a constant from one on, row after row.
    fn read(&self, constant: usize, from: usize, out: &mut [i32]);

    /// Values of all tables.
    fn tables(&self) -> &[Vec<i32>];
}

impl Source for Data {
    fn constants(&self) -> usize {
        self.constants.len()
    }

    fn len(&self, constant: usize) -> usize {
        self.constants[constant].len()
    }

    fn read(&self, constant: usize, from: usize, out: &mut [i32]) {
        out.copy_from_slice(&self.constants[constant][from..][..out.len()]);
    }

    fn tables(&self) -> &[Vec<i32>] {
        &self.tables
    }
}

/// Packed constants with the tables beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The constants, in the program's order.
    pub constants: Vec<List>,
    /// Values of all tables.
    pub tables: Vec<Vec<i32>>,
}

impl Source for Numbers {
    fn constants(&self) -> usize {
        self.constants.len()
    }

    fn len(&self, constant: usize) -> usize {
        self.constants[constant].len()
    }

    fn read(&self, constant: usize, from: usize, out: &mut [i32]) {
        self.constants[constant].read(from, out);
    }

    fn tables(&self) -> &[Vec<i32>] {
        &self.tables
    }
}

impl Numbers {
    /// How many numbers the constants have.
    pub fn count(&self) -> u64 {
        self.constants.iter().map(|list| list.len() as u64).sum()
    }

    /// Unpacks everything.
    pub fn to_data(&self) -> Data {
        Data { constants: self.constants.iter().map(List::unpack).collect(), tables: self.tables.clone() }
    }
}

impl From<Data> for Numbers {
    fn from(data: Data) -> Self {
        Self { constants: data.constants.iter().map(|list| List::pack(list)).collect(), tables: data.tables }
    }
}

/// Integers of one width. Copies share the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    width: Width,
    bytes: Bytes,
}

/// Bytes of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Width {
    #[default]
    One = 1,
    Two = 2,
    Four = 4,
}

impl Width {
    /// The smallest for numbers of a range.
    fn of((low, high): (i32, i32)) -> Self {
        match () {
            () if low >= i8::MIN.into() && high <= i8::MAX.into() => Self::One,
            () if low >= i16::MIN.into() && high <= i16::MAX.into() => Self::Two,
            () => Self::Four,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::One, Self::Two, Self::Four].into_iter().find(|&width| width as u8 == byte)
    }

    const fn bytes(self) -> usize {
        self as usize
    }

    fn encode(self, numbers: &[i32], out: &mut [u8]) {
        match self {
            Self::One => out.iter_mut().zip(numbers).for_each(|(out, &v)| *out = v as u8),
            Self::Two => {
                let out = out.chunks_exact_mut(2).zip(numbers);
                out.for_each(|(out, &v)| out.copy_from_slice(&(v as i16).to_le_bytes()));
            }
            Self::Four => {
                let out = out.chunks_exact_mut(4).zip(numbers);
                out.for_each(|(out, &v)| out.copy_from_slice(&v.to_le_bytes()));
            }
        }
    }

    fn decode(self, bytes: &[u8], out: &mut [i32]) {
        match self {
            Self::One => out.iter_mut().zip(bytes).for_each(|(out, &v)| *out = (v as i8).into()),
            Self::Two => {
                let bytes = bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
                out.iter_mut().zip(bytes).for_each(|(out, v)| *out = v.into());
            }
            Self::Four => {
                let bytes = bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                out.iter_mut().zip(bytes).for_each(|(out, v)| *out = v);
            }
        }
    }
}

/// The smallest and the largest of some numbers, zero among them.
fn extremes(numbers: &[i32]) -> (i32, i32) {
    numbers.iter().fold((0, 0), |(low, high), &v| (low.min(v), high.max(v)))
}

/// Bytes before the numbers of a list.
const HEAD: usize = 9;

impl List {
    /// Packs numbers.
    pub fn pack(numbers: &[i32]) -> Self {
        let wider = |(a, b): (i32, i32), (c, d): (i32, i32)| (a.min(c), b.max(d));
        let width = Width::of(numbers.par_chunks(TASK).map(extremes).reduce(|| (0, 0), wider));
        let mut bytes = vec![0; numbers.len() * width.bytes()];
        let tasks = bytes.par_chunks_mut(TASK * width.bytes()).zip(numbers.par_chunks(TASK));
        tasks.for_each(|(bytes, numbers)| width.encode(numbers, bytes));
        Self { width, bytes: bytes.into() }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width.bytes()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Unpacks numbers from one on.
    pub fn read(&self, from: usize, out: &mut [i32]) {
        let size = self.width.bytes();
        self.width.decode(&self.bytes[from * size..][..out.len() * size], out);
    }

    /// Unpacks all.
    pub fn unpack(&self) -> Vec<i32> {
        let mut out = vec![0; self.len()];
        out.par_chunks_mut(TASK).enumerate().for_each(|(task, out)| self.read(task * TASK, out));
        out
    }

    /// What a file holds of it: what comes before the numbers, and they.
    pub fn encoded(&self) -> [Bytes; 2] {
        let mut head = vec![self.width as u8];
        head.extend((self.len() as u64).to_le_bytes());
        [head.into(), self.bytes.clone()]
    }

    /// Takes a list from the start of `bytes`, of which the rest is left; the numbers stay where they are. `None` is
    /// for bytes that end too early.
    ///
    /// # Errors
    ///
    /// What is wrong with a list that is not in its one encoding.
    pub fn take(bytes: &mut Bytes) -> Result<Option<Self>, String> {
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        let [width, count @ ..] = *head;
        let width = Width::from_byte(width).ok_or_else(|| format!("numbers of {width} bytes"))?;
        let size = usize::try_from(u64::from_le_bytes(count)).ok();
        let end = size.and_then(|size| size.checked_mul(width.bytes())?.checked_add(HEAD));
        let Some(end) = end.filter(|&end| end <= bytes.len()) else { return Ok(None) };
        let own = bytes.split_to(end).split_off(HEAD);
        let list = Self { width, bytes: own };
        let wide = |task: usize| {
            let from = task * TASK;
            let mut numbers = vec![0; TASK.min(list.len() - from)];
            list.read(from, &mut numbers);
            Width::of(extremes(&numbers)) == width
        };
        if width != Width::One && !(0..list.len().div_ceil(TASK)).into_par_iter().any(wide) {
            return Err("a list of numbers is wider than it needs to be".into());
        }
        Ok(Some(list))
    }
}

/// Lists that are packed as they come, by name.
pub struct Spool {
    out: Out,
    /// Bytes so far.
    end: usize,
    lists: BTreeMap<String, (Width, usize, usize)>,
    /// The list that numbers are appended to.
    open: Option<(String, Width, usize)>,
}

enum Out {
    Memory(Vec<u8>),
    File(BufWriter<File>),
}

impl Spool {
    /// One in memory.
    pub fn memory() -> Self {
        Self { out: Out::Memory(Vec::new()), end: 0, lists: BTreeMap::new(), open: None }
    }

    /// One in a nameless file in a folder. It takes no memory, and is gone with the program.
    pub fn file(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        let out = Out::File(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { out, ..Self::memory() })
    }

    /// Begins a list of numbers in a range; [`Self::push`] appends to it.
    pub fn begin(&mut self, name: &str, range: (i32, i32)) {
        self.close();
        self.open = Some((name.into(), Width::of(range), self.end));
    }

    /// Appends numbers to the list that was begun last.
    pub fn push(&mut self, numbers: &[i32]) -> io::Result<()> {
        let Some((_, width, _)) = self.open else { return Ok(()) };
        for numbers in numbers.chunks(TASK) {
            let mut bytes = vec![0; numbers.len() * width.bytes()];
            width.encode(numbers, &mut bytes);
            match &mut self.out {
                Out::Memory(all) => all.extend(&bytes),
                Out::File(file) => file.write_all(&bytes)?,
            }
            self.end += bytes.len();
        }
        Ok(())
    }

    /// A whole list.
    pub fn put(&mut self, name: &str, numbers: &[i32]) -> io::Result<()> {
        self.begin(name, extremes(numbers));
        self.push(numbers)
    }

    fn close(&mut self) {
        if let Some((name, width, start)) = self.open.take() {
            self.lists.insert(name, (width, start, self.end));
        }
    }

    /// The lists of these names, with tables.
    pub fn finish<'a>(
        mut self,
        names: impl Iterator<Item = &'a str>,
        tables: Vec<Vec<i32>>,
    ) -> anyhow::Result<Numbers> {
        self.close();
        let bytes = match self.out {
            Out::Memory(bytes) => Bytes::from(bytes),
            Out::File(file) => {
                let file = file.into_inner().context("cannot write the numbers of the model")?;
                Bytes::from_owner(map(&file).context("cannot map the numbers of the model into memory")?)
            }
        };
        let list = |name: &str| {
            let (width, start, end) =
                self.lists.get(name).with_context(|| format!("no numbers for {name}"))?;
            Ok(List { width: *width, bytes: bytes.slice(start..end) })
        };
        Ok(Numbers { constants: names.map(list).collect::<anyhow::Result<_>>()?, tables })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Vec<Vec<i32>> {
        let long = (0..200_000).map(|i| (i * 7919) % 5000 - 2500).collect();
        let late = (0..200_000).map(|i| i / 199_999 * 128).collect();
        vec![
            vec![],
            vec![-128, 127],
            vec![128],
            vec![-32_768, 32_767],
            vec![i32::MIN, 0, i32::MAX],
            long,
            late,
        ]
    }

    #[test]
    fn lists_have_one_encoding() {
        let mut bytes = Vec::new();
        let widths = [1, 1, 2, 2, 4, 2, 2];
        for (numbers, width) in lists().iter().zip(widths) {
            let list = List::pack(numbers);
            assert_eq!((list.unpack(), list.len()), (numbers.clone(), numbers.len()));
            let [head, numbers] = list.encoded();
            assert_eq!((head.len(), head[0]), (HEAD, width));
            bytes.extend(head);
            bytes.extend(numbers);
        }
        bytes.extend([7, 8]);
        let all = Bytes::from(bytes);
        let mut rest = all.clone();
        for numbers in lists() {
            assert_eq!(List::take(&mut rest).unwrap().unwrap().unpack(), numbers);
        }
        assert_eq!(rest, [7, 8][..]);
        let take = |bytes: &[u8]| List::take(&mut Bytes::copy_from_slice(bytes));
        let pair = [1, 2, 0, 0, 0, 0, 0, 0, 0, 128, 127];
        for end in 0..pair.len() {
            assert_eq!(take(&pair[..end]), Ok(None), "{end}");
        }
        assert_eq!(take(&pair).unwrap().unwrap().unpack(), [-128, 127]);
        // Two numbers in two bytes each that fit one, and no numbers in four.
        assert!(take(&[2, 2, 0, 0, 0, 0, 0, 0, 0, 127, 0, 128, 255]).is_err());
        assert!(take(&[4, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(take(&[3, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().contains("3 bytes"));
        assert_eq!(take(&[2, 255, 255, 255, 255, 255, 255, 255, 255, 0]), Ok(None));
        assert_eq!(take(&[2, 0, 0, 0, 0, 0, 0, 0, 128, 0]), Ok(None));
    }

    #[test]
    fn spools_keep_what_comes() {
        let folder = tempfile::tempdir().unwrap();
        for spool in [Spool::memory(), Spool::file(folder.path()).unwrap()] {
            let mut spool = spool;
            for (i, numbers) in lists().iter().enumerate() {
                if i % 2 == 0 {
                    spool.put(&i.to_string(), numbers).unwrap();
                } else {
                    spool.begin(&i.to_string(), extremes(numbers));
                    numbers.chunks(70_001).for_each(|part| spool.push(part).unwrap());
                }
            }
            // Nothing is left in the folder.
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            let names = ["5", "0", "4", "6"];
            let numbers = spool.finish(names.into_iter(), vec![vec![1, 2]]).unwrap();
            let expected = [5, 0, 4, 6].map(|i: usize| lists()[i].clone());
            assert_eq!(numbers.to_data(), Data { constants: expected.to_vec(), tables: vec![vec![1, 2]] });
            assert_eq!(numbers, Numbers::from(numbers.to_data()));
            assert_eq!(numbers.count(), 400_003);
            let mut some = [0; 3];
            numbers.read(0, 7, &mut some);
            assert_eq!(some, lists()[5][7..10]);
            assert_eq!((Source::len(&numbers, 2), Source::constants(&numbers)), (3, 4));
        }
        let error = Spool::memory().finish(["x"].into_iter(), Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no numbers for x"));
    }
}
