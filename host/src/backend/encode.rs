//! Encoding: one forward circle FFT for each column of a matrix.

use rayon::prelude::*;
use stwo::core::fields::m31::M31 as StwoM31;
use stwo::core::poly::circle::CanonicCoset;
use stwo::prover::backend::simd::SimdBackend;
use stwo::prover::backend::simd::column::BaseColumn;
use stwo::prover::backend::simd::fft::{CACHED_FFT_LOG_SIZE, transpose_vecs};
use stwo::prover::poly::circle::{CircleCoefficients, PolyOps};
use stwo::prover::poly::twiddles::TwiddleTree;

use super::field::{B, LOG_LANES};

/// Twiddles of a code; made once for a key.
pub struct Encoder {
    log_message: u32,
    log_codeword: u32,
    twiddles: TwiddleTree<SimdBackend>,
}

impl Encoder {
    /// The code of messages of `2^log_message` at rate `2^-log_blowup`.
    pub fn new(log_message: u32, log_blowup: u32) -> Self {
        let log_codeword = log_message + log_blowup;
        let half_coset = CanonicCoset::new(log_codeword).circle_domain().half_coset;
        Self { log_message, log_codeword, twiddles: SimdBackend::precompute_twiddles(half_coset) }
    }

    /// The codeword of one message, in bit-reversed order.
    pub fn encode(&self, message: &[B]) -> Vec<B> {
        let mut data = message.to_vec();
        if self.log_message > CACHED_FFT_LOG_SIZE {
            // stwo keeps the coefficients of large polynomials with their vectors transposed.
            // SAFETY: `data` is a slice of vectors, and the transpose stays within its `2^log` of them.
            unsafe {
                transpose_vecs(data.as_mut_ptr().cast::<u32>(), (self.log_message - LOG_LANES) as usize);
            }
        }
        let coefficients =
            CircleCoefficients::<SimdBackend>::new(BaseColumn { data, length: 1 << self.log_message });
        let domain = CanonicCoset::new(self.log_codeword).circle_domain();
        let mut word = coefficients.evaluate_with_twiddles(domain, &self.twiddles).values.data;
        for vector in &mut word {
            *vector = canonical(*vector);
        }
        word
    }

    /// The codewords of many messages.
    pub fn encode_all(&self, messages: &[Vec<B>]) -> Vec<Vec<B>> {
        messages.par_iter().map(|message| self.encode(message)).collect()
    }
}

/// FFT outputs may hold `P` for zero; hashes are of canonical words.
fn canonical(vector: B) -> B {
    // A sum is reduced unless both terms are zero or `P`, and then it is the smaller of `P` and zero.
    vector + B::broadcast(StwoM31(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::{LANES, from_stwo_base, pack_base};
    use circlet_core::code::Domain;
    use circlet_core::field::{M31, QM31};

    #[test]
    fn codewords_are_those_of_the_definition() {
        for (log, blowup) in [(8, 1), (9, 2), (10, 3), (17, 1)] {
            let cells: Vec<i32> = (0..1i32 << log).map(|i| i.wrapping_mul(0x1234_5677) >> 3).collect();
            let message: Vec<B> = cells.chunks(LANES).map(pack_base).collect();
            let word = Encoder::new(log, blowup).encode(&message);
            let domain = Domain::new(log + blowup);
            let slow: Vec<QM31> = cells.iter().map(|&c| M31::from_i64(i64::from(c)).into()).collect();
            let step = (1usize << (log + blowup)) / 64;
            for position in (0..1 << (log + blowup)).step_by(step) {
                let value = word[position / LANES].to_array()[position % LANES];
                let expected = domain.evaluate(0, &slow, position as u32);
                assert_eq!(QM31::from(from_stwo_base(value)), expected, "{log} {blowup} {position}");
            }
        }
    }
}
