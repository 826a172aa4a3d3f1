//! Models and inputs in the formats of others.

use circlet::import::onnx_writer::{Attr, Dim, OnnxWriter};
use circlet::llm::Block;
use circlet_tests::programs::Random;
use serde_json::{Value, json};

use super::Seed;
use crate::safetensors::packed;

/// Numbers of a weight, all of moderate size.
fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.symmetric(1000) as f32 / 1024.0).collect()
}

/// Layers, quantized layers, and movements.
pub fn onnx(seeds: &mut Vec<Seed>) {
    let mut random = Random(2);
    let mut model = OnnxWriter::new(17);
    model.input("x", &[Dim::Symbol("N"), Dim::Fixed(6)]);
    model.weights("w", &[4, 6], &numbers(&mut random, 24));
    model.weights("b", &[4], &numbers(&mut random, 4));
    model.weights("v", &[4, 4], &numbers(&mut random, 16));
    model.node("Gemm", &["x", "w", "b"], &["a"], &[("transB", Attr::Int(1))]);
    model.node("LayerNormalization", &["a", "b", "b"], &["n"], &[("epsilon", Attr::Float(1e-5))]);
    model.node("Relu", &["n"], &["r"], &[]);
    model.node("MatMul", &["r", "v"], &["m"], &[]);
    model.node("Add", &["m", "a"], &["s"], &[]);
    model.node("Sigmoid", &["s"], &["t"], &[]);
    model.node("Mul", &["s", "t"], &["y"], &[]);
    model.output("y", &[Dim::Symbol("N"), Dim::Fixed(4)]);
    seeds.push(("onnx", "layers".into(), model.to_bytes()));

    let mut model = OnnxWriter::new(18);
    model.input("x", &[Dim::Fixed(2), Dim::Fixed(4)]);
    model.weights("scale", &[], &[0.05]);
    model.raw_tensor("zero", 3, &[], &[3]);
    model.raw_tensor("w", 3, &[4, 3], &[1, 2, 3, 250, 5, 6, 7, 8, 9, 200, 11, 12]);
    model.weights("scales", &[3], &[0.1, 0.2, 0.05]);
    model.node("QuantizeLinear", &["x", "scale", "zero"], &["q"], &[]);
    model.node("DequantizeLinear", &["q", "scale", "zero"], &["d"], &[]);
    model.node("DequantizeLinear", &["w", "scales"], &["e"], &[("axis", Attr::Int(1))]);
    model.node("MatMul", &["d", "e"], &["y"], &[]);
    model.output("y", &[Dim::Fixed(2), Dim::Fixed(3)]);
    seeds.push(("onnx", "quantized".into(), model.to_bytes()));

    let mut model = OnnxWriter::new(18);
    model.input("x", &[Dim::Symbol("N"), Dim::Fixed(2), Dim::Fixed(6)]);
    for (name, data) in [
        ("shape", &[0, 3, 4][..]),
        ("starts", &[1]),
        ("ends", &[3]),
        ("axes", &[2]),
        ("at", &[2, 0, 1]),
        ("split", &[1, 2]),
    ] {
        model.integers(name, data);
    }
    model.node("Shape", &["x"], &["n"], &[]);
    model.node("ConstantOfShape", &["n"], &["c"], &[("value", Attr::Tensor(&[1], &[2.0]))]);
    model.node("Mul", &["x", "c"], &["m"], &[]);
    model.node("Reshape", &["m", "shape"], &["r"], &[]);
    model.node("Transpose", &["r"], &["t"], &[("perm", Attr::Ints(&[0, 2, 1]))]);
    model.node("Slice", &["t", "starts", "ends", "axes"], &["s"], &[]);
    model.node("Gather", &["t", "at"], &["g"], &[("axis", Attr::Int(2))]);
    model.node("Split", &["g", "split"], &["p", "o"], &[("axis", Attr::Int(2))]);
    model.node("Concat", &["p", "s"], &["k"], &[("axis", Attr::Int(2))]);
    model.node("ReduceMean", &["k", "axes"], &["e"], &[("keepdims", Attr::Int(1))]);
    model.node("Sub", &["k", "e"], &["y"], &[]);
    model.output("y", &[Dim::Symbol("N"), Dim::Fixed(4), Dim::Fixed(3)]);
    seeds.push(("onnx", "movements".into(), model.to_bytes()));
}

/// A GGUF file on its way.
struct Gguf {
    keys: Vec<u8>,
    count: u64,
    tensors: Vec<(String, Vec<u64>, Block)>,
}

impl Gguf {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        Self::text(&mut self.keys, key);
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self.count += 1;
    }

    fn word(&mut self, key: &str, value: u32) {
        self.key(key, 4, &value.to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        Self::text(&mut bytes, value);
        self.key(key, 8, &bytes);
    }

    fn strings(&mut self, key: &str, values: &[&str]) {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        for value in values {
            Self::text(&mut bytes, value);
        }
        self.key(key, 9, &bytes);
    }

    fn finish(self, random: &mut Random) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.keys);
        let mut data: Vec<u8> = Vec::new();
        for (name, dims, block) in self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            Self::text(&mut out, &name);
            out.extend((dims.len() as u32).to_le_bytes());
            for dim in &dims {
                out.extend(dim.to_le_bytes());
            }
            let (number, weights) = (format(block), dims.iter().product::<u64>() as usize);
            out.extend(number.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            let size = block.size(weights).expect("whole blocks");
            match block {
                Block::F32 => data.extend(numbers(random, weights).iter().flat_map(|x| x.to_le_bytes())),
                // Scales, wherever they stand, are numbers when no byte is large.
                _ => data.extend((0..size).map(|_| random.below(0x3c) as u8)),
            }
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

/// The number of a format in GGUF files.
fn format(block: Block) -> u32 {
    match block {
        Block::F32 => 0,
        Block::F16 => 1,
        Block::Q4_0 => 2,
        Block::Q4_1 => 3,
        Block::Q5_0 => 6,
        Block::Q5_1 => 7,
        Block::Q8_0 => 8,
        Block::Q4K => 12,
        Block::Q5K => 13,
        Block::Q6K => 14,
        Block::BF16 => 30,
    }
}

/// A model of one narrow layer in every format.
pub fn gguf(seeds: &mut Vec<Seed>) {
    let families = ["llama", "qwen2", "qwen3", "mistral"];
    for (index, block) in Block::ALL.into_iter().enumerate() {
        let mut random = Random(3);
        let family = families[index % families.len()];
        let width = block.weights().max(8) as u64;
        let mut file = Gguf { keys: Vec::new(), count: 0, tensors: Vec::new() };
        file.string("general.architecture", family);
        file.string("general.name", "tiny");
        for (key, value) in [
            ("block_count", 1),
            ("embedding_length", width as u32),
            ("feed_forward_length", 2),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("attention.key_length", 2),
            ("context_length", 64),
        ] {
            file.word(&format!("{family}.{key}"), value);
        }
        file.key(&format!("{family}.attention.layer_norm_rms_epsilon"), 6, &1e-5f32.to_le_bytes());
        file.string("tokenizer.ggml.model", "gpt2");
        file.string("tokenizer.ggml.pre", ["smollm", "qwen2", "llama-bpe", "gpt-2"][index % 4]);
        file.strings("tokenizer.ggml.tokens", &["<s>", "a", "b", "ab", "\u{120}"]);
        file.strings("tokenizer.ggml.merges", &["a b"]);
        let kinds: Vec<u8> = [5u32, 5, 0, 3, 1, 1, 1, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
        file.key("tokenizer.ggml.token_type", 9, &kinds);
        file.word("tokenizer.ggml.bos_token_id", 0);
        file.word("tokenizer.ggml.eos_token_id", 0);
        file.key("tokenizer.ggml.add_bos_token", 7, &[1]);
        let mut add = |name: &str, dims: &[u64], block: Block| {
            file.tensors.push((name.into(), dims.to_vec(), block));
        };
        add("token_embd.weight", &[width, 5], block);
        add("output_norm.weight", &[width], Block::F32);
        for (name, dims, block) in [
            ("attn_norm", &[width][..], Block::F32),
            ("ffn_norm", &[width], Block::F32),
            ("attn_q", &[width, 4], block),
            ("attn_k", &[width, 2], block),
            ("attn_v", &[width, 2], block),
            ("attn_output", &[4, width], Block::F32),
            ("ffn_gate", &[width, 2], block),
            ("ffn_up", &[width, 2], block),
            ("ffn_down", &[2, width], Block::F32),
        ] {
            add(&format!("blk.0.{name}.weight"), dims, block);
        }
        if family == "qwen2" {
            for (name, size) in [("attn_q", 4), ("attn_k", 2), ("attn_v", 2)] {
                add(&format!("blk.0.{name}.bias"), &[size], Block::F32);
            }
        }
        if family == "qwen3" {
            add("blk.0.attn_q_norm.weight", &[2], Block::F32);
            add("blk.0.attn_k_norm.weight", &[2], Block::F32);
        }
        seeds.push(("gguf", format!("{block:?}").to_lowercase(), file.finish(&mut random)));
    }
}

/// The bytes of a safetensors file of these tensors.
fn safetensors(tensors: &[(String, Vec<usize>)], kind: &str, random: &mut Random) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape) in tensors {
        let start = data.len();
        let all = numbers(random, shape.iter().product());
        match kind {
            "F32" => data.extend(all.iter().flat_map(|x| x.to_le_bytes())),
            _ => data.extend(all.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())),
        }
        header.insert(
            name.clone(),
            json!({"dtype": kind, "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A decoder and an encoder.
pub fn directories(seeds: &mut Vec<Seed>) {
    let mut random = Random(4);
    let tensor = |(name, shape): &(&str, &[usize])| (String::from(*name), shape.to_vec());
    let config = json!({
        "model_type": "llama", "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "vocab_size": 6, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": [1, 2],
        "tie_word_embeddings": true,
    });
    let tensors: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[6, 4]),
        ("model.norm.weight", &[4]),
        ("model.layers.0.input_layernorm.weight", &[4]),
        ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
        ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
        ("model.layers.0.post_attention_layernorm.weight", &[4]),
        ("model.layers.0.mlp.gate_proj.weight", &[6, 4]),
        ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
        ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
    ];
    let tensors: Vec<_> = tensors.iter().map(tensor).collect();
    for kind in ["F32", "BF16"] {
        let weights = safetensors(&tensors, kind, &mut random);
        let config = config.to_string();
        let files = [
            ("config.json", config.as_bytes()),
            ("generation_config.json", br#"{"eos_token_id": 3}"#),
            ("tokenizer_config.json", br#"{"chat_template": "{{ messages }}"}"#),
            ("model.safetensors", &weights),
        ];
        seeds.push(("safetensors", format!("decoder-{}", kind.to_lowercase()), packed(&files)));
        let files = [
            ("config.json", config.as_bytes()),
            ("model.safetensors.index.json", br#"{"weight_map": {"a": "other.safetensors"}}"#),
            ("other.safetensors", &weights),
        ];
        seeds.push(("safetensors", format!("index-{}", kind.to_lowercase()), packed(&files)));
    }

    let config = json!({
        "model_type": "bert", "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 5, "max_position_embeddings": 8, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    });
    let square: &[usize] = &[4, 4];
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![5, 4]),
        ("embeddings.position_embeddings.weight".into(), vec![8, 4]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, 4]),
        ("embeddings.LayerNorm.weight".into(), vec![4]),
        ("embeddings.LayerNorm.bias".into(), vec![4]),
    ];
    for (part, shape) in [
        ("attention.self.query", square),
        ("attention.self.key", square),
        ("attention.self.value", square),
        ("attention.output.dense", square),
        ("attention.output.LayerNorm", &[4]),
        ("intermediate.dense", &[6, 4]),
        ("output.dense", &[4, 6]),
        ("output.LayerNorm", &[4]),
    ] {
        tensors.push((format!("encoder.layer.0.{part}.weight"), shape.to_vec()));
        tensors.push((format!("encoder.layer.0.{part}.bias"), vec![shape[0]]));
    }
    let weights = safetensors(&tensors, "F32", &mut random);
    let pooling = br#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}"#;
    let files = [
        ("config.json", config.to_string().into_bytes()),
        ("model.safetensors", weights),
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n".to_vec()),
        ("modules.json", br#"[{"type": "sentence_transformers.models.Pooling"}]"#.to_vec()),
        ("1_Pooling/config.json", pooling.to_vec()),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    seeds.push(("safetensors", "encoder".into(), packed(&files)));
}

/// Tokenizers of every splitting rule, with texts.
pub fn tokenizers(seeds: &mut Vec<Seed>) {
    const LATER: [&str; 2] = [r"\p{N}", r"\p{N}{1,3}"];
    let text = "\0It's 12345 caf\u{e9}s,\r\n\n  I'LL <|a|> abab";
    let byte_level =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": regex});
    let split = |digits: &str| {
        let regex = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let split =
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    };
    let digits = json!({"type": "Digits", "individual_digits": true});
    let splits = [
        ("gpt2", byte_level(true)),
        ("whole", byte_level(false)),
        ("digits", json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]})),
        ("qwen2", split(LATER[0])),
        ("llama3", split(LATER[1])),
    ];
    for (name, pre_tokenizer) in splits {
        let vocab = json!({"a": 0, "b": 1, "ab": 2, "abab": 3, "\u{120}": 4, "I": 5, "1": 6, "\u{c3}": 7, "\u{a9}": 8, "?": 11});
        let json = json!({
            "added_tokens": [
                {"id": 9, "content": "<|a|>", "special": true}, {"id": 10, "content": "caf", "special": false}
            ],
            "normalizer": {"type": "NFC"}, "pre_tokenizer": pre_tokenizer, "decoder": {"type": "ByteLevel"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|a|>"}}, {"Sequence": {"id": "A"}}]
            },
            "model": {"type": "BPE", "vocab": vocab, "merges": ["a b", "ab ab"], "unk_token": "?"},
        });
        seeds.push(("tokenizer", name.into(), [json.to_string().as_bytes(), text.as_bytes()].concat()));
    }
    let json = json!({
        "model": {
            "type": "WordPiece", "max_input_chars_per_word": 20, "continuing_subword_prefix": "##",
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "it": 4, "cafe": 5, "##s": 6, "'": 7}
        },
        "normalizer": {"type": "BertNormalizer", "lowercase": true, "strip_accents": null},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    });
    seeds.push(("tokenizer", "wordpiece".into(), [json.to_string().as_bytes(), text.as_bytes()].concat()));
    let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nit\ncafe\n##s\n'\n\u{4e2d}";
    seeds.push(("tokenizer", "vocab".into(), [vocab.as_bytes(), text.as_bytes()].concat()));
}

/// Arrays of numbers.
pub fn inputs(seeds: &mut Vec<Seed>) {
    let mut npy = |name: &str, descr: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        seeds.push(("npy_json", name.into(), bytes));
    };
    let floats: Vec<u8> = [1.5f32, -2.0, 3.0, 4.0, 0.0, 1e9].iter().flat_map(|x| x.to_le_bytes()).collect();
    npy("f4", "<f4", "(2, 3)", &floats);
    npy("f8", "<f8", "(3,)", &floats);
    npy("u1", "|u1", "(3, 2, 4)", &floats);
    npy("i8", "<i8", "()", &floats[..8]);
    for (name, text) in [
        ("nested", "[[1, 2.5, -3e2], [4, 5, 6]]"),
        ("object", r#"{"inputs": [[1], [2]], "outputs": [0, 1]}"#),
        ("scalar", "7"),
    ] {
        seeds.push(("npy_json", name.into(), text.as_bytes().to_vec()));
    }
}
