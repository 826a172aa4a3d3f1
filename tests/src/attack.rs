//! Witnesses of a cheating prover: some cells are changed, and everything that is computed from them follows.

use circlet::execute::{Trace, fixed_columns};
use circlet_core::circuit::{Circuit, ColumnId, Int, Placement, Shape, Step};
use circlet_core::program::{Data, Program};

use crate::satisfied::{cell, form, value};

/// Add this number to this cell, as soon as a step has filled its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The column.
    pub column: ColumnId,
    /// Index of the cell in the padded column.
    pub cell: usize,
    /// What is added.
    pub delta: i64,
}

/// The first column whose name ends like this.
pub fn column(circuit: &Circuit, suffix: &str) -> ColumnId {
    let index = circuit.columns.iter().position(|c| c.name.ends_with(suffix));
    ColumnId(index.unwrap_or_else(|| panic!("no column {suffix}")) as u32)
}

/// Runs all steps without any range check and makes the changes on the way: later steps see changed cells.
/// Numbers beyond 32 bits are reduced modulo `P`, arguments outside a table's domain give zero, and a
/// quotient by zero is zero. Multiplicities are left empty.
pub fn replay(
    circuit: &Circuit,
    program: &Program,
    data: &Data,
    inputs: &[Vec<i32>],
    changes: &[Change],
) -> Trace {
    replay_listed(circuit, program, data, (inputs, &[]), changes)
}

/// The same for a program with lists; those that are given stay as they are, also where the program computes
/// them, unless they are empty.
pub fn replay_listed(
    circuit: &Circuit,
    program: &Program,
    data: &Data,
    (inputs, lists): (&[Vec<i32>], &[Vec<u32>]),
    changes: &[Change],
) -> Trace {
    let mut trace = Trace::of_columns(circuit.columns.iter().map(|c| vec![0; c.shape.size()]).collect());
    trace.lists = lists.to_vec();
    for (id, cells) in fixed_columns(circuit, program, data) {
        trace.columns[id.0 as usize] = cells;
    }
    for (public, entries) in circuit.inputs.iter().zip(inputs) {
        place(circuit, &mut trace, &public.cells, entries);
    }
    for step in &circuit.steps {
        match step {
            Step::Divide { shape, value: dividend, divisor, quotient, remainder } => {
                let divisor = i128::from(*divisor);
                let all = cells(*shape, |t, c| value(circuit, &trace, dividend, *shape, t, c));
                store(&mut trace, *quotient, all.iter().map(|v| v.div_euclid(divisor)), changes);
                if let Some(remainder) = remainder {
                    // The remainder follows from the quotient, changed or not.
                    let quotients = trace.columns[quotient.0 as usize].clone();
                    let rest = all.iter().zip(quotients).map(|(v, q)| v - divisor * i128::from(q));
                    store(&mut trace, *remainder, rest, changes);
                }
            }
            Step::Set { shape, value, column } => {
                let all = cells(*shape, |t, c| integer(circuit, &trace, value, *shape, t, c));
                store(&mut trace, *column, all.into_iter(), changes);
            }
            Step::Map { table, input, output } => {
                let values = &data.tables[table.0 as usize];
                let half = values.len() as i64 / 2;
                let look_up = |&x: &i32| {
                    let row = usize::try_from(i64::from(x) + half).ok();
                    i128::from(row.and_then(|row| values.get(row)).copied().unwrap_or(0))
                };
                let all: Vec<i128> = trace.columns[input.0 as usize].iter().map(look_up).collect();
                store(&mut trace, *output, all.into_iter(), changes);
            }
            Step::MapForm { table, shape, input, output, .. } => {
                let values = &data.tables[table.0 as usize];
                let all = cells(*shape, |t, c| {
                    let row = usize::try_from(form(circuit, &trace, input, *shape, t, c)).ok();
                    i128::from(row.and_then(|row| values.get(row)).copied().unwrap_or(0))
                });
                store(&mut trace, *output, all.into_iter(), changes);
            }
            Step::Magnitude { input, output } => {
                let shape = circuit.column(*output).shape;
                let all = cells(shape, |t, c| i128::from(trace.cell(*input, cell(shape, t, c))).abs());
                store(&mut trace, *output, all.into_iter(), changes);
            }
            Step::RowMax { columns, output } => {
                let shape = circuit.column(*output).shape;
                let all = cells(shape, |t, _| {
                    let lists = &trace.lists;
                    let row = columns.iter().flat_map(|&(id, hidden)| {
                        let own = circuit.column(id).shape;
                        let counts = move |c: &usize| hidden.is_none_or(|set| !set.contains(lists, t, *c));
                        (0..own.cols as usize).filter(counts).map(move |c| (id, cell(own, t, c)))
                    });
                    row.map(|(id, at)| i128::from(trace.columns[id.0 as usize][at])).max().unwrap_or(0)
                });
                store(&mut trace, *output, all.into_iter(), changes);
            }
            Step::Gather(index) => {
                let gather = &circuit.gathers[*index];
                let shape = circuit.column(gather.output).shape;
                let rows = gather.rows.list(&trace.lists);
                let all = cells(shape, |t, c| {
                    let row = rows[t.min(rows.len() - 1)];
                    let blocks = gather.source.iter().filter(|(first, _)| *first <= row);
                    let &(first, source) =
                        blocks.max_by_key(|(first, _)| *first).expect("a block for every row");
                    let own = circuit.column(source).shape;
                    trace.columns[source.0 as usize][cell(own, (row - first) as usize, c)].into()
                });
                store(&mut trace, gather.output, all.into_iter(), changes);
            }
            Step::Best { blocks, list, high, low, bits, offset } => {
                let shape = circuit.column(*high).shape;
                let best: Vec<(i128, u32)> = (0..1usize << shape.log_rows())
                    .map(|t| {
                        let mut best = (i128::MIN, 0);
                        for (first, cells, logits) in blocks {
                            for n in 0..cells.cols {
                                let v = value(circuit, &trace, logits, *cells, t, n as usize);
                                // A cheating prover claims the listed channel to be the best.
                                let listed = trace.lists[*list].get(t).or(trace.lists[*list].last());
                                let better = match listed {
                                    Some(&entry) => entry == first + n,
                                    None => v > best.0,
                                };
                                if better {
                                    best = (v, first + n);
                                }
                            }
                        }
                        best
                    })
                    .collect();
                let shifted: Vec<i128> = best.iter().map(|(v, _)| v + i128::from(*offset)).collect();
                store(&mut trace, *high, shifted.iter().map(|v| v >> bits), changes);
                store(&mut trace, *low, shifted.iter().map(|v| v & ((1 << bits) - 1)), changes);
                trace.lists[*list] = best[..shape.rows as usize].iter().map(|b| b.1).collect();
            }
            Step::Wire(index) => {
                let wiring = &circuit.wirings[*index];
                let entries = read(circuit, &trace, &wiring.from);
                place(circuit, &mut trace, &wiring.to, &entries);
                for placement in &wiring.to {
                    let all: Vec<i128> =
                        trace.columns[placement.column.0 as usize].iter().map(|&v| v.into()).collect();
                    store(&mut trace, placement.column, all.into_iter(), changes);
                }
            }
        }
    }
    trace
}

fn cells(shape: Shape, f: impl Fn(usize, usize) -> i128) -> Vec<i128> {
    let (rows, cols) = (1usize << shape.log_rows(), 1usize << shape.log_cols());
    (0..rows * cols).map(|i| f(i / cols, i % cols)).collect()
}

fn store(trace: &mut Trace, id: ColumnId, values: impl Iterator<Item = i128>, changes: &[Change]) {
    let column: Vec<i32> = values
        .enumerate()
        .map(|(i, v)| {
            let here = changes.iter().filter(|c| c.column == id && c.cell == i);
            let v = v + here.map(|c| i128::from(c.delta)).sum::<i128>();
            i32::try_from(v).unwrap_or(v.rem_euclid((1 << 31) - 1) as i32)
        })
        .collect();
    trace.columns[id.0 as usize] = column;
}

fn integer(circuit: &Circuit, trace: &Trace, expression: &Int, shape: Shape, t: usize, c: usize) -> i128 {
    let both = |pair: &[Int; 2]| {
        (integer(circuit, trace, &pair[0], shape, t, c), integer(circuit, trace, &pair[1], shape, t, c))
    };
    match expression {
        Int::Value(v) => value(circuit, trace, v, shape, t, c),
        Int::Add(pair) => {
            let (x, y) = both(pair);
            x + y
        }
        Int::Sub(pair) => {
            let (x, y) = both(pair);
            x - y
        }
        Int::Mul(pair) => {
            let (x, y) = both(pair);
            x * y
        }
        Int::Div(pair) => {
            let (x, y) = both(pair);
            x.checked_div_euclid(y).unwrap_or(0)
        }
        Int::Mod(pair) => {
            let (x, y) = both(pair);
            x.checked_rem_euclid(y).unwrap_or(0)
        }
        Int::IsZero(x) => i128::from(integer(circuit, trace, x, shape, t, c) == 0),
        Int::Root(x) => integer(circuit, trace, x, shape, t, c).max(0).isqrt(),
    }
}

fn read(circuit: &Circuit, trace: &Trace, placements: &[Placement]) -> Vec<i32> {
    let mut entries = Vec::new();
    for placement in placements {
        let (rows, cols) = (placement.rows.list(), placement.cols.list());
        for (t, row) in rows.iter().enumerate() {
            for (c, col) in cols.iter().enumerate() {
                let at = (row + col) as usize;
                entries.resize(entries.len().max(at + 1), 0);
                let shape = circuit.column(placement.column).shape;
                entries[at] = trace.columns[placement.column.0 as usize][cell(shape, t, c)];
            }
        }
    }
    entries
}

fn place(circuit: &Circuit, trace: &mut Trace, placements: &[Placement], entries: &[i32]) {
    for placement in placements {
        let (rows, cols) = (placement.rows.list(), placement.cols.list());
        for (t, row) in rows.iter().enumerate() {
            for (c, col) in cols.iter().enumerate() {
                let shape = circuit.column(placement.column).shape;
                trace.columns[placement.column.0 as usize][cell(shape, t, c)] = entries[(row + col) as usize];
            }
        }
    }
}
