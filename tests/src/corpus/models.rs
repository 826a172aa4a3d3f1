//! Texts, conversations and sentences that their models do not say: statements of other tokens or numbers, and proofs by
//! provers who change what the model computes on its way.

use circlet::execute::{State, Trace, count_multiplicities};
use circlet::files::{ChatFile, EncodingFile, Format, Kind, TextFile, encode};
use circlet::keys::ProvingKey;
use circlet::llm::chat::{Standing, TurnRun};
use circlet::llm::encoder::prover::{EncoderProver, Run as EncoderRun};
use circlet::llm::prover::{DecoderProver, Run};
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::prove_trace;
use circlet_core::circuit::Tree;
use circlet_core::decoder::{Chat, DecoderKey, Text, Turn};
use circlet_core::encoder::Encoding;
use circlet_core::field::M31;
use circlet_core::hash::suite::Blake2sBlake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_core::transcript::Label;

use super::bytes::Target;
use super::lies::{Codewords, Word, file};
use super::{Corpus, sealed};
use crate::attack::{Change, column, replay_after};
use crate::cheat::{change_rows, sections};
use crate::liars::{LookupLiar, OpeningLiar};
use crate::programs;

type Suite = Blake2sBlake2s;
/// A change of what is said, and its name.
type Edit<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// All of them.
pub fn all(corpus: &mut Corpus) {
    let (decoder, data) = programs::decoder(1, 2, 1, true);
    let prover = DecoderProver::<Suite>::new(decoder, &data, ProfileId::P100U).expect("a sound decoder");
    let key = corpus.key("decoder", &prover.key);
    text(corpus, &key, &prover, &data);
    let (decoder, data) = programs::decoder(1, 2, 1, false);
    let prover = DecoderProver::<Suite>::new(decoder, &data, ProfileId::P100U).expect("a sound decoder");
    let key = corpus.key("talker", &prover.key);
    talk(corpus, &key, &prover, &data);
    let (encoder, data) = programs::encoder(1);
    let prover = EncoderProver::<Suite>::new(encoder, &data, ProfileId::P100J8).expect("a sound encoder");
    let key = corpus.key("encoder", &prover.key);
    sentence(corpus, &key, &prover, &data);
}

/// The trace of a run in which some numbers are others, and all that follows from them too.
fn replayed(
    key: &ProvingKey<Suite>,
    data: &Data,
    past: &State,
    statement: &Statement,
    changes: &[(&str, usize, i64)],
) -> Trace {
    let circuit = key.circuit();
    let changes: Vec<Change> = changes
        .iter()
        .map(|&(name, cell, delta)| Change { column: column(circuit, name), cell, delta })
        .collect();
    let program = &key.verifying.program;
    let mut trace = replay_after(circuit, program, data, past, (&[], &statement.lists), &changes);
    for cell in trace.columns.iter_mut().flatten() {
        *cell = M31::from_i64(i64::from(*cell)).signed();
    }
    count_multiplicities(circuit, &mut trace);
    trace
}

/// Numbers on the way that a prover may change: what attention sees, weighs and sums up, and what norms divide by.
const CHANGES: [(&str, &str, usize, i64); 7] = [
    ("maximum", ".maximum0", 0, 1),
    ("tie", ".tie0", 1, 1),
    ("weight", ".weight0", 1, 5),
    ("sum", ".sum0", 0, -1),
    ("mean", ".mean0", 2, 1),
    ("root", "root.low", 0, 1),
    ("inverse", "inverse.low", 0, 1),
];

fn text(corpus: &mut Corpus, key: &str, prover: &DecoderProver<Suite>, data: &Data) {
    let key_digest = prover.key.digest();
    let mut tokens = programs::prompt(&prover.key.decoder, 3);
    let prompt = tokens.len() as u32;
    for _ in 0..2 {
        tokens.push(prover.runner.next(&tokens).expect("a short text"));
    }
    let run: Run<Suite> = prover.run(Text { tokens, prompt }).expect("a greedy text");
    let proof = run.prove().unwrap();
    let honest = TextFile { key_digest, text: run.text.clone(), proof: proof.clone() };
    corpus.honest(key, "text", encode(&honest));
    let payload = honest.payload().concat();
    Target {
        key,
        name: "text",
        kind: Kind::Text,
        payload: &payload,
        start: payload.len() - proof.len(),
        parts: &sections(&run.key.protocol, proof.len()),
    }
    .some(corpus);

    let mut says = |what: &str, text: Text, proof: &[u8]| {
        let file = TextFile { key_digest, text, proof: proof.to_vec() };
        corpus.forged(key, &format!("text-{what}"), encode(&file));
    };
    let vocab = prover.key.decoder.vocab;
    let edits: [Edit<'_, Text>; 10] = [
        ("says-generated", &|t| *t.tokens.last_mut().expect("tokens") ^= 1),
        ("says-given", &|t| t.tokens[1] ^= 1),
        ("says-shorter", &|t| t.tokens.truncate(t.tokens.len() - 1)),
        ("says-more-given", &|t| t.prompt += 1),
        ("says-nothing", &|t| *t = Text { tokens: Vec::new(), prompt: 0 }),
        ("says-no-prefix", &|t| t.tokens[0] ^= 1),
        ("says-no-token", &|t| t.tokens[2] = vocab),
        ("says-all-given", &|t| t.prompt = t.tokens.len() as u32),
        ("says-too-much", &|t| t.tokens.resize(66, 1)),
        ("says-more", &|t| t.tokens.resize(67, 1)),
    ];
    for (what, edit) in edits {
        let mut text = run.text.clone();
        edit(&mut text);
        says(what, text, &proof);
    }
    // The honest trace for another continuation, and one in which that has the greatest logit.
    let mut other = run.text.clone();
    *other.tokens.last_mut().expect("tokens") ^= 1;
    let statement = prover.key.decoder.statement(&other).expect("a text");
    let with = |trace: &Trace, statement: &Statement, adversary: &mut dyn Adversary| {
        prove_trace(&run.key, trace, statement, adversary).unwrap()
    };
    says("claims-generated", other.clone(), &with(&run.trace, &statement, &mut Honest));
    let trace = replayed(&run.key, data, &State::new(), &statement, &[]);
    says("chooses-generated", other.clone(), &with(&trace, &statement, &mut Honest));
    says("chooses-carried", other.clone(), &with(&trace, &statement, &mut LookupLiar::new()));
    let protocol = &run.key.protocol;
    for label in [Label::FoldedRoot, Label::FoldRoot, Label::FinalMessage] {
        let mut liar = OpeningLiar::new(protocol, label);
        let what = format!("claims-carried-{label:?}").to_lowercase();
        says(&what, other.clone(), &with(&run.trace, &statement, &mut liar));
    }
    // True statements, and lies on the way.
    for (what, name, cell, delta) in CHANGES {
        let trace = replayed(&run.key, data, &State::new(), &run.statement, &[(name, cell, delta)]);
        says(&format!("computes-{what}"), run.text.clone(), &with(&trace, &run.statement, &mut Honest));
    }
    for label in [Label::FoldedRoot, Label::FoldRoot] {
        let what = format!("word-{label:?}").to_lowercase();
        says(&what, run.text.clone(), &with(&run.trace, &run.statement, &mut Word(label)));
    }
    // A program's key and proof of the same commitment say something else.
    corpus.forged(key, "text-as-program", file(run.key.digest, &run.statement, &proof));
}

/// A conversation of three turns.
struct Talk<'a> {
    prover: &'a DecoderProver<Suite>,
    file: ChatFile,
    runs: Vec<(Standing, TurnRun<Suite>)>,
}

impl<'a> Talk<'a> {
    fn new(prover: &'a DecoderProver<Suite>) -> Self {
        let key_digest = prover.key.digest();
        let file = ChatFile { key_digest, chat: Chat::default(), proofs: Vec::new() };
        let mut talk = Self { prover, file, runs: Vec::new() };
        let mut standing = Standing::default();
        for given in [programs::prompt(&prover.key.decoder, 2), vec![5], vec![9, 11]] {
            let generated = prover.runner.generate(&standing, &given, 1, &[], |_| {}).expect("a short turn");
            let turn = Turn { given, generated };
            let run = prover.run_turn(&standing, &turn).expect("a greedy turn");
            talk.file.proofs.push(run.prove().unwrap());
            talk.file.chat.turns.push(turn);
            let next = run.standing.clone();
            talk.runs.push((standing, run));
            standing = next;
        }
        talk
    }

    /// Two turns, of which the second has this proof.
    fn second(&self, proof: Vec<u8>) -> ChatFile {
        let mut file = self.file.clone();
        file.chat.turns.truncate(2);
        file.proofs = vec![file.proofs.swap_remove(0), proof];
        file
    }
}

fn talk(corpus: &mut Corpus, key: &str, prover: &DecoderProver<Suite>, data: &Data) {
    let talk = Talk::new(prover);
    corpus.honest(key, "talk", encode(&talk.file));
    let mut forge = |what: &str, file: &ChatFile| corpus.forged(key, &format!("talk-{what}"), encode(file));
    for order in [&[0, 2, 1][..], &[1, 0, 2], &[0, 2], &[1, 2], &[0, 0], &[0, 1, 2, 2]] {
        let mut file = talk.file.clone();
        file.chat.turns = order.iter().map(|&turn| talk.file.chat.turns[turn].clone()).collect();
        file.proofs = order.iter().map(|&turn| talk.file.proofs[turn].clone()).collect();
        let name: String = order.iter().map(ToString::to_string).collect();
        forge(&format!("order-{name}"), &file);
    }
    let edits: [Edit<'_, ChatFile>; 11] = [
        ("proofs-swapped", &|f| f.proofs.swap(1, 2)),
        ("proof-missing", &|f| f.proofs.truncate(2)),
        ("proof-twice", &|f| f.proofs.push(f.proofs[2].clone())),
        ("nothing", &|f| {
            f.chat.turns.clear();
            f.proofs.clear();
        }),
        ("says-generated", &|f| f.chat.turns[0].generated[0] ^= 1),
        ("says-given", &|f| f.chat.turns[2].given[1] ^= 1),
        ("says-no-token", &|f| f.chat.turns[1].given[0] = 48),
        ("says-given-generated", &|f| {
            let turn = &mut f.chat.turns[2];
            let token = turn.given.pop().expect("two tokens");
            turn.generated.insert(0, token);
        }),
        ("says-too-much", &|f| f.chat.turns[2].given.resize(60, 1)),
        ("says-more", &|f| f.chat.turns[0].given.resize(67, 1)),
        ("says-empty-turn", &|f| f.chat.turns[1].generated.clear()),
    ];
    for (what, edit) in edits {
        let mut file = talk.file.clone();
        edit(&mut file);
        forge(what, &file);
    }
    // What is handed on: the cap of the state follows that of the witness.
    let (standing, run) = &talk.runs[1];
    let cap = 32 << run.key.protocol.cap_log(run.key.protocol.codeword_log());
    let mut proof = talk.file.proofs[1].clone();
    proof[cap + 7] ^= 1;
    forge("state-flipped", &talk.second(proof));
    let mut proof = talk.file.proofs[1].clone();
    proof[cap..2 * cap].copy_from_slice(&talk.file.proofs[0][cap..2 * cap]);
    forge("state-stale", &talk.second(proof));
    let mut proof = talk.file.proofs[1].clone();
    proof.truncate(proof.len() - 4);
    forge("turn-shorter", &talk.second(proof));
    let mut proof = talk.file.proofs[1].clone();
    proof.push(0);
    forge("turn-longer", &talk.second(proof));

    let with = |trace: &Trace, adversary: &mut dyn Adversary| {
        talk.second(prove_trace(&run.key, trace, &run.statement, adversary).unwrap())
    };
    for (what, name, cell, delta) in CHANGES {
        let trace = replayed(&run.key, data, &standing.state, &run.statement, &[(name, cell, delta)]);
        forge(&format!("computes-{what}"), &with(&trace, &mut Honest));
    }
    // Another past: committed to anew, or not at all.
    let mut past = standing.state.clone();
    past[0][1] += 1;
    let trace = replayed(&run.key, data, &past, &run.statement, &[]);
    forge("past-other", &with(&trace, &mut Honest));
    // Another state for the next turn.
    let mut trace = run.trace.clone();
    let handed = run.key.circuit().columns.iter().position(|column| column.tree() == Tree::State);
    trace.columns[handed.expect("a state")][2] += 1;
    forge("state-other", &with(&trace, &mut Honest));
    let far = |c: usize, row: usize, value: u32| if c == 0 && row % 8 < 4 { value ^ 1 } else { value };
    forge("word-half", &with(&run.trace, &mut Codewords(|words: &mut [_]| change_rows(words, far))));

    // A turn by itself is no proof of a program: nobody knows what it goes on from.
    let alone = VerifyingKey { member: None, ..run.key.verifying.clone() };
    let instance = corpus.key("turn-as-program", &alone);
    let proof = file(alone.digest(), &run.statement, &talk.file.proofs[1]);
    corpus.forged(&instance, "turn-as-program", proof);
    // Where a commitment may stand for several lists of numbers, proofs could speak of different ones.
    let johnson =
        DecoderKey { profile: ProfileId::P100J8, pin: Some([M31::ZERO; 4]), ..talk.prover.key.clone() };
    let other = corpus.key("talker-johnson", &johnson);
    let named = ChatFile { key_digest: johnson.digest(), ..talk.file.clone() };
    corpus.forged(&other, "talk-johnson", encode(&named));
    let payload = talk.file.payload().concat();
    corpus.forged(key, "talk-cut", sealed(Kind::Chat, &payload[..payload.len() / 2]));
    corpus.forged(key, "talk-tail", sealed(Kind::Chat, &[payload.as_slice(), &[0]].concat()));
    corpus.forged(key, "talk-as-text", sealed(Kind::Text, &payload));
    corpus.forged(key, "talk-file-cut", encode(&talk.file)[..payload.len() * 2 / 3].to_vec());
}

fn sentence(corpus: &mut Corpus, key: &str, prover: &EncoderProver<Suite>, data: &Data) {
    let key_digest = prover.key.digest();
    let run: EncoderRun<Suite> = prover.run(&[7, 1, 40]).expect("a short sentence");
    let proof = run.prove().unwrap();
    let of = |encoding: &Encoding, proof: &[u8]| EncodingFile {
        key_digest,
        encoding: encoding.clone(),
        proof: proof.to_vec(),
    };
    corpus.honest(key, "sentence", encode(&of(&run.encoding, &proof)));
    let payload = of(&run.encoding, &proof).payload().concat();
    Target {
        key,
        name: "sentence",
        kind: Kind::Encoding,
        payload: &payload,
        start: payload.len() - proof.len(),
        parts: &sections(&run.key.protocol, proof.len()),
    }
    .some(corpus);

    let mut forge = |what: &str, encoding: &Encoding, proof: &[u8]| {
        corpus.forged(key, &format!("sentence-{what}"), encode(&of(encoding, proof)));
    };
    let edits: [Edit<'_, Encoding>; 8] = [
        ("says-vector", &|e| e.embedding[7] += 1),
        ("says-token", &|e| e.tokens[1] ^= 1),
        ("says-shorter", &|e| e.tokens.truncate(2)),
        ("says-padding", &|e| e.tokens.push(0)),
        ("says-nothing", &|e| e.tokens.clear()),
        ("says-no-token", &|e| e.tokens[0] = 48),
        ("says-short-vector", &|e| e.embedding.truncate(23)),
        ("says-out-of-range", &|e| e.embedding[0] = 8192),
    ];
    for (what, edit) in edits {
        let mut encoding = run.encoding.clone();
        edit(&mut encoding);
        forge(what, &encoding, &proof);
    }
    // The honest trace for another vector, and traces of other computations.
    let mut statement = run.statement.clone();
    statement.outputs[0][3] ^= 1;
    let claimed = Encoding { embedding: statement.outputs[0].clone(), ..run.encoding.clone() };
    let made = prove_trace(&run.key, &run.trace, &statement, &mut Honest).unwrap();
    forge("claims-vector", &claimed, &made);
    for (what, name, cell, delta) in CHANGES {
        let trace = replayed(&run.key, data, &State::new(), &run.statement, &[(name, cell, delta)]);
        let statement = circlet::prove::statement(&run.key, &trace);
        let claimed = Encoding { embedding: statement.outputs[0].clone(), ..run.encoding.clone() };
        let made = prove_trace(&run.key, &trace, &statement, &mut Honest).unwrap();
        forge(&format!("computes-{what}"), &claimed, &made);
    }
}
