//! Frames: bytes on the line.
//!
//! | bytes | content |
//! |---|---|
//! | 2 | [`MARKER`] |
//! | 1 | [`FrameKind`] |
//! | 4 | session: a number that the host has chosen for one transfer, little-endian as all numbers here |
//! | 4 | number: which question, or which frame of the payload |
//! | 2 | length of the data, at most [`DATA`] |
//! | length | data |
//! | 4 | CRC-32 (ISO-HDLC) of everything after the marker |
//!
//! The [`Decoder`] takes any bytes. What is no frame is skipped by as little as possible, so that every frame that is
//! whole is found, whatever stands before it.

use core::ops::Range;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// How a frame begins.
pub const MARKER: [u8; 2] = [0xc5, 0x3a];
/// The most data in a frame.
pub const DATA: usize = 1024;
/// Bytes before the data.
pub const HEAD: usize = MARKER.len() + 11;
/// Bytes after the data.
const TAIL: usize = 4;
/// Bytes of the longest frame.
pub const LONGEST: usize = HEAD + DATA + TAIL;

/// A table would take more flash than it saves time: the line is slower.
static CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Host: who is there, and what is the key in this place?
    Hello = 1,
    /// Device: an answer to that, a [`crate::message::About`].
    About = 2,
    /// Host: judge this, a [`crate::message::Begin`].
    Begin = 3,
    /// Device: send the frame of the payload with this number; it has those before.
    Want = 4,
    /// Host: a piece of the payload.
    Data = 5,
    /// Device: it has decided, a [`crate::message::Verdict`].
    Verdict = 6,
    /// Host: the transfer is over.
    End = 7,
}

impl FrameKind {
    const ALL: [Self; 7] =
        [Self::Hello, Self::About, Self::Begin, Self::Want, Self::Data, Self::Verdict, Self::End];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// A frame with at most [`DATA`] bytes of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: FrameKind,
    /// The transfer that it belongs to.
    pub session: u32,
    /// Which one.
    pub number: u32,
    /// What it carries.
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The bytes of the frame, in three parts; nothing for one with too much data, which does not exist.
    pub fn parts(&'a self) -> Option<([u8; HEAD], &'a [u8], [u8; TAIL])> {
        let length = u16::try_from(self.data.len()).ok().filter(|&length| usize::from(length) <= DATA)?;
        let ([m0, m1], kind) = (MARKER, self.kind as u8);
        let ([s0, s1, s2, s3], [n0, n1, n2, n3]) = (self.session.to_le_bytes(), self.number.to_le_bytes());
        let [l0, l1] = length.to_le_bytes();
        let head = [m0, m1, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1];
        let mut crc = CRC.digest();
        crc.update(&[kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1]);
        crc.update(self.data);
        Some((head, self.data, crc.finalize().to_le_bytes()))
    }
}

/// What the bytes from some place on are.
enum Found {
    /// A frame of so many bytes.
    Frame(usize),
    /// The beginning of one, as far as one sees.
    Beginning,
    /// None.
    Nothing,
}

/// Finds frames among bytes.
#[derive(Clone, Debug)]
pub struct Decoder {
    bytes: [u8; LONGEST],
    /// What is not yet taken.
    held: Range<usize>,
    /// The length of the frame that it begins with, once known.
    whole: Option<usize>,
    /// The data of the last frame that was taken.
    data: Range<usize>,
    skipped: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { bytes: [0; LONGEST], held: 0..0, whole: None, data: 0..0, skipped: 0 }
    }
}

impl Decoder {
    /// Takes a byte from the line. Ask for frames, by [`Self::frame`], after each: without that the oldest bytes go.
    pub fn push(&mut self, byte: u8) {
        if self.held.end == LONGEST {
            if self.held.start == 0 {
                self.skip();
            }
            self.bytes.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        self.data = 0..0;
        if let Some(slot) = self.bytes.get_mut(self.held.end) {
            *slot = byte;
            self.held.end += 1;
        }
    }

    /// Whether there is a whole frame.
    pub fn has_frame(&mut self) -> bool {
        self.seek(false)
    }

    /// The next frame, if there is a whole one.
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        self.seek(false);
        self.take()
    }

    /// The next frame after a silence: what looks like the beginning of one is none.
    pub fn frame_after_silence(&mut self) -> Option<Frame<'_>> {
        self.seek(true);
        self.take()
    }

    /// The data of the last frame, until the next byte comes.
    pub fn data(&self) -> &[u8] {
        self.bytes.get(self.data.clone()).unwrap_or_default()
    }

    /// How many bytes were no part of a frame.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Skips what is no frame.
    fn seek(&mut self, silence: bool) -> bool {
        while self.whole.is_none() && !self.held.is_empty() {
            match self.look() {
                Found::Frame(length) => self.whole = Some(length),
                Found::Beginning if !silence => break,
                _ => self.skip(),
            }
        }
        self.whole.is_some()
    }

    fn skip(&mut self) {
        self.held.start += 1;
        self.whole = None;
        self.skipped = self.skipped.wrapping_add(1);
    }

    fn look(&self) -> Found {
        let held = self.bytes.get(self.held.clone()).unwrap_or_default();
        if held.len() < HEAD {
            // As much of a head as there is: its marker, its kind.
            let marked = held.iter().zip(MARKER).all(|(&byte, marker)| byte == marker);
            let known = held.get(MARKER.len()).is_none_or(|&kind| FrameKind::of(kind).is_some());
            return if marked && known { Found::Beginning } else { Found::Nothing };
        }
        let Some((frame, length)) = head(held) else { return Found::Nothing };
        let end = HEAD + length;
        let (Some(data), Some(tail)) = (held.get(HEAD..end), held.get(end..end + TAIL)) else {
            return Found::Beginning;
        };
        match (Frame { data, ..frame }).parts() {
            Some((_, _, crc)) if crc == tail => Found::Frame(end + TAIL),
            _ => Found::Nothing,
        }
    }

    fn take(&mut self) -> Option<Frame<'_>> {
        let (start, length) = (self.held.start, self.whole.take()?);
        self.held.start += length;
        self.data = start + HEAD..start + length - TAIL;
        let (frame, _) = head(self.bytes.get(start..)?)?;
        Some(Frame { data: self.data(), ..frame })
    }
}

/// The head of a frame, and the length of its data. The frame's data is missing.
fn head(bytes: &[u8]) -> Option<(Frame<'static>, usize)> {
    let &[m0, m1, kind, s0, s1, s2, s3, n0, n1, n2, n3, l0, l1] = bytes.first_chunk::<HEAD>()?;
    let (length, session, number) = (
        u16::from_le_bytes([l0, l1]),
        u32::from_le_bytes([s0, s1, s2, s3]),
        u32::from_le_bytes([n0, n1, n2, n3]),
    );
    let kind = FrameKind::of(kind).filter(|_| [m0, m1] == MARKER && usize::from(length) <= DATA)?;
    Some((Frame { kind, session, number, data: &[] }, length.into()))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn bytes(frame: &Frame<'_>) -> Vec<u8> {
        let (head, data, tail) = frame.parts().unwrap();
        [&head, data, &tail].concat()
    }

    fn data(length: usize) -> Vec<u8> {
        // Markers in the data, too.
        (0..length).map(|i| if i % 7 < 2 { MARKER[i % 7] } else { (i * i) as u8 }).collect()
    }

    /// Data of all frames, pieces of what the decoder hears at a time being separated by silences.
    fn found(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for piece in pieces {
            for &byte in *piece {
                decoder.push(byte);
                while let Some(frame) = decoder.frame() {
                    out.push(frame.data.to_vec());
                }
            }
            while let Some(frame) = decoder.frame_after_silence() {
                out.push(frame.data.to_vec());
            }
        }
        out
    }

    #[test]
    fn frames_are_found() {
        for length in [0, 1, 2, 255, 256, DATA - 1, DATA] {
            let (one, two) = (data(length), data(DATA - length));
            let frame = |data| bytes(&Frame { kind: FrameKind::Data, session: 7, number: 1 << 20, data });
            assert_eq!(found(&[&[frame(&one), frame(&two)].concat()]), [one, two], "{length}");
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let data = data(100);
        for kind in FrameKind::ALL {
            let frame = Frame { kind, session: 0x0102_0304, number: u32::MAX, data: &data };
            let mut decoder = Decoder::default();
            for byte in bytes(&frame) {
                decoder.push(byte);
            }
            assert_eq!(decoder.frame(), Some(frame));
            assert_eq!(decoder.data(), data);
            assert_eq!(decoder.frame(), None);
            assert_eq!(decoder.skipped(), 0);
        }
    }

    #[test]
    fn too_much_data_has_no_frame() {
        let data = data(DATA + 1);
        assert_eq!(Frame { kind: FrameKind::Data, session: 0, number: 0, data: &data }.parts(), None);
        // Nor is one read, with a right checksum or not: the length is refused before anything is waited for.
        let mut long = bytes(&Frame { kind: FrameKind::Data, session: 0, number: 0, data: &[] });
        long[11..13].copy_from_slice(&(DATA as u16 + 1).to_le_bytes());
        let good = bytes(&Frame { kind: FrameKind::End, session: 0, number: 0, data: &[9] });
        assert_eq!(found(&[&[long, good].concat()]), [[9]]);
    }

    #[test]
    fn any_fault_in_a_frame_costs_that_frame_alone() {
        let first = bytes(&Frame { kind: FrameKind::Want, session: 5, number: 6, data: &data(20) });
        let second = bytes(&Frame { kind: FrameKind::End, session: 5, number: 7, data: &[1, 2, 3] });
        let follow = |damaged: &[u8]| {
            // The second frame is found, at the latest after a silence; the first is not.
            assert_eq!(found(&[&[damaged, &second].concat()]), [[1, 2, 3]], "{damaged:?}");
            assert_eq!(found(&[damaged, &second]), [[1, 2, 3]], "{damaged:?}");
        };
        for at in 0..first.len() {
            for bit in 0..8 {
                let mut damaged = first.clone();
                damaged[at] ^= 1 << bit;
                follow(&damaged);
            }
            follow(&first[..at]);
            follow(&first[at + 1..]);
            follow(&[&first[..at], &first[at + 1..]].concat());
            if at > 0 {
                follow(&[&first[..at], &[first[at] ^ 0x55], &first[at..]].concat());
            }
            if let [a, b, ..] = first[at..]
                && a != b
            {
                follow(&[&first[..at], &[b, a], &first[at + 2..]].concat());
            }
        }
    }

    #[test]
    fn noise_before_a_frame_is_skipped() {
        let frame = bytes(&Frame { kind: FrameKind::Begin, session: 1, number: 2, data: &data(600) });
        // Beginnings that promise more than comes, one after the other.
        let mut liar = bytes(&Frame { kind: FrameKind::Data, session: 0, number: 0, data: &data(DATA) });
        liar.truncate(HEAD);
        for count in [1, 2, 50, 200] {
            let noise = liar.repeat(count);
            assert_eq!(found(&[&[noise, frame.clone()].concat()]), [data(600)], "{count}");
        }
    }

    #[test]
    fn a_decoder_that_is_not_asked_keeps_the_newest() {
        let mut decoder = Decoder::default();
        let frame = Frame { kind: FrameKind::Hello, session: 1, number: 2, data: &[3] };
        (0..3 * LONGEST).for_each(|i| decoder.push(i as u8));
        for byte in bytes(&frame) {
            decoder.push(byte);
        }
        assert_eq!(decoder.frame_after_silence(), Some(frame));
    }
}
