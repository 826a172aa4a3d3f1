//! Committing to the columns of one tree.

use circlet_core::circuit::{ColumnId, Tree as Which};
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;

use super::adversary::Adversary;
use crate::backend::encode::Encoder;
use crate::backend::field::{B, LANES, pack_base};
use crate::backend::merkle::{BulkHash, Tree};

/// A tree with everything under it.
pub struct Commitment<S: BulkHash> {
    /// Matrix columns: the messages.
    pub messages: Vec<Vec<B>>,
    /// Their codewords.
    pub codewords: Vec<Vec<B>>,
    /// The tree over the codewords' rows.
    pub tree: Tree<S>,
}

impl<S: BulkHash> Commitment<S> {
    /// Stacks columns into the matrix of a tree, encodes and hashes it.
    pub fn new<'a>(
        protocol: &Protocol,
        encoder: &Encoder,
        which: Which,
        columns: impl Iterator<Item = (ColumnId, &'a [i32])>,
        adversary: &mut dyn Adversary,
    ) -> Self {
        let (side, label) = match which {
            Which::Fixed => (0, Label::Key),
            Which::Witness => (1, Label::WitnessRoot),
        };
        let rows = 1usize << protocol.stacking.log_rows;
        let mut stacked = vec![0i32; protocol.stacking.matrix_columns[side] * rows];
        for (id, cells) in columns {
            let offset = protocol.stacking.offset_in_tree(id);
            stacked[offset..offset + cells.len()].copy_from_slice(cells);
        }
        let messages: Vec<Vec<B>> =
            stacked.chunks(rows).map(|column| column.chunks(LANES).map(pack_base).collect()).collect();
        drop(stacked);
        let mut codewords = encoder.encode_all(&messages);
        adversary.codewords(label, &mut codewords);
        let tree = Tree::new(&codewords, protocol.cap_log(protocol.codeword_log()));
        Self { messages, codewords, tree }
    }
}
