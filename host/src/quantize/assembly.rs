//! A program being put together; equal tables and constants are shared.

use circlet_core::program::{
    Constant, ConstantId, Data, Op, Program, Requantize, Table, TableId, Tensor, TensorId,
};

use super::activation::{Curve, bits_for};
use super::fit::{MAX_SHIFT, half};
use super::{OpenSite, Quantized};

/// The program so far.
#[derive(Debug)]
pub struct Assembly {
    program: Program,
    data: Data,
    open: Vec<OpenSite>,
    table_bits: u8,
}

/// An accumulator, before it is rounded.
#[derive(Clone, Copy, Debug)]
pub struct Accumulator {
    /// Fraction bits.
    pub bits: i32,
    /// Largest magnitude.
    pub reach: i64,
}

impl Assembly {
    /// An empty program whose rounding tables have at most `table_bits`.
    pub fn new(table_bits: u8) -> Self {
        let program = Program {
            name: "model".into(),
            tensors: Vec::new(),
            constants: Vec::new(),
            tables: Vec::new(),
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            lists: Vec::new(),
        };
        Self { program, data: Data::default(), open: Vec::new(), table_bits }
    }

    /// The finished program.
    pub fn finish(mut self, outputs: Vec<TensorId>) -> Quantized {
        self.program.outputs = outputs;
        Quantized { program: self.program, data: self.data, open: self.open }
    }

    /// A tensor that exists.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.program.tensors[id.0 as usize]
    }

    /// A new tensor.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.program.tensors.push(tensor);
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    /// A new input.
    pub fn add_input(&mut self, tensor: Tensor) -> TensorId {
        let id = self.add_tensor(tensor);
        self.program.inputs.push(id);
        id
    }

    /// Appends an op.
    pub fn push(&mut self, op: Op) {
        self.program.ops.push(op);
    }

    /// A constant with these entries, row by row.
    pub fn constant(&mut self, name: &str, cols: usize, entries: Vec<i32>) -> ConstantId {
        let rows = entries.len() / cols.max(1);
        let magnitude = |v: &i32| i64::from(v.abs());
        let constant = Constant {
            name: name.into(),
            rows: rows as u32,
            cols: cols as u32,
            bound: entries.iter().map(magnitude).max().unwrap_or(0).max(1),
            row_l1: entries.chunks(cols.max(1)).map(|row| row.iter().map(magnitude).sum()).max().unwrap_or(0),
        };
        let same = |(c, data): (&Constant, &Vec<i32>)| {
            (c.rows, c.cols, c.bound) == (constant.rows, constant.cols, constant.bound) && *data == entries
        };
        let known = self.program.constants.iter().zip(&self.data.constants).position(same);
        let index = known.unwrap_or_else(|| {
            self.program.constants.push(constant);
            self.data.constants.push(entries);
            self.program.constants.len() - 1
        });
        ConstantId(index as u32)
    }

    /// A table of a curve, and the largest magnitude of its values.
    pub fn table(&mut self, curve: &Curve, bits: u8) -> (TableId, i64) {
        self.table_of(&curve.name(), bits, curve.values(bits))
    }

    /// A table of these `2^bits` values, and the largest magnitude of them.
    pub fn table_of(&mut self, name: &str, bits: u8, values: Vec<i32>) -> (TableId, i64) {
        let bound = values.iter().map(|v| i64::from(v.abs())).max().unwrap_or(0).max(1);
        let known = self.data.tables.iter().position(|t| *t == values);
        let index = known.unwrap_or_else(|| {
            self.program.tables.push(Table { name: name.into(), bits, bound });
            self.data.tables.push(values);
            self.program.tables.len() - 1
        });
        (TableId(index as u32), bound)
    }

    /// The rounding of an accumulator through `curve`, whose `from` and `to` are wishes: the scale of the
    /// rounded accumulator is no finer than its own and at most [`MAX_SHIFT`] bits coarser. Returns the
    /// tensor that results, of the given name and extents.
    pub fn round(
        &mut self,
        accumulator: Accumulator,
        mut curve: Curve,
        name: &str,
        (rows, cols): (u32, u32),
    ) -> (Requantize, TensorId) {
        let from = curve.from.clamp(accumulator.bits - MAX_SHIFT, accumulator.bits);
        if curve.activation.is_linear() {
            curve.to = from;
        }
        curve.from = from;
        let shift = accumulator.bits - from;
        let reach = (accumulator.reach + half(shift)) >> shift;
        let bits = bits_for(reach).min(self.table_bits);
        let covered = (1i64 << (bits - 1)) - 1;
        if curve.activation.is_linear() {
            curve.bound = curve.bound.min(covered);
        }
        if reach > covered {
            let op = self.program.ops.len();
            self.open.push(OpenSite { op, tensor: name.into(), reach, covered });
        }
        let (table, bound) = self.table(&curve, bits);
        let y =
            self.add_tensor(Tensor { name: name.into(), rows, cols, bound, fraction_bits: curve.to as i8 });
        (Requantize { shift: shift as u8, table }, y)
    }

    /// `table[x]`.
    pub fn map(&mut self, x: TensorId, curve: &Curve, name: &str) -> TensorId {
        let Tensor { rows, cols, bound, .. } = *self.tensor(x);
        let (table, bound) = self.table(curve, bits_for(bound));
        let fraction_bits = curve.to as i8;
        let y = self.add_tensor(Tensor { name: name.into(), rows, cols, bound, fraction_bits });
        self.push(Op::Map { x, table, y });
        y
    }
}
