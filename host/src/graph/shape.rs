//! Shape inference: from an operation and its operand shapes to the result's shape.

use super::{Op, Shape};

impl Op {
    /// How many operands the operation takes.
    pub fn arity(&self) -> usize {
        match self {
            Self::MatMul | Self::Add | Self::Mul => 2,
            Self::LayerNorm { .. } => 3,
            _ => 1,
        }
    }

    /// The shape of the result, or what does not fit. Sizes are checked by the caller.
    pub fn output_shape(&self, inputs: &[&[usize]]) -> Result<Shape, String> {
        if inputs.len() != self.arity() {
            return Err(format!("takes {} operands, but {} are given", self.arity(), inputs.len()));
        }
        let x = inputs[0];
        match self {
            Self::MatMul => matmul(x, inputs[1]),
            Self::Add | Self::Mul => elementwise(x, inputs[1]),
            Self::Relu | Self::Gelu { .. } | Self::Silu | Self::Sigmoid => Ok(x.to_vec()),
            Self::LayerNorm { .. } => layer_norm(x, inputs[1], inputs[2]),
            Self::Reshape { shape } => {
                let (from, to) = (product(x), product(shape));
                if from.is_none() || from != to {
                    return Err(format!("cannot reshape {x:?} to {shape:?}: the element counts differ"));
                }
                Ok(shape.clone())
            }
            Self::Transpose { perm } => {
                let mut seen = vec![false; x.len()];
                for &p in perm {
                    match seen.get_mut(p) {
                        Some(s) if !*s => *s = true,
                        _ => return Err(not_a_permutation(perm, x)),
                    }
                }
                if perm.len() != x.len() {
                    return Err(not_a_permutation(perm, x));
                }
                Ok(perm.iter().map(|&p| x[p]).collect())
            }
        }
    }
}

fn not_a_permutation(perm: &[usize], x: &[usize]) -> String {
    format!("perm {perm:?} is not a permutation of the {} dimensions of {x:?}", x.len())
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |p, &d| p.checked_mul(d))
}

fn matmul(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let ([lead_a @ .., m, k], [lead_b @ .., k2, n]) = (a, b) else {
        return Err(format!("cannot multiply {a:?} by {b:?}: both need at least two dimensions"));
    };
    if k != k2 {
        return Err(format!("cannot multiply {a:?} by {b:?}: the inner dimensions {k} and {k2} differ"));
    }
    if !lead_b.is_empty() && lead_a != lead_b {
        return Err(format!(
            "cannot multiply {a:?} by {b:?}: the second operand must have two dimensions or the \
             leading dimensions of the first"
        ));
    }
    Ok([lead_a, &[*m, *n]].concat())
}

fn elementwise(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let vector = b.len() == 1 && a.last() == b.last();
    if a == b || b.is_empty() || vector {
        return Ok(a.to_vec());
    }
    Err(format!(
        "cannot combine {a:?} with {b:?}: the second operand must have the same shape, or be a \
         constant vector over the last dimension, or a constant scalar"
    ))
}

fn layer_norm(x: &[usize], gamma: &[usize], beta: &[usize]) -> Result<Shape, String> {
    let Some(&d) = x.last() else {
        return Err("cannot normalise a scalar".into());
    };
    if gamma != [d] || beta != [d] {
        return Err(format!("needs a scale and a bias of shape [{d}], but they have {gamma:?} and {beta:?}"));
    }
    Ok(x.to_vec())
}
