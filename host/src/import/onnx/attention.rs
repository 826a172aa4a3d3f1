//! Attention (opset 23) as products and a softmax, and rotary embedding.

use std::rc::Rc;

use super::super::ImportError;
use super::constants::{Ints, dtype};
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use crate::graph::{Op, Tensor, ValueId};

/// What is added to a score that must not count. `exp` of it is zero next to any other score.
const MASKED: f32 = -1e30;

/// The second output of Attention that shows the scores.
const SCORES: usize = 3;

impl<'m> Lowering<'_, 'm> {
    pub fn attention(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(
            node,
            6,
            &[
                "is_causal",
                "kv_num_heads",
                "q_num_heads",
                "qk_matmul_output_mode",
                "scale",
                "softcap",
                "softmax_precision",
            ],
        )?;
        if node.int("softmax_precision")?.is_some_and(|p| p != i64::from(dtype::FLOAT)) {
            return Err(node.refuse("softmax_precision must be 1 (float); export it with the default"));
        }
        let [q, k, v] = [self.float(node, 0)?, self.float(node, 1)?, self.float(node, 2)?];
        let flat = self.builder.shape(q).len() == 3;
        let q = self.heads(node, "q", q, "q_num_heads")?;
        let (k, v) = (self.heads(node, "k", k, "kv_num_heads")?, self.heads(node, "v", v, "kv_num_heads")?);
        let (k, v) = self.with_past(node, k, v)?;

        let shape = |this: &Self, id| <[usize; 4]>::try_from(this.builder.shape(id)).unwrap_or([0; 4]);
        let ([batch, heads, rows, size], [_, groups, length, _]) = (shape(self, q), shape(self, k));
        let width = shape(self, v)[3];
        if groups == 0 || !heads.is_multiple_of(groups) {
            return Err(node.refuse(format!(
                "has {heads} query heads, which is no multiple of {groups} key heads; correct the head counts"
            )));
        }
        // Query heads that share a key head are rows of one product.
        let shared = heads / groups * rows;
        let q = self.part_reshaped(node, "q_groups", q, vec![batch, groups, shared, size])?;
        let k = self.emit_part(node, "k_transposed", Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k])?;
        let scores = self.emit_part(node, "products", Op::MatMul, &[q, k])?;
        let scale = node.float("scale")?.unwrap_or_else(|| (size as f32).sqrt().recip());
        let scale = self.made(node, "scale", Tensor::scalar(scale))?;
        let scores = self.emit_part(node, "scaled", Op::Mul, &[scores, scale])?;
        let scores = self.part_reshaped(node, "scores", scores, vec![batch, heads, rows, length])?;
        let weights = self.weights(node, scores)?;
        let weights = self.part_reshaped(node, "w_groups", weights, vec![batch, groups, shared, length])?;
        let y = self.emit_part(node, "weighted", Op::MatMul, &[weights, v])?;
        if !flat {
            return Ok(Binding::Value(self.reshaped(node, y, vec![batch, heads, rows, width])?));
        }
        let y = self.part_reshaped(node, "heads", y, vec![batch, heads, rows, width])?;
        let y = self.emit_part(node, "rows", Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])?;
        Ok(Binding::Value(self.reshaped(node, y, vec![batch, rows, heads * width])?))
    }

    fn part_reshaped(
        &mut self,
        node: NodeRef,
        part: &str,
        x: ValueId,
        shape: Vec<usize>,
    ) -> Result<ValueId, ImportError> {
        if self.builder.shape(x) == shape {
            Ok(x)
        } else {
            self.emit_part(node, part, Op::Reshape { shape }, &[x])
        }
    }

    /// `[batch, heads, rows, size]`, from that or from `[batch, rows, heads * size]`.
    fn heads(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        x: ValueId,
        attribute: &str,
    ) -> Result<ValueId, ImportError> {
        let count = node.int(attribute)?;
        match *self.builder.shape(x) {
            [_, heads, _, _] if count.is_none_or(|n| n == heads as i64) => Ok(x),
            [batch, rows, width] => {
                let heads = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                if heads == 0 || width % heads != 0 {
                    return Err(node.refuse(format!(
                        "cannot cut a width of {width} into {heads} heads; correct {attribute}"
                    )));
                }
                let shape = vec![batch, rows, heads, width / heads];
                let x = self.part_reshaped(node, &format!("{part}_heads"), x, shape)?;
                self.emit_part(node, &format!("{part}_rows"), Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x])
            }
            ref shape => Err(node.refuse(format!(
                "{part} has shape {shape:?}, which does not fit {attribute}; give [batch, rows, width] or \
                 [batch, heads, rows, size]"
            ))),
        }
    }

    /// Keys and values behind those of the past; both are results.
    fn with_past(
        &mut self,
        node: NodeRef<'m>,
        k: ValueId,
        v: ValueId,
    ) -> Result<(ValueId, ValueId), ImportError> {
        let (k, v) = match (node.input(4), node.input(5)) {
            (None, None) => (k, v),
            (Some(_), Some(_)) => {
                let past = (self.float(node, 4)?, self.float(node, 5)?);
                let join = Op::Concat { axis: 2 };
                (
                    self.emit_part(node, "present_key", join.clone(), &[past.0, k])?,
                    self.emit_part(node, "present_value", join, &[past.1, v])?,
                )
            }
            _ => return Err(node.refuse("has only one of past_key and past_value; give both or none")),
        };
        self.bind_output(node, 1, Binding::Value(k));
        self.bind_output(node, 2, Binding::Value(v));
        Ok((k, v))
    }

    /// Masks, caps and normalises scores. Binds the scores that the node shows.
    fn weights(&mut self, node: NodeRef<'m>, scores: ValueId) -> Result<ValueId, ImportError> {
        let softcap = node.float("softcap")?.filter(|&cap| cap != 0.0);
        let causal = node.int("is_causal")?.unwrap_or(0) != 0;
        let mask = self.mask(node)?;
        if softcap.is_some() && (causal || mask.is_some()) {
            return Err(node.refuse(
                "has a softcap and a mask, whose order differs between releases of ONNX; spell the attention out",
            ));
        }
        if causal && node.input(4).is_some() {
            return Err(node.refuse(
                "is causal and has a past, where releases of ONNX differ in which keys a row sees; give the mask \
                 as attn_mask",
            ));
        }
        let (rows, length) = match self.builder.shape(scores) {
            [.., rows, length] => (*rows, *length),
            _ => (1, 1),
        };
        let mut masked = scores;
        if let Some((mask, _)) = mask {
            masked = self.combine(node, Some("masked"), Op::Add, masked, mask)?;
        }
        if causal {
            crate::graph::elements("causal mask", &[rows, length])?;
            let places = (0..rows).flat_map(|i| (0..length).map(move |j| if j > i { MASKED } else { 0.0 }));
            let mask = self.made(node, "causal", Tensor::new(vec![rows, length], places.collect())?)?;
            masked = self.combine(node, Some("causal"), Op::Add, masked, mask)?;
        }
        let mut capped = masked;
        if let Some(cap) = softcap {
            let (inverse, cap) = (Tensor::scalar(cap.recip()), Tensor::scalar(cap));
            let (inverse, cap) = (self.made(node, "cap_inverse", inverse)?, self.made(node, "cap", cap)?);
            capped = self.emit_part(node, "cap_argument", Op::Mul, &[capped, inverse])?;
            capped = self.emit_part(node, "cap_tanh", Op::Tanh, &[capped])?;
            capped = self.emit_part(node, "capped", Op::Mul, &[capped, cap])?;
        }
        let weights = self.emit_part(node, "weights", Op::Softmax, &[capped])?;
        if node.proto.output.get(SCORES).is_some_and(|name| !name.is_empty()) {
            let infinite = causal || mask.is_some_and(|(_, truth)| truth);
            let shown = match node.int("qk_matmul_output_mode")?.unwrap_or(0) {
                0 => scores,
                1 if !infinite => masked,
                2 if softcap.is_some() => capped,
                3 => weights,
                mode => {
                    return Err(node.refuse(format!(
                        "shows its scores in mode {mode}, which with this mask or softcap has no finite or no \
                         agreed meaning; remove that output"
                    )));
                }
            };
            self.bind_output(node, SCORES, Binding::Value(shown));
        }
        Ok(weights)
    }

    /// The mask as numbers to add, and whether it consists of truth values.
    fn mask(&mut self, node: NodeRef<'m>) -> Result<Option<(ValueId, bool)>, ImportError> {
        let truth = match self.optional(node, 3)? {
            None => return Ok(None),
            Some(Binding::Value(mask)) => return Ok(Some((mask, false))),
            Some(Binding::Ints(ints)) if ints.kind == dtype::BOOL => {
                self.builder.constant(&format!("{}/mask", node.output()), ints.to_tensor("mask")?)?
            }
            Some(Binding::Int(truth, dtype::BOOL)) => truth,
            Some(_) => return Err(node.refuse("its mask holds integers; make it float or bool")),
        };
        // One becomes zero and zero becomes MASKED.
        let (scale, offset) = (Tensor::scalar(-MASKED), Tensor::scalar(MASKED));
        let (scale, offset) =
            (self.made(node, "mask_scale", scale)?, self.made(node, "mask_offset", offset)?);
        let mask = self.emit_part(node, "mask_scaled", Op::Mul, &[truth, scale])?;
        Ok(Some((self.emit_part(node, "mask_added", Op::Add, &[mask, offset])?, true)))
    }

    /// `x cos + partner(x) sin`, where the partner of a pair `(a, b)` is `(-b, a)`.
    pub fn rotary(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 4, &["interleaved", "num_heads", "rotary_embedding_dim"])?;
        let input = self.float(node, 0)?;
        let whole = self.builder.shape(input).to_vec();
        let heads = node.int("num_heads")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        // The dimension of heads comes before the rows or behind them.
        let (x, head_axis) = match whole[..] {
            [_, _, _, _] => (input, 1),
            [batch, rows, width] if heads > 0 && width % heads == 0 => {
                (self.part_reshaped(node, "heads", input, vec![batch, rows, heads, width / heads])?, 2)
            }
            _ => {
                return Err(node.refuse(format!(
                    "its input has shape {whole:?}, which does not fit num_heads {heads}; give four dimensions"
                )));
            }
        };
        let size = self.builder.shape(x)[3];
        let turned = match node.int("rotary_embedding_dim")?.unwrap_or(0) {
            0 => size,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        if turned > size || turned < 2 || turned % 2 != 0 {
            return Err(
                node.refuse(format!("cannot turn {turned} of {size} channels; use an even number of them"))
            );
        }
        let (half, interleaved) = (turned / 2, node.int("interleaved")?.unwrap_or(0) != 0);
        let pair = |i: usize| if interleaved { i / 2 } else { i % half };
        let first = |i: usize| if interleaved { i.is_multiple_of(2) } else { i < half };
        let apart = if interleaved { 1 } else { half };
        let pairs: Vec<usize> = (0..turned).map(pair).collect();
        let partners: Vec<usize> =
            (0..turned).map(|i| if first(i) { i + apart } else { i - apart }).collect();
        let signs: Vec<f32> = (0..turned).map(|i| if first(i) { -1.0 } else { 1.0 }).collect();

        let cos = self.angles(node, 1, "cos", &pairs, head_axis)?;
        let sin = self.angles(node, 2, "sin", &pairs, head_axis)?;
        let signs = self.made(node, "signs", Tensor::new(vec![turned], signs)?)?;
        let sin = self.emit_part(node, "signed_sin", Op::Mul, &[sin, signs])?;
        let range = |from, to| Op::Select { axis: 3, indices: (from..to).collect() };
        let own = if turned == size { x } else { self.emit_part(node, "turned", range(0, turned), &[x])? };
        let partner = self.emit_part(node, "partner", Op::Select { axis: 3, indices: partners }, &[own])?;
        let (own, partner) = (
            self.combine(node, Some("own_part"), Op::Mul, own, cos)?,
            self.combine(node, Some("partner_part"), Op::Mul, partner, sin)?,
        );
        let mut y = self.emit_part(node, "sum", Op::Add, &[own, partner])?;
        if turned < size {
            let rest = self.emit_part(node, "rest", range(turned, size), &[x])?;
            y = self.emit_part(node, "joined", Op::Concat { axis: 3 }, &[y, rest])?;
        }
        if self.builder.shape(y).len() == whole.len() && self.builder.shape(y) != whole {
            return Err(node.refuse("its cosines do not fit the input's batch and rows; correct their shape"));
        }
        self.reshaped(node, y, whole)
    }

    /// Cosines or sines for every channel, `[batch, 1, rows, n]` or `[batch, rows, 1, n]`.
    fn angles(
        &mut self,
        node: NodeRef<'m>,
        i: usize,
        part: &str,
        pairs: &[usize],
        head_axis: usize,
    ) -> Result<ValueId, ImportError> {
        let name = |step: &str| format!("{part}_{step}");
        let mut x = self.float(node, i)?;
        match self.optional(node, 3)? {
            None => {}
            Some(Binding::Ints(positions)) => x = self.rows_at(node, &name("rows"), x, &positions)?,
            Some(Binding::Int(positions, _)) => {
                x = self.emit_part(node, &name("rows"), Op::Gather, &[x, positions])?;
            }
            Some(Binding::Value(_)) => {
                return Err(node.refuse("its position_ids are floats; make them integers"));
            }
        }
        let &[batch, rows, _] = self.builder.shape(x) else {
            return Err(node.refuse(format!(
                "its {part} values have shape {:?} instead of [batch, rows, half of the channels]; correct it",
                self.builder.shape(x)
            )));
        };
        let x =
            self.emit_part(node, &name("pairs"), Op::Select { axis: 2, indices: pairs.to_vec() }, &[x])?;
        let mut shape = vec![batch, rows, pairs.len()];
        shape.insert(head_axis, 1);
        self.part_reshaped(node, &name("heads"), x, shape)
    }

    fn rows_at(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        x: ValueId,
        positions: &Rc<Ints>,
    ) -> Result<ValueId, ImportError> {
        let indices = positions.data.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect();
        let rows = self.emit_part(node, part, Op::Select { axis: 0, indices }, &[x])?;
        let shape = [&positions.dims, &self.builder.shape(x)[1..]].concat();
        self.part_reshaped(node, &format!("{part}_shaped"), rows, shape)
    }
}
