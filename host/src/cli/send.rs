//! `circlet send`. What is accepted is decided by the device, which runs `circlet_verifier`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use circlet::files::{
    self, ChatFile, ContentError, EncodingFile, FileError, Header, Kind, ProofFile, TextFile,
};
use circlet_core::hash::blake2s;
use circlet_link::{Action, Gone, Patience, Sender, Transfer, Verdict, statement};
use circlet_verifier::Proven;
use clap::Args;
use serde_json::json;

use super::failure::{Failure, OrFail};
use super::{Context, Outcome, text};

/// How long to listen before looking at the clock again.
const LISTEN: Duration = Duration::from_millis(10);
/// How long a port may take nothing.
const STUCK: Duration = Duration::from_secs(30);

/// Have a device verify a proof, over a serial line.
///
/// The device, which runs circlet's firmware, asks for the proof piece by piece and verifies it as it comes, under a
/// key that was compiled into it. If the connection is lost, send again within half a minute: the device goes on where
/// it was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  circlet send image.proof --port /dev/ttyUSB0
  circlet send image.proof --port COM3 --baud 921600
  circlet send image.proof --port tcp:localhost:4321 --json
  circlet send image.proof --port unix:/tmp/device.socket")]
pub struct Arguments {
    /// The proof
    proof: PathBuf,
    /// The device's serial port, or tcp:HOST:PORT, or unix:PATH
    #[arg(long, value_name = "PORT")]
    port: Place,
    /// Bits per second of a serial port
    #[arg(long, value_name = "N", default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(9600..))]
    baud: u32,
    /// How long the device may be silent [default: 10 before its first word, 300 while it computes]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    patience: Option<u32>,
}

impl Arguments {
    /// All files that the command reads or writes.
    pub fn paths(&self) -> Vec<&Path> {
        vec![self.proof.as_path()]
    }

    fn patience(&self) -> Patience {
        let default = Patience::default();
        let Some(seconds) = self.patience else { return default };
        let (total, working) = (seconds * 1000, default.working.min(seconds * 1000));
        Patience {
            working,
            unanswered: total.div_ceil(working),
            greetings: total.div_ceil(default.greeting),
            ..default
        }
    }
}

/// Where the device is.
#[derive(Clone, Debug)]
enum Place {
    Serial(String),
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(place: &str) -> Result<Self, String> {
        if let Some(address) = place.strip_prefix("tcp:") {
            let port = address
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then_some(port)?.parse::<u16>().ok());
            port.ok_or("write tcp:HOST:PORT, such as tcp:localhost:4321")?;
            return Ok(Self::Tcp(address.into()));
        }
        if let Some(path) = place.strip_prefix("unix:") {
            return match path {
                "" => Err("write unix:PATH, such as unix:/tmp/device.socket".into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if place.is_empty() { Err("which port?".into()) } else { Ok(Self::Serial(place.into())) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(name) => f.write_str(name),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Something to read from and to write to.
trait Port: Read + Write {}

impl<T: Read + Write> Port for T {}

impl Place {
    fn open(&self, baud: u32) -> io::Result<Box<dyn Port>> {
        Ok(match self {
            Self::Serial(name) => Box::new(serialport::new(name, baud).timeout(LISTEN).open()?),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LISTEN))?;
                stream.set_write_timeout(Some(LISTEN))?;
                Box::new(stream)
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LISTEN))?;
                stream.set_write_timeout(Some(LISTEN))?;
                Box::new(stream)
            }
            #[cfg(not(unix))]
            Self::Unix(_) => return Err(ErrorKind::Unsupported.into()),
        })
    }
}

/// Whether nothing is wrong but that it takes longer.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Writes all bytes, however slowly they go.
fn write_all(port: &mut dyn Port, mut bytes: &[u8]) -> io::Result<()> {
    let mut since = Instant::now();
    while !bytes.is_empty() {
        match port.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                since = Instant::now();
            }
            Err(error) if is_late(&error) && since.elapsed() < STUCK => {}
            Err(error) => return Err(error),
        }
    }
    match port.flush() {
        Err(error) if is_late(&error) => Ok(()),
        result => result,
    }
}

/// Why there is no verdict.
enum NoVerdict {
    Port(io::Error),
    Gone(Gone),
}

/// Talks until there is a verdict.
fn talk(
    sender: &mut Sender<'_>,
    port: &mut dyn Port,
    progress: &dyn Fn(&Sender<'_>),
) -> Result<Verdict, NoVerdict> {
    let start = Instant::now();
    let mut bytes = [0; 4096];
    loop {
        // Milliseconds that go on from zero after their end.
        let now = start.elapsed().as_millis() as u32;
        match sender.act(now) {
            Action::Send(frame) => {
                let Some((head, data, tail)) = frame.parts() else { continue };
                write_all(port, &[&head, data, &tail].concat()).map_err(NoVerdict::Port)?;
            }
            Action::Wait => match port.read(&mut bytes) {
                Ok(0) => return Err(NoVerdict::Port(ErrorKind::UnexpectedEof.into())),
                Ok(count) => sender.hear(&bytes[..count], now),
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(NoVerdict::Port(error)),
            },
            Action::Done(verdict) => return Ok(verdict.clone()),
            Action::Gone(why) => return Err(NoVerdict::Gone(why)),
        }
        progress(sender);
    }
}

/// A proof's file and the key that it is for.
struct Proof {
    bytes: Vec<u8>,
    header: Header,
    key: [u8; 32],
}

/// Reads a proof's file that is whole. What it says is the device's to judge.
fn read(path: &Path) -> Result<Proof, FileError> {
    const KINDS: [Kind; 4] = [Kind::Proof, Kind::Text, Kind::Chat, Kind::Encoding];
    let bytes = files::read_bytes(path, Kind::Proof.limit())?;
    let contents = |source: ContentError| FileError::Contents { path: path.into(), source };
    let (header, payload) = Header::split(&bytes, &KINDS).map_err(contents)?;
    if blake2s::hash(blake2s::DIGEST, payload) != header.digest {
        return Err(contents(says(header.kind, &bytes).err().unwrap_or(ContentError::Damaged)));
    }
    let key = payload.first_chunk().copied();
    let key = key.ok_or_else(|| contents(ContentError::Malformed("it names no key".into())))?;
    Ok(Proof { bytes, header, key })
}

/// What a proof's file says.
fn says(kind: Kind, bytes: &[u8]) -> Result<Proven, ContentError> {
    let bytes = bytes.to_vec();
    Ok(match kind {
        Kind::Text => Proven::Text(files::decode::<TextFile>(bytes)?.text),
        Kind::Chat => Proven::Chat(files::decode::<ChatFile>(bytes)?.chat),
        Kind::Encoding => Proven::Encoding(files::decode::<EncodingFile>(bytes)?.encoding),
        _ => Proven::Program(files::decode::<ProofFile>(bytes)?.statement),
    })
}

/// Sends, and says what the device says.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let proof = read(&arguments.proof).or_bad()?;
    let payload = &proof.bytes[files::HEADER..];
    let (kind, digest) = (proof.header.kind, proof.header.digest);
    let transfer = Transfer { kind, payload, digest, key: proof.key };
    let place = &arguments.port;
    let mut port = place.open(arguments.baud).or_file(format!("cannot open the port {place}"))?;

    let start = Instant::now();
    let session = RandomState::new().build_hasher().finish() as u32;
    let mut sender = Sender::new(transfer, session, arguments.patience());
    let bar = context.monitor.bytes(payload.len() as u64);
    let said = talk(&mut sender, &mut *port, &|sender| bar.set_position(sender.delivered() as u64));
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let verdict = said.map_err(|why| match why {
        NoVerdict::Gone(why) => Failure::file(format!("no verdict from {place}: {why}")),
        NoVerdict::Port(error) => Failure::file(format!(
            "the connection to {place} is lost: {error}; send again, the device goes on where it was if that is soon"
        )),
    })?;

    let reason = text::line(verdict.reason.as_str());
    let statement = match verdict.outcome {
        circlet_link::Outcome::Accepted => {
            let path = &arguments.proof;
            let says =
                says(kind, &proof.bytes).map_err(|source| FileError::Contents { path: path.into(), source });
            let statement = statement::digest(&says.or_bad()?);
            if verdict.statement != statement {
                return Err(Failure::file(format!(
                    "the device has accepted another statement ({}) than the one in {} ({}); send it again",
                    text::hex(&verdict.statement),
                    path.display(),
                    text::hex(&statement)
                )));
            }
            Some(text::hex(&statement))
        }
        circlet_link::Outcome::Rejected => None,
        circlet_link::Outcome::Refused => {
            return Err(Failure::file(format!("the device does not judge this: {reason}")));
        }
        circlet_link::Outcome::Failed => {
            return Err(Failure::file(format!(
                "the device has failed, nothing is known of the proof: {reason}"
            )));
        }
    };
    let counters = verdict.counters;
    let (board, memory, model) = sender.board().map_or_else(Default::default, |board| {
        (text::name(board.name.as_str()), board.memory, text::name(board.model.as_str()))
    });
    let json = json!({
        "accepted": statement.is_some(),
        "reason": reason,
        "device": board,
        "memory_bytes": memory,
        "model": model,
        "key": text::hex(&proof.key),
        "statement": statement,
        "payload_bytes": payload.len(),
        "seconds": seconds,
        "device_seconds": f64::from(counters.millis) / 1000.0,
        "waited_seconds": f64::from(counters.waited) / 1000.0,
        "repeated": counters.repeated,
        "skipped_bytes": counters.skipped,
        "heap_bytes": counters.heap,
        "stack_bytes": counters.stack,
        "instructions": counters.instructions,
    });
    let Some(statement) = statement else {
        return Ok(Outcome { text: String::new(), json, rejected: Some(format!("by {board}: {reason}")) });
    };
    let mut fields = vec![
        ("device", format!("{board} ({} for verification)", text::bytes(memory.into()))),
        ("key", text::hex(&proof.key)),
        ("statement", statement),
        ("sent", text::bytes(payload.len() as u64)),
        (
            "time",
            format!(
                "{}; the device computed for {}",
                text::seconds(seconds),
                text::seconds(f64::from(counters.millis.saturating_sub(counters.waited)) / 1000.0)
            ),
        ),
    ];
    if counters.repeated > 0 || counters.skipped > 0 {
        let (repeated, skipped) = (counters.repeated.into(), counters.skipped.into());
        fields.push((
            "line",
            format!("{} questions repeated, {} lost", text::count(repeated), text::bytes(skipped)),
        ));
    }
    if let (Some(heap), Some(stack)) = (counters.heap, counters.stack) {
        fields.push((
            "peak memory",
            format!("heap {}, stack {}", text::bytes(heap.into()), text::bytes(stack.into())),
        ));
    }
    if let Some(instructions) = counters.instructions {
        fields.push(("instructions", text::count(instructions)));
    }
    let mut out = format!("accepted: the device has verified the proof under its key of {model}\n");
    out += &text::fields(&fields);
    Ok(Outcome { text: out, json, rejected: None })
}
