//! The parts of an encoder, as they are found in a graph.

use crate::import::ImportError;
use crate::llm::Activation;
use crate::llm::encoder::{EncoderConfig, EncoderWeight, EncoderWeights};

/// A matrix with one row per output channel, and a bias.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Input channels.
    pub inputs: usize,
    /// Row after row.
    pub weight: Vec<f32>,
    /// One for each row.
    pub bias: Vec<f32>,
}

/// A LayerNorm of rows.
#[derive(Clone, Debug)]
pub struct Norm {
    /// One for each channel.
    pub scale: Vec<f32>,
    /// One for each channel.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// One layer: `r' = norm(r + O attention(Q r, K r, V r))`, `r'' = norm(r' + D act(U r'))`.
#[derive(Clone, Debug)]
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

/// A whole encoder.
#[derive(Clone, Debug)]
pub struct Parts {
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
}

impl Parts {
    /// All of them under the names that the rest of the program has for them.
    pub fn weights(self, name: &str) -> Result<EncoderWeights, ImportError> {
        use EncoderWeight as W;
        let refuse = |detail: String| ImportError::Encoder { detail };
        let norms = self.layers.iter().flat_map(|layer| [&layer.attention_norm, &layer.ffn_norm]);
        let epsilon = self.embedding_norm.epsilon;
        if norms.into_iter().any(|norm| norm.epsilon.to_bits() != epsilon.to_bits()) {
            return Err(refuse("has norms with different epsilons, which is not supported".into()));
        }
        let config = EncoderConfig {
            name: name.to_owned(),
            layers: self.layers.len(),
            width: self.width,
            ffn: self.layers.first().map_or(0, |layer| layer.up.bias.len()),
            heads: self.heads,
            vocab: self.tokens.len() / self.width,
            positions: self.positions.len() / self.width,
            types: 1,
            norm_epsilon: epsilon.into(),
            activation: self.activation,
        };
        let weights = EncoderWeights::new(config, |weight, _, _| {
            let linear = |l: usize, part: fn(&Layer) -> &Linear| part(&self.layers[l]).weight.clone();
            let bias = |l: usize, part: fn(&Layer) -> &Linear| part(&self.layers[l]).bias.clone();
            Ok(match weight {
                W::WordEmbedding => self.tokens.clone(),
                W::PositionEmbedding => self.positions.clone(),
                W::TypeEmbedding => self.segment.clone(),
                W::EmbeddingNormGain => self.embedding_norm.scale.clone(),
                W::EmbeddingNormBias => self.embedding_norm.bias.clone(),
                W::Query(l) => linear(l, |layer| &layer.query),
                W::QueryBias(l) => bias(l, |layer| &layer.query),
                W::Key(l) => linear(l, |layer| &layer.key),
                W::KeyBias(l) => bias(l, |layer| &layer.key),
                W::Value(l) => linear(l, |layer| &layer.value),
                W::ValueBias(l) => bias(l, |layer| &layer.value),
                W::Output(l) => linear(l, |layer| &layer.output),
                W::OutputBias(l) => bias(l, |layer| &layer.output),
                W::AttentionNormGain(l) => self.layers[l].attention_norm.scale.clone(),
                W::AttentionNormBias(l) => self.layers[l].attention_norm.bias.clone(),
                W::Up(l) => linear(l, |layer| &layer.up),
                W::UpBias(l) => bias(l, |layer| &layer.up),
                W::Down(l) => linear(l, |layer| &layer.down),
                W::DownBias(l) => bias(l, |layer| &layer.down),
                W::OutputNormGain(l) => self.layers[l].ffn_norm.scale.clone(),
                W::OutputNormBias(l) => self.layers[l].ffn_norm.bias.clone(),
            })
        });
        weights.map_err(|error| refuse(format!("cannot be used: {error:#}")))
    }
}
