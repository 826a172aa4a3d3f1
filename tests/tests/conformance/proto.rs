//! Reads of a case's model what the tests need: the operator and the names around it.

use std::ops::Range;

/// The only node of a model, and the model's inputs and outputs.
#[derive(Debug, Default)]
pub struct Single {
    pub op: String,
    /// Names of the node's operands; empty where one is left out.
    pub operands: Vec<String>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Attributes that are integers.
    pub integers: Vec<(String, u64)>,
}

pub fn single(model: &[u8]) -> Single {
    let mut single = Single::default();
    for graph in parts(model, 7) {
        for node in parts(graph, 1) {
            single.op = parts(node, 4).map(text).collect();
            single.operands = parts(node, 1).map(text).collect();
            for attribute in parts(node, 5) {
                let value = fields(attribute).find(|(number, _, _)| *number == 3);
                let name = parts(attribute, 1).map(text).collect();
                single.integers.extend(value.map(|(_, value, _)| (name, value)));
            }
        }
        let names = |number| parts(graph, number).map(|info| parts(info, 1).map(text).collect()).collect();
        single.inputs = names(11);
        single.outputs = names(12);
    }
    single
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("names are text")
}

/// The fields of a number that hold bytes.
fn parts(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter(move |field| field.0 == number).filter_map(|(_, _, place)| message.get(place?))
}

/// Number, value and place of every field.
fn fields(message: &[u8]) -> impl Iterator<Item = (u64, u64, Option<Range<usize>>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let tag = varint(message, &mut at);
        let field = match tag & 7 {
            0 => (tag >> 3, varint(message, &mut at), None),
            1 => (tag >> 3, 0, Some(at..at + 8)),
            2 => {
                let len = varint(message, &mut at);
                (tag >> 3, len, Some(at..at + len as usize))
            }
            5 => (tag >> 3, 0, Some(at..at + 4)),
            kind => panic!("wire type {kind}"),
        };
        at = field.2.as_ref().map_or(at, |place| place.end);
        Some(field)
    })
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
