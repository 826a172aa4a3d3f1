//! The integer executor: runs the steps of a circuit and thereby fills the trace that the prover commits to.
//!
//! Semantics are those of the circuit, see [`circlet_core::circuit`]; this is the one place that computes
//! them. Padding cells are computed like real ones, so that every lookup and relation holds there too.

use circlet_core::circuit::{
    Circuit, ColumnId, Component, Content, Form, Int, Interval, Kind, Placement, Product, Shape, Step, Value,
};
use circlet_core::program::{Data, Program};

/// Why a program has no result on an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// Another number of inputs than the program has.
    #[error("the program has {expected} inputs, {got} were given")]
    InputCount {
        /// Inputs of the program.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input has the wrong number of entries.
    #[error("input {index} has {got} entries, the program takes {expected}")]
    InputLength {
        /// Which input.
        index: usize,
        /// Entries the program takes.
        expected: u64,
        /// Entries given.
        got: usize,
    },
    /// An input entry is out of range.
    #[error("entry {entry} of input {index} is {value}; the program takes values up to {bound}")]
    InputRange {
        /// Which input.
        index: usize,
        /// Which entry.
        entry: usize,
        /// Its value.
        value: i32,
        /// The largest magnitude allowed.
        bound: i64,
    },
    /// Another number of lists than the program has.
    #[error("the program has {expected} lists of indices, {got} were given")]
    ListCount {
        /// Lists of the program.
        expected: usize,
        /// Lists given.
        got: usize,
    },
    /// A list has the wrong number of entries.
    #[error("list {index} has {got} entries, the program takes {expected}")]
    ListLength {
        /// Which list.
        index: usize,
        /// Entries the program takes; none where it computes them.
        expected: usize,
        /// Entries given.
        got: usize,
    },
    /// A list entry is out of range.
    #[error("list {index} holds {entry}; the program takes indices below {limit}")]
    ListRange {
        /// Which list.
        index: usize,
        /// The entry.
        entry: u32,
        /// The least index that is too large.
        limit: u32,
    },
    /// A value leaves the range that can be proven: the input is too far from what the program was made for.
    #[error(
        "{column}: the value {value} is outside {low}..={high}; this input drives the model beyond the range \
         it was calibrated for (calibrate with samples like it)"
    )]
    OutOfRange {
        /// Name of the column.
        column: String,
        /// The value.
        value: i64,
        /// Least value that can be proven.
        low: i64,
        /// Greatest value that can be proven.
        high: i64,
    },
}

/// All columns of a circuit, padded, as integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// One list of `shape.size()` entries for each column of the circuit.
    pub columns: Vec<Vec<i32>>,
    /// The program's public lists of indices.
    pub lists: Vec<Vec<u32>>,
}

impl Trace {
    /// The real cells of a public tensor, row by row.
    pub fn public(&self, circuit: &Circuit, cells: &[Placement]) -> Vec<i32> {
        sequence(self, circuit, cells)
    }
}

/// The columns of the fixed tree: constants and tables, padded with zeros.
pub fn fixed_columns(circuit: &Circuit, program: &Program, data: &Data) -> Vec<(ColumnId, Vec<i32>)> {
    let columns = circuit.columns.iter().enumerate();
    columns
        .filter_map(|(i, column)| {
            let id = ColumnId(i as u32);
            match column.content {
                Content::Constant { constant, row, col } => {
                    let width = program.constants[constant.0 as usize].cols as usize;
                    let source = &data.constants[constant.0 as usize];
                    let shape = column.shape;
                    let mut cells = vec![0; shape.size()];
                    for t in 0..shape.rows as usize {
                        let from = (row as usize + t) * width + col as usize;
                        let to = t << shape.log_cols();
                        cells[to..to + shape.cols as usize]
                            .copy_from_slice(&source[from..from + shape.cols as usize]);
                    }
                    Some((id, cells))
                }
                Content::Table(table) => Some((id, data.tables[table.0 as usize].clone())),
                Content::Trace | Content::Multiplicity(_) => None,
            }
        })
        .collect()
}

/// Runs a program without lists: fills every column, multiplicities included.
pub fn execute(
    circuit: &Circuit,
    program: &Program,
    data: &Data,
    inputs: &[Vec<i32>],
) -> Result<Trace, ExecuteError> {
    execute_listed(circuit, program, data, inputs, &[])
}

/// Runs a program on public tensors and lists of indices. A list that the program computes is given empty.
pub fn execute_listed(
    circuit: &Circuit,
    program: &Program,
    data: &Data,
    inputs: &[Vec<i32>],
    lists: &[Vec<u32>],
) -> Result<Trace, ExecuteError> {
    check_lists(circuit, lists)?;
    let mut trace = Trace { columns: vec![Vec::new(); circuit.columns.len()], lists: lists.to_vec() };
    for (id, cells) in fixed_columns(circuit, program, data) {
        trace.columns[id.0 as usize] = cells;
    }
    load_inputs(circuit, inputs, &mut trace)?;
    for step in &circuit.steps {
        run(circuit, data, step, &mut trace)?;
    }
    count_multiplicities(circuit, &mut trace);
    Ok(trace)
}

fn check_lists(circuit: &Circuit, lists: &[Vec<u32>]) -> Result<(), ExecuteError> {
    if lists.len() != circuit.lists.len() {
        return Err(ExecuteError::ListCount { expected: circuit.lists.len(), got: lists.len() });
    }
    for (index, (list, entries)) in circuit.lists.iter().zip(lists).enumerate() {
        let computed = circuit.steps.iter().any(|s| matches!(s, Step::Best { list, .. } if *list == index));
        let expected = if computed { 0 } else { list.len as usize };
        if entries.len() != expected {
            return Err(ExecuteError::ListLength { index, expected, got: entries.len() });
        }
        if let Some(&entry) = entries.iter().find(|&&entry| entry >= list.limit) {
            return Err(ExecuteError::ListRange { index, entry, limit: list.limit });
        }
    }
    Ok(())
}

fn load_inputs(circuit: &Circuit, inputs: &[Vec<i32>], trace: &mut Trace) -> Result<(), ExecuteError> {
    if inputs.len() != circuit.inputs.len() {
        return Err(ExecuteError::InputCount { expected: circuit.inputs.len(), got: inputs.len() });
    }
    for (index, (public, entries)) in circuit.inputs.iter().zip(inputs).enumerate() {
        let expected = u64::from(public.rows) * u64::from(public.cols);
        if entries.len() as u64 != expected {
            return Err(ExecuteError::InputLength { index, expected, got: entries.len() });
        }
        if let Some(entry) = entries.iter().position(|&v| i64::from(v).abs() > public.bound) {
            let (value, bound) = (entries[entry], public.bound);
            return Err(ExecuteError::InputRange { index, entry, value, bound });
        }
        place(trace, circuit, &public.cells, entries);
    }
    Ok(())
}

/// Reads a sequence from its cells.
fn sequence(trace: &Trace, circuit: &Circuit, cells: &[Placement]) -> Vec<i32> {
    let mut entries = Vec::new();
    for placement in cells {
        let column = &trace.columns[placement.column.0 as usize];
        for (cell, position) in placement.cells(circuit.column(placement.column).shape) {
            let position = position as usize;
            if entries.len() <= position {
                entries.resize(position + 1, 0);
            }
            entries[position] = column[cell];
        }
    }
    entries
}

/// Writes a sequence to its cells. Padding repeats the last real row and column: what is computed from it then
/// stays in range wherever the real cells do.
fn place(trace: &mut Trace, circuit: &Circuit, cells: &[Placement], entries: &[i32]) {
    for placement in cells {
        let shape = circuit.column(placement.column).shape;
        let column = &mut trace.columns[placement.column.0 as usize];
        column.resize(shape.size(), 0);
        for (cell, position) in placement.cells(shape) {
            column[cell] = entries[position as usize];
        }
        let (rows, cols, width) = (shape.rows as usize, shape.cols as usize, 1 << shape.log_cols());
        for row in column.chunks_mut(width).take(rows) {
            let last = row[cols - 1];
            row[cols..].fill(last);
        }
        for row in rows..1 << shape.log_rows() {
            column.copy_within((rows - 1) * width..rows * width, row * width);
        }
    }
}

fn run(circuit: &Circuit, data: &Data, step: &Step, trace: &mut Trace) -> Result<(), ExecuteError> {
    match step {
        Step::Divide { shape, value, divisor, quotient, remainder } => {
            let values = evaluate(circuit, trace, value, *shape);
            store(circuit, trace, *quotient, values.iter().map(|v| v.div_euclid(*divisor)))?;
            if let Some(remainder) = remainder {
                store(circuit, trace, *remainder, values.iter().map(|v| v.rem_euclid(*divisor)))?;
            }
        }
        Step::Set { shape, value, column } => {
            let values = integers(circuit, trace, value, *shape);
            store(circuit, trace, *column, values.into_iter())?;
        }
        Step::Map { table, input, output } => {
            let table = &data.tables[table.0 as usize];
            let low = -(table.len() as i64) / 2;
            let look_up = |&argument: &i32| {
                let row = usize::try_from(i64::from(argument) - low).ok();
                row.and_then(|row| table.get(row)).map(|&v| i64::from(v)).ok_or_else(|| {
                    ExecuteError::OutOfRange {
                        column: circuit.column(*input).name.clone(),
                        value: argument.into(),
                        low,
                        high: -low - 1,
                    }
                })
            };
            let values: Result<Vec<i64>, _> = trace.columns[input.0 as usize].iter().map(look_up).collect();
            store(circuit, trace, *output, values?.into_iter())?;
        }
        Step::MapForm { table, shape, input, output } => {
            let table = &data.tables[table.0 as usize];
            let low = -(table.len() as i64) / 2;
            let look_up = |argument: i64| {
                let row = usize::try_from(argument - low).ok();
                row.and_then(|row| table.get(row)).map(|&v| i64::from(v)).ok_or_else(|| {
                    ExecuteError::OutOfRange {
                        column: format!("argument of {}", circuit.column(*output).name),
                        value: argument,
                        low,
                        high: -low - 1,
                    }
                })
            };
            let arguments = form_values(circuit, trace, input, *shape);
            let values: Result<Vec<i64>, _> = arguments.into_iter().map(look_up).collect();
            store(circuit, trace, *output, values?.into_iter())?;
        }
        Step::RowMax { columns, causal, output } => {
            let rows = circuit.column(*output).shape.log_rows();
            let mut greatest = vec![i64::MIN; 1 << rows];
            for &id in columns {
                let shape = circuit.column(id).shape;
                let masked = causal.filter(|&log| shape.log_cols() == log && shape.cols > 1);
                for (t, row) in trace.columns[id.0 as usize].chunks(1 << shape.log_cols()).enumerate() {
                    let seen = masked.map_or(shape.cols as usize, |log| (t & ((1 << log) - 1)) + 1);
                    for &v in &row[..seen] {
                        greatest[t] = greatest[t].max(v.into());
                    }
                }
            }
            store(circuit, trace, *output, greatest.into_iter())?;
        }
        Step::Gather(index) => {
            let gather = &circuit.gathers[*index];
            let shape = circuit.column(gather.output).shape;
            let rows = gather.rows.list(&trace.lists);
            let mut cells: Vec<i32> = Vec::with_capacity(shape.size());
            for t in 0..1usize << shape.log_rows() {
                let row = rows[t.min(rows.len() - 1)];
                let &(first, source) = gather
                    .source
                    .iter()
                    .rev()
                    .find(|(first, _)| *first <= row)
                    .expect("the first block begins with row zero");
                let at = ((row - first) as usize) << shape.log_cols();
                cells.extend(&trace.columns[source.0 as usize][at..at + (1 << shape.log_cols())]);
            }
            trace.columns[gather.output.0 as usize] = cells;
        }
        Step::Best { blocks, list, high, low, bits, offset } => {
            let shape = circuit.column(*high).shape;
            let mut best = vec![(i64::MIN, 0u32); 1 << shape.log_rows()];
            for (first, cells, value) in blocks {
                let values = evaluate(circuit, trace, value, *cells);
                for (best, row) in best.iter_mut().zip(values.chunks(1 << cells.log_cols())) {
                    for (n, &v) in (*first..).zip(&row[..cells.cols as usize]) {
                        if v > best.0 {
                            *best = (v, n);
                        }
                    }
                }
            }
            let shifted = || best.iter().map(|(v, _)| v + offset);
            store(circuit, trace, *high, shifted().map(|v| v >> bits))?;
            store(circuit, trace, *low, shifted().map(|v| v & ((1 << bits) - 1)))?;
            trace.lists[*list] = best[..shape.rows as usize].iter().map(|b| b.1).collect();
        }
        Step::Wire(index) => {
            let wiring = &circuit.wirings[*index];
            let entries = sequence(trace, circuit, &wiring.from);
            place(trace, circuit, &wiring.to, &entries);
        }
    }
    Ok(())
}

fn store(
    circuit: &Circuit,
    trace: &mut Trace,
    id: ColumnId,
    values: impl Iterator<Item = i64>,
) -> Result<(), ExecuteError> {
    let column = circuit.column(id);
    let Interval { low, high } = column.bound;
    let cells: Result<Vec<i32>, i64> =
        values.map(|v| if (low..=high).contains(&v) { Ok(v as i32) } else { Err(v) }).collect();
    trace.columns[id.0 as usize] =
        cells.map_err(|value| ExecuteError::OutOfRange { column: column.name.clone(), value, low, high })?;
    Ok(())
}

/// A linear form in every cell of a shape.
pub fn form_values(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape) -> Vec<i64> {
    let mut out = vec![form.constant; shape.size()];
    let log_cols = shape.log_cols();
    for &(c, id) in &form.terms {
        let own = circuit.column(id).shape;
        let cells = &trace.columns[id.0 as usize];
        let (row_mask, col_mask) = ((1usize << own.log_rows()) - 1, (1usize << own.log_cols()) - 1);
        if (own.log_rows(), own.log_cols()) == (shape.log_rows(), shape.log_cols()) {
            for (slot, &v) in out.iter_mut().zip(cells) {
                *slot += c * i64::from(v);
            }
        } else {
            for (i, slot) in out.iter_mut().enumerate() {
                let (t, k) = (i >> log_cols & row_mask, i & ((1 << log_cols) - 1) & col_mask);
                *slot += c * i64::from(cells[(t << own.log_cols()) + k]);
            }
        }
    }
    for &(c, set) in &form.indicators {
        for (i, slot) in out.iter_mut().enumerate() {
            if set.contains(&trace.lists, i >> log_cols, i & ((1 << log_cols) - 1)) {
                *slot += c;
            }
        }
    }
    out
}

fn evaluate(circuit: &Circuit, trace: &Trace, value: &Value, shape: Shape) -> Vec<i64> {
    let mut out = form_values(circuit, trace, &value.form, shape);
    for sum in &value.sums {
        let own = circuit.column(sum.column).shape;
        let rows = trace.columns[sum.column.0 as usize].chunks(1 << own.log_cols());
        for (slot, row) in out.iter_mut().zip(rows) {
            let total: i64 = row[..own.cols as usize].iter().map(|&v| i64::from(v)).sum();
            *slot += sum.coefficient * total;
        }
    }
    for product in &value.products {
        add_product(circuit, trace, product, shape, &mut out);
    }
    out
}

fn add_product(circuit: &Circuit, trace: &Trace, product: &Product, shape: Shape, out: &mut [i64]) {
    let mut a = form_values(circuit, trace, &product.a, product.a_shape);
    if let Some(bit) = product.flip {
        a = (0..a.len()).map(|i| a[i ^ 1 << bit]).collect();
    }
    let b = form_values(circuit, trace, &product.b, product.b_shape);
    let (a_width, b_width) = (1 << product.a_shape.log_cols(), 1usize << product.b_shape.log_cols());
    let (len, c) = (product.a_shape.cols as usize, product.coefficient);
    let dot = |x: &[i64], y: &[i64]| -> i64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    match product.kind {
        Kind::Entrywise => {
            for ((slot, x), y) in out.iter_mut().zip(a).zip(b) {
                *slot += c * x * y;
            }
        }
        Kind::RowDot => {
            for ((slot, x), y) in out.iter_mut().zip(a.chunks(a_width)).zip(b.chunks(b_width)) {
                *slot += c * dot(&x[..len], &y[..len]);
            }
        }
        Kind::Contract => {
            for (row, x) in out.chunks_mut(1 << shape.log_cols()).zip(a.chunks(a_width)) {
                for (slot, y) in row.iter_mut().zip(b.chunks(b_width)) {
                    *slot += c * dot(&x[..len], &y[..len]);
                }
            }
        }
        Kind::ContractTransposed => {
            for (row, x) in out.chunks_mut(1 << shape.log_cols()).zip(a.chunks(a_width)) {
                mix(row, c, &x[..len], &b, b_width);
            }
        }
        Kind::ToHeads { channels } => {
            let tokens = product.a_shape.log_rows();
            for (i, row) in out.chunks_mut(1 << channels).enumerate() {
                let x = &a[(i & ((1 << tokens) - 1)) * a_width..][..len];
                let heads = &b[((i >> tokens) << channels) * b_width..];
                for (slot, y) in row.iter_mut().zip(heads.chunks(b_width)) {
                    *slot += c * dot(x, &y[..len]);
                }
            }
        }
        Kind::FromHeads { tokens } => {
            let heads = product.a_shape.rows as usize >> tokens;
            for (t, row) in out.chunks_mut(1 << shape.log_cols()).enumerate() {
                for (slot, y) in row.iter_mut().zip(b.chunks(b_width)) {
                    for h in 0..heads {
                        let x = &a[((h << tokens) + t) * a_width..][..len];
                        *slot += c * dot(x, &y[h * len..(h + 1) * len]);
                    }
                }
            }
        }
        Kind::Scores { group } | Kind::Mix { group } => {
            let tokens = product.a_shape.log_rows() - product.groups.len().trailing_zeros();
            for (i, (row, x)) in out.chunks_mut(1 << shape.log_cols()).zip(a.chunks(a_width)).enumerate() {
                let keys = &b[((product.groups[i >> tokens] as usize) << group) * b_width..];
                if matches!(product.kind, Kind::Mix { .. }) {
                    mix(row, c, &x[..len], keys, b_width);
                    continue;
                }
                for (slot, y) in row.iter_mut().zip(keys.chunks(b_width)) {
                    *slot += c * dot(&x[..len], &y[..len]);
                }
            }
        }
    }
}

/// `row += c sum_k x_k b_k` with rows `b_k`.
fn mix(row: &mut [i64], c: i64, x: &[i64], b: &[i64], b_width: usize) {
    for (x, y) in x.iter().zip(b.chunks(b_width)) {
        for (slot, y) in row.iter_mut().zip(y) {
            *slot += c * x * y;
        }
    }
}

fn integers(circuit: &Circuit, trace: &Trace, value: &Int, shape: Shape) -> Vec<i64> {
    let both = |pair: &[Int; 2], f: fn(i64, i64) -> i64| -> Vec<i64> {
        let (x, y) = (integers(circuit, trace, &pair[0], shape), integers(circuit, trace, &pair[1], shape));
        x.into_iter().zip(y).map(|(x, y)| f(x, y)).collect()
    };
    match value {
        Int::Value(value) => evaluate(circuit, trace, value, shape),
        Int::Add(pair) => both(pair, |x, y| x + y),
        Int::Sub(pair) => both(pair, |x, y| x - y),
        Int::Mul(pair) => both(pair, |x, y| x * y),
        Int::Div(pair) => both(pair, i64::div_euclid),
        Int::Mod(pair) => both(pair, i64::rem_euclid),
        Int::IsZero(x) => integers(circuit, trace, x, shape).into_iter().map(|v| i64::from(v == 0)).collect(),
        Int::Root(x) => integers(circuit, trace, x, shape).into_iter().map(|v| v.max(0).isqrt()).collect(),
    }
}

/// Counts, for every table, how often each row is looked up.
pub fn count_multiplicities(circuit: &Circuit, trace: &mut Trace) {
    let mut counts: Vec<Vec<i32>> = circuit.tables.iter().map(|t| vec![0; 1 << t.bits]).collect();
    for lookup in &circuit.lookups {
        let table = &circuit.tables[lookup.table as usize];
        let low = match table.components.first() {
            Some(Component::Index { low }) => *low,
            _ => continue,
        };
        let counts = &mut counts[lookup.table as usize];
        for value in form_values(circuit, trace, &lookup.forms[0], lookup.shape) {
            // A cheating trace may hold values that are in no row; they are then counted nowhere.
            if let Some(count) = usize::try_from(value - low).ok().and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
    }
    for (table, counts) in circuit.tables.iter().zip(counts) {
        trace.columns[table.multiplicity.0 as usize] = counts;
    }
}
