//! Decoders and encoders with random weights.

use circlet_core::decoder::{Decoder, Extent, HeadScale, Layer, Linear, Matrix};
use circlet_core::encoder::{self, Encoder};
use circlet_core::program::{Data, Requantize, TableId};

use super::{ProgramBuilder, Random, angle, rms_norm};

/// Sizes and options of a random decoder.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)]
pub struct DecoderShape {
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: u32,
    /// Groups of heads that share keys and values.
    pub groups: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Channels of the residual sum.
    pub width: u32,
    /// Channels of the feed-forward block.
    pub ffn: u32,
    /// Number of tokens.
    pub vocab: u32,
    /// Whether there is a constant first token.
    pub prefix: bool,
    /// Whether queries and keys are normalized.
    pub norms: bool,
    /// Whether all projections have biases, or only keys.
    pub biases: bool,
    /// The bit in which the channels of a pair differ.
    pub pair: u8,
    /// Whether the head is the embedding.
    pub tied: bool,
}

/// A small decoder with random weights: all its constants and tables, in the order of its programs.
pub fn decoder(layers: usize, heads: u32, groups: u32, prefix: bool) -> (Decoder, Data) {
    random_decoder(&DecoderShape {
        layers,
        heads,
        groups,
        channels: 8,
        width: 24,
        ffn: 40,
        vocab: 48,
        prefix,
        norms: false,
        biases: false,
        pair: 2,
        tied: false,
    })
}

/// A decoder of any small shape.
pub fn random_decoder(shape: &DecoderShape) -> (Decoder, Data) {
    let DecoderShape { width, ffn, heads, groups, channels, vocab, .. } = *shape;
    let mut b = ProgramBuilder::new("decoder");
    let clamp14 = b.clamp(16, 8191);
    let clamp13 = b.clamp(16, 4095);
    let score = b.clamp(16, 15_000);
    let silu = b.table("silu", 14, |x| {
        let v = x as f64 / 256.0;
        (v / (1.0 + (-v).exp()) * 256.0).round() as i64
    });
    let exponential = |most: f64| {
        move |x: i64| {
            let distance = (x + (1 << 9)) as f64 / 64.0;
            (most * (-distance).exp()).round() as i64
        }
    };
    let near = b.table("exp", 10, exponential(3900.0));
    let far = b.table("exp.long", 10, exponential(2000.0));
    let Random(seed) = b.random;
    let mut random = Random(seed);
    let to = |shift: u8, table: TableId| Requantize { shift, table };
    let matrix = |bound: i64, cols: u32| Matrix { bound, row_l1: bound * i64::from(cols) };
    // Normalized values have a root mean square of about 512.
    let norm = rms_norm(width, 200, 9, clamp14);
    let head_norm =
        HeadScale { norm: rms_norm(channels, 7, 9, clamp13), gain: 700, requantize: to(9, clamp13) };
    let head_norm = shape.norms.then_some(head_norm);
    let bias = |bound: i64| shape.biases.then_some(bound);
    let layer = Layer {
        attention_norm: norm,
        query: Linear { matrix: matrix(300, width), bias: bias(100_000), requantize: to(9, clamp13) },
        query_norm: head_norm,
        query_rotated: to(14, clamp13),
        key: Linear { matrix: matrix(300, width), bias: Some(90_000), requantize: to(9, clamp13) },
        key_norm: head_norm,
        key_rotated: to(14, clamp13),
        value: Linear { matrix: matrix(300, width), bias: bias(80_000), requantize: to(9, clamp13) },
        score: to(14, score),
        output: matrix(300, heads * channels),
        output_shift: 10,
        ffn_norm: norm,
        gate: Linear { matrix: matrix(200, width), bias: bias(50_000), requantize: to(10, silu) },
        up: Linear { matrix: matrix(200, width), bias: bias(50_000), requantize: to(10, clamp14) },
        product: to(8, clamp14),
        down: matrix(200, ffn),
        down_shift: 10,
    };
    let decoder = Decoder {
        name: String::from("random"),
        vocab,
        width,
        ffn,
        heads,
        groups,
        channels,
        positions: 64,
        pair: shape.pair,
        angle: 1 << 14,
        prefix: shape.prefix.then_some(3),
        pad: 0,
        embedding: matrix(900, width),
        embedding_align: (0, 1),
        layers: vec![layer; shape.layers],
        final_norm: norm,
        final_gain: Some((2000, to(10, clamp14))),
        head: (!shape.tied).then_some(matrix(500, width)),
        tables: b.program.tables,
        exponentials: vec![(16, near), (64, far)],
    };
    let program = decoder.program(Extent { rows: 4, first: 0, generated: 1, past: None });
    let constants = program.constants.iter().map(|constant| {
        let cols = constant.cols;
        let cell = |i: u32, random: &mut Random| match constant.name.as_str() {
            "cos" => angle(i / cols, i % cols, shape.pair, channels).0,
            "sin" => angle(i / cols, i % cols, shape.pair, channels).1,
            _ => random.symmetric(constant.bound),
        };
        (0..constant.rows * cols).map(|i| cell(i, &mut random)).collect()
    });
    let data = Data { constants: constants.collect(), tables: b.data.tables };
    (decoder, data)
}

/// A small sentence encoder with random weights: 24 channels in three heads, 48 tokens, 16 positions.
pub fn encoder(layers: usize) -> (Encoder, Data) {
    const WIDTH: u32 = 24;
    const FFN: u32 = 40;
    let mut b = ProgramBuilder::new("encoder");
    let clamp14 = b.clamp(16, 8191);
    let clamp13 = b.clamp(16, 4095);
    let score = b.clamp(16, 15_000);
    let gelu = b.table("gelu", 15, |x| {
        let v = x as f64 / 256.0;
        let inner = 0.797_884_6 * (v + 0.044_715 * v * v * v);
        ((v / 2.0 * (1.0 + inner.tanh()) * 256.0).round() as i64).clamp(-8191, 8191)
    });
    let exp = b.table("exp", 10, |x| (3900.0 * (-(x + (1 << 9)) as f64 / 64.0).exp()).round() as i64);
    let Random(seed) = b.random;
    let mut random = Random(seed);
    let to = |shift: u8, table: TableId| Requantize { shift, table };
    let matrix = |bound: i64, cols: u32| Matrix { bound, row_l1: bound * i64::from(cols) };
    let norm = |offset| encoder::Norm {
        offset,
        norm: rms_norm(WIDTH, 1, 9, clamp14),
        gain: 700,
        bias: 100_000,
        requantize: to(9, clamp14),
    };
    let linear = |bias, shift, table| Linear {
        matrix: matrix(300, WIDTH),
        bias: Some(bias),
        requantize: to(shift, table),
    };
    let layer = encoder::Layer {
        query: linear(100_000, 9, clamp13),
        key: linear(90_000, 9, clamp13),
        value: linear(80_000, 9, clamp13),
        score: to(14, score),
        output: matrix(300, WIDTH),
        output_shift: 10,
        attention_align: (1, 0),
        attention_norm: norm(Some(500)),
        up: linear(50_000, 10, gelu),
        down: matrix(200, FFN),
        down_bias: Some(50_000),
        down_shift: 9,
        output_align: (3, 2),
        output_norm: norm(None),
    };
    let encoder = Encoder {
        name: String::from("random"),
        vocab: 48,
        width: WIDTH,
        ffn: FFN,
        heads: 3,
        channels: 8,
        positions: 16,
        pad: 0,
        words: matrix(900, WIDTH),
        words_align: (0, 1),
        places: matrix(300, WIDTH),
        places_align: (1, 0),
        embedding_norm: norm(None),
        layers: vec![layer; layers],
        tables: b.program.tables,
        exponentials: vec![(16, exp)],
    };
    let program = encoder.program(1);
    let constants = program.constants.iter().map(|constant| {
        (0..constant.rows * constant.cols).map(|_| random.symmetric(constant.bound)).collect()
    });
    let data = Data { constants: constants.collect(), tables: b.data.tables };
    (encoder, data)
}

/// A text of that decoder's: the given number of prompt tokens and of tokens to come.
pub fn prompt(decoder: &Decoder, given: usize) -> Vec<u32> {
    let mut random = Random(given as u64 + 77);
    let prompt = (0..given).map(|_| random.below(u64::from(decoder.vocab)) as u32);
    decoder.prefix.into_iter().chain(prompt).collect()
}
