//! Host and device over a line that drops, doubles, damages, cuts, swaps and invents bytes: the outcome is right or a
//! clear error, and there always is one.

mod world;

use circlet_core::key::VERSION;
use circlet_link::device::last_words;
use circlet_link::frame::{DATA, HEAD};
use circlet_link::message::{self, Begin};
use circlet_link::{Action, Clock, Line};
use circlet_link::{Decoder, Frame, FrameKind, Gone, Outcome, PROTOCOL, Patience, Sender, Verdict};
use circlet_verifier::{ReadError, Source};
use world::{End, KEY, Way, World, bytes_of, judge, payload, transfer};

/// A sequence that looks random, the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Kinds of faults.
const FAULTS: usize = 11;

/// Does something to a frame.
fn damage(kind: usize, place: usize, mut frame: Vec<u8>) -> Vec<u8> {
    let at = place % frame.len();
    let next = (at + 1) % frame.len();
    match kind {
        // Nothing comes, everything comes twice, or thrice.
        0 => frame.clear(),
        1 => frame = frame.repeat(2),
        2 => frame = frame.repeat(3),
        // A bit, a byte, the beginning, the end.
        3 => frame[at] ^= 1 << (place % 8),
        4 => drop(frame.remove(at)),
        5 => drop(frame.drain(..at)),
        6 => frame.truncate(at),
        // Two bytes in the other order; bytes that nobody sent.
        7 => frame.swap(at, next),
        8 => drop(frame.splice(at..at, [0xc5, 0x3a, 5, 0, 0])),
        // A length of more than a frame has, or of more than this frame has.
        9 => frame[HEAD - 1] = 0xff,
        _ => (frame[HEAD - 2], frame[HEAD - 1]) = (0, 4),
    }
    frame
}

#[test]
fn payloads_of_all_lengths_arrive() {
    for length in [0, 1, DATA - 1, DATA, DATA + 1, 5 * DATA, 10_000] {
        let good = payload(length);
        let world = World::calm();
        world.host(transfer(&good), 5);
        let end = world.run(&mut judge(&good));
        assert!(end.is(Outcome::Accepted), "{length}: {end:?}");
        let End::Done(verdict) = end else { unreachable!() };
        assert_eq!((verdict.counters.repeated, verdict.counters.skipped), (0, 0));
        // Hello for three keys, Begin, one frame for each piece, End.
        assert_eq!(world.0.borrow().frames[0], 3 + 1 + length.div_ceil(DATA) + 1);
    }
}

#[test]
fn what_is_rejected_is_told() {
    let (good, bad) = (payload(3000), payload(3001));
    let world = World::calm();
    world.host(transfer(&bad), 5);
    let end = world.run(&mut judge(&good));
    assert!(end.is(Outcome::Rejected), "{end:?}");
}

#[test]
fn every_single_fault_is_made_good() {
    let good = payload(2 * DATA + 100);
    let places: Vec<usize> = (0..40).chain([100, 500, 1030, 1039, 1040]).collect();
    for (way, frames) in [(Way::ToDevice, 8), (Way::ToHost, 7)] {
        for (index, kind) in (0..frames).flat_map(|index| (0..FAULTS).map(move |kind| (index, kind))) {
            for &place in &places {
                let mut hit = false;
                let world = World::new(|w, i, frame| {
                    if (w, i) != (way, index) {
                        return frame;
                    }
                    hit = true;
                    damage(kind, place, frame)
                });
                world.host(transfer(&good), 5);
                let end = world.run(&mut judge(&good));
                assert!(end.is(Outcome::Accepted), "{way:?} {index} {kind} {place}: {end:?}");
                drop(world);
                assert!(hit, "{way:?} {index}");
            }
        }
    }
}

#[test]
fn faults_at_random_never_lead_to_a_wrong_outcome() {
    let (good, bad) = (payload(6 * DATA + 1), payload(6 * DATA));
    for (percent, runs) in [(5, 300), (15, 300), (40, 300), (80, 100), (100, 20)] {
        for run in 0..runs {
            let mut dice = Dice(run * 1000 + percent);
            let sent = if run % 2 == 0 { &good } else { &bad };
            let world = World::new(move |_, _, frame| {
                if dice.below(100) as u64 >= percent {
                    return frame;
                }
                let (kind, place) = (dice.below(FAULTS), dice.below(5000));
                damage(kind, place, frame)
            });
            world.host(transfer(sent), run as u32 + 1);
            let end = world.run(&mut judge(&good));
            match (&end, run % 2) {
                (End::Done(verdict), 0) if verdict.outcome == Outcome::Accepted => {}
                (End::Done(verdict), 1) if verdict.outcome == Outcome::Rejected => {}
                (End::Gone(_), _) if percent > 5 => {}
                (End::Done(verdict), _) if verdict.outcome == Outcome::Failed && percent > 15 => {}
                _ => panic!("{percent} % run {run}: {end:?}"),
            }
        }
    }
}

#[test]
fn noise_alone_ends_in_an_error() {
    let good = payload(3000);
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let world = World::new(move |_, _, frame| frame.iter().map(|_| dice.below(256) as u8).collect());
        world.host(transfer(&good), 5);
        assert_eq!(world.run(&mut judge(&good)), End::Gone(Gone::Unanswered));
    }
}

#[test]
fn a_line_that_goes_dead_ends_both_sides() {
    let good = payload(5000);
    for index in 0..11 {
        // From some frame on nothing comes either way.
        let mut count = 0;
        let world = World::new(|_, _, frame| {
            count += 1;
            if count > index { Vec::new() } else { frame }
        });
        world.host(transfer(&good), 5);
        let end = world.run(&mut judge(&good));
        // Of two frames each place of a key is asked for.
        let expected = if index < 6 { Gone::Unanswered } else { Gone::Silent };
        assert_eq!(end, End::Gone(expected), "{index}");
    }
}

#[test]
fn a_host_that_comes_again_goes_on() {
    let good = payload(20 * DATA);
    // The host is gone when the device asks for frame 12, and another comes eight seconds later.
    let world = World::calm();
    world.host(transfer(&good), 5);
    let mut all = judge(&good);
    let mut first = 0;
    let end = world.run(&mut |request, source| {
        let mut came = false;
        all(
            request,
            &mut Watched::new(source, &mut |read| {
                if !came && read >= 12 * DATA {
                    came = true;
                    world.0.borrow_mut().host = None;
                    world.compute(8000);
                    first = world.0.borrow().frames[0];
                    world.host(transfer(&good), 6);
                }
            }),
        )
    });
    assert!(end.is(Outcome::Accepted), "{end:?}");
    // Hello three times, Begin, End, and the frames that the device did not have.
    assert!(world.0.borrow().frames[0] - first <= 3 + 1 + 1 + 9, "{:?}", world.0.borrow().frames);
}

#[test]
fn another_proof_takes_the_place_of_one_that_nobody_sends() {
    let (one, two) = (payload(9000), payload(7000));
    let world = World::calm();
    world.host(transfer(&one), 5);
    let mut judged = Vec::new();
    let mut all = judge(&two);
    let end = world.run(&mut |request, source| {
        let mut came = !judged.is_empty();
        let verdict = all(
            request,
            &mut Watched::new(source, &mut |read| {
                if !came && read >= 3000 {
                    came = true;
                    world.host(transfer(&two), 6);
                }
            }),
        );
        judged.push(verdict.outcome);
        verdict
    });
    assert!(end.is(Outcome::Accepted), "{end:?}");
    assert_eq!(judged, [Outcome::Failed, Outcome::Accepted]);
}

#[test]
fn a_device_that_was_reset_gets_everything_again() {
    let good = payload(20 * DATA);
    let world = World::calm();
    world.host(transfer(&good), 5);
    let mut all = judge(&good);
    let mut device = world.device();
    device.serve(&mut |_, _| unreachable!("the key is found first"));
    for _ in 0..10 {
        device.serve(&mut |request, source| {
            all(request, &mut Watched::new(source, &mut |read| world.0.borrow_mut().dead = read >= 12 * DATA))
        });
    }
    drop(device);
    world.0.borrow_mut().dead = false;
    assert_eq!(world.0.borrow().end, None);
    let end = world.run(&mut judge(&good));
    assert!(end.is(Outcome::Accepted), "{end:?}");
}

#[test]
fn a_device_that_does_not_listen_while_it_computes_misses_nothing() {
    let good = payload(3 * DATA);
    for kept in [0, 1, 16, 1000] {
        let world = World::calm();
        world.0.borrow_mut().kept = kept;
        world.host(transfer(&good), 5);
        let mut all = judge(&good);
        let end = world.run(&mut |request, source| {
            world.compute(100_000);
            let verdict =
                all(request, &mut Watched::new(source, &mut |read| world.compute((read as u32 % 97) * 300)));
            world.compute(100_000);
            verdict
        });
        assert!(end.is(Outcome::Accepted), "{kept}: {end:?}");
    }
}

#[test]
fn a_verdict_that_was_missed_is_told_again() {
    let good = payload(10);
    // All verdicts that the device sends by itself are lost.
    let mut verdicts = 0;
    let world = World::new(|way, _, frame| {
        let verdict = way == Way::ToHost && frame[2] == FrameKind::Verdict as u8;
        verdicts += usize::from(verdict);
        if verdict && verdicts <= 8 { Vec::new() } else { frame }
    });
    world.host(transfer(&good), 5);
    let mut judged = 0;
    let mut all = judge(&good);
    let end = world.run(&mut |request, source| {
        judged += 1;
        all(request, source)
    });
    assert!(end.is(Outcome::Accepted), "{end:?}");
    assert_eq!(judged, 1);
}

#[test]
fn what_a_device_does_not_do_is_refused() {
    let good = payload(10);
    let world = World::calm();
    world.host(circlet_link::Transfer { key: [9; 32], ..transfer(&good) }, 5);
    assert_eq!(world.run(&mut judge(&good)), End::Gone(Gone::Key));

    let begin = Begin {
        protocol: PROTOCOL,
        magic: *transfer(&good).kind.magic(),
        version: VERSION,
        payload: [3; 32],
        length: 10,
        key: KEY,
        frame: 1024,
    };
    for (begin, says) in [
        (Begin { protocol: 9, ..begin.clone() }, "version 1 of the link, not version 9"),
        (Begin { version: 9, ..begin.clone() }, "not of version 9"),
        (Begin { magic: *b"CIRCLETQ", ..begin.clone() }, "no such files"),
        (Begin { length: u32::MAX, ..begin.clone() }, "of this length"),
        (Begin { frame: 0, ..begin.clone() }, "of this length"),
        (Begin { frame: 1025, ..begin.clone() }, "of this length"),
        (Begin { key: [9; 32], ..begin.clone() }, "does not hold this key"),
    ] {
        let mut data = [0; DATA];
        let data = message::write(&begin, &mut data);
        let heard = exchange(&[Frame { kind: FrameKind::Begin, session: 4, number: 0, data }]);
        let verdict: Verdict = message::read(&heard[0].1).unwrap();
        assert_eq!((heard[0].0, verdict.outcome), (FrameKind::Verdict, Outcome::Refused));
        assert!(verdict.reason.as_str().contains(says), "{verdict:?}");
    }
}

/// What a device says to such frames, which come at once.
fn exchange(frames: &[Frame<'_>]) -> Vec<(FrameKind, Vec<u8>)> {
    let heard = std::cell::RefCell::new(Vec::new());
    let mut decoder = Decoder::default();
    {
        let world = World::new(|_, _, bytes| {
            for byte in bytes {
                decoder.push(byte);
                if let Some(frame) = decoder.frame() {
                    heard.borrow_mut().push((frame.kind, frame.data.to_vec()));
                }
            }
            Vec::new()
        });
        let bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        world.inject(&bytes);
        let mut device = world.device();
        // The end of what is there is a silence.
        for _ in 0..=frames.len() {
            device.serve(&mut |request, source| {
                let mut all = vec![0; request.length.min(100_000) as usize];
                match source.read(&mut all) {
                    Ok(()) => Verdict::without(Outcome::Rejected, "read"),
                    Err(error) => {
                        assert_eq!(error, ReadError::Failed);
                        // It stays so.
                        assert_eq!(source.read(&mut [0]), Err(ReadError::Failed));
                        assert_eq!(source.is_at_end(), Err(ReadError::Failed));
                        Verdict::without(Outcome::Failed, "unread")
                    }
                }
            });
        }
    }
    heard.into_inner()
}

#[test]
fn a_device_survives_any_frames() {
    let kinds = [
        FrameKind::Hello,
        FrameKind::About,
        FrameKind::Begin,
        FrameKind::Want,
        FrameKind::Data,
        FrameKind::Verdict,
        FrameKind::End,
    ];
    let mut dice = Dice(1);
    for _ in 0..300 {
        let mut bodies = Vec::new();
        for _ in 0..30 {
            let mut data = vec![0; dice.below(60)];
            if dice.below(2) == 0 {
                let begin = Begin {
                    protocol: PROTOCOL,
                    magic: *b"CIRCLETX",
                    version: VERSION,
                    payload: [dice.below(2) as u8; 32],
                    length: dice.below(3000) as u32,
                    key: KEY,
                    frame: [1, 60, 1024][dice.below(3)],
                };
                let mut out = [0; DATA];
                data = message::write(&begin, &mut out).to_vec();
            } else {
                data.fill_with(|| dice.below(256) as u8);
            }
            bodies.push((kinds[dice.below(7)], dice.below(3) as u32, dice.below(4) as u32, data));
        }
        let frames: Vec<Frame<'_>> = bodies
            .iter()
            .map(|(kind, session, number, data)| Frame {
                kind: *kind,
                session: *session,
                number: *number,
                data,
            })
            .collect();
        exchange(&frames);
    }
}

/// A host that has found its key and begun.
fn begun(payload: &[u8]) -> Sender<'_> {
    let world = World::calm();
    let mut sender = Sender::new(transfer(payload), 5, Patience::default());
    let mut device = world.device();
    for _ in 0..3 {
        let Action::Send(frame) = sender.act(0) else { panic!("a host asks") };
        world.inject(&bytes_of(&frame));
        device.serve(&mut |_, _| unreachable!("nothing has begun"));
        sender.hear(&world.told(), 0);
    }
    assert!(matches!(sender.act(0), Action::Send(Frame { kind: FrameKind::Begin, .. })));
    assert_eq!(sender.board().unwrap().model.as_str(), "three");
    sender
}

#[test]
fn a_device_that_makes_no_sense_is_given_up() {
    let good = payload(5 * DATA);
    let want = |number| bytes_of(&Frame { kind: FrameKind::Want, session: 5, number, data: &[] });
    // Beyond the end; again and again the same; from the beginning again and again.
    for (numbers, expected) in
        [(vec![5], Gone::Nonsense), (vec![2; 100], Gone::Repeats), ([0, 1].repeat(10), Gone::Restarts)]
    {
        let mut sender = begun(&good);
        let mut end = None;
        for number in numbers {
            sender.hear(&want(number), 0);
            match sender.act(0) {
                Action::Send(frame) => assert_eq!((frame.kind, frame.number), (FrameKind::Data, number)),
                Action::Gone(why) => end = Some(why),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(end, Some(expected));
    }
}

#[test]
fn a_host_survives_any_frames() {
    let good = payload(5 * DATA);
    let mut dice = Dice(2);
    for _ in 0..300 {
        let mut sender = begun(&good);
        let mut now = 0;
        for _ in 0..2000 {
            let mut data = vec![0; dice.below(200)];
            data.fill_with(|| dice.below(4) as u8);
            let kind =
                [FrameKind::About, FrameKind::Want, FrameKind::Verdict, FrameKind::Data][dice.below(4)];
            let (session, number) = (dice.below(3) as u32 + 3, dice.below(7) as u32);
            sender.hear(&bytes_of(&Frame { kind, session, number, data: &data }), now);
            now += 100;
            if let Action::Done(_) | Action::Gone(_) = sender.act(now) {
                break;
            }
        }
    }
}

#[test]
fn last_words_are_heard_and_nothing_else_of_a_stranger() {
    let good = payload(10);
    let mut sender = begun(&good);
    let mut data = [0; DATA];
    let accepted = message::write(&Verdict::without(Outcome::Accepted, ""), &mut data);
    let stranger = Frame { kind: FrameKind::Verdict, session: 0, number: 0, data: accepted };
    sender.hear(&bytes_of(&stranger), 0);
    sender.hear(&bytes_of(&Frame { session: 6, ..stranger }), 0);
    assert!(matches!(sender.act(0), Action::Wait));
    let mut words = Vec::new();
    last_words("out of memory", |part| words.extend(part));
    sender.hear(&words, 0);
    assert!(matches!(sender.act(0), Action::Send(Frame { kind: FrameKind::End, .. })));
    let Action::Done(verdict) = sender.act(0) else { panic!("it is over") };
    assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Failed, "out of memory"));
}

#[test]
fn errors_of_a_port_are_silences() {
    struct Broken(u32);
    impl embedded_io::ErrorType for Broken {
        type Error = embedded_io::ErrorKind;
    }
    impl embedded_io::ReadReady for Broken {
        fn read_ready(&mut self) -> Result<bool, Self::Error> {
            if self.0 == 0 { Err(embedded_io::ErrorKind::Other) } else { Ok(true) }
        }
    }
    impl embedded_io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> Result<usize, Self::Error> {
            if self.0 == 1 { Err(embedded_io::ErrorKind::Other) } else { Ok(0) }
        }
    }
    impl embedded_io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> Result<usize, Self::Error> {
            Err(embedded_io::ErrorKind::Other)
        }
        fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    struct Still;
    impl Clock for Still {
        fn millis(&mut self) -> u32 {
            0
        }
    }
    for kind in 0..3 {
        let mut line = Line::new(Broken(kind), Still);
        line.send(&Frame { kind: FrameKind::Hello, session: 1, number: 0, data: &[] });
        assert_eq!(line.hear(), None);
    }
}

/// A source that tells, before each piece, how much was read.
struct Watched<'a> {
    source: &'a mut dyn Source,
    read: usize,
    watch: &'a mut dyn FnMut(usize),
}

impl<'a> Watched<'a> {
    fn new(source: &'a mut dyn Source, watch: &'a mut dyn FnMut(usize)) -> Self {
        Self { source, read: 0, watch }
    }
}

impl Source for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        (self.watch)(self.read);
        self.read += out.len();
        self.source.read(out)
    }

    fn is_at_end(&mut self) -> Result<bool, ReadError> {
        self.source.is_at_end()
    }
}
