//! The executor computes what the documentation of integer programs says.

use circlet::execute::execute;
use circlet_core::circuit::Circuit;
use circlet_core::program::{Data, Program, TensorId};
use circlet_tests::programs::{self, Case, ProgramBuilder, Random};
use circlet_tests::reference;

/// The program with every tensor public.
fn transparent(mut program: Program) -> Program {
    program.outputs = (0..program.tensors.len() as u32).map(TensorId).collect();
    program
}

/// Compares on one input; says whether there is a result.
fn compare(program: &Program, circuit: &Circuit, data: &Data, inputs: &[Vec<i32>]) -> bool {
    let expected = reference::run(program, data, inputs);
    let got = execute(circuit, program, data, inputs);
    match (expected, got) {
        (Ok(tensors), Ok(trace)) => {
            for ((tensor, expected), public) in program.tensors.iter().zip(tensors).zip(&circuit.outputs) {
                let got = trace.public(circuit, &public.cells);
                assert_eq!(got, expected, "{}: tensor {}", program.name, tensor.name);
            }
            true
        }
        (Err(_), Err(_)) => false,
        (expected, got) => panic!(
            "{}: reference {:?}, executor {:?}, inputs {inputs:?}",
            program.name,
            expected.map(|_| ()),
            got.map(|_| ())
        ),
    }
}

/// Random inputs of several magnitudes and patterns of extremes.
fn many_inputs(program: &Program, count: u64) -> Vec<Vec<Vec<i32>>> {
    let mut all = vec![
        programs::inputs(program, |bound, _| bound as i32),
        programs::inputs(program, |bound, _| -bound as i32),
        programs::inputs(program, |bound, i| if i % 2 == 0 { bound as i32 } else { -bound as i32 }),
        programs::inputs(program, |bound, i| if i % 7 == 3 { bound as i32 } else { 0 }),
        programs::inputs(program, |bound, i| (bound as i32) - i32::from(i % 3 == 0)),
        programs::inputs(program, |_, _| 0),
        programs::inputs(program, |_, _| -1),
    ];
    for seed in 0..count {
        let mut random = Random(seed);
        all.push(programs::random_inputs(program, &mut random));
        all.push(programs::inputs(program, |bound, _| random.symmetric(bound / 8)));
        all.push(programs::inputs(
            program,
            |bound, _| if random.below(2) == 0 { bound as i32 } else { -bound as i32 },
        ));
        all.push(programs::inputs(program, |bound, _| {
            (bound - random.below(4).min(bound as u64) as i64) as i32
        }));
    }
    all
}

#[test]
fn executor_and_reference_agree() {
    for (program, data, inputs) in programs::all() {
        let program = transparent(program);
        let circuit = Circuit::new(&program).unwrap();
        assert!(compare(&program, &circuit, &data, &inputs), "{} has no result", program.name);
        for inputs in many_inputs(&program, 30) {
            compare(&program, &circuit, &data, &inputs);
        }
    }
}

#[test]
fn a_quotient_outside_the_domain_is_an_error() {
    let (program, data, _) = programs::matmul();
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    let aligned = |sign: i32| -> Vec<Vec<i32>> {
        vec![(0..60).map(|i| sign * 127 * data.constants[0][i % 20].signum()).collect()]
    };
    for sign in [1, -1] {
        assert!(reference::run(&program, &data, &aligned(sign)).is_err());
        assert!(!compare(&program, &circuit, &data, &aligned(sign)));
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let (program, data, inputs) = programs::add();
    let circuit = Circuit::new(&program).unwrap();
    let mut long = inputs.clone();
    long[1].push(0);
    let mut large = inputs.clone();
    large[1][5] = 128;
    let mut least = inputs.clone();
    least[0][0] = i32::MIN;
    for wrong in [vec![inputs[0].clone()], long, large, least] {
        assert!(!compare(&program, &circuit, &data, &wrong));
    }
}

#[test]
fn an_argument_outside_a_map_s_domain_is_an_error() {
    let mut b = ProgramBuilder::new("narrow");
    let x = b.input(1, 3, 600);
    let table = b.table("square", 10, |x| x * x / 1024);
    let y = b.map(x, table);
    let (program, data, _) = b.finish(&[y]);
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    assert!(compare(&program, &circuit, &data, &[vec![511, -512, 0]]));
    assert!(!compare(&program, &circuit, &data, &[vec![512, 0, 0]]));
    assert!(!compare(&program, &circuit, &data, &[vec![0, 0, -513]]));
}

/// A row far from zero: in padding, where the operand is zero, the deviation is as large as the mean.
#[test]
fn padding_does_not_stop_a_layernorm() {
    let (program, data, _): Case = programs::layernorm_padded();
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    let inputs = vec![(0..39).map(|i| 5000 + i % 2).collect()];
    assert!(compare(&program, &circuit, &data, &inputs));
}

/// Padding rows have the offset without the operand that keeps real rows in the domain.
#[test]
fn padding_does_not_stop_an_offset() {
    let mut b = ProgramBuilder::new("offset");
    let x = b.input(3, 3, 127);
    let clamp = b.clamp(10, 127);
    let w = b.constant_of(1, 3, vec![100, 100, 100]);
    let bias = b.constant_of(1, 1, vec![-30_000]);
    let y = b.matmul(x, circlet_core::program::Factor::Weight(w), Some(bias), 4, clamp);
    let (program, data, _) = b.finish(&[y]);
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    assert!(compare(&program, &circuit, &data, &[vec![100; 9]]));
}
