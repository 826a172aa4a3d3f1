//! Pins that are set.

use core::convert::Infallible;
use core::marker::PhantomData;

use embedded_hal::digital::{ErrorType, OutputPin};

/// A pin of a board.
pub trait Output {
    /// Sets it.
    fn set(high: bool);
}

/// The pin as others use it.
pub struct Pin<O>(PhantomData<O>);

impl<O> Pin<O> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<O> ErrorType for Pin<O> {
    type Error = Infallible;
}

impl<O: Output> OutputPin for Pin<O> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        low::<O>();
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        high::<O>();
        Ok(())
    }
}

/// Sets a pin, whoever has it.
pub fn low<O: Output>() {
    O::set(false);
}

/// Sets a pin, whoever has it.
pub fn high<O: Output>() {
    O::set(true);
}
