use core::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::{CM31, M31, pow};

/// `a + b u` with `u^2 = 2 + i`: the field from which all challenges are drawn (about 2^124 elements).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct QM31(pub CM31, pub CM31);

impl QM31 {
    /// Zero.
    pub const ZERO: Self = Self(CM31::ZERO, CM31::ZERO);
    /// One.
    pub const ONE: Self = Self(CM31::ONE, CM31::ZERO);
    /// The inverse of two.
    pub const HALF: Self = Self(CM31(M31::HALF, M31::ZERO), CM31::ZERO);

    /// The element with coordinates `c` over the basis `1, i, u, iu`.
    pub const fn from_coordinates(c: [M31; 4]) -> Self {
        Self(CM31(c[0], c[1]), CM31(c[2], c[3]))
    }

    /// The coordinates over the basis `1, i, u, iu`.
    pub const fn coordinates(self) -> [M31; 4] {
        [self.0.0, self.0.1, self.1.0, self.1.1]
    }

    /// `self^exponent`.
    pub fn pow(self, exponent: u128) -> Self {
        pow(Self::ONE, self, exponent)
    }

    /// The inverse, or `None` for zero: `(a - b u) / (a^2 - (2 + i) b^2)`.
    pub fn inverse(self) -> Option<Self> {
        let norm = self.0 * self.0 - (self.1 * self.1).mul_by_u_squared();
        let scale = norm.inverse()?;
        Some(Self(self.0 * scale, -self.1 * scale))
    }

    /// `self + self`.
    pub fn double(self) -> Self {
        self + self
    }

    /// The residue of a signed integer.
    pub fn from_i64(value: i64) -> Self {
        M31::from_i64(value).into()
    }
}

impl From<M31> for QM31 {
    fn from(value: M31) -> Self {
        Self(CM31(value, M31::ZERO), CM31::ZERO)
    }
}

impl Add for QM31 {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0, self.1 + rhs.1)
    }
}

impl Sub for QM31 {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0 - rhs.0, self.1 - rhs.1)
    }
}

impl Neg for QM31 {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0, -self.1)
    }
}

impl Mul for QM31 {
    type Output = Self;
    fn mul(self, rhs: Self) -> Self {
        let (low, high) = (self.0 * rhs.0, self.1 * rhs.1);
        let cross = (self.0 + self.1) * (rhs.0 + rhs.1) - low - high;
        Self(low + high.mul_by_u_squared(), cross)
    }
}

impl Mul<M31> for QM31 {
    type Output = Self;
    fn mul(self, rhs: M31) -> Self {
        Self(CM31(self.0.0 * rhs, self.0.1 * rhs), CM31(self.1.0 * rhs, self.1.1 * rhs))
    }
}

impl Add<M31> for QM31 {
    type Output = Self;
    fn add(self, rhs: M31) -> Self {
        Self(CM31(self.0.0 + rhs, self.0.1), self.1)
    }
}

impl AddAssign for QM31 {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl SubAssign for QM31 {
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl MulAssign for QM31 {
    fn mul_assign(&mut self, rhs: Self) {
        *self = *self * rhs;
    }
}

impl core::iter::Sum for QM31 {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl core::iter::Product for QM31 {
    fn product<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ONE, Mul::mul)
    }
}

impl core::fmt::Debug for QM31 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d] = self.coordinates();
        write!(f, "({a:?} + {b:?}i) + ({c:?} + {d:?}i)u")
    }
}
