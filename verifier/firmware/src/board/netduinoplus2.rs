//! Netduino Plus 2 with an STM32F405: 128 KiB of memory (QEMU: `netduinoplus2`), USART1, two pins of port A.

use super::pin::Output;
use super::register::Register;
use super::serial::Uart;

/// The board.
pub const NAME: &str = "netduinoplus2";
/// Bytes of its heap.
pub const HEAP: usize = 96 << 10;
/// Of the processor, in hertz.
pub const FREQUENCY: u32 = 168_000_000;

// SAFETY: these are USART1 and port A (reference manual RM0090, table 1, 8.4 and 30.6). None of them accesses memory.
const STATUS: Register<u32> = unsafe { Register::at(0x4001_1000) };
const DATA: Register<u32> = unsafe { Register::at(0x4001_1004) };
const DIVISOR: Register<u32> = unsafe { Register::at(0x4001_1008) };
const CONTROL: Register<u32> = unsafe { Register::at(0x4001_100c) };
const SET_RESET: Register<u32> = unsafe { Register::at(0x4002_0018) };

/// The port's.
const RECEIVED: u32 = 1 << 5;
const SENT: u32 = 1 << 6;
const EMPTY: u32 = 1 << 7;
const ENABLE: u32 = 1 << 13 | 1 << 3 | 1 << 2;

/// Sets up the serial port: 115200 bits a second, from a bus at half the processor's frequency.
pub fn start() {
    DIVISOR.write(FREQUENCY / 2 / 115_200);
    CONTROL.write(ENABLE);
}

/// USART1.
pub struct Port;

impl Uart for Port {
    fn has() -> bool {
        STATUS.read() & RECEIVED != 0
    }

    fn take() -> u8 {
        // Clears an overrun too; bytes that were lost are missed by their frame's checksum.
        DATA.read() as u8
    }

    fn room() -> bool {
        STATUS.read() & EMPTY != 0
    }

    fn put(byte: u8) {
        DATA.write(byte.into());
    }

    fn sent() -> bool {
        STATUS.read() & SENT != 0
    }
}

/// Pin 10 of port A: the board's LED.
pub struct Accepted;

impl Output for Accepted {
    fn set(high: bool) {
        pin(10, high);
    }
}

/// Pin 8 of port A.
pub struct Failed;

impl Output for Failed {
    fn set(high: bool) {
        pin(8, high);
    }
}

fn pin(number: u32, high: bool) {
    SET_RESET.write(1 << if high { number } else { number + 16 });
}
