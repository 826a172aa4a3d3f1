//! The decoder, a device and a host that hear anything.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use circlet_core::hash::blake2s;
use circlet_link::device::ANYONE;
use circlet_link::frame::{DATA, HEAD, LONGEST};
use circlet_link::line::SILENCE;
use circlet_link::message::{self, About, Begin};
use circlet_link::{
    Action, Clock, Decoder, Device, Frame, FrameKind, Line, Outcome, Patience, Sender, Verdict,
};
use embedded_io::{ErrorType, Read, ReadReady, Write};

use super::line::{Found, PAYLOAD, Piece, anywhere, in_order, segments};
use super::world::{KEYS, payload, transfer};

/// The host's.
const SESSION: u32 = 5;

/// What the decoder finds is what a naive reader finds, and the rest was skipped.
pub fn decoder(pieces: &[Piece]) {
    let mut decoder = Decoder::default();
    let (mut skipped, mut total) = (0, 0);
    for segment in segments(pieces) {
        let mut found: Vec<Found> = Vec::new();
        for &byte in &segment {
            decoder.push(byte);
            while let Some(frame) = decoder.frame() {
                found.push(frame.into());
            }
        }
        while let Some(frame) = decoder.frame_after_silence() {
            found.push(frame.into());
        }
        assert_eq!(found, in_order(&segment));
        total += segment.len();
        skipped += segment.len() - found.iter().map(|found| found.bytes().len()).sum::<usize>();
        assert_eq!(decoder.skipped() as usize, skipped, "of {total} bytes");
    }
}

/// A line of which a device hears a segment after the other, with silences between them.
struct Tape {
    segments: VecDeque<VecDeque<u8>>,
    now: u32,
    quiet: u32,
    said: Vec<u8>,
}

struct Port(Rc<RefCell<Tape>>);

impl ErrorType for Port {
    type Error = Infallible;
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.borrow().segments.front().is_some_and(|segment| !segment.is_empty()))
    }
}

impl Read for Port {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        let mut tape = self.0.borrow_mut();
        let byte = tape.segments.front_mut().and_then(VecDeque::pop_front);
        out[0] = byte.expect("a device reads what is ready");
        Ok(1)
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().said.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Clock for Port {
    fn millis(&mut self) -> u32 {
        /// Milliseconds for a look at an empty line.
        const LOOK: u32 = SILENCE / 20;
        let mut tape = self.0.borrow_mut();
        if tape.segments.front().is_none_or(VecDeque::is_empty) {
            tape.now = tape.now.wrapping_add(LOOK);
            tape.quiet += LOOK;
            if tape.quiet > SILENCE + LOOK {
                tape.segments.pop_front();
                tape.quiet = 0;
            }
        }
        tape.now
    }
}

/// A device says frames alone, hands on the data of frames, and accepts what its verifier accepts.
pub fn device(pieces: &[Piece]) {
    let segments = segments(pieces);
    // A device may see no silence where it is busy with one.
    let all = segments.concat();
    let heard = anywhere(&all);
    let of = |kind: FrameKind| heard.iter().filter(move |found| found.kind == kind as u8);
    let sizes: Vec<usize> = of(FrameKind::Begin)
        .filter_map(|found| message::read::<Begin>(&found.data))
        .map(|begin| begin.frame.into())
        .filter(|size| (1..=DATA).contains(size))
        .collect();
    let told = |number: usize, data: &[u8]| {
        of(FrameKind::Data).any(|found| found.number as usize == number && found.data == data)
    };

    let tape = Rc::new(RefCell::new(Tape {
        segments: segments.into_iter().map(VecDeque::from).collect(),
        now: u32::MAX - 3000,
        quiet: 0,
        said: Vec::new(),
    }));
    let port = || Port(Rc::clone(&tape));
    let mut device = Device::new(Line::new(port(), port()), "simulated", 1 << 16, &KEYS);
    let mut accepted = Vec::new();
    let mut serves = 0;
    loop {
        let served = device.serve(&mut |request, source| {
            assert!(request.place < KEYS.len() && u64::from(request.length) <= request.kind.limit());
            let Some(all) = super::read(request, source) else {
                return Verdict::without(Outcome::Failed, "unread");
            };
            let framed =
                |&size: &usize| all.chunks(size).enumerate().all(|(number, data)| told(number, data));
            assert!(sizes.iter().any(framed), "nobody has sent {all:?}");
            let statement = blake2s::hash(blake2s::DIGEST, &all);
            accepted.push(statement);
            Verdict { statement, ..Verdict::without(Outcome::Accepted, "read") }
        });
        serves += 1;
        assert!(serves < 10_000, "the device hangs");
        if !served && tape.borrow().segments.is_empty() {
            break;
        }
    }

    let said = &tape.borrow().said;
    let frames = in_order(said);
    assert_eq!(&frames.iter().flat_map(Found::bytes).collect::<Vec<_>>(), said, "only frames");
    for frame in frames {
        let kinds = [FrameKind::About, FrameKind::Want, FrameKind::Verdict];
        assert!(kinds.iter().any(|&kind| frame.kind == kind as u8), "{frame:?}");
        if frame.kind == FrameKind::Verdict as u8 {
            let verdict: Verdict = message::read(&frame.data).expect("a verdict");
            assert!(verdict.outcome != Outcome::Accepted || accepted.contains(&verdict.statement));
        }
    }
}

/// A host says frames of its transfer alone, comes to an end, and to a verdict only if one was told.
pub fn host(pieces: &[Piece]) {
    let payload = payload(PAYLOAD);
    let mut sender = Sender::new(transfer(&payload), SESSION, Patience::default());
    let mut log = Vec::new();
    let mut now = u32::MAX - 3000;
    for piece in pieces {
        if let Some(bytes) = piece.bytes() {
            // Several at a time, as a port gives them.
            for bytes in bytes.chunks(200) {
                log.extend(bytes);
                sender.hear(bytes, now);
                if act(&mut sender, now, &payload, &log) {
                    return;
                }
            }
            now = now.wrapping_add(10);
        } else {
            now = now.wrapping_add(6000);
        }
        if act(&mut sender, now, &payload, &log) {
            return;
        }
    }
    // What is no frame may hide some that come to light one after the other, as silences pass; each is an answer, after which the
    // host is as patient as before.
    let patience = Patience::default();
    let hidden = LONGEST / HEAD;
    for _ in 0..=(1 + hidden as u32) * (1 + patience.unanswered.max(patience.greetings)) {
        now = now.wrapping_add(patience.working);
        if act(&mut sender, now, &payload, &log) {
            return;
        }
    }
    panic!("the host hangs");
}

/// Whether the host is done after all that it does now.
fn act(sender: &mut Sender<'_>, now: u32, payload: &[u8], log: &[u8]) -> bool {
    for _ in 0..3 {
        match sender.act(now) {
            Action::Send(frame) => says(&frame, payload, log),
            Action::Wait => return false,
            Action::Gone(_) => return true,
            Action::Done(verdict) => {
                let told = |found: &Found| {
                    found.kind == FrameKind::Verdict as u8
                        && message::read::<Verdict>(&found.data).as_ref() == Some(verdict)
                        && (found.session == SESSION
                            || found.session == ANYONE && verdict.outcome == Outcome::Failed)
                };
                assert!(anywhere(log).iter().any(told), "nobody has said {verdict:?}");
                return true;
            }
        }
    }
    panic!("the host talks without end");
}

fn says(frame: &Frame<'_>, payload: &[u8], log: &[u8]) {
    assert!(frame.parts().is_some());
    assert_eq!(frame.session, SESSION);
    match frame.kind {
        FrameKind::Hello | FrameKind::Begin | FrameKind::End => {}
        FrameKind::Data => {
            // Cut as the device has asked for when it told of itself.
            let sizes = anywhere(log).into_iter().filter(|found| found.kind == FrameKind::About as u8);
            let mut sizes = sizes.filter_map(|found| {
                message::read::<About<'_>>(&found.data).map(|about| DATA.min(about.frame.into()))
            });
            let cut = |size: usize| payload.chunks(size).nth(frame.number as usize) == Some(frame.data);
            assert!(sizes.any(|size| size > 0 && cut(size)), "{frame:?}");
        }
        FrameKind::About | FrameKind::Want | FrameKind::Verdict => panic!("a host says {frame:?}"),
    }
}
