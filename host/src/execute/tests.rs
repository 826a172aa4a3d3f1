//! The fast forms against their definitions.

use circlet_core::circuit::{
    Circuit, Column, ColumnId, Content, Form, Interval, Kind, Product, Shape, Value,
};

use super::evaluate::Summed;
use super::*;

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

    fn symmetric(&mut self, bound: i64) -> i64 {
        (self.word() % (2 * bound as u64 + 1)) as i64 - bound
    }
}

/// A circuit of nothing but columns, and their cells; some of them fixed.
struct Columns {
    circuit: Circuit,
    trace: Trace,
    random: Random,
}

impl Columns {
    fn new(seed: u64) -> Self {
        Self { circuit: Circuit::default(), trace: Trace::default(), random: Random(seed) }
    }

    fn column(&mut self, shape: Shape, bound: i64, fixed: bool) -> ColumnId {
        let id = ColumnId(self.circuit.columns.len() as u32);
        let content = if fixed {
            Content::Constant { constant: circlet_core::program::ConstantId(id.0), row: 0, col: 0 }
        } else {
            Content::Trace
        };
        let name = format!("column {}", id.0);
        self.circuit.columns.push(Column { name, shape, bound: Interval::symmetric(bound), content });
        let cells = (0..shape.size()).map(|_| match self.random.word() % 4 {
            0 => bound as i32,
            1 => -bound as i32,
            _ => self.random.symmetric(bound) as i32,
        });
        self.trace.columns.push(cells.collect());
        id
    }

    /// Moves the constants out of the trace; padding becomes zero.
    fn fix(&mut self) {
        use circlet_core::program::{Constant, Program};
        let mut program = Program {
            name: String::new(),
            tensors: Vec::new(),
            constants: Vec::new(),
            tables: Vec::new(),
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            lists: Vec::new(),
        };
        let mut data = Data::default();
        for (column, cells) in self.circuit.columns.iter().zip(&mut self.trace.columns) {
            let Shape { rows, cols } = column.shape;
            let (bound, row_l1) = (column.bound.high, i64::MAX);
            program.constants.push(Constant { name: String::new(), rows, cols, bound, row_l1 });
            let width = 1 << column.shape.log_cols();
            let real = cells.chunks(width).take(rows as usize).flat_map(|row| &row[..cols as usize]);
            data.constants.push(real.copied().collect());
            if column.content != Content::Trace {
                cells.clear();
            }
        }
        self.trace.fixed = Arc::new(Fixed::new(&self.circuit, &program, &data));
        let folder = tempfile::tempdir().unwrap();
        let in_file = Fixed::in_file(&self.circuit, &program, &data, folder.path()).unwrap();
        assert_eq!(in_file, *self.trace.fixed);
        for (id, cells) in fixed_columns(&self.circuit, &program, &data) {
            let stored: Vec<i32> = (0..cells.len()).map(|i| self.trace.cell(id, i)).collect();
            assert_eq!(stored, cells);
        }
    }

    /// A form in one cell, from the definition.
    fn form(&self, form: &Form, shape: Shape, t: usize, c: usize) -> i64 {
        form.terms.iter().fold(form.constant, |sum, &(coefficient, id)| {
            let own = self.circuit.column(id).shape;
            let row = if own.rows == 1 && shape.rows > 1 { 0 } else { t };
            let col = if own.cols == 1 && shape.cols > 1 { 0 } else { c };
            sum + coefficient * i64::from(self.trace.cell(id, (row << own.log_cols()) + col))
        })
    }

    /// A value in one cell, from the definition.
    fn value(&self, value: &Value, shape: Shape, t: usize, n: usize) -> i64 {
        let mut total = self.form(&value.form, shape, t, n);
        for p in &value.products {
            let a = |t, c: usize| self.form(&p.a, p.a_shape, t, p.flip.map_or(c, |bit| c ^ 1 << bit));
            let b = |t, c| self.form(&p.b, p.b_shape, t, c);
            let len = p.a_shape.cols as usize;
            let group = || p.groups[t >> (p.a_shape.log_rows() - p.groups.len().trailing_zeros())] as usize;
            let product: i64 = match p.kind {
                Kind::Entrywise => a(t, n) * b(t, n),
                Kind::RowDot => (0..len).map(|c| a(t, c) * b(t, c)).sum(),
                Kind::Contract => (0..len).map(|k| a(t, k) * b(n, k)).sum(),
                Kind::ContractTransposed => (0..len).map(|k| a(t, k) * b(k, n)).sum(),
                Kind::ToHeads { channels } => {
                    let (row, head) = (t % p.a_shape.rows as usize, t / p.a_shape.rows as usize);
                    (0..len).map(|k| a(row, k) * b((head << channels) + n, k)).sum()
                }
                Kind::FromHeads { tokens } => {
                    let heads = p.a_shape.rows as usize >> tokens;
                    let head =
                        |h: usize| (0..len).map(|c| a((h << tokens) + t, c) * b(n, h * len + c)).sum::<i64>();
                    (0..heads).map(head).sum()
                }
                Kind::Scores { group: rows } => (0..len).map(|c| a(t, c) * b((group() << rows) + n, c)).sum(),
                Kind::Mix { group: rows } => (0..len).map(|j| a(t, j) * b((group() << rows) + j, n)).sum(),
            };
            total += p.coefficient * product;
        }
        total
    }
}

fn shape(rows: u32, cols: u32) -> Shape {
    Shape { rows, cols }
}

/// All values of a shape, in pieces of an odd length and of the length that tasks have.
fn agrees(columns: &Columns, value: &Value, shape: Shape) {
    let summed = Summed::new(&columns.circuit, &columns.trace, value, shape).unwrap();
    for piece in [summed.tile(), 7, shape.size()] {
        for from in (0..shape.size()).step_by(piece) {
            let mut out = vec![0; piece.min(shape.size() - from)];
            summed.fill(from, &mut out);
            for (i, got) in out.into_iter().enumerate() {
                let (t, n) = ((from + i) >> shape.log_cols(), (from + i) & ((1 << shape.log_cols()) - 1));
                assert_eq!(got, columns.value(value, shape, t, n), "{shape:?} at ({t}, {n})");
            }
        }
    }
}

#[test]
fn contractions_are_their_definition() {
    let extents = [(1, 1, 1), (1, 7, 5), (3, 20, 13), (4, 16, 8), (5, 33, 70), (2, 64, 200), (7, 130, 1)];
    for (seed, (rows, len, width)) in extents.into_iter().enumerate() {
        // Sums of 32 bits, sums that reach beyond, and entries that do.
        for (a_bound, b_bound) in [(127, 127), (1000, 3000), (32_767, 32_767), (100_000, 9), (9, 100_000)] {
            for (fixed, plain) in [(true, true), (false, true), (false, false)] {
                let mut c = Columns::new(seed as u64);
                let a = c.column(shape(rows, len), a_bound, false);
                let b = c.column(shape(width, len), b_bound, fixed);
                let z = c.column(shape(len, width), b_bound, fixed);
                let bias = c.column(shape(1, width), 1 << 20, fixed);
                let [scale, offset] = if plain { [1, 0] } else { [-3, 2] };
                c.fix();
                let product = |kind, b: ColumnId, b_shape| {
                    let b = Form::from(b).times(scale).plus_constant(offset);
                    Product {
                        coefficient: scale,
                        ..Product::new(kind, (a.into(), shape(rows, len)), (b, b_shape))
                    }
                };
                let value = Value {
                    products: vec![
                        product(Kind::Contract, b, shape(width, len)),
                        product(Kind::ContractTransposed, z, shape(len, width)),
                    ],
                    form: Form::from(bias).plus_constant(5),
                    ..Value::default()
                };
                agrees(&c, &value, shape(rows, width));
            }
        }
    }
}

#[test]
fn cells_and_rows_are_their_definition() {
    for (rows, cols) in [(1, 1), (1, 9), (9, 1), (3, 5), (8, 16), (5, 300)] {
        let mut c = Columns::new(u64::from(rows * cols));
        let whole = shape(rows, cols);
        let [x, y] = [true, false].map(|fixed| c.column(whole, 5000, fixed));
        let row = c.column(shape(1, cols), 5000, true);
        let col = c.column(shape(rows, 1), 5000, false);
        let one = c.column(shape(1, 1), 5000, false);
        c.fix();
        let a = Form::from(x).plus(-2, row).plus(3, col).plus_constant(1);
        let b = Form::from(y).plus(7, one);
        let product =
            |kind| Product { coefficient: -2, ..Product::new(kind, (a.clone(), whole), (b.clone(), whole)) };
        let value = |kind, form| Value { products: vec![product(kind)], form, ..Value::default() };
        agrees(&c, &value(Kind::Entrywise, a.clone()), whole);
        agrees(&c, &value(Kind::RowDot, Form::from(col)), shape(rows, 1));
    }
}

#[test]
fn heads_are_their_definition() {
    for (tokens, channels, heads, groups) in [(1, 4, 1, 1), (4, 8, 2, 1), (8, 16, 4, 3), (4, 2, 4, 2)] {
        let mut c = Columns::new(u64::from(tokens * heads));
        let (all, width) = (shape(heads * tokens, channels), heads * channels);
        let x = c.column(shape(tokens, 6), 500, false);
        let into = c.column(shape(width, 6), 500, true);
        let q = c.column(all, 500, false);
        let out = c.column(shape(5, width), 500, true);
        let keys = c.column(shape(groups * tokens, channels), 500, false);
        let weights = c.column(shape(heads * tokens, tokens), 500, false);
        c.fix();
        let check = |kind, a: (ColumnId, Shape), b: (ColumnId, Shape), whole| {
            let product = Product::new(kind, (a.0.into(), a.1), (b.0.into(), b.1));
            let of = (0..heads).map(|h| h * groups / heads).collect();
            let grouped = matches!(kind, Kind::Scores { .. } | Kind::Mix { .. });
            let product = Product { groups: if grouped { of } else { Vec::new() }, ..product };
            agrees(&c, &Value { products: vec![product], ..Value::default() }, whole);
        };
        let (log_tokens, log_channels) = (tokens.trailing_zeros(), channels.trailing_zeros());
        let to = Kind::ToHeads { channels: log_channels };
        check(to, (x, shape(tokens, 6)), (into, shape(width, 6)), all);
        let from = Kind::FromHeads { tokens: log_tokens };
        check(from, (q, all), (out, shape(5, width)), shape(tokens, 5));
        let (square, rows) = (shape(heads * tokens, tokens), shape(groups * tokens, channels));
        check(Kind::Scores { group: log_tokens }, (q, all), (keys, rows), square);
        check(Kind::Mix { group: log_tokens }, (weights, square), (keys, rows), all);
        for bit in 0..log_channels {
            let product = Product::new(Kind::Entrywise, (q.into(), all), (q.into(), all));
            let product = Product { flip: Some(bit), ..product };
            agrees(&c, &Value { products: vec![product], ..Value::default() }, all);
        }
    }
}
