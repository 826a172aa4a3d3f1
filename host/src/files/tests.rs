use circlet_core::decoder::{Chat, Turn};
use circlet_core::program::TensorId;

use std::fs;

use super::*;
use circlet_core::key::{Statement, VERSION};

const MAGIC_LEN: usize = 8;

fn decode<T: Format>(bytes: &[u8]) -> Result<T, ContentError> {
    super::decode(bytes.to_vec())
}

fn program() -> Program {
    let tensor = circlet_core::program::Tensor {
        name: "x".into(),
        rows: 1,
        cols: 300,
        bound: 8191,
        fraction_bits: -3,
    };
    Program {
        name: "test".into(),
        tensors: vec![tensor],
        constants: Vec::new(),
        tables: Vec::new(),
        ops: Vec::new(),
        inputs: vec![TensorId(0)],
        outputs: vec![TensorId(0)],
        lists: vec![],
    }
}

fn program_file() -> ProgramFile {
    ProgramFile {
        program: program(),
        data: Data { constants: vec![vec![1, -2, 300_000]], tables: vec![vec![0; 200]] },
        profile: ProfileId::P100J,
        suite: 1,
        key_digest: [7; 32],
        inputs: vec![InputPort { name: "x".into(), shape: vec![1, 300] }],
    }
}

fn key() -> VerifyingKey {
    VerifyingKey {
        program: program(),
        profile: ProfileId::P100U,
        log_rows: 10,
        suite: 2,
        fixed_cap: vec![[3; 32], [4; 32]],
        pin: None,
        member: None,
    }
}

fn proof_file() -> ProofFile {
    let statement =
        Statement { inputs: vec![vec![1, -1, 1 << 20]], outputs: vec![vec![i32::MIN]], lists: vec![] };
    ProofFile { key_digest: [9; 32], statement, proof: (0..=255).collect() }
}

fn text_file() -> TextFile {
    let text = circlet_core::decoder::Text { tokens: vec![1, 49_000, 7, 7], prompt: 2 };
    TextFile { key_digest: [5; 32], text, proof: (0..100).collect() }
}

fn chat_file() -> ChatFile {
    let turn =
        |given: &[u32], generated: &[u32]| Turn { given: given.to_vec(), generated: generated.to_vec() };
    let chat = Chat { turns: vec![turn(&[1, 49_000], &[7, 7]), turn(&[], &[3])] };
    ChatFile { key_digest: [6; 32], chat, proofs: vec![(0..90).collect(), vec![1]] }
}

fn every_truncation_and_flip_is_an_error<T: Format + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = encode(value);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
    assert_eq!(Kind::of(&bytes), Some(T::KIND));
    for length in 0..bytes.len() {
        let error = decode::<T>(&bytes[..length]).unwrap_err();
        let expected = if length == 0 {
            matches!(error, ContentError::Empty { .. })
        } else {
            matches!(error, ContentError::Truncated)
        };
        assert!(expected, "{length}: {error}");
    }
    for at in 0..bytes.len() {
        for mask in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(decode::<T>(&changed).is_err(), "byte {at} ^ {mask}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(decode::<T>(&longer), Err(ContentError::Damaged));
}

#[test]
fn files_round_trip_and_damage_is_found() {
    every_truncation_and_flip_is_an_error(&program_file());
    every_truncation_and_flip_is_an_error(&key());
    every_truncation_and_flip_is_an_error(&proof_file());
    every_truncation_and_flip_is_an_error(&text_file());
    every_truncation_and_flip_is_an_error(&chat_file());
}

/// A file with a correct digest around any payload.
fn sealed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = kind.magic().to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(checksum(kind, &[Bytes::copy_from_slice(payload)]));
    bytes.extend(payload);
    bytes
}

#[test]
fn a_correct_digest_does_not_make_a_payload_good() {
    let good = key().payload().concat();
    assert!(decode::<VerifyingKey>(&sealed(Kind::Key, &good)).is_ok());
    let malformed = |payload: &[u8]| {
        let error = decode::<VerifyingKey>(&sealed(Kind::Key, payload)).unwrap_err();
        assert!(matches!(error, ContentError::Malformed(_)), "{error}");
    };
    malformed(&[]);
    malformed(&good[..good.len() - 1]);
    malformed(&[&good[..], &[0]].concat());
    // A length far beyond the file, and the same small number in two bytes.
    malformed(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert_eq!(good[0], 4);
    malformed(&[&[0x84, 0x00][..], &good[1..]].concat());
    // Any change of a sealed payload gives another value or an error, and never the same value.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        if let Ok(value) = decode::<VerifyingKey>(&sealed(Kind::Key, &changed)) {
            assert_ne!(value, key());
        }
    }
}

#[test]
fn wrong_kinds_and_versions_are_named() {
    let proof = encode(&proof_file());
    let error = decode::<VerifyingKey>(&proof).unwrap_err();
    assert_eq!(error, ContentError::WrongKind { expected: Kind::Key, found: Kind::Proof });
    let error = decode::<VerifyingKey>(b"\x08\x08 some other file").unwrap_err();
    assert!(matches!(error, ContentError::Foreign { expected: Kind::Key, .. }), "{error}");
    let mut newer = proof;
    newer[MAGIC_LEN] = VERSION as u8 + 1;
    assert_eq!(decode::<ProofFile>(&newer), Err(ContentError::Version { found: VERSION + 1 }));
}

#[test]
fn outputs_replace_whole_files_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let outputs = Outputs::new([&a, &b], &[]).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    outputs.write([b"one", b"two"]).unwrap();
    assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);

    let refused = |paths: [&Path; 2], inputs: &[&Path]| {
        assert!(Outputs::new(paths, inputs).is_err());
    };
    refused([&a, &b], &[&dir.path().join("./b")]);
    refused([&a, &a], &[]);
    refused([&a, &dir.path().join("none/c")], &[]);
    refused([&a, dir.path()], &[]);
    refused([&a, Path::new("")], &[]);
    assert_eq!(fs::read(&a).unwrap(), b"one");

    let error = read::<VerifyingKey>(&dir.path().join("missing")).unwrap_err();
    assert!(matches!(error, FileError::Read { .. }));
    let error = read::<VerifyingKey>(dir.path()).unwrap_err();
    assert!(matches!(error, FileError::Read { .. }));
}

/// The digest of a model's payload is of its bytes, however they are cut into parts.
#[test]
fn parts_do_not_matter() {
    let bytes: Bytes = (0..5u32 << 20).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect::<Vec<_>>().into();
    let whole = checksum(Kind::Model, std::slice::from_ref(&bytes));
    for step in [999_999, 1 << 20, 3 << 20, bytes.len()] {
        let parts: Vec<Bytes> = (0..bytes.len())
            .step_by(step)
            .flat_map(|from| [Bytes::new(), bytes.slice(from..bytes.len().min(from + step))])
            .collect();
        assert_eq!(checksum(Kind::Model, &parts), whole);
        assert_eq!(checksum(Kind::Key, &parts), checksum(Kind::Key, std::slice::from_ref(&bytes)));
    }
    let digests: Vec<[u8; 32]> =
        bytes.chunks(1 << 20).map(|piece| blake2s::hash(blake2s::DIGEST, piece)).collect();
    assert_eq!(whole, blake2s::hash(blake2s::DIGEST, digests.as_flattened()));
    assert_ne!(whole, checksum(Kind::Model, &[bytes.slice(1..)]));
}

/// A model's payload in which only the digest is right.
#[test]
fn numbers_are_read_whole_or_not_at_all() {
    let shape = crate::llm::shape::Shape {
        name: "tiny",
        layers: 1,
        width: 8,
        ffn: 8,
        heads: 1,
        groups: 1,
        channels: 8,
        vocab: 6,
        qk_norm: false,
    };
    let (decoder, numbers) = shape.decoder(1, 6, 4);
    let head = Head {
        decoder,
        tokenizer: None,
        end: vec![5],
        logit_bits: 3,
        prefix: PrefixOrigin::None,
        profile: ProfileId::P100U,
        suite: 1,
        key_digest: [2; 32],
        accuracy: None,
    };
    let file = ModelFile { head, numbers };
    let good = file.payload().concat();
    let read = |payload: &[u8]| decode::<ModelFile>(&sealed(Kind::Model, payload));
    assert_eq!(read(&good).as_ref(), Ok(&file));
    let malformed = |payload: &[u8]| match read(payload) {
        Err(ContentError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(malformed(&[good.as_slice(), &[0]].concat()).contains("1 bytes follow"));
    let head = to_postcard(&file.head).len();
    for end in (0..head).step_by(7).chain(head..head + 40).chain(good.len() - 40..good.len()) {
        malformed(&good[..end]);
    }
    // More lists than there are, up to the largest number.
    for byte in 0..8 {
        let mut more = good.clone();
        more[head + byte] = 0xff;
        malformed(&more);
    }
    // A first list that is longer than the file, and one of no width.
    for (at, value) in [(head + 8 + 8, 0x7f), (head + 8, 3)] {
        let mut changed = good.clone();
        changed[at] = value;
        malformed(&changed);
    }
}
