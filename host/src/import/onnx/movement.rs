//! Nodes that choose and join elements, and the index of the largest.

use super::super::ImportError;
use super::constants::dtype;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use super::shapes::axis_set;
use crate::graph::{Op, Shape, ValueId};

impl<'m> Lowering<'_, 'm> {
    /// Rows chosen by constants, or along the first dimension by computed integers.
    pub fn gather(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &["axis"])?;
        let (x, kind) = self.any(node, 0)?;
        let shape = self.builder.shape(x).to_vec();
        let axis = self.axis(node, x, 0)?;
        let value = match self.required(node, 1)? {
            Binding::Ints(ints) => {
                let indices =
                    (ints.data.iter()).map(|&i| place(node, i, shape[axis])).collect::<Result<_, _>>()?;
                let chosen = self.emit_part(node, "chosen", Op::Select { axis, indices }, &[x])?;
                let shape: Shape = [&shape[..axis], &ints.dims, &shape[axis + 1..]].concat();
                self.emit(node, Op::Reshape { shape }, &[chosen])?
            }
            Binding::Int(indices, _) if axis == 0 => self.emit(node, Op::Gather, &[x, indices])?,
            Binding::Int(..) => {
                return Err(node.refuse(format!(
                    "computed indices are supported for axis 0 only, not for axis {axis}; transpose first"
                )));
            }
            Binding::Value(_) => return Err(node.refuse("its indices are floats; make them integers")),
        };
        Ok(Binding::of(value, kind))
    }

    pub fn slice(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        let (mut x, kind) = self.any(node, 0)?;
        let shape = self.builder.shape(x).to_vec();
        for (axis, indices) in self.slices(node, &shape)? {
            if !indices.iter().copied().eq(0..shape[axis]) {
                x = self.emit(node, Op::Select { axis, indices }, &[x])?;
            }
        }
        Ok(Binding::of(x, kind))
    }

    /// The places of every dimension that a slice of this shape takes.
    pub fn slices(
        &mut self,
        node: NodeRef<'m>,
        shape: &[usize],
    ) -> Result<Vec<(usize, Vec<usize>)>, ImportError> {
        check(node, 5, &[])?;
        let (starts, ends) = (self.ints(node, 1)?, self.ints(node, 2)?);
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(
                node.refuse("has no starts or no ends; export the model again with opset 13 or newer")
            );
        };
        let count = starts.data.len();
        let axes = match self.ints(node, 3)? {
            Some(axes) => axis_set(node, &axes.data, shape.len())?,
            None => (0..count).collect(),
        };
        let steps = self.ints(node, 4)?.map_or_else(|| vec![1; count], |steps| steps.data.clone());
        let lengths = [ends.data.len(), axes.len(), steps.len()];
        if lengths.iter().any(|&n| n != count) || count > shape.len() {
            return Err(node.refuse("starts, ends, axes and steps differ in length; export the model again"));
        }
        let mut slices = Vec::new();
        for (i, &axis) in axes.iter().enumerate() {
            let indices = range(starts.data[i], ends.data[i], steps[i], shape[axis]).ok_or_else(|| {
                node.refuse(format!("takes every 0th element of dimension {axis}; correct the step"))
            })?;
            if indices.is_empty() {
                return Err(node.refuse(format!(
                    "takes nothing from dimension {axis} of {shape:?}; empty tensors are not supported, so \
                     remove them"
                )));
            }
            slices.push((axis, indices));
        }
        Ok(slices)
    }

    /// Binds all results.
    pub fn split(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &["axis", "num_outputs"])?;
        let (x, kind) = self.any(node, 0)?;
        let axis = self.axis(node, x, 0)?;
        let (size, results) = (self.builder.shape(x)[axis], node.proto.output.len());
        let sizes: Vec<usize> = if let Some(sizes) = self.ints(node, 1)? {
            sizes.data.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect()
        } else {
            let parts = node.int("num_outputs")?.map_or(Some(results), |n| usize::try_from(n).ok());
            let part = size.div_ceil(parts.filter(|&n| n == results && n > 0).ok_or_else(|| {
                node.refuse("num_outputs is not the number of its results; export the model again")
            })?);
            (0..results).map(|i| part.min(size.saturating_sub(i * part))).collect()
        };
        let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        if sizes.len() != results || total != Some(size) || sizes.contains(&0) {
            return Err(node.refuse(format!(
                "cannot split {size} into the {results} parts {sizes:?}; parts must add up and must not be empty"
            )));
        }
        let mut start = 0;
        for (i, part) in sizes.into_iter().enumerate() {
            let indices = (start..start + part).collect();
            start += part;
            let value = self.emit_output(node, i, Op::Select { axis, indices }, &[x])?;
            self.bind_output(node, i, Binding::of(value, kind));
        }
        self.required_output(node)
    }

    pub fn concat(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, usize::MAX, &["axis"])?;
        let parts = (0..node.proto.input.len()).map(|i| self.any(node, i)).collect::<Result<Vec<_>, _>>()?;
        let Some(&(first, kind)) = parts.first() else {
            return Err(node.refuse("joins nothing; export the model again"));
        };
        if parts.iter().any(|part| part.1 != kind) {
            return Err(node.refuse("joins tensors of different types; cast them to one type"));
        }
        let axis = self.axis(node, first, 0)?;
        let values: Vec<ValueId> = parts.iter().map(|part| part.0).collect();
        let value = if values.len() == 1 { first } else { self.emit(node, Op::Concat { axis }, &values)? };
        Ok(Binding::of(value, kind))
    }

    pub fn arg_max(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &["axis", "keepdims", "select_last_index"])?;
        let x = self.float(node, 0)?;
        let axis = self.axis(node, x, 0)?;
        let last = node.int("select_last_index")?.unwrap_or(0) != 0;
        let mut shape = self.builder.shape(x).to_vec();
        let (x, _) = self.with_last(node, x, axis)?;
        let index = self.emit_part(node, "index", Op::ArgMax { last }, &[x])?;
        let index = match self.builder.shape(index).len() - 1 {
            end if end == axis => index,
            end => {
                let mut perm: Vec<usize> = (0..=end).collect();
                perm.swap(axis, end);
                self.emit_part(node, "swapped_back", Op::Transpose { perm }, &[index])?
            }
        };
        if node.int("keepdims")?.unwrap_or(1) == 0 {
            shape.remove(axis);
        } else {
            shape[axis] = 1;
        }
        Ok(Binding::Int(self.reshaped(node, index, shape)?, dtype::INT64))
    }
}

/// An index, from the end if negative, as a place.
pub(super) fn place(node: NodeRef, index: i64, size: usize) -> Result<usize, ImportError> {
    let from_start = if index < 0 { index.saturating_add(size as i64) } else { index };
    usize::try_from(from_start).ok().filter(|&i| i < size).ok_or_else(|| {
        node.refuse(format!("takes place {index} of a dimension of size {size}; correct the indices"))
    })
}

/// The places that a slice takes; none for a step of zero.
fn range(start: i64, end: i64, step: i64, size: usize) -> Option<Vec<usize>> {
    let size = size as i64;
    let clamped = |i: i64, least, most| (if i < 0 { i.saturating_add(size) } else { i }).clamp(least, most);
    let mut indices = Vec::new();
    let (least, most) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (mut i, end) = (clamped(start, least, most), clamped(end, least, most));
    while step > 0 && i < end || step < 0 && i > end {
        indices.push(i as usize);
        i = i.saturating_add(step);
    }
    if step == 0 {
        return None;
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn slices_count_from_both_ends() {
        assert_eq!(range(1, 4, 1, 5), Some(vec![1, 2, 3]));
        assert_eq!(range(0, i64::MAX, 2, 5), Some(vec![0, 2, 4]));
        assert_eq!(range(-1, i64::MIN, -2, 5), Some(vec![4, 2, 0]));
        assert_eq!(range(20, 0, -3, 5), Some(vec![4, 1]));
        assert_eq!(range(-2, -1, 1, 5), Some(vec![3]));
        assert_eq!(range(7, 9, 1, 5), Some(vec![]));
        assert_eq!(range(0, 5, 0, 5), None);
        assert_eq!(range(i64::MIN, i64::MAX, i64::MAX, 5), Some(vec![0]));
    }
}
