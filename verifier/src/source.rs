//! Where the bytes of a proof come from.

use core::ops::Range;

use circlet_core::field::M31;

use crate::Reject;

/// Bytes that are read once, in order: of a slice, of a serial line, of a file.
pub trait Source {
    /// Fills `out` with the next bytes, or says that there are not so many.
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError>;

    /// Whether nothing is left.
    fn is_at_end(&mut self) -> Result<bool, ReadError>;
}

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes end before.
    End,
    /// The source has failed; it knows why.
    Failed,
}

impl From<ReadError> for Reject {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::End => Self::TooShort,
            ReadError::Failed => Self::Unread,
        }
    }
}

impl Source for &[u8] {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        let (head, tail) = self.split_at_checked(out.len()).ok_or(ReadError::End)?;
        out.copy_from_slice(head);
        *self = tail;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.is_empty())
    }
}

/// Bytes that [`Take`] reads at once, for who asks for less.
const AHEAD: usize = 256;

/// The next bytes of a source, so many of them. Where less is asked for than a source gives with little effort, some are read
/// ahead, but none beyond the end.
pub struct Take<'a> {
    source: &'a mut dyn Source,
    /// Bytes of the source that have not been read.
    left: u64,
    ahead: [u8; AHEAD],
    /// Which of them are still to be handed out.
    here: Range<usize>,
}

impl<'a> Take<'a> {
    /// The next `len` bytes of `source`.
    pub fn new(source: &'a mut dyn Source, len: u64) -> Self {
        Self { source, left: len, ahead: [0; AHEAD], here: 0..0 }
    }

    /// Hands out what has been read ahead; the result is what is still to be filled.
    fn hand_out<'o>(&mut self, out: &'o mut [u8]) -> &'o mut [u8] {
        let ready = self.ahead.get(self.here.clone()).unwrap_or_default();
        let count = ready.len().min(out.len());
        let (now, later) = out.split_at_mut(count);
        now.copy_from_slice(ready.get(..count).unwrap_or_default());
        self.here.start += count;
        later
    }
}

impl Source for Take<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        if out.len() as u64 > self.left + self.here.len() as u64 {
            return Err(ReadError::End);
        }
        let out = self.hand_out(out);
        if out.is_empty() {
            return Ok(());
        }
        if out.len() >= AHEAD {
            self.left -= out.len() as u64;
            return self.source.read(out);
        }
        let count = usize::try_from(self.left).map_or(AHEAD, |left| left.min(AHEAD));
        let ahead = self.ahead.get_mut(..count).unwrap_or_default();
        self.left -= count as u64;
        self.source.read(ahead)?;
        self.here = 0..count;
        self.hand_out(out);
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.left == 0 && self.here.is_empty())
    }
}

/// Values in the encoding of files (postcard), as they come.
impl dyn Source + '_ {
    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let mut out = [0; N];
        self.read(&mut out)?;
        Ok(out)
    }

    /// A number in as few groups of seven bits as it has, lowest first.
    pub fn number(&mut self) -> Result<u64, Reject> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let group = u64::from(byte & 0x7f);
            if group << shift >> shift != group || (byte == 0 && shift > 0) {
                return Err(Reject::Encoding);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Reject::Encoding)
    }

    /// A number below `2^32`.
    pub fn word(&mut self) -> Result<u32, Reject> {
        u32::try_from(self.number()?).map_err(|_| Reject::Encoding)
    }

    /// A signed number: `2 v`, or `-2 v - 1` of a negative one.
    pub fn signed(&mut self) -> Result<i32, Reject> {
        let word = self.word()?;
        Ok((word >> 1) as i32 ^ -((word & 1) as i32))
    }

    /// The length of a list, which has at most so many entries.
    pub fn length(&mut self, most: u64) -> Result<usize, Reject> {
        let length = self.number()?;
        if length > most {
            return Err(Reject::StatementShape);
        }
        usize::try_from(length).map_err(|_| Reject::StatementShape)
    }
}

/// Decodes field elements, four bytes each, in place of what `out` holds.
pub fn elements(source: &mut dyn Source, out: &mut [M31]) -> Result<(), Reject> {
    let mut bytes = [0; 256];
    for chunk in out.chunks_mut(64) {
        let bytes = bytes.get_mut(..4 * chunk.len()).unwrap_or_default();
        source.read(bytes)?;
        for (element, word) in chunk.iter_mut().zip(bytes.chunks_exact(4)) {
            let word = word.try_into().map_or(u32::MAX, u32::from_le_bytes);
            *element = M31::new(word).map_err(|_| Reject::NonCanonical)?;
        }
    }
    Ok(())
}
