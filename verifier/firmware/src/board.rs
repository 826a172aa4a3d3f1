//! Boards: registers, memory, faults. Everything `unsafe` is in here.
//!
//! A board says its name ([`NAME`]) and how large its heap is ([`HEAP`]), and has a serial line ([`serial::Uart`]), a clock
//! and two pins ([`Parts`]). The boards here are those of QEMU: clock trees and pin functions, which its models do not
//! have, are not set up. A real board needs that in its `start`, and its own pins.
#![allow(unsafe_code)]

#[cfg(feature = "arm")]
mod arm;
#[cfg(feature = "arm")]
mod copy;
pub mod memory;
mod pin;
mod register;
#[cfg(feature = "riscv-virt")]
mod riscv;
mod serial;

#[cfg(feature = "mps2-an386")]
#[path = "board/mps2_an386.rs"]
mod chosen;
#[cfg(feature = "netduinoplus2")]
#[path = "board/netduinoplus2.rs"]
mod chosen;
#[cfg(feature = "riscv-virt")]
#[path = "board/riscv_virt.rs"]
mod chosen;

#[cfg(feature = "arm")]
use arm as processor;
#[cfg(feature = "riscv-virt")]
use riscv as processor;

pub use chosen::{HEAP, NAME};
pub use processor::instructions;

use self::pin::Pin;
use self::serial::{Serial, Uart};

/// What a board is used by.
pub struct Parts {
    /// The line.
    pub serial: Serial<chosen::Port>,
    /// Time.
    pub clock: processor::Clock,
    /// High after an accepting verdict.
    pub accepted: Pin<chosen::Accepted>,
    /// High after any other.
    pub failed: Pin<chosen::Failed>,
}

/// Sets up everything and runs the device. Called once, by the code that starts the processor.
fn start() -> ! {
    memory::start();
    chosen::start();
    let clock = processor::start(chosen::FREQUENCY);
    crate::run(Parts { serial: Serial::new(), clock, accepted: Pin::new(), failed: Pin::new() })
}

/// The end: says why, if the line takes it, and does nothing more until the board is reset.
pub fn stop(why: core::fmt::Arguments<'_>) -> ! {
    /// Looks at a line that does not move, before it is given up.
    const LOOKS: u32 = 10_000_000;
    processor::quiet();
    pin::low::<chosen::Accepted>();
    pin::high::<chosen::Failed>();
    let mut works = true;
    circlet_link::device::last_words(why, |bytes| {
        for &byte in bytes {
            works = works && (0..LOOKS).any(|_| chosen::Port::room());
            if works {
                chosen::Port::put(byte);
            }
        }
    });
    processor::halt()
}
