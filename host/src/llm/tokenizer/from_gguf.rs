//! The tokenizer in the metadata of a GGUF file.

use anyhow::{Context, bail, ensure};

use super::{Data, Split, Tokenizer, alphabet, from_json};
use crate::llm::gguf::{Metadata, Value, adds_bos};

/// Reads the tokenizer of a GGUF file.
pub fn from_gguf(meta: &Metadata) -> anyhow::Result<Tokenizer> {
    match meta.text("tokenizer.ggml.model")?.context("the file has no tokenizer (tokenizer.ggml.model)")? {
        "gpt2" => {}
        other => bail!(
            "tokenizer {other:?} is not supported, only byte-level BPE (\"gpt2\") is; \
             use a model with such a tokenizer, or give the prompt as token numbers"
        ),
    }
    let (split, whole_words) = match meta.text("tokenizer.ggml.pre")?.unwrap_or("default") {
        "default" | "gpt-2" | "gpt2" => (Split::Gpt2, false),
        "smollm" => (Split::Digits, false),
        "qwen2" => (Split::Qwen2, false),
        "llama-bpe" | "llama3" | "llama-v3" => (Split::Llama3, true),
        "whole" => (Split::Whole, false),
        other => bail!(
            "the tokenizer splits words by the rules {other:?}, which are not supported \
             (smollm, gpt-2, qwen2 and llama-bpe are); give the prompt as token numbers"
        ),
    };
    let texts = |key: &str| -> anyhow::Result<Vec<&str>> {
        let list = meta.list(key)?.with_context(|| format!("metadata key {key:?} is missing"))?;
        let texts = list.iter().map(|v| if let Value::Text(t) = v { Some(t.as_str()) } else { None });
        texts.collect::<Option<_>>().with_context(|| format!("metadata key {key:?} is no list of texts"))
    };
    let tokens = texts("tokenizer.ggml.tokens")?;
    let kinds = meta.list("tokenizer.ggml.token_type")?;
    if let Some(kinds) = kinds {
        ensure!(
            kinds.len() == tokens.len(),
            "the file has {} tokens but {} token types; download it again",
            tokens.len(),
            kinds.len()
        );
    }
    let mut data = Data { split, whole_words, ..Data::default() };
    for (id, token) in tokens.iter().enumerate() {
        let kind = match kinds.map(|k| &k[id]) {
            None => 1,
            Some(Value::Signed(kind)) => *kind,
            Some(Value::Unsigned(kind)) => *kind as i64,
            Some(_) => bail!("the type of token {id} is no number"),
        };
        let list = match kind {
            1 | 6 => None,
            2 | 3 => Some(&mut data.special),
            4 => Some(&mut data.added),
            5 => Some(&mut data.unused),
            other => bail!("token {id} ({token:?}) has the unknown type {other}"),
        };
        data.tokens.push(match kind {
            5 => vec![],
            _ if list.is_some() => token.as_bytes().to_vec(),
            _ => alphabet::bytes(token),
        });
        if let Some(list) = list {
            list.push(id as u32);
        }
    }
    let merges =
        if meta.get("tokenizer.ggml.merges").is_some() { texts("tokenizer.ggml.merges")? } else { vec![] };
    let pairs: Option<Vec<_>> = merges.iter().map(|m| m.split_once(' ')).collect();
    data.merges =
        from_json::merges(&data, &pairs.context("a merge is not two tokens and a space between them")?)?;
    let token =
        |key: &str| -> anyhow::Result<Option<u32>> { Ok(meta.count(key)?.map(u32::try_from).transpose()?) };
    data.bos = token("tokenizer.ggml.bos_token_id")?.filter(|_| adds_bos(meta));
    data.chat_template = meta.text("tokenizer.chat_template")?.map(str::to_owned);
    Ok(Tokenizer::new(data)?)
}
