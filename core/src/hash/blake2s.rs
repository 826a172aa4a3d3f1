//! Blake2s-256 (RFC 7693) with an 8-byte personalisation, over any word type.
//!
//! One definition of the compression function serves the verifier (`u32`) and the provers (`Lanes<N>`: N
//! independent messages side by side, in plain arrays that the compiler turns into vector code).
//! Every use of the hash has its own personalisation, so no digest of one kind is a digest of another kind
//! (`protocol-amendments.md` C8).

// Word operations must vanish into the compression function, or lanes are not vectorised.
#![allow(clippy::inline_always)]

/// Personalisation of Merkle leaves.
pub const LEAF: &[u8; 8] = b"circlt-L";
/// Personalisation of inner Merkle nodes.
pub const NODE: &[u8; 8] = b"circlt-N";
/// Personalisation of transcripts.
pub const TRANSCRIPT: &[u8; 8] = b"circlt-T";
/// Personalisation of proof of work.
pub const WORK: &[u8; 8] = b"circlt-W";
/// Personalisation of digests of keys and programs.
pub const DIGEST: &[u8; 8] = b"circlt-D";
/// Personalisation of digests that name a member of a family of programs.
pub const MEMBER: &[u8; 8] = b"circlt-F";
/// Personalisation of messages that are promised by their digest.
pub const MESSAGE: &[u8; 8] = b"circlt-M";

/// What Blake2s computes with: one or several 32-bit words.
pub trait Word: Copy {
    /// The word `value`, in every lane.
    fn splat(value: u32) -> Self;
    /// The sum modulo `2^32`.
    fn add(self, rhs: Self) -> Self;
    /// The exclusive or.
    fn xor(self, rhs: Self) -> Self;
    /// The rotation towards the low bits by `R`.
    fn rotate_right<const R: u32>(self) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        value
    }
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        self.wrapping_add(rhs)
    }
    #[inline(always)]
    fn xor(self, rhs: Self) -> Self {
        self ^ rhs
    }
    #[inline(always)]
    fn rotate_right<const R: u32>(self) -> Self {
        u32::rotate_right(self, R)
    }
}

/// `N` words of `N` independent messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Lanes<const N: usize>(pub [u32; N]);

impl<const N: usize> Lanes<N> {
    #[inline(always)]
    fn zip(self, rhs: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        let mut out = self.0;
        // By reference: compilers take minutes for what an array's own iterator becomes in a compression.
        for (a, &b) in out.iter_mut().zip(&rhs.0) {
            *a = f(*a, b);
        }
        Self(out)
    }
}

impl<const N: usize> Word for Lanes<N> {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        Self([value; N])
    }
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        self.zip(rhs, u32::wrapping_add)
    }
    #[inline(always)]
    fn xor(self, rhs: Self) -> Self {
        self.zip(rhs, |a, b| a ^ b)
    }
    #[inline(always)]
    fn rotate_right<const R: u32>(self) -> Self {
        self.zip(self, |a, _| a.rotate_right(R))
    }
}

/// The initialisation vector of SHA-256.
const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The parameter block: a sequential, unkeyed hash with digests of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Domain separation.
    pub personal: [u8; 8],
}

impl Parameters {
    /// Digest length 32, no key, fanout 1, depth 1.
    const FIRST_WORD: u32 = 0x0101_0020;

    /// `IV` xor the eight words of the parameter block.
    pub const fn initial_state(&self) -> [u32; 8] {
        let p = &self.personal;
        let mut h = IV;
        h[0] ^= Self::FIRST_WORD;
        h[6] ^= u32::from_le_bytes([p[0], p[1], p[2], p[3]]);
        h[7] ^= u32::from_le_bytes([p[4], p[5], p[6], p[7]]);
        h
    }
}

/// The chaining value before the first block of a hash with this personalisation.
pub const fn initial_state(personal: &[u8; 8]) -> [u32; 8] {
    Parameters { personal: *personal }.initial_state()
}

/// The mixing function `G`. Macros and not functions, so that every index is a literal, which the compiler checks.
macro_rules! mix {
    ($v:ident[$a:literal $b:literal $c:literal $d:literal], $m:ident[$x:literal $y:literal]) => {
        $v[$a] = $v[$a].add($v[$b]).add($m[$x]);
        $v[$d] = $v[$d].xor($v[$a]).rotate_right::<16>();
        $v[$c] = $v[$c].add($v[$d]);
        $v[$b] = $v[$b].xor($v[$c]).rotate_right::<12>();
        $v[$a] = $v[$a].add($v[$b]).add($m[$y]);
        $v[$d] = $v[$d].xor($v[$a]).rotate_right::<8>();
        $v[$c] = $v[$c].add($v[$d]);
        $v[$b] = $v[$b].xor($v[$c]).rotate_right::<7>();
    };
}

/// A round, given its row of the message schedule.
macro_rules! round {
    ($v:ident, $m:ident[
        $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal
        $s8:literal $s9:literal $s10:literal $s11:literal $s12:literal $s13:literal $s14:literal $s15:literal
    ]) => {
        mix!($v[0 4 8 12], $m[$s0 $s1]);
        mix!($v[1 5 9 13], $m[$s2 $s3]);
        mix!($v[2 6 10 14], $m[$s4 $s5]);
        mix!($v[3 7 11 15], $m[$s6 $s7]);
        mix!($v[0 5 10 15], $m[$s8 $s9]);
        mix!($v[1 6 11 12], $m[$s10 $s11]);
        mix!($v[2 7 8 13], $m[$s12 $s13]);
        mix!($v[3 4 9 14], $m[$s14 $s15]);
    };
}

/// The compression function `F`: `counter_bytes` is the length of the message up to and including this block,
/// `last` marks the final block.
#[inline]
pub fn compress<W: Word>(h: &mut [W; 8], block: &[W; 16], counter_bytes: u64, last: bool) {
    let mut v = [W::splat(0); 16];
    v[..8].copy_from_slice(h);
    for (word, &iv) in v[8..].iter_mut().zip(&IV) {
        *word = W::splat(iv);
    }
    v[12] = v[12].xor(W::splat(counter_bytes as u32));
    v[13] = v[13].xor(W::splat((counter_bytes >> 32) as u32));
    if last {
        v[14] = v[14].xor(W::splat(u32::MAX));
    }
    round!(v, block[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
    round!(v, block[14 10 4 8 9 15 13 6 1 12 0 2 11 7 5 3]);
    round!(v, block[11 8 12 0 5 2 15 13 10 14 3 6 7 1 9 4]);
    round!(v, block[7 9 3 1 13 12 11 14 2 6 5 10 4 0 15 8]);
    round!(v, block[9 0 5 7 2 4 10 15 14 1 11 12 6 8 3 13]);
    round!(v, block[2 12 6 10 0 11 8 3 4 13 7 5 15 14 1 9]);
    round!(v, block[12 5 1 15 14 13 4 10 0 7 6 3 9 2 8 11]);
    round!(v, block[13 11 7 14 12 1 3 9 5 0 15 4 8 6 2 10]);
    round!(v, block[6 15 14 9 11 3 0 8 12 2 13 7 1 4 10 5]);
    round!(v, block[10 2 8 4 7 6 1 5 15 11 9 14 3 12 13 0]);
    for ((word, &low), &high) in h.iter_mut().zip(&v[..8]).zip(&v[8..]) {
        *word = word.xor(low).xor(high);
    }
}

/// The hash of a message of whole words (read as little-endian bytes), in every lane.
#[inline]
pub fn hash_words<W: Word>(personal: &[u8; 8], words: impl IntoIterator<Item = W>) -> [W; 8] {
    let mut h = initial_state(personal).map(W::splat);
    let mut block = [W::splat(0); 16];
    let (mut filled, mut bytes) = (0, 0u64);
    for word in words {
        if filled == block.len() {
            compress(&mut h, &block, bytes, false);
            block = [W::splat(0); 16];
            filled = 0;
        }
        if let Some(slot) = block.get_mut(filled) {
            *slot = word;
        }
        filled += 1;
        bytes += 4;
    }
    compress(&mut h, &block, bytes, true);
    h
}

/// [`hash_words`] of a slice of words or of what words are made of, block by block.
#[inline]
pub fn hash_slice<T: Copy>(personal: &[u8; 8], words: &[T], word: impl Fn(T) -> u32) -> [u32; 8] {
    let mut h = initial_state(personal);
    let mut bytes = 0u64;
    let mut rest = words;
    // The last block is compressed differently, also where it is full.
    while let Some((block, tail)) = rest.split_first_chunk::<16>().filter(|(_, tail)| !tail.is_empty()) {
        bytes += 64;
        compress(&mut h, &block.map(&word), bytes, false);
        rest = tail;
    }
    let mut block = [0; 16];
    for (slot, &value) in block.iter_mut().zip(rest) {
        *slot = word(value);
    }
    compress(&mut h, &block, 4 * words.len() as u64, true);
    h
}

/// The bytes of a digest.
pub fn to_bytes(words: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    bytes
}

/// The words of a digest.
pub fn to_words(bytes: &[u8; 32]) -> [u32; 8] {
    little_endian(bytes)
}

/// As many words as the bytes have.
#[inline]
fn little_endian<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, &chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(chunk);
    }
    words
}

/// The hash of `bytes`.
pub fn hash(personal: &[u8; 8], bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(personal);
    hasher.update(bytes);
    hasher.finish()
}

/// The hash of a message that arrives in pieces.
#[derive(Clone, Debug)]
pub struct Hasher {
    h: [u32; 8],
    buffer: [u8; 64],
    filled: usize,
    bytes: u64,
}

impl Hasher {
    /// The hash of the empty message so far.
    pub const fn new(personal: &[u8; 8]) -> Self {
        Self { h: initial_state(personal), buffer: [0; 64], filled: 0, bytes: 0 }
    }

    /// Appends to the message.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A full buffer waits for the next byte, because the last block is compressed differently.
            if self.filled == self.buffer.len() {
                self.compress(false);
                self.buffer = [0; 64];
                self.filled = 0;
            }
            let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(free.len()));
            for (slot, &byte) in free.iter_mut().zip(now) {
                *slot = byte;
            }
            self.filled += now.len();
            self.bytes += now.len() as u64;
            bytes = later;
        }
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        match self.buffer.get_mut(self.filled) {
            Some(slot) => {
                *slot = byte;
                self.filled += 1;
                self.bytes += 1;
            }
            None => self.update(&[byte]),
        }
    }

    /// The digest of the whole message.
    pub fn finish(mut self) -> [u8; 32] {
        self.compress(true);
        to_bytes(self.h)
    }

    fn compress(&mut self, last: bool) {
        compress(&mut self.h, &little_endian(&self.buffer), self.bytes, last);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use blake2::{
        Blake2sVarCore,
        digest::{
            Output,
            core_api::{Buffer, UpdateCore, VariableOutputCore},
        },
    };

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 167 + length * 13 + i / 251) as u8).collect()
    }

    /// Blake2s-256 of another implementation.
    fn reference(personal: [u8; 8], bytes: &[u8]) -> [u8; 32] {
        let mut core = Blake2sVarCore::new_with_params(&[], &personal, 0, 32);
        let mut buffer = Buffer::<Blake2sVarCore>::default();
        buffer.digest_blocks(bytes, |blocks| core.update_blocks(blocks));
        let mut out = Output::<Blake2sVarCore>::default();
        core.finalize_variable_core(&mut buffer, &mut out);
        out.into()
    }

    #[test]
    fn agrees_with_another_implementation() {
        for length in (0..300).chain([511, 512, 513, 1000, 4096, 4097]) {
            for personal in [LEAF, NODE, TRANSCRIPT, WORK, DIGEST] {
                let bytes = message(length);
                assert_eq!(hash(personal, &bytes), reference(*personal, &bytes), "length {length}");
            }
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes = message(400);
        for piece in [1, 3, 63, 64, 65, 128, 399] {
            let mut hasher = Hasher::new(DIGEST);
            bytes.chunks(piece).for_each(|chunk| hasher.update(chunk));
            hasher.update(&[]);
            assert_eq!(hasher.finish(), hash(DIGEST, &bytes));
            let mut hasher = Hasher::new(DIGEST);
            bytes.iter().take(piece).for_each(|&byte| hasher.push(byte));
            hasher.update(bytes.get(piece..).unwrap_or_default());
            assert_eq!(hasher.finish(), hash(DIGEST, &bytes));
        }
    }

    #[test]
    fn known_answer_without_personalisation() {
        // RFC 7693, appendix B.
        assert_eq!(
            hash(&[0; 8], b"abc"),
            [
                0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b, 0xa3, 0x4e, 0xeb, 0x45,
                0x2f, 0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6, 0x3a, 0x29, 0x4d, 0x99, 0x9b, 0x4c, 0x86, 0x67,
                0x59, 0x82
            ]
        );
    }

    #[test]
    fn lanes_are_independent_scalars() {
        for words in [0usize, 1, 15, 16, 17, 32, 40] {
            let lane = |l: usize, i: usize| (l as u32 + 1).wrapping_mul(0x9e37_79b9) ^ (i as u32 * 77);
            let wide =
                hash_words(LEAF, (0..words).map(|i| Lanes::<16>(core::array::from_fn(|l| lane(l, i)))));
            for l in 0..16 {
                let bytes: Vec<u8> = (0..words).flat_map(|i| lane(l, i).to_le_bytes()).collect();
                assert_eq!(to_bytes(wide.map(|word| word.0[l])), hash(LEAF, &bytes));
                assert_eq!(to_bytes(hash_words(LEAF, (0..words).map(|i| lane(l, i)))), hash(LEAF, &bytes));
                assert_eq!(to_words(&hash(LEAF, &bytes)), wide.map(|word| word.0[l]));
                let slice: Vec<u32> = (0..words).map(|i| lane(l, i)).collect();
                assert_eq!(hash_slice(LEAF, &slice, |word| word), wide.map(|word| word.0[l]));
            }
        }
    }
}
