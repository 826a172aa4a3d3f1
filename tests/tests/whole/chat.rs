//! Conversations: a proof for each turn, each going on from the state that the one before has committed to.

use circlet::llm::chat::Standing;
use circlet::llm::prover::DecoderProver;
use circlet::llm::run::Runner;
use circlet_core::circuit::Circuit;
use circlet_core::decoder::{Chat, Decoder, Text, Turn};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_tests::programs::{decoder, prompt};
use circlet_tests::reference::{self, Kept};
use circlet_tests::satisfied::violations;
use circlet_verifier::{Standing as Verified, verify_chat, verify_text, verify_turn};

/// A decoder with one table of exponentials, so that no token depends on how a conversation is cut into turns.
fn uniform(layers: usize, heads: u32, groups: u32, prefix: bool) -> (Decoder, Data) {
    let (mut decoder, data) = decoder(layers, heads, groups, prefix);
    decoder.exponentials.drain(..1);
    (decoder, data)
}

/// Runs a turn with so many generated tokens.
fn generated(runner: &Runner, before: &Standing, given: &[u32], more: u32) -> Turn {
    let generated = runner.generate(before, given, more, &[], |_| {}).unwrap();
    Turn { given: given.to_vec(), generated }
}

/// What is given and how many tokens follow, for each turn. The last turn of each gives nothing.
const TURNS: [&[(usize, u32)]; 3] = [&[(3, 1), (2, 2), (0, 1)], &[(1, 4), (0, 1), (6, 2)], &[(5, 2), (1, 1)]];

#[test]
fn turns_are_proven_one_after_the_other() {
    for (shape, turns) in [(1, 3, 1, true), (2, 4, 2, false), (1, 6, 3, true)].into_iter().zip(TURNS) {
        let (layers, heads, groups, prefix) = shape;
        let (decoder, data) = uniform(layers, heads, groups, prefix);
        let prover =
            DecoderProver::<Poseidon2Blake2s>::new(decoder.clone(), &data, ProfileId::P100U).unwrap();
        let (mut chat, mut proofs) = (Chat::default(), Vec::new());
        let mut standing = Standing::default();
        let mut kept: Vec<Kept> = Vec::new();
        let mut verified = None;
        for (k, &(given, more)) in turns.iter().enumerate() {
            let mut tokens = prompt(&decoder, given);
            if k > 0 && prefix {
                tokens.remove(0);
            }
            let turn = generated(&prover.runner, &standing, &tokens, more);
            let run = prover.run_turn(&standing, &turn).unwrap();
            assert_eq!(violations(run.key.circuit(), &run.trace), Vec::<String>::new());

            // The same by the interpreter.
            let inputs = run.statement.lists[0].clone();
            let program = &run.key.verifying.program;
            let results = reference::run_after(program, &data, &kept, &[], &[inputs, vec![]]).unwrap();
            assert_eq!(results.lists, run.statement.lists);
            kept = results.kept;
            assert_eq!(run.standing.state.len(), 2 * layers);
            for (cells, kept) in run.standing.state.chunks(2).zip(&kept) {
                assert_eq!(kept.cells(), cells);
            }

            let proof = run.prove().unwrap();
            assert_eq!(prover.runner.follow(&standing, &turn).unwrap(), run.standing);
            standing = run.standing;
            verified = Some(verify_turn(&prover.key, verified.as_ref(), &turn, &proof).unwrap());
            assert_eq!(verified.as_ref().map(Verified::reached), standing.reached);
            chat.turns.push(turn);
            proofs.push(proof);
        }
        assert_eq!(verify_chat(&prover.key, &chat, &proofs), Ok(()));
        assert_eq!(prover.runner.replay(&chat).unwrap(), standing);

        // One run over all of it makes the same of it.
        let tokens = chat.tokens();
        let mut at = 0;
        for turn in &chat.turns {
            at += turn.given.len();
            for _ in &turn.generated {
                assert_eq!(prover.runner.next(&tokens[..at]).unwrap(), tokens[at]);
                at += 1;
            }
        }
        // A turn by itself is no text, and a text no turn.
        let first = &chat.turns[0];
        let text = Text {
            tokens: [first.given.as_slice(), &first.generated].concat(),
            prompt: first.given.len() as u32,
        };
        assert!(verify_text(&prover.key, &text, &proofs[0]).is_err());
        let alone = prover.run(text.clone()).unwrap().prove().unwrap();
        assert_eq!(verify_text(&prover.key, &text, &alone), Ok(()));
        assert!(verify_turn(&prover.key, None, first, &alone).is_err());
    }
}

/// The columns that a turn hands on lie where the next one reads them, whatever the numbers of positions.
#[test]
fn what_is_handed_on_lies_where_it_is_read() {
    use circlet_core::circuit::{ColumnId, Tree};
    use circlet_core::protocol::Protocol;
    let (decoder, data) = uniform(2, 6, 3, true);
    let prover = DecoderProver::<Blake2sBlake2s>::new(decoder.clone(), &data, ProfileId::P100U).unwrap();
    let protocol = |extent| {
        let key = prover.key.instance(extent);
        Protocol::with_rows(&key.program, *key.profile.profile(), key.log_rows.into()).unwrap()
    };
    let places = |protocol: &Protocol, tree: Tree| -> Vec<_> {
        let columns = (0u32..).map(ColumnId).zip(&protocol.circuit.columns);
        let own = columns.filter(|(_, column)| column.tree() == tree);
        own.map(|(id, c)| {
            (c.shape, c.bound, protocol.stacking.offset_in_tree(&protocol.declared.columns, id))
        })
        .collect()
    };
    for given in [1, 2, 3, 7, 8, 20] {
        let first = Turn { given: vec![3; given + 1], generated: vec![1] };
        let one = decoder.turn(None, &first).unwrap();
        assert_eq!(one.reached.positions as usize, given);
        let next = decoder.turn(Some(one.reached), &Turn { given: vec![2; given], generated: vec![1, 2] });
        let next = next.unwrap();
        assert_eq!(next.reached.positions as usize, 2 * given + 2);
        let (one, next) = (protocol(one.extent), protocol(next.extent));
        let (handed, read) = (places(&one, Tree::State), places(&next, Tree::Past));
        assert_eq!(handed, read);
        assert_eq!(handed.len(), 4);
        let [state, past] = [Tree::State, Tree::Past].map(Tree::index);
        assert_eq!(one.stacking.matrix_columns[state], next.stacking.matrix_columns[past]);
    }
    assert!(Circuit::new(&decoder.program(protocol_extent(&decoder, 64))).is_ok());
}

/// A turn that reaches the last position.
fn protocol_extent(decoder: &Decoder, positions: usize) -> circlet_core::decoder::Extent {
    let skip = usize::from(decoder.prefix.is_some());
    let first = Turn { given: vec![3; positions - 5 + skip], generated: vec![1] };
    let one = decoder.turn(None, &first).unwrap();
    decoder.turn(Some(one.reached), &Turn { given: vec![2; 4], generated: vec![1] }).unwrap().extent
}
