//! How close an integer program is to its float graph, measured on samples.

use std::fmt;

use circlet_core::circuit::{Circuit, CircuitError};
use circlet_core::program::{Program, TensorId};

use super::{Quantized, dequantize_output};
use crate::execute::{ExecuteError, execute};
use crate::float::{self, FloatError};
use crate::graph::{Graph, Tensor};

/// Why there is nothing to report.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReportError {
    /// The float model does not run on a sample.
    #[error("sample {sample}: {source}")]
    Float {
        /// Which one.
        sample: usize,
        /// What is wrong with it.
        source: FloatError,
    },
    /// The program was refused.
    #[error(transparent)]
    Circuit(#[from] Box<CircuitError>),
}

/// Integer against float for one output, over all samples that have a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputReport {
    /// Name of the output.
    pub name: String,
    /// Largest absolute difference.
    pub max_error: f64,
    /// Root of the mean squared difference.
    pub rms_error: f64,
    /// Largest magnitude of the float output.
    pub max_float: f64,
    /// Rows whose largest entry stands at the same place.
    pub agreeing_rows: usize,
    /// Rows in all.
    pub rows: usize,
}

impl OutputReport {
    /// The largest difference relative to the largest magnitude.
    pub fn relative_error(&self) -> f64 {
        if self.max_float > 0.0 { self.max_error / self.max_float } else { self.max_error }
    }
}

/// How often a tensor's entries stood at its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saturation {
    /// Name of the tensor.
    pub tensor: String,
    /// Entries at the bound.
    pub saturated: usize,
    /// Entries in all.
    pub entries: usize,
}

/// What [`report`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Number of samples.
    pub samples: usize,
    /// Samples for which the program has no result, and why.
    pub refused: Vec<(usize, ExecuteError)>,
    /// Entries of inputs that were clamped.
    pub clamped_inputs: usize,
    /// One for each output.
    pub outputs: Vec<OutputReport>,
    /// Tensors of which entries stood at the bound.
    pub saturations: Vec<Saturation>,
}

/// Runs graph and program on samples, each a tensor for every input of the graph.
pub fn report(graph: &Graph, quantized: &Quantized, samples: &[Vec<Tensor>]) -> Result<Report, ReportError> {
    // With every tensor made public, the trace can be read tensor by tensor.
    let all: Vec<TensorId> = (0..quantized.program.tensors.len() as u32).map(TensorId).collect();
    let program = Program { outputs: all, ..quantized.program.clone() };
    let circuit = Circuit::new(&program)?;
    let mut saturations: Vec<Saturation> = program
        .tensors
        .iter()
        .map(|t| Saturation { tensor: t.name.clone(), saturated: 0, entries: 0 })
        .collect();
    let mut outputs: Vec<OutputReport> = graph
        .outputs()
        .iter()
        .map(|port| OutputReport { name: port.name.clone(), ..OutputReport::default() })
        .collect();
    let mut counts = vec![0usize; outputs.len()];
    let mut report = Report { samples: samples.len(), ..Report::default() };
    for (sample, inputs) in samples.iter().enumerate() {
        let expected = float::run(graph, inputs).map_err(|source| ReportError::Float { sample, source })?;
        let inputs = quantized.quantize_inputs(inputs);
        report.clamped_inputs += inputs.iter().map(|i| i.clamped).sum::<usize>();
        let inputs: Vec<Vec<i32>> = inputs.into_iter().map(|i| i.values).collect();
        let trace = match execute(&circuit, &program, &quantized.data, &inputs) {
            Ok(trace) => trace,
            Err(error) => {
                report.refused.push((sample, error));
                continue;
            }
        };
        let tensors: Vec<Vec<i32>> =
            circuit.outputs.iter().map(|public| trace.public(&circuit, &public.cells)).collect();
        for ((count, tensor), values) in saturations.iter_mut().zip(&program.tensors).zip(&tensors) {
            count.entries += values.len();
            count.saturated += values.iter().filter(|&&v| i64::from(v).abs() >= tensor.bound).count();
        }
        let ids = &quantized.program.outputs;
        for ((output, count), (id, expected)) in
            outputs.iter_mut().zip(&mut counts).zip(ids.iter().zip(&expected))
        {
            let found = dequantize_output(quantized.tensor(*id), &tensors[id.0 as usize]);
            compare(output, expected, &found);
            *count += found.len();
        }
    }
    for (output, count) in outputs.iter_mut().zip(counts) {
        output.rms_error = (output.rms_error / count.max(1) as f64).sqrt();
    }
    report.outputs = outputs;
    report.saturations = saturations.into_iter().filter(|s| s.saturated > 0).collect();
    Ok(report)
}

/// Adds one sample; `rms_error` holds the sum of squares until the end.
fn compare(output: &mut OutputReport, expected: &Tensor, found: &[f32]) {
    for (&x, &y) in expected.data().iter().zip(found) {
        let error = (f64::from(x) - f64::from(y)).abs();
        output.max_error = output.max_error.max(error);
        output.rms_error += error * error;
        output.max_float = output.max_float.max(f64::from(x).abs());
    }
    let cols = expected.shape().last().copied().unwrap_or(1);
    for (x, y) in expected.data().chunks(cols).zip(found.chunks(cols)) {
        output.rows += 1;
        output.agreeing_rows += usize::from(largest(x) == largest(y));
    }
}

/// Index of the first of the largest entries.
fn largest(row: &[f32]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (1..row.len()).fold(0, better)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:>10} {:>10} {:>10} {:>12}",
            "output", "max error", "rms error", "relative", "top-1"
        )?;
        for output in &self.outputs {
            let top = format!("{}/{}", output.agreeing_rows, output.rows);
            let (max, rms, relative) = (output.max_error, output.rms_error, output.relative_error());
            writeln!(f, "{:<24} {max:>10.2e} {rms:>10.2e} {relative:>10.2e} {top:>12}", output.name)?;
        }
        write!(f, "{} samples", self.samples)?;
        write!(f, ", {} refused, {} input entries clamped", self.refused.len(), self.clamped_inputs)?;
        for (sample, error) in &self.refused {
            write!(f, "\n  sample {sample}: {error}")?;
        }
        for Saturation { tensor, saturated, entries } in &self.saturations {
            write!(f, "\n  {tensor}: {saturated} of {entries} entries at the bound")?;
        }
        Ok(())
    }
}
