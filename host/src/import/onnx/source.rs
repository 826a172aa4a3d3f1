//! The file's graph as names: who defines what, which nodes the outputs need, in which order.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{GraphProto, TensorProto};

use super::super::ImportError;
use super::node::{NodeRef, is_standard};

/// Operators that lowering knows.
pub(super) const SUPPORTED: &str = "Add, And, ArgMax, Attention, Cast, Clip, Concat, Constant, ConstantOfShape, DequantizeLinear, Div, \
     Dropout, DynamicQuantizeLinear, Equal, Erf, Exp, Expand, Flatten, Gather, GatherND, Gelu, Gemm, \
     Greater, GreaterOrEqual, Identity, IsNaN, LayerNormalization, Less, LessOrEqual, MatMul, \
     MatMulInteger, Max, Min, Mul, Not, Or, Pow, QLinearMatMul, QuantizeLinear, RMSNormalization, Range, \
     Reciprocal, ReduceMax, ReduceMean, ReduceSum, Relu, Reshape, RotaryEmbedding, Shape, Sigmoid, \
     Slice, Softmax, Split, Sqrt, Squeeze, Sub, Swish, Tanh, Transpose, Unsqueeze, Where";
const OPERATORS: [&str; 61] = [
    "Add",
    "And",
    "ArgMax",
    "Attention",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsNaN",
    "LayerNormalization",
    "Less",
    "LessOrEqual",
    "MatMul",
    "MatMulInteger",
    "Max",
    "Min",
    "Mul",
    "Not",
    "Or",
    "Pow",
    "QLinearMatMul",
    "QuantizeLinear",
    "RMSNormalization",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "RotaryEmbedding",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Definition<'m> {
    Input,
    Initializer(&'m TensorProto),
    /// A node's result, by the node's index.
    Node(usize),
}

/// The names of a graph, checked, and its live nodes in topological order.
pub(super) struct Source<'m> {
    graph: &'m GraphProto,
    definitions: HashMap<&'m str, Definition<'m>>,
    outputs: Vec<&'m str>,
    order: Vec<usize>,
}

impl<'m> Source<'m> {
    /// Checks that every name is defined once and that nothing depends on itself.
    /// Of the outputs only those are kept that `wanted` names, if anything.
    pub fn new(graph: &'m GraphProto, wanted: Option<&[String]>) -> Result<Self, ImportError> {
        let mut source = Self { graph, definitions: HashMap::new(), outputs: Vec::new(), order: Vec::new() };
        source.define_all()?;
        for (i, info) in graph.output.iter().enumerate() {
            let name = named(info.name.as_deref(), || format!("output {i}"))?;
            if wanted.is_none_or(|wanted| wanted.iter().any(|w| w == name)) {
                source.outputs.push(name);
            }
        }
        if let Some(name) = wanted.unwrap_or_default().iter().find(|w| !source.outputs.contains(&w.as_str()))
        {
            return Err(ImportError::UnknownTensor {
                reader: "the list of outputs".into(),
                name: name.clone(),
            });
        }
        source.order = source.sort()?;
        Ok(source)
    }

    pub fn node(&self, index: usize) -> NodeRef<'m> {
        NodeRef { proto: &self.graph.node[index], index }
    }

    /// The nodes that the outputs need, each after those it reads from.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The names of the outputs.
    pub fn outputs(&self) -> &[&'m str] {
        &self.outputs
    }

    pub fn initializer(&self, name: &str) -> Option<&'m TensorProto> {
        match self.definitions.get(name) {
            Some(Definition::Initializer(proto)) => Some(proto),
            _ => None,
        }
    }

    /// The node behind a name.
    pub fn producer(&self, name: &str) -> Option<NodeRef<'m>> {
        match self.definitions.get(name) {
            Some(Definition::Node(index)) => Some(self.node(*index)),
            _ => None,
        }
    }

    /// Refuses operators that lowering does not know, all of them at once.
    pub fn check_operators(&self) -> Result<(), ImportError> {
        let mut live = self.order.clone();
        live.sort_unstable();
        let unknown = |node: &NodeRef| {
            !is_standard(node.proto.domain.as_deref()) || !OPERATORS.contains(&node.op_type())
        };
        let unknown: Vec<NodeRef> = live.iter().map(|&i| self.node(i)).filter(unknown).collect();
        let Some(first) = unknown.first() else { return Ok(()) };
        let mut seen = HashSet::new();
        let all = unknown.iter().map(|node| node.op()).filter(|op| seen.insert(op.clone())).collect();
        let (node, op) = (first.label(), first.op());
        Err(ImportError::UnsupportedOps { node, op, all, supported: SUPPORTED })
    }

    fn define(&mut self, name: &'m str, definition: Definition<'m>) -> Result<(), ImportError> {
        match self.definitions.insert(name, definition) {
            None => Ok(()),
            Some(_) => Err(ImportError::DuplicateTensor { name: name.into() }),
        }
    }

    fn define_all(&mut self) -> Result<(), ImportError> {
        let graph = self.graph;
        for (i, proto) in graph.initializer.iter().enumerate() {
            let name = named(proto.name.as_deref(), || format!("initializer {i}"))?;
            self.define(name, Definition::Initializer(proto))?;
        }
        for (i, info) in graph.input.iter().enumerate() {
            let name = named(info.name.as_deref(), || format!("input {i}"))?;
            if self.initializer(name).is_none() {
                self.define(name, Definition::Input)?;
            }
        }
        for (index, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                self.define(name, Definition::Node(index))?;
            }
        }
        Ok(())
    }

    /// The node that must run before a reader of `name`.
    fn dependency(&self, name: &str, reader: impl Fn() -> String) -> Result<Option<usize>, ImportError> {
        match self.definitions.get(name) {
            None => Err(ImportError::UnknownTensor { reader: reader(), name: name.into() }),
            Some(Definition::Node(index)) => Ok(Some(*index)),
            Some(_) => Ok(None),
        }
    }

    /// Depth first from the outputs, then from all other nodes for the checks alone.
    fn sort(&self) -> Result<Vec<usize>, ImportError> {
        let mut marks = vec![Mark::New; self.graph.node.len()];
        let mut done = Vec::new();
        for name in &self.outputs {
            if let Some(root) = self.dependency(name, || format!("output {name:?}"))? {
                self.visit(root, &mut marks, &mut done)?;
            }
        }
        let live = done.len();
        for root in 0..marks.len() {
            self.visit(root, &mut marks, &mut done)?;
        }
        done.truncate(live);

        // Keep the order of the file when it is sound, as the format demands.
        let mut in_file_order = done.clone();
        in_file_order.sort_unstable();
        Ok(if self.is_topological(&in_file_order)? { in_file_order } else { done })
    }

    fn visit(&self, root: usize, marks: &mut [Mark], done: &mut Vec<usize>) -> Result<(), ImportError> {
        if marks[root] != Mark::New {
            return Ok(());
        }
        marks[root] = Mark::Open;
        let mut stack = vec![(root, 0)];
        while let Some((index, next)) = stack.last_mut() {
            let node = self.node(*index);
            if *next == node.proto.input.len() {
                marks[*index] = Mark::Done;
                done.push(*index);
                stack.pop();
                continue;
            }
            *next += 1;
            let Some(name) = node.input(*next - 1) else { continue };
            let Some(child) = self.dependency(name, || format!("node {:?}", node.label()))? else { continue };
            match marks[child] {
                Mark::Done => {}
                Mark::Open => return Err(ImportError::Cycle { node: self.node(child).label() }),
                Mark::New => {
                    marks[child] = Mark::Open;
                    stack.push((child, 0));
                }
            }
        }
        Ok(())
    }

    fn is_topological(&self, order: &[usize]) -> Result<bool, ImportError> {
        let mut ready = vec![false; self.graph.node.len()];
        for &index in order {
            let node = self.node(index);
            for name in node.proto.input.iter().filter(|name| !name.is_empty()) {
                if self.dependency(name, || node.label())?.is_some_and(|child| !ready[child]) {
                    return Ok(false);
                }
            }
            ready[index] = true;
        }
        Ok(true)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

fn named(name: Option<&str>, what: impl Fn() -> String) -> Result<&str, ImportError> {
    name.filter(|name| !name.is_empty()).ok_or_else(|| ImportError::Unnamed { what: what() })
}
