use core::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use super::{CM31, M31, P, pow};

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
    #[inline]
    pub const fn from_coordinates(c: [M31; 4]) -> Self {
        Self(CM31(c[0], c[1]), CM31(c[2], c[3]))
    }

    /// The coordinates over the basis `1, i, u, iu`.
    #[inline]
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

    /// `sum_i weights_i cells_i`, over the entries that both have: four products are summed before a reduction.
    pub fn dot(weights: &[Self], cells: &[M31]) -> Self {
        let mut sums = [0u64; 4];
        for (weights, cells) in weights.chunks(4).zip(cells.chunks(4)) {
            let mut part = [0u64; 4];
            for (weight, &cell) in weights.iter().zip(cells) {
                for (sum, x) in part.iter_mut().zip(weight.coordinates()) {
                    *sum += u64::from(x.value()) * u64::from(cell.value());
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += (part & u64::from(P)) + (part >> 31);
            }
        }
        Self::from_coordinates(sums.map(M31::reduce))
    }

    /// `self + self`.
    #[inline]
    pub fn double(self) -> Self {
        self + self
    }

    /// The residue of a signed integer.
    pub fn from_i64(value: i64) -> Self {
        M31::from_i64(value).into()
    }
}

impl From<M31> for QM31 {
    #[inline]
    fn from(value: M31) -> Self {
        Self(CM31(value, M31::ZERO), CM31::ZERO)
    }
}

impl Add for QM31 {
    type Output = Self;
    #[inline]
    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0, self.1 + rhs.1)
    }
}

impl Sub for QM31 {
    type Output = Self;
    #[inline]
    fn sub(self, rhs: Self) -> Self {
        Self(self.0 - rhs.0, self.1 - rhs.1)
    }
}

impl Neg for QM31 {
    type Output = Self;
    #[inline]
    fn neg(self) -> Self {
        Self(-self.0, -self.1)
    }
}

impl Mul for QM31 {
    type Output = Self;
    /// Products are summed in 64 bits, at most four at a time, and each coordinate is reduced once. On small machines this
    /// is a call: it stands in hundreds of places.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    #[cfg_attr(not(target_pointer_width = "32"), inline)]
    fn mul(self, rhs: Self) -> Self {
        let [a0, a1, b0, b1] = self.coordinates().map(|x| u64::from(x.value()));
        let [c0, c1, d0, d1] = rhs.coordinates().map(|x| u64::from(x.value()));
        let p = u64::from(P);
        let (minus_a1, minus_b1) = (p - a1, p - b1);
        // The product of the high halves, below 2^33.
        let fold = |sum: u64| (sum & p) + (sum >> 31);
        let (e0, e1) = (fold(b0 * d0 + minus_b1 * d1), fold(b0 * d1 + b1 * d0));
        Self::from_coordinates([
            M31::reduce(a0 * c0 + minus_a1 * c1 + 2 * e0 + (8 * p - e1)),
            M31::reduce(a0 * c1 + a1 * c0 + e0 + 2 * e1),
            M31::reduce(a0 * d0 + minus_a1 * d1 + b0 * c0 + minus_b1 * c1),
            M31::reduce(a0 * d1 + a1 * d0 + b0 * c1 + b1 * c0),
        ])
    }
}

impl Mul<M31> for QM31 {
    type Output = Self;
    #[inline]
    fn mul(self, rhs: M31) -> Self {
        Self(CM31(self.0.0 * rhs, self.0.1 * rhs), CM31(self.1.0 * rhs, self.1.1 * rhs))
    }
}

impl Add<M31> for QM31 {
    type Output = Self;
    #[inline]
    fn add(self, rhs: M31) -> Self {
        Self(CM31(self.0.0 + rhs, self.0.1), self.1)
    }
}

impl AddAssign for QM31 {
    #[inline]
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl SubAssign for QM31 {
    #[inline]
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl MulAssign for QM31 {
    #[inline]
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
