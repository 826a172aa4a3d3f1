//! Lowers the nodes of the file to graph operations, one after the other.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use rten_onnx::onnx::GraphProto;

use super::super::ImportError;
use super::constants::{Constant, Ints, decode, dtype};
use super::gelu::{Partial, outside_gelu, partial_result};
use super::node::NodeRef;
use super::source::Source;
use crate::graph::{GeluKind, Graph, GraphBuilder, Op, Shape, Tensor, ValueId};

/// What a name of the file stands for in the graph under construction.
#[derive(Clone)]
pub(super) enum Binding {
    Value(ValueId),
    Ints(Rc<Ints>),
    /// Part of a spelled-out GELU.
    Partial(Partial),
}

pub(super) struct Lowering<'s, 'm> {
    source: &'s Source<'m>,
    pub builder: GraphBuilder,
    bindings: HashMap<&'m str, Binding>,
}

impl<'s, 'm> Lowering<'s, 'm> {
    pub fn new(source: &'s Source<'m>) -> Self {
        Self { source, builder: GraphBuilder::new(), bindings: HashMap::new() }
    }

    pub fn input(&mut self, name: &'m str, shape: Shape) -> Result<(), ImportError> {
        let value = self.builder.input(name, shape)?;
        self.bindings.insert(name, Binding::Value(value));
        Ok(())
    }

    /// The graph, with the outputs that the file names.
    pub fn finish(mut self, graph: &'m GraphProto) -> Result<Graph, ImportError> {
        let mut outputs: Vec<(&str, ValueId)> = Vec::new();
        let mut names = HashSet::new();
        for info in &graph.output {
            let name = info.name.as_deref().unwrap_or_default();
            if !names.insert(name) {
                return Err(ImportError::DuplicateTensor { name: name.into() });
            }
            let value = match (self.binding(name)?, self.source.producer(name)) {
                (Some(Binding::Value(value)), _) => value,
                (Some(Binding::Ints(ints)), _) => self.builder.constant(name, ints.to_tensor(name)?)?,
                (Some(Binding::Partial(_)), Some(node)) => return Err(partial_result(node)),
                (_, Some(node)) => return Err(unavailable(node, name)),
                (_, None) => {
                    return Err(ImportError::UnknownTensor { reader: "the graph".into(), name: name.into() });
                }
            };
            outputs.push((name, value));
        }
        Ok(self.builder.finish(&outputs)?)
    }

    /// Lowers one node and binds its result.
    pub fn node(&mut self, index: usize) -> Result<(), ImportError> {
        let node = self.source.node(index);
        let binding = self.lower(node)?;
        if !node.output().is_empty() {
            self.bindings.insert(node.output(), binding);
        }
        Ok(())
    }

    fn lower(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        match node.op_type() {
            "Constant" => return self.constant(node),
            "Identity" => {
                check(node, 1, &[])?;
                return self.required(node, 0);
            }
            "Dropout" => return self.dropout(node),
            "Cast" => return self.cast(node),
            "Erf" => return self.erf(node),
            "Mul" | "Add" => return self.add_or_mul(node),
            _ => {}
        }
        let value = match node.op_type() {
            "Relu" => self.unary(node, &[], Op::Relu)?,
            "Sigmoid" => self.unary(node, &[], Op::Sigmoid)?,
            "Swish" => {
                if node.float("alpha")?.is_some_and(|alpha| (alpha - 1.0).abs() > f32::EPSILON) {
                    return Err(node.refuse("only alpha = 1 is supported; export it as x * Sigmoid(x)"));
                }
                self.unary(node, &["alpha"], Op::Silu)?
            }
            "Gelu" => {
                let kind = match node.text("approximate")? {
                    None | Some("none") => GeluKind::Erf,
                    Some("tanh") => GeluKind::Tanh,
                    Some(other) => {
                        return Err(
                            node.refuse(format!("approximate is {other:?}; use \"none\" or \"tanh\""))
                        );
                    }
                };
                self.unary(node, &["approximate"], Op::Gelu { kind })?
            }
            "Sub" => self.sub(node)?,
            "Div" => self.div(node)?,
            "MatMul" => self.matmul(node)?,
            "Gemm" => self.gemm(node)?,
            "LayerNormalization" => self.layer_norm(node)?,
            "Reshape" => self.reshape(node)?,
            "Flatten" => self.flatten(node)?,
            "Squeeze" => self.squeeze(node)?,
            "Unsqueeze" => self.unsqueeze(node)?,
            "Transpose" => self.transpose(node)?,
            _ => return Err(node.refuse("this operator is not supported; replace it")),
        };
        Ok(Binding::Value(value))
    }

    /// Emits the main operation of a node.
    pub fn emit(&mut self, node: NodeRef, op: Op, inputs: &[ValueId]) -> Result<ValueId, ImportError> {
        Ok(self.builder.node(&node.label(), node.output(), op, inputs)?)
    }

    /// Emits an operation that prepares the main one.
    pub fn emit_part(
        &mut self,
        node: NodeRef,
        part: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, ImportError> {
        let names = (format!("{}/{part}", node.label()), format!("{}/{part}", node.output()));
        Ok(self.builder.node(&names.0, &names.1, op, inputs)?)
    }

    /// A constant that lowering makes up.
    pub fn made(&mut self, node: NodeRef, part: &str, tensor: Tensor) -> Result<ValueId, ImportError> {
        Ok(self.builder.constant(&format!("{}/{part}", node.output()), tensor)?)
    }

    fn unary(&mut self, node: NodeRef<'m>, attributes: &[&str], op: Op) -> Result<ValueId, ImportError> {
        check(node, 1, attributes)?;
        let x = self.float(node, 0)?;
        self.emit(node, op, &[x])
    }

    fn binding(&mut self, name: &'m str) -> Result<Option<Binding>, ImportError> {
        if let Some(binding) = self.bindings.get(name) {
            return Ok(Some(binding.clone()));
        }
        let Some(proto) = self.source.initializer(name) else { return Ok(None) };
        let binding = self.bind_constant(name, decode(name, proto)?)?;
        self.bindings.insert(name, binding.clone());
        Ok(Some(binding))
    }

    fn bind_constant(&mut self, name: &str, constant: Constant) -> Result<Binding, ImportError> {
        Ok(match constant {
            Constant::Float(tensor) => Binding::Value(self.builder.constant(name, tensor)?),
            Constant::Ints(ints) => Binding::Ints(Rc::new(ints)),
        })
    }

    /// An operand that may be left out.
    pub fn optional(&mut self, node: NodeRef<'m>, i: usize) -> Result<Option<Binding>, ImportError> {
        let Some(name) = node.input(i) else { return Ok(None) };
        match (self.binding(name)?, self.source.producer(name)) {
            (Some(binding), _) => Ok(Some(binding)),
            (None, Some(producer)) => Err(unavailable(producer, name)),
            (None, None) => Err(ImportError::UnknownTensor { reader: node.label(), name: name.into() }),
        }
    }

    pub fn required(&mut self, node: NodeRef<'m>, i: usize) -> Result<Binding, ImportError> {
        self.optional(node, i)?
            .ok_or_else(|| node.refuse(format!("input {i} is missing; export the model again")))
    }

    /// An operand as a float value.
    pub fn float(&mut self, node: NodeRef<'m>, i: usize) -> Result<ValueId, ImportError> {
        let binding = self.required(node, i)?;
        self.as_float(node, i, binding)
    }

    pub fn as_float(
        &mut self,
        node: NodeRef<'m>,
        i: usize,
        binding: Binding,
    ) -> Result<ValueId, ImportError> {
        let name = node.input(i).unwrap_or_default();
        match binding {
            Binding::Value(value) => Ok(value),
            Binding::Ints(ints) if ints.wide => Err(node.refuse(format!(
                "reads the int64 tensor {name:?} as numbers, but int64 may only describe shapes; \
                 cast it to float in the model"
            ))),
            Binding::Ints(ints) => Ok(self.builder.constant(name, ints.to_tensor(name)?)?),
            Binding::Partial(_) => Err(outside_gelu(node, i)),
        }
    }

    /// A constant operand of integers, such as a shape.
    pub fn ints(&mut self, node: NodeRef<'m>, i: usize) -> Result<Option<Rc<Ints>>, ImportError> {
        match self.optional(node, i)? {
            None => Ok(None),
            Some(Binding::Ints(ints)) => Ok(Some(ints)),
            Some(_) => Err(node.refuse(format!(
                "input {i} must be a constant integer tensor; export the model with fixed shapes"
            ))),
        }
    }

    fn constant(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 0, &["value", "value_float", "value_floats", "value_int", "value_ints"])?;
        if node.proto.attribute.len() != 1 {
            return Err(node.refuse("must have exactly one value; export the model again"));
        }
        let name = node.output();
        let ints = |dims, data| Ok(Constant::Ints(Ints { dims, data, wide: true }));
        let constant = if let Some(proto) = node.tensor("value")? {
            decode(name, proto)
        } else if let Some(v) = node.float("value_float")? {
            Ok(Constant::Float(Tensor::scalar(v)))
        } else if let Some(v) = node.floats("value_floats") {
            Ok(Constant::Float(Tensor::new(vec![v.len()], v.to_vec())?))
        } else if let Some(v) = node.int("value_int")? {
            ints(vec![], vec![v])
        } else {
            let v = node.ints("value_ints").unwrap_or_default();
            ints(vec![v.len()], v.to_vec())
        };
        self.bind_constant(name, constant?)
    }

    /// At inference dropout does nothing.
    fn dropout(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 3, &["seed"])?;
        if let Some(training) = self.ints(node, 2)?
            && training.data.iter().any(|&v| v != 0)
        {
            return Err(node.refuse("is in training mode; export the model for inference (model.eval())"));
        }
        self.required(node, 0)
    }

    /// Only casts that keep the value: float to float, and constants.
    fn cast(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &["to", "saturate", "round_mode"])?;
        let to = node.int("to")?.and_then(|to| i32::try_from(to).ok()).unwrap_or(0);
        match self.required(node, 0)? {
            Binding::Ints(ints) if dtype::is_float(to) => {
                let tensor = ints.to_tensor(node.output())?;
                Ok(Binding::Value(self.builder.constant(node.output(), tensor)?))
            }
            Binding::Ints(ints) if to == dtype::INT64 => {
                Ok(Binding::Ints(Rc::new(Ints { wide: true, ..(*ints).clone() })))
            }
            binding @ (Binding::Value(_) | Binding::Partial(_)) if dtype::is_float(to) => Ok(binding),
            _ => Err(node.refuse(format!(
                "casts to {}, but only casts of floats to float are supported; remove the cast",
                dtype::name(to)
            ))),
        }
    }
}

/// Checks the number of inputs and the attributes' names.
pub(super) fn check(node: NodeRef, inputs: usize, attributes: &[&str]) -> Result<(), ImportError> {
    node.at_most_inputs(inputs)?;
    node.only_attributes(attributes)
}

fn unavailable(producer: NodeRef, name: &str) -> ImportError {
    producer.refuse(format!(
        "its result {name:?} is used, but only the first result of this operator, as a float tensor, is \
         supported; remove what reads it"
    ))
}
