//! Token by token, each after the state of those before, gives what the program of the whole text gives.

use circlet::llm::chat::Standing;
use circlet::llm::generate::Said;
use circlet::llm::prover::DecoderProver;
use circlet::llm::run::Runner;
use circlet_core::decoder::{Decoder, Text, Turn};
use circlet_core::hash::suite::Blake2sBlake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::Data;
use circlet_tests::programs::{decoder, prompt};

/// A decoder whose two tables of exponentials, for up to 16 positions and for more, are unlike: the first one gives all
/// positions the same weight.
fn unlike() -> (Decoder, Data) {
    let (decoder, mut data) = decoder(2, 4, 2, true);
    let (_, near) = decoder.exponentials[0];
    for value in &mut data.tables[near.0 as usize] {
        *value = 100;
    }
    (decoder, data)
}

/// Whether it is the same by one program.
fn proven(prover: &DecoderProver<Blake2sBlake2s>, before: &Standing, turn: &Turn) -> bool {
    let text =
        Text { tokens: [turn.given.as_slice(), &turn.generated].concat(), prompt: turn.given.len() as u32 };
    prover.runner.follow(before, turn).is_ok() && (before.reached.is_some() || prover.run(text).is_ok())
}

#[test]
fn a_continuation_is_that_of_the_program_which_proves_it() {
    let (decoder, data) = unlike();
    let prover = DecoderProver::<Blake2sBlake2s>::new(decoder.clone(), &data, ProfileId::P100U).unwrap();
    let runner = &prover.runner;
    for given in [1, 2, 5, 12, 16, 17] {
        for count in [1, 2, 4, 9, 20] {
            let start = Standing::default();
            let given = prompt(&decoder, given);
            let mut said = Vec::new();
            let generated = runner.generate(&start, &given, count, &[], |s| said.push(s)).unwrap();
            assert_eq!(said, generated.iter().map(|&token| Said::Token(token)).collect::<Vec<_>>());
            assert_eq!(generated.len(), count as usize);
            let turn = Turn { given, generated };
            assert!(proven(&prover, &start, &turn), "{count} after {}", turn.given.len());

            // And as a turn that follows another.
            let before = runner.follow(&start, &turn).unwrap();
            for given in [vec![], vec![7, 1, 2]] {
                let generated = runner.generate(&before, &given, count, &[], |_| {}).unwrap();
                assert!(proven(&prover, &before, &Turn { given, generated }));
            }
        }
    }
}

/// A text that ends before the positions for which it was begun is said again where the tables differ.
#[test]
fn a_text_that_ends_early_is_that_of_its_own_program() {
    let (decoder, data) = unlike();
    let runner = Runner::new(decoder.clone(), &data).unwrap();
    let start = Standing::default();
    let (mut kept, mut again, mut cut) = (0, 0, 0);
    for given in 1..8 {
        let given = prompt(&decoder, given);
        let long = runner.generate(&start, &given, 25, &[], |_| {}).unwrap();
        for end in long.iter().take(6) {
            let mut taken_back = 0;
            let mut shown = Vec::new();
            let generated = runner.generate(&start, &given, 25, &[*end], |said| match said {
                Said::Token(token) => shown.push(token),
                Said::Again => {
                    taken_back += 1;
                    shown.clear();
                }
            });
            let generated = generated.unwrap();
            assert_eq!(generated, shown);
            let turn = Turn { given: given.clone(), generated: generated.clone() };
            assert!(runner.follow(&start, &turn).is_ok());
            // It stops for a reason: the end, the length asked for, or as much as the finer table serves.
            let ended = generated.last() == Some(end);
            let full = given.len() - 1 + generated.len() - 1 == 16;
            assert!(ended || generated.len() == 25 || full);
            assert!(taken_back <= 1);
            match taken_back {
                0 => kept += 1,
                _ if ended => again += 1,
                _ => cut += 1,
            }
        }
    }
    // All ways are taken.
    println!("{kept} as begun, {again} again, {cut} cut short");
    assert!(kept > 0 && again > 0 && cut > 0);
}

#[test]
fn nothing_is_said_of_what_has_no_program() {
    let (decoder, data) = unlike();
    let runner = Runner::new(decoder.clone(), &data).unwrap();
    let start = Standing::default();
    let refused = |given: &[u32], count: u32| {
        let error = runner.generate(&start, given, count, &[], |_| panic!("a token was said"));
        error.unwrap_err().to_string()
    };
    let given = prompt(&decoder, 3);
    assert!(refused(&given, 63).contains("at most 64"));
    assert!(refused(&given, 0).contains("at least one token"));
    assert!(refused(&given[1..], 1).contains("must begin with token"));
    assert!(refused(&[given[0]], 1).contains("at least one token"));
    assert!(refused(&[given[0], decoder.vocab], 1).contains("not in the vocabulary"));
}
