//! A proof's file that comes in pieces, of which none is kept.

use alloc::boxed::Box;
use alloc::vec;

use circlet_core::file::{ContentError, HEADER, Header};
use circlet_core::hash::blake2s;

use crate::Reject;
use crate::file::{Key, Proven, Refusal, judged, verify_payload};
use crate::source::{ReadError, Source};

/// Bytes that are asked for at a time.
const PIECE: usize = 1 << 14;

/// [`crate::verify_file`] for what `next` gives: the number of bytes that it has written, zero at the end, `None` for a
/// failure.
///
/// Nothing is read after a failure, after a beginning that no proof under the key has, or beyond the length that any
/// proof has.
pub fn verify_stream(key: &Key, next: impl FnMut(&mut [u8]) -> Option<usize>) -> Result<Proven, Refusal> {
    let mut pieces = Pieces::new(next);
    let mut head = [0; HEADER];
    let there = pieces.fill(&mut head).map_err(|error| Refusal::Reject(error.into()))?;
    let head = head.get(..there).unwrap_or_default();
    let (header, _) = Header::split(head, key.proofs()).map_err(Refusal::Proof)?;

    let limit = header.kind.limit();
    let mut payload = Payload {
        pieces,
        left: limit.saturating_sub(HEADER as u64),
        hash: blake2s::Hasher::new(blake2s::DIGEST),
        error: None,
    };
    let verdict = verify_payload(key, header.kind, &mut payload);
    // Whether the file is damaged is known at its end.
    match payload.rest() {
        Ok(digest) => judged(verdict, digest == header.digest),
        Err(ReadError::End) => Err(Refusal::Proof(ContentError::TooLarge { expected: header.kind, limit })),
        Err(ReadError::Failed) => Err(Refusal::Reject(Reject::Unread)),
    }
}

/// What comes, a piece at a time.
struct Pieces<F> {
    next: F,
    piece: Box<[u8]>,
    start: usize,
    end: usize,
    /// Nothing comes any more: nothing is left, or the callback has failed.
    over: Option<Result<(), ReadError>>,
}

impl<F: FnMut(&mut [u8]) -> Option<usize>> Pieces<F> {
    fn new(next: F) -> Self {
        Self { next, piece: vec![0; PIECE].into(), start: 0, end: 0, over: None }
    }

    /// Bytes that have come and are not used; none at the end.
    fn some(&mut self) -> Result<&[u8], ReadError> {
        if self.start == self.end {
            if let Some(over) = self.over {
                return over.map(|()| &[][..]);
            }
            let count = (self.next)(&mut self.piece);
            match count.filter(|&count| count <= self.piece.len()) {
                Some(0) => self.over = Some(Ok(())),
                Some(count) => (self.start, self.end) = (0, count),
                None => {
                    self.over = Some(Err(ReadError::Failed));
                    return Err(ReadError::Failed);
                }
            }
        }
        Ok(self.piece.get(self.start..self.end).unwrap_or_default())
    }

    /// Fills `out` as far as there are bytes, and says how far.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while let Some(place) = out.get_mut(filled..).filter(|place| !place.is_empty()) {
            let some = self.some()?;
            let count = some.len().min(place.len());
            if count == 0 {
                break;
            }
            for (place, byte) in place.iter_mut().zip(some) {
                *place = *byte;
            }
            self.start += count;
            filled += count;
        }
        Ok(filled)
    }
}

/// What follows the header, with its digest.
struct Payload<F> {
    pieces: Pieces<F>,
    /// Bytes that may come yet.
    left: u64,
    hash: blake2s::Hasher,
    /// What has gone wrong with it for good.
    error: Option<ReadError>,
}

impl<F: FnMut(&mut [u8]) -> Option<usize>> Payload<F> {
    /// Reads to the end, for the digest of all. [`ReadError::End`] is that there is too much.
    fn rest(mut self) -> Result<[u8; 32], ReadError> {
        let mut scrap = [0; 1024];
        loop {
            let room = usize::try_from(self.left).map_or(scrap.len(), |left| left.min(scrap.len()));
            let Some(scrap) = scrap.get_mut(..room).filter(|scrap| !scrap.is_empty()) else {
                let ends = self.pieces.some()?.is_empty();
                return if ends { Ok(self.hash.finish()) } else { Err(ReadError::End) };
            };
            let count = self.pieces.fill(scrap)?;
            self.hash.update(scrap.get(..count).unwrap_or_default());
            self.left -= count as u64;
            if count < room {
                return Ok(self.hash.finish());
            }
        }
    }
}

impl<F: FnMut(&mut [u8]) -> Option<usize>> Source for Payload<F> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let left = self.left.checked_sub(out.len() as u64).ok_or(ReadError::End)?;
        let count = self.pieces.fill(out)?;
        self.hash.update(out.get(..count).unwrap_or_default());
        if count < out.len() {
            self.error = Some(ReadError::End);
            return Err(ReadError::End);
        }
        self.left = left;
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        Ok(self.pieces.some()?.is_empty())
    }
}
