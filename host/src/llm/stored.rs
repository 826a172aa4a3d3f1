//! What the readers share: found tensors are matched with the weights that a configuration needs, none missing, none
//! left over, and read a few rows at a time.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::{Block, Checkpoint, Config, Weight};

/// A tensor in a file, as its directory describes it.
pub(super) struct Found {
    /// Its name in the file.
    pub name: String,
    /// Which file.
    pub file: usize,
    /// Where its data begins.
    pub start: usize,
    /// Extents, slowest first.
    pub dims: Vec<usize>,
    /// Its number format, or the name of one that is not read.
    pub block: Result<Block, String>,
}

/// A weight that can be read.
pub(super) struct Stored {
    name: String,
    file: usize,
    start: usize,
    rows: usize,
    cols: usize,
    block: Block,
}

/// An opened model, whatever its file format.
pub struct Stores {
    config: Config,
    files: Vec<Bytes>,
    weights: HashMap<Weight, Stored>,
}

/// Largest extent of anything in a model; products of two fit `usize`.
const LARGEST: usize = 1 << 28;

/// Checks that the numbers of a configuration make a decoder.
pub(super) fn check_config(c: &Config) -> anyhow::Result<()> {
    let sizes = [
        ("layers", c.layers),
        ("width", c.width),
        ("feed-forward width", c.ffn),
        ("attention heads", c.heads),
        ("key/value heads", c.kv_heads),
        ("head size", c.head_dim),
        ("vocabulary", c.vocab),
        ("context length", c.context),
    ];
    for (what, size) in sizes {
        ensure!(
            (1..=LARGEST).contains(&size),
            "the model says that its {what} is {size}; this is no usable model, download it again"
        );
    }
    ensure!(
        c.heads.is_multiple_of(c.kv_heads),
        "the model has {} attention heads but {} key/value heads, which do not divide them; download it again",
        c.heads,
        c.kv_heads
    );
    ensure!(
        c.heads * c.head_dim <= LARGEST,
        "the model says it has {} heads of {} channels; download it again",
        c.heads,
        c.head_dim
    );
    ensure!(
        c.rope.dims.is_multiple_of(2) && (2..=c.head_dim).contains(&c.rope.dims),
        "rotary embedding of {} of {} channels of a head is not supported; it must be an even part",
        c.rope.dims,
        c.head_dim
    );
    ensure!(
        c.rope.base.is_finite() && c.rope.base >= 1.0,
        "the rotary base is {}; it must be a number of at least 1",
        c.rope.base
    );
    ensure!(
        c.norm_epsilon.is_finite() && (0.0..1.0).contains(&c.norm_epsilon),
        "the epsilon of the norms is {}; it must be between 0 and 1",
        c.norm_epsilon
    );
    for &id in c.eos.iter().chain(&c.bos) {
        ensure!(
            (id as usize) < c.vocab,
            "token {id} begins or ends a text, but the vocabulary has {} tokens",
            c.vocab
        );
    }
    Ok(())
}

/// The weights of a decoder and their extents, except a tied head.
pub(super) fn expected(c: &Config) -> Vec<(Weight, usize, usize)> {
    let (query, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut all = vec![(Weight::Embedding, c.vocab, c.width), (Weight::FinalNorm, 1, c.width)];
    if !c.tied_head {
        all.push((Weight::Head, c.vocab, c.width));
    }
    for l in 0..c.layers {
        all.extend([
            (Weight::AttentionNorm(l), 1, c.width),
            (Weight::Query(l), query, c.width),
            (Weight::Key(l), kv, c.width),
            (Weight::Value(l), kv, c.width),
            (Weight::Output(l), c.width, query),
            (Weight::FeedForwardNorm(l), 1, c.width),
            (Weight::Gate(l), c.ffn, c.width),
            (Weight::Up(l), c.ffn, c.width),
            (Weight::Down(l), c.width, c.ffn),
        ]);
        if c.attention_bias {
            all.extend([
                (Weight::QueryBias(l), 1, query),
                (Weight::KeyBias(l), 1, kv),
                (Weight::ValueBias(l), 1, kv),
            ]);
        }
        if c.qk_norm {
            all.extend([(Weight::QueryNorm(l), 1, c.head_dim), (Weight::KeyNorm(l), 1, c.head_dim)]);
        }
    }
    all
}

/// All weights of a decoder, except a tied head.
pub fn weights(config: &Config) -> impl Iterator<Item = Weight> {
    expected(config).into_iter().map(|(weight, ..)| weight)
}

/// Number of weights of a decoder.
pub fn parameters(config: &Config) -> u64 {
    expected(config).iter().map(|&(_, rows, cols)| rows as u64 * cols as u64).sum()
}

impl Stores {
    /// Matches tensors with the weights of a configuration. `name` says what a weight is called in the file, `ignored`
    /// which tensors carry no weights of their own.
    pub(super) fn assemble(
        config: Config,
        files: Vec<Bytes>,
        found: Vec<Found>,
        name: impl Fn(Weight) -> String,
        ignored: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Self> {
        check_config(&config)?;
        ensure!(
            config.layers <= found.len(),
            "the model says it has {} layers, but the file holds only {} tensors; download it again",
            config.layers,
            found.len()
        );
        let mut by_name = HashMap::with_capacity(found.len());
        for tensor in found {
            let name = tensor.name.clone();
            if by_name.insert(name.clone(), tensor).is_some() {
                bail!("tensor {name:?} occurs twice; download the model again");
            }
        }
        let mut weights = HashMap::new();
        for (weight, rows, cols) in expected(&config) {
            let name = name(weight);
            let found = by_name.remove(&name).with_context(|| {
                format!(
                    "tensor {name:?} ({rows} x {cols}) is missing; the file is incomplete, download it again"
                )
            })?;
            weights.insert(weight, store(found, rows, cols, &files)?);
        }
        let mut left: Vec<_> = by_name.into_keys().filter(|n| !ignored(n)).collect();
        left.sort_unstable();
        if let Some(first) = left.first() {
            bail!(
                "tensor {first:?} ({} in all) has no place in a {:?} model as this program knows it; \
                 its effect would be lost, so the model is refused",
                left.len(),
                config.family
            );
        }
        // There is one for every pair of channels, and by now there are weights for as many.
        ensure!(
            config.rope.frequencies().iter().all(|f| f.is_finite()),
            "the rotary scaling {:?} does not give numbers; download the model again",
            config.rope.scaling
        );
        Ok(Self { config, files, weights })
    }

    fn find(&self, weight: Weight) -> Option<&Stored> {
        let weight = if weight == Weight::Head && self.config.tied_head { Weight::Embedding } else { weight };
        self.weights.get(&weight)
    }
}

/// Checks extents, format and place of a tensor.
pub(super) fn store(found: Found, rows: usize, cols: usize, files: &[Bytes]) -> anyhow::Result<Stored> {
    let Found { name, file, start, dims, block } = found;
    let fits = if rows == 1 { dims == [cols] || dims == [1, cols] } else { dims == [rows, cols] };
    ensure!(
        fits,
        "tensor {name:?} has extents {dims:?} (rows first), but the configuration needs {rows} x {cols}; \
         the file contradicts itself, download it again"
    );
    let block = match block {
        Ok(block) => block,
        Err(kind) => bail!(
            "tensor {name:?} has number format {kind}, which is not supported; \
             use a file with F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K"
        ),
    };
    let Some(row) = block.size(cols) else {
        bail!(
            "tensor {name:?} has rows of {cols} weights, which are no whole blocks of {block:?}; download it again"
        );
    };
    let end = row.checked_mul(rows).and_then(|size| size.checked_add(start));
    let size = files.get(file).map_or(0, Bytes::len);
    ensure!(
        end.is_some_and(|end| end <= size),
        "the data of tensor {name:?} reaches beyond the end of the file; it is truncated, download it again"
    );
    Ok(Stored { name, file, start, rows, cols, block })
}

impl Checkpoint for Stores {
    fn config(&self) -> &Config {
        &self.config
    }

    fn shape(&self, weight: Weight) -> Option<(usize, usize)> {
        self.find(weight).map(|s| (s.rows, s.cols))
    }

    fn read(&self, weight: Weight, rows: Range<usize>, out: &mut [f32]) -> anyhow::Result<()> {
        let stored = self.find(weight).with_context(|| format!("this model has no weight {weight:?}"))?;
        stored.read(&self.files, rows, out)
    }

    fn format(&self, weight: Weight) -> Option<String> {
        self.find(weight).map(|stored| format!("{:?}", stored.block))
    }
}

impl Stored {
    /// Reads rows into as many numbers, which are finite.
    pub(super) fn read(&self, files: &[Bytes], rows: Range<usize>, out: &mut [f32]) -> anyhow::Result<()> {
        let Self { name, file, start, cols, block, .. } = self;
        ensure!(
            rows.start <= rows.end && rows.end <= self.rows && out.len() == rows.len() * cols,
            "rows {rows:?} into {} numbers were asked of tensor {name:?} of {} x {cols}",
            out.len(),
            self.rows
        );
        let row = block.size(*cols).context("rows are no whole blocks")?;
        let bytes = files[*file].get(start + row * rows.start..start + row * rows.end);
        block.dequantize(bytes.context("the file has become shorter")?, out);
        if let Some(at) = out.iter().position(|x| !x.is_finite()) {
            bail!(
                "tensor {name:?} holds {} at row {}, column {}; a model with such weights computes nothing, \
                 so download or convert it again",
                out[at],
                rows.start + at / cols,
                at % cols
            );
        }
        Ok(())
    }
}
