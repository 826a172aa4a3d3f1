//! A device that judges proofs which come over a serial line.
//!
//! * [`board`]: registers, memory, faults: everything that is `unsafe`, and what differs between boards.
//! * [`judge`]: from a request to a verdict.
//! * [`keys`]: the verifying keys that were compiled in.
//! * [`measure`]: what a verification took.
//! * [`status`]: two pins that show the last verdict.
//!
//! A device that panics, runs out of memory or faults drops its pin "accepted", raises "failed", says why on the line and
//! stops until it is reset.
#![no_std]
#![no_main]
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

mod board;
mod judge;
mod keys;
mod log;
mod measure;
mod status;

use circlet_link::{Device, Line};

use crate::status::Status;

/// Serves requests for ever.
fn run(parts: board::Parts) -> ! {
    let mut status = Status::new(parts.accepted, parts.failed);
    let line = Line::new(parts.serial, parts.clock);
    let mut device = Device::new(line, board::NAME, board::HEAP as u32, &keys::HELD);
    log::info!("ready with {} keys", keys::HELD.len());
    loop {
        device.serve(&mut |request, source| {
            status.working();
            let verdict = judge::judge(request, source);
            status.show(verdict.outcome);
            log::info!("{}", verdict.reason.as_str());
            verdict
        });
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    board::stop(format_args!("the device has stopped: {}", info.message()))
}
