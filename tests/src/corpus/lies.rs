//! Proofs of programs by cheating provers: each tells a lie, and computes everything after it as if it were true.

use std::sync::Arc;

use circlet::backend::field::B;
use circlet::execute::{Trace, count_multiplicities};
use circlet::files::{Format, Kind, ProofFile, encode};
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::prove_trace;
use circlet_core::field::QM31;
use circlet_core::key::Statement;
use circlet_core::profile::{P100_U, Profile, ProfileId};
use circlet_core::transcript::Label;

use super::Corpus;
use super::bytes::Target;
use crate::attack::Change;
use crate::cheat::{Bench, Lie, TOY, change_rows, sections};
use crate::liars::{LookupLiar, OpeningLiar, RelationLiar};
use crate::programs::{self, Random};

/// A program's key and what is proven under it.
pub struct Forger<'a> {
    corpus: &'a mut Corpus,
    bench: &'a Bench,
    key: &'a str,
}

/// The file of a proof.
pub fn file(key_digest: [u8; 32], statement: &Statement, proof: &[u8]) -> Vec<u8> {
    encode(&ProofFile { key_digest, statement: statement.clone(), proof: proof.to_vec() })
}

impl Forger<'_> {
    fn forge(&mut self, what: &str, statement: &Statement, proof: &[u8]) {
        let file = file(self.bench.key.digest, statement, proof);
        let stem = self.key.trim_end_matches(".vk");
        self.corpus.forged(self.key, &format!("{stem}-{what}"), file);
    }

    /// A proof with a false trace, whatever outputs it has.
    fn of_trace(&mut self, what: &str, trace: &Trace, adversary: &mut dyn Adversary) {
        let (statement, proof) = self.bench.forged(trace, adversary);
        self.forge(what, &statement, &proof);
    }

    /// A proof of a false statement with the honest trace.
    fn of_statement(&mut self, what: &str, statement: &Statement, adversary: &mut dyn Adversary) {
        let proof = prove_trace(&self.bench.key, &self.bench.trace, statement, adversary).unwrap();
        self.forge(what, statement, &proof);
    }

    /// Lies about true things.
    fn lie(&mut self, what: &str, adversary: &mut dyn Adversary) {
        let statement = self.bench.statement.clone();
        self.of_statement(what, &statement, adversary);
    }
}

/// Forgeries of three programs: one small for bytes, messages and commitments, one of three layers for witnesses, one with
/// all ops between tensors.
pub fn program(corpus: &mut Corpus) {
    let bench = Bench::new(programs::matmul(), P100_U);
    let key = corpus.key("program", &bench.key.verifying);
    let proof = bench.proof();
    let honest =
        ProofFile { key_digest: bench.key.digest, statement: bench.statement.clone(), proof: proof.clone() };
    corpus.honest(&key, "program", encode(&honest));
    let payload = honest.payload().concat();
    let target = Target {
        key: &key,
        name: "program",
        kind: Kind::Proof,
        payload: &payload,
        start: payload.len() - proof.len(),
        parts: &sections(&bench.key.protocol, proof.len()),
    };
    target.all(corpus);
    let mut forger = Forger { corpus, bench: &bench, key: &key };
    forger.messages();
    forger.commitments();
    forger.nonces();
    forger.statements(&proof);
    forger.weaker_profiles();

    let bench = Bench::new(programs::mlp(), P100_U);
    let key = corpus.key("layers", &bench.key.verifying);
    corpus.honest(&key, "layers", file(bench.key.digest, &bench.statement, &bench.proof()));
    let mut forger = Forger { corpus, bench: &bench, key: &key };
    forger.witnesses();
    forger.lookups();
    forger.stages();

    let bench = Bench::new(programs::residual(), P100_U);
    let key = corpus.key("residual", &bench.key.verifying);
    corpus.honest(&key, "residual", file(bench.key.digest, &bench.statement, &bench.proof()));
    Forger { corpus, bench: &bench, key: &key }.rewired();
}

impl Forger<'_> {
    /// Entries that a rewiring exchanges and should not, or takes from nowhere.
    fn rewired(&mut self) {
        let wirings = &self.bench.key.circuit().wirings;
        for (index, wiring) in wirings.iter().enumerate() {
            for (place, placement) in wiring.to.iter().enumerate() {
                let column = placement.column.0 as usize;
                let cells = &self.bench.trace.columns[column];
                let Some(other) = cells.iter().position(|cell| *cell != cells[0]) else { continue };
                let mut trace = self.bench.trace.clone();
                trace.columns[column].swap(0, other);
                self.of_trace(&format!("wiring{index}-{place}-swapped"), &trace, &mut Honest);
                let mut trace = self.bench.trace.clone();
                trace.columns[column][other] += 1;
                self.of_trace(&format!("wiring{index}-{place}-other"), &trace, &mut Honest);
            }
        }
    }

    /// Each kind of message, changed before it is sent: the first of its label, and the last.
    fn messages(&mut self) {
        let mut sent: Vec<Label> = Vec::new();
        let statement = self.bench.statement.clone();
        let mut record = Lie::new(|label, _, _: &mut [QM31]| sent.push(label));
        let _ = prove_trace(&self.bench.key, &self.bench.trace, &statement, &mut record).unwrap();
        let mut labels = sent.clone();
        labels.sort_unstable();
        labels.dedup();
        for label in labels {
            let count = sent.iter().filter(|&&other| other == label).count();
            let mut places = vec![0, count - 1];
            places.dedup();
            for place in places {
                let mut lie = Lie::new(|l, index, message: &mut [QM31]| {
                    if (l, index) == (label, place) {
                        message[0] += QM31::ONE;
                    }
                });
                self.lie(&format!("lie-{label:?}{place}").to_lowercase(), &mut lie);
            }
        }
        let mut zero = Lie::new(|label, _, message: &mut [QM31]| {
            if label == Label::LookupRoot {
                message[0] = QM31::ZERO;
            }
        });
        self.lie("lie-root-zero", &mut zero);
    }

    /// Words that are no codewords, trees of other numbers, answers to other queries.
    fn commitments(&mut self) {
        let mut random = Random(9);
        let mut garbage =
            Codewords(|words: &mut [Vec<B>]| change_rows(words, |_, _, _| random.below(1 << 30) as u32));
        self.lie("word-garbage", &mut garbage);
        let mut repeated = Codewords(|words: &mut [Vec<B>]| {
            for word in words {
                let quarter = word.len() / 4;
                let head = word[..quarter].to_vec();
                word.chunks_mut(quarter).for_each(|chunk| chunk.copy_from_slice(&head));
            }
        });
        self.lie("word-not-encoded", &mut repeated);
        let far = |c: usize, row: usize, value: u32| if c == 0 && row % 8 < 4 { value ^ 1 } else { value };
        self.lie("word-half", &mut Codewords(|words: &mut [Vec<B>]| change_rows(words, far)));
        self.lie("word-folded", &mut Word(Label::FoldedRoot));

        self.lie("queries-moved", &mut Positions(|p: &mut Vec<u32>| p.iter_mut().for_each(|p| *p ^= 64)));
        self.lie("queries-fewer", &mut Positions(|p: &mut Vec<u32>| p.truncate(12)));
        self.lie("queries-doubled", &mut Positions(|p: &mut Vec<u32>| p[1] = p[0]));

        // Another model from beginning to end, said to be this one.
        let (program, mut data, inputs) = self.bench.case.clone();
        data.constants[0][0] -= data.constants[0][0].signum();
        let mut other = Bench::new((program, data, inputs), P100_U);
        other.key.digest = self.bench.key.digest;
        self.forge("other-model", &other.statement.clone(), &other.proof());
        // The same with the tree of this one's weights.
        let mut own = Bench::new(self.bench.case.clone(), P100_U).key;
        if let (Some(fixed), Some(own)) = (Arc::get_mut(&mut other.key.fixed), Arc::get_mut(&mut own.fixed)) {
            std::mem::swap(&mut fixed.tree, &mut own.tree);
        }
        self.forge("other-model-own-tree", &other.statement.clone(), &other.proof());
    }

    fn nonces(&mut self) {
        for which in 0..3 {
            self.lie(&format!("nonce-{which}"), &mut Nonce { which, seen: 0 });
        }
    }

    /// Statements that are not the proof's.
    fn statements(&mut self, proof: &[u8]) {
        let honest = self.bench.statement.clone();
        let mut forge = |what: &str, edit: &dyn Fn(&mut Statement)| {
            let mut statement = honest.clone();
            edit(&mut statement);
            // After the proof was made, and before.
            self.forge(&format!("says-{what}"), &statement, proof);
            if statement.inputs.iter().chain(&statement.outputs).map(Vec::len).eq([60, 39])
                && statement.lists.is_empty()
            {
                self.of_statement(&format!("claims-{what}"), &statement, &mut Honest);
            }
        };
        forge("output", &|s| s.outputs[0][0] -= s.outputs[0][0].signum());
        forge("input", &|s| s.inputs[0][59] ^= 1);
        forge("outputs-swapped", &|s| s.outputs[0].reverse());
        forge("rows-moved", &|s| s.inputs[0].rotate_left(20));
        forge("output-out-of-range", &|s| s.outputs[0][3] = 128);
        forge("input-out-of-range", &|s| s.inputs[0][3] = i32::MIN);
        forge("input-congruent", &|s| {
            s.inputs[0][2] += if s.inputs[0][2] > 0 { -i32::MAX } else { i32::MAX };
        });
        forge("input-missing", &|s| s.inputs.clear());
        forge("output-twice", &|s| s.outputs.push(s.outputs[0].clone()));
        forge("output-longer", &|s| s.outputs[0].push(0));
        forge("input-shorter", &|s| {
            s.inputs[0].pop();
        });
        forge("list", &|s| s.lists.push(vec![1]));
    }

    /// What a weaker profile gives, under the key of the real one.
    fn weaker_profiles(&mut self) {
        let seed = *ProfileId::Seed96C.profile();
        let johnson = *ProfileId::P100J8.profile();
        for (what, profile) in [
            ("queries", Profile { queries: 100, ..P100_U }),
            ("work", Profile { pow_bits: 8, ..P100_U }),
            ("lookup-work", Profile { g_lookup: 0, ..P100_U }),
            ("wiring-work", Profile { g_wiring: 0, ..P100_U }),
            ("rate", Profile { log_blowup: 1, ..P100_U }),
            ("toy", TOY),
            ("conjectured", seed),
            ("johnson", johnson),
        ] {
            let mut bench = Bench::new(self.bench.case.clone(), profile);
            bench.key.digest = self.bench.key.digest;
            self.forge(&format!("profile-{what}"), &bench.statement, &bench.proof());
        }
    }

    /// False cells, in every layer: alone, with what hides them in their relation, and with all that follows from them.
    fn witnesses(&mut self) {
        let bench = self.bench;
        let circuit = bench.key.circuit();
        let named = |end: &str| -> Vec<usize> {
            (0..circuit.columns.len()).filter(|&index| circuit.columns[index].name.ends_with(end)).collect()
        };
        let (quotients, remainders) = (named("quotient"), named("requantize.remainder"));
        // Three layers, of which each has its channels in two blocks.
        assert_eq!((quotients.len(), remainders.len()), (6, 6), "{}", bench.case.0.name);
        for (block, (&quotient, &remainder)) in quotients.iter().zip(&remainders).enumerate() {
            let change = |column: usize, delta: i64| Change {
                column: circlet_core::circuit::ColumnId(column as u32),
                cell: 1,
                delta,
            };
            let mut forge = |what: &str, trace: &Trace| {
                self.of_trace(&format!("block{block}-{what}"), trace, &mut Honest);
            };
            let mut alone = bench.trace.clone();
            alone.columns[quotient][1] -= 1;
            forge("quotient", &alone);
            let mut alone = bench.trace.clone();
            alone.columns[remainder][1] ^= 1;
            forge("remainder", &alone);
            // The remainder, the activation and all later layers follow.
            for delta in [-1, 1, 100] {
                forge(&format!("followed{delta}"), &bench.changed(&[change(quotient, delta)]));
            }
            forge("remainder-followed", &bench.changed(&[change(remainder, 1)]));
        }
        // Outputs that the activation does not give.
        let mut trace = bench.trace.clone();
        if let Some(output) = circuit.outputs.first().and_then(|public| public.cells.first()) {
            trace.columns[output.column.0 as usize][0] ^= 1;
        }
        self.of_trace("output-cell", &trace, &mut Honest);
    }

    /// Multiplicities that hide a value which is in no table, and a sum whose gap is carried to the leaves.
    fn lookups(&mut self) {
        let bench = self.bench;
        let column = bench.column("requantize.remainder").0 as usize;
        let mut trace = bench.trace.clone();
        let last = trace.columns[column].len() - 1;
        trace.columns[column][last] += 1 << 20;
        self.of_trace("lookup-outside", &trace, &mut Honest);
        self.of_trace("lookup-carried", &trace, &mut LookupLiar::new());
        count_multiplicities(bench.key.circuit(), &mut trace);
        let multiplicity = bench.key.circuit().tables[0].multiplicity.0 as usize;
        for row in [0, 31] {
            let mut trace = trace.clone();
            trace.columns[multiplicity][row] += 1;
            let proof = prove_trace(&bench.key, &trace, &bench.statement, &mut LookupLiar::new()).unwrap();
            self.forge(&format!("multiplicity-{row}-carried"), &bench.statement, &proof);
        }
        for (what, delta) in [("more", 1), ("less", -1)] {
            let mut trace = bench.trace.clone();
            trace.columns[multiplicity][3] += delta;
            let proof = prove_trace(&bench.key, &trace, &bench.statement, &mut Honest).unwrap();
            self.forge(&format!("multiplicity-{what}"), &bench.statement, &proof);
        }
    }

    /// A lie that is carried from message to message, up to each place where it can be found.
    fn stages(&mut self) {
        let bench = self.bench;
        let protocol = &bench.key.protocol;
        for operand in [0, protocol.reduction.operands.len() - 1] {
            let mut liar = RelationLiar::new(protocol, QM31::ONE, operand);
            self.lie(&format!("products-carried-{operand}"), &mut liar);
        }
        let mut statement = bench.statement.clone();
        statement.outputs[0][1] ^= 1;
        for label in [Label::FoldedRoot, Label::FoldRoot, Label::FinalMessage] {
            let what = format!("output-carried-{label:?}").to_lowercase();
            self.of_statement(&what, &statement, &mut OpeningLiar::new(protocol, label));
        }
    }
}

/// Changes the codewords of a proof's own tree.
pub struct Codewords<F: FnMut(&mut [Vec<B>])>(pub F);

impl<F: FnMut(&mut [Vec<B>])> Adversary for Codewords<F> {
    fn codewords(&mut self, label: Label, words: &mut [Vec<B>]) {
        if label == Label::WitnessRoot {
            (self.0)(words);
        }
    }
}

/// Changes a folded word.
pub struct Word(pub Label);

impl Adversary for Word {
    fn word(&mut self, label: Label, word: &mut [QM31]) {
        if label == self.0 {
            for value in word {
                *value += QM31::ONE;
            }
        }
    }
}

/// Answers other queries.
struct Positions<F: FnMut(&mut Vec<u32>)>(F);

impl<F: FnMut(&mut Vec<u32>)> Adversary for Positions<F> {
    fn positions(&mut self, positions: &mut Vec<u32>) {
        positions.sort_unstable();
        positions.dedup();
        (self.0)(positions);
    }
}

/// Sends another nonce.
struct Nonce {
    which: usize,
    seen: usize,
}

impl Adversary for Nonce {
    fn nonce(&mut self, nonce: &mut u64) {
        if self.seen == self.which {
            *nonce ^= 1 << 40;
        }
        self.seen += 1;
    }
}
