//! Integer programs: what a model becomes before anything is proven.
//!
//! A program is exact and deterministic: tensors of integers, each with a symmetric bound and a power-of-two
//! scale, and ops whose every rounding is specified. Its structure (this module) is part of the verifying
//! key; its numbers (weights and table contents, [`Data`]) are committed to and stay with the prover.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Index of a tensor in [`Program::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TensorId(pub u32);

/// Index of a constant in [`Program::constants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConstantId(pub u32);

/// Index of a table in [`Program::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub u32);

/// A matrix of activations: `rows` (tokens or samples) by `cols` (channels).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Name in the source model, for people.
    pub name: String,
    /// Number of rows.
    pub rows: u32,
    /// Number of columns.
    pub cols: u32,
    /// Every entry lies in `-bound..=bound`.
    pub bound: i64,
    /// An integer `q` stands for the real number `q * 2^-fraction_bits`.
    pub fraction_bits: i8,
}

/// A matrix of model parameters, committed in the verifying key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Name in the source model, for people.
    pub name: String,
    /// Number of rows (for a weight matrix: output channels).
    pub rows: u32,
    /// Number of columns (for a weight matrix: input channels; for a vector: its length).
    pub cols: u32,
    /// Every entry lies in `-bound..=bound`.
    pub bound: i64,
    /// The sum of absolute values in every row is at most this.
    pub row_l1: i64,
}

/// A function on a range of integers, given by its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it computes, for people.
    pub name: String,
    /// The domain is `-2^(bits-1) .. 2^(bits-1)`.
    pub bits: u8,
    /// Every value lies in `-bound..=bound`.
    pub bound: i64,
}

impl Table {
    /// The smallest argument.
    pub fn low(&self) -> i64 {
        -(1i64 << self.bits.clamp(1, 62)) / 2
    }
}

/// Rounding of an accumulator to an activation: `y = table[floor((acc + 2^(shift-1)) / 2^shift)]`.
///
/// The table saturates (and may apply an activation function on the way); an accumulator so large that its
/// quotient leaves the table's domain has no result, neither for the executor nor for the prover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requantize {
    /// Number of bits that are rounded away.
    pub shift: u8,
    /// The clamp, or the activation composed with a clamp.
    pub table: TableId,
}

/// Where the right factor of a matrix product comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Factor {
    /// A committed matrix `W[out][in]`: the product is `x W^T`.
    Weight(ConstantId),
    /// Another activation `y[in][out]`: the product is `x y`.
    Tensor(TensorId),
}

/// Integer parameters of a LayerNorm, see `ops::layernorm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Added to the sum of squared deviations; at least one.
    pub epsilon: u32,
    /// `n = floor((deviation * floor(numerator / root) + half) / 2^shift)`.
    pub numerator: u32,
    /// Number of bits that are rounded away from the normalized value.
    pub shift: u8,
    /// Scale, one entry per channel.
    pub gamma: ConstantId,
    /// Offset at the scale of `n * gamma`, one entry per channel.
    pub beta: ConstantId,
    /// Rounding of `n * gamma + beta`.
    pub requantize: Requantize,
}

/// One operation. All operands are tensors that earlier ops (or the input) produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// `y = requantize(x * factor + bias)`.
    MatMul {
        /// Left factor.
        x: TensorId,
        /// Right factor.
        factor: Factor,
        /// One entry per output channel, at the accumulator's scale.
        bias: Option<ConstantId>,
        /// Rounding of the accumulator.
        requantize: Requantize,
        /// Result.
        y: TensorId,
    },
    /// `y = requantize(2^a_shift a + 2^b_shift b)`.
    Add {
        /// First summand.
        a: TensorId,
        /// Scale alignment of `a`.
        a_shift: u8,
        /// Second summand.
        b: TensorId,
        /// Scale alignment of `b`.
        b_shift: u8,
        /// Rounding of the sum.
        requantize: Requantize,
        /// Result.
        y: TensorId,
    },
    /// `y = requantize(a * b)`, entry by entry.
    Mul {
        /// First factor.
        a: TensorId,
        /// Second factor.
        b: TensorId,
        /// Rounding of the product.
        requantize: Requantize,
        /// Result.
        y: TensorId,
    },
    /// `y = requantize(x * scale + offset)` with one scale and offset per channel.
    Affine {
        /// Operand.
        x: TensorId,
        /// One entry per channel.
        scale: ConstantId,
        /// One entry per channel, at the accumulator's scale.
        offset: ConstantId,
        /// Rounding.
        requantize: Requantize,
        /// Result.
        y: TensorId,
    },
    /// `y = table[x]`, entry by entry.
    Map {
        /// Operand.
        x: TensorId,
        /// The function.
        table: TableId,
        /// Result.
        y: TensorId,
    },
    /// Layer normalization over the columns of every row.
    LayerNorm {
        /// Operand.
        x: TensorId,
        /// Integer parameters.
        params: LayerNorm,
        /// Result.
        y: TensorId,
    },
    /// The same numbers in another order: `x`, read row by row, is an array of dimensions `dims`; `y`, read
    /// row by row, is that array with its axes permuted (`y` axis `k` is `x` axis `permutation[k]`).
    Rewire {
        /// Operand.
        x: TensorId,
        /// Dimensions of the operand; a suffix of them multiplies to its number of columns.
        dims: Vec<u32>,
        /// A permutation of the axes.
        permutation: Vec<u8>,
        /// Result.
        y: TensorId,
    },
}

/// A whole integer program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Name of the model, for people.
    pub name: String,
    /// All activations.
    pub tensors: Vec<Tensor>,
    /// All parameters.
    pub constants: Vec<Constant>,
    /// All tables.
    pub tables: Vec<Table>,
    /// Operations in the order of execution.
    pub ops: Vec<Op>,
    /// Tensors whose entries are public and given.
    pub inputs: Vec<TensorId>,
    /// Tensors whose entries are public and proven.
    pub outputs: Vec<TensorId>,
}

/// The numbers that belong to a [`Program`]: row-major constants and the values of each table in the order
/// of their arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// One matrix for each constant of the program.
    pub constants: Vec<Vec<i32>>,
    /// One list of `2^bits` values for each table of the program.
    pub tables: Vec<Vec<i32>>,
}

impl Op {
    /// The tensor this op produces.
    pub fn result(&self) -> TensorId {
        match self {
            Self::MatMul { y, .. }
            | Self::Add { y, .. }
            | Self::Mul { y, .. }
            | Self::Affine { y, .. }
            | Self::Map { y, .. }
            | Self::LayerNorm { y, .. }
            | Self::Rewire { y, .. } => *y,
        }
    }

    /// The op's name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MatMul { .. } => "MatMul",
            Self::Add { .. } => "Add",
            Self::Mul { .. } => "Mul",
            Self::Affine { .. } => "Affine",
            Self::Map { .. } => "Map",
            Self::LayerNorm { .. } => "LayerNorm",
            Self::Rewire { .. } => "Rewire",
        }
    }
}
