//! How close a decoder of integers is to the float one it was made of.

use serde::{Deserialize, Serialize};

use super::float::{FloatModel, argmax};
use super::run::Runner;

/// Agreement on a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Positions compared.
    pub positions: usize,
    /// Positions where both have the same most likely token.
    pub agree: usize,
    /// Positions where the float model gives its most likely token more than one half.
    pub confident: usize,
    /// Those of them where both have the same.
    pub confident_agree: usize,
    /// Mean Kullback-Leibler divergence of the integer model's distribution from the float one's, in nats.
    pub divergence: f64,
    /// Perplexity of the float model.
    pub float_perplexity: f64,
    /// Perplexity of the integer model.
    pub integer_perplexity: f64,
}

impl Accuracy {
    /// Share of positions with the same most likely token.
    pub fn agreement(&self) -> f64 {
        self.agree as f64 / self.positions.max(1) as f64
    }

    /// The same where the float model is confident.
    pub fn confident_agreement(&self) -> f64 {
        self.confident_agree as f64 / self.confident.max(1) as f64
    }
}

/// Logarithms of the probabilities.
fn log_softmax(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.clone().map(|l| (l - most).exp()).sum();
    let log = sum.ln() + most;
    logits.map(|l| l - log).collect()
}

/// Compares both models on pieces of text; `logit_bits` are the fraction bits of integer logits. Each piece follows
/// the constant first token, if there is one; its tokens after the first are predicted. Progress is told as the share
/// of the work that is done.
pub fn compare(
    float: &FloatModel<'_>,
    integer: &Runner,
    logit_bits: i32,
    pieces: &[Vec<u32>],
    mut progress: impl FnMut(f64),
) -> anyhow::Result<Accuracy> {
    /// The part of the work that the float model's layers are.
    const FLOAT: f64 = 0.2;
    let prefix = integer.decoder().prefix;
    let skip = usize::from(prefix.is_some());
    let texts: Vec<Vec<u32>> =
        pieces.iter().map(|piece| prefix.into_iter().chain(piece.iter().copied()).collect()).collect();
    let total = pieces.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let mut sweep = float.sweep(&texts)?;
    while float.advance(&mut sweep, &mut ())? {
        progress(FLOAT * sweep.layers() as f64 / (float.config().layers + 1) as f64);
    }
    let mut accuracy = Accuracy::default();
    let (mut float_loss, mut integer_loss, mut predicted) = (0.0, 0.0, 0usize);
    let scale = 2f64.powi(-logit_bits);
    float.logits(&sweep, skip, |index, reference| {
        let logits = integer.logits(&texts[index])?;
        for (i, (reference, logits)) in reference.iter().zip(&logits).enumerate() {
            let p = log_softmax(reference.iter().map(|&l| f64::from(l)));
            let q = log_softmax(logits.iter().map(|&l| l as f64 * scale));
            let best = argmax(reference) as usize;
            let own = (0..logits.len()).rev().max_by_key(|&i| logits[i]).unwrap_or(0);
            let confident = p[best] > 0.5f64.ln();
            accuracy.positions += 1;
            accuracy.agree += usize::from(best == own);
            accuracy.confident += usize::from(confident);
            accuracy.confident_agree += usize::from(confident && best == own);
            accuracy.divergence += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            if let Some(&next) = pieces[index].get(i + 1) {
                float_loss -= p[next as usize];
                integer_loss -= q[next as usize];
                predicted += 1;
            }
        }
        progress(FLOAT + (1.0 - FLOAT) * accuracy.positions as f64 / total);
        Ok(())
    })?;
    accuracy.divergence /= accuracy.positions.max(1) as f64;
    accuracy.float_perplexity = (float_loss / predicted.max(1) as f64).exp();
    accuracy.integer_perplexity = (integer_loss / predicted.max(1) as f64).exp();
    Ok(accuracy)
}
