//! Honest files with other bytes.

use circlet::files::Kind;
use circlet_core::field::P;
use circlet_core::key::VERSION;
use circlet_core::transcript::Label;

use super::{Corpus, sealed};
use crate::cheat::Section;

/// An honest file, and where the parts of its proof are in its payload.
pub struct Target<'a> {
    /// Its key's file.
    pub key: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// What follows its header.
    pub payload: &'a [u8],
    /// Where its proof begins, after its length.
    pub start: usize,
    /// The parts of the proof, from its start.
    pub parts: &'a [Section],
}

/// The length of a number in the encoding of files.
fn width(number: usize) -> usize {
    (1..10).find(|groups| number >> (7 * groups) == 0).unwrap_or(10)
}

/// A number in that encoding, and so many empty groups more than it needs.
fn number(mut number: u64, empty: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    for _ in 0..empty {
        *bytes.last_mut().expect("a group") |= 0x80;
        bytes.push(0);
    }
    bytes
}

impl Target<'_> {
    fn forge(&self, corpus: &mut Corpus, what: &str, payload: &[u8]) {
        corpus.forged(self.key, &format!("{}-{what}", self.name), sealed(self.kind, payload));
    }

    fn proof(&self) -> &[u8] {
        &self.payload[self.start..]
    }

    /// The payload with another proof, whose length is told.
    fn with_proof(&self, proof: &[u8]) -> Vec<u8> {
        let head = &self.payload[..self.start - width(self.proof().len())];
        [head, &number(proof.len() as u64, 0), proof].concat()
    }

    /// The first, middle and last part of each label.
    fn some_parts(&self) -> Vec<(String, Section)> {
        let mut some = Vec::new();
        let mut labels: Vec<Label> = Vec::new();
        for part in self.parts.iter().filter(|part| part.len > 0) {
            if labels.contains(&part.label) {
                continue;
            }
            labels.push(part.label);
            let all: Vec<&Section> = self.parts.iter().filter(|p| p.label == part.label).collect();
            let mut places = vec![0, all.len() / 2, all.len() - 1];
            places.dedup();
            for place in places {
                some.push((format!("{:?}{place}", part.label).to_lowercase(), *all[place]));
            }
        }
        some
    }

    /// Every forgery of this module.
    pub fn all(&self, corpus: &mut Corpus) {
        self.cut(corpus);
        self.longer(corpus);
        self.flipped(corpus);
        self.lengths(corpus);
        self.not_canonical(corpus);
        self.moved(corpus);
        self.headers(corpus);
    }

    /// Some of them, for larger files.
    pub fn some(&self, corpus: &mut Corpus) {
        for (index, (name, part)) in self.some_parts().into_iter().enumerate() {
            let at = self.start + part.start;
            match index % 3 {
                0 => {
                    let mut payload = self.payload.to_vec();
                    payload[at + part.len / 2] ^= 1;
                    self.forge(corpus, &format!("flip-{name}"), &payload);
                }
                1 => self.forge(corpus, &format!("cut-{name}"), &self.payload[..at]),
                _ => {}
            }
        }
        self.lengths(corpus);
        self.forge(corpus, "tail", &[self.payload, &[0]].concat());
        self.forge(corpus, "nothing", &[]);
    }

    fn cut(&self, corpus: &mut Corpus) {
        for len in [0, 1, 31, 32, 33, self.start - 1, self.start, self.payload.len() - 1] {
            self.forge(corpus, &format!("cut-{len}"), &self.payload[..len]);
        }
        let proof = self.proof();
        for (name, part) in self.some_parts() {
            self.forge(corpus, &format!("cut-at-{name}"), &self.payload[..self.start + part.start]);
            // The length says so.
            let payload = self.with_proof(&proof[..part.start + part.len / 2]);
            self.forge(corpus, &format!("short-{name}"), &payload);
        }
    }

    fn longer(&self, corpus: &mut Corpus) {
        let proof = self.proof();
        for (name, tail) in [("zero", &[0][..]), ("more", &[255; 40])] {
            self.forge(corpus, &format!("tail-{name}"), &[self.payload, tail].concat());
            let payload = self.with_proof(&[proof, tail].concat());
            self.forge(corpus, &format!("long-{name}"), &payload);
        }
    }

    fn flipped(&self, corpus: &mut Corpus) {
        let mut flip = |name: String, at: usize, bit: usize| {
            let mut payload = self.payload.to_vec();
            payload[at] ^= 1 << (bit % 8);
            self.forge(corpus, &name, &payload);
        };
        for (index, (name, part)) in self.some_parts().into_iter().enumerate() {
            flip(format!("flip-{name}"), self.start + part.start + part.len * (index % 5) / 5, index);
        }
        // Rows, siblings, fold values: all answers to queries.
        let answers = self.parts.last().expect("answers to queries");
        for step in 0..12 {
            flip(
                format!("flip-answers-{step}"),
                self.start + answers.start + answers.len * (2 * step + 1) / 24,
                step,
            );
        }
        for at in [0, 20, 33, 35, self.start - 4, self.start - 1] {
            flip(format!("flip-head-{at}"), at, 1);
        }
    }

    fn lengths(&self, corpus: &mut Corpus) {
        let proof = self.proof();
        let head = &self.payload[..self.start - width(proof.len())];
        let len = proof.len() as u64;
        for (name, told) in [
            ("less", number(len - 1, 0)),
            ("more", number(len + 1, 0)),
            ("none", number(0, 0)),
            ("most", number(u64::MAX, 0)),
            ("wide", number(len, 1)),
            ("eleven", vec![0xff; 11]),
        ] {
            self.forge(corpus, &format!("length-{name}"), &[head, &told, proof].concat());
        }
        // The first number after the key's digest: how many inputs, tokens or turns.
        let own = u64::from(self.payload[32]);
        for (name, told) in [("none", 0), ("more", own + 1), ("many", 1 << 20), ("most", u64::MAX)] {
            let payload = [&self.payload[..32], &number(told, 0), &self.payload[33..]].concat();
            self.forge(corpus, &format!("count-{name}"), &payload);
        }
    }

    fn not_canonical(&self, corpus: &mut Corpus) {
        let elements = |label| {
            !matches!(
                label,
                Label::Nonce | Label::WitnessRoot | Label::StateRoot | Label::FoldedRoot | Label::FoldRoot
            )
        };
        let words = [P, P + 1, u32::MAX];
        let parts = self.some_parts().into_iter().filter(|(_, part)| elements(part.label));
        for (index, (name, part)) in parts.enumerate() {
            // The digest of the evaluations is no element.
            if part.label == Label::RelationEvals && part.len == 32 {
                continue;
            }
            let at = self.start + part.start + part.len / 8 * 4;
            let at = if part.label == Label::QueryIndex { self.start + part.start } else { at };
            let mut payload = self.payload.to_vec();
            payload[at..at + 4].copy_from_slice(&words[index % 3].to_le_bytes());
            self.forge(corpus, &format!("above-{name}"), &payload);
        }
        // The same element, otherwise encoded.
        let answers = self.start + self.parts.last().expect("answers to queries").start;
        let mut payload = self.payload.to_vec();
        let word = u32::from_le_bytes([0, 1, 2, 3].map(|byte| payload[answers + byte]));
        payload[answers..answers + 4].copy_from_slice(&(word + P).to_le_bytes());
        self.forge(corpus, "above-same", &payload);
    }

    /// Parts of the proof exchanged, left out, or there twice.
    fn moved(&self, corpus: &mut Corpus) {
        let proof = self.proof();
        for label in
            [Label::LookupRound, Label::LookupLayer, Label::RelationRound, Label::OpeningRound, Label::Nonce]
        {
            let all: Vec<&Section> = self.parts.iter().filter(|part| part.label == label).collect();
            let [first, .., last] = all[..] else { continue };
            let mut payload = self.payload.to_vec();
            for byte in 0..first.len {
                payload.swap(self.start + first.start + byte, self.start + last.start + byte);
            }
            self.forge(corpus, &format!("swapped-{label:?}").to_lowercase(), &payload);
        }
        for (index, (name, part)) in self.some_parts().into_iter().enumerate() {
            let (from, to) =
                if index % 2 == 0 { (part.start + part.len, "without") } else { (part.start, "twice") };
            let until = if index % 2 == 0 { part.start } else { part.start + part.len };
            let payload = self.with_proof(&[&proof[..until], &proof[from..]].concat());
            self.forge(corpus, &format!("{to}-{name}"), &payload);
        }
        let answers = self.parts.last().expect("answers to queries").start;
        let payload = self.with_proof(&[&proof[answers..], &proof[..answers]].concat());
        self.forge(corpus, "answers-first", &payload);
    }

    /// Headers that are wrong.
    fn headers(&self, corpus: &mut Corpus) {
        let honest = sealed(self.kind, self.payload);
        let mut forge = |name: &str, file: &[u8]| {
            corpus.forged(self.key, &format!("{}-file-{name}", self.name), file.to_vec());
        };
        for len in [0, 1, 7, 8, 9, 41, 42, 100, honest.len() / 2, honest.len() - 1] {
            forge(&format!("cut-{len}"), &honest[..len]);
        }
        for (name, version) in [("older", VERSION - 1), ("newer", VERSION + 1), ("none", 0)] {
            let mut file = honest.clone();
            file[8..10].copy_from_slice(&version.to_le_bytes());
            forge(&format!("version-{name}"), &file);
        }
        for kind in Kind::ALL.into_iter().filter(|&kind| kind != self.kind) {
            forge(&format!("as-{kind:?}").to_lowercase(), &sealed(kind, self.payload)[..400]);
        }
        for (name, at) in [
            ("magic", 3),
            ("checksum", 20),
            ("digest", 50),
            ("middle", honest.len() / 2),
            ("end", honest.len() - 1),
        ] {
            let mut file = honest.clone();
            file[at] ^= 0x40;
            forge(&format!("damaged-{name}"), &file);
        }
        forge("text", b"<!doctype html>");
        forge("longer", &[honest.as_slice(), &[0]].concat());
    }
}

/// A few changes of a file of which nothing is known.
pub fn few(corpus: &mut Corpus, key: &str, name: &str, kind: Kind, payload: &[u8]) {
    let last = payload.len().saturating_sub(1);
    // The digest of the key comes first, then what is said.
    for (what, at, bit) in
        [("statement", 38, 1), ("early", last / 20, 0), ("middle", last / 2, 3), ("last", last, 0)]
    {
        let mut payload = payload.to_vec();
        payload[at] ^= 1 << bit;
        corpus.forged(key, &format!("{name}-{what}"), sealed(kind, &payload));
    }
}
