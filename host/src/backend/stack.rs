//! The first rounds of the opening: the coordinates that select tree and matrix column.

use circlet_core::field::QM31;
use circlet_core::opening::MESSAGE;
use rayon::prelude::*;

use super::field::{B, E, Ext};

/// The matrix columns of both trees.
type Messages<'a> = [&'a [Vec<B>]; 2];

/// A stacked vector `F` and its weight `W`, one table for each matrix column; absent columns are zero.
pub struct Stack<'a> {
    /// Messages of both trees, before the first coordinate is bound.
    base: Option<(Messages<'a>, [Vec<Vec<E>>; 2])>,
    /// `F` and `W` afterwards.
    columns: Vec<(Vec<E>, Vec<E>)>,
    /// Coordinates left.
    log_columns: u32,
}

type Sums = (E, E);

fn add(x: Sums, y: Sums) -> Sums {
    (x.0 + y.0, x.1 + y.1)
}

fn zero() -> E {
    E::splat(QM31::ZERO)
}

/// `sum f w` for a column without partner.
fn dot<F: Copy>(f: &[F], w: &[E]) -> E
where
    E: std::ops::Mul<F, Output = E>,
{
    f.iter().zip(w).fold(zero(), |sum, (&f, &w)| sum + w * f)
}

/// `sum f0 w0` and `sum (f1 - f0)(w1 - w0)`.
fn pair<F>(f: [&[F]; 2], w: [&[E]; 2]) -> Sums
where
    F: Copy + std::ops::Sub<Output = F>,
    E: std::ops::Mul<F, Output = E>,
{
    let mut sums = (zero(), zero());
    for i in 0..f[0].len() {
        sums.0 += w[0][i] * f[0][i];
        sums.1 += (w[1][i] - w[0][i]) * (f[1][i] - f[0][i]);
    }
    sums
}

impl<'a> Stack<'a> {
    /// The messages of both trees and their weights.
    pub fn new(messages: [&'a [Vec<B>]; 2], weight: [Vec<Vec<E>>; 2], log_columns: u32) -> Self {
        Self { base: Some((messages, weight)), columns: Vec::new(), log_columns }
    }

    /// `[s_0, s_2]` of the round that binds the highest coordinate left.
    pub fn round(&self) -> [QM31; MESSAGE] {
        let sums = if let Some(([f0, f1], [w0, w1])) = &self.base {
            (0..f0.len().max(f1.len()))
                .into_par_iter()
                .map(|j| match (f0.get(j), f1.get(j)) {
                    (Some(a), Some(b)) => pair([a, b], [&w0[j], &w1[j]]),
                    (Some(a), None) => {
                        let sum = dot(a, &w0[j]);
                        (sum, sum)
                    }
                    (None, Some(b)) => (zero(), dot(b, &w1[j])),
                    (None, None) => (zero(), zero()),
                })
                .reduce(|| (zero(), zero()), add)
        } else {
            let half = 1usize << (self.log_columns - 1);
            (0..half.min(self.columns.len()))
                .into_par_iter()
                .map(|j| {
                    let (f, w) = &self.columns[j];
                    if let Some((f1, w1)) = self.columns.get(j + half) {
                        pair([f, f1], [w, w1])
                    } else {
                        let sum = dot(f, w);
                        (sum, sum)
                    }
                })
                .reduce(|| (zero(), zero()), add)
        };
        [sums.0.total(), sums.1.total()]
    }

    /// Binds that coordinate.
    pub fn bind(&mut self, r: QM31) {
        let (low, high) = (E::splat(QM31::ONE - r), E::splat(r));
        if let Some(([f0, f1], [w0, w1])) = self.base.take() {
            let mix_base = |a: Option<&Vec<B>>, b: Option<&Vec<B>>| -> Vec<E> {
                match (a, b) {
                    (Some(a), Some(b)) => a.iter().zip(b).map(|(&a, &b)| high * (b - a) + a).collect(),
                    (Some(a), None) => a.iter().map(|&a| low * a).collect(),
                    (None, Some(b)) => b.iter().map(|&b| high * b).collect(),
                    (None, None) => Vec::new(),
                }
            };
            self.columns = (0..f0.len().max(f1.len()))
                .into_par_iter()
                .map(|j| (mix_base(f0.get(j), f1.get(j)), mix(w0.get(j), w1.get(j), low, high)))
                .collect();
            return;
        }
        let half = 1usize << (self.log_columns - 1);
        self.log_columns -= 1;
        let rest = if self.columns.len() > half { self.columns.split_off(half) } else { Vec::new() };
        self.columns.par_iter_mut().enumerate().for_each(|(j, (f, w))| {
            let partner = rest.get(j);
            *f = mix(Some(f), partner.map(|p| &p.0), low, high);
            *w = mix(Some(w), partner.map(|p| &p.1), low, high);
        });
    }

    /// `u` and its weight, when all coordinates are bound.
    pub fn finish(mut self) -> (Vec<E>, Vec<E>) {
        self.columns.swap_remove(0)
    }
}

/// `(1 - r) a + r b`, absent tables being zero.
fn mix(a: Option<&Vec<E>>, b: Option<&Vec<E>>, low: E, high: E) -> Vec<E> {
    match (a, b) {
        (Some(a), Some(b)) => a.iter().zip(b).map(|(&a, &b)| a + (b - a) * high).collect(),
        (Some(a), None) => a.iter().map(|&a| a * low).collect(),
        (None, Some(b)) => b.iter().map(|&b| b * high).collect(),
        (None, None) => Vec::new(),
    }
}
