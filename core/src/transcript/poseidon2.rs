use super::{Kind, Label, Transcript, tag};
use crate::{
    field::{M31, QM31},
    hash::{
        blake2s,
        poseidon2::{WIDTH, permute},
    },
};

/// Lanes that carry data; the other eight are the capacity.
const RATE: usize = 8;
/// The capacity lane to which the tag of a phase is added.
const TAG: usize = RATE;
/// Two capacity lanes to which the length of a message is added, its low 30 bits and the others.
const LENGTH: usize = RATE + 1;
/// Three capacity lanes to which the marks of draws are added.
const DRAWN: usize = RATE + 3;
/// The mark of the second and later elements of one draw.
const CONTINUED: u32 = 0x80;

/// A duplex sponge over Poseidon2-M31, width 16, rate 8, capacity 8, in overwrite mode (Bertoni, Daemen, Peeters,
/// Van Assche 2011, "Duplexing the sponge"), with the framing in the capacity.
///
/// * **Start.** Rate zero; capacity = the eight words of Blake2s(`circlt-T`, domain), each modulo `P`. No
///   permutation.
/// * **Absorb** `(kind, label, length, data)`: capacity lane 8 += `label + 2^8 kind`, lane 9 += low 30 bits of the
///   length, lane 10 += the remaining bits; then for each block of eight elements (the last one padded with zeros;
///   an empty message is one block of zeros): rate := block, permute. Bytes go in as little-endian 16-bit limbs with
///   the length in bytes; a root is its 32 bytes under a kind of its own.
/// * **Squeeze.** Elements are lanes 0, 1, ... of the rate after a permutation. When none is left: lane 8 +=
///   `label + 2^8 kind` of the draw that needs one, permute (the rate stays). A draw may straddle blocks. An
///   absorption discards what is left.
/// * **Draws.** When lane `i` of the rate is drawn, `label` (`label + 2^7` from the second element of one draw on)
///   times `2^(8 (i mod 3))` is added to lane `11 + floor(i / 3)` of the capacity. So the next permutation, of either
///   kind, binds how many elements were drawn, under which labels and in which groups. A challenge right after an
///   absorption costs no permutation.
///
/// Why different histories have different states: what is added to the capacity before a permutation decodes
/// uniquely to the draws since the last permutation (labels are not zero) and, at the start of a phase, its kind,
/// label and length; kinds of absorption and of squeezing differ; the length says how many blocks belong to a message
/// and where padding starts. Two histories therefore meet only if two capacities differ by the difference of two such
/// additions. One key fixes the schedule, of which a few hundred additions are distinct: at most `2^18` differences, and
/// a chance of at most `q^2 2^18 / P^8` after `q` permutations, which is 115 bits of security. What precedes the key in
/// the schedule is the same for all keys.
#[derive(Clone)]
pub struct Poseidon2Transcript {
    state: [M31; WIDTH],
    /// The next lane of the rate to draw; `RATE` if none is left.
    position: usize,
}

impl Poseidon2Transcript {
    fn permute(&mut self) {
        permute(&mut self.state);
        self.position = 0;
    }

    fn absorb_framed(&mut self, tag: u32, length: usize, data: impl Iterator<Item = M31>) {
        frame(&mut self.state, tag, length);
        let mut data = data.peekable();
        loop {
            for lane in &mut self.state[..RATE] {
                *lane = data.next().unwrap_or(M31::ZERO);
            }
            self.permute();
            if data.peek().is_none() {
                break;
            }
        }
    }

    fn absorb_limbs(&mut self, tag: u32, bytes: &[u8]) {
        let limb = |pair: &[u8]| {
            let low = pair.first().copied().unwrap_or(0);
            M31::from(u16::from_le_bytes([low, pair.get(1).copied().unwrap_or(0)]))
        };
        self.absorb_framed(tag, bytes.len(), bytes.chunks(2).map(limb));
    }

    fn draw<const N: usize>(&mut self, kind: Kind, label: Label) -> [M31; N] {
        let mut out = [M31::ZERO; N];
        for (i, element) in out.iter_mut().enumerate() {
            if self.position >= RATE {
                add(&mut self.state[TAG], tag(kind, label));
                self.permute();
            }
            // It is there: the position is one of eight.
            *element = self.state.get(self.position).copied().unwrap_or_default();
            mark(&mut self.state, label, self.position, i == 0);
            self.position += 1;
        }
        out
    }
}

/// Adds the kind and label of a message and its length to the capacity.
fn frame(state: &mut [M31; WIDTH], tag: u32, length: usize) {
    add(&mut state[TAG], tag);
    add(&mut state[LENGTH], (length as u64 & 0x3fff_ffff) as u32);
    add(&mut state[LENGTH + 1], (length as u64 >> 30) as u32);
}

/// Adds the mark of a draw of the rate's lane at a position, the first of a draw or a later one, to the capacity.
fn mark(state: &mut [M31; WIDTH], label: Label, position: usize, first: bool) {
    let mark = u32::from(label as u8) | if first { 0 } else { CONTINUED };
    // It is there: the position is one of eight.
    if let Some(lane) = state.get_mut(DRAWN + position / 3) {
        add(lane, mark << (8 * (position % 3)));
    }
}

/// The rate and the capacity.
fn halves(state: [M31; WIDTH]) -> [[M31; RATE]; 2] {
    let mut halves = [[M31::ZERO; RATE]; 2];
    halves.as_flattened_mut().copy_from_slice(&state);
    halves
}

fn add(lane: &mut M31, value: u32) {
    *lane += M31::reduce(u64::from(value));
}

/// All that it takes to go on with a [`Poseidon2Transcript`] elsewhere, by rounds that are alike: each absorbs one block
/// (`state[8..] += absorbed`, `state[..8] = block`, permute) and draws one challenge, the first four lanes
/// (`state[8..] += drawn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Where they begin.
    pub state: [M31; WIDTH],
    /// What a message adds to the capacity.
    pub absorbed: [M31; WIDTH - RATE],
    /// What a challenge adds to it.
    pub drawn: [M31; WIDTH - RATE],
}

impl Transcript for Poseidon2Transcript {
    type Digest = [u8; 32];

    fn new(domain: &[u8]) -> Self {
        let mut state = [M31::ZERO; WIDTH];
        let iv = blake2s::to_words(&blake2s::hash(blake2s::TRANSCRIPT, domain));
        for (lane, word) in state[RATE..].iter_mut().zip(iv) {
            *lane = M31::reduce(u64::from(word));
        }
        Self { state, position: RATE }
    }

    fn absorb(&mut self, label: Label, data: &[M31]) {
        self.absorb_framed(tag(Kind::Elements, label), data.len(), data.iter().copied());
    }

    fn absorb_bytes(&mut self, label: Label, bytes: &[u8]) {
        self.absorb_limbs(tag(Kind::Bytes, label), bytes);
    }

    fn absorb_digest(&mut self, label: Label, digest: &[u8; 32]) {
        self.absorb_limbs(tag(Kind::Root, label), digest);
    }

    fn absorb_ext(&mut self, label: Label, data: &[QM31]) {
        let coordinates = data.iter().flat_map(|element| element.coordinates());
        self.absorb_framed(tag(Kind::Elements, label), 4 * data.len(), coordinates);
    }

    fn challenge(&mut self, label: Label) -> QM31 {
        QM31::from_coordinates(self.draw(Kind::Challenge, label))
    }

    fn rounds(&self, send: Label, draw: Label) -> Option<Rounds> {
        let [mut absorbed, mut drawn] = [[M31::ZERO; WIDTH]; 2];
        frame(&mut absorbed, tag(Kind::Elements, send), RATE);
        for position in 0..4 {
            mark(&mut drawn, draw, position, position == 0);
        }
        let [[_, absorbed], [_, drawn]] = [absorbed, drawn].map(halves);
        Some(Rounds { state: self.state, absorbed, drawn })
    }

    fn index(&mut self, label: Label, bits: u32) -> u32 {
        let [element] = self.draw(Kind::Index, label);
        element.value() & ((1 << bits.min(30)) - 1)
    }

    /// Eight elements as little-endian words (248 bits).
    fn pow_seed(&mut self) -> [u8; 32] {
        blake2s::to_bytes(self.draw(Kind::Seed, Label::PowSeed).map(M31::value))
    }
}
