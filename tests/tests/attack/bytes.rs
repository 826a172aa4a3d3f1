//! Proofs, keys and sources as bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use circlet::keys::ProvingKey;
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::prove;
use circlet_core::field::P;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::{P100_U, Profile, ProfileId};
use circlet_core::protocol::{Outline, Protocol};
use circlet_core::transcript::Label;
use circlet_tests::cheat::{Bench, TOY, sections};
use circlet_tests::programs::{self, Random};
use circlet_verifier::{Reject, verify, verify_with};

/// Bytes of a proof under a real profile.
#[test]
fn flipped_bytes() {
    let (program, data, inputs) = programs::matmul();
    let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, ProfileId::P100U).unwrap();
    let (statement, proof) = prove(&key, &inputs).unwrap();
    let judge = |proof: &[u8]| verify_with(&key.protocol, &key.verifying, &statement, proof);
    assert_eq!(judge(&proof), Ok(()));
    let mut places: BTreeSet<usize> = (0..proof.len()).step_by(61).collect();
    for part in sections(&key.protocol, proof.len()) {
        places.extend([part.start, part.start + part.len / 2, part.start + part.len - 1]);
    }
    let mut seen = BTreeSet::new();
    for place in places {
        for mask in [1, 0x80] {
            let mut changed = proof.clone();
            changed[place] ^= mask;
            let reject = judge(&changed).expect_err("a flipped bit");
            seen.insert(format!("{reject:?}"));
        }
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[test]
fn proofs_of_another_length() {
    let bench = Bench::new(programs::matmul(), TOY);
    let proof = bench.proof();
    let judge = |proof: &[u8]| bench.verify(&bench.statement, proof);
    assert_eq!(judge(&[]), Err(Reject::TooShort));
    for len in (0..proof.len()).step_by(23).chain([proof.len() - 1, proof.len() - 4]) {
        assert_eq!(judge(&proof[..len]), Err(Reject::TooShort), "{len} bytes");
    }
    for tail in [&[0u8][..], &[0; 4], &[255; 32], &proof] {
        assert_eq!(judge(&[&proof, tail].concat()), Err(Reject::TooLong));
    }
    assert!(judge(&proof[1..]).is_err());
    assert!(judge(&[&[0], &proof[..]].concat()).is_err());
    // A part is missing, or there twice.
    for part in sections(&bench.key.protocol, proof.len()) {
        let (head, tail) = (&proof[..part.start], &proof[part.start + part.len..]);
        assert!(judge(&[head, tail].concat()).is_err(), "without {part:?}");
        assert!(judge(&[&proof[..part.start + part.len], &proof[part.start..]].concat()).is_err());
    }
}

/// Elements of the field have one encoding.
#[test]
fn elements_that_are_not_canonical() {
    let bench = Bench::new(programs::matmul(), TOY);
    let proof = bench.proof();
    let parts = sections(&bench.key.protocol, proof.len());
    let (answers, fixed) = parts.split_last().unwrap();
    for part in fixed {
        if matches!(part.label, Label::Nonce | Label::WitnessRoot | Label::FoldedRoot | Label::FoldRoot) {
            continue;
        }
        // The digest of the evaluations is no element; they come later.
        if part.label == Label::RelationEvals && part.len == 32 {
            continue;
        }
        for place in (part.start..part.start + part.len).step_by(4) {
            for word in [P, P + 1, u32::MAX] {
                let mut changed = proof.clone();
                changed[place..place + 4].copy_from_slice(&word.to_le_bytes());
                assert_eq!(bench.verify(&bench.statement, &changed), Err(Reject::NonCanonical), "{part:?}");
            }
        }
    }
    // Rows of the fixed tree come first; the same value plus P is another encoding of it.
    let width = bench.key.protocol.stacking.matrix_columns[0];
    for place in (answers.start..answers.start + 40 * width).step_by(4) {
        let word = u32::from_le_bytes(proof[place..place + 4].try_into().unwrap());
        for word in [word + P, P, u32::MAX] {
            let mut changed = proof.clone();
            changed[place..place + 4].copy_from_slice(&word.to_le_bytes());
            assert_eq!(bench.verify(&bench.statement, &changed), Err(Reject::NonCanonical), "{place}");
        }
    }
}

/// Each nonce wrong, and of the others' transcripts.
#[test]
fn nonces() {
    struct Nonces {
        which: usize,
        seen: usize,
        change: u64,
    }
    impl Adversary for Nonces {
        fn nonce(&mut self, nonce: &mut u64) {
            if self.seen == self.which {
                *nonce ^= self.change;
            }
            self.seen += 1;
        }
    }
    let profile = Profile { pow_bits: 12, g_lookup: 12, g_wiring: 12, g_stack: 8, g_fold: 8, ..TOY };
    let bench = Bench::new(programs::matmul(), profile);
    assert_eq!(bench.lie(&mut Honest), Ok(()));
    let count = 3 + bench.key.protocol.stacking.stack_variables() as usize + 4;
    for which in 0..count {
        // Two wrong nonces may both be good by chance only with probability 2^-16.
        let verdicts = [1 << 40, 1 << 63].map(|change| bench.lie(&mut Nonces { which, seen: 0, change }));
        assert!(verdicts.contains(&Err(Reject::Work)), "nonce {which}: {verdicts:?}");
    }
    let mut cheat = Nonces { which: count, seen: 0, change: 1 };
    assert_eq!(bench.lie(&mut cheat), Ok(()));
    assert_eq!(cheat.seen, count);
    // The work that was done for another statement.
    let proof = bench.proof();
    let mut other = bench.statement.clone();
    other.inputs[0][0] ^= 1;
    assert_eq!(bench.verify(&other, &proof), Err(Reject::Work));
}

/// Keys with bytes changed, cut or added: refused, or another key. Nothing panics.
#[test]
fn changed_keys() {
    let bench = Bench::new(programs::residual(), TOY);
    let proof = bench.proof();
    let bytes = bench.key.verifying.to_bytes();
    assert_eq!(VerifyingKey::from_bytes(&bytes).as_ref(), Some(&bench.key.verifying));
    let mut decoded = 0;
    let body = bytes.len() - 32 * bench.key.verifying.fixed_cap.len();
    for place in (0..body).chain((body..bytes.len()).step_by(97)) {
        for mask in [1, 2, 16, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[place] ^= mask;
            let Some(key) = VerifyingKey::from_bytes(&changed) else { continue };
            decoded += 1;
            assert_ne!(key, bench.key.verifying);
            assert_ne!(key.digest(), bench.key.digest);
            // A few changes are only to large and slow programs.
            let cells: u64 = key
                .program
                .tensors
                .iter()
                .map(|t| (t.rows, t.cols))
                .chain(key.program.constants.iter().map(|c| (c.rows, c.cols)))
                .map(|(rows, cols)| u64::from(rows) * u64::from(cols))
                .sum();
            if cells < 1 << 20 {
                assert!(verify(&key, &bench.statement, &proof).is_err(), "byte {place} ^ {mask}");
            }
        }
    }
    assert!(decoded > 500, "{decoded} keys decode");
    for len in 0..bytes.len() {
        assert_eq!(VerifyingKey::from_bytes(&bytes[..len]), None);
    }
    assert_eq!(VerifyingKey::from_bytes(&[&bytes[..], &[0]].concat()), None);
}

#[test]
fn caps_of_another_length() {
    let bench = Bench::new(programs::matmul(), TOY);
    let proof = bench.proof();
    for len in [0, 1, 32, 63, 65, 128] {
        let mut key = bench.key.verifying.clone();
        key.fixed_cap.resize(len, [7; 32]);
        let verdict = verify_with(&bench.key.protocol, &key, &bench.statement, &proof);
        assert_eq!(verdict, Err(Reject::MalformedKey), "{len} digests");
    }
    // Another program with this commitment.
    let mut key = bench.key.verifying.clone();
    key.program = programs::mul().0;
    assert!(verify(&key, &bench.statement, &proof).is_err());
    let protocol = Protocol::new(&key.program, TOY).unwrap();
    assert!(verify_with(&protocol, &key, &bench.statement, &proof).is_err());
    assert_eq!(*ProfileId::P100U.profile(), P100_U);
}

/// No switch outside of the key turns a check off.
#[test]
fn nothing_but_the_key_decides() {
    fn visit(folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for package in ["core", "verifier"] {
        visit(&root.join(package).join("src"), &mut files);
        assert!(!root.join(package).join("build.rs").exists());
    }
    assert!(files.len() > 20);
    for (name, text) in files {
        for word in [
            "env!",
            "env::",
            "debug_assert",
            "debug_assertions",
            "overflow_checks",
            "unsafe ",
            "static mut",
            "thread_local",
            "AtomicBool",
            "include_bytes!",
            "include_str!",
            "unwrap()",
            "panic!",
        ] {
            // Tests may do as they like; they come last in a file.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let test = name.ends_with("tests.rs") || name.contains("/tests/");
            assert!(test || !code.contains(word), "{name}: {word}");
        }
        // Lints are for who writes the code, not for who runs it.
        let text = text.replace("#![cfg_attr(\n    not(test),\n    deny(\n        clippy::", "");
        for line in
            text.lines().filter(|line| ["cfg(", "cfg!(", "cfg_attr("].iter().any(|c| line.contains(c)))
        {
            let known = [
                "#[cfg(test)]",
                "#![cfg_attr(not(feature = \"std\"), no_std)]",
                // Steps and names, which only who executes a circuit has a use for.
                "#[cfg(feature = \"execute\")]",
                "cfg!(feature = \"execute\") && self.executable",
                // Whether a function is a call.
                "#[cfg_attr(target_pointer_width = \"32\", inline(never))]",
                "#[cfg_attr(not(target_pointer_width = \"32\"), inline)]",
            ];
            // A verifier names nothing, and has no code to do so.
            let nameless =
                name.ends_with("core/src/circuit/name.rs") && line == "#[cfg(not(feature = \"execute\"))]";
            assert!(nameless || known.contains(&line.trim()), "{name}: {line}");
        }
    }
}

/// Programs that nobody would write: several bytes of a key at random. Each has a protocol or is refused.
#[test]
fn odd_programs() {
    let mut random = Random(11);
    let (mut accepted, mut refused) = (0, 0);
    for (program, _, _) in programs::all() {
        let key = VerifyingKey {
            program,
            profile: ProfileId::P100U,
            log_rows: 8,
            suite: 1,
            fixed_cap: Vec::new(),
            pin: None,
            member: None,
        };
        let bytes = key.to_bytes();
        for _ in 0..1500 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(3) {
                let place = random.below(bytes.len() as u64) as usize;
                changed[place] = match random.below(4) {
                    0 => random.below(256) as u8,
                    1 => changed[place] ^ 1 << random.below(8),
                    2 => changed[place].wrapping_add(1),
                    _ => changed[random.below(bytes.len() as u64) as usize],
                };
            }
            let Some(key) = VerifyingKey::from_bytes(&changed) else { continue };
            match Outline::of_key(&key) {
                Ok(protocol) => {
                    accepted += 1;
                    let empty = Statement::default();
                    assert!(verify(&key, &empty, &[]).is_err());
                    let _ = protocol.sizes();
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}
