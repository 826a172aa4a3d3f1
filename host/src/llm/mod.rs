//! Transformer language models: reading their files, running them in floats, and turning them into programs.
//!
//! A [`Checkpoint`] is an opened model: its [`Config`], and its weights as matrices that are read a few rows at
//! a time, so that a model much larger than memory can be imported. Nothing here depends on the file format.

pub mod blocks;
pub mod chat;
pub mod config;
pub mod encoder;
pub mod float;
pub mod generate;
pub mod gguf;
mod open;
pub mod prover;
pub mod quantize;
pub mod report;
pub mod run;
pub mod safetensors;
pub mod shape;
mod stored;
pub mod tokenizer;

pub use blocks::Block;
pub use config::{Activation, Config, Family, Rope, RopePairs, RopeScaling};
pub use open::{Opened, open, open_tokenizer, recognizes};
pub use stored::{Stores, parameters, weights};
pub use tokenizer::Tokenizer;

use std::ops::Range;

/// Which weight matrix or vector of a model; layers count from zero. Matrices have one row per output channel
/// and one column per input channel; vectors are matrices of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weight {
    /// Token embeddings, `vocab x width`.
    Embedding,
    /// Norm before attention of a layer, `1 x width`.
    AttentionNorm(usize),
    /// Query projection, `heads * head_dim x width`.
    Query(usize),
    /// Key projection, `kv_heads * head_dim x width`.
    Key(usize),
    /// Value projection, `kv_heads * head_dim x width`.
    Value(usize),
    /// Output projection, `width x heads * head_dim`.
    Output(usize),
    /// Bias of the query projection, if `config.attention_bias`.
    QueryBias(usize),
    /// Bias of the key projection, if `config.attention_bias`.
    KeyBias(usize),
    /// Bias of the value projection, if `config.attention_bias`.
    ValueBias(usize),
    /// Norm of every query head, `1 x head_dim`, if `config.qk_norm`.
    QueryNorm(usize),
    /// Norm of every key head, `1 x head_dim`, if `config.qk_norm`.
    KeyNorm(usize),
    /// Norm before the feed-forward block, `1 x width`.
    FeedForwardNorm(usize),
    /// Gate projection, `ffn x width`.
    Gate(usize),
    /// Up projection, `ffn x width`.
    Up(usize),
    /// Down projection, `width x ffn`.
    Down(usize),
    /// Norm before the head, `1 x width`.
    FinalNorm,
    /// Output head, `vocab x width`; the embedding itself if `config.tied_head`.
    Head,
}

/// An opened model.
pub trait Checkpoint: Sync {
    /// What the model is.
    fn config(&self) -> &Config;

    /// Extents of a weight (`rows x cols`), or `None` if this model has no such weight.
    fn shape(&self, weight: Weight) -> Option<(usize, usize)>;

    /// Reads rows of a weight, dequantized, row after row into `out` of `rows.len() * cols` numbers. All numbers
    /// are finite, else an error that names tensor and index. Query and key rows stand in the order of
    /// [`Rope::pairs`].
    fn read(&self, weight: Weight, rows: Range<usize>, out: &mut [f32]) -> anyhow::Result<()>;

    /// The number format that a weight is stored in, for people, if that is known.
    fn format(&self, weight: Weight) -> Option<String> {
        let _ = weight;
        None
    }
}
