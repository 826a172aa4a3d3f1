//! Programs in the making, for families of programs that follow from one structure.

use alloc::string::String;
use alloc::vec::Vec;

use crate::circuit::{Name, written};
use crate::decoder::Matrix;
use crate::program::{Constant, ConstantId, List, Op, Program, Requantize, Table, TableId, Tensor, TensorId};

/// A program in the making.
pub(crate) struct Draft<M> {
    /// What it is a program of.
    pub model: M,
    /// Rows of most tensors.
    pub rows: u32,
    /// As far as it is.
    pub program: Program,
}

impl<M> Draft<M> {
    /// A program without ops.
    pub fn new(model: M, rows: u32, name: &str, tables: &[Table], lists: Vec<List>) -> Self {
        let program = Program {
            name: String::from(name),
            tensors: Vec::new(),
            constants: Vec::new(),
            tables: tables.to_vec(),
            ops: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            lists,
        };
        Self { model, rows, program }
    }

    pub fn matrix(&mut self, name: Name<'_>, rows: u32, cols: u32, matrix: Matrix) -> ConstantId {
        let Matrix { bound, row_l1 } = matrix;
        self.program.constants.push(Constant { name: written(name), rows, cols, bound, row_l1 });
        ConstantId(self.program.constants.len() as u32 - 1)
    }

    /// A matrix of one row, any of whose entries may have this magnitude.
    pub fn vector(&mut self, name: Name<'_>, cols: u32, bound: i64) -> ConstantId {
        self.matrix(name, 1, cols, entries(bound, cols))
    }

    pub fn tensor(&mut self, name: Name<'_>, rows: u32, cols: u32, bound: i64) -> TensorId {
        self.program.tensors.push(Tensor { name: written(name), rows, cols, bound, fraction_bits: 0 });
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    pub fn op(&mut self, op: Op) {
        self.program.ops.push(op);
    }

    /// The largest magnitude that a rounding leaves.
    pub fn bound(&self, requantize: Requantize) -> i64 {
        self.program.tables.get(requantize.table.0 as usize).map_or(0, |table| table.bound)
    }
}

/// Rows of so many entries, any of which may have this magnitude.
pub(crate) fn entries(bound: i64, cols: u32) -> Matrix {
    Matrix { bound, row_l1: bound.saturating_mul(cols.into()) }
}

/// The first of the tables that serves so many rows; they ascend.
pub(crate) fn serving(tables: &[(u32, TableId)], rows: u32) -> Option<TableId> {
    tables.iter().find(|(most, _)| rows <= *most).map(|&(_, table)| table)
}
