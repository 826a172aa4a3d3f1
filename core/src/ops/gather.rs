//! Rows by index: embeddings, and the rows of an activation that go on.
//!
//! `y(t, c) = source(rows[t], c)` for a public list of rows is, at a random point, one linear claim on both: no
//! lookup and no product.

use alloc::vec;
use alloc::vec::Vec;

use super::elementwise::alike;
use crate::circuit::{Builder, Checked, ColumnId, Gather, Rows, Shape, split, split_wide};
use crate::program::{self, Source, TensorId};

pub(super) fn define(b: &mut Builder<'_>, source: Source, rows: &program::Rows, y: TensorId) -> Checked<()> {
    let ty = b.tensor(y)?;
    let (available, cols, bound) = match source {
        Source::Constant(id) => (b.constant(id)?.rows, b.constant(id)?.cols, b.constant(id)?.bound),
        Source::Tensor(id) => (b.tensor(id)?.rows, b.tensor(id)?.cols, b.tensor(id)?.bound),
    };
    if ty.cols != cols || ty.bound < bound {
        return Err(b.refuse("the result needs the columns and the bound of its source"));
    }
    let rows = match rows {
        program::Rows::Listed(list) => {
            let declared = b.list(*list)?;
            if declared.len != ty.rows || declared.limit > available {
                return Err(b.refuse("the list has another length, or names rows that do not exist"));
            }
            Rows::Listed(list.0 as usize)
        }
        program::Rows::Given(rows) => {
            if rows.len() as u64 != u64::from(ty.rows) || rows.iter().any(|&row| row >= available) {
                return Err(b.refuse("there must be one existing row for each row of the result"));
            }
            Rows::Given(rows.clone())
        }
    };
    match source {
        Source::Tensor(x) if b.is_wide(x) => {
            let inputs = b.wide_blocks(x)?;
            let outputs = b.produce_wide(y)?;
            for ((_, from), (_, to)) in inputs.into_iter().zip(outputs) {
                for (source, output) in [(from.high, to.high), (from.low, to.low)] {
                    b.gather(Gather { source: vec![(0, source)], rows: rows.clone(), output });
                }
            }
        }
        Source::Tensor(x) => {
            let inputs = b.blocks(x)?;
            let outputs = alike(b, x, y)?;
            for ((_, source), (_, output)) in inputs.into_iter().zip(outputs) {
                b.gather(Gather { source: vec![(0, source)], rows: rows.clone(), output });
            }
        }
        Source::Constant(id) => {
            // As a wide tensor will lie.
            for (offset, output) in b.produce_blocks(y, split_wide(cols))? {
                let cols = b.shape(output).cols;
                let source: Checked<Vec<(u32, ColumnId)>> = split(available)
                    .into_iter()
                    .map(|(first, rows)| Ok((first, b.rectangle(id, first, offset, Shape { rows, cols })?)))
                    .collect();
                b.gather(Gather { source: source?, rows: rows.clone(), output });
            }
        }
    }
    Ok(())
}
