//! The largest magnitudes that a decoder computes on sample texts.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::llm::float::{FloatModel, Hook, Site, Sweep};
use crate::llm::{Checkpoint, Weight};

/// Largest magnitudes in one layer; norms are given without their gains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Largest magnitudes after the constant first token.
    pub maxima: Maxima,
    /// Rotated keys and values of that token in every layer.
    pub prefix: Vec<(Vec<f32>, Vec<f32>)>,
}

struct Watch {
    found: Calibration,
    /// Positions that do not count: the constant first token.
    skip: usize,
    /// Gains of the layer that is watched.
    attention_gain: Vec<f32>,
    ffn_gain: Vec<f32>,
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
            // It sees itself alone, so all texts have the same keys and values there.
            let own = self.found.prefix.get_mut(layer);
            match (site, own) {
                (Site::KeyRotated, Some((keys, _))) => *keys = values.to_vec(),
                (Site::Value, Some((_, own))) => *own = values.to_vec(),
                _ => {}
            }
            return;
        }
        let raise = |slot: &mut f32, value: f32| *slot = slot.max(value);
        let normalized = match site {
            Site::Query | Site::Key if self.qk_norm => self.normalized(values),
            _ => 0.0,
        };
        match site {
            Site::Residual => return raise(&mut self.found.maxima.residual, most(values)),
            Site::FinalNorm => {
                raise(&mut self.found.maxima.final_norm, most(values));
                return raise(
                    &mut self.found.maxima.final_normalized,
                    most_without(values, &self.final_gain),
                );
            }
            _ => {}
        }
        let Some(own) = self.found.maxima.layers.get_mut(layer) else { return };
        match site {
            Site::AttentionNorm => {
                raise(&mut own.attention_normalized, most_without(values, &self.attention_gain));
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
                raise(&mut own.ffn_normalized, most_without(values, &self.ffn_gain));
            }
            Site::Gate => raise(&mut own.gate, most(values)),
            Site::Up => raise(&mut own.up, most(values)),
            Site::Gated => raise(&mut own.gated, most(values)),
            _ => {}
        }
    }
}

/// A calibration on its way. It can be stored between two layers and continued later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrating {
    sweep: Sweep,
    found: Calibration,
    skip: usize,
}

impl Calibrating {
    /// Begins with pieces of text, each with the constant first token before it, if there is one.
    pub fn new(model: &FloatModel<'_>, prefix: Option<u32>, pieces: &[Vec<u32>]) -> anyhow::Result<Self> {
        ensure!(!pieces.is_empty(), "there is no text to calibrate with");
        let texts = pieces.iter().map(|piece| prefix.into_iter().chain(piece.iter().copied()).collect());
        let sweep = model.sweep(&texts.collect::<Vec<_>>())?;
        let layers = model.config().layers;
        let maxima = Maxima { layers: vec![LayerMaxima::default(); layers], ..Maxima::default() };
        let prefix = prefix.map_or(Vec::new(), |_| vec![<(Vec<f32>, Vec<f32>)>::default(); layers]);
        let skip = usize::from(!prefix.is_empty());
        Ok(Self { sweep, found: Calibration { maxima, prefix }, skip })
    }

    /// Layers that are done.
    pub fn layers(&self) -> usize {
        self.sweep.layers()
    }

    /// Takes the texts through the next layer; says whether anything is left to be done.
    pub fn advance(&mut self, model: &FloatModel<'_>, checkpoint: &dyn Checkpoint) -> anyhow::Result<bool> {
        let config = checkpoint.config();
        let vector = |weight: Weight| -> anyhow::Result<Vec<f32>> {
            let mut out = vec![0.0; checkpoint.shape(weight).map_or(0, |s| s.1)];
            checkpoint.read(weight, 0..1, &mut out)?;
            Ok(out)
        };
        let layer = self.layers();
        let inside = layer < config.layers;
        let gains = |weight| if inside { vector(weight) } else { Ok(Vec::new()) };
        let mut watch = Watch {
            found: std::mem::take(&mut self.found),
            skip: self.skip,
            attention_gain: gains(Weight::AttentionNorm(layer))?,
            ffn_gain: gains(Weight::FeedForwardNorm(layer))?,
            final_gain: vector(Weight::FinalNorm)?,
            head_dim: config.head_dim,
            qk_norm: config.qk_norm,
            epsilon: config.norm_epsilon,
        };
        let more = model.advance(&mut self.sweep, &mut watch);
        self.found = watch.found;
        more
    }

    /// What has been found so far.
    pub fn found(&self) -> &Calibration {
        &self.found
    }
}

/// Runs a decoder on pieces of text, each with the constant first token before it, if there is one.
pub fn calibrate(
    checkpoint: &dyn Checkpoint,
    prefix: Option<u32>,
    pieces: &[Vec<u32>],
) -> anyhow::Result<Calibration> {
    let model = FloatModel::open(checkpoint)?;
    let mut calibrating = Calibrating::new(&model, prefix, pieces)?;
    while calibrating.advance(&model, checkpoint)? {}
    Ok(calibrating.found)
}
