//! The pass over the graph: what becomes one op, and which tensor stands for which value.

use circlet_core::program::{self, Op, Requantize, Rows, Source, TensorId};

use super::activation::{Activation, Curve};
use super::assembly::{Accumulator, Assembly};
use super::calibrate::{Limit, MAX_FRACTION_BITS, Ranges, fraction_bits, limits};
use super::view::{View, matrix};
use super::{Options, QuantizeError, Quantized};
use crate::float::elementwise;
use crate::graph::{self, Graph, Node, ValueId};

/// Most rows that one selection takes; the key lists them.
const MAX_SELECTED: usize = 1 << 16;

/// Lowers a whole graph.
pub fn lower(graph: &Graph, ranges: &Ranges, options: Options) -> Result<Quantized, QuantizeError> {
    let mut lowering = Lowering::new(graph, ranges, options);
    for port in graph.inputs() {
        lowering.input(&port.name, port.value)?;
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        if !lowering.absorbed[index] {
            lowering.node(index, node)?;
        }
    }
    let outputs = graph.outputs().iter().map(|port| lowering.output(port.value)).collect();
    Ok(lowering.assembly.finish(outputs))
}

pub(super) struct Lowering<'g> {
    pub(super) graph: &'g Graph,
    pub(super) options: Options,
    pub(super) assembly: Assembly,
    ranges: &'g Ranges,
    limits: Vec<Limit>,
    /// Nodes that read each value, once for each operand.
    consumers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    values: Vec<Option<View>>,
    absorbed: Vec<bool>,
}

/// What follows a sum and is computed with it: a scale and an offset per channel, then an activation.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// One entry per channel.
    pub(super) scale: Vec<f64>,
    /// One entry per channel.
    pub(super) offset: Option<Vec<f64>>,
    /// The value that the activation is applied to.
    pub(super) before: ValueId,
    pub(super) activation: Activation,
    /// The value that results.
    pub(super) out: ValueId,
    pub(super) nodes: Vec<usize>,
}

pub(super) fn unsupported(node: &Node, reason: impl Into<String>) -> QuantizeError {
    QuantizeError::Unsupported { node: node.name.clone(), op: node.op.name(), reason: reason.into() }
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, ranges: &'g Ranges, options: Options) -> Self {
        let count = graph.values().len();
        let mut consumers = vec![Vec::new(); count];
        for (index, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|id| consumers[id.0].push(index));
        }
        let mut is_output = vec![false; count];
        graph.outputs().iter().for_each(|port| is_output[port.value.0] = true);
        Self {
            graph,
            options,
            assembly: Assembly::new(options.table_bits),
            ranges,
            limits: limits(graph, options.activation_bound()),
            consumers,
            is_output,
            values: vec![None; count],
            absorbed: vec![false; graph.nodes().len()],
        }
    }

    /// Declares an input in the layout that its consumers want, if they agree.
    fn input(&mut self, name: &str, value: ValueId) -> Result<(), QuantizeError> {
        let mut wanted = Vec::new();
        self.wanted_layouts(value, &mut wanted);
        let shape = self.graph.shape(value);
        let (rows, cols) = match wanted[..] {
            [layout] => layout,
            _ => matrix(shape),
        };
        let (bound, bits) = self.scale(value)?;
        let tensor = program::Tensor { name: name.into(), rows, cols, bound, fraction_bits: bits as i8 };
        let id = self.assembly.add_input(tensor);
        self.values[value.0] = Some(View::plain(id, shape));
        Ok(())
    }

    fn wanted_layouts(&self, value: ValueId, wanted: &mut Vec<(u32, u32)>) {
        for &index in &self.consumers[value.0] {
            let node = &self.graph.nodes()[index];
            match node.op {
                graph::Op::Reshape { .. } => self.wanted_layouts(node.output, wanted),
                graph::Op::Transpose { .. } => {}
                _ => {
                    let layout = matrix(self.graph.shape(value));
                    if !wanted.contains(&layout) {
                        wanted.push(layout);
                    }
                }
            }
        }
    }

    fn node(&mut self, index: usize, node: &'g Node) -> Result<(), QuantizeError> {
        let x = node.inputs[0];
        match &node.op {
            graph::Op::Reshape { .. } => {
                self.values[node.output.0] = self.values[x.0].clone();
                Ok(())
            }
            graph::Op::Transpose { perm } => {
                self.transpose(x, perm, node.output);
                Ok(())
            }
            graph::Op::MatMul => self.matmul(index, node),
            graph::Op::Add | graph::Op::Mul => {
                self.check_broadcast(node)?;
                match self.graph.constant(node.inputs[1]) {
                    Some(_) => self.affine(index, node),
                    None if node.op == graph::Op::Add => self.add(index, node),
                    None => self.mul(index, node),
                }
            }
            graph::Op::LayerNorm { epsilon } => self.layer_norm(index, node, *epsilon),
            graph::Op::Select { axis, indices } => self.select(node, *axis, indices),
            _ if self.function(node).is_some() => self.activation(node),
            graph::Op::Quantize { .. } | graph::Op::Dequantize => self.by_channel(node),
            _ => Err(unsupported(
                node,
                "runs in floats, but the quantizer has no integer form for it yet; replace or remove it",
            )),
        }
    }

    /// Sums and products repeat a constant over their other operand, nothing else.
    fn check_broadcast(&self, node: &Node) -> Result<(), QuantizeError> {
        let (x, y) = (self.graph.shape(node.inputs[0]), self.graph.shape(node.inputs[1]));
        let constant = self.graph.constant(node.inputs[1]).is_some();
        if x == y || (constant && self.graph.shape(node.output) == x) {
            return Ok(());
        }
        Err(unsupported(
            node,
            format!(
                "combines {x:?} with {y:?} by repeating elements, for which the quantizer has no integer form \
                 yet; only a constant may repeat"
            ),
        ))
    }

    fn transpose(&mut self, x: ValueId, perm: &[usize], out: ValueId) {
        let shape = self.graph.shape(x);
        let view = self.view(x).permute(shape, perm).or_else(|| {
            let base = self.operand(x);
            View::plain(base, shape).permute(shape, perm)
        });
        self.values[out.0] = view;
    }

    /// An activation function on its own.
    fn activation(&mut self, node: &Node) -> Result<(), QuantizeError> {
        let (activation, out, nodes) = self.with_snap(self.function(node), node.output);
        let x = self.operand(node.inputs[0]);
        let from = self.assembly.tensor(x).fraction_bits.into();
        let (bound, mut to) = self.scale(out)?;
        if activation.is_linear() {
            to = self.limits[out.0].fraction_bits.min(from);
        }
        let name = self.name(out);
        let y = self.assembly.map(x, &Curve { activation, from, to, bound }, &name);
        self.define(out, View::plain(y, self.graph.shape(out)));
        for index in nodes {
            self.absorbed[index] = true;
        }
        Ok(())
    }

    /// The places of one dimension as rows of a matrix.
    fn select(&mut self, node: &Node, axis: usize, indices: &[usize]) -> Result<(), QuantizeError> {
        let (x, shape) = (node.inputs[0], self.graph.shape(node.inputs[0]));
        let (outer, inner) = (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product());
        let inner: usize = inner;
        if outer * indices.len() > MAX_SELECTED {
            return Err(unsupported(
                node,
                format!(
                    "takes more than {MAX_SELECTED} parts of its operand; select along an earlier dimension"
                ),
            ));
        }
        let extents = ((outer * shape[axis]) as u32, inner as u32);
        let name = self.name(x);
        let source = self.realize(self.view(x), extents, &name);
        let rows = (0..outer).flat_map(|block| indices.iter().map(move |i| (block * shape[axis] + i) as u32));
        let rows: Vec<u32> = rows.collect();
        let tensor = self.assembly.tensor(source).clone();
        let y = program::Tensor { name: self.name(node.output), rows: rows.len() as u32, ..tensor };
        let y = self.assembly.add_tensor(y);
        self.assembly.push(Op::Gather { source: Source::Tensor(source), rows: Rows::Given(rows), y });
        self.define(node.output, View::plain(y, self.graph.shape(node.output)));
        Ok(())
    }

    fn output(&mut self, value: ValueId) -> TensorId {
        let view = self.view(value);
        // A public tensor is a list of numbers: its layout does not matter.
        if view.is_plain() { view.base } else { self.operand(value) }
    }

    /// The node that alone reads a value, if it is no output.
    pub(super) fn only_consumer(&self, value: ValueId) -> Option<usize> {
        match (&self.consumers[value.0][..], self.is_output[value.0]) {
            (&[index], false) => Some(index),
            _ => None,
        }
    }

    pub(super) fn name(&self, value: ValueId) -> String {
        self.graph.value(value).name.clone()
    }

    /// How a value that is no constant is represented. Nodes come in topological order.
    pub(super) fn view(&self, value: ValueId) -> View {
        self.values[value.0].clone().unwrap_or(View::plain(TensorId(0), &[]))
    }

    pub(super) fn define(&mut self, value: ValueId, view: View) {
        self.values[value.0] = Some(view);
    }

    /// The tensor of a value as the matrix that its shape means.
    pub(super) fn operand(&mut self, value: ValueId) -> TensorId {
        let shape = self.graph.shape(value);
        let id = self.realize(self.view(value), matrix(shape), &self.name(value));
        self.values[value.0] = Some(View::plain(id, shape));
        id
    }

    /// A tensor that holds a view's entries as a matrix.
    pub(super) fn realize(&mut self, mut view: View, extents: (u32, u32), name: &str) -> TensorId {
        let layout = |this: &Self, id| {
            let tensor: &program::Tensor = this.assembly.tensor(id);
            (tensor.rows, tensor.cols)
        };
        let own = layout(self, view.base);
        if view.is_plain() {
            let dims = vec![own.0, own.1];
            let same = own == extents;
            return if same { view.base } else { self.rewire(view.base, dims, vec![0, 1], extents, name) };
        }
        if view.align(own).is_none() {
            let cols = view.sizes.last().copied().unwrap_or(1) as u32;
            let rows = (u64::from(own.0) * u64::from(own.1) / u64::from(cols)) as u32;
            view.base = self.rewire(view.base, vec![own.0, own.1], vec![0, 1], (rows, cols), name);
        }
        let dims = view.sizes.iter().map(|&d| d as u32).collect();
        let permutation = view.order.iter().map(|&a| a as u8).collect();
        self.rewire(view.base, dims, permutation, extents, name)
    }

    fn rewire(
        &mut self,
        x: TensorId,
        dims: Vec<u32>,
        permutation: Vec<u8>,
        (rows, cols): (u32, u32),
        name: &str,
    ) -> TensorId {
        let source = self.assembly.tensor(x).clone();
        let y = self.assembly.add_tensor(program::Tensor { name: name.into(), rows, cols, ..source });
        self.assembly.push(Op::Rewire { x, dims, permutation, y });
        y
    }

    /// The bound and the fraction bits of a value.
    pub(super) fn scale(&self, value: ValueId) -> Result<(i64, i32), QuantizeError> {
        let Limit { bound, fraction_bits: most } = self.limits[value.0];
        let max = self.ranges.of(value);
        let bits = fraction_bits(self.options.margin * max, bound, MAX_FRACTION_BITS)
            .ok_or_else(|| QuantizeError::Range { name: self.name(value), max })?;
        Ok((bound, bits.min(most)))
    }

    /// The table that rounds the sum before a tail, with the scales it should have.
    pub(super) fn curve(&self, tail: &Tail) -> Result<Curve, QuantizeError> {
        let (bound, to) = self.scale(tail.out)?;
        // Twice the calibrated range fits the domain of the table.
        let domain = (1i64 << (self.options.table_bits - 1)) - 1;
        let max = self.ranges.of(tail.before);
        let roomy = fraction_bits(2.0 * max, domain, MAX_FRACTION_BITS)
            .ok_or_else(|| QuantizeError::Range { name: self.name(tail.before), max })?;
        let from = match tail.activation {
            Activation::Identity => to,
            Activation::Relu => to.min(roomy),
            _ => roomy,
        };
        Ok(Curve { activation: tail.activation, from, to, bound })
    }

    /// Declares the result of an op that rounds a sum.
    pub(super) fn finish(
        &mut self,
        tail: &Tail,
        accumulator: Accumulator,
        extents: (u32, u32),
    ) -> Result<(Requantize, TensorId), QuantizeError> {
        let curve = self.curve(tail)?;
        let (requantize, y) = self.assembly.round(accumulator, curve, &self.name(tail.out), extents);
        self.define(tail.out, View::plain(y, self.graph.shape(tail.out)));
        tail.nodes.iter().for_each(|&index| self.absorbed[index] = true);
        Ok((requantize, y))
    }

    /// What follows node `index` and nothing else reads. `channels` is the number of columns, where a scale
    /// and an offset per channel can be absorbed.
    pub(super) fn tail(&self, index: usize, channels: Option<usize>) -> Tail {
        let start = self.graph.nodes()[index].output;
        let scale = vec![1.0; channels.unwrap_or(0)];
        let activation = Activation::Identity;
        let mut tail = Tail { scale, offset: None, before: start, activation, out: start, nodes: Vec::new() };
        while let Some(next) = self.only_consumer(tail.out) {
            let node = &self.graph.nodes()[next];
            if let function @ Some(_) = self.function(node) {
                let (activation, out, nodes) = self.with_snap(function, node.output);
                tail.activation = activation;
                tail.before = tail.out;
                tail.out = out;
                tail.nodes.push(next);
                tail.nodes.extend(nodes);
                return tail;
            }
            let shape = self.graph.shape(tail.out);
            let constant = channels
                .filter(|_| self.graph.shape(node.output) == shape)
                .and_then(|n| self.channel_constant(*node.inputs.get(1)?, shape, n));
            match constant {
                Some(constant) if tail.absorb(&node.op, &constant) => {}
                _ => break,
            }
            tail.out = node.output;
            tail.nodes.push(next);
        }
        tail.before = tail.out;
        tail
    }

    /// A constant that repeats over `shape` as one number for each of `cols` channels, the last dimension of it.
    pub(super) fn channel_constant(&self, id: ValueId, shape: &[usize], cols: usize) -> Option<Vec<f64>> {
        let constant = self.graph.constant(id)?;
        match constant.data() {
            [scalar] => return Some(vec![f64::from(*scalar); cols]),
            data if constant.shape() == [cols] && shape.last() == Some(&cols) => {
                return Some(data.iter().map(|&x| x.into()).collect());
            }
            _ if shape.last() != Some(&cols) => return None,
            _ => {}
        }
        let data = self.repeated(id, shape)?;
        let first = data.get(..cols)?;
        data.chunks(cols).all(|row| row == first).then(|| first.to_vec())
    }

    /// A constant with one number for each entry of a tensor of this shape, over which it repeats.
    pub(super) fn repeated(&self, id: ValueId, shape: &[usize]) -> Option<Vec<f64>> {
        let constant = self.graph.constant(id)?;
        let places = elementwise::places(constant.shape(), shape);
        Some(places.into_iter().map(|place| f64::from(constant.data()[place])).collect())
    }
}

impl Tail {
    /// Composes a product or sum with a constant per channel; false if `op` is neither.
    pub(super) fn absorb(&mut self, op: &graph::Op, constant: &[f64]) -> bool {
        match op {
            graph::Op::Mul => {
                for values in [Some(&mut self.scale), self.offset.as_mut()].into_iter().flatten() {
                    values.iter_mut().zip(constant).for_each(|(value, c)| *value *= c);
                }
            }
            graph::Op::Add => {
                let offset = self.offset.get_or_insert_with(|| vec![0.0; constant.len()]);
                offset.iter_mut().zip(constant).for_each(|(value, c)| *value += c);
            }
            _ => return false,
        }
        true
    }
}
