//! Operations over the last dimension.

use crate::graph::{Reduction, Shape, Tensor};

fn rows(x: &Tensor) -> impl Iterator<Item = &[f32]> {
    x.data().chunks_exact(x.shape().last().copied().unwrap_or(1))
}

fn mean(row: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = row.len() as f64;
    row.sum::<f64>() / count
}

pub fn softmax(x: &Tensor, shape: Shape) -> Tensor {
    let mut data = Vec::with_capacity(x.data().len());
    for row in rows(x) {
        let max = largest(row);
        let powers: Vec<f64> = row.iter().map(|&v| libm::exp(f64::from(v) - max)).collect();
        let sum: f64 = powers.iter().sum();
        data.extend(powers.iter().map(|p| (p / sum) as f32));
    }
    Tensor::from_parts(shape, data)
}

fn largest(row: &[f32]) -> f64 {
    row.iter().fold(f64::NEG_INFINITY, |max, &v| max.max(v.into()))
}

pub fn reduce(x: &Tensor, reduction: Reduction, shape: Shape) -> Tensor {
    let one = |row: &[f32]| match reduction {
        Reduction::Sum => row.iter().map(|&v| f64::from(v)).sum(),
        Reduction::Mean => mean(row.iter().map(|&v| f64::from(v))),
        Reduction::Max => largest(row),
    };
    Tensor::from_parts(shape, rows(x).map(|row| one(row) as f32).collect())
}

pub fn arg_max(x: &Tensor, last: bool, shape: Shape) -> Tensor {
    let better = |row: &[f32], i: usize, best: usize| row[i] > row[best] || (last && row[i] >= row[best]);
    let one = |row: &[f32]| (1..row.len()).fold(0, |best, i| if better(row, i, best) { i } else { best });
    Tensor::from_parts(shape, rows(x).map(|row| one(row) as f32).collect())
}

pub fn rms_norm(x: &Tensor, gamma: &Tensor, epsilon: f32, shape: Shape) -> Tensor {
    let mut data = Vec::with_capacity(x.data().len());
    for row in rows(x) {
        let scale = 1.0 / (mean(row.iter().map(|&v| f64::from(v).powi(2))) + f64::from(epsilon)).sqrt();
        data.extend(
            row.iter().zip(gamma.data()).map(|(&v, &g)| (f64::from(v) * scale * f64::from(g)) as f32),
        );
    }
    Tensor::from_parts(shape, data)
}

pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f32, shape: Shape) -> Tensor {
    let d = gamma.data().len();
    let mut data = Vec::with_capacity(x.data().len());
    for row in x.data().chunks_exact(d) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / d as f64;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / d as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        for ((&v, &g), &b) in row.iter().zip(gamma.data()).zip(beta.data()) {
            data.push(((f64::from(v) - mean) * scale * f64::from(g) + f64::from(b)) as f32);
        }
    }
    Tensor::from_parts(shape, data)
}
