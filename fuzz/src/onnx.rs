//! ONNX models: as graphs that can be run, as sentence encoders, and tensors in files of their own.

use circlet::float;
use circlet::graph::{Graph, Tensor};
use circlet::import::{ImportOptions, encoder, onnx as import};

/// A whole file.
pub fn onnx(data: &[u8]) {
    let _ = import::read_tensor(data);
    let _ = import::input_names(data);
    if encoder::recognizes(data) {
        let _ = encoder::read(data, "encoder");
    }
    for batch in [1, 3] {
        let Ok(graph) = import::import_bytes(data, ImportOptions { batch }) else { return };
        run(&graph);
    }
}

fn run(graph: &Graph) {
    // A small graph that was imported runs.
    let elements = graph.values().iter().map(|value| value.shape.iter().product::<usize>());
    if elements.fold(0, usize::saturating_add) > 1 << 12 {
        return;
    }
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|port| {
            let shape = graph.shape(port.value).to_vec();
            let size = shape.iter().product();
            Tensor::new(shape, (0..size).map(|i| (i % 7) as f32 - 3.0).collect())
                .expect("the shape of an input")
        })
        .collect();
    if let Ok(outputs) = float::run(graph, &inputs) {
        for (port, output) in graph.outputs().iter().zip(&outputs) {
            assert_eq!(output.shape(), graph.shape(port.value), "the shape of {}", port.name);
        }
    }
}
