//! Traces of other programs than the key's, lookups that are counted wrongly, and padding.

use circlet::execute::{Trace, count_multiplicities, execute, form_values};
use circlet::prove::adversary::Honest;
use circlet::prove::{prove_trace, statement};
use circlet_core::circuit::{Circuit, Form, Int, Lookup, Placement, Positions, Shape, Step, Stride};
use circlet_core::key::Statement;
use circlet_core::program::{Op, Program};
use circlet_tests::attack::{Change, replay};
use circlet_tests::cheat::{Bench, LOOKUP, OPENING, TOY, Verdict};
use circlet_tests::programs::{self, Case, ProgramBuilder};
use circlet_tests::search::of_changed;
use circlet_verifier::Reject;

/// The verdict on the trace of another program, whose columns are the same.
fn of_other_program(case: &Case, edit: impl FnOnce(&mut Program)) -> Verdict {
    Bench::new(case.clone(), TOY).of_other_program(edit)
}

/// The verdict on the trace of other steps.
fn of_other_steps(case: &Case, edit: impl FnOnce(&mut Circuit)) -> Verdict {
    Bench::new(case.clone(), TOY).of_other_steps(edit)
}

fn first_form(circuit: &mut Circuit) -> &mut Form {
    let form = circuit.steps.iter_mut().find_map(|step| match step {
        Step::Divide { value, .. } => Some(&mut value.form),
        _ => None,
    });
    form.expect("a rounding step")
}

#[test]
fn other_operands() {
    let case = programs::add();
    let add = |edit: fn(&mut Op)| of_other_program(&case, |p| edit(&mut p.ops[0]));
    let twice = |op: &mut Op| {
        let Op::Add { a, b, .. } = op else { panic!() };
        *a = *b;
    };
    let scaled = |op: &mut Op| {
        let Op::Add { b_shift, .. } = op else { panic!() };
        *b_shift -= 1;
    };
    assert_eq!(add(twice), OPENING);
    assert_eq!(add(scaled), OPENING);
    for operand in [0, 1] {
        let skip = |c: &mut Circuit| first_form(c).terms[operand].0 = 0;
        let double = |c: &mut Circuit| first_form(c).terms[operand].0 *= 2;
        assert_eq!(of_other_steps(&case, skip), OPENING);
        assert!(matches!(of_other_steps(&case, double), LOOKUP | OPENING), "out of the domain too");
    }
    // A product proven as a sum, or as a square.
    let sum = |circuit: &mut Circuit| {
        let Step::Divide { value, .. } = &mut circuit.steps[0] else { panic!() };
        let product = value.products.remove(0);
        value.form = value.form.clone().plus_form(product.a).plus_form(product.b);
    };
    assert_eq!(of_other_steps(&programs::mul(), sum), OPENING);
    let square = |p: &mut Program| {
        let Op::Mul { a, b, .. } = &mut p.ops[0] else { panic!() };
        *b = *a;
    };
    assert_eq!(of_other_program(&programs::mul(), square), OPENING);
}

#[test]
fn biases_and_rounding() {
    for case in [programs::matmul(), programs::affine()] {
        assert_eq!(of_other_steps(&case, |c| first_form(c).terms.clear()), OPENING, "no bias");
        assert_eq!(of_other_steps(&case, |c| first_form(c).constant = 0), OPENING, "rounding down");
        assert_eq!(of_other_steps(&case, |c| first_form(c).constant += 1), OPENING, "another half");
    }
    let skipped = |c: &mut Circuit| {
        let Step::Divide { value, .. } = &mut c.steps[0] else { panic!() };
        value.products.truncate(1);
    };
    assert_eq!(of_other_steps(&programs::matmul(), skipped), OPENING, "a block of channels skipped");
}

/// A row of another table, no saturation, or another value in the prover's copy of a table.
#[test]
fn tables() {
    let mut b = ProgramBuilder::new("two_tables");
    let x = b.input(3, 11, 127);
    let relu = b.table("relu", 11, |x| x.clamp(0, 127));
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 7, 31, 4, relu);
    let z = b.linear(y, 5, 15, 5, clamp);
    let case = b.finish(&[z]);
    let map = |c: &mut Circuit, edit: fn(&mut Step)| {
        edit(c.steps.iter_mut().find(|s| matches!(s, Step::Map { .. })).unwrap());
    };
    let tag = |step: &mut Step| {
        let Step::Map { table, .. } = step else { panic!() };
        table.0 ^= 1;
    };
    assert_eq!(of_other_steps(&case, |c| map(c, tag)), LOOKUP);
    // The same, counted in the table that has the rows: only the tags keep the two apart.
    let bench = Bench::new(case.clone(), TOY);
    let circuit = bench.key.circuit();
    let mut steps = circuit.clone();
    map(&mut steps, tag);
    let mut trace = replay(&steps, &case.0, &case.1, &case.2, &[]);
    count_multiplicities(circuit, &mut trace);
    let lookup = circuit.lookups.iter().find(|l| l.forms.len() == 2).unwrap();
    let own = lookup.table as usize;
    let other = (0..circuit.tables.len()).find(|&i| i != own && circuit.tables[i].bits == 11).unwrap();
    let [own, other] = [own, other].map(|i| circuit.tables[i].multiplicity.0 as usize);
    for argument in form_values(circuit, &trace, &lookup.forms[0], lookup.shape) {
        let row = (argument + 1024) as usize;
        trace.columns[own][row] -= 1;
        trace.columns[other][row] += 1;
    }
    let claimed = Statement { inputs: case.2.clone(), ..statement(&bench.key, &trace) };
    let proof = prove_trace(&bench.key, &trace, &claimed, &mut Honest).unwrap();
    assert_eq!(bench.verify(&claimed, &proof), LOOKUP);
    let skip = |c: &mut Circuit| {
        let step = c.steps.iter_mut().find(|s| matches!(s, Step::Map { .. })).unwrap();
        let Step::Map { input, output, .. } = *step else { panic!() };
        *step = Step::Set {
            shape: c.columns[input.0 as usize].shape,
            value: Form::from(input).into(),
            column: output,
        };
    };
    assert_eq!(of_other_steps(&case, skip), LOOKUP);

    // Another value in the row that is used most, with all lookups consistent: only the commitment differs.
    let bench = Bench::new(case.clone(), TOY);
    let mut data = case.1.clone();
    data.tables[0][1024] = 1;
    let trace = execute(bench.key.circuit(), &case.0, &data, &case.2).unwrap();
    assert_ne!(trace, bench.trace);
    assert_eq!(bench.judge(&trace), OPENING);
}

/// One weight, bias or scale differs in the prover's copy.
#[test]
fn other_numbers() {
    for case in [programs::matmul(), programs::affine(), programs::layernorm()] {
        for constant in 0..case.1.constants.len() {
            let bench = Bench::new(case.clone(), TOY);
            let mut data = case.1.clone();
            data.constants[constant][1] -= data.constants[constant][1].signum();
            let trace = execute(bench.key.circuit(), &case.0, &data, &case.2).unwrap();
            assert_eq!(bench.judge(&trace), OPENING, "{}: constant {constant}", case.0.name);
            // Its results with the key's own numbers.
            let mut mixed = trace;
            for (id, cells) in circlet::execute::fixed_columns(bench.key.circuit(), &case.0, &case.1) {
                mixed.columns[id.0 as usize] = cells;
            }
            assert_eq!(bench.judge(&mixed), OPENING, "{}: constant {constant}", case.0.name);
        }
    }
}

#[test]
fn normalization() {
    let case = programs::layernorm();
    let edited = |edit: fn(&mut circlet_core::program::LayerNorm)| {
        of_other_program(&case, |p| {
            let Op::LayerNorm { params, .. } = &mut p.ops[0] else { panic!() };
            edit(params);
        })
    };
    assert_eq!(edited(|p| p.epsilon += 1), OPENING);
    assert_eq!(edited(|p| p.epsilon += 1 << 16), OPENING);
    assert_eq!(edited(|p| p.numerator += 1), OPENING);
    // Without epsilon: a row without deviation would divide by zero, the others go through.
    let bench = Bench::new(case.clone(), TOY);
    let remove = |step: &mut Step| {
        let Step::Set { value, .. } = step else { return };
        visit(value, &|int| {
            if *int == Int::from(5) {
                *int = Int::from(0);
            }
        });
    };
    assert!(matches!(of_other_steps(&case, |c| c.steps.iter_mut().for_each(remove)), LOOKUP | OPENING));

    // Mean, root or inverse of row 0 are those of another row, and all that follows is computed from them.
    for row in [1, 2] {
        for names in [
            &["mean"][..],
            &["root.low", "root.high"],
            &["inverse.low", "inverse.high"],
            &["energy.high.low", "energy.high.high", "energy.c1", "energy.c0"],
        ] {
            let changes: Vec<Change> = names
                .iter()
                .map(|name| {
                    let column = bench.column(&format!(".{name}"));
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
}

fn visit(int: &mut Int, edit: &impl Fn(&mut Int)) {
    edit(int);
    match int {
        Int::Value(_) => {}
        Int::Add(pair) | Int::Sub(pair) | Int::Mul(pair) | Int::Div(pair) | Int::Mod(pair) => {
            pair.iter_mut().for_each(|int| visit(int, edit));
        }
        Int::Root(int) | Int::IsZero(int) => visit(int, edit),
    }
}

/// A transpose that is the identity, two entries exchanged, or the axes in another order.
#[test]
fn rewirings() {
    let mut b = ProgramBuilder::new("square");
    let x = b.input(4, 4, 127);
    let y = b.rewire(x, &[4, 4], &[1, 0], 4);
    let case = b.finish(&[y]);
    let permuted = |permutation: &[u8], case: &Case| {
        of_other_program(case, |p| {
            let Op::Rewire { permutation: own, .. } = &mut p.ops[0] else { panic!() };
            *own = permutation.to_vec();
        })
    };
    assert_eq!(permuted(&[0, 1], &case), OPENING);
    for permutation in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 1, 0]] {
        assert_eq!(permuted(&permutation, &programs::rewire()), OPENING);
    }
    let bench = Bench::new(case, TOY);
    let column = bench.column("t1").0 as usize;
    for (i, j) in [(0, 1), (3, 12), (1, 4)] {
        let mut trace = bench.trace.clone();
        trace.columns[column].swap(i, j);
        assert_eq!(bench.judge(&trace), OPENING);
    }
}

/// Multiplicities that are not the numbers of lookups.
#[test]
fn multiplicities() {
    let bench = Bench::new(programs::residual(), TOY);
    let circuit = bench.key.circuit();
    let judge = |trace: &Trace| {
        let proof = prove_trace(&bench.key, trace, &bench.statement, &mut Honest).unwrap();
        bench.verify(&bench.statement, &proof)
    };
    assert_eq!(judge(&bench.trace), Ok(()));
    let tables: Vec<usize> = circuit.tables.iter().map(|t| t.multiplicity.0 as usize).collect();
    for (i, &column) in tables.iter().enumerate() {
        let used = bench.trace.columns[column].iter().position(|&m| m > 0).unwrap();
        for delta in [1, -1, -1000, 1 << 20] {
            let mut trace = bench.trace.clone();
            trace.columns[column][used] += delta;
            assert_eq!(judge(&trace), LOOKUP, "table {i}");
        }
        // Moved to another row, or to another table.
        let mut trace = bench.trace.clone();
        trace.columns[column][used] -= 1;
        let rows = trace.columns[column].len();
        trace.columns[column][(used + 1) % rows] += 1;
        assert_eq!(judge(&trace), LOOKUP, "table {i}");
        let mut trace = bench.trace.clone();
        trace.columns[column][used] -= 1;
        trace.columns[tables[(i + 1) % tables.len()]][0] += 1;
        assert_eq!(judge(&trace), LOOKUP, "table {i}");
        let mut trace = bench.trace.clone();
        trace.columns[column].fill(0);
        assert_eq!(judge(&trace), LOOKUP, "table {i}");
    }
}

/// Inputs whose columns hold other numbers in their padding.
fn padded(case: &Case, entry: impl Fn(usize) -> i32) -> (Bench, Trace) {
    let bench = Bench::new(case.clone(), TOY);
    let mut circuit = bench.key.circuit().clone();
    let mut inputs = Vec::new();
    for (public, entries) in circuit.inputs.iter_mut().zip(&case.2) {
        let (rows, cols) = (public.rows.next_power_of_two(), public.cols);
        let mut all = Vec::new();
        let mut cells = Vec::new();
        for block in &public.cells {
            let shape = bench.key.circuit().column(block.column).shape;
            let width = 1u32 << shape.log_cols();
            let axis = |len: u32, stride: u64| Positions {
                digits: vec![Stride { len, stride }],
                skip: 0,
                take: len,
            };
            let mut rows_at = axis(rows, width.into());
            rows_at.digits[0].stride = width.into();
            let start = all.len();
            for i in 0..(rows * width) as usize {
                let (t, c) = (i as u32 / width, i as u32 % width);
                let real = t < public.rows && c < shape.cols;
                let at = (t * cols + block.cols.skip + c) as usize;
                all.push(if real { entries[at] } else { entry(i) });
            }
            // A constant digit of its own moves the block behind those before it.
            let mut cols_at = axis(width, 1);
            cols_at.digits.insert(0, Stride { len: 2, stride: start as u64 });
            cols_at.skip = width;
            cells.push(Placement { column: block.column, rows: rows_at, cols: cols_at });
        }
        public.cells = cells;
        inputs.push(all);
    }
    let trace = replay(&circuit, &case.0, &case.1, &inputs, &[]);
    (bench, trace)
}

/// Padding is free, and changes nothing: with any numbers there, a proof shows the same outputs.
#[test]
fn padding_changes_no_output() {
    for case in [
        programs::matmul(),
        programs::product(),
        programs::add(),
        programs::mul(),
        programs::affine(),
        programs::map(),
        programs::layernorm_padded(),
        programs::rewire(),
    ] {
        let (bench, trace) = padded(&case, |i| (i as i32 * 37) % 50 + 1);
        let mut counted = bench.trace.clone();
        count_multiplicities(bench.key.circuit(), &mut counted);
        assert!(trace.columns != counted.columns, "{}: no padding", case.0.name);
        assert_eq!(statement(&bench.key, &trace), bench.statement, "{}", case.0.name);
        assert_eq!(bench.judge(&trace), Ok(()), "{}", case.0.name);
    }
}

/// The padding of a LayerNorm's operand, close to the mean: neither the mean nor the deviations count it.
#[test]
fn padding_is_no_channel() {
    let bench = Bench::new(programs::layernorm_padded(), TOY);
    let (operand, mean) = (bench.column("operand0"), bench.column(".mean"));
    assert_eq!(bench.key.circuit().column(operand).shape, Shape { rows: 3, cols: 13 });
    let honest = bench.changed(&[]);
    for cell in 13..16 {
        let here = honest.columns[operand.0 as usize][cell];
        let delta = i64::from(honest.columns[mean.0 as usize][0] - here + 7);
        let trace = bench.changed(&[Change { column: operand, cell, delta }]);
        assert_ne!(trace, honest);
        assert_eq!(statement(&bench.key, &trace), bench.statement);
        assert_eq!(bench.judge(&trace), Ok(()), "cell {cell}");
    }
    // A real channel, by contrast, is wired.
    let trace = bench.changed(&[Change { column: operand, cell: 12, delta: 1 }]);
    assert_eq!(bench.judge(&trace), OPENING);
}

/// Padding that breaks a lookup or a relation is rejected like any cell.
#[test]
fn padding_that_is_inconsistent() {
    let bench = Bench::new(programs::matmul(), TOY);
    let cell = |shape: Shape| shape.size() - 1;
    for (name, delta, expected) in [
        ("remainder", 1 << 10, LOOKUP),
        ("remainder", 1, OPENING),
        ("quotient", 1, LOOKUP),
        ("t1", 1, LOOKUP),
    ] {
        let column = bench.column(name);
        let mut trace = bench.trace.clone();
        let cells = &mut trace.columns[column.0 as usize];
        let cell = cell(bench.key.circuit().column(column).shape);
        cells[cell] = if delta == 1 { cells[cell] ^ 1 } else { cells[cell] + delta };
        assert_eq!(bench.judge(&trace), expected, "{name} + {delta}");
    }
}

/// `2^31 = 1` modulo `P`: the quotient moves by `2^(31 - s)`, the remainder by one, and the identity holds.
/// What stands against it is the domain of the table alone.
#[test]
fn quotients_that_wrap() {
    for case in [programs::matmul(), programs::mul(), programs::affine(), programs::add()] {
        let mut bench = Bench::new(case, TOY);
        let steps = bench.key.circuit().steps.clone();
        let Step::Divide { divisor, quotient, remainder: Some(remainder), .. } = steps[0] else { panic!() };
        let (quotient, remainder) = (quotient.0 as usize, remainder.0 as usize);
        let cell = bench.trace.columns[remainder].iter().position(|&r| r > 0).unwrap();
        let mut trace = bench.trace.clone();
        trace.columns[quotient][cell] += ((1i64 << 31) / divisor) as i32;
        trace.columns[remainder][cell] -= 1;
        assert_eq!(bench.judge(&trace), LOOKUP);
        // Without the lookup that holds the quotient, the proof would go through.
        let mut circuit = bench.key.protocol.circuit.clone();
        let holds = |l: &Lookup| l.forms.iter().any(|f| f.terms.iter().any(|t| t.1.0 as usize == quotient));
        circuit.lookups.retain(|lookup| !holds(lookup));
        bench.key.protocol = of_changed(&bench.key.protocol, circuit);
        assert_eq!(bench.judge(&trace), Ok(()));
    }
}
