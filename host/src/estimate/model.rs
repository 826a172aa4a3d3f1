//! What compiling a language model will take: everything but the commitment.

/// Seconds of one core, and bytes, for one unit of work of the compiler, measured like [`super::COSTS`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelCosts {
    /// Reading one weight as a float.
    pub load: f64,
    /// One weight and one token in floats.
    pub float: f64,
    /// Quantizing one weight.
    pub quantize: f64,
    /// One weight and one token in integers.
    pub integer: f64,
    /// Bytes for each weight while it is turned into an integer.
    pub quantize_bytes: u64,
}

/// The table that times and memory of compiling are computed from. `circlet compile` on a model prints what they were.
pub const MODEL_COSTS: ModelCosts =
    ModelCosts { load: 6.0e-9, float: 0.12e-9, quantize: 20.0e-9, integer: 0.6e-9, quantize_bytes: 12 };

/// Seconds on the wall for each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelTimes {
    /// Reading the weights as floats and running them on the calibration text.
    pub calibrate: f64,
    /// Choosing scales and rounding.
    pub quantize: f64,
    /// Running floats and integers on the text of the report.
    pub compare: f64,
}

/// Estimates what compiling a model with so many weights takes, with so many tokens to calibrate and to report on.
pub fn model_times(parameters: u64, [calibration, report]: [u64; 2], threads: usize) -> ModelTimes {
    let (weights, speed) = (parameters as f64, super::speed(threads));
    let ModelCosts { load, float, quantize, integer, .. } = MODEL_COSTS;
    ModelTimes {
        calibrate: (load + float * calibration as f64) * weights / speed,
        quantize: quantize * weights,
        compare: (load + (float + integer) * report as f64) * weights / speed,
    }
}
