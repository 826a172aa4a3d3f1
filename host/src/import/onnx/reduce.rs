//! Softmax and reductions, over any dimensions.

use super::super::ImportError;
use super::lower::{Lowering, check};
use super::node::NodeRef;
use super::shapes::axis_set;
use crate::graph::{Op, Reduction, Shape, ValueId};

impl<'m> Lowering<'_, 'm> {
    pub fn softmax(&mut self, node: NodeRef<'m>) -> Result<ValueId, ImportError> {
        check(node, 1, &["axis"])?;
        let x = self.float(node, 0)?;
        let axis = self.axis(node, x, -1)?;
        let (x, swap) = self.with_last(node, x, axis)?;
        match swap {
            None => self.emit(node, Op::Softmax, &[x]),
            Some(perm) => {
                let y = self.emit_part(node, "softmax", Op::Softmax, &[x])?;
                self.emit(node, Op::Transpose { perm }, &[y])
            }
        }
    }

    /// The attribute `axis` as a dimension of `x`.
    pub fn axis(&self, node: NodeRef, x: ValueId, default: i64) -> Result<usize, ImportError> {
        let axis = node.int("axis")?.unwrap_or(default);
        Ok(axis_set(node, &[axis], self.builder.shape(x).len())?[0])
    }

    /// The value with a dimension and the last one exchanged, and the permutation that does it.
    pub fn with_last(
        &mut self,
        node: NodeRef,
        x: ValueId,
        axis: usize,
    ) -> Result<(ValueId, Option<Vec<usize>>), ImportError> {
        let last = self.builder.shape(x).len() - 1;
        if axis == last {
            return Ok((x, None));
        }
        let mut perm: Vec<usize> = (0..=last).collect();
        perm.swap(axis, last);
        let x = self.emit_part(node, "swapped", Op::Transpose { perm: perm.clone() }, &[x])?;
        Ok((x, Some(perm)))
    }

    pub fn reduction(&mut self, node: NodeRef<'m>, reduction: Reduction) -> Result<ValueId, ImportError> {
        check(node, 2, &["axes", "keepdims", "noop_with_empty_axes"])?;
        let x = self.float(node, 0)?;
        let shape = self.builder.shape(x).to_vec();
        let rank = shape.len();
        let given = match self.ints(node, 1)? {
            Some(ints) => Some(ints.data.clone()),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        let axes = match given.filter(|axes| !axes.is_empty()) {
            Some(axes) => axis_set(node, &axes, rank)?,
            None if node.int("noop_with_empty_axes")?.unwrap_or(0) != 0 => return Ok(x),
            None => (0..rank).collect(),
        };
        let keep = node.int("keepdims")?.unwrap_or(1) != 0;
        if keep && axes == [rank.wrapping_sub(1)] {
            return self.emit(node, Op::Reduce(reduction), &[x]);
        }
        // The reduced dimensions last and as one.
        let kept: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
        let mut perm = kept.clone();
        perm.extend((0..rank).filter(|i| axes.contains(i)));
        let x =
            if perm.is_sorted() { x } else { self.emit_part(node, "last", Op::Transpose { perm }, &[x])? };
        let mut joined: Shape = kept.iter().map(|&i| shape[i]).collect();
        joined.push(axes.iter().map(|&i| shape[i]).product());
        let x = self.emit_part(node, "joined", Op::Reshape { shape: joined }, &[x])?;
        let x = self.emit_part(node, "reduced", Op::Reduce(reduction), &[x])?;
        let size = |i: usize| if axes.contains(&i) { keep.then_some(1) } else { Some(shape[i]) };
        let result: Shape = (0..rank).filter_map(size).collect();
        self.emit(node, Op::Reshape { shape: result }, &[x])
    }
}
