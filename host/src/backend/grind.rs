//! Proof-of-work search: on a GPU, or sixteen nonces at a time on all threads.

use circlet_core::hash::blake2s::{Word, to_words};
use circlet_core::pow;
use rayon::prelude::*;

use super::device::{Device, Error};
use super::field::LANES;
use super::gpu::grind as gpu;
use super::gpu::thresholds::LEAST;
use super::words::{Wide, compress};

/// Nonces that one task tries.
const TASK: u64 = 1 << 14;

/// Searches for nonces on a device.
#[derive(Debug)]
pub struct Grinder<'a> {
    device: &'a Device,
    /// The GPU's, once it had something to do.
    there: Option<gpu::Grinder>,
}

impl<'a> Grinder<'a> {
    /// On a device.
    pub fn new(device: &'a Device) -> Self {
        Self { device, there: None }
    }

    /// What [`grind`] gives, by the GPU if there is one and it is worth it.
    pub fn grind(&mut self, seed: &[u8; 32], bits: u32) -> Result<u64, Error> {
        match self.device.machines() {
            [machine, ..] if bits >= LEAST.work => {
                let there = match self.there.take() {
                    Some(there) => there,
                    None => gpu::Grinder::new(machine)?,
                };
                self.there.insert(there).grind(seed, bits)
            }
            _ => Ok(grind(seed, bits)),
        }
    }
}

/// The smallest nonce with the asked work, zero where there is none to do.
pub fn grind(seed: &[u8; 32], bits: u32) -> u64 {
    if bits == 0 {
        return 0;
    }
    let words = to_words(seed);
    let round = TASK * rayon::current_num_threads() as u64;
    for start in (0..).step_by(round as usize) {
        let found = (0..round / TASK)
            .into_par_iter()
            .filter_map(|task| search(&words, bits, start + task * TASK))
            .min();
        if let Some(nonce) = found {
            return nonce;
        }
    }
    unreachable!("2^64 nonces always hold one with at most 32 bits of work")
}

fn search(seed: &[u32; 8], bits: u32, start: u64) -> Option<u64> {
    let mask = pow::mask(bits);
    let high = Wide::splat((start >> 32) as u32);
    for nonce in (start..start + TASK).step_by(LANES) {
        let low = Wide::new(std::array::from_fn(|i| nonce as u32 + i as u32));
        let word = pow::first_word_by(&pow::block(seed, bits, low, high), compress);
        if let Some(lane) = word.to_array().iter().position(|w| w & mask == 0) {
            return Some(nonce + lane as u64);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_smallest_nonce() {
        for (i, bits) in [0, 1, 7, 12, 16].into_iter().enumerate() {
            let seed = [i as u8 + 3; 32];
            assert_eq!(Some(grind(&seed, bits)), pow::search(&seed, bits));
        }
    }
}
