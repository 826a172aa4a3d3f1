//! A proof's file that comes in pieces.

use circlet_core::file::{ContentError, Header};
use circlet_verifier::{Key, Refusal};
use js_sys::{Object, Uint8Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{bytes, judge, read_key};

/// A key, and what has come of a proof's file.
///
/// The verifier itself reads as it goes, but JavaScript cannot make it wait for the next piece; so the pieces are kept.
#[wasm_bindgen]
pub struct Reading {
    key: Result<Key, Refusal>,
    proof: Vec<u8>,
}

#[wasm_bindgen]
impl Reading {
    /// Nothing has come yet.
    #[wasm_bindgen(constructor)]
    pub fn new(key: &Uint8Array) -> Result<Self, JsValue> {
        Ok(Self { key: read_key(key)?, proof: Vec::new() })
    }

    /// Whether more pieces can change the verdict: the key can be used, and the file begins as a proof under it does and
    /// is not too long.
    #[wasm_bindgen(getter)]
    pub fn open(&self) -> bool {
        let begins = |key: &Key| Header::split(&self.proof, key.proofs()).map(|_| ());
        match self.key.as_ref().map(begins) {
            Ok(Ok(()) | Err(ContentError::Empty { .. } | ContentError::Truncated)) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &Uint8Array) -> Result<(), JsValue> {
        match &self.key {
            Ok(key) => {
                let most = bytes::limit(key.proofs()).saturating_add(1);
                bytes::append(&mut self.proof, piece, most)
            }
            Err(_) => Ok(()),
        }
    }

    /// The verdict on what has come.
    pub fn finish(self, registration: Option<Uint8Array>) -> Result<Object, JsValue> {
        judge(self.key, &self.proof, registration)
    }
}
