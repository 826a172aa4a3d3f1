//! Values and integer expressions, a stretch of cells at a time: nothing but sums that a whole matrix is read
//! for is kept for all cells.

use circlet_core::circuit::{Circuit, Int, Kind, Product, Shape, Value};

use super::dot::{Sums, by_group, contract, contract_transposed, from_heads, to_heads};
use super::{Cells, TASK, Trace, form_range};
use crate::backend::device::Error;

/// A [`Value`] over a shape, whose contractions are done.
pub struct Summed<'a> {
    circuit: &'a Circuit,
    trace: &'a Trace,
    value: &'a Value,
    shape: Shape,
    /// For each product that is a contraction, its sums.
    sums: Vec<Option<Sums>>,
}

impl<'a> Summed<'a> {
    /// Contracts what there is to contract.
    pub fn new(
        circuit: &'a Circuit,
        trace: &'a Trace,
        value: &'a Value,
        shape: Shape,
    ) -> Result<Self, Error> {
        let sums = value.products.iter().map(|product| {
            Ok(match product.kind {
                Kind::Entrywise | Kind::RowDot => None,
                Kind::Contract => Some(contract(circuit, trace, product)?),
                Kind::ContractTransposed => Some(contract_transposed(circuit, trace, product)),
                Kind::ToHeads { channels } => Some(to_heads(circuit, trace, product, channels)?),
                Kind::FromHeads { tokens } => Some(from_heads(circuit, trace, product, tokens)?),
                Kind::Scores { group } => Some(by_group(circuit, trace, product, group, false)),
                Kind::Mix { group } => Some(by_group(circuit, trace, product, group, true)),
            })
        });
        Ok(Self { circuit, trace, value, shape, sums: sums.collect::<Result<_, Error>>()? })
    }

    /// Cells that one task should fill.
    pub fn tile(&self) -> usize {
        let dots = self.value.products.iter().filter(|p| p.kind == Kind::RowDot);
        let widths = dots.map(|p| p.a_shape.log_cols());
        let sums = self.value.sums.iter().map(|s| self.circuit.column(s.column).shape.log_cols());
        (TASK >> widths.chain(sums).max().unwrap_or(0)).max(1)
    }

    /// The values of the cells from `from` on.
    pub fn fill(&self, from: usize, out: &mut [i64]) {
        form_range(self.circuit, self.trace, &self.value.form, self.shape, from, out);
        for sum in &self.value.sums {
            let own = self.circuit.column(sum.column).shape;
            for (slot, t) in out.iter_mut().zip(from..) {
                let row = t << own.log_cols()..(t << own.log_cols()) + own.cols as usize;
                let total: i64 = match self.trace.cells(sum.column) {
                    Cells::Narrow(cells) => cells[row].iter().map(|&v| i64::from(v)).sum(),
                    Cells::Wide(cells) => cells[row].iter().map(|&v| i64::from(v)).sum(),
                };
                *slot += sum.coefficient * total;
            }
        }
        for (product, sums) in self.value.products.iter().zip(&self.sums) {
            match product.kind {
                Kind::Entrywise => self.entrywise(product, from, out),
                Kind::RowDot => self.row_dots(product, from, out),
                _ => {
                    let sums = sums.as_ref().expect("contractions have been summed");
                    sums.add(product.coefficient, self.shape.log_cols(), from, out);
                }
            }
        }
    }

    fn entrywise(&self, product: &Product, from: usize, out: &mut [i64]) {
        let (mut a, mut b) = (vec![0; out.len()], vec![0; out.len()]);
        if let Some(bit) = product.flip {
            // Whole stretches of partners.
            let mask = (2usize << bit) - 1;
            let (first, end) = (from & !mask, (from + out.len() + mask) & !mask);
            let mut all = vec![0; end - first];
            form_range(self.circuit, self.trace, &product.a, product.a_shape, first, &mut all);
            a.iter_mut().zip(from..).for_each(|(a, at)| *a = all[(at ^ 1 << bit) - first]);
        } else {
            form_range(self.circuit, self.trace, &product.a, product.a_shape, from, &mut a);
        }
        form_range(self.circuit, self.trace, &product.b, product.b_shape, from, &mut b);
        for ((slot, a), b) in out.iter_mut().zip(a).zip(b) {
            *slot += product.coefficient * a * b;
        }
    }

    fn row_dots(&self, product: &Product, from: usize, out: &mut [i64]) {
        let len = product.a_shape.cols as usize;
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        for (slot, t) in out.iter_mut().zip(from..) {
            let at = |shape: Shape| t << shape.log_cols();
            form_range(self.circuit, self.trace, &product.a, product.a_shape, at(product.a_shape), &mut a);
            form_range(self.circuit, self.trace, &product.b, product.b_shape, at(product.b_shape), &mut b);
            let dot: i64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            *slot += product.coefficient * dot;
        }
    }
}

/// An [`Int`] over a shape, whose contractions are done.
pub enum Expression<'a> {
    Value(Summed<'a>),
    Binary(fn(i64, i64) -> i64, Box<[Self; 2]>),
    Root(Box<Self>),
    IsZero(Box<Self>),
}

impl<'a> Expression<'a> {
    /// Contracts what there is to contract.
    pub fn new(circuit: &'a Circuit, trace: &'a Trace, value: &'a Int, shape: Shape) -> Result<Self, Error> {
        let new = |value| Self::new(circuit, trace, value, shape);
        let both = |f, [x, y]: &'a [Int; 2]| Ok(Self::Binary(f, Box::new([new(x)?, new(y)?])));
        match value {
            Int::Value(value) => Ok(Self::Value(Summed::new(circuit, trace, value, shape)?)),
            Int::Add(pair) => both(|x, y| x + y, pair),
            Int::Sub(pair) => both(|x, y| x - y, pair),
            Int::Mul(pair) => both(|x, y| x * y, pair),
            Int::Div(pair) => both(i64::div_euclid, pair),
            Int::Mod(pair) => both(i64::rem_euclid, pair),
            Int::Root(x) => Ok(Self::Root(Box::new(new(x)?))),
            Int::IsZero(x) => Ok(Self::IsZero(Box::new(new(x)?))),
        }
    }

    /// Cells that one task should fill.
    pub fn tile(&self) -> usize {
        match self {
            Self::Value(value) => value.tile(),
            Self::Binary(_, pair) => pair[0].tile().min(pair[1].tile()),
            Self::Root(x) | Self::IsZero(x) => x.tile(),
        }
    }

    /// The values of the cells from `from` on.
    pub fn fill(&self, from: usize, out: &mut [i64]) {
        match self {
            Self::Value(value) => value.fill(from, out),
            Self::Binary(f, pair) => {
                let mut right = vec![0; out.len()];
                pair[0].fill(from, out);
                pair[1].fill(from, &mut right);
                out.iter_mut().zip(right).for_each(|(x, y)| *x = f(*x, y));
            }
            Self::IsZero(x) => {
                x.fill(from, out);
                for value in out {
                    *value = i64::from(*value == 0);
                }
            }
            Self::Root(x) => {
                x.fill(from, out);
                for value in out {
                    *value = (*value).max(0).isqrt();
                }
            }
        }
    }
}
