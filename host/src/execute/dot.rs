//! Contractions: sums over one axis of two matrices, each entry of the right one read once for all rows of the
//! left one.
//!
//! Entries of sixteen bits are multiplied into sums of 32, in pairs where the machine can, as long as no sum
//! can overflow: the largest entry on the left times the largest L1 norm of a row on the right bounds them all,
//! and both are taken from the numbers themselves. Everything else is summed in 64 bits.

use std::borrow::Cow;

use circlet_core::circuit::{Circuit, ColumnId, Product, Shape};
use circlet_cuda::forward::Weights;
use rayon::prelude::*;

use super::{Trace, form_values};
use crate::backend::device::Error;
use crate::backend::gpu::forward::{Activations, padded};
use crate::backend::gpu::thresholds::LEAST;

/// Columns of the result that one task computes.
const BLOCK: usize = 64;
/// Rows on the right that are kept at hand while the rows on the left go by.
const GROUP: usize = 8;

/// The sums of a contraction, in blocks of columns: row by row inside each.
pub struct Sums {
    cells: Entries,
    rows: usize,
    block: usize,
    /// Logs of the rows and channels of a head, if the cell `(h T + t, c)` is the sum `(t, h C + c)`.
    heads: Option<(u32, u32)>,
}

enum Entries {
    Short(Vec<i32>),
    Long(Vec<i64>),
}

impl Sums {
    /// Adds a multiple of the sums in the cells from `from` on, in a shape of so many columns.
    pub fn add(&self, coefficient: i64, log_cols: u32, from: usize, out: &mut [i64]) {
        let (mut at, end) = (from, from + out.len());
        while at < end {
            let (mut t, mut n) = (at >> log_cols, at & ((1 << log_cols) - 1));
            let mut len = (self.block - n % self.block).min(end - at);
            if let Some((tokens, channels)) = self.heads {
                len = len.min((1 << log_cols) - n);
                (t, n) = (t & ((1 << tokens) - 1), (t >> tokens << channels) + n);
                len = len.min(self.block - n % self.block);
            }
            let first = (n / self.block * self.rows + t) * self.block + n % self.block;
            let out = &mut out[at - from..at - from + len];
            match &self.cells {
                Entries::Short(cells) => {
                    for (slot, &sum) in out.iter_mut().zip(&cells[first..]) {
                        *slot += coefficient * i64::from(sum);
                    }
                }
                Entries::Long(cells) => {
                    for (slot, &sum) in out.iter_mut().zip(&cells[first..]) {
                        *slot += coefficient * sum;
                    }
                }
            }
            at += len;
        }
    }
}

/// `sum_{k < len} a(t, k) b(n, k)`.
pub fn contract(circuit: &Circuit, trace: &Trace, product: &Product) -> Result<Sums, Error> {
    let a = form_values(circuit, trace, &product.a, product.a_shape);
    rows_by_rows(circuit, trace, product, (&a, 1 << product.a_shape.log_cols()))
}

/// `sum_{k < len} a(t, k) b(h C + c, k)` in the cell `(h T + t, c)`.
pub fn to_heads(circuit: &Circuit, trace: &Trace, product: &Product, channels: u32) -> Result<Sums, Error> {
    let heads = Some((product.a_shape.log_rows(), channels));
    Ok(Sums { heads, ..contract(circuit, trace, product)? })
}

/// `sum_{h, c} a(h T + t, c) b(n, h C + c)`.
pub fn from_heads(circuit: &Circuit, trace: &Trace, product: &Product, tokens: u32) -> Result<Sums, Error> {
    let cells = form_values(circuit, trace, &product.a, product.a_shape);
    let (channels, heads) = (product.a_shape.cols as usize, product.a_shape.rows as usize >> tokens);
    let head = |t: usize, h: usize| &cells[((h << tokens) + t) * channels..][..channels];
    let joined: Vec<i64> = (0..1usize << tokens)
        .flat_map(|t| (0..heads).flat_map(move |h| head(t, h).iter().copied()))
        .collect();
    rows_by_rows(circuit, trace, product, (&joined, heads * channels))
}

/// Products of the rows of a head with the rows of its group, or mixtures of those.
pub fn by_group(circuit: &Circuit, trace: &Trace, product: &Product, group: u32, mixed: bool) -> Sums {
    let Product { a_shape, b_shape, .. } = *product;
    let a = form_values(circuit, trace, &product.a, a_shape);
    let b = form_values(circuit, trace, &product.b, b_shape);
    let (a_width, b_width) = (1usize << a_shape.log_cols(), 1usize << b_shape.log_cols());
    let (rows, len) = (1usize << a_shape.log_rows(), a_shape.cols as usize);
    let tokens = a_shape.log_rows() - product.groups.len().trailing_zeros();
    let width = if mixed { b_width } else { 1 << group };
    let mut cells = vec![0i64; rows * width];
    cells.par_chunks_mut(width).zip(a.par_chunks(a_width)).enumerate().for_each(|(i, (out, x))| {
        let own = &b[((product.groups[i >> tokens] as usize) << group) * b_width..];
        if mixed {
            for (x, y) in x[..len].iter().zip(own.chunks(b_width)) {
                out.iter_mut().zip(y).for_each(|(slot, y)| *slot += x * y);
            }
        } else {
            for (slot, y) in out.iter_mut().zip(own.chunks(b_width)) {
                *slot = x[..len].iter().zip(&y[..len]).map(|(x, y)| x * y).sum();
            }
        }
    });
    Sums { cells: Entries::Long(cells), rows, block: width, heads: None }
}

/// `sum_k a(t, k) b(n, k)` over the real columns of `b`, for rows of `a` that are so far apart.
fn rows_by_rows(
    circuit: &Circuit,
    trace: &Trace,
    product: &Product,
    (a, a_width): (&[i64], usize),
) -> Result<Sums, Error> {
    let b_shape = product.b_shape;
    let (rows, width, len) = (a.len() / a_width, 1 << b_shape.log_rows(), b_shape.cols as usize);
    let b_width = 1usize << b_shape.log_cols();
    let block = BLOCK.min(width);
    let largest = a.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);

    let whole = match product.b.terms[..] {
        [(1, id)] if product.b.constant == 0 && circuit.column(id).shape == b_shape => Some(id),
        _ => None,
    };
    let matrix = whole.and_then(|id| trace.matrix(id));
    let fits = |norm: i64| u64::try_from(norm).is_ok_and(|norm| largest.saturating_mul(norm) <= SHORT);
    if let (Some(id), Some((_, norm))) = (whole, matrix)
        && fits(norm)
        && let Some(cells) = on_gpu(trace, id, b_shape, (a, a_width))?
    {
        return Ok(Sums { cells: Entries::Short(cells), rows, block: width, heads: None });
    }
    let mut wide = Vec::new();
    let narrow: Option<Cow<'_, [i16]>> = match matrix {
        Some((cells, norm)) if fits(norm) => Some(cells.into()),
        _ => {
            wide = form_values(circuit, trace, &product.b, b_shape);
            let norm =
                |row: &[i64]| row[..len].iter().map(|v| v.saturating_abs()).fold(0, i64::saturating_add);
            let norm = wide.chunks(b_width).map(norm).max().unwrap_or(0);
            if fits(norm) { shorten(&wide).map(Cow::Owned) } else { None }
        }
    };
    let cells = match (shorten(a), narrow) {
        (Some(a), Some(b)) => Entries::Short(blocks(rows, width, block, |first, out| {
            dots((&a, a_width), (&b[first * b_width..], b_width), len, (out, block), dot);
        })),
        (a_short, b_short) => {
            drop(a_short);
            if wide.is_empty() {
                wide = b_short.map_or_else(Vec::new, |b| b.iter().map(|&v| v.into()).collect());
            }
            Entries::Long(blocks(rows, width, block, |first, out| {
                let dot = |x: &[i64], y: &[i64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
                dots((a, a_width), (&wide[first * b_width..], b_width), len, (out, block), dot);
            }))
        }
    };
    Ok(Sums { cells, rows, block, heads: None })
}

/// The same where a GPU holds `b`, row by row, if there is much to do, the numbers are what it takes, and all fits its memory.
fn on_gpu(
    trace: &Trace,
    id: ColumnId,
    b_shape: Shape,
    (a, a_width): (&[i64], usize),
) -> Result<Option<Vec<i32>>, Error> {
    let Some((gpu, first)) = trace.gpu(id) else { return Ok(None) };
    let (rows, len) = (b_shape.rows as usize, b_shape.cols as usize);
    let weights = Weights { first, rows, len, pitch: 1 << b_shape.log_cols() };
    if a.len() / a_width * rows * len < LEAST.forward || !gpu.has(&weights) {
        return Ok(None);
    }
    let Some(activations) = activations((a, a_width), len) else { return Ok(None) };
    gpu.products(&weights, &activations, 1 << b_shape.log_rows())
}

/// The first numbers of all rows in sixteen bits, if they fit.
fn activations((a, a_width): (&[i64], usize), len: usize) -> Option<Activations> {
    let (rows, padded) = (a.len() / a_width, padded(len));
    let mut cells = vec![0; rows * padded];
    let short = |(cells, a): (&mut [i16], &[i64])| {
        let mut good = true;
        for (cell, &v) in cells.iter_mut().zip(&a[..len]) {
            *cell = v as i16;
            good &= i64::from(*cell) == v;
        }
        good
    };
    let good = cells.par_chunks_mut(padded).zip(a.par_chunks(a_width)).map(short).all(|good| good);
    good.then_some(Activations { cells, rows })
}

/// The largest sum of 32 bits.
const SHORT: u64 = i32::MAX as u64;

/// The same numbers in sixteen bits, if they fit.
fn shorten(values: &[i64]) -> Option<Vec<i16>> {
    values.iter().map(|&v| i16::try_from(v).ok()).collect()
}

/// Computes the blocks of a result in parallel; `fill` gets the first column of its block.
fn blocks<T: Clone + Default + Send>(
    rows: usize,
    width: usize,
    block: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut cells = vec![T::default(); rows * width];
    cells.par_chunks_mut(rows * block).enumerate().for_each(|(i, out)| fill(i * block, out));
    cells
}

/// The products of all rows on the left with the rows of a block on the right.
fn dots<T, S>(
    (a, a_width): (&[T], usize),
    (b, b_width): (&[T], usize),
    len: usize,
    (out, block): (&mut [S], usize),
    dot: impl Fn(&[T], &[T]) -> S,
) {
    for first in (0..block).step_by(GROUP) {
        for (a, out) in a.chunks(a_width).zip(out.chunks_mut(block)) {
            let group = &mut out[first..block.min(first + GROUP)];
            for (slot, b) in group.iter_mut().zip(b[first * b_width..].chunks(b_width)) {
                *slot = dot(&a[..len], &b[..len]);
            }
        }
    }
}

/// Pairs of products of sixteen bits, summed in 32: one instruction where the machine has it.
fn dot(x: &[i16], y: &[i16]) -> i32 {
    x.iter().zip(y).map(|(&x, &y)| i32::from(x) * i32::from(y)).fold(0, i32::wrapping_add)
}

/// `sum_{k < len} a(t, k) b(k, n)`.
pub fn contract_transposed(circuit: &Circuit, trace: &Trace, product: &Product) -> Sums {
    let Product { a_shape, b_shape, .. } = *product;
    let (rows, width, len) = (1 << a_shape.log_rows(), 1 << b_shape.log_cols(), a_shape.cols as usize);
    let a_width = 1usize << a_shape.log_cols();
    let block = BLOCK.min(width);
    let a = form_values(circuit, trace, &product.a, a_shape);
    let b = form_values(circuit, trace, &product.b, b_shape);
    let largest = |values: &[i64]| values.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
    let bound = largest(&a).saturating_mul(largest(&b)).saturating_mul(len as u64);
    let cells = if bound <= SHORT {
        let short = |values: Vec<i64>| -> Vec<i32> { values.into_iter().map(|v| v as i32).collect() };
        let (a, b) = (short(a), short(b));
        Entries::Short(blocks(rows, width, block, |first, out: &mut [i32]| {
            for (a, out) in a.chunks(a_width).zip(out.chunks_mut(block)) {
                for (&a, b) in a[..len].iter().zip(b.chunks(width)) {
                    for (slot, &b) in out.iter_mut().zip(&b[first..]) {
                        *slot = slot.wrapping_add(a.wrapping_mul(b));
                    }
                }
            }
        }))
    } else {
        Entries::Long(blocks(rows, width, block, |first, out| {
            for (a, out) in a.chunks(a_width).zip(out.chunks_mut(block)) {
                for (&a, b) in a[..len].iter().zip(b.chunks(width)) {
                    for (slot, &b) in out.iter_mut().zip(&b[first..]) {
                        *slot += a * b;
                    }
                }
            }
        }))
    };
    Sums { cells, rows, block, heads: None }
}
