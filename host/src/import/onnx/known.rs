//! Shapes, indices and masks that a model computes from what is known: nodes whose operands are constant integers are
//! computed here, in `i64`, and leave no trace in the graph.

use std::rc::Rc;

use super::super::ImportError;
use super::constants::{Constant, Ints, decode, dtype};
use super::lower::{Binding, Lowering, check};
use super::movement::place;
use super::node::NodeRef;
use crate::float::elementwise::places;
use crate::graph::{Shape, Tensor, elements};

/// Operators that are supported here alone.
pub(super) const ONLY_KNOWN: [&str; 17] = [
    "And",
    "ConstantOfShape",
    "Equal",
    "Expand",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Not",
    "Or",
    "Range",
    "Shape",
    "Where",
];

/// Most elements that one model may compute this way.
const BUDGET: usize = 1 << 25;

fn ints(dims: Shape, data: Vec<i64>, kind: i32) -> Ints {
    Ints { dims, data, kind }
}

impl<'m> Lowering<'_, 'm> {
    /// The result of a node that is known, if it is.
    pub fn known(&mut self, node: NodeRef<'m>) -> Result<Option<Binding>, ImportError> {
        match node.op_type() {
            "Shape" => return self.shape_of(node).map(Some),
            "IsNaN" => {
                check(node, 1, &[])?;
                // Values that are not finite are refused when the graph runs.
                let dims = self.dims_of(node, 0)?;
                let count = elements(node.output(), &dims)?;
                return self.result(node, ints(dims, vec![0; count], dtype::BOOL)).map(Some);
            }
            "Where" => return self.choice(node).map(Some),
            "Expand" => {
                if let Binding::Value(x) = self.required(node, 0)? {
                    return self.expanded_floats(node, x).map(Some);
                }
            }
            _ => {}
        }
        let mut operands = Vec::new();
        for i in 0..node.proto.input.len() {
            match self.optional(node, i)? {
                Some(Binding::Ints(ints)) => operands.push(Some(ints)),
                Some(_) => return Ok(None),
                None => operands.push(None),
            }
        }
        let operands: Vec<Option<&Ints>> = operands.iter().map(Option::as_deref).collect();
        let Some(&Some(x)) = operands.first() else { return Ok(None) };
        let others = operands.get(1).copied().flatten();
        let result = match (node.op_type(), others) {
            ("Squeeze", axes) => {
                check(node, 2, &[])?;
                Ints { dims: super::shapes::squeezed(node, &x.dims, axes)?, ..x.clone() }
            }
            ("Unsqueeze", Some(axes)) => {
                check(node, 2, &[])?;
                Ints { dims: super::shapes::unsqueezed(node, &x.dims, axes)?, ..x.clone() }
            }
            ("Reshape", Some(request)) => {
                check(node, 2, &["allowzero"])?;
                Ints { dims: super::shapes::requested(node, &x.dims, request)?, ..x.clone() }
            }
            ("Slice", Some(_)) => {
                let mut x = x.clone();
                for (axis, indices) in self.slices(node, &x.dims)? {
                    x = select(&x, axis, &indices);
                }
                x
            }
            ("Concat", _) => joined(node, &operands)?,
            ("Gather", Some(indices)) => {
                check(node, 2, &["axis"])?;
                let axis = super::shapes::axis_set(node, &[node.int("axis")?.unwrap_or(0)], x.dims.len())?[0];
                let places = indices
                    .data
                    .iter()
                    .map(|&i| place(node, i, x.dims[axis]))
                    .collect::<Result<Vec<_>, _>>()?;
                self.spend(node, x.data.len() / x.dims[axis].max(1) * places.len())?;
                let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
                Ints { dims, ..select(x, axis, &places) }
            }
            ("GatherND", Some(indices)) => {
                check(node, 2, &["batch_dims"])?;
                gather_nd(node, x, indices)?
            }
            ("Expand", Some(shape)) => {
                check(node, 2, &[])?;
                let wanted = sizes(node, shape)?;
                let dims = broadcast(node, &x.dims, &wanted)?;
                self.spend(node, elements(node.output(), &dims)?)?;
                spread(x, dims)
            }
            ("ConstantOfShape", None) => return self.constant_of_shape(node, x).map(Some),
            ("Range", Some(limit)) => self.range_of(node, x, limit, operands.get(2).copied().flatten())?,
            ("Not", None) => Ints { data: x.data.iter().map(|&v| i64::from(v == 0)).collect(), ..x.clone() },
            (op, Some(_)) => match arithmetic(op) {
                Some((f, truth)) if truth || matches!(x.kind, dtype::INT32 | dtype::INT64) => {
                    let mut result = x.clone();
                    for other in &operands[1..] {
                        let Some(other) = other else { return Ok(None) };
                        result = self.combined(node, &result, other, f)?;
                    }
                    Ints { kind: if truth { dtype::BOOL } else { x.kind }, ..result }
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.result(node, result).map(Some)
    }

    fn spend(&mut self, node: NodeRef, count: usize) -> Result<(), ImportError> {
        self.known_elements = self.known_elements.saturating_add(count);
        if self.known_elements > BUDGET {
            return Err(
                node.refuse("computes too many indices and masks; export the model for shorter inputs")
            );
        }
        Ok(())
    }

    fn result(&mut self, node: NodeRef, ints: Ints) -> Result<Binding, ImportError> {
        self.spend(node, ints.data.len())?;
        Ok(Binding::Ints(Rc::new(ints)))
    }

    fn dims_of(&mut self, node: NodeRef<'m>, i: usize) -> Result<Shape, ImportError> {
        Ok(match self.required(node, i)? {
            Binding::Ints(ints) => ints.dims.clone(),
            Binding::Value(value) | Binding::Int(value, _) => self.builder.shape(value).to_vec(),
        })
    }

    fn shape_of(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 1, &["start", "end"])?;
        let dims = self.dims_of(node, 0)?;
        let rank = dims.len() as i64;
        let bound = |i: i64| if i < 0 { i.saturating_add(rank) } else { i }.clamp(0, rank) as usize;
        let (start, end) = (bound(node.int("start")?.unwrap_or(0)), bound(node.int("end")?.unwrap_or(rank)));
        let data: Vec<i64> = dims[start..end.max(start)].iter().map(|&d| d as i64).collect();
        self.result(node, ints(vec![data.len()], data, dtype::INT64))
    }

    /// `x` where the condition holds and `y` elsewhere: of integers, of float constants, or either as a whole.
    fn choice(&mut self, node: NodeRef<'m>) -> Result<Binding, ImportError> {
        check(node, 3, &[])?;
        let Binding::Ints(condition) = self.required(node, 0)? else {
            return Err(
                node.refuse("its condition is computed from the input; only known conditions are supported")
            );
        };
        let mut dims = condition.dims.clone();
        for i in [1, 2] {
            dims = broadcast(node, &dims, &self.dims_of(node, i)?)?;
        }
        for (i, whole) in [(1, true), (2, false)] {
            if condition.data.iter().all(|&c| (c != 0) == whole) && self.dims_of(node, i)? == dims {
                return self.required(node, i);
            }
        }
        let count = elements(node.output(), &dims)?;
        self.spend(node, count)?;
        let condition = spread(&condition, dims.clone());
        let (x, y) = (self.required(node, 1)?, self.required(node, 2)?);
        if let (Binding::Ints(x), Binding::Ints(y)) = (&x, &y) {
            let (x, y) = (spread(x, dims.clone()), spread(y, dims.clone()));
            let data =
                (0..count).map(|i| if condition.data[i] != 0 { x.data[i] } else { y.data[i] }).collect();
            return Ok(Binding::Ints(Rc::new(ints(dims, data, x.kind))));
        }
        let mut parts = Vec::new();
        for i in [1, 2] {
            let value = self.float(node, i)?;
            let Some(constant) = self.builder.constant_of(value) else {
                return Err(node.refuse("chooses between computed values; only constants can be mixed"));
            };
            let all = places(constant.shape(), &dims).into_iter().map(|place| constant.data()[place]);
            parts.push(all.collect::<Vec<f32>>());
        }
        let data = (0..count).map(|i| parts[usize::from(condition.data[i] == 0)][i]).collect();
        Ok(Binding::Value(self.builder.constant(node.output(), Tensor::new(dims, data)?)?))
    }

    fn expanded_floats(
        &mut self,
        node: NodeRef<'m>,
        x: crate::graph::ValueId,
    ) -> Result<Binding, ImportError> {
        check(node, 2, &[])?;
        let wanted =
            self.ints(node, 1)?.ok_or_else(|| node.refuse("has no shape; export the model again"))?;
        let dims = broadcast(node, self.builder.shape(x), &sizes(node, &wanted)?)?;
        if self.builder.shape(x) == dims {
            return Ok(Binding::Value(x));
        }
        let count = elements(node.output(), &dims)?;
        self.spend(node, count)?;
        let Some(constant) = self.builder.constant_of(x) else {
            return Err(node.refuse("repeats computed values; only constants can be expanded"));
        };
        let data = places(constant.shape(), &dims).into_iter().map(|place| constant.data()[place]).collect();
        Ok(Binding::Value(self.builder.constant(node.output(), Tensor::new(dims, data)?)?))
    }

    fn constant_of_shape(&mut self, node: NodeRef<'m>, shape: &Ints) -> Result<Binding, ImportError> {
        check(node, 1, &["value"])?;
        let dims = sizes(node, shape)?;
        let count = elements(node.output(), &dims)?;
        self.spend(node, count)?;
        let value = node.tensor("value")?.map(|proto| decode(node.output(), proto)).transpose()?;
        let one = |len| {
            if len == 1 { Ok(()) } else { Err(node.refuse("its value has not one element; export it again")) }
        };
        match value {
            Some(Constant::Ints(value)) => {
                one(value.data.len())?;
                Ok(Binding::Ints(Rc::new(ints(dims, vec![value.data[0]; count], value.kind))))
            }
            value => {
                let mut data = 0.0;
                if let Some(Constant::Float(value)) = value {
                    one(value.data().len())?;
                    data = value.data()[0];
                }
                let tensor = Tensor::new(dims, vec![data; count])?;
                Ok(Binding::Value(self.builder.constant(node.output(), tensor)?))
            }
        }
    }

    fn range_of(
        &mut self,
        node: NodeRef<'m>,
        start: &Ints,
        limit: &Ints,
        step: Option<&Ints>,
    ) -> Result<Ints, ImportError> {
        check(node, 3, &[])?;
        let (&[start], &[limit], Some(&[step])) =
            (start.data.as_slice(), limit.data.as_slice(), step.map(|step| step.data.as_slice()))
        else {
            return Err(node.refuse("takes three numbers; export the model again"));
        };
        let distance = i128::from(limit) - i128::from(start);
        if step == 0 {
            return Err(node.refuse("has a step of zero; correct it"));
        }
        let step = i128::from(step);
        let count = (distance + step - step.signum()).div_euclid(step).max(0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.spend(node, count)?;
        // Every element lies between two 64-bit numbers.
        let data = (0..count as i128).map(|i| (i128::from(start) + i * step) as i64).collect();
        Ok(ints(vec![count], data, dtype::INT64))
    }

    fn combined(
        &mut self,
        node: NodeRef<'m>,
        a: &Ints,
        b: &Ints,
        f: fn(i64, i64) -> Option<i64>,
    ) -> Result<Ints, ImportError> {
        let dims = broadcast(node, &a.dims, &b.dims)?;
        self.spend(node, elements(node.output(), &dims)?)?;
        let (x, y) = (spread(a, dims.clone()), spread(b, dims.clone()));
        let (low, high) = dtype::range(a.kind).unwrap_or((i64::MIN, i64::MAX));
        let exact = |(&x, &y): (&i64, &i64)| {
            f(x, y)
                .filter(|v| (low..=high).contains(v))
                .ok_or_else(|| node.refuse(format!("has no exact result for {x} and {y}; correct the model")))
        };
        let data = x.data.iter().zip(&y.data).map(exact).collect::<Result<_, _>>()?;
        Ok(ints(dims, data, a.kind))
    }
}

/// A function of two integers, where it has a result.
type Exact = fn(i64, i64) -> Option<i64>;

/// What an operator computes of two integers, and whether the result is a truth value.
fn arithmetic(op: &str) -> Option<(Exact, bool)> {
    Some(match op {
        "Add" => (i64::checked_add, false),
        "Sub" => (i64::checked_sub, false),
        "Mul" => (i64::checked_mul, false),
        "Div" => (i64::checked_div, false),
        "Max" => (|x, y| Some(x.max(y)), false),
        "Min" => (|x, y| Some(x.min(y)), false),
        "And" => (|x, y| Some((x != 0 && y != 0).into()), true),
        "Or" => (|x, y| Some((x != 0 || y != 0).into()), true),
        "Equal" => (|x, y| Some((x == y).into()), true),
        "Greater" => (|x, y| Some((x > y).into()), true),
        "GreaterOrEqual" => (|x, y| Some((x >= y).into()), true),
        "Less" => (|x, y| Some((x < y).into()), true),
        "LessOrEqual" => (|x, y| Some((x <= y).into()), true),
        _ => return None,
    })
}

/// Integers as the sizes of dimensions.
fn sizes(node: NodeRef, shape: &Ints) -> Result<Shape, ImportError> {
    let size = |&d: &i64| usize::try_from(d).ok().filter(|&d| d > 0);
    shape.data.iter().map(size).collect::<Option<Shape>>().ok_or_else(|| {
        node.refuse(format!("asks for the shape {:?}; empty tensors are not supported", shape.data))
    })
}

fn broadcast(node: NodeRef, a: &[usize], b: &[usize]) -> Result<Shape, ImportError> {
    crate::graph::Op::Add.output_shape(&[a, b]).map_err(|detail| node.refuse(detail))
}

/// Integers repeated to a shape that [`broadcast`] gave.
fn spread(x: &Ints, dims: Shape) -> Ints {
    let data = places(&x.dims, &dims).into_iter().map(|place| x.data[place]).collect();
    ints(dims, data, x.kind)
}

/// The given places of one dimension.
fn select(x: &Ints, axis: usize, indices: &[usize]) -> Ints {
    let inner: usize = x.dims[axis + 1..].iter().product();
    let outer: usize = x.dims[..axis].iter().product();
    let mut data = Vec::new();
    for (block, &index) in (0..outer).flat_map(|block| indices.iter().map(move |index| (block, index))) {
        data.extend_from_slice(&x.data[(block * x.dims[axis] + index) * inner..][..inner]);
    }
    let mut dims = x.dims.clone();
    dims[axis] = indices.len();
    ints(dims, data, x.kind)
}

fn joined(node: NodeRef, parts: &[Option<&Ints>]) -> Result<Ints, ImportError> {
    check(node, usize::MAX, &["axis"])?;
    let refuse = || node.refuse("joins integers of different shapes or types; export the model again");
    let parts = parts.iter().copied().collect::<Option<Vec<_>>>().ok_or_else(refuse)?;
    let first = parts[0];
    let axis = super::shapes::axis_set(node, &[node.int("axis")?.unwrap_or(0)], first.dims.len())?[0];
    let mut dims = first.dims.clone();
    for other in &parts[1..] {
        let alike = |i: usize| i == axis || first.dims[i] == other.dims[i];
        if other.dims.len() != dims.len() || other.kind != first.kind || !(0..dims.len()).all(alike) {
            return Err(refuse());
        }
        dims[axis] += other.dims[axis];
    }
    let outer: usize = dims[..axis].iter().product();
    let mut data = Vec::new();
    for (block, part) in (0..outer).flat_map(|block| parts.iter().map(move |part| (block, part))) {
        let width = part.data.len() / outer;
        data.extend_from_slice(&part.data[block * width..][..width]);
    }
    Ok(ints(dims, data, first.kind))
}

/// The elements or blocks that the last dimension of `indices` names.
fn gather_nd(node: NodeRef, x: &Ints, indices: &Ints) -> Result<Ints, ImportError> {
    let (depth, leading) = indices.dims.split_last().unwrap_or((&0, &[]));
    if node.int("batch_dims")?.unwrap_or(0) != 0 || *depth == 0 || *depth > x.dims.len() {
        return Err(
            node.refuse("its indices do not fit its operand, or have batches; export the model again")
        );
    }
    let inner: usize = x.dims[*depth..].iter().product();
    let mut data = Vec::new();
    for index in indices.data.chunks(*depth) {
        let mut at = 0;
        for (&i, &size) in index.iter().zip(&x.dims) {
            at = at * size + place(node, i, size)?;
        }
        data.extend_from_slice(&x.data[at * inner..][..inner]);
        if data.len() > BUDGET {
            return Err(node.refuse("takes too many elements; export the model for shorter inputs"));
        }
    }
    Ok(ints([leading, &x.dims[*depth..]].concat(), data, x.kind))
}
