//! Proof of work between a prover's message and the challenge that follows it (section 5 of the protocol).
//!
//! A nonce is good if `Blake2s(circlt-W; seed || u32 bits || u32 0 || u64 nonce)`, little-endian, starts with `bits`
//! zero bits; bits are counted from the most significant bit of the first byte of the digest. The message is one
//! block, of which only words 10 and 11 depend on the nonce, so a search runs one compression per nonce.

use crate::hash::blake2s::{self, Word, compress, initial_state};

/// The most bits a profile may ask for: the check reads the first word of the digest.
pub const MAX_BITS: u32 = 32;

/// The length of the message in bytes.
const LENGTH: u64 = 48;

/// The message: seed, number of bits, zero, and the nonce as its low and its high word.
#[inline]
pub fn block<W: Word>(seed: &[u32; 8], bits: u32, nonce_low: W, nonce_high: W) -> [W; 16] {
    let mut block = [W::splat(0); 16];
    for (word, &value) in block.iter_mut().zip(seed) {
        *word = W::splat(value);
    }
    block[8] = W::splat(bits);
    block[10] = nonce_low;
    block[11] = nonce_high;
    block
}

/// The first word of the digest of a [`block`], as little-endian bytes: what the nonce is judged by.
#[inline]
pub fn first_word<W: Word>(block: &[W; 16]) -> W {
    first_word_by(block, compress)
}

/// The same by some compression function, see [`compress`].
#[inline]
pub fn first_word_by<W: Word>(block: &[W; 16], compress: impl Fn(&mut [W; 8], &[W; 16], u64, bool)) -> W {
    let mut h = initial_state(blake2s::WORK).map(W::splat);
    compress(&mut h, block, LENGTH, true);
    h[0]
}

/// The bits of the first word that must be zero; `bits` is at most [`MAX_BITS`].
pub fn mask(bits: u32) -> u32 {
    u32::MAX.checked_shr(bits).map_or(u32::MAX, |low| !low).swap_bytes()
}

/// Whether `nonce` answers `seed`. No work means nonce 0, so that proofs stay unique; no nonce has more than
/// [`MAX_BITS`] bits of work.
pub fn check(seed: &[u8; 32], bits: u32, nonce: u64) -> bool {
    if bits == 0 {
        return nonce == 0;
    }
    let block = block(&blake2s::to_words(seed), bits, nonce as u32, (nonce >> 32) as u32);
    bits <= MAX_BITS && first_word(&block) & mask(bits) == 0
}

/// The smallest good nonce, by trying all of them in turn: the reference for faster searches.
pub fn search(seed: &[u8; 32], bits: u32) -> Option<u64> {
    if bits > MAX_BITS {
        return None;
    }
    (0..=u64::MAX).find(|&nonce| check(seed, bits, nonce))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::blake2s::{Lanes, WORK, hash};

    fn message(seed: &[u8; 32], bits: u32, nonce: u64) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(seed);
        bytes[32..36].copy_from_slice(&bits.to_le_bytes());
        bytes[40..].copy_from_slice(&nonce.to_le_bytes());
        bytes
    }

    #[test]
    fn work_is_leading_zeros_of_the_digest() {
        let seed = core::array::from_fn(|i| i as u8 * 7);
        for bits in [1, 5, 8, 9, 13] {
            for nonce in (0..300).chain([u64::MAX, 1 << 32, (1 << 32) + 7]).chain(search(&seed, bits)) {
                let digest = hash(WORK, &message(&seed, bits, nonce));
                let zeros = u32::from_be_bytes(digest[..4].try_into().unwrap()).leading_zeros();
                assert_eq!(check(&seed, bits, nonce), zeros >= bits, "{bits} {nonce}");
            }
        }
    }

    #[test]
    fn seed_bits_and_nonce_all_count() {
        let seed = [9; 32];
        let nonce = search(&seed, 12).unwrap();
        assert!(check(&seed, 12, nonce));
        assert!(!check(&[8; 32], 12, nonce));
        assert!(!check(&seed, 13, nonce));
        assert!(!check(&seed, 12, nonce ^ 1 << 32));
    }

    #[test]
    fn edges() {
        assert!(check(&[1; 32], 0, 0) && !check(&[1; 32], 0, 1));
        assert_eq!(search(&[1; 32], 0), Some(0));
        assert!((0..1000).all(|nonce| !check(&[1; 32], 33, nonce) && !check(&[1; 32], u32::MAX, nonce)));
        assert_eq!(search(&[1; 32], 33), None);
        assert_eq!([mask(0), mask(1), mask(8), mask(9), mask(32)], [0, 0x80, 0xff, 0x80ff, u32::MAX]);
    }

    #[test]
    fn lanes_judge_as_scalars_do() {
        let seed = [3; 32];
        let low = Lanes::<16>(core::array::from_fn(|l| 1000 + l as u32));
        let wide = first_word(&block(&blake2s::to_words(&seed), 4, low, Lanes([5; 16])));
        for (l, word) in wide.0.into_iter().enumerate() {
            assert_eq!(word & mask(4) == 0, check(&seed, 4, (5 << 32) + 1000 + l as u64));
        }
    }
}
