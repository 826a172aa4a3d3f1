//! Synthetic model directories.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::llm::blocks::tests::sample;
use crate::llm::stored::expected;
use crate::llm::{self};

/// Tensors: name, extents, type, data.
pub(in crate::llm) type Tensors = Vec<(String, Vec<usize>, &'static str, Vec<u8>)>;

/// The bytes of a safetensors file.
pub(in crate::llm) fn file(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, shape, kind, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        header.insert(
            name.clone(),
            json!({"dtype": kind, "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(data);
    out
}

pub(in crate::llm) fn config(family: &str) -> Value {
    json!({
        "model_type": family, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rope_theta": 10000.0,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "hidden_act": "silu", "vocab_size": 11,
        "max_position_embeddings": 32, "eos_token_id": [3, 4], "bos_token_id": 1,
        "sliding_window": null, "use_sliding_window": false,
    })
}

/// The tensors of the model of [`config`].
pub(in crate::llm) fn tensors(kind: &'static str, bias: bool, norms: bool, head: bool) -> Tensors {
    let (format, bytes) = match kind {
        "F32" => (Block::F32, 4),
        "F16" => (Block::F16, 2),
        _ => (Block::BF16, 2),
    };
    let mut raw: Raw = serde_json::from_value(config("llama")).unwrap();
    raw.tie_word_embeddings = Some(!head);
    let mut config = raw.config(Path::new("."), &[]).unwrap();
    (config.attention_bias, config.qk_norm) = (bias, norms);
    let weights = expected(&config).into_iter().enumerate();
    let tensor = |(i, (weight, rows, cols)): (usize, (Weight, usize, usize))| {
        let all = sample(format, rows * cols + i);
        let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
        (name(weight), shape, kind, all[i * bytes..].to_vec())
    };
    weights.map(tensor).collect()
}

/// Writes a model directory.
pub(in crate::llm) fn directory(config: &Value, tensors: &Tensors) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(directory.path().join("model.safetensors"), file(tensors)).unwrap();
    directory
}

fn refusal(path: &Path) -> String {
    format!("{:#}", llm::open(path).map(|_| ()).expect_err("it is refused"))
}

#[test]
fn families_and_formats() {
    let cases = [
        ("llama", "F32", false, false, false, Family::Llama),
        ("mistral", "BF16", false, false, true, Family::Mistral),
        ("qwen2", "F16", true, false, false, Family::Qwen2),
        ("qwen3", "BF16", false, true, false, Family::Qwen3),
    ];
    for (name, kind, bias, norms, head, family) in cases {
        let mut config = config(name);
        config["tie_word_embeddings"] = (!head).into();
        let tensors = tensors(kind, bias, norms, head);
        let directory = directory(&config, &tensors);
        for path in [directory.path().to_owned(), directory.path().join("model.safetensors")] {
            let opened = llm::open(&path).unwrap();
            let c = opened.checkpoint.config();
            assert_eq!((c.family, c.attention_bias, c.qk_norm, c.tied_head), (family, bias, norms, !head));
            assert_eq!((c.rope.pairs, c.head_dim, &c.eos[..]), (RopePairs::Halves, 8, &[3, 4][..]));
            assert!(opened.tokenizer_error.as_ref().unwrap().contains("tokenizer.json"));
            let stored = &tensors.iter().find(|t| t.0 == "model.layers.1.self_attn.k_proj.weight").unwrap().3;
            let format = [("F32", Block::F32), ("F16", Block::F16)].iter().find(|f| f.0 == kind);
            let mut all = vec![0.0; 16 * 24];
            format.map_or(Block::BF16, |f| f.1).dequantize(stored, &mut all);
            let mut some = vec![0.0; 2 * 24];
            opened.checkpoint.read(Weight::Key(1), 5..7, &mut some).unwrap();
            assert_eq!(some, all[5 * 24..7 * 24]);
        }
    }
}

#[test]
fn shards() {
    let all = tensors("F32", false, false, false);
    let directory = directory(&config("llama"), &all);
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    std::fs::remove_file(path("model.safetensors")).unwrap();
    let (one, two) = all.split_at(9);
    std::fs::write(path("a.safetensors"), file(&one.to_vec())).unwrap();
    std::fs::write(path("b.safetensors"), file(&two.to_vec())).unwrap();
    let map = |names: [&str; 2]| {
        let place =
            |(i, t): (usize, &(String, _, _, _))| (t.0.clone(), Value::from(names[usize::from(i >= 9)]));
        let map: serde_json::Map<_, _> = all.iter().enumerate().map(place).collect();
        std::fs::write(path("model.safetensors.index.json"), json!({ "weight_map": map }).to_string())
            .unwrap();
    };
    map(["a.safetensors", "b.safetensors"]);
    assert!(llm::open(directory.path()).is_ok());
    map(["a.safetensors", "../b.safetensors"]);
    assert!(refusal(directory.path()).contains("\"../b.safetensors\", which is not in its directory"));
    map(["a.safetensors", "c.safetensors"]);
    assert!(refusal(directory.path()).contains("c.safetensors"));
    map(["a.safetensors", "a.safetensors"]);
    assert!(refusal(directory.path()).contains("is missing"));
}

#[test]
fn refusals_name_the_thing() {
    let check = |change: &dyn Fn(&mut Value, &mut Tensors), expected: &str| {
        let (mut config, mut tensors) = (config("llama"), tensors("F32", false, false, false));
        change(&mut config, &mut tensors);
        let refusal = refusal(directory(&config, &tensors).path());
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    };
    check(&|c, _| c["model_type"] = "gemma3".into(), "\"gemma3\"");
    check(&|c, _| c["hidden_act"] = "relu".into(), "\"relu\"");
    check(&|c, _| c["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0}), "\"yarn\"");
    check(&|c, _| c["rope_scaling"] = json!({"type": "linear"}), "no positive \"factor\"");
    check(&|c, _| c["quantization_config"] = json!({"bits": 4}), "quantization_config");
    check(&|c, _| c["num_attention_heads"] = 0.into(), "attention heads");
    check(&|c, _| c["hidden_size"] = "x".into(), "config.json");
    // Heads that the file does not bear out take neither time nor memory.
    check(&|c, _| c["head_dim"] = (1 << 26).into(), "needs 268435456 x 24");
    check(&|_, t| drop(t.remove(3)), "is missing");
    check(&|_, t| t[0].1 = vec![12, 22], "\"model.embed_tokens.weight\" has extents [12, 22]");
    check(&|_, t| t[1].2 = "I32", "\"model.norm.weight\" has number format I32");
    check(
        &|_, t| t.push(("model.extra".into(), vec![1], "F32", vec![0; 4])),
        "\"model.extra\" (1 in all) has no place",
    );
    check(&|_, t| t[0].3.truncate(8), "no safetensors file or a truncated one");
}

#[test]
fn what_is_no_model() {
    let empty = TempDir::new().unwrap();
    assert!(refusal(empty.path()).contains("neither model.safetensors"));
    let path = empty.path().join("x.bin");
    assert!(refusal(&path).contains("cannot open"));
    std::fs::write(&path, "hello, world").unwrap();
    assert!(refusal(&path).contains("neither a GGUF file nor a safetensors file"));
    std::fs::write(&path, "").unwrap();
    assert!(refusal(&path).contains("neither a GGUF"));
    std::fs::write(&path, "GGUF").unwrap();
    assert!(refusal(&path).contains("ends too early"));
}

#[test]
fn llama3_scaling_and_beginning_token() {
    let mut config = config("llama");
    config["rope_parameters"] = json!({"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let directory = directory(&config, &tensors("F32", false, false, false));
    let opened = llm::open(directory.path()).unwrap();
    let c = opened.checkpoint.config();
    let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192 };
    assert_eq!((c.rope.base.to_bits(), &c.rope.scaling, c.bos), (500_000f64.to_bits(), &scaling, None));
}
