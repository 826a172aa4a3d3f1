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
        let both = weights.len().min(cells.len());
        let (weights, cells) =
            (weights.get(..both).unwrap_or_default(), cells.get(..both).unwrap_or_default());
        let (weights, last_weights) = weights.as_chunks::<4>();
        let (cells, last_cells) = cells.as_chunks::<4>();
        let mut sums = [0u64; 4];
        // Written out: a loop over the coordinates is not unrolled where code is to be small.
        let mut add = |[a, b, c, d]: [Self; 4], [w, x, y, z]: [M31; 4]| {
            let product = |x: M31, y: M31| u64::from(x.value()) * u64::from(y.value());
            let part = |a: M31, b: M31, c: M31, d: M31| {
                let part = product(a, w) + product(b, x) + product(c, y) + product(d, z);
                (part & u64::from(P)) + (part >> 31)
            };
            sums[0] += part(a.0.0, b.0.0, c.0.0, d.0.0);
            sums[1] += part(a.0.1, b.0.1, c.0.1, d.0.1);
            sums[2] += part(a.1.0, b.1.0, c.1.0, d.1.0);
            sums[3] += part(a.1.1, b.1.1, c.1.1, d.1.1);
        };
        for (&weights, &cells) in weights.iter().zip(cells) {
            add(weights, cells);
        }
        let (mut weights, mut cells) = ([Self::ZERO; 4], [M31::ZERO; 4]);
        for ((weight, cell), (&own, &value)) in
            weights.iter_mut().zip(&mut cells).zip(last_weights.iter().zip(last_cells))
        {
            (*weight, *cell) = (own, value);
        }
        add(weights, cells);
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
    /// Four products are summed in 64 bits, and each coordinate is reduced once. On small machines this
    /// is a call: it stands in hundreds of places.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    #[cfg_attr(not(target_pointer_width = "32"), inline)]
    fn mul(self, rhs: Self) -> Self {
        let wide = |x: M31| u64::from(x.value());
        let minus = |x: M31| u64::from(P - x.value());
        let pair = |x: CM31| (wide(x.0), wide(x.1));
        let ((a0, a1), (b0, b1)) = (pair(self.0), pair(self.1));
        let ((c0, c1), (d0, d1)) = (pair(rhs.0), pair(rhs.1));
        let (e0, e1) = pair(rhs.1.mul_by_u_squared());
        let (minus_a1, minus_b1) = (minus(self.0.1), minus(self.1.1));
        // Four products of numbers up to P are less than 2^64.
        Self::from_coordinates([
            M31::reduce(a0 * c0 + minus_a1 * c1 + b0 * e0 + minus_b1 * e1),
            M31::reduce(a0 * c1 + a1 * c0 + b0 * e1 + b1 * e0),
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
