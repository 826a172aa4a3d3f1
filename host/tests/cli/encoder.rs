//! Sentence encoders, with a random one of two layers that is written here.

use std::path::Path;

use serde_json::json;

use super::{Bench, FILE, OK, REJECTED, USAGE, Value, fs};

const WIDTH: usize = 16;
const FFN: usize = 24;
const LAYERS: usize = 2;
const POSITIONS: usize = 16;
const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "man", "is", "eat", "##ing", "food", ".", "horse"];

/// Tensors: name, extents, numbers.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn config() -> Value {
    json!({
        "model_type": "bert", "_name_or_path": "tiny-bert", "hidden_size": WIDTH, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "vocab_size": WORDS.len(), "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
    })
}

fn tensors() -> Tensors {
    let mut state = 7u64;
    let mut noise = |scale: f32, shift: f32| {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x2545_f491_4f6c_dd1d);
        ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * scale + shift
    };
    let mut all = Tensors::new();
    let mut add = |name: &str, dims: &[usize]| {
        let (scale, shift) = match name {
            _ if name.ends_with("LayerNorm.weight") => (0.3, 1.0),
            _ if name.ends_with("bias") => (0.2, 0.0),
            _ => (0.6, 0.0),
        };
        let numbers = (0..dims.iter().product()).map(|_| noise(scale, shift)).collect();
        all.push((format!("bert.{name}"), dims.to_vec(), numbers));
    };
    add("embeddings.word_embeddings.weight", &[WORDS.len(), WIDTH]);
    add("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH]);
    add("embeddings.token_type_embeddings.weight", &[2, WIDTH]);
    add("embeddings.LayerNorm.weight", &[WIDTH]);
    add("embeddings.LayerNorm.bias", &[WIDTH]);
    for layer in 0..LAYERS {
        for (name, rows, cols) in [
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", FFN, WIDTH),
            ("output.dense", WIDTH, FFN),
        ] {
            add(&format!("encoder.layer.{layer}.{name}.weight"), &[rows, cols]);
            add(&format!("encoder.layer.{layer}.{name}.bias"), &[rows]);
        }
        for name in ["attention.output", "output"] {
            add(&format!("encoder.layer.{layer}.{name}.LayerNorm.weight"), &[WIDTH]);
            add(&format!("encoder.layer.{layer}.{name}.LayerNorm.bias"), &[WIDTH]);
        }
    }
    add("pooler.dense.weight", &[WIDTH, WIDTH]);
    all
}

/// A safetensors file.
fn file(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, dims, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": dims, "data_offsets": offsets }));
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn write(path: &Path, config: &Value, tensors: &Tensors) {
    fs::create_dir_all(path.join("1_Pooling")).unwrap();
    fs::write(path.join("config.json"), config.to_string()).unwrap();
    fs::write(path.join("model.safetensors"), file(tensors)).unwrap();
    fs::write(path.join("vocab.txt"), WORDS.join("\n")).unwrap();
    let pooling = json!({ "word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": true });
    fs::write(path.join("1_Pooling/config.json"), pooling.to_string()).unwrap();
}

const LINES: &str = "A man is eating food.\na horse is eating\nfood is a man\nhorse. food.\na a a man is\neating\n\
                     A horse.\nis a man a horse\nfood. is. eating.\nman man man\nthe horse eats food";

fn source() -> Bench {
    let bench = Bench::new();
    write(&bench.path("model"), &config(), &tensors());
    bench.write("lines.txt", LINES);
    bench
}

const COMPILE: [&str; 6] = ["compile", "model", "--calibrate", "lines.txt", "-o", "m.circlet"];
const PROVE: [&str; 6] = ["prove", "m.circlet", "-o", "p", "--text", "A man is eating food."];

#[test]
fn a_sentence_from_model_to_verdict() {
    let bench = source();
    let (text, _) = bench.run(OK, &["inspect", "model"]);
    assert!(text.contains("tiny-bert: sentence encoder"), "{text}");
    let compiled = bench.json(OK, &COMPILE);
    let accuracy = &compiled["accuracy"];
    assert_eq!(accuracy["sentences"], 3);
    assert!(accuracy["least_cosine"].as_f64().unwrap() > 0.999, "{accuracy}");
    assert_eq!(compiled["positions"], 16);

    let proven = bench.json(OK, &PROVE);
    assert_eq!(proven["tokens"], json!([2, 4, 5, 6, 7, 8, 9, 10, 3]));
    assert_eq!(proven["text"], "[CLS] a man is eating food . [SEP]");
    let vector = proven["embedding"].as_array().unwrap();
    let length: f64 = vector.iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!(vector.len() == WIDTH && (length - 1.0).abs() < 1e-9);
    fs::write(bench.path("vector.json"), proven.to_string()).unwrap();

    let verified = bench.json(OK, &["verify", "m.vk", "p", "--trust-key"]);
    assert_eq!(verified["embedding"], proven["embedding"]);
    assert_eq!(verified["embedding_integers"], proven["embedding_integers"]);
    assert_eq!((&verified["key"], &verified["text"]), (&compiled["key"], &Value::Null));
    for tokenizer in ["m.circlet", "model", "model/vocab.txt"] {
        let verified = bench.json(OK, &["verify", "m.vk", "p", "--trust-key", "--tokenizer", tokenizer]);
        assert_eq!(verified["text"], proven["text"]);
    }
    let verify = |code, more: &[&str]| {
        let arguments = [&["verify", "m.vk", "p", "--trust-key", "--tokenizer", "m.circlet"], more].concat();
        bench.run(code, &arguments)
    };
    verify(OK, &["--expect-text", "a MAN is eating food.", "--expect-output", "vector.json"]);
    let (_, error) = verify(REJECTED, &["--expect-text", "a horse is eating food."]);
    assert!(error.contains("for another sentence"), "{error}");
    fs::write(bench.path("other.json"), json!(vec![1.0; WIDTH]).to_string()).unwrap();
    verify(REJECTED, &["--expect-output", "other.json"]);
    fs::write(bench.path("short.json"), json!([1.0]).to_string()).unwrap();
    verify(REJECTED, &["--expect-output", "short.json"]);
    verify(USAGE, &["--expect-prompt", "a"]);

    // The key by itself: bounds that are proven, or found again.
    bench.run(OK, &["register", "m.circlet", "-o", "m.reg"]);
    assert_eq!(bench.json(OK, &["verify", "m.vk", "p", "--registration", "m.reg"])["bounds"], "registration");
    bench.run(OK, &["verify", "m.vk", "p", "--model", "m.circlet"]);
    for file in ["m.circlet", "m.vk", "p", "m.reg"] {
        bench.run(OK, &["inspect", file]);
    }
    let security = bench.json(OK, &["security", "m.vk", "--positions", "9"]);
    assert_eq!(security["positions"], 9);
    bench.fails(USAGE, &["security", "m.vk", "--positions", "17"], "16 positions");

    // A proof that was changed.
    let mut bytes = fs::read(bench.path("p")).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    bench.write("p", &bytes);
    bench.fails(FILE, &["verify", "m.vk", "p", "--trust-key"], "damaged");
}

#[test]
fn sentences_that_cannot_be_proven() {
    let bench = source();
    bench.run(OK, &[&COMPILE[..], &["--report", "none", "--positions", "8", "--quiet"]].concat());
    let prove = |more: &[&'static str]| [&["prove", "m.circlet", "-o", "p"], more].concat();
    bench.fails(USAGE, &prove(&["--text", "a man is eating food."]), "9 tokens");
    bench.fails(USAGE, &prove(&["--prompt", "a"]), "--text");
    bench.fails(USAGE, &prove(&["--ids", "2,12,3"]), "no token");
    bench.fails(USAGE, &prove(&["--text", "a", "--tokens", "3"]), "--tokens");
    bench.run(OK, &prove(&["--ids", "2,4,3"]));
    // What no token stands for is the unknown one; nothing at all is still a beginning and an end.
    assert_eq!(bench.json(OK, &prove(&["--text", "zebra"]))["tokens"], json!([2, 1, 3]));
    assert_eq!(bench.json(OK, &prove(&["--text", ""]))["tokens"], json!([2, 3]));
    bench.fails(USAGE, &[&COMPILE[..], &["--positions", "32"]].concat(), "up to 16");
    bench.fails(USAGE, &[&COMPILE[..], &["--prefix", "none"]].concat(), "--prefix");
    bench.write("empty.txt", "\n\n");
    bench.fails(FILE, &["compile", "model", "--calibrate", "empty.txt", "-o", "x.circlet"], "is empty");
}

#[test]
fn encoders_that_are_refused() {
    let bench = Bench::new();
    bench.write("lines.txt", LINES);
    let refused = |name: &str, config: &Value, tensors: &Tensors, what: &str| {
        write(&bench.path(name), config, tensors);
        bench.fails(FILE, &["compile", name, "--calibrate", "lines.txt", "-o", "x.circlet"], what);
    };
    let edited = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        config
    };
    refused("a", &edited("hidden_act", "relu".into()), &tensors(), "activation \"relu\"");
    refused("b", &edited("position_embedding_type", "relative_key".into()), &tensors(), "\"relative_key\"");
    refused("c", &edited("is_decoder", true.into()), &tensors(), "is_decoder");
    refused("d", &edited("num_attention_heads", 5.into()), &tensors(), "5 heads");
    refused("e", &edited("intermediate_size", 25.into()), &tensors(), "needs 25 x 16");
    let mut all = tensors();
    all[9].2[3] = f32::NAN;
    refused("f", &config(), &all, "NaN");
    let mut all = tensors();
    let missing = all.remove(4).0;
    refused("g", &config(), &all, missing.strip_prefix("bert.").unwrap());
    let mut all = tensors();
    all.push(("bert.encoder.layer.0.adapter.weight".to_owned(), vec![1], vec![0.5]));
    refused("h", &config(), &all, "adapter.weight");
    // Sizes that the file does not bear out take no memory.
    refused("j", &edited("num_hidden_layers", (1 << 28).into()), &tensors(), "268435456 layers");
    refused("k", &edited("vocab_size", (1 << 28).into()), &tensors(), "needs 268435456 x 16");

    write(&bench.path("i"), &config(), &tensors());
    let pooling = json!({ "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false });
    fs::write(bench.path("i/1_Pooling/config.json"), pooling.to_string()).unwrap();
    let compile = ["compile", "i", "--calibrate", "lines.txt", "-o", "x.circlet"];
    bench.fails(FILE, &compile, "pooling_mode_cls_token");
    assert!(!bench.path("x.circlet").exists());
}
