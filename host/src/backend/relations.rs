//! The sumcheck of the relations: sums of products of operands, of which those with many entries are on a GPU, if there is one.

use std::collections::BTreeMap;

use circlet_core::circuit::Kind;
use circlet_core::field::QM31;
use circlet_core::poly::{eq_table, powers};
use circlet_core::relations::{Point, Term};
use rayon::prelude::*;

use super::device::{Device, Error};
use super::gpu::products::{Entries, Plan, Products, Weight};
use super::gpu::thresholds::LEAST;
use super::products::{Coefficients, sum, sum_round};
use super::table::{Table, eq};

/// Terms with their operands, bound from the highest variable down.
pub struct Sumcheck<'a> {
    terms: &'a [Term],
    /// `gamma^i` times the integer factor.
    factors: Vec<QM31>,
    /// Shared weights; the tables of those that are on the GPU are none.
    weights: Vec<(u32, Option<Table>)>,
    /// What a term is weighted with: nothing, or one of them.
    weight_of: Vec<Option<usize>>,
    operands: Vec<Option<Table>>,
    variables_of: Vec<u32>,
    /// For terms whose variables have not come yet, their part of the current claim.
    waiting: Vec<QM31>,
    /// The terms whose operands are on the GPU, until few entries are left.
    on_gpu: Option<Products<'a>>,
}

impl<'a> Sumcheck<'a> {
    /// Terms at a point, of which the first of so many rounds binds the highest variable that any has. Operands are read by
    /// their numbers, unless their cells are on the GPU and it has their terms.
    pub fn new(
        device: &Device,
        (terms, rounds): (&'a [Term], u32),
        point: &Point,
        operands: &[Entries<'a>],
        read: impl Fn(usize) -> Result<Table, Error> + Sync,
    ) -> Result<Self, Error> {
        let (weighted, weight_of) = weights_of(terms);
        let shapes: Vec<Weight> = weighted
            .iter()
            .map(|&i| Weight { variables: terms[i].meeting.variables, low: terms[i].meeting.low })
            .collect();
        let plan = Plan::new(device, terms, operands, &shapes, &weight_of)?;
        let there = |operand| plan.as_ref().is_some_and(|plan| plan.has_cells(operand));
        let numbers = (0..operands.len()).into_par_iter();
        let mut operands: Vec<Option<Table>> =
            numbers.map(|k| (!there(k)).then(|| read(k)).transpose()).collect::<Result<_, Error>>()?;
        let weights = weighted.par_iter().enumerate().map(|(weight, &i)| {
            let there = plan.as_ref().is_some_and(|plan| plan.has_weight(weight));
            (terms[i].meeting.variables, (!there).then(|| self::weight(&terms[i], point)))
        });
        let weights = weights.collect();
        let mut variables_of = vec![0; operands.len()];
        for term in terms {
            variables_of[term.a] = term.meeting.variables;
            variables_of[term.b] = term.meeting.variables;
        }
        let factors: Vec<QM31> =
            terms.iter().map(|t| point.gammas[t.relation] * QM31::from_i64(t.coefficient)).collect();
        let halves = powers(QM31::HALF, rounds as usize + 1);
        let on_gpu = plan.map(|plan| {
            let factors_of = |weight: usize| weight_factors(&terms[weighted[weight]], point);
            let factor = |i: usize| factors[i] * halves[(rounds - terms[i].meeting.variables) as usize];
            plan.begin(terms, &mut operands, factors_of, &weight_of, factor)
        });
        let on_gpu = on_gpu.transpose()?;
        let mut this =
            Self { terms, factors, weights, weight_of, operands, variables_of, waiting: Vec::new(), on_gpu };
        let sums = (0..terms.len()).into_par_iter().map(|i| this.tables(i).map(|(w, a, b)| sum(w, a, b)));
        let mut sums: Vec<QM31> = sums.map(Option::unwrap_or_default).collect();
        if let Some(on_gpu) = &this.on_gpu {
            for (i, sum) in on_gpu.sums()? {
                sums[i] = sum;
            }
        }
        this.waiting = sums.into_iter().zip(&this.factors).map(|(sum, &factor)| sum * factor).collect();
        Ok(this)
    }

    /// The tables of a term, if they are not on the GPU.
    fn tables(&self, i: usize) -> Option<(Option<&Table>, &Table, &Table)> {
        let term = &self.terms[i];
        let (a, b) = (self.operands[term.a].as_ref()?, self.operands[term.b].as_ref()?);
        let weight = match self.weight_of[i] {
            Some(weight) => Some(self.weights[weight].1.as_ref()?),
            None => None,
        };
        Some((weight, a, b))
    }

    /// The sum of all terms.
    pub fn total(&self) -> QM31 {
        self.waiting.iter().copied().sum()
    }

    /// The round that binds a variable: terms that do not have it are constant.
    pub fn round(&mut self, variable: u32) -> Result<Coefficients, Error> {
        if variable < LEAST.last_products {
            self.fetch()?;
        }
        let there = match &self.on_gpu {
            Some(on_gpu) if on_gpu.has(variable) => on_gpu.round()?,
            _ => Coefficients::default(),
        };
        let here = (0..self.terms.len()).into_par_iter().map(|i| {
            if self.terms[i].meeting.variables <= variable {
                return Coefficients { s0: self.waiting[i] * QM31::HALF, ..Coefficients::default() };
            }
            let round = self.tables(i).map(|(w, a, b)| sum_round(w, a, b).times(self.factors[i]));
            round.unwrap_or_default()
        });
        Ok(here.reduce(Coefficients::default, Coefficients::plus).plus(there))
    }

    /// Takes all that is left from the GPU.
    fn fetch(&mut self) -> Result<(), Error> {
        let Some(on_gpu) = self.on_gpu.take() else { return Ok(()) };
        for (operand, table) in on_gpu.operands()? {
            self.operands[operand] = Some(table);
        }
        for (weight, table) in on_gpu.weights()? {
            self.weights[weight].1 = Some(table);
        }
        Ok(())
    }

    /// Binds it.
    pub fn bind(&mut self, variable: u32, r: QM31) -> Result<(), Error> {
        for (i, term) in self.terms.iter().enumerate() {
            if term.meeting.variables <= variable {
                self.waiting[i] *= QM31::HALF;
                self.factors[i] *= QM31::HALF;
            }
        }
        if let Some(on_gpu) = self.on_gpu.as_mut().filter(|on_gpu| on_gpu.has(variable)) {
            on_gpu.bind(r)?;
        }
        let weights = self.weights.par_iter_mut().filter(|w| w.0 > variable);
        weights.filter_map(|w| w.1.as_mut()).for_each(|table| table.bind_high(r));
        let operands = self.operands.par_iter_mut().zip(&self.variables_of).filter(|(_, v)| **v > variable);
        operands.filter_map(|(table, _)| table.as_mut()).for_each(|table| table.bind_high(r));
        Ok(())
    }

    /// The values of all operands, where all variables are bound.
    pub fn values(&self) -> Vec<QM31> {
        let value = |table: &Option<Table>| match table {
            Some(table) => table.first(),
            None => unreachable!("the last rounds are on the processor"),
        };
        self.operands.iter().map(value).collect()
    }
}

/// A term for each of the weights that some have in common, and the weight of each, if it has one.
fn weights_of(terms: &[Term]) -> (Vec<usize>, Vec<Option<usize>>) {
    let mut weights = Vec::new();
    let mut known: BTreeMap<(bool, u32, u32, u32, u32), usize> = BTreeMap::new();
    let of = terms.iter().enumerate().map(|(i, term)| {
        let full = term.meeting.len == 1 << term.meeting.low && term.meeting.high_len.is_power_of_two();
        let entrywise = term.meeting.kind == Kind::Entrywise;
        let summed = !entrywise && !weighs_rows(term.meeting.kind);
        if summed && full {
            return None;
        }
        let outer = if summed { u32::MAX - term.meeting.high_len } else { term.meeting.inner };
        let len = if entrywise { 0 } else { term.meeting.len };
        let key = (entrywise, term.meeting.low, term.meeting.variables, outer, len);
        Some(*known.entry(key).or_insert_with(|| {
            weights.push(i);
            weights.len() - 1
        }))
    });
    let of = of.collect();
    (weights, of)
}

/// The weight of a term.
fn weight(term: &Term, point: &Point) -> Table {
    let (low, high) = (term.meeting.low as usize, (term.meeting.variables - term.meeting.low) as usize);
    if term.meeting.kind == Kind::Entrywise {
        let joined: Vec<QM31> = point.cols[..low].iter().chain(&point.rows[..high]).copied().collect();
        return eq(&joined);
    }
    let [outer, inner] = weight_factors(term, point);
    let row = |&e: &QM31| inner.iter().map(move |&c| if c == QM31::ZERO { c } else { e });
    Table::new(outer.iter().flat_map(row).collect())
}

/// The outer and the inner weights of which it is the product: those of the high variables and of the low ones.
fn weight_factors(term: &Term, point: &Point) -> [Vec<QM31>; 2] {
    let (low, high) = (term.meeting.low as usize, (term.meeting.variables - term.meeting.low) as usize);
    let first = |len: u32, log: usize| (0..1u32 << log).map(|k| QM31::from_i64(i64::from(k < len))).collect();
    match term.meeting.kind {
        Kind::Entrywise => [eq_table(&point.rows[..high]), eq_table(&point.cols[..low])],
        kind if weighs_rows(kind) => {
            [eq_table(&point.rows[term.meeting.inner as usize..][..high]), first(term.meeting.len, low)]
        }
        _ => [first(term.meeting.high_len, high), first(term.meeting.len, low)],
    }
}

/// Whether the high variables of a term meet row coordinates of the relations' point; else they are summed.
fn weighs_rows(kind: Kind) -> bool {
    matches!(kind, Kind::RowDot | Kind::Scores { .. } | Kind::Mix { .. })
}
