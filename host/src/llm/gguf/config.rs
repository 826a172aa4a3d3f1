//! The configuration in the metadata of a GGUF file.
//!
//! Converters store the query and key rows of `llama` models (Mistral's too) so that a rotation turns channels `2i` and
//! `2i + 1`; those of the others keep the order of the original checkpoint.

use anyhow::{Context, bail, ensure};

use super::Metadata;
use crate::llm::stored::Found;
use crate::llm::{Activation, Block, Config, Family, Rope, RopePairs, RopeScaling};

/// Divisors of the rotary frequencies, one for each pair.
pub(super) const ROPE_FREQUENCIES: &str = "rope_freqs.weight";

/// Keys that, when they say anything but this, change what a decoder computes.
const FIXED: [(&str, usize); 4] =
    [("expert_count", 0), ("expert_used_count", 0), ("pooling_type", 0), ("use_parallel_residual", 0)];

pub(super) fn config(meta: &Metadata, found: &[Found], bytes: &[u8]) -> anyhow::Result<Config> {
    let arch =
        meta.text("general.architecture")?.context("the file does not say its general.architecture")?;
    let name = meta.text("general.name")?.or(meta.text("general.basename")?).unwrap_or(arch);
    let family = match arch {
        "llama" if name.to_lowercase().contains("mistral") => Family::Mistral,
        "llama" => Family::Llama,
        "mistral" => Family::Mistral,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        other => bail!(
            "architecture {other:?} is not supported; use a model of the llama, mistral, qwen2 or qwen3 architecture"
        ),
    };
    let key = |key: &str| format!("{arch}.{key}");
    let count = |name: &str| meta.count(&key(name));
    let needed = |name: &str| {
        count(name)?
            .with_context(|| format!("metadata key {:?} is missing; convert the model again", key(name)))
    };
    for (name, value) in FIXED {
        if let Some(found) = meta.get(&key(name)) {
            let same = matches!(found, super::Value::Bool(b) if usize::from(*b) == value)
                || matches!(meta.count(&key(name)), Ok(Some(n)) if n == value);
            ensure!(
                same,
                "metadata key {:?} is {found:?}, which is not supported; choose a dense model",
                key(name)
            );
        }
    }
    for name in ["attention.scale", "attention.clamp_kqv", "logit_scale", "embedding_scale", "residual_scale"]
    {
        ensure!(
            meta.get(&key(name)).is_none(),
            "metadata key {:?} changes the computation and is not supported",
            key(name)
        );
    }
    ensure!(
        meta.truth(&key("attention.causal"))?.unwrap_or(true),
        "attention is not causal; this is no decoder, choose a language model that generates text"
    );

    let has = |name: &str| found.iter().any(|f| f.name == name);
    let layers = needed("block_count")?;
    let width = needed("embedding_length")?;
    let heads = needed("attention.head_count")?;
    let kv_heads = count("attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = if let Some(n) = count("attention.key_length")? {
        n
    } else {
        ensure!(
            heads > 0 && width.is_multiple_of(heads),
            "a width of {width} is not divided by {heads} attention heads"
        );
        width / heads
    };
    if let Some(value) = count("attention.value_length")? {
        ensure!(value == head_dim, "values of {value} and keys of {head_dim} channels are not supported");
    }
    let embedding = found.iter().find(|f| f.name == "token_embd.weight");
    let embedding = embedding.context("tensor \"token_embd.weight\" is missing; download the file again")?;
    let vocab = embedding.dims[0];
    let context = needed("context_length")?;
    // Within the window, attention to a sliding window is attention to everything.
    let window = count("attention.sliding_window")?.filter(|&w| w > 0).unwrap_or(context);

    let dims = count("rope.dimension_count")?.unwrap_or(head_dim);
    let base = meta.float(&key("rope.freq_base"))?.unwrap_or(10000.0);
    let scaling = scaling(meta, arch, found, bytes, dims)?;
    let pairs = match family {
        Family::Llama | Family::Mistral => RopePairs::Interleaved,
        Family::Qwen2 | Family::Qwen3 => RopePairs::Halves,
    };

    let token =
        |key: &str| -> anyhow::Result<Option<u32>> { Ok(meta.count(key)?.map(u32::try_from).transpose()?) };
    let bos = token("tokenizer.ggml.bos_token_id")?;
    let mut eos = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        eos.extend(token(&format!("tokenizer.ggml.{key}"))?.filter(|id| !eos.contains(id)));
    }
    Ok(Config {
        name: name.to_owned(),
        family,
        layers,
        width,
        ffn: needed("feed_forward_length")?,
        heads,
        kv_heads,
        head_dim,
        rope: Rope { base, dims, pairs, scaling },
        norm_epsilon: epsilon(meta, &key("attention.layer_norm_rms_epsilon"))?,
        qk_norm: has("blk.0.attn_q_norm.weight"),
        attention_bias: has("blk.0.attn_q.bias"),
        activation: Activation::Silu,
        vocab,
        context: context.min(window),
        tied_head: !has("output.weight"),
        bos: bos.filter(|_| adds_bos(meta)),
        eos,
    })
}

/// Whether a text begins with the beginning token.
pub(in crate::llm) fn adds_bos(meta: &Metadata) -> bool {
    if let Ok(Some(adds)) = meta.truth("tokenizer.ggml.add_bos_token") {
        return adds;
    }
    // Files without the key: Llama 3's tokenizer adds it, the other byte-level ones do not.
    let is = |key: &str, value: &str| matches!(meta.text(key), Ok(Some(t)) if t == value);
    is("tokenizer.ggml.pre", "llama-bpe") || is("tokenizer.ggml.model", "llama")
}

/// The epsilon is stored as `f32`; the decimal number that was meant is the shortest one that rounds to it.
fn epsilon(meta: &Metadata, key: &str) -> anyhow::Result<f64> {
    let stored = meta
        .float(key)?
        .with_context(|| format!("metadata key {key:?} is missing; convert the model again"))?;
    let single = stored as f32;
    let meant =
        if f64::from(single).to_bits() == stored.to_bits() { single.to_string().parse()? } else { stored };
    Ok(meant)
}

fn scaling(
    meta: &Metadata,
    arch: &str,
    found: &[Found],
    bytes: &[u8],
    dims: usize,
) -> anyhow::Result<RopeScaling> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let kind = meta.text(&key("scaling.type"))?.unwrap_or("none");
    let factor = match meta.float(&key("scaling.factor"))? {
        Some(factor) => Some(factor),
        None => meta.float(&key("scale_linear"))?,
    };
    let factor = factor.filter(|&f| f != 0.0).unwrap_or(1.0);
    ensure!(factor.is_finite() && factor > 0.0, "the rotary scaling factor is {factor}; it must be positive");
    let kind = match kind {
        "none" | "linear" if factor.to_bits() == 1f64.to_bits() => RopeScaling::None,
        "none" if meta.get(&key("scaling.type")).is_some() => RopeScaling::None,
        "none" | "linear" => RopeScaling::Linear { factor },
        other => bail!(
            "rotary scaling {other:?} is not supported; choose a model with none, linear or llama3 scaling"
        ),
    };
    let Some(tensor) = found.iter().find(|f| f.name == ROPE_FREQUENCIES) else { return Ok(kind) };
    ensure!(
        kind == RopeScaling::None,
        "tensor {ROPE_FREQUENCIES:?} beside another rotary scaling is not supported"
    );
    ensure!(
        tensor.dims == [dims / 2] && tensor.block == Ok(Block::F32),
        "tensor {ROPE_FREQUENCIES:?} must hold {} numbers of format F32",
        dims / 2
    );
    let data = bytes.get(tensor.start..tensor.start + 4 * tensor.dims[0]);
    let mut divisors = vec![0.0; tensor.dims[0]];
    Block::F32.dequantize(data.context("the file is truncated")?, &mut divisors);
    let base = meta.float(&key("freq_base"))?.unwrap_or(10000.0);
    llama3(&divisors, base, dims)
}

/// The file stores one divisor for each pair, not the rule. They are Llama 3's if its rule, with the parameters that all
/// published models share, gives them.
fn llama3(divisors: &[f32], base: f64, dims: usize) -> anyhow::Result<RopeScaling> {
    let factor = divisors.iter().copied().fold(1f32, f32::max);
    if divisors.iter().all(|d| d.to_bits() == 1f32.to_bits()) {
        return Ok(RopeScaling::None);
    }
    let scaling = RopeScaling::Llama3 { factor: factor.into(), low: 1.0, high: 4.0, original_context: 8192 };
    let rope = |scaling| Rope { base, dims, pairs: RopePairs::Interleaved, scaling }.frequencies();
    let (plain, scaled) = (rope(RopeScaling::None), rope(scaling.clone()));
    for (i, &divisor) in divisors.iter().enumerate() {
        let rule = plain[i] / scaled[i];
        ensure!(
            (f64::from(divisor) / rule - 1.0).abs() < 1e-3,
            "tensor {ROPE_FREQUENCIES:?} divides frequency {i} by {divisor}, but Llama 3's rule with factor {factor} \
             by {rule}; this rotary scaling is not supported"
        );
    }
    Ok(scaling)
}
