//! Sums of products of extension elements that are reduced once, for vectors of sixteen.
//!
//! With `u^2 = 2 + i` the product `(x0 + x1 i + (x2 + x3 i) u) (y0 + y1 i + (y2 + y3 i) u)` has the coordinates
//!
//! ```text
//! x0 y0 - x1 y1 + x2 a - x3 b,   x0 y1 + x1 y0 + x2 b + x3 a,
//! x0 y2 - x1 y3 + x2 y0 - x3 y1, x0 y3 + x1 y2 + x2 y1 + x3 y0,   a + b i = (2 + i) (y2 + y3 i)
//! ```
//!
//! of four products each: below `2^64`, with `-y` as `P - y`. Words of 64 bits are reduced at the end, modulo
//! `2^31 = 1`. Without AVX2 the same functions are those of stwo.

pub use kernels::{Acc, Factor, add_scaled, dot, mix, product, times};

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod kernels {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_add_epi64, _mm256_and_si256, _mm256_blend_epi32, _mm256_min_epu32,
        _mm256_mul_epu32, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_slli_epi64, _mm256_srli_epi64,
        _mm256_sub_epi32,
    };

    use circlet_core::field::{M31, P, QM31};

    use crate::backend::field::{B, E};

    /// Eight words, or four of 64 bits.
    type V = __m256i;
    /// The coordinates of eight elements.
    type Half = [V; 4];
    /// A right factor: `y0 y1 y2 y3`, `-y1 -y3`, `a b -b`.
    type Right = [V; 9];

    /// An instruction on values: it needs nothing but AVX2, which the build has.
    macro_rules! instruction {
        ($name:ident, $intrinsic:path $(, $x:ident)+) => {
            #[inline(always)]
            fn $name($($x: V),+) -> V {
                // SAFETY: this module is compiled only where AVX2 is enabled for the whole build.
                unsafe { $intrinsic($($x),+) }
            }
        };
    }
    instruction!(mul, _mm256_mul_epu32, a, b);
    instruction!(add64, _mm256_add_epi64, a, b);
    instruction!(add32, _mm256_add_epi32, a, b);
    instruction!(sub32, _mm256_sub_epi32, a, b);
    instruction!(min, _mm256_min_epu32, a, b);
    instruction!(and, _mm256_and_si256, a, b);
    instruction!(odd, _mm256_srli_epi64::<32>, a);
    instruction!(upper, _mm256_slli_epi64::<32>, a);
    instruction!(above_31, _mm256_srli_epi64::<31>, a);
    instruction!(blend, _mm256_blend_epi32::<0b1010_1010>, a, b);

    #[inline(always)]
    fn splat(word: u32) -> V {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi32(word as i32) }
    }

    #[inline(always)]
    fn splat64(word: u64) -> V {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi64x(word as i64) }
    }

    #[inline(always)]
    fn add(a: V, b: V) -> V {
        let sum = add32(a, b);
        min(sum, sub32(sum, splat(P)))
    }

    #[inline(always)]
    fn sub(a: V, b: V) -> V {
        let difference = sub32(a, b);
        min(difference, add32(difference, splat(P)))
    }

    #[inline(always)]
    fn neg(a: V) -> V {
        sub32(splat(P), a)
    }

    #[inline(always)]
    fn split(x: E) -> [Half; 2] {
        let [[a, e], [b, f], [c, g], [d, h]]: [[V; 2]; 4] = bytemuck::cast(x);
        [[a, b, c, d], [e, f, g, h]]
    }

    #[inline(always)]
    fn join([[a, b, c, d], [e, f, g, h]]: [Half; 2]) -> E {
        bytemuck::cast([[a, e], [b, f], [c, g], [d, h]])
    }

    // Closures in `array::map` are not always inlined; these are.
    #[inline(always)]
    fn each(f: fn(V, V) -> V, a: Half, b: Half) -> Half {
        [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
    }

    #[inline(always)]
    fn odds([a, b, c, d]: Half) -> Half {
        [odd(a), odd(b), odd(c), odd(d)]
    }

    #[inline(always)]
    fn right_odds([a, b, c, d, e, f, g, h, i]: Right) -> Right {
        [odd(a), odd(b), odd(c), odd(d), odd(e), odd(f), odd(g), odd(h), odd(i)]
    }

    #[inline(always)]
    fn right([y0, y1, y2, y3]: Half) -> Right {
        let (a, b) = (sub(add(y2, y2), y3), add(add(y3, y3), y2));
        [y0, y1, y2, y3, neg(y1), neg(y3), a, b, neg(b)]
    }

    #[inline(always)]
    fn four([x0, x1, x2, x3]: Half, [p, q, r, s]: Half) -> V {
        add64(add64(mul(x0, p), mul(x1, q)), add64(mul(x2, r), mul(x3, s)))
    }

    /// The products of the even words, not reduced.
    #[inline(always)]
    fn products(x: Half, [y0, y1, y2, y3, n1, n3, a, b, nb]: Right) -> Half {
        [
            four(x, [y0, n1, a, nb]),
            four(x, [y1, y0, b, a]),
            four(x, [y2, n3, y0, n1]),
            four(x, [y3, y2, y1, y0]),
        ]
    }

    /// Words of 64 bits, at most `4 P^2`, modulo `P`: `2^32 hi + lo = 2 hi + lo`. Twice the reduced `hi` is at
    /// most `2 P - 4`, the reduced `lo` at most `P + 1`, so one subtraction more leaves at most `P`.
    #[inline(always)]
    fn reduce(even: V, odds: V) -> V {
        let p = splat(P);
        let (hi, lo) = (blend(odd(even), odds), blend(even, upper(odds)));
        let hi = min(hi, sub32(hi, p));
        let hi = add32(hi, hi);
        let hi = min(hi, sub32(hi, p));
        let lo = min(lo, sub32(lo, p));
        let sum = add32(hi, lo);
        min(sum, sub32(sum, p))
    }

    /// The same for words below `2^61`, where twice `hi` is below `2^30`; a product of two residues that has
    /// been partly reduced, or a sum of few.
    #[inline(always)]
    fn reduce_short(even: V, odds: V) -> V {
        let p = splat(P);
        let (hi, lo) = (blend(odd(even), odds), blend(even, upper(odds)));
        let lo = min(lo, sub32(lo, p));
        let sum = add32(add32(hi, hi), lo);
        min(sum, sub32(sum, p))
    }

    /// Congruent and below `2^34`.
    #[inline(always)]
    fn partial(x: V) -> V {
        add64(and(x, splat64(P.into())), above_31(x))
    }

    #[inline(always)]
    fn add_partial(a: V, b: V) -> V {
        add64(partial(a), partial(b))
    }

    /// A factor of many products.
    #[derive(Clone, Copy, Debug)]
    pub struct Factor([u32; 9]);

    impl Factor {
        /// This element as a factor.
        pub fn new(y: QM31) -> Self {
            let [y0, y1, y2, y3] = y.coordinates();
            let (a, b) = (y2 + y2 - y3, y3 + y3 + y2);
            Self([y0, y1, y2, y3, -y1, -y3, a, b, -b].map(M31::value))
        }

        #[inline(always)]
        fn right(&self) -> Right {
            let [a, b, c, d, e, f, g, h, i] = self.0;
            [splat(a), splat(b), splat(c), splat(d), splat(e), splat(f), splat(g), splat(h), splat(i)]
        }
    }

    #[inline(always)]
    fn times_half(x: Half, y: Right) -> Half {
        each(reduce, products(x, y), products(odds(x), y))
    }

    /// `x y`.
    #[inline(always)]
    pub fn times(x: E, y: &Factor) -> E {
        let ([a, b], y) = (split(x), y.right());
        join([times_half(a, y), times_half(b, y)])
    }

    #[inline(always)]
    fn mix_half(low: Half, high: Half, r: Right) -> Half {
        each(add, times_half(each(sub, high, low), r), low)
    }

    /// `(1 - r) low + r high`.
    #[inline(always)]
    pub fn mix(low: E, high: E, r: &Factor) -> E {
        let (low, high, r) = (split(low), split(high), r.right());
        join([mix_half(low[0], high[0], r), mix_half(low[1], high[1], r)])
    }

    #[inline(always)]
    fn product_half(x: Half, y: Half) -> Half {
        let y = right(y);
        each(reduce, products(x, y), products(odds(x), right_odds(y)))
    }

    /// `x y`.
    #[inline(always)]
    pub fn product(x: E, y: E) -> E {
        let (x, y) = (split(x), split(y));
        join([product_half(x[0], y[0]), product_half(x[1], y[1])])
    }

    #[inline(always)]
    fn dot_half(x: [Half; 2], y: [Half; 2]) -> Half {
        let y = [right(y[0]), right(y[1])];
        let even = each(add_partial, products(x[0], y[0]), products(x[1], y[1]));
        let first = products(odds(x[0]), right_odds(y[0]));
        let odd = each(add_partial, first, products(odds(x[1]), right_odds(y[1])));
        each(reduce_short, even, odd)
    }

    /// `x0 y0 + x1 y1`.
    #[inline(always)]
    pub fn dot(x: [E; 2], y: [E; 2]) -> E {
        let ([x0, x1], [y0, y1]) = ([split(x[0]), split(x[1])], [split(y[0]), split(y[1])]);
        join([dot_half([x0[0], x1[0]], [y0[0], y1[0]]), dot_half([x0[1], x1[1]], [y0[1], y1[1]])])
    }

    #[inline(always)]
    fn add_scaled_half(sum: Half, c: V, y: Right) -> Half {
        let odd = odd(c);
        let even = [mul(c, y[0]), mul(c, y[1]), mul(c, y[2]), mul(c, y[3])];
        let odd = [mul(odd, y[0]), mul(odd, y[1]), mul(odd, y[2]), mul(odd, y[3])];
        each(add, each(reduce, even, odd), sum)
    }

    /// `sum + c y` for numbers `c` of the base field.
    #[inline(always)]
    pub fn add_scaled(sum: E, c: B, y: &Factor) -> E {
        let ([low, high], c, y): (_, [V; 2], _) = (split(sum), bytemuck::cast(c), y.right());
        join([add_scaled_half(low, c[0], y), add_scaled_half(high, c[1], y)])
    }

    /// A sum of products, at most `2^29` of them.
    #[derive(Clone, Copy, Debug)]
    pub struct Acc([[Half; 2]; 2]);

    impl Acc {
        /// The empty sum.
        #[inline(always)]
        pub fn zero() -> Self {
            Self([[[splat(0); 4]; 2]; 2])
        }

        /// Adds `x y`.
        #[inline(always)]
        pub fn add(&mut self, x: E, y: &Factor) {
            let (x, y) = (split(x), y.right());
            for (sums, x) in self.0.iter_mut().zip(x) {
                let (even, odd) = (products(x, y), products(odds(x), y));
                for c in 0..4 {
                    sums[0][c] = add64(sums[0][c], partial(even[c]));
                    sums[1][c] = add64(sums[1][c], partial(odd[c]));
                }
            }
        }

        /// The sum.
        #[inline(always)]
        pub fn finish(self) -> E {
            let twice = |a: V, b: V| reduce_short(partial(partial(a)), partial(partial(b)));
            let half = |[a, b]: [Half; 2]| {
                [twice(a[0], b[0]), twice(a[1], b[1]), twice(a[2], b[2]), twice(a[3], b[3])]
            };
            join([half(self.0[0]), half(self.0[1])])
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
mod kernels {
    use circlet_core::field::QM31;

    use crate::backend::field::{B, E, Ext};

    /// A factor of many products.
    #[derive(Clone, Copy, Debug)]
    pub struct Factor(E);

    impl Factor {
        /// This element as a factor.
        pub fn new(y: QM31) -> Self {
            Self(E::splat(y))
        }
    }

    /// `x y`.
    #[inline(always)]
    pub fn times(x: E, y: &Factor) -> E {
        x * y.0
    }

    /// `(1 - r) low + r high`.
    #[inline(always)]
    pub fn mix(low: E, high: E, r: &Factor) -> E {
        low + (high - low) * r.0
    }

    /// `x y`.
    #[inline(always)]
    pub fn product(x: E, y: E) -> E {
        x * y
    }

    /// `x0 y0 + x1 y1`.
    #[inline(always)]
    pub fn dot([x0, x1]: [E; 2], [y0, y1]: [E; 2]) -> E {
        x0 * y0 + x1 * y1
    }

    /// `sum + c y` for numbers `c` of the base field.
    #[inline(always)]
    pub fn add_scaled(sum: E, c: B, y: &Factor) -> E {
        sum + y.0 * c
    }

    /// A sum of products.
    #[derive(Clone, Copy, Debug)]
    pub struct Acc(E);

    impl Acc {
        /// The empty sum.
        pub fn zero() -> Self {
            Self(E::splat(QM31::ZERO))
        }

        /// Adds `x y`.
        #[inline(always)]
        pub fn add(&mut self, x: E, y: &Factor) {
            self.0 += x * y.0;
        }

        /// The sum.
        pub fn finish(self) -> E {
            self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::{B, E, LANES, pack, unpack};
    use circlet_core::field::{M31, P, QM31};

    /// Elements of extreme and of arbitrary coordinates.
    fn sample(n: u64, seed: u64) -> Vec<QM31> {
        let edges = [0, 1, 2, u64::from(P) - 1, 1 << 30, (1 << 30) - 1, u64::from(P) - 2];
        let limb = |i: u64| {
            let word = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            M31::reduce(if word.is_multiple_of(3) { word >> 8 } else { edges[(word >> 5) as usize % 7] })
        };
        (0..n).map(|i| QM31::from_coordinates([0, 1, 2, 3].map(|k| limb(4 * i + k)))).collect()
    }

    #[test]
    fn products_are_those_of_scalars() {
        let n = 1 << 12;
        let (x, y, rs) = (sample(n, 1), sample(n, 1 << 20), sample(n, 1 << 21));
        let full =
            E::from_array([crate::backend::field::to_stwo(-QM31::from_coordinates([M31::ONE; 4])); LANES]);
        assert!(unpack(&[product(full, full)]).iter().all(|&v| v == unpack(&[full * full])[0]));
        for ((x, y), &r) in x.chunks(LANES).zip(y.chunks(LANES)).zip(&rs) {
            let (v, w, f) = (pack(x)[0], pack(y)[0], Factor::new(r));
            let base = B::from_array(std::array::from_fn(|i| {
                crate::backend::field::to_stwo_base(x[i].coordinates()[0])
            }));
            let mut acc = Acc::zero();
            for _ in 0..50 {
                acc.add(v, &f);
                acc.add(w, &f);
            }
            let fast =
                [product(v, w), times(v, &f), mix(v, w, &f), dot([v, w], [w, w]), add_scaled(w, base, &f)];
            let fast = fast.map(|v| unpack(&[v]));
            let sums = unpack(&[acc.finish()]);
            for i in 0..LANES {
                let (x, y) = (x[i], y[i]);
                let slow =
                    [x * y, x * r, x + (y - x) * r, x * y + y * y, y + r * QM31::from(x.coordinates()[0])];
                assert_eq!([0, 1, 2, 3, 4].map(|k| fast[k][i]), slow);
                assert_eq!(sums[i], (0..50).map(|_| x * r + y * r).sum());
            }
        }
    }

    /// `P` stands for zero too.
    #[test]
    fn lanes_may_hold_the_modulus() {
        let zero = pack(&[QM31::ZERO; LANES])[0];
        let modulus = zero - zero + (zero - pack(&[QM31::ONE; LANES])[0]) + pack(&[QM31::ONE; LANES])[0];
        let ones = pack(&sample(LANES as u64, 5))[0];
        let f = Factor::new(sample(1, 9)[0]);
        for v in
            [product(modulus, ones), product(ones, modulus), times(modulus, &f), dot([modulus; 2], [ones; 2])]
        {
            assert!(unpack(&[v]).iter().all(|&x| x == QM31::ZERO));
        }
    }
}
