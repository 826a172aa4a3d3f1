//! How a text is cut into words before merging.
//!
//! The rules are regular expressions in the tokenizers' files, of which few are in use; here each is a function that
//! gives the length of the word at a place. With `L` letters, `N` numbers, `S` white space:
//!
//! | split | rule, first alternative that matches |
//! |---|---|
//! | `Gpt2` | `'s 't 're 've 'm 'll 'd`, ` ?L+`, ` ?N+`, ` ?[^SLN]+`, `S+(?!\S)`, `S+` |
//! | `Digits` | every `N` alone, then `Gpt2` between them |
//! | `Qwen2` | `'s` … in any case, `[^\r\nLN]?L+`, `N`, ` ?[^SLN]+[\r\n]*`, `S*[\r\n]+`, `S+(?!\S)`, `S+` |
//! | `Llama3` | as `Qwen2`, but `N{1,3}` |

use serde::{Deserialize, Serialize};

use super::unicode::{is_letter, is_number};

/// How text is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    /// Not at all.
    #[default]
    Whole,
    /// GPT-2.
    Gpt2,
    /// Every digit is a word, the rest as GPT-2 (SmolLM).
    Digits,
    /// Qwen 2 and 3.
    Qwen2,
    /// Llama 3.
    Llama3,
}

fn other(c: char) -> bool {
    !c.is_whitespace() && !is_letter(c) && !is_number(c)
}

fn newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Bytes of the leading characters of a kind.
fn run(text: &str, kind: impl Fn(char) -> bool) -> usize {
    text.find(|c| !kind(c)).unwrap_or(text.len())
}

/// An optional space and at least one character of a kind.
fn spaced(text: &str, kind: impl Fn(char) -> bool) -> Option<usize> {
    let rest = text.strip_prefix(' ').unwrap_or(text);
    let length = run(rest, kind);
    (length > 0).then(|| text.len() - rest.len() + length)
}

/// White space up to, but not including, the last one before a word.
fn space(text: &str) -> Option<usize> {
    let length = run(text, char::is_whitespace);
    let last = text[..length].chars().next_back()?;
    let kept = length - last.len_utf8();
    Some(if length < text.len() && kept > 0 { kept } else { length })
}

/// An English ending after an apostrophe.
fn ending(text: &str, any_case: bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    // The long s is the one other character whose other case is one of these letters.
    let same = |a: char, b: char| a == b || any_case && (a.eq_ignore_ascii_case(&b) || b == 's' && a == 'ſ');
    ["s", "t", "re", "ve", "m", "ll", "d"].iter().find_map(|&e| {
        let mut chars = rest.chars();
        e.chars().all(|b| chars.next().is_some_and(|a| same(a, b))).then(|| text.len() - chars.as_str().len())
    })
}

fn gpt2(text: &str) -> Option<usize> {
    ending(text, false)
        .or_else(|| spaced(text, is_letter))
        .or_else(|| spaced(text, is_number))
        .or_else(|| spaced(text, other))
        .or_else(|| space(text))
}

fn later(text: &str, digits: usize) -> Option<usize> {
    let letters = || {
        let first = text.chars().next().filter(|&c| !newline(c) && !is_letter(c) && !is_number(c));
        let skipped = first.map_or(0, char::len_utf8);
        let length = run(&text[skipped..], is_letter);
        (length > 0).then_some(skipped + length)
    };
    let numbers = || {
        let length = text.chars().take(digits).take_while(|&c| is_number(c)).map(char::len_utf8).sum();
        (length > 0).then_some(length)
    };
    let others = || spaced(text, other).map(|n| n + run(&text[n..], newline));
    let lines = || {
        let length = run(text, char::is_whitespace);
        text[..length].rfind(newline).map(|at| at + 1)
    };
    ending(text, true)
        .or_else(letters)
        .or_else(numbers)
        .or_else(others)
        .or_else(lines)
        .or_else(|| space(text))
}

impl Split {
    /// The words of a text, which they make up in order.
    pub fn words(self, text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        match self {
            Self::Whole if text.is_empty() => {}
            Self::Whole => words.push(text),
            Self::Gpt2 => cut(text, gpt2, &mut words),
            Self::Qwen2 => cut(text, |t| later(t, 1), &mut words),
            Self::Llama3 => cut(text, |t| later(t, 3), &mut words),
            Self::Digits => {
                let mut rest = text;
                while let Some((at, digit)) = rest.char_indices().find(|&(_, c)| is_number(c)) {
                    cut(&rest[..at], gpt2, &mut words);
                    words.push(&rest[at..at + digit.len_utf8()]);
                    rest = &rest[at + digit.len_utf8()..];
                }
                cut(rest, gpt2, &mut words);
            }
        }
        words
    }
}

fn cut<'a>(mut text: &'a str, length: impl Fn(&str) -> Option<usize>, words: &mut Vec<&'a str>) {
    while let Some(length) = length(text).filter(|&n| n > 0) {
        let (word, rest) = text.split_at(length);
        words.push(word);
        text = rest;
    }
    debug_assert!(text.is_empty(), "every character matches an alternative");
}
