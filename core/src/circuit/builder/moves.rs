//! Numbers that stand in several columns: rows that lists name, copies, and the same numbers in another order.

use alloc::vec;
use alloc::vec::Vec;

use super::Builder;
use crate::circuit::{
    Checked, ColumnId, Content, Gather, Interval, Name, Pick, Placement, Positions, Rows, Shape, Step,
    Stride, Wiring,
};
use crate::program::{ConstantId, List, ListId, TensorId};

impl<'p> Builder<'p> {
    /// A witness column that repeats consecutive rows of a constant; its last row stands for all rows after it.
    pub fn rows_from(&mut self, id: ConstantId, first: u32, rows: u32) -> Checked<ColumnId> {
        if let Some(&(_, column)) = self.stretches.iter().rev().find(|known| known.0 == (id, first, rows)) {
            return Ok(column);
        }
        let constant = self.constant(id)?;
        let source = self.rectangle(id, 0, 0, Shape { rows: constant.rows, cols: constant.cols })?;
        let shape = Shape { rows, cols: constant.cols };
        let output = self.witness(&constant.name, shape, Interval::symmetric(constant.bound));
        let last = constant.rows - 1;
        let rows_of = (0..rows).map(|t| first.saturating_add(t).min(last)).collect();
        self.gather(Gather { source: vec![(0, source)], rows: Rows::Given(rows_of), output });
        self.stretches.push(((id, first, rows), output));
        Ok(output)
    }

    /// A column that an earlier program has handed on; that program's proof has shown its range.
    pub fn past(&mut self, name: Name<'_>, shape: Shape, bound: Interval) -> ColumnId {
        let name = self.scoped(name);
        self.named(name, shape, bound, Content::Past)
    }

    /// A column of these rows of others, which is handed on to a later program.
    pub fn hand_on(
        &mut self,
        name: Name<'_>,
        shape: Shape,
        bound: Interval,
        (source, rows): (Vec<(u32, ColumnId)>, Vec<u32>),
    ) -> ColumnId {
        let name = self.scoped(name);
        let output = self.named(name, shape, bound, Content::State);
        self.gather(Gather { source, rows: Rows::Given(rows), output });
        output
    }

    /// Declares that rows of one column are rows of others, and the step that copies them.
    pub fn gather(&mut self, gather: Gather) {
        let rows = u64::from(self.shape(gather.output).rows);
        self.listed = self.listed.saturating_add(rows * gather.source.len() as u64);
        self.reader.gather(&self.declared, gather);
        let index = self.gathers;
        self.gathers += 1;
        self.step(|| Step::Gather(index));
    }

    /// Declares that a form vanishes in the cells that a list names.
    pub fn pick(&mut self, pick: Pick) {
        self.picks += 1;
        self.reader.pick(&self.declared, pick);
    }

    /// A list of the program.
    pub fn list(&self, id: ListId) -> Checked<&'p List> {
        self.program.lists.get(id.0 as usize).ok_or_else(|| self.refuse("unknown list"))
    }

    /// A copy of the real cells of a column, whose padding is free of whatever filled the original's.
    pub fn copy(&mut self, name: Name<'_>, original: ColumnId) -> ColumnId {
        let (shape, bound) = (self.shape(original), self.column_bound(original));
        let copy = self.witness(name, shape, bound);
        let place = |column| Placement {
            column,
            rows: Positions {
                digits: vec![Stride { len: shape.rows, stride: u64::from(shape.cols) }],
                skip: 0,
                take: shape.rows,
            },
            cols: Positions {
                digits: vec![Stride { len: shape.cols, stride: 1 }],
                skip: 0,
                take: shape.cols,
            },
        };
        self.wire(Wiring { from: vec![place(original)], to: vec![place(copy)] });
        copy
    }

    /// A wiring, and the step that copies its cells.
    pub fn wire(&mut self, wiring: Wiring) {
        self.reader.wiring(&self.declared, wiring);
        let index = self.wirings;
        self.wirings += 1;
        self.step(|| Step::Wire(index));
    }

    /// The cells of a tensor as the sequence of its entries, row by row.
    pub fn in_row_order(&self, id: TensorId) -> Checked<Vec<Placement>> {
        let tensor = self.tensor(id)?;
        let rows = [Stride { len: tensor.rows, stride: u64::from(tensor.cols) }];
        let cols = [Stride { len: tensor.cols, stride: 1 }];
        self.placed(id, &rows, &cols)
    }

    /// The cells of a tensor with the positions that mixed-radix digits of its row and column index give.
    pub fn placed(&self, id: TensorId, rows: &[Stride], cols: &[Stride]) -> Checked<Vec<Placement>> {
        Ok(self
            .blocks(id)?
            .into_iter()
            .map(|(offset, column)| {
                let shape = self.shape(column);
                Placement {
                    column,
                    rows: Positions { digits: rows.to_vec(), skip: 0, take: shape.rows },
                    cols: Positions { digits: cols.to_vec(), skip: offset, take: shape.cols },
                }
            })
            .collect())
    }
}
