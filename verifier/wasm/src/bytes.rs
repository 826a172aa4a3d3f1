//! Bytes that come from JavaScript, no more of them than a file can have.

use circlet_core::file::Kind;
use js_sys::{RangeError, Uint8Array};
use wasm_bindgen::JsValue;

/// The most bytes that a file of one of these kinds has.
pub fn limit(kinds: &[Kind]) -> usize {
    kinds.iter().map(|kind| kind.limit()).max().map_or(0, |most| most.try_into().unwrap_or(usize::MAX))
}

/// A file of one of these kinds. Of one that is too long there is one byte too many, which is enough to refuse it.
pub fn of_file(array: &Uint8Array, kinds: &[Kind]) -> Result<Vec<u8>, JsValue> {
    let mut bytes = Vec::new();
    append(&mut bytes, array, limit(kinds).saturating_add(1))?;
    Ok(bytes)
}

/// Appends an array, as far as there are at most so many bytes then.
pub fn append(bytes: &mut Vec<u8>, array: &Uint8Array, most: usize) -> Result<(), JsValue> {
    let start = bytes.len();
    let count = most.saturating_sub(start).min(array.length() as usize);
    if bytes.try_reserve(count).is_err() {
        return Err(RangeError::new("there is not enough memory for the file").into());
    }
    bytes.resize(start + count, 0);
    let head =
        Uint8Array::new_with_byte_offset_and_length(&array.buffer(), array.byte_offset(), count as u32);
    if let Some(place) = bytes.get_mut(start..) {
        head.copy_to(place);
    }
    Ok(())
}
