//! What frames say: their data, in the encoding of files (postcard).

use circlet_core::file::Kind;
use circlet_verifier::{Proven, Reject};
use serde::{Deserialize, Serialize};

use crate::frame::DATA;
use crate::statement;

/// What a device says of itself and of one of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About<'a> {
    /// [`crate::PROTOCOL`].
    pub protocol: u8,
    /// The version of proofs that it verifies ([`circlet_core::key::VERSION`]).
    pub version: u16,
    /// The most data in a frame that it takes.
    pub frame: u16,
    /// Bytes of memory that verification may use.
    pub memory: u32,
    /// What it runs on.
    pub board: &'a str,
    /// How many keys it holds.
    pub keys: u8,
    /// The key in the place that was asked for.
    #[serde(borrow)]
    pub key: Option<AboutKey<'a>>,
}

/// A key that a device holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutKey<'a> {
    /// Its digest.
    pub digest: [u8; 32],
    /// The name of its model, or the beginning of it.
    pub name: &'a str,
}

/// What a host wants judged: what the header of the proof's file says, the key, and how much will come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// [`crate::PROTOCOL`].
    pub protocol: u8,
    /// How the file begins ([`Kind::magic`]).
    pub magic: [u8; 8],
    /// The version of the file.
    pub version: u16,
    /// The digest of the payload: names the transfer.
    pub payload: [u8; 32],
    /// Bytes of the payload.
    pub length: u32,
    /// Digest of the key to judge it by.
    pub key: [u8; 32],
    /// Data in each frame but the last.
    pub frame: u16,
}

impl Begin {
    /// What the payload is.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(&self.magic)
    }
}

/// How a verification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The proof is accepted.
    Accepted,
    /// The proof is rejected.
    Rejected,
    /// The device does not judge such a proof.
    Refused,
    /// The transfer or the device has failed: nothing is known of the proof.
    Failed,
}

/// What a device decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless accepted.
    pub reason: Reason,
    /// What an accepted proof is of, see [`statement::digest`]; zero otherwise.
    pub statement: [u8; 32],
    /// What it took.
    pub counters: Counters,
}

/// What a verification took, as far as it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Milliseconds from begin to verdict, transfer included.
    pub millis: u32,
    /// Milliseconds of waiting for the line.
    pub waited: u32,
    /// Questions of the device that had to be repeated.
    pub repeated: u32,
    /// Bytes from the line that were no part of a frame.
    pub skipped: u32,
    /// Greatest number of bytes allocated at a time.
    pub heap: Option<u32>,
    /// Greatest depth of the stack, in bytes.
    pub stack: Option<u32>,
    /// Instructions, those of the line not included.
    pub instructions: Option<u64>,
}

impl Verdict {
    /// A verdict without a statement.
    pub fn without(outcome: Outcome, reason: impl core::fmt::Display) -> Self {
        Self { outcome, reason: Reason::new(reason), statement: [0; 32], counters: Counters::default() }
    }

    /// What the verifier says, as a verdict.
    pub fn of(result: Result<Proven, Reject>) -> Self {
        match result {
            Ok(proven) => Self {
                statement: statement::digest(&proven),
                ..Self::without(Outcome::Accepted, "the proof is valid")
            },
            Err(Reject::Unread) => Self::without(Outcome::Failed, Reject::Unread),
            Err(reject) => Self::without(Outcome::Rejected, reject),
        }
    }
}

/// A sentence of bounded length: what is too long is cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Reason {
    /// The most bytes.
    pub const LONGEST: usize = 240;

    /// What is displayed.
    pub fn new(text: impl core::fmt::Display) -> Self {
        let mut reason = Self { bytes: [0; Self::LONGEST], length: 0 };
        // Only what does not fit fails, and is left out.
        let _ = core::fmt::Write::write_fmt(&mut reason, format_args!("{text}"));
        reason
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl core::fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let fits = cut(text, Self::LONGEST - self.length);
        if let Some(slots) = self.bytes.get_mut(self.length..self.length + fits.len()) {
            slots.copy_from_slice(fits.as_bytes());
            self.length += fits.len();
        }
        if fits.len() == text.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer).map(Self::new)
    }
}

/// The beginning of a text, of at most so many bytes.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Writes a message into the data of a frame.
pub fn write<'a>(message: &impl Serialize, out: &'a mut [u8; DATA]) -> &'a [u8] {
    // Every message is short by its type, but for names, which are cut.
    postcard::to_slice(message, out).map_or(&[], |bytes| bytes)
}

/// Reads a message. What follows it belongs to later versions.
pub fn read<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(data).ok().map(|(message, _)| message)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let mut out = [0; DATA];
        let verdict = Verdict {
            statement: [7; 32],
            counters: Counters { heap: Some(5), instructions: Some(u64::MAX), ..Counters::default() },
            ..Verdict::without(Outcome::Rejected, "ü".repeat(200))
        };
        assert_eq!(verdict.reason.as_str(), "ü".repeat(120));
        assert_eq!(read(write(&verdict, &mut out)), Some(verdict));
        let key = Some(AboutKey { digest: [3; 32], name: "name" });
        let about =
            About { protocol: 1, version: 2, frame: 1024, memory: 1 << 20, board: "board", keys: 3, key };
        assert_eq!(read(write(&about, &mut out)), Some(about));
        assert_eq!(read::<About>(&[1, 2, 3]), None);
        assert_eq!(read::<Verdict>(&[0xff; 300]), None);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("é", 1), "");
        assert_eq!(Reason::new(format_args!("{}{}", "x".repeat(239), "éa")).as_str(), "x".repeat(239));
    }
}
