//! Linear claims: all that the sumchecks leave to say about the committed columns.
//!
//! A claim reads `sum_i c_i sum_{t,c} F_i(t, c) u_i(t) w_i(c) = v` with columns `F_i` and weights along the
//! two axes from the closed list of [`Axis`]. The opening proves all claims at once: batched by powers of
//! `mu` they are one weight on the stacked vector of all columns, of which the verifier needs a single
//! evaluation, [`Claims::weight_at`].

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, ColumnId, Form};
use crate::field::{M31, QM31};
use crate::poly::eq_index;
use crate::stacking::Stacking;

/// Index into [`Claims::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// `coefficient * column`, weighted along both axes, as part of a claim.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Index of the claim it belongs to.
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

/// A list of linear claims, in the order in which the protocol makes them.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// All weights along an axis that occur.
    pub axes: Vec<Axis>,
    /// All terms of all claims.
    pub terms: Vec<Term>,
    /// The value of each claim.
    pub values: Vec<QM31>,
    known: BTreeMap<Vec<[M31; 4]>, AxisId>,
}

/// Where one axis of a form is read: weights for a column that has this many entries or, by repetition, fewer.
#[derive(Clone, Debug)]
pub enum Reading {
    /// At these coordinates, lowest first.
    At(Vec<QM31>),
    /// At these low coordinates and, for the high part of the index, at a sum of entries of a list.
    Listed {
        /// Low coordinates.
        low: Vec<QM31>,
        /// High part of the index for every `k`.
        list: Vec<u32>,
        /// Coordinates of `k`.
        point: Vec<QM31>,
    },
}

impl Reading {
    /// At the first coordinates of a point.
    pub fn first(point: &[QM31], len: u32) -> Self {
        Self::At(point.get(..len as usize).unwrap_or_default().to_vec())
    }

    /// The coordinates, where they are all there is.
    pub fn coordinates(&self) -> &[QM31] {
        match self {
            Self::At(point) => point,
            Self::Listed { low, .. } => low,
        }
    }
}

impl Claims {
    /// Adds weights.
    pub fn axis(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// Weights `eq` at a point.
    pub fn eq(&mut self, point: &[QM31]) -> AxisId {
        let key: Vec<[M31; 4]> = point.iter().map(|x| x.coordinates()).collect();
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = self.axis(Axis::Eq(point.to_vec()));
        self.known.insert(key, id);
        id
    }

    /// The weights of an axis of `2^log` entries that is read in this way.
    fn read(&mut self, reading: &Reading, log: u32) -> AxisId {
        let log = log as usize;
        match reading {
            Reading::At(point) => {
                if let Some(first) = point.get(..log) {
                    return self.eq(first);
                }
                let mut padded = point.clone();
                padded.resize(log, QM31::ZERO);
                self.eq(&padded)
            }
            Reading::Listed { low, list, point } => {
                let high = Axis::Listed { list: list.clone(), point: point.clone() };
                let parts = [Axis::Eq(low.clone()), high].into();
                self.axis(Axis::Product { split: low.len() as u32, parts })
            }
        }
    }

    /// Starts a claim; terms that follow belong to it.
    pub fn begin(&mut self, value: QM31) {
        self.values.push(value);
    }

    /// Adds a term to the claim begun last.
    pub fn add(&mut self, coefficient: QM31, column: ColumnId, rows: AxisId, cols: AxisId) {
        let claim = (self.values.len() as u32).saturating_sub(1);
        self.terms.push(Term { claim, coefficient, column, rows, cols });
    }

    /// Adds `coefficient * form` without what is known of it, read in this way along each axis.
    pub fn add_form(
        &mut self,
        circuit: &Circuit,
        coefficient: QM31,
        form: &Form,
        rows: &Reading,
        cols: &Reading,
    ) {
        for &(c, column) in &form.terms {
            let own = circuit.column(column).shape;
            let row_axis = self.read(rows, own.log_rows());
            let col_axis = self.read(cols, own.log_cols());
            self.add(coefficient * QM31::from_i64(c), column, row_axis, col_axis);
        }
    }

    /// The value of the batched claim, `sum_i mu^i v_i`.
    pub fn batched_value(&self, mu: QM31) -> QM31 {
        crate::poly::univariate(&self.values, mu)
    }

    /// The multilinear extension of the batched weight at a point of the stacked vector.
    pub fn weight_at(&self, circuit: &Circuit, stacking: &Stacking, mu: QM31, point: &[QM31]) -> QM31 {
        let powers = crate::poly::powers(mu, self.values.len().max(1));
        let mut places: BTreeMap<ColumnId, QM31> = BTreeMap::new();
        let mut axes: BTreeMap<(AxisId, u32), QM31> = BTreeMap::new();
        let mut sum = QM31::ZERO;
        for term in &self.terms {
            let shape = circuit.column(term.column).shape;
            let (log_rows, log_cols) = (shape.log_rows() as usize, shape.log_cols() as usize);
            let (low, rest) = point.split_at(log_cols.min(point.len()));
            let (middle, high) = rest.split_at(log_rows.min(rest.len()));
            let place = *places
                .entry(term.column)
                .or_insert_with(|| eq_index(high, stacking.offset(term.column) >> shape.log_size()));
            let mut along = |id: AxisId, from: u32, point: &[QM31]| -> QM31 {
                *axes
                    .entry((id, from))
                    .or_insert_with(|| self.axes.get(id.0 as usize).map_or(QM31::ZERO, |a| a.evaluate(point)))
            };
            let rows = along(term.rows, shape.log_cols(), middle);
            let cols = along(term.cols, 0, low);
            let power = powers.get(term.claim as usize).copied().unwrap_or(QM31::ZERO);
            sum += power * term.coefficient * place * rows * cols;
        }
        sum
    }
}
