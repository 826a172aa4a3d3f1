//! The executor computes what the documentation of integer programs says.

use circlet::execute::{ExecuteError, Trace, execute_listed};
use circlet_core::circuit::{Circuit, split_wide};
use circlet_core::decoder::{Decoder, Extent};
use circlet_core::program::{Data, Factor, Memory, Op, Program, Rows, Source, TensorId, Visible, WIDE};
use circlet_tests::attack::column;
use circlet_tests::programs::{self, Case, DecoderShape, Heads, ProgramBuilder, Random};
use circlet_tests::reference;
use circlet_tests::satisfied::{cell, violations};

/// The program with every tensor public that can be.
fn transparent(mut program: Program) -> Program {
    let narrow = |id: &u32| program.tensors[*id as usize].bound != WIDE;
    program.outputs = (0..program.tensors.len() as u32).filter(narrow).map(TensorId).collect();
    program
}

/// The entries of a wide tensor, from the limbs of its op.
fn wide(program: &Program, circuit: &Circuit, trace: &Trace, index: usize) -> Vec<i32> {
    let op = &program.ops[index];
    let tensor = &program.tensors[op.result().unwrap().0 as usize];
    let mut entries = vec![0; (tensor.rows * tensor.cols) as usize];
    for (offset, cols) in split_wide(tensor.cols) {
        let limb = |name: &str| column(circuit, &format!("{}.{index}.{name}{offset}", op.name()));
        let (high, low) = (limb("high"), limb("low"));
        for t in 0..tensor.rows as usize {
            for c in 0..cols as usize {
                let at = cell(circuit.column(high).shape, t, c);
                entries[t * tensor.cols as usize + offset as usize + c] =
                    1024 * trace.columns[high.0 as usize][at] + trace.columns[low.0 as usize][at];
            }
        }
    }
    entries
}

/// Compares on one input; says whether there is a result.
fn compare_listed(
    program: &Program,
    circuit: &Circuit,
    data: &Data,
    inputs: &[Vec<i32>],
    lists: &[Vec<u32>],
) -> Option<Trace> {
    let expected = reference::run(program, data, inputs, lists);
    let got = execute_listed(circuit, program, data, inputs, lists);
    match (expected, got) {
        (Ok(results), Ok(trace)) => {
            for (&id, public) in program.outputs.iter().zip(&circuit.outputs) {
                let (tensor, expected) = (&program.tensors[id.0 as usize], &results.tensors[id.0 as usize]);
                let got = trace.public(circuit, &public.cells);
                assert_eq!(&got, expected, "{}: tensor {}", program.name, tensor.name);
            }
            for (index, op) in program.ops.iter().enumerate() {
                let Some(id) = op.result().filter(|id| program.tensors[id.0 as usize].bound == WIDE) else {
                    continue;
                };
                let got = wide(program, circuit, &trace, index);
                assert_eq!(got, results.tensors[id.0 as usize], "{}: op {index}", program.name);
            }
            assert_eq!(trace.lists, results.lists, "{}", program.name);
            Some(trace)
        }
        (Err(_), Err(_)) => None,
        (expected, got) => panic!(
            "{}: reference {:?}, executor {:?}, inputs {inputs:?}",
            program.name,
            expected.map(|_| ()),
            got.map(|_| ())
        ),
    }
}

/// The same for a program without lists.
fn compare(program: &Program, circuit: &Circuit, data: &Data, inputs: &[Vec<i32>]) -> bool {
    compare_listed(program, circuit, data, inputs, &[]).is_some()
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
        assert!(reference::run(&program, &data, &aligned(sign), &[]).is_err());
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
    let y = b.matmul(x, Factor::Weight(w), Some(bias), 4, clamp);
    let (program, data, _) = b.finish(&[y]);
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    assert!(compare(&program, &circuit, &data, &[vec![100; 9]]));
}

/// Compares on many inputs, checks traces against the circuit now and then, and wants some results.
fn compare_many(case: &Case, lists: &[Vec<u32>], count: u64) {
    let program = transparent(case.0.clone());
    let circuit = Circuit::new(&program).unwrap();
    let all = many_inputs(&program, count);
    let mut results = 0;
    for (index, inputs) in all.iter().chain([&case.2]).enumerate() {
        let Some(trace) = compare_listed(&program, &circuit, &case.1, inputs, lists) else { continue };
        results += 1;
        if index % 8 == 7 {
            assert_eq!(violations(&circuit, &trace), [""; 0], "{}", program.name);
        }
    }
    assert!(4 * results > all.len(), "{}: {results} results for {} inputs", program.name, all.len());
}

/// Rows of a sum of nearly twenty bits, of one entry, of zeros.
fn extreme_rows() -> Case {
    let mut b = ProgramBuilder::new("extreme_rows");
    let (x, z) = (b.input(6, 20, 127), b.input(6, 20, 511));
    let clamp = b.clamp(16, 30_000);
    let large = b.widen(None, x, 12, 0);
    let w = b.widen(Some(large), z, 3, 1);
    let y = b.rms_norm(w, 1, 9, clamp);
    let (program, data, mut inputs) = b.finish(&[y]);
    for c in 0..20 {
        inputs[0][c] = 127;
        inputs[1][c] = 511;
        inputs[0][20 + c] = -127;
        inputs[1][20 + c] = -511;
        inputs[0][40 + c] = 0;
        inputs[1][40 + c] = 0;
        inputs[0][60 + c] = if c == 7 { -127 } else { 0 };
        inputs[1][60 + c] = 0;
        inputs[0][80 + c] = 0;
        inputs[1][80 + c] = i32::from(c == 19);
    }
    (program, data, inputs)
}

#[test]
fn sums_and_norms() {
    compare_many(&extreme_rows(), &[], 30);
    for (rows, cols) in [(1, 1), (3, 5), (4, 13), (2, 64), (5, 100)] {
        let mut b = ProgramBuilder::new("sums");
        let x = b.input(rows, cols, 2047);
        let clamp = b.clamp(16, 8191);
        let w = b.widen(None, x, 5, 2);
        let y = b.rms_norm(w, 300, 9, clamp);
        let w = b.linear_add(Some(w), y, (cols, 200), Some(100_000), 10);
        let w = b.linear_add(Some(w), x, (cols, 200), None, 11);
        let w = b.linear_add(Some(w), y, (cols, 3), Some(9), 0);
        let w = b.widen(Some(w), y, 0, 3);
        let y = b.rms_norm(w, 1, 9, clamp);
        let picked = b.gather(Source::Tensor(w), Rows::Given(vec![rows - 1, 0, rows - 1]));
        let z = b.rms_norm(picked, 1 << 29, 5, clamp);
        compare_many(&b.finish(&[y, z]), &[], 20);
    }
}

/// A root of 25 bits has no column: 1024 channels at the bound.
#[test]
fn the_largest_norm() {
    let mut b = ProgramBuilder::new("largest");
    let x = b.input(1, 1024, 1 << 15);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 4, 0);
    let y = b.rms_norm(w, 1, 6, clamp);
    let (program, data, _) = b.finish(&[y]);
    let program = transparent(program);
    let circuit = Circuit::new(&program).unwrap();
    let filled = |v: i32| vec![vec![v; 1024]];
    assert!(compare(&program, &circuit, &data, &filled(32767)));
    assert!(compare(&program, &circuit, &data, &filled(-32767)));
    assert!(compare(&program, &circuit, &data, &filled(0)));
    assert!(!compare(&program, &circuit, &data, &filled(32768)), "2^19 is too large for a sum");
    assert!(!compare(&program, &circuit, &data, &filled(-32768)), "a root of 2^24");
    let mut least = filled(-32768);
    least[0][5] = -32767;
    assert!(compare(&program, &circuit, &data, &least));
}

/// More than 1024 channels: at the largest bound that has a root, of both signs, at zero, in one channel, and in any.
#[test]
fn norms_of_many_channels() {
    let mut random = Random(11);
    for (cols, epsilon) in [(1025, 1), (2047, (1 << 30) - 1), (2560, 1 << 20), (5120, 1), (8191, 1)] {
        // 2^12 times its square in every channel, and epsilon, below 2^48.
        let most = (((1i64 << 36) - (1 << 18) - 1) / i64::from(cols)).isqrt().min(8191) as i32;
        let patterns: [&mut dyn FnMut(u32) -> i32; 5] = [
            &mut |_| most,
            &mut |c| if c % 3 == 0 { most } else { -most },
            &mut |c| if c == 0 { -8191 } else { 0 },
            &mut |c| if c == cols - 1 { 8191 } else { 0 },
            &mut |_| random.symmetric(2000),
        ];
        for (index, pattern) in patterns.into_iter().enumerate() {
            let mut b = ProgramBuilder::new("groups");
            let x = b.input(1, 1, 100);
            let clamp = b.clamp(16, 8191);
            let weight = b.constant_of(cols, 1, (0..cols).map(pattern).collect());
            let w = b.tensor(1, cols, WIDE);
            b.program.ops.push(Op::MatMulAdd { base: None, x, weight, bias: None, shift: 0, y: w });
            let y = b.rms_norm(w, epsilon, 6, clamp);
            let (program, data, _) = b.finish(&[y]);
            let program = transparent(program);
            let circuit = Circuit::new(&program).unwrap();
            for x in [64, -64, 0, 1] {
                let trace = compare_listed(&program, &circuit, &data, &[vec![x]], &[]).unwrap();
                assert_eq!(violations(&circuit, &trace), [""; 0], "{cols} channels, pattern {index}");
            }
            if index < 2 && cols > 1025 {
                assert!(!compare(&program, &circuit, &data, &[vec![65]]), "a root of 2^24");
            }
        }
    }
}

#[test]
fn attention_of_many_shapes() {
    let mut seed = Random(5);
    for (heads, groups, channels, tokens, width) in [
        (1u32, 1u32, 1u32, 1u32, 3u32),
        (1, 1, 2, 2, 4),
        (2, 2, 4, 4, 12),
        (3, 1, 2, 2, 5),
        (3, 3, 4, 8, 12),
        (4, 2, 2, 4, 20),
        (6, 2, 4, 4, 13),
        (6, 3, 2, 8, 9),
        (7, 7, 2, 2, 11),
        (7, 1, 4, 1, 24),
        (9, 3, 2, 4, 17),
        (12, 4, 1, 2, 6),
    ] {
        for variant in 0..5u64 {
            let bit = |k: u32| seed.0 >> k & 1 == 1;
            let pair = (channels > 1).then(|| if bit(4) { 0 } else { channels.ilog2() as u8 - 1 });
            let options = Heads {
                norms: variant == 0 || bit(0),
                biases: variant == 0 || bit(1),
                prefix: variant != 1 && bit(2) || variant == 2,
                visible: [
                    Visible::Causal,
                    Visible::All,
                    Visible::Causal,
                    Visible::First(tokens.div_ceil(2)),
                    Visible::Continued(Memory { past: 0, new: 1 + seed.0 as u32 % tokens }),
                ][variant as usize],
                pair: pair.filter(|_| variant == 0 || bit(3)),
                // Scores that are clamped, or hardly differ.
                score: [12, 10, 14, 11, 12][variant as usize],
                ..Heads::new(heads, groups, channels)
            };
            let mut b = ProgramBuilder::new(&format!("{options:?} {tokens} {width}"));
            let x = b.input(tokens, width, 700);
            let clamp = b.clamp(16, 8191);
            let base = (variant % 2 == 0).then(|| b.widen(None, x, 4, 0));
            let w = b.attention(base, x, &options);
            let y = b.rms_norm(w, 50, 9, clamp);
            compare_many(&b.finish(&[y]), &[], 2);
            seed.word();
        }
    }
}

/// Lists that are given and computed, and one that goes on from the other.
#[test]
fn gathers_and_best_channels() {
    for (vocab, len, width) in [(5, 3, 3), (11, 4, 12), (48, 1, 7), (64, 2, 16), (37, 5, 20)] {
        let mut b = ProgramBuilder::new("gathers");
        let x = b.input(len, width, 127);
        let embedding = b.constant(vocab, width, 127);
        let list = b.list(len, vocab);
        let e = b.gather(Source::Constant(embedding), Rows::Listed(list));
        let clamp = b.clamp(12, 127);
        let y = b.add((x, 0), (e, 0), 1, clamp);
        let best = b.arg_max(y, vocab, 60);
        let again = b.gather(Source::Constant(embedding), Rows::Listed(best));
        let last = b.gather(Source::Tensor(again), Rows::Given(vec![len - 1, 0]));
        let _ = b.arg_max(last, 3, 1);
        let case = b.finish(&[y]);
        let mut random = Random(7);
        for _ in 0..4 {
            let tokens = (0..len).map(|_| random.below(vocab.into()) as u32).collect();
            compare_many(&case, &[tokens, vec![], vec![]], 2);
        }
    }
}

/// Ties: the first of the greatest channels, in either block and between them.
#[test]
fn ties_go_to_the_first() {
    let mut b = ProgramBuilder::new("ties");
    let x = b.input(1, 2, 127);
    let weight =
        b.constant_of(11, 2, [[0, 1], [1, 0], [0, 0]].iter().cycle().take(11).flatten().copied().collect());
    let list = b.list(1, 11);
    b.program.ops.push(Op::ArgMax { x, weight, list });
    let (program, data, _) = b.finish(&[]);
    let circuit = Circuit::new(&program).unwrap();
    for (x, best) in
        [([5, 5], 0), ([5, 4], 1), ([-5, -4], 2), ([-4, -5], 2), ([0, 0], 0), ([-1, 0], 0), ([0, -1], 1)]
    {
        let inputs = [x.to_vec()];
        let trace = compare_listed(&program, &circuit, &data, &inputs, &[vec![]]).unwrap();
        assert_eq!(trace.lists, [[best]], "{x:?}");
    }
}

#[test]
fn wrong_lists_are_errors() {
    let mut b = ProgramBuilder::new("lists");
    let embedding = b.constant(11, 4, 127);
    let tokens = b.list(3, 11);
    let e = b.gather(Source::Constant(embedding), Rows::Listed(tokens));
    let _ = b.arg_max(e, 7, 10);
    let (program, data, _) = b.finish(&[]);
    let circuit = Circuit::new(&program).unwrap();
    let run = |lists: &[Vec<u32>]| {
        let trace = compare_listed(&program, &circuit, &data, &[], lists);
        let error = execute_listed(&circuit, &program, &data, &[], lists).err();
        assert_eq!(trace.is_none(), error.is_some());
        error
    };
    assert_eq!(run(&[vec![0, 10, 5], vec![]]), None);
    let count = |got| Some(ExecuteError::ListCount { expected: 2, got });
    assert_eq!(run(&[]), count(0));
    assert_eq!(run(&[vec![0, 10, 5]]), count(1));
    let length = |index, expected, got| Some(ExecuteError::ListLength { index, expected, got });
    assert_eq!(run(&[vec![0, 10], vec![]]), length(0, 3, 2));
    assert_eq!(run(&[vec![0, 10, 5, 5], vec![]]), length(0, 3, 4));
    assert_eq!(run(&[vec![], vec![]]), length(0, 3, 0));
    assert_eq!(run(&[vec![0, 10, 5], vec![1, 2, 3]]), length(1, 0, 3));
    let range = |entry| Some(ExecuteError::ListRange { index: 0, entry, limit: 11 });
    assert_eq!(run(&[vec![0, 11, 5], vec![]]), range(11));
    assert_eq!(run(&[vec![u32::MAX, 1, 5], vec![]]), range(u32::MAX));
}

/// Decoders of all kinds on texts of all lengths.
#[test]
fn random_decoders() {
    let shapes = [
        (1, 3u32, 1u32, 8u32, 24u32, 40u32, 48u32),
        (2, 4, 4, 4, 20, 24, 37),
        (1, 6, 3, 2, 12, 31, 11),
        (2, 7, 1, 4, 28, 16, 64),
        (1, 9, 3, 4, 36, 48, 100),
        (3, 2, 1, 16, 16, 17, 5),
    ];
    let mut random = Random(11);
    for (index, &(layers, heads, groups, channels, width, ffn, vocab)) in shapes.iter().enumerate() {
        let shape = DecoderShape {
            layers,
            heads,
            groups,
            channels,
            width,
            ffn,
            vocab,
            prefix: index % 2 == 0,
            norms: index % 3 != 0,
            biases: index % 3 != 1,
            pair: if index % 2 == 0 { 0 } else { channels.ilog2() as u8 - 1 },
            tied: index % 4 == 1,
        };
        let (decoder, data): (Decoder, Data) = programs::random_decoder(&shape);
        for (rows, first, generated) in
            [(1, 0, 1), (2, 0, 2), (4, 1, 3), (4, 3, 1), (8, 2, 5), (16, 9, 7), (32, 20, 3)]
        {
            let program = transparent(decoder.program(Extent { rows, first, generated, past: None }));
            let circuit = Circuit::new(&program).unwrap();
            let tokens: Vec<u32> = (0..rows).map(|_| random.below(u64::from(vocab)) as u32).collect();
            let trace = compare_listed(&program, &circuit, &data, &[], &[tokens, vec![]]);
            let trace = trace.unwrap_or_else(|| panic!("{shape:?} has no result"));
            assert_eq!(trace.lists[1].len(), generated as usize);
            if rows <= 8 {
                assert_eq!(violations(&circuit, &trace), [""; 0], "{shape:?}");
            }
        }
    }
}

/// Sentence encoders on sentences of all lengths.
#[test]
fn random_encoders() {
    let mut random = Random(13);
    for layers in 1..=2 {
        let (encoder, data) = programs::encoder(layers);
        for length in [1, 2, 3, 5, 8, 9, 16] {
            let program = transparent(encoder.program(length));
            let circuit = Circuit::new(&program).unwrap();
            let tokens: Vec<u32> =
                (0..length).map(|_| random.below(u64::from(encoder.vocab)) as u32).collect();
            let rows = encoder.rows(&tokens).unwrap();
            let trace = compare_listed(&program, &circuit, &data, &[], &[rows]);
            let trace = trace.unwrap_or_else(|| panic!("{length} tokens have no result"));
            if length <= 8 {
                assert_eq!(violations(&circuit, &trace), [""; 0], "{length} tokens");
            }
        }
    }
}

/// What stands at unused positions changes nothing.
#[test]
fn padding_of_sentences_is_not_seen() {
    let (encoder, data) = programs::encoder(2);
    let program = encoder.program(5);
    let circuit = Circuit::new(&program).unwrap();
    let vector = |pad: [u32; 3]| {
        let rows = [&[7, 1, 44, 3, 3][..], &pad].concat();
        let trace = execute_listed(&circuit, &program, &data, &[], &[rows]).unwrap();
        trace.public(&circuit, &circuit.outputs[0].cells)
    };
    assert_eq!(vector([0, 0, 0]), vector([9, 47, 1]));
}

/// Means and centres at the ends of their ranges.
#[test]
fn centres_and_means() {
    for (rows, cols) in [(1, 1), (3, 5), (4, 13), (2, 64), (5, 100)] {
        let mut b = ProgramBuilder::new("centres");
        let x = b.input(rows, cols, 4095);
        let clamp = b.clamp(16, 8191);
        let w = b.widen(None, x, 6, 0);
        let w = b.center(w, Some(1 << 18));
        let w = b.center(w, None);
        let y = b.rms_norm(w, 300, 9, clamp);
        compare_many(&b.finish(&[y]), &[], 20);
    }
    for (rows, len, cols) in [(1, 1, 5), (2, 1, 3), (4, 3, 1), (8, 7, 13), (16, 16, 20)] {
        let mut b = ProgramBuilder::new("means");
        let x = b.input(rows, cols, 4095);
        let y = b.mean(x, len);
        compare_many(&b.finish(&[y]), &[], 20);
    }
}
