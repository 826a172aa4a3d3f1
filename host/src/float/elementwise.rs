//! Sums, products and quotients of two operands, and what is made of them.

use crate::graph::{Shape, Tensor};

/// A number as a code.
pub fn code(x: f32, scale: f32, zero: f32, low: f32, high: f32) -> f32 {
    ((x / scale).round_ties_even() + zero).max(low).min(high)
}

/// The number that a code stands for.
pub fn value(code: f32, scale: f32, zero: f32) -> f32 {
    (code - zero) * scale
}

/// Combines two tensors whose shapes give `shape` when broadcast.
pub fn zip(a: &Tensor, b: &Tensor, shape: Shape, f: impl Fn(f64, f64) -> f64) -> Tensor {
    let f = |(&x, &y): (&f32, &f32)| f(x.into(), y.into()) as f32;
    // Most often the second repeats as a whole: the same shape, a vector or a scalar.
    let whole = b.data().len() == 1 || a.shape().ends_with(b.shape());
    let data = if a.shape() == shape && whole {
        a.data().iter().zip(b.data().iter().cycle()).map(f).collect()
    } else {
        let (places_a, places_b) = (places(a.shape(), &shape), places(b.shape(), &shape));
        places_a.iter().zip(&places_b).map(|(&i, &j)| f((&a.data()[i], &b.data()[j]))).collect()
    };
    Tensor::from_parts(shape, data)
}

/// Combines a tensor with two others that repeat over it.
pub fn zip3(x: &Tensor, a: &Tensor, b: &Tensor, shape: Shape, f: impl Fn(f32, f32, f32) -> f32) -> Tensor {
    let (places_a, places_b) = (places(a.shape(), &shape), places(b.shape(), &shape));
    let places = places_a.iter().zip(&places_b);
    let data = x.data().iter().zip(places).map(|(&x, (&i, &j))| f(x, a.data()[i], b.data()[j])).collect();
    Tensor::from_parts(shape, data)
}

/// Where each element of a tensor broadcast to `shape` stands in the tensor.
pub fn places(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let missing = shape.len() - from.len();
    let mut places = vec![0];
    for (axis, &size) in shape.iter().enumerate() {
        let own = axis.checked_sub(missing).map_or(1, |i| from[i]);
        places = (places.iter())
            .flat_map(|&place| (0..size).map(move |i| place * own + if own == 1 { 0 } else { i }))
            .collect();
    }
    places
}
