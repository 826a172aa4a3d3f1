//! LayerNorm's integer parameters.

use circlet_core::program::{LayerNorm, Op, Tensor};

use super::QuantizeError;
use super::assembly::Accumulator;
use super::calibrate::integer_epsilon;
use super::fit::{Sum, fit, half};
use super::lower::{Lowering, unsupported};
use crate::graph::Node;

/// Largest number of channels.
const MAX_COLS: u32 = 1 << 12;
/// The numerator of the inverse root lies below.
const MAX_NUMERATOR: u64 = 1 << 27;
/// Epsilon lies below.
const MAX_EPSILON: f64 = (1 << 24) as f64;
/// A normalized value has at most this many fraction bits,
const MAX_FRACTION_BITS: u32 = 10;
/// and lies within plus and minus this.
const MAX_NORMALIZED: u64 = 1 << 14;
/// Most fraction bits of gamma.
const MAX_GAMMA_BITS: i32 = 12;

/// How a row is normalized: `n = (x - mean) * floor(numerator / root) / 2^shift`, rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) numerator: u32,
    pub(super) shift: u32,
    /// Fraction bits of `n`.
    pub(super) fraction_bits: u32,
    /// `n` lies within plus and minus this, which is a power of two.
    pub(super) bound: i64,
}

impl Scale {
    /// The scale for rows of `cols` channels, `1 ..= MAX_COLS`.
    pub(super) fn new(cols: u32) -> Self {
        // floor(2^k sqrt(cols)).
        let scaled = |k: u32| (u128::from(cols) << (2 * k)).isqrt() as u64;
        let k = (0..=26).rev().find(|&k| scaled(k) < MAX_NUMERATOR).unwrap_or(0);
        let numerator = scaled(k);
        // With `shift` bits rounded away, the largest numerator that keeps |n| in its range. Where the
        // square root is a power of two this is below the exact one by a 2^-15th.
        let largest = |shift: u32| (MAX_NORMALIZED << shift) - half(shift as i32) as u64 - 1;
        let fits = |&f: &u32| f <= k && numerator.saturating_sub(largest(k - f)) <= numerator >> 13;
        let fraction_bits = (0..=MAX_FRACTION_BITS).rev().find(fits).unwrap_or(0);
        let shift = k - fraction_bits;
        let numerator = numerator.min(largest(shift));
        let reach = ((numerator + half(shift as i32) as u64) >> shift) + 1;
        let bound = reach.next_power_of_two() as i64;
        Self { numerator: numerator as u32, shift, fraction_bits, bound }
    }
}

impl Lowering<'_> {
    pub(super) fn layer_norm(
        &mut self,
        index: usize,
        node: &Node,
        epsilon: f32,
    ) -> Result<(), QuantizeError> {
        let mut x = self.operand(node.inputs[0]);
        let Tensor { rows, cols, mut fraction_bits, .. } = *self.assembly.tensor(x);
        if cols > MAX_COLS {
            return Err(unsupported(
                node,
                format!("normalizes {cols} channels; at most {MAX_COLS} can be proven"),
            ));
        }
        let too_large =
            |bits: i8| integer_epsilon(epsilon, cols as usize, bits.into()) >= MAX_EPSILON && bits > -60;
        let mut drop = 0;
        while too_large(fraction_bits) {
            drop += 1;
            fraction_bits -= 1;
        }
        x = self.coarser(x, drop);
        let integer_epsilon = integer_epsilon(epsilon, cols as usize, fraction_bits.into());
        if integer_epsilon >= MAX_EPSILON {
            return Err(unsupported(
                node,
                format!("epsilon {epsilon:e} is far above the variance; lower it"),
            ));
        }
        let scale = Scale::new(cols);

        let mut tail = self.tail(index, Some(cols as usize));
        let channels = |id| self.channel_constant(id, &[cols as usize], cols as usize).unwrap_or_default();
        let (gamma, mut beta) = (channels(node.inputs[1]), channels(node.inputs[2]));
        beta.iter_mut().zip(&tail.scale).for_each(|(b, s)| *b *= s);
        if let Some(offset) = &tail.offset {
            beta.iter_mut().zip(offset).for_each(|(b, o)| *b += o);
        }
        let gamma: Vec<f64> = gamma.iter().zip(&tail.scale).map(|(g, s)| g * s).collect();
        tail.offset = Some(beta);
        let fitted = fit(&Sum {
            weights: &gamma,
            terms: 1,
            offset: tail.offset.as_deref(),
            x_bound: scale.bound,
            x_bits: scale.fraction_bits as i32,
            z_bits: self.curve(&tail)?.from,
            weight_bound: (1 << (self.options.weight_bits - 1)) - 1,
            most_bits: MAX_GAMMA_BITS,
            table_bits: self.options.table_bits,
        })
        .ok_or_else(|| unsupported(node, "scale and bias are too large; rescale the model"))?;
        let name = self.name(node.inputs[1]);
        let gamma = self.assembly.constant(&name, cols as usize, fitted.weights);
        let name = self.name(node.inputs[2]);
        let beta = fitted.offset.unwrap_or_else(|| vec![0; cols as usize]);
        let beta = self.assembly.constant(&name, cols as usize, beta);
        let accumulator = Accumulator { bits: fitted.sum_bits, reach: fitted.reach };
        let (requantize, y) = self.finish(&tail, accumulator, (rows, cols))?;
        let params = LayerNorm {
            epsilon: integer_epsilon as u32,
            numerator: scale.numerator,
            shift: scale.shift as u8,
            gamma,
            beta,
            requantize,
        };
        self.assembly.push(Op::LayerNorm { x, params, y });
        Ok(())
    }
}
