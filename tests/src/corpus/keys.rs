//! Honest proofs under other keys, and keys that cannot be used.

use circlet::files::{Format, Kind, encode};
use circlet::keys::ProvingKey;
use circlet::prove::prove;
use circlet_core::field::M31;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::key::{Statement, VERSION, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::program::Op;

use super::lies::file;
use super::{Corpus, sealed};
use crate::programs;

/// All of them.
pub fn all(corpus: &mut Corpus) {
    let (program, data, inputs) = programs::mul();
    let key = ProvingKey::<Blake2sBlake2s>::new(program.clone(), data.clone(), ProfileId::P100U)
        .expect("a sound program");
    let (statement, proof) = prove(&key, &inputs).expect("an input with a result");
    let name = corpus.key("mul", &key.verifying);
    corpus.honest(&name, "mul", file(key.digest, &statement, &proof));

    // Other profiles and suites, whose proofs are good under their own keys alone.
    let pinned = ProvingKey::<Blake2sBlake2s>::new(program.clone(), data.clone(), ProfileId::P100J8)
        .expect("a sound program");
    let (_, pinned_proof) = prove(&pinned, &inputs).expect("an input with a result");
    let pinned_name = corpus.key("mul-johnson", &pinned.verifying);
    corpus.honest(&pinned_name, "mul-johnson", file(pinned.digest, &statement, &pinned_proof));
    let other =
        ProvingKey::<Poseidon2Blake2s>::new(program, data, ProfileId::P100U).expect("a sound program");
    let (_, other_proof) = prove(&other, &inputs).expect("an input with a result");
    let other_name = corpus.key("mul-suite", &other.verifying);
    corpus.honest(&other_name, "mul-suite", file(other.digest, &statement, &other_proof));
    for (what, proof) in [("johnson", &pinned_proof), ("suite", &other_proof)] {
        corpus.forged(&name, &format!("mul-of-{what}"), file(key.digest, &statement, proof));
    }
    corpus.forged(&pinned_name, "mul-johnson-of-unique", file(pinned.digest, &statement, &proof));
    corpus.forged(&other_name, "mul-suite-of-other", file(other.digest, &statement, &proof));
    // Under a key that it does not name.
    corpus.forged(&name, "mul-other-key", file(other.digest, &statement, &other_proof));
    corpus.forged("program.vk", "mul-other-program", file(key.digest, &statement, &proof));

    // A program whose sums could wrap.
    let (program, data, inputs) = programs::matmul();
    let sound = ProvingKey::<Blake2sBlake2s>::new(program, data, ProfileId::P100U).expect("a sound program");
    let (of_sound, proof_of_sound) = prove(&sound, &inputs).expect("an input with a result");
    let mut wraps = sound.verifying;
    wraps.program.constants[0].bound = 1 << 23;
    wraps.program.constants[0].row_l1 = 1 << 28;
    under(corpus, "may-wrap", &wraps, &of_sound, &proof_of_sound);

    unsound(corpus, &key.verifying, &statement, &proof);
    let mut pin = pinned.verifying.clone();
    if let Some(pin) = &mut pin.pin {
        pin[1] += M31::ONE;
    }
    under(corpus, "pin-other", &pin, &statement, &pinned_proof);
    unusable(corpus, &key.verifying, &file(key.digest, &statement, &proof));
}

/// A proof that names a key which is not its own.
fn under(corpus: &mut Corpus, what: &str, key: &VerifyingKey, statement: &Statement, proof: &[u8]) {
    let name = corpus.key(&format!("key-{what}"), key);
    corpus.forged(&name, &format!("key-{what}"), file(key.digest(), statement, proof));
}

/// Keys that can be read and that no proof is accepted under.
fn unsound(corpus: &mut Corpus, key: &VerifyingKey, statement: &Statement, proof: &[u8]) {
    let mut forge = |what: &str, edit: &dyn Fn(&mut VerifyingKey)| {
        let mut key = key.clone();
        edit(&mut key);
        under(corpus, what, &key, statement, proof);
    };
    for suite in [0, 3, 255] {
        forge(&format!("suite-{suite}"), &|key| key.suite = suite);
    }
    forge("renamed", &|key| key.program.name.push('2'));
    forge("cap-empty", &|key| key.fixed_cap.clear());
    forge("cap-short", &|key| {
        key.fixed_cap.pop();
    });
    forge("cap-long", &|key| key.fixed_cap.push([7; 32]));
    forge("cap-other", &|key| key.fixed_cap[5][0] ^= 1);
    forge("pin-too-many", &|key| key.pin = Some([M31::ONE; 4]));
    forge("pin-missing", &|key| key.profile = ProfileId::P100J8);
    forge("profile", &|key| {
        key.profile = ProfileId::Seed96C;
        key.pin = Some([M31::ONE; 4]);
    });
    forge("rows-more", &|key| key.log_rows += 1);
    forge("rows-none", &|key| key.log_rows = 0);
    forge("rows-most", &|key| key.log_rows = 255);
    forge("outputs-none", &|key| key.program.outputs.clear());
    forge("tensors-none", &|key| key.program.tensors.clear());
    forge("shift", &|key| {
        if let Some(Op::Mul { requantize, .. }) = key.program.ops.first_mut() {
            requantize.shift += 1;
        }
    });
    forge("too-large", &|key| {
        key.program.tensors.iter_mut().for_each(|t| (t.rows, t.cols) = (1 << 16, 1 << 16));
    });
}

/// Files that are no keys.
fn unusable(corpus: &mut Corpus, key: &VerifyingKey, proof: &[u8]) {
    let honest = encode(key);
    let payload = key.payload().concat();
    let mut forge = |what: &str, key: Vec<u8>| {
        let name = corpus.key_file(&format!("file-{what}"), key);
        corpus.forged(&name, &format!("file-{what}"), proof.to_vec());
    };
    forge("empty", Vec::new());
    forge("foreign", b"<!doctype html>".to_vec());
    forge("proof", proof.to_vec());
    for len in [5, 41, 42, honest.len() / 2, honest.len() - 1] {
        forge(&format!("cut-{len}"), honest[..len].to_vec());
    }
    let mut damaged = honest.clone();
    damaged[100] ^= 4;
    forge("damaged", damaged);
    for (what, version) in [("older", VERSION - 1), ("newer", VERSION + 1)] {
        let mut file = honest.clone();
        file[8..10].copy_from_slice(&version.to_le_bytes());
        forge(&format!("version-{what}"), file);
    }
    forge("longer", sealed(Kind::Key, &[payload.as_slice(), &[0]].concat()));
    forge("shorter", sealed(Kind::Key, &payload[..payload.len() - 1]));
    forge("as-decoder", sealed(Kind::ModelKey, &payload));
    forge("as-encoder", sealed(Kind::EncoderKey, &payload));
}
