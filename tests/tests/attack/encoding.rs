//! Lies about sentence encoders and the ops that only they have. Each is told once and everything after it is computed
//! honestly.

use circlet::backend::device::Device;
use circlet::execute::{count_multiplicities, execute_listed};
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Honest;
use circlet::prove::{prove_trace, statement};
use circlet_core::circuit::{Circuit, ColumnId, Content, Indicator, Int, Kind, Product, Rows, Step};
use circlet_core::encoder::{Encoder, EncoderKey, Encoding};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::Profile;
use circlet_core::program::{Data, Visible};
use circlet_core::protocol::Protocol;
use circlet_tests::attack::{Change, replay_listed};
use circlet_tests::cheat::{Bench, LOOKUP, OPENING, TOY, Verdict};
use circlet_tests::programs::{self, Heads, ProgramBuilder};
use circlet_tests::satisfied::cell;
use circlet_verifier::{Reject, verify_with};

use super::rejected;

/// Enough work before the first challenge that a nonce of another transcript does not fit by chance.
const WORK: Profile = Profile { g_lookup: 14, ..TOY };

/// The column of this name, counted among those of the same name.
fn nth(circuit: &Circuit, suffix: &str, n: usize) -> ColumnId {
    let mut all = (0u32..).zip(&circuit.columns).filter(|(_, c)| c.name.ends_with(suffix));
    ColumnId(all.nth(n).unwrap_or_else(|| panic!("no column {suffix}")).0)
}

/// Attention of two heads at four positions, of which all see the first three, and a norm of the sum.
fn attention() -> Bench {
    let mut b = ProgramBuilder::new("attention");
    let x = b.input(4, 8, 700);
    let clamp = b.clamp(14, 8191);
    let base = b.widen(None, x, 4, 0);
    let options = Heads {
        norms: false,
        prefix: false,
        pair: None,
        visible: Visible::First(3),
        bits: 14,
        ..Heads::new(2, 2, 4)
    };
    let w = b.attention(Some(base), x, &options);
    let y = b.rms_norm(w, 50, 9, clamp);
    Bench::new(b.finish(&[y]), TOY)
}

/// Other positions are hidden in the weights, in the maximum, or in both.
fn hide(circuit: &mut Circuit, weights: bool, maximum: bool, from: u32) {
    for step in &mut circuit.steps {
        match step {
            Step::RowMax { columns, .. } if maximum => {
                for (_, hidden) in columns {
                    *hidden = Some(Indicator::Beyond { cols: from });
                }
            }
            Step::MapForm { input, .. } if weights => {
                input.indicators.iter_mut().for_each(|(_, set)| *set = Indicator::Beyond { cols: from });
            }
            _ => {}
        }
    }
}

#[test]
fn a_position_that_is_masked_gets_weight() {
    let bench = attention();
    // All positions are seen, or one less.
    for from in [1, 2, 4] {
        assert_eq!(bench.of_other_steps(|c| hide(c, true, true, from)), LOOKUP, "from {from}");
        assert_eq!(bench.of_other_steps(|c| hide(c, true, false, from)), LOOKUP, "from {from}");
    }
    // The maximum counts the masked position, which has the greatest score of some row.
    assert_eq!(bench.of_other_steps(|c| hide(c, false, true, 4)), LOOKUP);
    let circuit = bench.key.circuit();
    let (weight, tie) = (nth(circuit, ".weight0", 0), nth(circuit, ".tie0", 0));
    let shape = circuit.column(weight).shape;
    for row in 0..8 {
        let hidden = cell(shape, row, 3);
        assert_eq!(bench.changed(&[]).columns[weight.0 as usize][hidden], 0);
        for column in [weight, tie] {
            let change = Change { column, cell: hidden, delta: 1 };
            assert_eq!(bench.judge(&bench.changed(&[change])), LOOKUP, "row {row}");
        }
    }
}

/// Three rows of twelve channels, shifted and centred.
fn centred() -> Bench {
    let mut b = ProgramBuilder::new("centred");
    let x = b.input(3, 12, 2000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 6, 0);
    let w = b.center(w, Some(40_000));
    let y = b.rms_norm(w, 50, 9, clamp);
    Bench::new(b.finish(&[y]), TOY)
}

#[test]
fn another_centre() {
    let bench = centred();
    let circuit = bench.key.circuit();
    let mean = nth(circuit, "Center.1.mean", 0);
    let own = |row: usize| i64::from(bench.trace.columns[mean.0 as usize][row]);
    for (row, other) in [(0, 1), (1, 2), (2, 0)] {
        // The mean of another row, one that is next to it, none.
        for delta in [own(other) - own(row), 1, -1, -own(row)] {
            let verdict = bench.judge(&bench.changed(&[Change { column: mean, cell: row, delta }]));
            assert_eq!(verdict, LOOKUP, "row {row}, {delta}");
        }
    }
    // The rest of a mean that is one too large, within its range.
    let rest = nth(circuit, "Center.1.rest", 0);
    let up = [Change { column: mean, cell: 0, delta: 1 }, Change { column: rest, cell: 0, delta: 12 }];
    assert_eq!(bench.judge(&bench.changed(&up)), OPENING);
    // The offset left out or taken twice, in the differences.
    for factor in [0, 2] {
        let verdict = bench.of_other_steps(|c| {
            let fixed: Vec<bool> =
                c.columns.iter().map(|c| matches!(c.content, Content::Constant { .. })).collect();
            for step in &mut c.steps {
                let Step::Divide { value, divisor: 1024, .. } = step else { continue };
                for (coefficient, id) in &mut value.form.terms {
                    if fixed[id.0 as usize] {
                        *coefficient *= factor;
                    }
                }
            }
        });
        rejected(&verdict, "another offset");
    }
    // One number less than the difference.
    let low = nth(circuit, "Center.1.low0", 0);
    let honest = bench.changed(&[]);
    let at = honest.columns[low.0 as usize].iter().position(|&v| v > 5).unwrap();
    assert_eq!(bench.judge(&bench.changed(&[Change { column: low, cell: at, delta: -1 }])), OPENING);
}

#[test]
fn means_of_other_rows() {
    let mut b = ProgramBuilder::new("means");
    let x = b.input(8, 12, 2000);
    let clamp = b.clamp(16, 8191);
    let y = b.affine(x, 31, 4, clamp);
    let z = b.mean(y, 5);
    let bench = Bench::new(b.finish(&[z]), TOY);
    let edit = |f: &dyn Fn(&mut Product, &mut i64, &mut i64)| {
        bench.of_other_steps(|c| {
            for step in &mut c.steps {
                let Step::Divide { value, divisor, .. } = step else { continue };
                if let [product] = &mut value.products[..]
                    && product.kind == Kind::ContractTransposed
                {
                    f(product, &mut value.form.constant, divisor);
                }
            }
        })
    };
    let rows = |product: &mut Product, len: u32| {
        product.a_shape.cols = len;
        product.b_shape.rows = len;
    };
    for len in [1, 2, 4, 6, 8] {
        rejected(&edit(&|p, _, _| rows(p, len)), "a sum of other rows");
        rejected(&edit(&|_, _, divisor| *divisor = 2 * i64::from(len)), "another divisor");
        let whole = |p: &mut Product, constant: &mut i64, divisor: &mut i64| {
            rows(p, len);
            (*constant, *divisor) = (len.into(), 2 * i64::from(len));
        };
        rejected(&edit(&whole), "the mean of other rows");
    }
    rejected(&edit(&|_, constant, _| *constant = 0), "rounded down");
    // A quotient next to the right one: the remainder that follows is out of range, and the right one does not fit.
    let circuit = bench.key.circuit();
    let (mean, rest) = (nth(circuit, "t2", 0), nth(circuit, "Mean.1.remainder", 0));
    for delta in [1, -1] {
        let changes =
            [Change { column: mean, cell: 3, delta }, Change { column: rest, cell: 3, delta: 10 * delta }];
        assert_eq!(bench.judge(&bench.changed(&changes[..1])), LOOKUP);
        assert_eq!(bench.judge(&bench.changed(&changes)), OPENING);
    }
}

/// An encoder with a sentence: everything that a verifier has, and what a prover has.
struct Telling {
    encoder: Encoder,
    data: Data,
    encoding: Encoding,
    key: ProvingKey<Poseidon2Blake2s>,
    statement: Statement,
    proof: Vec<u8>,
}

const LOG_ROWS: u32 = 16;

fn key_of(encoder: &Encoder, data: &Data, length: u32) -> ProvingKey<Poseidon2Blake2s> {
    let program = encoder.program(length);
    let protocol = Protocol::with_rows(&program, WORK, LOG_ROWS).unwrap();
    let key = ProvingKey::build(&Device::Cpu, program, data.clone(), protocol, &mut Honest).unwrap();
    let verifying = family(encoder, &key.verifying).instance(length);
    ProvingKey { digest: verifying.digest(), verifying, ..key }
}

/// The encoder's key with the commitment of a program of it.
fn family(encoder: &Encoder, one: &VerifyingKey) -> EncoderKey {
    EncoderKey {
        encoder: encoder.clone(),
        profile: one.profile,
        suite: one.suite,
        log_rows: LOG_ROWS as u8,
        fixed_cap: one.fixed_cap.clone(),
        pin: None,
    }
}

impl Telling {
    fn new(layers: usize, tokens: &[u32]) -> Self {
        let (encoder, data) = programs::encoder(layers);
        let key = key_of(&encoder, &data, tokens.len() as u32);
        let lists = [encoder.rows(tokens).unwrap()];
        let trace = execute_listed(key.circuit(), &key.verifying.program, &data, &[], &lists).unwrap();
        let statement = statement(&key, &trace);
        let encoding = Encoding { tokens: tokens.to_vec(), embedding: statement.outputs[0].clone() };
        assert_eq!(encoder.statement(&encoding).unwrap(), statement);
        let proof = prove_trace(&key, &trace, &statement, &mut Honest).unwrap();
        Self { encoder, data, encoding, key, statement, proof }
    }

    /// What a verifier says who has the encoder's key and an encoding.
    fn verify(&self, encoding: &Encoding) -> Verdict {
        let key = family(&self.encoder, &self.key.verifying);
        let instance = key.instance(self.encoder.length(&encoding.tokens).unwrap());
        let protocol = Protocol::with_rows(&instance.program, WORK, LOG_ROWS).unwrap();
        verify_with(&protocol, &instance, &self.encoder.statement(encoding).unwrap(), &self.proof)
    }

    /// The verdict on the trace that another run of the model leaves, for the vector that it gives.
    fn of_steps(&self, edit: impl FnOnce(&mut Circuit)) -> Verdict {
        let mut steps = self.key.circuit().clone();
        edit(&mut steps);
        let program = &self.key.verifying.program;
        let mut trace = replay_listed(&steps, program, &self.data, (&[], &self.statement.lists), &[]);
        count_multiplicities(self.key.circuit(), &mut trace);
        let claimed = statement(&self.key, &trace);
        let proof = prove_trace(&self.key, &trace, &claimed, &mut Honest).unwrap();
        verify_with(&self.key.protocol, &self.key.verifying, &claimed, &proof)
    }
}

const SENTENCE: [u32; 5] = [3, 14, 15, 9, 2];

#[test]
fn encodings_that_are_not_the_proof_s() {
    let t = Telling::new(1, &SENTENCE);
    assert_eq!(t.verify(&t.encoding), Ok(()));
    for at in 0..SENTENCE.len() {
        let mut other = t.encoding.clone();
        other.tokens[at] ^= 1;
        assert_eq!(t.verify(&other), Err(Reject::Work), "token {at}");
    }
    for at in [0, 7, 23] {
        let mut other = t.encoding.clone();
        other.embedding[at] += 1;
        assert_eq!(t.verify(&other), Err(Reject::Work), "channel {at}");
        // A proof that is made for the false vector from the honest trace.
        let mut forged = t.statement.clone();
        forged.outputs[0][at] += 1;
        let lists = &t.statement.lists;
        let trace = execute_listed(t.key.circuit(), &t.key.verifying.program, &t.data, &[], lists).unwrap();
        let proof = prove_trace(&t.key, &trace, &forged, &mut Honest).unwrap();
        assert_eq!(verify_with(&t.key.protocol, &t.key.verifying, &forged, &proof), OPENING);
    }
    // A token less or more: with more it has as many rows, and another mask and mean.
    let mut other = t.encoding.clone();
    other.tokens.pop();
    assert_eq!(t.verify(&other), Err(Reject::Work));
    other = t.encoding.clone();
    other.tokens.push(t.encoder.pad);
    assert_eq!(t.encoder.statement(&other).unwrap(), t.statement);
    assert_eq!(t.verify(&other), Err(Reject::Work));
    // Vectors of another length, or out of range.
    other = t.encoding.clone();
    other.embedding.pop();
    assert_eq!(t.verify(&other), Err(Reject::StatementShape));
    other = t.encoding.clone();
    other.embedding[0] = 8192;
    assert_eq!(t.verify(&other), Err(Reject::StatementRange));
}

/// One commitment for all lengths.
#[test]
fn lengths_share_their_commitment() {
    let (encoder, data) = programs::encoder(1);
    let cap = key_of(&encoder, &data, 5).verifying.fixed_cap;
    for length in [1, 2, 8, 11] {
        assert_eq!(key_of(&encoder, &data, length).verifying.fixed_cap, cap, "{length}");
    }
}

/// Embeddings of other tokens or positions.
#[test]
fn other_embeddings() {
    let t = Telling::new(1, &SENTENCE);
    let rows = |which: usize, to: Vec<u32>| t.of_steps(|c| c.gathers[which].rows = Rows::Given(to));
    let gathers = &t.key.circuit().gathers;
    assert!(gathers.iter().all(|gather| gather.rows.list(&t.statement.lists).len() == 8));
    // Two blocks of channels each.
    for (which, gather) in gathers.iter().enumerate() {
        let own = gather.rows.list(&t.statement.lists).to_vec();
        let mut moved = own.clone();
        moved.rotate_left(1);
        assert_eq!(rows(which, moved), OPENING, "gather {which}");
        let mut swapped = own;
        swapped.swap(1, 3);
        assert_eq!(rows(which, swapped), OPENING, "gather {which}");
    }
}

/// Every product that a step computes.
fn products(circuit: &mut Circuit, mut edit: impl FnMut(&mut Product)) {
    for step in &mut circuit.steps {
        match step {
            Step::Divide { value, .. } => value.products.iter_mut().for_each(&mut edit),
            Step::Set { value: Int::Value(value), .. } => value.products.iter_mut().for_each(&mut edit),
            _ => {}
        }
    }
}

/// Layers dropped or exchanged, blocks skipped.
#[test]
fn another_depth() {
    let t = Telling::new(2, &SENTENCE);
    assert_eq!(t.of_steps(|_| {}), Ok(()));
    let circuit = t.key.circuit();
    // The column of the same part of a constant in the other layer.
    let place = |id: ColumnId| match circuit.column(id).content {
        Content::Constant { row, col, .. } => Some((row, col, circuit.column(id).shape)),
        _ => None,
    };
    let other = |id: ColumnId| {
        let (layer, rest) = circuit.column(id).name.strip_prefix("layers.")?.split_once('.')?;
        let name = format!("layers.{}.{rest}", 1 - layer.parse::<usize>().ok()?);
        place(id)?;
        let mut ids = (0..circuit.columns.len() as u32).map(ColumnId);
        ids.find(|&other| circuit.column(other).name == name && place(other) == place(id))
    };
    let replace = |only: Option<&str>| {
        t.of_steps(|c| {
            products(c, |p| {
                for (_, id) in &mut p.b.terms {
                    let named = only.is_none_or(|name| circuit.column(*id).name.ends_with(name));
                    if let (true, Some(other)) = (named, other(*id)) {
                        *id = other;
                    }
                }
            });
        })
    };
    rejected(&replace(None), "layers exchanged");
    for name in [".query", ".key", ".value", ".value.bias", ".output", ".up", ".down", "attention_norm.gain"]
    {
        rejected(&replace(Some(name)), name);
    }
    // Sums of a base and a summand: attention and feed-forward of both layers, in two blocks of channels; before them
    // that of the embeddings.
    let sums: Vec<usize> = (0..circuit.steps.len())
        .filter(|&i| {
            matches!(&circuit.steps[i], Step::Divide { divisor: 1024, value, .. }
                if value.form.terms.len() == 3 && circuit.column(value.form.terms[2].1).name.ends_with("summand"))
        })
        .collect();
    assert_eq!(sums.len(), 10);
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
    for pair in sums.chunks(2) {
        rejected(&skip(pair, false), "a block is skipped");
        rejected(&skip(pair, true), "what a block adds to is skipped");
    }
    rejected(&skip(&sums[2..6], false), "the first layer is dropped");
    rejected(&skip(&sums[6..], false), "the last layer is dropped");
    // The last layer is left out altogether: the mean reads what the first one gave.
    let middle = |name: &str| -> Vec<ColumnId> {
        let ids = (0..circuit.columns.len() as u32).map(ColumnId);
        ids.filter(|&id| circuit.column(id).name == name).collect()
    };
    let (first, last) = (middle("layers.0.output_norm"), middle("layers.1.output_norm"));
    assert_eq!((first.len(), last.len()), (2, 2));
    let dropped = t.of_steps(|c| {
        products(c, |p| {
            for (_, id) in &mut p.b.terms {
                if let Some(k) = last.iter().position(|own| own == id) {
                    *id = first[k];
                }
            }
        });
    });
    rejected(&dropped, "the mean of an earlier layer");
}
