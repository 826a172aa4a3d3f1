//! A host, a device and the line between them in one thread, with a clock that moves when someone waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use circlet_core::file::Kind;
use circlet_core::hash::blake2s;
use circlet_link::line::SILENCE;
use circlet_link::{Action, Clock, Device, Frame, Gone, Held, Line, Outcome, Patience, Request, Sender};
use circlet_link::{Transfer, Verdict};
use circlet_verifier::Source;
use embedded_io::{ErrorType, Read, ReadReady, Write};

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToDevice,
    ToHost,
}

/// What the line does to a frame, by its way and its number on it.
pub type Fault<'a> = Box<dyn FnMut(Way, usize, Vec<u8>) -> Vec<u8> + 'a>;

/// How it ended for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done(Box<Verdict>),
    Gone(Gone),
}

impl End {
    pub fn is(&self, outcome: Outcome) -> bool {
        matches!(self, Self::Done(verdict) if verdict.outcome == outcome)
    }
}

pub struct Inner<'a> {
    pub now: u32,
    pub host: Option<Sender<'a>>,
    pub end: Option<End>,
    to_device: VecDeque<u8>,
    to_host: VecDeque<u8>,
    /// Bytes that the device has taken.
    taken: usize,
    /// What the device has written of a frame.
    written: Vec<u8>,
    fault: Fault<'a>,
    /// Frames so far, each way.
    pub frames: [usize; 2],
    /// Bytes that a device which does not listen keeps.
    pub kept: usize,
    /// Whether the device hears nothing and says nothing.
    pub dead: bool,
}

/// All of it.
#[derive(Clone)]
pub struct World<'a>(pub Rc<RefCell<Inner<'a>>>);

/// The key that devices here hold, among others.
pub const KEY: [u8; 32] = [7; 32];

/// The keys that they hold.
pub const KEYS: [Held<'static>; 3] = [
    Held { digest: [1; 32], name: "one" },
    Held { digest: [2; 32], name: "two" },
    Held { digest: KEY, name: "three" },
];

pub fn transfer(payload: &[u8]) -> Transfer<'_> {
    Transfer { kind: Kind::Proof, payload, digest: blake2s::hash(blake2s::DIGEST, payload), key: KEY }
}

pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 7) ^ (i >> 13)) as u8).collect()
}

impl<'a> World<'a> {
    pub fn new(fault: impl FnMut(Way, usize, Vec<u8>) -> Vec<u8> + 'a) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            // The clock passes its end on the way.
            now: u32::MAX - 700,
            host: None,
            end: None,
            to_device: VecDeque::new(),
            to_host: VecDeque::new(),
            taken: 0,
            written: Vec::new(),
            fault: Box::new(fault),
            frames: [0; 2],
            kept: usize::MAX,
            dead: false,
        })))
    }

    /// A line on which nothing goes wrong.
    pub fn calm() -> Self {
        Self::new(|_, _, frame| frame)
    }

    /// Puts a host at its end of the line.
    pub fn host(&self, transfer: Transfer<'a>, session: u32) {
        let mut inner = self.0.borrow_mut();
        inner.to_host.clear();
        inner.end = None;
        inner.host = Some(Sender::new(transfer, session, Patience::default()));
    }

    pub fn device(&self) -> Device<'static, Port<'a>, Port<'a>> {
        let port = || Port(self.clone());
        Device::new(Line::new(port(), port()), "simulated", 1 << 16, &KEYS)
    }

    /// Runs a device until the host has an end, and some more.
    pub fn run(&self, judge: &mut dyn FnMut(Request, &mut dyn Source) -> Verdict) -> End {
        let mut device = self.device();
        // Every call waits for a silence at least, or takes a request: a host gives up before.
        for _ in 0..10_000 {
            device.serve(judge);
            if let Some(end) = self.0.borrow().end.clone() {
                return end;
            }
        }
        panic!("the host hangs");
    }

    /// Puts bytes on the line to the device, past all faults.
    pub fn inject(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_device.extend(bytes);
    }

    /// What the device has said since the last time.
    pub fn told(&self) -> Vec<u8> {
        self.0.borrow_mut().to_host.drain(..).collect()
    }

    /// Time passes, and the device does not listen.
    pub fn compute(&self, millis: u32) {
        let mut inner = self.0.borrow_mut();
        for _ in 0..millis {
            inner.now = inner.now.wrapping_add(1);
            inner.run_host();
            let lost = inner.to_device.len().saturating_sub(inner.kept);
            inner.to_device.drain(..lost);
        }
    }
}

impl Inner<'_> {
    fn carry(&mut self, way: Way, frame: Vec<u8>) {
        let index = self.frames[way as usize];
        self.frames[way as usize] += 1;
        let frame = (self.fault)(way, index, frame);
        match way {
            Way::ToDevice => self.to_device.extend(frame),
            Way::ToHost => self.to_host.extend(frame),
        }
    }

    fn run_host(&mut self) {
        let Some(mut host) = self.host.take() else { return };
        let bytes: Vec<u8> = self.to_host.drain(..).collect();
        host.hear(&bytes, self.now);
        let end = loop {
            match host.act(self.now) {
                Action::Send(frame) => {
                    let frame = bytes_of(&frame);
                    self.carry(Way::ToDevice, frame);
                }
                Action::Wait => break None,
                Action::Done(verdict) => break Some(End::Done(Box::new(verdict.clone()))),
                Action::Gone(why) => break Some(End::Gone(why)),
            }
        };
        match end {
            None => self.host = Some(host),
            end => self.end = end,
        }
    }
}

pub fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let (head, data, tail) = frame.parts().unwrap();
    [&head, data, &tail].concat()
}

/// The device's port and clock.
pub struct Port<'a>(World<'a>);

impl ErrorType for Port<'_> {
    type Error = Infallible;
}

impl ReadReady for Port<'_> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let mut inner = self.0.0.borrow_mut();
        inner.run_host();
        if inner.dead {
            inner.to_device.clear();
        }
        Ok(!inner.to_device.is_empty())
    }
}

impl Read for Port<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        let mut inner = self.0.0.borrow_mut();
        let byte = inner.to_device.pop_front();
        // Some hundred thousand bits a second.
        inner.taken += 1;
        inner.now = inner.now.wrapping_add(u32::from(inner.taken.is_multiple_of(11)));
        out[0] = byte.expect("a device reads what is ready");
        Ok(1)
    }
}

impl Write for Port<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.0.borrow_mut().written.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        let mut inner = self.0.0.borrow_mut();
        let frame = std::mem::take(&mut inner.written);
        if !inner.dead {
            inner.carry(Way::ToHost, frame);
        }
        Ok(())
    }
}

impl Clock for Port<'_> {
    fn millis(&mut self) -> u32 {
        let mut inner = self.0.0.borrow_mut();
        // A silence is a hundred looks at an empty line.
        if inner.to_device.is_empty() {
            inner.now = inner.now.wrapping_add(SILENCE / 100);
        }
        inner.now
    }
}

/// Reads everything in pieces of changing length, and accepts exactly `good`.
pub fn judge(good: &[u8]) -> impl FnMut(Request, &mut dyn Source) -> Verdict + '_ {
    move |request, source| {
        assert_eq!((request.place, request.kind), (2, Kind::Proof));
        let mut all = vec![0; request.length as usize];
        let mut rest = all.as_mut_slice();
        for step in [1, 32, 5, 1500, 4, 700].into_iter().cycle() {
            let (piece, later) = rest.split_at_mut(step.min(rest.len()));
            if source.read(piece).is_err() {
                return Verdict::without(Outcome::Failed, "unread");
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(source.is_at_end(), Ok(true));
        let mut verdict = Verdict::without(
            if all == good { Outcome::Accepted } else { Outcome::Rejected },
            "so it was decided",
        );
        verdict.statement = blake2s::hash(blake2s::DIGEST, &all);
        verdict
    }
}
