//! The Poseidon2 permutation over Mersenne-31 at width 16 (Grassi, Khovratovich, Schofnegger,
//! ePrint 2023/323).
//!
//! `permute = E^4 . I^14 . E^4 . M_E`, with the S-box `x^5` and
//! * `E(x) = M_E (x + c)^5`, a full round, `M_E = circ(2 M4, M4, M4, M4)`, `M4 = circ(2, 3, 1, 1)`;
//! * `I(x) = M_I (x_0 + c, x_1, ...)` with the S-box on lane 0, `M_I = J + diag(-2, 1, 2, 4, 8, 16, 32, 64,
//!   2^7, 2^8, 2^10, 2^12, 2^13, 2^14, 2^15, 2^16)` and `J` the matrix of ones.
//!
//! The external layer adds up in 64-bit integers and reduces once per lane. In the internal one, where a power of two
//! is a rotation of 31 bits, all but the sum of the lanes fits 32 bits: small machines have no other registers.

use super::poseidon2_constants::{EXTERNAL_FIRST, EXTERNAL_LAST, INTERNAL};
use crate::field::M31;

/// Lanes of the state.
pub const WIDTH: usize = 16;

/// The constants of all rounds, in the order in which they are used.
pub fn constants() -> impl Iterator<Item = M31> {
    EXTERNAL_FIRST.iter().flatten().chain(&INTERNAL).chain(EXTERNAL_LAST.iter().flatten()).copied()
}

/// The permutation.
pub fn permute(state: &mut [M31; WIDTH]) {
    external_layer(state);
    for constants in &EXTERNAL_FIRST {
        full_round(state, constants);
    }
    for &constant in &INTERNAL {
        state[0] = fifth_power(state[0] + constant);
        internal_layer(state);
    }
    for constants in &EXTERNAL_LAST {
        full_round(state, constants);
    }
}

#[inline]
fn full_round(state: &mut [M31; WIDTH], constants: &[M31; WIDTH]) {
    for (lane, &constant) in state.iter_mut().zip(constants) {
        *lane = fifth_power(*lane + constant);
    }
    external_layer(state);
}

#[inline(always)]
fn fifth_power(x: M31) -> M31 {
    let square = x * x;
    square * square * x
}

/// `circ(2, 3, 1, 1)` over the integers.
#[inline(always)]
fn m4([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (ab, cd) = (a + b, c + d);
    let (sum_b, sum_d) = (ab + cd + b, ab + cd + d);
    [sum_b + ab, sum_b + 2 * c, sum_d + cd, sum_d + 2 * a]
}

/// `circ(2 M4, M4, M4, M4)`: every group of four becomes the image under `M4` of its sum with the sum of all groups.
/// Entries stay below `14 P`.
#[inline]
fn external_layer(state: &mut [M31; WIDTH]) {
    let (mut a, mut b, mut c, mut d) = (0, 0, 0, 0);
    for lanes in state.as_chunks::<4>().0 {
        a += wide(lanes[0]);
        b += wide(lanes[1]);
        c += wide(lanes[2]);
        d += wide(lanes[3]);
    }
    let (a, b, c, d) = (M31::fold(a), M31::fold(b), M31::fold(c), M31::fold(d));
    for lanes in state.as_chunks_mut::<4>().0 {
        // Sums of two are below 2^32.
        let plus = |lane: M31, sum: M31| u64::from(lane.value() + sum.value());
        let [w, x, y, z] = m4([plus(lanes[0], a), plus(lanes[1], b), plus(lanes[2], c), plus(lanes[3], d)]);
        *lanes = [M31::fold(w), M31::fold(x), M31::fold(y), M31::fold(z)];
    }
}

/// `J + diag(-2, 1, 2, 4, ...)`.
#[inline]
fn internal_layer(state: &mut [M31; WIDTH]) {
    // Without a loop: the shifts are by constants, and lanes stay where they are.
    macro_rules! rows {
        ($($lane:ident << $log:literal),*) => {{
            let [first, $($lane),*] = state;
            let sum = M31::fold(wide(*first) $(+ wide(*$lane))*);
            *first = sum - first.double();
            $(*$lane = sum + $lane.shifted($log);)*
        }};
    }
    rows!(
        a << 0,
        b << 1,
        c << 2,
        d << 3,
        e << 4,
        f << 5,
        g << 6,
        h << 7,
        i << 8,
        j << 10,
        k << 12,
        l << 13,
        m << 14,
        n << 15,
        o << 16
    );
}

#[inline(always)]
fn wide(lane: M31) -> u64 {
    u64::from(lane.value())
}

#[cfg(test)]
mod tests {
    use alloc::{collections::VecDeque, vec::Vec};

    use crate::field::P;

    use super::*;

    fn permuted(words: [u32; WIDTH]) -> [u32; WIDTH] {
        let mut state = words.map(|word| M31::new(word).unwrap());
        permute(&mut state);
        state.map(M31::value)
    }

    #[test]
    fn known_answers() {
        assert_eq!(
            permuted(core::array::from_fn(|i| i as u32))[..8],
            [
                187_465_786,
                1_528_751_313,
                1_237_758_435,
                752_625_676,
                822_763_720,
                1_393_193_630,
                1_315_028_148,
                780_456_899
            ]
        );
        assert_eq!(permuted([0; WIDTH])[..4], [1_979_953_422, 1_493_054_217, 1_413_039_529, 793_528_525]);
    }

    /// The self-shrinking Grain LFSR: 80 bits, taps 62, 51, 38, 23, 13, 0.
    struct Grain(VecDeque<bool>);

    impl Grain {
        fn new(fields: [(u32, u32); 6]) -> Self {
            let seed =
                fields.iter().flat_map(|&(value, width)| (0..width).rev().map(move |i| value >> i & 1 == 1));
            let mut grain = Self(seed.chain([true; 30]).collect());
            assert_eq!(grain.0.len(), 80);
            for _ in 0..160 {
                grain.step();
            }
            grain
        }

        fn step(&mut self) -> bool {
            let bit = [62, 51, 38, 23, 13, 0].iter().fold(false, |acc, &tap| acc ^ self.0[tap]);
            self.0.pop_front();
            self.0.push_back(bit);
            bit
        }

        fn bit(&mut self) -> bool {
            loop {
                let (keep, bit) = (self.step(), self.step());
                if keep {
                    return bit;
                }
            }
        }

        /// 31 bits, most significant first, drawn again when they are not canonical.
        fn element(&mut self) -> M31 {
            loop {
                let word = (0..31).fold(0, |acc, _| acc << 1 | u32::from(self.bit()));
                if let Ok(element) = M31::new(word) {
                    return element;
                }
            }
        }
    }

    #[test]
    fn constants_are_the_output_of_grain() {
        // Field GF(p), S-box x^alpha, n, t, R_F, R_P.
        let mut grain = Grain::new([(1, 2), (0, 4), (31, 12), (16, 12), (8, 10), (14, 10)]);
        let expected: Vec<M31> = (0..142).map(|_| grain.element()).collect();
        assert!(constants().eq(expected));
    }

    /// The entries of the internal diagonal after the first are these powers of two.
    const DIAGONAL_LOG: [u32; WIDTH - 1] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 16];

    #[test]
    fn layers_are_the_matrices_of_the_paper() {
        let m4 = [[2u64, 3, 1, 1], [1, 2, 3, 1], [1, 1, 2, 3], [3, 1, 1, 2]];
        let external = |i: usize, j: usize| m4[i % 4][j % 4] * if i / 4 == j / 4 { 2 } else { 1 };
        let internal = |i: usize, j: usize| match (i == j, i) {
            (false, _) => 1,
            (true, 0) => u64::from(P) - 1,
            (true, _) => 1 + (1 << DIAGONAL_LOG[i - 1]),
        };
        let input: [M31; WIDTH] =
            core::array::from_fn(|i| M31::reduce(u64::from(P) - 1 - (i as u64 * 123_456_789) % 1000));
        let product = |entry: &dyn Fn(usize, usize) -> u64| -> [M31; WIDTH] {
            core::array::from_fn(|i| (0..WIDTH).map(|j| M31::reduce(entry(i, j)) * input[j]).sum())
        };
        let mut state = input;
        external_layer(&mut state);
        assert_eq!(state, product(&external));
        let mut state = input;
        internal_layer(&mut state);
        assert_eq!(state, product(&internal));
    }
}
