//! A naive checker of traces, from the documentation of [`circlet_core::circuit`]: evaluates every lookup,
//! relation, wiring, gather and pick cell by cell.

use std::collections::BTreeMap;

use circlet::execute::Trace;
use circlet_core::circuit::{
    Circuit, ColumnId, Component, Content, Form, Indicator, Kind, Placement, Positions, Product, Rows, Shape,
    Value,
};

/// The field's characteristic.
const P: i128 = (1 << 31) - 1;

/// Which cells to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// Real ones.
    Real,
    /// Real ones and padding.
    All,
}

/// Everything wrong with a trace, in real cells and in padding. What holds modulo `P` but not over the
/// integers is reported too; then the message starts with `integers only`.
pub fn violations(circuit: &Circuit, trace: &Trace) -> Vec<String> {
    let mut found = constraint_violations(circuit, trace, Cells::All);
    found.extend(multiplicity_violations(circuit, trace));
    found
}

/// What a proof could still notice if the prover counts multiplicities anew, fills padding as it likes, and
/// needs identities modulo `P` only.
pub fn provable_violations(circuit: &Circuit, trace: &Trace) -> Vec<String> {
    let mut found = constraint_violations(circuit, trace, Cells::Real);
    found.retain(|v| !v.starts_with("integers only"));
    found
}

/// Lookups, relations, wirings, gathers and picks that fail.
pub fn constraint_violations(circuit: &Circuit, trace: &Trace, cells: Cells) -> Vec<String> {
    let mut found = Vec::new();
    for (index, lookup) in circuit.lookups.iter().enumerate() {
        for (t, c) in coordinates(lookup.shape, cells) {
            let row: Vec<i128> =
                lookup.forms.iter().map(|f| form(circuit, trace, f, lookup.shape, t, c)).collect();
            if row_of(circuit, trace, lookup.table, &row).is_none() {
                let table = &circuit.tables[lookup.table as usize].name;
                found.push(format!("lookup {index} in {table} at ({t}, {c}): {row:?} is no row"));
            }
        }
    }
    for (index, relation) in circuit.relations.iter().enumerate() {
        let name = &relation.name;
        for (t, c) in coordinates(relation.shape, cells) {
            let v = value(circuit, trace, &relation.value, relation.shape, t, c);
            if v % P != 0 {
                found.push(format!("relation {name} at ({t}, {c}): {v} in {index}"));
            } else if v != 0 {
                found.push(format!("integers only: relation {name} at ({t}, {c}): {v} in {index}"));
            }
        }
    }
    for (index, wiring) in circuit.wirings.iter().enumerate() {
        let (from, to) = (sequence(circuit, trace, &wiring.from), sequence(circuit, trace, &wiring.to));
        for position in from.keys().chain(to.keys()) {
            match (from.get(position), to.get(position)) {
                (Some(x), Some(y)) if (x - y) % P == 0 => {}
                pair => found.push(format!("wiring {index} at {position}: {pair:?}")),
            }
        }
    }
    for (index, gather) in circuit.gathers.iter().enumerate() {
        let shape = circuit.columns[gather.output.0 as usize].shape;
        let rows: Vec<u32> = match &gather.rows {
            Rows::Listed(list) => trace.lists[*list].clone(),
            Rows::Given(rows) => rows.clone(),
        };
        for (t, c) in coordinates(shape, cells) {
            let row = rows[t.min(rows.len() - 1)];
            let sources = gather.source.iter().filter(|(first, _)| *first <= row);
            let &(first, source) = sources.max_by_key(|(first, _)| *first).expect("blocks begin at row zero");
            let own = circuit.columns[source.0 as usize].shape;
            let from = trace.cell(source, cell(own, (row - first) as usize, c));
            let to = trace.cell(gather.output, cell(shape, t, c));
            if (i128::from(from) - i128::from(to)) % P != 0 {
                found.push(format!("gather {index} at ({t}, {c}): {from} became {to}"));
            }
        }
    }
    for (index, pick) in circuit.picks.iter().enumerate() {
        for (t, _) in coordinates(Shape { rows: pick.rows, cols: 1 }, cells) {
            let list = &trace.lists[pick.list];
            let entry = list[t.min(list.len() - 1)];
            let blocks = pick.blocks.iter().filter(|(first, _)| *first <= entry);
            let (first, terms) =
                blocks.max_by_key(|(first, _)| *first).expect("blocks begin at channel zero");
            let at = |id: ColumnId| {
                let own = circuit.columns[id.0 as usize].shape;
                i128::from(trace.cell(id, cell(own, t, (entry - first) as usize)))
            };
            let sum: i128 = terms.iter().map(|&(c, id)| i128::from(c) * at(id)).sum();
            if sum % P != 0 {
                found.push(format!("pick {index} at row {t}: {sum}"));
            }
        }
    }
    found
}

/// Rows of tables whose multiplicity is not the number of lookups that hit them.
pub fn multiplicity_violations(circuit: &Circuit, trace: &Trace) -> Vec<String> {
    let mut counts: Vec<Vec<i128>> = circuit.tables.iter().map(|t| vec![0; 1 << t.bits]).collect();
    for lookup in &circuit.lookups {
        for (t, c) in coordinates(lookup.shape, Cells::All) {
            let row: Vec<i128> =
                lookup.forms.iter().map(|f| form(circuit, trace, f, lookup.shape, t, c)).collect();
            if let Some(index) = row_of(circuit, trace, lookup.table, &row) {
                counts[lookup.table as usize][index] += 1;
            }
        }
    }
    let mut found = Vec::new();
    for (table, counts) in circuit.tables.iter().zip(counts) {
        let claimed = &trace.columns[table.multiplicity.0 as usize];
        for (row, count) in counts.into_iter().enumerate() {
            if (count - i128::from(claimed[row])) % P != 0 {
                found.push(format!("row {row} of {} is used {count} times", table.name));
            }
        }
    }
    found
}

/// The real cells of all columns that an honest prover has no choice in: results of steps, without the
/// public inputs (the statement has those) and without multiplicities.
pub fn witness_cells(circuit: &Circuit) -> Vec<(ColumnId, usize)> {
    let inputs: Vec<ColumnId> = circuit.inputs.iter().flat_map(|p| &p.cells).map(|p| p.column).collect();
    let mut cells = Vec::new();
    for (index, column) in circuit.columns.iter().enumerate() {
        let id = ColumnId(index as u32);
        if column.content == Content::Trace && !inputs.contains(&id) {
            let real = coordinates(column.shape, Cells::Real);
            cells.extend(real.into_iter().map(|(t, c)| (id, cell(column.shape, t, c))));
        }
    }
    cells
}

/// Index of a cell in a padded column.
pub fn cell(shape: Shape, t: usize, c: usize) -> usize {
    t * (shape.cols as usize).next_power_of_two() + c
}

fn coordinates(shape: Shape, cells: Cells) -> Vec<(usize, usize)> {
    let extent = |len: u32| match cells {
        Cells::Real => len as usize,
        Cells::All => (len as usize).next_power_of_two(),
    };
    (0..extent(shape.rows)).flat_map(|t| (0..extent(shape.cols)).map(move |c| (t, c))).collect()
}

/// The row of a table that equals a tuple modulo `P`.
fn row_of(circuit: &Circuit, trace: &Trace, table: u32, tuple: &[i128]) -> Option<usize> {
    let table = &circuit.tables[table as usize];
    if tuple.len() != table.components.len() {
        return None;
    }
    // Every table has an index, which leaves one candidate.
    let row = table.components.iter().zip(tuple).find_map(|(component, v)| match component {
        Component::Index { low } => Some((v - i128::from(*low)).rem_euclid(P)),
        // Row zero of a signed table repeats row one.
        Component::Signed => Some((v + (1 << table.bits) / 2).rem_euclid(P)),
        Component::Unit { .. } | Component::Magnitude | Component::First(_) | Component::Column(_) => None,
    })?;
    let row = usize::try_from(row).ok().filter(|&row| row < 1 << table.bits)?;
    let equal = table.components.iter().zip(tuple).all(|(component, v)| {
        let own = match component {
            Component::Index { low } => i128::from(*low) + row as i128,
            Component::Unit { at } => i128::from(row == *at as usize),
            Component::Signed => row.max(1) as i128 - (1 << table.bits) / 2,
            Component::Magnitude => (row.max(1) as i128 - (1 << table.bits) / 2).abs(),
            Component::First(id) => {
                let len = circuit.columns[id.0 as usize].shape.cols as usize;
                if row < len { i128::from(trace.cell(*id, row)) } else { 0 }
            }
            Component::Column(id) => i128::from(trace.cell(*id, row)),
        };
        (v - own) % P == 0
    });
    equal.then_some(row)
}

/// A linear form over a shape, in one cell.
pub fn form(circuit: &Circuit, trace: &Trace, form: &Form, shape: Shape, t: usize, c: usize) -> i128 {
    let mut sum = i128::from(form.constant);
    for &(coefficient, id) in &form.terms {
        let own = circuit.columns[id.0 as usize].shape;
        // A shorter column is repeated, of a longer one the first entries are read.
        let wrap = |index: usize, own: u32, all: u32| if own == all { index } else { index % own as usize };
        let (row, col) = (wrap(t, own.rows, shape.rows), wrap(c, own.cols, shape.cols));
        sum += i128::from(coefficient) * i128::from(trace.cell(id, cell(own, row, col)));
    }
    for &(coefficient, set) in &form.indicators {
        let listed = |list: usize| {
            let entries = &trace.lists[list];
            entries[t.min(entries.len() - 1)] as usize
        };
        let inside = match set {
            Indicator::Future { log, past } => c > past as usize + t % (1 << log),
            Indicator::Below { list, first } => first as usize + c < listed(list),
            Indicator::Beyond { cols } => c >= cols as usize,
        };
        sum += i128::from(coefficient) * i128::from(inside);
    }
    sum
}

/// A value over a shape, in one cell.
pub fn value(circuit: &Circuit, trace: &Trace, value: &Value, shape: Shape, t: usize, c: usize) -> i128 {
    let mut total = form(circuit, trace, &value.form, shape, t, c);
    for sum in &value.sums {
        let own = circuit.columns[sum.column.0 as usize].shape;
        for k in 0..own.cols as usize {
            let entry = trace.cell(sum.column, cell(own, t, k));
            total += i128::from(sum.coefficient) * i128::from(entry);
        }
    }
    for p in &value.products {
        total += i128::from(p.coefficient) * product(circuit, trace, p, t, c);
    }
    total
}

fn product(circuit: &Circuit, trace: &Trace, product: &Product, t: usize, n: usize) -> i128 {
    let flip = |c: usize| product.flip.map_or(c, |bit| c ^ 1 << bit);
    let a = |t, c| form(circuit, trace, &product.a, product.a_shape, t, flip(c));
    let b = |t, c| form(circuit, trace, &product.b, product.b_shape, t, c);
    let len = product.a_shape.cols as usize;
    // Rows `h T + t` of heads of `T` rows.
    let all_rows = (product.a_shape.rows as usize).next_power_of_two();
    let group = |tokens: usize| product.groups[t / tokens] as usize;
    match product.kind {
        Kind::Entrywise => a(t, n) * b(t, n),
        Kind::RowDot => (0..len).map(|c| a(t, c) * b(t, c)).sum(),
        Kind::Contract => (0..len).map(|k| a(t, k) * b(n, k)).sum(),
        Kind::ContractTransposed => (0..len).map(|k| a(t, k) * b(k, n)).sum(),
        Kind::ToHeads { channels } => {
            let (tokens, head) = (product.a_shape.rows as usize, t / product.a_shape.rows as usize);
            (0..len).map(|k| a(t % tokens, k) * b((head << channels) + n, k)).sum()
        }
        Kind::FromHeads { tokens } => {
            let heads = product.a_shape.rows as usize >> tokens;
            let head = |h: usize| (0..len).map(|c| a((h << tokens) + t, c) * b(n, h * len + c)).sum::<i128>();
            (0..heads).map(head).sum()
        }
        Kind::Scores { group: rows } => {
            let first = group(all_rows / product.groups.len()) << rows;
            (0..len).map(|c| a(t, c) * b(first + n, c)).sum()
        }
        Kind::Mix { group: rows } => {
            let first = group(all_rows / product.groups.len()) << rows;
            (0..len).map(|j| a(t, j) * b(first + j, n)).sum()
        }
    }
}

/// Position of entry `index` of an axis: its mixed-radix digits, most significant first, times their strides.
fn position(positions: &Positions, index: u32) -> u64 {
    let mut rest = u64::from(positions.skip + index);
    let mut at = 0;
    for digit in positions.digits.iter().rev() {
        at += rest % u64::from(digit.len) * digit.stride;
        rest /= u64::from(digit.len);
    }
    at
}

/// The numbers that cells place in a sequence.
fn sequence(circuit: &Circuit, trace: &Trace, cells: &[Placement]) -> BTreeMap<u64, i128> {
    let mut found = BTreeMap::new();
    for placement in cells {
        let shape = circuit.columns[placement.column.0 as usize].shape;
        for t in 0..placement.rows.take {
            for c in 0..placement.cols.take {
                let at = position(&placement.rows, t) + position(&placement.cols, c);
                let v = trace.cell(placement.column, cell(shape, t as usize, c as usize));
                let previous = found.insert(at, i128::from(v));
                assert!(previous.is_none(), "two cells at position {at}");
            }
        }
    }
    found
}
