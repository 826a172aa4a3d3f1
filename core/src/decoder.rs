//! Decoder-only transformers: one commitment, a program for every length of text.
//!
//! A [`Decoder`] is the structure of a language model as integers: sizes, bounds, shifts. From it follow the
//! programs for any number of positions, all over the same constants in the same order, so that the weights are
//! committed to once. A [`Text`] is what is proven: which tokens followed from which, one greedy step after the
//! other. The proof itself is that of an ordinary program; this module only says which.

mod chat;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

pub use chat::{Chat, Reached, Turn, TurnProgram};

use crate::circuit::Name;
use crate::draft::{Draft, entries, serving};
use crate::field::M31;
use crate::key::{self, Statement, VerifyingKey};
use crate::limits;
use crate::profile::ProfileId;
use crate::program::{
    Attention, ConstantId, Factor, HeadNorm, List, ListId, Memory, Op, Prefix, Program, Projection,
    Requantize, RmsNorm, Rotation, Rows, Source, Table, TableId, TensorId, Visible, WIDE,
};

/// Bounds of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// Every entry lies in `-bound..=bound`.
    pub bound: i64,
    /// The sum of absolute values in every row is at most this.
    pub row_l1: i64,
}

/// A matrix product with its rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear {
    /// The weights.
    pub matrix: Matrix,
    /// Bound of the bias, if there is one.
    pub bias: Option<i64>,
    /// Rounding of the accumulator.
    pub requantize: Requantize,
}

/// A norm of every head with a gain for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadScale {
    /// The norm.
    pub norm: RmsNorm,
    /// Bound of the gains.
    pub gain: i64,
    /// Rounding of the scaled value.
    pub requantize: Requantize,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Norm before attention.
    pub attention_norm: RmsNorm,
    /// Query projection.
    pub query: Linear,
    /// Norm of the queries.
    pub query_norm: Option<HeadScale>,
    /// Rounding of rotated queries.
    pub query_rotated: Requantize,
    /// Key projection.
    pub key: Linear,
    /// Norm of the keys.
    pub key_norm: Option<HeadScale>,
    /// Rounding of rotated keys.
    pub key_rotated: Requantize,
    /// Value projection.
    pub value: Linear,
    /// Rounding of scores.
    pub score: Requantize,
    /// Output projection.
    pub output: Matrix,
    /// Bits rounded away from it.
    pub output_shift: u8,
    /// Norm before the feed-forward block.
    pub ffn_norm: RmsNorm,
    /// Gate projection; the table of its rounding holds the nonlinearity.
    pub gate: Linear,
    /// Up projection.
    pub up: Linear,
    /// Rounding of the gated product.
    pub product: Requantize,
    /// Down projection.
    pub down: Matrix,
    /// Bits rounded away from it.
    pub down_shift: u8,
}

/// A decoder as integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoder {
    /// Name of the model, for people.
    pub name: String,
    /// Number of tokens.
    pub vocab: u32,
    /// Channels of the residual sum.
    pub width: u32,
    /// Channels of the feed-forward block.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// Groups of heads that share keys and values.
    pub groups: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Positions that the rotation has; the longest text.
    pub positions: u32,
    /// Channel `c` of a head is turned with channel `c ^ 2^pair`.
    pub pair: u8,
    /// Bound of cosines and sines.
    pub angle: i64,
    /// The constant first token whose keys and values are parameters.
    pub prefix: Option<u32>,
    /// Stands at unused positions.
    pub pad: u32,
    /// Token embeddings.
    pub embedding: Matrix,
    /// Alignment of embeddings to the residual sum: bits to the left, then bits rounded away.
    pub embedding_align: (u8, u8),
    /// All blocks.
    pub layers: Vec<Layer>,
    /// Norm before the head.
    pub final_norm: RmsNorm,
    /// Bound of the gains after it and their rounding, where they are not in the head's weights.
    pub final_gain: Option<(i64, Requantize)>,
    /// The head, if it is not the embedding.
    pub head: Option<Matrix>,
    /// All tables.
    pub tables: Vec<Table>,
    /// Exponential tables, each with the largest number of rows it serves; ascending.
    pub exponentials: Vec<(u32, TableId)>,
}

/// A text with its first tokens given and the others proven to be the model's greedy choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// All tokens, the prefix included.
    pub tokens: Vec<u32>,
    /// How many of them are given.
    pub prompt: u32,
}

/// Why there is no program for a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The first token is not the constant one.
    #[error("the text must begin with token {0}, whose keys and values are part of the model")]
    Prefix(u32),
    /// Nothing is given or nothing follows.
    #[error("a text needs at least one token of prompt (after the constant one) and one that follows")]
    Empty,
    /// There are too many tokens.
    #[error("the text has {got} positions, the model was compiled for at most {limit}")]
    TooLong {
        /// Positions of the text.
        got: usize,
        /// Positions the model has.
        limit: u32,
    },
    /// A token does not exist.
    #[error("token {0} is not in the vocabulary")]
    Token(u32),
}

/// The shape of a text: what its program depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of the program, a power of two.
    pub rows: u32,
    /// First row from which a token is proven.
    pub first: u32,
    /// Number of tokens proven.
    pub generated: u32,
    /// For a turn of a conversation, the number of positions before its first row. A text by itself has none.
    pub past: Option<u32>,
}

impl Extent {
    /// All of it, in words.
    fn words(self) -> [u32; 5] {
        let Self { rows, first, generated, past } = self;
        [rows, first, generated, u32::from(past.is_some()), past.unwrap_or(0)]
    }

    /// What a turn takes over and hands on.
    pub fn memory(self) -> Option<Memory> {
        self.past.map(|past| Memory { past, new: self.first.saturating_add(self.generated) })
    }
}

/// All that a verifier knows about a decoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecoderKey {
    /// The decoder.
    pub decoder: Decoder,
    /// The set of security parameters.
    pub profile: ProfileId,
    /// The hash suite, by id.
    pub suite: u8,
    /// Log of the number of rows of the committed matrices.
    pub log_rows: u8,
    /// The cap of the fixed tree: weights and tables.
    pub fixed_cap: Vec<[u8; 32]>,
    /// The value that pins the fixed columns (see [`crate::pin`]).
    pub pin: Option<[M31; 4]>,
}

impl DecoderKey {
    /// The key for texts of one extent.
    pub fn instance(&self, extent: Extent) -> VerifyingKey {
        self.instance_of(&self.digest(), extent)
    }

    /// [`Self::instance`] for who knows the digest of this key already.
    pub fn instance_of(&self, digest: &[u8; 32], extent: Extent) -> VerifyingKey {
        VerifyingKey {
            program: self.decoder.program(extent),
            profile: self.profile,
            log_rows: self.log_rows,
            suite: self.suite,
            fixed_cap: self.fixed_cap.clone(),
            pin: self.pin,
            member: Some(key::member(digest, &extent.words())),
        }
    }

    /// The canonical encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        key::encode(self)
    }

    /// Decodes a key; `None` for anything but the canonical encoding of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        key::decode(bytes)
    }

    /// The digest that names the decoder, its commitment and its parameters.
    pub fn digest(&self) -> [u8; 32] {
        key::digest(self)
    }
}

impl Decoder {
    /// The shape of a text.
    pub fn extent(&self, text: &Text) -> Result<Extent, TextError> {
        let skip = usize::from(self.prefix.is_some());
        if let Some(prefix) = self.prefix.filter(|prefix| text.tokens.first() != Some(prefix)) {
            return Err(TextError::Prefix(prefix));
        }
        if let Some(&token) = text.tokens.iter().find(|&&token| token >= self.vocab) {
            return Err(TextError::Token(token));
        }
        let given = (text.prompt as usize).saturating_sub(skip);
        let all = text.tokens.len().saturating_sub(skip);
        if given == 0 || given >= all {
            return Err(TextError::Empty);
        }
        let rows = (all - 1).next_power_of_two();
        if rows as u64 > u64::from(self.positions) || self.exponential(rows as u32).is_none() {
            return Err(TextError::TooLong { got: all - 1, limit: self.positions });
        }
        Ok(Extent { rows: rows as u32, first: given as u32 - 1, generated: (all - given) as u32, past: None })
    }

    /// The statement of a text: the tokens at every row, and those that were generated.
    pub fn statement(&self, text: &Text) -> Result<Statement, TextError> {
        let extent = self.extent(text)?;
        let skip = usize::from(self.prefix.is_some());
        let mut inputs: Vec<u32> = text.tokens.iter().copied().skip(skip).collect();
        inputs.pop();
        inputs.resize(extent.rows as usize, self.pad);
        let generated = text.tokens.iter().copied().skip(text.prompt as usize).collect();
        Ok(Statement { lists: vec![inputs, generated], ..Statement::default() })
    }

    /// The exponential table for a number of positions.
    fn exponential(&self, rows: u32) -> Option<TableId> {
        serving(&self.exponentials, rows)
    }

    /// The program for texts of one extent.
    pub fn program(&self, extent: Extent) -> Program {
        let memory = extent.memory();
        let lists = [("tokens", extent.rows), ("generated", extent.generated)];
        let list = |(name, len): (&str, u32)| List { name: String::from(name), len, limit: self.vocab };
        let model = Part { decoder: self, visible: memory.map_or(Visible::Causal, Visible::Continued) };
        let mut draft = Draft::new(model, extent.rows, &self.name, &self.tables, lists.map(list).into());
        let embedding = draft.matrix(&"embedding", self.vocab, self.width, self.embedding);
        let angles = Matrix { bound: self.angle, row_l1: self.angle.saturating_mul(self.channels.into()) };
        let cos = draft.matrix(&"cos", self.positions, self.channels, angles);
        let sin = draft.matrix(&"sin", self.positions, self.channels, angles);
        let positions = memory.map_or(extent.rows, Memory::window);
        let exp = self.exponential(positions).unwrap_or(TableId(u32::MAX));

        let embedded = draft.tensor(&"embedded", extent.rows, self.width, self.embedding.bound);
        draft.op(Op::Gather {
            source: Source::Constant(embedding),
            rows: Rows::Listed(ListId(0)),
            y: embedded,
        });
        let mut residual = draft.tensor(&"residual", extent.rows, self.width, WIDE);
        let (left, right) = self.embedding_align;
        draft.op(Op::Widen { base: None, x: embedded, left, right, y: residual });
        for (index, layer) in self.layers.iter().enumerate() {
            residual = draft.layer(index, layer, residual, (cos, sin), exp);
        }

        // An extent that reaches beyond its rows gets too short a list here, which no circuit accepts.
        let end = extent.first.saturating_add(extent.generated).min(extent.rows).min(limits::EXTENT);
        let rows = (extent.first..end).collect();
        let last = draft.tensor(&"last", extent.generated, self.width, WIDE);
        draft.op(Op::Gather { source: Source::Tensor(residual), rows: Rows::Given(rows), y: last });
        let mut x = draft.norm(&"final", last, extent.generated, self.final_norm);
        if let Some((bound, requantize)) = self.final_gain {
            let gain = draft.matrix(&"final.gain", 1, self.width, entries(bound, self.width));
            let zero = draft.matrix(&"final.offset", 1, self.width, entries(0, self.width));
            let y = draft.tensor(&"final.scaled", extent.generated, self.width, draft.bound(requantize));
            draft.op(Op::Affine { x, scale: gain, offset: zero, requantize, y });
            x = y;
        }
        let head = match self.head {
            Some(matrix) => draft.matrix(&"head", self.vocab, self.width, matrix),
            None => embedding,
        };
        draft.op(Op::ArgMax { x, weight: head, list: ListId(1) });
        draft.program
    }
}

/// What a draft is of.
struct Part<'a> {
    decoder: &'a Decoder,
    visible: Visible,
}

impl Draft<Part<'_>> {
    fn norm(&mut self, name: Name<'_>, x: TensorId, rows: u32, params: RmsNorm) -> TensorId {
        let bound = self.bound(params.requantize);
        let y = self.tensor(&format_args!("{name}.normalized"), rows, self.model.decoder.width, bound);
        self.op(Op::RmsNorm { x, params, y });
        y
    }

    fn linear(&mut self, name: Name<'_>, x: TensorId, (rows, cols): (u32, u32), linear: Linear) -> TensorId {
        let weight = self.matrix(name, rows, cols, linear.matrix);
        let bias =
            linear.bias.map(|bound| self.matrix(&format_args!("{name}.bias"), 1, rows, entries(bound, rows)));
        let y = self.tensor(name, self.rows, rows, self.bound(linear.requantize));
        self.op(Op::MatMul { x, factor: Factor::Weight(weight), bias, requantize: linear.requantize, y });
        y
    }

    fn projection(
        &mut self,
        name: Name<'_>,
        heads: u32,
        linear: Linear,
        norm: Option<HeadScale>,
    ) -> Projection {
        let Decoder { width, channels, .. } = *self.model.decoder;
        let rows = heads.saturating_mul(channels);
        Projection {
            weight: self.matrix(name, rows, width, linear.matrix),
            bias: linear
                .bias
                .map(|bound| self.matrix(&format_args!("{name}.bias"), rows, 1, entries(bound, 1))),
            requantize: linear.requantize,
            norm: norm.map(|scale| HeadNorm {
                norm: scale.norm,
                gain: self.matrix(&format_args!("{name}.gain"), 1, channels, entries(scale.gain, channels)),
                requantize: scale.requantize,
            }),
        }
    }

    fn layer(
        &mut self,
        index: usize,
        layer: &Layer,
        residual: TensorId,
        (cos, sin): (ConstantId, ConstantId),
        exp: TableId,
    ) -> TensorId {
        let Decoder { width, ffn, heads, groups, channels, .. } = *self.model.decoder;
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "layers.{index}.{what}"));
        let x = self.norm(&name("attention"), residual, self.rows, layer.attention_norm);
        let query = self.projection(&name("query"), heads, layer.query, layer.query_norm);
        let key = self.projection(&name("key"), groups, layer.key, layer.key_norm);
        let value = self.projection(&name("value"), groups, layer.value, None);
        let prefix = self.model.decoder.prefix.map(|_| {
            let (k, v) = (self.bound(layer.key_rotated), self.bound(layer.value.requantize));
            Prefix {
                key: self.matrix(&name("prefix.key"), groups, channels, entries(k, channels)),
                value: self.matrix(&name("prefix.value"), groups, channels, entries(v, channels)),
            }
        });
        let output = self.matrix(&name("output"), width, heads.saturating_mul(channels), layer.output);
        let params = Attention {
            heads,
            groups,
            channels,
            query,
            key,
            value,
            rotation: Some(Rotation {
                pair: self.model.decoder.pair,
                cos,
                sin,
                query: layer.query_rotated,
                key: layer.key_rotated,
            }),
            prefix,
            score: layer.score,
            exp,
            visible: self.model.visible,
            output,
            output_shift: layer.output_shift,
        };
        let attended = self.tensor(&name("attended"), self.rows, width, WIDE);
        self.op(Op::Attention { base: Some(residual), x, params: Box::new(params), y: attended });

        let x = self.norm(&name("ffn"), attended, self.rows, layer.ffn_norm);
        let gate = self.linear(&name("gate"), x, (ffn, width), layer.gate);
        let up = self.linear(&name("up"), x, (ffn, width), layer.up);
        let product = self.tensor(&name("product"), self.rows, ffn, self.bound(layer.product));
        self.op(Op::Mul { a: gate, b: up, requantize: layer.product, y: product });
        let down = self.matrix(&name("down"), width, ffn, layer.down);
        let y = self.tensor(&name("residual"), self.rows, width, WIDE);
        let shift = layer.down_shift;
        self.op(Op::MatMulAdd { base: Some(attended), x: product, weight: down, bias: None, shift, y });
        y
    }
}
