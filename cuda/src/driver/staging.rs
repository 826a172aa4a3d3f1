//! Large copies through buffers that are pinned: threads copy between them and memory that is not, while others of them are
//! on their way. What does the copies of a GPU alone is a [`Ring`].

use std::collections::VecDeque;
use std::ops::Range;

use rayon::prelude::*;

/// Bytes of a copy for which this is worth it.
pub(super) const LEAST: usize = 4 << 20;

/// Buffers of a ring.
pub(super) const BUFFERS: usize = 4;

/// Bytes of each: 32 MiB in all.
pub(super) const BYTES: usize = 8 << 20;

/// Bytes that a thread copies at once.
const PART: usize = 256 << 10;

/// Buffers that are filled and emptied in turn. What is sent and fetched is so in this order, some time later.
pub(super) trait Ring {
    /// Why a copy has failed.
    type Error;

    /// How many there are, and the bytes of each.
    fn size(&self) -> (usize, usize);

    /// The buffer whose turn it is: the next one from now on.
    fn turn(&mut self) -> usize;

    /// Waits until a buffer is on its way no more.
    fn wait(&mut self, buffer: usize) -> Result<(), Self::Error>;

    /// The bytes of a buffer, which is not on its way.
    fn bytes(&mut self, buffer: usize) -> &mut [u8];

    /// Sends the first bytes of a buffer to a place of what is written.
    fn send(&mut self, buffer: usize, to: Range<usize>) -> Result<(), Self::Error>;

    /// Fetches the first bytes of a buffer from a place of what is read.
    fn fetch(&mut self, buffer: usize, from: Range<usize>) -> Result<(), Self::Error>;
}

/// The pieces of a copy.
fn pieces(all: usize, piece: usize) -> impl Iterator<Item = Range<usize>> {
    (0..all).step_by(piece).map(move |first| first..all.min(first.saturating_add(piece)))
}

/// Copies with all threads.
fn copy(from: &[u8], to: &mut [u8]) {
    to.par_chunks_mut(PART).zip(from.par_chunks(PART)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Sends bytes, which may change when this returns.
pub(super) fn upload<R: Ring>(ring: &mut R, bytes: &[u8]) -> Result<(), R::Error> {
    for piece in pieces(bytes.len(), ring.size().1) {
        let buffer = ring.turn();
        ring.wait(buffer)?;
        copy(&bytes[piece.clone()], &mut ring.bytes(buffer)[..piece.len()]);
        ring.send(buffer, piece)?;
    }
    Ok(())
}

/// Fetches bytes, which are there when this returns.
pub(super) fn download<R: Ring>(ring: &mut R, bytes: &mut [u8]) -> Result<(), R::Error> {
    let (buffers, size) = ring.size();
    let mut ahead = pieces(bytes.len(), size);
    let mut fetch = |ring: &mut R| match ahead.next() {
        Some(piece) => {
            let buffer = ring.turn();
            ring.fetch(buffer, piece.clone()).map(|()| Some((buffer, piece)))
        }
        None => Ok(None),
    };
    let mut under_way = VecDeque::with_capacity(buffers);
    for _ in 0..buffers {
        under_way.extend(fetch(ring)?);
    }
    while let Some((buffer, piece)) = under_way.pop_front() {
        ring.wait(buffer)?;
        copy(&ring.bytes(buffer)[..piece.len()], &mut bytes[piece]);
        under_way.extend(fetch(ring)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what is asked for as late as it may: when it is waited for, in order. Nobody may touch a buffer on its way.
    struct Late {
        buffers: Vec<Vec<u8>>,
        there: Vec<u8>,
        /// What is on its way: whether to there, which buffer, and the place there.
        queue: Vec<(bool, usize, Range<usize>)>,
        next: usize,
        /// Requests until one fails.
        left: usize,
    }

    impl Late {
        fn new(buffers: usize, size: usize, there: usize) -> Self {
            let buffers = vec![vec![0xa5; size]; buffers];
            Self { buffers, there: vec![0x5a; there], queue: Vec::new(), next: 0, left: usize::MAX }
        }

        fn ask(&mut self, request: (bool, usize, Range<usize>)) -> Result<(), &'static str> {
            self.left = self.left.checked_sub(1).ok_or("lost")?;
            self.queue.push(request);
            Ok(())
        }

        /// Does the first of what is on its way.
        fn step(&mut self) {
            let (to, buffer, place) = self.queue.remove(0);
            let bytes = &mut self.buffers[buffer][..place.len()];
            if to {
                self.there[place].copy_from_slice(bytes);
            } else {
                bytes.copy_from_slice(&self.there[place]);
            }
        }

        fn on_its_way(&self, buffer: usize) -> bool {
            self.queue.iter().any(|request| request.1 == buffer)
        }
    }

    impl Ring for Late {
        type Error = &'static str;

        fn size(&self) -> (usize, usize) {
            (self.buffers.len(), self.buffers[0].len())
        }

        fn turn(&mut self) -> usize {
            self.next += 1;
            (self.next - 1) % self.buffers.len()
        }

        fn wait(&mut self, buffer: usize) -> Result<(), &'static str> {
            self.left = self.left.checked_sub(1).ok_or("lost")?;
            while self.on_its_way(buffer) {
                self.step();
            }
            Ok(())
        }

        fn bytes(&mut self, buffer: usize) -> &mut [u8] {
            assert!(!self.on_its_way(buffer), "buffer {buffer} is touched while it is on its way");
            &mut self.buffers[buffer]
        }

        fn send(&mut self, buffer: usize, to: Range<usize>) -> Result<(), &'static str> {
            self.ask((true, buffer, to))
        }

        fn fetch(&mut self, buffer: usize, from: Range<usize>) -> Result<(), &'static str> {
            self.ask((false, buffer, from))
        }
    }

    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8 ^ seed as u8).collect()
    }

    #[test]
    fn pieces_are_all_and_in_order() {
        for (all, piece) in [(0, 4), (1, 4), (4, 4), (5, 4), (17, 5), (BYTES + 1, BYTES)] {
            let found: Vec<Range<usize>> = pieces(all, piece).collect();
            assert!(found.iter().all(|p| !p.is_empty() && p.len() <= piece));
            let mut next = 0;
            for piece in found {
                assert_eq!(piece.start, next);
                next = piece.end;
            }
            assert_eq!(next, all);
        }
    }

    /// One copy after the other, of all sizes, through one ring.
    #[test]
    fn copies_are_those_of_memory() {
        for buffers in [1, 2, 4] {
            for all in [0, 1, 99, 100, 101, 200, 399, 400, 401, 1234] {
                let mut ring = Late::new(buffers, 100, all);
                let (first, second) = (bytes(all, 1), bytes(all, 2));
                upload(&mut ring, &first).unwrap();
                let mut found = vec![0; all];
                download(&mut ring, &mut found).unwrap();
                assert!(found == first, "{all} bytes through {buffers} buffers");
                // What comes after a copy may overtake nothing.
                upload(&mut ring, &second).unwrap();
                upload(&mut ring, &first).unwrap();
                download(&mut ring, &mut found).unwrap();
                assert!(found == first);
                upload(&mut ring, &second).unwrap();
                while !ring.queue.is_empty() {
                    ring.step();
                }
                assert!(ring.there == second);
            }
        }
    }

    #[test]
    fn large_parts_are_copied_whole() {
        for count in [PART - 1, PART, 3 * PART + 7] {
            let from = bytes(count, 3);
            let mut to = vec![0; count];
            copy(&from, &mut to);
            assert!(to == from);
        }
    }

    /// A failure ends a copy, wherever it is.
    #[test]
    fn failures_are_handed_on() {
        let from = bytes(1000, 4);
        for left in 0..20 {
            let mut ring = Late { left, ..Late::new(2, 100, 1000) };
            assert_eq!(upload(&mut ring, &from), Err("lost"));
            let mut ring = Late { left, ..Late::new(2, 100, 1000) };
            assert_eq!(download(&mut ring, &mut vec![0; 1000]), Err("lost"));
        }
        let mut ring = Late { left: 20, ..Late::new(2, 100, 1000) };
        assert_eq!(upload(&mut ring, &from), Ok(()));
    }
}
