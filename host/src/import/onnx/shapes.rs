//! Nodes that only rename, regroup or permute elements.

use super::super::ImportError;
use super::constants::Ints;
use super::lower::{Binding, Lowering, check};
use super::node::NodeRef;
use crate::graph::{MAX_RANK, Op, Shape, ValueId};

impl<'m> Lowering<'_, 'm> {
    /// The value under another shape; nothing is emitted when it has that shape already.
    pub fn reshaped(&mut self, node: NodeRef<'m>, x: ValueId, shape: Shape) -> Result<ValueId, ImportError> {
        if self.builder.shape(x) == shape {
            return Ok(x);
        }
        if self.builder.constant_of(x).is_some() {
            return self.emit_part(node, "reshaped", Op::Reshape { shape }, &[x]);
        }
        self.emit(node, Op::Reshape { shape }, &[x])
    }

    pub fn reshape(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &["allowzero"])?;
        let (x, kind) = self.any(node, 0)?;
        let request = self
            .ints(node, 1)?
            .ok_or_else(|| node.refuse("has no shape; export the model again with opset 13 or newer"))?;
        let shape = requested(node, self.builder.shape(x), &request)?;
        Ok(Binding::of(self.reshaped(node, x, shape)?, kind))
    }

    pub fn flatten(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &["axis"])?;
        let (x, kind) = self.any(node, 0)?;
        let shape = self.builder.shape(x);
        let rank = shape.len() as i64;
        let axis = node.int("axis")?.unwrap_or(1);
        let split = if axis < 0 { axis.saturating_add(rank) } else { axis };
        if !(0..=rank).contains(&split) {
            return Err(node.refuse(format!("has no axis {axis} in shape {shape:?}; correct the axis")));
        }
        let (rows, columns) = shape.split_at(split as usize);
        let flat = vec![rows.iter().product(), columns.iter().product()];
        Ok(Binding::of(self.reshaped(node, x, flat)?, kind))
    }

    pub fn squeeze(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &[])?;
        let (x, kind) = self.any(node, 0)?;
        let shape = self.builder.shape(x).to_vec();
        let axes = self.ints(node, 1)?;
        let shape = squeezed(node, &shape, axes.as_deref())?;
        Ok(Binding::of(self.reshaped(node, x, shape)?, kind))
    }

    pub fn unsqueeze(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 2, &[])?;
        let (x, kind) = self.any(node, 0)?;
        let shape = self.builder.shape(x).to_vec();
        let axes = self.ints(node, 1)?.ok_or_else(|| node.refuse("has no axes; export the model again"))?;
        let shape = unsqueezed(node, &shape, &axes)?;
        Ok(Binding::of(self.reshaped(node, x, shape)?, kind))
    }

    pub fn transpose(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &["perm"])?;
        let (x, kind) = self.any(node, 0)?;
        let rank = self.builder.shape(x).len();
        let perm: Vec<usize> = match node.ints("perm") {
            None => (0..rank).rev().collect(),
            // What is negative becomes too large, which shape inference refuses.
            Some(perm) => perm.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect(),
        };
        if perm.len() == rank && perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(Binding::of(x, kind));
        }
        Ok(Binding::of(self.emit(node, Op::Transpose { perm }, &[x])?, kind))
    }
}

/// The shape that Reshape asks for: a zero copies the operand's dimension, a -1 takes what is left.
pub(super) fn requested(node: NodeRef, from: &[usize], request: &Ints) -> Result<Shape, ImportError> {
    let refuse = || {
        node.refuse(format!(
            "cannot reshape {from:?} to {:?}; if the file was exported for one batch size, export it with a \
             dynamic batch (-1 in the shape)",
            request.data
        ))
    };
    let keep_zero = node.int("allowzero")?.unwrap_or(0) != 0;
    let mut shape = Vec::with_capacity(request.data.len());
    let mut open = None;
    for (axis, &d) in request.data.iter().enumerate() {
        shape.push(match d {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !keep_zero => *from.get(axis).ok_or_else(refuse)?,
            d => usize::try_from(d).ok().filter(|&d| d > 0).ok_or_else(refuse)?,
        });
    }
    let known = shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d)).ok_or_else(refuse)?;
    let total: usize = from.iter().product();
    if known == 0 || !total.is_multiple_of(known) || (open.is_none() && total != known) {
        return Err(refuse());
    }
    if let Some(axis) = open {
        shape[axis] = total / known;
    }
    Ok(shape)
}

/// A shape without some of its dimensions of size 1, or without all of them.
pub(super) fn squeezed(node: NodeRef, shape: &[usize], axes: Option<&Ints>) -> Result<Shape, ImportError> {
    let axes = match axes {
        Some(axes) => axis_set(node, &axes.data, shape.len())?,
        None => (0..shape.len()).filter(|&i| shape[i] == 1).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis] != 1) {
        return Err(node.refuse(format!(
            "squeezes dimension {axis} of {shape:?}, which is not 1; correct the axes or the batch size"
        )));
    }
    Ok((0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect())
}

/// A shape with more dimensions of size 1.
pub(super) fn unsqueezed(node: NodeRef, shape: &[usize], axes: &Ints) -> Result<Shape, ImportError> {
    let rank = shape.len().saturating_add(axes.data.len());
    let axes = axis_set(node, &axes.data, rank)?;
    let mut old = shape.iter().copied();
    Ok((0..rank).map(|i| if axes.contains(&i) { 1 } else { old.next().unwrap_or(1) }).collect())
}

/// Axes of a tensor with `rank` dimensions; negative ones count from the end.
pub(super) fn axis_set(node: NodeRef, axes: &[i64], rank: usize) -> Result<Vec<usize>, ImportError> {
    if rank > MAX_RANK {
        return Err(node.refuse(format!("gives a tensor of {rank} dimensions; use at most {MAX_RANK}")));
    }
    let mut set = Vec::with_capacity(axes.len().min(rank));
    for &axis in axes {
        let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        match usize::try_from(from_start) {
            Ok(i) if i < rank && !set.contains(&i) => set.push(i),
            _ => {
                return Err(node.refuse(format!(
                    "axis {axis} is repeated or outside the {rank} dimensions; correct the axes"
                )));
            }
        }
    }
    Ok(set)
}
