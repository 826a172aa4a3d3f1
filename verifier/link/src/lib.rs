//! The serial protocol between a host that has a proof and a device that verifies it, both sides.
//!
//! The device pulls. It asks for the next frame when it needs one, and reads while it waits, so one frame of memory is
//! enough and nothing is sent to a device that computes:
//!
//! ```text
//! host                                  device
//! Hello i         ----------------->
//!                 <-----------------    About: versions, memory, the key that it holds in place i
//! Begin           ----------------->
//!                 <-----------------    Want 0
//! Data 0          ----------------->
//!                 <-----------------    Want 1              (it has everything before frame 1)
//! ...
//!                 <-----------------    Verdict
//! End             ----------------->
//! ```
//!
//! Who asks repeats: a host its `Hello` and `Begin`, a device its `Want` and `Verdict`, each until it is answered or a
//! limit is reached. Questions may come twice: [`FrameKind::Begin`] of a transfer that is under way is answered with the
//! frame that the device wants, one of a transfer that is over with its verdict. So a host that has lost the connection,
//! or that talks to a device that was reset, sends its `Begin` again and learns where to go on.
//!
//! * [`frame`]: bytes on the line, and how frames are found in noise.
//! * [`message`]: what frames say.
//! * [`device`]: the side that verifies; a transfer is a [`circlet_verifier::Source`].
//! * [`host`]: the side that sends, a state machine without clock or port.
//! * [`statement`]: the digest of what a proof was accepted for.
//!
//! The link finds accidents, not attacks: what a device accepts is decided by the verifier alone.
#![no_std]
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

pub mod device;
pub mod frame;
pub mod host;
pub mod line;
pub mod message;
pub mod statement;

pub use device::{Device, Held, Request};
pub use frame::{Decoder, Frame, FrameKind};
pub use host::{Action, Gone, Patience, Sender, Transfer};
pub use line::{Clock, Line};
pub use message::{Counters, Outcome, Reason, Verdict};

/// Version of this protocol.
pub const PROTOCOL: u8 = 1;
