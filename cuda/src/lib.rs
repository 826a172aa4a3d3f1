//! Heavy forms of the prover on NVIDIA GPUs.
//!
//! * [`machine`]: what runs kernels: memory, launches, errors. One trait, [`Machine`], and two implementations: a GPU behind
//!   NVIDIA's driver (feature `driver`), and an emulator that runs the same kernels on the CPU (feature `emulate`), so that
//!   every kernel and all that launches it is tested where there is no GPU.
//! * Kernels are CUDA C++ in `kernels/`, committed as PTX in `ptx/`; `scripts/cuda-ptx` makes it again.
//!
//! Nothing here needs CUDA to build, and without a driver every function says so: none panics.

pub mod cells;
pub mod columns;
#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "emulate")]
pub mod emulated;
pub mod encode;
pub mod fold;
pub mod forward;
pub mod fractions;
pub mod machine;
pub mod merkle;
pub mod pow;
pub mod products;
pub mod stack;
pub mod sums;
pub mod transcript;

/// All files of kernels.
pub const FAMILIES: [&Family; 11] = [
    &columns::FAMILY,
    &encode::FAMILY,
    &fold::FAMILY,
    &forward::FAMILY,
    &fractions::FAMILY,
    &merkle::FAMILY,
    &pow::FAMILY,
    &products::FAMILY,
    &stack::FAMILY,
    &sums::FAMILY,
    &transcript::FAMILY,
];

pub use machine::{Argument, Buffer, Error, Family, Grid, Kernel, Machine};
