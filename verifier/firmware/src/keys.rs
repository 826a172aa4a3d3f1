//! The verifying keys that were compiled in.
//!
//! Each is judged under by code for its own kind, so that no other kind takes flash.

use circlet_core::file::Kind;
use circlet_link::{Held, Verdict};
use circlet_verifier::Source;

use crate::judge::under;

/// Judges a proof of some kind.
type Judge = fn(Kind, &mut dyn Source) -> Verdict;

include!(concat!(env!("OUT_DIR"), "/keys.rs"));
