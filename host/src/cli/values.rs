//! Input files as the integers of a program.

use std::path::Path;

use circlet::files::InputPort;
use circlet::quantize::quantize_input;
use circlet::samples::{Samples, read_inputs};
use circlet_core::program::Tensor;

use super::failure::{Failure, OrFail};
use super::text::count;

/// Which sample of a file, and how its numbers are meant.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Index of the sample.
    pub index: Option<usize>,
    /// Numbers are integers at the program's scale.
    pub raw: bool,
}

/// The numbers of one run.
pub struct Values {
    /// As integers.
    pub integers: Vec<i32>,
    /// How many were beyond the tensor's range.
    pub clamped: usize,
}

/// Reads the values of a tensor from a file; `outputs` says which of the two arrays of a file is meant.
pub fn read(
    path: &Path,
    tensor: &Tensor,
    port: Option<&InputPort>,
    outputs: bool,
    choice: Choice,
) -> Result<Values, Failure> {
    let bad = || format!("cannot use {}", path.display());
    let Samples { inputs, outputs: second } = read_inputs(path).or_file(bad())?;
    let array = match second {
        Some(second) if outputs => second,
        _ => inputs,
    };
    let entries = tensor.rows as usize * tensor.cols as usize;
    if let Some(port) = port {
        let shape: Vec<usize> = port.shape.iter().map(|&d| d as usize).collect();
        circlet::samples::split(&array, &shape).or_file(bad())?;
    }
    let found = array.data().len();
    if entries == 0 || !found.is_multiple_of(entries) {
        return Err(Failure::file(format!(
            "{} holds {} numbers, but {} has {} ({} x {}); supply that many, or several samples of that size",
            path.display(),
            count(found as u64),
            tensor.name,
            count(entries as u64),
            tensor.rows,
            tensor.cols
        )));
    }
    let samples = found / entries;
    let index = match choice.index {
        Some(index) if index < samples => index,
        None if samples == 1 => 0,
        given => {
            let problem = given.map_or(String::new(), |index| format!("there is no sample {index}: "));
            return Err(Failure::usage(format!(
                "{problem}{} holds {} sample{}; choose one with --index, from 0 to {}",
                path.display(),
                count(samples as u64),
                if samples == 1 { "" } else { "s" },
                samples - 1
            )));
        }
    };
    let values = &array.data()[index * entries..(index + 1) * entries];
    if !choice.raw {
        let quantized = quantize_input(tensor, values);
        return Ok(Values { integers: quantized.values, clamped: quantized.clamped });
    }
    let whole = |(i, &x): (usize, &f32)| {
        let exact = x.fract() == 0.0 && x.abs() < (1u32 << 24) as f32;
        if exact {
            Ok(x as i32)
        } else {
            Err(Failure::file(format!(
                "{}: entry {i} is {x}, but with --raw all entries must be integers; leave --raw out for real numbers",
                path.display()
            )))
        }
    };
    let integers = values.iter().enumerate().map(whole).collect::<Result<_, _>>()?;
    Ok(Values { integers, clamped: 0 })
}
