//! Tokenizers: `tokenizer.json` of both kinds and `vocab.txt`, and texts through them.

use circlet::llm::Tokenizer;
use circlet::llm::encoder::{WordPiece, wordpiece};
use circlet::llm::tokenizer::{Stream, from_json};
use serde_json::Value;

/// What is before the first zero byte is a file, what is behind it is a text.
pub fn tokenizer(data: &[u8]) {
    let (file, text) = match data.iter().position(|&byte| byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b"A text with \xc3\xa9 1234"[..]),
    };
    let text = String::from_utf8_lossy(text);
    if let Ok(vocab) = str::from_utf8(file)
        && let Ok(tokenizer) = wordpiece::from_vocab(vocab, &Value::Null)
    {
        use_wordpiece(&tokenizer, &text);
    }
    let Ok(json) = serde_json::from_slice::<Value>(file) else { return };
    if let Ok(tokenizer) = from_json(&json) {
        for special in [false, true] {
            use_tokenizer(&tokenizer, &text, special);
        }
    }
    if let Ok(tokenizer) = wordpiece::from_json(&json) {
        use_wordpiece(&tokenizer, &text);
    }
}

/// A text as tokens and back.
pub fn use_tokenizer(tokenizer: &Tokenizer, text: &str, special: bool) {
    let data = tokenizer.data();
    assert_eq!(Tokenizer::new(data.clone()).expect("the parts of a tokenizer").data(), data);
    let ids = tokenizer.encode(text, special);
    let decoded = tokenizer.decode(&ids);
    // Every byte is a token, or the text is one that has lost some.
    if tokenizer.uncovered(text).is_none() {
        assert_eq!(decoded, text);
    }
    // Token by token, a text is the same.
    let mut stream = Stream::new();
    let mut streamed = String::new();
    for &id in &ids {
        assert!(
            special || !tokenizer.is_special(id) || Some(id) == data.unknown,
            "a special token from a text"
        );
        streamed += &stream.push(tokenizer.token(id).expect("a token of the vocabulary"));
    }
    streamed += &stream.finish();
    assert_eq!(streamed, decoded);
    if let Some(&id) = ids.first() {
        let bytes = tokenizer.token(id).expect("a token of the vocabulary");
        let _ = str::from_utf8(bytes).map(|text| tokenizer.id(text));
    }
}

/// A text as tokens, which stand between those that begin and end it, and back.
fn use_wordpiece(tokenizer: &WordPiece, text: &str) {
    let data = tokenizer.data();
    assert_eq!(&WordPiece::new(data.clone()).expect("the parts of a tokenizer"), tokenizer);
    let ids = tokenizer.encode(text);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
    assert_eq!((ids.first(), ids.last()), (Some(&data.begin), Some(&data.end)));
    assert!(ids.len() >= 2);
    let _ = tokenizer.decode(&ids);
}
