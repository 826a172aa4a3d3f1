//! Logs by defmt, or none.

#[cfg(feature = "defmt")]
pub use defmt::info;
#[cfg(feature = "defmt")]
use defmt_semihosting as _;

/// Says nothing.
#[cfg(not(feature = "defmt"))]
macro_rules! silent {
    ($format:literal $(, $argument:expr)*) => {{
        $(let _ = &$argument;)*
    }};
}
#[cfg(not(feature = "defmt"))]
pub(crate) use silent as info;
