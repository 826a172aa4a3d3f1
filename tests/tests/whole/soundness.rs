//! Constraints leave a prover no choice: honest traces satisfy them, and no other witness does.

use circlet::execute::{Trace, execute};
use circlet_core::circuit::{Circuit, ColumnId, Content, Step};
use circlet_core::program::Factor;
use circlet_tests::attack::{Change, column, replay};
use circlet_tests::programs::{self, Case, ProgramBuilder, Random};
use circlet_tests::satisfied::{multiplicity_violations, provable_violations, violations, witness_cells};

fn honest(case: &Case) -> (Circuit, Trace) {
    let (program, data, inputs) = case;
    let circuit = Circuit::new(program).unwrap();
    let trace = execute(&circuit, program, data, inputs).unwrap();
    (circuit, trace)
}

#[test]
fn honest_traces_satisfy_everything() {
    for case in programs::all() {
        let (circuit, trace) = honest(&case);
        assert_eq!(violations(&circuit, &trace), [""; 0], "{}", case.0.name);
        let mut random = Random(5);
        for _ in 0..5 {
            let inputs = programs::random_inputs(&case.0, &mut random);
            if let Ok(trace) = execute(&circuit, &case.0, &case.1, &inputs) {
                assert_eq!(violations(&circuit, &trace), [""; 0], "{}", case.0.name);
            }
        }
    }
}

#[test]
fn replaying_without_changes_is_honest() {
    for case in programs::all() {
        let (circuit, trace) = honest(&case);
        let again = replay(&circuit, &case.0, &case.1, &case.2, &[]);
        for (id, cell) in witness_cells(&circuit) {
            let (column, name) = (id.0 as usize, &circuit.column(id).name);
            assert_eq!(again.columns[column][cell], trace.columns[column][cell], "{}: {name}", case.0.name);
        }
        assert_eq!(provable_violations(&circuit, &again), [""; 0], "{}", case.0.name);
    }
}

/// Multiplicities are counted anew, so what is noticed here is noticed by a lookup's row or a relation.
#[test]
fn every_witness_cell_is_constrained() {
    let mut unnoticed = Vec::new();
    for case in programs::all() {
        let (circuit, mut trace) = honest(&case);
        let mut random = Random(7);
        let cells = witness_cells(&circuit);
        let stride = cells.len() / 400 + 1;
        for (id, cell) in cells.into_iter().step_by(stride) {
            let (index, bound) = (id.0 as usize, circuit.column(id).bound);
            let value = trace.columns[index][cell];
            let width = (bound.high - bound.low + 1) as u64;
            let other = (bound.low + random.below(width) as i64) as i32;
            for changed in [value + 1, value - 1, other, value ^ 256, -value] {
                if changed == value {
                    continue;
                }
                trace.columns[index][cell] = changed;
                if provable_violations(&circuit, &trace).is_empty() {
                    unnoticed.push(format!("{}: {}", case.0.name, circuit.column(id).name));
                }
            }
            trace.columns[index][cell] = value;
        }
    }
    assert_eq!(unnoticed, [""; 0]);
}

#[test]
fn every_multiplicity_is_constrained() {
    for case in [programs::matmul(), programs::layernorm_tiny(), programs::residual()] {
        let (circuit, mut trace) = honest(&case);
        let mut random = Random(3);
        let counted = |c: &Content| matches!(c, Content::Multiplicity(_));
        for index in (0..circuit.columns.len()).filter(|&i| counted(&circuit.columns[i].content)) {
            for _ in 0..4 {
                let row = random.below(trace.columns[index].len() as u64) as usize;
                trace.columns[index][row] += 1;
                assert!(!multiplicity_violations(&circuit, &trace).is_empty());
                trace.columns[index][row] -= 1;
            }
        }
    }
}

/// Every cell that a step fills is changed, and all later steps follow the change.
#[test]
fn no_single_choice_has_a_consistent_witness() {
    for case in [
        programs::mul(),
        programs::add(),
        programs::no_shift(),
        programs::matmul_pow2(),
        programs::layernorm_tiny(),
        programs::layernorm(),
        programs::single_row(),
        programs::single_column(),
    ] {
        let (program, data, inputs) = &case;
        let (circuit, _) = honest(&case);
        let cells = witness_cells(&circuit);
        let stride = cells.len() / 150 + 1;
        for (column, cell) in cells.into_iter().step_by(stride) {
            for delta in [1, -1, 2, -2, 3, 256, -256, 512, -512, 2048, -2048, 4096] {
                let trace = replay(&circuit, program, data, inputs, &[Change { column, cell, delta }]);
                let found = provable_violations(&circuit, &trace);
                let name = &circuit.column(column).name;
                assert!(!found.is_empty(), "{}: {name} + {delta} has a witness", program.name);
            }
        }
    }
}

/// `2^31 = 1` modulo `P`: a quotient larger by `2^(31 - s)` goes with a remainder smaller by one.
#[test]
fn quotients_cannot_wrap() {
    for case in [programs::matmul(), programs::mul(), programs::affine(), programs::layernorm_tiny()] {
        let (program, data, inputs) = &case;
        let (circuit, trace) = honest(&case);
        for step in &circuit.steps {
            let Step::Divide { divisor, quotient, remainder: Some(remainder), .. } = *step else { continue };
            for multiple in [1, -1, 2, -2, 5] {
                // Over the integers the remainder follows the quotient; modulo P it moves by the multiple.
                let delta = (multiple << 31) / divisor;
                let rest = trace.columns[remainder.0 as usize][0];
                let mut cheat =
                    replay(&circuit, program, data, inputs, &[Change { column: quotient, cell: 0, delta }]);
                cheat.columns[remainder.0 as usize][0] = rest - multiple as i32;
                let found = provable_violations(&circuit, &cheat);
                assert!(!found.is_empty(), "{}", circuit.column(quotient).name);
                if divisor.count_ones() == 1 {
                    let relation = found.iter().any(|v| {
                        let name = &circuit.column(remainder).name;
                        v.starts_with(&format!("relation {} at (0, 0)", &name[..name.len() - 10]))
                    });
                    assert!(!relation, "the identity itself does hold: {found:?}");
                }
            }
        }
    }
}

/// Pairs of columns of the LayerNorm gadgets, with changes that compensate in limbs, carries and digits.
#[test]
fn no_pair_of_choices_has_a_consistent_layernorm() {
    const DELTAS: [i64; 14] = [1, -1, 2, -2, 255, -255, 256, -256, 511, -511, 512, -512, 2048, -2048];
    let (program, data, _) = programs::layernorm_tiny();
    let circuit = Circuit::new(&program).unwrap();
    let columns: Vec<ColumnId> = witness_cells(&circuit)
        .into_iter()
        .filter(|&(_, cell)| cell == 0)
        .map(|(column, _)| column)
        .collect();
    for inputs in [[100, -57], [3, 3], [8191, -8191]] {
        let inputs = vec![inputs.to_vec()];
        for (i, &first) in columns.iter().enumerate() {
            for &second in &columns[i + 1..] {
                for a in DELTAS {
                    for b in DELTAS {
                        let changes = [
                            Change { column: first, cell: 0, delta: a },
                            Change { column: second, cell: 0, delta: b },
                        ];
                        let trace = replay(&circuit, &program, &data, &inputs, &changes);
                        assert!(
                            !provable_violations(&circuit, &trace).is_empty(),
                            "{} + {a}, {} + {b}",
                            circuit.column(first).name,
                            circuit.column(second).name
                        );
                    }
                }
            }
        }
    }
}

/// Choices by name, with the compensation that keeps the identity of each gadget.
#[test]
fn compensated_gadgets_leave_a_range() {
    let (program, data, inputs) = programs::layernorm_tiny();
    let circuit = Circuit::new(&program).unwrap();
    let attacks: &[&[(&str, i64)]] = &[
        &[("energy.c0", 256), ("energy.k0.low", -1)],
        &[("energy.c0", -256), ("energy.k0.low", 1)],
        &[("energy.c0", 256), ("energy.k0.low", -1), ("energy.c1", -1)],
        &[("energy.c1", 256), ("energy.k1.low", -1)],
        &[("energy.c1", -256), ("energy.k1.low", 1), ("energy.high.low", 1)],
        &[("energy.k0.low", 4096), ("energy.k0.high", -1)],
        &[("energy.high.low", 4096), ("energy.high.high", -1)],
        &[("energy.c0", 1), ("energy.k0.low", 0), ("root.rest.low", 1)],
        &[("root.low", 1)],
        &[("root.low", -1)],
        &[("root.low", 256), ("root.high", -1)],
        &[("root.low", -256), ("root.high", 1)],
        &[("root.low", 1), ("root.rest.low", 4096), ("root.rest.high", -1)],
        &[("root.carry.low", 1), ("energy.high.low", 1)],
        &[("inverse.low", 1)],
        &[("inverse.low", -1)],
        &[("inverse.low", 1 << 15), ("inverse.high", -1)],
        &[("inverse.low", -(1 << 15)), ("inverse.high", 1)],
        &[("inverse.middle", 4096), ("inverse.up.low", -1)],
        &[("inverse.carry", 1), ("inverse.high", -1)],
        &[("inverse.rest.low", 4096), ("inverse.rest.high", -1)],
        &[("mean", 1)],
        &[("mean", -1)],
        &[("mean", 1), ("mean.remainder", 4)],
        &[("normalized", 1)],
        &[("normalized", -1)],
        &[("deviation0.high", 1)],
        &[("deviation0.high", -1), ("deviation0.remainder", -256)],
    ];
    for attack in attacks {
        let changes: Vec<Change> = attack
            .iter()
            .map(|&(name, delta)| Change { column: column(&circuit, &format!(".{name}")), cell: 0, delta })
            .collect();
        let trace = replay(&circuit, &program, &data, &inputs, &changes);
        assert!(!provable_violations(&circuit, &trace).is_empty(), "{attack:?}");
    }
}

/// The tests above can fail: without any one relation some change is not noticed.
#[test]
fn every_relation_is_needed() {
    let mut unneeded = Vec::new();
    for case in [programs::mul(), programs::add(), programs::affine(), programs::no_shift()] {
        let (program, data, inputs) = &case;
        let (circuit, _) = honest(&case);
        for removed in 0..circuit.relations.len() {
            let mut weaker = circuit.clone();
            let relation = weaker.relations.remove(removed);
            let slips = witness_cells(&circuit).into_iter().any(|(column, cell)| {
                [1, -1, 2, -2, 16, -16, 256, -256].into_iter().any(|delta| {
                    let trace = replay(&circuit, program, data, inputs, &[Change { column, cell, delta }]);
                    provable_violations(&weaker, &trace).is_empty()
                })
            });
            if !slips {
                unneeded.push(relation.name);
            }
        }
    }
    assert_eq!(unneeded, [""; 0]);
}

/// A relation, an input, and what the first cells of some columns are set to, in order.
type Attack<'a> = (&'a str, [i32; 2], &'a [(&'a str, i64)]);

/// Witnesses in which several cells are chosen so that a single relation of the LayerNorm notices.
#[test]
fn only_one_relation_stands_against_these() {
    let (program, data, _) = programs::layernorm_tiny();
    let circuit = Circuit::new(&program).unwrap();
    // S = 78^2 + 79^2 = 256 * 48 + 37 and q = 111, in the modular identity of the low half of q^2 also:
    let other = (112..1 << 16).find(|q| (12_365i64 - q * q).rem_euclid(1 << 16) <= 2 * q).unwrap();
    let other_rest = (12_365 - other * other).rem_euclid(1 << 16);
    let attacks: [Attack<'_>; 6] = [
        ("energy.low", [100, -57], &[("energy.c0", 38), ("root.rest.low", 45)]),
        (
            "energy.middle",
            [100, -57],
            &[("energy.c1", 49), ("root.low", 112), ("root.rest.low", 77), ("root.rest.high", 0)],
        ),
        (
            "energy.high",
            [100, -57],
            &[
                ("energy.high.low", 1),
                ("root.low", 23),
                ("root.high", 1),
                ("root.rest.low", 60),
                ("root.rest.high", 0),
            ],
        ),
        (
            "deviation0",
            [100, -57],
            &[
                ("deviation0.high", 1),
                ("deviation0.remainder", 78),
                ("root.low", 87),
                ("root.high", 1),
                ("root.rest.low", 188),
                ("root.rest.high", 0),
            ],
        ),
        (
            "root.high",
            [100, -57],
            &[
                ("root.low", other % 256),
                ("root.high", other / 256),
                ("root.rest.low", other_rest % 4096),
                ("root.rest.high", other_rest / 4096),
            ],
        ),
        // The root is six, so that its inverse and one larger by 2^19 are equal modulo 2^20.
        ("inverse", [3, 3], &[("inverse.high", 16), ("inverse.rest.low", 2), ("inverse.rest.high", 0)]),
    ];
    for (relation, inputs, targets) in attacks {
        let inputs = [inputs.to_vec()];
        let mut changes = Vec::new();
        for &(name, target) in targets {
            let column = column(&circuit, &format!(".{name}"));
            let now = replay(&circuit, &program, &data, &inputs, &changes).columns[column.0 as usize][0];
            changes.push(Change { column, cell: 0, delta: target - i64::from(now) });
        }
        let found = provable_violations(&circuit, &replay(&circuit, &program, &data, &inputs, &changes));
        let expected = format!("relation LayerNorm.0.{relation} at ");
        assert!(!found.is_empty() && found.iter().all(|v| v.starts_with(&expected)), "{relation}: {found:?}");
    }
}

/// `-2^30 = 2^30 - 1` modulo `P`: a key whose bias is beyond its declared bound, chosen so that the accumulator
/// is there, must not leave a choice between the two ends of the table.
#[test]
fn dishonest_constants_leave_no_choice() {
    let mut b = ProgramBuilder::new("dishonest");
    let x = b.input(1, 1, 1);
    let w = b.constant_of(1, 1, vec![0]);
    let bias = b.constant_of(1, 1, vec![(1 << 30) - 1 - (1 << 18)]);
    let clamp = b.clamp(12, 100);
    let y = b.matmul(x, Factor::Weight(w), Some(bias), 19, clamp);
    let (mut program, data, inputs) = b.finish(&[y]);
    (program.constants[1].bound, program.constants[1].row_l1) = (0, 0);
    let circuit = Circuit::new(&program).unwrap();
    let (quotient, remainder) = (column(&circuit, ".quotient"), column(&circuit, ".remainder"));
    let greatest = replay(&circuit, &program, &data, &inputs, &[]);
    assert_eq!(provable_violations(&circuit, &greatest), [""; 0]);
    let changes = [
        Change { column: quotient, cell: 0, delta: -4095 },
        Change { column: remainder, cell: 0, delta: 1 - (1 << 31) },
    ];
    let least = replay(&circuit, &program, &data, &inputs, &changes);
    assert_eq!(least.columns[quotient.0 as usize][0], -2048);
    let found = provable_violations(&circuit, &least);
    assert!(!found.is_empty() && found.iter().all(|v| v.starts_with("lookup")), "{found:?}");
}
