//! Honest proofs of small programs with changes that keep their form: other field elements, exchanged, repeated and
//! cleared messages, copied digests, other nonces, other entries of the statement, parts of another honest proof.
//!
//! The profile has few queries and almost no grinding, so that every change is judged by the checks of the protocol and
//! not by work. What is neither of the two honest pairs of statement and proof must be rejected.

use std::num::NonZero;
use std::ops::Range;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use circlet::prove::adversary::Adversary;
use circlet::prove::prove_trace;
use circlet_core::field::P;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::Profile;
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;
use circlet_tests::cheat::{Bench, Section, TOY, sections};
use circlet_tests::programs::{self, Case};
use circlet_verifier::{Reject, verify_with};

/// One change. Numbers are places and lengths modulo what there is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Change {
    /// A number is added to a word of a part, as a field element.
    Add { part: u16, word: u16, delta: u32 },
    /// A word of a part becomes this field element.
    Set { part: u16, word: u16, value: u32 },
    /// A part becomes zero.
    Clear { part: u16 },
    /// Two parts of the same length change places.
    Swap { one: u16, other: u16 },
    /// A part becomes what the next one of the same length is.
    Copy { from: u16, to: u16 },
    /// A part comes twice.
    Repeat { part: u16 },
    /// A part is left out.
    Drop { part: u16 },
    /// A digest becomes another one of the proof.
    Digest { from: u16, to: u16 },
    /// A nonce becomes another.
    Nonce { which: u8, value: u64 },
    /// A part is taken from the other proof.
    Splice { part: u16 },
    /// Everything from a part on is taken from the other proof.
    Tail { part: u16 },
    /// Bytes as they are.
    Byte { place: u32, mask: u8 },
    /// Fewer bytes.
    Cut { length: u32 },
    /// More bytes.
    Append { byte: u8, count: u8 },
    /// An input or output gets another entry.
    Entry { tensor: u8, entry: u16, delta: i32 },
    /// The statement of the other proof.
    OtherStatement,
}

/// A statement with its proof.
#[derive(Clone, PartialEq)]
struct Pair {
    statement: Statement,
    proof: Vec<u8>,
}

/// A program with two honest proofs.
struct Honest {
    protocol: Protocol,
    key: VerifyingKey,
    pair: Pair,
    other: Pair,
    /// The parts of the first proof, answers to queries one by one.
    parts: Vec<Section>,
    /// Where digests begin.
    digests: Vec<usize>,
    /// Where nonces begin.
    nonces: Vec<usize>,
}

/// Few queries; a change of a cap that nothing opens is noticed if one position of six is another.
const FEW: Profile = Profile { queries: 6, pow_bits: 0, g_lookup: 0, g_wiring: 0, ..TOY };
/// The same with every nonce that there may be.
const WORK: Profile = Profile { pow_bits: 3, g_lookup: 2, g_wiring: 2, g_stack: 1, g_fold: 1, ..FEW };

fn honest() -> &'static [Honest] {
    static MADE: OnceLock<Vec<Honest>> = OnceLock::new();
    MADE.get_or_init(|| {
        let cases = [
            (programs::matmul(), FEW),
            (programs::layernorm_tiny(), WORK),
            (programs::rewire(), FEW),
            (programs::residual(), WORK),
        ];
        cases.map(|(case, profile)| Honest::new(case, profile)).into()
    })
}

/// Notes the positions that are opened.
#[derive(Default)]
struct Positions(Vec<u32>);

impl Adversary for Positions {
    fn meddles(&self) -> bool {
        false
    }

    fn positions(&mut self, positions: &mut Vec<u32>) {
        self.0.clone_from(positions);
    }
}

impl Honest {
    fn new(case: Case, profile: Profile) -> Self {
        let mut bench = Bench::new(case, profile);
        let mut positions = Positions::default();
        let proof = prove_trace(&bench.key, &bench.trace, &bench.statement, &mut positions).unwrap();
        let pair = Pair { statement: bench.statement.clone(), proof };
        bench.case.2.iter_mut().flatten().for_each(|entry| *entry /= 2);
        bench.rerun();
        let other = Pair { statement: bench.statement.clone(), proof: bench.proof() };
        let (protocol, key) = (bench.key.protocol, bench.key.verifying);

        let length = pair.proof.len();
        let mut parts = sections(&protocol, length);
        let answers = parts.pop().map_or(0, |answers| answers.start);
        let cap = |label| matches!(label, Label::WitnessRoot | Label::FoldedRoot | Label::FoldRoot);
        let caps = parts.iter().filter(|part| cap(part.label));
        let mut digests: Vec<usize> =
            caps.flat_map(|part| (part.start..part.start + part.len).step_by(32)).collect();
        let nonces = parts.iter().filter(|part| part.label == Label::Nonce).map(|part| part.start).collect();

        let mut start = answers;
        for len in opened(&protocol, positions.0) {
            parts.push(Section { label: Label::QueryIndex, start, len });
            digests.extend((len == 32).then_some(start));
            start += len;
        }
        assert_eq!(start, length, "the layout of a proof");
        let honest = Self { protocol, key, pair, other, parts, digests, nonces };
        for pair in [&honest.pair, &honest.other] {
            assert_eq!(honest.judge(pair), Ok(()));
        }
        honest
    }

    fn judge(&self, pair: &Pair) -> Result<(), Reject> {
        verify_with(&self.protocol, &self.key, &pair.statement, &pair.proof)
    }

    fn part(&self, index: u16) -> Range<usize> {
        range(self.parts[usize::from(index) % self.parts.len()])
    }

    /// The first part from one on that is as long as another.
    fn like(&self, index: u16, len: usize) -> Range<usize> {
        let start = usize::from(index) % self.parts.len();
        let mut later = self.parts[start..].iter().chain(&self.parts);
        range(later.find(|part| part.len == len).copied().unwrap_or(self.parts[start]))
    }

    fn apply(&self, change: Change, Pair { statement, proof }: &mut Pair) {
        // Parts that an earlier change has moved to beyond the end are gone.
        match change {
            Change::Add { part, word, delta } => {
                let delta = u64::from(delta);
                change_word(proof, self.part(part), word, |old| (u64::from(old) + delta) % u64::from(P));
            }
            Change::Set { part, word, value } => {
                change_word(proof, self.part(part), word, |_| u64::from(value % P));
            }
            Change::Clear { part } => {
                if let Some(part) = proof.get_mut(self.part(part)) {
                    part.fill(0);
                }
            }
            Change::Swap { one, other } => {
                let one = self.part(one);
                let other = self.like(other, one.len());
                if one.end <= other.start && other.end <= proof.len() {
                    let (head, tail) = proof.split_at_mut(other.start);
                    head[one].swap_with_slice(&mut tail[..other.len()]);
                }
            }
            Change::Copy { from, to } => {
                let to = self.part(to);
                copy(proof, self.like(from, to.len()), to.start);
            }
            Change::Repeat { part } => {
                let part = self.part(part);
                if let Some(bytes) = proof.get(part.clone()).map(<[u8]>::to_vec) {
                    proof.splice(part.end..part.end, bytes);
                }
            }
            Change::Drop { part } => {
                let part = self.part(part);
                if part.end <= proof.len() {
                    proof.drain(part);
                }
            }
            Change::Digest { from, to } => {
                let digest = |index: u16| self.digests[usize::from(index) % self.digests.len()];
                copy(proof, digest(from)..digest(from) + 32, digest(to));
            }
            Change::Nonce { which, value } => {
                let Some(count) = NonZero::new(self.nonces.len()) else { return };
                let at = self.nonces[usize::from(which) % count];
                if let Some(nonce) = proof.get_mut(at..at + 8) {
                    nonce.copy_from_slice(&value.to_le_bytes());
                }
            }
            Change::Splice { part } => {
                let part = self.part(part);
                if let (Some(to), Some(from)) = (proof.get_mut(part.clone()), self.other.proof.get(part)) {
                    to.copy_from_slice(from);
                }
            }
            Change::Tail { part } => {
                let start = self.part(part).start;
                proof.truncate(start);
                proof.extend(self.other.proof.get(start..).unwrap_or_default());
            }
            Change::Byte { place, mask } => {
                let place = place as usize % proof.len().max(1);
                if let Some(byte) = proof.get_mut(place) {
                    *byte ^= mask;
                }
            }
            Change::Cut { length } => proof.truncate(length as usize % (proof.len() + 1)),
            Change::Append { byte, count } => proof.extend(std::iter::repeat_n(byte, count.into())),
            Change::Entry { tensor, entry, delta } => {
                let tensors = statement.inputs.len() + statement.outputs.len();
                let mut all = statement.inputs.iter_mut().chain(&mut statement.outputs);
                let Some(tensor) = all.nth(usize::from(tensor) % tensors) else { return };
                let entry = usize::from(entry) % tensor.len();
                tensor[entry] = tensor[entry].wrapping_add(delta);
            }
            Change::OtherStatement => statement.clone_from(&self.other.statement),
        }
    }
}

fn range(part: Section) -> Range<usize> {
    part.start..part.start + part.len
}

/// Lengths of all rows and digests that answer queries, in their order.
fn opened(protocol: &Protocol, mut positions: Vec<u32>) -> Vec<usize> {
    let mut all = Vec::new();
    positions.sort_unstable();
    positions.dedup();
    for width in protocol.stacking.matrix_columns.into_iter().filter(|&width| width > 0) {
        leaves(protocol, &mut all, &positions, protocol.codeword_log(), 4 * width);
    }
    for layer in 0..protocol.schedule.layers {
        for position in &mut positions {
            *position >>= FoldSchedule::ARITY_LOG;
        }
        positions.dedup();
        // Sixteen elements of the extension.
        leaves(protocol, &mut all, &positions, protocol.fold_height(layer), 16 * 16);
    }
    all
}

/// Rows of so many bytes, and the siblings that lead them to the cap.
fn leaves(protocol: &Protocol, all: &mut Vec<usize>, indices: &[u32], height: u32, row: usize) {
    all.extend(indices.iter().map(|_| row));
    let mut indices = indices.to_vec();
    for _ in protocol.cap_log(height)..height {
        let alone = indices.iter().filter(|&index| indices.binary_search(&(index ^ 1)).is_err());
        all.extend(alone.map(|_| 32));
        for index in &mut indices {
            *index >>= 1;
        }
        indices.dedup();
    }
}

/// Changes a word of a part.
fn change_word(proof: &mut [u8], part: Range<usize>, word: u16, change: impl Fn(u32) -> u64) {
    let at = part.start + 4 * (usize::from(word) % (part.len() / 4));
    if let Some(bytes) = proof.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *bytes = (change(u32::from_le_bytes(*bytes)) as u32).to_le_bytes();
    }
}

/// Copies bytes to a place, if both are there.
fn copy(proof: &mut [u8], from: Range<usize>, to: usize) {
    if from.end.max(to + from.len()) <= proof.len() {
        proof.copy_within(from, to);
    }
}

/// The first byte chooses the program, the others are changes.
pub fn proof_structured(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let all = honest();
    let Ok(first) = input.arbitrary::<u8>() else { return };
    let honest = &all[usize::from(first) % all.len()];
    let mut pair = honest.pair.clone();
    // Every change is arbitrary bytes; no more than eight of them.
    for change in input.arbitrary_iter::<Change>().into_iter().flatten().take(8) {
        let Ok(change) = change else { break };
        honest.apply(change, &mut pair);
    }
    let verdict = honest.judge(&pair);
    let expected = pair == honest.pair || pair == honest.other;
    assert_eq!(verdict.is_ok(), expected, "{verdict:?}");
}
