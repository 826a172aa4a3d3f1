//! Small keys of every kind with an honest proof under each, made once in a process.

use std::sync::OnceLock;

use circlet::files::{ChatFile, EncodingFile, Format, ProofFile, TextFile};
use circlet::keys::ProvingKey;
use circlet::llm::chat::Standing;
use circlet::llm::encoder::prover::EncoderProver;
use circlet::llm::prover::DecoderProver;
use circlet::prove::prove;
use circlet::register::register;
use circlet_core::decoder::{Chat, Text, Turn};
use circlet_core::encoder::Encoding;
use circlet_core::file::{Header, Kind, RegistrationFile};
use circlet_core::hash::blake2s;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_tests::programs;
use circlet_verifier::Key;

/// A key and the payload of a file that it accepts.
pub struct Fixture {
    /// The key.
    pub key: Key,
    /// The kind of file.
    pub kind: Kind,
    /// What the file holds after its header.
    pub payload: Vec<u8>,
}

/// A program, a text, a conversation of two turns, and a sentence.
pub fn proofs() -> &'static [Fixture] {
    static MADE: OnceLock<Vec<Fixture>> = OnceLock::new();
    MADE.get_or_init(|| {
        let [text, chat] = texts();
        vec![program(), text, chat, encoding()]
    })
}

/// A registration of a program's numbers.
pub fn registration() -> &'static Fixture {
    static MADE: OnceLock<Fixture> = OnceLock::new();
    MADE.get_or_init(|| {
        let (program, data, _) = programs::matmul_pow2();
        let key =
            ProvingKey::<Blake2sBlake2s>::new(program, data, ProfileId::P100U).expect("a sound program");
        let proofs = register(&key, |_, _| {}).expect("numbers within their bounds");
        let file = RegistrationFile { key_digest: key.digest, proofs };
        fixture(Key::Program(key.verifying), Kind::Registration, &file)
    })
}

fn fixture(key: Key, kind: Kind, file: &impl Format) -> Fixture {
    Fixture { key, kind, payload: file.payload().concat() }
}

fn program() -> Fixture {
    let (program, data, inputs) = programs::matmul();
    let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, ProfileId::P100U).expect("a sound program");
    let (statement, proof) = prove(&key, &inputs).expect("an input with a result");
    let file = ProofFile { key_digest: key.digest, statement, proof };
    fixture(Key::Program(key.verifying), Kind::Proof, &file)
}

fn texts() -> [Fixture; 2] {
    let (decoder, data) = programs::decoder(1, 2, 1, true);
    let prover = DecoderProver::<Blake2sBlake2s>::new(decoder, &data, ProfileId::P100U);
    let prover = prover.expect("a sound decoder");
    let (key, key_digest) = (prover.key.clone(), prover.key.digest());

    let mut tokens = programs::prompt(&key.decoder, 3);
    let prompt = tokens.len() as u32;
    for _ in 0..2 {
        tokens.push(prover.runner.next(&tokens).expect("a short text"));
    }
    let run = prover.run(Text { tokens, prompt }).expect("a greedy text");
    let text = TextFile { key_digest, text: run.text.clone(), proof: run.prove().expect("a proof") };

    let (mut chat, mut proofs, mut standing) = (Chat::default(), Vec::new(), Standing::default());
    for given in [programs::prompt(&key.decoder, 2), vec![5]] {
        let generated = prover.runner.generate(&standing, &given, 1, &[], |_| {}).expect("a short turn");
        let turn = Turn { given, generated };
        let run = prover.run_turn(&standing, &turn).expect("a greedy turn");
        proofs.push(run.prove().expect("a proof"));
        standing = run.standing;
        chat.turns.push(turn);
    }
    let chat = ChatFile { key_digest, chat, proofs };
    let key = Key::Decoder(key);
    [fixture(key.clone(), Kind::Text, &text), fixture(key, Kind::Chat, &chat)]
}

fn encoding() -> Fixture {
    let (encoder, data) = programs::encoder(1);
    let prover = EncoderProver::<Blake2sBlake2s>::new(encoder, &data, ProfileId::P100J8);
    let prover = prover.expect("a sound encoder");
    let run = prover.run(&[7, 1, 40]).expect("a short sentence");
    let encoding =
        Encoding { tokens: run.encoding.tokens.clone(), embedding: run.encoding.embedding.clone() };
    let file =
        EncodingFile { key_digest: prover.key.digest(), encoding, proof: run.prove().expect("a proof") };
    fixture(Key::Encoder(prover.key), Kind::Encoding, &file)
}

/// A file of this payload.
pub fn file(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let digest = match kind {
        // Of a compiled language model or encoder, the digest of those of its pieces of 2^20 bytes.
        Kind::Model | Kind::Encoder => {
            let pieces: Vec<_> =
                payload.chunks(1 << 20).map(|piece| blake2s::hash(blake2s::DIGEST, piece)).collect();
            blake2s::hash(blake2s::DIGEST, pieces.as_flattened())
        }
        _ => blake2s::hash(blake2s::DIGEST, payload),
    };
    [Header { kind, digest }.to_bytes(), payload.to_vec()].concat()
}
