//! From a float decoder to one of integers.
//!
//! Every number gets a power-of-two scale, so that rounding is a shift:
//!
//! * weights one per matrix, the finest at which the largest accumulator that their rows allow stays below
//!   `2^30` (so nothing can wrap, whatever the input), with gains of the norms before them folded in;
//! * activations one per layer and site, from the largest magnitude in a calibration run with some room; beyond
//!   it they saturate;
//! * the residual sum one for the whole model.
//!
//! The keys and values of a constant first token are parameters: many models send there an attention that other
//! positions do not need and activations far larger than all others, which would coarsen every scale.

mod calibrate;
pub(super) mod fit;
pub mod tables;

use anyhow::{Context, bail, ensure};
use circlet_core::decoder::{Decoder, Extent, HeadScale, Layer, Linear, Matrix};
use circlet_core::program::{Requantize, RmsNorm};

pub use calibrate::{Calibrating, Calibration, LayerMaxima, Maxima, calibrate};
use fit::Floats;
use tables::Tables;

use super::{Checkpoint, Config, RopePairs, Weight};
use crate::numbers::{Numbers, Spool};

/// Bound of ordinary activations: fourteen bits.
pub const ACTIVATION: i64 = (1 << 13) - 1;
/// Bound of queries, keys and values: thirteen bits.
pub const HEAD: i64 = (1 << 12) - 1;
/// Bound of queries and keys, whose products are summed over the channels of a head.
pub fn pair_bound(channels: u32) -> i64 {
    ((1i64 << 30) - (1 << 17)).div_euclid(channels.into()).isqrt().min(HEAD)
}

/// Fraction bits of cosines and sines.
const ANGLE_BITS: u8 = 14;
/// Fraction bits of scores.
pub(super) const SCORE_BITS: i32 = 6;
/// Bound of scores.
pub(super) const SCORE: i64 = 15_000;
/// Room above the largest calibrated magnitude.
const ROOM: f64 = 1.15;
/// Accumulators stay below this.
pub(super) const ACCUMULATOR: i64 = (1 << 30) - (1 << 22);

/// What the user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The constant first token.
    pub prefix: Option<u32>,
    /// Most positions of a text, a power of two.
    pub positions: u32,
}

/// A decoder of integers with its numbers and scales.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Its structure.
    pub decoder: Decoder,
    /// Its numbers.
    pub numbers: Numbers,
    /// A logit `q` stands for `q * 2^-logit_bits`.
    pub logit_bits: i32,
}

/// The most fraction bits at which a magnitude, with room, stays within a bound.
pub(super) fn fraction(magnitude: f64, bound: i64) -> i32 {
    (bound as f64 / (magnitude.max(1e-6) * ROOM)).log2().floor().clamp(-12.0, 20.0) as i32
}

/// `floor(x)` rounded away by this many bits.
pub(super) fn shift(from: i32, to: i32, what: &str) -> anyhow::Result<u8> {
    let bits = from - to;
    ensure!((0..=20).contains(&bits), "{what}: cannot round {from} fraction bits to {to}; recalibrate");
    Ok(bits as u8)
}

struct Work<'a> {
    checkpoint: &'a dyn Checkpoint,
    config: &'a Config,
    maxima: &'a Maxima,
    tables: Tables,
    spool: Spool,
    /// Fraction bits of the residual sum.
    residual: i32,
}

/// Quantizes a decoder. `prefix` holds, for every layer, rotated keys and values of the constant first token. The
/// integers go into the spool as they come; a few rows of floats are in memory at a time.
pub fn quantize(
    checkpoint: &dyn Checkpoint,
    maxima: &Maxima,
    prefix: &[(Vec<f32>, Vec<f32>)],
    options: Options,
    spool: Spool,
) -> anyhow::Result<Quantized> {
    let config = checkpoint.config();
    refuse(config, options)?;
    let residual = fraction(maxima.residual.into(), (1 << 19) - 1).min(12);
    let mut work = Work { checkpoint, config, maxima, tables: Tables::default(), spool, residual };

    // The head first: a tied one decides about the embeddings.
    let final_fraction = fraction(maxima.final_normalized.into(), ACTIVATION);
    let final_norm = work.norm(final_fraction)?;
    let gain = work.vector(Weight::FinalNorm)?;
    let padded = circlet_core::circuit::split(config.vocab as u32).iter().any(|b| !b.1.is_power_of_two());
    let limit = if padded { (1 << 28) - 2 } else { (1 << 29) - 2 };
    let (embedding, align, head, final_gain, logit_bits);
    if config.tied_head {
        let fitted = work.matrix("embedding", Weight::Embedding, None, 1.0, (ACTIVATION, limit))?;
        let scaled = fraction(maxima.final_norm.into(), ACTIVATION);
        let (gains, fraction) = work.gains("final.gain", &gain, 1.0)?;
        let requantize = Requantize {
            shift: shift(final_fraction + fraction, scaled, "final norm")?,
            table: work.tables.clamp(16, ACTIVATION),
        };
        final_gain = Some((gains, requantize));
        work.spool.put("final.offset", &vec![0; config.width])?;
        align = align_to(fitted.1, residual);
        (embedding, head, logit_bits) = (fitted.0, None, scaled + fitted.1);
    } else {
        let floats = work.floats(Weight::Embedding, None, 1.0)?;
        let fitted = floats.at(residual)?;
        floats.keep(&fitted, &mut work.spool, "embedding")?;
        embedding = fitted.matrix;
        align = (0, 0);
        let fitted = work.matrix("head", Weight::Head, Some(&gain), 1.0, (ACTIVATION, limit))?;
        (head, final_gain, logit_bits) = (Some(fitted.0), None, final_fraction + fitted.1);
    }
    work.angles(options)?;
    let mut layers = Vec::new();
    for index in 0..config.layers {
        let context = || format!("layer {index}");
        layers.push(work.layer(index, prefix.get(index)).with_context(context)?);
    }
    let exponentials = work.tables.exponentials(options.positions);
    let mut decoder = Decoder {
        name: config.name.clone(),
        vocab: config.vocab as u32,
        width: config.width as u32,
        ffn: config.ffn as u32,
        heads: config.heads as u32,
        groups: config.kv_heads as u32,
        channels: config.head_dim as u32,
        positions: options.positions,
        pair: match config.rope.pairs {
            RopePairs::Interleaved => 0,
            RopePairs::Halves => config.head_dim.trailing_zeros() as u8 - 1,
        },
        angle: 1 << ANGLE_BITS,
        prefix: options.prefix,
        pad: config.eos.first().copied().or(options.prefix).unwrap_or(0),
        embedding,
        embedding_align: align,
        layers,
        final_norm,
        final_gain,
        head,
        tables: Vec::new(),
        exponentials,
    };
    let tables;
    (decoder.tables, tables) = work.tables.finish();
    let program = decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None });
    let names = program.constants.iter().map(|constant| constant.name.as_str());
    Ok(Quantized { numbers: work.spool.finish(names, tables)?, decoder, logit_bits })
}

/// Bits to the left and bits rounded away that bring one scale to another.
pub(super) fn align_to(from: i32, to: i32) -> (u8, u8) {
    ((to - from).max(0) as u8, (from - to).max(0) as u8)
}

fn refuse(config: &Config, options: Options) -> anyhow::Result<()> {
    if config.rope.dims != config.head_dim {
        bail!(
            "{} rotates only {} of {} channels of a head; partial rotation is not supported",
            config.name,
            config.rope.dims,
            config.head_dim
        );
    }
    if !config.head_dim.is_power_of_two() {
        bail!("{} has heads of {} channels; only powers of two are supported", config.name, config.head_dim);
    }
    if config.width > 8191 {
        bail!("{} is {} channels wide; norms take at most 8191", config.name, config.width);
    }
    if !options.positions.is_power_of_two() || !(1..=1024).contains(&options.positions) {
        bail!("{} positions: take a power of two up to 1024", options.positions);
    }
    if options.prefix.is_some_and(|token| token as usize >= config.vocab) {
        bail!("the constant first token is not in the vocabulary of {} tokens", config.vocab);
    }
    Ok(())
}

impl<'a> Work<'a> {
    fn shape(&self, weight: Weight) -> anyhow::Result<(usize, usize)> {
        self.checkpoint.shape(weight).with_context(|| format!("the model has no {weight:?}"))
    }

    fn vector(&self, weight: Weight) -> anyhow::Result<Vec<f32>> {
        let (rows, cols) = self.shape(weight)?;
        let mut out = vec![0.0; rows * cols];
        self.checkpoint.read(weight, 0..rows, &mut out)?;
        Ok(out)
    }

    /// A matrix times a factor and the gains of its input channels.
    fn floats<'b>(&self, weight: Weight, gain: Option<&'b [f32]>, factor: f32) -> anyhow::Result<Floats<'b>>
    where
        'a: 'b,
    {
        let (checkpoint, shape) = (self.checkpoint, self.shape(weight)?);
        Ok(Floats::new(shape, move |rows, out| {
            checkpoint.read(weight, rows, out)?;
            for row in out.chunks_mut(shape.1) {
                for (k, cell) in row.iter_mut().enumerate() {
                    *cell *= factor * gain.map_or(1.0, |gain| gain[k]);
                }
            }
            Ok(())
        }))
    }

    /// Gains times a factor, as fine as twelve bits and a sign allow: their bound and fraction bits.
    fn gains(&mut self, name: &str, gains: &[f32], factor: f32) -> anyhow::Result<(i64, i32)> {
        let floats = Floats::of(gains, gains.len(), factor);
        let fitted = floats.fit((ACTIVATION, i64::MAX), 12)?;
        floats.keep(&fitted, &mut self.spool, name)?;
        Ok((fitted.matrix.bound, fitted.fraction))
    }

    /// A matrix whose input channels have gains, fitted to inputs of a bound and a largest accumulator: its
    /// bounds and fraction bits.
    fn matrix(
        &mut self,
        name: &str,
        weight: Weight,
        gain: Option<&[f32]>,
        factor: f32,
        (input, limit): (i64, i64),
    ) -> anyhow::Result<(Matrix, i32)> {
        let floats = self.floats(weight, gain, factor)?;
        let fitted = floats.fit((input, limit), 13)?;
        floats.keep(&fitted, &mut self.spool, name)?;
        Ok((fitted.matrix, fitted.fraction))
    }

    /// A bias at an accumulator's scale.
    fn bias(
        &mut self,
        name: &str,
        weight: Weight,
        factor: f32,
        fraction: i32,
    ) -> anyhow::Result<Option<i64>> {
        if self.checkpoint.shape(weight).is_none() {
            return Ok(None);
        }
        let rows = self.vector(weight)?;
        let scale = f64::from(factor) * 2f64.powi(fraction);
        let cells: Vec<i32> = rows.iter().map(|&b| (f64::from(b) * scale).round_ties_even() as i32).collect();
        let bound = cells.iter().map(|&b| i64::from(b).abs()).max().unwrap_or(0);
        self.spool.put(&format!("{name}.bias"), &cells)?;
        Ok(Some(bound))
    }

    /// A norm of the residual sum to this many fraction bits.
    fn norm(&mut self, fraction: i32) -> anyhow::Result<RmsNorm> {
        self.rms(self.config.width, self.residual, fraction)
    }

    /// A norm of `channels` numbers of `from` fraction bits.
    fn rms(&mut self, channels: usize, from: i32, fraction: i32) -> anyhow::Result<RmsNorm> {
        let root = (channels as f64).sqrt();
        let most = root * 2f64.powi(fraction);
        let bits = (most + 1.0).log2().ceil() as i32 + 1;
        ensure!((2..=18).contains(&bits), "normalized values of {fraction} fraction bits; recalibrate");
        let shift = 30 - bits;
        let epsilon = self.config.norm_epsilon * channels as f64 * 4f64.powi(from);
        ensure!(epsilon < 2f64.powi(30), "the norm's epsilon is too large");
        Ok(RmsNorm {
            epsilon: epsilon.round().max(1.0) as u32,
            numerator: (most * 2f64.powi(shift)).floor() as u32,
            requantize: Requantize { shift: shift as u8, table: self.tables.clamp(bits as u8, ACTIVATION) },
        })
    }

    /// Rounds an accumulator of `from` fraction bits to `to` within a bound.
    fn rounding(&mut self, from: i32, to: i32, bound: i64, what: &str) -> anyhow::Result<Requantize> {
        let shift = shift(from, to, what)?;
        Ok(Requantize { shift, table: self.tables.clamp(domain(shift), bound) })
    }

    fn angles(&mut self, options: Options) -> anyhow::Result<()> {
        let (channels, rope) = (self.config.head_dim, &self.config.rope);
        let frequencies = rope.frequencies();
        let first = usize::from(options.prefix.is_some());
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for row in 0..options.positions as usize {
            for c in 0..channels {
                let (pair, lower) = match rope.pairs {
                    RopePairs::Interleaved => (c / 2, c % 2 == 0),
                    RopePairs::Halves => (c % (channels / 2), c < channels / 2),
                };
                let angle = (row + first) as f64 * frequencies[pair];
                let scale = f64::from(1u32 << ANGLE_BITS);
                cos.push((libm::cos(angle) * scale).round_ties_even() as i32);
                let s = (libm::sin(angle) * scale).round_ties_even() as i32;
                sin.push(if lower { -s } else { s });
            }
        }
        self.spool.put("cos", &cos)?;
        Ok(self.spool.put("sin", &sin)?)
    }

    /// A projection into heads with its norm, at `fraction` bits in the end.
    fn heads(
        &mut self,
        name: &str,
        weights: [Weight; 3],
        gain: &[f32],
        (factor, input): (f32, i32),
        (raw, normalized, fraction, bound): (f32, f32, i32, i64),
    ) -> anyhow::Result<(Linear, Option<HeadScale>)> {
        let norm = self.checkpoint.shape(weights[2]).is_some();
        // A norm takes any factor back, so it goes into the gain.
        let own = if norm { 1.0 } else { factor };
        let (matrix, weight_bits) =
            self.matrix(name, weights[0], Some(gain), own, (ACTIVATION, ACCUMULATOR - (1 << 28)))?;
        let bias = self.bias(name, weights[1], own, input + weight_bits)?;
        ensure!(bias.unwrap_or(0) < 1 << 28, "{name}: the bias is too large for its scale");
        if !norm {
            let requantize = self.rounding(input + weight_bits, fraction, bound, name)?;
            return Ok((Linear { matrix, bias, requantize }, None));
        }
        let raw = self::fraction(raw.into(), ACTIVATION).min(input + weight_bits);
        let requantize = self.rounding(input + weight_bits, raw, ACTIVATION, name)?;
        let middle = self::fraction(normalized.into(), ACTIVATION);
        let norm = self.rms(self.config.head_dim, raw, middle)?;
        let (gain, bits) = self.gains(&format!("{name}.gain"), &self.vector(weights[2])?, factor)?;
        let scaled = self.rounding(middle + bits, fraction, bound, name)?;
        let scale = HeadScale { norm, gain, requantize: scaled };
        Ok((Linear { matrix, bias, requantize }, Some(scale)))
    }

    fn layer(&mut self, index: usize, prefix: Option<&(Vec<f32>, Vec<f32>)>) -> anyhow::Result<Layer> {
        let maxima = self.maxima.layers[index];
        let name = |what: &str| format!("layers.{index}.{what}");
        let normalized = fraction(maxima.attention_normalized.into(), ACTIVATION);
        let attention_norm = self.norm(normalized)?;
        let gain = self.vector(Weight::AttentionNorm(index))?;

        // Scores are divided by the root of the channels: by a power of two and, in the queries, by the rest.
        let root = (self.config.head_dim as f64).sqrt();
        let halvings = root.log2().ceil() as i32;
        let factor = (2f64.powi(halvings) / root) as f32;
        let bound = pair_bound(self.config.head_dim as u32);
        let query_bits = fraction(f64::from(maxima.query * factor), bound);
        let key_bits = fraction(maxima.key.into(), bound);
        let value_bits = fraction(maxima.value.into(), HEAD);
        let (query, query_norm) = self.heads(
            &name("query"),
            [Weight::Query(index), Weight::QueryBias(index), Weight::QueryNorm(index)],
            &gain,
            (factor, normalized),
            (maxima.query_raw, maxima.query_normalized, query_bits, bound),
        )?;
        let (key, key_norm) = self.heads(
            &name("key"),
            [Weight::Key(index), Weight::KeyBias(index), Weight::KeyNorm(index)],
            &gain,
            (1.0, normalized),
            (maxima.key_raw, maxima.key_normalized, key_bits, bound),
        )?;
        let (value, _) = self.heads(
            &name("value"),
            // Values have no norm: a weight that no model has.
            [Weight::Value(index), Weight::ValueBias(index), Weight::KeyNorm(usize::MAX)],
            &gain,
            (1.0, normalized),
            (maxima.value, 0.0, value_bits, HEAD),
        )?;
        let rotated = Requantize { shift: ANGLE_BITS, table: self.tables.clamp(16, bound) };
        let score = self.rounding(query_bits + key_bits + halvings, SCORE_BITS, SCORE, "scores")?;
        if let Some((keys, values)) = prefix {
            for (what, numbers, bits, bound) in
                [("key", keys, key_bits, bound), ("value", values, value_bits, HEAD)]
            {
                let scale = 2f64.powi(bits);
                let round = |&v: &f32| (f64::from(v) * scale).round_ties_even() as i64;
                let cells: Vec<i32> = numbers.iter().map(|v| round(v).clamp(-bound, bound) as i32).collect();
                self.spool.put(&name(&format!("prefix.{what}")), &cells)?;
            }
        }
        let (output, output_bits) =
            self.matrix(&name("output"), Weight::Output(index), None, 1.0, (HEAD + 1, ACCUMULATOR))?;
        let output_shift = shift(value_bits + output_bits, self.residual, "output projection")?;

        let normalized = fraction(maxima.ffn_normalized.into(), ACTIVATION);
        let ffn_norm = self.norm(normalized)?;
        let gain = self.vector(Weight::FeedForwardNorm(index))?;
        let input = (ACTIVATION, ACCUMULATOR);
        let (gate, gate_weight) = self.matrix(&name("gate"), Weight::Gate(index), Some(&gain), 1.0, input)?;
        let gate_bits = fraction(maxima.gate.into(), ACTIVATION);
        let gate_shift = shift(normalized + gate_weight, gate_bits, "gate")?;
        let activation = self.config.activation;
        let table = self.tables.activation(activation, domain(gate_shift), gate_bits);
        let gate = Linear { matrix: gate, bias: None, requantize: Requantize { shift: gate_shift, table } };
        let (up, up_weight) = self.matrix(&name("up"), Weight::Up(index), Some(&gain), 1.0, input)?;
        let up_bits = fraction(maxima.up.into(), ACTIVATION);
        let requantize = self.rounding(normalized + up_weight, up_bits, ACTIVATION, "up")?;
        let up = Linear { matrix: up, bias: None, requantize };
        let product_bits = fraction(maxima.gated.into(), ACTIVATION).min(gate_bits + up_bits);
        let product = self.rounding(gate_bits + up_bits, product_bits, ACTIVATION, "gated product")?;
        let (down, down_weight) = self.matrix(&name("down"), Weight::Down(index), None, 1.0, input)?;
        let down_shift = shift(product_bits + down_weight, self.residual, "down projection")?;
        Ok(Layer {
            attention_norm,
            query,
            query_norm,
            query_rotated: rotated,
            key,
            key_norm,
            key_rotated: rotated,
            value,
            score,
            output,
            output_shift,
            ffn_norm,
            gate,
            up,
            product,
            down,
            down_shift,
        })
    }
}

/// Bits of the table after a shift: as wide as the field allows without a further check, up to sixteen.
pub(super) fn domain(shift: u8) -> u8 {
    30u8.saturating_sub(shift).clamp(15, 16)
}
