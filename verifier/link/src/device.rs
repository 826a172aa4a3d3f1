//! The side that verifies.

use core::ops::Range;

use circlet_core::file::Kind;
use circlet_core::key::VERSION;
use circlet_verifier::{ReadError, Source};
use embedded_io::{Read, ReadReady, Write};

use crate::PROTOCOL;
use crate::frame::{DATA, Frame, FrameKind};
use crate::line::{Clock, Line};
use crate::message::{self, About, AboutKey, Begin, Outcome, Verdict, cut};

/// How often the next frame is asked for, [`crate::line::SILENCE`] apart, before the host is taken to be gone.
const TRIES: u32 = 60;
/// How many frames in a row may be something else.
const OTHERS: u32 = 1000;
/// How often a verdict is sent before the host is taken to be gone.
const ANSWERS: u32 = 8;
/// The longest name that is told, in bytes.
const NAME: usize = 200;

/// A key that the device holds.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Its digest.
    pub digest: [u8; 32],
    /// The name of its model.
    pub name: &'a str,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The place of the key among those that the device holds.
    pub place: usize,
    /// What the payload is.
    pub kind: Kind,
    /// Bytes of the payload.
    pub length: u32,
}

/// A device with its line and the digests of its keys.
#[derive(Debug)]
pub struct Device<'a, P, C> {
    line: Line<P, C>,
    board: &'a str,
    memory: u32,
    keys: &'a [Held<'a>],
    /// What a host asks for, while something else is not yet over.
    next: Option<(u32, Begin)>,
    /// The last session and its verdict, which may have to be told again.
    last: Option<(u32, Verdict)>,
}

/// Why something is not judged.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the device speaks version {PROTOCOL} of the link, not version {0}")]
    Protocol(u8),
    #[error("the device verifies proofs of version {VERSION}, not of version {0}")]
    Version(u16),
    #[error("the device knows no such files, or none of this length")]
    Payload,
    #[error("the device does not hold this key")]
    Key,
}

/// What was heard, but for questions that are answered at once.
enum Heard {
    Begin(u32, Begin),
    /// A frame of a payload; its data is still in the decoder.
    Data {
        session: u32,
        number: u32,
    },
    End(u32),
    Other,
    Nothing,
}

impl<'a, P: Read + ReadReady + Write, C: Clock> Device<'a, P, C> {
    /// A device. `memory` is what verification may use.
    pub fn new(line: Line<P, C>, board: &'a str, memory: u32, keys: &'a [Held<'a>]) -> Self {
        Self { line, board, memory, keys, next: None, last: None }
    }

    /// Waits for a proof, has it judged and tells the verdict. Says whether there was one; without one it comes back
    /// after a moment.
    pub fn serve(&mut self, judge: &mut dyn FnMut(Request, &mut dyn Source) -> Verdict) -> bool {
        let Some((session, begin)) = self.wait() else { return false };
        let request = match self.request(&begin) {
            Ok(request) => request,
            Err(refused) => {
                self.answer(session, Verdict::without(Outcome::Refused, refused));
                return true;
            }
        };
        let (start, skipped) = (self.line.millis(), self.line.decoder().skipped());
        let mut transfer = Incoming::new(self, session, begin);
        let mut verdict = judge(request, &mut transfer);
        let Incoming { session, left, waited, repeated, .. } = transfer;
        verdict.counters.waited = waited;
        verdict.counters.repeated = repeated;
        verdict.counters.millis = self.line.millis().wrapping_sub(start);
        verdict.counters.skipped = self.line.decoder().skipped().wrapping_sub(skipped);
        if !left {
            self.answer(session, verdict);
        }
        true
    }

    /// The next thing to judge.
    fn wait(&mut self) -> Option<(u32, Begin)> {
        if self.next.is_some() {
            return self.next.take();
        }
        let Heard::Begin(session, begin) = self.listen() else { return None };
        if let Some((_, verdict)) = self.last.as_ref().filter(|(last, _)| *last == session) {
            tell(&mut self.line, session, verdict);
            return None;
        }
        Some((session, begin))
    }

    /// What a host asks for, or why that is not done here.
    fn request(&self, begin: &Begin) -> Result<Request, Refused> {
        if begin.protocol != PROTOCOL {
            return Err(Refused::Protocol(begin.protocol));
        }
        if begin.version != VERSION {
            return Err(Refused::Version(begin.version));
        }
        let kind = begin.kind().filter(|kind| u64::from(begin.length) <= kind.limit());
        let framed = (1..=DATA).contains(&begin.frame.into());
        let kind = kind.filter(|_| framed).ok_or(Refused::Payload)?;
        let place = self.keys.iter().position(|key| key.digest == begin.key).ok_or(Refused::Key)?;
        Ok(Request { place, kind, length: begin.length })
    }

    /// Tells the verdict until the host says that it has it.
    fn answer(&mut self, session: u32, verdict: Verdict) {
        for _ in 0..ANSWERS {
            tell(&mut self.line, session, &verdict);
            match self.listen() {
                Heard::End(ended) if ended == session => break,
                Heard::Begin(other, begin) if other != session => {
                    self.next = Some((other, begin));
                    break;
                }
                _ => {}
            }
        }
        self.last = Some((session, verdict));
    }

    fn listen(&mut self) -> Heard {
        let Some(frame) = self.line.hear() else { return Heard::Nothing };
        let (session, number) = (frame.session, frame.number);
        match frame.kind {
            FrameKind::Hello => {
                self.introduce(session, number);
                Heard::Other
            }
            FrameKind::Begin => {
                message::read(frame.data).map_or(Heard::Other, |begin| Heard::Begin(session, begin))
            }
            FrameKind::Data => Heard::Data { session, number },
            FrameKind::End => Heard::End(session),
            FrameKind::About | FrameKind::Want | FrameKind::Verdict => Heard::Other,
        }
    }

    /// Says what the device is, and which key it holds in a place.
    fn introduce(&mut self, session: u32, place: u32) {
        let key = usize::try_from(place).ok().and_then(|place| self.keys.get(place));
        let about = About {
            protocol: PROTOCOL,
            version: VERSION,
            frame: DATA as u16,
            memory: self.memory,
            board: cut(self.board, NAME),
            keys: self.keys.len().try_into().unwrap_or(u8::MAX),
            key: key.map(|key| AboutKey { digest: key.digest, name: cut(key.name, NAME) }),
        };
        let mut data = [0; DATA];
        let data = message::write(&about, &mut data);
        self.line.send(&Frame { kind: FrameKind::About, session, number: place, data });
    }
}

fn tell<P: Read + ReadReady + Write, C: Clock>(line: &mut Line<P, C>, session: u32, verdict: &Verdict) {
    let mut data = [0; DATA];
    let data = message::write(verdict, &mut data);
    line.send(&Frame { kind: FrameKind::Verdict, session, number: 0, data });
}

/// The session of what a device says to whoever listens: no host chooses it.
pub const ANYONE: u32 = 0;

/// The last words of a device that stops: a verdict for whoever listens, in pieces.
pub fn last_words(reason: impl core::fmt::Display, mut write: impl FnMut(&[u8])) {
    let mut data = [0; DATA];
    let verdict = Verdict::without(Outcome::Failed, reason);
    let data = message::write(&verdict, &mut data);
    let frame = Frame { kind: FrameKind::Verdict, session: ANYONE, number: 0, data };
    if let Some((head, data, tail)) = frame.parts() {
        write(&head);
        write(data);
        write(&tail);
    }
}

/// A payload that is asked for frame by frame.
struct Incoming<'d, 'a, P, C> {
    device: &'d mut Device<'a, P, C>,
    session: u32,
    begin: Begin,
    /// The frame to ask for.
    number: u32,
    /// Bytes that were read.
    read: u32,
    /// What of the last frame was not.
    here: Range<usize>,
    /// Whether no more can be read.
    failed: bool,
    /// Whether nobody waits for the verdict.
    left: bool,
    waited: u32,
    repeated: u32,
}

impl<'d, 'a, P: Read + ReadReady + Write, C: Clock> Incoming<'d, 'a, P, C> {
    fn new(device: &'d mut Device<'a, P, C>, session: u32, begin: Begin) -> Self {
        Self {
            device,
            session,
            begin,
            number: 0,
            read: 0,
            here: 0..0,
            failed: false,
            left: false,
            waited: 0,
            repeated: 0,
        }
    }

    fn rest(&self) -> u32 {
        self.begin.length.saturating_sub(self.read)
    }

    fn ask(&mut self) {
        let frame = Frame { kind: FrameKind::Want, session: self.session, number: self.number, data: &[] };
        self.device.line.send(&frame);
    }

    /// Gets the next frame.
    fn fetch(&mut self) -> Result<(), ReadError> {
        let length = self.rest().min(self.begin.frame.into()) as usize;
        let mut silences = 0;
        self.ask();
        for _ in 0..OTHERS {
            match self.device.listen() {
                Heard::Data { session, number }
                    if (session, number) == (self.session, self.number)
                        && self.device.line.decoder().data().len() == length =>
                {
                    self.number += 1;
                    self.here = 0..length;
                    return Ok(());
                }
                // The same once more: whether the device is there. It asks again after a silence.
                Heard::Begin(session, begin) if session == self.session && begin == self.begin => {}
                // The same from a host that has lost its connection and comes again.
                Heard::Begin(session, begin) if begin == self.begin => {
                    self.session = session;
                    self.ask();
                }
                Heard::Begin(session, begin) => {
                    self.device.next = Some((session, begin));
                    self.left = true;
                    break;
                }
                Heard::End(session) if session == self.session => {
                    self.left = true;
                    break;
                }
                Heard::Nothing if silences == TRIES => break,
                Heard::Nothing => {
                    silences += 1;
                    self.repeated += 1;
                    self.ask();
                }
                Heard::Data { .. } | Heard::End(_) | Heard::Other => {}
            }
        }
        self.failed = true;
        Err(ReadError::Failed)
    }
}

impl<P: Read + ReadReady + Write, C: Clock> Source for Incoming<'_, '_, P, C> {
    fn read(&mut self, mut out: &mut [u8]) -> Result<(), ReadError> {
        if self.failed {
            return Err(ReadError::Failed);
        }
        if out.len() as u64 > self.rest().into() {
            return Err(ReadError::End);
        }
        while !out.is_empty() {
            if self.here.is_empty() {
                let start = self.device.line.millis();
                let fetched = self.fetch();
                self.waited = self.waited.wrapping_add(self.device.line.millis().wrapping_sub(start));
                fetched?;
            }
            let data = self.device.line.decoder().data().get(self.here.clone()).unwrap_or_default();
            let count = data.len().min(out.len());
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(data.get(..count).unwrap_or_default());
            self.here.start += count;
            self.read += count as u32;
            out = later;
        }
        Ok(())
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        if self.failed { Err(ReadError::Failed) } else { Ok(self.rest() == 0) }
    }
}
