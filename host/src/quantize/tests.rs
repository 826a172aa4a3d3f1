use super::{Options, QuantizeError, Quantized, Report, quantize, report};
use crate::graph::{Graph, GraphBuilder, Op, Tensor, ValueId};

mod codes;
mod layout;
mod models;
mod ops;
mod refusals;

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), data.to_vec()).unwrap()
}

/// Numbers in `-size..size` that look random, from a multiplicative generator.
fn noise(shape: &[usize], seed: u64, size: f32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
    };
    let data = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::new(shape.to_vec(), data).unwrap()
}

/// A graph with one input `x` and one output `y`.
fn graph(shape: &[usize], build: impl FnOnce(&mut GraphBuilder, ValueId) -> ValueId) -> Graph {
    let mut b = GraphBuilder::new();
    let x = b.input("x", shape.to_vec()).unwrap();
    let y = build(&mut b, x);
    b.finish(&[("y", y)]).unwrap()
}

fn node(b: &mut GraphBuilder, op: Op, inputs: &[ValueId]) -> ValueId {
    let name = format!("{}{}", op.name(), inputs.iter().map(|i| i.0.to_string()).collect::<String>());
    b.node(&name, &format!("{name}.out"), op, inputs).unwrap()
}

fn constant(b: &mut GraphBuilder, tensor: Tensor) -> ValueId {
    b.constant("c", tensor).unwrap()
}

/// Calibrates on noise and runs on some of it.
fn noisy(graph: &Graph, size: f32, options: Options) -> Result<(Quantized, Report), QuantizeError> {
    let samples = |seed: u64| -> Vec<Vec<Tensor>> {
        let one =
            |s| (graph.inputs().iter().zip(s * 100..)).map(|(p, i)| noise(graph.shape(p.value), i, size));
        (seed..seed + 8).map(|s| one(s).collect()).collect()
    };
    let samples = samples(1);
    let quantized = quantize(graph, &samples, options)?;
    let report = report(graph, &quantized, &samples[..4]).unwrap();
    Ok((quantized, report))
}

fn op_names(quantized: &Quantized) -> Vec<&'static str> {
    quantized.program.ops.iter().map(circlet_core::program::Op::name).collect()
}

/// The program consists of these ops, and its output is within `steps` units of its last place of float.
#[track_caller]
fn close(graph: &Graph, size: f32, ops: &[&str], steps: f64) -> Quantized {
    let (quantized, report) = noisy(graph, size, Options::default()).unwrap();
    assert_eq!(op_names(&quantized), ops);
    assert!(report.refused.is_empty(), "{report}");
    let unit =
        super::calibrate::exp2(-i32::from(quantized.tensor(quantized.program.outputs[0]).fraction_bits));
    let error = report.outputs[0].max_error / unit;
    assert!(error <= steps, "error of {error} units\n{report}");
    assert!(report.outputs[0].max_float > 0.0);
    quantized
}
