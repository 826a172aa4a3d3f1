//! The circle code: how a message becomes a codeword, and how a codeword folds (ePrint 2023/1705, 2024/278).
//!
//! A message is the table of a multilinear polynomial `f` with `n` variables. Its codeword takes, in every
//! point `P` of the canonic coset of size `2^N`, the value `sum_b f_b prod_j t_j(P)^(b_j)` where `t_0` is the
//! `y` coordinate, `t_1` the `x` coordinate and `t_(j+1) = 2 t_j^2 - 1`. Binding coordinate `j` of `f` to `r`
//! is a fold of the codeword: neighbouring slots hold points that agree in all but the sign of `t_j`, and
//!
//! ```text
//! f_0 + t f_1 = u,  f_0 - t f_1 = v   =>   (1 - r) f_0 + r f_1 = ( (1 - r)(u + v) + r (u - v) / t ) / 2.
//! ```
//!
//! After the first fold the words are Reed-Solomon codewords over distinct `x` coordinates. Slots are in
//! bit-reversed order, as stwo stores them.

use alloc::vec::Vec;

use tinyvec::TinyVec;

use crate::field::{M31, QM31};
use crate::poly::halve;

/// Generator of the circle group, of order `2^31`.
const GENERATOR: (u32, u32) = (2, 1_268_011_823);
const ORDER_LOG: u32 = 31;

/// Neighbouring values that are folded at once, mostly.
const FEW: usize = 16;

/// The coordinates that fold them.
type Coordinates = TinyVec<[M31; FEW]>;

/// A point of the circle `x^2 + y^2 = 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    x: M31,
    y: M31,
}

impl Point {
    fn add(self, other: Self) -> Self {
        Self { x: self.x * other.x - self.y * other.y, y: self.x * other.y + self.y * other.x }
    }
}

/// The evaluation domain of a code: the canonic coset of size `2^log_size`.
#[derive(Clone, Debug)]
pub struct Domain {
    log_size: u32,
    /// `generator * 2^i`.
    doublings: Vec<Point>,
}

impl Domain {
    /// The domain of `2^log_size` points, `1 <= log_size <= 30`.
    pub fn new(log_size: u32) -> Self {
        let mut point = Point { x: M31::reduce(GENERATOR.0.into()), y: M31::reduce(GENERATOR.1.into()) };
        let mut doublings = Vec::with_capacity(ORDER_LOG as usize);
        for _ in 0..ORDER_LOG {
            doublings.push(point);
            point = point.add(point);
        }
        Self { log_size: log_size.clamp(1, 30), doublings }
    }

    fn point(&self, index: u32) -> Point {
        let one = Point { x: M31::ONE, y: M31::ZERO };
        self.doublings
            .iter()
            .enumerate()
            .filter(|(i, _)| index >> i & 1 == 1)
            .fold(one, |sum, (_, &doubling)| sum.add(doubling))
    }

    /// The group index of the point in a slot.
    fn index_of_slot(&self, slot: u32) -> u32 {
        let n = self.log_size;
        let natural = slot.reverse_bits() >> (32 - n);
        let half = 1u32 << (n - 1);
        let start = 1u32 << (ORDER_LOG - 1 - n);
        let step = 1u32 << (ORDER_LOG + 1 - n);
        let on_half = |k: u32| start.wrapping_add(step.wrapping_mul(k));
        let index = if natural < half { on_half(natural) } else { on_half(natural - half).wrapping_neg() };
        index & ((1 << ORDER_LOG) - 1)
    }

    /// `t_level` at a position of the word that is left after `level` folds.
    pub fn coordinate(&self, level: u32, position: u32) -> M31 {
        let index = self.index_of_slot(position << level);
        if level == 0 {
            self.point(index).y
        } else {
            self.point(index << (level - 1) & ((1 << ORDER_LOG) - 1)).x
        }
    }

    /// The inverses of the coordinates that fold the `leaf`-th group of `2^k` neighbouring values of a word at
    /// `level`: those of its `2^(k-1)` pairs, then those of the pairs of the folded group, and so on.
    ///
    /// The points of a group are one of them plus those of a small subgroup, and `t_(j+1) = 2 t_j^2 - 1`.
    fn inverses(&self, level: u32, leaf: u32, k: u32) -> Coordinates {
        let index = self.index_of_slot(leaf << (level + k));
        let (index, top) = match level {
            0 => (index, ORDER_LOG - 1),
            _ => (index << (level - 1) & ((1 << ORDER_LOG) - 1), ORDER_LOG - 2),
        };
        // Coordinates are gathered with their points, and not from them afterwards: where vector code does that, it loads
        // the other coordinates too, and something behind the last.
        let coordinate = |point: Point| if level == 0 { point.y } else { point.x };
        let mut points: TinyVec<[Point; FEW / 2]> = TinyVec::new();
        let mut row = Coordinates::new();
        let first = self.point(index);
        points.push(first);
        row.push(coordinate(first));
        for bit in 0..k.saturating_sub(1) {
            let Some(&step) = self.doublings.get(top.saturating_sub(bit) as usize) else { break };
            for place in 0..points.len() {
                let Some(point) = points.get(place).map(|point| point.add(step)) else { break };
                points.push(point);
                row.push(coordinate(point));
            }
        }
        let mut all = Coordinates::new();
        for depth in 0..k {
            all.extend_from_slice(&row);
            if level == 0 && depth == 0 {
                row = points.iter().step_by(2).map(|point| point.x).collect();
            } else {
                let half = halve(&mut row, |t, _| next_coordinate(t));
                row.truncate(half);
            }
        }
        invert(&mut all);
        all
    }

    /// Folds `2^k` neighbouring values, the `leaf`-th such group of a word at `level`, with `k` challenges.
    pub fn fold(&self, level: u32, leaf: u32, values: &[QM31], challenges: &[QM31]) -> QM31 {
        let mut inverses = self.inverses(level, leaf, challenges.len() as u32).into_iter();
        let mut values: TinyVec<[QM31; FEW]> = values.into();
        for &r in challenges {
            let half =
                halve(&mut values, |u, v| fold_pair_twice(u, v, inverses.next().unwrap_or_default(), r));
            values.truncate(half);
        }
        // All halves at once.
        let halves = (0..challenges.len()).fold(M31::ONE, |halves, _| halves * M31::HALF);
        values.first().copied().unwrap_or_default() * halves
    }

    /// The codeword of `message` (a word at `level`) at a position.
    pub fn evaluate(&self, level: u32, message: &[QM31], position: u32) -> QM31 {
        let mut values = message.to_vec();
        let mut t = self.coordinate(level, position);
        let mut j = 0;
        while values.len() > 1 {
            if !values.len().is_multiple_of(2) {
                values.push(QM31::ZERO);
            }
            let half = halve(&mut values, |low, high| low + high * t);
            values.truncate(half);
            j += 1;
            t = if level == 0 && j == 1 { self.coordinate(1, position >> 1) } else { next_coordinate(t) };
        }
        values.first().copied().unwrap_or_default()
    }
}

/// `2 t^2 - 1`.
fn next_coordinate(t: M31) -> M31 {
    (t * t).double() - M31::ONE
}

/// `( (1 - r)(u + v) + r (u - v) / t ) / 2`.
pub fn fold_pair(u: QM31, v: QM31, t_inverse: M31, r: QM31) -> QM31 {
    fold_pair_twice(u, v, t_inverse, r) * M31::HALF
}

/// Twice [`fold_pair`].
fn fold_pair_twice(u: QM31, v: QM31, t_inverse: M31, r: QM31) -> QM31 {
    let (sum, difference) = (u + v, (u - v) * t_inverse);
    sum + r * (difference - sum)
}

/// Inverts non-zero elements with one inversion (zeros make all results zero).
pub fn invert(elements: &mut [M31]) {
    let mut prefix: TinyVec<[M31; FEW]> = TinyVec::with_capacity(elements.len());
    let mut product = M31::ONE;
    for &element in &*elements {
        prefix.push(product);
        product *= element;
    }
    let mut inverse = product.inverse().unwrap_or(M31::ZERO);
    for (element, &before) in elements.iter_mut().zip(&prefix).rev() {
        let own = inverse * before;
        inverse *= *element;
        *element = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poly::{bind_low, evaluate};

    fn sample(n: u64, seed: u64) -> Vec<QM31> {
        (0..n)
            .map(|i| {
                QM31::from_coordinates(
                    [1, 2, 3, 4]
                        .map(|k| M31::reduce((seed + i * 91 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
                )
            })
            .collect()
    }

    #[test]
    fn neighbours_differ_in_the_sign_of_one_coordinate() {
        let domain = Domain::new(8);
        for level in 0..6 {
            for position in (0..1u32 << (8 - level)).step_by(2) {
                let t = domain.coordinate(level, position);
                assert_ne!(t, M31::ZERO);
                assert_eq!(domain.coordinate(level, position + 1), -t);
                for up in 1..3 {
                    assert_eq!(
                        domain.coordinate(level + up, position >> up),
                        domain.coordinate(level + up, (position + 1) >> up)
                    );
                }
                let next = domain.coordinate(level + 2, position >> 2);
                let x = domain.coordinate(level + 1, position >> 1);
                assert_eq!(next, x * x + x * x - M31::ONE);
            }
        }
    }

    /// What a message does not have is zero.
    #[test]
    fn short_messages_go_on_with_zeros() {
        let domain = Domain::new(6);
        let message = sample(16, 5);
        for len in 1..=16usize {
            let mut whole = message[..len].to_vec();
            whole.resize(len.next_power_of_two(), QM31::ZERO);
            for (level, position) in [(0, 0), (0, 37), (1, 21), (2, 13)] {
                assert_eq!(
                    domain.evaluate(level, &message[..len], position),
                    domain.evaluate(level, &whole, position)
                );
            }
        }
    }

    #[test]
    fn folding_a_codeword_binds_the_lowest_coordinate() {
        let (log, blowup) = (6, 2);
        let domain = Domain::new(log + blowup);
        let mut message = sample(1 << log, 1);
        let point = sample(u64::from(log), 2);
        let expected = evaluate(&message, &point);
        let mut word: Vec<QM31> = (0..1 << (log + blowup)).map(|p| domain.evaluate(0, &message, p)).collect();
        for (level, &r) in (0u32..).zip(&point) {
            let folded: Vec<QM31> =
                word.chunks(2).zip(0u32..).map(|(pair, leaf)| domain.fold(level, leaf, pair, &[r])).collect();
            bind_low(&mut message, r);
            for (position, &value) in (0u32..).zip(&folded) {
                assert_eq!(value, domain.evaluate(level + 1, &message, position));
            }
            word = folded;
        }
        assert!(word.iter().all(|&v| v == expected));
    }

    #[test]
    fn folding_four_at_once_is_folding_four_times() {
        let domain = Domain::new(9);
        let (values, point) = (sample(512, 3), sample(4, 4));
        let mut word = values.clone();
        for (level, &r) in (0u32..).zip(&point) {
            word =
                word.chunks(2).zip(0u32..).map(|(pair, leaf)| domain.fold(level, leaf, pair, &[r])).collect();
        }
        for (leaf, group) in (0u32..).zip(values.chunks(16)) {
            assert_eq!(domain.fold(0, leaf, group, &point), word[leaf as usize]);
        }
    }

    #[test]
    fn batch_inversion() {
        let elements: Vec<M31> = (1..50u16).map(|i| M31::from(i) * M31::reduce(12_345_678)).collect();
        let mut inverses = elements.clone();
        invert(&mut inverses);
        for (&e, &i) in elements.iter().zip(&inverses) {
            assert_eq!(e * i, M31::ONE);
        }
    }
}
