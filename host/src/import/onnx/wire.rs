//! A strict check of the protobuf bytes before they are decoded.
//!
//! Protobuf decoders forgive: they take a truncated message for a shorter one and trust lengths.
//! This walks the messages of an ONNX file once, allocates nothing, and refuses whatever is not
//! exactly well formed: varints over 64 bits, lengths beyond the enclosing message, wrong wire
//! types, groups, repeated parts that must be single, too deep nesting and too many messages. The
//! decoder that runs afterwards then meets only bytes on which it is total.

use super::super::ImportError;

/// What a known field holds.
#[derive(Clone, Copy)]
enum Kind {
    Varint,
    Fixed32,
    Bytes,
    /// Repeated numbers, each on its own or packed.
    Varints,
    Fixed32s,
    Fixed64s,
    One(&'static Schema),
    Many(&'static Schema),
}

struct Schema {
    name: &'static str,
    fields: &'static [(u64, Kind)],
}

use Kind::{Bytes, Fixed32, Fixed32s, Fixed64s, Many, One, Varint, Varints};

static MODEL: Schema = Schema {
    name: "model",
    fields: &[(1, Varint), (2, Bytes), (3, Bytes), (7, One(&GRAPH)), (8, Many(&OPSET)), (14, Many(&ENTRY))],
};
static GRAPH: Schema = Schema {
    name: "graph",
    fields: &[(1, Many(&NODE)), (5, Many(&TENSOR)), (11, Many(&INFO)), (12, Many(&INFO)), (13, Many(&INFO))],
};
static NODE: Schema = Schema {
    name: "node",
    fields: &[(1, Bytes), (2, Bytes), (3, Bytes), (4, Bytes), (5, Many(&ATTRIBUTE)), (7, Bytes)],
};
static ATTRIBUTE: Schema = Schema {
    name: "attribute",
    fields: &[
        (1, Bytes),
        (2, Fixed32),
        (3, Varint),
        (4, Bytes),
        (5, One(&TENSOR)),
        (6, One(&GRAPH)),
        (7, Fixed32),
        (8, Varint),
        (9, Bytes),
        (20, Varint),
    ],
};
static TENSOR: Schema = Schema {
    name: "tensor",
    fields: &[
        (1, Varint),
        (2, Varint),
        (4, Fixed32s),
        (5, Varints),
        (7, Varints),
        (8, Bytes),
        (9, Bytes),
        (10, Fixed64s),
        (13, Many(&ENTRY)),
        (14, Varint),
    ],
};
static INFO: Schema = Schema { name: "value info", fields: &[(1, Bytes), (2, One(&TYPE))] };
static TYPE: Schema = Schema { name: "type", fields: &[(1, One(&TENSOR_TYPE)), (4, One(&SEQUENCE))] };
static SEQUENCE: Schema = Schema { name: "sequence type", fields: &[(1, One(&TYPE))] };
static TENSOR_TYPE: Schema = Schema { name: "tensor type", fields: &[(1, Varint), (2, One(&SHAPE))] };
static SHAPE: Schema = Schema { name: "shape", fields: &[(1, Many(&DIMENSION))] };
static DIMENSION: Schema = Schema { name: "dimension", fields: &[(1, Varint), (2, Bytes)] };
static OPSET: Schema = Schema { name: "operator set", fields: &[(1, Bytes), (2, Varint)] };
static ENTRY: Schema = Schema { name: "key and value", fields: &[(1, Bytes), (2, Bytes)] };

/// Models nest six deep; subgraphs, which no supported operator has, add three each.
const MAX_DEPTH: usize = 24;
/// A decoded message takes up to some hundred bytes of memory.
const MAX_MESSAGES: usize = 1 << 19;

/// Checks that `bytes` are one well-formed ONNX model message.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImportError> {
    let mut walk = Walk { bytes, at: 0, messages: 0 };
    walk.message(&MODEL, bytes.len(), 0)
}

/// Checks that `bytes` are one well-formed tensor message.
pub(super) fn check_tensor(bytes: &[u8]) -> Result<(), ImportError> {
    let mut walk = Walk { bytes, at: 0, messages: 0 };
    walk.message(&TENSOR, bytes.len(), 0)
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    messages: usize,
}

impl Walk<'_> {
    fn fail(&self, detail: impl Into<String>) -> ImportError {
        ImportError::Malformed { offset: self.at, detail: detail.into() }
    }

    fn message(&mut self, schema: &Schema, end: usize, depth: usize) -> Result<(), ImportError> {
        self.messages += 1;
        if depth > MAX_DEPTH {
            return Err(self.fail("messages are nested too deeply"));
        }
        if self.messages > MAX_MESSAGES {
            return Err(self.fail("more than half a million nodes, attributes and shapes"));
        }
        let mut seen = 0u64;
        while self.at < end {
            let tag = self.varint(end, schema)?;
            let number = tag >> 3;
            if number == 0 || number >= 1 << 29 {
                return Err(self.fail(format!("a field of a {} has an invalid number", schema.name)));
            }
            let kind = schema.fields.iter().find(|(n, _)| *n == number).map(|(_, kind)| *kind);
            if let Some(One(inner)) = kind {
                if seen & (1 << number) != 0 {
                    return Err(self.fail(format!("a {} holds more than one {}", schema.name, inner.name)));
                }
                seen |= 1 << number;
            }
            match (tag & 7, kind) {
                (0, None | Some(Varint | Varints)) => {
                    self.varint(end, schema)?;
                }
                (1, None | Some(Fixed64s)) => self.skip(8, end, schema)?,
                (5, None | Some(Fixed32 | Fixed32s)) => self.skip(4, end, schema)?,
                (2, None | Some(Bytes | Varints | Fixed32s | Fixed64s | One(_) | Many(_))) => {
                    let len = usize::try_from(self.varint(end, schema)?).unwrap_or(usize::MAX);
                    if len > end - self.at {
                        return Err(self.cut(schema));
                    }
                    self.payload(schema, kind, self.at + len, depth)?;
                }
                _ => return Err(self.fail(format!("field {number} of a {} has the wrong type", schema.name))),
            }
        }
        Ok(())
    }

    fn payload(
        &mut self,
        schema: &Schema,
        kind: Option<Kind>,
        end: usize,
        depth: usize,
    ) -> Result<(), ImportError> {
        match kind {
            Some(One(inner) | Many(inner)) => self.message(inner, end, depth + 1),
            Some(Varints) => {
                while self.at < end {
                    self.varint(end, schema)?;
                }
                Ok(())
            }
            Some(Fixed32s) if !(end - self.at).is_multiple_of(4) => Err(self.cut(schema)),
            Some(Fixed64s) if !(end - self.at).is_multiple_of(8) => Err(self.cut(schema)),
            _ => {
                self.at = end;
                Ok(())
            }
        }
    }

    fn cut(&self, schema: &Schema) -> ImportError {
        self.fail(format!("a {} is cut off", schema.name))
    }

    fn skip(&mut self, len: usize, end: usize, schema: &Schema) -> Result<(), ImportError> {
        if len > end - self.at {
            return Err(self.cut(schema));
        }
        self.at += len;
        Ok(())
    }

    fn varint(&mut self, end: usize, schema: &Schema) -> Result<u64, ImportError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(self.cut(schema));
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fail(format!("a number in a {} has more than 64 bits", schema.name)))
    }
}
