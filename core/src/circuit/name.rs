//! What columns, constants and relations are called, for people and for who executes a circuit.
//!
//! A verifier names nothing. Without the feature `execute` a name cannot be written, so that no code is there to write it.

use alloc::string::String;
use core::fmt::Display;

/// A name.
pub type Name<'a> = &'a dyn Named;

/// What can be a name: all that can be shown.
#[cfg(feature = "execute")]
pub trait Named: Display {}

/// What can be a name: all that can be shown, here as nothing.
#[cfg(not(feature = "execute"))]
pub trait Named {}

impl<T: Display> Named for T {}

#[cfg(not(feature = "execute"))]
impl Display for dyn Named + '_ {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Ok(())
    }
}

/// A name as text; empty for who names nothing.
#[cfg(feature = "execute")]
pub(crate) fn written(name: Name<'_>) -> String {
    alloc::format!("{name}")
}

/// A name as text: empty, for nothing is named.
#[cfg(not(feature = "execute"))]
pub(crate) fn written(_: Name<'_>) -> String {
    String::new()
}
