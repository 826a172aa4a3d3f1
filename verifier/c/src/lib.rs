//! The verifier as a C library: what is declared in `include/circlet.h`, which is made from this file.
//!
//! Every function here turns what C has (pointers, lengths, callbacks) into slices and calls the safe part: the
//! functions of `circlet_verifier`. All `unsafe` is in this file and in `raw`. No panic leaves a function.

mod raw;
mod statement;

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use circlet_core::key::VERSION;
use circlet_verifier::{Key, Proven, Refusal, Reject};

use crate::raw::Room;
use crate::statement::Statement;

/// What a call has ended in. Only zero is success.
#[allow(non_camel_case_types, clippy::upper_case_acronyms)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum circlet_result {
    /// The proof is accepted, or what was asked for is done.
    CIRCLET_OK = 0,
    /// The proof, or the registration, is wrong.
    CIRCLET_REJECTED = 1,
    /// The key's file cannot be used.
    CIRCLET_BAD_KEY = 2,
    /// The proof's or registration's file cannot be used.
    CIRCLET_BAD_FILE = 3,
    /// The callback has failed.
    CIRCLET_UNREAD = 4,
    /// A pointer is null or a length is too large.
    CIRCLET_MISUSE = 5,
    /// A fault of this library, which should be reported. Nothing was verified.
    CIRCLET_FAULT = 6,
}

/// What an accepted proof is of.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum circlet_kind {
    /// Nothing: the handle is null.
    CIRCLET_NOTHING = 0,
    /// A program maps CIRCLET_INPUTS to CIRCLET_OUTPUTS, with CIRCLET_LISTS of indices.
    CIRCLET_PROGRAM = 1,
    /// A language model continues the tokens in CIRCLET_GIVEN with those in CIRCLET_GENERATED.
    CIRCLET_TEXT = 2,
    /// A language model says its part of a conversation: for each turn, a list in CIRCLET_GIVEN and one in
    /// CIRCLET_GENERATED.
    CIRCLET_CHAT = 3,
    /// An encoder gives the vector in CIRCLET_OUTPUTS for the tokens in CIRCLET_GIVEN.
    CIRCLET_ENCODING = 4,
}

/// A part of a statement: lists of integers. The parts that a statement does not have are without lists, and so is a
/// number that is none of these.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum circlet_part {
    /// The inputs of a program, one list for each tensor, row by row.
    CIRCLET_INPUTS = 0,
    /// The outputs of a program, likewise, or the vector of an encoder.
    CIRCLET_OUTPUTS = 1,
    /// The lists of indices of a program.
    CIRCLET_LISTS = 2,
    /// Tokens that are given.
    CIRCLET_GIVEN = 3,
    /// Tokens that are proven.
    CIRCLET_GENERATED = 4,
}

/// What a key says about an input or output of a program.
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct circlet_tensor {
    /// Number of rows.
    pub rows: u32,
    /// Number of columns.
    pub cols: u32,
    /// An integer `q` stands for the real number `q * 2^-fraction_bits`.
    pub fraction_bits: i32,
}

/// A verifying key.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct circlet_key(Key);

/// The statement of a proof that was accepted.
#[allow(non_camel_case_types)]
#[derive(Debug)]
pub struct circlet_proven(Statement);

/// Gives the next bytes of a file: at least one and at most `len` of them are written to `out`, and their number is
/// returned; zero at the end of the file, a negative number for a failure. `len` is not zero and at most 16384. No
/// exception may leave it, nor may it jump elsewhere.
#[allow(non_camel_case_types)]
pub type circlet_read = Option<unsafe extern "C" fn(ctx: *mut c_void, out: *mut u8, len: usize) -> c_int>;

use circlet_result::{
    CIRCLET_BAD_FILE, CIRCLET_BAD_KEY, CIRCLET_FAULT, CIRCLET_MISUSE, CIRCLET_OK, CIRCLET_REJECTED,
    CIRCLET_UNREAD,
};

/// Why a call does not end in success.
enum Failure {
    Refused(Refusal),
    Misuse(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Failure {
    fn result(&self) -> circlet_result {
        match self {
            Self::Refused(Refusal::Key(_)) => CIRCLET_BAD_KEY,
            Self::Refused(Refusal::Proof(_)) => CIRCLET_BAD_FILE,
            Self::Refused(Refusal::Reject(Reject::Unread)) => CIRCLET_UNREAD,
            Self::Refused(Refusal::Reject(_)) => CIRCLET_REJECTED,
            Self::Misuse(_) => CIRCLET_MISUSE,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::Misuse(what) => (*what).into(),
        }
    }
}

/// Runs a call to its end, whatever happens in it, and leaves the reason.
fn call(reason: Room<'_>, run: impl FnOnce() -> Result<(), Failure>) -> circlet_result {
    let (result, text) = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => (CIRCLET_OK, String::new()),
        Ok(Err(failure)) => (failure.result(), failure.reason()),
        Err(_) => (CIRCLET_FAULT, "a fault of this library; nothing was verified".into()),
    };
    reason.put(&text);
    result
}

/// Runs a call that returns something without a reason.
fn quiet<T>(otherwise: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(otherwise)
}

/// The version of this library.
#[unsafe(no_mangle)]
pub extern "C" fn circlet_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of the files that it reads.
#[unsafe(no_mangle)]
pub extern "C" fn circlet_file_version() -> u16 {
    VERSION
}

/// Judges the bytes of a proof's file under those of a key's file. `reason` gets why it is not accepted.
///
/// # Safety
///
/// The pointers point to as many bytes as the lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_verify(
    key: *const u8,
    key_len: usize,
    proof: *const u8,
    proof_len: usize,
    reason: *mut c_char,
    reason_len: usize,
) -> circlet_result {
    // SAFETY: the caller promises that the pointers are good for their lengths.
    let (key, proof, reason) =
        unsafe { (raw::bytes(key, key_len), raw::bytes(proof, proof_len), Room::new(reason, reason_len)) };
    call(reason, || {
        circlet_verifier::verify_files(key?, proof?)?;
        Ok(())
    })
}

/// Reads the bytes of a key's file. `*key` gets a handle, to be freed with circlet_key_free, or null.
///
/// # Safety
///
/// `bytes` points to `len` bytes, `reason` to `reason_len`, `key` to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_new(
    bytes: *const u8,
    len: usize,
    key: *mut *mut circlet_key,
    reason: *mut c_char,
    reason_len: usize,
) -> circlet_result {
    // SAFETY: the caller promises that the pointers are good for their lengths.
    let (bytes, out, reason) =
        unsafe { (raw::bytes(bytes, len), raw::Slot::new(key), Room::new(reason, reason_len)) };
    call(reason, || {
        let out = out?;
        out.put(circlet_key(Key::from_file(bytes?).map_err(Refusal::Key)?));
        Ok(())
    })
}

/// Frees a key; null is none.
///
/// # Safety
///
/// `key` comes from circlet_key_new and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_free(key: *mut circlet_key) {
    // SAFETY: the caller gives back what `Slot::put` has made.
    quiet((), || unsafe { raw::free(key) });
}

/// Writes the digest that names the model, its commitment and its parameters.
///
/// # Safety
///
/// `key` is a handle, `digest` points to 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_digest(key: *const circlet_key, digest: *mut u8) -> circlet_result {
    // SAFETY: the caller promises a handle and 32 bytes.
    let (key, digest) = unsafe { (raw::handle(key), raw::entries(digest, 32)) };
    call(Room::none(), || {
        let key = key?;
        for (place, byte) in digest?.iter_mut().zip(key.0.digest()) {
            place.write(byte);
        }
        Ok(())
    })
}

/// Copies the name of the model, which whoever made the key chose: it may hold any characters. Returns how many bytes it
/// has, without the zero at the end.
///
/// # Safety
///
/// `key` is a handle, `name` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_model(key: *const circlet_key, name: *mut c_char, len: usize) -> usize {
    // SAFETY: the caller promises a handle and room.
    let (key, name) = unsafe { (raw::handle(key), Room::new(name, len)) };
    quiet(0, || name.put(key.map_or("", |key| key.0.name())))
}

/// Judges the bytes of a registration's file: CIRCLET_OK if it proves that the weights under the key keep the bounds that
/// the key declares. Once for each key is enough.
///
/// # Safety
///
/// `key` is a handle, `bytes` points to `len` bytes, `reason` to `reason_len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_register(
    key: *const circlet_key,
    bytes: *const u8,
    len: usize,
    reason: *mut c_char,
    reason_len: usize,
) -> circlet_result {
    // SAFETY: the caller promises a handle, and that the pointers are good for their lengths.
    let (key, bytes, reason) =
        unsafe { (raw::handle(key), raw::bytes(bytes, len), Room::new(reason, reason_len)) };
    call(reason, || Ok(circlet_verifier::verify_registration_file(&key?.0, bytes?)?))
}

/// Judges the bytes of a proof's file. `*proven` gets a handle of what was proven, to be freed with circlet_proven_free,
/// or null if the proof is not accepted; `proven` may be null if only the verdict matters.
///
/// # Safety
///
/// `key` is a handle, `bytes` points to `len` bytes, `proven` to a pointer if it is not null, `reason` to `reason_len`
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_verify(
    key: *const circlet_key,
    bytes: *const u8,
    len: usize,
    proven: *mut *mut circlet_proven,
    reason: *mut c_char,
    reason_len: usize,
) -> circlet_result {
    // SAFETY: the caller promises a handle, and that the pointers are good for their lengths.
    let (key, bytes, slot, reason) = unsafe {
        (raw::handle(key), raw::bytes(bytes, len), raw::Slot::new(proven), Room::new(reason, reason_len))
    };
    call(reason, || {
        let key = &key?.0;
        keep(key, circlet_verifier::verify_file(key, bytes?)?, slot.ok());
        Ok(())
    })
}

/// Judges a proof's file that comes in pieces, of which none is kept: what a callback gives until it says that the file
/// has ended. `ctx` is what the callback gets. Nothing is read after a failure of the callback, after a beginning that
/// no proof under the key has, or beyond the length that any proof has.
///
/// # Safety
///
/// As for circlet_key_verify; `read` does what circlet_read says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_key_verify_stream(
    key: *const circlet_key,
    read: circlet_read,
    ctx: *mut c_void,
    proven: *mut *mut circlet_proven,
    reason: *mut c_char,
    reason_len: usize,
) -> circlet_result {
    // SAFETY: the caller promises a handle, and that the pointers are good for their lengths.
    let (key, slot, reason) =
        unsafe { (raw::handle(key), raw::Slot::new(proven), Room::new(reason, reason_len)) };
    call(reason, || {
        let key = &key?.0;
        let read = read.ok_or(Failure::Misuse("the callback is null"))?;
        let next = |out: &mut [u8]| {
            // SAFETY: the caller promises that the callback writes to these bytes at most, and no exception leaves it.
            let count = unsafe { read(ctx, out.as_mut_ptr(), out.len()) };
            usize::try_from(count).ok()
        };
        keep(key, circlet_verifier::verify_stream(key, next)?, slot.ok());
        Ok(())
    })
}

fn keep(key: &Key, proven: Proven, slot: Option<raw::Slot<'_, circlet_proven>>) {
    if let Some(slot) = slot {
        slot.put(circlet_proven(Statement::new(key, proven)));
    }
}

/// Frees what was proven; null is nothing.
///
/// # Safety
///
/// `proven` comes from a function of this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_free(proven: *mut circlet_proven) {
    // SAFETY: the caller gives back what `Slot::put` has made.
    quiet((), || unsafe { raw::free(proven) });
}

/// What the proof is of.
///
/// # Safety
///
/// `proven` is a handle or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_kind(proven: *const circlet_proven) -> circlet_kind {
    // SAFETY: the caller promises a handle.
    let proven = unsafe { raw::handle(proven) };
    proven.map_or(circlet_kind::CIRCLET_NOTHING, |proven| proven.0.kind)
}

/// How many lists a part of the statement has.
///
/// # Safety
///
/// `proven` is a handle or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_lists(proven: *const circlet_proven, part: c_int) -> usize {
    // SAFETY: the caller promises a handle.
    let proven = unsafe { raw::handle(proven) };
    proven.map_or(0, |proven| proven.0.part(part).len())
}

/// Copies a list of a part of the statement, as far as there is room. Returns how many integers it has: with a `len` of
/// zero, how much room is needed.
///
/// # Safety
///
/// `proven` is a handle or null, `values` points to `len` integers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_values(
    proven: *const circlet_proven,
    part: c_int,
    index: usize,
    values: *mut i64,
    len: usize,
) -> usize {
    // SAFETY: the caller promises a handle and room.
    let (proven, out) = unsafe { (raw::handle(proven), raw::entries(values, len)) };
    let (Ok(proven), Ok(out)) = (proven, out) else { return 0 };
    quiet(0, || {
        let values = proven.0.part(part).get(index).map_or(&[][..], |list| &list.values);
        for (place, value) in out.iter_mut().zip(values) {
            place.write(*value);
        }
        values.len()
    })
}

/// Writes what the key says about an input or output of a program; CIRCLET_MISUSE if there is no such one.
///
/// # Safety
///
/// `proven` is a handle, `tensor` points to a circlet_tensor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_tensor(
    proven: *const circlet_proven,
    part: c_int,
    index: usize,
    tensor: *mut circlet_tensor,
) -> circlet_result {
    // SAFETY: the caller promises a handle and a place.
    let (proven, out) = unsafe { (raw::handle(proven), raw::entries(tensor, 1)) };
    call(Room::none(), || {
        let list = proven?.0.part(part).get(index);
        let tensor =
            list.and_then(|list| list.tensor.as_ref()).ok_or(Failure::Misuse("there is no such tensor"))?;
        for place in out? {
            place.write(tensor.extent);
        }
        Ok(())
    })
}

/// Copies the name that the key gives to an input or output of a program, and returns how many bytes it has; as
/// circlet_key_model.
///
/// # Safety
///
/// `proven` is a handle or null, `name` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn circlet_proven_name(
    proven: *const circlet_proven,
    part: c_int,
    index: usize,
    name: *mut c_char,
    len: usize,
) -> usize {
    // SAFETY: the caller promises a handle and room.
    let (proven, out) = unsafe { (raw::handle(proven), Room::new(name, len)) };
    quiet(0, || {
        let list = proven.ok().and_then(|proven| proven.0.part(part).get(index));
        out.put(list.and_then(|list| list.tensor.as_ref()).map_or("", |tensor| &tensor.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_panic_leaves_a_call() {
        let mut text = [0x55u8; 64];
        // SAFETY: the room is that of the array.
        let room = unsafe { Room::new(text.as_mut_ptr().cast(), text.len()) };
        assert_eq!(call(room, || panic!("on purpose")), CIRCLET_FAULT);
        assert!(text.starts_with(b"a fault of this library; nothing was verified\0"));
        assert_eq!(quiet(7, || panic!("on purpose")), 7);
    }

    #[test]
    fn texts_end_at_whole_characters() {
        for room in 0..8 {
            let mut text = [0x55u8; 8];
            // SAFETY: the room is part of the array.
            let place = unsafe { Room::new(text.as_mut_ptr().cast(), room) };
            assert_eq!(place.put("aéẞ"), 6);
            let expected: &[u8] = match room {
                0 => b"",
                1 => b"\0",
                2 | 3 => b"a\0",
                4..=6 => "aé\0".as_bytes(),
                _ => "aéẞ\0".as_bytes(),
            };
            assert!(text.starts_with(expected), "{room}");
            assert!(text[expected.len()..].iter().all(|&byte| byte == 0x55), "{room}");
        }
    }
}
