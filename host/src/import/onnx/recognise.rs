//! Operations that exporters spell out: GELU, SiLU, softmax, LayerNorm and RMSNorm.
//!
//! Each is found when its last node is lowered, by looking back at what made the operands. What is no
//! longer read then goes away when the graph is finished.

use super::super::ImportError;
use super::lower::Lowering;
use super::node::NodeRef;
use crate::graph::{GeluKind, Op, Reduction, Tensor, ValueId};

/// An operation and its operands.
type Found = Option<(Op, Vec<ValueId>)>;

/// Half-precision files hold the square root of 2 only to about this.
const TOLERANCE: f64 = 2e-4;
/// How far back expressions are followed.
const DEPTH: usize = 7;

fn near(value: f64, target: f64) -> bool {
    if target == 0.0 { value.abs() < 1e-6 } else { (value / target - 1.0).abs() < TOLERANCE }
}

impl<'m> Lowering<'_, 'm> {
    pub fn recognise_product(
        &mut self,
        node: NodeRef<'m>,
        a: ValueId,
        b: ValueId,
    ) -> Result<Found, ImportError> {
        for (x, y) in [(a, b), (b, a)] {
            if let Some([sigmoid]) = self.made_by(y, &Op::Sigmoid)
                && sigmoid == x
            {
                return Ok(Some((Op::Silu, vec![x])));
            }
            if let Some([root]) = self.made_by(y, &Op::Reciprocal)
                && let found @ Some(_) = self.recognise_quotient(node, x, root)?
            {
                return Ok(found);
            }
            if let found @ Some(_) = self.scaled_norm(node, x, y)? {
                return Ok(found);
            }
        }
        Ok(self.gelu(a, b))
    }

    pub fn recognise_sum(&mut self, node: NodeRef<'m>, a: ValueId, b: ValueId) -> Result<Found, ImportError> {
        for (x, y) in [(a, b), (b, a)] {
            let (Some(Op::LayerNorm { epsilon }), Some(offset)) = (self.spelled(x), self.channels(x, y))
            else {
                continue;
            };
            let Some([x, gamma, beta]) = self.operands(x) else { continue };
            let beta = self.merged(node, "bias", beta, |i, b| b + offset[i])?;
            return Ok(Some((Op::LayerNorm { epsilon }, vec![x, gamma, beta])));
        }
        Ok(None)
    }

    pub fn recognise_quotient(
        &mut self,
        node: NodeRef<'m>,
        a: ValueId,
        b: ValueId,
    ) -> Result<Found, ImportError> {
        if let Some(x) = self.softmax_argument(a, b) {
            return Ok(Some((Op::Softmax, vec![x])));
        }
        let Some((squared, epsilon)) = self.root_mean_square(b).filter(|&(x, _)| self.same(a, x, 3)) else {
            return Ok(None);
        };
        let Some(&width) = self.builder.shape(squared).last() else { return Ok(None) };
        let gamma = self.made(node, "scale", Tensor::new(vec![width], vec![1.0; width])?)?;
        if let Some(x) = self.minus_reduced(a, Reduction::Mean) {
            let beta = self.made(node, "bias", Tensor::new(vec![width], vec![0.0; width])?)?;
            return Ok(Some((Op::LayerNorm { epsilon }, vec![x, gamma, beta])));
        }
        Ok(Some((Op::RmsNorm { epsilon }, vec![a, gamma])))
    }

    /// Emits a recognised operation and remembers that its scale and bias may follow.
    pub fn emit_recognised(
        &mut self,
        node: NodeRef<'m>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, ImportError> {
        let norm = matches!(op, Op::LayerNorm { .. } | Op::RmsNorm { .. });
        let value = self.emit(node, op, inputs)?;
        if norm {
            self.spelled.insert(value);
        }
        Ok(value)
    }

    /// A recognised norm times a constant per channel.
    fn scaled_norm(&mut self, node: NodeRef<'m>, x: ValueId, y: ValueId) -> Result<Found, ImportError> {
        let (Some(op), Some(scale)) = (self.spelled(x), self.channels(x, y)) else { return Ok(None) };
        let Some(inputs) = self.builder.producer(x).map(|n| n.inputs.clone()) else { return Ok(None) };
        let mut merged = vec![inputs[0]];
        for (&parameter, part) in inputs[1..].iter().zip(["scale", "bias"]) {
            merged.push(self.merged(node, part, parameter, |i, v| v * scale[i])?);
        }
        Ok(Some((op, merged)))
    }

    fn merged(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        parameter: ValueId,
        f: impl Fn(usize, f32) -> f32,
    ) -> Result<ValueId, ImportError> {
        let old = self.builder.constant_of(parameter).map_or(&[][..], Tensor::data);
        let data: Vec<f32> = old.iter().enumerate().map(|(i, &v)| f(i, v)).collect();
        self.made(node, part, Tensor::new(vec![data.len()], data)?)
    }

    /// The operation of a norm that was recognised.
    fn spelled(&self, value: ValueId) -> Option<Op> {
        self.spelled.contains(&value).then(|| self.builder.producer(value).map(|n| n.op.clone())).flatten()
    }

    /// A constant as one number for each channel of `x`.
    fn channels(&self, x: ValueId, constant: ValueId) -> Option<Vec<f32>> {
        let (width, tensor) = (*self.builder.shape(x).last()?, self.builder.constant_of(constant)?);
        let (last, leading) = tensor.shape().split_last().unwrap_or((&1, &[]));
        if leading.iter().any(|&d| d != 1) || tensor.shape().len() > self.builder.shape(x).len() {
            return None;
        }
        match tensor.data() {
            [one] => Some(vec![*one; width]),
            data => (*last == width).then(|| data.to_vec()),
        }
    }

    fn operands<const N: usize>(&self, value: ValueId) -> Option<[ValueId; N]> {
        self.builder.producer(value)?.inputs.as_slice().try_into().ok()
    }

    fn made_by<const N: usize>(&self, value: ValueId, op: &Op) -> Option<[ValueId; N]> {
        let node = self.builder.producer(value).filter(|node| node.op == *op)?;
        node.inputs.as_slice().try_into().ok()
    }

    /// Whether two values were computed in the same way from the same values.
    fn same(&self, a: ValueId, b: ValueId, depth: usize) -> bool {
        if a == b {
            return true;
        }
        if let (Some(a), Some(b)) = (self.builder.constant_of(a), self.builder.constant_of(b)) {
            return a.data().len() == 1 && a == b;
        }
        let (Some(a), Some(b)) = (self.builder.producer(a), self.builder.producer(b)) else { return false };
        depth > 0
            && a.op == b.op
            && a.inputs.len() == b.inputs.len()
            && a.inputs.iter().zip(&b.inputs).all(|(&a, &b)| self.same(a, b, depth - 1))
    }

    /// `x` when the value is `x` minus its mean or maximum.
    fn minus_reduced(&self, value: ValueId, reduction: Reduction) -> Option<ValueId> {
        let [x, negated] = self.made_by(value, &Op::Add)?;
        let [reduced, minus_one] = self.made_by(negated, &Op::Mul)?;
        let [of] = self.made_by(reduced, &Op::Reduce(reduction))?;
        (self.number(minus_one).is_some_and(|v| near(v, -1.0)) && self.same(x, of, 3)).then_some(x)
    }

    /// The argument of a softmax `a / b`.
    fn softmax_argument(&self, a: ValueId, b: ValueId) -> Option<ValueId> {
        let [argument] = self.made_by(a, &Op::Exp)?;
        let [summed] = self.made_by(b, &Op::Reduce(Reduction::Sum))?;
        let shifted = || self.minus_reduced(argument, Reduction::Max);
        self.same(a, summed, 5).then(|| shifted().unwrap_or(argument))
    }

    /// `(x, epsilon)` when the value is `sqrt(mean(x^2) + epsilon)`.
    fn root_mean_square(&self, value: ValueId) -> Option<(ValueId, f32)> {
        let [inside] = self.made_by(value, &Op::Sqrt)?;
        let (mean, epsilon) = match self.made_by(inside, &Op::Add) {
            Some([mean, epsilon]) => (mean, self.number(epsilon).filter(|&e| e >= 0.0)? as f32),
            None => (inside, 0.0),
        };
        let [square] = self.made_by(mean, &Op::Reduce(Reduction::Mean))?;
        let [x, y] = self.made_by(square, &Op::Mul)?;
        self.same(x, y, 3).then_some((x, epsilon))
    }

    /// The value without its constant factors, and their product.
    fn without_factors(&self, mut value: ValueId) -> (ValueId, f64) {
        let mut product = 1.0;
        for _ in 0..DEPTH {
            let Some([x, factor]) = self.made_by(value, &Op::Mul) else { break };
            let Some(factor) = self.number(factor) else { break };
            (value, product) = (x, product * factor);
        }
        (value, product)
    }

    /// GELU as a product of `x`, of `1 + erf(..)` or `1 + tanh(..)`, and of numbers, in any order.
    fn gelu(&self, a: ValueId, b: ValueId) -> Found {
        let (a, b, number) = match (self.number(a), self.number(b)) {
            (None, None) => (a, b, 1.0),
            (Some(number), None) | (None, Some(number)) => {
                let (product, factor) = self.without_factors(if self.number(a).is_some() { b } else { a });
                let [a, b] = self.made_by(product, &Op::Mul)?;
                (a, b, number * factor)
            }
            _ => return None,
        };
        for (x, y) in [(a, b), (b, a)] {
            let (one_plus, factor) = self.without_factors(y);
            let Some([function, one]) = self.made_by(one_plus, &Op::Add) else { continue };
            if !self.number(one).is_some_and(|one| near(one, 1.0)) {
                continue;
            }
            let (inner, inner_factor) = self.without_factors(x);
            for (x, x_factor) in [(x, 1.0), (inner, inner_factor)] {
                if let Some(kind) = self.gelu_kind(function, x)
                    && near(number * factor * x_factor, 0.5)
                {
                    return Some((Op::Gelu { kind }, vec![x]));
                }
            }
        }
        None
    }

    fn gelu_kind(&self, function: ValueId, x: ValueId) -> Option<GeluKind> {
        use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};
        let root = FRAC_2_PI.sqrt();
        let (kind, argument, target) = if let Some([argument]) = self.made_by(function, &Op::Erf) {
            (GeluKind::Erf, argument, [0.0, FRAC_1_SQRT_2, 0.0, 0.0])
        } else {
            let [argument] = self.made_by(function, &Op::Tanh)?;
            (GeluKind::Tanh, argument, [0.0, root, 0.0, 0.044_715 * root])
        };
        let found = self.polynomial(argument, x, DEPTH)?;
        found.iter().zip(target).all(|(&c, t)| near(c, t)).then_some(kind)
    }

    /// The coefficients of a value that is a polynomial of degree 3 at most in `x`.
    fn polynomial(&self, value: ValueId, x: ValueId, depth: usize) -> Option<[f64; 4]> {
        if value == x {
            return Some([0.0, 1.0, 0.0, 0.0]);
        }
        if let Some(number) = self.number(value) {
            return Some([number, 0.0, 0.0, 0.0]);
        }
        let node = self.builder.producer(value).filter(|_| depth > 0)?;
        if !matches!(node.op, Op::Add | Op::Mul) {
            return None;
        }
        let p = self.polynomial(node.inputs[0], x, depth - 1)?;
        let q = self.polynomial(node.inputs[1], x, depth - 1)?;
        let mut result = [0.0; 4];
        for (i, &a) in p.iter().enumerate() {
            if node.op == Op::Add {
                result[i] = a + q[i];
                continue;
            }
            for (j, &b) in q.iter().enumerate().filter(|&(_, &b)| a != 0.0 && b != 0.0) {
                *result.get_mut(i + j)? += a * b;
            }
        }
        Some(result)
    }
}
