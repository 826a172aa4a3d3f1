//! Byte-level byte-pair encoding.
//!
//! A text is cut at special tokens, the rest is split into words ([`Split`]), and every word, as UTF-8 bytes, is merged: as
//! long as two neighbours have a merge, the one of lowest rank is done, leftmost first (Sennrich et al. 2016; bytes as in
//! GPT-2). A merge list may be empty; then every byte is a token.
//!
//! Texts are not normalized: a tokenizer that asks for NFC gives the same tokens only for text in that form.

mod alphabet;
mod from_gguf;
mod from_json;
mod merge;
mod split;
mod stream;
mod unicode;

#[cfg(test)]
mod tests;

pub use from_gguf::from_gguf;
pub use from_json::{adds_bos, from_directory, from_json};
pub use split::Split;
pub use stream::Stream;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What a tokenizer consists of, as files carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The bytes of every token.
    pub tokens: Vec<Vec<u8>>,
    /// Pairs of tokens that become one, best first. The bytes of the result are those of the pair.
    pub merges: Vec<(u32, u32)>,
    /// How text is cut into words.
    pub split: Split,
    /// Tokens that stand for control, found in text only on request; sorted.
    pub special: Vec<u32>,
    /// Tokens that are found in text before it is split; sorted.
    pub added: Vec<u32>,
    /// Tokens with no text at all: padding of the vocabulary; sorted.
    pub unused: Vec<u32>,
    /// Stands for a byte that is no token.
    pub unknown: Option<u32>,
    /// Stands before every text, if the model wants one.
    pub bos: Option<u32>,
    /// Whether a word that is a token is not merged.
    pub whole_words: bool,
    /// How a conversation becomes a text, in the Jinja language, if the model has a form for it.
    pub chat_template: Option<String>,
}

/// A tokenizer. It is written and read as its [`Data`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Data", into = "Data")]
pub struct Tokenizer {
    data: Data,
    /// Ordinary tokens by their bytes.
    by_bytes: HashMap<Vec<u8>, u32>,
    bytes: [Option<u32>; 256],
    /// Rank and result of a merge.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Special and added tokens by their first byte, longest first.
    by_first: HashMap<u8, Vec<u32>>,
}

/// Why a tokenizer is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// More tokens than numbers.
    #[error("the tokenizer has more than 2^24 tokens or merges; it is damaged")]
    TooLarge,
    /// A token number out of range.
    #[error("the tokenizer speaks of token {id}, but has only {len} tokens; it is damaged")]
    NoToken {
        /// The number.
        id: u32,
        /// Number of tokens.
        len: usize,
    },
    /// Two ordinary tokens with the same bytes.
    #[error("tokens {first} and {second} have the same bytes {bytes:?}; the tokenizer is damaged")]
    Duplicate {
        /// One of them.
        first: u32,
        /// The other.
        second: u32,
        /// Their bytes.
        bytes: String,
    },
    /// A special token without a text.
    #[error("special token {id} has no text; the tokenizer is damaged")]
    NoText {
        /// The token.
        id: u32,
    },
    /// A merge whose result is no token.
    #[error("merge {rank} gives {bytes:?}, which is no token; the tokenizer is damaged")]
    MergeResult {
        /// The merge.
        rank: usize,
        /// What it gives.
        bytes: String,
    },
    /// A list is not sorted.
    #[error("the list of {what} tokens is not sorted; the tokenizer is damaged")]
    Unsorted {
        /// Which list.
        what: &'static str,
    },
}

const LARGEST: usize = 1 << 24;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Tokenizer {
    /// Checks the parts and indexes them.
    pub fn new(data: Data) -> Result<Self, TokenizerError> {
        let len = data.tokens.len();
        if len > LARGEST || data.merges.len() > LARGEST {
            return Err(TokenizerError::TooLarge);
        }
        let lists = [("special", &data.special), ("added", &data.added), ("unused", &data.unused)];
        for (what, list) in lists {
            if !list.is_sorted_by(|a, b| a < b) {
                return Err(TokenizerError::Unsorted { what });
            }
        }
        let named = lists.iter().flat_map(|(_, list)| list.iter()).chain(&data.unknown).chain(&data.bos);
        if let Some(&id) =
            named.chain(data.merges.iter().flat_map(|(a, b)| [a, b])).find(|&&id| id as usize >= len)
        {
            return Err(TokenizerError::NoToken { id, len });
        }
        let mut by_bytes = HashMap::with_capacity(len);
        for (id, token) in (0u32..).zip(&data.tokens) {
            if lists.iter().any(|(_, list)| list.binary_search(&id).is_ok()) {
                continue;
            }
            if let Some(first) = by_bytes.insert(token.clone(), id) {
                return Err(TokenizerError::Duplicate { first, second: id, bytes: lossy(token) });
            }
        }
        let mut merges = HashMap::with_capacity(data.merges.len());
        for (rank, &(a, b)) in data.merges.iter().enumerate() {
            let bytes = [data.tokens[a as usize].as_slice(), &data.tokens[b as usize]].concat();
            let Some(&result) = by_bytes.get(&bytes) else {
                return Err(TokenizerError::MergeResult { rank, bytes: lossy(&bytes) });
            };
            // A merge that stands twice has its first rank.
            merges.entry((a, b)).or_insert((rank as u32, result));
        }
        let mut by_first: HashMap<u8, Vec<u32>> = HashMap::new();
        for &id in data.special.iter().chain(&data.added) {
            let token = &data.tokens[id as usize];
            let (Some(&first), Ok(_)) = (token.first(), str::from_utf8(token)) else {
                return Err(TokenizerError::NoText { id });
            };
            by_first.entry(first).or_default().push(id);
        }
        for ids in by_first.values_mut() {
            ids.sort_by_key(|&id| (usize::MAX - data.tokens[id as usize].len(), id));
        }
        let bytes = std::array::from_fn(|b| by_bytes.get([b as u8].as_slice()).copied());
        Ok(Self { data, by_bytes, bytes, merges, by_first })
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

    /// The bytes of a token; none for an unused one.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.data.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// The token that stands for exactly this text, ordinary or special.
    pub fn id(&self, text: &str) -> Option<u32> {
        let marked =
            text.as_bytes().first().and_then(|b| self.by_first.get(b)).into_iter().flatten().copied();
        marked
            .into_iter()
            .find(|&id| self.data.tokens[id as usize] == text.as_bytes())
            .or_else(|| self.by_bytes.get(text.as_bytes()).copied())
    }

    /// Whether a token stands for control.
    pub fn is_special(&self, id: u32) -> bool {
        self.data.special.binary_search(&id).is_ok()
    }

    /// How a conversation becomes a text.
    pub fn chat_template(&self) -> Option<&str> {
        self.data.chat_template.as_deref()
    }

    /// The tokens of a text. Special tokens are recognised in it only if allowed; text from outside should not be able
    /// to write them. The beginning token is not added. A byte that is no token becomes the unknown token or, if there
    /// is none, nothing: see [`Self::uncovered`].
    pub fn encode(&self, text: &str, allow_special: bool) -> Vec<u32> {
        let mut out = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            if let Some(id) = self.marked(&text.as_bytes()[at..], allow_special) {
                self.ordinary(&text[start..at], &mut out);
                out.push(id);
                at += self.data.tokens[id as usize].len();
                start = at;
            } else {
                at += 1;
            }
        }
        self.ordinary(&text[start..], &mut out);
        out
    }

    /// The first character of a text with a byte that is no token.
    pub fn uncovered(&self, text: &str) -> Option<char> {
        let covered = |c: char| c.encode_utf8(&mut [0; 4]).bytes().all(|b| self.bytes[b as usize].is_some());
        text.chars().find(|&c| !covered(c))
    }

    /// The longest special or added token that a text begins with.
    fn marked(&self, text: &[u8], allow_special: bool) -> Option<u32> {
        let mut candidates = self.by_first.get(text.first()?)?.iter().copied();
        candidates.find(|&id| {
            text.starts_with(&self.data.tokens[id as usize]) && (allow_special || !self.is_special(id))
        })
    }

    fn ordinary(&self, text: &str, out: &mut Vec<u32>) {
        for word in self.data.split.words(text) {
            match self.by_bytes.get(word.as_bytes()) {
                Some(&id) if self.data.whole_words => out.push(id),
                _ => {
                    let ids = word.bytes().filter_map(|b| self.bytes[b as usize].or(self.data.unknown));
                    merge::merge(ids, &self.merges, out);
                }
            }
        }
    }

    /// The text of tokens, special ones included. What is not UTF-8 becomes U+FFFD; unknown numbers are skipped.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| self.token(id)).flatten().copied().collect();
        lossy(&bytes)
    }
}

impl TryFrom<Data> for Tokenizer {
    type Error = TokenizerError;

    fn try_from(data: Data) -> Result<Self, TokenizerError> {
        Self::new(data)
    }
}

impl From<Tokenizer> for Data {
    fn from(tokenizer: Tokenizer) -> Self {
        tokenizer.data
    }
}
