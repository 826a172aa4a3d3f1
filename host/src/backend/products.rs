//! Sums of products of two multilinear polynomials with an optional weight, and their round polynomials.

use std::ops::{Add, Mul, Sub};

use circlet_core::field::QM31;

use super::field::{B, E, Ext};
use super::table::Table;

/// The coefficients of a round polynomial that are sent: those of `1`, `X^2`, `X^3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coefficients {
    /// Constant coefficient.
    pub s0: QM31,
    /// Coefficient of `X^2`.
    pub s2: QM31,
    /// Coefficient of `X^3`.
    pub s3: QM31,
}

impl Coefficients {
    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { s0: self.s0 + other.s0, s2: self.s2 + other.s2, s3: self.s3 + other.s3 }
    }

    /// `factor * self`.
    #[must_use]
    pub fn times(self, factor: QM31) -> Self {
        Self { s0: self.s0 * factor, s2: self.s2 * factor, s3: self.s3 * factor }
    }
}

/// What products are formed of: elements of the extension or of the base field.
trait Factor: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {}
impl Factor for QM31 {}
impl Factor for E {}
impl Factor for B {}

/// Elements of the extension that factors can be multiplied to.
trait Over<F>: Ext + Mul<F, Output = Self> {
    /// The factor as an element of the extension.
    fn lift(factor: F) -> Self;
}

impl Over<Self> for QM31 {
    fn lift(factor: Self) -> Self {
        factor
    }
}

impl Over<Self> for E {
    fn lift(factor: Self) -> Self {
        factor
    }
}

impl Over<B> for E {
    fn lift(factor: B) -> Self {
        Self::splat(QM31::ONE) * factor
    }
}

/// Calls `$f` with the tables' entries, in vectors if all are long enough.
macro_rules! with_entries {
    ($w:expr, $a:expr, $b:expr, $f:ident) => {
        match ($w, $a, $b) {
            (None, Table::Wide(a), Table::Wide(b)) => $f(None::<&[E]>, a, b),
            (Some(Table::Wide(w)), Table::Wide(a), Table::Wide(b)) => $f(Some(w.as_slice()), a, b),
            (Some(Table::Wide(w)), Table::Base(a), Table::Base(b)) => $f(Some(w.as_slice()), a, b),
            (w, a, b) => {
                let w = w.map(Table::elements);
                $f(w.as_deref(), &a.elements(), &b.elements())
            }
        }
    };
}

/// `sum_x w(x) a(x) b(x)`.
pub fn sum(w: Option<&Table>, a: &Table, b: &Table) -> QM31 {
    with_entries!(w, a, b, sum_entries)
}

fn sum_entries<V: Over<F>, F: Factor>(w: Option<&[V]>, a: &[F], b: &[F]) -> QM31 {
    let mut total = V::splat(QM31::ZERO);
    match w {
        None => a.iter().zip(b).for_each(|(&a, &b)| total += V::lift(a * b)),
        Some(w) => w.iter().zip(a).zip(b).for_each(|((&w, &a), &b)| total += w * (a * b)),
    }
    total.total()
}

/// The round polynomial that binds the highest coordinate.
pub fn sum_round(w: Option<&Table>, a: &Table, b: &Table) -> Coefficients {
    with_entries!(w, a, b, round_entries)
}

fn round_entries<V: Over<F>, F: Factor>(w: Option<&[V]>, a: &[F], b: &[F]) -> Coefficients {
    let half = a.len() / 2;
    let zero = V::splat(QM31::ZERO);
    let (mut s0, mut s2, mut s3) = (zero, zero, zero);
    for i in 0..half {
        let (a0, b0) = (a[i], b[i]);
        let (da, db) = (a[i + half] - a0, b[i + half] - b0);
        let (low, lead) = (a0 * b0, da * db);
        match w {
            None => {
                s0 += V::lift(low);
                s2 += V::lift(lead);
            }
            Some(w) => {
                let (w0, dw) = (w[i], w[i + half] - w[i]);
                let middle = a[i + half] * b[i + half] - low - lead;
                s0 += w0 * low;
                s2 += w0 * lead + dw * middle;
                s3 += dw * lead;
            }
        }
    }
    Coefficients { s0: s0.total(), s2: s2.total(), s3: s3.total() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_core::field::M31;
    use circlet_core::poly::bind_high;

    fn sample(n: usize, seed: u64) -> Vec<QM31> {
        (0..n as u64)
            .map(|i| {
                let limb =
                    |k: u64| M31::reduce((seed * 1000 + i * 7 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                QM31::from_coordinates([limb(1), limb(2), limb(3), limb(4)])
            })
            .collect()
    }

    #[test]
    fn base_factors_are_like_any_other() {
        for log in 5..9 {
            let cells: Vec<i32> = (0..1i32 << log).map(|i| i * 1001 - 7000).collect();
            let base = Table::of_base(cells.chunks(16).map(crate::backend::field::pack_base).collect());
            let wide = Table::new(base.elements());
            let w = Table::new(sample(1 << log, 5));
            assert_eq!(sum(Some(&w), &base, &base), sum(Some(&w), &wide, &wide));
            assert_eq!(sum_round(Some(&w), &base, &base), sum_round(Some(&w), &wide, &wide));
        }
    }

    #[test]
    fn rounds_interpolate_the_bound_sums() {
        for log in 1..=8 {
            let [w, a, b] = [1, 2, 3].map(|seed| sample(1 << log, seed));
            for weighted in [false, true] {
                let naive = |x: QM31| -> QM31 {
                    let [w, a, b] = [&w, &a, &b].map(|t| {
                        let mut t = t.clone();
                        bind_high(&mut t, x);
                        t
                    });
                    (0..a.len()).map(|i| if weighted { w[i] } else { QM31::ONE } * a[i] * b[i]).sum()
                };
                let tables = [&w, &a, &b].map(|t| Table::new(t.clone()));
                let weight = weighted.then_some(&tables[0]);
                let Coefficients { s0, s2, s3 } = sum_round(weight, &tables[1], &tables[2]);
                assert_eq!(sum(weight, &tables[1], &tables[2]), naive(QM31::ZERO) + naive(QM31::ONE));
                let s1 = naive(QM31::ONE) - s0 - s2 - s3;
                for x in sample(4, 9) {
                    assert_eq!(naive(x), s0 + x * (s1 + x * (s2 + x * s3)));
                }
            }
        }
    }
}
