//! Weight, rounds and message of the opening against a dense table of everything.

use super::*;
use crate::backend::field::{B, pack_base, unpack};
use crate::backend::matrix::Matrix;
use crate::backend::slots::combine;
use crate::backend::stack::Stack;
use circlet_core::circuit::{Columns, Interval, Positions, Shape, Stride, Tree};
use circlet_core::claims::{At, Numbers, OPERANDS, Part, Points, Reading, Terms};
use circlet_core::field::M31;
use circlet_core::opening::column_weights;
use circlet_core::poly::{bind_high, evaluate};
use circlet_core::profile::{P100_U, Profile};
use circlet_core::weight;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u32 {
        (self.word() % n) as u32
    }

    fn element(&mut self) -> QM31 {
        QM31::from_coordinates(std::array::from_fn(|_| M31::reduce(self.word())))
    }

    fn elements(&mut self, n: usize) -> Vec<QM31> {
        (0..n).map(|_| self.element()).collect()
    }
}

/// The slow form: every term, cell by cell, on the whole stacked vector.
fn dense_weight(columns: &Columns, stacking: &Stacking, claims: &Claims, mu: QM31) -> Vec<QM31> {
    let powers = powers(mu, claims.values.len());
    let mut weight = vec![QM31::ZERO; 1 << stacking.variables()];
    for term in &claims.terms {
        let shape = columns.shape(term.column);
        let rows = claims.axes[term.rows.0 as usize].dense(shape.log_rows());
        let cols = claims.axes[term.cols.0 as usize].dense(shape.log_cols());
        let coefficient = term.coefficient * powers[term.claim as usize];
        for (t, &row) in rows.iter().enumerate() {
            for (c, &col) in cols.iter().enumerate() {
                let cell = stacking.offset(columns, term.column) as usize + (t << shape.log_cols()) + c;
                weight[cell] += coefficient * row * col;
            }
        }
    }
    weight
}

/// `[s_0, s_2]` of the round that binds the highest coordinate.
fn dense_round(f: &[QM31], w: &[QM31]) -> [QM31; 2] {
    let half = f.len() / 2;
    let mut sums = [QM31::ZERO; 2];
    for i in 0..half {
        sums[0] += f[i] * w[i];
        sums[1] += (f[i + half] - f[i]) * (w[i + half] - w[i]);
    }
    sums
}

fn columns(shapes: &[(u32, u32, Tree)]) -> Columns {
    let mut columns = Columns::default();
    for &(log_rows, log_cols, tree) in shapes {
        columns.declare(Shape { rows: 1 << log_rows, cols: 1 << log_cols }, Interval::bits(30), tree);
    }
    columns
}

/// A place of an axis in a sequence.
fn positions(random: &mut Random, log: u32) -> Positions {
    let len = 1u32 << log;
    let stride = |len: u32, random: &mut Random| Stride { len, stride: u64::from(random.below(1 << 20)) };
    if random.below(3) == 0 {
        let (skip, take) = (random.below(9), random.below(u64::from(len) + 1));
        return Positions { digits: vec![stride(len + 9, random)], skip, take };
    }
    // Digits of powers of two repeat, others do not.
    let two = random.below(2) == 0;
    let inner = if two { 1 << random.below(u64::from(log) + 1) } else { 3 + random.below(11) };
    let outer = len.div_ceil(inner) + 1;
    let digits = [outer, inner].map(|len| stride(len, random)).to_vec();
    let skip = if two { 0 } else { random.below(inner.into()) };
    Positions { digits, skip, take: len - random.below(len.into()) / 2 }
}

fn points(random: &mut Random) -> Points {
    let mut forty = || random.elements(40);
    Points { lookup: forty(), rows: forty(), cols: forty(), bound: forty(), pin: forty() }
}

/// Terms of claims, the same for the same randomness.
fn claims(mut random: Random, columns: &Columns, theta: QM31, terms: &mut impl Terms) {
    let random = &mut random;
    let at = |random: &mut Random| {
        let from = random.below(2) * 7;
        let at = [At::Rows(from), At::Cols(from), At::Bound(from), At::Lookup(from), At::Pin(from)];
        at[random.below(5) as usize]
    };
    let part = |len: u32, at: At| [Part::new(len, at)];
    let first = ColumnId(0);
    let ends = columns.shape(first);
    for claim in [0, 1, 2, OPERANDS, OPERANDS + 1, OPERANDS + 2, OPERANDS + 5] {
        // The last term of one claim and the first of the next have the same weights.
        let weights = (part(ends.log_rows(), At::Rows(7)), part(ends.log_cols(), At::Rows(0)));
        let outer = (Reading::parts(&weights.0), Reading::parts(&weights.1));
        terms.add(columns, claim, random.element(), &[(1, first)], outer.0, outer.1);
        for id in columns.ids() {
            let shape = columns.shape(id);
            let (log_rows, log_cols) = (shape.log_rows(), shape.log_cols());
            let own = [(i64::from(random.below(9)) - 4, id)];
            let coefficient = random.element();
            let mut add = |coefficient, own: &[(i64, ColumnId)], rows: Reading<'_>, cols: Reading<'_>| {
                terms.add(columns, claim, coefficient, own, rows, cols);
            };
            match random.below(12) {
                0..4 => {
                    let (rows, cols) = (part(log_rows, at(random)), part(log_cols, at(random)));
                    add(coefficient, &own, Reading::parts(&rows), Reading::parts(&cols));
                    // A neighbour with the same weights, or those of one axis.
                    let others = [part(log_rows, at(random)), rows];
                    let rows = others[random.below(2) as usize];
                    let others = [part(log_cols, at(random)), cols];
                    let cols = others[random.below(2) as usize];
                    add(random.element(), &own, Reading::parts(&rows), Reading::parts(&cols));
                }
                4 => {
                    let (rows, cols) = (positions(random, log_rows), positions(random, log_cols));
                    add(coefficient, &own, Reading::Sequence(&rows, theta), Reading::Sequence(&cols, theta));
                }
                5 => {
                    // Entries of a list, some of them outside, which columns of any shape share; and a sum.
                    let list: Vec<u32> = (0..6).map(|k| k * k * 5 % 19).collect();
                    let rows = Reading::Listed { list: &list, len: 3 };
                    add(coefficient, &own, rows, Reading::Sum(1 + random.below(1 << log_cols)));
                }
                6 if log_cols > 1 => {
                    let cols = [
                        Part::new(1, At::Bound(0)),
                        Part::new(1, At::Flipped(1)),
                        Part::new(log_cols - 2, At::Bound(2)),
                    ];
                    add(
                        coefficient,
                        &own,
                        Reading::Entry(random.below(1 << log_rows)),
                        Reading::parts(&cols),
                    );
                }
                7 if log_rows > 2 => {
                    // The upper three variables choose a group.
                    let groups: Vec<u32> = (0..4).map(|_| random.below(8)).collect();
                    let rows = [Part::new(log_rows - 3, At::Cols(0)), Part::new(2, At::Groups(3))];
                    let rows = Reading::Parts { parts: &rows, groups: &groups };
                    add(coefficient, &own, rows, Reading::parts(&part(log_cols, at(random))));
                }
                8 => {
                    // A longer column is read at zeros behind the point, a shorter one at its first coordinates.
                    let (rows, cols) = (part(log_rows / 2, at(random)), part(log_cols + 3, at(random)));
                    add(coefficient, &own, Reading::parts(&rows), Reading::parts(&cols));
                }
                9 => {
                    // A form of several columns, of whatever shapes.
                    let other = ColumnId(random.below(columns.len() as u64));
                    let form = [own[0], (-1, other), (1, id), (1 << 40, other)];
                    let (rows, cols) = (part(4, At::Rows(0)), part(5, At::Cols(0)));
                    add(coefficient, &form, Reading::parts(&rows), Reading::parts(&cols));
                }
                _ => {}
            }
        }
        terms.add(columns, claim, random.element(), &[(1, first)], outer.0, outer.1);
    }
}

/// Compares everything; returns the layout and the number of slots.
fn check(shapes: &[(u32, u32, Tree)], profile: &Profile, seed: u64) -> (Stacking, usize) {
    let mut random = Random(seed);
    let columns = columns(shapes);
    let stacking = Stacking::new(&columns, profile);
    let (points, mu, theta) = (points(&mut random), random.element(), random.element());
    let numbers = Numbers { operands: 3, gathers: 2, picks: 1, ..Numbers::default() };
    let mut all = Claims::new(&numbers);
    all.points = points.clone();
    claims(Random(seed), &columns, theta, &mut all);
    let rows = 1usize << stacking.log_rows;
    let cells = |random: &mut Random, n: usize| -> Vec<i32> {
        (0..n * rows).map(|_| random.word() as i32 >> random.below(32)).collect()
    };
    let cells = stacking.matrix_columns.map(|n| cells(&mut random, n));
    let messages = cells.each_ref().map(|cells| -> Vec<Vec<B>> {
        cells.chunks(rows).map(|column| column.chunks(LANES).map(pack_base).collect()).collect()
    });
    let mut f: Vec<QM31> = Vec::new();
    for cells in cells.iter().take(1 << stacking.log_trees) {
        let end = f.len() + (rows << stacking.log_columns);
        f.extend(cells.iter().map(|&c| QM31::from_i64(i64::from(c))));
        f.resize(end, QM31::ZERO);
    }
    let mut w = dense_weight(&columns, &stacking, &all, mu);

    let weights = weigh(&columns, &stacking, &all, mu);
    let slots = &weights.slots;
    for side in 0..4 {
        for (column, factors) in weights.sparse(side).iter().enumerate() {
            let start = (side << stacking.log_columns) + column;
            assert_eq!(unpack(&slots.expand(factors)), w[start * rows..][..rows]);
        }
    }
    let matrices = messages.clone().map(|messages| Matrix::Kept { messages, codewords: Vec::new() });
    let mut stack = Stack::new(&weights, matrices.each_ref().map(Some), &stacking).unwrap();
    let mut point = Vec::new();
    for _ in 0..stacking.stack_variables() {
        assert_eq!(stack.round(), dense_round(&f, &w));
        let r = random.element();
        stack.bind(r).unwrap();
        bind_high(&mut f, r);
        bind_high(&mut w, r);
        point.push(r);
    }
    point.reverse();
    assert_eq!(unpack(&slots.expand(&stack.finish().multiples().unwrap())), w);
    // The verifier's closed form at the whole point, its low coordinates first.
    let whole = [random.elements(stacking.log_rows as usize), point.clone()].concat();
    let low = &whole[..stacking.log_rows as usize];
    let mut closed = weight::Weight::new(&points, &numbers, &stacking, mu, &whole);
    claims(Random(seed), &columns, theta, &mut closed);
    assert_eq!(closed.total(&[]), evaluate(&w, low));
    let weights = column_weights(&point, stacking.log_columns);
    let messages: Vec<(&[B], QM31)> = messages
        .iter()
        .zip(&weights)
        .flat_map(|(messages, weights)| messages.iter().map(Vec::as_slice).zip(weights.iter().copied()))
        .collect();
    assert_eq!(unpack(&combine(&messages)), f);
    (stacking, slots.len())
}

#[test]
fn factors_are_the_dense_weight() {
    use Tree::{Fixed, Past, State, Witness};
    let rows = |max_log_rows| Profile { max_log_rows, ..P100_U };
    let tiny = |tree| (0..5).flat_map(move |r| (0..5).map(move |c| (r, c, tree)));
    // Columns of any shape in both trees, others of one cell to sixteen.
    let mut mixed: Vec<_> = tiny(Fixed).chain(tiny(Witness)).collect();
    mixed.extend([(3, 7, Fixed), (7, 3, Fixed), (0, 10, Fixed), (10, 0, Witness), (5, 6, Witness)]);
    // Columns that span several matrix columns, more of them in either tree.
    let long = |a, b| vec![(4, 8, a), (10, 1, a), (6, 6, a), (0, 9, b), (3, 5, b), (2, 2, b), (9, 1, a)];
    for max_log_rows in [8, 9, 11] {
        for seed in 0..6 {
            check(&mixed, &rows(max_log_rows), seed);
            check(&long(Fixed, Witness), &rows(max_log_rows), seed + 100);
            check(&long(Witness, Fixed), &rows(max_log_rows), seed + 200);
            check(&[(0, 3, Fixed)], &rows(max_log_rows), seed + 300);
            // Three or four trees.
            let mut kept = long(Fixed, State);
            check(&kept, &rows(max_log_rows), seed + 400);
            kept.extend(long(Witness, Past));
            check(&kept, &rows(max_log_rows), seed + 500);
        }
    }
    let (stacking, _) = check(&long(Fixed, Witness), &rows(8), 1);
    assert!(stacking.matrix_columns[0] > 16 && !stacking.matrix_columns[0].is_power_of_two());
}

#[test]
fn products_share_patterns() {
    // Eight matrices read at one point: one pattern in every tile, whatever the shapes.
    let shapes: Vec<_> = (0..8).map(|i| (5 + i % 3, 6 + i % 4, Tree::Fixed)).collect();
    let columns = columns(&shapes);
    let stacking = Stacking::new(&columns, &Profile { max_log_rows: 12, ..P100_U });
    let mut random = Random(5);
    let mut claims = Claims::new(&Numbers::default());
    claims.points = points(&mut random);
    for id in columns.ids() {
        let shape = columns.shape(id);
        let rows = [Part::new(shape.log_rows(), At::Rows(20))];
        let cols = [Part::new(shape.log_cols(), At::Rows(0))];
        let (rows, cols) = (Reading::parts(&rows), Reading::parts(&cols));
        claims.add(&columns, 0, random.element(), &[(1, id)], rows, cols);
    }
    let weight = weigh(&columns, &stacking, &claims, random.element());
    assert_eq!(weight.slots.len() * weight.grid.tile(), 1 << stacking.log_rows);
}
