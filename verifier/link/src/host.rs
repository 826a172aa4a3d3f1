//! The side that sends, as a state machine: it is given bytes and times, and says what to send.

use circlet_core::file::Kind;
use circlet_core::key::VERSION;

use crate::PROTOCOL;
use crate::device::ANYONE;
use crate::frame::{DATA, Decoder, Frame, FrameKind};
use crate::message::{self, About, Begin, Outcome, Reason, Verdict};

/// How often a device may begin again before it is given up.
const RESTARTS: u32 = 3;
/// How often it may ask for what it had before it is given up.
const REPEATS: u32 = 64;

/// What is to be judged, and by which key.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// What the payload is.
    pub kind: Kind,
    /// What follows the header of the file.
    pub payload: &'a [u8],
    /// Its digest.
    pub digest: [u8; 32],
    /// The digest of the key.
    pub key: [u8; 32],
}

/// How long a device may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Milliseconds between questions to a device that has said nothing yet.
    pub greeting: u32,
    /// How many of these.
    pub greetings: u32,
    /// Milliseconds after which a device that is at work is asked whether it is still there.
    pub working: u32,
    /// How many questions in a row it may leave without an answer.
    pub unanswered: u32,
}

impl Default for Patience {
    /// Ten seconds for the first answer, five minutes for any computation between two frames.
    fn default() -> Self {
        Self { greeting: 1000, greetings: 10, working: 5000, unanswered: 60 }
    }
}

/// What is to be done next.
#[derive(Debug)]
pub enum Action<'s> {
    /// Send this.
    Send(Frame<'s>),
    /// Wait for bytes, but not for long.
    Wait,
    /// The device has decided. The last frame has been sent.
    Done(&'s Verdict),
    /// There will be no verdict.
    Gone(Gone),
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The device has never said anything.
    #[error(
        "the device does not answer; check the port, the speed and that it is not at work for someone else"
    )]
    Unanswered,
    /// The device has said nothing for long.
    #[error("the device has fallen silent; reset it and send again")]
    Silent,
    /// The device speaks another version of the protocol.
    #[error(
        "the device speaks version {0} of the link, this program version {PROTOCOL}; use firmware of this version"
    )]
    Protocol(u8),
    /// The device is for other proofs.
    #[error(
        "the device verifies proofs of version {0}, this is one of version {VERSION}; use firmware of this version"
    )]
    Version(u16),
    /// The device has no such key.
    #[error("the device does not hold the key that the proof is for; build its firmware with that key")]
    Key,
    /// The device begins again and again.
    #[error("the device keeps starting again; check its supply and memory")]
    Restarts,
    /// The device asks for the same over and over.
    #[error("the device does not get what is sent to it; check the line and the speed")]
    Repeats,
    /// The device says what makes no sense.
    #[error("the device asks for what it cannot want")]
    Nonsense,
}

/// What a device has said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// What it runs on.
    pub name: Reason,
    /// Bytes of memory that verification may use.
    pub memory: u32,
    /// How many keys it holds.
    pub keys: u8,
    /// The name of the model, as the device has it.
    pub model: Reason,
}

enum Phase {
    /// Looking for the key, in this place.
    Hello(u32),
    /// Waiting for the first question.
    Begin,
    /// Answering questions.
    Sending,
    /// There is a verdict.
    Done,
    Gone(Gone),
}

/// What is to be sent.
#[derive(Clone, Copy)]
enum Todo {
    /// The question again.
    Ask,
    Data(u32),
    End,
}

/// A host with something to judge.
pub struct Sender<'a> {
    transfer: Transfer<'a>,
    session: u32,
    patience: Patience,
    decoder: Decoder,
    phase: Phase,
    board: Option<Board>,
    verdict: Option<Verdict>,
    todo: Option<Todo>,
    /// Data in a frame.
    frame: usize,
    /// When something was last sent or heard.
    last: Option<u32>,
    /// Questions since something was heard.
    asked: u32,
    /// The highest frame that was asked for.
    mark: Option<u32>,
    restarts: u32,
    repeats: u32,
    message: [u8; DATA],
}

impl<'a> Sender<'a> {
    /// A transfer. `session` should differ from that of the transfers before.
    pub fn new(transfer: Transfer<'a>, session: u32, patience: Patience) -> Self {
        Self {
            transfer,
            session: if session == ANYONE { !ANYONE } else { session },
            patience,
            decoder: Decoder::default(),
            phase: Phase::Hello(0),
            board: None,
            verdict: None,
            todo: Some(Todo::Ask),
            frame: DATA,
            last: None,
            asked: 0,
            mark: None,
            restarts: 0,
            repeats: 0,
            message: [0; DATA],
        }
    }

    /// What the device has said of itself, once it has the key.
    pub fn board(&self) -> Option<&Board> {
        self.board.as_ref()
    }

    /// Bytes of the payload that the device has, as far as one knows.
    pub fn delivered(&self) -> usize {
        match self.phase {
            Phase::Done => self.transfer.payload.len(),
            _ => self.mark.map_or(0, |mark| mark as usize * self.frame),
        }
    }

    /// Takes bytes from the line.
    pub fn hear(&mut self, bytes: &[u8], now: u32) {
        for &byte in bytes {
            self.decoder.push(byte);
            self.follow(now, false);
        }
    }

    /// What to do now. Ask again after everything but the end.
    pub fn act(&mut self, now: u32) -> Action<'_> {
        let last = *self.last.get_or_insert(now);
        let started = !matches!(self.phase, Phase::Hello(_));
        let (wait, most) = if started {
            (self.patience.working, self.patience.unanswered)
        } else {
            (self.patience.greeting, self.patience.greetings)
        };
        if self.todo.is_none() && now.wrapping_sub(last) >= wait {
            self.follow(now, true);
            if self.todo.is_none() {
                self.todo = Some(Todo::Ask);
            }
        }
        match (self.todo.take(), &self.phase) {
            (Some(Todo::End), _) => {
                Action::Send(Frame { kind: FrameKind::End, session: self.session, number: 0, data: &[] })
            }
            (_, Phase::Done) => self.verdict.as_ref().map_or(Action::Wait, Action::Done),
            (_, &Phase::Gone(why)) => Action::Gone(why),
            (None, _) => Action::Wait,
            (Some(Todo::Data(number)), _) => {
                self.last = Some(now);
                let data = self.transfer.payload.chunks(self.frame).nth(number as usize).unwrap_or_default();
                Action::Send(Frame { kind: FrameKind::Data, session: self.session, number, data })
            }
            (Some(Todo::Ask), _) => {
                self.last = Some(now);
                self.asked += 1;
                if self.asked > most {
                    let why = if started { Gone::Silent } else { Gone::Unanswered };
                    self.phase = Phase::Gone(why);
                    return Action::Gone(why);
                }
                self.question()
            }
        }
    }

    /// What the device should answer.
    fn question(&mut self) -> Action<'_> {
        let session = self.session;
        if let Phase::Hello(number) = self.phase {
            return Action::Send(Frame { kind: FrameKind::Hello, session, number, data: &[] });
        }
        let begin = Begin {
            protocol: PROTOCOL,
            magic: *self.transfer.kind.magic(),
            version: VERSION,
            payload: self.transfer.digest,
            length: self.transfer.payload.len().try_into().unwrap_or(u32::MAX),
            key: self.transfer.key,
            frame: self.frame as u16,
        };
        let data = message::write(&begin, &mut self.message);
        Action::Send(Frame { kind: FrameKind::Begin, session, number: 0, data })
    }

    /// Acts on the frames that have come.
    fn follow(&mut self, now: u32, silence: bool) {
        loop {
            let frame = if silence { self.decoder.frame_after_silence() } else { self.decoder.frame() };
            let Some(Frame { kind, session, number, .. }) = frame else { return };
            let mine = session == self.session;
            let before = matches!(self.phase, Phase::Done | Phase::Gone(_));
            let understood = match kind {
                _ if before => false,
                FrameKind::About if mine => self.meet(number),
                FrameKind::Want if mine => self.wanted(number),
                FrameKind::Verdict if mine || session == ANYONE => self.settle(mine),
                _ => false,
            };
            if understood {
                self.last = Some(now);
                self.asked = 0;
            }
        }
    }

    /// The device says what it is.
    fn meet(&mut self, number: u32) -> bool {
        let Phase::Hello(place) = self.phase else { return false };
        let Some(about) = message::read::<About<'_>>(self.decoder.data()).filter(|_| number == place) else {
            return false;
        };
        let held = about.key.as_ref().filter(|key| key.digest == self.transfer.key);
        self.phase = if about.protocol != PROTOCOL {
            Phase::Gone(Gone::Protocol(about.protocol))
        } else if about.version != VERSION {
            Phase::Gone(Gone::Version(about.version))
        } else if about.frame == 0 {
            Phase::Gone(Gone::Nonsense)
        } else if let Some(key) = held {
            self.frame = DATA.min(about.frame.into());
            self.board = Some(Board {
                name: Reason::new(about.board),
                memory: about.memory,
                keys: about.keys,
                model: Reason::new(key.name),
            });
            Phase::Begin
        } else if place + 1 < about.keys.into() {
            Phase::Hello(place + 1)
        } else {
            Phase::Gone(Gone::Key)
        };
        self.todo = Some(Todo::Ask);
        true
    }

    /// The device asks for a frame.
    fn wanted(&mut self, number: u32) -> bool {
        if matches!(self.phase, Phase::Hello(_)) {
            return false;
        }
        self.phase = Phase::Sending;
        self.todo = Some(Todo::Data(number));
        let why = if number as usize >= self.transfer.payload.len().div_ceil(self.frame) {
            Some(Gone::Nonsense)
        } else if self.mark.is_none_or(|mark| number > mark) {
            self.repeats = 0;
            None
        } else if number == 0 && self.mark != Some(0) {
            self.restarts += 1;
            (self.restarts > RESTARTS).then_some(Gone::Restarts)
        } else {
            self.repeats += 1;
            (self.repeats > REPEATS).then_some(Gone::Repeats)
        };
        if number == 0 || self.mark.is_none_or(|mark| number > mark) {
            self.mark = Some(number);
        }
        if let Some(why) = why {
            self.phase = Phase::Gone(why);
            self.todo = None;
        }
        true
    }

    /// The device has decided, or stops.
    fn settle(&mut self, mine: bool) -> bool {
        let Some(verdict) = message::read::<Verdict>(self.decoder.data()) else { return false };
        if !mine && verdict.outcome != Outcome::Failed {
            return false;
        }
        self.verdict = Some(verdict);
        self.phase = Phase::Done;
        self.todo = Some(Todo::End);
        true
    }
}
