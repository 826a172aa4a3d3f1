//! The ranges of all values on the calibration samples, and the scales that follow from them.

use super::QuantizeError;
use crate::float;
use crate::graph::{Graph, Op, Tensor, ValueId};

/// Fraction bits of activations lie within plus and minus this.
pub const MAX_FRACTION_BITS: i32 = 60;

/// The largest magnitude of every value.
#[derive(Clone, Debug)]
pub struct Ranges {
    max: Vec<f64>,
}

impl Ranges {
    /// Runs the float graph on all samples.
    pub fn measure(graph: &Graph, calibration: &[Vec<Tensor>]) -> Result<Self, QuantizeError> {
        if calibration.is_empty() {
            return Err(QuantizeError::NoCalibration);
        }
        let mut max = vec![0f64; graph.values().len()];
        for (sample, inputs) in calibration.iter().enumerate() {
            let run = float::run_all(graph, inputs)
                .map_err(|source| QuantizeError::Calibration { sample, source })?;
            for (id, max) in max.iter_mut().enumerate() {
                let values = run.get(ValueId(id)).data();
                *max = values.iter().fold(*max, |max, &x| max.max(f64::from(x).abs()));
            }
        }
        Ok(Self { max })
    }

    /// The largest magnitude seen.
    pub fn of(&self, id: ValueId) -> f64 {
        self.max[id.0]
    }
}

/// What consumers demand of the integers behind a value.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Largest magnitude.
    pub bound: i64,
    /// Most fraction bits.
    pub fraction_bits: i32,
}

/// The limits of all values: a LayerNorm takes at most 14 bits, and its epsilon must fit 24 bits; codes are whole.
pub fn limits(graph: &Graph, bound: i64) -> Vec<Limit> {
    let mut limits = vec![Limit { bound, fraction_bits: MAX_FRACTION_BITS }; graph.values().len()];
    for node in graph.nodes().iter().rev() {
        if let Op::Quantize { .. } = node.op {
            let limit = &mut limits[node.output.0];
            limit.fraction_bits = limit.fraction_bits.min(0);
        }
        let own = match &node.op {
            Op::Dequantize => Limit { bound, fraction_bits: 0 },
            Op::LayerNorm { epsilon } => {
                let cols = graph.shape(node.inputs[1]).iter().product::<usize>();
                let fits = |&f: &i32| integer_epsilon(*epsilon, cols, f) < f64::from(1 << 24);
                let most = (-MAX_FRACTION_BITS..=MAX_FRACTION_BITS).rev().find(fits);
                Limit { bound: (1 << 13) - 1, fraction_bits: most.unwrap_or(-MAX_FRACTION_BITS) }
            }
            // The same integers under another shape.
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Select { .. } => limits[node.output.0],
            _ => continue,
        };
        let limit = &mut limits[node.inputs[0].0];
        limit.bound = limit.bound.min(own.bound);
        limit.fraction_bits = limit.fraction_bits.min(own.fraction_bits);
    }
    limits
}

/// A LayerNorm's epsilon next to a sum of `cols` squares of integers with `fraction_bits`.
pub fn integer_epsilon(epsilon: f32, cols: usize, fraction_bits: i32) -> f64 {
    (f64::from(epsilon) * cols as f64 * exp2(2 * fraction_bits)).round_ties_even().max(1.0)
}

/// `2^exponent`.
pub fn exp2(exponent: i32) -> f64 {
    libm::scalbn(1.0, exponent)
}

/// The most fraction bits, within `-most..=most`, at which `max` is at most `bound`. A maximum of zero says
/// nothing about the scale and counts as one.
pub fn fraction_bits(max: f64, bound: i64, most: i32) -> Option<i32> {
    let max = if max == 0.0 { 1.0 } else { max };
    (-most..=most).rev().find(|&f| max * exp2(f) <= bound as f64)
}
