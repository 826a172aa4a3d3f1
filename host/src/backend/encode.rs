//! Encoding: one forward circle FFT for each column of a matrix, on the processor or on a GPU.

use std::ops::Range;
use std::sync::Arc;

use circlet_cuda::columns::Cell;
use rayon::prelude::*;
use stwo::core::fields::m31::M31 as StwoM31;
use stwo::core::poly::circle::CanonicCoset;
use stwo::prover::backend::simd::SimdBackend;
use stwo::prover::backend::simd::column::BaseColumn;
use stwo::prover::backend::simd::fft::{CACHED_FFT_LOG_SIZE, transpose_vecs};
use stwo::prover::poly::circle::{CircleCoefficients, PolyOps};
use stwo::prover::poly::twiddles::TwiddleTree;

use super::device::{Device, Error};
use super::field::{B, LANES, LOG_LANES};
use super::gpu::matrix::Later;
use super::gpu::{encode as gpu, matrix as gpu_matrix};
use super::matrix::Matrix;
use super::merkle::{Absorbed, BulkHash, Tree};

/// A code, as what computes it holds it; made once for a key.
pub struct Encoder {
    log_codeword: u32,
    means: Means,
}

/// What encodes.
enum Means {
    /// The processor, with twiddles.
    Cpu { log_message: u32, twiddles: TwiddleTree<SimdBackend> },
    /// GPUs: all have what stays there, the first does what does not.
    Gpu(Vec<Arc<gpu::Encoder>>),
}

impl Encoder {
    /// The code of messages of `2^log_message` at rate `2^-log_blowup`.
    pub fn new(log_message: u32, log_blowup: u32, device: &Device) -> Result<Self, Error> {
        let log_codeword = log_message + log_blowup;
        let machines = device.machines();
        let means = if machines.is_empty() {
            let half_coset = CanonicCoset::new(log_codeword).circle_domain().half_coset;
            Means::Cpu { log_message, twiddles: SimdBackend::precompute_twiddles(half_coset) }
        } else {
            let encoder = |machine| Ok(gpu::Encoder::new(machine, log_message, log_blowup)?.into());
            Means::Gpu(machines.iter().map(encoder).collect::<Result<_, Error>>()?)
        };
        Ok(Self { log_codeword, means })
    }

    /// What encodes, if it is a GPU: the first.
    pub fn gpu(&self) -> Option<&gpu::Encoder> {
        if let Means::Gpu(encoders) = &self.means { Some(&encoders[0]) } else { None }
    }

    /// The codewords of many messages, in bit-reversed order.
    pub fn encode_all(&self, messages: &[Vec<B>]) -> Result<Vec<Vec<B>>, Error> {
        match &self.means {
            Means::Cpu { log_message, twiddles } => {
                let encode = |message: &Vec<B>| encode(*log_message, self.log_codeword, twiddles, message);
                Ok(messages.par_iter().map(encode).collect())
            }
            Means::Gpu(encoders) => encoders[0].encode_all(messages),
        }
    }

    /// A matrix of columns of these cells, of which `make` makes messages, with the tree over the rows of its codewords up to
    /// a cap of `2^cap_log` digests. It is kept where it is encoded, if there is room for what comes later in a GPU's memory beside it.
    pub fn commit<S: BulkHash>(
        &self,
        cells: &[Cell],
        make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
        cap_log: u32,
        later: Later,
    ) -> Result<(Matrix, Tree<S>), Error> {
        if let Some((matrix, tree)) = self.commit_there(cells, &make, cap_log, later)? {
            return Ok((matrix, tree));
        }
        let messages = make(0..cells.len());
        let (codewords, tree) = match &self.means {
            Means::Gpu(encoders) => encoders[0].commit(&messages, cap_log)?,
            Means::Cpu { .. } => {
                let codewords = self.encode_all(&messages)?;
                let tree = Tree::new(&codewords, cap_log);
                (codewords, tree)
            }
        };
        Ok((Matrix::Kept { messages, codewords }, tree))
    }

    /// The same only if it stays on a GPU; messages are made a few at a time.
    pub fn commit_there<S: BulkHash>(
        &self,
        cells: &[Cell],
        make: impl Fn(Range<usize>) -> Vec<Vec<B>> + Sync,
        cap_log: u32,
        later: Later,
    ) -> Result<Option<(Matrix, Tree<S>)>, Error> {
        let Means::Gpu(encoders) = &self.means else { return Ok(None) };
        let there = gpu_matrix::Matrix::commit(encoders, cells, make, cap_log, later)?;
        Ok(there.map(|(matrix, tree)| (Matrix::OnGpu(matrix.into()), tree)))
    }

    /// The tree over the rows of a matrix of so many columns whose messages come in groups: multiples of sixteen, but for
    /// the last.
    pub fn tree<S: BulkHash>(
        &self,
        columns: usize,
        groups: impl Iterator<Item = Vec<Vec<B>>>,
        cap_log: u32,
    ) -> Result<Tree<S>, Error> {
        if let Some(encoder) = self.gpu() {
            let mut leaves = encoder.leaves(columns)?;
            for messages in groups {
                encoder.absorb(&mut leaves, &messages)?;
            }
            return leaves.tree(cap_log);
        }
        let mut leaves = Absorbed::new((1 << self.log_codeword) / LANES, columns);
        for messages in groups {
            leaves.absorb(&self.encode_all(&messages)?);
        }
        Ok(Tree::over(S::absorbed(leaves), cap_log))
    }
}

/// The codeword of one message.
fn encode(log_message: u32, log_codeword: u32, twiddles: &TwiddleTree<SimdBackend>, message: &[B]) -> Vec<B> {
    let mut data = message.to_vec();
    if log_message > CACHED_FFT_LOG_SIZE {
        // stwo keeps the coefficients of large polynomials with their vectors transposed.
        // SAFETY: `data` is a slice of vectors, and the transpose stays within its `2^log` of them.
        unsafe {
            transpose_vecs(data.as_mut_ptr().cast::<u32>(), (log_message - LOG_LANES) as usize);
        }
    }
    let coefficients = CircleCoefficients::<SimdBackend>::new(BaseColumn { data, length: 1 << log_message });
    let domain = CanonicCoset::new(log_codeword).circle_domain();
    let mut word = coefficients.evaluate_with_twiddles(domain, twiddles).values.data;
    for vector in &mut word {
        *vector = canonical(*vector);
    }
    word
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
            let encoder = Encoder::new(log, blowup, &Device::Cpu).unwrap();
            let word = encoder.encode_all(&[message]).unwrap().remove(0);
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
