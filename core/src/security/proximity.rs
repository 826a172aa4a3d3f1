//! What the code guarantees in each regime: the decoding radius, the list size, and the error of a random
//! combination of two words.
//!
//! The stacked code over the circle domain is a subcode, of codimension one, of a generalised Reed-Solomon code of
//! dimension `N + 1`, where `N = 2^log_rows`; rates below are of that larger code wherever the difference costs
//! anything.

use libm::{exp2, log2, sqrt};

use crate::profile::Regime;

/// From this length (as a power of two) on, unique decoding uses the bound with the smaller error and the slightly smaller radius.
pub(super) const LONG_CODE: u32 = 20;

/// The numbers of one regime for one code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proximity {
    /// A word whose distance is above this, as a share of the positions, is far.
    pub delta: f64,
    /// Bits for each query, `-log2(1 - delta)`.
    pub query_bits: f64,
    /// How many of the `|F|` challenges may hide that a pair of words is far.
    pub exceptions: f64,
    /// How many codewords a word may stand for.
    pub list_size: f64,
    /// Where `exceptions` comes from.
    pub reference: &'static str,
}

impl Proximity {
    pub fn new(regime: Regime, log_rows: u32, log_blowup: u32) -> Self {
        let log_n = log_rows + log_blowup;
        let n = exp2(f64::from(log_n));
        let rate = exp2(-f64::from(log_blowup));
        match regime {
            Regime::UniqueDecoding => Self::unique(n, rate, log_n),
            Regime::Johnson { m } => Self::johnson(n, rate + 1.0 / n, m),
            Regime::Conjectured => Self {
                delta: 1.0 - rate,
                query_bits: f64::from(log_blowup),
                exceptions: n,
                list_size: 1.0,
                reference: "conjecture of 2020/654 and 2021/582",
            },
        }
    }

    fn unique(n: f64, rate: f64, log_n: u32) -> Self {
        // Words that do not decode have at least (n - N)/2 errors: the radius of the larger code is half an error
        // below (1 - rate)/2, and errors come in whole numbers.
        let half = (1.0 - rate) / 2.0;
        if log_n < LONG_CODE {
            return Self {
                delta: half,
                query_bits: -log2(1.0 - half),
                exceptions: n,
                list_size: 1.0,
                reference: "2020/654 Thm 1.4",
            };
        }
        // Corollary 1.4 stops 3/(d n) short of half the distance d.
        let distance = 1.0 - rate - 1.0 / n;
        let delta = distance / 2.0 - 3.0 / (distance * n);
        Self {
            delta,
            query_bits: -log2(1.0 - delta),
            exceptions: delta * n + 1.0,
            list_size: 1.0,
            reference: "2025/2055 Cor 1.4",
        }
    }

    fn johnson(n: f64, rate: f64, m: u32) -> Self {
        let m = f64::from(m.max(3));
        let root = sqrt(rate);
        let delta = 1.0 - root * (1.0 + 0.5 / m);
        Self {
            delta,
            query_bits: -log2(1.0 - delta),
            exceptions: johnson_exceptions(n, rate, delta, m),
            list_size: (m + 0.5) / root,
            reference: "2025/2055 Thm 1.5",
        }
    }

    /// [`Self::exceptions`] at the same radius if the decoder's multiplicity must be twice as large.
    pub fn exceptions_doubled(log_rows: u32, log_blowup: u32, m: u32) -> f64 {
        let n = exp2(f64::from(log_rows + log_blowup));
        let rate = exp2(-f64::from(log_blowup)) + 1.0 / n;
        let m = f64::from(m.max(3));
        johnson_exceptions(n, rate, 1.0 - sqrt(rate) * (1.0 + 0.5 / m), 2.0 * m)
    }
}

fn johnson_exceptions(n: f64, rate: f64, delta: f64, m: f64) -> f64 {
    let shifted = m + 0.5;
    let root = sqrt(rate);
    let fifth = shifted * shifted * shifted * shifted * shifted;
    (2.0 * fifth + 3.0 * shifted * delta * rate) * n / (3.0 * rate * root) + shifted / root
}

/// Bits for each query if words of the adversary behave like random words (2025/2010): about `log2(1/rate)`, less
/// what choosing among `|F|` combinations gives.
pub(super) fn random_words_query_bits(log_blowup: u32, field_bits: f64) -> f64 {
    let bits = f64::from(log_blowup);
    bits - log2(1.0 + (core::f64::consts::LOG2_E + bits) / field_bits)
}
