//! The vocabulary in which ops are defined.

mod moves;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{
    Checked, CircuitError, Column, ColumnId, Columns, Component, Content, Declared, Form, Int, Interval,
    Kind, List, Looked, LookupTable, Name, Product, Public, Reader, Relation, Shape, Step, Value, written,
};
use crate::limits;
use crate::program::{Constant, ConstantId, Op, Program, Requantize, Table, TableId, Tensor, TensorId, WIDE};

/// Dyadic blocks of a channel axis of `len` entries: `(offset, len)` each, at most two. A length that is not
/// a power of two becomes its largest power of two and the rest, unless the padded rest is as large.
pub fn split(len: u32) -> Vec<(u32, u32)> {
    let high = if len == 0 { 1 } else { 1 << len.ilog2() };
    let rest = len - high.min(len);
    if rest == 0 || rest.next_power_of_two() >= high { vec![(0, len)] } else { vec![(0, high), (high, rest)] }
}

/// Blocks of the channels of a wide tensor: like [`split`], but of at most 1024 channels, so that sums of squares
/// of limbs fit the field.
pub fn split_wide(len: u32) -> Vec<(u32, u32)> {
    const MOST: u32 = 1 << 10;
    if len <= MOST {
        return split(len);
    }
    let whole = len / MOST;
    let rest = split(len % MOST).into_iter().filter(|block| block.1 > 0);
    let shifted = rest.map(|(offset, cols)| (whole * MOST + offset, cols));
    (0..whole).map(|k| (k * MOST, MOST)).chain(shifted).collect()
}

/// Bits of a distance.
const DISTANCE: u32 = 16;

/// How the circuit holds a block of a tensor's channels.
#[derive(Clone, Copy, Debug)]
enum Block {
    /// One column.
    Narrow(ColumnId),
    /// `1024 high + low`.
    Wide(Limbs),
}

/// The two columns of a block of a wide tensor: `1024 high + low` with ten bits each, `high` signed.
#[derive(Clone, Copy, Debug)]
pub struct Limbs {
    /// Multiples of 1024.
    pub high: ColumnId,
    /// The rest.
    pub low: ColumnId,
}

impl Limbs {
    /// Bits of the lower limb.
    pub const LOW: u32 = 10;

    /// The number they stand for.
    pub fn form(self) -> Form {
        Form::from(self.low).plus(1 << Self::LOW, self.high)
    }
}

/// Cuts of a piece of their list.
const PIECE: usize = 64;

/// A part of a constant, from a row and column on.
#[derive(Clone, Copy, Debug)]
struct Cut {
    row: u32,
    col: u32,
    column: ColumnId,
    /// Another part of the same constant.
    before: Option<u16>,
}

/// What the circuit has of a table of the program.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Its values.
    values: ColumnId,
    /// The lookup table of [`Builder::map`].
    map: Option<u32>,
    /// The lookup table of [`Builder::distance`].
    distance: Option<u32>,
}

/// Goes through all parts of the circuit of a program. Only who will execute it needs names and steps.
pub(super) fn spell_out(
    program: &Program,
    executable: bool,
    columns: Columns,
    reader: &mut dyn Reader,
) -> Checked<Declared> {
    let mut builder = Builder::new(program, executable, columns, reader)?;
    for (index, op) in (0..).zip(&program.ops) {
        builder.begin(index, op);
        crate::ops::define(&mut builder, op)?;
        builder.affordable()?;
    }
    builder.finish()
}

/// Collects what is declared while ops are being defined, and passes their parts on.
pub struct Builder<'p> {
    program: &'p Program,
    reader: &'p mut dyn Reader,
    declared: Declared,
    /// Blocks of each tensor with their channel offsets; empty before it is produced.
    tensors: Vec<Vec<(u32, Block)>>,
    /// The rectangle of each constant that was asked for last.
    rectangles: Vec<Option<u16>>,
    /// All rectangles, with the one of the same constant before.
    /// In pieces, so that none of them is ever copied.
    cut: Vec<Vec<Cut>>,
    cuts: usize,
    tables: Vec<Held>,
    /// Consecutive rows of constants: the constant, the first row, how many, and the column. An attention has two of them
    /// among a score of columns, so there are too few for a search to take long.
    stretches: Vec<((ConstantId, u32, u32), ColumnId)>,
    ranges: Vec<(u32, u32)>,
    gathers: usize,
    wirings: usize,
    picks: usize,
    /// Rows that gathers name so far, once for each block that they may lie in.
    listed: u64,
    /// Index and name of the op that is being defined.
    op: u32,
    scope: &'static str,
    /// Whether anyone will fill the trace.
    executable: bool,
}

impl<'p> Builder<'p> {
    fn new(
        program: &'p Program,
        executable: bool,
        mut columns: Columns,
        reader: &'p mut dyn Reader,
    ) -> Checked<Self> {
        columns.again();
        for tensor in &program.tensors {
            extent_ok(&tensor.name, tensor.rows, tensor.cols, tensor.bound, limits::LOG_ENTRIES)?;
        }
        for constant in &program.constants {
            extent_ok(&constant.name, constant.rows, constant.cols, constant.bound, limits::LOG_CONSTANT)?;
            if constant.row_l1 < 0 {
                return Err(CircuitError::Malformed(format!("{}: negative norm", constant.name)).into());
            }
        }
        for table in &program.tables {
            if !(1..=20).contains(&table.bits) || !(0..1 << 30).contains(&table.bound) {
                return Err(CircuitError::Malformed(format!("table {}: bits or bound", table.name)).into());
            }
        }
        let mut builder = Self {
            program,
            reader,
            declared: Declared { columns, ..Declared::default() },
            tensors: vec![Vec::new(); program.tensors.len()],
            rectangles: vec![None; program.constants.len()],
            cut: Vec::new(),
            cuts: 0,
            tables: Vec::with_capacity(program.tables.len()),
            stretches: Vec::new(),
            ranges: Vec::new(),
            gathers: 0,
            wirings: 0,
            picks: 0,
            listed: 0,
            op: 0,
            scope: "input",
            executable,
        };
        for list in &program.lists {
            if list.len == 0 || list.len > limits::EXTENT || list.limit > limits::EXTENT {
                return Err(CircuitError::Malformed(format!("list {}: length or limit", list.name)).into());
            }
            builder.declared.lists.push(List { len: list.len, limit: list.limit });
        }
        // All tables have their place, whether this program looks anything up in them or not: programs of one
        // family share a commitment.
        for (index, table) in (0u32..).zip(&program.tables) {
            let shape = Shape { rows: 1, cols: 1 << table.bits };
            let content = Content::Table(TableId(index));
            let values = builder.column(&table.name, shape, Interval::symmetric(table.bound), content);
            builder.tables.push(Held { values, map: None, distance: None });
        }
        if program.inputs.len() > limits::PARTS || program.outputs.len() > limits::PARTS {
            return Err(CircuitError::Malformed(String::from("too many public tensors")).into());
        }
        for &id in &program.inputs {
            builder.produce(id)?;
            builder.affordable()?;
            let public = builder.public(id)?;
            builder.declared.inputs.push(public);
        }
        Ok(builder)
    }

    /// An op makes few columns, and lists no longer than they are, so a look after each op keeps memory small
    /// for any program.
    fn affordable(&self) -> Checked<()> {
        let columns = &self.declared.columns;
        if columns.len() > limits::PARTS || columns.cells() > limits::CELLS {
            let (columns, cells) = (limits::PARTS, limits::CELLS);
            return Err(
                CircuitError::Malformed(format!("more than {columns} columns or {cells} cells")).into()
            );
        }
        if self.listed > limits::WEIGHED {
            return Err(CircuitError::TooLarge("entries of lists", self.listed).into());
        }
        Ok(())
    }

    fn begin(&mut self, index: u32, op: &Op) {
        (self.op, self.scope) = (index, op.name());
        self.reader.op();
    }

    fn finish(mut self) -> Checked<Declared> {
        if self.program.outputs.is_empty() && self.picks == 0 {
            return Err(CircuitError::Malformed(String::from("no outputs")).into());
        }
        for &id in &self.program.outputs {
            let public = self.public(id)?;
            self.declared.outputs.push(public);
        }
        Ok(self.declared)
    }

    fn public(&self, id: TensorId) -> Checked<Public> {
        let Tensor { rows, cols, bound, .. } = *self.tensor(id)?;
        let cells = self.in_row_order(id)?;
        Ok(Public { rows, cols, bound, cells })
    }

    /// An error about the op being defined.
    pub fn refuse(&self, reason: &str) -> Box<CircuitError> {
        CircuitError::Refused { op: format!("{}.{}", self.scope, self.op), reason: String::from(reason) }
            .into()
    }

    /// A tensor of the program.
    pub fn tensor(&self, id: TensorId) -> Checked<&'p Tensor> {
        self.program.tensors.get(id.0 as usize).ok_or_else(|| self.refuse("unknown tensor"))
    }

    /// A constant of the program.
    pub fn constant(&self, id: ConstantId) -> Checked<&'p Constant> {
        self.program.constants.get(id.0 as usize).ok_or_else(|| self.refuse("unknown constant"))
    }

    fn held(&self, id: TensorId) -> Checked<&[(u32, Block)]> {
        let tensor = self.tensor(id)?;
        match self.tensors.get(id.0 as usize) {
            Some(blocks) if !blocks.is_empty() => Ok(blocks),
            _ => Err(self.refuse(&format!("tensor {} is used before it is produced", tensor.name))),
        }
    }

    /// The columns of a tensor that an earlier op produced, with their channel offsets.
    pub fn blocks(&self, id: TensorId) -> Checked<Vec<(u32, ColumnId)>> {
        self.held(id)?
            .iter()
            .map(|&(offset, block)| match block {
                Block::Narrow(column) => Ok((offset, column)),
                Block::Wide(_) => Err(self.refuse("takes no wide tensor here")),
            })
            .collect()
    }

    /// The limbs of a wide tensor that an earlier op produced, with their channel offsets.
    pub fn wide_blocks(&self, id: TensorId) -> Checked<Vec<(u32, Limbs)>> {
        self.held(id)?
            .iter()
            .map(|&(offset, block)| match block {
                Block::Wide(limbs) => Ok((offset, limbs)),
                Block::Narrow(_) => Err(self.refuse("takes only a wide tensor here")),
            })
            .collect()
    }

    /// The blocks in which a tensor lies: channel offset and number of channels.
    pub fn layout(&self, id: TensorId) -> Checked<Vec<(u32, u32)>> {
        let cols = |block: &Block| match block {
            Block::Narrow(column) => self.shape(*column).cols,
            Block::Wide(limbs) => self.shape(limbs.high).cols,
        };
        Ok(self.held(id)?.iter().map(|(at, block)| (*at, cols(block))).collect())
    }

    /// Whether an earlier op produced this as a wide tensor.
    pub fn is_wide(&self, id: TensorId) -> bool {
        matches!(self.tensors.get(id.0 as usize).and_then(|b| b.first()), Some((_, Block::Wide(_))))
    }

    fn unproduced(&self, id: TensorId) -> Checked<&'p Tensor> {
        let tensor = self.tensor(id)?;
        if self.tensors.get(id.0 as usize).is_some_and(|blocks| !blocks.is_empty()) {
            return Err(self.refuse(&format!("tensor {} is produced twice", tensor.name)));
        }
        Ok(tensor)
    }

    fn hold(&mut self, id: TensorId, blocks: Vec<(u32, Block)>) {
        if let Some(held) = self.tensors.get_mut(id.0 as usize) {
            *held = blocks;
        }
    }

    /// Declares the columns of a tensor that the current op produces.
    pub fn produce(&mut self, id: TensorId) -> Checked<Vec<(u32, ColumnId)>> {
        let cols = self.unproduced(id)?.cols;
        self.produce_blocks(id, split(cols))
    }

    /// The same in blocks of the op's choice, which cover the channels.
    pub fn produce_blocks(&mut self, id: TensorId, blocks: Vec<(u32, u32)>) -> Checked<Vec<(u32, ColumnId)>> {
        let tensor = self.unproduced(id)?;
        let blocks: Vec<(u32, ColumnId)> = blocks
            .into_iter()
            .map(|(offset, cols)| {
                let shape = Shape { rows: tensor.rows, cols };
                (offset, self.column(&tensor.name, shape, Interval::symmetric(tensor.bound), Content::Trace))
            })
            .collect();
        self.hold(id, blocks.iter().map(|&(at, column)| (at, Block::Narrow(column))).collect());
        Ok(blocks)
    }

    /// Declares the limbs of a wide tensor that the current op produces, with their range checks.
    pub fn produce_wide(&mut self, id: TensorId) -> Checked<Vec<(u32, Limbs)>> {
        let tensor = self.unproduced(id)?;
        if tensor.bound != WIDE {
            return Err(self.refuse(&format!("a wide tensor has the bound {WIDE}")));
        }
        let blocks: Vec<(u32, Limbs)> = split_wide(tensor.cols)
            .into_iter()
            .map(|(offset, cols)| {
                let shape = Shape { rows: tensor.rows, cols };
                let half = WIDE >> Limbs::LOW;
                let range = Interval { low: -half, high: half - 1 };
                let high = self.ranged(&format_args!("high{offset}"), shape, range);
                let low = self.ranged(&format_args!("low{offset}"), shape, Interval::bits(Limbs::LOW));
                (offset, Limbs { high, low })
            })
            .collect();
        self.hold(id, blocks.iter().map(|&(at, limbs)| (at, Block::Wide(limbs))).collect());
        Ok(blocks)
    }

    /// `limbs = base + floor((value + half) / 2^shift)`.
    pub fn accumulate(
        &mut self,
        shape: Shape,
        mut value: Value,
        shift: u8,
        base: Option<Limbs>,
        limbs: Limbs,
    ) -> Checked<()> {
        if shift > 24 {
            return Err(self.refuse("shift above 24"));
        }
        let shift = u32::from(shift);
        if shift > 0 {
            value.form.constant += 1 << (shift - 1);
        }
        // Small enough that `2^shift summand` stays below 2^29.
        let half = 1i64 << (29 - shift).min(Limbs::LOW + 9);
        let summand = self.ranged(&"summand", shape, Interval { low: -half, high: half - 1 });
        self.shift(&"round", shape, value, shift, summand);
        let sum = base.map_or_else(Form::default, Limbs::form).plus(1, summand);
        let divisor = 1 << Limbs::LOW;
        self.step(|| Step::Divide {
            shape,
            value: sum.clone().into(),
            divisor,
            quotient: limbs.high,
            remainder: Some(limbs.low),
        });
        self.relation(&"sum", shape, sum.plus_form(limbs.form().times(-1)).into());
        Ok(())
    }

    fn cut_at(&self, place: u16) -> Option<&Cut> {
        let place = usize::from(place);
        self.cut.get(place / PIECE)?.get(place % PIECE)
    }

    /// The column that holds `rows x cols` entries of a constant from `(row, col)` on.
    pub fn rectangle(&mut self, id: ConstantId, row: u32, col: u32, shape: Shape) -> Checked<ColumnId> {
        let constant = self.constant(id)?;
        let fits = |from: u32, len: u32, all: u32| from.checked_add(len).is_some_and(|end| end <= all);
        if !fits(row, shape.rows, constant.rows) || !fits(col, shape.cols, constant.cols) {
            return Err(self.refuse(&format!("constant {} has another shape", constant.name)));
        }
        if shape.log_size() > limits::LOG_ENTRIES {
            return Err(self.refuse(&format!("a block of constant {} is too large", constant.name)));
        }
        let mut next = self.rectangles.get(id.0 as usize).copied().flatten();
        while let Some(cut) = next.and_then(|place| self.cut_at(place)) {
            if (cut.row, cut.col) == (row, col) && self.shape(cut.column) == shape {
                return Ok(cut.column);
            }
            next = cut.before;
        }
        let content = Content::Constant { constant: id, row, col };
        let column = self.column(&constant.name, shape, Interval::symmetric(constant.bound), content);
        // There are no more columns than can be counted so; an op that makes more is refused.
        if let (Some(last), Ok(place)) = (self.rectangles.get_mut(id.0 as usize), u16::try_from(self.cuts)) {
            let cut = Cut { row, col, column, before: last.replace(place) };
            if self.cuts.is_multiple_of(PIECE) {
                self.cut.push(Vec::with_capacity(PIECE));
            }
            if let Some(piece) = self.cut.last_mut() {
                piece.push(cut);
            }
            self.cuts += 1;
        }
        Ok(column)
    }

    /// Whether anyone will fill the trace, which nobody will in a build without what that takes.
    fn executable(&self) -> bool {
        cfg!(feature = "execute") && self.executable
    }

    /// A name, for who will execute the circuit.
    fn name(&self, name: Name<'_>) -> String {
        if self.executable() { written(name) } else { String::new() }
    }

    /// A name within the op that is being defined.
    fn scoped(&self, name: Name<'_>) -> String {
        self.name(&format_args!("{}.{}.{name}", self.scope, self.op))
    }

    fn column(&mut self, name: Name<'_>, shape: Shape, bound: Interval, content: Content) -> ColumnId {
        self.named(self.name(name), shape, bound, content)
    }

    fn named(&mut self, name: String, shape: Shape, bound: Interval, content: Content) -> ColumnId {
        if self.executable() {
            self.declared.names.push(name.clone());
        }
        self.reader.column(Column { name, shape, bound, content });
        self.declared.columns.declare(shape, bound, content.tree())
    }

    /// Declares a witness column; lookups on it must imply the bound.
    pub fn witness(&mut self, name: Name<'_>, shape: Shape, bound: Interval) -> ColumnId {
        let name = self.scoped(name);
        self.named(name, shape, bound, Content::Trace)
    }

    fn table(&mut self, name: String, bits: u32, components: Vec<Component>) -> u32 {
        let index = self.declared.tables.len() as u32;
        let shape = Shape { rows: 1, cols: 1 << bits };
        // A multiplicity is bounded by the number of lookups, which `check` keeps below P.
        let multiplicity = self.named(
            self.name(&format_args!("{name}.multiplicity")),
            shape,
            Interval { low: 0, high: i64::from(crate::field::P) - 1 },
            Content::Multiplicity(index),
        );
        self.declared.tables.push(LookupTable { name, bits, components, multiplicity });
        index
    }

    fn lookup(&mut self, shape: Shape, table: u32, forms: &[Form]) {
        self.reader.lookup(&self.declared, Looked { shape, table, forms });
    }

    /// `form` lies in `0 .. 2^bits` in every cell.
    pub fn range(&mut self, shape: Shape, form: &Form, bits: u32) {
        let known = self.ranges.iter().find(|r| r.0 == bits).map(|r| r.1);
        let table = known.unwrap_or_else(|| {
            let name = self.name(&format_args!("range{bits}"));
            let table = self.table(name, bits, vec![Component::Index { low: 0 }]);
            self.ranges.push((bits, table));
            table
        });
        self.lookup(shape, table, core::slice::from_ref(form));
    }

    /// `form` lies in `low ..= high` in every cell: one range check where the width is a power of two, else
    /// one from either end.
    pub fn between(&mut self, shape: Shape, mut form: Form, bound: Interval) {
        let width = (bound.high - bound.low + 1).max(1) as u64;
        let bits = width.next_power_of_two().trailing_zeros();
        form.constant -= bound.low;
        self.range(shape, &form, bits);
        if !width.is_power_of_two() {
            self.range(shape, &form.times(-1).plus_constant(bound.high - bound.low), bits);
        }
    }

    /// A new witness column with a range check.
    pub fn ranged(&mut self, name: Name<'_>, shape: Shape, bound: Interval) -> ColumnId {
        let column = self.witness(name, shape, bound);
        self.between(shape, column.into(), bound);
        column
    }

    /// `output = table[input]` in every cell, proven by lookup and filled by a step.
    pub fn map(&mut self, id: TableId, input: ColumnId, output: ColumnId) -> Checked<()> {
        let table = self.map_table(id)?;
        let shape = self.shape(input);
        self.lookup(shape, table, &[input.into(), output.into()]);
        self.step(|| Step::Map { table: id, input, output });
        Ok(())
    }

    /// A table of the program, and what the circuit has of it.
    fn program_table(&self, id: TableId) -> Checked<(&'p Table, Held)> {
        let both = self.program.tables.get(id.0 as usize).zip(self.tables.get(id.0 as usize));
        both.map(|(table, held)| (table, *held)).ok_or_else(|| self.refuse("unknown table"))
    }

    fn map_table(&mut self, id: TableId) -> Checked<u32> {
        let (table, Held { values, map, .. }) = self.program_table(id)?;
        if let Some(index) = map {
            return Ok(index);
        }
        let components = vec![Component::Index { low: table.low() }, Component::Column(values)];
        let index = self.table(self.name(&format_args!("{}", table.name)), u32::from(table.bits), components);
        if let Some(held) = self.tables.get_mut(id.0 as usize) {
            held.map = Some(index);
        }
        Ok(index)
    }

    /// `(input, output, unit)` is, in every cell, a row of the table of `2^DISTANCE` rows that begins with the values of
    /// a program table and goes on with zeros: its index, its value, and an indicator of its first row.
    pub fn distance(
        &mut self,
        id: TableId,
        shape: Shape,
        input: &Form,
        output: ColumnId,
        unit: ColumnId,
    ) -> Checked<()> {
        let (table, Held { values, distance, .. }) = self.program_table(id)?;
        if u32::from(table.bits) > DISTANCE {
            return Err(self.refuse("a table of distances has at most sixteen bits"));
        }
        let index = if let Some(index) = distance {
            index
        } else {
            let components =
                vec![Component::Index { low: 0 }, Component::First(values), Component::Unit { at: 0 }];
            let name = self.name(&format_args!("{}.distance", table.name));
            let index = self.table(name, DISTANCE, components);
            if let Some(held) = self.tables.get_mut(id.0 as usize) {
                held.distance = Some(index);
            }
            index
        };
        self.lookup(shape, index, &[input.clone(), output.into(), unit.into()]);
        self.step(|| Step::MapForm { table: id, shape, input: input.clone(), bits: DISTANCE, output });
        self.step(|| Step::Set { shape, value: Int::from(input.clone()).is_zero(), column: unit });
        Ok(())
    }

    /// Bits and bound of a table of the program.
    pub fn table_bound(&self, id: TableId) -> Checked<(u32, i64)> {
        let (table, _) = self.program_table(id)?;
        Ok((table.bits.into(), table.bound))
    }

    /// The range of a column.
    pub fn column_bound(&self, column: ColumnId) -> Interval {
        self.declared.columns.bound(column)
    }

    /// The largest magnitude in a column.
    pub fn bound(&self, column: ColumnId) -> i64 {
        let Interval { low, high } = self.declared.columns.bound(column);
        low.abs().max(high.abs())
    }

    /// `value = 0` in every cell.
    pub fn relation(&mut self, name: Name<'_>, shape: Shape, value: Value) {
        self.relate(name, shape, value, false);
    }

    /// `value = 0` modulo `P` in every cell, and nothing more: the op has another congruence and the argument that
    /// both together hold only where `value = 0`.
    pub fn congruence(&mut self, name: Name<'_>, shape: Shape, value: Value) {
        self.relate(name, shape, value, true);
    }

    fn relate(&mut self, name: Name<'_>, shape: Shape, value: Value, modular: bool) {
        let name = self.scoped(name);
        let relation = Relation { name, op: self.op, shape, value, modular };
        self.reader.relation(&self.declared, &relation);
    }

    /// Appends a step of the executor, if there is to be one.
    pub fn step(&mut self, step: impl FnOnce() -> Step) {
        if self.executable() {
            self.reader.step(step());
        }
    }

    /// `quotient = floor(value / 2^shift)`: [`divide`](Self::divide) with a range check of the remainder.
    pub fn shift(&mut self, name: Name<'_>, shape: Shape, value: Value, shift: u32, quotient: ColumnId) {
        let remainder =
            (shift > 0).then(|| self.ranged(&format_args!("{name}.remainder"), shape, Interval::bits(shift)));
        self.divide(name, shape, value, 1 << shift, (quotient, remainder));
    }

    /// The relation `value = divisor quotient + remainder`, and the step that fills both. The caller bounds them.
    pub fn divide(
        &mut self,
        name: Name<'_>,
        shape: Shape,
        mut value: Value,
        divisor: i64,
        (quotient, remainder): (ColumnId, Option<ColumnId>),
    ) {
        self.step(|| Step::Divide { shape, value: value.clone(), divisor, quotient, remainder });
        value.form.add(-divisor, quotient);
        if let Some(remainder) = remainder {
            value.form.add(-1, remainder);
        }
        self.relation(name, shape, value);
    }

    /// The rounding of an accumulator, see [`Requantize`].
    pub fn requantize(
        &mut self,
        shape: Shape,
        mut value: Value,
        requantize: Requantize,
        output: ColumnId,
    ) -> Checked<()> {
        let Requantize { shift, table } = requantize;
        let (domain, _) = self.program_table(table)?;
        if shift > 24 {
            return Err(self.refuse("requantization shift above 24"));
        }
        if shift > 0 {
            value.form.constant += 1 << (shift - 1);
        }
        let bound = Interval { low: domain.low(), high: -domain.low() - 1 };
        let quotient = self.witness(&"quotient", shape, bound);
        if u32::from(shift) + u32::from(domain.bits) > 30 {
            // `2^shift quotient + remainder` takes 2^31 values, of which the least and the greatest are equal
            // modulo P. No accumulator within the declared bounds comes near the least; without it there is
            // one quotient also where a dishonest key's constants are beyond theirs.
            let form = Form::from(quotient).plus_constant(-domain.low() - 1);
            self.range(shape, &form, domain.bits.into());
        }
        self.shift(&"requantize", shape, value, u32::from(shift), quotient);
        self.map(table, quotient, output)
    }

    /// The shape of a column.
    pub fn shape(&self, column: ColumnId) -> Shape {
        self.declared.columns.shape(column)
    }

    /// A product of two columns or forms over the same shape.
    pub fn entrywise(&self, coefficient: i64, shape: Shape, a: Form, b: Form) -> Product {
        Product { coefficient, ..Product::new(Kind::Entrywise, (a, shape), (b, shape)) }
    }
}

fn extent_ok(name: &str, rows: u32, cols: u32, bound: i64, log_most: u32) -> Checked<()> {
    if rows == 0 || cols == 0 || rows > limits::EXTENT || cols > limits::EXTENT {
        return Err(CircuitError::Malformed(format!("{name}: {rows} x {cols} entries")).into());
    }
    let shape = Shape { rows, cols };
    if shape.log_size() > log_most || !(0..1 << 30).contains(&bound) {
        return Err(CircuitError::Malformed(format!("{name}: too large")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
