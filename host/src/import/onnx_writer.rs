//! Writes small ONNX models: for tests, and to export graphs to other tools.
//!
//! ```
//! use circlet::import::onnx_writer::{Attr, Dim, OnnxWriter};
//! let mut model = OnnxWriter::new(17);
//! model.input("x", &[Dim::Symbol("N"), Dim::Fixed(2)]);
//! model.weights("w", &[3, 2], &[1.0; 6]);
//! model.node("Gemm", &["x", "w"], &["y"], &[("transB", Attr::Int(1))]);
//! model.output("y", &[Dim::Symbol("N"), Dim::Fixed(3)]);
//! let graph = circlet::import::onnx::import_bytes(&model.to_bytes(), Default::default()).unwrap();
//! assert_eq!(graph.shape(graph.outputs()[0].value), [1, 3]);
//! ```

/// A dimension of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim<'a> {
    /// A known size.
    Fixed(usize),
    /// A size named for the caller to choose.
    Symbol(&'a str),
}

/// The value of a node's attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attr<'a> {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A string.
    Text(&'a str),
    /// A list of integers.
    Ints(&'a [i64]),
    /// A list of floats.
    Floats(&'a [f32]),
    /// A float tensor: its dimensions and elements.
    Tensor(&'a [usize], &'a [f32]),
}

/// Builds one ONNX model. Nothing is checked: it can also write the broken models that tests need.
#[derive(Clone, Debug, Default)]
pub struct OnnxWriter {
    opsets: Message,
    graph: Message,
    nodes: usize,
}

impl OnnxWriter {
    /// A model of the given version of the standard operator set.
    pub fn new(opset: i64) -> Self {
        let mut writer = Self::default();
        writer.opset("", opset);
        writer
    }

    /// Declares an operator set. [`OnnxWriter::default`] starts with none.
    pub fn opset(&mut self, domain: &str, version: i64) {
        self.opsets.message(8, Message::new().text(1, domain).int(2, version));
    }

    /// Adds a float input.
    pub fn input(&mut self, name: &str, dims: &[Dim]) {
        self.typed_input(name, FLOAT, dims);
    }

    /// Adds an input of any element type, by its ONNX number.
    pub fn typed_input(&mut self, name: &str, data_type: i32, dims: &[Dim]) {
        self.graph.message(11, &value_info(name, data_type, dims));
    }

    /// Adds a float output.
    pub fn output(&mut self, name: &str, dims: &[Dim]) {
        self.graph.message(12, &value_info(name, FLOAT, dims));
    }

    /// Adds a float initializer.
    pub fn weights(&mut self, name: &str, dims: &[usize], data: &[f32]) {
        self.graph.message(5, floats(dims, data).text(8, name));
    }

    /// Adds a one-dimensional int64 initializer, such as a shape.
    pub fn integers(&mut self, name: &str, data: &[i64]) {
        let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw_tensor(name, INT64, &[data.len() as i64], &raw);
    }

    /// Adds an initializer of any element type, by its ONNX number, from little-endian bytes.
    pub fn raw_tensor(&mut self, name: &str, data_type: i32, dims: &[i64], raw: &[u8]) {
        self.graph.message(5, tensor(data_type, dims).bytes(9, raw).text(8, name));
    }

    /// Adds a float initializer whose data is in another file.
    pub fn external_tensor(&mut self, name: &str, dims: &[i64], location: &str) {
        let mut proto = tensor(FLOAT, dims);
        proto.text(8, name).message(13, Message::new().text(1, "location").text(2, location));
        self.graph.message(5, proto.int(14, 1));
    }

    /// Adds a node named after its operator and position. A `domain::Op` goes to another domain.
    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[(&str, Attr)]) {
        let (domain, op) = op.split_once("::").unwrap_or(("", op));
        let mut node = Message::new();
        for input in inputs {
            node.text(1, input);
        }
        for output in outputs {
            node.text(2, output);
        }
        node.text(3, &format!("{op}_{}", self.nodes)).text(4, op);
        for (name, value) in attrs {
            node.message(5, &attribute(name, *value));
        }
        if !domain.is_empty() {
            node.text(7, domain);
        }
        self.graph.message(1, &node);
        self.nodes += 1;
    }

    /// The bytes of the model file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut graph = self.graph.clone();
        graph.text(2, "circlet");
        let mut model = Message::new();
        model.int(1, 8).text(2, "circlet").message(7, &graph);
        model.0.extend(&self.opsets.0);
        model.0
    }
}

const FLOAT: i32 = 1;
const INT64: i32 = 7;

fn value_info(name: &str, data_type: i32, dims: &[Dim]) -> Message {
    let mut shape = Message::new();
    for dim in dims {
        let mut proto = Message::new();
        match dim {
            Dim::Fixed(size) => proto.int(1, *size as i64),
            Dim::Symbol(name) => proto.text(2, name),
        };
        shape.message(1, &proto);
    }
    let mut tensor = Message::new();
    tensor.int(1, data_type.into()).message(2, &shape);
    let mut info = Message::new();
    info.text(1, name).message(2, Message::new().message(1, &tensor));
    info
}

fn tensor(data_type: i32, dims: &[i64]) -> Message {
    let mut proto = Message::new();
    for &dim in dims {
        proto.int(1, dim);
    }
    proto.int(2, data_type.into());
    proto
}

fn floats(dims: &[usize], data: &[f32]) -> Message {
    let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut proto = tensor(FLOAT, &dims);
    proto.bytes(9, &raw);
    proto
}

fn attribute(name: &str, value: Attr) -> Message {
    let mut attr = Message::new();
    attr.text(1, name);
    let kind = match value {
        Attr::Float(v) => {
            attr.float(2, v);
            1
        }
        Attr::Int(v) => {
            attr.int(3, v);
            2
        }
        Attr::Text(v) => {
            attr.text(4, v);
            3
        }
        Attr::Tensor(dims, data) => {
            attr.message(5, &floats(dims, data));
            4
        }
        Attr::Floats(values) => {
            for &v in values {
                attr.float(7, v);
            }
            6
        }
        Attr::Ints(values) => {
            for &v in values {
                attr.int(8, v);
            }
            7
        }
    };
    attr.int(20, kind);
    attr
}

/// A protobuf message under construction: fields of a number, a wire type and a value.
#[derive(Clone, Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: i64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn text(&mut self, field: u64, value: &str) -> &mut Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(&mut self, field: u64, value: &Self) -> &mut Self {
        self.bytes(field, &value.0)
    }
}
