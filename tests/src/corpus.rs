//! A corpus of proofs' files, honest and forged, for verifiers everywhere.
//!
//! Forged files have right headers and checksums (but for those whose header is the forgery), so that the verifier has to
//! judge them. They are forged in three ways: `bytes` changes honest files, `lies` and `models` let cheating provers
//! make new ones, and `keys` presents honest ones under other keys. The verdict on each is that of the slow and obvious
//! way: [`verify_files`] over whole files. Everything is made from fixed seeds: two runs give the same files.

mod bytes;
mod keys;
mod lies;
mod models;

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use circlet::files::{Format, Header, Kind, encode};
use circlet_core::hash::blake2s;
use circlet_verifier::{Key, Proven, Refusal, verify_files};
use serde_json::{Value, json};

/// A proof's file under a key's file.
pub struct Case {
    /// Name of the key's file.
    pub key: String,
    /// Name of the proof's file.
    pub proof: String,
    /// The verdict.
    pub verdict: Result<(Key, Proven), Refusal>,
}

/// Files and the verdicts on them.
#[derive(Default)]
pub struct Corpus {
    /// Contents of files, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is to be judged, the honest before what is forged from it.
    pub cases: Vec<Case>,
}

impl Corpus {
    /// Small models of every kind, honest proofs and forged ones.
    pub fn small() -> Self {
        let mut corpus = Self::default();
        lies::program(&mut corpus);
        keys::all(&mut corpus);
        models::all(&mut corpus);
        corpus
    }

    /// Adds an honest proof, which has to be accepted, and changes of its bytes.
    pub fn foreign(&mut self, key: &str, proof: &str, files: [Vec<u8>; 2]) {
        let [of_key, of_proof] = files;
        self.files.insert(key.into(), of_key);
        let payload = of_proof.get(circlet::files::HEADER..).unwrap_or_default().to_vec();
        let kind = Kind::of(&of_proof).unwrap_or(Kind::Proof);
        self.honest(key, proof.trim_end_matches(".proof"), of_proof);
        bytes::few(self, key, proof.trim_end_matches(".proof"), kind, &payload);
    }

    /// Adds a file of a key.
    fn key(&mut self, name: &str, key: &impl Format) -> String {
        self.key_file(name, encode(key))
    }

    fn key_file(&mut self, name: &str, bytes: Vec<u8>) -> String {
        let name = format!("{name}.vk");
        assert_eq!(self.files.insert(name.clone(), bytes), None, "two files {name}");
        name
    }

    /// Adds a proof that has to be accepted.
    fn honest(&mut self, key: &str, name: &str, proof: Vec<u8>) {
        let case = self.case(key, name, proof);
        assert!(case.verdict.is_ok(), "{name}: {:?}", case.verdict.as_ref().err());
        self.cases.push(case);
    }

    /// Adds a proof that must not be accepted.
    fn forged(&mut self, key: &str, name: &str, proof: Vec<u8>) {
        let case = self.case(key, name, proof);
        assert!(case.verdict.is_err(), "{name} is accepted");
        self.cases.push(case);
    }

    fn case(&mut self, key: &str, name: &str, proof: Vec<u8>) -> Case {
        let (key, name) = (key.to_owned(), format!("{name}.proof"));
        let verdict = verify_files(&self.files[&key], &proof);
        let other = self.files.insert(name.clone(), proof);
        assert_eq!(other, None, "two files {name}");
        Case { key, proof: name, verdict }
    }

    /// Writes all files, and `cases.json`, which lists the cases.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes)?;
        }
        let cases: Vec<Value> = self.cases.iter().map(Case::json).collect();
        fs::write(folder.join("cases.json"), format!("{:#}\n", Value::from(cases)))
    }
}

impl Case {
    /// What is refused, in the words of all bindings.
    fn refused(&self) -> Option<&'static str> {
        self.verdict.as_ref().err().map(|refusal| match refusal {
            Refusal::Key(_) => "key",
            Refusal::Proof(_) => "file",
            Refusal::Reject(_) => "proof",
        })
    }

    /// The names of the files; whether the proof is accepted; if not, what is refused and why; and what was proven, in
    /// the words of `circlet verify --json`.
    fn json(&self) -> Value {
        json!({
            "key": self.key,
            "proof": self.proof,
            "ok": self.verdict.is_ok(),
            "refused": self.refused(),
            "reason": self.verdict.as_ref().err().map(Refusal::to_string),
            "says": self.verdict.as_ref().ok().map(|(key, proven)| says(key, proven)),
        })
    }
}

fn says(key: &Key, proven: &Proven) -> Value {
    let digest = key.digest().iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    let mut says = match proven {
        Proven::Program(statement) => {
            json!({ "input_integers": statement.inputs, "output_integers": statement.outputs })
        }
        Proven::Text(text) => {
            let (prompt, rest) = text.tokens.split_at((text.prompt as usize).min(text.tokens.len()));
            json!({ "prompt_tokens": prompt, "text_tokens": rest })
        }
        Proven::Chat(chat) => {
            let turn = |turn: &circlet_core::decoder::Turn| json!({ "prompt_tokens": turn.given, "text_tokens": turn.generated });
            json!({ "turns": chat.turns.iter().map(turn).collect::<Vec<_>>() })
        }
        Proven::Encoding(encoding) => {
            json!({ "tokens": encoding.tokens, "embedding_integers": encoding.embedding })
        }
    };
    says["key"] = digest.into();
    says["model"] = key.name().into();
    says
}

/// A file with the checksum that its payload has.
fn sealed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let digest = blake2s::hash(blake2s::DIGEST, payload);
    [Header { kind, digest }.to_bytes(), payload.to_vec()].concat()
}
