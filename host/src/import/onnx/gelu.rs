//! Sums and products of two operands, among which spelled-out GELU and SiLU are recognised.
//!
//! `Erf` is not an operation of the graph. Its result stays a [`Partial`] that the following nodes
//! complete: `erf(x / sqrt 2)`, then `1 + erf(..)`, then a product with `x` and with numbers that
//! multiply to one half, in any order. Any other use is refused.

use super::super::ImportError;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use crate::graph::{GeluKind, Op, Shape, Tensor, ValueId};

/// A GELU of `x` under construction.
#[derive(Clone, Copy)]
pub(super) struct Partial {
    x: ValueId,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    /// `erf(x / sqrt 2)`
    Erf,
    /// `scale * (1 + erf(x / sqrt 2))`
    OnePlus { scale: f64 },
    /// `scale * x * (1 + erf(x / sqrt 2))`
    Times { scale: f64 },
}

/// Half-precision files hold the square root of 2 only to about this.
const TOLERANCE: f64 = 2e-4;

/// The refusal of a node whose result, an output of the model, is a partial GELU.
pub(super) fn partial_result(node: NodeRef) -> ImportError {
    node.refuse(
        "is computed by Erf outside of GELU (x/2 * (1 + erf(x / sqrt 2))); use the Gelu operator of opset 20",
    )
}

/// The refusal of a node that reads a partial GELU at input `i`.
pub(super) fn outside_gelu(node: NodeRef, i: usize) -> ImportError {
    node.refuse(format!(
        "reads {:?}, which comes from Erf outside of GELU (x/2 * (1 + erf(x / sqrt 2))); \
         use the Gelu operator of opset 20",
        node.input(i).unwrap_or_default()
    ))
}

fn near(value: f64, target: f64) -> bool {
    (value / target - 1.0).abs() < TOLERANCE
}

impl<'m> Lowering<'_, 'm> {
    pub fn erf(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &[])?;
        let argument = self.float(node, 0)?;
        match self.scaled(argument) {
            Some((x, factor)) if near(factor, std::f64::consts::FRAC_1_SQRT_2) => {
                Ok(Binding::Partial(Partial { x, stage: Stage::Erf }))
            }
            _ => Err(node.refuse(
                "is supported only inside GELU, as erf(x / sqrt 2); use the Gelu operator of opset 20",
            )),
        }
    }

    pub fn add_or_mul(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.required(node, 0)?, self.required(node, 1)?);
        match (a, b) {
            (Binding::Partial(part), other) => self.complete(node, part, other, 1),
            (other, Binding::Partial(part)) => self.complete(node, part, other, 0),
            (a, b) => {
                let (a, b) = (self.as_float(node, 0, a)?, self.as_float(node, 1, b)?);
                let op = if node.op_type() == "Add" { Op::Add } else { Op::Mul };
                let silu = (op == Op::Mul).then(|| self.silu_operand(a, b)).flatten();
                Ok(Binding::Value(match silu {
                    Some(x) => self.emit(node, Op::Silu, &[x])?,
                    None => self.combine(node, op, a, b)?,
                }))
            }
        }
    }

    pub fn sub(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let minus_one = self.made(node, "minus_one", Tensor::scalar(-1.0))?;
        let negated = self.emit_part(node, "negated", Op::Mul, &[b, minus_one])?;
        self.combine(node, Op::Add, a, negated)
    }

    pub fn div(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let Some(divisor) = self.builder.constant_of(b) else {
            return Err(node.refuse("divides by a computed tensor; only constant divisors are supported"));
        };
        if divisor.data().contains(&0.0) {
            return Err(node.refuse("divides by zero; correct the constant divisor"));
        }
        let reciprocal = divisor.map(f32::recip);
        let reciprocal = self.made(node, "reciprocal", reciprocal)?;
        self.combine(node, Op::Mul, a, reciprocal)
    }

    /// `x` when one operand is `sigmoid(x)` of the other.
    fn silu_operand(&self, a: ValueId, b: ValueId) -> Option<ValueId> {
        let sigmoid_of =
            |value, x| self.builder.producer(value).is_some_and(|n| n.op == Op::Sigmoid && n.inputs[0] == x);
        if sigmoid_of(a, b) { Some(b) } else { sigmoid_of(b, a).then_some(a) }
    }

    /// `(y, c)` when the value is `y` times the constant scalar `c`.
    fn scaled(&self, value: ValueId) -> Option<(ValueId, f64)> {
        let node = self.builder.producer(value).filter(|n| n.op == Op::Mul)?;
        let factor = self.builder.constant_of(node.inputs[1]).filter(|t| t.shape().is_empty())?;
        Some((node.inputs[0], factor.data()[0].into()))
    }

    /// The next step of a GELU: the operand at `i` of `node` meets the partial result.
    fn complete(
        &mut self,
        node: NodeRef<'m>,
        part: Partial,
        other: Binding,
        i: usize,
    ) -> Result<Binding, ImportError> {
        let other = self.as_float(node, i, other)?;
        let number = self.builder.constant_of(other).filter(|t| t.data().len() == 1);
        let number = number.map(|t| f64::from(t.data()[0]));
        // The operand as a multiple of `x`.
        let multiple = match self.scaled(other) {
            _ if other == part.x => Some(1.0),
            Some((y, factor)) if y == part.x => Some(factor),
            _ => None,
        };
        let stage = match (node.op_type(), part.stage) {
            ("Add", Stage::Erf) => {
                number.filter(|&one| near(one, 1.0)).map(|_| Stage::OnePlus { scale: 1.0 })
            }
            ("Mul", Stage::OnePlus { scale }) => match (number, multiple) {
                (Some(c), _) => Some(Stage::OnePlus { scale: scale * c }),
                (None, c) => c.map(|c| Stage::Times { scale: scale * c }),
            },
            ("Mul", Stage::Times { scale }) => number.map(|c| Stage::Times { scale: scale * c }),
            _ => None,
        };
        let Some(stage) = stage else { return Err(outside_gelu(node, 1 - i)) };
        match stage {
            Stage::Times { scale } if near(scale, 0.5) => {
                let gelu = Op::Gelu { kind: GeluKind::Erf };
                Ok(Binding::Value(self.emit(node, gelu, &[part.x])?))
            }
            stage => Ok(Binding::Partial(Partial { stage, ..part })),
        }
    }

    /// A sum or product in normal form: the constant second, as a vector or scalar where it can be.
    pub fn combine(
        &mut self,
        node: NodeRef<'m>,
        op: Op,
        a: ValueId,
        b: ValueId,
    ) -> Result<ValueId, ImportError> {
        let size = |id: ValueId| {
            let shape = self.builder.shape(id);
            (shape.iter().product::<usize>(), shape.len())
        };
        let constant = |id| self.builder.constant_of(id).is_some();
        let swap = match (constant(a), constant(b)) {
            (true, true) => size(b) > size(a),
            (first, _) => first,
        };
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let b = self.fit(node, a, b)?;
        self.emit(node, op, &[a, b])
    }

    /// A constant operand without the leading ones that broadcasting ignores.
    fn fit(&mut self, node: NodeRef<'m>, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
        let (target, shape) = (self.builder.shape(a), self.builder.shape(b));
        if self.builder.constant_of(b).is_none() || shape.len() > target.len() {
            return Ok(b);
        }
        let size: usize = shape.iter().product();
        let trimmed: Shape = shape.iter().copied().skip_while(|&d| d == 1).collect();
        let padded = [&vec![1; target.len() - trimmed.len()], trimmed.as_slice()].concat();
        let shape = match trimmed.as_slice() {
            [] => Vec::new(),
            [_] => vec![size],
            _ if padded == target => target.to_vec(),
            _ => return Ok(b),
        };
        self.reshaped(node, b, shape)
    }
}
