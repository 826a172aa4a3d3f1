use serde_json::{Value, json};

use super::*;
use crate::llm::float::tests::model_file;

/// All bytes are tokens 0..256, then merges "th", "the", " t", then a control token and an added one.
fn small(pre_tokenizer: &Value) -> Value {
    let visible = |b: u8| {
        char::from_u32((0..0x144).find(|&c| alphabet::byte(char::from_u32(c).unwrap()) == Some(b)).unwrap())
    };
    let mut vocab = serde_json::Map::new();
    for b in 0..=255u8 {
        vocab.insert(visible(b).unwrap().to_string(), b.into());
    }
    for (token, id) in [("th", 256), ("the", 257), ("Ġt", 258)] {
        vocab.insert(token.into(), id.into());
    }
    json!({
        "added_tokens": [
            {"id": 259, "content": "<|end|>", "special": true},
            {"id": 260, "content": "<think>", "special": false},
            {"id": 261, "content": "<|end|>>", "special": true},
        ],
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "ByteLevel"},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["t h", ["th", "e"], "Ġ t"]},
    })
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})
}

#[test]
fn words_as_the_tokenizers_library_cuts_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("words.json")).unwrap();
    for case in cases {
        let text = case["text"].as_str().unwrap();
        for split in [Split::Gpt2, Split::Digits, Split::Qwen2, Split::Llama3] {
            let expected: Vec<_> =
                case[format!("{split:?}")].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
            assert_eq!(split.words(text), expected, "{split:?} of {text:?}");
        }
    }
}

#[test]
fn tokens_of_smollm2() {
    let Some(path) = model_file("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let digits = crate::llm::gguf::open_tokenizer(&path).unwrap();
    let with = |split, special| {
        let mut data = Data::from(digits.clone());
        data.split = split;
        (Tokenizer::new(data).unwrap(), special)
    };
    let tokenizers = [
        ("Digits", with(Split::Digits, true)),
        ("plain", with(Split::Digits, false)),
        ("Gpt2", with(Split::Gpt2, true)),
        ("Qwen2", with(Split::Qwen2, true)),
        ("Llama3", with(Split::Llama3, true)),
    ];
    let more = std::env::var_os("CIRCLET_TOKENIZER_VECTORS").map(|p| std::fs::read_to_string(p).unwrap());
    let mut cases: Vec<Value> = serde_json::from_str(include_str!("smollm2.json")).unwrap();
    cases.extend(more.map(|m| serde_json::from_str::<Vec<Value>>(&m).unwrap()).unwrap_or_default());
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        for (key, (tokenizer, special)) in &tokenizers {
            let Some(expected) = case.get(*key) else { continue };
            let expected: Vec<u32> = serde_json::from_value(expected.clone()).unwrap();
            let ids = tokenizer.encode(text, *special);
            assert_eq!(ids, expected, "{key} of {text:?}");
            if tokenizer.uncovered(text).is_none() {
                assert_eq!(tokenizer.decode(&ids), text);
            }
        }
    }
    assert_eq!(digits.id("<|im_end|>"), Some(2));
    assert!(digits.chat_template().unwrap().contains("<|im_start|>"));
    let bytes = postcard::to_stdvec(&digits).unwrap();
    let back: Tokenizer = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(back.data(), digits.data());
    eprintln!("the tokenizer takes {} bytes", bytes.len());
}

#[test]
fn a_small_tokenizer() {
    let t = from_json(&small(&byte_level())).unwrap();
    assert_eq!(t.encode("the then to", false), [257, 32, 257, 110, 258, 111]);
    assert_eq!(t.encode("a<|end|>>b<think>", true), [97, 261, 98, 260]);
    let plain = t.encode("<|end|><think>", false);
    assert_eq!((plain.len(), plain.last()), (8, Some(&260)));
    assert_eq!(t.decode(&plain), "<|end|><think>");
    assert_eq!(t.decode(&[0xe2, 0x82, 9999]), "\u{fffd}");
    assert_eq!((t.token(256), t.token(262)), (Some(b"th".as_slice()), None));
    assert_eq!((t.id("the"), t.id("<think>"), t.id("zz")), (Some(257), Some(260), None));
    let text = "Any text: ünïcödé 🙂\n\n  done";
    assert_eq!(t.decode(&t.encode(text, true)), text);
}

#[test]
fn no_merges_and_few_characters() {
    let value = json!({
        "added_tokens": [{"id": 0, "content": "<eos>", "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": {"<eos>": 0, "a": 1, "b": 2, "Ġ": 3}, "merges": []},
    });
    let t = from_json(&value).unwrap();
    assert_eq!(t.encode("ab ba<eos>", true), [1, 2, 3, 2, 1, 0]);
    assert_eq!(t.encode("aXb", false), [1, 2]);
    assert_eq!((t.uncovered("ab"), t.uncovered("aXb")), (None, Some('X')));
}

#[test]
fn long_words_take_no_quadratic_time() {
    let t = from_json(&small(&byte_level())).unwrap();
    let text = "the".repeat(300_000);
    assert_eq!(t.encode(&text, true).len(), 300_000);
}

#[test]
fn merging_in_order_of_rank() {
    // Reference: scan for the lowest rank, again and again.
    let merges: HashMap<_, _> =
        [((0, 0), (2, 2)), ((0, 1), (0, 3)), ((2, 2), (1, 4)), ((3, 0), (3, 5)), ((1, 3), (4, 6))].into();
    let mut state = 7u64;
    for _ in 0..2000 {
        let mut word = Vec::new();
        for _ in 0..state % 23 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.push((state >> 60) as u32 % 2);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 + (state >> 33));
        let mut fast = Vec::new();
        merge::merge(word.iter().copied(), &merges, &mut fast);
        let mut slow = word.clone();
        let best = |slow: &[u32]| {
            let pairs = slow.windows(2).enumerate();
            pairs.filter_map(|(i, p)| merges.get(&(p[0], p[1])).map(|&(rank, id)| (rank, i, id))).min()
        };
        while let Some((_, i, id)) = best(&slow) {
            slow.splice(i..i + 2, [id]);
        }
        assert_eq!(fast, slow, "{word:?}");
    }
}

#[test]
fn text_as_it_is_generated() {
    let text = "aé€🙂b";
    let mut stream = Stream::new();
    let parts: Vec<_> = text.bytes().map(|b| stream.push(&[b])).collect();
    assert_eq!(parts, ["a", "", "é", "", "", "€", "", "", "", "🙂", "b"]);
    assert_eq!(stream.push(&[0xe2, 0x82]), "");
    assert_eq!(stream.push(b"x"), "\u{fffd}x");
    assert_eq!(stream.push(&[0xff, 0xe2]), "\u{fffd}");
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn beginning_token() {
    let mut value = small(&byte_level());
    value["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"},
        {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
    ]});
    assert_eq!(from_json(&value).unwrap().data().bos, Some(259));
}

#[test]
fn refusals_name_the_thing() {
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut value = small(&byte_level());
        change(&mut value);
        let refusal = format!("{:#}", from_json(&value).map(|_| ()).expect_err("it is refused"));
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    };
    check(&|v| v["model"]["type"] = "Unigram".into(), "\"Unigram\"");
    check(&|v| v["model"]["byte_fallback"] = true.into(), "byte_fallback");
    check(&|v| v["normalizer"] = json!({"type": "Lowercase"}), "\"Lowercase\"");
    check(&|v| v["decoder"] = json!({"type": "Metaspace"}), "\"Metaspace\"");
    check(&|v| v["pre_tokenizer"] = Value::Null, "no pre_tokenizer");
    check(&|v| v["pre_tokenizer"] = json!({"type": "Whitespace"}), "\"Whitespace\"");
    check(&|v| v["pre_tokenizer"]["add_prefix_space"] = true.into(), "add_prefix_space true");
    check(
        &|v| {
            v["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "x+"}},
                {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]});
        },
        "\"x+\"",
    );
    check(&|v| v["added_tokens"][0]["lstrip"] = true.into(), "\"<|end|>\" takes in the space");
    check(&|v| v["added_tokens"][0]["content"] = "".into(), "259 has no text");
    check(&|v| v["added_tokens"][0]["id"] = 0xffff_ffffu32.into(), "numbers up to");
    check(&|v| v["model"]["merges"][0] = "t q".into(), "\"tq\", which is no token");
    check(&|v| v["model"]["merges"][0] = "tq".into(), "not two tokens");
    check(&|v| v["model"]["merges"][0] = "t qq".into(), "\"qq\", which is no token");
    check(&|v| v["model"]["unk_token"] = "<unk>".into(), "<unk>");
    check(&|v| v["post_processor"] = json!({"type": "BertProcessing"}), "\"BertProcessing\"");
}

#[test]
fn damaged_data() {
    let data = || Data::from(from_json(&small(&byte_level())).unwrap());
    let check = |change: &dyn Fn(&mut Data), expected: TokenizerError| {
        let mut data = data();
        change(&mut data);
        assert_eq!(Tokenizer::new(data).map(|_| ()), Err(expected));
    };
    check(&|d| d.bos = Some(262), TokenizerError::NoToken { id: 262, len: 262 });
    check(&|d| d.merges.push((1, 400)), TokenizerError::NoToken { id: 400, len: 262 });
    check(&|d| d.special.reverse(), TokenizerError::Unsorted { what: "special" });
    check(&|d| d.tokens[1] = vec![0], TokenizerError::Duplicate { first: 0, second: 1, bytes: "\0".into() });
}
