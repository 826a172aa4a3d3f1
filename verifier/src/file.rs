//! Keys and proofs as files, or as the payloads of files that come from somewhere piece by piece.
//!
//! Everything that verifies a file calls [`verify_files`], [`crate::verify_stream`] or [`verify_payload`]: the command
//! line, the firmware, the wasm module and the C library.

use alloc::vec::Vec;

use circlet_core::decoder::{Chat, DecoderKey, Text, Turn};
use circlet_core::encoder::{EncoderKey, Encoding};
use circlet_core::file::{ContentError, Header, Kind};
use circlet_core::hash::blake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::limits;

use crate::source::{Source, Take};
use crate::{Reject, encoding, text, verify_from, verify_turn_from};

/// A verifying key of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Of a program.
    Program(VerifyingKey),
    /// Of a language model.
    Decoder(DecoderKey),
    /// Of a sentence encoder.
    Encoder(EncoderKey),
}

/// What proofs can be under: a verifying key of one kind, or of any. Who holds keys of one kind alone has no code for
/// the others.
pub trait ProofKey {
    /// Kinds of files with proofs under this key.
    fn proofs(&self) -> &'static [Kind];

    /// The digest that names the model, its commitment and its parameters.
    fn digest(&self) -> [u8; 32];

    /// Judges what follows the digest in a file of one of these kinds. The end of the file is for the caller to see, which
    /// is [`verify_payload`].
    fn judge(&self, own: Own<'_>, kind: Kind, source: &mut dyn Source) -> Result<Proven, Reject>;
}

/// The digest of the key that judges, which transcripts begin with. Nobody but [`verify_payload`] can say what it is.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a>(&'a [u8; 32]);

/// What an accepted proof is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The program maps these inputs to these outputs.
    Program(Statement),
    /// The language model continues the prompt so.
    Text(Text),
    /// The language model says its part of the conversation.
    Chat(Chat),
    /// The encoder gives this vector for this sentence.
    Encoding(Encoding),
}

/// Why a proof file is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key's file cannot be used.
    #[error("cannot use the key: {0}")]
    Key(ContentError),
    /// The proof's file cannot be used.
    #[error("cannot use the proof: {0}")]
    Proof(ContentError),
    /// The proof is rejected.
    #[error("{0}")]
    Reject(Reject),
}

impl Key {
    /// Kinds of files with keys.
    pub const KINDS: [Kind; 3] = [Kind::Key, Kind::ModelKey, Kind::EncoderKey];

    /// Reads the bytes of a key's file.
    pub fn from_file(bytes: &[u8]) -> Result<Self, ContentError> {
        let (header, payload) = Header::split(bytes, &Self::KINDS)?;
        if blake2s::hash(blake2s::DIGEST, payload) != header.digest {
            return Err(ContentError::Damaged);
        }
        Self::from_payload(header.kind, payload)
            .ok_or_else(|| ContentError::Malformed("it is not the canonical encoding of a key".into()))
    }

    /// Decodes what follows the header of a key's file; `None` for anything but a canonical encoding.
    pub fn from_payload(kind: Kind, payload: &[u8]) -> Option<Self> {
        match kind {
            Kind::Key => VerifyingKey::from_bytes(payload).map(Self::Program),
            Kind::ModelKey => DecoderKey::from_bytes(payload).map(Self::Decoder),
            Kind::EncoderKey => EncoderKey::from_bytes(payload).map(Self::Encoder),
            _ => None,
        }
    }

    /// The key as one of its kind.
    fn of_its_kind(&self) -> &dyn ProofKey {
        match self {
            Self::Program(key) => key,
            Self::Decoder(key) => key,
            Self::Encoder(key) => key,
        }
    }

    /// The digest that names the model, its commitment and its parameters.
    pub fn digest(&self) -> [u8; 32] {
        ProofKey::digest(self)
    }

    /// Kinds of files with proofs under this key.
    pub fn proofs(&self) -> &'static [Kind] {
        ProofKey::proofs(self)
    }

    /// The name of the model, which its maker chose.
    pub fn name(&self) -> &str {
        match self {
            Self::Program(key) => &key.program.name,
            Self::Decoder(key) => &key.decoder.name,
            Self::Encoder(key) => &key.encoder.name,
        }
    }
}

/// Judges the bytes of a proof's file under those of a key's file.
///
/// That the weights under the key keep the bounds that it declares is for the caller to know, as for all functions of
/// this crate; [`crate::verify_registration_file`] is one way.
pub fn verify_files(key: &[u8], proof: &[u8]) -> Result<(Key, Proven), Refusal> {
    let key = Key::from_file(key).map_err(Refusal::Key)?;
    let proven = verify_file(&key, proof)?;
    Ok((key, proven))
}

/// Judges the bytes of a proof's file.
pub fn verify_file(key: &Key, proof: &[u8]) -> Result<Proven, Refusal> {
    let (header, mut payload) = Header::split(proof, key.proofs()).map_err(Refusal::Proof)?;
    let intact = blake2s::hash(blake2s::DIGEST, payload) == header.digest;
    judged(verify_payload(key, header.kind, &mut payload), intact)
}

/// The verdict on a file, from that on its payload and whether that has the digest which the header names: what is not
/// intact is not judged.
pub(crate) fn judged(verdict: Result<Proven, Reject>, intact: bool) -> Result<Proven, Refusal> {
    match verdict {
        Err(reject) if !intact && ends_early(&reject) => Err(Refusal::Proof(ContentError::Truncated)),
        _ if !intact => Err(Refusal::Proof(ContentError::Damaged)),
        verdict => verdict.map_err(Refusal::Reject),
    }
}

/// Whether something is missing at the end, maybe in one of several turns.
fn ends_early(reject: &Reject) -> bool {
    match reject {
        Reject::TooShort => true,
        Reject::Turn { reason, .. } => **reason == Reject::TooShort,
        _ => false,
    }
}

/// Judges what follows the header of a proof's file, as it comes. Nothing is read beyond the end of the proof but to see
/// that there is nothing.
pub fn verify_payload(key: &impl ProofKey, kind: Kind, source: &mut dyn Source) -> Result<Proven, Reject> {
    if !key.proofs().contains(&kind) {
        return Err(Reject::OtherKind);
    }
    let proof = source.array()?;
    let own = key.digest();
    if proof != own {
        return Err(Reject::key_digest(proof, own));
    }
    let proven = key.judge(Own(&own), kind, source)?;
    if source.is_at_end()? { Ok(proven) } else { Err(Reject::TooLong) }
}

impl ProofKey for VerifyingKey {
    fn proofs(&self) -> &'static [Kind] {
        &[Kind::Proof]
    }

    fn digest(&self) -> [u8; 32] {
        self.digest()
    }

    fn judge(&self, _: Own<'_>, _: Kind, source: &mut dyn Source) -> Result<Proven, Reject> {
        let statement = statement(self, source)?;
        proof_of(source, |proof| verify_from(self, &statement, proof))?;
        Ok(Proven::Program(statement))
    }
}

impl ProofKey for DecoderKey {
    fn proofs(&self) -> &'static [Kind] {
        &[Kind::Text, Kind::Chat]
    }

    fn digest(&self) -> [u8; 32] {
        self.digest()
    }

    fn judge(&self, own: Own<'_>, kind: Kind, source: &mut dyn Source) -> Result<Proven, Reject> {
        if kind == Kind::Chat {
            return Ok(Proven::Chat(chat(self, source)?));
        }
        let tokens = list(source, u64::from(self.decoder.positions) + 2, |s| s.word())?;
        let text = Text { tokens, prompt: source.word()? };
        proof_of(source, |proof| text::under(self, own.0, &text, proof))?;
        Ok(Proven::Text(text))
    }
}

impl ProofKey for EncoderKey {
    fn proofs(&self) -> &'static [Kind] {
        &[Kind::Encoding]
    }

    fn digest(&self) -> [u8; 32] {
        self.digest()
    }

    fn judge(&self, own: Own<'_>, _: Kind, source: &mut dyn Source) -> Result<Proven, Reject> {
        let tokens = list(source, self.encoder.positions.into(), |s| s.word())?;
        let embedding = list(source, self.encoder.width.into(), |s| s.signed())?;
        let encoding = Encoding { tokens, embedding };
        proof_of(source, |proof| encoding::under(self, own.0, &encoding, proof))?;
        Ok(Proven::Encoding(encoding))
    }
}

impl ProofKey for Key {
    fn proofs(&self) -> &'static [Kind] {
        self.of_its_kind().proofs()
    }

    fn digest(&self) -> [u8; 32] {
        self.of_its_kind().digest()
    }

    fn judge(&self, own: Own<'_>, kind: Kind, source: &mut dyn Source) -> Result<Proven, Reject> {
        self.of_its_kind().judge(own, kind, source)
    }
}

/// A list of at most so many entries.
fn list<T>(
    source: &mut dyn Source,
    most: u64,
    entry: impl Fn(&mut dyn Source) -> Result<T, Reject>,
) -> Result<Vec<T>, Reject> {
    let length = source.length(most)?;
    // Memory comes with the entries.
    let mut list = Vec::with_capacity(length.min(64));
    for _ in 0..length {
        list.push(entry(source)?);
    }
    Ok(list)
}

/// The statement of a program, whose shape the key knows.
fn statement(key: &VerifyingKey, source: &mut dyn Source) -> Result<Statement, Reject> {
    let program = &key.program;
    let mut tensors = |ids: &[circlet_core::program::TensorId]| -> Result<Vec<Vec<i32>>, Reject> {
        exactly(source, ids.len())?;
        ids.iter()
            .map(|id| {
                let shape = program.tensors.get(id.0 as usize).map_or((0, 0), |t| (t.rows, t.cols));
                let entries = u64::from(shape.0) * u64::from(shape.1);
                list(source, entries.min(1 << limits::LOG_ENTRIES), |s| s.signed())
            })
            .collect()
    };
    let (inputs, outputs) = (tensors(&program.inputs)?, tensors(&program.outputs)?);
    exactly(source, program.lists.len())?;
    let lists = program.lists.iter().map(|own| list(source, own.len.into(), |s| s.word()));
    Ok(Statement { inputs, outputs, lists: lists.collect::<Result<_, _>>()? })
}

fn exactly(source: &mut dyn Source, length: usize) -> Result<(), Reject> {
    if source.number()? == length as u64 { Ok(()) } else { Err(Reject::StatementShape) }
}

/// A proof, which says how long it is.
fn proof_of<T>(
    source: &mut dyn Source,
    verify: impl FnOnce(&mut dyn Source) -> Result<T, Reject>,
) -> Result<T, Reject> {
    let length = source.number()?;
    verify(&mut Take::new(source, length))
}

/// A conversation and the proofs of its turns.
fn chat(key: &DecoderKey, source: &mut dyn Source) -> Result<Chat, Reject> {
    // Every turn has a token, and all of them together no more than there are positions.
    let most = u64::from(key.decoder.positions) + 2;
    let left = core::cell::Cell::new(most);
    let some = |source: &mut dyn Source| -> Result<Vec<u32>, Reject> {
        let some = list(source, left.get(), |s| s.word())?;
        left.set(left.get().saturating_sub(some.len() as u64));
        Ok(some)
    };
    let turns = list(source, most, |source| Ok(Turn { given: some(source)?, generated: some(source)? }))?;
    let chat = Chat { turns };
    let proofs = source.number()?;
    if proofs != chat.turns.len() as u64 || proofs == 0 {
        return Err(Reject::Turns {
            turns: chat.turns.len(),
            proofs: proofs.try_into().unwrap_or(usize::MAX),
        });
    }
    let mut standing = None;
    for (index, turn) in chat.turns.iter().enumerate() {
        let next = proof_of(source, |proof| verify_turn_from(key, standing.as_ref(), turn, proof));
        standing = Some(next.map_err(|reason| reason.in_turn(index + 1))?);
    }
    Ok(chat)
}
