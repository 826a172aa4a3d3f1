//! The rounds of the opening over rows on a GPU, with the words that are folded there.

use std::sync::Arc;

use circlet_core::field::{M31, QM31};
use circlet_core::hash::blake2s::{self, initial_state};
use circlet_core::opening::MESSAGE;
pub use circlet_cuda::fold::Twiddles;
use circlet_cuda::fold::{ARITY, LAST, Tables, Word, join};
use circlet_cuda::{Buffer, Error, Machine};

use super::encode::{Encoder, tree};
use super::thresholds::LEAST;
use super::{WORD, element, fits, words};
use crate::backend::field::{B, E, LANES, unpack};
use crate::backend::merkle::{BulkHash, Tree};
use crate::backend::table::{Table, low_round};

/// A message, the weight on it, and its codeword.
pub struct Rows {
    machine: Arc<dyn Machine>,
    state: State,
    word: Word,
    /// Words that are committed to.
    layers: Vec<Word>,
}

enum State {
    Many(Tables, [QM31; MESSAGE]),
    Few([Table; 2]),
}

/// A table that was on a GPU.
fn table(all: Vec<[u32; 4]>) -> Table {
    Table::new(all.into_iter().map(element).collect())
}

impl Rows {
    /// Whether so many rows are better off on a GPU.
    pub fn are_many(log_rows: u32) -> bool {
        log_rows >= LEAST.rows
    }

    /// Bytes that they take.
    pub fn memory(log_rows: u32, log_codeword: u32) -> u64 {
        // Messages and codewords of four coordinates, and the word that they become, with what it folds to.
        let word = (4 * WORD) << log_codeword;
        Tables::memory(1 << log_rows) + ((4 * WORD) << log_rows) + 2 * word + word / 8
    }

    /// The rounds over a message and the weight on it, in vectors; [`Self::are_many`].
    pub fn new(encoder: &Encoder, [message, weight]: [&[E]; 2]) -> Result<Self, Error> {
        let machine = encoder.machine();
        fits(&**machine, Self::memory(encoder.log_message(), encoder.log_codeword()))?;
        let mut coordinates = Buffer::new(machine, 4 * LANES * message.len())?;
        for c in 0..4 {
            let all: Vec<B> = message.iter().map(|v| v.into_packed_m31s()[c]).collect();
            coordinates.write(c * LANES * all.len(), bytemuck::cast_slice(&all))?;
        }
        let elements: Vec<[u32; 4]> = unpack(weight).into_iter().map(words).collect();
        let mut weight = Buffer::new(machine, 4 * elements.len())?;
        weight.write(0, elements.as_flattened())?;
        Self::there(encoder, &coordinates, weight)
    }

    /// The same where both are there: of the message the first coordinates of all elements, then the second ones.
    pub fn there(encoder: &Encoder, message: &Buffer, weight: Buffer) -> Result<Self, Error> {
        let machine = encoder.machine();
        let word = Word::of_codewords(machine, &encoder.code().encode(message)?)?;
        let tables = Tables::new(machine, [join(machine, message)?, weight])?;
        let sums = tables.first()?.map(element);
        Ok(Self { machine: machine.clone(), state: State::Many(tables, sums), word, layers: Vec::new() })
    }

    /// The tree over groups of the word, which is committed to.
    pub fn commit<S: BulkHash>(&mut self, cap_log: u32) -> Result<Tree<S>, Error> {
        let leaves = self.word.leaves(initial_state(blake2s::LEAF))?;
        tree(&self.machine, leaves, self.word.log() - ARITY, cap_log)
    }

    /// `[s_0, s_2]` of the round that binds the lowest coordinate.
    pub fn round(&self) -> [QM31; MESSAGE] {
        match &self.state {
            State::Many(_, sums) => *sums,
            State::Few([message, weight]) => low_round(message, weight),
        }
    }

    /// Binds that coordinate.
    pub fn bind(&mut self, r: QM31) -> Result<(), Error> {
        match &mut self.state {
            State::Many(tables, sums) if tables.len() > LAST => *sums = tables.bind(words(r))?.map(element),
            _ => {
                for table in self.few()? {
                    table.bind_low(r);
                }
            }
        }
        Ok(())
    }

    /// The tables of message and weight, which are on the processor from now on.
    pub fn few(&mut self) -> Result<&mut [Table; 2], Error> {
        if let State::Many(tables, _) = &self.state {
            self.state = State::Few(tables.read()?.map(table));
        }
        let State::Few(tables) = &mut self.state else { unreachable!("they have just been read") };
        Ok(tables)
    }

    /// Folds the word, level by level; of each challenge r, `(1 - r) / 2` and `r / 2`.
    pub fn fold(&mut self, twiddles: &Twiddles, factors: [[QM31; 2]; ARITY as usize]) -> Result<(), Error> {
        let folded = self.word.fold(twiddles, factors.map(|factors| factors.map(words)))?;
        self.layers.push(std::mem::replace(&mut self.word, folded));
        Ok(())
    }

    /// Groups of a committed word, by index.
    pub fn groups(&self, layer: usize, indices: &[u32]) -> Result<Vec<Vec<M31>>, Error> {
        let word = self.layers.get(layer).unwrap_or(&self.word);
        let cells = |group: [u32; 64]| group.map(|cell| M31::reduce(cell.into())).to_vec();
        Ok(word.groups(indices)?.into_iter().map(cells).collect())
    }
}
