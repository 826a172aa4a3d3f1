//! Sentence encoders of the BERT family in ONNX files.
//!
//! An exporter spells such a model out: token, position and segment embeddings, and layers of attention and
//! feed-forward with a LayerNorm behind each. [`read`] imports the graph for one text of full length, finds these parts
//! in it (`recognise`: every node is accounted for, or the model is refused by the node's name) and then runs graph
//! and encoder on short texts, one of them padded, to see that both compute the same.

mod parts;
mod recognise;

use std::collections::BTreeMap;

use super::onnx::{Constant, Ints, Part, import_part, input_names};
use super::{ImportError, ImportOptions};
use crate::float;
use crate::graph::{Graph, Tensor};
use crate::llm::encoder::EncoderWeights;
use crate::llm::encoder::float::{FloatEncoder, Maxima};

/// What the graph makes of the rows of the last layer. The embedding that is proven is their mean in all cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They are its result.
    None,
    /// Their mean is.
    Mean,
    /// Their mean divided by its length is.
    UnitMean,
}

/// An encoder that was recognised.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// Its configuration and weights, as floats.
    pub weights: EncoderWeights,
    /// The graph's result.
    pub pooling: Pooling,
}

/// Tokens of the texts on which graph and encoder are compared.
const SAMPLE: usize = 12;
/// Fewest positions of a model.
const SHORTEST: usize = 8;
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

/// Longest texts that are read, in tokens.
const LONGEST: usize = 512;

/// Reads an encoder for texts as long as its position embeddings allow, a power of two up to 512 tokens.
pub fn read(bytes: &[u8], name: &str) -> Result<Recognised, ImportError> {
    let mut positions = LONGEST;
    let graph = loop {
        match import(bytes, positions, positions) {
            // There are fewer positions than that.
            Err(ImportError::Graph(_) | ImportError::Unsupported { .. }) if positions > SHORTEST => {
                positions /= 2;
            }
            result => break result?,
        }
    };
    let (parts, pooling) = recognise::recognise(&graph)?;
    let encoder = Recognised { weights: parts.weights(name)?, pooling };
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

/// Compares the mean of the rows, or what the graph makes of it.
fn compare(encoder: &Recognised, graph: &Graph, rows: usize, length: usize) -> Result<(), ImportError> {
    let refuse = |detail: String| ImportError::Encoder { detail };
    let config = encoder.weights.config();
    // Tokens from all over the vocabulary.
    let tokens: Vec<u32> = (1..=rows).map(|i| (i * 7919 % config.vocab) as u32).collect();
    let input = Tensor::new(vec![1, rows], tokens.iter().map(|&t| t as f32).collect())?;
    let found = float::run(graph, &[input]).map_err(|error| refuse(format!("does not run: {error}")))?;
    let found = found.first().map_or(&[][..], Tensor::data);
    let found: Vec<f32> = match encoder.pooling {
        Pooling::None => {
            let row = |t: usize| found.get(t * config.width..(t + 1) * config.width);
            let sum = |c: usize| (0..length).filter_map(row).map(|row| f64::from(row[c])).sum::<f64>();
            (0..config.width).map(|c| (sum(c) / length as f64) as f32).collect()
        }
        _ => found.to_vec(),
    };
    let model = FloatEncoder::new(&encoder.weights);
    let mut expected = model
        .encode(&tokens[..length], &mut Maxima::default())
        .map_err(|error| refuse(format!("does not run: {error:#}")))?;
    if encoder.pooling == Pooling::UnitMean {
        let size = expected.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for x in &mut expected {
            *x = (f64::from(*x) / size) as f32;
        }
    }
    let largest = expected.iter().fold(0f64, |max, &x| max.max(f64::from(x).abs()));
    let apart = expected.iter().zip(&found).map(|(&x, &y)| f64::from(x - y).abs());
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
