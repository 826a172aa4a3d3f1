//! Lies about the ops of decoders. Each is told once and everything after it is computed honestly.

use circlet::backend::device::Device;
use circlet::execute::{count_multiplicities, execute_listed};
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Honest;
use circlet::prove::{prove_trace, statement};
use circlet_core::circuit::{Circuit, ColumnId, Content, Indicator, Int, Kind, Product, Rows, Step, Value};
use circlet_core::decoder::{Decoder, DecoderKey, Extent, Text, TextError};
use circlet_core::field::{M31, P};
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::profile::Profile;
use circlet_core::program::{self, Data, Op, Source, TensorId};
use circlet_core::protocol::Protocol;
use circlet_tests::attack::{Change, replay_listed};
use circlet_tests::cheat::{Bench, LOOKUP, OPENING, TOY, Verdict};
use circlet_tests::programs::{self, Case, Heads, ProgramBuilder, Random};
use circlet_tests::satisfied::cell;
use circlet_verifier::{Reject, verify_with};

/// Enough work before the first challenge that a nonce of another transcript does not fit by chance.
const WORK: Profile = Profile { g_lookup: 14, ..TOY };

/// Attention of four heads in two groups at four positions, with every option, and a norm of the sum.
fn attention() -> Bench {
    let mut b = ProgramBuilder::new("attention");
    let x = b.input(4, 8, 700);
    let clamp = b.clamp(14, 8191);
    let base = b.widen(None, x, 4, 0);
    let w = b.attention(Some(base), x, &Heads { norms: false, bits: 14, ..Heads::new(4, 2, 4) });
    let y = b.rms_norm(w, 50, 9, clamp);
    Bench::new(b.finish(&[y]), TOY)
}

/// The column of this name, counted among those of the same name.
fn nth(circuit: &Circuit, suffix: &str, n: usize) -> ColumnId {
    let mut all = (0u32..).zip(&circuit.columns).filter(|(_, c)| c.name.ends_with(suffix));
    ColumnId(all.nth(n).unwrap_or_else(|| panic!("no column {suffix}")).0)
}

/// A trace that is rejected, at the stage that its other numbers decide.
#[track_caller]
fn rejected(verdict: &Verdict, what: &str) {
    assert!(matches!(*verdict, LOOKUP | OPENING), "{what}: {verdict:?}");
}

/// Every product that a step computes.
fn products(circuit: &mut Circuit, mut edit: impl FnMut(&mut Product)) {
    fn value(v: &mut Value, edit: &mut impl FnMut(&mut Product)) {
        v.products.iter_mut().for_each(edit);
    }
    fn int(i: &mut Int, edit: &mut impl FnMut(&mut Product)) {
        match i {
            Int::Value(v) => value(v, edit),
            Int::Add(pair) | Int::Sub(pair) | Int::Mul(pair) | Int::Div(pair) | Int::Mod(pair) => {
                pair.iter_mut().for_each(|i| int(i, edit));
            }
            Int::Root(i) | Int::IsZero(i) => int(i, edit),
        }
    }
    for step in &mut circuit.steps {
        match step {
            Step::Divide { value: v, .. } => value(v, &mut edit),
            Step::Set { value: i, .. } => int(i, &mut edit),
            Step::Best { blocks, .. } => blocks.iter_mut().for_each(|(_, _, v)| value(v, &mut edit)),
            _ => {}
        }
    }
}

/// The maximum of a row is not its greatest score: too high, and no score is at distance zero; too low, and a
/// visible one is at a negative distance.
#[test]
fn another_maximum() {
    let bench = attention();
    let column = nth(bench.key.circuit(), ".maximum0", 0);
    for cell in [0, 3, 7, 15] {
        for delta in [1, -1, 1000, -1000] {
            let verdict = bench.judge(&bench.changed(&[Change { column, cell, delta }]));
            assert_eq!(verdict, LOOKUP, "cell {cell}, {delta}");
        }
    }
    // A maximum of zero distance that is claimed where there is none.
    let tie = nth(bench.key.circuit(), ".tie0", 0);
    let changes = [Change { column, cell: 3, delta: 1 }, Change { column: tie, cell: 12, delta: 1 }];
    assert_eq!(bench.judge(&bench.changed(&changes)), LOOKUP);
}

/// The sum of weights is one too large or too small, or leaves out the prefix.
#[test]
fn another_normaliser() {
    let bench = attention();
    let column = nth(bench.key.circuit(), ".sum0", 0);
    for cell in [0, 6, 15] {
        for delta in [1, -1] {
            assert_eq!(bench.judge(&bench.changed(&[Change { column, cell, delta }])), OPENING);
        }
    }
    let set = |circuit: &mut Circuit, edit: fn(&mut Value)| {
        for step in &mut circuit.steps {
            let Step::Set { value, column: own, .. } = step else { continue };
            if let (true, Int::Value(value)) = (*own == column, value) {
                edit(value);
            }
        }
    };
    rejected(&bench.of_other_steps(|c| set(c, |v| v.form.terms.clear())), "no prefix");
    rejected(&bench.of_other_steps(|c| set(c, |v| v.sums.clear())), "nothing but the prefix");
    // Another mean, with the same remainder or the one that fits.
    let (mean, rest) =
        (nth(bench.key.circuit(), ".mean0", 0), nth(bench.key.circuit(), ".mean.remainder0", 0));
    let sum = i64::from(bench.changed(&[]).columns[column.0 as usize][1]);
    for delta in [1, -1] {
        let moved = Change { column: mean, cell: 5, delta };
        assert_eq!(bench.judge(&bench.changed(&[moved])), OPENING);
        let rest = Change { column: rest, cell: 5, delta: -2 * sum * delta };
        assert_eq!(bench.judge(&bench.changed(&[moved, rest])), LOOKUP);
    }
}

/// A future position is seen, in the weights of the trace of attention without a mask.
#[test]
fn the_future_is_seen() {
    let bench = attention();
    let future = |circuit: &mut Circuit| {
        for step in &mut circuit.steps {
            match step {
                Step::RowMax { columns, .. } => columns.iter_mut().for_each(|(_, hidden)| *hidden = None),
                Step::MapForm { input, .. } => {
                    input.indicators.retain(|(_, set)| !matches!(set, Indicator::Future { .. }));
                }
                _ => {}
            }
        }
    };
    assert_eq!(bench.of_other_steps(future), LOOKUP);
    // A weight at one position that is not seen.
    let weight = nth(bench.key.circuit(), ".weight0", 0);
    assert_eq!(bench.judge(&bench.changed(&[Change { column: weight, cell: 1, delta: 5 }])), LOOKUP);
    // A later position seen by the first alone, or the own one by none.
    let tie = nth(bench.key.circuit(), ".tie0", 0);
    assert_eq!(bench.judge(&bench.changed(&[Change { column: tie, cell: 2, delta: 1 }])), LOOKUP);
}

#[test]
fn another_prefix() {
    let bench = attention();
    let weight = nth(bench.key.circuit(), ".prefix.weight0", 0);
    let honest = bench.changed(&[]).columns[weight.0 as usize].clone();
    for (cell, weights) in honest.iter().enumerate().take(3) {
        // Ignored, or of another weight.
        for delta in [-i64::from(*weights), 1, 100] {
            if delta != 0 {
                assert_eq!(bench.judge(&bench.changed(&[Change { column: weight, cell, delta }])), LOOKUP);
            }
        }
    }
    let score = nth(bench.key.circuit(), ".prefix.score0", 0);
    assert_eq!(bench.judge(&bench.changed(&[Change { column: score, cell: 2, delta: -64 }])), LOOKUP);
    // Keys or values of the prefix of another group, in the scores or in the mean.
    for kind in [Kind::Scores { group: 0 }, Kind::Mix { group: 0 }] {
        let swapped = |product: &mut Product| {
            if product.kind == kind {
                product.groups.iter_mut().for_each(|g| *g ^= 1);
            }
        };
        assert_eq!(bench.of_other_steps(|c| products(c, swapped)), OPENING, "{kind:?}");
    }
    // Another prefix in the prover's copy.
    for constant in [8, 9] {
        let mut data = bench.case.1.clone();
        for v in &mut data.constants[constant] {
            *v = -*v;
        }
        let trace = execute_listed(bench.key.circuit(), &bench.case.0, &data, &bench.case.2, &[]).unwrap();
        assert_ne!(trace, bench.trace);
        assert_eq!(bench.judge(&trace), OPENING, "constant {constant}");
    }
}

/// Keys or values of another group of heads.
#[test]
fn another_group() {
    let bench = attention();
    for kind in [Kind::Scores { group: 2 }, Kind::Mix { group: 2 }] {
        for groups in [[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 1]] {
            let other = |product: &mut Product| {
                if product.kind == kind {
                    product.groups = groups.to_vec();
                }
            };
            assert_eq!(bench.of_other_steps(|c| products(c, other)), OPENING, "{kind:?} {groups:?}");
        }
    }
}

#[test]
fn another_rotation() {
    let bench = attention();
    let angles = |circuit: &Circuit| -> Vec<usize> {
        let given = |rows: &Rows| matches!(rows, Rows::Given(_));
        (0..circuit.gathers.len()).filter(|&i| given(&circuit.gathers[i].rows)).collect()
    };
    let shifted = |circuit: &mut Circuit, which: &[usize], by: fn(&mut Vec<u32>)| {
        for &i in which {
            let Rows::Given(rows) = &mut circuit.gathers[i].rows else { panic!("angles") };
            by(rows);
        }
    };
    let all = angles(bench.key.circuit());
    assert_eq!(all.len(), 2);
    // By one position, for cosines, sines or both; by the reverse of positions.
    for which in [&all[..1], &all[1..], &all[..]] {
        assert_eq!(
            bench.of_other_steps(|c| shifted(c, which, |rows| rows.iter_mut().for_each(|r| *r += 1))),
            OPENING
        );
        assert_eq!(bench.of_other_steps(|c| shifted(c, which, |rows| rows.reverse())), OPENING);
    }
    // The partner with the wrong sign, no partner, or another one.
    let partner = |circuit: &mut Circuit, edit: fn(&mut Product)| {
        products(circuit, |p| {
            if p.flip.is_some() {
                edit(p);
            }
        });
    };
    assert_eq!(bench.of_other_steps(|c| partner(c, |p| p.coefficient = -1)), OPENING);
    assert_eq!(bench.of_other_steps(|c| partner(c, |p| p.coefficient = 0)), OPENING);
    assert_eq!(bench.of_other_steps(|c| partner(c, |p| p.flip = None)), OPENING);
    assert_eq!(bench.of_other_steps(|c| partner(c, |p| p.flip = Some(1))), OPENING);
}

/// Clamps that are left out: of scores, of projections.
#[test]
fn saturation_is_skipped() {
    let mut b = ProgramBuilder::new("saturated");
    let x = b.input(4, 8, 4000);
    let clamp = b.clamp(16, 400);
    let w = b.attention(None, x, &Heads { norms: false, score: 11, ..Heads::new(2, 1, 4) });
    let y = b.rms_norm(w, 50, 9, clamp);
    let bench = Bench::new(b.finish(&[y]), TOY);
    let circuit = bench.key.circuit();
    let maps: Vec<usize> =
        (0..circuit.steps.len()).filter(|&i| matches!(circuit.steps[i], Step::Map { .. })).collect();
    let mut saturated = 0;
    for &i in &maps {
        let Step::Map { input, output, .. } = circuit.steps[i] else { unreachable!() };
        let cells = |id: ColumnId| &bench.trace.columns[id.0 as usize];
        let Some(cell) = (0..cells(input).len()).find(|&k| cells(input)[k] != cells(output)[k]) else {
            continue;
        };
        saturated += 1;
        let delta = i64::from(cells(input)[cell]) - i64::from(cells(output)[cell]);
        let verdict = bench.judge(&bench.changed(&[Change { column: output, cell, delta }]));
        // A public number beyond its bound is no statement.
        assert!(verdict == LOOKUP || verdict == Err(Reject::StatementRange), "{verdict:?}");
    }
    assert!(saturated >= 2, "{saturated} tables saturate");
}

/// Two rows of a sum, normalized.
fn norm() -> Bench {
    let mut b = ProgramBuilder::new("norm");
    let x = b.input(3, 4, 2000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 6, 0);
    let y = b.rms_norm(w, 50, 9, clamp);
    Bench::new(b.finish(&[y]), TOY)
}

#[test]
fn statistics_of_another_row() {
    let bench = norm();
    for row in [1, 2] {
        for names in [
            &["root.low", "root.high"][..],
            &["root.rest.low", "root.rest.high"],
            &["squares0.middle", "squares0.carry"],
            &["inverse.low", "inverse.high"],
        ] {
            let changes: Vec<Change> = names
                .iter()
                .map(|name| {
                    let column = nth(bench.key.circuit(), &format!(".{name}"), 0);
                    let cells = &bench.trace.columns[column.0 as usize];
                    Change { column, cell: 0, delta: i64::from(cells[row]) - i64::from(cells[0]) }
                })
                .filter(|change| change.delta != 0)
                .collect();
            assert!(!changes.is_empty());
            let verdict = bench.judge(&bench.changed(&changes));
            let expected = [LOOKUP, OPENING, Err(Reject::StatementRange)];
            assert!(expected.contains(&verdict), "{names:?} of row {row}: {verdict:?}");
        }
    }
    let edited = |edit: fn(&mut program::RmsNorm)| {
        bench.of_other_program(|p| {
            let Op::RmsNorm { params, .. } = &mut p.ops[1] else { panic!("no norm") };
            edit(params);
        })
    };
    assert_eq!(edited(|p| p.epsilon += 1 << 24), OPENING);
    assert_eq!(edited(|p| p.numerator += 1 << 10), OPENING);
    assert_eq!(edited(|p| p.numerator /= 2), OPENING);
}

/// Sums that leave out a summand, or scale it otherwise.
#[test]
fn sums_without_a_summand() {
    let mut b = ProgramBuilder::new("sums");
    let x = b.input(2, 4, 2000);
    let clamp = b.clamp(16, 8191);
    let v = b.widen(None, x, 3, 0);
    let w = b.linear_add(Some(v), x, (4, 200), Some(5000), 5);
    let w = b.widen(Some(w), x, 5, 1);
    let y = b.rms_norm(w, 50, 9, clamp);
    let bench = Bench::new(b.finish(&[y]), TOY);
    // The sum is computed without its base: a step that divides by 1024.
    let splits: Vec<usize> = (0..bench.key.circuit().steps.len())
        .filter(|&i| {
            let step = &bench.key.circuit().steps[i];
            matches!(step, Step::Divide { divisor: 1024, value, .. } if value.form.terms.len() == 3)
        })
        .collect();
    assert_eq!(splits.len(), 2);
    for &i in &splits {
        let skipped = |c: &mut Circuit| {
            let Step::Divide { value, .. } = &mut c.steps[i] else { unreachable!() };
            value.form.terms.drain(..2);
        };
        assert_eq!(bench.of_other_steps(skipped), OPENING, "no base");
        let skipped = |c: &mut Circuit| {
            let Step::Divide { value, .. } = &mut c.steps[i] else { unreachable!() };
            value.form.terms.pop();
        };
        assert_eq!(bench.of_other_steps(skipped), OPENING, "no summand");
    }
    let other = |edit: fn(&mut program::Program)| bench.of_other_program(edit);
    assert_eq!(
        other(|p| {
            let Op::Widen { left, .. } = &mut p.ops[2] else { panic!("no sum") };
            *left -= 1;
        }),
        OPENING
    );
    assert_eq!(
        other(|p| {
            let Op::Widen { base, .. } = &mut p.ops[2] else { panic!("no sum") };
            *base = Some(TensorId(1));
        }),
        OPENING,
        "a product is left out"
    );
}

/// Best channels of three rows. Rows one and two have ties.
fn best() -> Bench {
    let mut b = ProgramBuilder::new("best");
    let x = b.input(3, 2, 127);
    let weights = [[3, 1], [-2, 7], [3, 1], [1, 1], [0, 0], [-2, 7], [0, 1]];
    let weight = b.constant_of(7, 2, weights.concat());
    let list = b.list(3, 7);
    b.program.ops.push(Op::ArgMax { x, weight, list });
    let (program, data, _) = b.finish(&[]);
    Bench::listed((program, data, vec![vec![100, 20, -5, 90, 0, 0]]), &[vec![]], TOY)
}

#[test]
fn other_best_channels() {
    let mut bench = best();
    assert_eq!(bench.trace.lists, [[0, 1, 0]]);
    assert_eq!(bench.judge(&bench.changed(&[])), Ok(()));
    let claim = |bench: &mut Bench, list: [u32; 3], changes: &[Change]| {
        let own = std::mem::replace(&mut bench.lists, vec![list.to_vec()]);
        let verdict = bench.judge(&bench.changed(changes));
        bench.lists = own;
        verdict
    };
    assert_eq!(claim(&mut bench, [0, 1, 0], &[]), Ok(()));
    // The second best channel, and a tie that goes to the last: a difference is negative.
    assert_eq!(claim(&mut bench, [3, 1, 0], &[]), LOOKUP);
    assert_eq!(claim(&mut bench, [2, 1, 0], &[]), LOOKUP);
    assert_eq!(claim(&mut bench, [0, 5, 0], &[]), LOOKUP);
    assert_eq!(claim(&mut bench, [0, 1, 1], &[]), LOOKUP);
    assert_eq!(claim(&mut bench, [0, 1, 6], &[]), LOOKUP);
    // With the maximum of the best channel all differences are good, but not zero where the list says.
    let low = nth(bench.key.circuit(), ".maximum.low", 0);
    let up = |cell: usize, delta: i64| Change { column: low, cell, delta };
    // Channel zero of row one has 75, the best one 640.
    assert_eq!(claim(&mut bench, [0, 0, 0], &[]), LOOKUP);
    assert_eq!(claim(&mut bench, [0, 0, 0], &[up(1, 640 - 75)]), OPENING);
    // Nothing but the list is another.
    for list in [[3, 1, 0], [2, 1, 0], [0, 5, 0], [0, 1, 4]] {
        let mut trace = bench.changed(&[]);
        trace.lists = vec![list.to_vec()];
        assert_eq!(bench.judge(&trace), OPENING, "{list:?}");
    }
    // A maximum that is one too high, with the best channel or another.
    assert_eq!(claim(&mut bench, [0, 1, 0], &[up(0, 1)]), OPENING);
    assert_eq!(claim(&mut bench, [2, 1, 0], &[up(0, 1)]), OPENING);
    // Entries that are no channels.
    for entry in [7, 8, u32::MAX] {
        let mut forged = bench.statement.clone();
        forged.lists[0][1] = entry;
        assert_eq!(bench.verify(&forged, &bench.proof()), Err(Reject::StatementRange));
    }
}

/// `2^31 = 1` modulo `P`: limbs of differences, of roots, of the mean that hold a number plus a multiple of `P`.
#[test]
fn numbers_that_wrap() {
    let modulus = i64::from(P);
    // Differences: `-1` as `P - 1` takes sixteen bits of the upper limb.
    let mut bench = best();
    bench.lists = vec![vec![2, 1, 0]];
    let mut trace = bench.changed(&[]);
    let circuit = bench.key.circuit();
    let (high, low) = (nth(circuit, "difference0.high", 0), nth(circuit, "difference0.low", 0));
    let at = cell(circuit.column(high).shape, 0, 0);
    let wrapped = modulus - 1;
    trace.columns[high.0 as usize][at] = (wrapped >> 15) as i32;
    trace.columns[low.0 as usize][at] = (wrapped & 0x7fff) as i32;
    assert_eq!(bench.judge(&trace), LOOKUP);

    // The normalized value: `x r = 2^s q + rest + P`.
    let bench = norm();
    let circuit = bench.key.circuit();
    let (quotient, rest) =
        (nth(circuit, "RmsNorm.1.quotient", 0), nth(circuit, "RmsNorm.1.requantize.remainder", 0));
    for sign in [1, -1] {
        let mut trace = bench.changed(&[]);
        let cell = trace.columns[rest.0 as usize].iter().position(|&r| r > 0 && r < (1 << 14) - 1).unwrap();
        trace.columns[quotient.0 as usize][cell] += sign * (1 << 17);
        trace.columns[rest.0 as usize][cell] -= sign;
        assert_eq!(bench.judge(&trace), LOOKUP);
    }

    // The mean: a quotient in the field for another remainder.
    let bench = attention();
    let circuit = bench.key.circuit();
    let (mean, rest) = (nth(circuit, ".mean0", 0), nth(circuit, ".mean.remainder0", 0));
    let sum = nth(circuit, ".sum0", 0);
    let honest = bench.changed(&[]);
    for delta in [1i64, -1, 5] {
        let mut trace = honest.clone();
        let sum = i64::from(trace.columns[sum.0 as usize][0]);
        let inverse = M31::from_i64(2 * sum).pow(P - 2);
        let moved = M31::from_i64(delta) * inverse;
        let cell = &mut trace.columns[rest.0 as usize][0];
        if i64::from(*cell) < 5 || i64::from(*cell) + delta >= 2 * sum {
            continue;
        }
        *cell += delta as i32;
        let own = M31::from_i64(trace.columns[mean.0 as usize][0].into());
        trace.columns[mean.0 as usize][0] = (own - moved).signed();
        assert_eq!(bench.judge(&trace), LOOKUP, "{delta}");
    }
}

/// Rows of a table by a list, and rows of those.
#[test]
fn other_rows() {
    let mut b = ProgramBuilder::new("rows");
    let x = b.input(3, 5, 127);
    let embedding = b.constant(11, 5, 127);
    let list = b.list(3, 11);
    let e = b.gather(Source::Constant(embedding), program::Rows::Listed(list));
    let clamp = b.clamp(12, 255);
    let y = b.add((x, 0), (e, 0), 0, clamp);
    let z = b.gather(Source::Tensor(y), program::Rows::Given(vec![2, 0]));
    let w = b.widen(None, z, 3, 0);
    let w = b.gather(Source::Tensor(w), program::Rows::Given(vec![1]));
    let z = b.rms_norm(w, 50, 5, clamp);
    let bench = Bench::listed(b.finish(&[y, z]), &[vec![4, 10, 4]], TOY);
    // The statement says one row, the prover takes another.
    let row = |bench: &Bench, which: usize, to: &[u32]| {
        bench.of_other_steps(|c| c.gathers[which].rows = Rows::Given(to.to_vec()))
    };
    let gathers = &bench.key.circuit().gathers;
    let listed = gathers.iter().position(|g| matches!(g.rows, Rows::Listed(_))).unwrap();
    for to in [[4, 10, 5], [4, 9, 4], [10, 4, 4], [0, 10, 4]] {
        assert_eq!(row(&bench, listed, &to), OPENING, "{to:?}");
    }
    for (which, gather) in gathers.iter().enumerate() {
        if let Rows::Given(rows) = &gather.rows {
            let other: Vec<u32> = rows.iter().map(|row| row ^ 1).collect();
            let name = &bench.key.circuit().column(gather.output).name;
            if rows.len() == 2 || name.contains("low0") {
                assert_eq!(row(&bench, which, &other), OPENING, "gather {which}");
            }
        }
    }
    // The proof of one list under another.
    for list in [vec![4, 10, 5], vec![5, 10, 4], vec![4, 4, 10], vec![10, 10, 10]] {
        let forged = Statement { lists: vec![list], ..bench.statement.clone() };
        assert_eq!(bench.claim(&forged, &mut Honest), OPENING);
    }
    // Lists of another length, or range.
    for (lists, expected) in [
        (vec![], Reject::StatementShape),
        (vec![vec![4, 10]], Reject::StatementShape),
        (vec![vec![4, 10, 4, 4]], Reject::StatementShape),
        (vec![vec![4, 10, 4], vec![]], Reject::StatementShape),
        (vec![vec![4, 11, 4]], Reject::StatementRange),
        (vec![vec![4, 10, u32::MAX]], Reject::StatementRange),
    ] {
        let forged = Statement { lists, ..bench.statement.clone() };
        assert_eq!(bench.verify(&forged, &bench.proof()), Err(expected));
    }
}

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
