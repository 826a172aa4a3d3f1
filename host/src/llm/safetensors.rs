//! Models of the Hugging Face layout: `config.json` and one or more safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use ::safetensors::{Dtype, SafeTensors};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::stored::{Found, Stores};
use super::{Activation, Block, Config, Family, Opened, Rope, RopePairs, RopeScaling, Weight, tokenizer};
use crate::map;

/// Largest JSON file that is read.
const LARGEST_JSON: u64 = 1 << 28;

/// Opens a directory, or a single safetensors file with its `config.json` beside it.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    let (directory, files) = files(path)?;
    let config = directory.join("config.json");
    let config: Raw = serde_json::from_value(json(&config)?)
        .with_context(|| format!("cannot understand {}", config.display()))?;
    let mut stored = Vec::new();
    let mut found = Vec::new();
    for file in &files {
        let map = map::open(file)?;
        let tensors =
            tensors(&map, stored.len()).with_context(|| format!("cannot read {}", file.display()))?;
        found.extend(tensors);
        stored.push(map);
    }
    let stores = config.config(&directory, &found).and_then(|config| {
        let tied = config.tied_head;
        // Inverse frequencies follow from the configuration; a tied head is stored once or twice.
        let ignored = |n: &str| n.ends_with(".rotary_emb.inv_freq") || tied && n == "lm_head.weight";
        Stores::assemble(config, stored, found, name, ignored)
    });
    let stores = stores.with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Opened::new(stores, tokenizer::from_directory(&directory)))
}

/// Reads a JSON file of bounded size.
pub(super) fn json(path: &Path) -> anyhow::Result<Value> {
    let size = std::fs::metadata(path).map(|m| m.len());
    let size = size.with_context(|| format!("cannot open {}; a model directory needs it", path.display()))?;
    ensure!(size <= LARGEST_JSON, "{} has {size} bytes; at most {LARGEST_JSON} are read", path.display());
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON; download it again", path.display()))
}

/// The directory of a model and its safetensors files.
pub(super) fn files(path: &Path) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
    if !path.is_dir() {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok((directory.to_owned(), vec![path.to_owned()]));
    }
    let index = path.join("model.safetensors.index.json");
    if !index.exists() {
        let single = path.join("model.safetensors");
        ensure!(
            single.exists(),
            "{} holds neither model.safetensors nor model.safetensors.index.json; \
             give the directory of a model in safetensors format, or a .gguf file",
            path.display()
        );
        return Ok((path.to_owned(), vec![single]));
    }
    let content = json(&index)?;
    let names: Option<BTreeSet<&str>> = content
        .get("weight_map")
        .and_then(Value::as_object)
        .and_then(|m| m.values().map(Value::as_str).collect());
    let names = names.with_context(|| format!("{} has no weight_map of file names", index.display()))?;
    ensure!(names.len() <= 4096, "{} names {} files", index.display(), names.len());
    let mut files = Vec::new();
    for name in names {
        let mut parts = Path::new(name).components();
        ensure!(
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)),
            "{} names the file {name:?}, which is not in its directory",
            index.display()
        );
        files.push(path.join(name));
    }
    Ok((path.to_owned(), files))
}

/// The tensors of a mapped file.
pub(super) fn tensors(bytes: &[u8], file: usize) -> anyhow::Result<Vec<Found>> {
    let broken = "it is no safetensors file or a truncated one, download it again";
    let (header, _) = SafeTensors::read_metadata(bytes).context(broken)?;
    let views = SafeTensors::deserialize(bytes).context(broken)?;
    let data = bytes.get(8 + header..).context(broken)?.as_ptr().addr();
    let found = views.iter().map(|(name, view)| Found {
        name: name.to_owned(),
        file,
        start: 8 + header + (view.data().as_ptr().addr() - data),
        dims: view.shape().to_vec(),
        block: match view.dtype() {
            Dtype::F32 => Ok(Block::F32),
            Dtype::F16 => Ok(Block::F16),
            Dtype::BF16 => Ok(Block::BF16),
            other => Err(format!("{other:?}")),
        },
    });
    Ok(found.collect())
}

/// What Hugging Face calls a weight.
pub(super) fn name(weight: Weight) -> String {
    let (layer, name) = match weight {
        Weight::Embedding => return "model.embed_tokens.weight".to_owned(),
        Weight::FinalNorm => return "model.norm.weight".to_owned(),
        Weight::Head => return "lm_head.weight".to_owned(),
        Weight::AttentionNorm(l) => (l, "input_layernorm.weight"),
        Weight::Query(l) => (l, "self_attn.q_proj.weight"),
        Weight::Key(l) => (l, "self_attn.k_proj.weight"),
        Weight::Value(l) => (l, "self_attn.v_proj.weight"),
        Weight::Output(l) => (l, "self_attn.o_proj.weight"),
        Weight::QueryBias(l) => (l, "self_attn.q_proj.bias"),
        Weight::KeyBias(l) => (l, "self_attn.k_proj.bias"),
        Weight::ValueBias(l) => (l, "self_attn.v_proj.bias"),
        Weight::QueryNorm(l) => (l, "self_attn.q_norm.weight"),
        Weight::KeyNorm(l) => (l, "self_attn.k_norm.weight"),
        Weight::FeedForwardNorm(l) => (l, "post_attention_layernorm.weight"),
        Weight::Gate(l) => (l, "mlp.gate_proj.weight"),
        Weight::Up(l) => (l, "mlp.up_proj.weight"),
        Weight::Down(l) => (l, "mlp.down_proj.weight"),
    };
    format!("model.layers.{layer}.{name}")
}

/// One number or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Tokens {
    One(u32),
    Many(Vec<u32>),
}

impl From<Tokens> for Vec<u32> {
    fn from(tokens: Tokens) -> Self {
        match tokens {
            Tokens::One(id) => vec![id],
            Tokens::Many(ids) => ids,
        }
    }
}

/// `config.json`, as far as it decides what is computed.
#[derive(Deserialize)]
struct Raw {
    model_type: String,
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rope_theta: Option<f64>,
    rope_scaling: Option<BTreeMap<String, Value>>,
    rope_parameters: Option<BTreeMap<String, Value>>,
    partial_rotary_factor: Option<f64>,
    rms_norm_eps: f64,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    vocab_size: usize,
    max_position_embeddings: usize,
    bos_token_id: Option<Tokens>,
    eos_token_id: Option<Tokens>,
    quantization_config: Option<Value>,
}

impl Raw {
    fn config(self, directory: &Path, found: &[Found]) -> anyhow::Result<Config> {
        let family = match self.model_type.as_str() {
            "llama" => Family::Llama,
            "mistral" => Family::Mistral,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            other => bail!(
                "model type {other:?} is not supported; use a model of type llama, mistral, qwen2, qwen3 or bert"
            ),
        };
        ensure!(
            self.quantization_config.is_none(),
            "the weights are quantized in a way (quantization_config) that is not supported; \
             use the original weights, or a GGUF file"
        );
        let activation = match self.hidden_act.as_deref() {
            Some("silu") | None => Activation::Silu,
            Some("gelu_pytorch_tanh" | "gelu_new") => Activation::GeluTanh,
            Some("gelu") => Activation::GeluErf,
            Some(other) => {
                bail!("activation {other:?} is not supported; silu, gelu and gelu_pytorch_tanh are")
            }
        };
        let heads = self.num_attention_heads;
        let head_dim = match self.head_dim {
            Some(n) => n,
            None => self.hidden_size.checked_div(heads).context("the model has no attention heads")?,
        };
        let partial = self.partial_rotary_factor.unwrap_or(1.0);
        ensure!((0.0..=1.0).contains(&partial), "partial_rotary_factor is {partial}; it must be from 0 to 1");
        let rope = Rope {
            base: self.rope_base()?,
            dims: (head_dim as f64 * partial) as usize,
            pairs: RopePairs::Halves,
            scaling: self.scaling()?,
        };
        let slides = match (&self.layer_types, self.use_sliding_window) {
            (Some(types), _) => types.iter().any(|t| t != "full_attention"),
            (None, Some(uses)) => uses,
            // Qwen names a window that it only uses on request; Mistral uses it.
            (None, None) => !matches!(family, Family::Qwen2 | Family::Qwen3),
        };
        let window = self.sliding_window.filter(|_| slides).unwrap_or(usize::MAX);
        let has = |name: &str| found.iter().any(|f| f.name == name);
        let generation = directory.join("generation_config.json");
        let mut eos: Vec<u32> = self.eos_token_id.map(Vec::from).unwrap_or_default();
        if generation.exists() {
            let more = json(&generation)?.get("eos_token_id").filter(|v| !v.is_null()).cloned();
            let more = more.map(serde_json::from_value::<Tokens>).transpose();
            let more: Vec<u32> = more
                .with_context(|| format!("cannot understand {}", generation.display()))?
                .map_or(vec![], Vec::from);
            eos.extend(more);
        }
        let mut seen = BTreeSet::new();
        eos.retain(|&id| seen.insert(id));
        let bos: Vec<u32> = self.bos_token_id.map(Vec::from).unwrap_or_default();
        let name = self.name.filter(|n| !n.is_empty()).or_else(|| {
            let absolute = directory.canonicalize().ok()?;
            Some(absolute.file_name()?.to_string_lossy().into_owned())
        });
        Ok(Config {
            name: name.unwrap_or(self.model_type),
            family,
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            ffn: self.intermediate_size,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            rope,
            norm_epsilon: self.rms_norm_eps,
            qk_norm: has("model.layers.0.self_attn.q_norm.weight"),
            attention_bias: has("model.layers.0.self_attn.q_proj.bias"),
            activation,
            vocab: self.vocab_size,
            context: self.max_position_embeddings.min(window),
            tied_head: self.tie_word_embeddings.unwrap_or_else(|| !has("lm_head.weight")),
            bos: bos.first().copied().filter(|_| tokenizer::adds_bos(directory)),
            eos,
        })
    }

    fn rope_base(&self) -> anyhow::Result<f64> {
        let nested = self.rope_parameters.as_ref().and_then(|p| p.get("rope_theta"));
        match nested {
            Some(theta) => {
                theta.as_f64().with_context(|| format!("rope_theta is {theta}, which is no number"))
            }
            None => Ok(self.rope_theta.unwrap_or(10000.0)),
        }
    }

    fn scaling(&self) -> anyhow::Result<RopeScaling> {
        let Some(scaling) = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()) else {
            return Ok(RopeScaling::None);
        };
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        let number = |key: &str| {
            let number = scaling.get(key).and_then(Value::as_f64).filter(|&x| x > 0.0);
            number.with_context(|| {
                format!("the rotary scaling has no positive {key:?}; download config.json again")
            })
        };
        Ok(match kind {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: number("factor")? },
            Some("llama3") => RopeScaling::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")? as usize,
            },
            Some(other) => {
                bail!(
                    "rotary scaling {other:?} is not supported; choose a model with none, linear or llama3 scaling"
                )
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
