//! Commands on language models. Each is reached through the command of its name.

pub mod bench;
pub mod bundled;
pub mod compile;
pub mod demo;
pub mod inspect;
pub mod partial;
pub mod prompt;
pub mod prove;
pub mod prover;
pub mod source;
pub mod verify;
