//! Files of inputs: numbers to calibrate with, to run and to prove.
//!
//! A file is JSON (a nested array of numbers, or an object with `inputs` and optionally `outputs`)
//! or a NumPy array (`.npy`). It may hold one sample or many, see [`split`]. Readers are total.

mod json;
mod npy;

use std::{fs, path::Path, path::PathBuf};

use crate::graph::{GraphError, Shape, Tensor};

/// A file larger than this is refused before it is read.
const MAX_FILE: u64 = 1 << 32;

/// What an input file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The inputs, as one array.
    pub inputs: Tensor,
    /// The expected outputs, when the file has them.
    pub outputs: Option<Tensor>,
}

impl Samples {
    /// The samples for a model input of shape `expected`, one tensor each; see [`split`].
    pub fn for_input(&self, expected: &[usize]) -> Result<Vec<Tensor>, SampleError> {
        split(&self.inputs, expected)
    }
}

/// Why an input file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {source}; check the path and its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{path:?} has {size} bytes, more than 4 GiB; split it into several files")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The text is not JSON.
    #[error("the input is not valid JSON: {0}; write an array of numbers, or an object with \"inputs\"")]
    NotJson(String),
    /// The JSON object has no inputs.
    #[error("the JSON object has no \"inputs\"; name the input array \"inputs\"")]
    NoInputs,
    /// The JSON is not an array of numbers.
    #[error("{at} is {found}, but must be a number or an array of numbers; correct the input file")]
    NotNumbers {
        /// Where, such as `inputs[3][0]`.
        at: String,
        /// What is there.
        found: &'static str,
    },
    /// Arrays of one level differ in length or depth.
    #[error("{at} has shape {found:?}, but its neighbours have {expected:?}; make all rows equally long")]
    Ragged {
        /// Where, such as `inputs[3]`.
        at: String,
        /// The shape of the elements before it.
        expected: Shape,
        /// Its shape.
        found: Shape,
    },
    /// An array has no elements.
    #[error("{at} is empty; supply at least one number")]
    Empty {
        /// Where, such as `inputs[3]`.
        at: String,
    },
    /// A number is NaN, infinite or beyond `f32`.
    #[error("element {index} of the input is {value}, which is no finite f32; remove it or scale the input")]
    NonFinite {
        /// Which element, in row-major order.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The file is not a NumPy array that can be used.
    #[error("not a usable .npy file: {0}; save it with numpy.save as float32, float64 or integers")]
    Npy(String),
    /// The array does not consist of samples of the expected shape.
    #[error(
        "the input has shape {found:?}, but the model takes {expected:?}; supply an array of that shape, or \
         several of them with the sample count as the first dimension"
    )]
    WrongShape {
        /// The shape of the model's input.
        expected: Shape,
        /// The shape of the array.
        found: Shape,
    },
    /// A size beyond what a tensor may have.
    #[error(transparent)]
    Size(#[from] GraphError),
}

/// Reads a file: `.npy` by its first bytes, anything else as JSON.
pub fn read_inputs(path: &Path) -> Result<Samples, SampleError> {
    let failed = |source| SampleError::Io { path: path.into(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(SampleError::FileTooLarge { path: path.into(), size });
    }
    parse_inputs(&fs::read(path).map_err(failed)?)
}

/// Reads the contents of a file. Total: any bytes give samples or an error.
pub fn parse_inputs(bytes: &[u8]) -> Result<Samples, SampleError> {
    if bytes.starts_with(npy::MAGIC) {
        return Ok(Samples { inputs: npy::read(bytes)?, outputs: None });
    }
    json::read(bytes)
}

/// Cuts an array into samples of the model's input shape.
///
/// The array may be one sample, or have the number of samples in front of it, or, when the model's
/// first dimension is a batch, have a multiple of it there. Dimensions of size 1 make no difference,
/// and a sample may be flat.
pub fn split(array: &Tensor, expected: &[usize]) -> Result<Vec<Tensor>, SampleError> {
    let found = array.shape();
    let size = crate::graph::elements("input", expected)?;
    let count = sample_count(found, expected)
        .ok_or_else(|| SampleError::WrongShape { expected: expected.to_vec(), found: found.to_vec() })?;
    debug_assert_eq!(count * size, array.data().len());
    array.data().chunks_exact(size).map(|data| Ok(Tensor::new(expected.to_vec(), data.to_vec())?)).collect()
}

fn sample_count(found: &[usize], expected: &[usize]) -> Option<usize> {
    let significant = |dims: &[usize]| dims.iter().copied().filter(|&d| d != 1).collect::<Shape>();
    let matches = |dims: &[usize], sample: &[usize]| {
        let (dims, sample) = (significant(dims), significant(sample));
        dims == sample || dims == significant(&[sample.iter().product()])
    };
    let splits = || (0..=found.len()).map(|i| found.split_at(i));
    let product = |dims: &[usize]| dims.iter().product::<usize>();
    let whole = splits().find(|(_, sample)| matches(sample, expected)).map(|(count, _)| product(count));
    whole.or_else(|| {
        let (&batch, row) = expected.split_first()?;
        let (rows, _) = splits().find(|(_, sample)| matches(sample, row))?;
        let rows = product(rows);
        rows.is_multiple_of(batch).then_some(rows / batch)
    })
}

#[cfg(test)]
mod tests;
