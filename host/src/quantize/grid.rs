//! QuantizeLinear and DequantizeLinear: a table from our integers to codes, and one from codes to our integers.
//!
//! Both are exact: an entry of the table is what the float executor computes for the number that its argument stands
//! for, rounded to the result's scale (codes have no fraction bits, so there nothing is rounded). Where scales differ
//! by channel, one table holds all distinct functions one after the other. Its argument is the operand plus a
//! constant of the channel, `2^bits` apart for different functions; the operand's proven bound is less than half of
//! that, so no operand reaches another channel's function.

use circlet_core::program::{Op, Requantize, Tensor};

use super::QuantizeError;
use super::activation::{Activation, Curve, Grid, bits_for};
use super::lower::{Lowering, unsupported};
use super::view::View;
use crate::graph::{self, Node, ValueId};

/// Most bits of a table's domain.
const MAX_BITS: u8 = 20;

impl Lowering<'_> {
    /// The function of one number that a node applies to all entries alike.
    pub(super) fn function(&self, node: &Node) -> Option<Activation> {
        let number = |i: usize| match self.graph.constant(node.inputs[i])?.data() {
            [one] => Some(*one),
            _ => None,
        };
        match node.op {
            graph::Op::Quantize { .. } | graph::Op::Dequantize => {
                Some(activation(&node.op, number(1)?, number(2)?))
            }
            _ => Activation::of(&node.op),
        }
    }

    /// A function whose result is `value`, together with the reading of codes that may follow it: the function, its
    /// result, and the nodes that it then covers.
    pub(super) fn with_snap(
        &self,
        function: Option<Activation>,
        value: ValueId,
    ) -> (Activation, ValueId, Vec<usize>) {
        let function = function.unwrap_or(Activation::Identity);
        let alone = (function, value, Vec::new());
        let (Activation::Quantize(grid), Some(index)) = (function, self.only_consumer(value)) else {
            return alone;
        };
        let node = &self.graph.nodes()[index];
        match self.function(node) {
            Some(Activation::Dequantize(Grid { scale, zero, .. }))
                if scale.to_bits() == grid.scale.to_bits() && zero.to_bits() == grid.zero.to_bits() =>
            {
                (Activation::Snap(grid), node.output, vec![index])
            }
            _ => alone,
        }
    }

    /// Codes with a scale or zero point for each channel or entry.
    pub(super) fn by_channel(&mut self, node: &Node) -> Result<(), QuantizeError> {
        let shape = self.graph.shape(node.inputs[0]);
        let cols = shape.last().copied().unwrap_or(1);
        let channels = |id| self.channel_constant(id, shape, cols);
        let both = (channels(node.inputs[1]), channels(node.inputs[2]));
        let (parameters, layout) = if let (Some(scale), Some(zero)) = both {
            ((scale, zero), None)
        } else {
            let all = |id| self.repeated(id, shape).unwrap_or_default();
            let parameters = (all(node.inputs[1]), all(node.inputs[2]));
            let count = parameters.0.len() as u32;
            (parameters, Some((1, count)))
        };
        let mut functions: Vec<Activation> = Vec::new();
        let mut index = Vec::new();
        for (&scale, &zero) in parameters.0.iter().zip(&parameters.1) {
            let own = activation(&node.op, scale as f32, zero as f32);
            let known = functions.iter().position(|f| *f == own);
            index.push(known.unwrap_or(functions.len()));
            if known.is_none() {
                functions.push(own);
            }
        }

        let name = self.name(node.inputs[0]);
        let x = match layout {
            None => self.operand(node.inputs[0]),
            Some(extents) => self.realize(self.view(node.inputs[0]), extents, &name),
        };
        let Tensor { rows, cols, bound, fraction_bits, .. } = *self.assembly.tensor(x);
        let (low_bits, high_bits) =
            (bits_for(bound), functions.len().next_power_of_two().trailing_zeros() as u8);
        let bits = low_bits + high_bits;
        if bits > MAX_BITS {
            return Err(unsupported(
                node,
                format!(
                    "has {} different scales for integers of {low_bits} bits; at most {} can be proven, so use one \
                     scale for more channels",
                    functions.len(),
                    1u32 << MAX_BITS.saturating_sub(low_bits)
                ),
            ));
        }
        let (bound, to) = self.scale(node.output)?;
        let curve = |&activation: &Activation| Curve { activation, from: fraction_bits.into(), to, bound };
        let mut values: Vec<i32> =
            functions.iter().flat_map(|function| curve(function).values(low_bits)).collect();
        // What no channel uses is zero.
        values.resize(1 << bits, 0);
        let first = (1i32 << (low_bits - 1)) - (1 << (bits - 1));
        let centre = |&i: &usize| first + ((i as i32) << low_bits);
        let offset = index.iter().map(centre).collect();
        let name = self.name(node.output);
        let kind = curve(&functions[0]).name();
        let (table, bound) =
            self.assembly.table_of(&format!("{kind}, {} functions", functions.len()), bits, values);
        let scale = self.assembly.constant(&format!("{name}.one"), index.len(), vec![1; index.len()]);
        let offset = self.assembly.constant(&format!("{name}.function"), index.len(), offset);
        let y = self.assembly.add_tensor(Tensor { name, rows, cols, bound, fraction_bits: to as i8 });
        self.assembly.push(Op::Affine { x, scale, offset, requantize: Requantize { shift: 0, table }, y });
        self.define(node.output, View::plain(y, self.graph.shape(node.output)));
        Ok(())
    }
}

fn activation(op: &graph::Op, scale: f32, zero: f32) -> Activation {
    match *op {
        graph::Op::Quantize { low, high } => Activation::Quantize(Grid { scale, zero, low, high }),
        _ => Activation::Dequantize(Grid::unbounded(scale, zero)),
    }
}
