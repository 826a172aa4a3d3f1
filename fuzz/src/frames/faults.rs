//! A host and a device, and faults between them.

use std::cell::RefCell;

use arbitrary::Arbitrary;
use circlet_core::hash::blake2s;
use circlet_link::frame::DATA;
use circlet_link::{Gone, Outcome, Verdict};

use super::line::anywhere;
use super::world::{End, Way, World, payload, transfer};

/// Something that happens to frames.
#[derive(Arbitrary, Debug)]
pub struct Fault {
    to_host: bool,
    /// The first frame that it happens to.
    index: u8,
    /// After how many frames it happens again; zero if it does not.
    every: u8,
    damage: Damage,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    /// Nothing comes.
    Lose,
    /// It comes again at once.
    Repeat { times: u8 },
    /// Some bits are others.
    Flip { at: u16, mask: u8 },
    /// Bytes are missing.
    Remove { at: u16, count: u16 },
    /// Bytes that nobody sent.
    Insert { at: u16, bytes: Vec<u8> },
    /// Two bytes change places.
    Swap { one: u16, other: u16 },
    /// It comes when the next one does.
    Hold,
    /// One that came before comes again.
    Replay { back: u8 },
}

impl Fault {
    fn hits(&self, way: Way, index: usize) -> bool {
        let (start, every) = (usize::from(self.index), usize::from(self.every));
        let later = every > 0 && index > start && (index - start).is_multiple_of(every);
        self.to_host == (way == Way::ToHost) && (index == start || later)
    }
}

/// What has been on the line, one way.
#[derive(Default)]
struct Lane {
    sent: Vec<Vec<u8>>,
    arrived: Vec<u8>,
    held: Vec<u8>,
}

impl Lane {
    fn carry(&mut self, faults: &[&Fault], frame: Vec<u8>) -> Vec<u8> {
        let mut bytes = frame.clone();
        self.sent.push(frame);
        for fault in faults {
            self.damage(&fault.damage, &mut bytes);
        }
        if faults.iter().all(|fault| !matches!(fault.damage, Damage::Hold)) {
            bytes.splice(..0, self.held.drain(..));
        }
        self.arrived.extend(&bytes);
        bytes
    }

    fn damage(&mut self, damage: &Damage, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: u16| usize::from(at) % length.max(1);
        match *damage {
            Damage::Lose => bytes.clear(),
            Damage::Repeat { times } => *bytes = bytes.repeat(1 + usize::from(times % 4)),
            Damage::Flip { at, mask } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= mask;
                }
            }
            Damage::Remove { at, count } => {
                drop(bytes.drain(place(at)..length.min(place(at) + usize::from(count))));
            }
            Damage::Insert { at, bytes: ref more } => drop(bytes.splice(place(at)..place(at), more.clone())),
            Damage::Swap { one, other } => {
                if length > 0 {
                    bytes.swap(place(one), place(other));
                }
            }
            Damage::Hold => self.held.append(bytes),
            Damage::Replay { back } => {
                let from = self.sent.len().checked_sub(1 + usize::from(back));
                bytes.extend(from.and_then(|from| self.sent.get(from)).into_iter().flatten());
            }
        }
    }

    /// Whether there was a frame that nobody has sent: one whose checksum fits by chance, or because someone has made it.
    fn forged(&self) -> bool {
        anywhere(&self.arrived).iter().any(|found| !self.sent.contains(&found.bytes()))
    }
}

/// A device that accepts one payload is sent that, or another one.
pub fn between(good: bool, faults: &[Fault]) {
    let right = payload(2 * DATA + 100);
    let mut sent = right.clone();
    if !good && let Some(byte) = sent.last_mut() {
        *byte ^= 1;
    }
    let lanes = RefCell::new([Lane::default(), Lane::default()]);
    let world = World::new(|way, index, frame| {
        let faults: Vec<&Fault> = faults.iter().filter(|fault| fault.hits(way, index)).collect();
        lanes.borrow_mut()[way as usize].carry(&faults, frame)
    });
    world.host(transfer(&sent), 5);
    let end = world.run(&mut |request, source| {
        let Some(all) = super::read(request, source) else {
            return Verdict::without(Outcome::Failed, "unread");
        };
        let outcome = if all == right { Outcome::Accepted } else { Outcome::Rejected };
        Verdict {
            statement: blake2s::hash(blake2s::DIGEST, &all),
            ..Verdict::without(outcome, "so it was decided")
        }
    });
    drop(world);
    // The link finds accidents, not attacks.
    if lanes.borrow().iter().any(Lane::forged) {
        return;
    }
    let expected = if good { Outcome::Accepted } else { Outcome::Rejected };
    match end {
        End::Done(verdict) if verdict.outcome == expected => {
            assert_eq!(verdict.statement, blake2s::hash(blake2s::DIGEST, &sent));
        }
        // A single fault is made good.
        _ if faults.iter().all(|fault| fault.every == 0) && faults.len() <= 1 => {
            panic!("{end:?} for {faults:?}")
        }
        End::Done(verdict) => assert_eq!(verdict.outcome, Outcome::Failed, "{faults:?}"),
        End::Gone(why) => {
            let mute = [Gone::Unanswered, Gone::Silent, Gone::Restarts, Gone::Repeats];
            assert!(mute.contains(&why), "{why:?} for {faults:?}");
        }
    }
}

/// What a host and a device say to each other where nothing goes wrong, each way.
pub fn conversation() -> [Vec<u8>; 2] {
    let right = payload(super::line::PAYLOAD);
    let lanes = RefCell::new([Lane::default(), Lane::default()]);
    let world = World::new(|way, _, frame| lanes.borrow_mut()[way as usize].carry(&[], frame));
    world.host(transfer(&right), 5);
    world.run(&mut |request, source| {
        let outcome =
            if super::read(request, source).is_some() { Outcome::Accepted } else { Outcome::Failed };
        Verdict::without(outcome, "so it was decided")
    });
    drop(world);
    lanes.into_inner().map(|lane| lane.arrived)
}
