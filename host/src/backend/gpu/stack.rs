//! The rounds of the opening over columns on GPUs, where all matrices lie there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::field::QM31;
use circlet_cuda::columns::Slots;
use circlet_cuda::stack::{self, Factors, Product, Span};
use circlet_cuda::sums::Element;
use circlet_cuda::{Buffer, Error, Machine};
use rayon::prelude::*;

use super::encode::Encoder;
use super::fold::Rows;
use super::matrix::gathered;
use super::split::Split;
use super::{WORD, element, fits, words};
use crate::backend::field::{B, E, LANES};
use crate::backend::matrix::Matrix;
use crate::backend::merkle::BLOCK;
use crate::backend::slots::Sparse;
use crate::backend::stack::{Join, Side};
use crate::backend::weights::{self, Grid, OfTree, Weights};

/// Contracted columns with their weights.
pub struct Columns {
    parts: Vec<Part>,
    /// Where each column is: which GPU has it, and its place there.
    places: Vec<(usize, u32)>,
}

/// What one GPU has of them.
struct Part {
    encoder: Arc<Encoder>,
    stack: stack::Stack,
    slots: Slots,
    /// Places that hold nothing.
    free: Vec<u32>,
}

/// Slots of a tile that memory is reserved for, before it is known how many there are: transformers of any size have no more,
/// by and large. Where there are more, the processor has these rounds if there is no room.
const SLOTS: usize = 4;

/// Places on a GPU that has so many columns. When columns of two GPUs meet each has no more than a block of them left.
fn places(columns: usize, split: Split) -> usize {
    if split.parts() == 1 { columns } else { columns.max(2 * BLOCK) }
}

/// Bytes to reserve on a GPU for so many columns of `2^log_rows` rows.
pub fn reserved(columns: usize, split: Split, log_rows: u32) -> u64 {
    stack::Stack::memory(places(columns, split), SLOTS * Grid::new(log_rows).tiles())
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
    /// The columns of all trees with the weights on them, if all lie on GPUs and there is room.
    pub fn new(weights: &Weights, matrices: &[Option<&Matrix>]) -> Result<Option<Self>, Error> {
        let mut there = Vec::new();
        for (tree, matrix) in matrices.iter().enumerate() {
            match matrix {
                None => {}
                Some(Matrix::OnGpu(matrix)) => there.push((tree, matrix)),
                Some(_) => return Ok(None),
            }
        }
        let Some((_, first)) = there.first() else { return Ok(None) };
        let split = first.split();
        let count =
            |part| -> usize { there.iter().map(|(_, matrix)| split.count(part, matrix.count())).sum() };
        for (k, part) in first.parts().iter().enumerate() {
            match fits(&**part.encoder().machine(), memory(places(count(k), split), weights)) {
                Err(Error::Memory { .. }) => return Ok(None),
                other => other?,
            }
        }
        let lists = Lists::new(weights);
        let mut dealt = Vec::new();
        for &(tree, _) in &there {
            let Some(spans) = spans(weights, &weights.trees[tree], &lists, split) else { return Ok(None) };
            dealt.push(spans);
        }
        let begin = |(k, part): (usize, &super::matrix::Part)| {
            let (encoder, own) = (part.encoder(), count(k));
            let (machine, places) = (encoder.machine(), places(own, split));
            let mut stack = stack::Stack::new(machine, places, weights.slots.len())?;
            let factors = lists.send(machine, weights)?;
            let slots = super::matrix::slots(machine, &weights.slots)?;
            let mut first = 0;
            for (&(tree, matrix), dealt) in there.iter().zip(&dealt) {
                let part = &matrix.parts()[k];
                stack.contract(first, part.messages(), &slots)?;
                let (own, (spans, products)) = (part.messages().count(), &dealt[k]);
                stack.weigh((first, own), weights.grid.log_runs, &factors, spans, products)?;
                let own_slot = |&(column, slot): &(usize, u32)| {
                    let (part, own) = split.place(column);
                    (part == k).then_some([(first + own) as u32, slot])
                };
                stack.own(&weights.trees[tree].own.iter().filter_map(own_slot).collect::<Vec<_>>())?;
                first += own;
            }
            let free = (own as u32..places as u32).collect();
            Ok(Part { encoder: encoder.clone(), stack, slots, free })
        };
        let parts: Result<Vec<Part>, Error> = first.parts().par_iter().enumerate().map(begin).collect();
        let (mut places, mut first) = (Vec::new(), vec![0; split.parts()]);
        for (_, matrix) in there {
            places.extend((0..matrix.count()).map(|column| {
                let (part, own) = split.place(column);
                (part, first[part] + own as u32)
            }));
            for (part, first) in first.iter_mut().enumerate() {
                *first += split.count(part, matrix.count()) as u32;
            }
        }
        Ok(Some(Self { parts: parts?, places }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The product of every column and its weight.
    pub fn products(&mut self) -> Result<Vec<QM31>, Error> {
        // A column that meets itself has its product twice.
        let alone = |place| Side { place, mixed: None };
        let selves: Vec<Join> = (0..self.count()).map(|p| (alone(p), Some(alone(p)))).collect();
        Ok(self.join(&selves)?.into_iter().map(|twice| twice * QM31::HALF).collect())
    }

    /// Mixes columns and gives the products of those that meet.
    pub fn join(&mut self, joins: &[Join]) -> Result<Vec<QM31>, Error> {
        // Those that meet on two GPUs are mixed where they are; then one comes to the other.
        let mut joins = joins.to_vec();
        let (mut alone, mut apart): (Vec<Join>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
        for (a, b) in &mut joins {
            let to = self.places[a.place].0;
            if let Some(b) = b.as_mut().filter(|b| self.places[b.place].0 != to) {
                alone.extend([&mut *a, &mut *b].into_iter().filter_map(|side| {
                    let mixed = side.mixed.take();
                    mixed.is_some().then_some((Side { mixed, ..*side }, None))
                }));
                apart.push((b.place, to));
            }
        }
        self.launch(&alone)?;
        for (place, to) in apart {
            self.bring(place, to)?;
        }
        self.launch(&joins)
    }

    /// [`Self::join`] where all columns of each are on one GPU.
    fn launch(&mut self, joins: &[Join]) -> Result<Vec<QM31>, Error> {
        let places = &self.places;
        let place = |place: usize| places[place].1;
        let side = |side: Side| stack::Side {
            column: place(side.place),
            with: side.mixed.map(|(low, other, high)| (words(low), place(other), words(high))),
        };
        let mut own: Vec<Vec<stack::Join>> = self.parts.iter().map(|_| Vec::new()).collect();
        for &(a, b) in joins {
            own[places[a.place].0].push(stack::Join { a: side(a), b: b.map(side) });
        }
        let launch = |(part, joins): (&mut Part, Vec<stack::Join>)| part.stack.join(&joins);
        let found: Result<Vec<_>, Error> = self.parts.par_iter_mut().zip(own).map(launch).collect();
        let mut found: Vec<_> = found?.into_iter().map(Vec::into_iter).collect();
        let products = joins.iter().filter_map(|(a, _)| found[places[a.place].0].next());
        let products = products.map(element).collect();
        // What was mixed into another column is nowhere any more.
        let sides = joins.iter().flat_map(|&(a, b)| [Some(a), b]).flatten();
        for (_, other, _) in sides.filter_map(|side| side.mixed) {
            let (part, place) = self.places[other];
            self.parts[part].free.push(place);
        }
        Ok(products)
    }

    /// Brings a column to a GPU.
    fn bring(&mut self, place: usize, to: usize) -> Result<(), Error> {
        let (from, at) = self.places[place];
        if from == to {
            return Ok(());
        }
        let Ok([own, other]) = self.parts.get_disjoint_mut([to, from]) else {
            unreachable!("a column is on a GPU that there is")
        };
        let Some(free) = own.free.pop() else {
            unreachable!("when GPUs meet each has a block of columns left")
        };
        own.stack.receive(free as usize, &other.stack, at as usize)?;
        other.free.push(at);
        self.places[place] = (to, free);
        Ok(())
    }

    /// The weight on a column.
    pub fn weight(&self, place: usize) -> Result<Sparse, Error> {
        let (part, own) = self.places[place];
        let coordinates = self.parts[part].stack.weight(own as usize)?;
        let mut vectors: Vec<B> = vec![bytemuck::Zeroable::zeroed(); coordinates.len() / LANES];
        bytemuck::cast_slice_mut(&mut vectors).copy_from_slice(&coordinates);
        let vectors: Vec<E> = vectors.as_chunks().0.iter().map(|&v| E::from_packed_m31s(v)).collect();
        Ok(Sparse { slots: (0..vectors.len() as u32).collect(), vectors })
    }

    /// The weight on a column, scaled, for each of its rows, on the first GPU, and what encodes there.
    fn expand(mut self, place: usize, scale: QM31) -> Result<(Arc<Encoder>, Buffer), Error> {
        self.bring(place, 0)?;
        let own = self.places[place].1 as usize;
        let Part { encoder, stack, slots, .. } = self.parts.swap_remove(0);
        drop(self.parts);
        Ok((encoder, stack.expand(own, &slots, words(scale))?))
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
        let mut sums: Vec<Option<Buffer>> = self.columns.parts.iter().map(|_| None).collect();
        let (encoder, weight) = self.columns.expand(self.place, self.scale)?;
        let memory = Rows::memory(encoder.log_message(), encoder.log_codeword());
        fits(&**encoder.machine(), memory - WORD * weight.len() as u64)?;
        for (matrix, factors) in there {
            matrix.add(factors, &mut sums)?;
        }
        let message = gathered(&encoder, sums)?;
        let message = message.unwrap_or_else(|| unreachable!("the weight is on the columns of some matrix"));
        Rows::there(&encoder, &message, weight)
    }
}

/// Where weights begin in the lists that a GPU is given.
type Places = BTreeMap<usize, u32>;

/// What the weights of all trees are made of, in lists.
struct Lists {
    outer: Vec<Element>,
    outer_at: Places,
    inner: Vec<(u32, Element)>,
    inner_at: Places,
    /// Of each tile the slots of all patterns.
    slot_of: Vec<Vec<Option<u32>>>,
}

impl Lists {
    fn new(weights: &Weights) -> Self {
        let (mut outer, mut outer_at) = (Vec::new(), Places::new());
        let (mut inner, mut inner_at) = (Vec::new(), Places::new());
        for product in weights.trees.iter().flat_map(|tree| &tree.products) {
            outer_at.entry(product.outer).or_insert_with(|| {
                let at = outer.len() as u32;
                outer.extend(weights.factors.outer[product.outer].iter().copied().map(words));
                at
            });
            inner_at.entry(product.inner).or_insert_with(|| {
                let at = inner.len() as u32;
                let own = &weights.factors.inner[product.inner];
                inner.extend(own.iter().map(|&(pattern, x)| (pattern, words(x))));
                at
            });
        }
        let patterns = inner.iter().map(|&(pattern, _)| pattern + 1).max().unwrap_or(0);
        let slots = |tile| (0..patterns).map(|pattern| weights.slot(tile, pattern)).collect();
        let slot_of = (0..weights.grid.tiles()).into_par_iter().map(slots).collect();
        Self { outer, outer_at, inner, inner_at, slot_of }
    }

    fn send(&self, machine: &Arc<dyn Machine>, weights: &Weights) -> Result<Factors, Error> {
        Factors::new(machine, &self.outer, &self.inner, &self.slot_of, weights.slots.len())
    }
}

/// Spans of weights, and the products on them.
type Spans = (Vec<Span>, Vec<Product>);

/// The weights on a tree, for every GPU those on its own columns: runs in order, and the products on each range of them. None, if
/// columns are dealt so that a GPU has weights that are no product.
fn spans(weights: &Weights, tree: &OfTree, lists: &Lists, split: Split) -> Option<Vec<Spans>> {
    let mut sorted: Vec<&weights::Product> = tree.products.iter().collect();
    sorted.sort_by_key(|product| product.first);
    let mut dealt: Vec<Spans> = (0..split.parts()).map(|_| Spans::default()).collect();
    // Those of one column have the same runs.
    for same in sorted.chunk_by(|a, b| a.first == b.first) {
        let first = same[0].first;
        let runs = first..first + weights.factors.len(same[0]);
        for (stretch, part, own) in split.stretches(runs, weights.grid.log_runs) {
            let (spans, products) = &mut dealt[part];
            let start = products.len() as u32;
            for product in same {
                products.push(lists.clipped(weights, product, stretch.start - first, stretch.len())?);
            }
            let products = Range { start, end: products.len() as u32 };
            spans.push(Span { first: own as u32, runs: stretch.len() as u32, products });
        }
    }
    Some(dealt)
}

impl Lists {
    /// A product on so many of its runs, if that is one.
    fn clipped(
        &self,
        weights: &Weights,
        product: &weights::Product,
        from: usize,
        len: usize,
    ) -> Option<Product> {
        let n = weights.factors.inner[product.inner].len();
        let (t, i) = (from / n, from % n);
        // From one of the outer weights on, or under one alone.
        let inner = if i == 0 { n } else { len };
        let is_product = i == 0 || len.is_power_of_two() && i + len <= n;
        is_product.then(|| Product {
            outer: self.outer_at[&product.outer] + t as u32,
            inner: self.inner_at[&product.inner] + i as u32,
            log_inner: inner.ilog2(),
            coefficient: words(product.coefficient),
        })
    }
}
