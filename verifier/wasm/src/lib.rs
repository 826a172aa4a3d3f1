//! The verifier for JavaScript: bytes of files in, a plain object out.
//!
//! [`verify`] judges a proof that is there, [`Reading`] one that comes in pieces. Both end in the same functions of
//! `circlet_verifier` as the command line does. What a file holds never makes them throw: a file that cannot be used is
//! a verdict like others. The JavaScript around them (`js/`) checks the types of arguments.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented
    )
)]

mod bytes;
mod reading;
mod verdict;

use circlet_verifier::{Key, Refusal};
use js_sys::{Object, Uint8Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

pub use reading::Reading;

/// Judges the bytes of a proof's file under those of a key's file, and those of a registration if there are any.
#[wasm_bindgen]
pub fn verify(
    key: &Uint8Array,
    proof: &Uint8Array,
    registration: Option<Uint8Array>,
) -> Result<Object, JsValue> {
    let key = read_key(key)?;
    let proof = match &key {
        Ok(key) => bytes::of_file(proof, key.proofs())?,
        Err(_) => Vec::new(),
    };
    judge(key, &proof, registration)
}

/// A key, if the file holds one; the error is that there is not enough memory.
fn read_key(file: &Uint8Array) -> Result<Result<Key, Refusal>, JsValue> {
    let file = bytes::of_file(file, &Key::KINDS)?;
    Ok(Key::from_file(&file).map_err(Refusal::Key))
}

/// The verdict, as an object.
fn judge(
    key: Result<Key, Refusal>,
    proof: &[u8],
    registration: Option<Uint8Array>,
) -> Result<Object, JsValue> {
    let key = match key {
        Ok(key) => key,
        Err(refusal) => return Ok(verdict::refused(None, verdict::Part::of(&refusal), &refusal.to_string())),
    };
    let proven = match circlet_verifier::verify_file(&key, proof) {
        Ok(proven) => proven,
        Err(refusal) => {
            return Ok(verdict::refused(Some(&key), verdict::Part::of(&refusal), &refusal.to_string()));
        }
    };
    let registered = registration.is_some();
    if let Some(file) = registration {
        let file = bytes::of_file(&file, &[circlet_core::file::Kind::Registration])?;
        if let Err(refusal) = circlet_verifier::verify_registration_file(&key, &file) {
            let reason = format!("the registration: {refusal}");
            return Ok(verdict::refused(Some(&key), verdict::Part::Registration, &reason));
        }
    }
    Ok(verdict::accepted(&key, &proven, registered))
}
