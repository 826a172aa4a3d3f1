//! Weight, rounds and message of the opening against a dense table of everything.

use super::*;
use crate::backend::field::{B, pack_base, unpack};
use crate::backend::matrix::Matrix;
use crate::backend::slots::combine;
use crate::backend::stack::Stack;
use circlet_core::axis::{Axis, Digit};
use circlet_core::circuit::{Column, Content, Interval, Shape, Tree};
use circlet_core::claims::Slice;
use circlet_core::field::M31;
use circlet_core::opening::column_weights;
use circlet_core::poly::{bind_high, evaluate};
use circlet_core::profile::{P100_U, Profile};
use circlet_core::program::TableId;

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
fn dense_weight(circuit: &Circuit, stacking: &Stacking, claims: &Claims, mu: QM31) -> Vec<QM31> {
    let powers = powers(mu, claims.values.len());
    let mut weight = vec![QM31::ZERO; 1 << stacking.variables()];
    for term in &claims.terms {
        let shape = circuit.column(term.column).shape;
        let rows = claims.axes[term.rows.0 as usize].dense(shape.log_rows());
        let cols = claims.axes[term.cols.0 as usize].dense(shape.log_cols());
        let coefficient = term.coefficient * powers[term.claim as usize];
        for (t, &row) in rows.iter().enumerate() {
            for (c, &col) in cols.iter().enumerate() {
                let cell = stacking.offset(term.column) as usize + (t << shape.log_cols()) + c;
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

fn circuit(shapes: &[(u32, u32, Tree)]) -> Circuit {
    let columns = shapes.iter().map(|&(log_rows, log_cols, tree)| Column {
        name: String::from("x"),
        shape: Shape { rows: 1 << log_rows, cols: 1 << log_cols },
        bound: Interval::bits(30),
        content: match tree {
            Tree::Fixed => Content::Table(TableId(0)),
            Tree::Witness => Content::Trace,
            Tree::State => Content::State,
            Tree::Past => Content::Past,
        },
    });
    Circuit { columns: columns.collect(), ..Circuit::default() }
}

/// Weights along `2^log` entries.
fn axis(random: &mut Random, log: u32) -> Axis {
    let len = 1u32 << log;
    match random.below(5) {
        0 => Axis::Eq(random.elements(log as usize)),
        1 => Axis::sum(1 + random.below(len.into())),
        2 => {
            let (skip, take) = (random.below(9), random.below(u64::from(len) + 1));
            Axis::Geometric { digits: vec![Digit { len: len + 9, ratio: random.element() }], skip, take }
        }
        // Digits of powers of two repeat, others do not.
        which => {
            let inner = if which == 3 { 1 << random.below(u64::from(log) + 1) } else { 3 + random.below(11) };
            let outer = len.div_ceil(inner) + 1;
            let digits = [outer, inner].map(|len| Digit { len, ratio: random.element() }).to_vec();
            let skip = if which == 3 { 0 } else { random.below(inner.into()) };
            Axis::Geometric { digits, skip, take: len - random.below(len.into()) / 2 }
        }
    }
}

fn claims(random: &mut Random, circuit: &Circuit) -> Claims {
    let mut claims = Claims::default();
    let points: Vec<_> = (0..3).map(|_| claims.point(random.elements(40))).collect();
    let ends = (ColumnId(0), circuit.columns[0].shape);
    for _ in 0..6 {
        claims.begin(random.element());
        // The last term of one claim and the first of the next have the same weights.
        let place = |from| Slice { point: points[0], from };
        let weights = (claims.eq(place(7), ends.1.log_rows()), claims.eq(place(0), ends.1.log_cols()));
        claims.add(random.element(), ends.0, weights.0, weights.1);
        for (id, column) in (0u32..).map(ColumnId).zip(&circuit.columns) {
            let coefficient = random.element();
            match random.below(8) {
                0..4 => {
                    let slice = |random: &mut Random| Slice {
                        point: points[random.below(3) as usize],
                        from: random.below(2) * 7,
                    };
                    let rows = claims.eq(slice(random), column.shape.log_rows());
                    let cols = claims.eq(slice(random), column.shape.log_cols());
                    claims.add(coefficient, id, rows, cols);
                    // A neighbour with the same weights, or those of one axis.
                    let others = [claims.eq(slice(random), column.shape.log_rows()), rows];
                    let rows = others[random.below(2) as usize];
                    let others = [claims.eq(slice(random), column.shape.log_cols()), cols];
                    let cols = others[random.below(2) as usize];
                    claims.add(random.element(), id, rows, cols);
                }
                4 | 5 => {
                    let rows = claims.axis(axis(random, column.shape.log_rows()));
                    let cols = claims.axis(axis(random, column.shape.log_cols()));
                    claims.add(coefficient, id, rows, cols);
                }
                _ => {}
            }
        }
        claims.add(random.element(), ends.0, weights.0, weights.1);
    }
    claims
}

/// Compares everything; returns the layout and the number of slots.
fn check(shapes: &[(u32, u32, Tree)], profile: &Profile, seed: u64) -> (Stacking, usize) {
    let mut random = Random(seed);
    let circuit = circuit(shapes);
    let stacking = Stacking::new(&circuit, profile);
    let claims = claims(&mut random, &circuit);
    let mu = random.element();
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
    let mut w = dense_weight(&circuit, &stacking, &claims, mu);

    let Weight { slots, factors } = Weight::new(&circuit, &stacking, &claims, mu);
    for (side, factors) in factors.iter().enumerate() {
        for (column, factors) in factors.iter().enumerate() {
            let start = (side << stacking.log_columns) + column;
            assert_eq!(unpack(&slots.expand(factors)), w[start * rows..][..rows]);
        }
    }
    let matrices = messages.clone().map(|messages| Matrix::Kept { messages, codewords: Vec::new() });
    let mut stack = Stack::new(&slots, matrices.each_ref().map(Some), factors, &stacking);
    let mut point = Vec::new();
    for _ in 0..stacking.stack_variables() {
        assert_eq!(stack.round(), dense_round(&f, &w));
        let r = random.element();
        stack.bind(r);
        bind_high(&mut f, r);
        bind_high(&mut w, r);
        point.push(r);
    }
    point.reverse();
    assert_eq!(unpack(&slots.expand(&stack.finish())), w);
    // The verifier's closed form at the whole point, its low coordinates first.
    let whole = [random.elements(stacking.log_rows as usize), point.clone()].concat();
    let low = &whole[..stacking.log_rows as usize];
    assert_eq!(claims.weight_at(&circuit, &stacking, mu, &whole), evaluate(&w, low));
    let weights = column_weights(&point, stacking.log_columns);
    let columns: Vec<(&[B], QM31)> = messages
        .iter()
        .zip(&weights)
        .flat_map(|(messages, weights)| messages.iter().map(Vec::as_slice).zip(weights.iter().copied()))
        .collect();
    assert_eq!(unpack(&combine(&columns)), f);
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
    let circuit = circuit(&shapes);
    let stacking = Stacking::new(&circuit, &Profile { max_log_rows: 12, ..P100_U });
    let mut random = Random(5);
    let mut claims = Claims::default();
    let point = claims.point(random.elements(40));
    claims.begin(QM31::ONE);
    for (id, column) in (0u32..).map(ColumnId).zip(&circuit.columns) {
        let rows = claims.eq(Slice { point, from: 20 }, column.shape.log_rows());
        let cols = claims.eq(Slice { point, from: 0 }, column.shape.log_cols());
        claims.add(random.element(), id, rows, cols);
    }
    let weight = Weight::new(&circuit, &stacking, &claims, random.element());
    assert_eq!((weight.slots.len() * LANES) << LOG_RUN, 1 << stacking.log_rows);
}
