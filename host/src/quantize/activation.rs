//! Activation functions as tables, the same on every platform.

use super::calibrate::exp2;
use crate::float::{self, elementwise};
use crate::graph::{GeluKind, Op};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// Gaussian error linear unit.
    Gelu(GeluKind),
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `e^x`.
    Exp,
    /// The error function.
    Erf,
    /// The code of a number.
    Quantize(Grid),
    /// The number of a code.
    Dequantize(Grid),
    /// The number of a number's code.
    Snap(Grid),
}

/// Codes: whole numbers from `low` to `high` that stand for `(code - zero) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The distance of neighbours.
    pub scale: f32,
    /// The code of zero.
    pub zero: f32,
    /// The least code.
    pub low: f32,
    /// The greatest code.
    pub high: f32,
}

impl Grid {
    /// All codes, of which a reader of codes need not know.
    pub const fn unbounded(scale: f32, zero: f32) -> Self {
        Self { scale, zero, low: f32::NEG_INFINITY, high: f32::INFINITY }
    }

    fn code(self, x: f64) -> f32 {
        // An argument of a table has at most 20 bits, which an f32 holds.
        elementwise::code(x as f32, self.scale, self.zero, self.low, self.high)
    }

    fn value(self, code: f32) -> f64 {
        elementwise::value(code, self.scale, self.zero).into()
    }
}

impl Activation {
    /// The activation that a node without parameters applies.
    pub fn of(op: &Op) -> Option<Self> {
        match op {
            Op::Relu => Some(Self::Relu),
            Op::Gelu { kind } => Some(Self::Gelu(*kind)),
            Op::Silu => Some(Self::Silu),
            Op::Sigmoid => Some(Self::Sigmoid),
            Op::Tanh => Some(Self::Tanh),
            Op::Exp => Some(Self::Exp),
            Op::Erf => Some(Self::Erf),
            _ => None,
        }
    }

    /// Keeps the scale of its argument.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Identity | Self::Relu)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "clamp",
            Self::Relu => "relu",
            Self::Gelu(GeluKind::Erf) => "gelu",
            Self::Gelu(GeluKind::Tanh) => "gelu-tanh",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Exp => "exp",
            Self::Erf => "erf",
            Self::Quantize(_) => "quantize",
            Self::Dequantize(_) => "dequantize",
            Self::Snap(_) => "snap",
        }
    }

    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::Gelu(kind) => float::gelu(kind, x),
            Self::Silu => x * float::sigmoid(x),
            Self::Sigmoid => float::sigmoid(x),
            Self::Tanh => libm::tanh(x),
            Self::Exp => libm::exp(x),
            Self::Erf => libm::erf(x),
            Self::Quantize(grid) => grid.code(x).into(),
            Self::Dequantize(grid) => grid.value(x as f32),
            Self::Snap(grid) => grid.value(grid.code(x)),
        }
    }
}

/// A table's contents in terms of what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// The function.
    pub activation: Activation,
    /// Fraction bits of the argument.
    pub from: i32,
    /// Fraction bits of the value.
    pub to: i32,
    /// Values are clamped to this magnitude.
    pub bound: i64,
}

impl Curve {
    /// A name that tells tables apart.
    pub fn name(&self) -> String {
        let name = self.activation.name();
        match (self.activation.is_linear(), self.to - self.from) {
            (true, 0) => format!("{name} {}", self.bound),
            (true, by) => format!("{name} {} scaled {by:+}", self.bound),
            (false, _) => format!("{name} {} to {}", self.from, self.to),
        }
    }

    /// The values on `-2^(bits-1) .. 2^(bits-1)`.
    pub fn values(&self, bits: u8) -> Vec<i32> {
        let half = 1i64 << (bits - 1);
        let (step, scale, bound) = (exp2(-self.from), exp2(self.to), self.bound as f64);
        let value = |z: i64| {
            let exact = self.activation.apply(z as f64 * step) * scale;
            exact.round_ties_even().clamp(-bound, bound) as i32
        };
        (-half..half).map(value).collect()
    }
}

/// The fewest bits of a table's domain that cover `-reach..=reach`.
pub fn bits_for(reach: i64) -> u8 {
    let bits = 65 - reach.max(1).leading_zeros();
    bits.min(63) as u8
}
