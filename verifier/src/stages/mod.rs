//! The stages of verification, in order.

pub mod claims;
pub mod lookup;
pub mod opening;
pub mod relation;
pub mod statement;
