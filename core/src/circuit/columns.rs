//! What everyone needs to know of every column, in four bytes each: extents, range, tree, and how many come before it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{ColumnId, Interval, List, LookupTable, Public, Shape, Tree};
use crate::limits;

/// How many aligned blocks there are of each size. Blocks of one space lie by falling size, those of equal size in
/// their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(Vec<u32>);

impl Sizes {
    /// Counts a block of `2^log` cells; the result is how many of that size came before.
    pub fn push(&mut self, log: u32) -> u32 {
        let log = log.min(u64::BITS) as usize;
        if log >= self.0.len() {
            self.0.resize(log + 1, 0);
        }
        let Some(count) = self.0.get_mut(log) else { return 0 };
        let nth = *count;
        *count = nth.saturating_add(1);
        nth
    }

    /// The logs of all sizes that there are.
    pub fn logs(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.0).filter(|(_, count)| **count > 0).map(|(log, _)| log)
    }

    /// The number of blocks of `2^log` cells.
    pub fn count(&self, log: u32) -> u32 {
        self.0.get(log as usize).copied().unwrap_or(0)
    }

    /// The first cell of each size: behind all larger blocks.
    pub fn starts(&self) -> Starts {
        let mut starts = vec![0u64; self.0.len()];
        let mut end = 0u64;
        for (log, (start, &count)) in starts.iter_mut().zip(&self.0).enumerate().rev() {
            *start = end;
            end = end.saturating_add(u64::from(count).saturating_mul(power(log as u32)));
        }
        Starts(starts)
    }

    /// The number of all cells.
    pub fn cells(&self) -> u64 {
        (0u32..).zip(&self.0).fold(0, |sum: u64, (log, &count)| {
            sum.saturating_add(u64::from(count).saturating_mul(power(log)))
        })
    }
}

/// `2^log`, if it is a number of 64 bits.
fn power(log: u32) -> u64 {
    1u64.checked_shl(log).unwrap_or(u64::MAX)
}

/// Where the blocks of each size begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starts(Vec<u64>);

impl Starts {
    /// The first cell of the `nth` block of `2^log` cells.
    pub fn offset(&self, log: u32, nth: u32) -> u64 {
        let start = self.0.get(log as usize).copied().unwrap_or(0);
        start.saturating_add(u64::from(nth).saturating_mul(power(log)))
    }
}

/// What many columns have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    shape: Shape,
    bound: Interval,
    tree: Tree,
}

const NOTHING: Class = Class { shape: Shape::CELL, bound: Interval { low: 0, high: 0 }, tree: Tree::Fixed };

impl Class {
    /// A number below [`HASHES`] that differs for most classes.
    fn hash(&self) -> usize {
        let Self { shape, bound, tree } = self;
        let words = [shape.rows, shape.cols, bound.low as u32, bound.high as u32, *tree as u32];
        let mixed = |hash: u32, &word: &u32| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9);
        words.iter().fold(0u32, mixed) as usize >> 16 & (HASHES - 1)
    }
}

const HASHES: usize = 512;

/// Columns of a piece of their list.
const PIECE: usize = 256;

/// All columns of a circuit, at most [`limits::PARTS`]; beyond that they are only counted.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    classes: Vec<Class>,
    /// The numbers of all classes, in the order of the classes.
    numbers: Vec<u16>,
    /// The class that was found last for each hash.
    recent: Vec<u16>,
    /// The class, and how many columns of the same size in the same tree come before.
    /// In pieces, so that none of them is ever copied.
    places: Vec<Vec<(u16, u16)>>,
    held: usize,
    sizes: [Sizes; 4],
    /// Cells of all columns.
    cells: u64,
    /// Columns that were declared in this pass over the circuit.
    declared: usize,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        (&self.classes, &self.places, &self.sizes) == (&other.classes, &other.places, &other.sizes)
    }
}

impl Columns {
    /// Declares a column. In a second pass over the same circuit it is the one of the first.
    pub fn declare(&mut self, shape: Shape, bound: Interval, tree: Tree) -> ColumnId {
        let id = ColumnId(self.declared as u32);
        self.declared += 1;
        if self.declared <= self.held || self.declared > limits::PARTS {
            return id;
        }
        let class = Class { shape, bound, tree };
        // Neighbours are often alike.
        let last = self.places.last().and_then(|piece| piece.last()).map(|last| last.0);
        let alike = last.filter(|&last| self.classes.get(usize::from(last)) == Some(&class));
        let number = alike.unwrap_or_else(|| self.number(class));
        self.cells = self.cells.saturating_add(shape.cells());
        let nth = self.sizes.get_mut(tree.index()).map_or(0, |sizes| sizes.push(shape.log_size()));
        if self.held.is_multiple_of(PIECE) {
            self.places.push(Vec::with_capacity(PIECE));
        }
        if let Some(piece) = self.places.last_mut() {
            piece.push((number, nth as u16));
        }
        self.held += 1;
        id
    }

    /// The number of a class. However a program chooses its classes, the search is short.
    fn number(&mut self, class: Class) -> u16 {
        let hash = class.hash();
        let recent = self.recent.get(hash).copied().unwrap_or_default();
        if self.classes.get(usize::from(recent)) == Some(&class) {
            return recent;
        }
        let number = self.search(class);
        self.recent.resize(HASHES, 0);
        if let Some(slot) = self.recent.get_mut(hash) {
            *slot = number;
        }
        number
    }

    fn search(&mut self, class: Class) -> u16 {
        let known = |&number: &u16| self.classes.get(usize::from(number)).cmp(&Some(&class));
        match self.numbers.binary_search_by(known) {
            Ok(place) => self.numbers.get(place).copied().unwrap_or_default(),
            Err(place) => {
                let next = self.classes.len() as u16;
                self.numbers.insert(place, next);
                self.classes.push(class);
                next
            }
        }
    }

    /// Begins another pass over the same circuit.
    pub fn again(&mut self) {
        self.declared = 0;
        (self.numbers, self.recent) = (Vec::new(), Vec::new());
    }

    /// How many sorts of columns there are: of the same extents, range and tree.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// The number of columns declared in this pass.
    pub fn len(&self) -> usize {
        self.declared
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.declared == 0
    }

    /// All columns.
    pub fn ids(&self) -> impl Iterator<Item = ColumnId> + use<> {
        (0..self.declared as u32).map(ColumnId)
    }

    fn place(&self, id: ColumnId) -> Option<(u16, u16)> {
        let id = id.0 as usize;
        self.places.get(id / PIECE)?.get(id % PIECE).copied()
    }

    fn class(&self, id: ColumnId) -> &Class {
        let class = self.place(id).and_then(|(class, _)| self.classes.get(usize::from(class)));
        class.unwrap_or(&NOTHING)
    }

    /// The log of a column's size, the tree that holds it, and how many columns of that size in that tree come before.
    pub fn block(&self, id: ColumnId) -> (u32, Tree, u32) {
        let class = self.class(id);
        (class.shape.log_size(), class.tree, self.place(id).map_or(0, |(_, nth)| nth.into()))
    }

    /// The extents of a column.
    pub fn shape(&self, id: ColumnId) -> Shape {
        self.class(id).shape
    }

    /// The range of a column.
    pub fn bound(&self, id: ColumnId) -> Interval {
        self.class(id).bound
    }

    /// The tree that holds a column.
    pub fn tree(&self, id: ColumnId) -> Tree {
        self.class(id).tree
    }

    /// Columns of each size in a tree.
    pub fn sizes(&self, tree: Tree) -> &Sizes {
        let [fixed, witness, state, past] = &self.sizes;
        match tree {
            Tree::Fixed => fixed,
            Tree::Witness => witness,
            Tree::State => state,
            Tree::Past => past,
        }
    }

    /// Whether a tree holds any columns.
    pub fn has(&self, tree: Tree) -> bool {
        self.sizes(tree).cells() > 0
    }

    /// The number of cells of all columns together, padding included.
    pub fn cells(&self) -> u64 {
        self.cells
    }
}

/// What a circuit declares before its lookups, relations and wirings: all of them speak of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// All columns.
    pub columns: Columns,
    /// Names of columns, for people; none in circuits that nobody will execute.
    pub names: Vec<String>,
    /// All lookup tables.
    pub tables: Vec<LookupTable>,
    /// Public lists of indices, in the program's order.
    pub lists: Vec<List>,
    /// Public inputs, in the program's order.
    pub inputs: Vec<Public>,
    /// Public outputs, in the program's order.
    pub outputs: Vec<Public>,
}

impl Declared {
    /// The name of a column.
    pub fn name(&self, id: ColumnId) -> &str {
        self.names.get(id.0 as usize).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: u32, cols: u32) -> Shape {
        Shape { rows, cols }
    }

    #[test]
    fn blocks_lie_by_falling_size() {
        let mut sizes = Sizes::default();
        for (log, nth) in [(3, 0), (0, 0), (3, 1), (5, 0), (0, 1), (3, 2)] {
            assert_eq!(sizes.push(log), nth);
        }
        assert!(sizes.logs().eq([0, 3, 5]));
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|log| sizes.count(log)), [2, 0, 0, 3, 0, 1, 0]);
        assert_eq!(sizes.cells(), 2 + 3 * 8 + 32);
        let starts = sizes.starts();
        assert_eq!([starts.offset(5, 0), starts.offset(3, 0), starts.offset(3, 2)], [0, 32, 48]);
        assert_eq!([starts.offset(0, 0), starts.offset(0, 1)], [56, 57]);
        assert_eq!(Sizes::default().logs().next(), None);
    }

    /// Columns are what they were declared as, whatever came between, and in a second pass the same.
    #[test]
    fn columns_are_as_declared() {
        let bounds =
            [Interval { low: 0, high: 1 }, Interval { low: -1, high: 1 }, Interval { low: 0, high: 2 }];
        let trees = [Tree::Fixed, Tree::Witness, Tree::State, Tree::Past];
        // Neighbours that are alike and such that are not, more sorts than there are hashes, and sorts that come again.
        let all: Vec<(Shape, Interval, Tree)> = (0..3000u32)
            .map(|i| {
                let i = if i % 5 == 4 { i - 1 } else { i % 1700 };
                (shape(1 + i % 40, 1 + i % 7), bounds[i as usize % 3], trees[i as usize / 11 % 4])
            })
            .collect();
        let mut columns = Columns::default();
        assert!(columns.is_empty());
        for pass in 0..2 {
            for (i, &(shape, bound, tree)) in all.iter().enumerate() {
                assert_eq!(columns.declare(shape, bound, tree), ColumnId(i as u32), "{pass}");
                assert_eq!(columns.len(), i + 1);
                assert!(!columns.is_empty());
            }
            for (id, &(shape, bound, tree)) in columns.ids().zip(&all) {
                assert_eq!((columns.shape(id), columns.bound(id), columns.tree(id)), (shape, bound, tree));
                let alike = |other: &&(Shape, Interval, Tree)| {
                    (other.0.log_size(), other.2) == (shape.log_size(), tree)
                };
                let before = all[..id.0 as usize].iter().filter(alike).count() as u32;
                assert_eq!(columns.block(id), (shape.log_size(), tree, before));
            }
            let sorts: alloc::collections::BTreeSet<_> = all.iter().copied().collect();
            assert!(sorts.len() > HASHES);
            assert_eq!(columns.classes(), sorts.len());
            assert_eq!(columns.cells(), all.iter().map(|column| column.0.cells()).sum::<u64>());
            columns.again();
        }
    }

    #[test]
    fn trees_hold_what_is_declared_in_them() {
        let mut columns = Columns::default();
        columns.declare(shape(1, 1), Interval::bits(1), Tree::Witness);
        let has = |columns: &Columns| {
            [Tree::Fixed, Tree::Witness, Tree::State, Tree::Past].map(|tree| columns.has(tree))
        };
        assert_eq!(has(&columns), [false, true, false, false]);
        let same = columns.clone();
        columns.declare(shape(1, 1), Interval::bits(1), Tree::Past);
        assert_eq!(has(&columns), [false, true, false, true]);
        assert!(columns != same && same == same.clone());
    }

    /// Beyond the most that there may be they are counted, and nothing more.
    #[test]
    fn too_many_columns_are_only_counted() {
        let mut columns = Columns::default();
        for _ in 0..limits::PARTS {
            columns.declare(shape(1, 1), Interval::bits(1), Tree::Witness);
        }
        let last = ColumnId(limits::PARTS as u32 - 1);
        assert_eq!((columns.cells(), columns.shape(last)), (limits::PARTS as u64, shape(1, 1)));
        let beyond = columns.declare(shape(2, 1), Interval::bits(1), Tree::Witness);
        assert_eq!((beyond.0, columns.len()), (limits::PARTS as u32, limits::PARTS + 1));
        assert_eq!(columns.cells(), limits::PARTS as u64);
    }
}
