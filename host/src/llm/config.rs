//! What a decoder model is: the numbers of its configuration.

/// The model families that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama, SmolLM and their like.
    Llama,
    /// Qwen2: biases on query, key and value.
    Qwen2,
    /// Qwen3: a norm on every query and key head.
    Qwen3,
    /// Mistral, without a sliding window.
    Mistral,
}

/// Which two channels of a head a rotation turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Channels `2i` and `2i + 1` (GGUF llama order).
    Interleaved,
    /// Channels `i` and `i + dims / 2` (Hugging Face order).
    Halves,
}

/// How rotation frequencies are changed for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies are divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3: low frequencies are divided, high ones kept, those between interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low` are low frequencies.
        low: f64,
        /// Wavelengths below `original_context / high` are high frequencies.
        high: f64,
        /// Context length the model was first trained with.
        original_context: usize,
    },
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Channel pair `i` of `dims / 2` turns by `position * base^(-2i / dims)` before scaling.
    pub base: f64,
    /// Number of leading channels of each head that turn; even.
    pub dims: usize,
    /// Which channels make a pair.
    pub pairs: RopePairs,
    /// Change of the frequencies.
    pub scaling: RopeScaling,
}

/// Nonlinearity of the gated feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// GELU with the tanh formula.
    GeluTanh,
    /// GELU with the error function.
    GeluErf,
}

/// A decoder-only transformer: embedding, `layers` blocks of RMSNorm, attention, RMSNorm and gated
/// feed-forward with residuals around both, RMSNorm, head.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of the model, for people.
    pub name: String,
    /// Family.
    pub family: Family,
    /// Number of blocks.
    pub layers: usize,
    /// Channels of the residual stream.
    pub width: usize,
    /// Channels of the feed-forward block.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Rotary embedding.
    pub rope: Rope,
    /// Added to the mean square in RMSNorm.
    pub norm_epsilon: f64,
    /// Whether every query and key head is normalized before its rotation.
    pub qk_norm: bool,
    /// Whether query, key and value projections have a bias.
    pub attention_bias: bool,
    /// Nonlinearity of the feed-forward block.
    pub activation: Activation,
    /// Number of tokens.
    pub vocab: usize,
    /// Longest context of the model, in tokens.
    pub context: usize,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
    /// Token that begins a text, if the model wants one.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl Rope {
    /// Radians by which pair `i` turns for each position, `dims / 2` of them.
    pub fn frequencies(&self) -> Vec<f64> {
        let plain = (0..self.dims / 2).map(|i| self.base.powf(-2.0 * i as f64 / self.dims as f64));
        match self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Llama3 { factor, low, high, original_context } => plain
                .map(|f| {
                    let turns = original_context as f64 * f / std::f64::consts::TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    f * (kept + (1.0 - kept) / factor)
                })
                .collect(),
        }
    }
}
