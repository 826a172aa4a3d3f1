//! How close the vectors of an encoder of integers are to those of the float one it was made of.

use serde::{Deserialize, Serialize};

use super::float::{FloatEncoder, Maxima};
use super::prover::EncoderRunner;

/// Agreement on sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Sentences compared.
    pub sentences: usize,
    /// Mean cosine of the angle between both vectors of a sentence.
    pub mean_cosine: f64,
    /// The least one.
    pub least_cosine: f64,
    /// Sentences whose nearest other sentence is the same in both models.
    pub neighbours: usize,
}

/// The vector of length one in the direction of another.
pub fn normalized(vector: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let vector: Vec<f64> = vector.into_iter().collect();
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    vector.iter().map(|v| v / length.max(f64::MIN_POSITIVE)).collect()
}

/// The cosine of the angle between vectors of length one.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// For every vector the index of the nearest other one.
fn nearest(vectors: &[Vec<f64>]) -> Vec<Option<usize>> {
    let best = |i: usize| {
        let others = (0..vectors.len()).filter(move |&j| j != i);
        others.max_by(|&j, &k| cosine(&vectors[i], &vectors[j]).total_cmp(&cosine(&vectors[i], &vectors[k])))
    };
    (0..vectors.len()).map(best).collect()
}

/// Compares both models on sentences.
pub fn compare(
    float: &FloatEncoder<'_>,
    integer: &EncoderRunner,
    sentences: &[Vec<u32>],
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Accuracy> {
    let mut accuracy = Accuracy { sentences: sentences.len(), least_cosine: 1.0, ..Accuracy::default() };
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    for (index, tokens) in sentences.iter().enumerate() {
        let a = normalized(float.encode(tokens, &mut Maxima::default())?.into_iter().map(f64::from));
        let b = normalized(integer.encode(tokens)?.into_iter().map(f64::from));
        let cosine = cosine(&a, &b);
        accuracy.mean_cosine += cosine / sentences.len() as f64;
        accuracy.least_cosine = accuracy.least_cosine.min(cosine);
        floats.push(a);
        integers.push(b);
        progress(index + 1);
    }
    accuracy.neighbours = nearest(&floats).iter().zip(nearest(&integers)).filter(|(a, b)| **a == *b).count();
    Ok(accuracy)
}
