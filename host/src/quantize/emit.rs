//! Products, sums and constants per channel as ops.

use circlet_core::circuit::split;
use circlet_core::program::{Factor, Op, Tensor, TensorId};

use super::QuantizeError;
use super::activation::{Activation, Curve};
use super::assembly::Accumulator;
use super::fit::{Fitted, MAX_REACH, MAX_SHIFT, Sum, fit, half};
use super::lower::{Lowering, Tail, unsupported};
use super::view::View;
use crate::graph::{Node, ValueId};

/// Operands of a sum may differ by this many fraction bits.
const MAX_ALIGNMENT: i32 = 14;

/// Rows and columns of a shape whose other dimensions are one.
fn plane(shape: &[usize]) -> Option<(usize, usize)> {
    match shape {
        [leading @ .., rows, cols] if leading.iter().all(|&d| d == 1) => Some((*rows, *cols)),
        _ => None,
    }
}

impl Lowering<'_> {
    pub(super) fn matmul(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        if self.graph.constant(b).is_some() {
            self.linear(index, node)
        } else if self.graph.constant(a).is_some() {
            self.linear_from_left(index, node)
        } else {
            self.product(index, node)
        }
    }

    /// `x W`, with what follows.
    fn linear(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let weight = &self.graph.constants()[&node.inputs[1]];
        let Some((terms, outputs)) = plane(weight.shape()) else {
            return Err(unsupported(
                node,
                "a different weight for each sample of a batch; export the weight with two dimensions",
            ));
        };
        let tail = self.tail(index, Some(outputs));
        let mut weights = vec![0f64; terms * outputs];
        for (k, row) in weight.data().chunks(outputs).enumerate() {
            for (n, &w) in row.iter().enumerate() {
                weights[n * terms + k] = f64::from(w) * tail.scale[n];
            }
        }
        let x = self.operand(node.inputs[0]);
        let y = self.weighted(node, &tail, x, (&weights, terms), &self.name(node.inputs[1]))?;
        self.define(tail.out, View::plain(y, self.graph.shape(tail.out)));
        Ok(())
    }

    /// `W x` as the transpose of `x^T W^T`.
    fn linear_from_left(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let weight = &self.graph.constants()[&a];
        let (Some((outputs, terms)), Some((_, rows))) = (plane(weight.shape()), plane(self.graph.shape(b)))
        else {
            return Err(unsupported(
                node,
                "a constant times a batch of matrices; put the constant on the right",
            ));
        };
        let mut tail = self.tail(index, None);
        tail.scale = vec![1.0; outputs];
        let weights: Vec<f64> = weight.data().iter().map(|&w| w.into()).collect();
        let name = format!("{}.transposed", self.name(b));
        let view = match self.view(b).permute(&[terms, rows], &[1, 0]) {
            Some(view) => view,
            None => self.transposed(b, terms, rows),
        };
        let x = self.realize(view, (rows as u32, terms as u32), &name);
        let y = self.weighted(node, &tail, x, (&weights, terms), &self.name(a))?;
        if let Some(view) = View::plain(y, &[rows, outputs]).permute(&[rows, outputs], &[1, 0]) {
            self.define(tail.out, view);
        }
        Ok(())
    }

    fn transposed(&mut self, value: ValueId, rows: usize, cols: usize) -> View {
        let plain = View::plain(self.operand(value), &[rows, cols]);
        plain.clone().permute(&[rows, cols], &[1, 0]).unwrap_or(plain)
    }

    fn weighted(
        &mut self,
        node: &Node,
        tail: &Tail,
        x: TensorId,
        (weights, terms): (&[f64], usize),
        name: &str,
    ) -> Result<TensorId, QuantizeError> {
        let rows = self.assembly.tensor(x).rows;
        let (outputs, fitted) = (weights.len() / terms, self.fitted(node, tail, x, weights, terms)?);
        let bias = fitted.offset.map(|b| self.assembly.constant(&format!("{name}.bias"), outputs, b));
        let weight = self.assembly.constant(name, terms, fitted.weights);
        let accumulator = Accumulator { bits: fitted.sum_bits, reach: fitted.reach };
        let (requantize, y) = self.finish(tail, accumulator, (rows, outputs as u32))?;
        self.assembly.push(Op::MatMul { x, factor: Factor::Weight(weight), bias, requantize, y });
        Ok(y)
    }

    fn fitted(
        &self,
        node: &Node,
        tail: &Tail,
        x: TensorId,
        weights: &[f64],
        terms: usize,
    ) -> Result<Fitted, QuantizeError> {
        let tensor = self.assembly.tensor(x);
        fit(&Sum {
            weights,
            terms,
            offset: tail.offset.as_deref(),
            x_bound: tensor.bound,
            x_bits: tensor.fraction_bits.into(),
            z_bits: self.curve(tail)?.from,
            weight_bound: (1 << (self.options.weight_bits - 1)) - 1,
            most_bits: i32::MAX / 2,
            table_bits: self.options.table_bits,
        })
        .ok_or_else(|| QuantizeError::Accumulator {
            node: node.name.clone(),
            op: node.op.name(),
            terms,
        })
    }

    /// A constant added or multiplied, with what follows.
    pub(super) fn affine(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let shape = self.graph.shape(node.inputs[0]);
        let cols = shape.last().copied().unwrap_or(1);
        let (tail, x, n) = if let Some(constant) = self.channel_constant(node.inputs[1], shape, cols) {
            (self.affine_tail(index, node, &constant, true), self.operand(node.inputs[0]), cols)
        } else {
            // Another constant for every row: one row of all entries.
            let constant = self.repeated(node.inputs[1], shape).unwrap_or_default();
            let name = self.name(node.inputs[0]);
            let x = self.realize(self.view(node.inputs[0]), (1, constant.len() as u32), &name);
            (self.affine_tail(index, node, &constant, false), x, constant.len())
        };
        let fitted = self.fitted(node, &tail, x, &tail.scale, 1)?;
        let rows = self.assembly.tensor(x).rows;
        let name = self.name(node.inputs[1]);
        let scale = self.assembly.constant(&format!("{name}.scale"), n, fitted.weights);
        let offset = fitted.offset.unwrap_or_else(|| vec![0; n]);
        let offset = self.assembly.constant(&format!("{name}.offset"), n, offset);
        let accumulator = Accumulator { bits: fitted.sum_bits, reach: fitted.reach };
        let (requantize, y) = self.finish(&tail, accumulator, (rows, n as u32))?;
        self.assembly.push(Op::Affine { x, scale, offset, requantize, y });
        Ok(())
    }

    /// The tail that begins with the node's own constant.
    fn affine_tail(&self, index: usize, node: &Node, constant: &[f64], channels: bool) -> Tail {
        let follow = self.tail(index, channels.then_some(constant.len()));
        let mut own = Tail { scale: vec![1.0; constant.len()], offset: None, ..follow.clone() };
        own.absorb(&node.op, constant);
        if channels {
            own.absorb(&crate::graph::Op::Mul, &follow.scale);
            if let Some(offset) = &follow.offset {
                own.absorb(&crate::graph::Op::Add, offset);
            }
        }
        own
    }

    pub(super) fn add(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let tail = self.tail(index, None);
        let (mut a, mut b) = (self.operand(node.inputs[0]), self.operand(node.inputs[1]));
        let bits = |this: &Self, id| i32::from(this.assembly.tensor(id).fraction_bits);
        let apart = bits(self, a) - bits(self, b);
        // The finer operand's last bits are far below the other's.
        if apart > MAX_ALIGNMENT {
            a = self.coarser(a, apart - MAX_ALIGNMENT);
        } else if -apart > MAX_ALIGNMENT {
            b = self.coarser(b, -apart - MAX_ALIGNMENT);
        }
        let sum_bits = bits(self, a).max(bits(self, b));
        let (a_shift, b_shift) = ((sum_bits - bits(self, a)) as u8, (sum_bits - bits(self, b)) as u8);
        let Tensor { rows, cols, bound, .. } = *self.assembly.tensor(a);
        let reach = (bound << a_shift) + (self.assembly.tensor(b).bound << b_shift);
        let (requantize, y) = self.finish(&tail, Accumulator { bits: sum_bits, reach }, (rows, cols))?;
        self.assembly.push(Op::Add { a, a_shift, b, b_shift, requantize, y });
        Ok(())
    }

    pub(super) fn mul(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let tail = self.tail(index, None);
        let (a, b) = (self.operand(node.inputs[0]), self.operand(node.inputs[1]));
        let (left, right) = (self.assembly.tensor(a), self.assembly.tensor(b));
        let bits = i32::from(left.fraction_bits) + i32::from(right.fraction_bits);
        let (reach, extents) = (left.bound * right.bound, (left.rows, left.cols));
        let (requantize, y) = self.finish(&tail, Accumulator { bits, reach }, extents)?;
        self.assembly.push(Op::Mul { a, b, requantize, y });
        Ok(())
    }

    /// The matrix product of two activations.
    fn product(&mut self, index: usize, node: &Node) -> Result<(), QuantizeError> {
        let shapes = (plane(self.graph.shape(node.inputs[0])), plane(self.graph.shape(node.inputs[1])));
        let (Some((_, terms)), Some((_, cols))) = shapes else {
            return Err(unsupported(
                node,
                "a batch of products of two activations; export the model with a batch of one",
            ));
        };
        if split(terms as u32).len() > 1 {
            return Err(unsupported(
                node,
                format!(
                    "products of two activations over {terms} terms; use a power of two, or just below one"
                ),
            ));
        }
        let tail = self.tail(index, None);
        let (a, b) = (self.operand(node.inputs[0]), self.operand(node.inputs[1]));
        let (a, b) = self.narrowed(node, (a, b), terms, self.curve(&tail)?.from)?;
        let (left, right) = (self.assembly.tensor(a), self.assembly.tensor(b));
        let bits = i32::from(left.fraction_bits) + i32::from(right.fraction_bits);
        let (reach, rows) = (left.bound * right.bound * terms as i64, left.rows);
        let (requantize, y) = self.finish(&tail, Accumulator { bits, reach }, (rows, cols as u32))?;
        self.assembly.push(Op::MatMul { x: a, factor: Factor::Tensor(b), bias: None, requantize, y });
        Ok(())
    }

    /// Both operands with so few bits that a sum of `terms` products stays in the field.
    fn narrowed(
        &mut self,
        node: &Node,
        (a, b): (TensorId, TensorId),
        terms: usize,
        z_bits: i32,
    ) -> Result<(TensorId, TensorId), QuantizeError> {
        let (x, y) = (self.assembly.tensor(a), self.assembly.tensor(b));
        let (sum_bits, x, y) = (i32::from(x.fraction_bits) + i32::from(y.fraction_bits), x.bound, y.bound);
        let (mut drop_x, mut drop_y) = (0, 0);
        loop {
            let (x, y) = (coarse(x, drop_x), coarse(y, drop_y));
            let shift = (sum_bits - drop_x - drop_y - z_bits).clamp(0, MAX_SHIFT);
            if x * y * terms as i64 + half(shift) <= MAX_REACH {
                break;
            }
            if x.max(y) < 8 {
                let (node, op) = (node.name.clone(), node.op.name());
                return Err(QuantizeError::Accumulator { node, op, terms });
            }
            *(if x >= y { &mut drop_x } else { &mut drop_y }) += 1;
        }
        Ok((self.coarser(a, drop_x), self.coarser(b, drop_y)))
    }

    /// The same numbers with fewer fraction bits.
    pub(super) fn coarser(&mut self, x: TensorId, drop: i32) -> TensorId {
        if drop <= 0 {
            return x;
        }
        let Tensor { name, bound, fraction_bits, .. } = self.assembly.tensor(x).clone();
        let from = i32::from(fraction_bits);
        let curve =
            Curve { activation: Activation::Identity, from, to: from - drop, bound: coarse(bound, drop) };
        self.assembly.map(x, &curve, &format!("{name}.coarse"))
    }
}

/// A bound after `drop` bits are rounded away.
fn coarse(bound: i64, drop: i32) -> i64 {
    if drop > 40 { 1 } else { ((bound + half(drop)) >> drop).max(1) }
}
