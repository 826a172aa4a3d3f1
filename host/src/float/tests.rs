use super::{FloatError, run, run_all};
use crate::graph::{GraphBuilder, Op, Tensor};

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), data.to_vec()).unwrap()
}

#[test]
fn every_value_is_kept() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![1, 2]).unwrap();
    let w = b.constant("w", tensor(&[2, 2], &[1.0, -1.0, 2.0, -2.0])).unwrap();
    let product = b.node("m", "product", Op::MatMul, &[x, w]).unwrap();
    let y = b.node("r", "y", Op::Relu, &[product]).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let all = run_all(&graph, &[tensor(&[1, 2], &[3.0, 4.0])]).unwrap();
    assert_eq!(all.get(graph.nodes()[0].output).data(), [11.0, -11.0]);
    assert_eq!(all.get(graph.nodes()[0].inputs[1]).data().len(), 4);
    assert_eq!(all.outputs()[0].data(), [11.0, 0.0]);
}

#[test]
fn sums_are_wider_than_their_terms() {
    // In f32 the ones would vanish beside 2^24.
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![1, 4]).unwrap();
    let w = b.constant("w", tensor(&[4, 1], &[16_777_216.0, 1.0, 1.0, -16_777_216.0])).unwrap();
    let y = b.node("m", "y", Op::MatMul, &[x, w]).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    assert_eq!(run(&graph, &[tensor(&[1, 4], &[1.0; 4])]).unwrap()[0].data(), [2.0]);
}

#[test]
fn transpose_of_three_dimensions() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![2, 3, 4]).unwrap();
    let y = b.node("t", "y", Op::Transpose { perm: vec![2, 0, 1] }, &[x]).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let data: Vec<f32> = (0..24u8).map(f32::from).collect();
    let y = run(&graph, &[tensor(&[2, 3, 4], &data)]).unwrap().remove(0);
    let expected: Vec<f32> = (0..24).map(|i| data[i / 3 % 2 * 12 + i % 3 * 4 + i / 6]).collect();
    assert_eq!(y.data(), expected);
}

#[test]
fn wrong_inputs_are_named() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![1, 2]).unwrap();
    let y = b.node("m", "square", Op::Mul, &[x, x]).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let shape = run(&graph, &[tensor(&[2], &[1.0; 2])]).unwrap_err();
    assert!(shape.to_string().contains("[1, 2], but has [2]"));
    assert!(matches!(run(&graph, &[]), Err(FloatError::InputCount { expected: 1, found: 0 })));
    let nan = run(&graph, &[tensor(&[1, 2], &[1.0, f32::NAN])]).unwrap_err();
    assert_eq!(nan, FloatError::NonFinite { name: "x".into(), index: 1 });
    let overflow = run(&graph, &[tensor(&[1, 2], &[1e30, 1.0])]).unwrap_err();
    assert_eq!(overflow, FloatError::NonFinite { name: "square".into(), index: 0 });
}
