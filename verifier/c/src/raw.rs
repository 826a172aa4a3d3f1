//! Pointers and lengths of C as slices and references, or the refusal of those that cannot be any.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

use crate::Failure;

/// Whether a slice of so many entries can exist.
fn fits<T>(len: usize) -> bool {
    len.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok())
}

/// Bytes to read.
///
/// # Safety
///
/// Unless it is null, `start` points to `len` bytes that nobody changes meanwhile.
pub unsafe fn bytes<'a>(start: *const u8, len: usize) -> Result<&'a [u8], Failure> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::Misuse("a pointer to bytes is null")),
        (false, _) if !fits::<u8>(len) => Err(Failure::Misuse("a length is too large")),
        // SAFETY: the pointer is not null, the length is one that a slice can have, the rest is the caller's promise.
        (false, _) => Ok(unsafe { slice::from_raw_parts(start, len) }),
    }
}

/// Places to write to.
///
/// # Safety
///
/// Unless it is null, `start` points to `len` entries, aligned, that nobody else uses meanwhile.
pub unsafe fn entries<'a, T>(start: *mut T, len: usize) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Failure::Misuse("a pointer to a result is null")),
        (false, _) if !fits::<T>(len) => Err(Failure::Misuse("a length is too large")),
        // SAFETY: the pointer is not null, the length is one that a slice can have, the rest is the caller's promise.
        // What is there need not be initialised: nothing reads it.
        (false, _) => Ok(unsafe { slice::from_raw_parts_mut(start.cast(), len) }),
    }
}

/// What a handle stands for.
///
/// # Safety
///
/// Unless it is null, `handle` comes from [`Slot::put`] and has not been freed.
pub unsafe fn handle<'a, T>(handle: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { handle.as_ref() }.ok_or(Failure::Misuse("a handle is null"))
}

/// Frees what a handle stands for.
///
/// # Safety
///
/// Unless it is null, `handle` comes from [`Slot::put`], and this is its last use.
pub unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: `Slot::put` has made it with `Box::into_raw`, and nobody uses it again.
        drop(unsafe { Box::from_raw(handle) });
    }
}

/// Where a new handle goes.
pub struct Slot<'a, T> {
    place: NonNull<*mut T>,
    lifetime: PhantomData<&'a mut *mut T>,
}

impl<T> Slot<'_, T> {
    /// The slot at `place`, which holds null from now on.
    ///
    /// # Safety
    ///
    /// Unless it is null, `place` points to a pointer that nobody else uses meanwhile.
    pub unsafe fn new(place: *mut *mut T) -> Result<Self, Failure> {
        let place = NonNull::new(place).ok_or(Failure::Misuse("a pointer to a result is null"))?;
        // SAFETY: the caller's promise. What was there is not read: it may be uninitialised.
        unsafe { place.write(std::ptr::null_mut()) };
        Ok(Self { place, lifetime: PhantomData })
    }

    /// Leaves a handle.
    pub fn put(self, value: T) {
        // SAFETY: the promise of `new` holds as long as the slot lives.
        unsafe { self.place.write(Box::into_raw(Box::new(value))) };
    }
}

/// Room for a text, which may be none.
pub struct Room<'a>(&'a mut [MaybeUninit<u8>]);

impl Room<'_> {
    /// The room at `start`.
    ///
    /// # Safety
    ///
    /// Unless it is null, `start` points to `len` bytes that nobody else uses meanwhile.
    pub unsafe fn new(start: *mut c_char, len: usize) -> Self {
        // SAFETY: the caller's promise; characters of C are bytes.
        Self(unsafe { entries(start.cast::<u8>(), len) }.unwrap_or_default())
    }

    /// No room.
    pub fn none() -> Room<'static> {
        Room(&mut [])
    }

    /// Copies as many whole characters as there is room for, and a zero; says how many bytes all of them have.
    pub fn put(self, text: &str) -> usize {
        if let Some(most) = self.0.len().checked_sub(1) {
            let head = text.bytes().take(text.floor_char_boundary(most));
            for (place, byte) in self.0.iter_mut().zip(head.chain([0])) {
                place.write(byte);
            }
        }
        text.len()
    }
}
