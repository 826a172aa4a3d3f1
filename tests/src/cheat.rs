//! A cheating prover at work: a program with its key, witnesses that are not the program's, and lies.

use std::collections::BTreeMap;

use circlet::backend::device::Device;
use circlet::backend::field::{B, LANES, pack_base};
use circlet::execute::{Trace, count_multiplicities, execute_listed};
use circlet::keys::ProvingKey;
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::{prove_trace, statement};
use circlet_core::circuit::{Circuit, ColumnId, Tree};
use circlet_core::field::{M31, QM31};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::key::Statement;
use circlet_core::profile::{P100_U, Profile};
use circlet_core::program::Program;
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;
use circlet_verifier::{Reject, Stage, verify_with};

use crate::attack::{Change, column, replay_listed};
use crate::programs::Case;

/// The suite of these tests.
pub type Suite = Poseidon2Blake2s;

/// What the verifier says.
pub type Verdict = Result<(), Reject>;

/// A lookup that fails.
pub const LOOKUP: Verdict = Err(Reject::FinalClaim(Stage::Lookup));
/// A relation, wiring, gather, pick or public number that fails.
pub const OPENING: Verdict = Err(Reject::FinalClaim(Stage::Opening));

/// Few queries and little work: what is tested here does not depend on either.
pub const TOY: Profile =
    Profile { name: "toy", queries: 24, pow_bits: 2, g_lookup: 2, g_wiring: 2, ..P100_U };

/// A program with its key and an honest run.
pub struct Bench {
    /// Program, numbers and inputs.
    pub case: Case,
    /// Its lists; those that it computes are empty.
    pub lists: Vec<Vec<u32>>,
    /// Its key.
    pub key: ProvingKey<Suite>,
    /// The honest trace.
    pub trace: Trace,
    /// The true statement.
    pub statement: Statement,
}

impl Bench {
    /// A key and an honest run.
    pub fn new(case: Case, profile: Profile) -> Self {
        Self::with_key_maker(case, profile, &mut Honest)
    }

    /// The same for a program with lists.
    pub fn listed(case: Case, lists: &[Vec<u32>], profile: Profile) -> Self {
        Self::build(case, lists, profile, &mut Honest)
    }

    /// A key whose maker cheats.
    pub fn with_key_maker(case: Case, profile: Profile, maker: &mut dyn Adversary) -> Self {
        Self::build(case, &[], profile, maker)
    }

    fn build(case: Case, lists: &[Vec<u32>], profile: Profile, maker: &mut dyn Adversary) -> Self {
        let (program, data, inputs) = case.clone();
        let protocol = Protocol::new(&program, profile).expect("a program of these tests");
        let key = ProvingKey::build(&Device::Cpu, program, data, protocol, maker).unwrap();
        let trace = execute_listed(key.circuit(), &case.0, &case.1, &inputs, lists);
        let trace = trace.expect("an input of these tests");
        let statement = statement(&key, &trace);
        Self { case, lists: lists.to_vec(), key, trace, statement }
    }

    /// Runs the program again, after the inputs were changed.
    pub fn rerun(&mut self) {
        let (program, data, inputs) = &self.case;
        let trace = execute_listed(self.key.circuit(), program, data, inputs, &self.lists);
        self.trace = trace.expect("an input of these tests");
        self.statement = statement(&self.key, &self.trace);
    }

    /// A column by the end of its name.
    pub fn column(&self, suffix: &str) -> ColumnId {
        column(self.key.circuit(), suffix)
    }

    /// The run with some cells changed and all that follows recomputed.
    pub fn changed(&self, changes: &[Change]) -> Trace {
        self.replayed(self.key.circuit(), changes)
    }

    /// The same by other steps.
    fn replayed(&self, steps: &Circuit, changes: &[Change]) -> Trace {
        let (program, data, inputs) = &self.case;
        replay_listed(steps, program, data, (inputs, &self.lists), changes)
    }

    /// The verdict on the trace of another program, whose columns are the same.
    pub fn of_other_program(&self, edit: impl FnOnce(&mut Program)) -> Verdict {
        let (mut program, data, inputs) = self.case.clone();
        edit(&mut program);
        let circuit = Circuit::new(&program).expect("a program as good as the other");
        let names = |c: &Circuit| c.columns.iter().map(|c| (c.name.clone(), c.shape)).collect::<Vec<_>>();
        assert_eq!(names(&circuit), names(self.key.circuit()));
        let trace = execute_listed(&circuit, &program, &data, &inputs, &self.lists);
        let trace = trace.expect("an input of the other program");
        assert_ne!(trace, self.trace, "the other program does the same");
        self.judge(&trace)
    }

    /// The verdict on the trace of other steps.
    pub fn of_other_steps(&self, edit: impl FnOnce(&mut Circuit)) -> Verdict {
        let mut circuit = self.key.circuit().clone();
        edit(&mut circuit);
        let trace = self.replayed(&circuit, &[]);
        let honest = self.changed(&[]);
        assert_eq!(self.judge(&honest), Ok(()));
        assert_ne!(trace, honest, "the other steps do the same");
        self.judge(&trace)
    }

    /// Proves with a trace, its multiplicities counted anew, whatever outputs it has, and judges the proof.
    pub fn judge(&self, trace: &Trace) -> Verdict {
        self.judge_with(trace, &mut Honest)
    }

    /// The same with lies on the way.
    pub fn judge_with(&self, trace: &Trace, adversary: &mut dyn Adversary) -> Verdict {
        let (statement, proof) = self.forged(trace, adversary);
        self.verify(&statement, &proof)
    }

    /// What [`Self::judge_with`] judges.
    pub fn forged(&self, trace: &Trace, adversary: &mut dyn Adversary) -> (Statement, Vec<u8>) {
        let mut trace = trace.clone();
        for cell in trace.columns.iter_mut().flatten() {
            *cell = M31::from_i64(i64::from(*cell)).signed();
        }
        count_multiplicities(self.key.circuit(), &mut trace);
        let statement = Statement { inputs: self.statement.inputs.clone(), ..statement(&self.key, &trace) };
        let proof = prove_trace(&self.key, &trace, &statement, adversary).unwrap();
        (statement, proof)
    }

    /// An honest trace and a true statement, but lies on the way.
    pub fn lie(&self, adversary: &mut dyn Adversary) -> Verdict {
        self.claim(&self.statement, adversary)
    }

    /// An honest trace for any statement.
    pub fn claim(&self, statement: &Statement, adversary: &mut dyn Adversary) -> Verdict {
        self.verify(statement, &prove_trace(&self.key, &self.trace, statement, adversary).unwrap())
    }

    /// The honest proof.
    pub fn proof(&self) -> Vec<u8> {
        prove_trace(&self.key, &self.trace, &self.statement, &mut Honest).unwrap()
    }

    /// Judges a proof.
    pub fn verify(&self, statement: &Statement, proof: &[u8]) -> Verdict {
        verify_with(&self.key.protocol, &self.key.verifying, statement, proof)
    }
}

/// A lie told in messages: gets the label, how many messages of that label came before, and the message.
pub struct Lie<F: FnMut(Label, usize, &mut [QM31])> {
    lie: F,
    seen: BTreeMap<Label, usize>,
}

impl<F: FnMut(Label, usize, &mut [QM31])> Lie<F> {
    /// A liar.
    pub fn new(lie: F) -> Self {
        Self { lie, seen: BTreeMap::new() }
    }
}

impl<F: FnMut(Label, usize, &mut [QM31])> Adversary for Lie<F> {
    fn message(&mut self, label: Label, message: &mut [QM31]) {
        let seen = self.seen.entry(label).or_default();
        (self.lie)(label, *seen, message);
        *seen += 1;
    }
}

/// Changes the codewords of one tree: every cell of the rows for which `choose` holds becomes
/// `change(column, row, value)`.
pub fn change_rows(words: &mut [Vec<B>], mut change: impl FnMut(usize, usize, u32) -> u32) {
    for (c, word) in words.iter_mut().enumerate() {
        for (v, vector) in word.iter_mut().enumerate() {
            let lanes: Vec<i32> = vector
                .to_array()
                .iter()
                .enumerate()
                .map(|(lane, cell)| change(c, v * LANES + lane, cell.0) as i32)
                .collect();
            *vector = pack_base(&lanes);
        }
    }
}

/// A part of a proof: what it is, where it begins, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds; nonces are [`Label::Nonce`], answers to queries [`Label::QueryIndex`].
    pub label: Label,
    /// First byte.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

/// All parts of a proof of `length` bytes, in their order. The answers to queries are one part.
pub fn sections(protocol: &Protocol, length: usize) -> Vec<Section> {
    let profile = &protocol.profile;
    let mut all: Vec<Section> = Vec::new();
    let mut push = |label, len| {
        let start = all.last().map_or(0, |s| s.start + s.len);
        if len > 0 {
            all.push(Section { label, start, len });
        }
    };
    let nonce = |bits: u32| if bits == 0 { 0 } else { 8 };
    let cap = |height: u32| 32 << protocol.cap_log(height);
    push(Label::WitnessRoot, cap(protocol.codeword_log()));
    let hands_on = protocol.circuit.has(Tree::State);
    push(Label::StateRoot, if hands_on { cap(protocol.codeword_log()) } else { 0 });
    push(Label::Nonce, nonce(profile.g_lookup));
    push(Label::LookupRoot, 16);
    for variables in 0..protocol.leaves.depth {
        for _ in 0..variables {
            push(Label::LookupRound, 32);
        }
        push(Label::LookupLayer, 64);
    }
    push(Label::RelationClaim, 16);
    for _ in 0..protocol.reduction.rounds {
        push(Label::RelationRound, 48);
    }
    push(Label::RelationEvals, 32);
    push(Label::Nonce, nonce(profile.g_wiring));
    for _ in 0..protocol.stacking.stack_variables() {
        push(Label::OpeningRound, 32);
        push(Label::Nonce, nonce(profile.g_stack));
    }
    push(Label::FoldedRoot, cap(protocol.fold_height(0)));
    let folds = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
    for bound in 1..=protocol.stacking.log_rows {
        push(Label::OpeningRound, 32);
        push(Label::Nonce, if bound <= folds { nonce(profile.g_fold) } else { 0 });
        if bound == folds {
            push(Label::FinalMessage, 16 << protocol.schedule.last);
        } else if bound < folds && bound % FoldSchedule::ARITY_LOG == 0 {
            push(Label::FoldRoot, cap(protocol.fold_height(bound / FoldSchedule::ARITY_LOG)));
        }
    }
    push(Label::RelationEvals, 16 * protocol.reduction.operands.len());
    push(Label::Nonce, nonce(profile.pow_bits));
    let rest = length - all.last().map_or(0, |s| s.start + s.len);
    all.push(Section { label: Label::QueryIndex, start: length - rest, len: rest });
    all
}
