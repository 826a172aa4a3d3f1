//! Synthetic files, one for each refusal.

use std::io::Write;

use super::*;
use crate::llm::blocks::tests::sample;
use crate::llm::{self, Activation, Block, Family, RopePairs, RopeScaling};

/// Name, extents (fastest first), type number, data, and an offset that replaces the right one.
pub(in crate::llm) type Tensor = (String, Vec<u64>, u32, Vec<u8>, Option<u64>);

/// Writes GGUF files, broken ones too.
#[derive(Clone)]
pub(in crate::llm) struct Writer {
    pub version: u32,
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
    pub cut: usize,
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn kind(value: &Value) -> u32 {
    match value {
        Value::Unsigned(_) => 10,
        Value::Signed(_) => 5,
        Value::Float(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::Array(_) => 9,
    }
}

fn value(out: &mut Vec<u8>, v: &Value) {
    match v {
        Value::Unsigned(n) => out.extend(n.to_le_bytes()),
        Value::Signed(n) => out.extend((*n as i32).to_le_bytes()),
        Value::Float(x) => out.extend((*x as f32).to_le_bytes()),
        Value::Bool(b) => out.push(u8::from(*b)),
        Value::Text(t) => string(out, t),
        Value::Array(list) => {
            out.extend(list.first().map_or(4, kind).to_le_bytes());
            out.extend((list.len() as u64).to_le_bytes());
            for v in list {
                value(out, v);
            }
        }
    }
}

pub(in crate::llm) fn number(format: Block) -> u32 {
    match format {
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

impl Writer {
    /// A model of one layer, 256 channels, 4 heads of 64, 2 of them for keys and values, 5 tokens.
    pub fn model(arch: &str, format: Block) -> Self {
        let mut keys: Vec<(String, Value)> = vec![
            ("general.architecture".into(), Value::Text(arch.into())),
            ("general.name".into(), Value::Text("tiny".into())),
        ];
        for (key, n) in [
            ("block_count", 1),
            ("embedding_length", 256),
            ("feed_forward_length", 512),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("context_length", 64),
        ] {
            keys.push((format!("{arch}.{key}"), Value::Unsigned(n)));
        }
        keys.push((format!("{arch}.attention.layer_norm_rms_epsilon"), Value::Float(f64::from(1e-5f32))));
        let mut writer = Self { version: 3, keys, tensors: vec![], cut: 0 };
        for (name, rows) in [("attn_norm", 256u64), ("ffn_norm", 256)] {
            writer.add(&format!("blk.0.{name}.weight"), &[rows], Block::F32);
        }
        for (name, cols, rows) in [
            ("attn_q", 256, 256),
            ("attn_k", 256, 128),
            ("attn_v", 256, 128),
            ("attn_output", 256, 256),
            ("ffn_gate", 256, 512),
            ("ffn_up", 256, 512),
            ("ffn_down", 512, 256),
        ] {
            writer.add(&format!("blk.0.{name}.weight"), &[cols, rows], format);
        }
        writer.add("token_embd.weight", &[256, 5], format);
        writer.add("output_norm.weight", &[256], Block::F32);
        writer
    }

    pub fn add(&mut self, name: &str, dims: &[u64], format: Block) {
        let weights = dims.iter().product::<u64>() as usize;
        let data = sample(format, weights / format.weights());
        self.tensors.push((name.to_owned(), dims.to_vec(), number(format), data, None));
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.to_owned(), value));
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.0 == name).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, v) in &self.keys {
            string(&mut out, key);
            out.extend(kind(v).to_le_bytes());
            value(&mut out, v);
        }
        let mut at = 0;
        for (name, dims, number, data, offset) in &self.tensors {
            string(&mut out, name);
            out.extend((dims.len() as u32).to_le_bytes());
            for d in dims {
                out.extend(d.to_le_bytes());
            }
            out.extend(number.to_le_bytes());
            out.extend(offset.unwrap_or(at).to_le_bytes());
            at = (at + data.len() as u64).next_multiple_of(32);
        }
        for (.., data, _) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(data);
        }
        out.truncate(out.len() - self.cut);
        out
    }

    pub fn open(&self) -> anyhow::Result<Opened> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&self.bytes())?;
        llm::open(file.path())
    }

    /// Why the file is refused.
    fn refusal(&self) -> String {
        self.open().map(|_| ()).map_err(|e| format!("{e:#}")).expect_err("the file is refused")
    }
}

#[test]
fn every_format_reads_any_rows() {
    for format in Block::ALL {
        let mut writer = Writer::model("llama", format);
        let opened = writer.open().unwrap();
        let checkpoint = opened.checkpoint.as_ref();
        assert_eq!(checkpoint.shape(Weight::Key(0)), Some((128, 256)));
        assert_eq!(checkpoint.shape(Weight::Head), Some((5, 256)));
        assert_eq!(checkpoint.shape(Weight::QueryBias(0)), None);
        let mut all = vec![0.0; 128 * 256];
        format.dequantize(&writer.tensor("blk.0.attn_k.weight").3, &mut all);
        let mut some = vec![0.0; 3 * 256];
        checkpoint.read(Weight::Key(0), 41..44, &mut some).unwrap();
        assert_eq!(some, all[41 * 256..44 * 256], "{format:?}");
        assert!(checkpoint.read(Weight::Key(0), 127..129, &mut some[..512]).is_err());
        assert!(checkpoint.read(Weight::Key(0), 0..1, &mut some).is_err());
        assert!(checkpoint.read(Weight::Key(1), 0..1, &mut some).is_err());
    }
}

#[test]
fn architectures() {
    let llama = Writer::model("llama", Block::Q8_0);
    let opened = llama.open().unwrap();
    let c = opened.checkpoint.config();
    assert_eq!((c.family, c.rope.pairs, c.head_dim, c.vocab), (Family::Llama, RopePairs::Interleaved, 64, 5));
    assert!(c.tied_head && !c.qk_norm && !c.attention_bias);
    assert_eq!(c.norm_epsilon.to_bits(), 1e-5f64.to_bits());
    assert_eq!(c.activation, Activation::Silu);

    let mut mistral = llama.clone();
    mistral.set("general.name", Value::Text("Mistral-7B".into()));
    mistral.set("llama.attention.sliding_window", Value::Unsigned(16));
    mistral.add("output.weight", &[256, 5], Block::Q8_0);
    let opened = mistral.open().unwrap();
    let c = opened.checkpoint.config();
    assert_eq!((c.family, c.context, c.tied_head), (Family::Mistral, 16, false));

    let mut qwen2 = Writer::model("qwen2", Block::Q4_0);
    for (name, n) in [("q", 256), ("k", 128), ("v", 128)] {
        qwen2.add(&format!("blk.0.attn_{name}.bias"), &[n], Block::F32);
    }
    let opened = qwen2.open().unwrap();
    let c = opened.checkpoint.config();
    assert_eq!((c.family, c.rope.pairs, c.attention_bias), (Family::Qwen2, RopePairs::Halves, true));

    let mut qwen3 = Writer::model("qwen3", Block::Q4K);
    for name in ["q", "k"] {
        qwen3.add(&format!("blk.0.attn_{name}_norm.weight"), &[64], Block::F32);
    }
    let opened = qwen3.open().unwrap();
    let c = opened.checkpoint.config();
    assert_eq!((c.family, c.qk_norm), (Family::Qwen3, true));
}

#[test]
fn rotary_scaling() {
    let mut writer = Writer::model("llama", Block::Q8_0);
    writer.set("llama.rope.scaling.type", Value::Text("linear".into()));
    writer.set("llama.rope.scaling.factor", Value::Float(4.0));
    assert_eq!(writer.open().unwrap().checkpoint.config().rope.scaling, RopeScaling::Linear { factor: 4.0 });
    writer.set("llama.rope.scaling.type", Value::Text("yarn".into()));
    assert!(writer.refusal().contains("\"yarn\" is not supported"));

    let mut writer = Writer::model("llama", Block::Q8_0);
    let rule = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_context: 8192 };
    writer.set("llama.rope.freq_base", Value::Float(500_000.0));
    let rope =
        |scaling| llm::Rope { base: 500_000.0, dims: 64, pairs: RopePairs::Halves, scaling }.frequencies();
    let divisors = rope(RopeScaling::None).into_iter().zip(rope(rule.clone())).map(|(a, b)| (a / b) as f32);
    writer.add("rope_freqs.weight", &[32], Block::F32);
    writer.tensor("rope_freqs.weight").3 = divisors.flat_map(f32::to_le_bytes).collect();
    assert_eq!(writer.open().unwrap().checkpoint.config().rope.scaling, rule);
    writer.tensor("rope_freqs.weight").3[..4].copy_from_slice(&2f32.to_le_bytes());
    assert!(writer.refusal().contains("\"rope_freqs.weight\" divides frequency 0 by 2"));
}

#[test]
fn refusals_name_the_thing() {
    let base = Writer::model("llama", Block::Q8_0);
    let check = |change: &dyn Fn(&mut Writer), expected: &str| {
        let mut writer = base.clone();
        change(&mut writer);
        let refusal = writer.refusal();
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
    };
    let set = |key: &'static str, value: Value| move |w: &mut Writer| w.set(key, value.clone());
    check(&|w| w.version = 1, "GGUF version 1 is not supported");
    check(&|w| w.version = 3 << 24, "big-endian");
    check(
        &set("general.architecture", Value::Text("mamba".into())),
        "architecture \"mamba\" is not supported",
    );
    check(&set("general.architecture", Value::Unsigned(1)), "\"general.architecture\" is no text");
    check(&|w| w.keys.retain(|k| k.0 != "llama.block_count"), "\"llama.block_count\" is missing");
    check(&set("llama.block_count", Value::Unsigned(1 << 27)), "holds only 11 tensors");
    check(&set("llama.block_count", Value::Signed(-1)), "\"llama.block_count\" is no nonnegative integer");
    check(
        &set("llama.block_count", Value::Unsigned(2)),
        "tensor \"blk.1.attn_norm.weight\" (1 x 256) is missing",
    );
    check(&set("llama.attention.head_count_kv", Value::Unsigned(3)), "do not divide");
    check(&set("llama.attention.head_count", Value::Unsigned(0)), "attention heads");
    check(&set("llama.attention.key_length", Value::Unsigned(1 << 62)), "head size");
    check(&set("llama.rope.dimension_count", Value::Unsigned(65)), "65 of 64");
    check(&set("llama.rope.freq_base", Value::Float(f64::NAN)), "rotary base");
    check(&set("llama.expert_count", Value::Unsigned(8)), "\"llama.expert_count\"");
    check(&set("llama.attention.causal", Value::Bool(false)), "not causal");
    check(&set("tokenizer.ggml.eos_token_id", Value::Unsigned(5)), "token 5");
    check(&set("general.alignment", Value::Unsigned(48)), "general.alignment is 48");
    check(&set("general.alignment", Value::Unsigned(64)), "no multiple of 64");
    check(&|w| w.keys.push(("general.name".into(), Value::Bool(true))), "\"general.name\" occurs twice");
    check(&|w| w.tensor("output_norm.weight").2 = 10, "\"output_norm.weight\" has number format Q2_K");
    check(&|w| w.tensor("output_norm.weight").2 = 77, "number format number 77");
    check(&|w| w.tensor("output_norm.weight").1 = vec![128], "has extents [128]");
    check(&|w| w.tensor("blk.0.attn_q.weight").1 = vec![250, 1], "no whole blocks");
    check(&|w| w.tensor("blk.0.attn_q.weight").1 = vec![], "has 0 extents");
    check(&|w| w.tensor("blk.0.attn_q.weight").1 = vec![256, 0], "impossible extent");
    check(&|w| w.tensor("blk.0.attn_q.weight").1 = vec![1 << 40, 1 << 40], "beyond the end of the file");
    check(&|w| w.tensor("output_norm.weight").4 = Some(u64::MAX - 31), "beyond the end of the file");
    check(&|w| w.tensor("output_norm.weight").4 = Some(7), "no multiple of 32");
    check(&|w| w.tensor("output_norm.weight").4 = Some(32), "overlap");
    check(&|w| w.cut = 1, "\"output_norm.weight\" reaches beyond the end");
    check(&|w| w.add("blk.0.attn_q.bias", &[256], Block::F32), "\"blk.0.attn_k.bias\" (1 x 128) is missing");
    check(
        &|w| w.add("blk.0.attn_output.bias", &[256], Block::F32),
        "\"blk.0.attn_output.bias\" (1 in all) has no place",
    );
    check(&|w| w.add("output_norm.weight", &[256], Block::F32), "occurs twice");
}

#[test]
fn weights_that_are_no_numbers() {
    let mut writer = Writer::model("llama", Block::Q8_0);
    writer.tensor("blk.0.attn_k.weight").3[34 * 8 * 3 + 34 + 1] = 0x7c;
    let opened = writer.open().unwrap();
    let mut rows = vec![0.0; 4 * 256];
    let error = opened.checkpoint.read(Weight::Key(0), 1..5, &mut rows).unwrap_err().to_string();
    assert!(error.contains("\"blk.0.attn_k.weight\"") && error.contains("row 3, column 32"), "{error}");
}

/// Every prefix and every changed byte of the directory gives a model or an error, without a panic and in little memory.
#[test]
fn damaged_files_do_not_panic() {
    let mut writer = Writer::model("llama", Block::Q8_0);
    let list = Value::Array(vec![Value::Text("a".into()), Value::Text("b".into())]);
    writer.set("tokenizer.ggml.tokens", list);
    let bytes = writer.bytes();
    let directory = bytes.len() - writer.tensors.iter().map(|t| t.3.len()).sum::<usize>();
    let attempt = |bytes: &[u8]| {
        if let Ok((meta, found)) = read(bytes) {
            drop(config::config(&meta, &found, bytes));
            drop(tokenizer::from_gguf(&meta));
        }
    };
    (0..directory).for_each(|end| attempt(&bytes[..end]));
    let mut changed = bytes.clone();
    for at in 0..directory {
        for value in [0, 1, 9, 0x7f, 0xff] {
            changed[at] = value;
            attempt(&changed);
        }
        changed[at] = bytes[at];
    }
}
