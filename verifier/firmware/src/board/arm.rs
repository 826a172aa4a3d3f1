//! Cortex-M: start, time, faults.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{MPU, SYST};
use cortex_m_rt::{entry, exception};

/// Milliseconds since the start; `SysTick` counts them.
static MILLIS: AtomicU32 = AtomicU32::new(0);
/// Ticks in a second.
static FREQUENCY: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    super::start()
}

#[exception]
fn SysTick() {
    MILLIS.store(MILLIS.load(Relaxed).wrapping_add(1), Relaxed);
}

#[exception]
unsafe fn DefaultHandler(number: i16) {
    super::stop(format_args!("the device has stopped: exception {number}"))
}

// A fault may be that the stack is full: the handler begins with an empty one. Nothing that was on it is used again,
// because the handler does not return. It replaces cortex-m-rt's, which the linker takes where there is no other.
core::arch::global_asm!(
    ".section .HardFault.circlet, \"ax\"",
    ".global HardFault",
    ".type HardFault, %function",
    ".thumb_func",
    "HardFault:",
    "ldr r0, =_stack_start",
    "msr msp, r0",
    "bl {fault}",
    fault = sym fault,
);

extern "C" fn fault() -> ! {
    super::stop(format_args!("the device has stopped: a fault, maybe of a stack that is too small"))
}

/// A clock that [`start`] has started.
pub struct Clock(());

impl circlet_link::Clock for Clock {
    fn millis(&mut self) -> u32 {
        MILLIS.load(Relaxed)
    }
}

/// Starts the clock of a processor that runs at this frequency.
pub fn start(frequency: u32) -> Clock {
    FREQUENCY.store(frequency, Relaxed);
    if let Some(peripherals) = cortex_m::Peripherals::take() {
        let mut syst = peripherals.SYST;
        syst.set_clock_source(SystClkSource::Core);
        syst.set_reload(frequency / 1000 - 1);
        syst.clear_current();
        syst.enable_counter();
        syst.enable_interrupt();
        guard(&peripherals.MPU);
    }
    Clock(())
}

/// Locks the memory below the stack: whoever touches it faults, but for the handler of the fault.
fn guard(mpu: &MPU) {
    /// Enabled, no access, no execution.
    const ATTRIBUTES: u32 = 1 << 28 | 1;
    /// Enabled; elsewhere everything is allowed.
    const CONTROL: u32 = 1 << 2 | 1;
    let (start, size) = super::memory::guard();
    // SAFETY: the linker script puts nothing there, and everything else stays as it is.
    unsafe {
        mpu.rnr.write(0);
        mpu.rbar.write(start as u32);
        mpu.rasr.write(ATTRIBUTES | (size.trailing_zeros() - 1) << 1);
        mpu.ctrl.write(CONTROL);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// Instructions since the start, on a machine that takes a nanosecond for each (QEMU with `-icount shift=0`).
pub fn instructions() -> u64 {
    let frequency = FREQUENCY.load(Relaxed).max(1000);
    loop {
        let millis = MILLIS.load(Relaxed);
        // The counter raises the interrupt when it comes to zero, and begins again with the next tick.
        let ticks = match SYST::get_current() {
            0 => 0,
            left => (frequency / 1000).saturating_sub(left),
        };
        if MILLIS.load(Relaxed) == millis {
            return u64::from(millis) * 1_000_000 + u64::from(ticks) * 1_000_000_000 / u64::from(frequency);
        }
    }
}

/// The stack pointer.
pub fn stack_pointer() -> usize {
    cortex_m::register::msp::read() as usize
}

/// No more interrupts.
pub fn quiet() {
    cortex_m::interrupt::disable();
}

/// Nothing more.
pub fn halt() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
