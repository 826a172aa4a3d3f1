//! What is on a line, and a naive reading of it.

use arbitrary::Arbitrary;
use circlet_core::key::VERSION;
use circlet_link::frame::{DATA, HEAD, MARKER};
use circlet_link::message::{self, About, AboutKey, Begin};
use circlet_link::{Counters, Outcome, PROTOCOL, Reason, Verdict};
use serde::Serialize;

use super::world::{KEYS, payload, transfer};

/// Bytes of the payload that is sent to a device that hears anything.
pub const PAYLOAD: usize = 300;

/// Something on a line.
#[derive(Arbitrary, Debug)]
pub enum Piece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A frame.
    Frame(Said),
    /// A frame of which some bits are others.
    Damaged { frame: Said, at: u16, mask: u8 },
    /// The beginning of a frame.
    Cut { frame: Said, length: u16 },
    /// The end of a frame.
    Tail { frame: Said, from: u16 },
    /// Nothing, for long enough.
    Silence,
}

/// A frame.
#[derive(Arbitrary, Debug)]
pub struct Said {
    kind: u8,
    session: u8,
    number: u8,
    body: Body,
}

/// What a frame carries.
#[derive(Arbitrary, Debug)]
enum Body {
    Bytes(Vec<u8>),
    /// The same byte over and over.
    Long {
        length: u16,
        byte: u8,
    },
    /// A piece of the payload, cut into such.
    Payload {
        frame: u8,
    },
    Begin {
        protocol: u8,
        version: u8,
        magic: u8,
        length: u16,
        key: u8,
        frame: u8,
    },
    About {
        protocol: u8,
        version: u8,
        frame: u8,
        keys: u8,
        key: u8,
    },
    Verdict {
        outcome: u8,
        statement: u8,
        counters: Option<u32>,
    },
}

impl Piece {
    /// Its bytes; none for a silence.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Frame(frame) => Some(frame.bytes()),
            Self::Damaged { frame, at, mask } => {
                let mut bytes = frame.bytes();
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= mask;
                Some(bytes)
            }
            Self::Cut { frame, length } => {
                let mut bytes = frame.bytes();
                bytes.truncate(usize::from(*length) % bytes.len());
                Some(bytes)
            }
            Self::Tail { frame, from } => {
                let bytes = frame.bytes();
                Some(bytes[usize::from(*from) % bytes.len()..].to_vec())
            }
            Self::Silence => None,
        }
    }
}

/// What is between silences.
pub fn segments(pieces: &[Piece]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    for piece in pieces {
        match (piece.bytes(), all.last_mut()) {
            (Some(bytes), Some(last)) => last.extend(bytes),
            _ => all.push(Vec::new()),
        }
    }
    all
}

impl Said {
    fn bytes(&self) -> Vec<u8> {
        let data = self.body.bytes(self.number);
        encode(1 + self.kind % 7, (self.session % 8).into(), self.number.into(), &data)
    }
}

impl Body {
    fn bytes(&self, number: u8) -> Vec<u8> {
        let usual = |chosen: u8, usual: u16| if chosen < 200 { usual } else { chosen.into() };
        match *self {
            Self::Bytes(ref bytes) => bytes[..bytes.len().min(DATA)].to_vec(),
            Self::Long { length, byte } => vec![byte; usize::from(length) % (DATA + 1)],
            Self::Payload { frame } => {
                let all = payload(PAYLOAD);
                let piece = all.chunks(usize::from(frame).max(1)).nth(number.into());
                piece.unwrap_or_default().to_vec()
            }
            Self::Begin { protocol, version, magic, length, key, frame } => written(&Begin {
                protocol: usual(protocol, PROTOCOL.into()) as u8,
                magic: if magic < 250 { *transfer(&[]).kind.magic() } else { [magic; 8] },
                version: usual(version, VERSION),
                payload: [magic % 2; 32],
                length: u32::from(length) % 4096,
                key: digest(key),
                frame: u16::from(frame) * 4,
            }),
            Self::About { protocol, version, frame, keys, key } => written(&About {
                protocol: usual(protocol, PROTOCOL.into()) as u8,
                version: usual(version, VERSION),
                frame: frame.into(),
                memory: 1 << 20,
                board: "board",
                keys,
                key: (key < 250).then(|| AboutKey { digest: digest(key), name: "name" }),
            }),
            Self::Verdict { outcome, statement, counters } => {
                let all = [Outcome::Accepted, Outcome::Rejected, Outcome::Refused, Outcome::Failed];
                written(&Verdict {
                    outcome: all[usize::from(outcome) % all.len()],
                    reason: Reason::new("a reason"),
                    statement: [statement; 32],
                    counters: Counters { heap: counters, ..Counters::default() },
                })
            }
        }
    }
}

/// Of keys that devices hold, and of one that they do not.
fn digest(key: u8) -> [u8; 32] {
    KEYS.iter().rev().nth((key % 4).into()).map_or([9; 32], |held| held.digest)
}

fn written(message: &impl Serialize) -> Vec<u8> {
    message::write(message, &mut [0; DATA]).to_vec()
}

/// A frame that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind's number.
    pub kind: u8,
    /// Its transfer.
    pub session: u32,
    /// Its number.
    pub number: u32,
    /// What it carries.
    pub data: Vec<u8>,
}

impl From<circlet_link::Frame<'_>> for Found {
    fn from(frame: circlet_link::Frame<'_>) -> Self {
        let found = Self {
            kind: frame.kind as u8,
            session: frame.session,
            number: frame.number,
            data: frame.data.to_vec(),
        };
        let (head, data, tail) = frame.parts().expect("a frame that was found");
        assert_eq!([&head, data, &tail].concat(), found.bytes());
        found
    }
}

impl Found {
    /// The bytes of the frame.
    pub fn bytes(&self) -> Vec<u8> {
        encode(self.kind, self.session, self.number, &self.data)
    }
}

fn encode(kind: u8, session: u32, number: u32, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_le_bytes();
    let body = [&[kind][..], &session.to_le_bytes(), &number.to_le_bytes(), &length, data].concat();
    [&MARKER[..], &body, &crc(&body).to_le_bytes()].concat()
}

/// CRC-32 (ISO-HDLC), a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ 0xedb8_8320 } else { remainder >> 1 };
        }
    }
    !remainder
}

/// The frame that begins here.
fn first(bytes: &[u8]) -> Option<Found> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let kind = *bytes.get(MARKER.len())?;
    if !bytes.starts_with(&MARKER) || !(1..=7).contains(&kind) {
        return None;
    }
    let length = usize::from(*bytes.get(HEAD - 2)?) | usize::from(*bytes.get(HEAD - 1)?) << 8;
    if length > DATA || word(HEAD + length)? != crc(&bytes[MARKER.len()..HEAD + length]) {
        return None;
    }
    Some(Found { kind, session: word(3)?, number: word(7)?, data: bytes[HEAD..HEAD + length].to_vec() })
}

/// One frame after the other, past everything else.
pub fn in_order(mut bytes: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let found = first(bytes);
        bytes = &bytes[found.as_ref().map_or(1, |found| found.bytes().len())..];
        all.extend(found);
    }
    all
}

/// Every frame anywhere, those inside of others too.
pub fn anywhere(bytes: &[u8]) -> Vec<Found> {
    (0..bytes.len()).filter_map(|at| first(&bytes[at..])).collect()
}
