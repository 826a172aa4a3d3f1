//! Sums, products, quotients and powers in normal form.

use super::super::ImportError;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use crate::graph::{Op, Shape, Tensor, ValueId};

impl<'m> Lowering<'_, 'm> {
    pub fn add_or_mul(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let value = if node.op_type() == "Add" { self.add(node, a, b)? } else { self.multiply(node, a, b)? };
        Ok(Binding::Value(value))
    }

    pub fn sub(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        let negated = self.negated(node, "negated", b)?;
        self.add(node, a, negated)
    }

    pub fn negated(&mut self, node: NodeRef, part: &str, x: ValueId) -> Result<ValueId, ImportError> {
        let minus_one = self.made(node, "minus_one", Tensor::scalar(-1.0))?;
        self.emit_part(node, part, Op::Mul, &[x, minus_one])
    }

    pub fn div(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (a, b) = (self.float(node, 0)?, self.float(node, 1)?);
        if let Some(divisor) = self.builder.constant_of(b) {
            if divisor.data().contains(&0.0) {
                return Err(node.refuse("divides by zero; correct the constant divisor"));
            }
            let reciprocal = divisor.map(f32::recip);
            let reciprocal = self.made(node, "reciprocal", reciprocal)?;
            return self.multiply(node, a, reciprocal);
        }
        if self.builder.constant_of(a).is_some() {
            if self.number(a).is_some_and(|one| (one - 1.0).abs() < f64::EPSILON) {
                return self.emit(node, Op::Reciprocal, &[b]);
            }
            let reciprocal = self.emit_part(node, "reciprocal", Op::Reciprocal, &[b])?;
            return self.multiply(node, reciprocal, a);
        }
        if let Some((op, inputs)) = self.recognise_quotient(node, a, b)? {
            return self.emit_recognised(node, op, &inputs);
        }
        self.emit(node, Op::Div, &[a, b])
    }

    /// Constant powers for which there are operations.
    pub fn pow(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 2, &[])?;
        let (x, exponent) = (self.float(node, 0)?, self.required(node, 1)?);
        let exponent = match exponent {
            Binding::Ints(ints) if ints.data.len() == 1 => Some(ints.data[0] as f64),
            Binding::Value(value) => self.number(value),
            _ => None,
        };
        // Twice the exponent, which must be whole.
        let doubled = exponent.map(|e| e * 2.0).filter(|e| e.fract() == 0.0 && e.abs() < 100.0);
        match doubled.map(|e| e as i32) {
            Some(2) => Ok(x),
            Some(4) => self.emit(node, Op::Mul, &[x, x]),
            Some(6) => {
                let square = self.emit_part(node, "square", Op::Mul, &[x, x])?;
                self.emit(node, Op::Mul, &[square, x])
            }
            Some(1) => self.emit(node, Op::Sqrt, &[x]),
            Some(-1) => {
                let root = self.emit_part(node, "root", Op::Sqrt, &[x])?;
                self.emit(node, Op::Reciprocal, &[root])
            }
            Some(-2) => self.emit(node, Op::Reciprocal, &[x]),
            _ => Err(node.refuse(
                "only the constant exponents 1, 2, 3, 0.5, -0.5 and -1 are supported; write the power as products",
            )),
        }
    }

    pub fn clip(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 3, &[])?;
        let x = self.float(node, 0)?;
        let mut bounds = [f32::MIN, f32::MAX];
        for (i, bound) in bounds.iter_mut().enumerate().filter(|&(i, _)| node.input(i + 1).is_some()) {
            let value = self.float(node, i + 1)?;
            *bound =
                self.number(value).ok_or_else(|| node.refuse("its bounds must be constant numbers"))? as f32;
        }
        self.emit(node, Op::Clamp { low: bounds[0], high: bounds[1] }, &[x])
    }

    pub fn add(&mut self, node: NodeRef<'m>, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
        match self.recognise_sum(node, a, b)? {
            Some((op, inputs)) => self.emit_recognised(node, op, &inputs),
            None => self.combine(node, None, Op::Add, a, b),
        }
    }

    pub fn multiply(&mut self, node: NodeRef<'m>, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
        for (x, y) in [(a, b), (b, a)] {
            if let Some(product) = self.dynamic_product(node, x, y)? {
                return Ok(product);
            }
        }
        match self.recognise_product(node, a, b)? {
            Some((op, inputs)) => self.emit_recognised(node, op, &inputs),
            None => self.combine(node, None, Op::Mul, a, b),
        }
    }

    /// A sum or product in normal form: the constant second, as a vector or scalar where it can be.
    pub fn combine(
        &mut self,
        node: NodeRef<'m>,
        part: Option<&str>,
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
            (true, false) => true,
            (false, true) => false,
            _ => size(b) > size(a),
        };
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let b = self.fit(node, a, b)?;
        match part {
            Some(part) => self.emit_part(node, part, op, &[a, b]),
            None => self.emit(node, op, &[a, b]),
        }
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

    /// The number behind a constant of one element.
    pub fn number(&self, value: ValueId) -> Option<f64> {
        self.builder.constant_of(value).filter(|t| t.data().len() == 1).map(|t| t.data()[0].into())
    }
}
