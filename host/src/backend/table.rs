//! Tables of multilinear polynomials over the extension, in vectors while they are long enough.

use circlet_core::field::QM31;
use circlet_core::poly;
use rayon::prelude::*;

use super::field::{B, E, Ext, LANES, pack, unpack};

/// The values of a polynomial on the cube: vectors for 32 and more, elements below. Values of columns stay in
/// the base field, at a quarter of the size, until a coordinate is bound.
#[derive(Clone, Debug)]
pub enum Table {
    /// At least two vectors over the base field.
    Base(Vec<B>),
    /// At least two vectors.
    Wide(Vec<E>),
    /// Fewer than 32 elements.
    Narrow(Vec<QM31>),
}

impl Table {
    /// A table from its elements.
    pub fn new(elements: Vec<QM31>) -> Self {
        if elements.len() >= 2 * LANES { Self::Wide(pack(&elements)) } else { Self::Narrow(elements) }
    }

    /// A table from vectors, at least one.
    pub fn of_vectors(vectors: Vec<E>) -> Self {
        if vectors.len() > 1 { Self::Wide(vectors) } else { Self::Narrow(unpack(&vectors)) }
    }

    /// A table from vectors over the base field, at least one.
    pub fn of_base(vectors: Vec<B>) -> Self {
        if vectors.len() > 1 { Self::Base(vectors) } else { Self::Narrow(unpack(&widen(&vectors))) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Base(v) => v.len() * LANES,
            Self::Wide(v) => v.len() * LANES,
            Self::Narrow(v) => v.len(),
        }
    }

    /// Whether the table has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements.
    pub fn elements(&self) -> Vec<QM31> {
        match self {
            Self::Base(v) => unpack(&widen(v)),
            Self::Wide(v) => unpack(v),
            Self::Narrow(v) => v.clone(),
        }
    }

    /// The first element; that of a table of one is the polynomial's value.
    pub fn first(&self) -> QM31 {
        match self {
            Self::Base(v) => unpack(&widen(&v[..1]))[0],
            Self::Wide(v) => unpack(&v[..1])[0],
            Self::Narrow(v) => v[0],
        }
    }

    /// Binds the lowest coordinate.
    pub fn bind_low(&mut self, r: QM31) {
        match self {
            Self::Base(v) => {
                *self = Self::Wide(widen(v));
                self.bind_low(r);
            }
            Self::Wide(v) => {
                let r = E::splat(r);
                let bound = v.par_chunks_exact(2).with_min_len(1 << 10).map(|pair| {
                    let (even, odd) = pair[0].deinterleave(pair[1]);
                    even + (odd - even) * r
                });
                *self = Self::of_vectors(bound.collect());
            }
            Self::Narrow(v) => poly::bind_low(v, r),
        }
    }

    /// Binds the highest coordinate.
    pub fn bind_high(&mut self, r: QM31) {
        match self {
            Self::Base(v) => {
                let (low, high) = v.split_at(v.len() / 2);
                let r = E::splat(r);
                *self = Self::of_vectors(low.iter().zip(high).map(|(&l, &h)| r * (h - l) + l).collect());
            }
            Self::Wide(v) => {
                fold_halves(v, r);
                *self = Self::of_vectors(std::mem::take(v));
            }
            Self::Narrow(v) => poly::bind_high(v, r),
        }
    }
}

/// `sum a b` over even places, and the same of the differences of odd and even neighbours: what the round that
/// binds the lowest coordinate needs to know.
pub fn low_round(a: &Table, b: &Table) -> [QM31; 2] {
    if let (Table::Wide(a), Table::Wide(b)) = (a, b) {
        let pairs = a.par_chunks_exact(2).zip(b.par_chunks_exact(2)).with_min_len(1 << 10);
        let zero = || [E::splat(QM31::ZERO); 2];
        let sums = pairs.fold(zero, |[low, lead], (a, b)| {
            let ((a0, a1), (b0, b1)) = (a[0].deinterleave(a[1]), b[0].deinterleave(b[1]));
            [low + a0 * b0, lead + (a1 - a0) * (b1 - b0)]
        });
        return sums.reduce(zero, |x, y| [x[0] + y[0], x[1] + y[1]]).map(Ext::total);
    }
    let mut sums = [QM31::ZERO; 2];
    for (a, b) in a.elements().chunks_exact(2).zip(b.elements().chunks_exact(2)) {
        sums[0] += a[0] * b[0];
        sums[1] += (a[1] - a[0]) * (b[1] - b[0]);
    }
    sums
}

/// The same values as extension elements.
fn widen(v: &[B]) -> Vec<E> {
    let one = E::splat(QM31::ONE);
    v.iter().map(|&v| one * v).collect()
}

fn fold_halves(v: &mut Vec<E>, r: QM31) {
    let half = v.len() / 2;
    let r = E::splat(r);
    let (low, high) = v.split_at_mut(half);
    for (l, &h) in low.iter_mut().zip(high.iter()) {
        *l += (h - *l) * r;
    }
    v.truncate(half);
}

/// `eq(point, .)` in vectors where there are enough.
pub fn eq(point: &[QM31]) -> Table {
    if point.len() < 5 {
        return Table::Narrow(poly::eq_table(point));
    }
    let mut vectors = pack(&poly::eq_table(&point[..4]));
    vectors.reserve((1 << (point.len() - 4)) - 1);
    for &x in &point[4..] {
        let x = E::splat(x);
        for i in 0..vectors.len() {
            let high = vectors[i] * x;
            vectors[i] -= high;
            vectors.push(high);
        }
    }
    Table::Wide(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use circlet_core::field::M31;

    fn sample(n: u32) -> Vec<QM31> {
        (0..n)
            .map(|i| QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(u64::from(i * 77 + k) << 20))))
            .collect()
    }

    #[test]
    fn base_tables_are_the_scalar_ones() {
        for log in 4..9 {
            let cells: Vec<i32> = (0..1i32 << log).map(|i| i * 31 - 500).collect();
            let mut table = Table::of_base(cells.chunks(LANES).map(super::super::field::pack_base).collect());
            let mut slow: Vec<QM31> = cells.iter().map(|&c| QM31::from_i64(i64::from(c))).collect();
            for r in sample(log) {
                assert_eq!((table.len(), table.first()), (slow.len(), slow[0]));
                assert_eq!(table.elements(), slow);
                table.bind_high(r);
                poly::bind_high(&mut slow, r);
            }
        }
    }

    #[test]
    fn wide_tables_are_the_scalar_ones() {
        for n in 0..9 {
            let point = sample(n);
            let mut table = eq(&point);
            let mut slow = poly::eq_table(&point);
            assert_eq!(table.elements(), slow);
            for &r in &point {
                table.bind_high(r + QM31::ONE);
                poly::bind_high(&mut slow, r + QM31::ONE);
                assert_eq!(table.elements(), slow);
            }
        }
    }
    #[test]
    fn low_coordinates_are_bound_as_by_scalars() {
        for log in 1..9 {
            let [a, b] = [0, 1].map(|k| sample(2 << log)[k << log..][..1 << log].to_vec());
            let [mut fast_a, mut fast_b] = [&a, &b].map(|t| Table::new(t.clone()));
            let (mut a, mut b) = (a, b);
            for r in sample(log) {
                let at = |x| -> QM31 {
                    let [mut a, mut b] = [a.clone(), b.clone()];
                    poly::bind_low(&mut a, x);
                    poly::bind_low(&mut b, x);
                    a.iter().zip(&b).map(|(&a, &b)| a * b).sum()
                };
                let [s0, s2] = low_round(&fast_a, &fast_b);
                let s1 = at(QM31::ONE) - s0 - s2;
                for x in [QM31::ZERO, r, r + QM31::ONE] {
                    assert_eq!(at(x), s0 + x * (s1 + x * s2));
                }
                for (table, slow) in [(&mut fast_a, &mut a), (&mut fast_b, &mut b)] {
                    table.bind_low(r);
                    poly::bind_low(slow, r);
                    assert_eq!(table.elements(), *slow);
                }
            }
        }
    }
}
