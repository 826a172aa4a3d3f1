//! Reference: a decoder in floats, from the dequantized weights.
//!
//! With `norm(x) = x / sqrt(mean(x^2) + epsilon) * gain`, a block maps the residual `r` of a position to
//!
//! `r' = r + O softmax(q K^T / sqrt(head_dim)) V` with `q, k, v` from `norm(r)` and `q, k` rotated,
//! `r'' = r' + D (act(G n) * U n)` with `n = norm(r')`,
//!
//! and the logits are `H norm(r)` after the last block. It computes in `f32` with sums of norms and attention in `f64`. What
//! passes through can be watched at every [`Site`]; quantization chooses its scales from that.
//!
//! Weights are kept in memory ([`FloatModel::load`]) or read when they are needed ([`FloatModel::open`]). A [`Sweep`]
//! takes many texts through the model layer by layer, so that each layer is read once and only one is held.

use std::borrow::Cow;

use anyhow::{Context, ensure};
use rayon::prelude::*;

pub use sweep::Sweep;

mod sweep;

use super::{Activation, Checkpoint, Config, RopePairs, Weight};

/// A place in the decoder where numbers can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The residual, `width` numbers: when a layer begins (layer 0: the embedding), between attention and feed-forward of
    /// that layer, and with `layer = layers` at the end.
    Residual,
    /// What the projections to queries, keys and values read, `width` numbers.
    AttentionNorm,
    /// Queries before norm and rotation, `heads * head_dim` numbers.
    Query,
    /// Keys before norm and rotation, `kv_heads * head_dim` numbers.
    Key,
    /// Values, `kv_heads * head_dim` numbers.
    Value,
    /// Queries after norm and rotation.
    QueryRotated,
    /// Keys after norm and rotation.
    KeyRotated,
    /// Scores before softmax, divided by `sqrt(head_dim)`: `position + 1` of every head in turn.
    Scores,
    /// What the output projection reads, `heads * head_dim` numbers.
    AttentionOutput,
    /// What attention adds to the residual, `width` numbers.
    OutputProjection,
    /// What gate and up projections read, `width` numbers.
    FeedForwardNorm,
    /// Gate before the nonlinearity, `ffn` numbers.
    Gate,
    /// Up, `ffn` numbers.
    Up,
    /// What the down projection reads, `ffn` numbers.
    Gated,
    /// What the feed-forward block adds to the residual, `width` numbers.
    Down,
    /// What the head reads, `width` numbers; `layer = layers`.
    FinalNorm,
    /// Logits, `vocab` numbers; `layer = layers`.
    Logits,
}

/// Watches the numbers of a forward pass.
pub trait Hook {
    /// Sees the numbers of one position at one site. Positions come in order within a site and layer; sites [`Site::FinalNorm`] and
    /// [`Site::Logits`] only see the wanted positions.
    fn see(&mut self, site: Site, layer: usize, position: usize, values: &[f32]);
}

/// Watches nothing.
impl Hook for () {
    fn see(&mut self, _: Site, _: usize, _: usize, _: &[f32]) {}
}

/// A weight matrix in memory.
#[derive(Clone)]
pub(super) struct Matrix {
    pub(super) cols: usize,
    pub(super) values: Vec<f32>,
}

#[derive(Clone)]
struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    /// Of query, key and value.
    biases: Option<[Vec<f32>; 3]>,
    /// Of query and key heads.
    norms: Option<[Vec<f32>; 2]>,
    feed_forward_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// A decoder.
pub struct FloatModel<'a> {
    checkpoint: &'a dyn Checkpoint,
    config: &'a Config,
    final_norm: Vec<f32>,
    frequencies: Vec<f64>,
    /// The other weights, if they are kept.
    kept: Option<Kept>,
}

/// Weights in memory.
struct Kept {
    embedding: Matrix,
    layers: Vec<Layer>,
    /// Unless it is the embedding.
    head: Option<Matrix>,
}

/// Keys and values of the positions so far.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    length: usize,
    /// Of every layer, position after position.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Cache {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Rotated keys of a layer, `kv_heads * head_dim` numbers for each position.
    pub fn keys(&self, layer: usize) -> &[f32] {
        &self.keys[layer]
    }

    /// Values of a layer, `kv_heads * head_dim` numbers for each position.
    pub fn values(&self, layer: usize) -> &[f32] {
        &self.values[layer]
    }
}

impl<'a> FloatModel<'a> {
    /// A model whose weights are read whenever they are needed.
    pub fn open(checkpoint: &'a dyn Checkpoint) -> anyhow::Result<Self> {
        let config = checkpoint.config();
        Ok(Self {
            checkpoint,
            config,
            final_norm: read(checkpoint, Weight::FinalNorm)?.values,
            frequencies: config.rope.frequencies(),
            kept: None,
        })
    }

    /// Reads all weights, four bytes for each, and keeps them.
    pub fn load(checkpoint: &'a dyn Checkpoint) -> anyhow::Result<Self> {
        let mut model = Self::open(checkpoint)?;
        let config = model.config;
        model.kept = Some(Kept {
            embedding: read(checkpoint, Weight::Embedding)?,
            layers: (0..config.layers).map(|l| model.read_layer(l)).collect::<Result<_, _>>()?,
            head: if config.tied_head { None } else { Some(read(checkpoint, Weight::Head)?) },
        });
        Ok(model)
    }

    fn read_layer(&self, l: usize) -> anyhow::Result<Layer> {
        let matrix = |weight| read(self.checkpoint, weight);
        let vector = |weight| Ok::<_, anyhow::Error>(matrix(weight)?.values);
        Ok(Layer {
            attention_norm: vector(Weight::AttentionNorm(l))?,
            query: matrix(Weight::Query(l))?,
            key: matrix(Weight::Key(l))?,
            value: matrix(Weight::Value(l))?,
            output: matrix(Weight::Output(l))?,
            biases: if self.config.attention_bias {
                let [q, k, v] = [Weight::QueryBias(l), Weight::KeyBias(l), Weight::ValueBias(l)].map(vector);
                Some([q?, k?, v?])
            } else {
                None
            },
            norms: if self.config.qk_norm {
                let [q, k] = [Weight::QueryNorm(l), Weight::KeyNorm(l)].map(vector);
                Some([q?, k?])
            } else {
                None
            },
            feed_forward_norm: vector(Weight::FeedForwardNorm(l))?,
            gate: matrix(Weight::Gate(l))?,
            up: matrix(Weight::Up(l))?,
            down: matrix(Weight::Down(l))?,
        })
    }

    fn layer(&self, l: usize) -> anyhow::Result<Cow<'_, Layer>> {
        match &self.kept {
            Some(kept) => Ok(Cow::Borrowed(kept.layers.get(l).context("no such layer")?)),
            None => Ok(Cow::Owned(self.read_layer(l)?)),
        }
    }

    fn head(&self) -> anyhow::Result<Cow<'_, Matrix>> {
        Ok(match &self.kept {
            Some(kept) => Cow::Borrowed(kept.head.as_ref().unwrap_or(&kept.embedding)),
            None if self.config.tied_head => Cow::Owned(read(self.checkpoint, Weight::Embedding)?),
            None => Cow::Owned(read(self.checkpoint, Weight::Head)?),
        })
    }

    /// The embeddings of tokens.
    fn embed(&self, tokens: &[u32]) -> anyhow::Result<Vec<f32>> {
        let width = self.config.width;
        let mut residual = vec![0.0; tokens.len() * width];
        for (&token, row) in tokens.iter().zip(residual.chunks_exact_mut(width)) {
            let vocab = self.config.vocab;
            let at = token as usize;
            ensure!(at < vocab, "token {token} is not in the vocabulary of {vocab} tokens");
            match &self.kept {
                Some(kept) => row.copy_from_slice(&kept.embedding.values[at * width..][..width]),
                None => self.checkpoint.read(Weight::Embedding, at..at + 1, row)?,
            }
        }
        Ok(residual)
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        self.config
    }

    /// An empty cache.
    pub fn cache(&self) -> Cache {
        let none = vec![vec![]; self.config.layers];
        Cache { length: 0, keys: none.clone(), values: none }
    }

    /// Reads tokens after those in the cache, and gives the logits after those of them that are wanted (as indices into
    /// `tokens`, ascending).
    pub fn forward(
        &self,
        cache: &mut Cache,
        tokens: &[u32],
        wanted: &[usize],
        hook: &mut dyn Hook,
    ) -> anyhow::Result<Vec<Vec<f32>>> {
        let c = self.config;
        let first = cache.length;
        ensure!(cache.keys.len() == c.layers, "the cache belongs to another model");
        self.fits(first + tokens.len())?;
        ensure!(
            wanted.iter().all(|&i| i < tokens.len()),
            "logits are wanted after a token that is not there"
        );
        let mut residual = self.embed(tokens)?;
        for (l, (keys, values)) in cache.keys.iter_mut().zip(&mut cache.values).enumerate() {
            let layer = self.layer(l)?;
            self.block((l, &layer), &mut residual, first, (keys, values), hook);
        }
        cache.length = first + tokens.len();
        show(hook, Site::Residual, c.layers, first, &residual, c.width);
        let rows: Vec<_> =
            wanted.iter().flat_map(|&i| &residual[i * c.width..][..c.width]).copied().collect();
        let n = self.norm(&rows, &self.final_norm);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let head = self.head()?;
        let logits = matmul(&head, &n);
        let logits: Vec<_> = logits.chunks_exact(c.vocab).map(<[_]>::to_vec).collect();
        for (i, &at) in wanted.iter().enumerate() {
            hook.see(Site::FinalNorm, c.layers, first + at, &n[i * c.width..][..c.width]);
            hook.see(Site::Logits, c.layers, first + at, &logits[i]);
        }
        Ok(logits)
    }

    fn fits(&self, positions: usize) -> anyhow::Result<()> {
        let context = self.config.context;
        ensure!(
            positions <= context,
            "a text of {positions} tokens is longer than the model's context of {context}; shorten it"
        );
        Ok(())
    }

    /// Takes the residuals of positions from `first` on through a layer; keys and values of earlier ones are given,
    /// and theirs appended.
    fn block(
        &self,
        (l, layer): (usize, &Layer),
        residual: &mut [f32],
        first: usize,
        (keys, values): (&mut Vec<f32>, &mut Vec<f32>),
        hook: &mut dyn Hook,
    ) {
        let c = self.config;
        let mut see = |site, values: &[f32], width: usize| show(hook, site, l, first, values, width);
        see(Site::Residual, residual, c.width);
        let n = self.norm(residual, &layer.attention_norm);
        see(Site::AttentionNorm, &n, c.width);
        let mut qkv = [&layer.query, &layer.key, &layer.value].map(|m| matmul(m, &n));
        if let Some(biases) = &layer.biases {
            qkv.iter_mut().zip(biases).for_each(|(x, bias)| add(x, bias));
        }
        let [mut q, mut k, v] = qkv;
        let (query_width, kv_width) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        see(Site::Query, &q, query_width);
        see(Site::Key, &k, kv_width);
        see(Site::Value, &v, kv_width);
        if let Some([query, key]) = &layer.norms {
            q = self.norm(&q, query);
            k = self.norm(&k, key);
        }
        self.rotate(&mut q, first, query_width);
        self.rotate(&mut k, first, kv_width);
        see(Site::QueryRotated, &q, query_width);
        see(Site::KeyRotated, &k, kv_width);
        keys.truncate(first * kv_width);
        values.truncate(first * kv_width);
        keys.extend_from_slice(&k);
        values.extend_from_slice(&v);
        let (scores, attended): (Vec<_>, Vec<_>) = q
            .par_chunks(query_width)
            .enumerate()
            .map(|(i, q)| self.attend(q, keys, values, first + i + 1))
            .unzip();
        for (i, scores) in scores.iter().enumerate() {
            hook.see(Site::Scores, l, first + i, scores);
        }
        let mut see = |site, values: &[f32], width: usize| show(hook, site, l, first, values, width);
        let attended = attended.concat();
        see(Site::AttentionOutput, &attended, query_width);
        let delta = matmul(&layer.output, &attended);
        see(Site::OutputProjection, &delta, c.width);
        add(residual, &delta);
        see(Site::Residual, residual, c.width);

        let n = self.norm(residual, &layer.feed_forward_norm);
        see(Site::FeedForwardNorm, &n, c.width);
        let (gate, up) = (matmul(&layer.gate, &n), matmul(&layer.up, &n));
        see(Site::Gate, &gate, c.ffn);
        see(Site::Up, &up, c.ffn);
        let gated: Vec<_> = gate.par_iter().zip(&up).map(|(&g, &u)| activate(c.activation, g) * u).collect();
        see(Site::Gated, &gated, c.ffn);
        let delta = matmul(&layer.down, &gated);
        see(Site::Down, &delta, c.width);
        add(residual, &delta);
    }

    /// Continues a text greedily, until a token that ends it (which is included) or `most` tokens. Equal logits: lowest number.
    pub fn greedy(&self, tokens: &[u32], most: usize) -> anyhow::Result<Vec<u32>> {
        ensure!(!tokens.is_empty(), "there is no text to continue; give at least one token");
        let mut cache = self.cache();
        let mut out = Vec::new();
        let mut next = tokens.to_vec();
        while out.len() < most {
            let logits = self.forward(&mut cache, &next, &[next.len() - 1], &mut ())?;
            let token = argmax(&logits[0]);
            out.push(token);
            if self.config.eos.contains(&token) {
                break;
            }
            next = vec![token];
        }
        Ok(out)
    }

    /// RMSNorm of rows as long as the gain.
    fn norm(&self, x: &[f32], gain: &[f32]) -> Vec<f32> {
        let mut out = x.to_vec();
        out.par_chunks_mut(gain.len()).for_each(|row| {
            let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let factor = 1.0 / (squares / row.len() as f64 + self.config.norm_epsilon).sqrt();
            row.iter_mut().zip(gain).for_each(|(x, &g)| *x = (f64::from(*x) * factor) as f32 * g);
        });
        out
    }

    /// Rotates the heads of every position.
    fn rotate(&self, x: &mut [f32], first: usize, width: usize) {
        let half = self.config.rope.dims / 2;
        x.par_chunks_mut(width).enumerate().for_each(|(i, row)| {
            let turns: Vec<_> = self.frequencies.iter().map(|f| ((first + i) as f64 * f).sin_cos()).collect();
            for head in row.chunks_exact_mut(self.config.head_dim) {
                for (pair, &(sin, cos)) in turns.iter().enumerate() {
                    let (a, b) = match self.config.rope.pairs {
                        RopePairs::Interleaved => (2 * pair, 2 * pair + 1),
                        RopePairs::Halves => (pair, pair + half),
                    };
                    let (x, y) = (f64::from(head[a]), f64::from(head[b]));
                    head[a] = (x * cos - y * sin) as f32;
                    head[b] = (x * sin + y * cos) as f32;
                }
            }
        });
    }

    /// Attention of one position over the first `visible` ones: scores and result of all heads.
    fn attend(&self, q: &[f32], keys: &[f32], values: &[f32], visible: usize) -> (Vec<f32>, Vec<f32>) {
        let c = self.config;
        let (dim, kv_width) = (c.head_dim, c.kv_heads * c.head_dim);
        let scale = 1.0 / (dim as f64).sqrt();
        let mut scores = Vec::with_capacity(c.heads * visible);
        let mut out = Vec::with_capacity(c.heads * dim);
        for (head, q) in q.chunks_exact(dim).enumerate() {
            let at = head / (c.heads / c.kv_heads) * dim;
            let rows = |x: &'_ [f32], j: usize| -> std::ops::Range<usize> {
                debug_assert!(x.len() >= (j + 1) * kv_width);
                j * kv_width + at..j * kv_width + at + dim
            };
            let start = scores.len();
            scores.extend((0..visible).map(|j| (f64::from(dot(q, &keys[rows(keys, j)])) * scale) as f32));
            let scores = &scores[start..];
            let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<_> = scores.iter().map(|&s| f64::from(s - top).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut mean = vec![0f64; dim];
            for (j, w) in weights.iter().enumerate() {
                let row = &values[rows(values, j)];
                mean.iter_mut().zip(row).for_each(|(m, &v)| *m += w * f64::from(v));
            }
            out.extend(mean.iter().map(|m| (m / sum) as f32));
        }
        (scores, out)
    }
}

/// The largest number's index, the lowest among equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, better) as u32
}

fn read(checkpoint: &dyn Checkpoint, weight: Weight) -> anyhow::Result<Matrix> {
    let shape = checkpoint.shape(weight);
    let (rows, cols) = shape.ok_or_else(|| anyhow::anyhow!("the model has no weight {weight:?}"))?;
    let mut values = vec![0.0; rows * cols];
    // Some 64 thousand numbers at a time.
    let step = (1 << 16) / cols + 1;
    values.par_chunks_mut(step * cols).enumerate().try_for_each(|(i, out)| {
        let start = i * step;
        checkpoint.read(weight, start..start + out.len() / cols, out)
    })?;
    Ok(Matrix { cols, values })
}

fn show(hook: &mut dyn Hook, site: Site, layer: usize, first: usize, values: &[f32], width: usize) {
    for (i, row) in values.chunks_exact(width).enumerate() {
        hook.see(site, layer, first + i, row);
    }
}

/// Adds to every row of `x`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for row in x.chunks_exact_mut(y.len()) {
        row.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }
}

pub(super) fn activate(activation: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::GeluErf => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
    };
    y as f32
}

/// Inner product in 32 partial sums, which the compiler keeps in vector registers.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [0f32; 32];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `x W^T` for rows `x`. Every number is one [`dot`], however many rows there are.
pub(super) fn matmul(w: &Matrix, x: &[f32]) -> Vec<f32> {
    // Rows of `W` that stay in the cache while the positions pass.
    const TILE: usize = 16;
    let (cols, rows, n) = (w.cols, w.values.len() / w.cols, x.len() / w.cols);
    // Column after column: row `r` of `W` gives the `r`-th number of every position.
    let mut columns = vec![0f32; rows * n];
    if n == 0 {
        return columns;
    }
    columns.par_chunks_mut(TILE * n).zip(w.values.par_chunks(TILE * cols)).for_each(|(out, weights)| {
        for (i, x) in x.chunks_exact(cols).enumerate() {
            for (r, row) in weights.chunks_exact(cols).enumerate() {
                out[r * n + i] = dot(row, x);
            }
        }
    });
    if n == 1 {
        return columns;
    }
    let mut out = vec![0f32; rows * n];
    out.par_chunks_mut(rows).enumerate().for_each(|(i, out)| {
        out.iter_mut().enumerate().for_each(|(r, o)| *o = columns[r * n + i]);
    });
    out
}

#[cfg(test)]
pub(super) mod tests;
