//! `circlet send` to devices that run here, in a thread behind a TCP socket.

use std::convert::Infallible;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use circlet::files::{self, HEADER, Header, ProofFile};
use circlet_link::device::last_words;
use circlet_link::{Clock, Device, Held, Line, Outcome, Request, Verdict};
use circlet_verifier::{Key, Source, verify_payload};
use embedded_io::{ErrorType, ReadReady};

use super::{Bench, FILE, OK, REJECTED, USAGE, proven};

/// A device's end of the line. A connection that is lost is a line without bytes.
struct Port {
    stream: TcpStream,
    ahead: Option<u8>,
    closed: Arc<AtomicBool>,
}

impl ErrorType for Port {
    type Error = Infallible;
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        let mut byte = [0];
        if self.ahead.is_none() {
            match self.stream.read(&mut byte) {
                Ok(1) => self.ahead = Some(byte[0]),
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::TimedOut => {}
                _ => {
                    self.closed.store(true, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(self.ahead.is_some())
    }
}

impl embedded_io::Read for Port {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        while !self.read_ready()? {}
        out[0] = self.ahead.take().unwrap();
        Ok(1)
    }
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if self.stream.write_all(bytes).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Time(Instant);

impl Clock for Time {
    fn millis(&mut self) -> u32 {
        self.0.elapsed().as_millis() as u32
    }
}

/// Where something listens, and what runs there.
struct There {
    port: String,
    thread: JoinHandle<()>,
}

/// Runs something for one connection.
fn listen(act: impl FnOnce(TcpStream) + Send + 'static) -> There {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || act(listener.accept().unwrap().0));
    There { port, thread }
}

/// A device with a key, which judges by itself what is not judged by `judge`.
fn device(
    key: Key,
    mut judge: impl FnMut(Request, &mut dyn Source) -> Option<Verdict> + Send + 'static,
) -> There {
    listen(move |stream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let port = Port { stream, ahead: None, closed: closed.clone() };
        let keys = [
            Held { digest: [0; 32], name: "another" },
            Held { digest: key.digest(), name: "a model\u{1b}[2K" },
        ];
        let mut device = Device::new(Line::new(port, Time(Instant::now())), "thread", 1 << 20, &keys);
        while !closed.load(Ordering::Relaxed) {
            device.serve(&mut |request, source| {
                assert_eq!(request.place, 1);
                judge(request, source)
                    .unwrap_or_else(|| Verdict::of(verify_payload(&key, request.kind, source)))
            });
        }
    })
}

fn key(bench: &Bench) -> Key {
    Key::from_file(&fs::read(bench.path("m.vk")).unwrap()).unwrap()
}

/// Changes the payload of a proof's file and makes its header right again.
fn forge(bench: &Bench, name: &str, change: impl FnOnce(&mut ProofFile)) {
    let mut file: ProofFile = files::read(&bench.path("m.proof")).unwrap();
    change(&mut file);
    bench.write(name, files::encode(&file));
}

#[test]
fn a_device_accepts_and_rejects() {
    let bench = proven();
    let there = device(key(&bench), |_, _| None);
    let (out, _) = bench.run(OK, &["send", "m.proof", "--port", &there.port]);
    assert!(
        out.starts_with("accepted: the device has verified the proof under its key of a model\\u{1b}[2K\n")
    );
    assert!(out.contains("thread (1.0 MiB for verification)"), "{out}");
    there.thread.join().unwrap();

    let there = device(key(&bench), |_, _| None);
    let json = bench.json(OK, &["send", "m.proof", "--port", &there.port]);
    let payload = fs::read(bench.path("m.proof")).unwrap().len() - HEADER;
    assert_eq!((&json["accepted"], &json["device"]), (&true.into(), &"thread".into()));
    assert_eq!((&json["payload_bytes"], &json["heap_bytes"]), (&payload.into(), &().into()));
    assert_eq!(json["statement"].as_str().unwrap().len(), 64);

    forge(&bench, "said.proof", |file| file.statement.outputs[0][0] ^= 1);
    forge(&bench, "proof.proof", |file| {
        let middle = file.proof.len() / 2;
        file.proof[middle] ^= 1;
    });
    for name in ["said.proof", "proof.proof"] {
        let there = device(key(&bench), |_, _| None);
        let json = bench.json(REJECTED, &["send", name, "--port", &there.port]);
        assert_eq!((&json["accepted"], &json["statement"]), (&false.into(), &().into()));
        // The reason is the one that the verifier gives here.
        let direct = bench.json(REJECTED, &["verify", "m.vk", name]);
        assert_eq!(json["reason"], direct["reason"]);
    }
}

#[test]
fn a_device_without_the_key_is_named() {
    let bench = proven();
    let other = device(key(&bench), |_, _| None);
    forge(&bench, "other.proof", |file| file.key_digest[3] ^= 1);
    bench.fails(FILE, &["send", "other.proof", "--port", &other.port], "does not hold the key");
}

#[test]
fn a_device_that_fails_says_nothing_of_the_proof() {
    let bench = proven();
    let send = |there: &There, says: &str| {
        bench.fails(FILE, &["send", "m.proof", "--port", &there.port, "--patience", "1"], says);
    };
    // One that has accepted something else.
    send(
        &device(key(&bench), |_, _| Some(Verdict::without(Outcome::Accepted, ""))),
        "the device has accepted another statement",
    );
    send(&device(key(&bench), |_, _| Some(Verdict::without(Outcome::Failed, "too hot"))), "too hot");
    send(&device(key(&bench), |_, _| Some(Verdict::without(Outcome::Refused, "not today"))), "not today");
    // One that stops, one that closes, one that says nothing, one that says noise.
    send(
        &listen(|mut stream| {
            last_words("out of memory", |bytes| stream.write_all(bytes).unwrap());
            std::thread::sleep(Duration::from_secs(1));
        }),
        "out of memory",
    );
    send(&listen(drop), "is lost");
    send(&listen(|_stream| std::thread::sleep(Duration::from_secs(3))), "does not answer");
    send(
        &listen(|mut stream| {
            for i in 0..3000u32 {
                let _ = stream.write_all(&[0xc5, 0x3a, (i % 9) as u8, i as u8]);
                std::thread::sleep(Duration::from_millis(1));
            }
        }),
        "does not answer",
    );
    // One that falls silent after it has begun.
    let silent = device(key(&bench), |_, source| {
        source.read(&mut [0; 32]).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        None
    });
    send(&silent, "has fallen silent");
}

#[test]
fn what_cannot_be_sent_is_not() {
    let bench = proven();
    // Nothing listens there any more.
    let nobody = format!("tcp:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    bench.fails(FILE, &["send", "m.proof", "--port", &nobody], "cannot open the port tcp:127.0.0.1:");
    bench.fails(FILE, &["send", "m.proof", "--port", "unix:nothing"], "cannot open the port unix:nothing");
    bench.fails(FILE, &["send", "m.proof", "--port", "/dev/nothing"], "cannot open the port /dev/nothing");
    // Files are looked at first.
    let mut bytes = fs::read(bench.path("m.proof")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bench.write("damaged.proof", &bytes);
    bench.write("short.proof", &bytes[..last]);
    for (file, says) in [
        ("damaged.proof", "damaged"),
        ("short.proof", "cut short"),
        ("m.vk", "this is a verifying key"),
        ("x.json", "no file that circlet wrote"),
        ("none", "cannot read"),
    ] {
        bench.fails(FILE, &["send", file, "--port", &nobody], says);
    }
    assert!(Header::split(&bytes, &[files::Kind::Proof]).is_ok());
    for port in ["tcp:", "tcp:localhost", "tcp::1", "tcp:localhost:70000", "unix:", ""] {
        bench.run(USAGE, &["send", "m.proof", "--port", port]);
    }
    bench.run(USAGE, &["send", "m.proof"]);
    bench.run(USAGE, &["send", "m.proof", "--port", &nobody, "--baud", "300"]);
}
