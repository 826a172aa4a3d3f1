//! Registration: a proof, once per key, that the committed numbers keep the bounds that the key declares.
//!
//! That no relation of a program wraps follows from declared bounds: of every entry of a constant or table, and of
//! the sum of magnitudes in every row of a weight matrix. Who made the commitment knows that they hold; everyone
//! else needs this proof. It is a proof over the same fixed tree by the same protocol, of circuits that read each
//! fixed column once:
//!
//! * an entry `w` of small bound is looked up with its magnitude `a = |w|` in a table of a closed form;
//! * for a row of a matrix, `row_l1 - sum a` is a non-negative number in limbs;
//! * an entry of large bound (a bias at an accumulator's scale) is `low + limbs` and `high - limbs`.
//!
//! A large model takes several circuits, each with its own proof, so that none is larger than a usual proof.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::circuit::{
    Checked, Circuit, CircuitError, Column, ColumnId, Component, Content, Form, Int, Interval, List, Lookup,
    LookupTable, Relation, RowSum, Shape, Step, Tree, Value,
};
use crate::field::P;
use crate::key::Statement;
use crate::program::Program;

/// Lookups of one circuit, unless a single constant has more.
const LOOKUPS: usize = 1 << 25;
/// Entries up to this are looked up with their magnitude.
const SMALL: i64 = (1 << 15) - 1;
/// Entries stay below this.
const LARGE: i64 = 1 << 28;
/// Bits of a limb.
const LIMB: u32 = 15;
/// Most circuits of a key.
const CIRCUITS: u32 = 1 << 12;

/// The circuits whose proofs together register a program's numbers.
pub fn circuits(program: &Program) -> Checked<Vec<Circuit>> {
    let whole = Circuit::without_steps(program)?;
    let fixed = whole.columns.into_iter().filter(|column| column.tree() == Tree::Fixed);
    let fixed: Vec<Column> =
        fixed.map(|column| Column { name: name_of(program, column.content), ..column }).collect();
    let mut parts: Vec<Vec<Group<'_>>> = vec![Vec::new()];
    let mut lookups = 0;
    for group in groups(program, &fixed) {
        let size: usize = group.columns.iter().map(|(_, column)| column.shape.size()).sum();
        if lookups > 0 && lookups + size > LOOKUPS {
            parts.push(Vec::new());
            lookups = 0;
        }
        lookups += size;
        if let Some(last) = parts.last_mut() {
            last.push(group);
        }
    }
    if parts.len() >= CIRCUITS as usize {
        return Err(CircuitError::TooLarge("circuits of a registration", parts.len() as u64).into());
    }
    parts.iter().map(|groups| Draft::new(&fixed).circuit(groups)).collect()
}

/// What the program calls the numbers of a column, for people.
fn name_of(program: &Program, content: Content) -> String {
    let name = match content {
        Content::Constant { constant, .. } => program.constants.get(constant.0 as usize).map(|c| &c.name),
        Content::Table(table) => program.tables.get(table.0 as usize).map(|t| &t.name),
        _ => None,
    };
    name.cloned().unwrap_or_default()
}

/// The statement of one of several circuits.
pub fn statement(index: usize, count: usize) -> Statement {
    Statement { lists: vec![vec![index as u32, count as u32]], ..Statement::default() }
}

/// Columns that share their rows: parts of one matrix, or a single vector or table.
struct Group<'a> {
    columns: Vec<(ColumnId, &'a Column)>,
    bound: i64,
    /// The largest sum of magnitudes in a row, unless the bound of the entries implies it.
    row_l1: Option<i64>,
}

impl Group<'_> {
    fn name(&self) -> &str {
        self.columns.first().map_or("", |(_, column)| &column.name)
    }
}

fn groups<'a>(program: &Program, fixed: &'a [Column]) -> Vec<Group<'a>> {
    let mut groups: Vec<((u32, u32, u32), Group<'_>)> = Vec::new();
    for (index, column) in (0u32..).zip(fixed) {
        let member = (ColumnId(index), column);
        match column.content {
            Content::Constant { constant, row, .. } => {
                let key = (constant.0, row, column.shape.rows);
                if let Some((_, group)) = groups.iter_mut().rev().find(|(own, _)| *own == key) {
                    group.columns.push(member);
                    continue;
                }
                let Some(declared) = program.constants.get(constant.0 as usize) else { continue };
                let implied = declared.bound.saturating_mul(declared.cols.into()) <= declared.row_l1;
                let row_l1 = (!implied).then_some(declared.row_l1);
                groups.push((key, Group { columns: vec![member], bound: declared.bound, row_l1 }));
            }
            Content::Table(table) => {
                let bound = program.tables.get(table.0 as usize).map_or(0, |table| table.bound);
                groups.push(((u32::MAX, table.0, 0), Group { columns: vec![member], bound, row_l1: None }));
            }
            Content::Trace | Content::Multiplicity(_) | Content::State | Content::Past => {}
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// A circuit over the fixed columns of another.
struct Draft {
    circuit: Circuit,
    ranges: Vec<(u32, u32)>,
    magnitudes: Vec<(u32, u32)>,
}

impl Draft {
    fn new(fixed: &[Column]) -> Self {
        let lists = vec![List { len: 2, limit: CIRCUITS }];
        let circuit = Circuit { columns: fixed.to_vec(), lists, ..Circuit::default() };
        Self { circuit, ranges: Vec::new(), magnitudes: Vec::new() }
    }

    fn circuit(mut self, groups: &[Group<'_>]) -> Checked<Circuit> {
        for group in groups {
            if group.bound <= SMALL {
                self.small(group);
            } else if group.bound < LARGE && group.row_l1.is_none() {
                for &(id, column) in &group.columns {
                    self.large(id, column, group.bound);
                }
            } else {
                return Err(CircuitError::Malformed(format!(
                    "{}: entries beyond 2^28, or beyond 2^15 with a bound on sums, cannot be registered",
                    group.name()
                ))
                .into());
            }
        }
        self.circuit.check()?;
        Ok(self.circuit)
    }

    fn column(&mut self, name: String, shape: Shape, bound: Interval, content: Content) -> ColumnId {
        self.circuit.columns.push(Column { name, shape, bound, content });
        ColumnId(self.circuit.columns.len() as u32 - 1)
    }

    fn table(&mut self, name: String, bits: u32, components: Vec<Component>) -> u32 {
        let index = self.circuit.tables.len() as u32;
        let bound = Interval { low: 0, high: i64::from(P) - 1 };
        let shape = Shape { rows: 1, cols: 1 << bits };
        let multiplicity =
            self.column(format!("{name}.multiplicity"), shape, bound, Content::Multiplicity(index));
        self.circuit.tables.push(LookupTable { name, bits, components, multiplicity });
        index
    }

    /// `form` lies in `0 .. 2^bits`.
    fn range(&mut self, shape: Shape, form: Form, bits: u32) {
        let known = self.ranges.iter().find(|r| r.0 == bits).map(|r| r.1);
        let table = known.unwrap_or_else(|| {
            let table = self.table(format!("range{bits}"), bits, vec![Component::Index { low: 0 }]);
            self.ranges.push((bits, table));
            table
        });
        self.circuit.lookups.push(Lookup { shape, table, forms: vec![form] });
    }

    /// `value = sum of limbs` of `bits` bits together, all of them range-checked.
    fn limbs(&mut self, name: &str, shape: Shape, value: Value, bits: u32) {
        let (mut rest, mut done) = (Int::from(value.clone()), 0);
        let mut form = value.form.clone();
        while done < bits {
            let width = LIMB.min(bits - done);
            let limb = self.column(format!("{name}.{done}"), shape, Interval::bits(width), Content::Trace);
            self.range(shape, limb.into(), width);
            let digit = rest.clone().modulo(1 << width);
            self.circuit.steps.push(Step::Set { shape, value: digit, column: limb });
            form = form.plus(-(1 << done), limb);
            rest = rest.over(1 << width);
            done += width;
        }
        self.circuit.relations.push(Relation {
            name: String::from(name),
            op: 0,
            shape,
            value: Value { form, ..value },
            modular: false,
        });
    }

    /// Entries below `2^15`, and their sums along rows.
    fn small(&mut self, group: &Group<'_>) {
        // The least power of two above the bound.
        let log = (group.bound as u64 + 1).next_power_of_two().trailing_zeros().max(1);
        let bits = log + 1;
        let known = self.magnitudes.iter().find(|m| m.0 == bits).map(|m| m.1);
        let table = known.unwrap_or_else(|| {
            let components = vec![Component::Signed, Component::Magnitude];
            let table = self.table(format!("magnitude{bits}"), bits, components);
            self.magnitudes.push((bits, table));
            table
        });
        let mut sums = Vec::new();
        let mut rows = 1;
        for &(id, &Column { shape, ref name, .. }) in &group.columns {
            let name = format!("{name}.magnitude");
            rows = shape.rows;
            let bound = Interval { low: 0, high: (1 << log) - 1 };
            let magnitude = self.column(name, shape, bound, Content::Trace);
            self.circuit.steps.push(Step::Magnitude { input: id, output: magnitude });
            self.circuit.lookups.push(Lookup { shape, table, forms: vec![id.into(), magnitude.into()] });
            if group.bound + 1 != 1 << log {
                let slack = Form::constant(group.bound).plus(-1, magnitude);
                self.range(shape, slack, bits);
            }
            sums.push(RowSum { coefficient: -1, column: magnitude });
        }
        if let Some(row_l1) = group.row_l1 {
            let name = format!("{}.slack", group.name());
            let value = Value { sums, form: Form::constant(row_l1), ..Value::default() };
            let bits = 64 - row_l1.max(1).leading_zeros();
            self.limbs(&name, Shape { rows, cols: 1 }, value, bits);
        }
    }

    /// Entries of a large bound `B`, from both ends: `w` is congruent to a number that is at least `-B` and to one
    /// that is at most `B`. With `2^bits <= 4B` these differ by less than `6B < P`, so they are the same.
    fn large(&mut self, id: ColumnId, &Column { shape, ref name, .. }: &Column, bound: i64) {
        let bits = 64 - (2 * bound.max(1)).leading_zeros();
        for (side, sign) in [("low", 1), ("high", -1)] {
            let form = Form::constant(bound).plus(sign, id);
            self.limbs(&format!("{name}.{side}"), shape, form.into(), bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::tests::program;

    /// Up to 2^15 anything can be registered; beyond, only entries below 2^28 of which no sum is bounded.
    #[test]
    fn large_entries_have_no_bound_on_sums() {
        let registered = |weight: i64, bias: i64| {
            let mut program = program();
            let [first, second, ..] = &mut program.constants[..] else { unreachable!("it has four") };
            (first.bound, first.row_l1) = (weight, weight.max(620));
            // No less than it could be.
            (second.bound, second.row_l1) = (bias, bias * i64::from(second.cols));
            circuits(&program).map(|circuits| circuits.len()).map_err(|error| error.to_string())
        };
        let refused = |weight, bias| registered(weight, bias).unwrap_err().contains("cannot be registered");
        assert_eq!(registered(SMALL, SMALL), Ok(1));
        assert_eq!(registered(31, LARGE - 1), Ok(1));
        assert!(refused(31, LARGE));
        assert!(refused(SMALL + 1, 1000));
    }
}
