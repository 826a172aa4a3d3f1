//! Operations that exporters spell out, and integers that models compute with.

use std::collections::BTreeMap;

use super::{Attr, Dim, N, assert_close, assert_refused, batch, import, model, ops, run, tensor};
use crate::float;
use crate::graph::{GeluKind, Graph, Op, Tensor};
use crate::import::onnx::{Constant, Part, import_part};
use crate::import::onnx_writer::OnnxWriter;

const LAST: [(&str, Attr<'static>); 1] = [("axes", Attr::Ints(&[-1]))];

fn x() -> Tensor {
    tensor(&[2, 4], &[-3.0, -0.5, 0.0, 0.25, 1.0, 2.0, 4.0, -1.0])
}

/// The values of one fused operator on the same input.
fn fused(op: &str, constants: &[&str], add: impl Fn(&mut OnnxWriter)) -> Vec<f32> {
    let mut m = model(4);
    add(&mut m);
    m.node(op, &[&["x"], constants].concat(), &["y"], &[]);
    run(&import(&m).unwrap(), &x()).into_data()
}

#[test]
fn softmax_with_and_without_its_maximum() {
    for shifted in [true, false] {
        let mut m = model(4);
        m.node("ReduceMax", &["x"], &["max"], &LAST);
        m.node("Sub", &["x", "max"], &["d"], &[]);
        m.node("Exp", &[if shifted { "d" } else { "x" }], &["e"], &[]);
        m.node("ReduceSum", &["e"], &["s"], &LAST);
        m.node("Div", &["e", "s"], &["y"], &[]);
        let graph = import(&m).unwrap();
        assert_eq!(ops(&graph), ["Softmax"]);
        assert_close(run(&graph, &x()).data(), &fused("Softmax", &[], |_| {}));
    }
}

fn norm(centred: bool, by_reciprocal: bool) -> Graph {
    let mut m = model(4);
    m.weights("two", &[], &[2.0]);
    m.weights("eps", &[1], &[1e-5]);
    m.weights("g", &[1, 4], &[1.0, 2.0, 3.0, 4.0]);
    m.weights("b", &[4], &[0.5, 0.0, 0.0, -1.0]);
    m.node("ReduceMean", &["x"], &["mean"], &LAST);
    m.node("Sub", &["x", "mean"], &["centred"], &[]);
    m.node("Sub", &["x", "mean"], &["again"], &[]);
    let (d, again) = if centred { ("centred", "again") } else { ("x", "x") };
    m.node("Pow", &[again, "two"], &["square"], &[]);
    m.node("ReduceMean", &["square"], &["variance"], &LAST);
    m.node("Add", &["variance", "eps"], &["v"], &[]);
    m.node("Sqrt", &["v"], &["root"], &[]);
    if by_reciprocal {
        m.node("Reciprocal", &["root"], &["r"], &[]);
        m.node("Mul", &[d, "r"], &["n"], &[]);
    } else {
        m.node("Div", &[d, "root"], &["n"], &[]);
    }
    m.node("Mul", &["g", "n"], &["s"], &[]);
    m.node(if centred { "Add" } else { "Relu" }, if centred { &["s", "b"] } else { &["s"] }, &["y"], &[]);
    import(&m).unwrap()
}

#[test]
fn norms() {
    let parameters = |m: &mut OnnxWriter| {
        m.weights("g", &[4], &[1.0, 2.0, 3.0, 4.0]);
        m.weights("b", &[4], &[0.5, 0.0, 0.0, -1.0]);
    };
    for by_reciprocal in [true, false] {
        let graph = norm(true, by_reciprocal);
        assert_eq!(ops(&graph), ["LayerNorm"]);
        assert_close(run(&graph, &x()).data(), &fused("LayerNormalization", &["g", "b"], parameters));
        let graph = norm(false, by_reciprocal);
        assert_eq!(ops(&graph), ["RmsNorm", "Relu"]);
        let expected = fused("RMSNormalization", &["g"], parameters);
        let expected: Vec<f32> = expected.iter().map(|v| v.max(0.0)).collect();
        assert_close(run(&graph, &x()).data(), &expected);
    }
}

#[test]
fn gelu_by_tanh() {
    for cube in [true, false] {
        let mut m = model(4);
        m.weights("three", &[], &[3.0]);
        m.weights("c", &[], &[0.044_715]);
        m.weights("root", &[], &[0.797_884_6]);
        m.weights("one", &[], &[1.0]);
        m.weights("half", &[], &[0.5]);
        if cube {
            m.node("Pow", &["x", "three"], &["p"], &[]);
            m.node("Mul", &["p", "c"], &["q"], &[]);
            m.node("Add", &["x", "q"], &["r"], &[]);
        } else {
            m.node("Mul", &["x", "x"], &["p"], &[]);
            m.node("Mul", &["c", "p"], &["q"], &[]);
            m.node("Add", &["one", "q"], &["s"], &[]);
            m.node("Mul", &["s", "x"], &["r"], &[]);
        }
        m.node("Mul", &["r", "root"], &["a"], &[]);
        m.node("Tanh", &["a"], &["t"], &[]);
        m.node("Add", &["t", "one"], &["u"], &[]);
        m.node("Mul", &["x", "half"], &["h"], &[]);
        m.node("Mul", &["h", "u"], &["y"], &[]);
        let graph = import(&m).unwrap();
        assert_eq!(graph.nodes().len(), 1);
        assert_eq!(graph.nodes()[0].op, Op::Gelu { kind: GeluKind::Tanh });
    }
}

#[test]
fn embedding_by_computed_indices() {
    let mut m = OnnxWriter::new(17);
    m.typed_input("tokens", 7, &[N, Dim::Fixed(2)]);
    m.output("y", &[]);
    m.weights("table", &[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    m.node("Gather", &["table", "tokens"], &["y"], &[]);
    let graph = import(&m).unwrap();
    assert_eq!(ops(&graph), ["Gather"]);
    let y = run(&graph, &tensor(&[2, 2], &[2.0, 0.0, 1.0, 1.0]));
    assert_eq!(y, tensor(&[2, 2, 2], &[4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 2.0, 3.0]));
    for bad in [3.0, -1.0, 0.5] {
        let error = float::run(&graph, &[tensor(&[2, 2], &[2.0, 0.0, bad, 1.0])]).unwrap_err().to_string();
        assert!(error.contains("Gather_0") && error.contains("0 to 2"), "{error}");
    }
}

#[test]
fn operators_of_quantized_models() {
    let mut m = OnnxWriter::new(13);
    m.input("x", &[Dim::Fixed(6)]);
    for output in ["y", "scale", "zero"] {
        m.output(output, &[]);
    }
    m.node("DynamicQuantizeLinear", &["x"], &["y", "scale", "zero"], &[]);
    let graph = import_part(&m.to_bytes(), batch(1), &Part::default()).unwrap();
    let x = tensor(&[6], &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
    let outputs = float::run(&graph, &[x]).unwrap();
    assert_eq!(outputs[0], tensor(&[6], &[153.0, 255.0, 0.0, 26.0, 221.0, 179.0]));
    assert_close(outputs[1].data(), &[5.0 / 255.0]);
    assert_eq!(outputs[2], Tensor::scalar(153.0));

    let mut m = OnnxWriter::new(13);
    m.typed_input("a", 2, &[Dim::Fixed(2), Dim::Fixed(3)]);
    m.output("y", &[]);
    m.raw_tensor("b", 3, &[3, 2], &[1, 4, 2, 0xfb, 3, 6]);
    m.raw_tensor("rows", 2, &[2], &[12, 10]);
    m.raw_tensor("columns", 3, &[2], &[0, 1]);
    m.node("MatMulInteger", &["a", "b", "rows", "columns"], &["y"], &[]);
    let graph = import_part(&m.to_bytes(), batch(1), &Part::default()).unwrap();
    let y = run(&graph, &tensor(&[2, 3], &[11.0, 7.0, 3.0, 10.0, 6.0, 2.0]));
    // (-1, -5, -9) and (0, -4, -8) times (1, 2, 3) and (3, -6, 5).
    assert_eq!(y, tensor(&[2, 2], &[-38.0, -18.0, -32.0, -16.0]));
}

/// The usual spelling of a layer with weights in eight bits, whose parts the caller may replace.
fn dynamic_layer(zero: &str, scale: &str) -> OnnxWriter {
    let mut m = OnnxWriter::new(17);
    m.input("x", &[N, Dim::Fixed(3)]);
    m.output("y", &[]);
    m.raw_tensor("w", 3, &[3, 2], &[1, 4, 2, 0xfb, 3, 6]);
    m.raw_tensor("w_zero", 3, &[2], &[0, 1]);
    m.weights("w_scale", &[2], &[0.5, 0.25]);
    m.weights("one", &[2], &[1.0, 1.0]);
    m.raw_tensor("ten", 2, &[], &[10]);
    m.node("DynamicQuantizeLinear", &["x"], &["codes", "scale", "zero"], &[]);
    m.node("MatMulInteger", &["codes", "w", zero, "w_zero"], &["product"], &[]);
    m.node("Cast", &["product"], &["number"], &[("to", Attr::Int(1))]);
    m.node("Mul", &["scale", "w_scale"], &["scales"], &[]);
    m.node("Mul", &["number", scale], &["y"], &[]);
    m
}

#[test]
fn dynamic_quantization_is_a_product_of_floats() {
    let x = tensor(&[2, 3], &[1.0, -0.5, 0.25, 2.0, 0.0, -1.0]);
    let graph = import(&dynamic_layer("zero", "scales")).unwrap();
    assert_eq!(ops(&graph), ["MatMul"]);
    // Weights (1, 2, 3) / 2 and (3, -6, 5) / 4.
    let exact = run(&graph, &x);
    assert_eq!(exact, tensor(&[2, 2], &[0.375, 1.8125, -0.5, 0.25]));
    // The scale of the operand alone leaves the weights as they are.
    let graph = import(&dynamic_layer("zero", "scale")).unwrap();
    assert_eq!(ops(&graph), ["MatMul"]);
    assert_eq!(run(&graph, &x), tensor(&[2, 2], &[0.75, 7.25, -1.0, 1.0]));
    // Another zero point or another factor means something else.
    for other in
        [dynamic_layer("ten", "scales"), dynamic_layer("zero", "w_scale"), dynamic_layer("zero", "number")]
    {
        let graph = import(&other).unwrap();
        assert!(ops(&graph).contains(&"Round"), "{:?}", ops(&graph));
    }
    // With all steps in eight bits the result is about the same.
    let mut spelled = dynamic_layer("zero", "scales");
    spelled.output("codes", &[]);
    spelled.node("Mul", &["scales", "one"], &["scales_again"], &[]);
    spelled.node("Mul", &["number", "scales_again"], &["z"], &[]);
    spelled.output("z", &[]);
    let outputs = float::run(&import(&spelled).unwrap(), &[x]).unwrap();
    for (a, b) in outputs[2].data().iter().zip(exact.data()) {
        assert!((a - b).abs() < 0.02, "{a} {b}");
    }
}

#[test]
fn part_of_a_model() {
    let mut m = model(4);
    m.input("mask", &[Dim::Fixed(4)]);
    m.output("z", &[]);
    m.node("Add", &["x", "mask"], &["y"], &[]);
    m.node("Relu", &["y"], &["z"], &[]);
    let bytes = m.to_bytes();
    let fixed = |name: &str| BTreeMap::from([(name.to_owned(), Constant::Float(tensor(&[4], &[1.0; 4])))]);
    let import = |part: &Part| import_part(&bytes, batch(2), part);
    let graph =
        import(&Part { fixed: fixed("mask"), outputs: Some(vec!["y".into()]), ..Part::default() }).unwrap();
    assert_eq!(ops(&graph), ["Add"]);
    assert_eq!(graph.inputs().len(), 1);
    let unknown = import(&Part { fixed: fixed("lost"), ..Part::default() }).unwrap_err();
    assert!(unknown.to_string().contains("fixed inputs"));
    let unknown = import(&Part { outputs: Some(vec!["lost".into()]), ..Part::default() }).unwrap_err();
    assert!(unknown.to_string().contains("list of outputs"));
}

#[test]
fn attention_refuses_what_is_ambiguous() {
    let attention = |inputs: &[&str], attrs: &[(&str, Attr)]| {
        let mut m = OnnxWriter::new(23);
        for name in ["q", "k", "v", "past"] {
            m.input(name, &[N, Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(8)]);
        }
        m.output("y", &[]);
        m.weights("mask", &[4, 4], &[0.0; 16]);
        m.node("Attention", inputs, &["y"], attrs);
        m
    };
    let causal = ("is_causal", Attr::Int(1));
    let plain = import(&attention(&["q", "k", "v"], &[causal])).unwrap();
    assert_eq!(ops(&plain), ["Transpose", "MatMul", "Mul", "Add", "Softmax", "MatMul"]);
    let capped = attention(&["q", "k", "v", "mask"], &[("softcap", Attr::Float(2.0))]);
    assert_refused(&capped, &["Attention_0", "softcap and a mask"]);
    assert_refused(&attention(&["q", "k", "v", "", "past"], &[]), &["past_key", "both or none"]);
    assert_refused(&attention(&["q", "k", "v", "", "past", "past"], &[causal]), &["causal and has a past"]);
    assert_refused(
        &attention(&["q", "k", "v"], &[("q_num_heads", Attr::Int(3))]),
        &["does not fit q_num_heads"],
    );
}
