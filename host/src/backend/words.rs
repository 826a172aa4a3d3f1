//! Sixteen words side by side, for sixteen hashes at once.
//!
//! With AVX-512 they are one register, with AVX2 two; elsewhere the compiler makes what it can of them. Left to itself it
//! prefers registers of half the length with AVX-512 and then has too few of them for a compression; and to find out that
//! loops over lanes are registers takes it minutes.

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
pub use circlet_core::hash::blake2s::compress;
pub use kernels::Wide;
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
pub use kernels::compress;

/// Number of words.
const LANES: usize = super::field::LANES;

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
mod kernels {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi32, _mm512_permutex2var_epi32, _mm512_rorv_epi32, _mm512_set1_epi32,
        _mm512_xor_si512,
    };
    use std::mem::transmute;

    use circlet_core::hash::blake2s::Word;

    use super::LANES;

    /// Sixteen words.
    #[derive(Clone, Copy, Debug)]
    pub struct Wide(__m512i);

    impl Wide {
        /// Words in the order of lanes.
        #[inline(always)]
        pub fn new(words: [u32; LANES]) -> Self {
            // SAFETY: both are 64 bytes of plain data.
            Self(unsafe { transmute::<[u32; LANES], __m512i>(words) })
        }

        /// The words.
        #[inline(always)]
        pub fn to_array(self) -> [u32; LANES] {
            // SAFETY: both are 64 bytes of plain data.
            unsafe { transmute::<__m512i, [u32; LANES]>(self.0) }
        }

        /// The words in even and in odd lanes of both, those of `self` first.
        #[inline(always)]
        pub fn halves(self, other: Self) -> [Self; 2] {
            [0, 1].map(|odd| {
                let lanes = Self::new(std::array::from_fn(|i| 2 * i as u32 + odd));
                // SAFETY: this module is compiled only where AVX-512F is enabled for the whole build.
                Self(unsafe { _mm512_permutex2var_epi32(self.0, lanes.0, other.0) })
            })
        }
    }

    impl Word for Wide {
        #[inline(always)]
        fn splat(value: u32) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_set1_epi32(value as i32) })
        }
        #[inline(always)]
        fn add(self, rhs: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_add_epi32(self.0, rhs.0) })
        }
        #[inline(always)]
        fn xor(self, rhs: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_xor_si512(self.0, rhs.0) })
        }
        #[inline(always)]
        fn rotate_right<const R: u32>(self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_rorv_epi32(self.0, _mm512_set1_epi32(R as i32)) })
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "avx2", not(target_feature = "avx512f")))]
mod kernels {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_or_si256, _mm256_set1_epi32, _mm256_setr_epi32,
        _mm256_shuffle_epi8, _mm256_sllv_epi32, _mm256_srlv_epi32, _mm256_xor_si256,
    };
    use std::mem::transmute;

    use circlet_core::hash::blake2s::Word;

    use super::LANES;

    /// Sixteen words.
    #[derive(Clone, Copy, Debug)]
    pub struct Wide([__m256i; 2]);

    impl Wide {
        /// Words in the order of lanes.
        #[inline(always)]
        pub fn new(words: [u32; LANES]) -> Self {
            // SAFETY: both are 64 bytes of plain data.
            Self(unsafe { transmute::<[u32; LANES], [__m256i; 2]>(words) })
        }

        /// The words.
        #[inline(always)]
        pub fn to_array(self) -> [u32; LANES] {
            // SAFETY: both are 64 bytes of plain data.
            unsafe { transmute::<[__m256i; 2], [u32; LANES]>(self.0) }
        }

        /// The words in even and in odd lanes of both, those of `self` first.
        #[inline(always)]
        pub fn halves(self, other: Self) -> [Self; 2] {
            super::halves(self.to_array(), other.to_array()).map(Self::new)
        }

        #[inline(always)]
        fn each(self, rhs: Self, f: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
            Self([f(self.0[0], rhs.0[0]), f(self.0[1], rhs.0[1])])
        }
    }

    impl Word for Wide {
        #[inline(always)]
        fn splat(value: u32) -> Self {
            // SAFETY: this module is compiled only where AVX2 is enabled for the whole build.
            Self([unsafe { _mm256_set1_epi32(value as i32) }; 2])
        }
        #[inline(always)]
        fn add(self, rhs: Self) -> Self {
            // SAFETY: as above.
            self.each(rhs, |a, b| unsafe { _mm256_add_epi32(a, b) })
        }
        #[inline(always)]
        fn xor(self, rhs: Self) -> Self {
            // SAFETY: as above.
            self.each(rhs, |a, b| unsafe { _mm256_xor_si256(a, b) })
        }
        #[inline(always)]
        fn rotate_right<const R: u32>(self) -> Self {
            // Whole bytes are moved, by so many in every word of four.
            let bytes = |first: i32| {
                let word = |i: i32| first + 0x0404_0404 * i;
                // SAFETY: as above.
                unsafe {
                    _mm256_setr_epi32(word(0), word(1), word(2), word(3), word(0), word(1), word(2), word(3))
                }
            };
            self.each(self, |a, _| {
                // SAFETY: as above.
                unsafe {
                    match R {
                        8 => _mm256_shuffle_epi8(a, bytes(0x0003_0201)),
                        16 => _mm256_shuffle_epi8(a, bytes(0x0100_0302)),
                        _ => {
                            let [right, left] = [R, 32 - R].map(|bits| _mm256_set1_epi32(bits as i32));
                            _mm256_or_si256(_mm256_srlv_epi32(a, right), _mm256_sllv_epi32(a, left))
                        }
                    }
                }
            })
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
mod kernels {
    use circlet_core::hash::blake2s::{self, Lanes, Word};

    use super::LANES;

    /// Sixteen words.
    #[derive(Clone, Copy, Debug)]
    pub struct Wide(Lanes<LANES>);

    impl Wide {
        /// Words in the order of lanes.
        #[inline(always)]
        pub fn new(words: [u32; LANES]) -> Self {
            Self(Lanes(words))
        }

        /// The words.
        #[inline(always)]
        pub fn to_array(self) -> [u32; LANES] {
            self.0.0
        }

        /// The words in even and in odd lanes of both, those of `self` first.
        #[inline(always)]
        pub fn halves(self, other: Self) -> [Self; 2] {
            super::halves(self.to_array(), other.to_array()).map(Self::new)
        }
    }

    impl Word for Wide {
        #[inline(always)]
        fn splat(value: u32) -> Self {
            Self(Word::splat(value))
        }
        #[inline(always)]
        fn add(self, rhs: Self) -> Self {
            Self(self.0.add(rhs.0))
        }
        #[inline(always)]
        fn xor(self, rhs: Self) -> Self {
            Self(self.0.xor(rhs.0))
        }
        #[inline(always)]
        fn rotate_right<const R: u32>(self) -> Self {
            Self(self.0.rotate_right::<R>())
        }
    }

    /// The compressions of sixteen hashes, lane by lane: of this loop the compiler makes vectors by itself, of sixteen lanes
    /// in each step of a compression something that takes four times as long (x86-64 without AVX2).
    pub fn compress(h: &mut [Wide; 8], block: &[Wide; 16], counter_bytes: u64, last: bool) {
        for lane in 0..LANES {
            let mut one = h.each_ref().map(|word| word.0.0[lane]);
            blake2s::compress(&mut one, &block.each_ref().map(|word| word.0.0[lane]), counter_bytes, last);
            h.iter_mut().zip(one).for_each(|(word, one)| word.0.0[lane] = one);
        }
    }
}

/// The words in even and in odd lanes of both, one after the other.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx512f")))]
#[inline(always)]
fn halves(a: [u32; LANES], b: [u32; LANES]) -> [[u32; LANES]; 2] {
    const HALF: usize = LANES / 2;
    let half = |odd| std::array::from_fn(|i| if i < HALF { a[2 * i + odd] } else { b[2 * (i - HALF) + odd] });
    [half(0), half(1)]
}

#[cfg(test)]
mod tests {
    use circlet_core::hash::blake2s::{Word, compress as one};

    use super::{LANES, Wide, compress};

    #[test]
    fn compressions_are_those_of_words() {
        let word = |k: usize, lane: usize| 0x9e37_79b9_u32.wrapping_mul((k * LANES + lane) as u32 + 1);
        let wide = |k: usize| Wide::new(std::array::from_fn(|lane| word(k, lane)));
        let block: [Wide; 16] = std::array::from_fn(|k| wide(k + 8));
        for (bytes, last) in [(64, false), ((1 << 32) + 5, true)] {
            let mut h: [Wide; 8] = std::array::from_fn(wide);
            compress(&mut h, &block, bytes, last);
            for lane in 0..LANES {
                let mut expected: [u32; 8] = std::array::from_fn(|k| word(k, lane));
                one(&mut expected, &std::array::from_fn(|k| word(k + 8, lane)), bytes, last);
                assert_eq!(h.map(|word| word.to_array()[lane]), expected);
            }
        }
    }

    #[test]
    fn words_are_words() {
        let a: [u32; LANES] = std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(i as u32 + 1));
        let b: [u32; LANES] = std::array::from_fn(|i| 0x85eb_ca6b_u32.wrapping_mul(i as u32 + 7));
        let (x, y) = (Wide::new(a), Wide::new(b));
        let each = |f: &dyn Fn(u32, u32) -> u32| -> [u32; LANES] { std::array::from_fn(|i| f(a[i], b[i])) };
        assert_eq!(x.add(y).to_array(), each(&u32::wrapping_add));
        assert_eq!(x.xor(y).to_array(), each(&|a, b| a ^ b));
        assert_eq!(x.rotate_right::<7>().to_array(), each(&|a, _| a.rotate_right(7)));
        assert_eq!(x.rotate_right::<8>().to_array(), each(&|a, _| a.rotate_right(8)));
        assert_eq!(x.rotate_right::<12>().to_array(), each(&|a, _| a.rotate_right(12)));
        assert_eq!(x.rotate_right::<16>().to_array(), each(&|a, _| a.rotate_right(16)));
        assert_eq!(Wide::splat(5).to_array(), [5; LANES]);
        let both = [a, b].concat();
        for (odd, half) in x.halves(y).into_iter().enumerate() {
            assert_eq!(
                half.to_array().to_vec(),
                both.iter().copied().skip(odd).step_by(2).collect::<Vec<_>>()
            );
        }
    }
}
