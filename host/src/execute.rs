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

/// Runs the program: fills every column, multiplicities included.
pub fn execute(
    circuit: &Circuit,
    program: &Program,
    data: &Data,
    inputs: &[Vec<i32>],
) -> Result<Trace, ExecuteError> {
    let mut trace = Trace { columns: vec![Vec::new(); circuit.columns.len()] };
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
        if own.log_size() == shape.log_size() {
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
    let a = form_values(circuit, trace, &product.a, product.a_shape);
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
                for (x, y) in x[..len].iter().zip(b.chunks(b_width)) {
                    for (slot, y) in row.iter_mut().zip(y) {
                        *slot += c * x * y;
                    }
                }
            }
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
