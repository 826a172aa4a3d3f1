//! Hashing rows whose columns lie on several GPUs: stretches of rows go round, and every GPU absorbs its next columns into those
//! that come.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use circlet_core::hash::blake2s::{self, initial_state};
use circlet_core::hash::suite::Trees;
use circlet_cuda::merkle::{DIGEST, Rows};
use circlet_cuda::{Buffer, Error, Machine};

use super::encode::levels;
use super::matrix::Part;
use super::split::Split;
use super::{WORD, at_once};
use crate::backend::merkle::{BLOCK, BulkHash, Tree, dropped};

/// Log of the stretches of rows, if so many lie under a cap: enough that there is work for every GPU at any time.
const LOG_STRETCHES: u32 = 4;

/// Rows that are being hashed, and their number among all stretches.
struct Stretch {
    number: usize,
    rows: Rows,
}

/// What one GPU is connected with.
struct Ends {
    /// Stretches that come, and those that go on.
    from: Receiver<Stretch>,
    to: Sender<Stretch>,
    /// Its own memory that comes back when a stretch has gone on, and memory that goes back to where a stretch came from.
    spare: Receiver<Buffer>,
    back: Sender<Buffer>,
}

impl Ends {
    /// The next stretch, on a machine; none, if another one has failed.
    fn next(&self, machine: &Arc<dyn Machine>) -> Result<Option<Stretch>, Error> {
        let Ok(Stretch { number, rows }) = self.from.recv() else { return Ok(None) };
        if rows.are_on(machine) {
            return Ok(Some(Stretch { number, rows }));
        }
        let spare = self.spare.try_recv().ok();
        let room = spare.map_or_else(|| Buffer::new(machine, rows.words()), Ok)?;
        let (rows, old) = rows.moved(machine, room)?;
        // Who has ended needs none.
        let _ = self.back.send(old);
        Ok(Some(Stretch { number, rows }))
    }
}

/// What is to be hashed.
#[derive(Clone, Copy)]
struct Task {
    split: Split,
    /// Columns of the matrix.
    count: usize,
    /// Log of the rows, and of the stretches.
    height: u32,
    log_stretches: u32,
    cap_log: u32,
}

/// The tree over the rows of the codewords of a matrix. Parts keep theirs if it is said so.
pub fn hash<S: BulkHash>(
    parts: &mut [Part],
    keeps: &[bool],
    split: Split,
    count: usize,
    cap_log: u32,
) -> Result<Tree<S>, Error> {
    let height = parts[0].encoder().log_codeword();
    // One GPU absorbs all it has of every row at once.
    let log_stretches = if parts.len() == 1 { 0 } else { LOG_STRETCHES.min(cap_log).min(height) };
    let task = Task { split, count, height, log_stretches, cap_log };
    let (mut to, from): (Vec<_>, Vec<_>) = parts.iter().map(|_| channel()).unzip();
    let (mut back, spare): (Vec<_>, Vec<_>) = parts.iter().map(|_| channel()).unzip();
    for number in 0..1 << log_stretches {
        let machine = parts[0].encoder().machine();
        let rows = Rows::new(machine, 1 << (height - log_stretches), count, initial_state(blake2s::LEAF))?;
        // The receiver is there.
        let _ = to[0].send(Stretch { number, rows });
    }
    // Each sends to the next, the last to the first, and memory back to the one before.
    to.rotate_left(1);
    back.rotate_right(1);
    let ways = from.into_iter().zip(to).zip(spare.into_iter().zip(back));
    let ends = ways.map(|((from, to), (spare, back))| Ends { from, to, spare, back });
    // One needs no threads.
    if let ([part], [keep]) = (&mut *parts, keeps) {
        let levels = ends.map(|ends| take_part::<S>(part, 0, *keep, task, &ends));
        return Ok(tree(levels.collect::<Result<Vec<_>, Error>>()?.concat(), task));
    }
    let all = parts.iter_mut().zip(keeps).zip(ends).enumerate();
    let levels =
        at_once(all.map(|(k, ((part, &keep), ends))| move || take_part::<S>(part, k, keep, task, &ends)))?;
    Ok(tree(levels.concat(), task))
}

/// The tree whose levels over each stretch these are.
fn tree<S: BulkHash>(stretches: Vec<Levels<S>>, task: Task) -> Tree<S> {
    let mut stretches = stretches.into_iter();
    let mut all = stretches.next().unwrap_or_default();
    for stretch in stretches {
        for (level, more) in all.iter_mut().zip(stretch) {
            level.extend(more);
        }
    }
    Tree::of_levels(all, dropped(task.height, task.cap_log), task.height)
}

/// Levels of a tree, as far as it keeps them.
type Levels<S> = Vec<Vec<<S as Trees>::Digest>>;

/// What one GPU does: it absorbs its columns into the rows that come and sends them on. The one that has the last columns gives
/// the levels of the tree over each stretch, in their order. Without an error there are none also where another GPU has failed.
fn take_part<S: BulkHash>(
    part: &mut Part,
    own: usize,
    keep: bool,
    task: Task,
    ends: &Ends,
) -> Result<Vec<Levels<S>>, Error> {
    let Task { split, count, height, log_stretches, cap_log } = task;
    let encoder = part.encoder().clone();
    let (machine, columns) = (encoder.machine(), part.messages().count());
    let mut finished = Vec::new();
    // All rows may be here at once.
    let states = if own == 0 { 0 } else { (DIGEST as u64 * WORD) << height };
    let few = if keep { None } else { Some(encoder.groups(columns, encoder.reserved() + states)?) };
    let all = keep.then_some(0..columns);
    for group in all.into_iter().chain(few.into_iter().flatten()) {
        let codewords = part.messages().encode(encoder.code(), group.clone())?;
        let at_once = if split.parts() == 1 { group.len().max(1) } else { BLOCK };
        for first in group.clone().step_by(at_once) {
            let few = at_once.min(group.end - first);
            let last = split.column(own, first + few - 1) + 1 == count;
            for _ in 0..1 << log_stretches {
                let Some(Stretch { number, mut rows }) = ends.next(machine)? else { return Ok(Vec::new()) };
                let at = ((first - group.start) << height) + (number << (height - log_stretches));
                rows.absorb_rows(&codewords, at, few, 1 << height)?;
                if last {
                    let dropped = dropped(height, cap_log);
                    let more = height.saturating_sub(cap_log) - dropped;
                    finished.push(levels::<S>(machine, rows.digests(), dropped, more)?);
                } else if ends.to.send(Stretch { number, rows }).is_err() {
                    return Ok(Vec::new());
                }
            }
        }
        if keep {
            part.keep(codewords);
        }
    }
    Ok(finished)
}
