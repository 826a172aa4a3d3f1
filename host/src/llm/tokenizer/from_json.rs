//! `tokenizer.json`, the format of the `tokenizers` library, as far as it is byte-level BPE.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{Data, Split, Tokenizer, alphabet};
use crate::llm::safetensors::json;

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own form")]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Value,
    merges: Option<Vec<Merge>>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

/// Reads `tokenizer.json` of a model directory, and `tokenizer_config.json` and `chat_template.jinja` if they are there.
pub fn from_directory(directory: &Path) -> anyhow::Result<Tokenizer> {
    let path = directory.join("tokenizer.json");
    let tokenizer = from_json(&json(&path)?).with_context(|| format!("cannot use {}", path.display()))?;
    let mut data = Data::from(tokenizer);
    let config = directory.join("tokenizer_config.json");
    if config.exists() {
        data.chat_template = template(&json(&config)?);
    }
    let template = directory.join("chat_template.jinja");
    if template.exists() {
        let text = std::fs::read_to_string(&template);
        data.chat_template = Some(text.with_context(|| format!("cannot read {}", template.display()))?);
    }
    Ok(Tokenizer::new(data)?)
}

/// The template of a configuration; of several named ones the default.
fn template(config: &Value) -> Option<String> {
    let template = config.get("chat_template")?;
    let named = || {
        let list = template.as_array()?;
        list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"))?.get("template")
    };
    template.as_str().or_else(|| named()?.as_str()).map(str::to_owned)
}

/// Whether the tokenizer of a directory puts a token before every text.
pub fn adds_bos(directory: &Path) -> bool {
    from_directory(directory).is_ok_and(|t| t.data().bos.is_some())
}

/// Reads a `tokenizer.json`.
pub fn from_json(value: &Value) -> anyhow::Result<Tokenizer> {
    let raw = Raw::deserialize(value).context("this is no tokenizer.json, or one of an unknown version")?;
    let model = raw.model;
    match model.kind.as_deref() {
        Some("BPE") | None => {}
        Some(other) => bail!(
            "tokenizers of kind {other:?} are not supported, only byte-level BPE is; \
             use a model with such a tokenizer, or give the prompt as token numbers"
        ),
    }
    let plain = |s: &Option<String>| s.as_deref().is_none_or(str::is_empty);
    ensure!(
        !model.byte_fallback && plain(&model.continuing_subword_prefix) && plain(&model.end_of_word_suffix),
        "the tokenizer is BPE over characters, not over bytes (byte_fallback, continuing_subword_prefix or \
         end_of_word_suffix is set), which is not supported"
    );
    if let Some(kind) = raw.normalizer.as_ref().map(kind) {
        ensure!(kind == "NFC", "the tokenizer normalizes text by {kind:?}, which is not supported");
    }
    if let Some(kind) = raw.decoder.as_ref().map(kind) {
        ensure!(kind == "ByteLevel", "the tokenizer decodes by {kind:?}; only \"ByteLevel\" is supported");
    }
    let split = pre_tokenizer(raw.pre_tokenizer.as_ref())?;

    let mut vocab: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut data = Data { split, whole_words: model.ignore_merges, ..Data::default() };
    let entries = model.vocab.as_object().context("the vocabulary is no map from tokens to numbers")?;
    let mut unknown = None;
    for (token, id) in entries {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.with_context(|| format!("token {token:?} has no number"))?;
        ensure!(vocab.insert(id, alphabet::bytes(token)).is_none(), "token number {id} occurs twice");
        if model.unk_token.as_deref() == Some(token) {
            unknown = Some(id);
        }
    }
    for added in raw.added_tokens {
        let Added { id, content, special, single_word, lstrip, rstrip } = added;
        ensure!(
            !(single_word || lstrip || rstrip),
            "added token {content:?} takes in the space around it (single_word, lstrip or rstrip), \
             which is not supported"
        );
        if model.unk_token.as_deref() == Some(&content) {
            unknown = Some(id);
        }
        vocab.insert(id, content.into_bytes());
        if special { &mut data.special } else { &mut data.added }.push(id);
    }
    data.special.sort_unstable();
    data.added.sort_unstable();
    ensure!(
        model.unk_token.is_none() || unknown.is_some(),
        "the unknown token {:?} is no token",
        model.unk_token
    );
    let len = vocab.last_key_value().map_or(0, |(&id, _)| id as usize + 1);
    ensure!(
        len <= 2 * vocab.len() + 1024,
        "the tokenizer has {} tokens with numbers up to {len}; it is damaged",
        vocab.len()
    );
    for id in 0..len as u32 {
        if let Some(token) = vocab.remove(&id) {
            data.tokens.push(token);
        } else {
            data.tokens.push(vec![]);
            data.unused.push(id);
        }
    }
    data.unknown = unknown;
    let texts = model.merges.unwrap_or_default();
    let pairs = texts.iter().map(|m| match m {
        Merge::Text(text) => text.split_once(' '),
        Merge::Pair(a, b) => Some((a.as_str(), b.as_str())),
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    data.merges = merges(&data, &pairs.context("a merge is not two tokens and a space between them")?)?;
    data.bos = raw.post_processor.as_ref().map(|p| prefix(p, &data)).transpose()?.flatten();
    Ok(Tokenizer::new(data)?)
}

/// Merges as pairs of token numbers.
pub(super) fn merges(data: &Data, pairs: &[(&str, &str)]) -> anyhow::Result<Vec<(u32, u32)>> {
    let marked =
        |id: &u32| [&data.special, &data.added, &data.unused].iter().any(|l| l.binary_search(id).is_ok());
    let ordinary = (0u32..).zip(&data.tokens).filter(|(id, _)| !marked(id));
    let ids: HashMap<&[u8], u32> = ordinary.map(|(id, t)| (t.as_slice(), id)).collect();
    let id = |text: &str| {
        let id = ids.get(alphabet::bytes(text).as_slice()).copied();
        id.with_context(|| format!("a merge speaks of {text:?}, which is no token; the tokenizer is damaged"))
    };
    pairs.iter().map(|(a, b)| Ok((id(a)?, id(b)?))).collect()
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("(without a type)")
}

/// The splitting rules, recognised by their exact form.
fn pre_tokenizer(value: Option<&Value>) -> anyhow::Result<Split> {
    const ENDINGS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
    const REST: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    let value = value
        .context("the tokenizer does not split into bytes (no pre_tokenizer), which is not supported")?;
    let steps = match kind(value) {
        "Sequence" => value.get("pretokenizers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
        _ => std::slice::from_ref(value),
    };
    let truth = |v: &Value, key: &str, missing| v.get(key).and_then(Value::as_bool).unwrap_or(missing);
    let Some((last, before)) = steps.split_last() else { bail!("the pre_tokenizer has no steps") };
    ensure!(
        kind(last) == "ByteLevel" && !truth(last, "add_prefix_space", true),
        "the pre_tokenizer ends with {:?} (add_prefix_space {}); only ByteLevel without a prefix space is supported",
        kind(last),
        truth(last, "add_prefix_space", true)
    );
    let gpt2 = truth(last, "use_regex", true);
    match (before, gpt2) {
        ([], true) => return Ok(Split::Gpt2),
        ([], false) => return Ok(Split::Whole),
        ([step], true) if kind(step) == "Digits" && truth(step, "individual_digits", false) => {
            return Ok(Split::Digits);
        }
        ([step], false)
            if kind(step) == "Split"
                && step.get("behavior").and_then(Value::as_str) == Some("Isolated")
                && !truth(step, "invert", false) =>
        {
            let regex =
                step.get("pattern").and_then(|p| p.get("Regex")).and_then(Value::as_str).unwrap_or("");
            for (middle, split) in [(r"\p{N}", Split::Qwen2), (r"\p{N}{1,3}", Split::Llama3)] {
                if regex == [ENDINGS, middle, REST].concat() {
                    return Ok(split);
                }
            }
            if regex == GPT2 {
                return Ok(Split::Gpt2);
            }
            bail!(
                "the tokenizer splits words by the expression {regex:?}, which is not supported; \
                 give the prompt as token numbers"
            );
        }
        _ => {}
    }
    let kinds: Vec<_> = steps.iter().map(kind).collect();
    bail!("the pre_tokenizer {} is not supported; give the prompt as token numbers", kinds.join(" + "))
}

/// The token that a post-processor puts before a text.
fn prefix(value: &Value, data: &Data) -> anyhow::Result<Option<u32>> {
    match kind(value) {
        "ByteLevel" => Ok(None),
        "Sequence" => {
            let steps = value.get("processors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mut found = None;
            for step in steps {
                found = prefix(step, data)?.or(found);
            }
            Ok(found)
        }
        "TemplateProcessing" => {
            let single = value.get("single").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let special = |v: &Value| Some(v.get("SpecialToken")?.get("id")?.as_str()?.to_owned());
            let sequence = |v: &Value| v.get("Sequence").is_some();
            match single {
                [text] if sequence(text) => Ok(None),
                [first, text] if sequence(text) => {
                    let name = special(first).context("the post_processor begins with something unknown")?;
                    let mut marked = data.special.iter().chain(&data.added);
                    let id = marked.find(|&&id| data.tokens[id as usize] == name.as_bytes());
                    Ok(Some(*id.with_context(|| format!("the post_processor's token {name:?} is no token"))?))
                }
                _ => bail!(
                    "the post_processor puts more than a beginning token around a text, which is not supported"
                ),
            }
        }
        other => bail!("the post_processor {other:?} is not supported; give the prompt as token numbers"),
    }
}
