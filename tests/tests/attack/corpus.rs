//! The corpus of forged proofs: none is accepted, no reason is missing, and pieces do not matter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use circlet_core::file::ContentError;
use circlet_tests::corpus::Corpus;
use circlet_verifier::{Key, Refusal, Reject, verify_stream};

static CORPUS: LazyLock<Corpus> = LazyLock::new(Corpus::small);

/// Reasons to reject that no file has, and why.
const UNREACHABLE: [(&str, &str); 3] = [
    ("OtherKey", "a conversation's file has one key; only a caller who verifies turn by turn can change it"),
    ("OtherKind", "a file begins with its kind, and one that is not for the key is refused for that"),
    ("Unread", "a file that is there can be read"),
];

/// Reasons to refuse a key's file that are not in the corpus, and why.
const KEY_UNREACHABLE: [(&str, &str); 1] =
    [("TooLarge", "it takes 64 MiB; the tests of C and JavaScript make such files")];

/// The same for a proof's file.
const PROOF_UNREACHABLE: [(&str, &str); 2] = [
    ("TooLarge", "it takes 256 MiB; the tests of C and JavaScript make such files"),
    ("Malformed", "what follows a proof's header is read by the verifier, which has its own reasons"),
];

/// The variants of an enum, from its source: those that are added later are among them.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(source);
    let text = fs::read_to_string(path).unwrap();
    let (_, body) = text.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let own = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    own.map(variant).collect()
}

/// The name before a variant's fields.
fn variant(text: &str) -> String {
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The variants of all reasons that a rejection has.
fn reasons(reject: &Reject, found: &mut BTreeSet<String>) {
    found.insert(variant(&format!("{reject:?}")));
    if let Reject::Turn { reason, .. } = reject {
        reasons(reason, found);
    }
}

/// Nothing is missing, and nothing is said to be missing that is there.
#[track_caller]
fn complete(all: &BTreeSet<String>, found: &BTreeSet<String>, excused: &[(&str, &str)]) {
    let missing: BTreeSet<String> = all.difference(found).cloned().collect();
    let excused: BTreeSet<String> = excused.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(missing, excused);
}

#[test]
fn nothing_forged_is_accepted_and_every_reason_occurs() {
    // That forged ones are rejected and honest ones are not is asserted where they are added.
    let forged: Vec<&Refusal> = CORPUS.cases.iter().filter_map(|case| case.verdict.as_ref().err()).collect();
    assert!(forged.len() >= 100, "{} forgeries", forged.len());
    assert!(CORPUS.cases.len() - forged.len() >= 5);

    let [mut rejects, mut keys, mut proofs] = [(); 3].map(|()| BTreeSet::new());
    for refusal in forged {
        match refusal {
            Refusal::Reject(reject) => reasons(reject, &mut rejects),
            Refusal::Key(content) => drop(keys.insert(variant(&format!("{content:?}")))),
            Refusal::Proof(content) => drop(proofs.insert(variant(&format!("{content:?}")))),
        }
    }
    complete(&variants("verifier/src/reject.rs", "Reject"), &rejects, &UNREACHABLE);
    let content = variants("core/src/file.rs", "ContentError");
    assert!(content.contains(&variant(&format!("{:?}", ContentError::Damaged))));
    complete(&content, &keys, &KEY_UNREACHABLE);
    complete(&content, &proofs, &PROOF_UNREACHABLE);
}

/// Reasons that say more have every way of saying it: each stage, and each kind of text and sentence that there is not.
#[test]
fn reasons_with_details() {
    let reasons: BTreeSet<String> = CORPUS
        .cases
        .iter()
        .filter_map(|case| match case.verdict.as_ref().err() {
            Some(Refusal::Reject(Reject::Turn { reason, .. })) => Some(format!("{reason:?}")),
            Some(Refusal::Reject(reject)) => Some(format!("{reject:?}")),
            _ => None,
        })
        .collect();
    for start in [
        "FinalClaim(Lookup)",
        "FinalClaim(Relation)",
        "FinalClaim(Opening)",
        "Promise(Relation)",
        "Text(Prefix",
        "Text(Empty",
        "Text(TooLong",
        "Text(Token",
        "Sentence(Empty",
        "Sentence(Token",
        "Key(MayWrap",
        "Key(Malformed",
        "Key(Profile",
    ] {
        assert!(reasons.iter().any(|reason| reason.starts_with(start)), "{start}: {reasons:#?}");
    }
}

/// The verdict on a file that comes in pieces is that on the whole.
#[test]
fn pieces_have_the_verdict_of_the_whole() {
    for case in &CORPUS.cases {
        let Ok(key) = Key::from_file(&CORPUS.files[&case.key]) else { continue };
        let file = &CORPUS.files[&case.proof];
        let expected = case.verdict.clone().map(|(_, proven)| proven);
        for most in [1, 7, usize::MAX] {
            let mut rest = file.as_slice();
            let verdict = verify_stream(&key, |out| {
                let count = rest.len().min(out.len()).min(most);
                out[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Some(count)
            });
            assert_eq!(verdict, expected, "{} in pieces of {most}", case.proof);
        }
    }
}

/// A source that fails is the reason wherever it fails, and nothing is asked of it afterwards.
#[test]
fn sources_that_fail() {
    let case = &CORPUS.cases[0];
    let (key, file) = (Key::from_file(&CORPUS.files[&case.key]).unwrap(), &CORPUS.files[&case.proof]);
    for failure in (0..50).chain((50..file.len()).step_by(997)) {
        let (mut at, mut failed) = (0, false);
        let verdict = verify_stream(&key, |out| {
            assert!(!failed, "asked again");
            failed = at == failure;
            if failed {
                return None;
            }
            let byte = file.get(at..=at)?;
            out.split_at_mut(1).0.copy_from_slice(byte);
            at += 1;
            Some(1)
        });
        assert_eq!(verdict, Err(Refusal::Reject(Reject::Unread)), "byte {failure}");
    }
}

/// The list that everything else is compared with has all cases, and the folder all files.
#[test]
fn the_folder_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    CORPUS.write(folder.path()).unwrap();
    let text = fs::read_to_string(folder.path().join("cases.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(list.len(), CORPUS.cases.len());
    for (entry, case) in list.iter().zip(&CORPUS.cases) {
        for name in ["key", "proof"] {
            let file = fs::read(folder.path().join(entry[name].as_str().unwrap())).unwrap();
            assert_eq!(file, CORPUS.files[entry[name].as_str().unwrap()]);
        }
        assert_eq!(entry["ok"], case.verdict.is_ok());
        assert_eq!(
            entry["reason"].as_str().map(str::to_owned),
            case.verdict.as_ref().err().map(Refusal::to_string)
        );
        assert_eq!(entry["says"].is_null(), entry["refused"].is_string());
    }
    let names: BTreeSet<&String> = CORPUS.files.keys().collect();
    let used: BTreeSet<&String> = CORPUS.cases.iter().flat_map(|case| [&case.key, &case.proof]).collect();
    assert_eq!(names, used);
}
