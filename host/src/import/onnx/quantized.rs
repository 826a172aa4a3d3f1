//! Operators of quantized models, exact in floats as long as integers stay below 2^24.

use super::super::ImportError;
use super::constants::dtype;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use super::shapes::axis_set;
use crate::graph::{Op, Reduction, Shape, Tensor, ValueId};

/// What DynamicQuantizeLinear was applied to, and its second and third result.
#[derive(Clone, Copy)]
pub(super) struct Dynamic {
    x: ValueId,
    scale: ValueId,
    zero: ValueId,
}

impl<'m> Lowering<'_, 'm> {
    /// `(x - zero) * scale`
    pub fn dequantize(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 3, &["axis", "block_size", "output_dtype"])?;
        let to = node.int("output_dtype")?.unwrap_or(0);
        if to != 0 && !i32::try_from(to).is_ok_and(dtype::is_float) {
            return Err(node.refuse(format!("output_dtype {to} is no float; use 1")));
        }
        let (x, _) = self.integer(node, 0)?;
        let scale = self.float(node, 1)?;
        let scale = self.spread(node, "scale", x, scale)?;
        let zero = if node.input(2).is_none() {
            self.made(node, "zero", Tensor::scalar(0.0))?
        } else {
            let (zero, _) = self.integer(node, 2)?;
            self.spread(node, "zero", x, zero)?
        };
        if self.builder.constant_of(scale).is_some() && self.builder.constant_of(zero).is_some() {
            return self.emit(node, Op::Dequantize, &[x, scale, zero]);
        }
        let x = self.minus(node, "centred", x, zero)?;
        self.combine(node, None, Op::Mul, x, scale)
    }

    /// `clamp(round(x / scale) + zero)`
    pub fn quantize(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 3, &["axis", "block_size", "output_dtype", "precision", "saturate"])?;
        if node.int("precision")?.is_some_and(|p| p != 0 && p != i64::from(dtype::FLOAT)) {
            return Err(node.refuse("precision must be 1 (float); export it with the default"));
        }
        let (x, scale) = (self.float(node, 0)?, self.float(node, 1)?);
        let scale = self.spread(node, "scale", x, scale)?;
        let mut kind = node.int("output_dtype")?.and_then(|k| i32::try_from(k).ok()).unwrap_or(0);
        let mut zero = None;
        if node.input(2).is_some() {
            let (value, own) = self.integer(node, 2)?;
            kind = own;
            zero = Some(self.spread(node, "zero", x, value)?);
        } else if kind == 0 {
            kind = dtype::UINT8;
        }
        let range = quantized_range(node, kind)?;
        if let Some(constant) = self.builder.constant_of(scale) {
            if constant.data().contains(&0.0) {
                return Err(node.refuse("divides by a scale of zero; correct the scale"));
            }
            return Ok(Binding::Int(self.coded(node, x, scale, zero, range)?, kind));
        }
        let x = self.emit_part(node, "quotient", Op::Div, &[x, scale])?;
        Ok(Binding::Int(self.saturated(node, x, zero, range)?, kind))
    }

    /// Scale and zero point are computed so that the range of `x`, with zero in it, becomes 0 to 255.
    pub fn dynamic_quantize(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &[])?;
        let x = self.float(node, 0)?;
        let size = self.builder.shape(x).iter().product();
        let all = self.emit_part(node, "all", Op::Reshape { shape: vec![size] }, &[x])?;
        let negated = self.negated(node, "negated", all)?;
        let [mut max, mut minus_min] = [all, negated];
        for (value, part) in [(&mut max, "max"), (&mut minus_min, "minus_min")] {
            let most =
                self.emit_part(node, &format!("{part}_signed"), Op::Reduce(Reduction::Max), &[*value])?;
            let most = self.emit_part(node, &format!("{part}_positive"), Op::Relu, &[most])?;
            *value = self.emit_part(node, part, Op::Reshape { shape: vec![] }, &[most])?;
        }
        let steps = self.made(node, "steps", Tensor::scalar(255.0))?;
        let range = self.emit_part(node, "range", Op::Add, &[max, minus_min])?;
        let scale = self.emit_part(node, "scale", Op::Div, &[range, steps])?;
        let zero = self.emit_part(node, "zero_exact", Op::Div, &[minus_min, scale])?;
        let zero = self.emit_part(node, "zero_rounded", Op::Round, &[zero])?;
        let zero = self.emit_part(node, "zero", Op::Clamp { low: 0.0, high: 255.0 }, &[zero])?;
        self.bind_output(node, 1, Binding::Value(scale));
        self.bind_output(node, 2, Binding::Int(zero, dtype::UINT8));
        let quotient = self.emit_part(node, "quotient", Op::Div, &[x, scale])?;
        let codes = self.saturated(node, quotient, Some(zero), (0.0, 255.0))?;
        self.dynamic.insert(codes, Dynamic { x, scale, zero });
        Ok(Binding::Int(codes, dtype::UINT8))
    }

    /// `(a - zero) (b - zero)`
    pub fn matmul_integer(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 4, &[])?;
        let a = self.centred(node, "a", 0, 2, true)?;
        let b = self.centred(node, "b", 1, 3, false)?;
        let product = self.emit(node, Op::MatMul, &[a, b])?;
        let (codes, _) = self.integer(node, 0)?;
        if let Some(&dynamic) = self.dynamic.get(&codes)
            && node.input(2).is_some()
            && self.integer(node, 2)?.0 == dynamic.zero
            && self.builder.constant_of(b).is_some()
        {
            self.dynamic_products.insert(product, (dynamic, b));
        }
        Ok(Binding::Int(product, dtype::INT32))
    }

    /// `x (scale W)` for the product of dynamically quantized `x` and constant codes `W`, times the scale of `x` and
    /// perhaps a constant. Rounding `x` to eight bits is left out: nothing but that separates the two.
    pub fn dynamic_product(
        &mut self,
        node: NodeRef<'m>,
        product: ValueId,
        scale: ValueId,
    ) -> Result<Option<ValueId>, ImportError> {
        let Some(&(Dynamic { x, scale: own, .. }, codes)) = self.dynamic_products.get(&product) else {
            return Ok(None);
        };
        let factor = if scale == own {
            None
        } else {
            let made = self.builder.producer(scale).filter(|made| made.op == Op::Mul);
            match made.map(|made| made.inputs.as_slice()) {
                Some(&[a, factor]) if a == own && self.builder.constant_of(factor).is_some() => Some(factor),
                _ => return Ok(None),
            }
        };
        let weight = match factor {
            None => codes,
            Some(factor) => self.combine(node, Some("dequantized"), Op::Mul, codes, factor)?,
        };
        if self.builder.shape(weight) != self.builder.shape(codes) {
            return Ok(None);
        }
        Ok(Some(self.emit(node, Op::MatMul, &[x, weight])?))
    }

    /// The product of centred integers, scaled, rounded and moved by the result's zero point.
    pub fn qlinear_matmul(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 8, &[])?;
        let a = self.centred(node, "a", 0, 2, true)?;
        let b = self.centred(node, "b", 3, 5, false)?;
        let (zero, kind) = self.integer(node, 7)?;
        let range = quantized_range(node, kind)?;
        let product = self.emit_part(node, "product", Op::MatMul, &[a, b])?;
        let (a, b, y) = (self.scalar(node, 1)?, self.float(node, 4)?, self.scalar(node, 6)?);
        let scale = self.combine(node, Some("scale_product"), Op::Mul, b, a)?;
        let scale = self.emit_part(node, "scale", Op::Div, &[scale, y])?;
        let scaled = self.combine(node, Some("scaled"), Op::Mul, product, scale)?;
        let zero = self.combined_scalar(node, zero)?;
        let one = self.made(node, "one", Tensor::scalar(1.0))?;
        Ok(Binding::Int(self.coded(node, scaled, one, Some(zero), range)?, kind))
    }

    /// `clamp(round(x / scale) + zero)` for a constant scale.
    fn coded(
        &mut self,
        node: NodeRef<'m>,
        x: ValueId,
        scale: ValueId,
        zero: Option<ValueId>,
        (low, high): (f32, f32),
    ) -> Result<ValueId, ImportError> {
        let zero = match zero {
            Some(zero) if self.builder.constant_of(zero).is_none() => {
                let x = self.emit_part(node, "quotient", Op::Div, &[x, scale])?;
                return self.saturated(node, x, Some(zero), (low, high));
            }
            Some(zero) => zero,
            None => self.made(node, "zero", Tensor::scalar(0.0))?,
        };
        self.emit(node, Op::Quantize { low, high }, &[x, scale, zero])
    }

    /// Operand `i` minus its zero point, which may differ by row (`by_row`) or by column.
    fn centred(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        i: usize,
        zero: usize,
        by_row: bool,
    ) -> Result<ValueId, ImportError> {
        let (x, _) = self.integer(node, i)?;
        if node.input(zero).is_none() {
            return Ok(x);
        }
        let (mut zero, _) = self.integer(node, zero)?;
        if let (true, &[rows]) = (by_row, self.builder.shape(zero)) {
            let shape = if rows == 1 { vec![] } else { vec![rows, 1] };
            zero = self.emit_part(node, &format!("{part}_zero"), Op::Reshape { shape }, &[zero])?;
        }
        self.minus(node, part, x, zero)
    }

    fn minus(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        x: ValueId,
        y: ValueId,
    ) -> Result<ValueId, ImportError> {
        let y = self.negated(node, &format!("{part}_negated"), y)?;
        self.combine(node, Some(part), Op::Add, x, y)
    }

    fn scalar(&mut self, node: NodeRef<'m>, i: usize) -> Result<ValueId, ImportError> {
        let value = self.float(node, i)?;
        self.combined_scalar(node, value)
    }

    /// A value of one element without dimensions.
    fn combined_scalar(&mut self, node: NodeRef<'m>, value: ValueId) -> Result<ValueId, ImportError> {
        match self.builder.shape(value) {
            [] => Ok(value),
            [1] => self.emit_part(node, "scalar", Op::Reshape { shape: vec![] }, &[value]),
            shape => Err(node.refuse(format!(
                "has a scale or zero point of shape {shape:?} for its first operand or its result; use one number"
            ))),
        }
    }

    /// `clamp(round(x) + zero)`
    fn saturated(
        &mut self,
        node: NodeRef<'m>,
        x: ValueId,
        zero: Option<ValueId>,
        (low, high): (f32, f32),
    ) -> Result<ValueId, ImportError> {
        let mut x = self.emit_part(node, "rounded", Op::Round, &[x])?;
        if let Some(zero) = zero {
            x = self.combine(node, Some("moved"), Op::Add, x, zero)?;
        }
        self.emit(node, Op::Clamp { low, high }, &[x])
    }

    /// A scale or zero point in a shape that repeats over `x`: one for all, for each place of the axis,
    /// or for each block along the axis.
    fn spread(
        &mut self,
        node: NodeRef<'m>,
        part: &str,
        x: ValueId,
        value: ValueId,
    ) -> Result<ValueId, ImportError> {
        let (shape, own) = (self.builder.shape(x).to_vec(), self.builder.shape(value).to_vec());
        if own.iter().product::<usize>() == 1 {
            return self.emit_part(node, part, Op::Reshape { shape: vec![] }, &[value]);
        }
        let axis = axis_set(node, &[node.int("axis")?.unwrap_or(1)], shape.len())?[0];
        let block = usize::try_from(node.int("block_size")?.unwrap_or(0)).unwrap_or(0);
        if block == 0 {
            let mut spread: Shape = vec![1; shape.len()];
            spread[axis] = shape[axis];
            return self.emit_part(node, part, Op::Reshape { shape: spread }, &[value]);
        }
        if own.len() != shape.len() {
            return Err(
                node.refuse(format!("has blocks, but a {part} of shape {own:?} for {shape:?}; correct it"))
            );
        }
        let indices = (0..shape[axis]).map(|i| i / block).collect();
        self.emit_part(node, part, Op::Select { axis, indices }, &[value])
    }
}

fn quantized_range(node: NodeRef, kind: i32) -> Result<(f32, f32), ImportError> {
    match dtype::range(kind) {
        Some((low, high)) if kind != dtype::BOOL && high <= i64::from(u16::MAX) => {
            Ok((low as f32, high as f32))
        }
        _ => Err(node.refuse(format!(
            "quantizes to {}; only integers of 4, 8 and 16 bits are supported",
            dtype::name(kind)
        ))),
    }
}
