//! The statement before a proof, which a verifier decodes as it comes: numbers, lists and whole payloads are read as
//! postcard and serde read them, in the canonical encoding alone.

use std::fmt::Debug;

use bytes::Bytes;
use circlet::files::{ChatFile, EncodingFile, Format, ProofFile, TextFile};
use circlet_core::file::Kind;
use circlet_verifier::{
    Key, Proven, Reject, Source, verify, verify_chat, verify_encoding, verify_payload, verify_text,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fixtures::{Fixture, proofs};

/// The first byte chooses the key; the others are a number, and what follows the key's digest in a payload.
pub fn statement(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    number(rest, |source| source.number());
    number(rest, |source| source.word());
    number(rest, |source| source.signed());

    let all = proofs();
    let Fixture { key, kind, .. } = &all[usize::from(first) % all.len()];
    let payload = [key.digest().as_slice(), rest].concat();
    let streamed = verify_payload(key, *kind, &mut payload.as_slice());
    match decoded(key, *kind, &payload) {
        None => assert!(streamed.is_err(), "accepted, but it does not decode: {streamed:?}"),
        Some(verdict) => assert_eq!(coarse(streamed), coarse(verdict)),
    }
}

/// A number as it comes, and by serde.
fn number<T: Serialize + DeserializeOwned + Debug + PartialEq>(
    bytes: &[u8],
    read: impl Fn(&mut dyn Source) -> Result<T, Reject>,
) {
    let mut rest = bytes;
    let streamed = read(&mut rest).ok().map(|value| (value, rest));
    let decoded = postcard::take_from_bytes::<T>(bytes).ok().filter(|(value, rest)| {
        let canonical = postcard::to_allocvec(value).expect("numbers encode");
        canonical == bytes[..bytes.len() - rest.len()]
    });
    assert_eq!(streamed, decoded);
}

/// The verdict on what serde makes of a payload, if it makes anything of it.
fn decoded(key: &Key, kind: Kind, payload: &[u8]) -> Option<Result<Proven, Reject>> {
    let payload = Bytes::copy_from_slice(payload);
    Some(match (key, kind) {
        (Key::Program(key), _) => {
            let file = ProofFile::parse(&payload).ok()?;
            verify(key, &file.statement, &file.proof).map(|()| Proven::Program(file.statement))
        }
        (Key::Decoder(key), Kind::Chat) => {
            let file = ChatFile::parse(&payload).ok()?;
            verify_chat(key, &file.chat, &file.proofs).map(|()| Proven::Chat(file.chat))
        }
        (Key::Decoder(key), _) => {
            let file = TextFile::parse(&payload).ok()?;
            verify_text(key, &file.text, &file.proof).map(|()| Proven::Text(file.text))
        }
        (Key::Encoder(key), _) => {
            let file = EncodingFile::parse(&payload).ok()?;
            verify_encoding(key, &file.encoding, &file.proof).map(|()| Proven::Encoding(file.encoding))
        }
    })
}

/// A verdict in which all refusals of a statement are one: who reads a list to its end before it looks at its entries
/// gives another one of them than who does not.
fn coarse(verdict: Result<Proven, Reject>) -> Result<Proven, Reject> {
    verdict.map_err(|reject| match reject {
        Reject::StatementRange | Reject::Text(_) | Reject::Sentence(_) | Reject::Turns { .. } => {
            Reject::StatementShape
        }
        Reject::Turn { turn, reason } => match *reason {
            Reject::Text(_) => Reject::StatementShape,
            reason => Reject::Turn { turn, reason: Box::new(reason) },
        },
        other => other,
    })
}
