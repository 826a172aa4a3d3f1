use super::{
    Attr, Dim, N, assert_close, batch, import, import_bytes, is_gelu_erf, model, ops, run, single, tensor,
};
use crate::graph::{GeluKind, Op};
use crate::import::onnx_writer::OnnxWriter;

const X: [f32; 8] = [-3.0, -0.5, 0.0, 0.25, 1.0, 2.0, 4.0, -1.0];

fn x() -> crate::graph::Tensor {
    tensor(&[2, 4], &X)
}

#[test]
fn gemm_becomes_product_and_sum() {
    let mut m = model(2);
    m.weights("w", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    m.weights("b", &[1, 3], &[10.0, 20.0, 30.0]);
    let attrs = [("alpha", Attr::Float(2.0)), ("beta", Attr::Float(0.5)), ("transB", Attr::Int(1))];
    m.node("Gemm", &["x", "w", "b"], &["y"], &attrs);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["MatMul", "Add"]);
    let add = &graph.nodes()[1];
    assert_eq!(graph.constant(add.inputs[1]).unwrap(), &tensor(&[3], &[5.0, 10.0, 15.0]));
    assert_eq!(graph.value(graph.outputs()[0].value).name, "y");
    assert_eq!(graph.parameters(), 9);
    let y = run(&graph, &tensor(&[2, 2], &[1.0, 1.0, 0.0, -1.0]));
    assert_eq!(y, tensor(&[2, 3], &[11.0, 24.0, 37.0, 1.0, 2.0, 3.0]));
}

#[test]
fn gemm_transposes_an_activation() {
    let mut m = OnnxWriter::new(13);
    m.input("x", &[Dim::Fixed(2), Dim::Fixed(3)]);
    m.output("y", &[]);
    m.weights("w", &[2, 1], &[1.0, 10.0]);
    m.node("Gemm", &["x", "w"], &["y"], &[("transA", Attr::Int(1))]);
    let graph = import_bytes(&m.to_bytes(), batch(1)).unwrap();
    assert_eq!(ops(&graph), ["Transpose", "MatMul"]);
    let y = run(&graph, &tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(y, tensor(&[3, 1], &[41.0, 52.0, 63.0]));
}

#[test]
fn image_flatten_and_reshape_variants() {
    let mut m = OnnxWriter::new(17);
    m.input("x", &[N, Dim::Fixed(1), Dim::Fixed(2), Dim::Fixed(3)]);
    m.output("y", &[]);
    m.integers("back", &[0, 2, -1]);
    m.integers("one", &[1]);
    m.integers("last", &[-1]);
    m.node("Flatten", &["x"], &["flat"], &[]);
    m.node("Reshape", &["flat", "back"], &["r"], &[]);
    m.node("Transpose", &["r"], &["t"], &[("perm", Attr::Ints(&[0, 2, 1]))]);
    m.node("Unsqueeze", &["t", "one"], &["u"], &[]);
    m.node("Squeeze", &["u"], &["s"], &[]);
    m.node("Identity", &["s"], &["i"], &[]);
    m.node("Dropout", &["i"], &["d", "mask"], &[]);
    m.node("Cast", &["d"], &["c"], &[("to", Attr::Int(1))]);
    m.node("Unsqueeze", &["c", "last"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["Reshape", "Reshape", "Transpose", "Reshape", "Reshape", "Reshape"]);
    let data: Vec<f32> = (0..12u8).map(f32::from).collect();
    let y = run(&graph, &tensor(&[2, 1, 2, 3], &data));
    let expected = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0];
    assert_eq!(y, tensor(&[2, 3, 2, 1], &expected));
}

#[test]
fn activations() {
    let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
    let y = run(&import(&single("Sigmoid", &[])).unwrap(), &x());
    assert_close(y.data(), &X.map(sigmoid));
    let y = run(&import(&single("Relu", &[])).unwrap(), &x());
    assert_close(y.data(), &X.map(|v| v.max(0.0)));
    let y = run(&import(&single("Swish", &[])).unwrap(), &x());
    assert_close(y.data(), &X.map(|v| v * sigmoid(v)));

    let exact = import(&single("Gelu", &[])).unwrap();
    // From tables of the normal distribution.
    assert_close(&run(&exact, &x()).data()[4..], &[0.841_344_7, 1.954_499_7, 3.999_873_4, -0.158_655_25]);
    let tanh = import(&single("Gelu", &[("approximate", Attr::Text("tanh"))])).unwrap();
    assert_eq!(tanh.nodes()[0].op, Op::Gelu { kind: GeluKind::Tanh });
    assert_close(&run(&tanh, &x()).data()[4..6], &[0.841_192, 1.954_597_7]);
}

#[test]
fn silu_is_recognised() {
    for order in [["x", "s"], ["s", "x"]] {
        let mut m = model(4);
        m.node("Sigmoid", &["x"], &["s"], &[]);
        m.node("Mul", &order, &["y"], &[]);
        assert_eq!(ops(&import(&m).unwrap()), ["Silu"]);
    }
    let mut m = model(4);
    m.node("Sigmoid", &["x"], &["s"], &[]);
    m.node("Mul", &["x", "s"], &["y"], &[]);
    m.output("s", &[]);
    assert_eq!(ops(&import(&m).unwrap()), ["Sigmoid", "Silu"]);
}

#[test]
fn spelled_out_gelu_in_its_orders() {
    let start = || {
        let mut m = model(4);
        m.weights("root", &[], &[std::f32::consts::SQRT_2]);
        m.weights("inverse", &[1], &[std::f32::consts::FRAC_1_SQRT_2]);
        m.weights("one", &[], &[1.0]);
        m.weights("half", &[], &[0.5]);
        m
    };
    let head = |m: &mut OnnxWriter, by_division: bool| {
        if by_division {
            m.node("Div", &["x", "root"], &["a"], &[]);
        } else {
            m.node("Mul", &["inverse", "x"], &["a"], &[]);
        }
        m.node("Erf", &["a"], &["e"], &[]);
        m.node("Add", if by_division { &["e", "one"] } else { &["one", "e"] }, &["p"], &[]);
    };
    let tails: [[(&str, &str, &str); 2]; 4] = [
        [("x", "p", "q"), ("q", "half", "y")],
        [("half", "x", "q"), ("q", "p", "y")],
        [("p", "half", "q"), ("x", "q", "y")],
        [("x", "half", "q"), ("p", "q", "y")],
    ];
    for by_division in [true, false] {
        for tail in tails {
            let mut m = start();
            head(&mut m, by_division);
            for (a, b, result) in tail {
                m.node("Mul", &[a, b], &[result], &[]);
            }
            let graph = import(&m).unwrap();
            assert_eq!(graph.nodes().len(), 1, "{tail:?}");
            assert!(is_gelu_erf(&graph.nodes()[0].op));
            assert!(graph.constants().is_empty());
        }
    }
    // Another factor than one half is another function.
    let mut m = start();
    m.weights("third", &[], &[0.33]);
    head(&mut m, true);
    m.node("Mul", &["x", "p"], &["q"], &[]);
    m.node("Mul", &["q", "third"], &["y"], &[]);
    assert_eq!(ops(&import(&m).unwrap()), ["Mul", "Erf", "Add", "Mul", "Mul"]);
}

#[test]
fn layer_norm_and_arithmetic() {
    let mut m = model(4);
    m.weights("g", &[4], &[1.0, 2.0, 1.0, 1.0]);
    m.weights("b", &[1, 4], &[0.0, 0.0, 5.0, 0.0]);
    m.weights("c", &[1], &[2.0]);
    m.node(
        "LayerNormalization",
        &["x", "g", "b"],
        &["n"],
        &[("axis", Attr::Int(1)), ("epsilon", Attr::Float(0.0))],
    );
    m.node("Sub", &["n", "c"], &["s"], &[]);
    m.node("Div", &["s", "c"], &["d"], &[]);
    m.node("Mul", &["d", "n"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["LayerNorm", "Add", "Mul", "Mul"]);
    let row = [1.0, 3.0, 1.0, 3.0];
    let y = run(&graph, &tensor(&[2, 4], &[row, row].concat()));
    assert_close(&y.data()[4..], &[1.5, 0.0, 4.0, -0.5]);

    let mut m = model(4);
    m.weights("g", &[4], &[1.0; 4]);
    m.node("LayerNormalization", &["x", "g"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(graph.nodes()[0].op, Op::LayerNorm { epsilon: 1e-5 });
    assert_eq!(graph.nodes()[0].inputs.len(), 3);
}

#[test]
fn differences_in_both_orders() {
    let mut m = model(4);
    m.weights("c", &[4], &[1.0, 2.0, 3.0, 4.0]);
    m.node("Sub", &["c", "x"], &["a"], &[]);
    m.node("Sub", &["a", "x"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["Mul", "Add", "Mul", "Add"]);
    let y = run(&graph, &tensor(&[2, 4], &[1.0; 8]));
    assert_eq!(y.data(), [-1.0, 0.0, 1.0, 2.0, -1.0, 0.0, 1.0, 2.0]);
}

#[test]
fn constants_of_every_kind_are_folded() {
    let mut m = model(2);
    let half: Vec<u8> = [0x3c00u16, 0x4000, 0x4200, 0x4400].iter().flat_map(|v| v.to_le_bytes()).collect();
    m.raw_tensor("f16", 10, &[2, 2], &half);
    m.raw_tensor("f64", 11, &[2], [0.5f64, -0.5].map(f64::to_le_bytes).as_flattened());
    m.raw_tensor("i8", 3, &[2], &[1, 0xff]);
    m.node("Constant", &[], &["two"], &[("value_float", Attr::Float(2.0))]);
    m.node("Constant", &[], &["shape"], &[("value_ints", Attr::Ints(&[2, 2]))]);
    m.node("Constant", &[], &["eye"], &[("value", Attr::Tensor(&[4], &[1.0, 0.0, 0.0, 1.0]))]);
    m.node("Reshape", &["eye", "shape"], &["square"], &[]);
    m.node("Transpose", &["f16"], &["t"], &[]);
    m.node("Mul", &["two", "t"], &["t2"], &[]);
    m.node("Add", &["t2", "square"], &["w"], &[]);
    m.node("Add", &["f64", "i8"], &["b"], &[]);
    m.node("MatMul", &["x", "w"], &["xw"], &[]);
    m.node("Add", &["b", "xw"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["MatMul", "Add"]);
    assert_eq!(graph.constants().len(), 2);
    let y = run(&graph, &tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0]));
    assert_eq!(y, tensor(&[2, 2], &[4.5, 4.5, 5.5, 7.5]));
}

#[test]
fn batched_products_of_activations() {
    let mut m = OnnxWriter::new(13);
    m.input("a", &[N, Dim::Fixed(1), Dim::Fixed(2)]);
    m.input("b", &[N, Dim::Fixed(2), Dim::Fixed(1)]);
    m.output("y", &[]);
    m.output("b_times_a", &[]);
    m.node("MatMul", &["a", "b"], &["y"], &[]);
    m.node("MatMul", &["b", "a"], &["b_times_a"], &[]);
    let graph = import(&m).unwrap();
    let inputs = [tensor(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), tensor(&[2, 2, 1], &[5.0, 6.0, 7.0, 8.0])];
    let outputs = crate::float::run(&graph, &inputs).unwrap();
    assert_eq!(outputs[0], tensor(&[2, 1, 1], &[17.0, 53.0]));
    assert_eq!(outputs[1], tensor(&[2, 2, 2], &[5.0, 10.0, 6.0, 12.0, 21.0, 28.0, 24.0, 32.0]));
    let wrong = crate::float::run(&graph, &inputs[..1]).unwrap_err().to_string();
    assert!(wrong.contains("takes 2 inputs, but 1"));
}

#[test]
fn nodes_out_of_order_and_dead_nodes() {
    let mut m = model(4);
    m.node("Relu", &["s"], &["y"], &[]);
    m.node("Conv", &["x"], &["unused"], &[]);
    m.node("Sigmoid", &["x"], &["s"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["Sigmoid", "Relu"]);
}

#[test]
fn same_shape_constant_stays_a_matrix() {
    let mut m = model(4);
    m.weights("p", &[2, 4], &[1.0; 8]);
    m.node("Add", &["p", "x"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(graph.shape(graph.nodes()[0].inputs[1]), [2, 4]);
}
