//! The lowest layers of a fraction tree on a GPU: its leaves, made there of numbers that lie there or are sent to it, and the
//! sumchecks until few nodes are left.

use std::sync::Arc;

use circlet_core::field::QM31;
use circlet_core::lookup::Children as Ends;
use circlet_cuda::fractions::{self as device, LAST, LEAST, Numbers as Sent};
use circlet_cuda::{Buffer, Error, Machine};

use super::{element, fits, words};
use crate::backend::field::{LANES, unpack};
use crate::backend::fractions::Fractions;
use crate::backend::leaves::{Block, Counts, Leaves, Numbers, Term, There};
use crate::backend::memory::Memory;
use crate::backend::rounds::{Rounds, Sums};

/// Layers on a GPU, from the leaves up.
#[derive(Debug, Default)]
pub struct Layers(Vec<device::Fractions>);

impl Layers {
    /// The layers over leaves that are too large to be better off on the processor; none, if all are small.
    pub fn new(machine: &Arc<dyn Machine>, leaves: &Leaves<'_>) -> Result<Self, Error> {
        let log = leaves.depth();
        if log < LEAST {
            return Ok(Self(Vec::new()));
        }
        fits(&**machine, device::Leaves::memory(log))?;
        let mut layers = vec![send(machine, leaves)?];
        for at in 0..(log - LEAST) as usize {
            let above = layers[at].above()?;
            layers.push(above);
        }
        Ok(Self(layers))
    }

    /// The layer above them and the log of its size, if there are any.
    pub fn above(&self) -> Result<Option<(Fractions, usize)>, Error> {
        let Some(last) = self.0.last() else { return Ok(None) };
        let above = last.above()?;
        let [p, q] = above.read()?.map(|all| all.into_iter().map(element).collect());
        Ok(Some((Fractions::new(p, q), above.log() as usize)))
    }

    /// The highest layer that is left.
    pub fn pop(&mut self) -> Option<device::Fractions> {
        self.0.pop()
    }
}

/// Makes leaves on a GPU.
fn send(machine: &Arc<dyn Machine>, leaves: &Leaves<'_>) -> Result<device::Fractions, Error> {
    let (none, one) = (words(QM31::ZERO)[0], words(QM31::ONE));
    let mut made = device::Leaves::new(machine, leaves.depth())?;
    let mut first = 0;
    for (end, block) in leaves.blocks() {
        let count = end * LANES - first;
        match block {
            Block::Forms { constant, terms, counts } => {
                made.fill(first, count, one[0], words(*constant))?;
                for Term { factor, numbers, there } in terms {
                    if let Some(There { matrix, cells }) = there {
                        let cells = cells.start..cells.start + count;
                        made.add_cells(first, matrix.messages(), cells, words(*factor))?;
                        continue;
                    }
                    let numbers = match numbers {
                        Numbers::Narrow(cells) => Sent::Narrow(&cells[..count]),
                        Numbers::Wide(cells) => Sent::Wide(&cells[..count]),
                        Numbers::Owned(cells) => Sent::Wide(&cells[..count]),
                    };
                    made.add(first, numbers, words(*factor))?;
                }
                match counts {
                    Some(Counts { there: Some(There { matrix, cells }), .. }) => {
                        let cells = cells.start..cells.start + count;
                        made.subtract_cells(first, matrix.messages(), cells)?;
                    }
                    Some(Counts { numbers, there: None }) => made.subtract(first, &numbers[..count])?,
                    None => {}
                }
            }
            Block::Given { p, q } => {
                let p: Vec<_> = unpack(p).into_iter().map(|p| words(p)[0]).collect();
                let q: Vec<_> = unpack(q).into_iter().map(words).collect();
                made.write(first, &p, &q)?;
            }
        }
        first = end * LANES;
    }
    made.fill(first, (1 << leaves.depth()) - first, none, one)?;
    Ok(made.finish())
}

/// The sumcheck of a layer: on the GPU, then of the few nodes that are left.
pub struct LayerSumcheck<'a> {
    lambda: QM31,
    state: State<'a>,
}

enum State<'a> {
    Many(device::Sumcheck<'a>, Sums),
    Few(Rounds<4>),
}

impl<'a> LayerSumcheck<'a> {
    /// The sumcheck over the children of a layer at a point, in the memory of a layer that is no longer needed.
    pub fn new(
        children: &'a device::Fractions,
        lambda: QM31,
        point: &[QM31],
        room: Option<Buffer>,
    ) -> Result<Self, Error> {
        let point: Vec<_> = point.iter().copied().map(words).collect();
        let sumcheck = device::Sumcheck::new(children, words(lambda), &point, room)?;
        let sums = sumcheck.first()?;
        Ok(Self { lambda, state: State::Many(sumcheck, sums.map(element).into()) })
    }

    /// `(t(0), t_2)` of the round that binds the highest coordinate left.
    pub fn round(&self) -> Sums {
        match &self.state {
            State::Many(_, sums) => *sums,
            State::Few(rounds) => rounds.sums(),
        }
    }

    /// Binds that coordinate; `below` are the point's coordinates below the one that is bound next.
    pub fn bind(&mut self, r: QM31, below: &[QM31]) -> Result<(), Error> {
        match &mut self.state {
            State::Many(sumcheck, sums) if sumcheck.count() > LAST => {
                *sums = sumcheck.bind(words(r))?.map(element).into();
            }
            State::Many(sumcheck, _) => {
                let mut low: Vec<[QM31; 4]> =
                    sumcheck.nodes()?.into_iter().map(|node| node.map(element)).collect();
                let high = low.split_off(low.len() / 2);
                for (low, high) in low.iter_mut().zip(high) {
                    *low = std::array::from_fn(|k| low[k] + (high[k] - low[k]) * r);
                }
                self.state = State::Few(Rounds::of_few(Memory::default(), low, below));
            }
            State::Few(rounds) => rounds.bind(r, below),
        }
        Ok(())
    }

    /// The children at the random point, after all rounds.
    pub fn finish(self) -> Ends {
        let State::Few(rounds) = self.state else { unreachable!("all coordinates are bound") };
        let ([p0, q1, q0, last], _) = rounds.finish();
        [p0, last - self.lambda * q1, q0, q1]
    }
}
