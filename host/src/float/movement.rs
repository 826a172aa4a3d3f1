//! Operations that move elements and change none.

use crate::graph::{Shape, Tensor};

pub fn select(x: &Tensor, axis: usize, indices: &[usize], shape: Shape) -> Tensor {
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let mut data = Vec::with_capacity(shape.iter().product());
    for block in x.data().chunks_exact(inner * x.shape()[axis]) {
        for &index in indices {
            data.extend_from_slice(&block[index * inner..][..inner]);
        }
    }
    Tensor::from_parts(shape, data)
}

/// An index as the row that it names.
pub fn row(index: f32, rows: usize) -> Option<usize> {
    let inside = index >= 0.0 && index < rows as f32 && index.fract() == 0.0;
    inside.then_some(index as usize)
}

/// Rows that do not exist are NaN.
pub fn gather(table: &Tensor, indices: &Tensor, shape: Shape) -> Tensor {
    let (rows, width) = (table.shape()[0], table.shape()[1..].iter().product::<usize>());
    let mut data = Vec::with_capacity(shape.iter().product());
    for &index in indices.data() {
        match row(index, rows) {
            Some(row) => data.extend_from_slice(&table.data()[row * width..][..width]),
            None => data.extend(std::iter::repeat_n(f32::NAN, width)),
        }
    }
    Tensor::from_parts(shape, data)
}

pub fn concat(inputs: &[&Tensor], axis: usize, shape: Shape) -> Tensor {
    let outer: usize = shape[..axis].iter().product();
    let mut data = Vec::with_capacity(shape.iter().product());
    for block in 0..outer {
        for x in inputs {
            let width = x.data().len() / outer;
            data.extend_from_slice(&x.data()[block * width..][..width]);
        }
    }
    Tensor::from_parts(shape, data)
}

pub fn transpose(x: &Tensor, perm: &[usize], shape: Shape) -> Tensor {
    let mut strides = vec![1; perm.len()];
    for i in (1..perm.len()).rev() {
        strides[i - 1] = strides[i] * x.shape()[i];
    }
    // How far the source moves when an index of the result grows by one.
    let steps: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
    let mut index = vec![0; perm.len()];
    let mut source = 0;
    let mut data = Vec::with_capacity(x.data().len());
    for _ in 0..x.data().len() {
        data.push(x.data()[source]);
        for axis in (0..perm.len()).rev() {
            index[axis] += 1;
            source += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            source -= steps[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Tensor::from_parts(shape, data)
}
