use core::ops::{Add, Mul, Neg, Sub};

use super::M31;

/// `a + b i` with `i^2 = -1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CM31(pub M31, pub M31);

impl CM31 {
    /// Zero.
    pub const ZERO: Self = Self(M31::ZERO, M31::ZERO);
    /// One.
    pub const ONE: Self = Self(M31::ONE, M31::ZERO);

    /// `(2 + i) * self`, the product with `u^2`.
    pub(super) fn mul_by_u_squared(self) -> Self {
        Self(self.0.double() - self.1, self.1.double() + self.0)
    }

    /// `a^2 + b^2`, which is zero only for zero because -1 is not a square modulo `P`.
    pub(super) fn inverse(self) -> Option<Self> {
        let scale = (self.0 * self.0 + self.1 * self.1).inverse()?;
        Some(Self(self.0 * scale, -self.1 * scale))
    }
}

impl Add for CM31 {
    type Output = Self;
    #[inline]
    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0, self.1 + rhs.1)
    }
}

impl Sub for CM31 {
    type Output = Self;
    #[inline]
    fn sub(self, rhs: Self) -> Self {
        Self(self.0 - rhs.0, self.1 - rhs.1)
    }
}

impl Neg for CM31 {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self(-self.0, -self.1)
    }
}

impl Mul for CM31 {
    type Output = Self;
    #[inline]
    fn mul(self, rhs: Self) -> Self {
        Self(self.0 * rhs.0 - self.1 * rhs.1, self.0 * rhs.1 + self.1 * rhs.0)
    }
}
