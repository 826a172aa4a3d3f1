//! Small models written here: what is accepted and computes the right numbers, what is refused and
//! how, and damaged bytes.

mod accepted;
mod damaged;
mod refused;
mod spelled;

use super::import_bytes;
use crate::float;
use crate::graph::{Graph, Op, Tensor};
use crate::import::onnx_writer::{Attr, Dim, OnnxWriter};
use crate::import::{ImportError, ImportOptions};

const N: Dim = Dim::Symbol("N");

fn batch(batch: usize) -> ImportOptions {
    ImportOptions { batch }
}

fn import(model: &OnnxWriter) -> Result<Graph, ImportError> {
    import_bytes(&model.to_bytes(), batch(2))
}

/// A model with input `x` of shape `[N, width]`; the caller adds nodes that make `y`.
fn model(width: usize) -> OnnxWriter {
    let mut model = OnnxWriter::new(20);
    model.input("x", &[N, Dim::Fixed(width)]);
    model.output("y", &[N, Dim::Symbol("out")]);
    model
}

/// A model whose only node makes `y` from `x`.
fn single(op: &str, attrs: &[(&str, Attr)]) -> OnnxWriter {
    let mut model = model(4);
    model.node(op, &["x"], &["y"], attrs);
    model
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().map(|node| node.op.name()).collect()
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), data.to_vec()).unwrap()
}

fn run(graph: &Graph, input: &Tensor) -> Tensor {
    float::run(graph, std::slice::from_ref(input)).unwrap().remove(0)
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "element {i}: {f} instead of {e}");
    }
}

/// The refusal's text.
fn refusal(model: &OnnxWriter) -> String {
    import(model).expect_err("must be refused").to_string()
}

/// Asserts that a refusal's text contains all parts.
fn assert_refused(model: &OnnxWriter, parts: &[&str]) {
    let text = refusal(model);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn is_gelu_erf(op: &Op) -> bool {
    matches!(op, Op::Gelu { kind: crate::graph::GeluKind::Erf })
}
