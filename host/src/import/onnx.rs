//! ONNX models to graphs.
//!
//! The bytes are checked (`wire`), decoded, ordered (`source`) and then lowered node by node to the
//! few operations of [`Graph`] (`lower` and a file for each family of operators); what exporters spell
//! out is put together again (`recognise`). Shapes are concrete: a symbolic
//! first dimension of an input becomes the batch size of the options.

mod arithmetic;
mod attention;
mod constants;
mod known;
mod lower;
mod matrix;
mod movement;
mod node;
mod quantized;
mod recognise;
mod reduce;
mod shapes;
mod source;
mod wire;

use std::{collections::BTreeMap, fs, path::Path};

use rten_onnx::onnx::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

pub use self::constants::{Constant, Ints};

use self::{constants::dtype, lower::Lowering, source::Source};
use super::{ImportError, ImportOptions};
use crate::graph::{Graph, Shape};

/// The oldest accepted version of the standard operator set.
const MIN_OPSET: i64 = 13;
/// Protobuf messages, and so ONNX files, end here.
const MAX_FILE: u64 = 1 << 31;

/// Reads an ONNX file.
pub fn import_file(path: &Path, options: ImportOptions) -> Result<Graph, ImportError> {
    let failed = |source| ImportError::Io { path: path.into(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(ImportError::FileTooLarge { path: path.into(), size });
    }
    import_bytes(&fs::read(path).map_err(failed)?, options)
}

/// What is known of a model beyond its file.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Inputs with a value that never changes, such as a mask, by name. They become constants.
    pub fixed: BTreeMap<String, Constant>,
    /// The outputs that are wanted, by name; all if none is given.
    pub outputs: Option<Vec<String>>,
    /// The size of symbolic dimensions behind the first, such as the length of a text.
    pub length: Option<usize>,
}

/// Reads an ONNX model from memory. Total: any bytes give a graph or an error.
pub fn import_bytes(bytes: &[u8], options: ImportOptions) -> Result<Graph, ImportError> {
    import_part(bytes, options, &Part::default())
}

/// Reads one tensor as ONNX stores it in a file of its own (`.pb`). Total, like [`import_bytes`].
pub fn read_tensor(bytes: &[u8]) -> Result<Constant, ImportError> {
    wire::check_tensor(bytes)?;
    let proto = TensorProto::decode(ValueReader::from_buf(bytes))
        .map_err(|error| ImportError::Malformed { offset: 0, detail: error.to_string() })?;
    constants::decode(proto.name.as_deref().unwrap_or_default(), &proto)
}

/// The names of a model's inputs, in order. Total, like [`import_bytes`].
pub fn input_names(bytes: &[u8]) -> Result<Vec<String>, ImportError> {
    let model = parse(bytes)?;
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let stored = |name: &str| graph.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(name));
    let names = graph.input.iter().map(|info| info.name.clone().unwrap_or_default());
    Ok(names.filter(|name| !stored(name)).collect())
}

fn parse(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    wire::check(bytes)?;
    ModelProto::parse_buf(bytes)
        .map_err(|error| ImportError::Malformed { offset: 0, detail: error.to_string() })
}

/// Reads part of an ONNX model from memory. Total, like [`import_bytes`].
pub fn import_part(bytes: &[u8], options: ImportOptions, part: &Part) -> Result<Graph, ImportError> {
    let model = parse(bytes)?;
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    check_opset(&model.opset_import)?;

    let source = Source::new(graph, part.outputs.as_deref())?;
    source.check_operators()?;
    let known = |name: &String| graph.input.iter().any(|info| info.name.as_ref() == Some(name));
    if let Some(name) = part.fixed.keys().find(|name| !known(name)) {
        return Err(ImportError::UnknownTensor {
            reader: "the list of fixed inputs".into(),
            name: name.clone(),
        });
    }
    let inputs = inputs(graph, &source, options, part)?;
    let mut lowering = Lowering::new(&source);
    for info in &graph.input {
        let name = info.name.as_deref().unwrap_or_default();
        if let Some(constant) = part.fixed.get(name) {
            lowering.fixed(name, constant.clone())?;
        }
    }
    for (name, shape, kind) in inputs {
        lowering.input(name, shape, kind)?;
    }
    for &index in source.order() {
        lowering.node(index)?;
    }
    lowering.finish()
}

fn check_opset(opsets: &[OperatorSetIdProto]) -> Result<(), ImportError> {
    let standard = |set: &&OperatorSetIdProto| node::is_standard(set.domain.as_deref());
    let set = opsets.iter().find(standard).ok_or(ImportError::OpsetMissing)?;
    match set.version {
        None => Err(ImportError::OpsetMissing),
        Some(found) if found < MIN_OPSET => Err(ImportError::OpsetTooOld { found }),
        Some(_) => Ok(()),
    }
}

/// A name, its concrete shape, and the type of its elements if they are integers.
type Input<'m> = (&'m str, Shape, Option<i32>);

/// The graph's inputs with concrete shapes. Files of old versions also list the initializers there.
fn inputs<'m>(
    graph: &'m GraphProto,
    source: &Source<'m>,
    options: ImportOptions,
    part: &Part,
) -> Result<Vec<Input<'m>>, ImportError> {
    if options.batch == 0 {
        return Err(ImportError::BatchZero);
    }
    let mut symbolic = false;
    let mut inputs = Vec::new();
    for info in &graph.input {
        let name = info.name.as_deref().unwrap_or_default();
        if source.initializer(name).is_none() && !part.fixed.contains_key(name) {
            let (shape, kind) = input_shape(name, info, (options.batch, part.length), &mut symbolic)?;
            inputs.push((name, shape, kind));
        }
    }
    if inputs.is_empty() {
        return Err(ImportError::NoInputs);
    }
    if options.batch != 1 && !symbolic {
        return Err(ImportError::BatchFixed { batch: options.batch });
    }
    Ok(inputs)
}

fn input_shape(
    name: &str,
    info: &ValueInfoProto,
    (batch, length): (usize, Option<usize>),
    symbolic: &mut bool,
) -> Result<(Shape, Option<i32>), ImportError> {
    let refuse = |detail: String| ImportError::Input { name: name.into(), detail };
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor =
        tensor.ok_or_else(|| refuse("is not a tensor; export the model with tensor inputs".into()))?;
    let kind = tensor.elem_type.map_or(0, |t| t.0);
    let integer = dtype::range(kind).map(|_| kind);
    if !dtype::is_float(kind) && integer.is_none() {
        return Err(refuse(format!(
            "has element type {}, which is not supported; use float32 or integers of 4 to 64 bits",
            dtype::name(kind)
        )));
    }
    let shape = tensor.shape.as_ref().filter(|s| !s.dim.is_empty());
    let shape =
        shape.ok_or_else(|| refuse("has no dimensions; export the model with known shapes".into()))?;
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        dims.push(match (dim.dim_value, &dim.dim_param) {
            (Some(size), _) if size > 0 => usize::try_from(size).unwrap_or(usize::MAX),
            (Some(size), _) => {
                return Err(refuse(format!(
                    "has size {size} in dimension {axis}; export the model with real sizes"
                )));
            }
            (None, _) if axis == 0 => {
                *symbolic = true;
                batch
            }
            (None, _) if length.is_some_and(|length| length > 0) => length.unwrap_or(1),
            (None, symbol) => {
                return Err(refuse(format!(
                    "has the symbolic size {:?} in dimension {axis}, but only the first dimension may be \
                     symbolic; export the model with a fixed size there",
                    symbol.as_deref().unwrap_or("?")
                )));
            }
        });
    }
    Ok((dims, integer))
}

#[cfg(test)]
mod tests;
