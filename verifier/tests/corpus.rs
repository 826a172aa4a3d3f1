//! Every file of a folder that `scripts/proof-fixtures` has made gets the verdict that is said there, for the reason that is
//! said there, as a whole and in pieces.

use std::env;
use std::fs;
use std::path::PathBuf;

use circlet_verifier::{Key, Refusal, verify_files, verify_stream};
use serde_json::Value;

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
    let folder = PathBuf::from(env::var_os("CIRCLET_FIXTURES").expect("CIRCLET_FIXTURES names a folder"));
    let read = |name: &Value| fs::read(folder.join(name.as_str().unwrap())).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&read(&"cases.json".into())).unwrap();
    assert!(cases.len() > 100);
    for case in &cases {
        let (key, proof) = (read(&case["key"]), read(&case["proof"]));
        let expected = match (&case["refused"], &case["reason"]) {
            (Value::Null, Value::Null) => None,
            (what, why) => Some((what.as_str().unwrap(), why.as_str().unwrap().to_owned())),
        };
        let whole = verify_files(&key, &proof).err();
        assert_eq!(whole.as_ref().map(told), expected, "{}", case["proof"]);
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
