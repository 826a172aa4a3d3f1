//! One case: a model of one node, its inputs and what must come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use circlet::graph::{Graph, Tensor};
use circlet::import::ImportOptions;
use circlet::import::onnx::{Constant, Part, import_part, read_tensor};

use crate::proto::{Single, single};
use crate::repair::repair;

/// Operands that are weights, shapes, indices or masks: they become constants of the model.
fn parameters(op: &str) -> &'static [usize] {
    match op {
        "Gather" | "Reshape" | "RMSNormalization" | "Split" => &[1],
        "DequantizeLinear" | "Gemm" | "LayerNormalization" | "QuantizeLinear" => &[1, 2],
        "RotaryEmbedding" => &[1, 2, 3],
        "Slice" => &[1, 2, 3, 4],
        "MatMulInteger" => &[2, 3],
        "QLinearMatMul" => &[1, 2, 4, 5, 6, 7],
        "Attention" => &[3],
        _ => &[],
    }
}

pub struct Case {
    pub name: String,
    folder: PathBuf,
    pub node: Single,
    model: Vec<u8>,
}

/// A case that was imported.
pub struct Imported {
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
    /// Of the outputs that the graph has.
    pub expected: Vec<Tensor>,
}

impl Case {
    pub fn read(folder: &Path) -> Self {
        let model = fs::read(folder.join("model.onnx")).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy();
        Self { name: name["test_".len()..].into(), folder: folder.into(), node: single(&model), model }
    }

    fn tensor(&self, kind: &str, i: usize) -> Result<Constant, String> {
        let path = self.folder.join(format!("test_data_set_0/{kind}_{i}.pb"));
        read_tensor(&fs::read(path).unwrap()).map_err(|error| error.to_string())
    }

    /// Whether an operand becomes a constant. An operand that repeats over the first is a bias.
    fn is_parameter(&self, name: &str) -> bool {
        let place = self.node.operands.iter().position(|operand| operand == name).unwrap();
        place > 0 && (parameters(&self.node.op).contains(&place) || self.name.ends_with("_bcast"))
    }

    /// Imports the model, with all its outputs or the first alone.
    pub fn import(&self, all_outputs: bool) -> Result<Imported, String> {
        let names = &self.node.inputs;
        let mut fixed = BTreeMap::new();
        for (i, name) in names.iter().enumerate().filter(|(_, name)| self.is_parameter(name)) {
            fixed.insert(name.clone(), self.tensor("input", i)?);
        }
        let outputs = (!all_outputs).then(|| self.node.outputs[..1].to_vec());
        let part = Part { fixed, outputs, length: None };
        let graph = import_part(&self.model, ImportOptions::default(), &part).map_err(|e| e.to_string())?;
        let mut inputs = Vec::new();
        for (i, name) in names.iter().enumerate().filter(|(_, name)| !self.is_parameter(name)) {
            inputs.push(number(name, self.tensor("input", i)?));
        }
        let mut expected = Vec::new();
        for (i, name) in self.node.outputs.iter().enumerate().take(graph.outputs().len()) {
            expected.push(number(name, self.tensor("output", i)?));
        }
        if self.node.op == "Attention" {
            repair(&self.node, &mut inputs, &mut expected);
        }
        Ok(Imported { graph, inputs, expected })
    }
}

fn number(name: &str, constant: Constant) -> Tensor {
    match constant {
        Constant::Float(tensor) => tensor,
        Constant::Ints(ints) => ints.to_tensor(name).unwrap(),
    }
}
