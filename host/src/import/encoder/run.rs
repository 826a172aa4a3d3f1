//! The encoder in floats: sums in `f64`, rounded once per element.

use rayon::prelude::*;

use super::{Activation, Encoder, Linear, Norm, Pooling};
use crate::float::gelu;

impl Linear {
    fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let one = |row: &[f32]| -> Vec<f32> {
            let dot = |(w, &b): (&[f32], &f32)| {
                let products = w.iter().zip(row).map(|(&w, &x)| f64::from(w) * f64::from(x));
                (products.sum::<f64>() + f64::from(b)) as f32
            };
            self.weight.chunks(self.inputs).zip(&self.bias).map(dot).collect()
        };
        rows.par_chunks(self.inputs).flat_map_iter(one).collect()
    }
}

impl Norm {
    fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_mut(self.scale.len()) {
            let count = row.len() as f64;
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
            let factor = (variance + f64::from(self.epsilon)).sqrt().recip();
            for ((x, &scale), &bias) in row.iter_mut().zip(&self.scale).zip(&self.bias) {
                *x = ((f64::from(*x) - mean) * factor * f64::from(scale) + f64::from(bias)) as f32;
            }
        }
    }
}

impl Encoder {
    /// The rows of a text, or their pooled row. Tokens must be in the vocabulary, and no more than there are positions.
    pub fn run(&self, tokens: &[usize]) -> Vec<f32> {
        let width = self.width;
        let mut rows = Vec::with_capacity(tokens.len() * width);
        for (&token, position) in tokens.iter().zip(self.positions.chunks(width)) {
            let token = &self.tokens[token * width..][..width];
            rows.extend(token.iter().zip(position).zip(&self.segment).map(|((t, p), s)| t + p + s));
        }
        self.embedding_norm.apply(&mut rows);
        for layer in &self.layers {
            let [q, k, v] = [&layer.query, &layer.key, &layer.value].map(|linear| linear.apply(&rows));
            add(&mut rows, &layer.output.apply(&self.attention(&q, &k, &v)));
            layer.attention_norm.apply(&mut rows);
            let mut inner = layer.up.apply(&rows);
            inner.iter_mut().for_each(|x| {
                *x = match self.activation {
                    Activation::Gelu(kind) => gelu(kind, (*x).into()) as f32,
                    Activation::Relu => x.max(0.0),
                }
            });
            add(&mut rows, &layer.down.apply(&inner));
            layer.ffn_norm.apply(&mut rows);
        }
        self.pooled(rows)
    }

    fn attention(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (width, size) = (self.width, self.width / self.heads);
        let scale = (size as f64).sqrt().recip();
        let mut mixed = vec![0f32; q.len()];
        for (q, out) in q.chunks(width).zip(mixed.chunks_mut(width)) {
            for head in (0..width).step_by(size) {
                let dot = |k: &[f32]| {
                    let products = q[head..][..size].iter().zip(&k[head..]);
                    products.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>() * scale
                };
                let scores: Vec<f64> = k.chunks(width).map(dot).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| libm::exp(s - most)).collect();
                let total: f64 = weights.iter().sum();
                for c in head..head + size {
                    let sum: f64 =
                        weights.iter().zip(v.chunks(width)).map(|(w, v)| w * f64::from(v[c])).sum();
                    out[c] = (sum / total) as f32;
                }
            }
        }
        mixed
    }

    fn pooled(&self, rows: Vec<f32>) -> Vec<f32> {
        if self.pooling == Pooling::None {
            return rows;
        }
        let count = (rows.len() / self.width) as f64;
        let column =
            |c: usize| rows.iter().skip(c).step_by(self.width).map(|&x| f64::from(x)).sum::<f64>() / count;
        let mean: Vec<f64> = (0..self.width).map(column).collect();
        let length = match self.pooling {
            Pooling::UnitMean => mean.iter().map(|x| x * x).sum::<f64>().sqrt(),
            _ => 1.0,
        };
        mean.into_iter().map(|x| (x / length) as f32).collect()
    }
}

fn add(rows: &mut [f32], more: &[f32]) {
    rows.iter_mut().zip(more).for_each(|(x, y)| *x += y);
}
