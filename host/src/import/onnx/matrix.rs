//! Fully connected layers and normalisation.

use super::super::ImportError;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use crate::graph::{Op, Reduction, Tensor, ValueId};

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
        self.combine(node, None, Op::Add, product, c)
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

    pub fn layer_norm(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 3, &["axis", "epsilon", "stash_type"])?;
        let (input, epsilon) = (self.float(node, 0)?, epsilon(node)?);
        let (x, width) = self.normalised_rows(node, input)?;
        let gamma = self.parameter(node, 1, width)?;
        let beta = if node.input(2).is_some() {
            self.parameter(node, 2, width)?
        } else {
            self.made(node, "bias", Tensor::new(vec![width], vec![0.0; width])?)?
        };
        self.statistics(node, input, x, epsilon)?;
        self.norm(node, input, Op::LayerNorm { epsilon }, &[x, gamma, beta])
    }

    pub fn rms_norm(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &["axis", "epsilon", "stash_type"])?;
        let (input, epsilon) = (self.float(node, 0)?, epsilon(node)?);
        let (x, width) = self.normalised_rows(node, input)?;
        let gamma = self.parameter(node, 1, width)?;
        self.norm(node, input, Op::RmsNorm { epsilon }, &[x, gamma])
    }

    /// The input with all dimensions from the axis on as one, and the size of that.
    fn normalised_rows(&mut self, node: NodeRef<'m>, x: ValueId) -> Result<(ValueId, usize), ImportError> {
        let axis = self.axis(node, x, -1)?;
        let shape = self.builder.shape(x);
        let width = shape[axis..].iter().product();
        if axis + 1 == shape.len() {
            return Ok((x, width));
        }
        let shape = [&shape[..axis], &[width]].concat();
        Ok((self.emit_part(node, "rows", Op::Reshape { shape }, &[x])?, width))
    }

    /// A constant `[1, .., a, b]` as the vector of its elements, if there are `width`.
    fn parameter(&mut self, node: NodeRef<'m>, i: usize, width: usize) -> Result<ValueId, ImportError> {
        let value = self.float(node, i)?;
        let shape = self.builder.shape(value);
        if shape.iter().product::<usize>() != width {
            return Err(node.refuse(format!(
                "input {i} has shape {shape:?}, but {width} elements are normalised together; give it as many"
            )));
        }
        self.reshaped(node, value, vec![width])
    }

    fn norm(
        &mut self,
        node: NodeRef<'m>,
        input: ValueId,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<Binding, ImportError> {
        let shape = self.builder.shape(input).to_vec();
        if inputs[0] == input {
            return Ok(Binding::Value(self.emit(node, op, inputs)?));
        }
        let y = self.emit_part(node, "normalised", op, inputs)?;
        Ok(Binding::Value(self.emit(node, Op::Reshape { shape }, &[y])?))
    }

    /// The mean and the inverse deviation, where they are results.
    fn statistics(
        &mut self,
        node: NodeRef<'m>,
        input: ValueId,
        x: ValueId,
        epsilon: f32,
    ) -> Result<(), ImportError> {
        if node.output_name(1).or(node.output_name(2)).is_none() {
            return Ok(());
        }
        let axis = self.axis(node, input, -1)?;
        let mut shape = self.builder.shape(input).to_vec();
        shape[axis..].fill(1);
        let mean = self.emit_part(node, "mean_row", Op::Reduce(Reduction::Mean), &[x])?;
        let negated = self.negated(node, "mean_negated", mean)?;
        let centred = self.emit_part(node, "centred", Op::Add, &[x, negated])?;
        let square = self.emit_part(node, "square", Op::Mul, &[centred, centred])?;
        let variance = self.emit_part(node, "variance", Op::Reduce(Reduction::Mean), &[square])?;
        let epsilon = self.made(node, "epsilon", Tensor::scalar(epsilon))?;
        let variance = self.emit_part(node, "variance_epsilon", Op::Add, &[variance, epsilon])?;
        let deviation = self.emit_part(node, "deviation", Op::Sqrt, &[variance])?;
        let inverse = self.emit_part(node, "inverse_row", Op::Reciprocal, &[deviation])?;
        for (i, value, part) in [(1, mean, "mean"), (2, inverse, "inverse")] {
            let value = self.emit_part(node, part, Op::Reshape { shape: shape.clone() }, &[value])?;
            self.bind_output(node, i, Binding::Value(value));
        }
        Ok(())
    }
}

fn epsilon(node: NodeRef) -> Result<f32, ImportError> {
    if node.int("stash_type")?.is_some_and(|t| t != 1) {
        return Err(node.refuse("stash_type must be 1 (float); export the model with the default"));
    }
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    if epsilon < 0.0 {
        return Err(node.refuse(format!("epsilon is {epsilon}, but must not be negative; correct it")));
    }
    Ok(epsilon)
}
