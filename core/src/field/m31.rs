use core::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::{NonCanonical, pow};

/// The Mersenne prime `2^31 - 1`.
pub const P: u32 = (1 << 31) - 1;

/// An element of the field of integers modulo [`P`], always in `0..P`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct M31(u32);

impl M31 {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(1);
    /// The inverse of two, `2^30`.
    pub const HALF: Self = Self(1 << 30);

    /// The element with this canonical value, or an error for values of [`P`] and above.
    #[inline(always)]
    pub const fn new(value: u32) -> Result<Self, NonCanonical> {
        if value < P { Ok(Self(value)) } else { Err(NonCanonical(value)) }
    }

    /// The residue of any unsigned integer.
    #[inline(always)]
    pub const fn reduce(value: u64) -> Self {
        // 2^31 = 1, so the three 31-bit digits of the value add up to its residue; in words that a small machine has.
        let (low, middle, high) = (value as u32 & P, (value >> 31) as u32 & P, (value >> 62) as u32);
        let sum = low + middle;
        // The first two terms together are at most P.
        Self::canonical((sum & P) + (sum >> 31) + high)
    }

    /// The residue of a number below `2 P`: one is added exactly where the upper bit then goes.
    #[inline(always)]
    const fn canonical(value: u32) -> Self {
        Self((value + ((value + 1) >> 31)) & P)
    }

    /// The residue of an integer below `2^61`.
    #[inline(always)]
    pub const fn fold(value: u64) -> Self {
        // 2^31 = 1; the sum is below 2^31 + 2^30.
        Self::canonical((value as u32 & P) + (value >> 31) as u32)
    }

    /// `2^log self` for `log` below 31: a rotation of 31 bits.
    #[inline(always)]
    #[must_use]
    pub const fn shifted(self, log: u32) -> Self {
        // No canonical element is all ones, and so is no rotation of one.
        Self((self.0 << log & P) | self.0 >> (31 - log))
    }

    /// The residue of a signed integer; negative values map to `P - |v|`.
    pub const fn from_i64(value: i64) -> Self {
        let magnitude = Self::reduce(value.unsigned_abs());
        if value < 0 && magnitude.0 != 0 { Self(P - magnitude.0) } else { magnitude }
    }

    /// The representative in `0..P`.
    #[inline(always)]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The representative in `-(P-1)/2 ..= (P-1)/2`.
    pub const fn signed(self) -> i32 {
        if self.0 > P / 2 { (self.0 as i64 - P as i64) as i32 } else { self.0 as i32 }
    }

    /// `self^exponent`.
    pub fn pow(self, exponent: u32) -> Self {
        pow(Self::ONE, self, u128::from(exponent))
    }

    /// The inverse, or `None` for zero. Fermat: `x^(P-2)`.
    pub fn inverse(self) -> Option<Self> {
        // P - 2 = 2^31 - 3: 29 ones, a zero, a one.
        let squared = |x: Self, times: u32| (0..times).fold(x, |x, _| x * x);
        let two = squared(self, 1) * self;
        let three = squared(two, 1) * self;
        let six = squared(three, 3) * three;
        let seven = squared(six, 1) * self;
        let fourteen = squared(seven, 7) * seven;
        let ones = squared(squared(fourteen, 14) * fourteen, 1) * self;
        (self.0 != 0).then(|| squared(ones, 2) * self)
    }

    /// `self + self`.
    #[inline(always)]
    pub fn double(self) -> Self {
        self + self
    }
}

impl From<u8> for M31 {
    #[inline(always)]
    fn from(value: u8) -> Self {
        Self(u32::from(value))
    }
}

impl From<u16> for M31 {
    #[inline(always)]
    fn from(value: u16) -> Self {
        Self(u32::from(value))
    }
}

impl Add for M31 {
    type Output = Self;
    #[inline(always)]
    fn add(self, rhs: Self) -> Self {
        Self::canonical(self.0 + rhs.0)
    }
}

impl Sub for M31 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, rhs: Self) -> Self {
        Self(if self.0 >= rhs.0 { self.0 - rhs.0 } else { self.0 + P - rhs.0 })
    }
}

impl Mul for M31 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, rhs: Self) -> Self {
        let product = u64::from(self.0) * u64::from(rhs.0);
        Self::canonical((product & u64::from(P)) as u32 + (product >> 31) as u32)
    }
}

impl Neg for M31 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(if self.0 == 0 { 0 } else { P - self.0 })
    }
}

impl AddAssign for M31 {
    #[inline(always)]
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl SubAssign for M31 {
    #[inline(always)]
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl MulAssign for M31 {
    #[inline(always)]
    fn mul_assign(&mut self, rhs: Self) {
        *self = *self * rhs;
    }
}

impl core::iter::Sum for M31 {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl core::fmt::Debug for M31 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl serde::Serialize for M31 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for M31 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u32::deserialize(deserializer)?;
        Self::new(value).map_err(serde::de::Error::custom)
    }
}
