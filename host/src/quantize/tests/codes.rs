//! Codes of quantized models, and selections.

use circlet_core::circuit::Circuit;

use super::{close, constant, graph, node, noise, noisy, op_names, tensor};
use crate::execute::execute;
use crate::float;
use crate::graph::{Graph, Op, Tensor};
use crate::quantize::{Options, calibrate::exp2, dequantize_output, quantize};

const BYTE: Op = Op::Quantize { low: -128.0, high: 127.0 };

/// The program consists of these ops and differs from the float model on rounded inputs by at most `steps` units.
#[track_caller]
fn exact(graph: &Graph, sample: Tensor, ops: &[&str], steps: f32) {
    let sample = vec![sample];
    let q = quantize(graph, std::slice::from_ref(&sample), Options::default()).unwrap();
    assert_eq!(op_names(&q), ops);
    let input = q.quantize_inputs(&sample).remove(0).values;
    let rounded = dequantize_output(q.tensor(q.program.inputs[0]), &input);
    let expected = float::run(graph, &[tensor(sample[0].shape(), &rounded)]).unwrap().remove(0);
    let circuit = Circuit::new(&q.program).unwrap();
    let trace = execute(&circuit, &q.program, &q.data, &[input]).unwrap();
    let found = q.dequantize_outputs(&[trace.public(&circuit, &circuit.outputs[0].cells)]).remove(0);
    let unit = exp2(-i32::from(q.tensor(q.program.outputs[0]).fraction_bits)) as f32;
    for (i, (x, y)) in found.iter().zip(expected.data()).enumerate() {
        assert!((x - y).abs() <= steps * unit, "element {i} is {x} instead of {y}, unit {unit}");
    }
}

/// All whole numbers of a byte, in rows of eight.
fn bytes() -> Tensor {
    tensor(&[32, 8], &(-128i8..=127).map(f32::from).collect::<Vec<_>>())
}

#[test]
fn codes_are_exact_and_saturate() {
    for (scale, zero) in [(0.25, 0.0), (0.013, -5.0), (1.0, 100.0)] {
        let g = graph(&[40, 16], |b, x| {
            let (scale, zero) = (constant(b, tensor(&[], &[scale])), constant(b, tensor(&[1], &[zero])));
            node(b, BYTE, &[x, scale, zero])
        });
        exact(&g, noise(&[40, 16], 3, 5.0), &["Map"], 0.0);
        exact(&g, noise(&[40, 16], 3, 500.0), &["Map"], 0.0);
        let g = graph(&[32, 8], |b, x| {
            let (scale, zero) = (constant(b, tensor(&[], &[scale])), constant(b, tensor(&[], &[zero])));
            node(b, Op::Dequantize, &[x, scale, zero])
        });
        exact(&g, bytes(), &["Map"], 0.5);
    }
}

#[test]
fn scales_by_channel_are_exact() {
    // Scales of the channels, then of the rows; two of eight are the same.
    let scales = [0.5, 0.1, 0.01, 3.0, 0.5, 0.07, 1.5, 20.0];
    let zeros = [0.0, 3.0, -7.0, 0.0, 0.0, 1.0, 2.0, 3.0];
    for (shape, ops) in [(&[8][..], &["Affine"][..]), (&[8, 1], &["Rewire", "Affine"])] {
        let parameters = |op: Op| {
            graph(&[8, 8], |b, x| {
                let (scale, zero) = (constant(b, tensor(shape, &scales)), constant(b, tensor(shape, &zeros)));
                node(b, op, &[x, scale, zero])
            })
        };
        exact(&parameters(BYTE), noise(&[8, 8], 5, 30.0), ops, 0.0);
        let codes = tensor(&[8, 8], &bytes().data()[96..160]);
        exact(&parameters(Op::Dequantize), codes, ops, 0.5);
    }
}

#[test]
fn too_many_scales_are_refused() {
    let channels = |n: usize| {
        graph(&[2, n], |b, x| {
            let scale: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 / 100.0).collect();
            let (scale, zero) = (constant(b, tensor(&[n], &scale)), constant(b, tensor(&[], &[0.0])));
            node(b, BYTE, &[x, scale, zero])
        })
    };
    assert!(noisy(&channels(64), 1.0, Options::default()).is_ok());
    let text = noisy(&channels(65), 1.0, Options::default()).unwrap_err().to_string();
    assert!(text.contains("Quantize") && text.contains("65 different scales"), "{text}");
}

#[test]
fn codes_read_at_once_are_one_table() {
    let snap = |again: f32, twice: bool| {
        graph(&[4, 16], |b, x| {
            let (scale, other) = (constant(b, tensor(&[], &[0.02])), constant(b, tensor(&[], &[again])));
            let zero = constant(b, tensor(&[], &[4.0]));
            let codes = node(b, BYTE, &[x, scale, zero]);
            let y = node(b, Op::Dequantize, &[codes, other, zero]);
            if twice { node(b, Op::Add, &[y, codes]) } else { y }
        })
    };
    exact(&snap(0.02, false), noise(&[4, 16], 3, 4.0), &["Map"], 0.5);
    exact(&snap(0.03, false), noise(&[4, 16], 3, 4.0), &["Map", "Map"], 0.5);
    exact(&snap(0.02, true), noise(&[4, 16], 3, 4.0), &["Map", "Map", "Add"], 1.0);
}

#[test]
fn codes_of_a_sum_are_part_of_its_rounding() {
    let g = graph(&[4, 16], |b, x| {
        let w = constant(b, noise(&[16, 8], 5, 0.5));
        let (scale, zero) = (constant(b, tensor(&[], &[0.05])), constant(b, tensor(&[], &[0.0])));
        let y = node(b, Op::MatMul, &[x, w]);
        node(b, BYTE, &[y, scale, zero])
    });
    // Near a tie the sum's own rounding can take the neighbour.
    close(&g, 2.0, &["MatMul"], 1.0);
}

#[test]
fn constants_that_repeat_along_inner_dimensions() {
    for (c, ops) in [(&[2, 1][..], &["Rewire", "Affine"][..]), (&[3, 1, 1], &["Rewire", "Affine"])] {
        for op in [Op::Add, Op::Mul] {
            let g = graph(&[3, 2, 2], |b, x| {
                let c = constant(b, noise(c, 4, 1.0));
                node(b, op.clone(), &[x, c])
            });
            close(&g, 1.0, ops, 2.0);
        }
    }
    // As many rows as channels: not to be taken for a bias.
    let g = graph(&[2, 4], |b, x| {
        let w = constant(b, noise(&[4, 2], 5, 0.5));
        let c = constant(b, tensor(&[2, 1], &[1.0, -1.0]));
        let y = node(b, Op::MatMul, &[x, w]);
        node(b, Op::Add, &[y, c])
    });
    close(&g, 1.0, &["MatMul", "Rewire", "Affine"], 3.0);
}

#[test]
fn places_of_a_dimension() {
    for (axis, indices) in [(0, vec![2, 0, 0, 1]), (1, vec![4, 1]), (2, vec![7, 0, 3])] {
        let g = graph(&[3, 5, 8], |b, x| {
            let y = node(b, Op::Relu, &[x]);
            node(b, Op::Select { axis, indices: indices.clone() }, &[y])
        });
        let ops: &[&str] = if axis == 2 { &["Map", "Gather"] } else { &["Map", "Rewire", "Gather"] };
        let (q, report) = noisy(&g, 1.0, Options::default()).unwrap();
        assert_eq!(op_names(&q)[..1], ops[..1]);
        assert_eq!(op_names(&q).last(), ops.last());
        assert!(report.outputs[0].max_error <= exp2(-13), "{report}");
    }
}
