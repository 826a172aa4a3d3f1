//! Proof of work against the definition.

use std::sync::Arc;

use circlet_core::hash::blake2s::{WORK, initial_state, to_words};
use circlet_core::pow;
use circlet_cuda::pow::{Puzzle, Search};
use circlet_cuda::{Error, Machine};

fn puzzle(seed: &[u8; 32], bits: u32) -> Puzzle {
    Puzzle { begin: initial_state(WORK), seed: to_words(seed), bits, mask: pow::mask(bits) }
}

/// The smallest good nonce of so many from one on.
fn smallest(seed: &[u8; 32], bits: u32, first: u64, count: u32) -> Option<u64> {
    (first..first + u64::from(count)).find(|&nonce| pow::check(seed, bits, nonce))
}

/// The first seed for which something holds.
fn seed(holds: impl Fn(&[u8; 32]) -> bool) -> [u8; 32] {
    let seeds =
        (0..=u16::MAX).map(|k| std::array::from_fn(|i| ((usize::from(k) * (i + 3)) >> (i % 8)) as u8));
    let mut seeds = seeds.filter(holds);
    seeds.next().unwrap_or([0; 32])
}

/// Searches through launches of all sizes and from all sides of an answer, with one nonce a thread and with several, across
/// the end of a word, and to the last nonce of all.
pub fn search(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    const WORD: u64 = 1 << 32;
    let mut search = Search::new(machine)?;
    let mut compare = |seed: &[u8; 32], bits, first, count| {
        let found = search.smallest(&puzzle(seed, bits), first, count)?;
        assert_eq!(found, smallest(seed, bits, first, count), "{bits} bits, {count} nonces from {first} on");
        Ok(found)
    };
    for bits in [1, 2, 5, 9, 11] {
        let seed = [bits as u8; 32];
        for (first, count) in [(0, 1), (0, 3000), (77, 300), (1000, 4096), (WORD + 5, 257), (5 * WORD, 600)] {
            compare(&seed, bits, first, count)?;
        }
        compare(&seed, bits, u64::MAX - 1000, 1000)?;
        assert_eq!(compare(&seed, bits, 3, 0)?, None);
    }
    // The first nonce, and a word that is zero in no more than these bits.
    let at_once = seed(|seed| pow::check(seed, 9, 0));
    assert_eq!(compare(&at_once, 9, 0, 5000)?, Some(0));
    assert_eq!(compare(&at_once, 9, 0, 1)?, Some(0));
    // The first answer is in the high word that comes after.
    let beyond = seed(|seed| smallest(seed, 8, WORD - 500, 1000).is_some_and(|nonce| nonce > WORD));
    assert!(compare(&beyond, 8, WORD - 500, 1000)? > Some(WORD));
    // One nonce a thread, then several on a machine of one multiprocessor: the last of a launch, and the one behind it.
    for (bits, least) in [(10, 700), (16, 70_000)] {
        let seed = seed(|seed| pow::search(seed, bits).is_some_and(|nonce| nonce > least));
        let Some(nonce) = pow::search(&seed, bits) else { continue };
        assert_eq!(compare(&seed, bits, 0, nonce as u32)?, None);
        assert_eq!(compare(&seed, bits, 0, nonce as u32 + 1)?, Some(nonce));
        assert_eq!(compare(&seed, bits, nonce, 1)?, Some(nonce));
        assert_eq!(compare(&seed, bits, 0, nonce as u32 + 3000)?, Some(nonce));
        compare(&seed, bits, nonce + 1, 2000)?;
    }
    Ok(())
}
