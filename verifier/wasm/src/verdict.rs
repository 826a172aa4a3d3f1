//! Verdicts as objects of JavaScript; `js/index.d.ts` says what they look like.

use std::fmt::Write;

use circlet_core::decoder::Turn;
use circlet_core::key::{Statement, VerifyingKey};
use circlet_core::program::{Tensor, TensorId};
use circlet_verifier::{Key, Proven, Refusal};
use js_sys::{Array, Int32Array, Object, Reflect, Uint32Array};
use wasm_bindgen::JsValue;

/// What is refused.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The key's file.
    Key,
    /// The proof's file, before anything in it was judged.
    File,
    /// The proof.
    Proof,
    /// The registration.
    Registration,
}

impl Part {
    /// What a refusal is of.
    pub fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Key(_) => Self::Key,
            Refusal::Proof(_) => Self::File,
            Refusal::Reject(_) => Self::Proof,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::File => "file",
            Self::Proof => "proof",
            Self::Registration => "registration",
        }
    }
}

/// An accepted proof.
pub fn accepted(key: &Key, proven: &Proven, registered: bool) -> Object {
    object(&[
        ("ok", true.into()),
        ("statement", statement(key, proven).into()),
        ("reason", JsValue::NULL),
        ("refused", JsValue::NULL),
        ("key", key_object(key).into()),
        ("bounds", if registered { "registered" } else { "trusted" }.into()),
    ])
}

/// Anything else.
pub fn refused(key: Option<&Key>, part: Part, reason: &str) -> Object {
    object(&[
        ("ok", false.into()),
        ("statement", JsValue::NULL),
        ("reason", reason.into()),
        ("refused", part.name().into()),
        ("key", key.map_or(JsValue::NULL, |key| key_object(key).into())),
        ("bounds", JsValue::NULL),
    ])
}

fn key_object(key: &Key) -> Object {
    let mut digest = String::new();
    for byte in key.digest() {
        // Writing to memory does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    object(&[("digest", digest.into()), ("model", key.name().into())])
}

fn statement(key: &Key, proven: &Proven) -> Object {
    match proven {
        Proven::Program(statement) => program(key, statement),
        Proven::Text(text) => object(&[
            ("kind", "text".into()),
            ("tokens", words(&text.tokens).into()),
            ("prompt", text.prompt.into()),
        ]),
        Proven::Chat(chat) => {
            let turn = |turn: &Turn| {
                object(&[("given", words(&turn.given).into()), ("generated", words(&turn.generated).into())])
            };
            let turns: Array = chat.turns.iter().map(turn).collect();
            object(&[("kind", "chat".into()), ("turns", turns.into())])
        }
        Proven::Encoding(encoding) => object(&[
            ("kind", "encoding".into()),
            ("tokens", words(&encoding.tokens).into()),
            ("vector", Int32Array::from(encoding.embedding.as_slice()).into()),
        ]),
    }
}

fn program(key: &Key, statement: &Statement) -> Object {
    let (own, inputs, outputs): (&[Tensor], &[TensorId], &[TensorId]) = match key {
        Key::Program(VerifyingKey { program, .. }) => (&program.tensors, &program.inputs, &program.outputs),
        // Their proofs are not of programs.
        Key::Decoder(_) | Key::Encoder(_) => (&[], &[], &[]),
    };
    let tensors = |ids: &[TensorId], values: &[Vec<i32>]| -> Array {
        let tensors = ids.iter().map(|id| own.get(id.0 as usize));
        tensors.zip(values).filter_map(|(own, values)| own.map(|own| tensor(own, values))).collect()
    };
    object(&[
        ("kind", "program".into()),
        ("inputs", tensors(inputs, &statement.inputs).into()),
        ("outputs", tensors(outputs, &statement.outputs).into()),
        ("lists", statement.lists.iter().map(|list| words(list)).collect::<Array>().into()),
    ])
}

fn tensor(tensor: &Tensor, values: &[i32]) -> Object {
    object(&[
        ("name", tensor.name.as_str().into()),
        ("rows", tensor.rows.into()),
        ("cols", tensor.cols.into()),
        ("fractionBits", tensor.fraction_bits.into()),
        ("values", Int32Array::from(values).into()),
    ])
}

fn words(words: &[u32]) -> Uint32Array {
    Uint32Array::from(words)
}

fn object(entries: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in entries {
        // A new object takes every property.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}
