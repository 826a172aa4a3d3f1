//! Numerators of leaves: one for every lookup, minus a multiplicity for every row of a table, zero where there
//! is nothing. They are kept as runs of constants and of numbers, and so is what remains of them as
//! coordinates are bound.

use circlet_core::field::QM31;
use circlet_core::poly::eq_table;

use super::field::{E, Ext, LOG_LANES, pack, unpack};

/// What fills a run of vectors.
#[derive(Clone, Debug)]
pub enum Values {
    /// One element everywhere.
    Same(QM31),
    /// These.
    Each(Vec<E>),
}

/// The values of a polynomial on the cube, at least a vector.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// The vector behind each run, and the values in it.
    runs: Vec<(usize, Values)>,
}

#[derive(Clone, Copy)]
enum View<'a> {
    Same(QM31),
    Each(&'a [E]),
}

impl View<'_> {
    fn at(self, i: usize) -> E {
        match self {
            Self::Same(x) => E::splat(x),
            Self::Each(values) => values[i],
        }
    }
}

impl Runs {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.runs.last().map_or(0, |run| run.0)
    }

    /// Appends so many vectors.
    pub fn push(&mut self, len: usize, values: Values) {
        let end = self.len() + len;
        match (self.runs.last_mut(), &values) {
            _ if len == 0 => {}
            (Some((last, Values::Same(x))), Values::Same(y)) if x == y => *last = end,
            _ => self.runs.push((end, values)),
        }
    }

    /// The elements of a single vector.
    pub fn elements(&self) -> Vec<QM31> {
        unpack(&[self.view(0..1).at(0)])
    }

    /// A range inside of one run.
    fn view(&self, range: std::ops::Range<usize>) -> View<'_> {
        let k = self.runs.partition_point(|run| run.0 <= range.start);
        let start = if k == 0 { 0 } else { self.runs[k - 1].0 };
        match &self.runs[k].1 {
            Values::Same(x) => View::Same(*x),
            Values::Each(values) => View::Each(&values[range.start - start..range.end - start]),
        }
    }

    /// Where a run ends in either half, as positions in it.
    fn cuts(all: &[&Self], half: usize) -> Vec<usize> {
        let ends = all.iter().flat_map(|runs| runs.runs.iter().map(|run| run.0));
        let mut cuts: Vec<usize> = ends.flat_map(|end| [end, end.wrapping_sub(half)]).collect();
        cuts.retain(|cut| (1..=half).contains(cut));
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// `(1 - r) low + r high` of the two halves.
    #[must_use]
    pub fn bind(&self, r: QM31) -> Self {
        let half = self.len() / 2;
        let (mut out, mut start, by) = (Self::default(), 0, E::splat(r));
        for end in Self::cuts(&[self], half) {
            let values = match (self.view(start..end), self.view(start + half..end + half)) {
                (View::Same(low), View::Same(high)) => Values::Same(low + (high - low) * r),
                (low, high) => {
                    let fold = |i: usize| low.at(i) + (high.at(i) - low.at(i)) * by;
                    Values::Each((0..end - start).map(fold).collect())
                }
            };
            out.push(end - start, values);
            start = end;
        }
        out
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate in `sum eq a b`.
    pub fn round(a: &Self, b: &Self, below: &[QM31]) -> (QM31, QM31) {
        let half = a.len() / 2;
        let (lanes, above) = below.split_at(LOG_LANES as usize);
        let (inner, outer) = above.split_at(above.len() / 2);
        let (log, inner, outer) = (inner.len(), eq_table(inner), eq_table(outer));
        let (mut sums, mut same) = ([E::splat(QM31::ZERO); 2], [QM31::ZERO; 2]);
        let mut start = 0;
        for end in Self::cuts(&[a, b], half) {
            let views = [a, b].map(|x| [x.view(start..end), x.view(start + half..end + half)]);
            if let [[View::Same(a0), View::Same(a1)], [View::Same(b0), View::Same(b1)]] = views {
                let weight = before(above, end) - before(above, start);
                same[0] += weight * a0 * b0;
                same[1] += weight * (a1 - a0) * (b1 - b0);
            } else {
                for i in 0..end - start {
                    let [[a0, a1], [b0, b1]] = views.map(|view| view.map(|view| view.at(i)));
                    let at = start + i;
                    let weight = E::splat(inner[at & ((1 << log) - 1)] * outer[at >> log]);
                    sums[0] += a0 * b0 * weight;
                    sums[1] += (a1 - a0) * (b1 - b0) * weight;
                }
            }
            start = end;
        }
        let lanes = pack(&eq_table(lanes))[0];
        let [low, lead] = sums.map(|sum| (sum * lanes).total());
        (low + same[0], lead + same[1])
    }
}

/// The sum of `eq(point, i)` over all `i` below `end`.
fn before(point: &[QM31], end: usize) -> QM31 {
    if end >> point.len() != 0 {
        return QM31::ONE;
    }
    let (mut sum, mut weight) = (QM31::ZERO, QM31::ONE);
    for (j, &z) in point.iter().enumerate().rev() {
        let below = weight * (QM31::ONE - z);
        if end >> j & 1 == 1 {
            sum += below;
            weight *= z;
        } else {
            weight = below;
        }
    }
    sum
}
