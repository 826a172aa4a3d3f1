//! From a model file to an integer program: import, calibration, quantization.

use std::path::Path;

use circlet::float::FloatError;
use circlet::graph::{Graph, Tensor};
use circlet::import::{ImportError, ImportOptions, onnx};
use circlet::quantize::{Options, Quantized, quantize};
use circlet::samples::{SampleError, Samples, read_inputs, split};

use super::failure::{Failure, OrFail};

/// Word that stands for made-up calibration inputs.
pub const RANDOM: &str = "random";
/// How many made-up runs there are.
const RANDOM_RUNS: usize = 8;

/// A quantized model beside its float graph.
pub struct Model {
    /// The float model.
    pub graph: Graph,
    /// The integer model, named after its file.
    pub quantized: Quantized,
    /// What it was calibrated on.
    pub calibration: Vec<Vec<Tensor>>,
}

/// The inputs that show the ranges of all values.
pub enum Calibration {
    /// Real ones.
    Samples(Samples),
    /// Standard normal ones.
    Random,
}

impl Calibration {
    /// Reads the argument of `--calibrate`.
    pub fn read(argument: &Path) -> Result<Self, Failure> {
        if argument.as_os_str() == RANDOM {
            return Ok(Self::Random);
        }
        let samples = read_inputs(argument)
            .or_file(format!("cannot use the calibration file {}", argument.display()))?;
        Ok(Self::Samples(samples))
    }
}

/// Imports a model file.
pub fn import(path: &Path, batch: usize) -> Result<Graph, Failure> {
    tracing::info_span!("import").in_scope(|| onnx::import_file(path, ImportOptions { batch })).map_err(
        |error| match error {
            error @ (ImportError::BatchZero | ImportError::BatchFixed { .. }) => {
                Err::<Graph, _>(error).or_usage("cannot use this --batch").unwrap_err()
            }
            error => Err::<Graph, _>(error)
                .or_file(format!("cannot use the model {}", path.display()))
                .unwrap_err(),
        },
    )
}

/// The name of a model: that of its file.
pub fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

/// Quantizes a graph.
pub fn quantized(
    graph: Graph,
    name: &str,
    batch: usize,
    calibration: &Calibration,
) -> Result<Model, Failure> {
    let runs = match calibration {
        Calibration::Random => random_runs(&graph),
        Calibration::Samples(samples) => calibration_runs(&graph, batch, samples)
            .or_file("the calibration samples do not fit the model")?,
    };
    let mut quantized = tracing::info_span!("quantize")
        .in_scope(|| quantize(&graph, &runs, Options::default()))
        .or_file(format!("cannot compile the model {name}"))?;
    name.clone_into(&mut quantized.program.name);
    Ok(Model { graph, quantized, calibration: runs })
}

/// The shape of the one input that sample files can hold.
pub fn input_shape(graph: &Graph) -> Result<&[usize], FloatError> {
    match graph.inputs() {
        [port] => Ok(graph.shape(port.value)),
        ports => Err(FloatError::InputCount { expected: ports.len(), found: 1 }),
    }
}

/// Whole batches: the last one is filled up with the first samples.
fn calibration_runs(
    graph: &Graph,
    batch: usize,
    samples: &Samples,
) -> Result<Vec<Vec<Tensor>>, anyhow::Error> {
    let shape = input_shape(graph)?;
    if batch <= 1 {
        return Ok(samples.for_input(shape)?.into_iter().map(|tensor| vec![tensor]).collect());
    }
    let single: Vec<usize> = std::iter::once(1).chain(shape.iter().skip(1).copied()).collect();
    let samples = split(&samples.inputs, &single)?;
    let runs = samples.len().div_ceil(batch);
    let mut entries = samples.iter().cycle();
    let run = |_| {
        let data = entries.by_ref().take(batch).flat_map(|t| t.data().iter().copied()).collect();
        Ok(vec![Tensor::new(shape.to_vec(), data).map_err(SampleError::from)?])
    };
    (0..runs).map(run).collect()
}

/// Standard normal inputs, always the same.
fn random_runs(graph: &Graph) -> Vec<Vec<Tensor>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = || {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x2545_f491_4f6c_dd1d);
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    // A sum of twelve uniform numbers has variance one.
    let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let mut tensor = |shape: &[usize]| {
        let data = (0..shape.iter().product()).map(|_| normal()).collect();
        Tensor::new(shape.to_vec(), data).expect("the shape is that of a graph's input")
    };
    (0..RANDOM_RUNS)
        .map(|_| graph.inputs().iter().map(|port| tensor(graph.shape(port.value))).collect())
        .collect()
}
