//! Lies about what one turn of a conversation hands on to the next. Each is told once and everything after it is
//! computed honestly.

use circlet::backend::field::B;
use circlet::execute::{State, count_multiplicities};
use circlet::llm::chat::Standing as Run;
use circlet::llm::prover::DecoderProver;
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::prove_trace;
use circlet_core::circuit::{Circuit, CircuitError, ColumnId, Indicator, Rows, Step, Tree};
use circlet_core::decoder::{Chat, Decoder, DecoderKey, Reached, TextError, Turn};
use circlet_core::field::{M31, QM31};
use circlet_core::hash::suite::Blake2sBlake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_core::transcript::Label;
use circlet_tests::attack::{Change, replay_after};
use circlet_tests::cheat::{LOOKUP, OPENING};
use circlet_tests::programs::{decoder, prompt};
use circlet_verifier::{Reject, Standing, verify, verify_chat, verify_turn};

/// Three turns, of which the second begins with six positions behind it; there is room for eight.
struct Talk {
    decoder: Decoder,
    data: Data,
    prover: DecoderProver<Blake2sBlake2s>,
    chat: Chat,
    proofs: Vec<Vec<u8>>,
    /// Before each turn and after the last: the prover's numbers and what the verifier knows.
    standings: Vec<(Run, Option<Standing>)>,
}

impl Talk {
    fn new() -> Self {
        Self::about(5)
    }

    /// A conversation that begins with so many tokens of prompt.
    fn about(given: usize) -> Self {
        let (decoder, data) = decoder(1, 4, 2, false);
        let prover = DecoderProver::new(decoder.clone(), &data, ProfileId::P100U).unwrap();
        let mut talk = Self {
            standings: vec![(Run::default(), None)],
            chat: Chat::default(),
            proofs: Vec::new(),
            decoder,
            data,
            prover,
        };
        for (given, more) in [(given, 2), (1, 1), (2, 1)] {
            let given = prompt(&talk.decoder, given);
            talk.say(&given, more);
        }
        talk
    }

    fn say(&mut self, given: &[u32], more: u32) {
        let (before, verified) = self.standings.last().unwrap();
        let turn = self.continued(before, given, more);
        let run = self.prover.run_turn(before, &turn).unwrap();
        let proof = run.prove().unwrap();
        let next = verify_turn(&self.prover.key, verified.as_ref(), &turn, &proof).unwrap();
        self.standings.push((run.standing, Some(next)));
        self.chat.turns.push(turn);
        self.proofs.push(proof);
    }

    /// What the model says after a state.
    fn continued(&self, before: &Run, given: &[u32], more: u32) -> Turn {
        let generated = self.prover.runner.generate(before, given, more, &[], |_| {}).unwrap();
        Turn { given: given.to_vec(), generated }
    }

    /// The verdict on a proof of a turn, counted from zero.
    fn verdict(&self, turn: usize, proof: &[u8]) -> Result<(), Reject> {
        let before = self.standings[turn].1.as_ref();
        verify_turn(&self.prover.key, before, &self.chat.turns[turn], proof).map(|_| ())
    }

    /// A trace of the second turn by other steps, from another state, with changes; the proof claims the turn.
    fn judge(
        &self,
        edit: impl FnOnce(&mut Circuit),
        past: &State,
        changes: &[Change],
        adversary: &mut dyn Adversary,
    ) -> Result<(), Reject> {
        let run = self.prover.run_turn(&self.standings[1].0, &self.chat.turns[1]).unwrap();
        let mut steps = run.key.circuit().clone();
        edit(&mut steps);
        let lists = &run.statement.lists;
        let program = &run.key.verifying.program;
        let mut trace = replay_after(&steps, program, &self.data, past, (&[], lists), changes);
        for cell in trace.columns.iter_mut().flatten() {
            *cell = M31::from_i64(i64::from(*cell)).signed();
        }
        count_multiplicities(run.key.circuit(), &mut trace);
        self.verdict(1, &prove_trace(&run.key, &trace, &run.statement, adversary).unwrap())
    }

    fn of_steps(&self, edit: impl FnOnce(&mut Circuit)) -> Result<(), Reject> {
        self.judge(edit, &self.standings[1].0.state, &[], &mut Honest)
    }

    /// The second turn's circuit.
    fn circuit(&self) -> Circuit {
        let run = self.prover.run_turn(&self.standings[1].0, &self.chat.turns[1]).unwrap();
        run.key.circuit().clone()
    }
}

fn columns(circuit: &Circuit, tree: Tree) -> Vec<ColumnId> {
    let ids = (0u32..).map(ColumnId).zip(&circuit.columns);
    ids.filter(|(_, column)| column.tree() == tree).map(|(id, _)| id).collect()
}

#[test]
fn the_honest_conversation_is_accepted() {
    let talk = Talk::new();
    assert_eq!(verify_chat(&talk.prover.key, &talk.chat, &talk.proofs), Ok(()));
    assert_eq!(talk.standings[1].0.reached.unwrap().positions, 6);
    assert_eq!(talk.of_steps(|_| {}), Ok(()));
}

/// What is handed on differs from what was handed over, or from the turn's own keys and values: for a visible
/// position, or one behind the last.
#[test]
fn another_state_is_handed_on() {
    let talk = Talk::new();
    let circuit = talk.circuit();
    let past = &talk.standings[1].0.state;
    // Four channels, eight positions, two groups.
    let state = columns(&circuit, Tree::State);
    assert_eq!((state.len(), circuit.column(state[0]).shape.rows), (2, 16));
    let channels = circuit.column(state[0]).shape.cols as usize;
    for &column in &state {
        for position in [0, 3, 5, 6, 7, 8, 14, 15] {
            let changes = [Change { column, cell: position * channels + 1, delta: 1 }];
            assert_eq!(talk.judge(|_| {}, past, &changes, &mut Honest), OPENING, "position {position}");
        }
    }
    // Rows exchanged, left out, or of another group.
    for (a, b) in [(0, 1), (5, 6), (0, 8), (7, 15)] {
        let verdict = talk.of_steps(|circuit| {
            for gather in &mut circuit.gathers {
                if let (true, Rows::Given(rows)) = (state.contains(&gather.output), &mut gather.rows) {
                    rows.swap(a, b);
                }
            }
        });
        assert_eq!(verdict, OPENING, "{a} and {b}");
    }
}

/// Codewords of the past that are those of another prover's trace.
struct Past {
    words: Vec<Vec<B>>,
    replace: bool,
}

impl Adversary for Past {
    fn codewords(&mut self, label: Label, words: &mut [Vec<B>]) {
        if label == Label::PastRoot {
            if self.replace {
                words.clone_from_slice(&self.words);
            } else {
                self.words = words.to_vec();
            }
        }
    }
}

/// Another number in the past, committed to anew or not at all.
#[test]
fn another_past() {
    let talk = Talk::new();
    let honest = &talk.standings[1].0.state;
    let mut recorder = Past { words: Vec::new(), replace: false };
    assert_eq!(talk.judge(|_| {}, honest, &[], &mut recorder), Ok(()));
    for (column, cell) in [(0, 0), (1, 0), (0, 17), (1, 40)] {
        let mut past = honest.clone();
        past[column][cell] += 1;
        assert_ne!(talk.judge(|_| {}, &past, &[], &mut Honest), Ok(()));
        let mut adversary = Past { words: recorder.words.clone(), replace: true };
        assert_eq!(talk.judge(|_| {}, &past, &[], &mut adversary), Err(Reject::RowCombination));
    }
    // Keys for values.
    let swapped: State = honest.iter().rev().cloned().collect();
    assert_ne!(talk.judge(|_| {}, &swapped, &[], &mut Honest), Ok(()));
}

/// Sees what is committed to and the first challenge.
#[derive(Default)]
struct Seen {
    words: Vec<(Label, Vec<Vec<B>>)>,
    challenge: Option<QM31>,
}

impl Adversary for Seen {
    fn codewords(&mut self, label: Label, words: &mut [Vec<B>]) {
        self.words.push((label, words.to_vec()));
    }

    fn challenge(&mut self, _: Label, challenge: QM31) {
        self.challenge.get_or_insert(challenge);
    }
}

/// The first challenge depends on the past: who could choose that after the challenges would choose what fits them.
#[test]
fn the_past_comes_before_all_challenges() {
    let talk = Talk::new();
    let honest = &talk.standings[1].0.state;
    let channels = talk.circuit().column(columns(&talk.circuit(), Tree::Past)[0]).shape.cols as usize;
    let mut other = honest.clone();
    // A row behind the last of six positions, which nobody reads.
    other[0][6 * channels] += 1;
    let [mut first, mut again, mut changed] = [(); 3].map(|()| Seen::default());
    assert_eq!(talk.judge(|_| {}, honest, &[], &mut first), Ok(()));
    assert_eq!(talk.judge(|_| {}, honest, &[], &mut again), Ok(()));
    assert!(talk.judge(|_| {}, &other, &[], &mut changed).is_err());
    assert_eq!(first.challenge, again.challenge);
    let same = |label| {
        let of = |seen: &Seen| -> Vec<[u32; 16]> {
            let words = seen.words.iter().find(|(l, _)| *l == label).unwrap();
            words.1.iter().flatten().map(|v| v.to_array().map(|x| x.0)).collect()
        };
        of(&first) == of(&changed)
    };
    assert!(same(Label::WitnessRoot) && same(Label::StateRoot) && !same(Label::PastRoot));
    assert!(first.challenge.is_some());
    assert_ne!(first.challenge, changed.challenge);
}

/// A turn that is true after another conversation with the same last token.
#[test]
fn another_conversation() {
    let talk = Talk::new();
    let other = Talk::about(6);
    let last = talk.standings[1].0.reached.unwrap();
    let given = &talk.chat.turns[1].given;
    for positions in [6, 7] {
        let mut run = other.standings[1].0.clone();
        assert_eq!(run.reached.unwrap().positions, 7);
        run.reached = Some(Reached { positions, ..last });
        let turn = other.continued(&run, given, 1);
        let proof = other.prover.run_turn(&run, &turn).unwrap().prove().unwrap();
        let verdict = verify_turn(&talk.prover.key, talk.standings[1].1.as_ref(), &turn, &proof);
        assert!(verdict.is_err());
    }
}

/// Six positions are behind the turn, not five or seven.
#[test]
fn another_number_of_positions() {
    let talk = Talk::new();
    for positions in [5, 7] {
        let mut run = talk.standings[1].0.clone();
        run.reached = run.reached.map(|reached| Reached { positions, ..reached });
        let turn = talk.continued(&run, &talk.chat.turns[1].given, 1);
        let proof = talk.prover.run_turn(&run, &turn).unwrap().prove().unwrap();
        let verdict = verify_turn(&talk.prover.key, talk.standings[1].1.as_ref(), &turn, &proof);
        assert!(verdict.is_err(), "{positions}");
    }
}

/// A position of the past is hidden, or one of the future is seen; or all are turned by the angles of another.
#[test]
fn another_view() {
    let talk = Talk::new();
    let moved = |by: fn(&mut u32)| {
        talk.of_steps(|circuit| {
            let edit = |set: &mut Indicator| {
                if let Indicator::Future { past, .. } = set {
                    by(past);
                }
            };
            for step in &mut circuit.steps {
                match step {
                    Step::RowMax { columns, .. } => {
                        columns.iter_mut().filter_map(|(_, hidden)| hidden.as_mut()).for_each(edit);
                    }
                    Step::MapForm { input, .. } => {
                        input.indicators.iter_mut().for_each(|(_, set)| edit(set));
                    }
                    _ => {}
                }
            }
        })
    };
    assert_eq!(moved(|_| {}), Ok(()));
    assert_eq!(moved(|past| *past += 1), LOOKUP);
    assert_eq!(moved(|past| *past -= 1), LOOKUP);
    assert_eq!(moved(|past| *past = 0), LOOKUP);

    let circuit = talk.circuit();
    let weight = |name: &str| {
        let index = circuit.columns.iter().position(|c| c.name.ends_with(name));
        ColumnId(index.unwrap_or_else(|| panic!("no column {name}")) as u32)
    };
    let past = &talk.standings[1].0.state;
    for (name, cell) in [(".weight0", 0), (".weight0", 3), (".weight0", 7), (".tie0", 7)] {
        let changes = [Change { column: weight(name), cell, delta: 1 }];
        assert_eq!(talk.judge(|_| {}, past, &changes, &mut Honest), LOOKUP, "{name} {cell}");
    }
    for by in [-1, 1, -6] {
        let verdict = talk.of_steps(|circuit| {
            for gather in &mut circuit.gathers {
                let name = &circuit.columns[gather.output.0 as usize].name;
                let angles = name.ends_with("cos") || name.ends_with("sin");
                if let (true, Rows::Given(rows)) = (angles, &mut gather.rows) {
                    for row in rows {
                        *row = row.saturating_add_signed(by);
                    }
                }
            }
        });
        // With other angles the claimed token may not be the greatest.
        assert!(verdict == OPENING || verdict == LOOKUP, "{by}: {verdict:?}");
    }
}

/// The turn begins with the last token of the one before, and with no other.
#[test]
fn another_last_token() {
    let talk = Talk::new();
    let mut run = talk.standings[1].0.clone();
    let last = run.reached.unwrap().last;
    run.reached = run.reached.map(|reached| Reached { last: last ^ 1, ..reached });
    let turn = talk.continued(&run, &talk.chat.turns[1].given, 1);
    let other = talk.prover.run_turn(&run, &turn).unwrap();
    let before = talk.standings[1].1.as_ref();
    assert!(verify_turn(&talk.prover.key, before, &turn, &other.prove().unwrap()).is_err());
    // The same trace for the statement that is asked for.
    let program = talk.decoder.turn(before.map(Standing::reached), &turn).unwrap();
    assert_eq!(program.statement.lists[0][0], last);
    let proof = prove_trace(&other.key, &other.trace, &program.statement, &mut Honest).unwrap();
    assert_eq!(verify_turn(&talk.prover.key, before, &turn, &proof).map(|_| ()), OPENING);
    // Another token at the end of the turn before.
    let mut chat = talk.chat.clone();
    *chat.turns[0].generated.last_mut().unwrap() ^= 1;
    assert!(matches!(verify_chat(&talk.prover.key, &chat, &talk.proofs), Err(Reject::Turn { turn: 1, .. })));
}

/// Turns in another order, left out, repeated or cut otherwise.
#[test]
fn another_order() {
    let talk = Talk::new();
    let key = &talk.prover.key;
    let turns = |order: &[usize]| -> (Chat, Vec<&[u8]>) {
        let chat = Chat { turns: order.iter().map(|&k| talk.chat.turns[k].clone()).collect() };
        (chat, order.iter().map(|&k| talk.proofs[k].as_slice()).collect())
    };
    for order in [&[0, 2, 1][..], &[1, 0, 2], &[0, 2], &[1, 2], &[0, 1, 1], &[0, 0, 1], &[0, 1, 2, 2]] {
        let (chat, proofs) = turns(order);
        assert!(matches!(verify_chat(key, &chat, &proofs), Err(Reject::Turn { .. })), "{order:?}");
    }
    let (chat, _) = turns(&[0, 1, 2]);
    let (_, proofs) = turns(&[0, 2, 1]);
    assert!(verify_chat(key, &chat, &proofs).is_err());
    assert_eq!(verify_chat(key, &chat, &proofs[..2]), Err(Reject::Turns { turns: 3, proofs: 2 }));
    assert_eq!(verify_chat::<&[u8]>(key, &Chat::default(), &[]), Err(Reject::Turns { turns: 0, proofs: 0 }));
    // The first turns alone are a conversation.
    let (chat, proofs) = turns(&[0, 1]);
    assert_eq!(verify_chat(key, &chat, &proofs), Ok(()));
    // A generated token that is said to be given, or the other way round.
    for (from, to) in [(0, 1), (1, 0)] {
        let mut chat = talk.chat.clone();
        let mut tokens = [chat.turns[1].given.clone(), chat.turns[1].generated.clone()].concat();
        let generated = tokens.split_off(chat.turns[1].given.len() + to - from);
        chat.turns[1] = Turn { given: tokens, generated };
        assert!(verify_chat(key, &chat, &talk.proofs).is_err());
    }
}

/// The state of a model is none for another, and the state that a proof names is the one that it is about.
#[test]
fn another_commitment() {
    let talk = Talk::new();
    let (turn, proof) = (&talk.chat.turns[1], &talk.proofs[1]);
    let before = talk.standings[1].1.as_ref();
    let key = |edit: fn(&mut DecoderKey)| {
        let mut key = talk.prover.key.clone();
        edit(&mut key);
        key
    };
    for other in [key(|k| k.fixed_cap[3][0] ^= 1), key(|k| k.decoder.name.push('x')), key(|k| k.suite = 1)] {
        assert_eq!(verify_turn(&other, before, turn, proof), Err(Reject::OtherKey));
        assert!(verify_turn(&other, None, &talk.chat.turns[0], &talk.proofs[0]).is_err());
    }
    // A first turn has nothing before it, others do.
    assert!(verify_turn(&talk.prover.key, None, turn, proof).is_err());
    assert!(verify_turn(&talk.prover.key, before, &talk.chat.turns[0], &talk.proofs[0]).is_err());
    // Without the proof before, nobody knows what it goes on from.
    let program = talk.decoder.turn(before.map(Standing::reached), turn).unwrap();
    let instance = talk.prover.key.instance(program.extent);
    assert_eq!(verify(&instance, &program.statement, proof), Err(Reject::Past));
    // The cap of the state in the proof: that of the witness comes first.
    let cap = 32 << 6;
    for at in [cap, cap + 31, 2 * cap - 1] {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        assert!(talk.verdict(1, &changed).is_err());
    }
    let mut stale = proof.clone();
    stale[cap..2 * cap].copy_from_slice(&talk.proofs[0][cap..2 * cap]);
    assert!(talk.verdict(1, &stale).is_err());
    assert_eq!(talk.verdict(1, &proof[..proof.len() - 4]), Err(Reject::TooShort));
    assert_eq!(talk.verdict(1, &[proof.as_slice(), &[0]].concat()), Err(Reject::TooLong));
}

/// Where a commitment may stand for several lists of numbers, two proofs could speak of different ones.
#[test]
fn profiles_of_other_regimes() {
    let talk = Talk::new();
    for profile in [ProfileId::P100J, ProfileId::P100J8, ProfileId::Seed96C] {
        let key = DecoderKey { profile, pin: Some([M31::ZERO; 4]), ..talk.prover.key.clone() };
        let verdict = verify_turn(&key, None, &talk.chat.turns[0], &talk.proofs[0]);
        assert_eq!(verdict, Err(Reject::Key(CircuitError::Profile(profile.profile().name).into())));
    }
}

/// Turns that no program belongs to.
#[test]
fn turns_that_do_not_exist() {
    let talk = Talk::new();
    let before = talk.standings[1].1.as_ref();
    let refused = |before, turn: &Turn| match verify_turn(&talk.prover.key, before, turn, &[]) {
        Err(Reject::Text(error)) => error,
        other => panic!("{other:?}"),
    };
    let turn =
        |given: &[u32], generated: &[u32]| Turn { given: given.to_vec(), generated: generated.to_vec() };
    assert_eq!(refused(None, &turn(&[], &[1])), TextError::Empty);
    for before in [None, before] {
        assert_eq!(refused(before, &turn(&[1], &[])), TextError::Empty);
        assert_eq!(refused(before, &turn(&[1], &[48])), TextError::Token(48));
        assert_eq!(refused(before, &turn(&[u32::MAX], &[1])), TextError::Token(u32::MAX));
    }
    assert_eq!(refused(before, &turn(&[1; 58], &[1])), TextError::TooLong { got: 65, limit: 64 });
    let fits = verify_turn(&talk.prover.key, before, &turn(&[1; 57], &[1]), &[]);
    assert_eq!(fits, Err(Reject::TooShort));
}
