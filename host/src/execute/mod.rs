//! The integer executor: runs the steps of a circuit and thereby fills the trace that the prover commits to.
//!
//! Semantics are those of the circuit, see [`circlet_core::circuit`]; this is the one place that computes
//! them. Padding cells are computed like real ones, so that every lookup and relation holds there too.

mod count;
mod dot;
mod evaluate;
mod fixed;
mod form;
#[cfg(test)]
mod tests;
mod wire;

use std::borrow::Cow;
use std::sync::Arc;

use circlet_core::circuit::{Circuit, Column, ColumnId, Interval, Placement, Shape, Step, Tree, Value};
use circlet_core::program::{Data, Program};
use rayon::prelude::*;

use crate::backend::device;
use crate::backend::gpu::forward::Resident;

pub use count::count_multiplicities;
pub use fixed::{Cells, Fixed, fixed_columns};
pub use form::{form_range, form_values};

use evaluate::Expression;
use wire::{place, sequence};

/// What a program hands on to a later one: its columns of the state tree, in order, padding included.
pub type State = Vec<Vec<i32>>;

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
    /// Not the state that the program goes on from.
    #[error("the state does not have the columns that the program reads; run the turns before it again")]
    State,
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
    /// A device that holds the program's numbers has failed.
    #[error(transparent)]
    Device(#[from] device::Error),
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// One list of `shape.size()` entries for each column of the circuit; an empty one for columns that are in
    /// [`Trace::fixed`].
    pub columns: Vec<Vec<i32>>,
    /// The columns of the fixed tree, which all traces of a program share.
    pub fixed: Arc<Fixed>,
    /// The program's public lists of indices.
    pub lists: Vec<Vec<u32>>,
}

impl Trace {
    /// A trace without anything but the columns of the fixed tree.
    pub fn new(circuit: &Circuit, fixed: Arc<Fixed>) -> Self {
        Self { columns: vec![Vec::new(); circuit.columns.len()], fixed, lists: Vec::new() }
    }

    /// A trace from all its columns.
    pub fn of_columns(columns: Vec<Vec<i32>>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// A column, as it is stored.
    pub fn cells(&self, id: ColumnId) -> Cells<'_> {
        match self.columns[id.0 as usize].as_slice() {
            [] => self.fixed.cells(id),
            cells => Cells::Wide(cells),
        }
    }

    /// Whether a column's cells are those that all traces of the program share.
    pub fn is_shared(&self, id: ColumnId) -> bool {
        self.columns[id.0 as usize].is_empty()
    }

    /// A cell of a column.
    pub fn cell(&self, id: ColumnId, index: usize) -> i32 {
        match self.cells(id) {
            Cells::Narrow(cells) => cells[index].into(),
            Cells::Wide(cells) => cells[index],
        }
    }

    /// Where a GPU holds a fixed column.
    fn gpu(&self, id: ColumnId) -> Option<(&Resident, usize)> {
        if self.is_shared(id) { self.fixed.gpu(id) } else { None }
    }

    /// A fixed column in sixteen bits, with the largest sum of absolute values in a row.
    fn matrix(&self, id: ColumnId) -> Option<(&[i16], i64)> {
        if self.is_shared(id) { self.fixed.matrix(id) } else { None }
    }

    /// What the program hands on.
    pub fn state(&self, circuit: &Circuit) -> State {
        let kept = circuit.columns.iter().zip(&self.columns);
        kept.filter(|(column, _)| column.tree() == Tree::State).map(|(_, cells)| cells.clone()).collect()
    }

    /// The real cells of a public tensor, row by row.
    pub fn public(&self, circuit: &Circuit, cells: &[Placement]) -> Vec<i32> {
        sequence(self, circuit, cells)
    }
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
    execute_with(circuit, Arc::new(Fixed::new(circuit, program, data)), &data.tables, inputs, lists)
}

/// Runs the program whose fixed columns are at hand already, with the values of its tables.
pub fn execute_with(
    circuit: &Circuit,
    fixed: Arc<Fixed>,
    tables: &[Vec<i32>],
    inputs: &[Vec<i32>],
    lists: &[Vec<u32>],
) -> Result<Trace, ExecuteError> {
    execute_after(circuit, fixed, tables, &State::new(), inputs, lists)
}

/// The same for a program that goes on from the state of an earlier one. Large products with columns that a GPU holds are
/// computed there, see [`Fixed::on_gpu`].
pub fn execute_after(
    circuit: &Circuit,
    fixed: Arc<Fixed>,
    tables: &[Vec<i32>],
    past: &State,
    inputs: &[Vec<i32>],
    lists: &[Vec<u32>],
) -> Result<Trace, ExecuteError> {
    check_lists(circuit, lists)?;
    let mut trace = Trace::new(circuit, fixed);
    trace.lists = lists.to_vec();
    load_past(circuit, past, &mut trace)?;
    load_inputs(circuit, inputs, &mut trace)?;
    let ran = circuit.steps.iter().try_for_each(|step| run(circuit, tables, step, &mut trace));
    trace.fixed.rest();
    ran?;
    count_multiplicities(circuit, &mut trace);
    Ok(trace)
}

/// A value in every cell of a shape.
pub fn values(
    circuit: &Circuit,
    trace: &Trace,
    value: &Value,
    shape: Shape,
) -> Result<Vec<i64>, device::Error> {
    let value = evaluate::Summed::new(circuit, trace, value, shape);
    trace.fixed.rest();
    let value = value?;
    let (tile, mut out) = (value.tile(), vec![0; shape.size()]);
    out.par_chunks_mut(tile).enumerate().for_each(|(i, out)| value.fill(i * tile, out));
    Ok(out)
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

fn load_past(circuit: &Circuit, past: &State, trace: &mut Trace) -> Result<(), ExecuteError> {
    let reads = |(_, column): &(usize, &Column)| column.tree() == Tree::Past;
    let columns: Vec<(usize, &Column)> = circuit.columns.iter().enumerate().filter(reads).collect();
    if columns.len() != past.len() {
        return Err(ExecuteError::State);
    }
    for ((index, column), cells) in columns.into_iter().zip(past) {
        if cells.len() != column.shape.size() {
            return Err(ExecuteError::State);
        }
        trace.columns[index].clone_from(cells);
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

fn run(circuit: &Circuit, tables: &[Vec<i32>], step: &Step, trace: &mut Trace) -> Result<(), ExecuteError> {
    match step {
        Step::Divide { shape, value, divisor, quotient, remainder } => {
            let value = evaluate::Summed::new(circuit, trace, value, *shape)?;
            let mut quotients = vec![0; shape.size()];
            let mut remainders = vec![0; if remainder.is_some() { shape.size() } else { 0 }];
            let range = circuit.column(*quotient).bound;
            let rest = remainder.map(|id| circuit.column(id).bound);
            let tile = value.tile();
            let outside = if rest.is_some() {
                let tiles = quotients.par_chunks_mut(tile).zip(remainders.par_chunks_mut(tile)).enumerate();
                first(tiles.map(|(i, (quotients, remainders))| {
                    divide(&value, i * tile, *divisor, (quotients, range), Some((remainders, rest?)))
                }))
            } else {
                let tiles = quotients.par_chunks_mut(tile).enumerate();
                first(
                    tiles.map(|(i, quotients)| divide(&value, i * tile, *divisor, (quotients, range), None)),
                )
            };
            match (outside, remainder) {
                (Some(Outside { value, of_remainder: true }), Some(id)) => {
                    return Err(out_of_range(circuit, *id, value));
                }
                (Some(Outside { value, .. }), _) => return Err(out_of_range(circuit, *quotient, value)),
                (None, _) => {}
            }
            trace.columns[quotient.0 as usize] = quotients;
            if let Some(id) = remainder {
                trace.columns[id.0 as usize] = remainders;
            }
        }
        Step::Set { shape, value, column } => {
            let value = Expression::new(circuit, trace, value, *shape)?;
            let (tile, range) = (value.tile(), circuit.column(*column).bound);
            let mut cells = vec![0; shape.size()];
            let outside = first(cells.par_chunks_mut(tile).enumerate().map(|(i, cells)| {
                let mut values = vec![0; cells.len()];
                value.fill(i * tile, &mut values);
                narrow(values.iter().copied(), range, cells)
                    .map(|value| Outside { value, of_remainder: false })
            }));
            if let Some(Outside { value, .. }) = outside {
                return Err(out_of_range(circuit, *column, value));
            }
            trace.columns[column.0 as usize] = cells;
        }
        Step::Map { table, input, output } => {
            let arguments: Cow<'_, [i32]> = match trace.cells(*input) {
                Cells::Wide(cells) => cells.into(),
                Cells::Narrow(cells) => cells.iter().map(|&v| v.into()).collect(),
            };
            let name = &circuit.column(*input).name;
            trace.columns[output.0 as usize] =
                map(&tables[table.0 as usize], (name, &arguments), circuit, *output)?;
        }
        Step::MapForm { table, bits, shape, input, output } => {
            let half = (1i64 << bits) / 2;
            let arguments = form_values(circuit, trace, input, *shape);
            let arguments: Vec<i32> = arguments.into_iter().map(|v| (v - half) as i32).collect();
            let mut values = tables[table.0 as usize].clone();
            values.resize(1 << bits, 0);
            let name = &circuit.column(*output).name;
            trace.columns[output.0 as usize] = map(&values, (name, &arguments), circuit, *output)?;
        }
        Step::Magnitude { input, output } => {
            trace.columns[output.0 as usize] = match trace.cells(*input) {
                Cells::Narrow(cells) => cells.par_iter().map(|&v| i32::from(v).abs()).collect(),
                Cells::Wide(cells) => cells.par_iter().map(|&v| v.abs()).collect(),
            };
        }
        Step::RowMax { columns, output } => {
            let mut greatest = vec![i32::MIN; 1 << circuit.column(*output).shape.log_rows()];
            for &(id, hidden) in columns {
                let shape = circuit.column(id).shape;
                for (t, greatest) in greatest.iter_mut().enumerate() {
                    let row = t << shape.log_cols();
                    let counts =
                        |&c: &usize| hidden.is_none_or(|hidden| !hidden.contains(&trace.lists, t, c));
                    let cells = (0..shape.cols as usize).filter(counts);
                    *greatest = cells.map(|c| trace.cell(id, row + c)).fold(*greatest, i32::max);
                }
            }
            store(circuit, trace, *output, greatest)?;
        }
        Step::Gather(index) => {
            let gather = &circuit.gathers[*index];
            let shape = circuit.column(gather.output).shape;
            let rows = gather.rows.list(&trace.lists);
            let mut cells: Vec<i32> = Vec::with_capacity(shape.size());
            for t in 0..1usize << shape.log_rows() {
                let row = rows[t.min(rows.len() - 1)];
                let block = gather.source.iter().rev().find(|(first, _)| *first <= row);
                let &(first, source) = block.expect("the first block begins with row zero");
                let at = ((row - first) as usize) << shape.log_cols();
                let range = at..at + (1 << shape.log_cols());
                match trace.cells(source) {
                    Cells::Narrow(source) => cells.extend(source[range].iter().map(|&v| i32::from(v))),
                    Cells::Wide(source) => cells.extend(&source[range]),
                }
            }
            trace.columns[gather.output.0 as usize] = cells;
        }
        Step::Best { blocks, list, high, low, bits, offset } => {
            let shape = circuit.column(*high).shape;
            let mut best = vec![(i64::MIN, 0u32); 1 << shape.log_rows()];
            for (first, cells, value) in blocks {
                let value = evaluate::Summed::new(circuit, trace, value, *cells)?;
                let width = 1usize << cells.log_cols();
                best.par_iter_mut().enumerate().for_each(|(t, best)| {
                    let mut row = vec![0; width];
                    value.fill(t * width, &mut row);
                    for (n, &v) in (*first..).zip(&row[..cells.cols as usize]) {
                        if v > best.0 {
                            *best = (v, n);
                        }
                    }
                });
            }
            let limb = |f: &dyn Fn(i64) -> i64| best.iter().map(|(v, _)| f(v + offset) as i32).collect();
            store(circuit, trace, *high, limb(&|v| v >> bits))?;
            store(circuit, trace, *low, limb(&|v| v & ((1 << bits) - 1)))?;
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

/// A number that is not in the range of its column.
struct Outside {
    value: i64,
    of_remainder: bool,
}

fn out_of_range(circuit: &Circuit, id: ColumnId, value: i64) -> ExecuteError {
    let column = circuit.column(id);
    let Interval { low, high } = column.bound;
    ExecuteError::OutOfRange { column: column.name.clone(), value, low, high }
}

/// What the first of the tasks found, whichever ends first.
fn first<T: Send>(tasks: impl ParallelIterator<Item = Option<T>>) -> Option<T> {
    tasks.reduce(|| None, Option::or)
}

/// Quotients and remainders of the cells from `from` on, and the first that is out of its range.
fn divide(
    value: &evaluate::Summed<'_>,
    from: usize,
    divisor: i64,
    (quotients, range): (&mut [i32], Interval),
    rest: Option<(&mut [i32], Interval)>,
) -> Option<Outside> {
    let mut values = vec![0; quotients.len()];
    value.fill(from, &mut values);
    let outside = |of_remainder: bool| move |value: i64| Outside { value, of_remainder };
    if divisor.count_ones() == 1 {
        let (shift, mask) = (divisor.trailing_zeros(), divisor - 1);
        let wrong = narrow(values.iter().map(|v| v >> shift), range, quotients).map(outside(false));
        let rest = rest.and_then(|(cells, range)| narrow(values.iter().map(|v| v & mask), range, cells));
        return wrong.or(rest.map(outside(true)));
    }
    let wrong = narrow(values.iter().map(|v| v.div_euclid(divisor)), range, quotients).map(outside(false));
    let rest =
        rest.and_then(|(cells, range)| narrow(values.iter().map(|v| v.rem_euclid(divisor)), range, cells));
    wrong.or(rest.map(outside(true)))
}

/// Stores numbers; gives the first that is out of range back.
fn narrow(
    values: impl Iterator<Item = i64> + Clone,
    Interval { low, high }: Interval,
    cells: &mut [i32],
) -> Option<i64> {
    let mut good = true;
    for (cell, value) in cells.iter_mut().zip(values.clone()) {
        good &= low <= value && value <= high;
        *cell = value as i32;
    }
    if good { None } else { values.into_iter().find(|value| !(low..=high).contains(value)) }
}

/// A column whose values are computed already.
fn store(circuit: &Circuit, trace: &mut Trace, id: ColumnId, cells: Vec<i32>) -> Result<(), ExecuteError> {
    let Interval { low, high } = circuit.column(id).bound;
    if let Some(&value) = cells.iter().find(|&&v| !(low..=high).contains(&v.into())) {
        return Err(out_of_range(circuit, id, value.into()));
    }
    trace.columns[id.0 as usize] = cells;
    Ok(())
}

/// The values of a table at arguments that have a name.
fn map(
    table: &[i32],
    (name, arguments): (&str, &[i32]),
    circuit: &Circuit,
    output: ColumnId,
) -> Result<Vec<i32>, ExecuteError> {
    let low = -(table.len() as i64) / 2;
    let range = circuit.column(output).bound;
    let mut cells = vec![0; arguments.len()];
    let wrong =
        first(cells.par_chunks_mut(TASK).zip(arguments.par_chunks(TASK)).map(|(cells, arguments)| {
            for (cell, &argument) in cells.iter_mut().zip(arguments) {
                let row = usize::try_from(i64::from(argument) - low).ok();
                let Some(&value) = row.and_then(|row| table.get(row)) else { return Some(Err(argument)) };
                if !(range.low..=range.high).contains(&value.into()) {
                    return Some(Ok(value));
                }
                *cell = value;
            }
            None
        }));
    match wrong {
        None => Ok(cells),
        Some(Ok(value)) => Err(out_of_range(circuit, output, value.into())),
        Some(Err(argument)) => {
            Err(ExecuteError::OutOfRange { column: name.into(), value: argument.into(), low, high: -low - 1 })
        }
    }
}

/// Cells that one task works on.
const TASK: usize = 1 << 12;
