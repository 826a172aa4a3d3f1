//! What every part of circlet agrees on: fields, hashes, the transcript, the relations that prover and
//! verifier share, the commitment layout, integer programs, and the security calculator.
//!
//! Nothing here is fast on purpose. Code in this crate is scalar, total (no panic on any input that the
//! verifier can reach), `no_std`, and free of `unsafe`; the host crate holds the fast twins.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod field;
pub mod profile;
pub mod security;
