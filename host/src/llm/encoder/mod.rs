//! Sentence encoders of the BERT family: what they are, their weights in floats, and the way to integers.
//!
//! A block maps the activations `x` of all positions to
//!
//! `x' = LN(x + O softmax(q K^T / sqrt(head_dim)) V + b_o)` with `q, k, v` from `x`, every position seeing all,
//! `x'' = LN(x' + D act(U x' + b_u) + b_d)`,
//!
//! the first `x` is `LN(word + position + type 0)`, and the sentence's embedding is the mean of the last `x` over its
//! positions. Nothing here depends on a file format: whoever reads one fills [`EncoderWeights`].

pub mod float;
mod open;
pub mod prover;
pub mod quantize;
pub mod report;
pub mod wordpiece;

pub use open::{OpenedEncoder, open, recognizes};
pub use wordpiece::WordPiece;

use std::collections::HashMap;

use anyhow::{bail, ensure};

use super::Activation;

/// An encoder-only transformer with a norm after every sum.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Name of the model, for people.
    pub name: String,
    /// Number of blocks.
    pub layers: usize,
    /// Channels between blocks.
    pub width: usize,
    /// Channels of the feed-forward block.
    pub ffn: usize,
    /// Heads; divides `width`.
    pub heads: usize,
    /// Number of tokens.
    pub vocab: usize,
    /// Number of learned positions: the longest text in tokens, those that begin and end it included.
    pub positions: usize,
    /// Number of learned token types (segments), of which a sentence has the first.
    pub types: usize,
    /// Added to the variance in a LayerNorm.
    pub norm_epsilon: f64,
    /// Nonlinearity of the feed-forward block.
    pub activation: Activation,
}

/// Which weight matrix or vector of an encoder; layers count from zero. Matrices have one row per output channel and
/// one column per input channel; vectors are matrices of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EncoderWeight {
    /// Token embeddings, `vocab x width`.
    WordEmbedding,
    /// Position embeddings, `positions x width`.
    PositionEmbedding,
    /// Token-type embeddings, `types x width`.
    TypeEmbedding,
    /// Gain of the norm after the embeddings, `1 x width`.
    EmbeddingNormGain,
    /// Bias of the norm after the embeddings, `1 x width`.
    EmbeddingNormBias,
    /// Query projection, `width x width`.
    Query(usize),
    /// Its bias, `1 x width`.
    QueryBias(usize),
    /// Key projection, `width x width`.
    Key(usize),
    /// Its bias, `1 x width`.
    KeyBias(usize),
    /// Value projection, `width x width`.
    Value(usize),
    /// Its bias, `1 x width`.
    ValueBias(usize),
    /// Output projection of attention, `width x width`.
    Output(usize),
    /// Its bias, `1 x width`.
    OutputBias(usize),
    /// Gain of the norm after attention, `1 x width`.
    AttentionNormGain(usize),
    /// Bias of the norm after attention, `1 x width`.
    AttentionNormBias(usize),
    /// First projection of the feed-forward block, `ffn x width`.
    Up(usize),
    /// Its bias, `1 x ffn`.
    UpBias(usize),
    /// Second projection of the feed-forward block, `width x ffn`.
    Down(usize),
    /// Its bias, `1 x width`.
    DownBias(usize),
    /// Gain of the norm after the feed-forward block, `1 x width`.
    OutputNormGain(usize),
    /// Bias of the norm after the feed-forward block, `1 x width`.
    OutputNormBias(usize),
}

/// Largest extent of anything in a model; products of two fit `usize`.
const LARGEST: usize = 1 << 28;

impl EncoderConfig {
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// All weights with their extents, rows first.
    pub fn weights(&self) -> Vec<(EncoderWeight, usize, usize)> {
        use EncoderWeight as W;
        let (width, ffn) = (self.width, self.ffn);
        let mut all = vec![
            (W::WordEmbedding, self.vocab, width),
            (W::PositionEmbedding, self.positions, width),
            (W::TypeEmbedding, self.types, width),
            (W::EmbeddingNormGain, 1, width),
            (W::EmbeddingNormBias, 1, width),
        ];
        for l in 0..self.layers {
            all.extend([
                (W::Query(l), width, width),
                (W::QueryBias(l), 1, width),
                (W::Key(l), width, width),
                (W::KeyBias(l), 1, width),
                (W::Value(l), width, width),
                (W::ValueBias(l), 1, width),
                (W::Output(l), width, width),
                (W::OutputBias(l), 1, width),
                (W::AttentionNormGain(l), 1, width),
                (W::AttentionNormBias(l), 1, width),
                (W::Up(l), ffn, width),
                (W::UpBias(l), 1, ffn),
                (W::Down(l), width, ffn),
                (W::DownBias(l), 1, width),
                (W::OutputNormGain(l), 1, width),
                (W::OutputNormBias(l), 1, width),
            ]);
        }
        all
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.weights().iter().map(|&(_, rows, cols)| rows as u64 * cols as u64).sum()
    }

    /// Checks that the numbers make an encoder that can be compiled.
    pub fn check(&self) -> anyhow::Result<()> {
        let sizes = [
            ("layers", self.layers),
            ("width", self.width),
            ("feed-forward width", self.ffn),
            ("attention heads", self.heads),
            ("vocabulary", self.vocab),
            ("number of positions", self.positions),
            ("number of token types", self.types),
        ];
        for (what, size) in sizes {
            ensure!(
                (1..=LARGEST).contains(&size),
                "the model says that its {what} is {size}; this is no usable model, download it again"
            );
        }
        ensure!(
            self.width.is_multiple_of(self.heads) && self.head_dim().is_power_of_two(),
            "the model is {} channels wide and has {} heads; only heads of a power of two of channels are supported",
            self.width,
            self.heads
        );
        ensure!(self.width <= 4000, "the model is {} channels wide; norms take at most 4000", self.width);
        ensure!(
            self.norm_epsilon.is_finite() && (0.0..1.0).contains(&self.norm_epsilon),
            "the epsilon of the norms is {}; it must be between 0 and 1",
            self.norm_epsilon
        );
        Ok(())
    }
}

/// All weights of an encoder.
#[derive(Clone, Debug)]
pub struct EncoderWeights {
    config: EncoderConfig,
    all: HashMap<EncoderWeight, Vec<f32>>,
}

impl EncoderWeights {
    /// Reads every weight of a configuration by `read(weight, rows, cols)`, row after row, and checks them: the
    /// numbers are as many as they should be and finite.
    pub fn new(
        config: EncoderConfig,
        mut read: impl FnMut(EncoderWeight, usize, usize) -> anyhow::Result<Vec<f32>>,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let mut all = HashMap::new();
        for (weight, rows, cols) in config.weights() {
            let values = read(weight, rows, cols)?;
            if values.len() != rows * cols {
                bail!("{weight:?} has {} numbers; the configuration needs {rows} x {cols}", values.len());
            }
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                bail!(
                    "{weight:?} holds {} at row {}, column {}; a model with such weights computes nothing, so \
                     download or convert it again",
                    values[at],
                    at / cols,
                    at % cols
                );
            }
            all.insert(weight, values);
        }
        Ok(Self { config, all })
    }

    /// What the model is.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The numbers of a weight, row after row; none for a layer that does not exist.
    pub fn get(&self, weight: EncoderWeight) -> &[f32] {
        self.all.get(&weight).map_or(&[], Vec::as_slice)
    }
}
