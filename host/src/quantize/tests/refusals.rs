//! What is refused, and what happens outside of the calibrated range.

use circlet_core::circuit::Circuit;

use super::{constant, graph, node, noise, noisy, tensor};
use crate::execute::{ExecuteError, execute};
use crate::float::FloatError;
use crate::graph::{Graph, GraphBuilder, Op};
use crate::quantize::{Options, QuantizeError, dequantize_output, quantize, quantize_input};

fn layer() -> Graph {
    graph(&[1, 16], |b, x| {
        let w = constant(b, tensor(&[16, 4], &[1.0; 64]));
        node(b, Op::MatMul, &[x, w])
    })
}

#[test]
fn options_are_checked() {
    let bad = [
        Options { activation_bits: 3, ..Options::default() },
        Options { activation_bits: 16, ..Options::default() },
        Options { weight_bits: 1, ..Options::default() },
        Options { table_bits: 13, ..Options::default() },
        Options { table_bits: 21, ..Options::default() },
        Options { margin: 0.9, ..Options::default() },
        Options { margin: f64::NAN, ..Options::default() },
    ];
    for options in bad {
        assert!(matches!(noisy(&layer(), 1.0, options), Err(QuantizeError::Option { .. })));
    }
}

#[test]
fn calibration_is_checked() {
    let quantized = |calibration: &[Vec<_>]| quantize(&layer(), calibration, Options::default());
    assert_eq!(quantized(&[]).unwrap_err(), QuantizeError::NoCalibration);
    let good = vec![noise(&[1, 16], 1, 1.0)];
    let error = quantized(&[good.clone(), vec![noise(&[16], 1, 1.0)]]).unwrap_err();
    assert!(matches!(error, QuantizeError::Calibration { sample: 1, source: FloatError::InputShape { .. } }));
    let error = quantized(&[good, Vec::new()]).unwrap_err();
    assert!(matches!(error, QuantizeError::Calibration { sample: 1, source: FloatError::InputCount { .. } }));
}

#[test]
fn batches_of_products_are_refused_by_name() {
    let g = graph(&[2, 4, 4], |b, x| node(b, Op::MatMul, &[x, x]));
    let text = noisy(&g, 1.0, Options::default()).unwrap_err().to_string();
    assert!(text.contains("\"MatMul00\" (MatMul)") && text.contains("batch of one"), "{text}");
    let g = graph(&[2, 4, 4], |b, x| {
        let w = constant(b, noise(&[2, 4, 4], 1, 1.0));
        node(b, Op::MatMul, &[x, w])
    });
    let text = noisy(&g, 1.0, Options::default()).unwrap_err().to_string();
    assert!(text.contains("weight with two dimensions"), "{text}");
    let g = graph(&[2, 4, 4], |b, x| {
        let w = constant(b, noise(&[2, 4, 4], 1, 1.0));
        node(b, Op::MatMul, &[w, x])
    });
    assert!(matches!(noisy(&g, 1.0, Options::default()), Err(QuantizeError::Unsupported { .. })));
    let g = graph(&[30, 30], |b, x| node(b, Op::MatMul, &[x, x]));
    assert!(noisy(&g, 1.0, Options::default()).is_ok());
    let g = graph(&[36, 36], |b, x| node(b, Op::MatMul, &[x, x]));
    let text = noisy(&g, 1.0, Options::default()).unwrap_err().to_string();
    assert!(text.contains("power of two"), "{text}");
}

#[test]
fn wide_layer_norm_is_refused() {
    let g = graph(&[1, 4097], |b, x| {
        let one = constant(b, tensor(&[4097], &vec![1.0; 4097]));
        node(b, Op::LayerNorm { epsilon: 1e-5 }, &[x, one, one])
    });
    assert!(matches!(noisy(&g, 1.0, Options::default()), Err(QuantizeError::Unsupported { .. })));
    let g = graph(&[1, 4], |b, x| {
        let one = constant(b, tensor(&[4], &[1.0; 4]));
        node(b, Op::LayerNorm { epsilon: 3e38 }, &[x, one, one])
    });
    let (_, report) = noisy(&g, 1.0, Options::default()).unwrap();
    assert!(report.outputs[0].max_error < 1e-3, "{report}");
}

#[test]
fn crowded_accumulators_are_refused() {
    let g = graph(&[1, 1 << 16], |b, x| {
        let w = constant(b, tensor(&[1 << 16, 1], &vec![1.0; 1 << 16]));
        node(b, Op::MatMul, &[x, w])
    });
    let error = noisy(&g, 1.0, Options::default()).unwrap_err();
    assert!(matches!(error, QuantizeError::Accumulator { terms: 65536, .. }));
    let narrow = Options { activation_bits: 10, ..Options::default() };
    assert!(noisy(&g, 1.0, narrow).is_ok());
}

#[test]
fn extreme_values_are_refused_or_quantized_but_never_panic() {
    for exponent in [-140, -100, -60, -20, 0, 20, 60, 100, 120] {
        let size = libm::scalbnf(1.0, exponent);
        for weight in [-140, -100, -30, 0, 30, 100, 120] {
            let weight = libm::scalbnf(1.0, weight);
            let g = graph(&[2, 4], |b, x| {
                let w = constant(b, tensor(&[4, 4], &[weight; 16]));
                let one = constant(b, tensor(&[4], &[weight; 4]));
                let y = node(b, Op::MatMul, &[x, w]);
                let z = node(b, Op::Mul, &[x, one]);
                let y = node(b, Op::Add, &[y, z]);
                let y = node(b, Op::LayerNorm { epsilon: 1e-5 }, &[y, one, one]);
                let y = node(b, Op::Mul, &[y, z]);
                node(b, Op::Silu, &[y])
            });
            let samples = vec![vec![noise(&[2, 4], 1, size)]];
            if let Ok(quantized) = quantize(&g, &samples, Options::default()) {
                assert!(super::report(&g, &quantized, &samples).is_ok());
            }
        }
    }
}

#[test]
fn zeros_need_no_range() {
    let g = graph(&[2, 4], |b, x| {
        let w = constant(b, tensor(&[4, 4], &[0.0; 16]));
        let y = node(b, Op::MatMul, &[x, w]);
        let z = node(b, Op::Mul, &[y, x]);
        let one = constant(b, tensor(&[4], &[1.0; 4]));
        let z = node(b, Op::LayerNorm { epsilon: 1e-5 }, &[z, one, one]);
        node(b, Op::Sigmoid, &[z])
    });
    let zero = vec![vec![tensor(&[2, 4], &[0.0; 8])]];
    let quantized = quantize(&g, &zero, Options::default()).unwrap();
    let report = super::report(&g, &quantized, &zero).unwrap();
    assert!(report.refused.is_empty());
    assert!(report.outputs[0].max_error < 1e-3, "{report}");
}

#[test]
fn outside_of_the_calibration_nothing_wraps() {
    // Calibrated near zero, with sums that cancel: then everything at its largest.
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![1, 16]).unwrap();
    let w = constant(&mut b, tensor(&[16, 4], &[1.0; 64]));
    let y = node(&mut b, Op::MatMul, &[x, w]);
    let g = b.finish(&[("y", y)]).unwrap();
    let signs: Vec<f32> = (0..16u8).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let mut calibration = vec![vec![tensor(&[1, 16], &signs)]];
    calibration.push(vec![tensor(&[1, 16], &[0.01; 16])]);
    let quantized = quantize(&g, &calibration, Options::default()).unwrap();
    assert_eq!(quantized.open.len(), 1);
    let circuit = Circuit::new(&quantized.program).unwrap();
    let run = |value: f32| {
        let inputs = quantized.quantize_inputs(&[tensor(&[1, 16], &[value; 16])]);
        execute(&circuit, &quantized.program, &quantized.data, &[inputs[0].values.clone()])
    };
    let output = |value| {
        let y = run(value).unwrap().public(&circuit, &circuit.outputs[0].cells);
        quantized.dequantize_outputs(&[y])[0][0]
    };
    assert!((output(0.005) - 0.08).abs() < 3e-3);
    // Too large for the output but not for the table: clamped.
    let largest = output(0.02);
    assert!((0.16..0.26).contains(&largest), "{largest}");
    assert!((output(0.03) - largest).abs() < 1e-9);
    // Too large for the table: no result.
    assert!(matches!(run(1.0), Err(ExecuteError::OutOfRange { .. })));
}

#[test]
fn a_covering_table_always_saturates() {
    let g = graph(&[1, 2], |b, x| {
        let w = constant(b, tensor(&[2, 1], &[1.0, 1.0]));
        node(b, Op::MatMul, &[x, w])
    });
    let calibration = vec![vec![tensor(&[1, 2], &[1.0, 0.0])]];
    let quantized = quantize(&g, &calibration, Options::default()).unwrap();
    assert!(quantized.open.is_empty());
    let report = super::report(&g, &quantized, &[vec![tensor(&[1, 2], &[1e9, 1e9])]]).unwrap();
    assert_eq!((report.clamped_inputs, report.refused.len()), (2, 0));
    assert_eq!(report.saturations.len(), 2);
    assert!(report.to_string().contains("2 input entries clamped"));
}

#[test]
fn inputs_round_to_even_and_clamp() {
    let tensor =
        circlet_core::program::Tensor { name: "x".into(), rows: 1, cols: 6, bound: 127, fraction_bits: 1 };
    let input = quantize_input(&tensor, &[0.25, 0.75, -0.25, 63.7, -1e30, f32::NAN]);
    assert_eq!(input.values, [0, 2, 0, 127, -127, 0]);
    assert_eq!(input.clamped, 2);
    assert_eq!(dequantize_output(&tensor, &[3, -127]), [1.5, -63.5]);
}
