//! The largest magnitudes that a decoder computes on sample texts.

use crate::llm::float::{Cache, FloatModel, Hook, Site};
use crate::llm::{Checkpoint, Weight};

/// Largest magnitudes in one layer; norms are given without their gains.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerMaxima {
    /// What projections read, before gains.
    pub attention_normalized: f32,
    /// Queries as projected.
    pub query_raw: f32,
    /// Queries after their norm, before its gains.
    pub query_normalized: f32,
    /// Queries, before and after rotation.
    pub query: f32,
    /// Keys as projected.
    pub key_raw: f32,
    /// Keys after their norm, before its gains.
    pub key_normalized: f32,
    /// Keys, before and after rotation.
    pub key: f32,
    /// Values.
    pub value: f32,
    /// What gate and up read, before gains.
    pub ffn_normalized: f32,
    /// Gate before the nonlinearity.
    pub gate: f32,
    /// Up.
    pub up: f32,
    /// Product of gate and up.
    pub gated: f32,
}

/// Largest magnitudes in a decoder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maxima {
    /// Of every layer.
    pub layers: Vec<LayerMaxima>,
    /// The residual sum.
    pub residual: f32,
    /// What the final norm gives, before gains.
    pub final_normalized: f32,
    /// The same after gains.
    pub final_norm: f32,
}

/// What calibration finds.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Largest magnitudes after the constant first token.
    pub maxima: Maxima,
    /// Rotated keys and values of that token in every layer.
    pub prefix: Vec<(Vec<f32>, Vec<f32>)>,
}

struct Watch {
    maxima: Maxima,
    /// Positions that do not count.
    skip: usize,
    attention_gains: Vec<Vec<f32>>,
    ffn_gains: Vec<Vec<f32>>,
    final_gain: Vec<f32>,
    /// Of query and key heads, with the norm's epsilon.
    head_dim: usize,
    qk_norm: bool,
    epsilon: f64,
}

fn most(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

fn most_without(values: &[f32], gains: &[f32]) -> f32 {
    values.iter().zip(gains).filter(|(_, g)| **g != 0.0).fold(0.0, |most, (v, g)| most.max((v / g).abs()))
}

impl Watch {
    /// The largest value of the normalized heads.
    fn normalized(&self, values: &[f32]) -> f32 {
        let head = |head: &[f32]| {
            let square: f64 = head.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            let scale = 1.0 / (square / head.len() as f64 + self.epsilon).sqrt();
            (f64::from(most(head)) * scale) as f32
        };
        values.chunks(self.head_dim).map(head).fold(0.0, f32::max)
    }
}

impl Hook for Watch {
    fn see(&mut self, site: Site, layer: usize, position: usize, values: &[f32]) {
        if position < self.skip {
            return;
        }
        let raise = |slot: &mut f32, value: f32| *slot = slot.max(value);
        let normalized = match site {
            Site::Query | Site::Key if self.qk_norm => self.normalized(values),
            _ => 0.0,
        };
        match site {
            Site::Residual => return raise(&mut self.maxima.residual, most(values)),
            Site::FinalNorm => {
                raise(&mut self.maxima.final_norm, most(values));
                return raise(&mut self.maxima.final_normalized, most_without(values, &self.final_gain));
            }
            _ => {}
        }
        let Some(own) = self.maxima.layers.get_mut(layer) else { return };
        match site {
            Site::AttentionNorm => {
                raise(&mut own.attention_normalized, most_without(values, &self.attention_gains[layer]));
            }
            Site::Query => {
                raise(&mut own.query_raw, most(values));
                raise(&mut own.query_normalized, normalized);
                if !self.qk_norm {
                    raise(&mut own.query, most(values));
                }
            }
            Site::Key => {
                raise(&mut own.key_raw, most(values));
                raise(&mut own.key_normalized, normalized);
                if !self.qk_norm {
                    raise(&mut own.key, most(values));
                }
            }
            Site::QueryRotated => raise(&mut own.query, most(values)),
            Site::KeyRotated => raise(&mut own.key, most(values)),
            Site::Value => raise(&mut own.value, most(values)),
            Site::FeedForwardNorm => {
                raise(&mut own.ffn_normalized, most_without(values, &self.ffn_gains[layer]));
            }
            Site::Gate => raise(&mut own.gate, most(values)),
            Site::Up => raise(&mut own.up, most(values)),
            Site::Gated => raise(&mut own.gated, most(values)),
            _ => {}
        }
    }
}

/// Runs a decoder on pieces of text, each with the constant first token before it, if there is one.
pub fn calibrate(
    checkpoint: &dyn Checkpoint,
    model: &FloatModel<'_>,
    prefix: Option<u32>,
    pieces: &[Vec<u32>],
) -> anyhow::Result<Calibration> {
    let config = checkpoint.config();
    let vector = |weight: Weight| -> anyhow::Result<Vec<f32>> {
        let mut out = vec![0.0; checkpoint.shape(weight).map_or(0, |s| s.1)];
        checkpoint.read(weight, 0..1, &mut out)?;
        Ok(out)
    };
    let mut watch = Watch {
        maxima: Maxima { layers: vec![LayerMaxima::default(); config.layers], ..Maxima::default() },
        skip: usize::from(prefix.is_some()),
        attention_gains: (0..config.layers)
            .map(|l| vector(Weight::AttentionNorm(l)))
            .collect::<Result<_, _>>()?,
        ffn_gains: (0..config.layers)
            .map(|l| vector(Weight::FeedForwardNorm(l)))
            .collect::<Result<_, _>>()?,
        final_gain: vector(Weight::FinalNorm)?,
        head_dim: config.head_dim,
        qk_norm: config.qk_norm,
        epsilon: config.norm_epsilon,
    };
    for piece in pieces {
        let tokens: Vec<u32> = prefix.into_iter().chain(piece.iter().copied()).collect();
        let wanted: Vec<usize> = (watch.skip..tokens.len()).collect();
        model.forward(&mut model.cache(), &tokens, &wanted, &mut watch)?;
    }
    let mut first: Cache = model.cache();
    if let Some(prefix) = prefix {
        model.forward(&mut first, &[prefix], &[], &mut ())?;
    }
    let prefix = (0..config.layers).filter(|_| prefix.is_some());
    let prefix = prefix.map(|l| (first.keys(l).to_vec(), first.values(l).to_vec())).collect();
    Ok(Calibration { maxima: watch.maxima, prefix })
}
