//! From a float encoder to one of integers.
//!
//! Scales are powers of two, as in [`crate::llm::quantize`]: weights as fine as their rows' largest accumulator allows,
//! activations one scale for each layer and site from a calibration run. Every sum before a norm has a scale of its own
//! and twenty bits: sums reach magnitudes far beyond those of activations.

use anyhow::{Context, ensure};
use circlet_core::decoder::{Linear, Matrix};
use circlet_core::encoder::{Encoder, Layer, Norm};
use circlet_core::program::{Requantize, RmsNorm, WIDE};

use super::float::{Maxima, NormMaxima};
use super::{EncoderWeight, EncoderWeights};
use crate::llm::quantize::fit::Floats;
use crate::llm::quantize::tables::Tables;
use crate::llm::quantize::{
    ACCUMULATOR, ACTIVATION, HEAD, SCORE, SCORE_BITS, align_to, domain, fraction, pair_bound, shift,
};
use crate::numbers::{Numbers, Spool};

/// Bound of biases at an accumulator's scale; accumulators leave that much room.
const BIAS: i64 = 1 << 28;
/// Most fraction bits of a sum.
const SUM_BITS: i32 = 16;

/// An encoder of integers with its numbers and scale.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Its structure.
    pub encoder: Encoder,
    /// Its numbers.
    pub numbers: Numbers,
    /// An entry `q` of a sentence's vector stands for `q * 2^-bits`.
    pub bits: i32,
}

struct Work<'a> {
    weights: &'a EncoderWeights,
    tables: Tables,
    spool: Spool,
}

/// Quantizes an encoder for sentences of up to `positions` tokens, a power of two. `pad` stands at unused positions.
pub fn quantize(
    weights: &EncoderWeights,
    maxima: &Maxima,
    positions: u32,
    pad: u32,
) -> anyhow::Result<Quantized> {
    use EncoderWeight as W;
    let config = weights.config();
    ensure!(
        positions.is_power_of_two() && positions <= 512 && positions as usize <= config.positions,
        "{positions} positions: take a power of two up to 512 and up to the model's {}",
        config.positions
    );
    ensure!((pad as usize) < config.vocab, "padding token {pad} is not in the vocabulary");
    let mut work = Work { weights, tables: Tables::default(), spool: Spool::memory() };

    let (words, word_bits) = work.fine("words", weights.get(W::WordEmbedding))?;
    let width = config.width;
    let kind = &weights.get(W::TypeEmbedding)[..width];
    let places: Vec<f32> = weights.get(W::PositionEmbedding)[..positions as usize * width]
        .chunks_exact(width)
        .flat_map(|row| row.iter().zip(kind).map(|(place, kind)| place + kind))
        .collect();
    let (places, place_bits) = work.fine("places", &places)?;
    let sum_bits = sum_bits(&maxima.embedding);
    let (embedding_norm, mut bits) = work.norm(
        "embedding",
        (W::EmbeddingNormGain, W::EmbeddingNormBias, None),
        sum_bits,
        &maxima.embedding,
    )?;
    let mut layers = Vec::new();
    for index in 0..config.layers {
        let layer;
        (layer, bits) = work.layer(index, bits, maxima).with_context(|| format!("layer {index}"))?;
        layers.push(layer);
    }
    let exponentials = work.tables.exponentials(positions);
    let mut encoder = Encoder {
        name: config.name.clone(),
        vocab: config.vocab as u32,
        width: width as u32,
        ffn: config.ffn as u32,
        heads: config.heads as u32,
        channels: config.head_dim() as u32,
        positions,
        pad,
        words,
        words_align: align_to(word_bits, sum_bits),
        places,
        places_align: align_to(place_bits, sum_bits),
        embedding_norm,
        layers,
        tables: Vec::new(),
        exponentials,
    };
    let tables;
    (encoder.tables, tables) = work.tables.finish();
    let program = encoder.program(1);
    let names = program.constants.iter().map(|constant| constant.name.as_str());
    Ok(Quantized { numbers: work.spool.finish(names, tables)?, encoder, bits })
}

/// Fraction bits of a sum.
fn sum_bits(maxima: &NormMaxima) -> i32 {
    fraction(maxima.sum.into(), WIDE - 1).min(SUM_BITS)
}

impl Work<'_> {
    /// Numbers that no product sums up, as fine as thirteen bits and a sign allow.
    fn fine(&mut self, name: &str, cells: &[f32]) -> anyhow::Result<(Matrix, i32)> {
        let floats = Floats::of(cells, self.weights.config().width, 1.0);
        self.fitted(name, &floats, (ACTIVATION, i64::MAX), 13)
    }

    /// A matrix as fine as limits allow: its bounds and fraction bits.
    fn fitted(
        &mut self,
        name: &str,
        floats: &Floats<'_>,
        limits: (i64, i64),
        bits: i32,
    ) -> anyhow::Result<(Matrix, i32)> {
        let fitted = floats.fit(limits, bits)?;
        floats.keep(&fitted, &mut self.spool, name)?;
        Ok((fitted.matrix, fitted.fraction))
    }

    /// A weight matrix for inputs of a bound: its bounds and fraction bits.
    fn matrix(
        &mut self,
        name: &str,
        weight: EncoderWeight,
        cols: usize,
        factor: f32,
        input: i64,
    ) -> anyhow::Result<(Matrix, i32)> {
        let weights = self.weights;
        let floats = Floats::of(weights.get(weight), cols, factor);
        self.fitted(name, &floats, (input, ACCUMULATOR - BIAS), 13)
    }

    /// Numbers at a scale: their bound.
    fn vector(&mut self, name: &str, weight: EncoderWeight, factor: f32, bits: i32) -> anyhow::Result<i64> {
        let scale = f64::from(factor) * 2f64.powi(bits);
        let round = |v: &f32| (f64::from(*v) * scale).round_ties_even() as i32;
        let cells: Vec<i32> = self.weights.get(weight).iter().map(round).collect();
        let bound = cells.iter().map(|&b| i64::from(b).abs()).max().unwrap_or(0);
        ensure!(bound < BIAS, "{name}: a bias is too large for its scale");
        self.spool.put(name, &cells)?;
        Ok(bound)
    }

    /// A LayerNorm of a sum, and the fraction bits of its result.
    fn norm(
        &mut self,
        name: &str,
        (gain, bias, offset): (EncoderWeight, EncoderWeight, Option<EncoderWeight>),
        sum_bits: i32,
        maxima: &NormMaxima,
    ) -> anyhow::Result<(Norm, i32)> {
        let config = self.weights.config();
        let offset =
            offset.map(|weight| self.vector(&format!("{name}.offset"), weight, 1.0, sum_bits)).transpose()?;
        ensure!(offset.unwrap_or(0) < WIDE, "{name}: a bias is too large for the sum's scale");
        let channels = config.width as f64;
        let middle = fraction(maxima.normalized.into(), ACTIVATION);
        let most = channels.sqrt() * 2f64.powi(middle);
        let bits = (most + 1.0).log2().ceil() as i32 + 1;
        ensure!((2..=18).contains(&bits), "normalized values of {middle} fraction bits; recalibrate");
        let epsilon = (config.norm_epsilon * channels * 4f64.powi(sum_bits)).round().max(1.0);
        ensure!(epsilon < 2f64.powi(30), "the norm's epsilon is too large");
        let norm = RmsNorm {
            epsilon: epsilon as u32,
            numerator: (most * 2f64.powi(30 - bits)).floor() as u32,
            requantize: Requantize {
                shift: (30 - bits) as u8,
                table: self.tables.clamp(bits as u8, ACTIVATION),
            },
        };
        let weights = self.weights;
        let gains = Floats::of(weights.get(gain), config.width, 1.0);
        let (gains, gain_bits) = self.fitted(&format!("{name}.gain"), &gains, (ACTIVATION, i64::MAX), 12)?;
        let bits = middle + gain_bits;
        let result = fraction(maxima.result.into(), ACTIVATION).min(bits);
        let bias = self.vector(&format!("{name}.bias"), bias, 1.0, bits)?;
        let requantize = self.rounding(bits, result, ACTIVATION, name)?;
        Ok((Norm { offset, norm, gain: gains.bound, bias, requantize }, result))
    }

    /// Rounds an accumulator of `from` fraction bits to `to` within a bound.
    fn rounding(&mut self, from: i32, to: i32, bound: i64, what: &str) -> anyhow::Result<Requantize> {
        let shift = shift(from, to, what)?;
        Ok(Requantize { shift, table: self.tables.clamp(domain(shift), bound) })
    }

    /// A projection of activations of `input` fraction bits into heads, at `bits` in the end.
    fn heads(
        &mut self,
        name: &str,
        (weight, bias): (EncoderWeight, EncoderWeight),
        factor: f32,
        input: i32,
        (bits, bound): (i32, i64),
    ) -> anyhow::Result<Linear> {
        let width = self.weights.config().width;
        let (matrix, weight_bits) = self.matrix(name, weight, width, factor, ACTIVATION)?;
        let bias = Some(self.vector(&format!("{name}.bias"), bias, factor, input + weight_bits)?);
        let requantize = self.rounding(input + weight_bits, bits, bound, name)?;
        Ok(Linear { matrix, bias, requantize })
    }

    /// A block whose input has `input` fraction bits, and those of its result.
    fn layer(&mut self, index: usize, input: i32, maxima: &Maxima) -> anyhow::Result<(Layer, i32)> {
        use EncoderWeight as W;
        let maxima = maxima.layers.get(index).copied().context("no calibration of this layer")?;
        let config = self.weights.config();
        let name = |what: &str| format!("layers.{index}.{what}");

        // Scores are divided by the root of the channels: by a power of two and, in the queries, by the rest.
        let root = (config.head_dim() as f64).sqrt();
        let halvings = root.log2().ceil() as i32;
        let factor = (2f64.powi(halvings) / root) as f32;
        let bound = pair_bound(config.head_dim() as u32);
        let query_bits = fraction(f64::from(maxima.query * factor), bound);
        let key_bits = fraction(maxima.key.into(), bound);
        let value_bits = fraction(maxima.value.into(), HEAD);
        let query = self.heads(
            &name("query"),
            (W::Query(index), W::QueryBias(index)),
            factor,
            input,
            (query_bits, bound),
        )?;
        let key =
            self.heads(&name("key"), (W::Key(index), W::KeyBias(index)), 1.0, input, (key_bits, bound))?;
        let value = self.heads(
            &name("value"),
            (W::Value(index), W::ValueBias(index)),
            1.0,
            input,
            (value_bits, HEAD),
        )?;
        let score = self.rounding(query_bits + key_bits + halvings, SCORE_BITS, SCORE, "scores")?;
        let (output, output_bits) =
            self.matrix(&name("output"), W::Output(index), config.width, 1.0, HEAD + 1)?;
        let sum_bits = sum_bits(&maxima.attention).min(value_bits + output_bits);
        let output_shift = shift(value_bits + output_bits, sum_bits, "output projection")?;
        let attention_align = align_to(input, sum_bits);
        let norms = (W::AttentionNormGain(index), W::AttentionNormBias(index), Some(W::OutputBias(index)));
        let (attention_norm, middle) =
            self.norm(&name("attention_norm"), norms, sum_bits, &maxima.attention)?;

        let (up, up_weight) = self.matrix(&name("up"), W::Up(index), config.width, 1.0, ACTIVATION)?;
        let bias = Some(self.vector(&name("up.bias"), W::UpBias(index), 1.0, middle + up_weight)?);
        // The table takes arguments of four times the bound of its values.
        let hidden_bits = fraction(maxima.hidden.into(), ACTIVATION)
            .min(fraction(maxima.up.into(), 4 * ACTIVATION))
            .min(middle + up_weight);
        let up_shift = shift(middle + up_weight, hidden_bits, "first projection")?;
        let table = self.tables.activation(config.activation, domain(up_shift), hidden_bits);
        let up = Linear { matrix: up, bias, requantize: Requantize { shift: up_shift, table } };
        let (down, down_weight) = self.matrix(&name("down"), W::Down(index), config.ffn, 1.0, ACTIVATION)?;
        let bits = hidden_bits + down_weight;
        let down_bias = Some(self.vector(&name("down.bias"), W::DownBias(index), 1.0, bits)?);
        let sum_bits = self::sum_bits(&maxima.output).min(bits);
        let down_shift = shift(bits, sum_bits, "second projection")?;
        let output_align = align_to(middle, sum_bits);
        let norms = (W::OutputNormGain(index), W::OutputNormBias(index), None);
        let (output_norm, result) = self.norm(&name("output_norm"), norms, sum_bits, &maxima.output)?;
        let layer = Layer {
            query,
            key,
            value,
            score,
            output,
            output_shift,
            attention_align,
            attention_norm,
            up,
            down,
            down_bias,
            down_shift,
            output_align,
            output_norm,
        };
        Ok((layer, result))
    }
}
