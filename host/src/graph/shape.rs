//! Shape inference: from an operation and its operand shapes to the result's shape.

use super::{Op, Shape};

impl Op {
    /// How many operands the operation takes; none if any number from one.
    pub fn arity(&self) -> Option<usize> {
        Some(match self {
            Self::MatMul | Self::Add | Self::Mul | Self::Div | Self::RmsNorm { .. } | Self::Gather => 2,
            Self::LayerNorm { .. } | Self::Quantize { .. } | Self::Dequantize => 3,
            Self::Concat { .. } => return None,
            _ => 1,
        })
    }

    /// The shape of the result, or what does not fit. Sizes are checked by the caller.
    pub fn output_shape(&self, inputs: &[&[usize]]) -> Result<Shape, String> {
        if self.arity().is_some_and(|arity| arity != inputs.len()) || inputs.is_empty() {
            let takes = self.arity().map_or("at least 1".into(), |arity| arity.to_string());
            return Err(format!("takes {takes} operands, but {} are given", inputs.len()));
        }
        let x = inputs[0];
        match self {
            Self::MatMul => matmul(x, inputs[1]),
            Self::Add | Self::Mul | Self::Div => broadcast(x, inputs[1]),
            Self::Relu
            | Self::Gelu { .. }
            | Self::Silu
            | Self::Sigmoid
            | Self::Tanh
            | Self::Exp
            | Self::Erf
            | Self::Sqrt
            | Self::Reciprocal
            | Self::Round
            | Self::Clamp { .. } => Ok(x.to_vec()),
            Self::Quantize { .. } | Self::Dequantize => {
                for parameter in &inputs[1..] {
                    if broadcast(x, parameter)? != x {
                        return Err(format!(
                            "a scale or zero point of shape {parameter:?} does not repeat over {x:?}"
                        ));
                    }
                }
                Ok(x.to_vec())
            }
            Self::Softmax => last(x).map(|_| x.to_vec()),
            Self::Reduce(_) | Self::ArgMax { .. } => last(x).map(|(leading, _)| [leading, &[1]].concat()),
            Self::LayerNorm { .. } | Self::RmsNorm { .. } => normalised(x, &inputs[1..]),
            Self::Select { axis, indices } => select(x, *axis, indices),
            Self::Gather => match x {
                [_, row @ ..] => Ok([inputs[1], row].concat()),
                [] => Err("cannot take rows of a scalar".into()),
            },
            Self::Concat { axis } => concat(inputs, *axis),
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

fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let dims = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    });
    dims.collect::<Option<Shape>>().ok_or_else(|| {
        format!("cannot combine {a:?} with {b:?}: aligned at the last, dimensions must be equal or 1")
    })
}

fn last(x: &[usize]) -> Result<(&[usize], usize), String> {
    x.split_last()
        .map(|(&last, leading)| (leading, last))
        .ok_or_else(|| "needs at least one dimension, but is given a scalar".into())
}

fn normalised(x: &[usize], parameters: &[&[usize]]) -> Result<Shape, String> {
    let Some(&d) = x.last() else {
        return Err("cannot normalise a scalar".into());
    };
    if parameters.iter().any(|&p| p != [d]) {
        return Err(format!("needs a scale (and a bias) of shape [{d}], but is given {parameters:?}"));
    }
    Ok(x.to_vec())
}

fn select(x: &[usize], axis: usize, indices: &[usize]) -> Result<Shape, String> {
    let Some(&size) = x.get(axis) else {
        return Err(format!("has no dimension {axis} in {x:?}"));
    };
    if let Some(index) = indices.iter().find(|&&i| i >= size) {
        return Err(format!("takes place {index} of dimension {axis} of {x:?}, which has only {size}"));
    }
    let mut shape = x.to_vec();
    shape[axis] = indices.len();
    Ok(shape)
}

fn concat(inputs: &[&[usize]], axis: usize) -> Result<Shape, String> {
    let mut shape = inputs[0].to_vec();
    if axis >= shape.len() {
        return Err(format!("has no dimension {axis} in {shape:?}"));
    }
    for other in &inputs[1..] {
        let fits = other.len() == shape.len() && (0..shape.len()).all(|i| i == axis || shape[i] == other[i]);
        if !fits {
            return Err(format!("cannot join {shape:?} and {other:?} along dimension {axis}"));
        }
        shape[axis] = shape[axis].saturating_add(other[axis]);
    }
    Ok(shape)
}
