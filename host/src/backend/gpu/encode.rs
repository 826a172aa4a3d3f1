//! Encoding and hashing on a GPU: what is committed to, in groups of columns that fit its memory.

use std::ops::Range;
use std::sync::Arc;

use circlet_core::code::Domain;
use circlet_core::hash::blake2s::{self, initial_state};
use circlet_cuda::encode::Code;
use circlet_cuda::merkle::{DIGEST, Rows, parents};
use circlet_cuda::{Buffer, Error, Machine};
use rayon::prelude::*;

use super::{WORD, groups, refused, usable};
use crate::backend::field::{B, LANES};
use crate::backend::merkle::{BLOCK, BulkHash, Tree, dropped};

/// A code on a GPU.
#[derive(Debug)]
pub struct Encoder {
    machine: Arc<dyn Machine>,
    code: Code,
    log_message: u32,
    log_codeword: u32,
}

/// The coordinates of all pairs of words, for the layers of a message.
fn coordinates(log_message: u32, log_codeword: u32) -> Vec<u32> {
    let domain = Domain::new(log_codeword);
    let mut all = Vec::with_capacity(Code::twiddles(log_message, log_codeword));
    for layer in 0..log_message {
        let pairs = 1u32 << (log_codeword - 1 - layer);
        all.par_extend((0..pairs).into_par_iter().map(|pair| domain.coordinate(layer, 2 * pair).value()));
    }
    all
}

impl Encoder {
    /// The code of messages of `2^log_message` at rate `2^-log_blowup`.
    pub fn new(machine: &Arc<dyn Machine>, log_message: u32, log_blowup: u32) -> Result<Self, Error> {
        let log_codeword = log_message + log_blowup;
        let coordinates = coordinates(log_message, log_codeword);
        let code = Code::new(machine, log_message, log_codeword, &coordinates)?;
        Ok(Self { machine: machine.clone(), code, log_message, log_codeword })
    }

    /// The GPU.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// Log of the length of a message.
    pub fn log_message(&self) -> u32 {
        self.log_message
    }

    /// Log of the length of a codeword.
    pub fn log_codeword(&self) -> u32 {
        self.log_codeword
    }

    /// Columns in groups that are encoded at once where `reserved` bytes are needed beside them: blocks of the hash, as many
    /// as fit, and the last few.
    pub fn groups(
        &self,
        columns: usize,
        reserved: u64,
    ) -> Result<impl Iterator<Item = Range<usize>> + use<>, Error> {
        let (free, usable) = usable(&*self.machine)?;
        let usable = usable.saturating_sub(reserved);
        let column = WORD * ((1 << self.log_message) + (1 << self.log_codeword));
        let fitting = usize::try_from(usable / column).unwrap_or(usize::MAX) / BLOCK * BLOCK;
        if fitting == 0 && columns as u64 * column > usable {
            let needed = column * BLOCK.min(columns) as u64 + reserved;
            return Err(refused(&*self.machine, needed, free));
        }
        Ok(groups(columns, fitting.max(BLOCK)))
    }

    /// The codewords of messages, on the GPU.
    fn encode(&self, messages: &[Vec<B>]) -> Result<Buffer, Error> {
        let mut buffer = Buffer::new(&self.machine, messages.len() << self.log_message)?;
        for (index, message) in messages.iter().enumerate() {
            buffer.write(index << self.log_message, bytemuck::cast_slice(message))?;
        }
        self.code.encode(&buffer)
    }

    /// The code.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// Codewords that are on the GPU.
    fn fetch(&self, codewords: &Buffer) -> Result<Vec<Vec<B>>, Error> {
        let column = |index: usize| {
            let mut column: Vec<B> = vec![bytemuck::Zeroable::zeroed(); (1 << self.log_codeword) / LANES];
            codewords.read(index << self.log_codeword, bytemuck::cast_slice_mut(&mut column))?;
            Ok(column)
        };
        (0..codewords.len() >> self.log_codeword).map(column).collect()
    }

    /// The codewords of many messages.
    pub fn encode_all(&self, messages: &[Vec<B>]) -> Result<Vec<Vec<B>>, Error> {
        let mut codewords = Vec::with_capacity(messages.len());
        for range in self.groups(messages.len(), 0)? {
            codewords.extend(self.fetch(&self.encode(&messages[range])?)?);
        }
        Ok(codewords)
    }

    /// The codewords of a matrix, with the tree over their rows up to a cap of `2^cap_log` digests.
    pub fn commit<S: BulkHash>(
        &self,
        messages: &[Vec<B>],
        cap_log: u32,
    ) -> Result<(Vec<Vec<B>>, Tree<S>), Error> {
        let mut codewords = Vec::with_capacity(messages.len());
        let mut leaves = self.leaves(messages.len())?;
        for range in self.groups(messages.len(), self.reserved())? {
            let encoded = self.encode(&messages[range.clone()])?;
            leaves.absorb(&encoded, range.len())?;
            codewords.extend(self.fetch(&encoded)?);
        }
        Ok((codewords, leaves.tree(cap_log)?))
    }

    /// Bytes that a tree takes beside its leaves: the level above.
    pub fn reserved(&self) -> u64 {
        (DIGEST as u64 * WORD) << (self.log_codeword - 1)
    }

    /// Rows of so many columns, which come a few at a time.
    pub fn leaves(&self, columns: usize) -> Result<Leaves, Error> {
        let rows = Rows::new(&self.machine, 1 << self.log_codeword, columns, initial_state(blake2s::LEAF))?;
        Ok(Leaves { machine: self.machine.clone(), rows, height: self.log_codeword })
    }

    /// Encodes the next columns and absorbs them: a multiple of sixteen, unless they are the last.
    pub fn absorb(&self, leaves: &mut Leaves, messages: &[Vec<B>]) -> Result<(), Error> {
        for range in self.groups(messages.len(), self.reserved())? {
            leaves.absorb(&self.encode(&messages[range.clone()])?, range.len())?;
        }
        Ok(())
    }
}

/// Rows of codewords that are being hashed on a GPU.
#[derive(Debug)]
pub struct Leaves {
    machine: Arc<dyn Machine>,
    rows: Rows,
    height: u32,
}

impl Leaves {
    /// Absorbs the next columns' codewords: a multiple of sixteen of them, unless they are the last.
    pub fn absorb(&mut self, codewords: &Buffer, count: usize) -> Result<(), Error> {
        self.rows.absorb(codewords, count)
    }

    /// The tree over them.
    pub fn tree<S: BulkHash>(self, cap_log: u32) -> Result<Tree<S>, Error> {
        tree(&self.machine, self.rows.digests(), self.height, cap_log)
    }
}

/// The tree of a height over leaves that are on a GPU.
pub fn tree<S: BulkHash>(
    machine: &Arc<dyn Machine>,
    leaves: Buffer,
    height: u32,
    cap_log: u32,
) -> Result<Tree<S>, Error> {
    let dropped = dropped(height, cap_log);
    let kept = height.saturating_sub(cap_log) - dropped;
    Ok(Tree::of_levels(levels::<S>(machine, leaves, dropped, kept)?, dropped, height))
}

/// The level so far above leaves that are on a GPU, and so many more above it.
pub fn levels<S: BulkHash>(
    machine: &Arc<dyn Machine>,
    leaves: Buffer,
    dropped: u32,
    more: u32,
) -> Result<Vec<Vec<S::Digest>>, Error> {
    let begin = initial_state(blake2s::NODE);
    let mut level = leaves;
    for _ in 0..dropped {
        level = parents(machine, &level, begin)?;
    }
    let mut levels = vec![digests::<S>(&level)?];
    for _ in 0..more {
        level = parents(machine, &level, begin)?;
        levels.push(digests::<S>(&level)?);
    }
    Ok(levels)
}

/// A level that is on the GPU.
fn digests<S: BulkHash>(level: &Buffer) -> Result<Vec<S::Digest>, Error> {
    let mut words = vec![[0; DIGEST]; level.len() / DIGEST];
    level.read(0, words.as_flattened_mut())?;
    Ok(words.into_par_iter().map(S::digest_of_words).collect())
}
