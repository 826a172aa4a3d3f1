//! The Mersenne-31 field and its extensions, in the tower that stwo uses.
//!
//! | type | construction | size |
//! |---|---|---|
//! | [`M31`] | integers modulo `P = 2^31 - 1` | 31 bits |
//! | [`CM31`] | `M31[i] / (i^2 + 1)` | 62 bits |
//! | [`QM31`] | `CM31[u] / (u^2 - 2 - i)` | 124 bits, the field of challenges |
//!
//! Elements are always canonical: there is no way to build an [`M31`] that holds `P` or more.

mod cm31;
mod m31;
mod qm31;

pub use cm31::CM31;
pub use m31::{M31, P};
pub use qm31::QM31;

/// A value read from bytes or words was not below [`P`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field element {0} is not canonical (must be below 2^31 - 1)")]
pub struct NonCanonical(pub u32);

/// `base^exponent` by square and multiply, for any of the three fields.
pub(crate) fn pow<F: Copy + core::ops::Mul<Output = F>>(one: F, base: F, mut exponent: u128) -> F {
    let (mut acc, mut square) = (one, base);
    while exponent != 0 {
        if exponent & 1 == 1 {
            acc = acc * square;
        }
        square = square * square;
        exponent >>= 1;
    }
    acc
}

#[cfg(test)]
mod tests;
