//! The rounds of the opening over columns on a GPU, where all matrices lie there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::field::QM31;
use circlet_cuda::columns::Slots;
use circlet_cuda::stack::{self, Factors, Product, Span};
use circlet_cuda::sums::Element;
use circlet_cuda::{Buffer, Error, Machine};

use super::encode::Encoder;
use super::fold::Rows;
use super::{WORD, element, fits, words};
use crate::backend::field::{B, E, LANES};
use crate::backend::matrix::Matrix;
use crate::backend::slots::Sparse;
use crate::backend::stack::{Join, Side};
use crate::backend::weights::{self, Grid, OfTree, Weights};

/// Contracted columns with their weights.
pub struct Columns {
    encoder: Arc<Encoder>,
    stack: stack::Stack,
    slots: Slots,
    count: usize,
}

/// Slots of a tile that memory is reserved for, before it is known how many there are: transformers of any size have no more,
/// by and large. Where there are more, the processor has these rounds if there is no room.
const SLOTS: usize = 4;

/// Bytes to reserve for so many columns of `2^log_rows` rows.
pub fn reserved(columns: usize, log_rows: u32) -> u64 {
    stack::Stack::memory(columns, SLOTS * Grid::new(log_rows).tiles())
}

/// Bytes of contracted columns with their weights, of what these are made of, and of the lists that rounds are given.
fn memory(columns: usize, weights: &Weights) -> u64 {
    let Weights { slots, factors, .. } = weights;
    let outer: usize = factors.outer.iter().map(Vec::len).sum();
    let inner: usize = factors.inner.iter().map(Vec::len).sum();
    let lists = (outer + 2 * inner + (columns << 4)) * size_of::<Element>();
    stack::Stack::memory(columns, slots.len())
        + Slots::memory(slots.elements().count(), slots.len(), slots.tiles())
        + lists as u64
}

impl Columns {
    /// The columns of all trees with the weights on them, if all lie on a GPU and there is room.
    pub fn new(weights: &Weights, matrices: &[Option<&Matrix>]) -> Result<Option<Self>, Error> {
        let mut there = Vec::new();
        for (tree, matrix) in matrices.iter().enumerate() {
            match matrix {
                None => {}
                Some(Matrix::OnGpu(matrix)) => there.push((tree, matrix)),
                Some(_) => return Ok(None),
            }
        }
        let Some(encoder) = there.first().map(|(_, matrix)| matrix.encoder().clone()) else {
            return Ok(None);
        };
        let machine = encoder.machine();
        let count = there.iter().map(|(_, matrix)| matrix.count()).sum();
        match fits(&**machine, memory(count, weights)) {
            Err(Error::Memory { .. }) => return Ok(None),
            other => other?,
        }
        let mut stack = stack::Stack::new(machine, count, weights.slots.len())?;
        let (factors, outer, inner) = factors(machine, weights)?;
        let slots = super::matrix::slots(machine, &weights.slots)?;
        let mut first = 0;
        for (tree, matrix) in there {
            let of_tree = &weights.trees[tree];
            stack.contract(first, matrix.messages(), &slots)?;
            let (spans, products) = spans(weights, of_tree, &outer, &inner);
            stack.weigh((first, matrix.count()), weights.grid.log_runs, &factors, &spans, &products)?;
            let own = of_tree.own.iter().map(|&(column, slot)| [(first + column) as u32, slot]);
            stack.own(&own.collect::<Vec<_>>())?;
            first += matrix.count();
        }
        Ok(Some(Self { encoder, stack, slots, count }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The product of every column and its weight.
    pub fn products(&mut self) -> Result<Vec<QM31>, Error> {
        // A column that meets itself has its product twice.
        let alone = |place| Side { place, mixed: None };
        let selves: Vec<Join> = (0..self.count).map(|p| (alone(p), Some(alone(p)))).collect();
        Ok(self.join(&selves)?.into_iter().map(|twice| twice * QM31::HALF).collect())
    }

    /// Mixes columns and gives the products of those that meet.
    pub fn join(&mut self, joins: &[Join]) -> Result<Vec<QM31>, Error> {
        let side = |side: Side| stack::Side {
            column: side.place as u32,
            with: side.mixed.map(|(low, other, high)| (words(low), other as u32, words(high))),
        };
        let joins: Vec<stack::Join> =
            joins.iter().map(|&(a, b)| stack::Join { a: side(a), b: b.map(side) }).collect();
        Ok(self.stack.join(&joins)?.into_iter().map(element).collect())
    }

    /// The weight on a column.
    pub fn weight(&self, place: usize) -> Result<Sparse, Error> {
        let coordinates = self.stack.weight(place)?;
        let mut vectors: Vec<B> = vec![bytemuck::Zeroable::zeroed(); coordinates.len() / LANES];
        bytemuck::cast_slice_mut(&mut vectors).copy_from_slice(&coordinates);
        let vectors: Vec<E> = vectors.as_chunks().0.iter().map(|&v| E::from_packed_m31s(v)).collect();
        Ok(Sparse { slots: (0..vectors.len() as u32).collect(), vectors })
    }

    /// The weight on a column, scaled, for each of its rows.
    fn expand(self, place: usize, scale: QM31) -> Result<Buffer, Error> {
        self.stack.expand(place, &self.slots, words(scale))
    }
}

/// The weight on a column, all that is left.
pub struct Left {
    columns: Box<Columns>,
    place: usize,
    scale: QM31,
}

impl Left {
    /// What is in a place, scaled.
    pub fn new(columns: Box<Columns>, place: usize, scale: QM31) -> Self {
        Self { columns, place, scale }
    }

    /// The multiples of the patterns that it is.
    pub fn multiples(&self) -> Result<Sparse, Error> {
        Ok(self.columns.weight(self.place)?.scaled(self.scale))
    }

    /// The rounds over rows: of the sum of all columns of the matrices, each times its factor, and of this weight.
    pub fn rows(self, matrices: &[Option<&Matrix>], factors: &[Vec<QM31>]) -> Result<Rows, Error> {
        let there = matrices.iter().zip(factors).filter_map(|(matrix, factors)| match matrix {
            Some(Matrix::OnGpu(matrix)) => Some((matrix, factors)),
            _ => None,
        });
        let encoder = self.columns.encoder.clone();
        let weight = self.columns.expand(self.place, self.scale)?;
        let memory = Rows::memory(encoder.log_message(), encoder.log_codeword());
        fits(&**encoder.machine(), memory - WORD * weight.len() as u64)?;
        let mut sum = None;
        for (matrix, factors) in there {
            sum = Some(matrix.add(factors, sum)?);
        }
        let message = sum.unwrap_or_else(|| unreachable!("the weight is on the columns of some matrix"));
        Rows::there(&encoder, &message, weight)
    }
}

/// Where weights begin in the lists that a GPU is given.
type Places = BTreeMap<usize, u32>;

/// What the weights of all trees are made of, with the places of outer and of inner weights.
fn factors(machine: &Arc<dyn Machine>, weights: &Weights) -> Result<(Factors, Places, Places), Error> {
    let products = || weights.trees.iter().flat_map(|tree| &tree.products);
    let (mut outer, mut outer_at) = (Vec::new(), Places::new());
    let (mut inner, mut inner_at) = (Vec::new(), Places::new());
    for product in products() {
        outer_at.entry(product.outer).or_insert_with(|| {
            let at = outer.len() as u32;
            outer.extend(weights.factors.outer[product.outer].iter().copied().map(words));
            at
        });
        inner_at.entry(product.inner).or_insert_with(|| {
            let at = inner.len() as u32;
            inner
                .extend(weights.factors.inner[product.inner].iter().map(|&(pattern, x)| (pattern, words(x))));
            at
        });
    }
    let patterns = inner.iter().map(|&(pattern, _)| pattern + 1).max().unwrap_or(0);
    let slot_of: Vec<Vec<Option<u32>>> = (0..weights.grid.tiles())
        .map(|tile| (0..patterns).map(|pattern| weights.slot(tile, pattern)).collect())
        .collect();
    let factors = Factors::new(machine, &outer, &inner, &slot_of, weights.slots.len())?;
    Ok((factors, outer_at, inner_at))
}

/// The weights on a tree: runs in order, and the products on each range of them.
fn spans(weights: &Weights, tree: &OfTree, outer: &Places, inner: &Places) -> (Vec<Span>, Vec<Product>) {
    let mut sorted: Vec<&weights::Product> = tree.products.iter().collect();
    sorted.sort_by_key(|product| product.first);
    let mut spans: Vec<Span> = Vec::new();
    let mut products = Vec::new();
    for product in sorted {
        let (first, runs) = (product.first as u32, weights.factors.len(product) as u32);
        let at = products.len() as u32;
        products.push(Product {
            outer: outer[&product.outer],
            inner: inner[&product.inner],
            log_inner: weights.factors.inner[product.inner].len().ilog2(),
            coefficient: words(product.coefficient),
        });
        match spans.last_mut() {
            // Those of one column have the same runs.
            Some(span) if span.first == first => span.products.end = at + 1,
            _ => spans.push(Span { first, runs, products: Range { start: at, end: at + 1 } }),
        }
    }
    (spans, products)
}
