//! QEMU's RISC-V machine `virt`: a 16550 serial port, whose two free outputs are the pins.

use super::pin::Output;
use super::register::Register;
use super::serial::Uart;

/// The board.
pub const NAME: &str = "riscv-virt";
/// Bytes of its heap.
pub const HEAP: usize = 3 << 20;
/// Of the timer, in hertz.
pub const FREQUENCY: u32 = 10_000_000;

// SAFETY: this is the machine's 16550A (hw/riscv/virt.c of QEMU); it does not access memory.
const DATA: Register<u8> = unsafe { Register::at(0x1000_0000) };
const FIFO: Register<u8> = unsafe { Register::at(0x1000_0002) };
const LINE: Register<u8> = unsafe { Register::at(0x1000_0003) };
const MODEM: Register<u8> = unsafe { Register::at(0x1000_0004) };
const STATUS: Register<u8> = unsafe { Register::at(0x1000_0005) };

/// The port's.
const RECEIVED: u8 = 1;
const EMPTY: u8 = 1 << 5;
const SENT: u8 = 1 << 6;
const EIGHT_BITS: u8 = 0b11;
const DIVISOR_LATCH: u8 = 1 << 7;
const FIFO_ON_AND_CLEAR: u8 = 0b111;

/// Sets up the serial port: 115200 bits a second, from a clock of 3.6864 MHz.
pub fn start() {
    // While the latch is open, the data register is the low half of the divisor; the high half is zero after reset.
    LINE.write(DIVISOR_LATCH | EIGHT_BITS);
    DATA.write(2);
    LINE.write(EIGHT_BITS);
    FIFO.write(FIFO_ON_AND_CLEAR);
}

/// The serial port.
pub struct Port;

impl Uart for Port {
    fn has() -> bool {
        STATUS.read() & RECEIVED != 0
    }

    fn take() -> u8 {
        DATA.read()
    }

    fn room() -> bool {
        STATUS.read() & EMPTY != 0
    }

    fn put(byte: u8) {
        DATA.write(byte);
    }

    fn sent() -> bool {
        STATUS.read() & SENT != 0
    }
}

/// The port's output 1.
pub struct Accepted;

impl Output for Accepted {
    fn set(high: bool) {
        output(2, high);
    }
}

/// The port's output 2.
pub struct Failed;

impl Output for Failed {
    fn set(high: bool) {
        output(3, high);
    }
}

fn output(bit: u8, high: bool) {
    MODEM.write(MODEM.read() & !(1 << bit) | u8::from(high) << bit);
}
