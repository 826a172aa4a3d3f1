//! Reshapes, transposes and the layout of inputs.

use super::{close, constant, graph, node, noise, noisy};
use crate::graph::{GraphBuilder, Op, ValueId};
use crate::quantize::Options;

fn reshape(b: &mut GraphBuilder, x: ValueId, shape: &[usize]) -> ValueId {
    node(b, Op::Reshape { shape: shape.to_vec() }, &[x])
}

fn transpose(b: &mut GraphBuilder, x: ValueId, perm: &[usize]) -> ValueId {
    node(b, Op::Transpose { perm: perm.to_vec() }, &[x])
}

fn weighted(b: &mut GraphBuilder, x: ValueId, inner: usize) -> ValueId {
    weighted_to(b, x, inner, 6)
}

fn weighted_to(b: &mut GraphBuilder, x: ValueId, inner: usize, outer: usize) -> ValueId {
    let w = constant(b, noise(&[inner, outer], 5, 0.5));
    node(b, Op::MatMul, &[x, w])
}

#[test]
fn reshaped_input_needs_no_op() {
    let g = graph(&[3, 1, 4, 4], |b, x| {
        let x = reshape(b, x, &[3, 16]);
        weighted(b, x, 16)
    });
    let q = close(&g, 1.0, &["MatMul"], 3.0);
    let input = &q.program.tensors[q.program.inputs[0].0 as usize];
    assert_eq!((input.rows, input.cols), (3, 16));
}

#[test]
fn input_that_is_read_in_two_shapes() {
    let g = graph(&[4, 6], |b, x| {
        let y = reshape(b, x, &[6, 4]);
        let (p, q) = (weighted_to(b, x, 6, 8), weighted_to(b, y, 4, 8));
        let p = reshape(b, p, &[2, 16]);
        let q = reshape(b, q, &[3, 16]);
        let (p, q) = (weighted_to(b, p, 16, 8), weighted_to(b, q, 16, 8));
        let q = transpose(b, q, &[1, 0]);
        node(b, Op::MatMul, &[p, q])
    });
    let q = close(
        &g,
        1.0,
        &["MatMul", "Rewire", "MatMul", "Rewire", "MatMul", "Rewire", "MatMul", "Rewire", "MatMul"],
        30.0,
    );
    assert_eq!(q.program.outputs.len(), 1);
}

#[test]
fn reshapes_of_outputs_and_leading_dimensions_are_free() {
    let g = graph(&[2, 3, 8], |b, x| {
        let x = reshape(b, x, &[6, 8]);
        let y = weighted(b, x, 8);
        let y = reshape(b, y, &[2, 3, 6]);
        let y = weighted(b, y, 6);
        reshape(b, y, &[36])
    });
    close(&g, 1.0, &["MatMul", "MatMul"], 4.0);
}

#[test]
fn a_shuffle_is_one_rewire() {
    for rows in [1, 4] {
        let g = graph(&[rows, 24], |b, x| {
            let y = reshape(b, x, &[rows, 4, 6]);
            let y = transpose(b, y, &[0, 2, 1]);
            let y = reshape(b, y, &[rows, 24]);
            weighted(b, y, 24)
        });
        close(&g, 1.0, &["Rewire", "MatMul"], 3.0);
    }
}

#[test]
fn chains_of_transposes_are_one_rewire() {
    let g = graph(&[4, 6], |b, x| {
        let y = transpose(b, x, &[1, 0]);
        let y = reshape(b, y, &[2, 3, 2, 2]);
        let y = transpose(b, y, &[3, 1, 0, 2]);
        let y = reshape(b, y, &[6, 4]);
        node(b, Op::Relu, &[y])
    });
    close(&g, 1.0, &["Rewire", "Map"], 1.0);
    // Twice transposed is not transposed at all.
    let g = graph(&[4, 6], |b, x| {
        let y = transpose(b, x, &[1, 0]);
        let y = transpose(b, y, &[1, 0]);
        node(b, Op::Relu, &[y])
    });
    close(&g, 1.0, &["Map"], 1.0);
}

#[test]
fn shapes_that_cross_take_two_rewires() {
    let g = graph(&[4, 9], |b, x| {
        let y = transpose(b, x, &[1, 0]);
        let y = reshape(b, y, &[6, 6]);
        let y = transpose(b, y, &[1, 0]);
        node(b, Op::Relu, &[y])
    });
    close(&g, 1.0, &["Rewire", "Rewire", "Map"], 1.0);
    // The input is also read as rows of 9, which no cut of 6 x 6 gives.
    let g = graph(&[4, 9], |b, x| {
        let y = reshape(b, x, &[6, 6]);
        let y = transpose(b, y, &[1, 0]);
        let y = weighted(b, y, 6);
        let z = weighted(b, x, 9);
        let (y, z) = (reshape(b, y, &[1, 36]), reshape(b, z, &[1, 24]));
        let (y, z) = (weighted(b, y, 36), weighted(b, z, 24));
        node(b, Op::Add, &[y, z])
    });
    let ops = ["Rewire", "Rewire", "MatMul", "MatMul", "Rewire", "MatMul", "Rewire", "MatMul", "Add"];
    close(&g, 1.0, &ops, 20.0);
}

/// Draws below `n`.
fn draw(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
    (*state >> 33) as usize % n
}

#[test]
fn any_chain_of_reshapes_and_transposes() {
    for seed in 1..120u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut shape = [[4, 9].as_slice(), &[1, 36], &[3, 2, 6], &[36]][draw(&mut state, 4)].to_vec();
        let g = graph(&shape.clone(), |b, x| {
            let mut y = x;
            for _ in 0..6 {
                match draw(&mut state, 5) {
                    0 => y = node(b, Op::Relu, &[y]),
                    1 | 2 => {
                        shape = [
                            [6, 6].as_slice(),
                            &[2, 3, 6],
                            &[9, 4],
                            &[2, 18],
                            &[3, 1, 3, 4],
                            &[2, 2, 9],
                            &[36],
                        ][draw(&mut state, 7)]
                        .to_vec();
                        y = reshape(b, y, &shape);
                    }
                    _ => {
                        let mut perm: Vec<usize> = (0..shape.len()).collect();
                        for i in 1..perm.len() {
                            perm.swap(i, draw(&mut state, i + 1));
                        }
                        shape = perm.iter().map(|&p| shape[p]).collect();
                        y = transpose(b, y, &perm);
                    }
                }
            }
            node(b, Op::Add, &[y, y])
        });
        let (_, report) = noisy(&g, 1.0, Options::default()).unwrap();
        assert!(report.refused.is_empty() && report.outputs[0].max_error < 1e-3, "seed {seed}\n{report}");
    }
}

#[test]
fn transposed_output() {
    let g = graph(&[3, 5], |b, x| {
        let y = node(b, Op::Relu, &[x]);
        transpose(b, y, &[1, 0])
    });
    close(&g, 1.0, &["Map", "Rewire"], 1.0);
}
