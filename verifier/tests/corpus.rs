//! Every file of a folder that `scripts/proof-fixtures` has made gets the verdict that is said there, for the reason that is
//! said there: as a whole, in pieces, and given part by part to the functions that know nothing of files.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::{env, fs};

use circlet_core::circuit::Circuit;
use circlet_core::decoder::Chat;
use circlet_core::file::{ContentError, HEADER, Header, Kind};
use circlet_core::hash::blake2s;
use circlet_core::protocol::Protocol;
use circlet_verifier::{
    Key, Proven, Refusal, Reject, Source, registered, registered_encoder, verify, verify_chat,
    verify_encoding, verify_files, verify_registration, verify_registration_file, verify_stream, verify_text,
    verify_with,
};
use serde_json::Value;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    PathBuf::from(env::var_os("CIRCLET_FIXTURES").expect("CIRCLET_FIXTURES names a folder"))
});

static CASES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let cases: Vec<Value> = serde_json::from_slice(&read("cases.json")).unwrap();
    assert!(cases.len() > 100);
    cases
});

fn read(name: &str) -> Vec<u8> {
    fs::read(FOLDER.join(name)).unwrap()
}

/// The files of a case: its key and its proof.
fn files(case: &Value) -> [Vec<u8>; 2] {
    ["key", "proof"].map(|file| read(case[file].as_str().unwrap()))
}

/// What was refused, and why.
fn told(refusal: &Refusal) -> (&'static str, String) {
    let what = match refusal {
        Refusal::Key(_) => "key",
        Refusal::Proof(_) => "file",
        Refusal::Reject(_) => "proof",
    };
    (what, refusal.to_string())
}

#[test]
#[ignore = "needs the folder CIRCLET_FIXTURES; scripts/mutants makes one"]
fn the_corpus_is_judged_as_it_says() {
    for case in &*CASES {
        let [key, proof] = files(case);
        let expected = match (&case["refused"], &case["reason"]) {
            (Value::Null, Value::Null) => None,
            (what, why) => Some((what.as_str().unwrap(), why.as_str().unwrap().to_owned())),
        };
        let whole = verify_files(&key, &proof);
        assert_eq!(whole.as_ref().err().map(told), expected, "{}", case["proof"]);
        if let Ok((key, _)) = &whole {
            assert_eq!(case["says"]["model"], key.name());
        }
        let Ok(key) = Key::from_file(&key) else { continue };
        let mut rest = proof.as_slice();
        let pieces = verify_stream(&key, |out| {
            // Seven bytes at a time near the beginning, then as many as fit.
            let most = if proof.len() - rest.len() < 4096 { 7 } else { out.len() };
            let (now, later) = rest.split_at(most.min(out.len()).min(rest.len()));
            out[..now.len()].copy_from_slice(now);
            rest = later;
            Some(now.len())
        });
        assert_eq!(pieces.err().as_ref().map(told), expected, "{} in pieces", case["proof"]);
    }
}

/// The proofs at the end of an accepted file: all that its payload has behind what it proves.
fn proofs(file: &[u8], proven: &Proven) -> Vec<Vec<u8>> {
    let mut payload = &file[HEADER..];
    let source: &mut dyn Source = &mut payload;
    let _: [u8; 32] = source.array().unwrap();
    let lists = |source: &mut dyn Source, count: usize| {
        for _ in 0..count {
            for _ in 0..source.number().unwrap() {
                source.number().unwrap();
            }
        }
    };
    let count = match proven {
        Proven::Program(statement) => {
            for tensors in [statement.inputs.len(), statement.outputs.len(), statement.lists.len()] {
                assert_eq!(source.number().unwrap(), tensors as u64);
                lists(source, tensors);
            }
            1
        }
        Proven::Text(_) => {
            lists(source, 1);
            source.number().unwrap();
            1
        }
        Proven::Encoding(_) => {
            lists(source, 2);
            1
        }
        Proven::Chat(_) => {
            let turns = source.number().unwrap() as usize;
            lists(source, 2 * turns);
            source.number().unwrap()
        }
    };
    let proof = |_| {
        let mut proof = vec![0; source.number().unwrap() as usize];
        source.read(&mut proof).unwrap();
        proof
    };
    (0..count).map(proof).collect()
}

#[test]
#[ignore = "needs the folder CIRCLET_FIXTURES; scripts/mutants makes one"]
fn parts_of_files_are_judged_like_files() {
    let mut seen = [0; 4];
    for case in CASES.iter().filter(|case| case["ok"] == true) {
        let [key, file] = files(case);
        let (key, proven) = verify_files(&key, &file).unwrap();
        let proofs = proofs(&file, &proven);
        let mut other = proofs.clone();
        *other[0].last_mut().unwrap() ^= 1;
        match (&key, &proven) {
            (Key::Program(key), Proven::Program(statement)) => {
                seen[0] += 1;
                let circuit = Circuit::new(&key.program).unwrap();
                let protocol =
                    Protocol::of_circuit(circuit, *key.profile.profile(), key.log_rows.into()).unwrap();
                assert_eq!(verify(key, statement, &proofs[0]), Ok(()));
                assert_eq!(verify_with(&protocol, key, statement, &proofs[0]), Ok(()));
                assert!(verify(key, statement, &other[0]).is_err());
                assert!(verify_with(&protocol, key, statement, &other[0]).is_err());
                // A tensor more, on either side.
                let (mut inputs, mut outputs) = (statement.clone(), statement.clone());
                inputs.inputs.push(Vec::new());
                outputs.outputs.push(Vec::new());
                assert_eq!(verify(key, &inputs, &proofs[0]), Err(Reject::StatementShape));
                assert_eq!(verify(key, &outputs, &proofs[0]), Err(Reject::StatementShape));
            }
            (Key::Decoder(key), Proven::Text(text)) => {
                seen[1] += 1;
                assert_eq!(verify_text(key, text, &proofs[0]), Ok(()));
                assert!(verify_text(key, text, &other[0]).is_err());
            }
            (Key::Decoder(key), Proven::Chat(chat)) => {
                seen[2] += 1;
                let turns = proofs.len();
                assert_eq!(verify_chat(key, chat, &proofs), Ok(()));
                assert!(matches!(verify_chat(key, chat, &other), Err(Reject::Turn { turn: 1, .. })));
                other.clone_from(&proofs);
                *other[turns - 1].last_mut().unwrap() ^= 1;
                let last = verify_chat(key, chat, &other).unwrap_err();
                assert!(matches!(last, Reject::Turn { turn, .. } if turn == turns), "{last}");
                other.pop();
                let fewer = Reject::Turns { turns, proofs: turns - 1 };
                assert_eq!(verify_chat(key, chat, &other), Err(fewer));
                let none = Chat { turns: Vec::new() };
                assert_eq!(
                    verify_chat::<Vec<u8>>(key, &none, &[]),
                    Err(Reject::Turns { turns: 0, proofs: 0 })
                );
            }
            (Key::Encoder(key), Proven::Encoding(encoding)) => {
                seen[3] += 1;
                assert_eq!(verify_encoding(key, encoding, &proofs[0]), Ok(()));
                assert!(verify_encoding(key, encoding, &other[0]).is_err());
            }
            _ => panic!("{}: another kind of key", case["proof"]),
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

#[test]
#[ignore = "needs the folder CIRCLET_FIXTURES; scripts/mutants makes one"]
fn registrations_are_judged() {
    for name in ["tiny", "bert"] {
        let key = Key::from_file(&read(&format!("{name}.vk"))).unwrap();
        let file = read(&format!("{name}.reg"));
        assert_eq!(verify_registration_file(&key, &file), Ok(()));
        // A byte more or less is damage; with the digest of a file that has it, it is something else.
        let damaged = [&file[..], &[0]].concat();
        assert_eq!(verify_registration_file(&key, &damaged), Err(Refusal::Proof(ContentError::Damaged)));
        let payload = &file[HEADER..];
        let judge = |payload: &[u8]| {
            let digest = blake2s::hash(blake2s::DIGEST, payload);
            let mut file = Header { kind: Kind::Registration, digest }.to_bytes();
            file.extend_from_slice(payload);
            verify_registration_file(&key, &file)
        };
        assert_eq!(judge(payload), Ok(()));
        assert_eq!(judge(&[payload, &[0]].concat()), Err(Refusal::Reject(Reject::TooLong)));
        assert!(judge(&payload[..payload.len() - 1]).is_err());
        let changed = |at: usize| {
            let mut payload = payload.to_vec();
            payload[at] ^= 1;
            judge(&payload)
        };
        assert!(matches!(changed(0), Err(Refusal::Reject(Reject::KeyDigest(_)))));
        assert_eq!(changed(32), Err(Refusal::Reject(Reject::StatementShape)));
        assert!(matches!(changed(payload.len() - 1), Err(Refusal::Reject(_))));

        let mut rest = payload;
        let source: &mut dyn Source = &mut rest;
        let _: [u8; 32] = source.array().unwrap();
        let mut proofs: Vec<Vec<u8>> = (0..source.number().unwrap())
            .map(|_| {
                let mut proof = vec![0; source.number().unwrap() as usize];
                source.read(&mut proof).unwrap();
                proof
            })
            .collect();
        let instance = match &key {
            Key::Decoder(key) => registered(key),
            Key::Encoder(key) => registered_encoder(key),
            Key::Program(key) => key.clone(),
        };
        assert_eq!(verify_registration(&instance, &proofs), Ok(()));
        *proofs[0].last_mut().unwrap() ^= 1;
        assert!(verify_registration(&instance, &proofs).is_err());
        proofs.pop();
        assert_eq!(verify_registration(&instance, &proofs), Err(Reject::StatementShape));
    }
}

/// What never ends is not read for ever.
#[test]
#[ignore = "needs the folder CIRCLET_FIXTURES; scripts/mutants makes one"]
fn endless_files_end() {
    let key = Key::from_file(&read("digits.vk")).unwrap();
    let file = read("digits.proof");
    let mut given = 0u64;
    let verdict = verify_stream(&key, |out| {
        for byte in &mut *out {
            *byte = usize::try_from(given).ok().and_then(|at| file.get(at)).copied().unwrap_or_default();
            given += 1;
        }
        Some(out.len())
    });
    let limit = Kind::Proof.limit();
    assert_eq!(verdict, Err(Refusal::Proof(ContentError::TooLarge { expected: Kind::Proof, limit })));
    assert!(given <= limit + (1 << 20), "{given}");
}
