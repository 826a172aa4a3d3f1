//! A case as an integer program, and how far its result may be from the float model's.
//!
//! Three things separate the two, and each has a size that follows from the scales that the quantizer chose:
//!
//! * Inputs are rounded to their scales. What that does is measured: the float model runs on the rounded inputs, and
//!   its result there is what the program must come close to.
//! * Weights are rounded to 14 bits, so each is off by half a unit, at most `max|w| / 8191`. A sum of products
//!   is off by that times the sum of magnitudes of the inputs.
//! * The result is rounded to its scale: half a step, and half a step more where a table reads a rounded argument.
//!
//! Codes of an input (QuantizeLinear) must be equal.
//!
//! Normalised rows carry ten fraction bits in between: one unit of those, times the scale.

use circlet::execute::execute;
use circlet::float;
use circlet::graph::{Graph, Op, Tensor};
use circlet::quantize::{Options, dequantize_output, quantize};
use circlet_core::circuit::Circuit;

use crate::Outcome;
use crate::case::Case;

/// Units of a weight in its largest magnitude.
const WEIGHT_UNITS: f64 = 8191.0;
/// A unit of a normalised value.
const NORMALISED_UNIT: f64 = 1.0 / 1024.0;

/// Compares the first result.
pub fn quantized(case: &Case) -> Outcome {
    let imported = case.import(false)?;
    let (graph, inputs) = (&imported.graph, imported.inputs);
    let samples = [inputs];
    let program = quantize(graph, &samples, Options::default()).map_err(|error| error.to_string())?;
    let circuit = Circuit::new(&program.program).unwrap();
    let integers = program.quantize_inputs(&samples[0]);
    assert!(integers.iter().all(|input| input.clamped == 0), "{}", case.name);
    let rounded: Vec<Tensor> = (program.program.inputs.iter().zip(&integers).zip(&samples[0]))
        .map(|((&id, input), exact)| {
            let data = dequantize_output(program.tensor(id), &input.values);
            Tensor::new(exact.shape().to_vec(), data).unwrap()
        })
        .collect();
    let integers: Vec<Vec<i32>> = integers.into_iter().map(|input| input.values).collect();
    let trace = execute(&circuit, &program.program, &program.data, &integers).map_err(|e| e.to_string())?;
    let found = program.dequantize_outputs(&[trace.public(&circuit, &circuit.outputs[0].cells)]).remove(0);
    let near = float::run(graph, &rounded).unwrap().remove(0);
    let exact = float::run(graph, &samples[0]).unwrap().remove(0);

    let step = 2f64.powi(-i32::from(program.tensor(program.program.outputs[0]).fraction_bits));
    let coded = matches!(graph.nodes(), [node] if matches!(node.op, Op::Quantize { .. }));
    let slack = if coded && (step - 1.0).abs() < 1e-9 { 0.0 } else { step + weights(graph, &rounded) };
    for (i, (&y, (&near, &exact))) in found.iter().zip(near.data().iter().zip(exact.data())).enumerate() {
        let (y, near, exact) = (f64::from(y), f64::from(near), f64::from(exact));
        let moved = (near - exact).abs();
        let error = (y - near).abs();
        assert!(
            error <= slack && (y - exact).abs() <= slack + moved,
            "{}: element {i} is {y}, {near} from rounded inputs, {exact} exactly; allowed {slack} of step {step}",
            case.name
        );
    }
    Ok(())
}

/// What rounded weights can change.
fn weights(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let values = float::run_all(graph, inputs).unwrap();
    let largest = |data: &[f32]| data.iter().fold(0f64, |max, &x| max.max(f64::from(x).abs()));
    let mut slack = 0.0;
    for node in graph.nodes() {
        let x = values.get(node.inputs[0]);
        let Some(parameter) = node.inputs.get(1).and_then(|&id| graph.constant(id)) else { continue };
        let size = largest(parameter.data());
        slack += match &node.op {
            Op::MatMul => {
                let sums = x
                    .data()
                    .chunks(x.shape()[x.shape().len() - 1])
                    .map(|row| row.iter().map(|v| f64::from(v.abs())).sum());
                size / WEIGHT_UNITS * sums.fold(0f64, f64::max)
            }
            Op::Mul => size / WEIGHT_UNITS * largest(x.data()),
            Op::Add => largest(x.data()) / WEIGHT_UNITS,
            Op::LayerNorm { .. } => {
                let width = parameter.data().len() as f64;
                size * (NORMALISED_UNIT + width.sqrt() / WEIGHT_UNITS)
            }
            _ => 0.0,
        };
    }
    slack
}
