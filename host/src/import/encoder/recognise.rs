//! Finds the parts of an encoder in a graph, from its result back to its tokens.
//!
//! How heads are cut out of rows and put together again differs between exporters. So what lies between a projection and
//! its product is not compared with a list of spellings: it must be reshapes and transposes, and it is run on the numbers
//! of the places, which shows where every element comes from.

use super::Pooling;
use super::parts::{Layer, Linear, Norm, Parts};
use crate::float::{apply, elementwise::places};
use crate::graph::{GeluKind, Graph, Node, Op, Reduction, Shape, Tensor, ValueId};
use crate::import::ImportError;
use crate::llm::Activation;

/// Relative tolerance of constants such as the root of a head's channels; half-precision files hold them to about this.
const NEAR: f64 = 1e-3;
/// Places up to here are exact in `f32`.
const MAX_PLACES: usize = 1 << 24;

/// Recognises the graph of one text.
pub fn recognise(graph: &Graph) -> Result<(Parts, Pooling), ImportError> {
    Matcher::new(graph)?.encoder()
}

struct Matcher<'g> {
    graph: &'g Graph,
    producer: Vec<Option<usize>>,
    /// Nodes that are accounted for.
    used: Vec<bool>,
    rows: usize,
    width: usize,
}

fn refuse(node: &Node, detail: impl Into<String>) -> ImportError {
    ImportError::Unsupported { node: node.name.clone(), op: node.op.name().into(), detail: detail.into() }
}

fn broken(detail: impl Into<String>) -> ImportError {
    ImportError::Encoder { detail: detail.into() }
}

/// The operands of a product of attention.
struct Heads {
    heads: usize,
    size: usize,
}

impl<'g> Matcher<'g> {
    fn new(graph: &'g Graph) -> Result<Self, ImportError> {
        let mut producer = vec![None; graph.values().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            producer[node.output.0] = Some(index);
        }
        let [tokens] = graph.inputs() else {
            let names: Vec<&str> = graph.inputs().iter().map(|port| port.name.as_str()).collect();
            return Err(broken(format!(
                "takes the inputs {names:?}; an encoder takes input_ids, attention_mask and perhaps token_type_ids"
            )));
        };
        let rows = graph.shape(tokens.value).iter().product();
        Ok(Self { graph, producer, used: vec![false; graph.nodes().len()], rows, width: 0 })
    }

    fn encoder(mut self) -> Result<(Parts, Pooling), ImportError> {
        let [output] = self.graph.outputs() else {
            return Err(broken(format!(
                "has {} outputs; export it with the hidden states or the embedding alone",
                self.graph.outputs().len()
            )));
        };
        let (mut value, pooling) = self.pooling(output.value)?;
        self.width = self.graph.shape(value).last().copied().unwrap_or(1);
        if self.rows * self.width > MAX_PLACES {
            return Err(broken("is too large; choose fewer positions"));
        }
        let (mut layers, mut shared) = (Vec::new(), None);
        loop {
            let (sum, norm) = self.norm(value)?;
            if let Some([tokens, positions, segment]) = self.embeddings(sum) {
                let Some((heads, activation)) = shared else { return Err(broken("has no layers")) };
                layers.reverse();
                self.all_used()?;
                let width = self.width;
                let parts = Parts {
                    width,
                    heads,
                    tokens,
                    positions,
                    segment,
                    embedding_norm: norm,
                    layers,
                    activation,
                };
                return Ok((parts, pooling));
            }
            let place = self.made(value)?;
            let (layer, next, own) = self.layer(sum, norm)?;
            if shared.is_some_and(|shared| shared != own) {
                return Err(refuse(
                    place,
                    "ends a layer with other heads or another activation than the next layer",
                ));
            }
            shared = Some(own);
            layers.push(layer);
            value = next;
        }
    }

    fn all_used(&self) -> Result<(), ImportError> {
        match self.graph.nodes().iter().zip(&self.used).find(|(_, used)| !**used) {
            None => Ok(()),
            Some((node, _)) => Err(refuse(node, "is no part of an encoder of the BERT family; remove it")),
        }
    }

    /// The node behind a value.
    fn made(&self, value: ValueId) -> Result<&'g Node, ImportError> {
        let index = self.producer[value.0];
        index.map(|index| &self.graph.nodes()[index]).ok_or_else(|| {
            broken(format!("uses {:?} where an encoder computes something", self.graph.value(value).name))
        })
    }

    /// The node behind a value if it has a given operation; it is then accounted for.
    fn take(&mut self, value: ValueId, wanted: impl Fn(&Op) -> bool) -> Option<&'g Node> {
        let index = self.producer[value.0]?;
        let node = &self.graph.nodes()[index];
        wanted(&node.op).then(|| {
            self.used[index] = true;
            node
        })
    }

    fn need(
        &mut self,
        value: ValueId,
        what: &str,
        wanted: impl Fn(&Op) -> bool,
    ) -> Result<&'g Node, ImportError> {
        let node = self.made(value)?;
        self.take(value, wanted).ok_or_else(|| refuse(node, format!("stands where an encoder has {what}")))
    }

    /// The value before reshapes that leave rows as they are.
    fn rows_of(&mut self, mut value: ValueId) -> ValueId {
        let width = self.graph.shape(value).last().copied();
        while let Some(index) = self.producer[value.0] {
            let node = &self.graph.nodes()[index];
            let same = self.graph.shape(node.inputs[0]).last().copied() == width;
            if !matches!(node.op, Op::Reshape { .. }) || !same {
                break;
            }
            self.used[index] = true;
            value = node.inputs[0];
        }
        value
    }

    fn number(&self, value: ValueId) -> Option<f64> {
        let data = self.graph.constant(value)?.data();
        let (first, rest) = data.split_first()?;
        rest.iter().all(|x| x.to_bits() == first.to_bits()).then(|| f64::from(*first))
    }

    fn vector(&self, node: &Node, value: ValueId, len: usize) -> Result<Vec<f32>, ImportError> {
        let data = self.graph.constant(value).map_or(&[][..], Tensor::data);
        match data {
            [one] => Ok(vec![*one; len]),
            data if data.len() == len => Ok(data.to_vec()),
            _ => Err(refuse(node, format!("needs {len} constants, one for each channel"))),
        }
    }

    fn norm(&mut self, value: ValueId) -> Result<(ValueId, Norm), ImportError> {
        let value = self.rows_of(value);
        let node = self.need(value, "a LayerNorm", |op| matches!(op, Op::LayerNorm { .. }))?;
        let Op::LayerNorm { epsilon } = node.op else { return Err(refuse(node, "is no LayerNorm")) };
        let (scale, bias) =
            (self.vector(node, node.inputs[1], self.width)?, self.vector(node, node.inputs[2], self.width)?);
        Ok((self.rows_of(node.inputs[0]), Norm { scale, bias, epsilon }))
    }

    /// `x W + b`: its operand and itself.
    fn linear(&mut self, value: ValueId, what: &str) -> Result<(ValueId, Linear), ImportError> {
        let value = self.rows_of(value);
        let constant = |this: &Self, id: ValueId| this.graph.constant(id).is_some();
        let node = self.made(value)?;
        let (product, bias) = if node.op == Op::Add && constant(self, node.inputs[1]) {
            self.take(value, |_| true);
            (self.rows_of(node.inputs[0]), Some((node, node.inputs[1])))
        } else {
            (value, None)
        };
        let product = self.need(product, what, |op| *op == Op::MatMul)?;
        let weight = self.graph.constant(product.inputs[1]).filter(|weight| weight.shape().len() == 2);
        let weight = weight.ok_or_else(|| refuse(product, format!("stands where an encoder has {what}")))?;
        let (inputs, outputs) = (weight.shape()[0], weight.shape()[1]);
        let bias = match bias {
            Some((node, bias)) => self.vector(node, bias, outputs)?,
            None => vec![0.0; outputs],
        };
        let mut rows = vec![0.0; inputs * outputs];
        for (i, column) in weight.data().chunks(outputs).enumerate() {
            column.iter().enumerate().for_each(|(o, &w)| rows[o * inputs + i] = w);
        }
        Ok((self.rows_of(product.inputs[0]), Linear { inputs, weight: rows, bias }))
    }

    /// A linear part and what it is added to, which a LayerNorm made.
    fn residual(&mut self, sum: ValueId, what: &str) -> Result<(ValueId, ValueId), ImportError> {
        let node =
            self.need(sum, &format!("the sum of {what} and what it was computed from"), |op| *op == Op::Add)?;
        let [a, b] = [self.rows_of(node.inputs[0]), self.rows_of(node.inputs[1])];
        let normed =
            |this: &Self, id: ValueId| this.made(id).is_ok_and(|n| matches!(n.op, Op::LayerNorm { .. }));
        match (normed(self, a), normed(self, b)) {
            (false, true) => Ok((a, b)),
            (true, false) => Ok((b, a)),
            _ => {
                Err(refuse(node, format!("stands where an encoder adds {what} to what it was computed from")))
            }
        }
    }

    fn layer(
        &mut self,
        sum: ValueId,
        ffn_norm: Norm,
    ) -> Result<(Layer, ValueId, (usize, Activation)), ImportError> {
        let (down, middle) = self.residual(sum, "the feed-forward block")?;
        let (inner, down) = self.linear(down, "the second matrix of a feed-forward block")?;
        let function = self.need(inner, "GELU or SiLU", |op| matches!(op, Op::Gelu { .. } | Op::Silu))?;
        let activation = match function.op {
            Op::Gelu { kind: GeluKind::Erf } => Activation::GeluErf,
            Op::Gelu { kind: GeluKind::Tanh } => Activation::GeluTanh,
            _ => Activation::Silu,
        };
        let (from, up) = self.linear(function.inputs[0], "the first matrix of a feed-forward block")?;
        if from != middle {
            return Err(refuse(
                function,
                "belongs to a feed-forward block that is added to something else than it reads",
            ));
        }
        let (sum, attention_norm) = self.norm(middle)?;
        let (projected, start) = self.residual(sum, "attention")?;
        let (mixed, output) = self.linear(projected, "the output projection of attention")?;
        let (heads, [query, key, value]) = self.attention(mixed, start)?;
        let widths = [&query, &key, &value, &output, &up].map(|linear| linear.inputs);
        let inner = up.bias.len();
        if widths != [self.width; 5]
            || output.bias.len() != self.width
            || (down.inputs, down.bias.len()) != (inner, self.width)
        {
            return Err(refuse(function, "belongs to a layer whose matrices do not fit its width"));
        }
        let layer = Layer { query, key, value, output, attention_norm, up, down, ffn_norm };
        Ok((layer, start, (heads, activation)))
    }

    /// The number of heads and the projections to queries, keys and values of `start`.
    fn attention(&mut self, mixed: ValueId, start: ValueId) -> Result<(usize, [Linear; 3]), ImportError> {
        let product = |op: &Op| *op == Op::MatMul;
        let (value, moves) = self.moves(mixed);
        let mixture = self.need(value, "the product of attention weights and values", product)?;
        let shape = self.graph.shape(mixture.output);
        let [leading @ .., _, size] = shape else { return Err(refuse(mixture, "has no heads")) };
        let cut = Heads { heads: leading.iter().product(), size: *size };
        if cut.heads * cut.size != self.width || shape.iter().product::<usize>() != self.rows * self.width {
            return Err(refuse(
                mixture,
                format!("has heads of shape {shape:?}, which do not make up the width {}", self.width),
            ));
        }
        self.check_places(mixture, &moves, shape, "puts heads together", |place| cut.in_heads(place, self))?;

        let weights = self.rows_of(mixture.inputs[0]);
        let softmax = self.need(weights, "a softmax", |op| *op == Op::Softmax)?;
        let (mut value, mut scale) = (self.rows_of(softmax.inputs[0]), 1.0);
        let scores = loop {
            let node = self.made(value)?;
            let number = node.inputs.get(1).and_then(|&id| self.number(id));
            match (&node.op, number) {
                (Op::Mul, Some(factor)) => scale *= factor,
                // The mask of a text without padding.
                (Op::Add, Some(zero)) if zero.abs() < 1e-6 => {}
                (Op::Add, _) => {
                    return Err(refuse(
                        node,
                        "adds numbers to the scores of a text without padding; position biases are not supported",
                    ));
                }
                _ => break self.need(value, "the scores of attention", product)?,
            }
            self.take(value, |_| true);
            value = self.rows_of(node.inputs[0]);
        };

        let mut linears = Vec::new();
        for (operand, what) in
            [(scores.inputs[0], "queries"), (scores.inputs[1], "keys"), (mixture.inputs[1], "values")]
        {
            let (mut value, mut moves) = self.moves(operand);
            while let Some(factor) = self.factor(value) {
                scale *= factor;
                let (before, mut earlier) = self.moves(self.made(value)?.inputs[0]);
                earlier.extend(moves);
                (value, moves) = (before, earlier);
            }
            let (from, linear) = self.linear(value, &format!("the projection to {what}"))?;
            let node = self.made(value)?;
            if from != start {
                return Err(refuse(
                    node,
                    format!("makes {what} of something else than what attention is added to"),
                ));
            }
            if linear.bias.len() != self.width {
                return Err(refuse(node, format!("makes {what} of another width than the rows")));
            }
            let keys = what == "keys";
            self.check_places(
                node,
                &moves,
                self.graph.shape(value),
                &format!("cuts {what} into heads"),
                |place| {
                    if keys { cut.in_columns(place, self) } else { cut.in_rows(place, self) }
                },
            )?;
            linears.push(linear);
        }
        let wanted = (cut.size as f64).sqrt().recip();
        if (scale / wanted - 1.0).abs() > NEAR {
            return Err(refuse(
                scores,
                format!(
                    "scales scores by {scale}, but an encoder with heads of {} channels by {wanted}",
                    cut.size
                ),
            ));
        }
        let [query, key, value] = linears.try_into().map_err(|_| broken("has no attention"))?;
        Ok((cut.heads, [query, key, value]))
    }

    /// The factor of a product with a constant number, which is accounted for.
    fn factor(&mut self, value: ValueId) -> Option<f64> {
        let node = self.made(value).ok().filter(|node| node.op == Op::Mul)?;
        let factor = self.number(node.inputs[1])?;
        self.take(value, |_| true)?;
        Some(factor)
    }

    /// The value before reshapes and transposes, and those in order.
    fn moves(&mut self, mut value: ValueId) -> (ValueId, Vec<&'g Node>) {
        let mut moves = Vec::new();
        while let Some(node) = self.take(value, |op| matches!(op, Op::Reshape { .. } | Op::Transpose { .. }))
        {
            moves.push(node);
            value = node.inputs[0];
        }
        moves.reverse();
        (value, moves)
    }

    /// Runs moves on the numbers of places: element `i` of the result must come from place `from(i)`.
    fn check_places(
        &self,
        node: &Node,
        moves: &[&Node],
        shape: &[usize],
        what: &str,
        from: impl Fn(usize) -> usize,
    ) -> Result<(), ImportError> {
        let count: usize = shape.iter().product();
        let mut tensor = Tensor::new(shape.to_vec(), (0..count).map(|i| i as f32).collect())?;
        for step in moves {
            tensor = apply(&step.op, &[&tensor], self.graph.shape(step.output).to_vec());
        }
        let right = tensor.data().iter().enumerate().all(|(i, &place)| place as usize == from(i));
        if right && count == self.rows * self.width {
            return Ok(());
        }
        let node = moves.last().copied().unwrap_or(node);
        Err(refuse(node, format!("{what} in another order than an encoder")))
    }

    /// Token, position and segment embeddings, if a value is their sum.
    fn embeddings(&mut self, sum: ValueId) -> Option<[Vec<f32>; 3]> {
        let (mut open, mut nodes, mut constants, mut tokens) = (vec![sum], Vec::new(), Vec::new(), None);
        while let Some(value) = open.pop() {
            if let Some(constant) = self.graph.constant(value) {
                constants.push(constant);
                continue;
            }
            let index = self.producer[value.0]?;
            let node = &self.graph.nodes()[index];
            match node.op {
                Op::Add => open.extend(&node.inputs),
                Op::Reshape { .. } => open.push(node.inputs[0]),
                Op::Gather if tokens.is_none() && self.graph.inputs()[0].value == node.inputs[1] => {
                    tokens = self.graph.constant(node.inputs[0]);
                }
                _ => return None,
            }
            nodes.push(index);
        }
        let table = tokens.filter(|table| table.shape().len() == 2 && table.shape()[1] == self.width)?;
        let wanted: Shape = vec![1, self.rows, self.width];
        let (mut positions, mut segment) = (vec![0f32; self.rows * self.width], vec![0f32; self.width]);
        for constant in constants {
            let missing = wanted.len().checked_sub(constant.shape().len());
            let fits = |missing: usize| {
                constant.shape().iter().zip(&wanted[missing..]).all(|(a, b)| a == b || *a == 1)
            };
            if !missing.is_some_and(fits) {
                return None;
            }
            let all: Vec<f32> =
                places(constant.shape(), &wanted).into_iter().map(|place| constant.data()[place]).collect();
            let first = &all[..self.width];
            let alike = all.chunks(self.width).all(|row| row == first);
            let target = if alike && self.rows > 1 { &mut segment } else { &mut positions };
            target.iter_mut().zip(&all).for_each(|(sum, x)| *sum += x);
        }
        for index in nodes {
            self.used[index] = true;
        }
        Some([table.data().to_vec(), positions, segment])
    }

    /// What the result is of the last layer's rows.
    fn pooling(&mut self, output: ValueId) -> Result<(ValueId, Pooling), ImportError> {
        let whole = self.graph.shape(output);
        let value = self.rows_of(output);
        if self.made(value)?.op != Op::Div {
            if whole.iter().product::<usize>() == self.rows * whole.last().copied().unwrap_or(1)
                && self.rows > 1
            {
                return Ok((value, Pooling::None));
            }
            return Ok((self.mean(value)?, Pooling::Mean));
        }
        let division = self.need(value, "a division", |op| *op == Op::Div)?;
        let x = self.rows_of(division.inputs[0]);
        let mut length = division.inputs[1];
        while let Some(node) = self.take(length, |op| matches!(op, Op::Reshape { .. } | Op::Clamp { .. })) {
            if matches!(node.op, Op::Clamp { low, high } if low > 1e-6 || high < 1e30) {
                return Err(refuse(
                    node,
                    "limits the length of an embedding; only a tiny lower limit is supported",
                ));
            }
            length = node.inputs[0];
        }
        let root = self.need(length, "the length of the embedding", |op| *op == Op::Sqrt)?;
        let (sum, _) = self.moves(root.inputs[0]);
        let sum = self.need(sum, "a sum of squares", |op| *op == Op::Reduce(Reduction::Sum))?;
        let (square, _) = self.moves(sum.inputs[0]);
        let square = self.need(square, "squares", |op| *op == Op::Mul)?;
        let operands = [self.rows_of(square.inputs[0]), self.rows_of(square.inputs[1])];
        if operands != [x, x] {
            return Err(refuse(square, "is not the square of what is divided by the length"));
        }
        Ok((self.mean(x)?, Pooling::UnitMean))
    }

    /// The rows that a value is the mean of.
    fn mean(&mut self, value: ValueId) -> Result<ValueId, ImportError> {
        let mut value = value;
        let mut scale = 1.0;
        loop {
            value = self.moves(value).0;
            match self.factor(value) {
                Some(factor) => scale *= factor,
                None => break,
            }
            value = self.made(value)?.inputs[0];
        }
        let node = self.need(value, "a mean over the tokens", |op| {
            matches!(op, Op::Reduce(Reduction::Mean | Reduction::Sum))
        })?;
        if node.op == Op::Reduce(Reduction::Sum) {
            scale *= self.rows as f64;
        }
        let (mut value, moves) = self.moves(node.inputs[0]);
        let shape = self.graph.shape(value).to_vec();
        self.width = shape.last().copied().unwrap_or(1);
        let (rows, width) = (self.rows, self.width);
        self.check_places(node, &moves, &shape, "averages", |place| place % rows * width + place / rows)?;
        while let Some(factor) = self.factor(value) {
            scale *= factor;
            value = self.rows_of(self.made(value)?.inputs[0]);
        }
        if (scale - 1.0).abs() > NEAR {
            return Err(refuse(node, format!("gives {scale} times the mean of the tokens")));
        }
        Ok(self.rows_of(value))
    }
}

/// Where in rows of the width, or in heads one after the other, an element comes from.
impl Heads {
    /// Row `t`, head `h`, channel `c` from head-major places.
    fn in_heads(&self, place: usize, matcher: &Matcher) -> usize {
        let (t, h, c) = (place / matcher.width, place % matcher.width / self.size, place % self.size);
        (h * matcher.rows + t) * self.size + c
    }

    /// Head `h`, row `t`, channel `c` from rows.
    fn in_rows(&self, place: usize, matcher: &Matcher) -> usize {
        let (h, t, c) =
            (place / self.size / matcher.rows, place / self.size % matcher.rows, place % self.size);
        t * matcher.width + h * self.size + c
    }

    /// Head `h`, channel `c`, row `t` from rows.
    fn in_columns(&self, place: usize, matcher: &Matcher) -> usize {
        let (h, c, t) =
            (place / matcher.rows / self.size, place / matcher.rows % self.size, place % matcher.rows);
        t * matcher.width + h * self.size + c
    }
}
