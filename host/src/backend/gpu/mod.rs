//! What a GPU computes, seen from the prover: in memory that is planned before, of which a fifth is left.

pub mod encode;
pub mod fold;
pub mod forward;
pub mod fractions;
pub mod grind;
pub mod matrix;
pub mod products;
mod ring;
pub mod split;
pub mod stack;
pub mod thresholds;

use std::ops::Range;
use std::thread;

use circlet_core::field::{M31, QM31};
use circlet_cuda::{Error, Machine};

/// Bytes of a word.
const WORD: u64 = 4;

/// The share of free memory that is used.
const SHARE: (u64, u64) = (4, 5);

/// Bytes of free memory, and how many of them are used.
fn usable(machine: &dyn Machine) -> Result<(u64, u64), Error> {
    let (free, _) = machine.memory()?;
    Ok((free, free / SHARE.1 * SHARE.0))
}

/// That so many bytes are too many, of so many that are free.
fn refused(machine: &dyn Machine, bytes: u64, free: u64) -> Error {
    Error::Memory { device: machine.describe(), needed: bytes / SHARE.0 * SHARE.1, free }
}

/// Whether so many bytes fit; if not, what they would need.
fn fits(machine: &dyn Machine, bytes: u64) -> Result<(), Error> {
    let (free, usable) = usable(machine)?;
    if bytes > usable { Err(refused(machine, bytes, free)) } else { Ok(()) }
}

/// Does all tasks at once, each on a thread of its own, which may wait for a GPU or for another of them; the first of them that
/// has failed is the error.
fn at_once<T: Send>(
    tasks: impl Iterator<Item = impl FnOnce() -> Result<T, Error> + Send>,
) -> Result<Vec<T>, Error> {
    thread::scope(|scope| {
        let threads: Vec<_> = tasks.map(|task| scope.spawn(task)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let results: Vec<Result<T, Error>> = threads.into_iter().map(join).collect();
        results.into_iter().collect()
    })
}

/// An element for a GPU.
fn words(x: QM31) -> [u32; 4] {
    x.coordinates().map(M31::value)
}

/// An element from a GPU.
fn element(words: [u32; 4]) -> QM31 {
    QM31::from_coordinates(words.map(|word| M31::reduce(word.into())))
}

/// So many columns in groups of at most so many.
fn groups(columns: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns).step_by(at_once).map(move |first| first..columns.min(first.saturating_add(at_once)))
}
