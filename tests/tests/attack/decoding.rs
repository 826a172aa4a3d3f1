//! Lies about the ops of decoders. Each is told once and everything after it is computed honestly.

use circlet::execute::execute_listed;
use circlet::prove::adversary::Honest;
use circlet_core::circuit::{Circuit, ColumnId, Indicator, Int, Kind, Product, Rows, Step, Value};
use circlet_core::field::{M31, P};
use circlet_core::key::Statement;
use circlet_core::program::{self, Op, Source, TensorId};
use circlet_tests::attack::Change;
use circlet_tests::cheat::{Bench, LOOKUP, OPENING, TOY};
use circlet_tests::programs::{Heads, ProgramBuilder};
use circlet_tests::satisfied::cell;
use circlet_verifier::Reject;

use super::rejected;

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

/// Every product that a step computes.
pub fn products(circuit: &mut Circuit, mut edit: impl FnMut(&mut Product)) {
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
