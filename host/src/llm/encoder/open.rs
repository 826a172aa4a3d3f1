//! Opens encoders: ONNX files, or the Hugging Face layout: `config.json` with the model type `bert`, safetensors files, and the pooling of
//! sentence-transformers, which must be the mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::wordpiece::{self, WordPiece};
use super::{EncoderConfig, EncoderWeight, EncoderWeights};
use crate::import::encoder as onnx;
use crate::llm::Activation;
use crate::llm::safetensors::{files, json, tensors};
use crate::llm::stored::{Found, store};
use crate::map;

/// An opened encoder.
pub struct OpenedEncoder {
    /// Configuration and weights.
    pub weights: EncoderWeights,
    /// The tokenizer, if the model has one that is supported.
    pub tokenizer: Option<WordPiece>,
    /// Why there is no tokenizer.
    pub tokenizer_error: Option<String>,
}

/// Whether a path is an ONNX file with the inputs of an encoder, or a directory, or a safetensors file in one, whose
/// configuration is that of a BERT encoder.
pub fn recognizes(path: &Path) -> bool {
    if is_onnx(path) {
        return std::fs::read(path).is_ok_and(|bytes| onnx::recognizes(&bytes));
    }
    let config = directory(path).join("config.json");
    json(&config).is_ok_and(|config| config.get("model_type").and_then(Value::as_str) == Some("bert"))
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx") && path.is_file()
}

/// The directory of a model.
fn directory(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Opens an ONNX file, a directory, or a single safetensors file with its `config.json` beside it.
pub fn open(path: &Path) -> anyhow::Result<OpenedEncoder> {
    let directory = directory(path);
    if is_onnx(path) {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name =
            path.file_stem().map_or_else(|| "encoder".into(), |stem| stem.to_string_lossy().into_owned());
        let read = onnx::read(&bytes, &name).with_context(|| format!("cannot use {}", path.display()))?;
        return Ok(opened(read.weights, &directory));
    }
    let config = directory.join("config.json");
    let raw: Raw = serde_json::from_value(json(&config)?)
        .with_context(|| format!("cannot understand {}", config.display()))?;
    let config = raw.config(&directory).with_context(|| format!("cannot use {}", config.display()))?;
    pooling(&directory)?;
    let (_, files) = files(path)?;
    let mut stored = Tensors::default();
    for file in &files {
        let map = map::open(file)?;
        let found =
            tensors(&map, stored.files.len()).with_context(|| format!("cannot read {}", file.display()))?;
        for tensor in found {
            let name = tensor.name.strip_prefix("bert.").unwrap_or(&tensor.name).to_owned();
            if stored.tensors.insert(name.clone(), tensor).is_some() {
                bail!("tensor {name:?} occurs twice; download the model again");
            }
        }
        stored.files.push(map);
    }
    ensure!(
        config.layers <= stored.tensors.len(),
        "the model says it has {} layers, but the file holds only {} tensors; download it again",
        config.layers,
        stored.tensors.len()
    );
    let weights = EncoderWeights::new(config, |weight, rows, cols| stored.take(&name(weight), rows, cols));
    let weights = weights.with_context(|| format!("cannot use {}", path.display()))?;
    stored.nothing_left().with_context(|| format!("cannot use {}", path.display()))?;
    Ok(opened(weights, &directory))
}

/// A model with the tokenizer of its directory.
fn opened(weights: EncoderWeights, directory: &Path) -> OpenedEncoder {
    let vocab = weights.config().vocab;
    let tokenizer = wordpiece::from_directory(directory).and_then(|tokenizer| {
        let len = tokenizer.len();
        ensure!(
            len <= vocab,
            "the tokenizer has {len} tokens, but the model only {vocab}; they do not belong together"
        );
        Ok(tokenizer)
    });
    let (tokenizer, tokenizer_error) = match tokenizer {
        Ok(tokenizer) => (Some(tokenizer), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    OpenedEncoder { weights, tokenizer, tokenizer_error }
}

/// What Hugging Face calls a weight, without the prefix `bert.` that some files have.
fn name(weight: EncoderWeight) -> String {
    use EncoderWeight as W;
    let (layer, name) = match weight {
        W::WordEmbedding => return "embeddings.word_embeddings.weight".to_owned(),
        W::PositionEmbedding => return "embeddings.position_embeddings.weight".to_owned(),
        W::TypeEmbedding => return "embeddings.token_type_embeddings.weight".to_owned(),
        W::EmbeddingNormGain => return "embeddings.LayerNorm.weight".to_owned(),
        W::EmbeddingNormBias => return "embeddings.LayerNorm.bias".to_owned(),
        W::Query(l) => (l, "attention.self.query.weight"),
        W::QueryBias(l) => (l, "attention.self.query.bias"),
        W::Key(l) => (l, "attention.self.key.weight"),
        W::KeyBias(l) => (l, "attention.self.key.bias"),
        W::Value(l) => (l, "attention.self.value.weight"),
        W::ValueBias(l) => (l, "attention.self.value.bias"),
        W::Output(l) => (l, "attention.output.dense.weight"),
        W::OutputBias(l) => (l, "attention.output.dense.bias"),
        W::AttentionNormGain(l) => (l, "attention.output.LayerNorm.weight"),
        W::AttentionNormBias(l) => (l, "attention.output.LayerNorm.bias"),
        W::Up(l) => (l, "intermediate.dense.weight"),
        W::UpBias(l) => (l, "intermediate.dense.bias"),
        W::Down(l) => (l, "output.dense.weight"),
        W::DownBias(l) => (l, "output.dense.bias"),
        W::OutputNormGain(l) => (l, "output.LayerNorm.weight"),
        W::OutputNormBias(l) => (l, "output.LayerNorm.bias"),
    };
    format!("encoder.layer.{layer}.{name}")
}

/// All tensors of a model that have not been read yet.
#[derive(Default)]
struct Tensors {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Found>,
}

impl Tensors {
    fn take(&mut self, name: &str, rows: usize, cols: usize) -> anyhow::Result<Vec<f32>> {
        // Norms have other names in old files.
        let old =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let found = self.tensors.remove(name).or_else(|| self.tensors.remove(&old)).with_context(|| {
            format!("tensor {name:?} ({rows} x {cols}) is missing; the file is incomplete, download it again")
        })?;
        let stored = store(found, rows, cols, &self.files)?;
        let mut out = vec![0.0; rows * cols];
        stored.read(&self.files, 0..rows, &mut out)?;
        Ok(out)
    }

    /// Refuses tensors whose effect would be lost. The pooler reads the first token only, for other tasks than sentence
    /// embeddings, and heads are for such tasks too.
    fn nothing_left(&self) -> anyhow::Result<()> {
        let unused = |name: &str| {
            name == "embeddings.position_ids" || name.starts_with("pooler.") || name.starts_with("cls.")
        };
        let left: Vec<&String> = self.tensors.keys().filter(|name| !unused(name)).collect();
        if let Some(first) = left.first() {
            bail!(
                "tensor {first:?} ({} in all) has no place in a BERT encoder as this program knows it; its effect \
                 would be lost, so the model is refused",
                left.len()
            );
        }
        Ok(())
    }
}

/// `config.json`, as far as it decides what is computed.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    hidden_act: String,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
    embedding_size: Option<usize>,
    quantization_config: Option<Value>,
}

impl Raw {
    fn config(self, directory: &Path) -> anyhow::Result<EncoderConfig> {
        ensure!(
            !self.is_decoder && !self.add_cross_attention,
            "the model is a decoder or has cross-attention (is_decoder, add_cross_attention); only encoders are \
             supported"
        );
        ensure!(
            self.quantization_config.is_none(),
            "the weights are quantized (quantization_config), which is not supported; use the original weights"
        );
        if let Some(kind) = self.position_embedding_type.filter(|kind| kind != "absolute") {
            bail!("position embeddings of type {kind:?} are not supported; only \"absolute\" ones are");
        }
        ensure!(
            self.embedding_size.is_none_or(|size| size == self.hidden_size),
            "embeddings of another width than the model (embedding_size) are not supported"
        );
        let activation = match self.hidden_act.as_str() {
            "gelu" => Activation::GeluErf,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "silu" | "swish" => Activation::Silu,
            other => bail!("activation {other:?} is not supported; gelu, gelu_new and silu are"),
        };
        let own = self.name.filter(|name| !name.is_empty());
        let folder = || Some(directory.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned());
        let config = EncoderConfig {
            name: own.or_else(folder).unwrap_or_else(|| "bert".to_owned()),
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            ffn: self.intermediate_size,
            heads: self.num_attention_heads,
            vocab: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            norm_epsilon: self.layer_norm_eps,
            activation,
        };
        config.check()?;
        Ok(config)
    }
}

/// Refuses directories of sentence-transformers that pool in another way than by the mean, or go on after it with
/// anything but a normalization.
fn pooling(directory: &Path) -> anyhow::Result<()> {
    let modules = directory.join("modules.json");
    if modules.exists() {
        let list = json(&modules)?;
        let kinds =
            list.as_array().into_iter().flatten().filter_map(|m| m.get("type").and_then(Value::as_str));
        for kind in kinds {
            let kind = kind.rsplit('.').next().unwrap_or(kind);
            ensure!(
                matches!(kind, "Transformer" | "Pooling" | "Normalize"),
                "{} has a module of type {kind:?}; only Transformer, Pooling and Normalize are supported",
                modules.display()
            );
        }
    }
    let path = directory.join("1_Pooling").join("config.json");
    if !path.exists() {
        return Ok(());
    }
    let config = json(&path)?;
    let modes = config.as_object().into_iter().flatten();
    let on: Vec<&str> = modes
        .filter(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() == Some(true))
        .map(|(key, _)| key.as_str())
        .collect();
    ensure!(
        on == ["pooling_mode_mean_tokens"],
        "{} pools by {}; only pooling_mode_mean_tokens is supported",
        path.display(),
        if on.is_empty() { "nothing".to_owned() } else { on.join(" and ") }
    );
    Ok(())
}
