//! Intervals of integers that no computation runs out of, for [`super::check`].

use super::Interval;

/// Interval arithmetic without overflow: what does not fit is everything, and stays so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Wide {
    /// Least element.
    pub low: i64,
    /// Greatest element.
    pub high: i64,
}

impl Wide {
    pub const ALL: Self = Self { low: i64::MIN, high: i64::MAX };

    /// The interval between the least and the greatest of some ends, if there is any.
    fn around<const N: usize>(ends: [Option<i64>; N]) -> Self {
        let mut all: Option<Self> = None;
        for end in ends {
            let Some(end) = end else { return Self::ALL };
            let own = all.unwrap_or(Self { low: end, high: end });
            all = Some(Self { low: own.low.min(end), high: own.high.max(end) });
        }
        all.unwrap_or(Self::ALL)
    }

    pub fn times(self, c: i64) -> Self {
        if let (Ok(low), Ok(high), Ok(c)) =
            (i32::try_from(self.low), i32::try_from(self.high), i32::try_from(c))
        {
            // Small machines multiply these at once.
            let (low, high, c) = (i64::from(low), i64::from(high), i64::from(c));
            return if c < 0 {
                Self { low: high * c, high: low * c }
            } else {
                Self { low: low * c, high: high * c }
            };
        }
        if self == Self::ALL {
            return self;
        }
        Self::around([multiplied(self.low, c), multiplied(self.high, c)])
    }

    /// All products of two numbers.
    pub fn product(self, other: Self) -> Self {
        if self == Self::ALL || other == Self::ALL {
            return Self::ALL;
        }
        let (a, b) = (self, other);
        Self::around([
            multiplied(a.low, b.low),
            multiplied(a.low, b.high),
            multiplied(a.high, b.low),
            multiplied(a.high, b.high),
        ])
    }

    pub fn plus(self, other: Self) -> Self {
        match (self.low.checked_add(other.low), self.high.checked_add(other.high)) {
            (Some(low), Some(high)) if self != Self::ALL && other != Self::ALL => Self { low, high },
            _ => Self::ALL,
        }
    }

    /// What of it is at most `bound` in magnitude.
    pub fn within(self, bound: i64) -> Self {
        Self { low: self.low.max(bound.saturating_neg()), high: self.high.min(bound) }
    }

    pub fn magnitude(self) -> u64 {
        self.low.unsigned_abs().max(self.high.unsigned_abs())
    }
}

impl From<Interval> for Wide {
    fn from(Interval { low, high }: Interval) -> Self {
        Self { low, high }
    }
}

/// A product, if it fits.
fn multiplied(a: i64, b: i64) -> Option<i64> {
    match (i32::try_from(a), i32::try_from(b)) {
        // Small machines multiply these at once.
        (Ok(a), Ok(b)) => Some(i64::from(a) * i64::from(b)),
        _ => a.checked_mul(b),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// Ends that fit 32 bits, that do not, and whose products fit no number of 64 bits.
    const ENDS: [i64; 13] = [
        i64::MIN,
        -(1 << 40),
        -(1 << 31) - 1,
        -(1 << 31),
        -7,
        -1,
        0,
        1,
        5,
        (1 << 31) - 1,
        1 << 31,
        1 << 40,
        i64::MAX,
    ];

    fn intervals() -> Vec<Wide> {
        let pairs = ENDS.iter().flat_map(|&low| ENDS.iter().map(move |&high| Wide { low, high }));
        pairs.filter(|wide| wide.low <= wide.high).collect()
    }

    /// The interval of these numbers, or everything where one does not fit.
    fn around(ends: &[i128]) -> Wide {
        let all = ends.iter().map(|&end| i64::try_from(end)).collect::<Result<Vec<i64>, _>>();
        all.map_or(Wide::ALL, |ends| Wide {
            low: *ends.iter().min().unwrap(),
            high: *ends.iter().max().unwrap(),
        })
    }

    #[test]
    fn intervals_hold_all_results_and_no_more() {
        for x in intervals() {
            let [low, high] = [x.low, x.high].map(i128::from);
            for c in ENDS {
                let expected =
                    if x == Wide::ALL { x } else { around(&[low * i128::from(c), high * i128::from(c)]) };
                assert!(x.times(c) == expected, "{low}..{high} times {c}");
            }
            for y in intervals() {
                let (of_y, all) = ([y.low, y.high].map(i128::from), x == Wide::ALL || y == Wide::ALL);
                let corners = vec![low * of_y[0], low * of_y[1], high * of_y[0], high * of_y[1]];
                let product = if all { Wide::ALL } else { around(&corners) };
                assert!(x.product(y) == product, "{low}..{high} times {of_y:?}");
                let sum = if all { Wide::ALL } else { around(&[low + of_y[0], high + of_y[1]]) };
                assert!(x.plus(y) == sum, "{low}..{high} plus {of_y:?}");
            }
        }
    }
}
