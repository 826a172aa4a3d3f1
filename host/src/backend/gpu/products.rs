//! The rounds of the relations on a GPU, of terms with many entries: until few are left, which the processor has.

use std::collections::BTreeMap;
use std::sync::Arc;

use circlet_core::field::QM31;
use circlet_core::relations::{At, Operand, Part, Reduction, Term};
use circlet_cuda::products::{self as device, Table as There};
pub use circlet_cuda::products::{Cells, Entries};
use circlet_cuda::{Error, Machine};

use super::thresholds::LEAST;
use super::{element, fits, words};
use crate::backend::device::Device;
use crate::backend::products::Coefficients;
use crate::backend::table::Table;

/// Whether a term is on a GPU, if there is one and the terms are there.
pub fn is_large(term: &Term) -> bool {
    term.meeting.variables >= LEAST.products
}

/// Whether an operand's entries are cells, or forms of cells: nothing of it is known before the sumcheck.
pub fn is_base(operand: &Operand<'_>) -> bool {
    let known = |parts: &[Part]| -> u32 {
        let known = parts.iter().take_while(|part| matches!(part.at(), At::Rows(_) | At::Cols(_)));
        known.map(|part| part.len()).sum()
    };
    let groups = operand.rows.iter().any(|part| part.is_groups());
    let flipped = operand.cols.iter().any(|part| matches!(part.at(), At::Flipped(_)));
    known(&operand.rows) == 0 && known(&operand.cols) == 0 && (flipped || !groups)
}

/// Bytes of the tables of all large terms; what weights are made of is little beside them.
pub fn reserved(reduction: &Reduction) -> u64 {
    let mut large: Vec<(usize, u32)> = reduction
        .terms
        .iter()
        .filter(|term| is_large(term))
        .flat_map(|term| [term.a, term.b].map(|operand| (operand, term.meeting.variables)))
        .collect();
    large.sort_unstable();
    large.dedup();
    let memory = |&(operand, variables): &(usize, u32)| {
        let base = is_base(&reduction.operands[operand].operand());
        let entries = if base { Entries::Base } else { Entries::Extension };
        There { entries, variables: 0..variables }.memory()
    };
    large.iter().map(memory).sum()
}

/// A weight: its outer and its inner ones, of the variables from the second number on and of those below it.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The number of its variables.
    pub variables: u32,
    /// The number of its low variables.
    pub low: u32,
}

/// What is to be on a GPU, for which there is room.
pub struct Plan<'a> {
    machine: Arc<dyn Machine>,
    tables: Vec<There<'a>>,
    /// The table of each operand, and the outer one of each weight, which the inner one follows.
    operands: BTreeMap<usize, usize>,
    weights: BTreeMap<usize, usize>,
    terms: Vec<usize>,
}

impl<'a> Plan<'a> {
    /// The terms that are better off on the device, given where their operands are, all weights, and the weight of each term:
    /// none, if these are few or there is no room.
    pub fn new(
        device: &Device,
        terms: &[Term],
        operands: &[Entries<'a>],
        weights: &[Weight],
        weight_of: &[Option<usize>],
    ) -> Result<Option<Self>, Error> {
        let [machine, ..] = device.machines() else { return Ok(None) };
        let large: Vec<usize> = (0..terms.len()).filter(|&i| is_large(&terms[i])).collect();
        if large.iter().map(|&i| 1u64 << terms[i].meeting.variables).sum::<u64>() < LEAST.all_products {
            return Ok(None);
        }
        let mut plan = Self {
            machine: machine.clone(),
            tables: Vec::new(),
            operands: BTreeMap::new(),
            weights: BTreeMap::new(),
            terms: large,
        };
        for &i in &plan.terms {
            let variables = terms[i].meeting.variables;
            for operand in [terms[i].a, terms[i].b] {
                plan.operands.entry(operand).or_insert_with(|| {
                    plan.tables.push(There { entries: operands[operand].clone(), variables: 0..variables });
                    plan.tables.len() - 1
                });
            }
            if let Some(weight) = weight_of[i] {
                plan.weights.entry(weight).or_insert_with(|| {
                    let Weight { variables, low } = weights[weight];
                    let extension = |variables| There { entries: Entries::Extension, variables };
                    plan.tables.extend([low..variables, 0..low].map(extension));
                    plan.tables.len() - 2
                });
            }
        }
        match fits(&**machine, device::Products::memory(&**machine, &plan.tables, plan.terms.len())) {
            Err(Error::Memory { .. }) => Ok(None),
            other => other.map(|()| Some(plan)),
        }
    }

    /// Whether an operand's cells are there, so that nobody has to read them.
    pub fn has_cells(&self, operand: usize) -> bool {
        let table = self.operands.get(&operand);
        table.is_some_and(|&table| matches!(self.tables[table].entries, Entries::Cells(_)))
    }

    /// Whether it has a weight.
    pub fn has_weight(&self, weight: usize) -> bool {
        self.weights.contains_key(&weight)
    }

    /// Sends the other operands, which are taken, and the outer and inner factors of weights. Terms have the factors of their
    /// first rounds.
    pub fn begin(
        self,
        terms: &[Term],
        operands: &mut [Option<Table>],
        factors_of: impl Fn(usize) -> [Vec<QM31>; 2],
        weight_of: &[Option<usize>],
        factor: impl Fn(usize) -> QM31,
    ) -> Result<Products<'a>, Error> {
        let Self { machine, tables, operands: table_of, weights, terms: own } = self;
        let listed: Vec<device::Term> = own
            .iter()
            .map(|&i| device::Term {
                variables: terms[i].meeting.variables,
                tables: [terms[i].a, terms[i].b].map(|operand| table_of[&operand]),
                weights: weight_of[i].map(|weight| weights[&weight]).map(|outer| [outer, outer + 1]),
                factor: words(factor(i)),
            })
            .collect();
        let mut products = device::Products::new(&machine, tables, &listed)?;
        for (&operand, &table) in &table_of {
            match operands[operand].take() {
                None => {}
                Some(Table::Base(vectors)) => products.write_base(table, bytemuck::cast_slice(&vectors))?,
                Some(other) => write(&mut products, table, &other.elements())?,
            }
        }
        for (&weight, &outer) in &weights {
            for (table, elements) in (outer..).zip(factors_of(weight)) {
                write(&mut products, table, &elements)?;
            }
        }
        Ok(Products { there: products, operands: table_of, weights, terms: own })
    }
}

fn write(products: &mut device::Products<'_>, table: usize, elements: &[QM31]) -> Result<(), Error> {
    let elements: Vec<[u32; 4]> = elements.iter().copied().map(words).collect();
    products.write(table, &elements)
}

/// Terms on a GPU with their tables.
pub struct Products<'a> {
    there: device::Products<'a>,
    operands: BTreeMap<usize, usize>,
    weights: BTreeMap<usize, usize>,
    terms: Vec<usize>,
}

impl Products<'_> {
    /// The terms, each with its sum over all entries, before anything is bound.
    pub fn sums(&self) -> Result<Vec<(usize, QM31)>, Error> {
        let sums = self.there.sums()?.into_iter().map(element);
        Ok(self.terms.iter().copied().zip(sums).collect())
    }

    /// Whether some of the terms have this variable, where all variables above it are bound.
    pub fn has(&self, variable: u32) -> bool {
        self.there.left() == variable + 1
    }

    /// The round that binds it, of those terms, with their factors.
    pub fn round(&self) -> Result<Coefficients, Error> {
        let [s0, s2, s3] = self.there.round()?.map(element);
        Ok(Coefficients { s0, s2, s3 })
    }

    /// Binds it.
    pub fn bind(&mut self, r: QM31) -> Result<(), Error> {
        self.there.bind(words(r))
    }

    /// All operands, with what is left of them.
    pub fn operands(&self) -> Result<Vec<(usize, Table)>, Error> {
        let read = |(&operand, &table)| Ok((operand, Table::new(self.read(table)?)));
        self.operands.iter().map(read).collect()
    }

    /// All weights, with what is left of them.
    pub fn weights(&self) -> Result<Vec<(usize, Table)>, Error> {
        let read = |(&weight, &table)| {
            let (outer, inner) = (self.read(table)?, self.read(table + 1)?);
            let products = outer.iter().flat_map(|&x| inner.iter().map(move |&y| x * y));
            Ok((weight, Table::new(products.collect())))
        };
        self.weights.iter().map(read).collect()
    }

    fn read(&self, table: usize) -> Result<Vec<QM31>, Error> {
        Ok(self.there.read(table)?.into_iter().map(element).collect())
    }
}
