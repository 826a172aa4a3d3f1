//! The models of the repository.

use std::path::PathBuf;

use super::{op_names, tensor};
use crate::graph::{Graph, Tensor};
use crate::import::{ImportOptions, onnx};
use crate::quantize::{Options, Quantized, Report, quantize, report};
use crate::samples::read_inputs;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models")).join(name)
}

fn samples(graph: &Graph, name: &str) -> Vec<Vec<Tensor>> {
    let samples = read_inputs(&path(name)).unwrap();
    let shape = graph.shape(graph.inputs()[0].value);
    samples.for_input(shape).unwrap().into_iter().map(|t| vec![t]).collect()
}

fn load(name: &str, batch: usize) -> Graph {
    let bytes = std::fs::read(path(&format!("{name}.onnx"))).unwrap();
    onnx::import_bytes(&bytes, ImportOptions { batch }).unwrap()
}

fn measured(name: &str, batch: usize, calibration: &str, inputs: &str) -> (Graph, Quantized, Report) {
    let graph = load(name, batch);
    let quantized = quantize(&graph, &samples(&graph, calibration), Options::default()).unwrap();
    let report = report(&graph, &quantized, &samples(&graph, inputs)).unwrap();
    println!("{name}: {:?}", op_names(&quantized));
    for table in &quantized.program.tables {
        println!("  table {} of {} bits, bound {}", table.name, table.bits, table.bound);
    }
    println!("  {} open roundings\n{report}", quantized.open.len());
    assert!(report.refused.is_empty());
    (graph, quantized, report)
}

#[test]
fn digits() {
    let (graph, quantized, agreement) =
        measured("digits", 8, "digits-calibration.json", "digits-samples.json");
    assert_eq!(op_names(&quantized), ["MatMul"; 3]);
    assert_eq!((agreement.outputs[0].agreeing_rows, agreement.outputs[0].rows), (32, 32));
    assert!(agreement.outputs[0].relative_error() < 2e-3);

    let text = std::fs::read_to_string(path("digits-test.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pixels = json["pixels"].as_array().unwrap();
    let labels: Vec<usize> =
        json["labels"].as_array().unwrap().iter().map(|l| l.as_u64().unwrap() as usize).collect();
    let data: Vec<f32> = pixels
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|p| p.as_f64().unwrap() as f32 / 16.0)
        .collect();
    let images: Vec<Vec<Tensor>> =
        data.chunks(8 * 64).map(|chunk| vec![tensor(&[8, 1, 8, 8], chunk)]).collect();
    let test = report(&graph, &quantized, &images).unwrap();
    let circuit = circlet_core::circuit::Circuit::new(&quantized.program).unwrap();
    let mut correct = 0;
    for (image, labels) in images.iter().zip(labels.chunks(8)) {
        let inputs: Vec<Vec<i32>> = quantized.quantize_inputs(image).into_iter().map(|i| i.values).collect();
        let trace = crate::execute::execute(&circuit, &quantized.program, &quantized.data, &inputs).unwrap();
        let logits = trace.public(&circuit, &circuit.outputs[0].cells);
        for (row, label) in logits.chunks(10).zip(labels) {
            correct += usize::from((0..10).all(|k| k == *label || row[k] < row[*label]));
        }
    }
    println!("digits: {correct} of 360 correct\n{test}");
    assert!(correct >= 353, "accuracy below 0.98: {correct} of 360");
}

#[test]
fn matmul128() {
    let (_, quantized, report) =
        measured("matmul128", 1, "calibration-matmul128.json", "samples-matmul128.json");
    assert_eq!(op_names(&quantized), ["MatMul"]);
    assert!(report.outputs[0].relative_error() < 1e-3);
}

#[test]
fn layernorm() {
    let (_, quantized, report) =
        measured("layernorm", 4, "calibration-layernorm.json", "samples-layernorm.json");
    assert_eq!(op_names(&quantized), ["MatMul", "LayerNorm"].repeat(8));
    assert!(report.outputs[0].relative_error() < 1e-2);
}

#[test]
fn residual() {
    let (_, quantized, report) =
        measured("residual", 4, "calibration-residual.json", "samples-residual.json");
    let expected = [
        "MatMul",
        "MatMul",
        "MatMul",
        "Add",
        "Rewire",
        "MatMul",
        "MatMul",
        "Add",
        "MatMul",
        "MatMul",
        "Mul",
        "MatMul",
        "Add",
        "LayerNorm",
        "MatMul",
    ];
    assert_eq!(op_names(&quantized), expected);
    assert!(report.outputs[0].relative_error() < 1e-2);
}
