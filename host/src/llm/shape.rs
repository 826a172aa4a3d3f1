//! Decoders of a real model's shape with random weights: for measuring what a model of that shape costs.
//!
//! Nothing here computes anything sensible; sizes, bounds and the work of prover and verifier are those of the
//! real shape. Weights are eight bits with a standard deviation of 28, as a quantized matrix has.

use circlet_core::decoder::{Decoder, Extent, HeadScale, Layer, Linear, Matrix};
use circlet_core::program::{Requantize, RmsNorm};
use rayon::prelude::*;

use super::quantize::tables::Tables;
use super::{Activation, quantize};
use crate::numbers::{List, Numbers};

/// The numbers of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// Blocks of the whole model.
    pub layers: u32,
    /// Channels of the residual sum.
    pub width: u32,
    /// Channels of the feed-forward block.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub groups: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Number of tokens.
    pub vocab: u32,
    /// Whether queries and keys are normalized.
    pub qk_norm: bool,
}

/// All shapes that are known.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "smollm2-135m",
        layers: 30,
        width: 576,
        ffn: 1536,
        heads: 9,
        groups: 3,
        channels: 64,
        vocab: 49_152,
        qk_norm: false,
    },
    Shape {
        name: "qwen3-0.6b",
        layers: 28,
        width: 1024,
        ffn: 3072,
        heads: 16,
        groups: 8,
        channels: 128,
        vocab: 151_936,
        qk_norm: true,
    },
    Shape {
        name: "qwen3-14b",
        layers: 40,
        width: 5120,
        ffn: 17_408,
        heads: 40,
        groups: 8,
        channels: 128,
        vocab: 151_936,
        qk_norm: true,
    },
];

/// Standard deviation of the weights.
const DEVIATION: f64 = 28.0;
/// Bound of activations that matrices read: eleven bits and a sign, so that no accumulator of the longest rows can
/// wrap.
const INPUT: i64 = (1 << 11) - 1;

impl Shape {
    /// The shape with this name.
    pub fn named(name: &str) -> Option<Self> {
        SHAPES.into_iter().find(|shape| shape.name == name)
    }

    /// Weights of one layer.
    pub fn layer_weights(self) -> u64 {
        let (width, ffn) = (u64::from(self.width), u64::from(self.ffn));
        let (q, kv) = (u64::from(self.heads * self.channels), u64::from(self.groups * self.channels));
        width * (2 * q + 2 * kv) + 3 * width * ffn
    }

    /// A decoder of `layers` such blocks and a vocabulary of `vocab` tokens, with random weights.
    pub fn decoder(self, layers: u32, vocab: u32, positions: u32) -> (Decoder, Numbers) {
        let mut tables = Tables::default();
        let clamp = |tables: &mut Tables, shift: u8, bound: i64| Requantize {
            shift,
            table: tables.clamp(30u8.saturating_sub(shift).clamp(15, 16), bound),
        };
        let rms = |tables: &mut Tables, channels: u32, fraction: i32| {
            let most = f64::from(channels).sqrt() * 2f64.powi(fraction);
            let bits = (most + 1.0).log2().ceil() as i32 + 1;
            RmsNorm {
                epsilon: 1000,
                numerator: (most * 2f64.powi(30 - bits)).floor() as u32,
                requantize: Requantize { shift: (30 - bits) as u8, table: tables.clamp(bits as u8, INPUT) },
            }
        };
        // The norm of a row of random weights times activations of this size, in bits.
        let spread = |cols: u32, size: f64| (DEVIATION * size * f64::from(cols).sqrt()).log2();
        let toward = |bits: f64, target: f64| (bits - target).round().clamp(1.0, 16.0) as u8;
        let pair = quantize::pair_bound(self.channels);
        let norm = rms(&mut tables, self.width, 8);
        let head_norm = rms(&mut tables, self.channels, 8);
        let q = self.heads * self.channels;
        let projection =
            |tables: &mut Tables, bound| clamp(tables, toward(spread(self.width, 256.0), 9.0), bound);
        let matrix = Matrix { bound: 127, row_l1: 0 };
        let linear = |requantize| Linear { matrix, bias: None, requantize };
        let scale = |tables: &mut Tables| {
            self.qk_norm.then(|| HeadScale { norm: head_norm, gain: 127, requantize: clamp(tables, 6, pair) })
        };
        let rotated = clamp(&mut tables, 14, pair);
        let gate_shift = toward(spread(self.width, 256.0), 8.0);
        let layer = Layer {
            attention_norm: norm,
            query: linear(projection(&mut tables, pair)),
            query_norm: scale(&mut tables),
            query_rotated: rotated,
            key: linear(projection(&mut tables, pair)),
            key_norm: scale(&mut tables),
            key_rotated: rotated,
            value: linear(projection(&mut tables, INPUT)),
            score: clamp(&mut tables, 14, 15_000),
            output: matrix,
            output_shift: toward(spread(q, 128.0), 8.0),
            ffn_norm: norm,
            gate: linear(Requantize {
                shift: gate_shift,
                table: tables.activation(Activation::Silu, 30u8.saturating_sub(gate_shift).clamp(15, 16), 8),
            }),
            up: linear(projection(&mut tables, INPUT)),
            product: clamp(&mut tables, 10, INPUT),
            down: matrix,
            down_shift: toward(spread(self.ffn, 64.0), 8.0),
        };
        let exponentials = tables.exponentials(positions);
        let final_norm = norm;
        let (tables, table_values) = tables.finish();
        let mut decoder = Decoder {
            name: format!("{} with {layers} layers of random weights", self.name),
            vocab,
            width: self.width,
            ffn: self.ffn,
            heads: self.heads,
            groups: self.groups,
            channels: self.channels,
            positions,
            pair: self.channels.trailing_zeros() as u8 - 1,
            angle: 1 << 14,
            prefix: None,
            pad: 0,
            embedding: matrix,
            embedding_align: (3, 0),
            layers: vec![layer; layers as usize],
            final_norm,
            final_gain: None,
            head: None,
            tables,
            exponentials,
        };
        let program = decoder.program(Extent { rows: 1, first: 0, generated: 1, past: None });
        // Each packed, with the largest sum of absolute values in a row.
        let constants: Vec<(List, i64)> = program
            .constants
            .iter()
            .enumerate()
            .map(|(index, constant)| {
                let cols = constant.cols as usize;
                let sum = |row: &[i32]| row.iter().map(|&v| i64::from(v).abs()).sum::<i64>();
                let packed =
                    |cells: &[i32]| (List::pack(cells), cells.chunks(cols).map(sum).max().unwrap_or(0));
                if constant.name == "cos" || constant.name == "sin" {
                    let pairs = cols / 2;
                    let angle = |i: usize| {
                        (i / cols) as f64 * 1e6f64.powf(-((i % cols % pairs) as f64) / pairs as f64)
                    };
                    let sign = |i: usize| if i % cols < pairs { -1.0 } else { 1.0 };
                    let value = |i: usize| match constant.name.as_str() {
                        "cos" => libm::cos(angle(i)),
                        _ => sign(i) * libm::sin(angle(i)),
                    };
                    let cells =
                        (0..constant.rows as usize * cols).map(|i| (value(i) * 16384.0).round() as i32);
                    return packed(&cells.collect::<Vec<_>>());
                }
                let cells: Vec<i32> = (0..constant.rows as usize)
                    .into_par_iter()
                    .flat_map_iter(|row| {
                        let mut noise = Noise::new(index as u64, row as u64);
                        (0..cols).map(move |_| noise.weight())
                    })
                    .collect();
                packed(&cells)
            })
            .collect();
        // The bounds of what was drawn.
        let bounds = |name: &str| {
            let of = program.constants.iter().zip(&constants).filter(|(c, _)| c.name.ends_with(name));
            Matrix { bound: 127, row_l1: of.map(|(_, (_, row_l1))| *row_l1).max().unwrap_or(0) }
        };
        decoder.embedding = bounds("embedding");
        for layer in &mut decoder.layers {
            layer.query.matrix = bounds(".query");
            layer.key.matrix = bounds(".key");
            layer.value.matrix = bounds(".value");
            layer.output = bounds(".output");
            layer.gate.matrix = bounds(".gate");
            layer.up.matrix = bounds(".up");
            layer.down = bounds(".down");
        }
        let constants = constants.into_iter().map(|(list, _)| list).collect();
        (decoder, Numbers { constants, tables: table_values })
    }
}

/// SplitMix64.
struct Noise(u64);

impl Noise {
    fn new(matrix: u64, row: u64) -> Self {
        Self(matrix << 32 ^ row)
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal: the sum of four uniform numbers of sixteen bits.
    fn weight(&mut self) -> i32 {
        let word = self.word();
        let sum: u64 = (0..4).map(|k| word >> (16 * k) & 0xffff).sum();
        let standard = (sum as f64 / 65536.0 - 2.0) / (1.0f64 / 3.0).sqrt();
        (standard * DEVIATION).round().clamp(-127.0, 127.0) as i32
    }
}
