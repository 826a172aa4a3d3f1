//! The weight of all claims at the one point where the batched opening ends, from their terms as they come.
//!
//! Nothing is kept of a term. What many of them share is remembered: places of columns, and `eq` at a stretch of one
//! point and of the other.

use alloc::vec;
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{ColumnId, Columns, Shape};
use crate::claims::{At, Numbers, OPERANDS, Part, Points, ROWS, Reading, Terms};
use crate::field::{M31, QM31};
use crate::poly::eq1;
use crate::stacking::{Places, Stacking};

/// Powers of `mu`. The claims of one sort come in their order.
#[derive(Clone, Debug)]
struct Powers {
    mu: QM31,
    /// First claim of a sort, and the power asked for last.
    sorts: [(u32, u32, QM31); 6],
}

impl Powers {
    fn new(mu: QM31, numbers: &Numbers) -> Self {
        let firsts = [
            OPERANDS,
            numbers.first_gather(),
            numbers.first_pick(),
            numbers.first_wiring(),
            numbers.first_public(),
            numbers.pin(),
        ];
        Self { mu, sorts: firsts.map(|first| (first, first, mu.pow(u128::from(first)))) }
    }

    /// `mu^claim`.
    fn get(&mut self, claim: u32) -> QM31 {
        let Some((_, last, power)) = self.sorts.iter_mut().rev().find(|sort| sort.0 <= claim) else {
            return self.mu.pow(u128::from(claim));
        };
        if *last + 1 == claim {
            (*last, *power) = (claim, *power * self.mu);
        } else if *last != claim {
            (*last, *power) = (claim, self.mu.pow(u128::from(claim)));
        }
        *power
    }
}

/// What is known of stretches: a table with open addressing, of which a quarter at least is free.
#[derive(Clone, Debug)]
struct Known {
    keys: Vec<u32>,
    values: Vec<QM31>,
    used: usize,
}

/// No stretch has this key: there is no such point.
const NONE: u32 = u32::MAX;

impl Known {
    fn new(slots: usize) -> Self {
        Self { keys: vec![NONE; slots], values: vec![QM31::ZERO; slots], used: 0 }
    }

    /// A number for a stretch of a point and for where the other one begins.
    fn key(part: Part, from: u32) -> u32 {
        part.code() << 8 | from & 0xff
    }

    /// Where a key is, or should be.
    fn place(&self, key: u32) -> usize {
        let mask = self.keys.len().wrapping_sub(1);
        let mut place = (mixed(key) >> 12) as usize & mask;
        while self.keys.get(place).is_some_and(|&known| known != key && known != NONE) {
            place = (place + 1) & mask;
        }
        place
    }

    fn get(&self, key: u32) -> Option<QM31> {
        let place = self.place(key);
        if self.keys.get(place) == Some(&key) { self.values.get(place).copied() } else { None }
    }

    fn insert(&mut self, key: u32, value: QM31) {
        if 4 * self.used >= 3 * self.keys.len() && self.keys.len() >= STRETCHES {
            // It begins anew.
            *self = Self::new(STRETCHES);
        } else if 4 * self.used >= 3 * self.keys.len() {
            let mut larger = Self::new(2 * self.keys.len());
            for (&key, &value) in self.keys.iter().zip(&self.values).filter(|(key, _)| **key != NONE) {
                larger.put(key, value);
            }
            *self = larger;
        }
        self.put(key, value);
    }

    fn put(&mut self, key: u32, value: QM31) {
        let place = self.place(key);
        if let (Some(own), Some(slot)) = (self.keys.get_mut(place), self.values.get_mut(place)) {
            self.used += usize::from(*own == NONE);
            (*own, *slot) = (key, value);
        }
    }
}

/// A number whose upper bits depend on all bits of `key`.
fn mixed(key: u32) -> u32 {
    key.wrapping_mul(0x9e37_79b9)
}

/// Room for stretches that are remembered.
pub const STRETCHES: usize = 512;

/// Pairs of stretches that are remembered.
pub const PAIRS: usize = 256;

/// Lists whose weights are remembered. A program has few, and reads them again and again.
const LISTS: usize = 16;

/// The multilinear extension of the batched weight at a point of the stacked vector.
#[derive(Clone, Debug)]
pub struct Weight<'a> {
    points: &'a Points,
    /// Where the opening ends: rows of matrices, then what selects matrix column and tree.
    end: &'a [QM31],
    places: Places<'a>,
    powers: Powers,
    /// Sums of the claims of the lookup stage and of linear parts, whose terms come mixed with others.
    early: [QM31; OPERANDS as usize],
    /// Sums of the claim about fingerprints that a power of `alpha` multiplies, by component.
    components: Vec<QM31>,
    /// Sum of all others.
    sum: QM31,
    stretches: Known,
    /// Products of pairs of stretches that were asked for not long ago.
    pairs: Vec<([u32; 2], QM31)>,
    /// Weights of lists that were asked for not long ago, by what was asked.
    lists: Vec<([u32; 3], Vec<u32>, QM31)>,
    /// The list that makes room for the next one.
    oldest: usize,
}

impl<'a> Weight<'a> {
    /// No terms yet. `end` is the point, `mu` batches the claims.
    pub fn new(
        points: &'a Points,
        numbers: &Numbers,
        stacking: &'a Stacking,
        mu: QM31,
        end: &'a [QM31],
    ) -> Self {
        Self {
            points,
            end,
            places: Places::new(stacking, end),
            powers: Powers::new(mu, numbers),
            early: [QM31::ZERO; OPERANDS as usize],
            components: Vec::new(),
            sum: QM31::ZERO,
            stretches: Known::new(64),
            pairs: vec![([NONE; 2], QM31::ZERO); PAIRS],
            lists: Vec::new(),
            oldest: 0,
        }
    }

    /// The weight of all terms that have come, given the powers of `alpha`, from the first one on.
    pub fn total(mut self, alphas: &[QM31]) -> QM31 {
        let mut total = self.sum;
        let rows: QM31 = self.components.iter().zip(alphas).map(|(&sum, &alpha)| sum * alpha).sum();
        total += rows * self.powers.get(ROWS);
        for (claim, sum) in (0u32..).zip(self.early) {
            total += sum * self.powers.get(claim);
        }
        total
    }

    /// `mu^claim`.
    pub fn power(&mut self, claim: u32) -> QM31 {
        self.powers.get(claim)
    }

    fn ends(&self, from: u32, log: u32) -> &'a [QM31] {
        self.end.get(from as usize..).and_then(|rest| rest.get(..log as usize)).unwrap_or_default()
    }

    /// `eq` of a stretch and of as many coordinates of the end from `from` on.
    fn stretch(&mut self, part: Part, from: u32) -> QM31 {
        let key = Known::key(part, from);
        if let Some(known) = self.stretches.get(key) {
            return known;
        }
        let coordinates = self.points.stretch(part).iter().zip(self.ends(from, part.len()));
        let value = match part.at() {
            At::Flipped(_) => coordinates.map(|(&x, &y)| eq1(QM31::ONE - x, y)).product(),
            _ => coordinates.map(|(&x, &y)| eq1(x, y)).product(),
        };
        self.stretches.insert(key, value);
        value
    }

    /// The extension of an axis of `2^log` entries, which begins at a coordinate of the end.
    fn along(&mut self, reading: Reading<'_>, from: u32, log: u32) -> QM31 {
        match reading {
            Reading::Parts { parts, groups } => {
                let (mut value, mut at, mut left) = (QM31::ONE, from, log);
                for &part in parts {
                    if part.is_groups() {
                        let list = groups.to_vec();
                        let high = Axis::Listed { list, point: self.points.stretch(part).to_vec() };
                        return value * high.evaluate(self.ends(at, left));
                    }
                    let len = part.len().min(left);
                    if len > 0 {
                        value *= self.stretch(part.first(len), at);
                    }
                    (at, left) = (at + len, left - len);
                }
                // Behind them it is read at zeros.
                self.ends(at, left).iter().fold(value, |value, &y| value * (QM31::ONE - y))
            }
            Reading::Listed { list, len } => {
                let key = [len, from, log];
                let known = self.lists.iter().find(|known| known.0 == key && known.1 == list);
                if let Some(&(_, _, value)) = known {
                    return value;
                }
                let value = self.points.axis(reading, log).evaluate(self.ends(from, log));
                let listed = (key, list.to_vec(), value);
                if self.lists.len() < LISTS {
                    self.lists.push(listed);
                } else if let Some(place) = self.lists.get_mut(self.oldest) {
                    *place = listed;
                    self.oldest = (self.oldest + 1) % LISTS;
                }
                value
            }
            _ => self.points.axis(reading, log).evaluate(self.ends(from, log)),
        }
    }
}

impl Weight<'_> {
    /// The extension of a product of axes.
    fn both(&mut self, rows: Reading<'_>, cols: Reading<'_>, shape: Shape) -> QM31 {
        let (log_rows, log_cols) = (shape.log_rows(), shape.log_cols());
        // Most axes lie at one stretch of a point, and many columns at the same two.
        let single = |reading: Reading<'_>, log: u32| match reading {
            Reading::Parts { parts: &[part], groups: [] } if part.len() >= log => Some(part.first(log)),
            _ => None,
        };
        let (Some(row), Some(col)) = (single(rows, log_rows), single(cols, log_cols)) else {
            return self.along(rows, log_cols, log_rows) * self.along(cols, 0, log_cols);
        };
        // The length of the columns' stretch is where the rows' begins.
        let key = [Known::key(row, log_cols), Known::key(col, 0)];
        let slot = (mixed(key[0] ^ mixed(key[1])) >> 16) as usize % PAIRS;
        if let Some((_, value)) = self.pairs.get(slot).filter(|pair| pair.0 == key) {
            return *value;
        }
        let value = self.stretch(row, log_cols) * self.stretch(col, 0);
        if let Some(pair) = self.pairs.get_mut(slot) {
            *pair = (key, value);
        }
        value
    }

    /// Products of the columns' places and the weights of their axes.
    fn sum(
        &mut self,
        columns: &Columns,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    ) -> QM31 {
        let (mut sum, mut rest) = (QM31::ZERO, terms);
        while let Some(&(_, first)) = rest.first() {
            // Neighbours are mostly alike.
            let shape = columns.shape(first);
            let mut run = QM31::ZERO;
            while let Some((&(c, column), after)) = rest.split_first() {
                if column != first && columns.shape(column) != shape {
                    break;
                }
                let place = self.places.of(columns, column);
                match c {
                    1 => run += place,
                    -1 => run -= place,
                    _ => run += place * M31::from_i64(c),
                }
                rest = after;
            }
            sum += run * self.both(rows, cols, shape);
        }
        sum
    }
}

impl Terms for Weight<'_> {
    fn add(
        &mut self,
        columns: &Columns,
        claim: u32,
        coefficient: QM31,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    ) {
        let mut sum = self.sum(columns, terms, rows, cols);
        if coefficient != QM31::ONE {
            sum *= coefficient;
        }
        match self.early.get_mut(claim as usize) {
            Some(early) => *early += sum,
            None => self.sum += sum * self.powers.get(claim),
        }
    }

    fn add_component(
        &mut self,
        columns: &Columns,
        (component, _): (usize, QM31),
        coefficient: QM31,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    ) {
        let sum = self.sum(columns, terms, rows, cols) * coefficient;
        if component >= self.components.len() {
            self.components.resize(component + 1, QM31::ZERO);
        }
        if let Some(own) = self.components.get_mut(component) {
            *own += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::At;

    fn element(seed: u32) -> QM31 {
        QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(u64::from(seed * 977 + k) << 21)))
    }

    /// What is multiplied from remembered factors is the extension of each axis, whatever came before.
    #[test]
    fn weights_are_products_of_axes() {
        let point = |seed: u32| -> Vec<QM31> { (seed..seed + 8).map(element).collect() };
        let points = Points {
            lookup: point(100),
            rows: point(200),
            cols: point(300),
            bound: point(400),
            pin: point(500),
        };
        let stacking = Stacking::with_rows(&Columns::default(), 8);
        let end: Vec<QM31> = (600..616).map(element).collect();
        let mut weight = Weight::new(&points, &Numbers::default(), &stacking, element(700), &end);
        let part = Part::new;
        let parts: [&[Part]; 9] = [
            &[part(2, At::Rows(0))],
            &[part(3, At::Rows(0))],
            &[part(4, At::Cols(0))],
            &[part(1, At::Bound(2))],
            &[part(0, At::Bound(0))],
            &[part(1, At::Bound(0)), part(1, At::Flipped(1)), part(1, At::Bound(2))],
            &[part(1, At::Flipped(1))],
            &[part(1, At::Lookup(3)), part(2, At::Pin(0))],
            &[part(1, At::Rows(1)), part(2, At::Groups(1))],
        ];
        // More lists than are remembered.
        let lists: Vec<Vec<u32>> = (0..2 * LISTS as u32).map(|k| vec![k % 4, 3 - k % 4, k / 8, 1]).collect();
        let chosen = |parts: &[Part]| parts.iter().any(|part| part.is_groups());
        let mut readings: Vec<Reading<'_>> = Vec::new();
        for parts in parts {
            let groups: &[u32] = if chosen(parts) { &[0, 1, 1, 0] } else { &[] };
            readings.push(Reading::Parts { parts, groups });
        }
        readings.extend(lists.iter().map(|list| Reading::Listed { list, len: 2 }));
        readings.extend([Reading::Sum(3), Reading::Entry(1)]);
        for round in 0..2 {
            for (log_rows, log_cols) in [(2, 3), (3, 2), (4, 4), (3, 3)] {
                for &rows in &readings {
                    for &cols in &readings[..parts.len()] {
                        // Groups are the high part of an axis of eight.
                        let grouped = |reading| matches!(reading, Reading::Parts { groups: [_, ..], .. });
                        if grouped(rows) && log_rows != 3 || grouped(cols) && log_cols != 3 {
                            continue;
                        }
                        let shape = Shape { rows: 1 << log_rows, cols: 1 << log_cols };
                        let expected = points
                            .axis(rows, log_rows)
                            .evaluate(&end[log_cols as usize..][..log_rows as usize])
                            * points.axis(cols, log_cols).evaluate(&end[..log_cols as usize]);
                        assert_eq!(
                            weight.both(rows, cols, shape),
                            expected,
                            "{round} {rows:?} {cols:?} {shape:?}"
                        );
                    }
                }
            }
        }
    }
}
