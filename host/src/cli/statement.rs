//! Statements for people and programs.

use circlet::quantize::dequantize_output;
use circlet_core::key::Statement;
use circlet_core::program::{Program, Tensor, TensorId};
use serde_json::{Value, json};

use super::text;

/// How many entries of a tensor are shown.
const SHOWN: usize = 10;

/// The tensors behind ids, which may be any in a file.
pub fn tensors<'a>(program: &'a Program, ids: &'a [TensorId]) -> impl Iterator<Item = &'a Tensor> {
    ids.iter().filter_map(|id| program.tensors.get(id.0 as usize))
}

/// Inputs and outputs, shortened.
pub fn lines(program: &Program, statement: &Statement) -> String {
    let mut out = String::new();
    for (title, ids, lists) in sides(program, statement) {
        for (tensor, entries) in tensors(program, ids).zip(lists) {
            let values = dequantize_output(tensor, entries);
            out += &format!(
                "  {title} {} ({} x {}), integers times 2^{}\n    values   {}\n    integers {}\n",
                tensor.name,
                tensor.rows,
                tensor.cols,
                -i32::from(tensor.fraction_bits),
                text::shortened(&values, SHOWN, |v| format!("{v:.4}")),
                text::shortened(entries, SHOWN, ToString::to_string),
            );
        }
    }
    out
}

fn sides<'a>(
    program: &'a Program,
    statement: &'a Statement,
) -> [(&'static str, &'a [TensorId], &'a [Vec<i32>]); 2] {
    [("input", &program.inputs, &statement.inputs), ("output", &program.outputs, &statement.outputs)]
}

/// Inputs and outputs in full, as numbers and as integers. The object can be read as an input file.
pub fn json(program: &Program, statement: &Statement) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    for (title, ids, lists) in sides(program, statement) {
        let values: Vec<Vec<f64>> = tensors(program, ids)
            .zip(lists)
            .map(|(tensor, entries)| dequantize_output(tensor, entries).into_iter().map(f64::from).collect())
            .collect();
        object.insert(format!("{title}s"), json!(values));
        object.insert(format!("{title}_integers"), json!(lists));
    }
    object
}
