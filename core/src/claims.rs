//! Linear claims: all that the sumchecks leave to say about the committed columns.
//!
//! A claim reads `sum_i c_i sum_{t,c} F_i(t, c) u_i(t) w_i(c) = v` with columns `F_i` and weights along the
//! two axes from the closed list of [`Axis`]. The opening proves all claims at once: batched by powers of
//! `mu` they are one weight on the stacked vector of all columns, of which the verifier needs a single
//! evaluation, [`Claims::weight_at`].

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, ColumnId, Form};
use crate::field::{M31, QM31};
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
    points: Vec<Known>,
}

/// A point of which many stretches are read.
#[derive(Clone, Debug)]
struct Known {
    point: Vec<QM31>,
    /// The weights at `len` coordinates from `from` on, at `(n + 1) from + len`.
    axes: Vec<Option<AxisId>>,
}

/// A point that several claims refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointId(usize);

/// Consecutive coordinates of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The point.
    pub point: PointId,
    /// First coordinate.
    pub from: u32,
}

/// Where one axis of a form is read: weights for a column that has this many entries or, by repetition, fewer.
#[derive(Clone, Debug)]
pub enum Reading {
    /// At so many coordinates of a slice.
    Slice(Slice, u32),
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

impl Claims {
    /// Adds weights.
    pub fn axis(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// Registers a point.
    pub fn point(&mut self, point: impl Into<Vec<QM31>>) -> PointId {
        let point = point.into();
        let known = self.points.iter().position(|known| known.point == point);
        PointId(known.unwrap_or_else(|| {
            let axes = vec![None; (point.len() + 1) * (point.len() + 1)];
            self.points.push(Known { point, axes });
            self.points.len() - 1
        }))
    }

    /// Weights `eq` at `len` coordinates of a slice; at none where its point has fewer.
    pub fn eq(&mut self, slice: Slice, len: u32) -> AxisId {
        let (from, len) = (slice.from as usize, len as usize);
        let Some(known) = self.points.get(slice.point.0) else { return self.eq_at(&[]) };
        let Some(coordinates) = known.point.get(from..from + len) else { return self.eq_at(&[]) };
        let slot = from * (known.point.len() + 1) + len;
        if let Some(&Some(id)) = known.axes.get(slot) {
            return id;
        }
        let coordinates = coordinates.to_vec();
        let id = self.eq_at(&coordinates);
        if let Some(axis) = self.points.get_mut(slice.point.0).and_then(|known| known.axes.get_mut(slot)) {
            *axis = Some(id);
        }
        id
    }

    /// Weights `eq` at these coordinates.
    pub fn eq_at(&mut self, point: &[QM31]) -> AxisId {
        let key: Vec<[M31; 4]> = point.iter().map(|x| x.coordinates()).collect();
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = self.axis(Axis::Eq(point.to_vec()));
        self.known.insert(key, id);
        id
    }

    fn padded(&mut self, mut point: Vec<QM31>, log: u32) -> AxisId {
        point.resize(log as usize, QM31::ZERO);
        self.eq_at(&point)
    }

    /// The weights of an axis of `2^log` entries that is read in this way.
    fn read(&mut self, reading: &Reading, log: u32) -> AxisId {
        match reading {
            &Reading::Slice(slice, len) if log <= len => self.eq(slice, log),
            &Reading::Slice(slice, len) => {
                let known = self.points.get(slice.point.0).map_or(&[][..], |known| &known.point);
                let range = slice.from as usize..slice.from as usize + len as usize;
                self.padded(known.get(range).unwrap_or_default().to_vec(), log)
            }
            Reading::At(point) => match point.get(..log as usize) {
                Some(first) => self.eq_at(first),
                None => self.padded(point.clone(), log),
            },
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
        let places = stacking.places(circuit, point);
        // The values of each axis, by the coordinate of the point at which it starts.
        let mut axes: Vec<Vec<(u32, QM31)>> = vec![Vec::new(); self.axes.len()];
        let mut along = |id: AxisId, from: u32, len: u32| -> QM31 {
            let (Some(axis), Some(values)) = (self.axes.get(id.0 as usize), axes.get_mut(id.0 as usize))
            else {
                return QM31::ZERO;
            };
            if let Some((_, value)) = values.iter().find(|(start, _)| *start == from) {
                return *value;
            }
            let from_here = point.get(from as usize..).unwrap_or_default();
            let value = axis.evaluate(from_here.get(..len as usize).unwrap_or(from_here));
            values.push((from, value));
            value
        };
        // Neighbours often have the same claim and weights: one product with them is enough.
        let (mut sum, mut run, mut weight, mut current) = (QM31::ZERO, QM31::ZERO, QM31::ZERO, None);
        for term in &self.terms {
            let shape = circuit.column(term.column).shape;
            // An axis has one length: that of `cols` says where `rows` begins.
            let own = Some((term.claim, term.rows, term.cols));
            if own != current {
                sum += weight * run;
                let power = powers.get(term.claim as usize).copied().unwrap_or(QM31::ZERO);
                let rows = along(term.rows, shape.log_cols(), shape.log_rows());
                let cols = along(term.cols, 0, shape.log_cols());
                (current, run, weight) = (own, QM31::ZERO, power * rows * cols);
            }
            let place = places.get(term.column.0 as usize).copied().unwrap_or(QM31::ZERO);
            run += term.coefficient * place;
        }
        sum + weight * run
    }
}
