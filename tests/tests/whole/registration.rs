//! Registration: honest numbers are registered; numbers beyond their declared bounds are not, whatever a cheating
//! key maker proves.

use std::sync::Arc;

use circlet::backend::device::Device;
use circlet::execute::{Fixed, execute_with};
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Honest;
use circlet::prove::prove_trace;
use circlet::register::register;
use circlet_core::circuit::{Circuit, Columns};
use circlet_core::decoder::Extent;
use circlet_core::hash::suite::Poseidon2Blake2s;
use circlet_core::profile::ProfileId;
use circlet_core::program::{Data, Program};
use circlet_core::protocol::Protocol;
use circlet_core::registration::{circuits, statement};
use circlet_core::stacking::Stacking;
use circlet_tests::programs::decoder;
use circlet_tests::satisfied::violations;
use circlet_verifier::{Reject, verify_registration};

fn program() -> (Program, Data) {
    let (decoder, data) = decoder(1, 3, 1, true);
    (decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None }), data)
}

fn key(program: Program, data: Data) -> ProvingKey<Poseidon2Blake2s> {
    let protocol = Protocol::new(&program, *ProfileId::P100U.profile()).unwrap();
    ProvingKey::build(&Device::Cpu, program, data, protocol, &mut Honest).unwrap()
}

#[test]
fn honest_numbers_are_registered() {
    let (program, data) = program();
    let key = key(program, data);
    let proofs = register(&key, |_, _| {}).unwrap();
    verify_registration(&key.verifying, &proofs).unwrap();
    assert_eq!(verify_registration(&key.verifying, &proofs[1..]), Err(Reject::StatementShape));
    // It says nothing about another key.
    let mut other = key.verifying.clone();
    other.program.constants[0].row_l1 += 1;
    assert!(verify_registration(&other, &proofs).is_err());
}

#[test]
fn circuits_hold_for_honest_numbers_only() {
    let (program, data) = program();
    let whole = Circuit::new(&program).unwrap();
    let run = |data: &Data| {
        let fixed = Fixed::new(&whole, &program, data);
        let circuits = circuits(&program).unwrap();
        let count = circuits.len();
        let run = move |(i, circuit): (usize, Circuit)| {
            let fixed = Arc::new(fixed.of_family(&whole, &circuit));
            let trace = execute_with(&circuit, fixed, &[], &[], &statement(i, count).lists);
            trace.map(|trace| violations(&circuit, &trace))
        };
        circuits.into_iter().enumerate().map(run).collect::<Vec<_>>()
    };
    for found in run(&data) {
        assert_eq!(found, Ok(Vec::new()));
    }
}

/// A key maker commits to numbers beyond the declared bounds and proves with the traces that come closest.
#[test]
fn numbers_beyond_their_bounds_are_not_registered() {
    let (program, data) = program();
    let place = |name: &str| program.constants.iter().position(|c| c.name == name).unwrap();
    let query = place("layers.0.query");
    let bias = place("layers.0.key.bias");
    let mut cases = Vec::new();
    for (index, delta) in [(query, 1 << 12), (bias, 1 << 18), (bias, -(1 << 18))] {
        let mut data = data.clone();
        data.constants[index][0] += delta;
        cases.push(data);
    }
    // A row whose sum is too large though every entry is in range.
    let mut declared = program.clone();
    let sums = |cells: &[i32]| cells.iter().map(|&v| i64::from(v).abs()).sum::<i64>();
    let width = declared.constants[query].cols as usize;
    declared.constants[query].row_l1 = data.constants[query].chunks(width).map(sums).max().unwrap() - 1;
    let mut tables = data.clone();
    tables.tables[0][5] = 1 << 14;
    cases.push(tables);
    let cases = cases.into_iter().map(|data| (program.clone(), data)).chain([(declared, data.clone())]);
    for (program, data) in cases {
        let key = key(program.clone(), data.clone());
        let whole = Circuit::new(&program).unwrap();
        let fixed = Fixed::new(&whole, &program, &data);
        let circuits = circuits(&program).unwrap();
        let count = circuits.len();
        let mut refused = false;
        let mut proofs = Vec::new();
        for (i, circuit) in circuits.into_iter().enumerate() {
            // What the executor refuses, the cheating prover runs without ranges.
            let mut loose = circuit.clone();
            for column in &mut loose.columns {
                column.bound = circlet_core::circuit::Interval { low: i64::MIN, high: i64::MAX };
            }
            let fixed = Arc::new(fixed.of_family(&whole, &circuit));
            let mut trace = execute_with(&loose, fixed, &[], &[], &statement(i, count).lists).unwrap();
            circlet::execute::count_multiplicities(&circuit, &mut trace);
            refused |= !violations(&circuit, &trace).is_empty();
            let protocol =
                Protocol::of_circuit(circuit, key.protocol.profile, key.verifying.log_rows.into()).unwrap();
            proofs.push(
                prove_trace(&key.with_protocol(protocol), &trace, &statement(i, count), &mut Honest).unwrap(),
            );
        }
        assert!(refused);
        assert!(verify_registration(&key.verifying, &proofs).is_err());
    }
}

/// All programs of a decoder lay their weights out alike, and so does the registration.
#[test]
fn the_layout_is_one_for_all_extents() {
    let (decoder, _) = decoder(2, 6, 2, true);
    let fixed = |circuit: &Circuit| -> Vec<(u64, circlet_core::circuit::Shape)> {
        let all = circuit.declared(Columns::default()).columns;
        let stacking = Stacking::with_rows(&all, 12);
        let columns = (0u32..).map(circlet_core::circuit::ColumnId).zip(&circuit.columns);
        columns
            .filter(|(_, column)| column.tree() == circlet_core::circuit::Tree::Fixed)
            .map(|(id, column)| (stacking.offset_in_tree(&all, id), column.shape))
            .collect()
    };
    let of = |rows, generated| {
        fixed(&Circuit::new(&decoder.program(Extent { rows, first: 0, generated, past: None })).unwrap())
    };
    let first = of(1, 1);
    for (rows, generated) in [(2, 1), (8, 3), (32, 5), (64, 64)] {
        assert_eq!(of(rows, generated), first);
    }
    for circuit in circuits(&decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None })).unwrap()
    {
        assert_eq!(fixed(&circuit), first);
    }
}
