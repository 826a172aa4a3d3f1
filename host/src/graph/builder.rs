//! Builds a [`Graph`] node by node, keeping its rules, folding constants and dropping dead nodes.

use std::collections::BTreeMap;

use super::{Graph, GraphError, Node, Op, Port, Shape, Tensor, Value, ValueId, elements};
use crate::float;

/// How many elements folding may write in one graph (2 GiB).
const FOLD_BUDGET: usize = 1 << 29;

/// Builds a [`Graph`]. A [`ValueId`] it returns is good for this builder only.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    values: Vec<Value>,
    constants: BTreeMap<ValueId, Tensor>,
    inputs: Vec<Port>,
    nodes: Vec<Node>,
    /// Which node makes a value.
    producer: BTreeMap<ValueId, usize>,
    folded: usize,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input that the caller supplies.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<ValueId, GraphError> {
        let value = self.value(name, shape)?;
        self.inputs.push(Port { name: name.into(), value });
        Ok(value)
    }

    /// Adds a constant; refused when an element is not finite.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, GraphError> {
        if let Some(index) = tensor.data().iter().position(|x| !x.is_finite()) {
            return Err(GraphError::NonFinite { name: name.into(), index, value: tensor.data()[index] });
        }
        let value = self.value(name, tensor.shape().to_vec())?;
        self.constants.insert(value, tensor);
        Ok(value)
    }

    /// Adds a node named `name` whose result is named `result`. When all operands are constants the
    /// result is computed now and becomes a constant.
    pub fn node(
        &mut self,
        name: &str,
        result: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&id| self.shape(id)).collect();
        let shape = op.output_shape(&shapes).map_err(|detail| GraphError::Shape {
            node: name.into(),
            op: op.name(),
            detail,
        })?;
        let size = elements(result, &shape)?;
        if inputs.iter().all(|id| self.constants.contains_key(id)) {
            return self.fold(name, result, &op, inputs, shape, size);
        }
        self.check_constant_operands(name, &op, inputs)?;
        let output = self.value(result, shape)?;
        self.producer.insert(output, self.nodes.len());
        self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), output });
        Ok(output)
    }

    fn fold(
        &mut self,
        name: &str,
        result: &str,
        op: &Op,
        inputs: &[ValueId],
        shape: Shape,
        size: usize,
    ) -> Result<ValueId, GraphError> {
        self.folded = self.folded.saturating_add(size);
        // A product of two constants can be far larger than the file that holds them.
        if self.folded > FOLD_BUDGET || *op == Op::MatMul {
            return Err(GraphError::FoldTooLarge { node: name.into(), op: op.name() });
        }
        let operands: Vec<&Tensor> = inputs.iter().map(|id| &self.constants[id]).collect();
        let tensor = float::apply(op, &operands, shape);
        self.constant(result, tensor)
    }

    fn check_constant_operands(&self, name: &str, op: &Op, inputs: &[ValueId]) -> Result<(), GraphError> {
        let constant = |i: usize| self.constants.contains_key(&inputs[i]);
        let refuse = |which| Err(GraphError::NotConstant { node: name.into(), op: op.name(), which });
        match op {
            Op::Add | Op::Mul | Op::Div if constant(0) => refuse("the second operand, not the first,"),
            Op::LayerNorm { .. } | Op::RmsNorm { .. } | Op::Quantize { .. } | Op::Dequantize
                if !constant(1) =>
            {
                refuse("the scale")
            }
            Op::Quantize { .. } | Op::Dequantize if !constant(2) => refuse("the zero point"),
            Op::LayerNorm { .. } if !constant(2) => refuse("the bias"),
            _ => Ok(()),
        }
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.values[id.0].shape
    }

    /// The tensor behind a value that is a constant.
    pub fn constant_of(&self, id: ValueId) -> Option<&Tensor> {
        self.constants.get(&id)
    }

    /// The node that makes a value.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.producer.get(&id).map(|&n| &self.nodes[n])
    }

    fn value(&mut self, name: &str, shape: Shape) -> Result<ValueId, GraphError> {
        elements(name, &shape)?;
        self.values.push(Value { name: name.into(), shape });
        Ok(ValueId(self.values.len() - 1))
    }

    /// Finishes the graph with the given outputs; nodes and constants that no output needs go away.
    pub fn finish(mut self, outputs: &[(&str, ValueId)]) -> Result<Graph, GraphError> {
        if outputs.is_empty() {
            return Err(GraphError::NoOutputs);
        }
        let mut live = vec![false; self.values.len()];
        for &(name, id) in outputs {
            if self.constants.contains_key(&id) {
                return Err(GraphError::ConstantOutput { name: name.into() });
            }
            live[id.0] = true;
        }
        let mut kept = vec![false; self.nodes.len()];
        for (node, kept) in self.nodes.iter().zip(&mut kept).rev() {
            *kept = live[node.output.0];
            if *kept {
                node.inputs.iter().for_each(|i| live[i.0] = true);
            }
        }
        // Inputs stay even when unused: they are part of what the caller supplies.
        self.inputs.iter().for_each(|port| live[port.value.0] = true);

        let mut renamed = vec![ValueId(usize::MAX); live.len()];
        let mut values = Vec::new();
        for (old, value) in self.values.into_iter().enumerate() {
            if live[old] {
                renamed[old] = ValueId(values.len());
                values.push(value);
            }
        }
        let mut nodes = Vec::new();
        for (mut node, kept) in self.nodes.into_iter().zip(kept) {
            if kept {
                node.output = renamed[node.output.0];
                node.inputs.iter_mut().for_each(|i| *i = renamed[i.0]);
                nodes.push(node);
            }
        }
        if nodes.is_empty() {
            return Err(GraphError::NoNodes);
        }
        self.inputs.iter_mut().for_each(|port| port.value = renamed[port.value.0]);
        let constants = (self.constants.into_iter())
            .filter(|(id, _)| live[id.0])
            .map(|(id, tensor)| (renamed[id.0], tensor))
            .collect();
        let outputs =
            (outputs.iter()).map(|&(name, id)| Port { name: name.into(), value: renamed[id.0] }).collect();
        Ok(Graph { values, constants, inputs: self.inputs, outputs, nodes })
    }
}
