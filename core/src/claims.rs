//! Linear claims: all that the sumchecks leave to say about the committed columns.
//!
//! A claim reads `sum_i c_i sum_{t,c} F_i(t, c) u_i(t) w_i(c) = v` with columns `F_i` and weights along the
//! two axes, each read in one of the ways of [`Reading`]. The opening proves all claims at once: batched by powers of
//! `mu` they are one weight on the stacked vector of all columns, of which the verifier needs a single
//! evaluation, which [`crate::weight`] makes from the terms as they come. The prover keeps them as [`Claims`].

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::axis::{Axis, Digit};
use crate::circuit::{ColumnId, Columns, Positions};
use crate::field::{M31, QM31};

/// The claim of the lookup stage about multiplicities.
pub const COUNTS: u32 = 0;
/// The claim of the lookup stage about fingerprints.
pub const ROWS: u32 = 1;
/// The claim about the linear parts of all relations.
pub const LINEAR: u32 = 2;
/// The claim about the first operand.
pub const OPERANDS: u32 = 3;

/// How many claims there are of each sort, in the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Operands of products.
    pub operands: u32,
    /// Gathers.
    pub gathers: u32,
    /// Picks.
    pub picks: u32,
    /// Wirings.
    pub wirings: u32,
    /// Public tensors.
    pub publics: u32,
    /// One if the fixed columns are pinned.
    pub pins: u32,
}

impl Numbers {
    /// The claim about the first gather.
    pub fn first_gather(&self) -> u32 {
        OPERANDS + self.operands
    }

    /// The claim about the first pick.
    pub fn first_pick(&self) -> u32 {
        self.first_gather() + self.gathers
    }

    /// The claim about the first wiring.
    pub fn first_wiring(&self) -> u32 {
        self.first_pick() + self.picks
    }

    /// The claim about the first public tensor.
    pub fn first_public(&self) -> u32 {
        self.first_wiring() + self.wirings
    }

    /// The claim about the fixed columns.
    pub fn pin(&self) -> u32 {
        self.first_public() + self.publics
    }

    /// The number of all claims.
    pub fn all(&self) -> u32 {
        self.pin() + self.pins
    }
}

/// The points that claims refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// Where the fraction tree ends.
    pub lookup: Vec<QM31>,
    /// The relations' point along rows.
    pub rows: Vec<QM31>,
    /// The relations' point along columns.
    pub cols: Vec<QM31>,
    /// Where the relations' sumcheck ends.
    pub bound: Vec<QM31>,
    /// Where the key pins its fixed columns.
    pub pin: Vec<QM31>,
}

/// Where some consecutive coordinates of an axis come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The row coordinates of the relations' point, from this one on.
    Rows(u32),
    /// The column coordinates of the relations' point, from this one on.
    Cols(u32),
    /// The sumcheck's point, from this coordinate on.
    Bound(u32),
    /// One minus a coordinate of the sumcheck's point.
    Flipped(u32),
    /// The sumcheck's point from this coordinate on, as a choice of groups: the last part of an axis.
    Groups(u32),
    /// The end of the fraction tree, from this coordinate on.
    Lookup(u32),
    /// The point of the key's pin, from this coordinate on.
    Pin(u32),
}

/// A stretch of coordinates of an axis, in one word: circuits have many, and they are compared often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part(u32);

impl Part {
    /// So many coordinates, or for groups those that choose. Points have far fewer than 256 coordinates.
    pub fn new(len: u32, at: At) -> Self {
        let (sort, from) = match at {
            At::Rows(from) => (0, from),
            At::Cols(from) => (1, from),
            At::Bound(from) => (2, from),
            At::Flipped(from) => (3, from),
            At::Groups(from) => (4, from),
            At::Lookup(from) => (5, from),
            At::Pin(from) => (6, from),
        };
        Self(sort << 16 | from.min(0xff) << 8 | len.min(0xff))
    }

    /// Number of coordinates.
    pub fn len(self) -> u32 {
        self.0 & 0xff
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Where they come from.
    pub fn at(self) -> At {
        let from = self.0 >> 8 & 0xff;
        match self.0 >> 16 {
            0 => At::Rows(from),
            1 => At::Cols(from),
            2 => At::Bound(from),
            3 => At::Flipped(from),
            4 => At::Groups(from),
            5 => At::Lookup(from),
            _ => At::Pin(from),
        }
    }

    /// Whether its coordinates choose groups.
    pub fn is_groups(self) -> bool {
        matches!(self.at(), At::Groups(_))
    }

    /// The first `len` of its coordinates.
    #[must_use]
    pub fn first(self, len: u32) -> Self {
        Self(self.0 & !0xff | len.min(self.len()))
    }

    /// A number below `2^24` that no other stretch has.
    pub fn code(self) -> u32 {
        self.0
    }
}

impl core::fmt::Debug for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Part").field(&self.len()).field(&self.at()).finish()
    }
}

/// How one axis of a column is read: the closed list of weights from which every claim is built. No other wiring
/// between tensors exists.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// `eq` at stretches of known points, lowest coordinates first: of an axis with fewer variables at the first ones, of
    /// one with more at zeros behind them. Where the last part chooses groups, the high part of the index is the one
    /// that `groups` names.
    Parts {
        /// The stretches.
        parts: &'a [Part],
        /// High part of the index for every choice.
        groups: &'a [u32],
    },
    /// `eq` at so many row coordinates of the relations' point, summed over the entries that a list names; the last one
    /// stands for all beyond it.
    Listed {
        /// Index into the axis for each row.
        list: &'a [u32],
        /// Number of row coordinates.
        len: u32,
    },
    /// The sum over the first entries.
    Sum(u32),
    /// One entry.
    Entry(u32),
    /// Powers of a challenge, by the positions of entries in a sequence.
    Sequence(&'a Positions, QM31),
}

impl<'a> Reading<'a> {
    /// `eq` at stretches of known points.
    pub fn parts(parts: &'a [Part]) -> Self {
        Self::Parts { parts, groups: &[] }
    }
}

/// Receives the terms of claims as they come.
pub trait Terms {
    /// `coefficient * sum_k c_k column_k`, each column read in these ways along its axes, is a part of a claim.
    fn add(
        &mut self,
        columns: &Columns,
        claim: u32,
        coefficient: QM31,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    );

    /// The same as a part of the claim about fingerprints, times a power of `alpha`: that of a component.
    fn add_component(
        &mut self,
        columns: &Columns,
        (_, alpha): (usize, QM31),
        coefficient: QM31,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    ) {
        self.add(columns, ROWS, coefficient * alpha, terms, rows, cols);
    }
}

impl Points {
    /// The coordinates of a stretch; none where its point has fewer.
    pub fn stretch(&self, part: Part) -> &[QM31] {
        let (point, from) = match part.at() {
            At::Rows(from) => (&self.rows, from),
            At::Cols(from) => (&self.cols, from),
            At::Bound(from) | At::Flipped(from) | At::Groups(from) => (&self.bound, from),
            At::Lookup(from) => (&self.lookup, from),
            At::Pin(from) => (&self.pin, from),
        };
        point.get(from as usize..).and_then(|rest| rest.get(..part.len() as usize)).unwrap_or_default()
    }

    /// The weights along an axis of `2^log` entries that is read in this way.
    pub fn axis(&self, reading: Reading<'_>, log: u32) -> Axis {
        let listed =
            |list: &[u32], point: &[QM31]| Axis::Listed { list: list.to_vec(), point: point.to_vec() };
        match reading {
            Reading::Parts { parts, groups } => {
                let mut low: Vec<QM31> = Vec::new();
                for &part in parts {
                    let coordinates = self.stretch(part);
                    match part.at() {
                        At::Groups(_) => {
                            let high = listed(groups, coordinates);
                            let split = low.len() as u32;
                            return Axis::Product { split, parts: [Axis::Eq(low), high].into() };
                        }
                        At::Flipped(_) => low.extend(coordinates.iter().map(|&x| QM31::ONE - x)),
                        _ => low.extend(coordinates),
                    }
                }
                low.resize(log as usize, QM31::ZERO);
                Axis::Eq(low)
            }
            Reading::Listed { list, len } => listed(list, self.stretch(Part::new(len, At::Rows(0)))),
            Reading::Sum(len) => Axis::sum(len),
            Reading::Entry(entry) => listed(&[entry], &[]),
            Reading::Sequence(positions, theta) => {
                let ratio = |stride: u64| theta.pow(u128::from(stride));
                let digits = positions.digits.iter().map(|d| Digit { len: d.len, ratio: ratio(d.stride) });
                Axis::Geometric { digits: digits.collect(), skip: positions.skip, take: positions.take }
            }
        }
    }
}

/// Index into [`Claims::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// `coefficient * column`, weighted along both axes, as part of a claim.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Number of the claim it belongs to.
    pub claim: u32,
    /// Factor.
    pub coefficient: QM31,
    /// The column.
    pub column: ColumnId,
    /// Weights of its rows.
    pub rows: AxisId,
    /// Weights of its columns.
    pub cols: AxisId,
}

/// All claims, for who needs them at once.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The points that they refer to. A point is complete before a claim refers to it.
    pub points: Points,
    /// All weights along an axis that occur.
    pub axes: Vec<Axis>,
    /// All terms of all claims.
    pub terms: Vec<Term>,
    /// The value of each claim.
    pub values: Vec<QM31>,
    stretches: BTreeMap<(Part, u32), AxisId>,
    points_known: BTreeMap<Vec<[M31; 4]>, AxisId>,
    lists_known: BTreeMap<(Vec<u32>, u32, u32), AxisId>,
}

impl Claims {
    /// So many claims without terms, of value zero.
    pub fn new(numbers: &Numbers) -> Self {
        Self { values: vec![QM31::ZERO; numbers.all() as usize], ..Self::default() }
    }

    /// Adds to the value of a claim.
    pub fn value(&mut self, claim: u32, value: QM31) {
        if let Some(sum) = self.values.get_mut(claim as usize) {
            *sum += value;
        }
    }

    /// Adds weights.
    pub fn axis(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// The weights of an axis of `2^log` entries that is read in this way; the same ones have the same number.
    pub fn read(&mut self, reading: Reading<'_>, log: u32) -> AxisId {
        match reading {
            Reading::Parts { parts: &[part], groups: [] } => {
                if let Some(&id) = self.stretches.get(&(part, log)) {
                    return id;
                }
                let id = self.eq(self.points.axis(reading, log));
                self.stretches.insert((part, log), id);
                id
            }
            Reading::Parts { groups: [], .. } => self.eq(self.points.axis(reading, log)),
            Reading::Listed { list, len } => {
                let key = (list.to_vec(), len, log);
                if let Some(&id) = self.lists_known.get(&key) {
                    return id;
                }
                let id = self.axis(self.points.axis(reading, log));
                self.lists_known.insert(key, id);
                id
            }
            _ => self.axis(self.points.axis(reading, log)),
        }
    }

    fn eq(&mut self, axis: Axis) -> AxisId {
        let key = match &axis {
            Axis::Eq(point) => point.iter().map(|x| x.coordinates()).collect(),
            _ => Vec::new(),
        };
        if let Some(&id) = self.points_known.get(&key) {
            return id;
        }
        let id = self.axis(axis);
        self.points_known.insert(key, id);
        id
    }

    /// The value of the batched claim, `sum_i mu^i v_i`.
    pub fn batched_value(&self, mu: QM31) -> QM31 {
        crate::poly::univariate(&self.values, mu)
    }
}

impl Terms for Claims {
    fn add(
        &mut self,
        columns: &Columns,
        claim: u32,
        coefficient: QM31,
        terms: &[(i64, ColumnId)],
        rows: Reading<'_>,
        cols: Reading<'_>,
    ) {
        for &(c, column) in terms {
            let own = columns.shape(column);
            let rows = self.read(rows, own.log_rows());
            let cols = self.read(cols, own.log_cols());
            let coefficient = coefficient * M31::from_i64(c);
            self.terms.push(Term { claim, coefficient, column, rows, cols });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_one_sort_follow_those_of_another() {
        let numbers = Numbers { operands: 2, gathers: 3, picks: 5, wirings: 7, publics: 11, pins: 1 };
        assert_eq!([COUNTS, ROWS, LINEAR, OPERANDS], [0, 1, 2, 3]);
        assert_eq!(numbers.first_gather(), 5);
        assert_eq!(numbers.first_pick(), 8);
        assert_eq!(numbers.first_wiring(), 13);
        assert_eq!(numbers.first_public(), 20);
        assert_eq!(numbers.pin(), 31);
        assert_eq!(numbers.all(), 32);
        assert_eq!(Claims::new(&numbers).values.len(), 32);
    }
}
