//! One op at a time, compared with the float executor.

use super::{close, constant, graph, node, noise, noisy, tensor};
use crate::graph::{GeluKind, Op};
use crate::quantize::{Options, layernorm::Scale};

#[test]
fn matmul_with_bias() {
    let g = graph(&[3, 40], |b, x| {
        let w = constant(b, noise(&[40, 24], 5, 0.5));
        let bias = constant(b, noise(&[24], 6, 2.0));
        let y = node(b, Op::MatMul, &[x, w]);
        node(b, Op::Add, &[y, bias])
    });
    // Half a step of rounding, and the input's: 40 terms of at most half a step of its own.
    let q = close(&g, 3.0, &["MatMul"], 3.0);
    assert_eq!(q.program.constants.len(), 2);
}

#[test]
fn matmul_absorbs_scales() {
    let g = graph(&[4, 16], |b, x| {
        let w = constant(b, noise(&[16, 16], 5, 0.5));
        let scale = constant(b, noise(&[16], 6, 2.0));
        let (bias, half) = (constant(b, noise(&[16], 7, 2.0)), constant(b, tensor(&[], &[0.5])));
        let mut y = node(b, Op::MatMul, &[x, w]);
        for (op, c) in [(Op::Mul, scale), (Op::Add, bias), (Op::Mul, half)] {
            y = node(b, op, &[y, c]);
        }
        node(b, Op::Relu, &[y])
    });
    close(&g, 3.0, &["MatMul"], 5.0);
}

#[test]
fn matmul_of_many_terms() {
    // The rows' sums of magnitudes decide the weights' scale.
    let g = graph(&[2, 2048], |b, x| {
        let w = constant(b, noise(&[2048, 8], 5, 1.0));
        node(b, Op::MatMul, &[x, w])
    });
    close(&g, 1.0, &["MatMul"], 60.0);
}

#[test]
fn matmul_of_activations() {
    let g = graph(&[16, 16], |b, x| {
        let y = node(b, Op::Transpose { perm: vec![1, 0] }, &[x]);
        node(b, Op::MatMul, &[x, y])
    });
    close(&g, 1.0, &["Rewire", "MatMul"], 3.0);
    let g = graph(&[1, 64, 64], |b, x| node(b, Op::MatMul, &[x, x]));
    close(&g, 1.0, &["Map", "Map", "MatMul"], 10.0);
}

#[test]
fn constant_from_left() {
    let g = graph(&[8, 5], |b, x| {
        let w = constant(b, noise(&[6, 8], 5, 1.0));
        let y = node(b, Op::MatMul, &[w, x]);
        node(b, Op::Relu, &[y])
    });
    close(&g, 1.0, &["Rewire", "MatMul", "Rewire"], 3.0);
}

#[test]
fn sums_and_products() {
    let square = |op: Op| graph(&[4, 12], |b, x| node(b, op, &[x, x]));
    close(&square(Op::Add), 1.0, &["Add"], 1.5);
    close(&square(Op::Mul), 2.0, &["Mul"], 3.0);
}

#[test]
fn sum_of_unlike_scales() {
    for (small, ops) in [(0.01, ["Affine", "Add"].as_slice()), (1e-6, ["Affine", "Map", "Add"].as_slice())] {
        let g = graph(&[4, 12], |b, x| {
            let c = constant(b, tensor(&[], &[small]));
            let y = node(b, Op::Mul, &[x, c]);
            node(b, Op::Add, &[x, y])
        });
        close(&g, 100.0, ops, 2.0);
    }
}

#[test]
fn constants_per_channel_make_one_affine() {
    let g = graph(&[2, 3, 8], |b, x| {
        let (scale, offset) = (constant(b, noise(&[8], 3, 1.0)), constant(b, noise(&[8], 4, 1.0)));
        let y = node(b, Op::Mul, &[x, scale]);
        let y = node(b, Op::Add, &[y, offset]);
        node(b, Op::Silu, &[y])
    });
    close(&g, 4.0, &["Affine"], 6.0);
}

#[test]
fn constants_per_row() {
    let g = graph(&[3, 8], |b, x| {
        let offset = constant(b, noise(&[3, 8], 4, 1.0));
        let y = node(b, Op::Add, &[x, offset]);
        let w = constant(b, noise(&[8, 8], 5, 1.0));
        node(b, Op::MatMul, &[y, w])
    });
    close(&g, 1.0, &["Rewire", "Affine", "Rewire", "MatMul"], 6.0);
}

#[test]
fn activations() {
    let all = [
        (Op::Relu, 3.0),
        (Op::Gelu { kind: GeluKind::Erf }, 3.0),
        (Op::Gelu { kind: GeluKind::Tanh }, 3.0),
        (Op::Silu, 3.0),
        (Op::Sigmoid, 3.0),
    ];
    for (op, steps) in all {
        let alone = graph(&[4, 20], |b, x| node(b, op.clone(), &[x]));
        close(&alone, 6.0, &["Map"], steps);
        let product = |keep: bool| {
            graph(&[4, 20], |b, x| {
                let w = constant(b, noise(&[20, 20], 5, 0.5));
                let h = node(b, Op::MatMul, &[x, w]);
                let y = node(b, op.clone(), &[h]);
                if keep { node(b, Op::Mul, &[h, y]) } else { y }
            })
        };
        close(&product(false), 3.0, &["MatMul"], 4.0);
        close(&product(true), 3.0, &["MatMul", "Map", "Mul"], 6.0);
    }
}

#[test]
fn layer_norm() {
    for cols in [1, 3, 64, 100, 256, 1000, 4096] {
        let g = graph(&[3, cols], |b, x| {
            let (gamma, beta) = (constant(b, noise(&[cols], 3, 2.0)), constant(b, noise(&[cols], 4, 1.0)));
            node(b, Op::LayerNorm { epsilon: 1e-5 }, &[x, gamma, beta])
        });
        // 7 to 10 fraction bits of the normalized value decide.
        let (_, report) = noisy(&g, 3.0, Options::default()).unwrap();
        assert!(report.refused.is_empty(), "{report}");
        assert!(report.outputs[0].max_error < 0.02, "{cols} channels\n{report}");
    }
}

#[test]
fn layer_norm_scales() {
    for cols in 1..=4096u32 {
        let scale = Scale::new(cols);
        assert!(scale.numerator < 1 << 27 && scale.shift <= 20 && scale.bound <= 1 << 14);
        let exact = f64::from(cols).sqrt() * f64::from(1u32 << (scale.shift + scale.fraction_bits));
        let relative = f64::from(scale.numerator) / exact;
        assert!((1.0 - 1.0 / 8192.0..=1.0).contains(&relative), "{cols}: {relative}");
        assert!(scale.fraction_bits == 10 || scale.bound == 1 << 14, "{cols}");
    }
}

#[test]
fn other_bits() {
    let g = graph(&[4, 32], |b, x| {
        let (one, zero) = (constant(b, tensor(&[32], &[1.0; 32])), constant(b, tensor(&[32], &[0.0; 32])));
        let w = constant(b, noise(&[32, 32], 3, 0.5));
        let y = node(b, Op::MatMul, &[x, w]);
        let y = node(b, Op::LayerNorm { epsilon: 1e-5 }, &[y, one, zero]);
        let z = node(b, Op::Silu, &[y]);
        let y = node(b, Op::Mul, &[y, z]);
        node(b, Op::Add, &[y, x])
    });
    for (activation_bits, table_bits, error) in [(8, 10, 0.5), (10, 12, 0.12), (12, 14, 0.03), (15, 17, 0.01)]
    {
        let options = Options { activation_bits, table_bits, ..Options::default() };
        let (_, report) = noisy(&g, 2.0, options).unwrap();
        assert!(report.refused.is_empty(), "{activation_bits} bits: {report}");
        assert!(report.outputs[0].max_error < error, "{activation_bits} bits: {report}");
    }
}

#[test]
fn layer_norm_absorbs_scales() {
    let g = graph(&[3, 64], |b, x| {
        let (gamma, beta) = (constant(b, noise(&[64], 3, 2.0)), constant(b, noise(&[64], 4, 1.0)));
        let (scale, offset) = (constant(b, noise(&[64], 5, 2.0)), constant(b, noise(&[64], 6, 1.0)));
        let y = node(b, Op::LayerNorm { epsilon: 1e-5 }, &[x, gamma, beta]);
        let y = node(b, Op::Mul, &[y, scale]);
        let y = node(b, Op::Add, &[y, offset]);
        node(b, Op::Relu, &[y])
    });
    close(&g, 3.0, &["LayerNorm"], 8.0);
}

#[test]
fn layer_norm_with_a_large_epsilon() {
    // At the input's own scale epsilon would not fit: the scale gives way.
    let g = graph(&[2, 16], |b, x| {
        let (one, zero) = (constant(b, tensor(&[16], &[1.0; 16])), constant(b, tensor(&[16], &[0.0; 16])));
        node(b, Op::LayerNorm { epsilon: 0.5 }, &[x, one, zero])
    });
    let (_, report) = noisy(&g, 1.0, Options::default()).unwrap();
    assert!(report.outputs[0].max_error < 0.02, "{report}");
}

#[test]
fn equal_tables_and_constants_are_shared() {
    let g = graph(&[2, 16], |b, x| {
        let w = noise(&[16, 16], 5, 0.25);
        let (v, w) = (constant(b, w.clone()), constant(b, w));
        let (p, q) = (node(b, Op::MatMul, &[x, v]), node(b, Op::MatMul, &[x, w]));
        node(b, Op::Mul, &[p, q])
    });
    let q = close(&g, 1.0, &["MatMul", "MatMul", "Mul"], 4.0);
    assert_eq!(q.program.constants.len(), 1);
    let mut tables = q.data.tables.clone();
    tables.sort();
    tables.dedup();
    assert_eq!(tables.len(), q.data.tables.len());
}
