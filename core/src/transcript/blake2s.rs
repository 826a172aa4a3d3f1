use super::{Kind, Label, Transcript, tag};
use crate::{
    field::{M31, P, QM31},
    hash::blake2s::{self, Hasher},
};

/// A hash chain over Blake2s with personalisation `circlt-T`; all integers little-endian.
///
/// * **Start.** `state = 0`, `drawn = 0`; absorb the bytes of the domain with tag 0, which no message has.
/// * **Absorb** `(kind, label, length, data)`: `state = H(state || u32 tag || u32 drawn || u64 length || data)` with
///   `tag = label + 2^8 kind`, `length` in elements or bytes, elements as `u32` and bytes as they are; `drawn = 0`.
/// * **Squeeze.** A run of draws of one kind under one label starts by absorbing the empty message with the tag of the
///   run, so each state knows the runs before it; block `c` of the run is `H(state || u32 (tag + 2^16) || u32 0 || u64
///   c)`. A word of a block below `2 P` gives the element `word mod P`, a word of `2 P` or more (chance `2^-31`) is
///   skipped; what is left of a block serves the next draw of the run. `drawn` counts the words taken or skipped.
///   A seed is block 0 of a run of its own, as it is, and counts as 8 words.
///
/// An absorption has at least the 16 bytes of framing with its kind below `2^16`, a squeezed block a tag above
/// `2^16`, so no state is ever an output; the framing decodes uniquely.
#[derive(Clone)]
pub struct Blake2sTranscript {
    state: [u8; 32],
    /// The tag of the current run of draws, zero if there is none.
    run: u32,
    /// Words taken in the current run.
    drawn: u32,
    /// The current block, rotated: the next word first.
    block: [u32; 8],
}

/// Added to the tag where a block is squeezed.
const OUTPUT: u32 = 1 << 16;

impl Blake2sTranscript {
    fn absorb_framed(&mut self, tag: u32, length: usize, data: impl FnOnce(&mut Hasher)) {
        let mut hasher = Hasher::new(blake2s::TRANSCRIPT);
        hasher.update(&self.state);
        hasher.update(&tag.to_le_bytes());
        hasher.update(&self.drawn.to_le_bytes());
        hasher.update(&(length as u64).to_le_bytes());
        data(&mut hasher);
        *self = Self { state: hasher.finish(), run: 0, drawn: 0, block: [0; 8] };
    }

    fn start_run(&mut self, tag: u32) {
        if self.run != tag {
            self.absorb_framed(tag, 0, |_| ());
            self.run = tag;
        }
    }

    fn squeeze_block(&self) -> [u8; 32] {
        let mut hasher = Hasher::new(blake2s::TRANSCRIPT);
        hasher.update(&self.state);
        hasher.update(&(self.run | OUTPUT).to_le_bytes());
        hasher.update(&0u32.to_le_bytes());
        hasher.update(&u64::from(self.drawn / 8).to_le_bytes());
        hasher.finish()
    }

    fn element(&mut self) -> M31 {
        loop {
            if self.drawn.is_multiple_of(8) {
                self.block = blake2s::to_words(&self.squeeze_block());
            }
            let [word, ..] = self.block;
            self.block.rotate_left(1);
            // A profile draws a few hundred words; the counter cannot come near its end.
            self.drawn = self.drawn.wrapping_add(1);
            if word < 2 * P {
                return M31::reduce(u64::from(word));
            }
        }
    }
}

impl Transcript for Blake2sTranscript {
    type Digest = [u8; 32];

    fn new(domain: &[u8]) -> Self {
        let mut transcript = Self { state: [0; 32], run: 0, drawn: 0, block: [0; 8] };
        transcript.absorb_framed(0, domain.len(), |hasher| hasher.update(domain));
        transcript
    }

    fn absorb(&mut self, label: Label, data: &[M31]) {
        self.absorb_framed(tag(Kind::Elements, label), data.len(), |hasher| {
            for element in data {
                hasher.update(&element.value().to_le_bytes());
            }
        });
    }

    fn absorb_bytes(&mut self, label: Label, bytes: &[u8]) {
        self.absorb_framed(tag(Kind::Bytes, label), bytes.len(), |hasher| hasher.update(bytes));
    }

    fn absorb_digest(&mut self, label: Label, digest: &[u8; 32]) {
        self.absorb_framed(tag(Kind::Root, label), 32, |hasher| hasher.update(digest));
    }

    fn challenge(&mut self, label: Label) -> QM31 {
        self.start_run(tag(Kind::Challenge, label));
        QM31::from_coordinates(core::array::from_fn(|_| self.element()))
    }

    fn index(&mut self, label: Label, bits: u32) -> u32 {
        self.start_run(tag(Kind::Index, label));
        self.element().value() & ((1 << bits.min(30)) - 1)
    }

    fn pow_seed(&mut self) -> [u8; 32] {
        // Seeds are never drawn twice from one state: a run of its own, closed at once.
        self.absorb_framed(tag(Kind::Seed, Label::PowSeed), 0, |_| ());
        self.run = tag(Kind::Seed, Label::PowSeed);
        self.drawn = 0;
        let seed = self.squeeze_block();
        self.drawn = 8;
        seed
    }
}
