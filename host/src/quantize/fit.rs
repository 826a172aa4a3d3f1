//! Weights at the finest scale at which no accumulator can leave the field.

use circlet_core::circuit::split;
use circlet_core::field::P;

use super::activation::bits_for;
use super::calibrate::{exp2, fraction_bits};

/// No accumulator, rounding included, is larger. Twice this is below the field's modulus, so that an
/// accumulator and the rounded value times its scale fit one relation.
pub const MAX_REACH: i64 = (1 << 30) - 2;
/// Most bits that one rounding removes.
pub const MAX_SHIFT: i32 = 24;
/// Fewest fraction bits of a sum.
const COARSEST_SUM: i32 = -120;
/// Weights with fewer integer steps than this carry no useful information.
const COARSE: i64 = 8;

/// `sum_k x_k weights[n][k] + offset[n]` in real numbers, and what is known of the integers.
#[derive(Clone, Copy, Debug)]
pub struct Sum<'a> {
    /// Weights, one row for each result.
    pub weights: &'a [f64],
    /// Length of a row.
    pub terms: usize,
    /// One entry for each result, or none.
    pub offset: Option<&'a [f64]>,
    /// Largest magnitude of `x`.
    pub x_bound: i64,
    /// Fraction bits of `x`.
    pub x_bits: i32,
    /// Fraction bits that the rounded sum should have.
    pub z_bits: i32,
    /// Largest magnitude of a weight.
    pub weight_bound: i64,
    /// Most fraction bits of a weight.
    pub most_bits: i32,
    /// Most bits of the domain of the table that rounds the sum.
    pub table_bits: u8,
}

/// Integer weights.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Same order as the real ones.
    pub weights: Vec<i32>,
    /// At the scale of the sum.
    pub offset: Option<Vec<i32>>,
    /// Fraction bits of the sum.
    pub sum_bits: i32,
    /// Largest magnitude of the sum.
    pub reach: i64,
}

/// Half of the unit that a shift rounds to.
pub fn half(shift: i32) -> i64 {
    if shift > 0 { 1 << (shift - 1) } else { 0 }
}

/// Chooses the scale. None if the weights would have to be too coarse.
pub fn fit(sum: &Sum<'_>) -> Option<Fitted> {
    let max = sum.weights.iter().fold(0f64, |max, w| max.max(w.abs()));
    let finest = match max {
        0.0 => sum.z_bits - sum.x_bits,
        max => fraction_bits(max, sum.weight_bound, 130)?,
    };
    let finest = finest.min(sum.most_bits).min(sum.z_bits + MAX_SHIFT - sum.x_bits);
    let mut crowded = false;
    for bits in (finest - 400..=finest).rev() {
        let sum_bits = sum.x_bits + bits;
        if sum_bits < COARSEST_SUM {
            return None;
        }
        let weights = round(sum.weights, bits);
        let row_l1 = weights.chunks(sum.terms.max(1)).map(l1).max().unwrap_or(0);
        let products = row_l1.saturating_mul(sum.x_bound);
        if products > MAX_REACH {
            crowded = true;
            continue;
        }
        let offset_reach =
            sum.offset.map_or(0.0, |o| o.iter().fold(0f64, |m, x| m.max(x.abs())) * exp2(sum_bits));
        if offset_reach > MAX_REACH as f64 {
            crowded = false;
            continue;
        }
        let offset = sum.offset.map(|offset| round(offset, sum_bits));
        let largest = offset.iter().flatten().map(|x| i64::from(x.abs())).max().unwrap_or(0);
        let reach = products + largest;
        if !provable(sum, &weights, row_l1, largest, sum_bits) {
            continue;
        }
        let coarse = weights.iter().all(|w| i64::from(w.abs()) < COARSE);
        return (max == 0.0 || !coarse || !crowded).then_some(Fitted { weights, offset, sum_bits, reach });
    }
    None
}

/// No relation of the sum can wrap: neither in fact nor by the bounds that the circuit derives.
fn provable(sum: &Sum<'_>, weights: &[i32], row_l1: i64, offset: i64, sum_bits: i32) -> bool {
    let half = half(sum_bits - sum.z_bits);
    let reach = row_l1 * sum.x_bound + offset + half;
    if reach > MAX_REACH {
        return false;
    }
    let shift = (sum_bits - sum.z_bits).max(0);
    let covered = 1i64 << (bits_for(reach >> shift).min(sum.table_bits) - 1);
    // Where the terms stand in two blocks, each block is bounded by the whole row's sum of magnitudes.
    let weight = weights.iter().map(|w| i64::from(w.abs())).max().unwrap_or(0).max(1);
    let block = |(_, len): (u32, u32)| row_l1.min(weight * i64::from(len)) * sum.x_bound;
    let derived: i64 = split(sum.terms as u32).into_iter().map(block).sum();
    derived + offset + half + (covered << shift) < i64::from(P)
}

fn l1(row: &[i32]) -> i64 {
    row.iter().map(|w| i64::from(w.abs())).sum()
}

fn round(values: &[f64], bits: i32) -> Vec<i32> {
    let scale = exp2(bits);
    values.iter().map(|x| (x * scale).round_ties_even() as i32).collect()
}
