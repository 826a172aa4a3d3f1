//! Proof-of-work search on a GPU, in launches of consecutive nonces.

use std::sync::Arc;

use circlet_core::hash::blake2s::{WORK, initial_state, to_words};
use circlet_core::pow;
use circlet_cuda::pow::{Puzzle, Search};
use circlet_cuda::{Error, Machine};

/// Searches for nonces.
#[derive(Debug)]
pub struct Grinder {
    search: Search,
}

impl Grinder {
    /// On a GPU.
    pub fn new(machine: &Arc<dyn Machine>) -> Result<Self, Error> {
        Ok(Self { search: Search::new(machine)? })
    }

    /// The smallest nonce with the asked work, from one bit on to [`pow::MAX_BITS`].
    pub fn grind(&mut self, seed: &[u8; 32], bits: u32) -> Result<u64, Error> {
        assert!((1..=pow::MAX_BITS).contains(&bits), "no work of {bits} bits");
        let mask = pow::mask(bits);
        let puzzle = Puzzle { begin: initial_state(WORK), seed: to_words(seed), bits, mask };
        let count = self.search.count(bits);
        for first in (0..).step_by(count as usize) {
            if let Some(nonce) = self.search.smallest(&puzzle, first, count)? {
                return Ok(nonce);
            }
        }
        unreachable!("2^64 nonces always hold one with at most {} bits of work", pow::MAX_BITS)
    }
}
