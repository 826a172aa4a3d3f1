//! The files of circlet.

use circlet::files::{
    ChatFile, EncoderFile, EncoderHead, EncodingFile, Format, Head, InputPort, ModelFile, PrefixOrigin,
    ProgramFile, ProofFile, RegistrationFile, TextFile,
};
use circlet::keys::ProvingKey;
use circlet::llm::encoder::wordpiece;
use circlet::llm::tokenizer::{self, Split};
use circlet::numbers::Numbers;
use circlet_core::file::Kind;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_tests::programs;
use circlet_verifier::Key;

use super::Seed;
use crate::fixtures;

/// A byte in front.
fn with(first: u8, bytes: &[u8]) -> Vec<u8> {
    [&[first], bytes].concat()
}

/// Keys of programs, with and without a pin, of a decoder and of an encoder.
pub fn keys(seeds: &mut Vec<Seed>) {
    let chosen = ["matmul", "mlp", "product", "map", "layernorm", "rewire", "residual", "center", "mean"];
    for (program, data, _) in programs::all() {
        if !chosen.contains(&program.name.as_str()) {
            continue;
        }
        let name = program.name.clone();
        let profile = if name == "mlp" { ProfileId::P100J } else { ProfileId::P100U };
        let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, profile).expect("a sound program");
        seeds.push(("key", name, with(0, &key.verifying.to_bytes())));
    }
    for fixture in fixtures::proofs() {
        match &fixture.key {
            Key::Decoder(key) => seeds.push(("key", "decoder".into(), with(1, &key.to_bytes()))),
            Key::Encoder(key) => seeds.push(("key", "encoder".into(), with(2, &key.to_bytes()))),
            Key::Program(_) => {}
        }
    }
    let file = fixtures::file(Kind::Key, &[1, 2, 3]);
    seeds.push(("key", "file".into(), file));
}

/// Compiled models. Those of language models and encoders have few of their numbers.
pub fn programs(seeds: &mut Vec<Seed>) {
    let mut push = |first: u8, name: &str, payload: Vec<bytes::Bytes>| {
        seeds.push(("program_file", name.into(), with(first, &payload.concat())));
    };
    let (program, data, _) = programs::no_shift();
    let program = ProgramFile {
        program,
        data,
        profile: ProfileId::P100U,
        suite: 1,
        key_digest: [1; 32],
        inputs: vec![InputPort { name: "x".into(), shape: vec![3, 5] }],
    };
    push(0, "program", program.payload());

    let few = |data: Data| -> Numbers {
        let few =
            |lists: Vec<Vec<i32>>| lists.into_iter().map(|list| list.into_iter().take(6).collect()).collect();
        Data { constants: few(data.constants), tables: few(data.tables) }.into()
    };
    let (decoder, data) = programs::decoder(1, 2, 1, true);
    let tokens = ["<s>", "a", "b", "ab", " ", "c", "\u{e9}"].map(|token| token.as_bytes().to_vec());
    let tokenizer = tokenizer::Data {
        tokens: tokens.to_vec(),
        merges: vec![(1, 2)],
        split: Split::Llama3,
        special: vec![0],
        unknown: Some(0),
        bos: Some(0),
        ..tokenizer::Data::default()
    };
    let head = Head {
        decoder,
        tokenizer: Some(tokenizer),
        end: vec![0],
        logit_bits: 3,
        prefix: PrefixOrigin::Marker("<s>".into()),
        profile: ProfileId::P100U,
        suite: 1,
        key_digest: [2; 32],
        accuracy: None,
    };
    push(1, "model", ModelFile { head, numbers: few(data) }.payload());

    let (encoder, data) = programs::encoder(1);
    let tokenizer = wordpiece::Data {
        tokens: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "eat", "##ing"].map(String::from).into(),
        continuation: "##".into(),
        unknown: 1,
        begin: 2,
        end: 3,
        pad: 0,
        longest: 100,
        clean: true,
        chinese: true,
        strip_accents: true,
        lowercase: true,
    };
    let head = EncoderHead {
        encoder,
        tokenizer: Some(tokenizer),
        bits: 8,
        profile: ProfileId::P100U,
        suite: 2,
        key_digest: [3; 32],
        accuracy: None,
    };
    push(2, "encoder", EncoderFile { head, numbers: few(data) }.payload());
    let registration =
        RegistrationFile { key_digest: [4; 32], proofs: vec![vec![1, 2, 3], vec![], vec![4; 200]] };
    push(4, "registration", registration.payload());
}

/// The beginnings of honest proofs, and whole ones, which are too long to be committed.
pub fn proofs(seeds: &mut Vec<Seed>) {
    const BEGINNING: usize = 64;
    for (index, fixture) in (0u8..).zip(fixtures::proofs()) {
        let payload = fixture.payload.as_slice();
        let name = format!("{:?}", fixture.kind).to_lowercase();
        let beginning = payload[32..].len().min(600);
        seeds.push(("proof", name.clone(), with(index, &payload[32..][..beginning])));
        seeds.push(("proof", format!("{name}-whole"), with(index, &payload[32..])));
        seeds.push(("statement", format!("{name}-whole"), with(index, &payload[32..])));
        // The statement with a proof that ends soon.
        let payload = bytes::Bytes::from_static(payload);
        let (kind, short) = match fixture.kind {
            Kind::Proof => (
                5,
                ProofFile::parse(&payload).map(|mut file| (file.proof.truncate(BEGINNING), file.payload()).1),
            ),
            Kind::Text => (
                6,
                TextFile::parse(&payload).map(|mut file| (file.proof.truncate(BEGINNING), file.payload()).1),
            ),
            Kind::Chat => (
                7,
                ChatFile::parse(&payload).map(|mut file| {
                    file.proofs.iter_mut().for_each(|proof| proof.truncate(BEGINNING));
                    file.payload()
                }),
            ),
            _ => (
                8,
                EncodingFile::parse(&payload)
                    .map(|mut file| (file.proof.truncate(BEGINNING), file.payload()).1),
            ),
        };
        let short = short.expect("an honest payload").concat();
        seeds.push(("statement", name.clone(), with(index, &short[32..])));
        seeds.push(("program_file", name, with(kind, &short)));
    }
    let registration = &fixtures::registration().payload;
    seeds.push(("proof", "registration".into(), with(4, &registration[32..][..600])));
    seeds.push(("proof", "registration-whole".into(), with(4, &registration[32..])));
}
