//! The lowest layers of a fraction tree on GPUs: its leaves, made there of numbers that lie there or are sent to them,
//! and the sumchecks until few nodes are left.
//!
//! Of several GPUs, a power of two, each has the fractions in whose place some bits are its number: those just above the lowest,
//! which tell the nodes apart that are left in the end. All other bits are alike, so that every GPU has a tree of its own, and what
//! they say in a round is added up.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use circlet_core::field::{M31, QM31};
use circlet_core::hash::poseidon2;
use circlet_core::lookup::Children as Ends;
use circlet_core::poly::eq_table;
use circlet_core::transcript;
use circlet_cuda::columns::Columns;
use circlet_cuda::fractions::{self as device, LAST, Numbers as Sent};
use circlet_cuda::transcript::{Round, Sponge};
use circlet_cuda::{Buffer, Error, Machine};
use rayon::prelude::*;

use super::thresholds::LEAST;
use super::{element, fits, words};
use crate::backend::field::{LANES, unpack};
use crate::backend::fractions::Fractions;
use crate::backend::leaves::{Block, Counts, Leaves, Numbers, Term, There};
use crate::backend::memory::Memory;
use crate::backend::rounds::{Rounds, Sums};

/// How many of so many GPUs share `2^log` leaves; none, if these are better off on the processor, or more than a GPU counts.
fn parts(log: u32, gpus: usize) -> usize {
    let parts = log.checked_sub(LEAST.fractions).map_or(0, |more| gpus.min(1 << more));
    if parts == 0 || log - parts.ilog2() > device::MOST { 0 } else { parts }
}

/// Bytes that `2^log` leaves and the sumchecks over them take on each of so many GPUs.
pub fn memory(log: u32, gpus: usize) -> u64 {
    match parts(log, gpus) {
        0 => 0,
        parts => device::Leaves::memory(log - parts.ilog2()),
    }
}

/// A layer, what each GPU has of it.
#[derive(Debug)]
pub struct Layer(Vec<device::Fractions>);

impl Layer {
    /// Log of the number of GPUs.
    fn log_parts(&self) -> u32 {
        self.0.len().ilog2()
    }

    fn above(&self) -> Result<Self, Error> {
        Ok(Self(self.0.iter().map(device::Fractions::above).collect::<Result<_, Error>>()?))
    }

    /// Its memory, for nodes of the layer below.
    pub fn into_room(self) -> Vec<Buffer> {
        self.0.into_iter().map(device::Fractions::into_room).collect()
    }
}

/// Layers on GPUs, from the leaves up.
#[derive(Debug, Default)]
pub struct Layers(Vec<Layer>);

impl Layers {
    /// The layers over leaves that are too large to be better off on the processor; none, if all are small.
    pub fn new(machines: &[Arc<dyn Machine>], leaves: &Leaves<'_>) -> Result<Self, Error> {
        let log = leaves.depth();
        let parts = parts(log, machines.len());
        if parts == 0 {
            return Ok(Self(Vec::new()));
        }
        let machines = &machines[..parts];
        for machine in machines {
            fits(&**machine, memory(log, parts))?;
        }
        let own = |part| Own { part, log_parts: parts.ilog2() };
        let sent = machines.par_iter().enumerate().map(|(part, machine)| send(machine, leaves, own(part)));
        let mut layers = vec![Layer(sent.collect::<Result<_, Error>>()?)];
        for at in 0..(log - parts.ilog2() - LEAST.fractions) as usize {
            let above = layers[at].above()?;
            layers.push(above);
        }
        Ok(Self(layers))
    }

    /// The layer above them and the log of its size, if there are any.
    pub fn above(&self) -> Result<Option<(Fractions, usize)>, Error> {
        let Some(last) = self.0.last() else { return Ok(None) };
        let above = last.above()?;
        let (mut numerators, mut denominators) = (Vec::new(), Vec::new());
        for part in &above.0 {
            let [p, q] = part.read()?.map(|all| all.into_iter().map(element).collect());
            numerators.push(p);
            denominators.push(q);
        }
        let [p, q] = [numerators, denominators].map(|parts| in_turn(&parts));
        let log = p.len().ilog2() as usize;
        Ok(Some((Fractions::new(p, q), log)))
    }

    /// The highest layer that is left.
    pub fn pop(&mut self) -> Option<Layer> {
        self.0.pop()
    }
}

/// All that parts have, a stretch of each in turn.
fn in_turn(parts: &[Vec<QM31>]) -> Vec<QM31> {
    let stretches = parts[0].len() / LAST;
    let stretch = |k: usize| parts.iter().flat_map(move |part: &Vec<QM31>| &part[k * LAST..][..LAST]);
    (0..stretches).flat_map(stretch).copied().collect()
}

/// The places that a GPU has: of so many stretches of [`LAST`] places in turn, those with its number.
#[derive(Clone, Copy)]
struct Own {
    part: usize,
    log_parts: u32,
}

impl Own {
    /// How many of its places come before a place.
    fn before(self, place: usize) -> usize {
        let turn = LAST << self.log_parts;
        place / turn * LAST + (place % turn).saturating_sub(self.part * LAST).min(LAST)
    }

    /// So many cells that lie on the first GPU, if that has all places.
    fn all_of<'a>(self, there: &There<'a>, count: usize) -> Option<(&'a Columns, Range<usize>)> {
        let cells = there.cells.start..there.cells.start + count;
        if self.log_parts == 0 { there.matrix.on_first(cells) } else { None }
    }

    /// What lies in its places, of what lies in all from one on.
    fn of<T: Copy>(self, first: usize, all: &[T]) -> Cow<'_, [T]> {
        if self.log_parts == 0 {
            return all.into();
        }
        let (turn, end) = (LAST << self.log_parts, first + all.len());
        let stretches = (first / turn..end.div_ceil(turn)).map(|k| k * turn + self.part * LAST);
        let clipped = stretches.map(|at| at.clamp(first, end) - first..(at + LAST).clamp(first, end) - first);
        clipped.flat_map(|range| &all[range]).copied().collect()
    }
}

/// Makes those leaves on a GPU that are its own.
fn send(machine: &Arc<dyn Machine>, leaves: &Leaves<'_>, own: Own) -> Result<device::Fractions, Error> {
    let (none, one) = (words(QM31::ZERO)[0], words(QM31::ONE));
    let mut made = device::Leaves::new(machine, leaves.depth() - own.log_parts)?;
    let mut first = 0;
    for (end, block) in leaves.blocks() {
        let end = end * LANES;
        let (count, at) = (end - first, own.before(first));
        match block {
            Block::Forms { constant, terms, counts } => {
                made.fill(at, own.before(end) - at, one[0], words(*constant))?;
                for Term { factor, numbers, there } in terms {
                    let by = words(*factor);
                    if let Some((columns, cells)) = there.as_ref().and_then(|there| own.all_of(there, count))
                    {
                        made.add_cells(at, columns, cells, by)?;
                        continue;
                    }
                    let wide = match numbers {
                        Numbers::Narrow(cells) => {
                            made.add(at, Sent::Narrow(&own.of(first, &cells[..count])), by)?;
                            continue;
                        }
                        Numbers::Wide(cells) => cells,
                        Numbers::Owned(cells) => cells.as_slice(),
                    };
                    made.add(at, Sent::Wide(&own.of(first, &wide[..count])), by)?;
                }
                if let Some(Counts { numbers, there }) = counts {
                    match there.as_ref().and_then(|there| own.all_of(there, count)) {
                        Some((columns, cells)) => made.subtract_cells(at, columns, cells)?,
                        None => made.subtract(at, &own.of(first, &numbers[..count]))?,
                    }
                }
            }
            Block::Given { p, q } => {
                let p: Vec<_> = unpack(p).into_iter().map(|p| words(p)[0]).collect();
                let q: Vec<_> = unpack(q).into_iter().map(words).collect();
                made.write(at, &own.of(first, &p), &own.of(first, &q))?;
            }
        }
        first = end;
    }
    let at = own.before(first);
    made.fill(at, own.before(1 << leaves.depth()) - at, none, one)?;
    Ok(made.finish())
}

/// A transcript, for a GPU.
fn sponge(rounds: &transcript::Rounds) -> Sponge {
    let mut constants = poseidon2::constants().map(M31::value);
    Sponge {
        // As many as are used.
        constants: std::array::from_fn(|_| constants.next().unwrap_or_default()),
        state: rounds.state.map(M31::value),
        absorbed: rounds.absorbed.map(M31::value),
        drawn: rounds.drawn.map(M31::value),
    }
}

/// The sumcheck of a layer: on the GPUs, then of the few nodes that are left.
pub struct LayerSumcheck<'a> {
    lambda: QM31,
    state: State<'a>,
}

enum State<'a> {
    /// Rounds that end on the processor: what GPUs sum up and its weights, and all sums of the next round.
    Many(Vec<device::Sumcheck<'a>>, Vec<QM31>, Sums),
    /// Rounds that have been, transcript and all, on a GPU, and the nodes that they leave.
    Ahead(Ahead<'a>),
    Few(Rounds<4>),
}

/// Rounds that are still to come here, where the same challenges have to be drawn.
struct Ahead<'a> {
    children: &'a device::Fractions,
    rounds: std::vec::IntoIter<Round>,
    nodes: Vec<device::Node>,
}

impl<'a> LayerSumcheck<'a> {
    /// The sumcheck over the children of a layer, of which it is claimed what it says at a point, in the memory of a layer that is no
    /// longer needed. One GPU alone goes on with the transcript, if it can.
    pub fn new(
        children: &'a Layer,
        lambda: QM31,
        (claim, point): (QM31, &[QM31]),
        room: Option<Vec<Buffer>>,
        rounds: Option<transcript::Rounds>,
    ) -> Result<Self, Error> {
        // Coordinates of the nodes that are left in the end, of the GPUs, and others.
        let (last, above) = point.split_at(LAST.ilog2() as usize);
        let (parts, above) = above.split_at(children.log_parts() as usize);
        let own: Vec<_> = last.iter().chain(above).copied().map(words).collect();
        let mut room = room.into_iter().flatten();
        let mut begin = |children| device::Sumcheck::new(children, words(lambda), &own, room.next());
        if let ([children], Some(rounds)) = (&children.0[..], rounds) {
            let with_inverse = |&z: &QM31| [z, z.inverse().unwrap_or(QM31::ONE)].map(words);
            let coordinates: Vec<_> = above.iter().rev().map(with_inverse).collect();
            let (rounds, nodes) = begin(children)?.run(&sponge(&rounds), words(claim), &coordinates)?;
            let ahead = Ahead { children, rounds: rounds.into_iter(), nodes };
            return Ok(Self { lambda, state: State::Ahead(ahead) });
        }
        let all: Vec<_> = children.0.iter().map(&mut begin).collect::<Result<_, Error>>()?;
        all.iter().try_for_each(device::Sumcheck::first)?;
        let weights = eq_table(parts);
        let sums = total(&all, &weights)?;
        Ok(Self { lambda, state: State::Many(all, weights, sums) })
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn round(&self) -> Sums {
        match &self.state {
            State::Many(_, _, sums) => *sums,
            State::Ahead(ahead) => match ahead.rounds.as_slice() {
                [next, ..] => next.sums.map(element).into(),
                [] => unreachable!("then few nodes are left"),
            },
            State::Few(rounds) => rounds.sums(),
        }
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error> {
        let mut nodes = Vec::new();
        match &mut self.state {
            State::Few(rounds) => {
                rounds.bind(r, below);
                return Ok(());
            }
            State::Many(all, weights, sums) => {
                for sumcheck in &mut *all {
                    sumcheck.bind(words(r))?;
                }
                if all[0].count() > LAST {
                    *sums = total(all, weights)?;
                    return Ok(());
                }
                for sumcheck in all {
                    nodes.extend(sumcheck.nodes()?);
                }
            }
            State::Ahead(ahead) => {
                if ahead.rounds.next().is_none_or(|round| element(round.challenge) != r) {
                    let why = "its challenge is another one than the processor's";
                    return Err(ahead.children.failed("the transcript", why));
                }
                if !ahead.rounds.as_slice().is_empty() {
                    return Ok(());
                }
                nodes.append(&mut ahead.nodes);
            }
        }
        let nodes = nodes.into_iter().map(|node| node.map(element)).collect();
        self.state = State::Few(Rounds::of_few(Memory::default(), nodes, below));
        Ok(())
    }

    /// The children at the random point, after all rounds.
    pub fn finish(self) -> Ends {
        let State::Few(rounds) = self.state else { unreachable!("all coordinates are bound") };
        let ([p0, q1, q0, last], _) = rounds.finish();
        [p0, last - self.lambda * q1, q0, q1]
    }
}

/// What all GPUs have summed up, each times its weight.
fn total(all: &[device::Sumcheck<'_>], weights: &[QM31]) -> Result<Sums, Error> {
    let mut total = [QM31::ZERO; 2];
    for (sumcheck, &weight) in all.iter().zip(weights) {
        for (total, sum) in total.iter_mut().zip(sumcheck.sums()?) {
            *total += weight * element(sum);
        }
    }
    Ok(total.into())
}
