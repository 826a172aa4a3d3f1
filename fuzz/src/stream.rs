//! Proofs that come piece by piece, and from sources that fail: the verdict is that on a slice, and a failure is
//! [`Reject::Unread`] wherever it happens.

use arbitrary::{Arbitrary, Unstructured};
use circlet_verifier::{Proven, ReadError, Reject, Source, verify_payload};

use crate::fixtures::proofs;

/// An honest payload with few changes, and how it is handed out.
#[derive(Arbitrary, Debug)]
struct Plan {
    /// Which payload.
    fixture: u8,
    /// Places and what is added to the bytes there.
    changes: Vec<(u32, u8)>,
    /// How many bytes are there, if not all.
    cut: Option<u32>,
    /// The byte before which the source fails, if it does.
    failure: Option<u32>,
    /// Sizes of pieces, over and over.
    pieces: [u8; 8],
}

/// A plan.
pub fn stream(data: &[u8]) {
    let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(data)) else { return };
    let all = proofs();
    let fixture = &all[usize::from(plan.fixture) % all.len()];
    let mut payload = fixture.payload.clone();
    let at = |place: u32| place as usize % (fixture.payload.len() + 1);
    // Changes of the first bytes are changes of the statement.
    for (place, delta) in plan.changes.iter().take(8) {
        let place = if place % 2 == 0 { at(place / 2) % 80 } else { at(place / 2) };
        if let Some(byte) = payload.get_mut(place) {
            *byte = byte.wrapping_add(*delta);
        }
    }
    payload.truncate(plan.cut.map_or(usize::MAX, at));

    let mut slice = Watched { inner: payload.as_slice(), at: 0, furthest: 0, end: None };
    let expected = verify_payload(&fixture.key, fixture.kind, &mut slice);
    assert_eq!(expected.is_ok(), payload == fixture.payload, "{expected:?}");

    let failure = plan.failure.map(at);
    let mut pieces = Pieces { bytes: &payload, at: 0, sizes: plan.pieces, turn: 0, failure };
    let found = verify_payload(&fixture.key, fixture.kind, &mut pieces);
    // A failure behind the last byte never comes.
    let failure = failure.filter(|&failure| failure <= payload.len());
    let noticed = |failure| slice.furthest > failure || slice.end.is_some_and(|at| at >= failure);
    if failure.is_some_and(noticed) {
        assert!(unread(&found), "{found:?} of a source that failed");
    } else {
        assert_eq!(found, expected);
    }
}

/// Whether a source's failure is the reason, maybe in one of several turns.
fn unread(verdict: &Result<Proven, Reject>) -> bool {
    match verdict {
        Err(Reject::Unread) => true,
        Err(Reject::Turn { reason, .. }) => **reason == Reject::Unread,
        _ => false,
    }
}

/// A slice that knows what was asked of it.
struct Watched<'a> {
    inner: &'a [u8],
    at: usize,
    /// One beyond the last byte that was asked for, whether it is there or not.
    furthest: usize,
    /// Where it was last asked whether anything is left.
    end: Option<usize>,
}

impl Source for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        self.furthest = self.furthest.max(self.at + out.len());
        self.inner.read(out)?;
        self.at += out.len();
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        self.end = Some(self.at);
        self.inner.is_at_end()
    }
}

/// Bytes that come in pieces of a few bytes, until the source fails.
struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
    sizes: [u8; 8],
    turn: usize,
    failure: Option<usize>,
}

impl Pieces<'_> {
    /// The next piece, of at most so many bytes.
    fn next(&mut self, most: usize) -> Result<&[u8], ReadError> {
        if self.failure.is_some_and(|failure| self.at >= failure) {
            return Err(ReadError::Failed);
        }
        let size = 1 + usize::from(self.sizes[self.turn % self.sizes.len()]);
        self.turn += 1;
        let left = self.bytes.len() - self.at;
        let until_failure = self.failure.map_or(usize::MAX, |failure| failure - self.at);
        let size = size.min(most).min(left).min(until_failure);
        if size == 0 {
            return Err(ReadError::End);
        }
        self.at += size;
        Ok(&self.bytes[self.at - size..self.at])
    }
}

impl Source for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < out.len() {
            let piece = self.next(out.len() - done)?;
            out[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        if self.failure.is_some_and(|failure| self.at >= failure) {
            return Err(ReadError::Failed);
        }
        Ok(self.at == self.bytes.len())
    }
}
