//! Reading one node of the file: its label, its operator and its attributes.

use rten_onnx::onnx::{AttributeProto, AttributeType, NodeProto, TensorProto};

use super::super::ImportError;

/// The standard domain has two names.
pub(super) fn is_standard(domain: Option<&str>) -> bool {
    matches!(domain, None | Some("" | "ai.onnx"))
}

/// A node and its position in the file.
#[derive(Clone, Copy)]
pub(super) struct NodeRef<'m> {
    pub proto: &'m NodeProto,
    pub index: usize,
}

impl<'m> NodeRef<'m> {
    /// The operator without its domain.
    pub fn op_type(self) -> &'m str {
        self.proto.op_type.as_deref().unwrap_or_default()
    }

    /// The operator, with its domain unless standard.
    pub fn op(self) -> String {
        match self.proto.domain.as_deref() {
            domain if is_standard(domain) => self.op_type().into(),
            domain => format!("{}::{}", domain.unwrap_or_default(), self.op_type()),
        }
    }

    /// The node's name, or one made of its operator and position.
    pub fn label(self) -> String {
        match self.proto.name.as_deref() {
            Some(name) if !name.is_empty() => name.into(),
            _ => format!("{}#{}", self.op_type(), self.index),
        }
    }

    /// A refusal of this node. `detail` says what is wrong and what to do.
    pub fn refuse(self, detail: impl Into<String>) -> ImportError {
        ImportError::Unsupported { node: self.label(), op: self.op(), detail: detail.into() }
    }

    /// The name of an input, when the node has it.
    pub fn input(self, i: usize) -> Option<&'m str> {
        self.proto.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of the result.
    pub fn output(self) -> &'m str {
        self.proto.output.first().map_or("", String::as_str)
    }

    /// The name of result `i`, when something may read it.
    pub fn output_name(self, i: usize) -> Option<&'m str> {
        self.proto.output.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Refuses attributes other than the given ones, and attributes given twice.
    pub fn only_attributes(self, known: &[&str]) -> Result<(), ImportError> {
        let names: Vec<&str> = self.proto.attribute.iter().map(attribute_name).collect();
        for (i, name) in names.iter().enumerate() {
            if !known.contains(name) {
                return Err(self.refuse(format!(
                    "attribute {name:?} is not supported (known here: {known:?}); export the model without it"
                )));
            }
            if names[..i].contains(name) {
                return Err(self.refuse(format!("attribute {name:?} is given twice; export the model again")));
            }
        }
        Ok(())
    }

    /// Refuses more inputs than the operator takes.
    pub fn at_most_inputs(self, count: usize) -> Result<(), ImportError> {
        match self.proto.input.len() {
            n if n <= count => Ok(()),
            n => Err(self.refuse(format!(
                "has {n} inputs, but {count} at most are supported; export the model again"
            ))),
        }
    }

    fn attribute(self, name: &str) -> Option<&'m AttributeProto> {
        self.proto.attribute.iter().find(|a| attribute_name(a) == name)
    }

    fn typed<T>(
        self,
        name: &str,
        kind: AttributeType,
        get: impl Fn(&'m AttributeProto) -> Option<T>,
        zero: Option<T>,
    ) -> Result<Option<T>, ImportError> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        // Some writers leave a zero out.
        let value = get(attribute).or_else(|| zero.filter(|_| attribute.r#type == Some(kind)));
        value.map(Some).ok_or_else(|| {
            self.refuse(format!("attribute {name:?} has the wrong type; export the model again"))
        })
    }

    pub fn int(self, name: &str) -> Result<Option<i64>, ImportError> {
        self.typed(name, AttributeType::INT, |a| a.i, Some(0))
    }

    /// A finite float.
    pub fn float(self, name: &str) -> Result<Option<f32>, ImportError> {
        match self.typed(name, AttributeType::FLOAT, |a| a.f, Some(0.0))? {
            Some(v) if !v.is_finite() => Err(self
                .refuse(format!("attribute {name:?} is {v}; only finite values can be used, so correct it"))),
            value => Ok(value),
        }
    }

    pub fn text(self, name: &str) -> Result<Option<&'m str>, ImportError> {
        self.typed(name, AttributeType::STRING, |a| a.s.as_deref(), Some(""))
    }

    pub fn ints(self, name: &str) -> Option<&'m [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn floats(self, name: &str) -> Option<&'m [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    pub fn tensor(self, name: &str) -> Result<Option<&'m TensorProto>, ImportError> {
        self.typed(name, AttributeType::TENSOR, |a| a.t.as_ref(), None)
    }
}

fn attribute_name(attribute: &AttributeProto) -> &str {
    attribute.name.as_deref().unwrap_or_default()
}
