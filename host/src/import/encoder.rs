//! Sentence encoders of the BERT family in ONNX files.
//!
//! An exporter spells such a model out: token, position and segment embeddings, and layers of attention and
//! feed-forward with a LayerNorm behind each. [`read`] imports the graph for one text of full length, finds these parts
//! in it (`recognise`: every node is accounted for, or the model is refused by the node's name) and then runs graph and
//! [`Encoder`] on short texts, one of them padded, to see that both compute the same.

mod recognise;
mod run;

use std::collections::BTreeMap;

use super::onnx::{Constant, Ints, Part, import_part, input_names};
use super::{ImportError, ImportOptions};
use crate::float;
use crate::graph::{GeluKind, Graph, Tensor};

/// A matrix with one row per output channel, and a bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Input channels.
    pub inputs: usize,
    /// Row after row.
    pub weight: Vec<f32>,
    /// One for each row.
    pub bias: Vec<f32>,
}

/// A LayerNorm of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// One for each channel.
    pub scale: Vec<f32>,
    /// One for each channel.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// The function between the two matrices of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Either form of GELU.
    Gelu(GeluKind),
    /// `max(x, 0)`.
    Relu,
}

/// One layer: `r' = norm(r + O attention(Q r, K r, V r))`, `r'' = norm(r' + D act(U r'))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Queries, all heads one after the other.
    pub query: Linear,
    /// Keys.
    pub key: Linear,
    /// Values.
    pub value: Linear,
    /// Output projection.
    pub output: Linear,
    /// Behind attention.
    pub attention_norm: Norm,
    /// Into the feed-forward block.
    pub up: Linear,
    /// Out of it.
    pub down: Linear,
    /// Behind the feed-forward block.
    pub ffn_norm: Norm,
}

/// What becomes of the rows of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They are the result.
    None,
    /// Their mean is the result.
    Mean,
    /// Their mean, divided by its length.
    UnitMean,
}

/// An encoder in floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// Channels of a row.
    pub width: usize,
    /// Heads of attention; scores are divided by the root of a head's channels.
    pub heads: usize,
    /// One row for each token.
    pub tokens: Vec<f32>,
    /// One row for each position.
    pub positions: Vec<f32>,
    /// The row of the first segment, which all tokens belong to.
    pub segment: Vec<f32>,
    /// Behind the sum of the three.
    pub embedding_norm: Norm,
    /// Layers in order.
    pub layers: Vec<Layer>,
    /// Of all layers.
    pub activation: Activation,
    /// What the graph does with the last layer's rows.
    pub pooling: Pooling,
}

/// Tokens of the texts on which graph and encoder are compared.
const SAMPLE: usize = 12;
/// How many of them a padded text has.
const UNPADDED: usize = 7;
/// Largest difference, relative to the largest number of the result.
const TOLERANCE: f64 = 1e-3;

/// Whether an ONNX model has the inputs of an encoder.
pub fn recognizes(bytes: &[u8]) -> bool {
    input_names(bytes).is_ok_and(|names| {
        let named = |name: &str| names.iter().any(|n| n == name);
        named("input_ids") && named("attention_mask")
    })
}

/// Reads an encoder for texts of up to `positions` tokens.
pub fn read(bytes: &[u8], positions: usize) -> Result<Encoder, ImportError> {
    let encoder = recognise::recognise(&import(bytes, positions, positions)?)?;
    let sample = SAMPLE.min(positions);
    for length in [sample, UNPADDED.min(sample)] {
        compare(&encoder, &import(bytes, sample, length)?, sample, length)?;
    }
    Ok(encoder)
}

/// The graph for one text of `length` tokens, padded to `rows`: of its inputs only the tokens are left.
fn import(bytes: &[u8], rows: usize, length: usize) -> Result<Graph, ImportError> {
    let mut fixed = BTreeMap::new();
    for name in input_names(bytes)? {
        let value: fn(usize, usize) -> bool = match name.as_str() {
            "attention_mask" => |row, length| row < length,
            "token_type_ids" => |_, _| false,
            _ => continue,
        };
        let data = (0..rows).map(|row| value(row, length).into()).collect();
        fixed.insert(name, Constant::Ints(Ints::wide_row(data)));
    }
    let part = Part { fixed, length: Some(rows), ..Part::default() };
    import_part(bytes, ImportOptions::default(), &part)
}

fn compare(encoder: &Encoder, graph: &Graph, rows: usize, length: usize) -> Result<(), ImportError> {
    let refuse = |detail: String| ImportError::Encoder { detail };
    let vocab = encoder.tokens.len() / encoder.width;
    // Tokens from all over the vocabulary, none twice in small samples.
    let tokens: Vec<usize> = (1..=rows).map(|i| i * 7919 % vocab).collect();
    let input = Tensor::new(vec![1, rows], tokens.iter().map(|&t| t as f32).collect())?;
    let found = float::run(graph, &[input]).map_err(|error| refuse(format!("does not run: {error}")))?;
    let expected = encoder.run(&tokens[..length]);
    let found = found.first().map_or(&[][..], Tensor::data).get(..expected.len()).unwrap_or_default();
    let largest = expected.iter().fold(0f64, |max, &x| max.max(f64::from(x).abs()));
    let apart = expected.iter().zip(found).map(|(&x, &y)| f64::from(x - y).abs());
    let apart = apart.fold(if found.len() == expected.len() { 0.0 } else { f64::INFINITY }, f64::max);
    if apart <= TOLERANCE * largest {
        return Ok(());
    }
    Err(refuse(format!(
        "looks like an encoder of the BERT family, but differs from one by {apart:e} (numbers up to {largest:e}) on a \
         text of {length} tokens{}; it is refused",
        if length < rows { " with padding: its attention_mask does something else" } else { "" }
    )))
}

#[cfg(test)]
mod tests;
