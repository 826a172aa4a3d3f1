use std::path::Path;

use super::{Attr, Dim, N, assert_refused, batch, import, import_bytes, model, single};
use crate::import::onnx::import_file;
use crate::import::onnx_writer::OnnxWriter;
use crate::import::{ImportError, ImportOptions};

#[test]
fn unsupported_operators_are_all_named() {
    let mut m = model(4);
    m.node("Relu", &["x"], &["a"], &[]);
    m.node("Conv", &["a"], &["b"], &[]);
    m.node("Resize", &["b"], &["c"], &[]);
    m.node("Conv", &["c"], &["d"], &[]);
    m.node("com.example::Relu", &["d"], &["y"], &[]);
    match import(&m).unwrap_err() {
        ImportError::UnsupportedOps { node, op, all, .. } => {
            assert_eq!((node.as_str(), op.as_str()), ("Conv_1", "Conv"));
            assert_eq!(all, ["Conv", "Resize", "com.example::Relu"]);
        }
        other => panic!("{other}"),
    }
    assert_refused(&m, &["Conv_1", "Conv, Resize, com.example::Relu", "MatMul"]);
}

#[test]
fn operator_sets() {
    let with = |m: OnnxWriter| {
        let mut m = m;
        m.input("x", &[N, Dim::Fixed(4)]);
        m.output("y", &[]);
        m.node("Relu", &["x"], &["y"], &[]);
        m
    };
    assert_refused(&with(OnnxWriter::new(12)), &["opset 12", "13 or newer"]);
    assert_refused(&with(OnnxWriter::default()), &["does not declare"]);
    let mut other = OnnxWriter::default();
    other.opset("ai.onnx.ml", 3);
    assert_refused(&with(other), &["does not declare"]);
    assert!(import(&with(OnnxWriter::new(13))).is_ok());
}

#[test]
fn names_and_order() {
    let mut m = model(4);
    m.node("Add", &["x", "lost"], &["y"], &[]);
    assert_refused(&m, &["Add_0", "\"lost\"", "incomplete"]);

    let mut m = model(4);
    m.node("Relu", &["x"], &["z"], &[]);
    assert_refused(&m, &["output \"y\"", "reads tensor \"y\""]);

    let mut m = model(4);
    m.node("Relu", &["x"], &["y"], &[]);
    m.node("Sigmoid", &["x"], &["y"], &[]);
    assert_refused(&m, &["\"y\" is defined twice"]);

    let mut m = single("Relu", &[]);
    m.output("y", &[]);
    assert_refused(&m, &["\"y\" is defined twice"]);

    let mut m = model(4);
    m.node("Add", &["x", "b"], &["a"], &[]);
    m.node("Relu", &["a"], &["b"], &[]);
    m.node("Relu", &["b"], &["y"], &[]);
    assert_refused(&m, &["depends on its own result", "cycle"]);

    let mut m = single("Relu", &[]);
    m.node("Relu", &["own"], &["own"], &[]);
    assert_refused(&m, &["Relu_1", "cycle"]);

    let mut m = single("Relu", &[]);
    m.weights("", &[1], &[1.0]);
    assert_refused(&m, &["initializer 0 has no name"]);
}

#[test]
fn inputs_and_outputs() {
    let mut m = OnnxWriter::new(17);
    m.input("x", &[N, Dim::Symbol("T"), Dim::Fixed(4)]);
    m.output("y", &[]);
    m.node("Relu", &["x"], &["y"], &[]);
    assert_refused(&m, &["\"x\"", "\"T\"", "dimension 1", "fixed size"]);

    let fixed = |size| {
        let mut m = OnnxWriter::new(17);
        m.input("x", &[Dim::Fixed(size), Dim::Fixed(4)]);
        m.output("y", &[]);
        m.node("Relu", &["x"], &["y"], &[]);
        m
    };
    assert_refused(&fixed(1), &["batch of 2", "dynamic batch"]);
    assert!(import_bytes(&fixed(1).to_bytes(), ImportOptions::default()).is_ok());
    assert_refused(&fixed(0), &["size 0", "dimension 0"]);
    let error = import_bytes(&fixed(1 << 30).to_bytes(), ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("2^31"));
    let zero = import_bytes(&single("Relu", &[]).to_bytes(), batch(0)).unwrap_err();
    assert!(zero.to_string().contains("batch size is 0"));
    let huge = import_bytes(&single("Relu", &[]).to_bytes(), batch(usize::MAX)).unwrap_err();
    assert!(huge.to_string().contains("2^31"));

    let mut m = OnnxWriter::new(17);
    m.typed_input("x", 7, &[N, Dim::Fixed(4)]);
    m.output("y", &[]);
    m.node("Relu", &["x"], &["y"], &[]);
    assert_refused(&m, &["Relu_0", "INT64 tensor \"x\"", "cast it to float"]);
    let mut m = OnnxWriter::new(17);
    m.typed_input("x", 8, &[N, Dim::Fixed(4)]);
    m.output("y", &[]);
    m.node("Relu", &["x"], &["y"], &[]);
    assert_refused(&m, &["\"x\"", "STRING", "float32"]);

    let mut m = OnnxWriter::new(17);
    m.input("x", &[N]);
    m.node("Relu", &["x"], &["y"], &[]);
    assert_refused(&m, &["no output"]);

    let mut m = OnnxWriter::new(17);
    m.weights("w", &[1], &[1.0]);
    m.output("y", &[]);
    m.node("Relu", &["w"], &["y"], &[]);
    assert_refused(&m, &["no input"]);

    let mut m = model(4);
    m.weights("w", &[1], &[1.0]);
    m.node("Relu", &["w"], &["y"], &[]);
    assert_refused(&m, &["\"y\"", "does not depend on any input"]);
    assert_refused(&single("Identity", &[]), &["computes nothing"]);
}

#[test]
fn weights() {
    let with = |add: &dyn Fn(&mut OnnxWriter)| {
        let mut m = model(4);
        add(&mut m);
        m.node("Add", &["x", "w"], &["y"], &[]);
        m
    };
    let bad = with(&|m| m.weights("w", &[4], &[0.0, 1.0, f32::NAN, 2.0]));
    assert_refused(&bad, &["\"w\"", "NaN", "element 2"]);
    let bad = with(&|m| m.weights("w", &[1], &[f32::NEG_INFINITY]));
    assert_refused(&bad, &["\"w\"", "-inf"]);
    let bad = with(&|m| m.raw_tensor("w", 11, &[], &1e300f64.to_le_bytes()));
    assert_refused(&bad, &["\"w\"", "inf"]);
    let bad = with(&|m| m.weights("w", &[4], &[0.0; 3]));
    assert_refused(&bad, &["\"w\"", "needs 16 bytes", "has 12"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[1 << 20, 1 << 20], &[0; 4]));
    assert_refused(&bad, &["\"w\"", "2^31"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[i64::MAX, 4], &[0; 4]));
    assert_refused(&bad, &["\"w\"", "2^31"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[1 << 30], &[0; 4]));
    assert_refused(&bad, &["needs 4294967296 bytes", "has 4"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[0], &[]));
    assert_refused(&bad, &["\"w\"", "size 0"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[-4], &[0; 16]));
    assert_refused(&bad, &["\"w\"", "negative"]);
    let bad = with(&|m| m.raw_tensor("w", 1, &[1; 17], &[0; 4]));
    assert_refused(&bad, &["\"w\"", "17 dimensions"]);
    let bad = with(&|m| m.external_tensor("w", &[4], "weights.bin"));
    assert_refused(&bad, &["\"w\"", "external data", "one file"]);
    let bad = with(&|m| m.raw_tensor("w", 8, &[1], &[0; 4]));
    assert_refused(&bad, &["\"w\"", "STRING", "float32"]);
    let bad = with(&|m| m.raw_tensor("w", 6, &[1], &i32::MAX.to_le_bytes()));
    assert_refused(&bad, &["2147483647", "not exact"]);
    let bad = with(&|m| m.integers("w", &[3]));
    assert_refused(&bad, &["Add_0", "int64", "cast"]);
}

#[test]
fn shapes_and_broadcasting() {
    let with = |dims: &[usize]| {
        let mut m = model(4);
        m.weights("w", dims, &vec![1.0; dims.iter().product()]);
        m.node("Add", &["x", "w"], &["y"], &[]);
        m
    };
    for good in [&[][..], &[1], &[4], &[1, 4], &[2, 4], &[1, 1], &[2, 1], &[1, 1, 4], &[3, 1, 1]] {
        assert!(import(&with(good)).is_ok(), "{good:?}");
    }
    for bad in [&[3][..], &[3, 4], &[2, 3], &[2, 4, 1]] {
        assert_refused(&with(bad), &["Add_0", "cannot combine"]);
    }
    let mut m = OnnxWriter::new(13);
    m.input("x", &[N, Dim::Fixed(4)]);
    m.input("z", &[Dim::Fixed(4)]);
    m.output("y", &[]);
    m.node("Mul", &["x", "z"], &["y"], &[]);
    assert!(import(&m).is_ok());

    let mut m = model(4);
    m.weights("w", &[3, 4], &[1.0; 12]);
    m.node("MatMul", &["x", "w"], &["y"], &[]);
    assert_refused(&m, &["MatMul_0", "4 and 3 differ"]);

    let mut m = model(4);
    m.weights("v", &[4], &[1.0; 4]);
    m.node("MatMul", &["x", "v"], &["y"], &[]);
    assert_refused(&m, &["MatMul_0", "at least two dimensions"]);

    let mut m = model(4);
    m.weights("v", &[2, 2], &[1.0; 4]);
    m.node("MatMul", &["v", "v"], &["w"], &[]);
    m.node("Reshape", &["x", "to"], &["r"], &[]);
    m.integers("to", &[4, 2]);
    m.node("MatMul", &["r", "w"], &["y"], &[]);
    assert_refused(&m, &["MatMul_0", "only constant operands"]);

    for to in [&[3, 3][..], &[1, 4], &[-1, -1], &[-1, 3], &[-2, 4], &[i64::MAX, i64::MAX], &[0, 0, 0]] {
        let mut m = model(4);
        m.integers("to", to);
        m.node("Reshape", &["x", "to"], &["y"], &[]);
        assert_refused(&m, &["Reshape_0", "cannot reshape [2, 4]", "dynamic batch"]);
    }
    let mut m = model(4);
    m.node("Reshape", &["x", "x"], &["y"], &[]);
    assert_refused(&m, &["Reshape_0", "constant integer tensor"]);
    for perm in [&[0][..], &[0, 0], &[0, 2], &[-1, 0]] {
        assert_refused(&single("Transpose", &[("perm", Attr::Ints(perm))]), &["not a permutation"]);
    }
    assert_refused(&single("Flatten", &[("axis", Attr::Int(i64::MIN))]), &["no axis"]);
    for op in ["Squeeze", "Unsqueeze"] {
        let mut m = model(4);
        m.integers("axes", &[i64::MIN]);
        m.node(op, &["x", "axes"], &["y"], &[]);
        assert_refused(&m, &[op, "axis"]);
    }
}

#[test]
fn attributes_and_uses() {
    assert_refused(&single("Relu", &[("slope", Attr::Int(1))]), &["Relu_0", "\"slope\""]);
    let twice = [("axis", Attr::Int(1)), ("axis", Attr::Int(0))];
    assert_refused(&single("Flatten", &twice), &["given twice"]);
    assert_refused(&single("Flatten", &[("axis", Attr::Float(1.0))]), &["\"axis\"", "wrong type"]);
    assert_refused(&single("Gelu", &[("approximate", Attr::Text("erf"))]), &["\"erf\"", "tanh"]);
    assert_refused(&single("Swish", &[("alpha", Attr::Float(2.0))]), &["alpha = 1"]);
    assert_refused(&single("Cast", &[("to", Attr::Int(7))]), &["INT64", "remove the cast"]);
    assert_refused(&single("Add", &[]), &["Add_0", "input 1 is missing"]);

    let norm = |attrs: &[(&str, Attr)], gamma: &str| {
        let mut m = model(4);
        m.weights("g", &[4], &[1.0; 4]);
        m.node("LayerNormalization", &["x", gamma], &["y"], attrs);
        m
    };
    assert_refused(&norm(&[("axis", Attr::Int(0))], "g"), &["input 1", "8 elements"]);
    assert_refused(&norm(&[("epsilon", Attr::Float(-1.0))], "g"), &["negative"]);
    assert_refused(&norm(&[("epsilon", Attr::Float(f32::NAN))], "g"), &["NaN"]);
    assert_refused(&norm(&[("stash_type", Attr::Int(11))], "g"), &["stash_type"]);
    assert_refused(&norm(&[], "x"), &["LayerNormalization_0", "4 elements"]);

    let mut m = model(4);
    m.node("Dropout", &["x"], &["d", "mask"], &[]);
    m.node("Add", &["d", "mask"], &["y"], &[]);
    assert_refused(&m, &["Dropout_0", "\"mask\"", "first result"]);

    let mut m = model(4);
    m.weights("zero", &[4], &[1.0, 0.0, 1.0, 1.0]);
    m.node("Div", &["x", "zero"], &["y"], &[]);
    assert_refused(&m, &["Div_0", "zero"]);
    let mut m = model(4);
    m.node("Pow", &["x", "x"], &["y"], &[]);
    assert_refused(&m, &["Pow_0", "constant exponents"]);
}

#[test]
fn unreadable_file() {
    let error = import_file(Path::new("/nonexistent/model.onnx"), ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/model.onnx"));
    assert!(error.to_string().contains("check the path"));
}
