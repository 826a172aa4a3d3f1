//! Linear claims: all that the sumchecks leave to say about the committed columns.
//!
//! A claim reads `sum_i c_i sum_{t,c} F_i(t, c) u_i(t) w_i(c) = v` with columns `F_i` and weights along the
//! two axes from the closed list of [`Axis`]. The opening proves all claims at once: batched by powers of
//! `mu` they are one weight on the stacked vector of all columns, of which the verifier needs a single
//! evaluation, [`Claims::weight_at`].

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::axis::Axis;
use crate::circuit::{Circuit, ColumnId, Form, Shape};
use crate::field::QM31;
use crate::poly::eq_index;
use crate::stacking::Stacking;

/// Index into [`Claims::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// A random point that several claims refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointId(u32);

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
    points: Vec<Vec<QM31>>,
    slices: BTreeMap<(PointId, u32, u32), AxisId>,
}

/// A stretch of coordinates of a point, as an axis: `eq(point[from .. from + len], .)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    /// The point.
    pub point: PointId,
    /// First coordinate.
    pub from: u32,
}

impl Claims {
    /// Registers a point.
    pub fn point(&mut self, coordinates: Vec<QM31>) -> PointId {
        self.points.push(coordinates);
        PointId(self.points.len() as u32 - 1)
    }

    /// Adds weights.
    pub fn axis(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// Weights `eq` at `len` coordinates of a point, starting where the slice does.
    pub fn eq(&mut self, slice: Slice, len: u32) -> AxisId {
        // All empty slices are the same: weight one on a single entry.
        let slice = if len == 0 { Slice { from: 0, ..slice } } else { slice };
        if let Some(&id) = self.slices.get(&(slice.point, slice.from, len)) {
            return id;
        }
        let point = self.points.get(slice.point.0 as usize).map_or(&[][..], Vec::as_slice);
        let range = slice.from as usize..(slice.from + len) as usize;
        let id = self.axis(Axis::Eq(point.get(range).unwrap_or_default().to_vec()));
        self.slices.insert((slice.point, slice.from, len), id);
        id
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

    /// Adds `coefficient * form` without its constant, read over `shape` at a point given by a slice for each
    /// axis. Columns repeated along an axis do not depend on that axis' coordinates.
    pub fn add_form(
        &mut self,
        circuit: &Circuit,
        coefficient: QM31,
        form: &Form,
        shape: Shape,
        rows: Slice,
        cols: Slice,
    ) {
        for &(c, column) in &form.terms {
            let own = circuit.column(column).shape;
            let row_axis = self.eq(rows, own.log_rows().min(shape.log_rows()));
            let col_axis = self.eq(cols, own.log_cols().min(shape.log_cols()));
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
