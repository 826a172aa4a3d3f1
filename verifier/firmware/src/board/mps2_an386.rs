//! Arm MPS2 with the Cortex-M4 image AN386 (QEMU: `mps2-an386`): CMSDK serial port 0, two user LEDs.

use super::pin::Output;
use super::register::Register;
use super::serial::Uart;

/// The board.
pub const NAME: &str = "mps2-an386";
/// Bytes of its heap.
pub const HEAP: usize = 216 << 10;
/// Of the processor, in hertz.
pub const FREQUENCY: u32 = 25_000_000;

// SAFETY: these are the CMSDK serial port 0 and the LEDs of the FPGA's input and output block (application note 386,
// table 3-4). None of them accesses memory.
const DATA: Register<u32> = unsafe { Register::at(0x4000_4000) };
const STATE: Register<u32> = unsafe { Register::at(0x4000_4004) };
const CONTROL: Register<u32> = unsafe { Register::at(0x4000_4008) };
const DIVISOR: Register<u32> = unsafe { Register::at(0x4000_4010) };
const LEDS: Register<u32> = unsafe { Register::at(0x4002_8000) };

/// The port's.
const FULL: u32 = 1;
const RECEIVED: u32 = 1 << 1;
const OVERRUNS: u32 = 0b1100;
const ENABLE: u32 = 0b11;

/// Sets up the serial port: 115200 bits a second.
pub fn start() {
    DIVISOR.write(FREQUENCY / 115_200);
    CONTROL.write(ENABLE);
}

/// Serial port 0.
pub struct Port;

impl Uart for Port {
    fn has() -> bool {
        STATE.read() & RECEIVED != 0
    }

    fn take() -> u8 {
        let byte = DATA.read() as u8;
        // Bytes that were lost are missed by their frame's checksum.
        STATE.write(OVERRUNS);
        byte
    }

    fn room() -> bool {
        STATE.read() & FULL == 0
    }

    fn put(byte: u8) {
        DATA.write(byte.into());
    }

    fn sent() -> bool {
        STATE.read() & FULL == 0
    }
}

/// LED 0.
pub struct Accepted;

impl Output for Accepted {
    fn set(high: bool) {
        led(0, high);
    }
}

/// LED 1.
pub struct Failed;

impl Output for Failed {
    fn set(high: bool) {
        led(1, high);
    }
}

fn led(number: u32, on: bool) {
    LEDS.write(LEDS.read() & !(1 << number) | u32::from(on) << number);
}
