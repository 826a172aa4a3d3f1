//! Keys of all three kinds, as files and as payloads: what a verifier does with one before it looks at a proof.

use circlet_core::decoder::{Text, Turn};
use circlet_core::encoder::Encoding;
use circlet_core::file::Kind;
use circlet_core::key::Statement;
use circlet_core::program::{List, Program, TensorId};
use circlet_verifier::{Key, verify, verify_encoding, verify_text, verify_turn};

use crate::fixtures::file;

/// Longest statements.
const SOME: u32 = 1024;

/// The first byte chooses the kind, the others are the payload.
pub fn key(data: &[u8]) {
    // As they are, they are hardly ever a file.
    let _ = Key::from_file(data);
    let Some((&first, payload)) = data.split_first() else { return };
    let kind = Key::KINDS[usize::from(first) % Key::KINDS.len()];
    let key = Key::from_payload(kind, payload);
    assert_eq!(Key::from_file(&file(kind, payload)).ok(), key, "a file and its payload");
    let Some(key) = key else { return };
    assert_eq!(encoded(&key), payload, "another encoding of the same key");
    assert_eq!(kind_of(&key), kind);
    assert_eq!(key.digest(), key.clone().digest());
    let _ = key.name();
    derive(&key);
}

fn encoded(key: &Key) -> Vec<u8> {
    match key {
        Key::Program(key) => key.to_bytes(),
        Key::Decoder(key) => key.to_bytes(),
        Key::Encoder(key) => key.to_bytes(),
    }
}

fn kind_of(key: &Key) -> Kind {
    match key {
        Key::Program(_) => Kind::Key,
        Key::Decoder(_) => Kind::ModelKey,
        Key::Encoder(_) => Kind::EncoderKey,
    }
}

/// Judges nothing as a proof of statements of several lengths: what that takes follows from the key.
fn derive(key: &Key) {
    match key {
        Key::Program(key) => {
            let statement = zeros(&key.program).unwrap_or_default();
            assert!(verify(key, &statement, &[]).is_err());
        }
        Key::Decoder(key) => {
            for count in lengths(key.decoder.positions) {
                let text =
                    Text { tokens: vec![key.decoder.prefix.unwrap_or(0); count + 1], prompt: count as u32 };
                assert!(verify_text(key, &text, &[]).is_err());
                let turn = Turn { given: text.tokens, generated: vec![0] };
                assert!(verify_turn(key, None, &turn, &[]).is_err());
            }
        }
        Key::Encoder(key) => {
            for count in lengths(key.encoder.positions) {
                let embedding = vec![0; key.encoder.width.min(SOME) as usize];
                let encoding = Encoding { tokens: vec![0; count], embedding };
                assert!(verify_encoding(key, &encoding, &[]).is_err());
            }
        }
    }
}

/// Numbers of tokens: few, and as many as there can be in a text of reasonable length.
fn lengths(positions: u32) -> [usize; 3] {
    [2, 5, positions.clamp(1, SOME) as usize]
}

/// A statement of zeros, if it is not too long.
fn zeros(program: &Program) -> Option<Statement> {
    let zeros = |ids: &[TensorId]| -> Option<Vec<Vec<i32>>> {
        let tensor = |id: &TensorId| {
            let tensor = program.tensors.get(id.0 as usize)?;
            let size = u64::from(tensor.rows) * u64::from(tensor.cols);
            (size <= SOME.into()).then(|| vec![0; size as usize])
        };
        ids.iter().map(tensor).collect()
    };
    let list = |list: &List| (list.len <= SOME).then(|| vec![0; list.len as usize]);
    let lists = program.lists.iter().map(list).collect::<Option<_>>()?;
    Some(Statement { inputs: zeros(&program.inputs)?, outputs: zeros(&program.outputs)?, lists })
}
