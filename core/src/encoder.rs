//! Sentence encoders of the BERT family: one commitment, a program for every length of text.
//!
//! An [`Encoder`] is the structure of such a model as integers. From it follow the programs for sentences of any
//! number of tokens, all over the same constants in the same order, so that the weights are committed to once. An
//! [`Encoding`] is what is proven: the vector of integers that the model gives for the tokens of a sentence. The
//! proof itself is that of an ordinary program; this module only says which.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::circuit::Name;
use crate::decoder::{Linear, Matrix};
use crate::draft::{Draft, entries, serving};
use crate::field::M31;
use crate::key::{self, Statement, VerifyingKey};
use crate::limits;
use crate::profile::ProfileId;
use crate::program::{
    Attention, Factor, List, ListId, Op, Program, Projection, Requantize, RmsNorm, Rows, Source, Table,
    TableId, TensorId, Visible, WIDE,
};

/// A LayerNorm of a wide sum: centring, norm, and a scale and offset per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Norm {
    /// Bound of what is added to the sum before it is centred, at its scale, if anything is.
    pub offset: Option<i64>,
    /// The norm of the centred sum.
    pub norm: RmsNorm,
    /// Bound of the gains.
    pub gain: i64,
    /// Bound of the biases, at the scale of normalized values times gains.
    pub bias: i64,
    /// Rounding of the result.
    pub requantize: Requantize,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Query projection.
    pub query: Linear,
    /// Key projection.
    pub key: Linear,
    /// Value projection.
    pub value: Linear,
    /// Rounding of scores.
    pub score: Requantize,
    /// Output projection; its bias is the offset of the norm after it.
    pub output: Matrix,
    /// Bits rounded away from it.
    pub output_shift: u8,
    /// Alignment of the block's input to the sum with attention: bits to the left, then bits rounded away.
    pub attention_align: (u8, u8),
    /// Norm of that sum.
    pub attention_norm: Norm,
    /// First projection of the feed-forward block; the table of its rounding holds the nonlinearity.
    pub up: Linear,
    /// Second projection of the feed-forward block.
    pub down: Matrix,
    /// Bound of its bias, at its accumulator's scale, if there is one.
    pub down_bias: Option<i64>,
    /// Bits rounded away from it.
    pub down_shift: u8,
    /// Alignment of the block's middle to the sum with the feed-forward block.
    pub output_align: (u8, u8),
    /// Norm of that sum.
    pub output_norm: Norm,
}

/// An encoder as integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    /// Name of the model, for people.
    pub name: String,
    /// Number of tokens.
    pub vocab: u32,
    /// Channels between blocks.
    pub width: u32,
    /// Channels of the feed-forward block.
    pub ffn: u32,
    /// Heads.
    pub heads: u32,
    /// Channels of a head.
    pub channels: u32,
    /// Number of position embeddings; the longest sentence.
    pub positions: u32,
    /// Stands at unused positions, which no other position sees.
    pub pad: u32,
    /// Token embeddings.
    pub words: Matrix,
    /// Alignment of token embeddings to their sum with position embeddings.
    pub words_align: (u8, u8),
    /// Position embeddings, with that of the only token type added.
    pub places: Matrix,
    /// Alignment of position embeddings to the sum.
    pub places_align: (u8, u8),
    /// Norm of the sum.
    pub embedding_norm: Norm,
    /// All blocks.
    pub layers: Vec<Layer>,
    /// All tables.
    pub tables: Vec<Table>,
    /// Exponential tables, each with the largest number of rows it serves; ascending.
    pub exponentials: Vec<(u32, TableId)>,
}

/// A sentence and the vector that is proven to be the model's for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// All tokens, those that begin and end the sentence included.
    pub tokens: Vec<u32>,
    /// The mean of the last activations over the tokens, at their scale: one integer for each channel.
    pub embedding: Vec<i32>,
}

/// Why there is no program for a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// There are no tokens.
    #[error("a sentence needs at least one token")]
    Empty,
    /// There are too many tokens.
    #[error("the sentence has {got} tokens, the model was compiled for at most {limit}")]
    TooLong {
        /// Tokens of the sentence.
        got: usize,
        /// Positions the model has.
        limit: u32,
    },
    /// A token does not exist.
    #[error("token {0} is not in the vocabulary")]
    Token(u32),
}

/// All that a verifier knows about an encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderKey {
    /// The encoder.
    pub encoder: Encoder,
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

impl EncoderKey {
    /// The key for sentences of so many tokens.
    pub fn instance(&self, length: u32) -> VerifyingKey {
        self.instance_of(&self.digest(), length)
    }

    /// [`Self::instance`] for who knows the digest of this key already.
    pub fn instance_of(&self, digest: &[u8; 32], length: u32) -> VerifyingKey {
        VerifyingKey {
            program: self.encoder.program(length),
            profile: self.profile,
            log_rows: self.log_rows,
            suite: self.suite,
            fixed_cap: self.fixed_cap.clone(),
            pin: self.pin,
            member: Some(key::member(digest, &[length])),
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

    /// The digest that names the encoder, its commitment and its parameters.
    pub fn digest(&self) -> [u8; 32] {
        key::digest(self)
    }
}

impl Encoder {
    /// The number of tokens of a sentence that has a program: all that the program depends on.
    pub fn length(&self, tokens: &[u32]) -> Result<u32, EncodingError> {
        if let Some(&token) = tokens.iter().find(|&&token| token >= self.vocab) {
            return Err(EncodingError::Token(token));
        }
        if tokens.is_empty() {
            return Err(EncodingError::Empty);
        }
        let rows = tokens.len().checked_next_power_of_two().and_then(|rows| u32::try_from(rows).ok());
        match rows.filter(|&rows| rows <= self.positions && self.exponential(rows).is_some()) {
            Some(_) => Ok(tokens.len() as u32),
            None => Err(EncodingError::TooLong { got: tokens.len(), limit: self.positions }),
        }
    }

    /// The tokens at every row.
    pub fn rows(&self, tokens: &[u32]) -> Result<Vec<u32>, EncodingError> {
        let length = self.length(tokens)?;
        let mut rows = tokens.to_vec();
        rows.resize(length.next_power_of_two() as usize, self.pad);
        Ok(rows)
    }

    /// The statement of an encoding: the tokens at every row, and the vector.
    pub fn statement(&self, encoding: &Encoding) -> Result<Statement, EncodingError> {
        let lists = vec![self.rows(&encoding.tokens)?];
        Ok(Statement { inputs: Vec::new(), outputs: vec![encoding.embedding.clone()], lists })
    }

    /// The exponential table for a number of rows.
    fn exponential(&self, rows: u32) -> Option<TableId> {
        serving(&self.exponentials, rows)
    }

    /// The program for sentences of so many tokens.
    pub fn program(&self, length: u32) -> Program {
        // A length beyond all limits gets a program that no circuit accepts.
        let rows = length.checked_next_power_of_two().unwrap_or(0).min(limits::EXTENT);
        let exp = self.exponential(rows).unwrap_or(TableId(u32::MAX));
        let lists = vec![List { name: String::from("tokens"), len: rows, limit: self.vocab }];
        let model = Part { encoder: self, length, exp };
        let mut draft = Draft::new(model, rows, &self.name, &self.tables, lists);
        let words = draft.matrix(&"words", self.vocab, self.width, self.words);
        let places = draft.matrix(&"places", self.positions, self.width, self.places);
        let word = draft.tensor(&"word", rows, self.width, self.words.bound);
        let source = Source::Constant(words);
        draft.op(Op::Gather { source, rows: Rows::Listed(ListId(0)), y: word });
        let place = draft.tensor(&"place", rows, self.width, self.places.bound);
        let source = Source::Constant(places);
        draft.op(Op::Gather { source, rows: Rows::Given((0..rows).collect()), y: place });
        let base = draft.widen(&"word.wide", None, word, self.words_align);
        let embedded = draft.widen(&"embedded", Some(base), place, self.places_align);
        let mut x = draft.norm(&"embedding", embedded, &self.embedding_norm);
        for (index, layer) in self.layers.iter().enumerate() {
            x = draft.layer(index, layer, x);
        }
        let bound = draft.program.tensors.get(x.0 as usize).map_or(0, |tensor| tensor.bound);
        let y = draft.tensor(&"sentence", 1, self.width, bound);
        draft.op(Op::Mean { x, len: length, y });
        draft.program.outputs.push(y);
        draft.program
    }
}

/// What a draft is of.
struct Part<'a> {
    encoder: &'a Encoder,
    length: u32,
    exp: TableId,
}

impl Draft<Part<'_>> {
    fn widen(&mut self, name: Name<'_>, base: Option<TensorId>, x: TensorId, align: (u8, u8)) -> TensorId {
        let (left, right) = align;
        let y = self.tensor(name, self.rows, self.model.encoder.width, WIDE);
        self.op(Op::Widen { base, x, left, right, y });
        y
    }

    fn norm(&mut self, name: Name<'_>, x: TensorId, params: &Norm) -> TensorId {
        let Norm { offset, norm, gain, bias, requantize } = *params;
        let width = self.model.encoder.width;
        let offset = offset.map(|bound| self.vector(&format_args!("{name}.offset"), width, bound));
        let centred = self.tensor(&format_args!("{name}.centred"), self.rows, width, WIDE);
        self.op(Op::Center { x, offset, y: centred });
        let normalized =
            self.tensor(&format_args!("{name}.normalized"), self.rows, width, self.bound(norm.requantize));
        self.op(Op::RmsNorm { x: centred, params: norm, y: normalized });
        let scale = self.vector(&format_args!("{name}.gain"), width, gain);
        let offset = self.vector(&format_args!("{name}.bias"), width, bias);
        let y = self.tensor(name, self.rows, width, self.bound(requantize));
        self.op(Op::Affine { x: normalized, scale, offset, requantize, y });
        y
    }

    fn projection(&mut self, name: Name<'_>, linear: Linear) -> Projection {
        let (rows, width) =
            (self.model.encoder.heads.saturating_mul(self.model.encoder.channels), self.model.encoder.width);
        Projection {
            weight: self.matrix(name, rows, width, linear.matrix),
            bias: linear
                .bias
                .map(|bound| self.matrix(&format_args!("{name}.bias"), rows, 1, entries(bound, 1))),
            requantize: linear.requantize,
            norm: None,
        }
    }

    fn layer(&mut self, index: usize, layer: &Layer, x: TensorId) -> TensorId {
        let Encoder { width, ffn, heads, channels, .. } = *self.model.encoder;
        let name = |what: &'static str| fmt::from_fn(move |f| write!(f, "layers.{index}.{what}"));
        let query = self.projection(&name("query"), layer.query);
        let key = self.projection(&name("key"), layer.key);
        let value = self.projection(&name("value"), layer.value);
        let output = self.matrix(&name("output"), width, heads.saturating_mul(channels), layer.output);
        let params = Attention {
            heads,
            groups: heads,
            channels,
            query,
            key,
            value,
            rotation: None,
            prefix: None,
            score: layer.score,
            exp: self.model.exp,
            visible: Visible::First(self.model.length),
            output,
            output_shift: layer.output_shift,
        };
        let base = self.widen(&name("input"), None, x, layer.attention_align);
        let attended = self.tensor(&name("attended"), self.rows, width, WIDE);
        self.op(Op::Attention { base: Some(base), x, params: Box::new(params), y: attended });
        let middle = self.norm(&name("attention_norm"), attended, &layer.attention_norm);

        let up = self.matrix(&name("up"), ffn, width, layer.up.matrix);
        let bias = layer.up.bias.map(|bound| self.vector(&name("up.bias"), ffn, bound));
        let requantize = layer.up.requantize;
        let hidden = self.tensor(&name("hidden"), self.rows, ffn, self.bound(requantize));
        self.op(Op::MatMul { x: middle, factor: Factor::Weight(up), bias, requantize, y: hidden });
        let base = self.widen(&name("middle"), None, middle, layer.output_align);
        let weight = self.matrix(&name("down"), width, ffn, layer.down);
        let bias = layer.down_bias.map(|bound| self.vector(&name("down.bias"), width, bound));
        let sum = self.tensor(&name("sum"), self.rows, width, WIDE);
        let shift = layer.down_shift;
        self.op(Op::MatMulAdd { base: Some(base), x: hidden, weight, bias, shift, y: sum });
        self.norm(&name("output_norm"), sum, &layer.output_norm)
    }
}
