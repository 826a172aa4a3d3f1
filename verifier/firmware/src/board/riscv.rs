//! RISC-V in machine mode: start, time, faults.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use riscv::register::{minstret, time};
use riscv_rt::entry;

/// Ticks of the timer in a second.
static FREQUENCY: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    super::start()
}

// No interrupt is ever enabled, so a trap is a fault. It may be that the stack is full: the handler begins with an empty
// one. Nothing that was on it is used again, because the handler does not return. It replaces riscv-rt's, which the linker
// takes where there is no other.
core::arch::global_asm!(
    ".section .trap.start, \"ax\"",
    ".balign 4",
    ".global _start_trap",
    "_start_trap:",
    "la sp, _stack_start",
    "call {fault}",
    fault = sym fault,
);

extern "C" fn fault() -> ! {
    super::stop(format_args!("the device has stopped: a fault, maybe of a stack that is too small"))
}

/// A clock that [`start`] has started.
pub struct Clock(());

impl circlet_link::Clock for Clock {
    fn millis(&mut self) -> u32 {
        (time::read64() / u64::from(FREQUENCY.load(Relaxed) / 1000).max(1)) as u32
    }
}

/// Starts the clock of a processor whose timer runs at this frequency, and guards the end of the stack.
pub fn start(frequency: u32) -> Clock {
    FREQUENCY.store(frequency, Relaxed);
    guard();
    Clock(())
}

/// Locks the memory below the stack: whoever touches it traps, in machine mode too.
fn guard() {
    /// Lock, naturally aligned, no access.
    const CONFIGURATION: usize = 0b1001_1000;
    let (start, size) = super::memory::guard();
    // A naturally aligned region (privileged specification, 3.7.1).
    let address = (start >> 2) | ((size >> 3) - 1);
    // SAFETY: the linker script puts nothing there.
    unsafe {
        core::arch::asm!("csrw pmpaddr0, {}", "csrs pmpcfg0, {}", in(reg) address, in(reg) CONFIGURATION);
    }
}

/// Instructions since the start.
pub fn instructions() -> u64 {
    minstret::read64()
}

/// The stack pointer.
pub fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack)) }
    pointer
}

/// No more interrupts: there were none.
pub fn quiet() {
    riscv::interrupt::disable();
}

/// Nothing more.
pub fn halt() -> ! {
    loop {
        riscv::asm::wfi();
    }
}
