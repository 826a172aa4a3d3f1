//! The two representations of the field: `circlet_core`'s scalars and stwo's lanes.

use std::ops::{Add, AddAssign, Mul, Sub};

use circlet_core::field::{M31, P, QM31};
use stwo::core::fields::m31::M31 as StwoM31;
use stwo::core::fields::qm31::QM31 as StwoQM31;
use stwo::prover::backend::simd::m31::{N_LANES, PackedM31};
use stwo::prover::backend::simd::qm31::PackedQM31;

/// Sixteen base-field elements.
pub type B = PackedM31;
/// Sixteen extension elements.
pub type E = PackedQM31;
/// Number of elements in a vector.
pub const LANES: usize = N_LANES;
/// Log of [`LANES`].
pub const LOG_LANES: u32 = 4;

/// A base-field element for stwo.
pub fn to_stwo_base(x: M31) -> StwoM31 {
    StwoM31::from_u32_unchecked(x.value())
}

/// An extension element for stwo.
pub fn to_stwo(x: QM31) -> StwoQM31 {
    let [a, b, c, d] = x.coordinates().map(to_stwo_base);
    StwoQM31::from_m31(a, b, c, d)
}

/// A base-field element from stwo, whose lanes may hold `P` for zero.
pub fn from_stwo_base(x: StwoM31) -> M31 {
    M31::reduce(u64::from(x.0))
}

/// An extension element from stwo.
pub fn from_stwo(x: StwoQM31) -> QM31 {
    QM31::from_coordinates(x.to_m31_array().map(from_stwo_base))
}

/// A vector of signed integers.
pub fn pack_base(cells: &[i32]) -> B {
    let mut lanes = [0; LANES];
    match <&[i32; LANES]>::try_from(cells) {
        Ok(cells) => lanes = *cells,
        Err(_) => lanes[..cells.len()].copy_from_slice(cells),
    }
    bytemuck::cast(lanes.map(residue))
}

/// The residue of a signed integer, without a branch.
#[inline(always)]
fn residue(cell: i32) -> u32 {
    // As an unsigned word a negative number is larger by 2^32 = 2, and its top bit counts as 2^31 = 1.
    let word = cell as u32;
    let residue = (word & P).wrapping_sub(word >> 31);
    let residue = residue.min(residue.wrapping_add(P));
    residue.min(residue.wrapping_sub(P))
}

/// Vectors of signed integers; the last one is filled with zeros.
pub fn pack_all(cells: &[i32]) -> Vec<B> {
    cells.chunks(LANES).map(pack_base).collect()
}

/// An element of the extension, or sixteen: the arithmetic that kernels are written in, once for both.
pub trait Ext:
    Copy + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign
{
    /// The same element in every lane.
    fn splat(x: QM31) -> Self;
    /// The sum over the lanes.
    fn total(self) -> QM31;
}

impl Ext for QM31 {
    fn splat(x: QM31) -> Self {
        x
    }
    fn total(self) -> QM31 {
        self
    }
}

impl Ext for E {
    #[inline(always)]
    fn splat(x: QM31) -> Self {
        Self::broadcast(to_stwo(x))
    }
    fn total(self) -> QM31 {
        from_stwo(self.pointwise_sum())
    }
}

/// Vectors from elements; the length is a multiple of [`LANES`].
pub fn pack(elements: &[QM31]) -> Vec<E> {
    elements
        .chunks_exact(LANES)
        .map(|chunk| E::from_array(std::array::from_fn(|i| to_stwo(chunk[i]))))
        .collect()
}

/// Elements from vectors.
pub fn unpack(vectors: &[E]) -> Vec<QM31> {
    vectors.iter().flat_map(|v| v.to_array().map(from_stwo)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_residues() {
        let edges = [0, 1, 2, i32::MAX - 1, i32::MAX, i32::MIN, i32::MIN + 1, i32::MIN + 2, -2, -1];
        for cells in [&edges[..], &[77; LANES], &[edges, edges].concat()[4..]] {
            let lanes = pack_base(&cells[..cells.len().min(LANES)]).to_array();
            for (lane, &cell) in lanes.iter().zip(cells) {
                assert_eq!(lane.0, M31::from_i64(i64::from(cell)).value(), "{cell}");
            }
        }
        assert_eq!(residue(i32::MAX), 0);
    }

    #[test]
    fn both_fields_agree() {
        let limb = |i: u32, k: u32| {
            let edges = [0, 1, 2, (1 << 31) - 2, (1 << 30), (1 << 30) - 1];
            let value =
                if i < 6 { edges[((i + k) % 6) as usize] } else { (i * 4 + k).wrapping_mul(2_654_435_761) };
            M31::reduce(u64::from(value))
        };
        let all: Vec<QM31> =
            (0..64).map(|i| QM31::from_coordinates([0, 1, 2, 3].map(|k| limb(i, k)))).collect();
        for &a in &all {
            assert_eq!(from_stwo(to_stwo(a)), a);
            for &b in &all {
                assert_eq!(from_stwo(to_stwo(a) * to_stwo(b)), a * b);
                assert_eq!(from_stwo(to_stwo(a) - to_stwo(b)), a - b);
            }
        }
        let (x, y) = (pack(&all), pack(&all[16..]));
        let products = unpack(&x.iter().zip(&y).map(|(&x, &y)| x * y).collect::<Vec<_>>());
        for (i, product) in products.into_iter().enumerate() {
            assert_eq!(product, all[i] * all[i + 16]);
        }
    }
}
