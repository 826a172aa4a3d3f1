//! What every part of circlet agrees on: fields, hashes, the transcript, the relations that prover and
//! verifier share, the commitment layout, integer programs, and the security calculator.
//!
//! Nothing here is fast on purpose. Code in this crate is scalar, total (no panic on any input that the
//! verifier can reach), `no_std`, and free of `unsafe`; the host crate holds the fast twins.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
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

extern crate alloc;

pub mod axis;
pub mod circuit;
pub mod claims;
pub mod code;
pub mod decoder;
mod draft;
pub mod encoder;
pub mod field;
pub mod file;
pub mod hash;
pub mod key;
pub mod limits;
pub mod lookup;
pub mod memory;
pub mod merkle;
pub mod opening;
pub mod ops;
pub mod pin;
pub mod poly;
pub mod pow;
pub mod profile;
pub mod program;
pub mod protocol;
pub mod registration;
pub mod relations;
pub mod security;
pub mod stacking;
pub mod transcript;
pub mod weight;
pub mod wiring;
