//! Lowers the nodes of the file to graph operations, one after the other.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::super::ImportError;
use super::constants::{Constant, Ints, decode, dtype};
use super::known::ONLY_KNOWN;
use super::node::NodeRef;
use super::quantized::Dynamic;
use super::source::Source;
use crate::graph::{GeluKind, Graph, GraphBuilder, Op, Reduction, Shape, Tensor, ValueId};

/// What a name of the file stands for in the graph under construction.
#[derive(Clone)]
pub(super) enum Binding {
    /// A float.
    Value(ValueId),
    /// A computed integer and its element type.
    Int(ValueId, i32),
    /// Integers that are known.
    Ints(Rc<Ints>),
}

impl Binding {
    /// A value with the type of what it was made of.
    pub fn of(value: ValueId, kind: Option<i32>) -> Self {
        kind.map_or(Self::Value(value), |kind| Self::Int(value, kind))
    }
}

pub(super) struct Lowering<'s, 'm> {
    source: &'s Source<'m>,
    pub builder: GraphBuilder,
    bindings: HashMap<&'m str, Binding>,
    /// Norms that were spelled out, whose scale and bias may follow.
    pub spelled: HashSet<ValueId>,
    /// Elements of integers that were computed.
    pub known_elements: usize,
    /// By the codes that DynamicQuantizeLinear made.
    pub dynamic: HashMap<ValueId, Dynamic>,
    /// Products of such codes, zero points subtracted, with a constant.
    pub dynamic_products: HashMap<ValueId, (Dynamic, ValueId)>,
}

impl<'s, 'm> Lowering<'s, 'm> {
    pub fn new(source: &'s Source<'m>) -> Self {
        Self {
            source,
            builder: GraphBuilder::new(),
            bindings: HashMap::new(),
            spelled: HashSet::new(),
            known_elements: 0,
            dynamic: HashMap::new(),
            dynamic_products: HashMap::new(),
        }
    }

    /// An input, of integers if it has a type of those.
    pub fn input(&mut self, name: &'m str, shape: Shape, kind: Option<i32>) -> Result<(), ImportError> {
        let value = self.builder.input(name, shape)?;
        self.bindings.insert(name, Binding::of(value, kind));
        Ok(())
    }

    /// An input that is known.
    pub fn fixed(&mut self, name: &'m str, constant: Constant) -> Result<(), ImportError> {
        let binding = self.bind_constant(name, constant)?;
        self.bindings.insert(name, binding);
        Ok(())
    }

    /// The graph, with the outputs that the file names.
    pub fn finish(mut self) -> Result<Graph, ImportError> {
        let mut outputs: Vec<(&str, ValueId)> = Vec::new();
        let mut names = HashSet::new();
        for &name in self.source.outputs() {
            if !names.insert(name) {
                return Err(ImportError::DuplicateTensor { name: name.into() });
            }
            let value = match (self.binding(name)?, self.source.producer(name)) {
                (Some(Binding::Value(value) | Binding::Int(value, _)), _) => value,
                (Some(Binding::Ints(ints)), _) => self.builder.constant(name, ints.to_tensor(name)?)?,
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
        self.bind_output(node, 0, binding);
        Ok(())
    }

    /// Binds one of a node's results; nothing happens when it has no name.
    pub fn bind_output(&mut self, node: NodeRef<'m>, i: usize, binding: Binding) {
        if let Some(name) = node.output_name(i) {
            self.bindings.insert(name, binding);
        }
    }

    /// The first result, when it is bound already.
    pub fn required_output(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        let bound = node.output_name(0).and_then(|name| self.bindings.get(name).cloned());
        bound.ok_or_else(|| node.refuse("has no first result; export the model again"))
    }

    fn lower(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        if let Some(known) = self.known(node)? {
            return Ok(known);
        }
        match node.op_type() {
            "Constant" => return self.constant(node),
            "Identity" => {
                check(node, 1, &[])?;
                return self.required(node, 0);
            }
            "Dropout" => return self.dropout(node),
            "Cast" => return self.cast(node),
            "Add" | "Mul" => return self.add_or_mul(node),
            "LayerNormalization" => return self.layer_norm(node),
            "RMSNormalization" => return self.rms_norm(node),
            "Attention" => return self.attention(node),
            "Reshape" => return self.reshape(node),
            "Flatten" => return self.flatten(node),
            "Squeeze" => return self.squeeze(node),
            "Unsqueeze" => return self.unsqueeze(node),
            "Transpose" => return self.transpose(node),
            "Gather" => return self.gather(node),
            "Slice" => return self.slice(node),
            "Split" => return self.split(node),
            "Concat" => return self.concat(node),
            "ArgMax" => return self.arg_max(node),
            "QuantizeLinear" => return self.quantize(node),
            "DynamicQuantizeLinear" => return self.dynamic_quantize(node),
            "MatMulInteger" => return self.matmul_integer(node),
            "QLinearMatMul" => return self.qlinear_matmul(node),
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
            "Tanh" => self.unary(node, &[], Op::Tanh)?,
            "Exp" => self.unary(node, &[], Op::Exp)?,
            "Erf" => self.unary(node, &[], Op::Erf)?,
            "Sqrt" => self.unary(node, &[], Op::Sqrt)?,
            "Reciprocal" => self.unary(node, &[], Op::Reciprocal)?,
            "Pow" => self.pow(node)?,
            "Softmax" => self.softmax(node)?,
            "ReduceMax" => self.reduction(node, Reduction::Max)?,
            "ReduceMean" => self.reduction(node, Reduction::Mean)?,
            "ReduceSum" => self.reduction(node, Reduction::Sum)?,
            "RotaryEmbedding" => self.rotary(node)?,
            "DequantizeLinear" => self.dequantize(node)?,
            "Clip" => self.clip(node)?,
            op if ONLY_KNOWN.contains(&op) => {
                return Err(node.refuse(
                    "depends on the values of an input; it is supported on shapes and constant integers only",
                ));
            }
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

    /// Emits the operation behind result `i`.
    pub fn emit_output(
        &mut self,
        node: NodeRef,
        i: usize,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, ImportError> {
        Ok(self.builder.node(&node.label(), node.output_name(i).unwrap_or_default(), op, inputs)?)
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
        match self.any(node, i)? {
            (value, None) => Ok(value),
            (_, Some(kind)) => Err(node.refuse(format!(
                "reads the {} tensor {:?} as numbers; cast it to float in the model",
                dtype::name(kind),
                node.input(i).unwrap_or_default()
            ))),
        }
    }

    /// An operand as a value, with its element type if it is a computed integer.
    pub fn any(&mut self, node: NodeRef<'m>, i: usize) -> Result<(ValueId, Option<i32>), ImportError> {
        let name = node.input(i).unwrap_or_default();
        match self.required(node, i)? {
            Binding::Value(value) => Ok((value, None)),
            Binding::Int(value, kind) => Ok((value, Some(kind))),
            Binding::Ints(ints) if ints.wide() => Err(node.refuse(format!(
                "reads the int64 tensor {name:?} as numbers, but a constant int64 may only describe shapes; \
                 cast it to float in the model"
            ))),
            Binding::Ints(ints) => Ok((self.builder.constant(name, ints.to_tensor(name)?)?, None)),
        }
    }

    /// An operand of integers as a value, and its element type.
    pub fn integer(&mut self, node: NodeRef<'m>, i: usize) -> Result<(ValueId, i32), ImportError> {
        let name = node.input(i).unwrap_or_default();
        match self.required(node, i)? {
            Binding::Int(value, kind) => Ok((value, kind)),
            Binding::Ints(ints) => Ok((self.builder.constant(name, ints.to_tensor(name)?)?, ints.kind)),
            Binding::Value(_) => {
                Err(node.refuse(format!("reads {name:?} as integers, but it is float; quantize it first")))
            }
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
        let ints = |dims, data| Ok(Constant::Ints(Ints { dims, data, kind: dtype::INT64 }));
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
        let wider = |kind: i32| match (dtype::range(kind), dtype::range(to)) {
            (Some(from), Some(to)) => to.0 <= from.0 && from.1 <= to.1,
            _ => false,
        };
        let fits = |ints: &Ints| {
            dtype::range(to).is_some_and(|(low, high)| ints.data.iter().all(|v| (low..=high).contains(v)))
        };
        match self.required(node, 0)? {
            Binding::Ints(ints) if dtype::is_float(to) => {
                let tensor = ints.to_tensor(node.output())?;
                Ok(Binding::Value(self.builder.constant(node.output(), tensor)?))
            }
            Binding::Ints(ints) if to == dtype::BOOL => {
                let data = ints.data.iter().map(|&v| i64::from(v != 0)).collect();
                Ok(Binding::Ints(Rc::new(Ints { dims: ints.dims.clone(), data, kind: to })))
            }
            Binding::Ints(ints) if fits(&ints) => {
                Ok(Binding::Ints(Rc::new(Ints { kind: to, ..(*ints).clone() })))
            }
            Binding::Int(value, _) if dtype::is_float(to) => Ok(Binding::Value(value)),
            Binding::Int(value, kind) if wider(kind) => Ok(Binding::Int(value, to)),
            binding @ Binding::Value(_) if dtype::is_float(to) => Ok(binding),
            _ => Err(node.refuse(format!(
                "casts to {}, but only casts that keep the value are supported, such as of floats to float; remove the cast",
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
        "its result {name:?} is used, but only the first result of this operator is supported; \
         remove what reads it"
    ))
}
