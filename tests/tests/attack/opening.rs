//! Attacks on the commitments: words that are no codewords, answers to other queries, and the rate at which
//! a corrupted word passes.

use std::cell::RefCell;
use std::sync::Arc;

use circlet::backend::field::B;
use circlet::backend::matrix::Matrix;
use circlet::backend::merkle::BulkHash;
use circlet::keys::security;
use circlet::prove::adversary::{Adversary, Honest};
use circlet::prove::commit::Commitment;
use circlet_core::field::{M31, QM31};
use circlet_core::merkle::sibling_positions;
use circlet_core::profile::{Profile, ProfileId, Regime};
use circlet_core::transcript::Label;
use circlet_tests::cheat::{Bench, TOY, change_rows, sections};
use circlet_tests::programs::{self, Case, Random};
use circlet_verifier::{Reject, Stage};

/// Changes codewords, folded words or positions.
struct Words<F: FnMut(Label, &mut [Vec<B>])>(F);

impl<F: FnMut(Label, &mut [Vec<B>])> Adversary for Words<F> {
    fn codewords(&mut self, label: Label, words: &mut [Vec<B>]) {
        (self.0)(label, words);
    }
}

/// The message in place of its codeword, repeated to its length; and garbage.
#[test]
fn words_that_are_not_encoded() {
    let repeat: fn(&mut [Vec<B>]) = |words| {
        for word in words {
            let quarter = word.len() / 4;
            let head = word[..quarter].to_vec();
            word.chunks_mut(quarter).for_each(|chunk| chunk.copy_from_slice(&head));
        }
    };
    let garbage: fn(&mut [Vec<B>]) = |words| {
        let mut random = Random(9);
        change_rows(words, |_, _, _| random.below(1 << 30) as u32);
    };
    for encode in [repeat, garbage] {
        let bench = Bench::new(programs::matmul(), TOY);
        let mut cheat = Words(|label, words: &mut [Vec<B>]| {
            assert_eq!(label, Label::WitnessRoot);
            encode(words);
        });
        assert_eq!(bench.lie(&mut cheat), Err(Reject::RowCombination));
        let mut maker = Words(|label, words: &mut [Vec<B>]| {
            assert_eq!(label, Label::Key);
            encode(words);
        });
        let bench = Bench::with_key_maker(programs::matmul(), TOY, &mut maker);
        assert_eq!(bench.lie(&mut Honest), Err(Reject::RowCombination));
    }
}

struct OneRow {
    row: usize,
    hit: bool,
}
impl Adversary for OneRow {
    fn codewords(&mut self, _: Label, words: &mut [Vec<B>]) {
        let row = self.row;
        change_rows(words, |c, r, value| if c == 1 && r == row { value ^ 1 } else { value });
    }
    fn positions(&mut self, positions: &mut Vec<u32>) {
        self.hit = positions.contains(&(self.row as u32));
    }
}

/// More than the decoding radius of rows changed, in one cell each: noticed by 24 queries. One row changed:
/// noticed exactly if a query hits it.
#[test]
fn corrupted_rows() {
    let bench = Bench::new(programs::matmul(), TOY);
    let length = 1usize << bench.key.protocol.codeword_log();
    let far = |c: usize, row: usize, value: u32| {
        if c == 0 && row % 8 < 4 { value ^ 1 } else { value }
    };
    assert_eq!(bench.lie(&mut Words(|_, words| change_rows(words, far))), Err(Reject::RowCombination));
    let mut maker = Words(|_, words: &mut [Vec<B>]| change_rows(words, far));
    let bad = Bench::with_key_maker(programs::matmul(), TOY, &mut maker);
    assert_eq!(bad.lie(&mut Honest), Err(Reject::RowCombination));

    let bench = Bench::new(programs::matmul(), Profile { queries: 200, ..TOY });
    let (mut hits, mut misses) = (0, 0);
    for row in (0..length).step_by(16) {
        let mut cheat = OneRow { row, hit: false };
        let verdict = bench.lie(&mut cheat);
        if cheat.hit {
            hits += 1;
            assert_eq!(verdict, Err(Reject::RowCombination), "row {row}");
        } else {
            misses += 1;
            assert_eq!(verdict, Ok(()), "row {row}");
        }
    }
    assert!(hits > 0 && misses > 0);
}

struct Other;
impl Adversary for Other {
    fn remaining(&mut self, label: Label, message: &mut [QM31], _: &[QM31], _: QM31) {
        if label == Label::FoldedRoot {
            message[3] += QM31::ONE;
        }
    }
}

/// The folded word of other columns: a word close to a codeword, but not to that of the committed ones.
#[test]
fn folded_word_of_other_columns() {
    let bench = Bench::new(programs::matmul(), TOY);
    // The sumcheck goes on with another message than the word has.
    assert!(matches!(bench.lie(&mut Other), Err(Reject::FinalClaim(_))));
}

struct Positions<F: FnMut(&mut Vec<u32>)>(F);
impl<F: FnMut(&mut Vec<u32>)> Adversary for Positions<F> {
    fn positions(&mut self, positions: &mut Vec<u32>) {
        // Positions that repeat are answered once.
        positions.sort_unstable();
        positions.dedup();
        (self.0)(positions);
    }
}

/// Other positions are answered than those that were drawn: all, one, or one twice; or fewer.
#[test]
fn other_positions() {
    let bench = Bench::new(programs::matmul(), TOY);
    let honest = bench.proof();
    let drawn = RefCell::new(Vec::new());
    assert_eq!(bench.lie(&mut Positions(|p| drawn.replace(p.clone()).clear())), Ok(()));
    let drawn = drawn.into_inner();
    let moved = bench.lie(&mut Positions(|p| *p = p.iter().map(|p| p ^ 64).collect()));
    assert!(matches!(
        moved,
        Err(Reject::MerklePath | Reject::TooShort | Reject::TooLong | Reject::NonCanonical)
    ));
    let neighbour = bench.lie(&mut Positions(|p| {
        // The same leaves of all fold layers, another row.
        let free = (0..16).map(|k| p[5] & !15 | k).find(|k| !p.contains(k));
        p[5] = free.expect("a row that was not drawn");
    }));
    assert!(neighbour.is_err(), "{neighbour:?}");
    let fewer = bench.lie(&mut Positions(|p| p.truncate(12)));
    assert!(matches!(fewer, Err(Reject::TooShort | Reject::NonCanonical | Reject::MerklePath)), "{fewer:?}");
    let twice = bench.lie(&mut Positions(|p| p[1] = p[0]));
    assert!(matches!(twice, Err(Reject::TooShort | Reject::NonCanonical | Reject::MerklePath)), "{twice:?}");
    let more = bench.lie(&mut Positions(|p| p.push((0..64).find(|q| !drawn.contains(q)).unwrap())));
    assert!(more.is_err(), "{more:?}");
    let again = bench.lie(&mut Positions(|p| p.extend(p.clone())));
    assert_eq!(again, Ok(()));
    assert_eq!(bench.proof(), honest);
}

struct Drawn(Vec<u32>);
impl Adversary for Drawn {
    fn positions(&mut self, positions: &mut Vec<u32>) {
        self.0.clone_from(positions);
    }
}

/// Every part of the answers, changed in place: rows of both trees, values of the fold layer, siblings.
#[test]
fn every_answer_is_checked() {
    let bench = Bench::new(programs::matmul(), TOY);
    let protocol = &bench.key.protocol;
    let mut drawn = Drawn(Vec::new());
    assert_eq!(bench.lie(&mut drawn), Ok(()));
    let mut positions = drawn.0;
    positions.sort_unstable();
    positions.dedup();
    let proof = bench.proof();
    let mut at = sections(protocol, proof.len()).last().unwrap().start;
    let mut check = |len: usize, name: &str| {
        for place in [0, len / 2, len - 4] {
            let mut changed = proof.clone();
            let place = at + place / 4 * 4;
            changed[place] ^= 1;
            let verdict = bench.verify(&bench.statement, &changed);
            // A last bit flipped may give P itself.
            let canonical = changed[place..place + 4] != [255, 255, 255, 127];
            let expected = if canonical { Reject::MerklePath } else { Reject::NonCanonical };
            assert_eq!(verdict, Err(expected), "{name} at {place}");
        }
        at += len;
    };
    let siblings = |height: u32, indices: &[u32]| {
        32 * sibling_positions(height, protocol.cap_log(height), indices).len()
    };
    for width in protocol.stacking.matrix_columns.into_iter().filter(|&width| width > 0) {
        check(4 * width * positions.len(), "rows");
        check(siblings(protocol.codeword_log(), &positions), "siblings");
    }
    for layer in 0..protocol.schedule.layers {
        for position in &mut positions {
            *position >>= 4;
        }
        positions.dedup();
        check(256 * positions.len(), "fold values");
        let len = siblings(protocol.fold_height(layer), &positions);
        if len > 0 {
            check(len, "fold siblings");
        }
    }
    assert_eq!(at, proof.len());
    let mut key = bench.key.verifying.clone();
    key.fixed_cap[5][0] ^= 1;
    let digest = key.digest();
    assert_ne!(digest, bench.key.digest);
}

/// The codewords under a tree.
fn codewords<S: BulkHash>(commitment: &mut Commitment<S>) -> &mut Vec<Vec<B>> {
    match &mut commitment.matrix {
        Matrix::Kept { codewords, .. } => codewords,
        Matrix::OnGpu(_) | Matrix::Made { .. } => panic!("they are kept"),
    }
}

fn kept<S: BulkHash>(commitment: &Commitment<S>) -> &Vec<Vec<B>> {
    match &commitment.matrix {
        Matrix::Kept { codewords, .. } => codewords,
        Matrix::OnGpu(_) | Matrix::Made { .. } => panic!("they are kept"),
    }
}

/// A tree of other numbers under this key: the cap of the key is not that of the tree.
#[test]
fn tree_of_another_key() {
    let bench = Bench::new(programs::matmul(), TOY);
    let (program, mut data, inputs) = bench.case.clone();
    data.constants[0][0] -= data.constants[0][0].signum();
    let mut other = Bench::new((program, data, inputs), TOY);
    assert_ne!(other.key.digest, bench.key.digest);
    let verdict = bench.verify(&other.statement, &other.proof());
    assert!(matches!(verdict, Err(Reject::Work | Reject::FinalClaim(_))), "{verdict:?}");
    // The forger pretends to hold this key, and proves with his own numbers from beginning to end.
    other.key.digest = bench.key.digest;
    assert_eq!(bench.verify(&other.statement, &other.proof()), Err(Reject::MerklePath));
    // Or he opens the tree of the key to another word.
    let (fixed, honest) = (Arc::get_mut(&mut other.key.fixed).unwrap(), &bench.key.fixed);
    codewords(fixed).clone_from(kept(honest));
    let mut key = Bench::new(bench.case.clone(), TOY).key;
    std::mem::swap(&mut fixed.tree, &mut Arc::get_mut(&mut key.fixed).unwrap().tree);
    let verdict = bench.verify(&other.statement, &other.proof());
    assert_eq!(verdict, Err(Reject::RowCombination));
}

/// The smallest program there is a lookup in.
fn tiny() -> Case {
    let mut b = programs::ProgramBuilder::new("tiny");
    let x = b.input(1, 2, 100);
    let table = b.table("half", 8, |x| x / 2);
    let y = b.map(x, table);
    b.finish(&[y])
}

/// How often a witness word passes that differs from a codeword in some rows, over many statements.
#[test]
fn corrupted_words_pass_at_the_predicted_rate() {
    const TRIALS: u32 = 400;
    for (queries, of) in [(1, 3), (2, 3), (4, 3), (1, 5)] {
        let profile = Profile { queries, pow_bits: 0, g_lookup: 0, g_wiring: 0, ..TOY };
        let mut bench = Bench::new(tiny(), profile);
        let length = 1usize << bench.key.protocol.codeword_log();
        let (mut accepted, mut random) = (0, Random(u64::from(queries)));
        for _ in 0..TRIALS {
            bench.case.2 = programs::random_inputs(&bench.case.0, &mut random);
            bench.rerun();
            // `of` eighths of all rows: three are the radius of unique decoding at rate 1/4.
            let offset = random.below(8) as usize;
            let mut cheat = Words(|_, words: &mut [Vec<B>]| {
                change_rows(words, |c, row, value| {
                    let chosen = c == 0 && (row * 5 + offset) % 8 < of;
                    if chosen { value ^ 1 } else { value }
                });
            });
            match bench.lie(&mut cheat) {
                Ok(()) => accepted += 1,
                Err(reject) => assert_eq!(reject, Reject::RowCombination),
            }
        }
        assert_eq!(length % 8, 0);
        let fraction = of as f64 / 8.0;
        let rate = (1.0 - fraction).powi(queries as i32);
        let deviation = (rate * (1.0 - rate) * f64::from(TRIALS)).sqrt();
        let distance = f64::from(accepted) - rate * f64::from(TRIALS);
        assert!(
            distance.abs() < 4.0 * deviation,
            "{queries} queries: {accepted} of {TRIALS}, expected {rate}"
        );
        if of == 3 {
            let report = security(&bench.key.protocol).unwrap();
            let bits = report.rows.iter().find(|row| row.name.contains("quer")).unwrap().bits;
            assert!((bits + rate.log2()).abs() < 1e-9, "the calculator says {bits} bits");
        }
    }
}

/// A profile whose keys pin their fixed columns.
const JOHNSON: Profile = Profile { id: ProfileId::P100J, regime: Regime::Johnson { m: 5 }, ..TOY };

/// Beyond unique decoding a root may stand for two models, each of which agrees with it in half of the rows. The
/// pin names one of them.
#[test]
fn two_models_under_one_root() {
    let first = programs::matmul();
    let mut second = first.clone();
    second.1.constants[0][0] -= second.1.constants[0][0].signum();
    for (profile, expected) in [(TOY, Reject::RowCombination), (JOHNSON, Reject::FinalClaim(Stage::Opening))]
    {
        let mut other = Bench::new(second.clone(), profile);
        let words = &kept(&other.key.fixed).clone();
        let mut mix = Words(|label, own: &mut [Vec<B>]| {
            assert_eq!(label, Label::Key);
            for (own, word) in own.iter_mut().zip(words) {
                own.iter_mut().zip(word).skip(1).step_by(2).for_each(|(own, &cell)| *own = cell);
            }
        });
        let bench = Bench::with_key_maker(first.clone(), profile, &mut mix);
        let mut tree = Bench::with_key_maker(first.clone(), profile, &mut mix).key.fixed;
        // The second model's numbers with the tree, the digest and the pin of the key.
        let (tree, fixed) = (Arc::get_mut(&mut tree).unwrap(), Arc::get_mut(&mut other.key.fixed).unwrap());
        std::mem::swap(&mut fixed.tree, &mut tree.tree);
        std::mem::swap(codewords(fixed), codewords(tree));
        other.key.digest = bench.key.digest;
        assert_eq!(other.key.verifying.fixed_cap.len(), bench.key.verifying.fixed_cap.len());
        other.key.verifying.pin = bench.key.verifying.pin;
        assert_eq!(bench.verify(&other.statement, &other.proof()), Err(expected));
    }
}

#[test]
fn pins() {
    let mut bench = Bench::new(programs::matmul(), JOHNSON);
    assert_eq!(bench.lie(&mut Honest), Ok(()));
    let pin = bench.key.verifying.pin.expect("a pin");
    for edit in 0..4 {
        let mut other = pin;
        other[edit] += M31::ONE;
        bench.key.verifying.pin = Some(other);
        bench.key.digest = bench.key.verifying.digest();
        assert_eq!(bench.lie(&mut Honest), Err(Reject::FinalClaim(Stage::Opening)));
    }
    bench.key.verifying.pin = None;
    bench.key.digest = bench.key.verifying.digest();
    assert_eq!(bench.lie(&mut Honest), Err(Reject::MalformedKey));
    let mut bench = Bench::new(programs::matmul(), TOY);
    assert_eq!(bench.key.verifying.pin, None);
    bench.key.verifying.pin = Some(pin);
    bench.key.digest = bench.key.verifying.digest();
    assert_eq!(bench.lie(&mut Honest), Err(Reject::MalformedKey));
}
