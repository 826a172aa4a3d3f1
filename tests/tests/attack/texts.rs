//! Lies about the texts of decoders. Each is told once and everything after it is computed honestly.

use circlet::backend::device::Device;
use circlet::execute::{count_multiplicities, execute_listed};
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Honest;
use circlet::prove::{prove_trace, statement};
use circlet_core::circuit::{Circuit, ColumnId, Content, Rows, Step};
use circlet_core::decoder::{Decoder, DecoderKey, Extent, Text, TextError};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::Profile;
use circlet_core::program::Data;
use circlet_core::protocol::Protocol;
use circlet_tests::attack::replay_listed;
use circlet_tests::cheat::{Bench, LOOKUP, OPENING, TOY, Verdict};
use circlet_tests::programs::{self, Case, Random};
use circlet_verifier::{Reject, verify_with};

use super::decoding::products;
use super::rejected;

/// Enough work before the first challenge that a nonce of another transcript does not fit by chance.
const WORK: Profile = Profile { g_lookup: 14, ..TOY };

/// A decoder with a text: everything that a verifier has, and what a prover has.
struct Telling {
    decoder: Decoder,
    data: Data,
    text: Text,
    key: ProvingKey<Poseidon2Blake2s>,
    statement: Statement,
    proof: Vec<u8>,
}

/// The greedy continuation.
fn continued(decoder: &Decoder, data: &Data, prompt: &[u32], more: usize) -> Text {
    let mut tokens = prompt.to_vec();
    for _ in 0..more {
        let text = Text { tokens: [&tokens[..], &[0]].concat(), prompt: tokens.len() as u32 };
        let program = decoder.program(decoder.extent(&text).unwrap());
        let circuit = Circuit::new(&program).unwrap();
        let lists = [decoder.statement(&text).unwrap().lists[0].clone(), vec![]];
        tokens.push(execute_listed(&circuit, &program, data, &[], &lists).unwrap().lists[1][0]);
    }
    Text { tokens, prompt: prompt.len() as u32 }
}

fn key_of(decoder: &Decoder, data: &Data, extent: Extent, log_rows: u32) -> ProvingKey<Poseidon2Blake2s> {
    let program = decoder.program(extent);
    let protocol = Protocol::with_rows(&program, WORK, log_rows).unwrap();
    let key = ProvingKey::build(&Device::Cpu, program, data.clone(), protocol, &mut Honest).unwrap();
    let verifying = family(decoder, &key.verifying, log_rows).instance(extent);
    ProvingKey { digest: verifying.digest(), verifying, ..key }
}

/// The decoder's key with the commitment of a program of it.
fn family(decoder: &Decoder, one: &VerifyingKey, log_rows: u32) -> DecoderKey {
    DecoderKey {
        decoder: decoder.clone(),
        profile: one.profile,
        suite: one.suite,
        log_rows: log_rows as u8,
        fixed_cap: one.fixed_cap.clone(),
        pin: None,
    }
}

const LOG_ROWS: u32 = 16;

impl Telling {
    fn new(layers: usize, more: usize) -> Self {
        let (decoder, data) = programs::decoder(layers, 4, 2, true);
        let text = continued(&decoder, &data, &programs::prompt(&decoder, 3), more);
        let statement = decoder.statement(&text).unwrap();
        let key = key_of(&decoder, &data, decoder.extent(&text).unwrap(), LOG_ROWS);
        let lists = [statement.lists[0].clone(), vec![]];
        let trace = execute_listed(key.circuit(), &key.verifying.program, &data, &[], &lists).unwrap();
        let proof = prove_trace(&key, &trace, &statement, &mut Honest).unwrap();
        Self { decoder, data, text, key, statement, proof }
    }

    /// What a verifier says who has the decoder's key and a text.
    fn verify(&self, text: &Text, log_rows: u32, proof: &[u8]) -> Verdict {
        let key = family(&self.decoder, &self.key.verifying, log_rows);
        let instance = key.instance(self.decoder.extent(text).unwrap());
        let protocol = Protocol::with_rows(&instance.program, WORK, log_rows).unwrap();
        verify_with(&protocol, &instance, &self.decoder.statement(text).unwrap(), proof)
    }

    /// The verdict on the trace that another run of the model leaves, for the text that it claims.
    fn of_steps(&self, edit: impl FnOnce(&mut Circuit)) -> Verdict {
        let mut steps = self.key.circuit().clone();
        edit(&mut steps);
        let lists = [self.statement.lists[0].clone(), vec![]];
        let mut trace = replay_listed(&steps, &self.key.verifying.program, &self.data, (&[], &lists), &[]);
        count_multiplicities(self.key.circuit(), &mut trace);
        let claimed = statement(&self.key, &trace);
        let proof = prove_trace(&self.key, &trace, &claimed, &mut Honest).unwrap();
        verify_with(&self.key.protocol, &self.key.verifying, &claimed, &proof)
    }
}

#[test]
fn texts_that_are_not_the_proof_s() {
    let t = Telling::new(1, 3);
    assert_eq!(t.verify(&t.text, LOG_ROWS, &t.proof), Ok(()));
    // Another token, given or generated.
    for at in 1..t.text.tokens.len() {
        let mut text = t.text.clone();
        text.tokens[at] ^= 1;
        assert_eq!(t.verify(&text, LOG_ROWS, &t.proof), Err(Reject::Work), "token {at}");
    }
    // The same program by itself, or another decoder's: what the proof is of is the family's member.
    for member in [None, Some([1; 32]), Some(family(&t.decoder, &t.key.verifying, LOG_ROWS).digest())] {
        let key = VerifyingKey { member, ..t.key.verifying.clone() };
        assert_eq!(verify_with(&t.key.protocol, &key, &t.statement, &t.proof), Err(Reject::Work));
    }
    // The boundary of the prompt moved, a token less, a token more.
    for prompt in [2, 3, 5, 6] {
        let text = Text { prompt, ..t.text.clone() };
        assert_eq!(t.verify(&text, LOG_ROWS, &t.proof), Err(Reject::Work), "prompt {prompt}");
    }
    let mut text = t.text.clone();
    text.tokens.pop();
    assert_eq!(t.verify(&text, LOG_ROWS, &t.proof), Err(Reject::Work));
    text = t.text.clone();
    text.tokens.push(5);
    assert_eq!(t.verify(&text, LOG_ROWS, &t.proof), Err(Reject::Work));
    // Another first token is no text at all.
    text = t.text.clone();
    text.tokens[0] = 4;
    assert_eq!(t.decoder.statement(&text), Err(TextError::Prefix(3)));
    text = t.text.clone();
    text.tokens[2] = t.decoder.vocab;
    assert_eq!(t.decoder.statement(&text), Err(TextError::Token(48)));
    // Matrices of other rows.
    for log_rows in [LOG_ROWS - 1, LOG_ROWS + 1] {
        let verdict = t.verify(&t.text, log_rows, &t.proof);
        assert!(matches!(verdict, Err(Reject::Work | Reject::MalformedKey)), "{log_rows}: {verdict:?}");
    }
}

/// A prover who makes the proof for the false statement from the honest trace fails at the end.
#[test]
fn statements_of_other_tokens() {
    let t = Telling::new(1, 2);
    let lists = [t.statement.lists[0].clone(), vec![]];
    let trace = execute_listed(t.key.circuit(), &t.key.verifying.program, &t.data, &[], &lists).unwrap();
    let claim = |statement: &Statement| {
        let proof = prove_trace(&t.key, &trace, statement, &mut Honest).unwrap();
        verify_with(&t.key.protocol, &t.key.verifying, statement, &proof)
    };
    assert_eq!(claim(&t.statement), Ok(()));
    let (given, padded) = (t.text.tokens.len() - 2, t.statement.lists[0].len());
    assert_eq!((given, padded), (4, 4));
    for at in 0..padded {
        let mut forged = t.statement.clone();
        forged.lists[0][at] ^= 1;
        assert_eq!(claim(&forged), OPENING, "token {at}");
    }
    for at in 0..2 {
        let mut forged = t.statement.clone();
        forged.lists[1][at] ^= 1;
        assert!(claim(&forged).is_err(), "generated {at}");
    }
    let mut forged = t.statement.clone();
    forged.lists[0].swap(0, 1);
    assert_eq!(claim(&forged), OPENING);
    let mut forged = t.statement.clone();
    forged.lists.swap(0, 1);
    assert_eq!(claim_shape(&t, &forged), Err(Reject::StatementShape));
    for edit in [
        (|s: &mut Statement| s.lists[0].push(0)) as fn(&mut Statement),
        |s| {
            s.lists[1].pop();
        },
        |s| s.lists.clear(),
        |s| s.lists.push(vec![]),
    ] {
        let mut forged = t.statement.clone();
        edit(&mut forged);
        assert_eq!(claim_shape(&t, &forged), Err(Reject::StatementShape));
    }
    let mut forged = t.statement.clone();
    forged.lists[1][0] = 48;
    assert_eq!(claim_shape(&t, &forged), Err(Reject::StatementRange));
}

fn claim_shape(t: &Telling, statement: &Statement) -> Verdict {
    verify_with(&t.key.protocol, &t.key.verifying, statement, &t.proof)
}

/// Padding tokens are part of the statement, and they change no text: with others the same tokens follow, in a
/// proof of another statement, which is not that of the decoder's text.
#[test]
fn other_padding() {
    let (decoder, data) = programs::decoder(1, 4, 2, false);
    let text = continued(&decoder, &data, &programs::prompt(&decoder, 3), 3);
    let honest = decoder.statement(&text).unwrap();
    assert_eq!((honest.lists[0].len(), text.tokens.len()), (8, 6));
    let key = key_of(&decoder, &data, decoder.extent(&text).unwrap(), LOG_ROWS);
    let mut random = Random(3);
    let mut padded = honest.lists[0].clone();
    for token in &mut padded[5..] {
        *token = 1 + random.below(47) as u32;
    }
    let trace = execute_listed(key.circuit(), &key.verifying.program, &data, &[], &[padded, vec![]]).unwrap();
    let other = statement(&key, &trace);
    assert_eq!(other.lists[1], honest.lists[1], "padding is in the future of all that is proven");
    let proof = prove_trace(&key, &trace, &other, &mut Honest).unwrap();
    assert_eq!(verify_with(&key.protocol, &key.verifying, &other, &proof), Ok(()));
    assert_eq!(verify_with(&key.protocol, &key.verifying, &honest, &proof), Err(Reject::Work));
    let proof = prove_trace(&key, &trace, &honest, &mut Honest).unwrap();
    assert_eq!(verify_with(&key.protocol, &key.verifying, &honest, &proof), OPENING);
}

/// One commitment for all extents; a proof for one of them is none for another.
#[test]
fn proofs_of_another_extent() {
    let t = Telling::new(1, 2);
    let extent = t.decoder.extent(&t.text).unwrap();
    for other in [
        Extent { rows: 8, ..extent },
        Extent { first: extent.first - 1, ..extent },
        Extent { generated: 1, ..extent },
    ] {
        let key = key_of(&t.decoder, &t.data, other, LOG_ROWS);
        assert_eq!(key.verifying.fixed_cap, t.key.verifying.fixed_cap, "{other:?}");
        let mut statement = t.statement.clone();
        statement.lists[0].resize(other.rows as usize, t.decoder.pad);
        statement.lists[1].truncate(other.generated as usize);
        let verdict = verify_with(&key.protocol, &key.verifying, &statement, &t.proof);
        assert_eq!(verdict, Err(Reject::Work), "{other:?}");
    }
}

/// Layers dropped or exchanged, blocks skipped, weights of another layer.
#[test]
fn another_depth() {
    let t = Telling::new(2, 1);
    assert_eq!(t.of_steps(|_| {}), Ok(()));
    // Constants by the layer of their names.
    let layer = |circuit: &Circuit, id: ColumnId| -> Option<(usize, String)> {
        let (layer, rest) = circuit.column(id).name.strip_prefix("layers.")?.split_once('.')?;
        Some((layer.parse().ok()?, rest.to_string()))
    };
    let circuit = t.key.circuit();
    let weights = |id: ColumnId| {
        let own = layer(circuit, id).filter(|_| rectangle(circuit, id).is_some())?;
        // The column of the same name and shape in the other layer.
        let name = format!("layers.{}.{}", 1 - own.0, own.1);
        let mut ids = (0..circuit.columns.len() as u32).map(ColumnId);
        let alike = |&other: &ColumnId| {
            let (a, b) = (circuit.column(id), circuit.column(other));
            b.name == name && a.shape == b.shape && rectangle(circuit, id) == rectangle(circuit, other)
        };
        ids.find(alike)
    };
    let replace = |only: Option<&str>| {
        t.of_steps(|c| {
            products(c, |p| {
                for (_, id) in &mut p.b.terms {
                    let named = only.is_none_or(|name| circuit.column(*id).name.ends_with(name));
                    if let (true, Some(other)) = (named, weights(*id)) {
                        *id = other;
                    }
                }
            });
        })
    };
    rejected(&replace(None), "layers exchanged");
    for name in [".query", ".value", ".output", ".down", ".prefix.key"] {
        rejected(&replace(Some(name)), name);
    }
    // Sums that skip their summand, one after the other: attention or feed-forward of either layer.
    let splits: Vec<usize> = (0..circuit.steps.len())
        .filter(|&i| matches!(&circuit.steps[i], Step::Divide { divisor: 1024, value, .. } if value.form.terms.len() == 3))
        .collect();
    // Two blocks of channels, two sums, two layers.
    assert_eq!(splits.len(), 8);
    let skip = |which: &[usize], base: bool| {
        t.of_steps(|c| {
            for &i in which {
                let Step::Divide { value, .. } = &mut c.steps[i] else { unreachable!() };
                if base {
                    value.form.terms.drain(..2);
                } else {
                    value.form.terms.pop();
                }
            }
        })
    };
    for pair in splits.chunks(2) {
        rejected(&skip(pair, false), "a block is skipped");
        rejected(&skip(pair, true), "the residual is skipped");
    }
    rejected(&skip(&splits[..4], false), "a layer is dropped");
    rejected(&skip(&splits[4..], false), "the last layer is dropped");
    rejected(&skip(&splits, false), "all layers are dropped");
    // The head reads another position, or the tokens are those of other positions.
    let rows: Vec<usize> = (0..circuit.gathers.len())
        .filter(|&i| matches!(&circuit.gathers[i].rows, Rows::Given(rows) if rows.len() == 1))
        .collect();
    assert_eq!(rows.len(), 4, "two limbs of two blocks");
    let moved = t.of_steps(|c| {
        for &i in &rows {
            let Rows::Given(rows) = &mut c.gathers[i].rows else { unreachable!() };
            rows[0] -= 1;
        }
    });
    rejected(&moved, "the row of another position");
}

/// Where in its constant a column begins.
fn rectangle(circuit: &Circuit, id: ColumnId) -> Option<(u32, u32)> {
    match circuit.column(id).content {
        Content::Constant { row, col, .. } => Some((row, col)),
        _ => None,
    }
}

/// A token that the model does not choose, claimed at every step of a text.
#[test]
fn other_tokens_are_not_greedy() {
    let (decoder, data) = programs::decoder(1, 3, 1, true);
    let text = continued(&decoder, &data, &programs::prompt(&decoder, 2), 2);
    let extent = decoder.extent(&text).unwrap();
    let claimed = decoder.statement(&text).unwrap();
    let program = decoder.program(extent);
    let case: Case = (program, data, vec![]);
    let mut bench = Bench::listed(case, &[claimed.lists[0].clone(), vec![]], TOY);
    assert_eq!(bench.statement, claimed);
    for at in 0..2 {
        for token in [0, 1, claimed.lists[1][at] ^ 1, 47] {
            let mut generated = claimed.lists[1].clone();
            if generated[at] == token {
                continue;
            }
            generated[at] = token;
            bench.lists[1] = generated;
            assert_eq!(bench.judge(&bench.changed(&[])), LOOKUP, "{token} at {at}");
        }
    }
}
