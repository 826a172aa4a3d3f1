use super::{GraphBuilder, GraphError, MAX_ELEMENTS, Op, Tensor, elements};

#[test]
fn sizes_are_checked() {
    assert_eq!(elements("t", &[]), Ok(1));
    assert_eq!(elements("t", &[1 << 20, 1 << 11]), Ok(MAX_ELEMENTS));
    assert!(matches!(elements("t", &[MAX_ELEMENTS, 2]), Err(GraphError::TooLarge { .. })));
    assert!(matches!(elements("t", &[usize::MAX, usize::MAX]), Err(GraphError::TooLarge { .. })));
    assert!(matches!(elements("t", &[2, 0]), Err(GraphError::ZeroSize { .. })));
    assert!(matches!(elements("t", &[1; 17]), Err(GraphError::Rank { .. })));
    assert!(matches!(Tensor::new(vec![3], vec![0.0; 2]), Err(GraphError::DataLength { .. })));
}

#[test]
fn shapes_follow_from_operands() {
    type Case<'a> = (Op, &'a [&'a [usize]], Option<&'a [usize]>);
    let cases: [Case; 24] = [
        (Op::MatMul, &[&[2, 3], &[3, 5]], Some(&[2, 5])),
        (Op::MatMul, &[&[7, 2, 3], &[3, 5]], Some(&[7, 2, 5])),
        (Op::MatMul, &[&[7, 2, 3], &[7, 3, 5]], Some(&[7, 2, 5])),
        (Op::MatMul, &[&[2, 3], &[7, 3, 5]], None),
        (Op::MatMul, &[&[2, 3], &[4, 5]], None),
        (Op::Add, &[&[2, 3], &[3]], Some(&[2, 3])),
        (Op::Add, &[&[2, 3], &[2]], None),
        (Op::Mul, &[&[2, 3], &[]], Some(&[2, 3])),
        (Op::Transpose { perm: vec![2, 0, 1] }, &[&[2, 3, 4]], Some(&[4, 2, 3])),
        (Op::Transpose { perm: vec![0, 0] }, &[&[2, 3]], None),
        (Op::Reshape { shape: vec![6] }, &[&[2, 3]], Some(&[6])),
        (Op::LayerNorm { epsilon: 1e-5 }, &[&[2, 3], &[3], &[3]], Some(&[2, 3])),
        (Op::RmsNorm { epsilon: 1e-5 }, &[&[2, 3], &[2]], None),
        (Op::Div, &[&[2, 3], &[2, 1]], Some(&[2, 3])),
        (Op::Add, &[&[3, 1], &[4, 1, 5]], Some(&[4, 3, 5])),
        (Op::Softmax, &[&[]], None),
        (Op::ArgMax { last: false }, &[&[2, 3]], Some(&[2, 1])),
        (Op::Select { axis: 1, indices: vec![2, 0, 0, 1] }, &[&[2, 3]], Some(&[2, 4])),
        (Op::Select { axis: 1, indices: vec![3] }, &[&[2, 3]], None),
        (Op::Select { axis: 2, indices: vec![0] }, &[&[2, 3]], None),
        (Op::Gather, &[&[7, 3], &[2, 5]], Some(&[2, 5, 3])),
        (Op::Concat { axis: 1 }, &[&[2, 3], &[2, 1], &[2, 4]], Some(&[2, 8])),
        (Op::Concat { axis: 1 }, &[&[2, 3], &[1, 3]], None),
        (Op::Concat { axis: 2 }, &[&[2, 3]], None),
    ];
    for (op, inputs, expected) in cases {
        assert_eq!(op.output_shape(inputs).ok().as_deref(), expected, "{op:?} {inputs:?}");
    }
    assert!(Op::Relu.output_shape(&[]).is_err());
}

#[test]
fn dead_nodes_go_and_inputs_stay() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![2, 2]).unwrap();
    let unused = b.input("unused", vec![1]).unwrap();
    let dead = b.node("dead", "dead", Op::Relu, &[unused]).unwrap();
    let w = b.constant("w", Tensor::new(vec![2], vec![1.0, 2.0]).unwrap()).unwrap();
    let w2 = b.node("fold", "w2", Op::Mul, &[w, w]).unwrap();
    assert_eq!(b.constant_of(w2).unwrap().data(), [1.0, 4.0]);
    let y = b.node("add", "y", Op::Add, &[x, w2]).unwrap();
    assert!(b.producer(dead).is_some());
    let graph = b.finish(&[("y", y), ("same", y)]).unwrap();
    let names: Vec<&str> = graph.values().iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["x", "unused", "w2", "y"]);
    assert_eq!(graph.nodes().len(), 1);
    assert_eq!((graph.inputs().len(), graph.outputs().len()), (2, 2));
}

#[test]
fn rules_of_constants() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![2, 3]).unwrap();
    let v = b.input("v", vec![3]).unwrap();
    let c = b.constant("c", Tensor::new(vec![2, 3], vec![1.0; 6]).unwrap()).unwrap();
    let refused = |result: Result<_, GraphError>| matches!(result, Err(GraphError::NotConstant { .. }));
    assert!(b.node("n", "r", Op::Add, &[x, v]).is_ok());
    assert!(refused(b.node("n", "r", Op::Add, &[c, x])));
    assert!(refused(b.node("n", "r", Op::LayerNorm { epsilon: 0.0 }, &[x, v, v])));
    let nan = b.constant("nan", Tensor::scalar(f32::NAN));
    assert!(matches!(nan, Err(GraphError::NonFinite { index: 0, .. })));
    assert!(matches!(b.finish(&[("x", x)]), Err(GraphError::NoNodes)));
}
