//! Integer programs: what a model becomes before anything is proven.
//!
//! A program is exact and deterministic: tensors of integers, each with a symmetric bound and a power-of-two
//! scale, and ops whose every rounding is specified. Its structure (this module) is part of the verifying
//! key; its numbers (weights and table contents, [`Data`]) are committed to and stay with the prover.

use alloc::boxed::Box;
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

/// Index of a list in [`Program::lists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListId(pub u32);

/// The bound of a wide tensor: a sum that many ops add to, held in two limbs.
pub const WIDE: i64 = 1 << 19;

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

/// Which rows a [`Op::Gather`] takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// Those that a list of the statement names.
    Listed(ListId),
    /// These.
    Given(Vec<u32>),
}

/// Where the rows of a [`Op::Gather`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A committed matrix.
    Constant(ConstantId),
    /// An activation.
    Tensor(TensorId),
}

/// Integer parameters of an RMSNorm, see `ops::rmsnorm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RmsNorm {
    /// Added to the sum of squares; at least one.
    pub epsilon: u32,
    /// `y = requantize(x * floor(numerator / root))`.
    pub numerator: u32,
    /// Rounding of the normalized value.
    pub requantize: Requantize,
}

/// A norm of every head's channels with a scale, see `ops::attention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadNorm {
    /// The norm.
    pub norm: RmsNorm,
    /// One entry per channel of a head.
    pub gain: ConstantId,
    /// Rounding of the scaled value.
    pub requantize: Requantize,
}

/// A projection into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    /// `heads * channels` rows, one column per input channel.
    pub weight: ConstantId,
    /// `heads * channels` rows of one column, at the accumulator's scale.
    pub bias: Option<ConstantId>,
    /// Rounding of the accumulator.
    pub requantize: Requantize,
    /// Norm of every head.
    pub norm: Option<HeadNorm>,
}

/// Rotation of query and key channels by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Channel `c` is turned with channel `c ^ 2^pair`.
    pub pair: u8,
    /// Cosines: one row per position, one column per channel of a head.
    pub cos: ConstantId,
    /// Sines, with the sign that the channel's partner gets.
    pub sin: ConstantId,
    /// Rounding of `q cos + partner sin` for queries.
    pub query: Requantize,
    /// The same for keys.
    pub key: Requantize,
}

/// Keys and values of a constant position that all others see, one row per group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// Rotated keys.
    pub key: ConstantId,
    /// Values.
    pub value: ConstantId,
}

/// Which positions every position of an attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visible {
    /// All.
    All,
    /// Itself and those before it.
    Causal,
    /// The first so many, of which there is at least one.
    First(u32),
}

/// Attention with everything around it from a normalized activation to the sum, see `ops::attention`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// Number of query heads.
    pub heads: u32,
    /// Number of groups of heads that share keys and values; divides `heads`.
    pub groups: u32,
    /// Channels of a head; a power of two.
    pub channels: u32,
    /// Queries.
    pub query: Projection,
    /// Keys.
    pub key: Projection,
    /// Values.
    pub value: Projection,
    /// Rotation of queries and keys.
    pub rotation: Option<Rotation>,
    /// A constant position before the first.
    pub prefix: Option<Prefix>,
    /// Rounding of the products of queries and keys.
    pub score: Requantize,
    /// `exp`, of ten bits: the table's `d`-th value belongs to the distance `d` from the row's greatest score; from
    /// 1024 on it is zero.
    pub exp: TableId,
    /// What a position sees, besides the prefix.
    pub visible: Visible,
    /// Output projection: one column per channel of every head.
    pub output: ConstantId,
    /// Bits that are rounded away from the output projection.
    pub output_shift: u8,
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
    /// `y(t, c) = source(rows[t], c)`.
    Gather {
        /// Where the rows come from.
        source: Source,
        /// Which rows.
        rows: Rows,
        /// Result; wide if the source is.
        y: TensorId,
    },
    /// `y = base + floor((2^left x + half) / 2^right)`: a narrow tensor goes into a wide one.
    Widen {
        /// Wide summand.
        base: Option<TensorId>,
        /// Narrow summand.
        x: TensorId,
        /// Scale alignment.
        left: u8,
        /// Bits that are rounded away.
        right: u8,
        /// Result, wide.
        y: TensorId,
    },
    /// `y = base + floor((x weight^T + bias + half) / 2^shift)`: a matrix product goes into a wide tensor.
    MatMulAdd {
        /// Wide summand.
        base: Option<TensorId>,
        /// Left factor.
        x: TensorId,
        /// Right factor, `W[out][in]`.
        weight: ConstantId,
        /// One entry per output channel, at the accumulator's scale.
        bias: Option<ConstantId>,
        /// Bits that are rounded away.
        shift: u8,
        /// Result, wide.
        y: TensorId,
    },
    /// Root-mean-square normalization over the columns of every row.
    RmsNorm {
        /// Operand, wide.
        x: TensorId,
        /// Integer parameters.
        params: RmsNorm,
        /// Result.
        y: TensorId,
    },
    /// `y = base + attention(x)`.
    Attention {
        /// Wide summand.
        base: Option<TensorId>,
        /// Operand; a power of two of rows.
        x: TensorId,
        /// Integer parameters.
        params: Box<Attention>,
        /// Result, wide.
        y: TensorId,
    },
    /// The list names, for every row, the first column at which `x weight^T` is greatest.
    ArgMax {
        /// Left factor.
        x: TensorId,
        /// Right factor, `W[out][in]`.
        weight: ConstantId,
        /// The statement's list.
        list: ListId,
    },
    /// `y = z - floor((2 sum_c z + C) / 2C)` with `z = x + offset`, in rows of `C` channels.
    Center {
        /// Operand, wide.
        x: TensorId,
        /// One entry per channel.
        offset: Option<ConstantId>,
        /// Result, wide.
        y: TensorId,
    },
    /// `y(0, c) = floor((2 sum_{t < len} x(t, c) + len) / 2 len)`: the mean of the first rows.
    Mean {
        /// Operand; a power of two of rows.
        x: TensorId,
        /// Number of rows that count.
        len: u32,
        /// Result; one row.
        y: TensorId,
    },
}

/// A public list of indices: tokens that go in, or that come out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Name, for people.
    pub name: String,
    /// Number of entries.
    pub len: u32,
    /// Every entry is below this.
    pub limit: u32,
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
    /// Public lists of indices.
    pub lists: Vec<List>,
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
    /// The tensor this op produces, if it does.
    pub fn result(&self) -> Option<TensorId> {
        match self {
            Self::ArgMax { .. } => None,
            Self::MatMul { y, .. }
            | Self::Add { y, .. }
            | Self::Mul { y, .. }
            | Self::Affine { y, .. }
            | Self::Map { y, .. }
            | Self::LayerNorm { y, .. }
            | Self::Rewire { y, .. }
            | Self::Gather { y, .. }
            | Self::Widen { y, .. }
            | Self::MatMulAdd { y, .. }
            | Self::RmsNorm { y, .. }
            | Self::Attention { y, .. }
            | Self::Center { y, .. }
            | Self::Mean { y, .. } => Some(*y),
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
            Self::Gather { .. } => "Gather",
            Self::Widen { .. } => "Widen",
            Self::MatMulAdd { .. } => "MatMulAdd",
            Self::RmsNorm { .. } => "RmsNorm",
            Self::Attention { .. } => "Attention",
            Self::ArgMax { .. } => "ArgMax",
            Self::Center { .. } => "Center",
            Self::Mean { .. } => "Mean",
        }
    }
}
