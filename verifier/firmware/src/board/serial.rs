//! A serial line that is looked at, without interrupts: the device asks for bytes and then waits for them.

use core::convert::Infallible;
use core::marker::PhantomData;

use embedded_io::{ErrorType, Read, ReadReady, Write};

/// The registers of a serial port.
pub trait Uart {
    /// Whether a byte has come.
    fn has() -> bool;
    /// The byte that has come.
    fn take() -> u8;
    /// Whether a byte can be put.
    fn room() -> bool;
    /// Puts a byte where there is room.
    fn put(byte: u8);
    /// Whether everything was sent.
    fn sent() -> bool;
}

/// The port as others use it.
pub struct Serial<U>(PhantomData<U>);

impl<U> Serial<U> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<U> ErrorType for Serial<U> {
    type Error = Infallible;
}

impl<U: Uart> ReadReady for Serial<U> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(U::has())
    }
}

impl<U: Uart> Read for Serial<U> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for slot in out {
            while count == 0 && !U::has() {}
            if !U::has() {
                break;
            }
            *slot = U::take();
            count += 1;
        }
        Ok(count)
    }
}

impl<U: Uart> Write for Serial<U> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while !U::room() {}
            U::put(byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while !U::sent() {}
        Ok(())
    }
}
