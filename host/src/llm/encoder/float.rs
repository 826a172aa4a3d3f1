//! Reference: an encoder in floats.
//!
//! It computes in `f32` with sums of norms and attention in `f64`. The largest magnitudes of what passes through can be
//! kept; quantization chooses its scales from them.

use anyhow::ensure;
use rayon::prelude::*;

use super::{EncoderConfig, EncoderWeight, EncoderWeights};
use crate::llm::float::{Matrix, activate, add, dot, matmul};

/// Largest magnitudes at the norm of a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormMaxima {
    /// The sum, as it is and less the mean of its row.
    pub sum: f32,
    /// Normalized, before gain and bias.
    pub normalized: f32,
    /// The result.
    pub result: f32,
}

/// Largest magnitudes in one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerMaxima {
    /// Queries.
    pub query: f32,
    /// Keys.
    pub key: f32,
    /// Values.
    pub value: f32,
    /// After attention.
    pub attention: NormMaxima,
    /// Before the nonlinearity.
    pub up: f32,
    /// After it.
    pub hidden: f32,
    /// After the feed-forward block.
    pub output: NormMaxima,
}

/// Largest magnitudes in an encoder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maxima {
    /// After the embeddings.
    pub embedding: NormMaxima,
    /// Of every layer.
    pub layers: Vec<LayerMaxima>,
}

struct Layer {
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    up: Matrix,
    down: Matrix,
}

/// An encoder in memory.
pub struct FloatEncoder<'a> {
    weights: &'a EncoderWeights,
    layers: Vec<Layer>,
}

fn most(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

fn raise(slot: &mut f32, values: &[f32]) {
    *slot = slot.max(most(values));
}

impl<'a> FloatEncoder<'a> {
    /// An encoder with these weights.
    pub fn new(weights: &'a EncoderWeights) -> Self {
        use EncoderWeight as W;
        let config = weights.config();
        let matrix = |weight, cols| Matrix { cols, values: weights.get(weight).to_vec() };
        let layer = |l| Layer {
            query: matrix(W::Query(l), config.width),
            key: matrix(W::Key(l), config.width),
            value: matrix(W::Value(l), config.width),
            output: matrix(W::Output(l), config.width),
            up: matrix(W::Up(l), config.width),
            down: matrix(W::Down(l), config.ffn),
        };
        Self { weights, layers: (0..config.layers).map(layer).collect() }
    }

    /// What the model is.
    pub fn config(&self) -> &EncoderConfig {
        self.weights.config()
    }

    /// The mean of the last activations over the tokens of a sentence. The largest magnitudes on the way are raised.
    pub fn encode(&self, tokens: &[u32], maxima: &mut Maxima) -> anyhow::Result<Vec<f32>> {
        use EncoderWeight as W;
        let c = self.config();
        ensure!(!tokens.is_empty(), "a sentence needs at least one token");
        ensure!(
            tokens.len() <= c.positions,
            "a sentence of {} tokens is longer than the model's {} positions; shorten it",
            tokens.len(),
            c.positions
        );
        let row = |weight, row: usize| &self.weights.get(weight)[row * c.width..][..c.width];
        let mut sum = Vec::with_capacity(tokens.len() * c.width);
        for (t, &token) in tokens.iter().enumerate() {
            let token = token as usize;
            ensure!(token < c.vocab, "token {token} is not in the vocabulary of {} tokens", c.vocab);
            let parts = row(W::WordEmbedding, token).iter().zip(row(W::PositionEmbedding, t));
            sum.extend(parts.zip(row(W::TypeEmbedding, 0)).map(|((word, place), kind)| word + place + kind));
        }
        maxima.layers.resize(c.layers, LayerMaxima::default());
        let mut x = self.norm(&sum, (W::EmbeddingNormGain, W::EmbeddingNormBias), &mut maxima.embedding);
        for (l, (layer, maxima)) in self.layers.iter().zip(&mut maxima.layers).enumerate() {
            let linear = |matrix: &Matrix, bias, x: &[f32]| {
                let mut y = matmul(matrix, x);
                add(&mut y, self.weights.get(bias));
                y
            };
            let q = linear(&layer.query, W::QueryBias(l), &x);
            let k = linear(&layer.key, W::KeyBias(l), &x);
            let v = linear(&layer.value, W::ValueBias(l), &x);
            raise(&mut maxima.query, &q);
            raise(&mut maxima.key, &k);
            raise(&mut maxima.value, &v);
            let mixed: Vec<f32> = q.par_chunks(c.width).flat_map_iter(|q| self.attend(q, &k, &v)).collect();
            let mut sum = linear(&layer.output, W::OutputBias(l), &mixed);
            sum.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x);
            let middle =
                self.norm(&sum, (W::AttentionNormGain(l), W::AttentionNormBias(l)), &mut maxima.attention);
            let mut hidden = linear(&layer.up, W::UpBias(l), &middle);
            raise(&mut maxima.up, &hidden);
            hidden.par_iter_mut().for_each(|h| *h = activate(c.activation, *h));
            raise(&mut maxima.hidden, &hidden);
            let mut sum = linear(&layer.down, W::DownBias(l), &hidden);
            sum.iter_mut().zip(&middle).for_each(|(sum, x)| *sum += x);
            x = self.norm(&sum, (W::OutputNormGain(l), W::OutputNormBias(l)), &mut maxima.output);
        }
        let channel = |c: usize| x.iter().skip(c).step_by(self.config().width).map(|&v| f64::from(v));
        Ok((0..c.width).map(|at| (channel(at).sum::<f64>() / tokens.len() as f64) as f32).collect())
    }

    /// LayerNorm of rows.
    fn norm(
        &self,
        sum: &[f32],
        (gain, bias): (EncoderWeight, EncoderWeight),
        maxima: &mut NormMaxima,
    ) -> Vec<f32> {
        let c = self.config();
        let (gain, bias) = (self.weights.get(gain), self.weights.get(bias));
        let mut out = Vec::with_capacity(sum.len());
        for row in sum.chunks_exact(c.width) {
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / c.width as f64;
            let centred: Vec<f64> = row.iter().map(|&v| f64::from(v) - mean).collect();
            let variance = centred.iter().map(|v| v * v).sum::<f64>() / c.width as f64;
            let factor = 1.0 / (variance + c.norm_epsilon).sqrt();
            raise(&mut maxima.sum, row);
            for ((v, gain), bias) in centred.iter().zip(gain).zip(bias) {
                let normalized = (v * factor) as f32;
                let result = normalized * gain + bias;
                maxima.sum = maxima.sum.max(v.abs() as f32);
                maxima.normalized = maxima.normalized.max(normalized.abs());
                maxima.result = maxima.result.max(result.abs());
                out.push(result);
            }
        }
        out
    }

    /// Attention of one position over all: the mixed values of all heads.
    fn attend(&self, q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f32> {
        let (dim, width) = (self.config().head_dim(), self.config().width);
        let scale = 1.0 / (dim as f64).sqrt();
        let mut out = Vec::with_capacity(width);
        for (head, q) in q.chunks_exact(dim).enumerate() {
            let own = head * dim..(head + 1) * dim;
            let score = |key: &[f32]| f64::from(dot(q, &key[own.clone()])) * scale;
            let scores: Vec<f64> = keys.chunks_exact(width).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut mean = vec![0f64; dim];
            for (weight, row) in weights.iter().zip(values.chunks_exact(width)) {
                mean.iter_mut().zip(&row[own.clone()]).for_each(|(mean, &v)| *mean += weight * f64::from(v));
            }
            out.extend(mean.iter().map(|mean| (mean / total) as f32));
        }
        out
    }
}
