//! GGUF model files.

mod config;
mod reader;

#[cfg(test)]
pub(super) mod tests;

pub(super) use config::adds_bos;
pub(super) use reader::read;
pub use reader::{Metadata, Value};

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;

use super::stored::{Found, Stores};
use super::{Opened, Tokenizer, Weight, tokenizer};
use crate::map;

/// Opens a GGUF file: weights, and its tokenizer if it is of a supported kind.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    let (stores, metadata) = open_parts(path)?;
    let tokenizer = tokenizer::from_gguf(&metadata);
    Ok(Opened::new(stores, tokenizer))
}

/// Opens a GGUF file for its weights and metadata.
pub fn open_parts(path: &Path) -> anyhow::Result<(Stores, Metadata)> {
    let map = map::open(path)?;
    let parts = read(&map).with_context(|| format!("cannot read {}", path.display()))?;
    assemble(map, parts).with_context(|| format!("cannot use {}", path.display()))
}

/// Weights and metadata in the bytes of a GGUF file. Total: any bytes give a model or an error.
pub fn read_parts(bytes: Bytes) -> anyhow::Result<(Stores, Metadata)> {
    let parts = read(&bytes)?;
    assemble(bytes, parts)
}

fn assemble(bytes: Bytes, (metadata, found): (Metadata, Vec<Found>)) -> anyhow::Result<(Stores, Metadata)> {
    let config = config::config(&metadata, &found, &bytes)?;
    let stores = Stores::assemble(config, vec![bytes], found, name, |n| n == config::ROPE_FREQUENCIES)?;
    Ok((stores, metadata))
}

/// Only the tokenizer of a GGUF file.
pub fn open_tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    let map = map::open(path)?;
    let (metadata, _) = read(&map).with_context(|| format!("cannot read {}", path.display()))?;
    tokenizer::from_gguf(&metadata).with_context(|| format!("cannot use the tokenizer of {}", path.display()))
}

/// What GGUF calls a weight.
pub(super) fn name(weight: Weight) -> String {
    let (layer, name) = match weight {
        Weight::Embedding => return "token_embd.weight".to_owned(),
        Weight::FinalNorm => return "output_norm.weight".to_owned(),
        Weight::Head => return "output.weight".to_owned(),
        Weight::AttentionNorm(l) => (l, "attn_norm.weight"),
        Weight::Query(l) => (l, "attn_q.weight"),
        Weight::Key(l) => (l, "attn_k.weight"),
        Weight::Value(l) => (l, "attn_v.weight"),
        Weight::Output(l) => (l, "attn_output.weight"),
        Weight::QueryBias(l) => (l, "attn_q.bias"),
        Weight::KeyBias(l) => (l, "attn_k.bias"),
        Weight::ValueBias(l) => (l, "attn_v.bias"),
        Weight::QueryNorm(l) => (l, "attn_q_norm.weight"),
        Weight::KeyNorm(l) => (l, "attn_k_norm.weight"),
        Weight::FeedForwardNorm(l) => (l, "ffn_norm.weight"),
        Weight::Gate(l) => (l, "ffn_gate.weight"),
        Weight::Up(l) => (l, "ffn_up.weight"),
        Weight::Down(l) => (l, "ffn_down.weight"),
    };
    format!("blk.{layer}.{name}")
}
