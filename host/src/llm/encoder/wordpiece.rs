//! WordPiece tokenization as BERT does it.
//!
//! A text is cleaned of control characters, Chinese characters become words of their own, accents and case are removed
//! as the model asks for, and the rest is cut at white space and around punctuation. From every word the longest token
//! that it begins with is taken, then the longest continuation (a token with the prefix `##`), and so on; a word for
//! which that fails is the unknown token. Special tokens are put around the sentence and are never found in a text.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::llm::safetensors::json;

/// Most tokens of a vocabulary.
const LARGEST: usize = 1 << 24;
/// Most characters of words that are cut into tokens. Cutting one takes time with the cube of its length if its beginnings
/// are as long as tokens are; models have 100.
const LONGEST: u32 = 1 << 10;

/// What a tokenizer consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the options that models have")]
pub struct Data {
    /// The text of every token; those that continue a word begin with [`Data::continuation`].
    pub tokens: Vec<String>,
    /// Stands before a continuation.
    pub continuation: String,
    /// Stands for a word that cannot be cut into tokens.
    pub unknown: u32,
    /// Begins a sentence.
    pub begin: u32,
    /// Ends a sentence.
    pub end: u32,
    /// Fills up.
    pub pad: u32,
    /// Longer words are unknown, in characters.
    pub longest: u32,
    /// Whether control characters are removed and all white space is a blank.
    pub clean: bool,
    /// Whether Chinese characters are words.
    pub chinese: bool,
    /// Whether accents are removed.
    pub strip_accents: bool,
    /// Whether case is removed.
    pub lowercase: bool,
}

/// A tokenizer. It is written and read as its [`Data`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordPiece {
    data: Data,
    ids: HashMap<String, u32>,
    /// Bytes of the longest token.
    longest: usize,
}

impl WordPiece {
    /// Checks the parts and indexes them.
    pub fn new(data: Data) -> anyhow::Result<Self> {
        let len = data.tokens.len();
        ensure!(len <= LARGEST, "the tokenizer has {len} tokens; it is damaged");
        ensure!(
            data.longest <= LONGEST,
            "the tokenizer cuts words of {} characters; at most {LONGEST} are supported",
            data.longest
        );
        for (what, id) in
            [("unknown", data.unknown), ("begin", data.begin), ("end", data.end), ("padding", data.pad)]
        {
            ensure!((id as usize) < len, "the {what} token is {id} of {len}; the tokenizer is damaged");
        }
        let mut ids = HashMap::with_capacity(len);
        for (id, token) in (0u32..).zip(&data.tokens) {
            if let Some(first) = ids.insert(token.clone(), id) {
                bail!("tokens {first} and {id} are both {token:?}; the tokenizer is damaged");
            }
        }
        let longest = data.tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(Self { data, ids, longest })
    }

    /// The parts.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.data.tokens.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.data.tokens.is_empty()
    }

    /// The tokens of a sentence, with those that begin and end it.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut out = vec![self.data.begin];
        for word in words(&self.normalize(text)) {
            self.word(&word, &mut out);
        }
        out.push(self.data.end);
        out
    }

    /// The text of tokens: words with blanks between them, special tokens included. What the normalization removed is
    /// not there.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut out = String::new();
        for &id in ids {
            let token = self.data.tokens.get(id as usize).map_or("", String::as_str);
            match token.strip_prefix(&self.data.continuation).filter(|_| !self.data.continuation.is_empty()) {
                Some(rest) => out.push_str(rest),
                None if out.is_empty() => out.push_str(token),
                None => {
                    out.push(' ');
                    out.push_str(token);
                }
            }
        }
        out
    }

    fn normalize(&self, text: &str) -> String {
        let Data { clean, chinese, strip_accents, lowercase, .. } = self.data;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if clean && (c == '\0' || c == '\u{fffd}' || is_control(c)) {
                continue;
            }
            let blank = matches!(c, '\t' | '\n' | '\r') || c.is_whitespace();
            if clean && blank {
                out.push(' ');
            } else if chinese && is_chinese(c) {
                out.extend([' ', c, ' ']);
            } else {
                out.push(c);
            }
        }
        if strip_accents {
            let mark = |c: &char| c.general_category() == GeneralCategory::NonspacingMark;
            out = out.nfd().filter(|c| !mark(c)).collect();
        }
        if lowercase {
            out = out.chars().flat_map(char::to_lowercase).collect();
        }
        out
    }

    fn word(&self, word: &str, out: &mut Vec<u32>) {
        if word.chars().count() > self.data.longest as usize {
            out.push(self.data.unknown);
            return;
        }
        let start = out.len();
        let mut rest = word;
        let mut piece = String::new();
        while !rest.is_empty() {
            let prefix = if out.len() > start { self.data.continuation.as_str() } else { "" };
            // The ends of all beginnings that can be a token, longest first.
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            let ends: Vec<usize> = ends.take_while(|end| prefix.len() + end <= self.longest).collect();
            let found = ends.into_iter().rev().find_map(|end| {
                piece.clear();
                piece.push_str(prefix);
                piece.push_str(&rest[..end]);
                self.ids.get(&piece).map(|&id| (end, id))
            });
            let Some((end, id)) = found else {
                out.truncate(start);
                out.push(self.data.unknown);
                return;
            };
            out.push(id);
            rest = &rest[end..];
        }
    }
}

/// Cut at white space and around punctuation.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.chars() {
        if c.is_whitespace() {
            words.push(String::new());
        } else if is_punctuation(c) {
            words.push(c.into());
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_control(c: char) -> bool {
    use GeneralCategory as G;
    !matches!(c, '\t' | '\n' | '\r') && matches!(c.general_category(), G::Control | G::Format | G::PrivateUse)
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// The blocks of Chinese characters, as BERT draws them.
fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f | 0x2b740..=0x2b81f
        | 0x2b920..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

/// The tokenizer of a model directory: `tokenizer.json`, or `vocab.txt`.
pub fn from_directory(directory: &Path) -> anyhow::Result<WordPiece> {
    let path = directory.join("tokenizer.json");
    if path.exists() {
        return from_json(&json(&path)?).with_context(|| format!("cannot use {}", path.display()));
    }
    let path = directory.join("vocab.txt");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("{} has neither tokenizer.json nor a readable vocab.txt", directory.display())
    })?;
    let config = directory.join("tokenizer_config.json");
    let config = if config.exists() { json(&config)? } else { Value::Null };
    from_vocab(&text, &config).with_context(|| format!("cannot use {}", path.display()))
}

/// The tokenizer of a model directory, a `tokenizer.json` or a `vocab.txt`.
pub fn open(path: &Path) -> anyhow::Result<WordPiece> {
    if path.is_dir() {
        return from_directory(path);
    }
    if path.extension().is_some_and(|e| e == "txt") {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return from_vocab(&text, &Value::Null);
    }
    from_json(&json(path)?)
}

/// Reads the lines of a `vocab.txt`, with the options of `tokenizer_config.json`.
pub fn from_vocab(text: &str, config: &Value) -> anyhow::Result<WordPiece> {
    let tokens: Vec<String> = text.lines().map(str::to_owned).collect();
    let flag = |key: &str, default: bool| config.get(key).and_then(Value::as_bool).unwrap_or(default);
    let lowercase = flag("do_lower_case", true);
    finish(tokens, |data| {
        data.lowercase = lowercase;
        data.strip_accents = flag("strip_accents", lowercase);
        data.chinese = flag("tokenize_chinese_chars", true);
    })
}

/// Reads a `tokenizer.json`.
pub fn from_json(value: &Value) -> anyhow::Result<WordPiece> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = |key: &str| text(value.get(key).and_then(|part| part.get("type")));
    let model = value.get("model").context("there is no model in it")?;
    for (part, found, expected) in [
        ("model", text(model.get("type")), "WordPiece"),
        ("normalizer", kind("normalizer"), "BertNormalizer"),
        ("pre-tokenizer", kind("pre_tokenizer"), "BertPreTokenizer"),
    ] {
        ensure!(found == expected, "the {part} is {found:?}; for encoders only {expected:?} is supported");
    }
    let vocab =
        model.get("vocab").and_then(Value::as_object).context("the vocabulary is no map to numbers")?;
    let mut tokens = vec![None; vocab.len()];
    for (token, id) in vocab {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let slot = id.and_then(|id| tokens.get_mut(id));
        let slot = slot.with_context(|| format!("the number of token {token:?} leaves a gap"))?;
        ensure!(slot.replace(token.clone()).is_none(), "the number of token {token:?} is given twice");
    }
    let normalizer = value.get("normalizer");
    let option = |key: &str| normalizer.and_then(|n| n.get(key)).and_then(Value::as_bool);
    finish(tokens.into_iter().flatten().collect(), |data| {
        data.clean = option("clean_text").unwrap_or(true);
        data.chinese = option("handle_chinese_chars").unwrap_or(true);
        data.lowercase = option("lowercase").unwrap_or(true);
        data.strip_accents = option("strip_accents").unwrap_or(data.lowercase);
        let longest = model.get("max_input_chars_per_word").and_then(Value::as_u64).unwrap_or(100);
        data.longest = u32::try_from(longest).unwrap_or(u32::MAX);
        if let Some(prefix) = model.get("continuing_subword_prefix").and_then(Value::as_str) {
            prefix.clone_into(&mut data.continuation);
        }
    })
}

/// A tokenizer of these tokens with BERT's usual options, which may be changed.
fn finish(tokens: Vec<String>, options: impl FnOnce(&mut Data)) -> anyhow::Result<WordPiece> {
    let place = |name: &str| {
        let at = tokens.iter().position(|token| token == name);
        at.map(|at| at as u32).with_context(|| format!("the vocabulary has no {name}"))
    };
    let (unknown, begin, end, pad) = (place("[UNK]")?, place("[CLS]")?, place("[SEP]")?, place("[PAD]")?);
    let mut data = Data {
        tokens,
        continuation: "##".to_owned(),
        unknown,
        begin,
        end,
        pad,
        longest: 100,
        clean: true,
        chinese: true,
        strip_accents: true,
        lowercase: true,
    };
    options(&mut data);
    WordPiece::new(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: &str =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\naff\n!\n,\ncafe\n\u{4e2d}\n[\n]\nsep\n##s\nst";

    fn tokenizer() -> WordPiece {
        from_vocab(VOCAB, &Value::Null).unwrap()
    }

    fn pieces(text: &str) -> Vec<String> {
        let tokenizer = tokenizer();
        tokenizer.encode(text).iter().map(|&id| tokenizer.data.tokens[id as usize].clone()).collect()
    }

    #[test]
    fn words_are_cut_greedily() {
        assert_eq!(pieces("Unaffable, aff!"), ["[CLS]", "un", "##aff", "##able", ",", "aff", "!", "[SEP]"]);
        assert_eq!(pieces("unaffect"), ["[CLS]", "[UNK]", "[SEP]"]);
        assert_eq!(pieces(""), ["[CLS]", "[SEP]"]);
        assert_eq!(pieces(&"un".repeat(51)), ["[CLS]", "[UNK]", "[SEP]"]);
    }

    #[test]
    fn text_is_normalized() {
        assert_eq!(pieces("CAF\u{c9}\tcafe\u{301}s"), ["[CLS]", "cafe", "cafe", "##s", "[SEP]"]);
        assert_eq!(pieces("un\u{4e2d}un\u{200b}!\0"), ["[CLS]", "un", "\u{4e2d}", "un", "!", "[SEP]"]);
        // Special tokens are not found in a text.
        assert_eq!(pieces("[SEP]"), ["[CLS]", "[", "sep", "]", "[SEP]"]);
    }

    #[test]
    fn texts_come_back() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.decode(&tokenizer.encode("Unaffable, aff")), "[CLS] unaffable , aff [SEP]");
        assert_eq!(tokenizer.decode(&[99]), "");
    }

    #[test]
    fn damaged_tokenizers_are_refused() {
        let refused = |text: &str, what: &str| {
            let error = from_vocab(text, &Value::Null).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused("[PAD]\n[UNK]\n[CLS]", "no [SEP]");
        refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na", "both \"a\"");
        let json = |edit: fn(&mut Value)| {
            let mut value = serde_json::json!({
                "model": { "type": "WordPiece", "vocab": { "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4 } },
                "normalizer": { "type": "BertNormalizer", "lowercase": false, "strip_accents": null },
                "pre_tokenizer": { "type": "BertPreTokenizer" },
            });
            edit(&mut value);
            from_json(&value).map_err(|error| error.to_string())
        };
        let read = json(|_| {}).unwrap();
        assert!(!read.data.lowercase && !read.data.strip_accents && read.data.clean);
        assert!(json(|v| v["model"]["type"] = "BPE".into()).unwrap_err().contains("\"BPE\""));
        assert!(json(|v| v["normalizer"] = Value::Null).unwrap_err().contains("normalizer"));
        assert!(json(|v| v["model"]["vocab"]["a"] = 7.into()).unwrap_err().contains("gap"));
        assert!(json(|v| v["model"]["vocab"]["a"] = 3.into()).unwrap_err().contains("twice"));
        assert_eq!(
            json(|v| v["model"]["max_input_chars_per_word"] = 1024.into()).unwrap().data.longest,
            1024
        );
        let error = json(|v| v["model"]["max_input_chars_per_word"] = 1025.into()).unwrap_err();
        assert!(error.contains("1025 characters"), "{error}");
    }
}
