//! Fully connected layers and normalisation.

use super::super::ImportError;
use super::lower::{Lowering, check};
use super::node::NodeRef;
use crate::graph::{Op, Tensor, ValueId};

impl<'m> Lowering<'_, 'm> {
    pub fn matmul(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let b = self.without_leading_ones(node, a, b)?;
        self.emit(node, Op::MatMul, &[a, b])
    }

    /// A constant `[1, .., k, n]` as the weight `[k, n]`.
    fn without_leading_ones(
        &mut self,
        node: NodeRef<'m>,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId, ImportError> {
        let shape = self.builder.shape(b);
        let fits = shape.len() > 2 && shape.len() <= self.builder.shape(a).len();
        if !fits || self.builder.constant_of(b).is_none() {
            return Ok(b);
        }
        let (leading, weight) = shape.split_at(shape.len() - 2);
        if leading.iter().any(|&d| d != 1) {
            return Ok(b);
        }
        let weight = weight.to_vec();
        self.reshaped(node, b, weight)
    }

    /// `alpha * A' * B' + beta * C` as a product and a sum; the factors and transpositions go into
    /// the constants.
    pub fn gemm(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 3, &["alpha", "beta", "transA", "transB"])?;
        let (mut a, mut b) = (self.float(node, 0)?, self.float(node, 1)?);
        for (value, side) in [(a, "first"), (b, "second")] {
            let shape = self.builder.shape(value);
            if shape.len() != 2 {
                return Err(node.refuse(format!(
                    "its {side} operand has shape {shape:?}, but Gemm takes matrices; use MatMul or Flatten first"
                )));
            }
        }
        if node.int("transA")?.unwrap_or(0) != 0 {
            a = self.emit_part(node, "a_transposed", Op::Transpose { perm: vec![1, 0] }, &[a])?;
        }
        if node.int("transB")?.unwrap_or(0) != 0 {
            b = self.emit_part(node, "b_transposed", Op::Transpose { perm: vec![1, 0] }, &[b])?;
        }
        let alpha = node.float("alpha")?.unwrap_or(1.0);
        if self.builder.constant_of(a).is_some() && self.builder.constant_of(b).is_none() {
            a = self.times(node, "a_scaled", a, alpha)?;
        } else {
            b = self.times(node, "b_scaled", b, alpha)?;
        }
        if node.input(2).is_none() {
            return self.emit(node, Op::MatMul, &[a, b]);
        }
        let c = self.float(node, 2)?;
        let beta = node.float("beta")?.unwrap_or(1.0);
        let c = self.times(node, "c_scaled", c, beta)?;
        let product = self.emit_part(node, "product", Op::MatMul, &[a, b])?;
        self.combine(node, Op::Add, product, c)
    }

    fn times(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        value: ValueId,
        factor: f32,
    ) -> Result<ValueId, ImportError> {
        if (factor - 1.0).abs() < f32::EPSILON {
            return Ok(value);
        }
        let factor = self.made(node, &format!("{part}_factor"), Tensor::scalar(factor))?;
        self.emit_part(node, part, Op::Mul, &[value, factor])
    }

    pub fn layer_norm(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 3, &["axis", "epsilon", "stash_type"])?;
        let (x, gamma) = (self.float(node, 0)?, self.float(node, 1)?);
        let shape = self.builder.shape(x).to_vec();
        let axis = node.int("axis")?.unwrap_or(-1);
        if axis != -1 && axis != shape.len() as i64 - 1 {
            return Err(node.refuse(format!(
                "normalises from axis {axis} of {shape:?}, but only the last dimension (axis -1) is supported; \
                 flatten the others first"
            )));
        }
        if node.int("stash_type")?.is_some_and(|t| t != 1) {
            return Err(node.refuse("stash_type must be 1 (float); export the model with the default"));
        }
        let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
        if epsilon < 0.0 {
            return Err(node.refuse(format!("epsilon is {epsilon}, but must not be negative; correct it")));
        }
        let gamma = self.last_dimension(node, gamma)?;
        let beta = if node.input(2).is_some() {
            let beta = self.float(node, 2)?;
            self.last_dimension(node, beta)?
        } else {
            // As long as the scale, which is in the file.
            let size: usize = self.builder.shape(gamma).iter().product();
            self.made(node, "bias", Tensor::new(vec![size], vec![0.0; size])?)?
        };
        self.emit(node, Op::LayerNorm { epsilon }, &[x, gamma, beta])
    }

    /// A constant `[1, .., d]` as the vector `[d]`.
    fn last_dimension(&mut self, node: NodeRef<'m>, value: ValueId) -> Result<ValueId, ImportError> {
        let size = self.builder.shape(value).iter().product();
        match self.builder.shape(value) {
            [leading @ .., _] if leading.iter().all(|&d| d == 1) => self.reshaped(node, value, vec![size]),
            _ => Ok(value),
        }
    }
}
