//! The rounds of the opening over rows, with the codeword that is folded with them: on the processor or on a GPU.

use circlet_core::field::{M31, QM31};
use circlet_core::opening::MESSAGE;
use circlet_core::protocol::Protocol;
use circlet_core::stacking::FoldSchedule;
use circlet_core::transcript::Label;
use rayon::prelude::*;

use crate::backend::device::{Device, Error};
use crate::backend::encode::Encoder;
use crate::backend::field::{B, E, Ext, LANES, pack, to_stwo, to_stwo_base, unpack};
use crate::backend::gpu::fold as gpu;
use crate::backend::matrix::Rows;
use crate::backend::merkle::{BulkHash, Tree};
use crate::backend::table::{Table, low_round};
use crate::prove::adversary::Adversary;

/// Inverse coordinates of the folds of a code, level by level, in vectors; and on the GPU if one folds.
pub struct Twiddles {
    inverses: Vec<Vec<B>>,
    gpu: Option<gpu::Twiddles>,
}

impl Twiddles {
    /// For every fold of the protocol's codewords.
    pub fn new(protocol: &Protocol, device: &Device) -> Result<Self, Error> {
        let levels = protocol.schedule.layers * FoldSchedule::ARITY_LOG;
        let half = 1u32 << (protocol.codeword_log() - 1);
        let mut coordinates: Vec<M31> = Vec::new();
        let level = |level: u32| -> Vec<B> {
            // From the third level on a coordinate is the double of one of the level before.
            coordinates = if level < 2 {
                let at = |m: u32| protocol.domain.coordinate(level, 2 * m);
                (0..half >> level).into_par_iter().with_min_len(1 << 10).map(at).collect()
            } else {
                coordinates.par_iter().step_by(2).map(|&t| (t * t).double() - M31::ONE).collect()
            };
            let mut inverses = coordinates.clone();
            inverses.par_chunks_mut(1 << 12).for_each(circlet_core::code::invert);
            inverses
                .chunks(LANES)
                .map(|c| {
                    B::from_array(std::array::from_fn(|i| {
                        to_stwo_base(c.get(i).copied().unwrap_or_default())
                    }))
                })
                .collect()
        };
        let inverses: Vec<Vec<B>> = (0..levels).map(level).collect();
        let gpu = match device.machines() {
            [machine, ..] if gpu::Rows::are_many(protocol.stacking.log_rows) => {
                let levels = inverses.iter().map(|level| bytemuck::cast_slice(level));
                Some(gpu::Twiddles::new(machine, protocol.codeword_log(), levels)?)
            }
            _ => None,
        };
        Ok(Self { inverses, gpu })
    }

    /// Those of the GPU that folds, if one does: adversaries see and change only what is on the processor.
    pub fn gpu(&self, adversary: &dyn Adversary) -> Option<&gpu::Twiddles> {
        self.gpu.as_ref().filter(|_| !adversary.meddles())
    }
}

/// Neighbouring values in a leaf; as many as a vector has lanes.
const ARITY: usize = 1 << FoldSchedule::ARITY_LOG;

/// A committed word of the fold.
struct Layer<S: BulkHash> {
    /// Sixty-four columns: four coordinates of sixteen neighbouring values.
    columns: Vec<Vec<B>>,
    tree: Tree<S>,
}

impl<S: BulkHash> Layer<S> {
    fn new(word: &[QM31], cap_log: u32) -> Self {
        /// Vectors of every column that one task fills.
        const TASK: usize = 1 << 6;
        let vectors = word.len() / ARITY / LANES;
        let mut columns = vec![vec![B::from_array([to_stwo_base(M31::ZERO); LANES]); vectors]; 4 * ARITY];
        let mut tasks: Vec<Vec<&mut [B]>> = Vec::new();
        tasks.resize_with(vectors.div_ceil(TASK), Vec::new);
        for column in &mut columns {
            tasks.iter_mut().zip(column.chunks_mut(TASK)).for_each(|(task, part)| task.push(part));
        }
        tasks.into_par_iter().zip(word.par_chunks(TASK * ARITY * LANES)).for_each(|(mut columns, word)| {
            for (vector, leaves) in word.chunks_exact(ARITY * LANES).enumerate() {
                for (slot, columns) in columns.chunks_exact_mut(4).enumerate() {
                    let lanes = std::array::from_fn(|i| to_stwo(leaves[i * ARITY + slot]));
                    let coordinates = E::from_array(lanes).into_packed_m31s();
                    columns.iter_mut().zip(coordinates).for_each(|(column, v)| column[vector] = v);
                }
            }
        });
        let tree = Tree::new(&columns, cap_log);
        Self { columns, tree }
    }
}

/// The rounds over rows: what is left of the message `u` and of the weight on it, bound from the lowest coordinate up, and
/// the codeword of `u`, folded with it.
pub trait RowRounds<S: BulkHash> {
    /// `[s_0, s_2]` of the next round.
    fn round(&self) -> [QM31; MESSAGE];
    /// Binds the lowest coordinate.
    fn bind(&mut self, r: QM31) -> Result<(), Error>;
    /// Folds the word, from a level of the code on.
    fn fold(&mut self, level: u32, challenges: &[QM31]) -> Result<(), Error>;
    /// Shows what is left, of which an inner product is claimed, to who might change it: before a word or the last message
    /// is sent.
    fn show(&mut self, _label: Label, _claim: QM31, _adversary: &mut dyn Adversary) {}
    /// The tree over groups of the word, up to a cap of `2^cap_log` digests.
    fn commit(
        &mut self,
        label: Label,
        cap_log: u32,
        adversary: &mut dyn Adversary,
    ) -> Result<&Tree<S>, Error>;
    /// What is left of the message.
    fn message(&mut self) -> Result<Vec<QM31>, Error>;
    /// Goes on with what was sent of it.
    fn replace(&mut self, message: Vec<QM31>) -> Result<(), Error>;
    /// The tree over a committed word.
    fn tree(&self, layer: usize) -> &Tree<S>;
    /// The groups of a committed word that have these indices, and maybe others.
    fn groups(&self, layer: usize, indices: &[u32]) -> Result<Rows<'_>, Error>;
}

/// Begins with a message `u` and the weight on it.
pub fn begin<'a, S: BulkHash>(
    encoder: &Encoder,
    twiddles: &'a Twiddles,
    u: Vec<E>,
    w: Vec<E>,
    adversary: &dyn Adversary,
) -> Result<Box<dyn RowRounds<S> + 'a>, Error> {
    if let (Some(encoder), Some(twiddles)) = (encoder.gpu(), twiddles.gpu(adversary)) {
        return Ok(begin_there(gpu::Rows::new(encoder, [&u, &w])?, twiddles));
    }
    Ok(Box::new(OnProcessor {
        word: encode_extension(encoder, &u)?,
        u: Table::of_vectors(u),
        w: Table::of_vectors(w),
        twiddles: &twiddles.inverses,
        layers: Vec::new(),
    }))
}

/// Begins with those that are on a GPU.
pub fn begin_there<S: BulkHash>(rows: gpu::Rows, twiddles: &gpu::Twiddles) -> Box<dyn RowRounds<S> + '_> {
    Box::new(OnGpu { rows, twiddles, trees: Vec::new() })
}

/// On the processor, where adversaries can change everything.
struct OnProcessor<'a, S: BulkHash> {
    u: Table,
    w: Table,
    word: Vec<QM31>,
    twiddles: &'a [Vec<B>],
    layers: Vec<Layer<S>>,
}

impl<S: BulkHash> RowRounds<S> for OnProcessor<'_, S> {
    fn round(&self) -> [QM31; MESSAGE] {
        low_round(&self.u, &self.w)
    }

    fn bind(&mut self, r: QM31) -> Result<(), Error> {
        self.u.bind_low(r);
        self.w.bind_low(r);
        Ok(())
    }

    fn fold(&mut self, level: u32, challenges: &[QM31]) -> Result<(), Error> {
        self.word = fold(&self.word, &self.twiddles[level as usize..], challenges);
        Ok(())
    }

    fn show(&mut self, label: Label, claim: QM31, adversary: &mut dyn Adversary) {
        if adversary.meddles() {
            let mut message = self.u.elements();
            adversary.remaining(label, &mut message, &self.w.elements(), claim);
            self.u = Table::new(message);
        }
    }

    fn commit(
        &mut self,
        label: Label,
        cap_log: u32,
        adversary: &mut dyn Adversary,
    ) -> Result<&Tree<S>, Error> {
        adversary.word(label, &mut self.word);
        self.layers.push(Layer::new(&self.word, cap_log));
        Ok(self.tree(self.layers.len() - 1))
    }

    fn message(&mut self) -> Result<Vec<QM31>, Error> {
        Ok(self.u.elements())
    }

    fn replace(&mut self, message: Vec<QM31>) -> Result<(), Error> {
        self.u = Table::new(message);
        Ok(())
    }

    fn tree(&self, layer: usize) -> &Tree<S> {
        &self.layers[layer].tree
    }

    fn groups(&self, layer: usize, _: &[u32]) -> Result<Rows<'_>, Error> {
        Ok(Rows::Of(&self.layers[layer].columns))
    }
}

/// On a GPU, for an honest prover.
struct OnGpu<'a, S: BulkHash> {
    rows: gpu::Rows,
    twiddles: &'a gpu::Twiddles,
    trees: Vec<Tree<S>>,
}

impl<S: BulkHash> RowRounds<S> for OnGpu<'_, S> {
    fn round(&self) -> [QM31; MESSAGE] {
        self.rows.round()
    }

    fn bind(&mut self, r: QM31) -> Result<(), Error> {
        self.rows.bind(r)
    }

    fn fold(&mut self, _: u32, challenges: &[QM31]) -> Result<(), Error> {
        self.rows.fold(self.twiddles, std::array::from_fn(|k| halves(challenges[k])))
    }

    fn commit(&mut self, _: Label, cap_log: u32, _: &mut dyn Adversary) -> Result<&Tree<S>, Error> {
        self.trees.push(self.rows.commit(cap_log)?);
        Ok(self.tree(self.trees.len() - 1))
    }

    fn message(&mut self) -> Result<Vec<QM31>, Error> {
        Ok(self.rows.few()?[0].elements())
    }

    fn replace(&mut self, message: Vec<QM31>) -> Result<(), Error> {
        self.rows.few()?[0] = Table::new(message);
        Ok(())
    }

    fn tree(&self, layer: usize) -> &Tree<S> {
        &self.trees[layer]
    }

    fn groups(&self, layer: usize, indices: &[u32]) -> Result<Rows<'_>, Error> {
        Ok(Rows::Some(indices.iter().copied().zip(self.rows.groups(layer, indices)?).collect()))
    }
}

/// The codeword of a message over the extension: one for each coordinate.
fn encode_extension(encoder: &Encoder, message: &[E]) -> Result<Vec<QM31>, Error> {
    let coordinate = |c: usize| message.iter().map(|v| v.into_packed_m31s()[c]).collect();
    let coordinates: Vec<Vec<B>> = (0..4).into_par_iter().map(coordinate).collect();
    let words = encoder.encode_all(&coordinates)?;
    let mut word = vec![QM31::ZERO; words[0].len() * LANES];
    word.par_chunks_mut(LANES).enumerate().with_min_len(1 << 8).for_each(|(v, elements)| {
        let vector = E::from_packed_m31s(std::array::from_fn(|c| words[c][v]));
        elements.copy_from_slice(&unpack(&[vector]));
    });
    Ok(word)
}

/// By what neighbours `u` and `v` are folded at `r`: `(1 - r) / 2` times `u + v`, and `r / 2` times `u - v` over the coordinate.
fn halves(r: QM31) -> [QM31; 2] {
    [(QM31::ONE - r) * QM31::HALF, r * QM31::HALF]
}

/// Folds each group of sixteen neighbours to one value, level by level.
fn fold(word: &[QM31], twiddles: &[Vec<B>], challenges: &[QM31]) -> Vec<QM31> {
    let factors: Vec<[E; 2]> = challenges.iter().map(|&r| halves(r).map(E::splat)).collect();
    let fold_block = |(block, values): (usize, &[QM31])| -> Vec<QM31> {
        let mut vectors = pack(values);
        for (&[low, high], inverses) in factors.iter().zip(twiddles) {
            let len = vectors.len() / 2;
            for i in 0..len {
                let (u, v) = vectors[2 * i].deinterleave(vectors[2 * i + 1]);
                vectors[i] = low * (u + v) + high * ((u - v) * inverses[block * len + i]);
            }
            vectors.truncate(len);
        }
        unpack(&vectors)
    };
    word.par_chunks_exact(ARITY * LANES).enumerate().with_min_len(1 << 4).flat_map_iter(fold_block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::field::pack_base;
    use circlet_core::code::Domain;
    use circlet_core::profile::P100_U;
    use circlet_core::program::{Op, Program, Table as Function, TableId, Tensor, TensorId};

    /// The smallest protocol there is, and larger ones.
    fn protocol(log_rows: u32) -> Protocol {
        let tensor =
            |name: &str| Tensor { name: name.to_owned(), rows: 1, cols: 1, bound: 1, fraction_bits: 0 };
        let program = Program {
            name: String::from("map"),
            tensors: vec![tensor("x"), tensor("y")],
            constants: Vec::new(),
            tables: vec![Function { name: String::from("id"), bits: 1, bound: 1 }],
            ops: vec![Op::Map { x: TensorId(0), table: TableId(0), y: TensorId(1) }],
            inputs: vec![TensorId(0)],
            outputs: vec![TensorId(1)],
            lists: Vec::new(),
        };
        let mut protocol = Protocol::new(&program, P100_U).unwrap();
        let outline = &mut protocol.outline;
        outline.stacking.log_rows = log_rows;
        outline.schedule = FoldSchedule::new(log_rows);
        outline.domain = Domain::new(log_rows + outline.profile.log_blowup);
        protocol
    }

    #[test]
    fn words_fold_to_those_of_bound_messages() {
        for log in [8, 9, 12] {
            let protocol = protocol(log);
            let twiddles = Twiddles::new(&protocol, &Device::Cpu).unwrap();
            let encoder = Encoder::new(log, protocol.profile.log_blowup, &Device::Cpu).unwrap();
            let cells: Vec<i32> = (0..1i32 << log).map(|i| i.wrapping_mul(0x1234_5677) >> 3).collect();
            let message: Vec<E> = cells
                .chunks(LANES)
                .map(|c| {
                    let base = pack_base(c);
                    E::from_packed_m31s([base, base + base, base * base, -base])
                })
                .collect();
            let mut word = encode_extension(&encoder, &message).unwrap();
            let mut table = Table::new(unpack(&message));
            for layer in 0..protocol.schedule.layers {
                let level = layer * FoldSchedule::ARITY_LOG;
                for (position, &value) in word.iter().enumerate().step_by(word.len() / 16 - 1) {
                    let expected = protocol.domain.evaluate(level, &table.elements(), position as u32);
                    assert_eq!(value, expected, "{log} {layer} {position}");
                }
                let challenges: Vec<QM31> = (0..4)
                    .map(|k| QM31::from_coordinates([3, 5, 7, 11].map(|c| M31::reduce(c << (level + k)))))
                    .collect();
                let next = fold(&word, &twiddles.inverses[level as usize..], &challenges);
                for (leaf, &value) in next.iter().enumerate() {
                    let values = &word[leaf * ARITY..][..ARITY];
                    assert_eq!(value, protocol.domain.fold(level, leaf as u32, values, &challenges));
                }
                for &r in &challenges {
                    table.bind_low(r);
                }
                word = next;
            }
        }
    }

    #[test]
    fn leaves_hold_neighbours() {
        let word: Vec<QM31> = (0..1u64 << 10)
            .map(|i| QM31::from_coordinates([1, 2, 3, 4].map(|k| M31::reduce(i * 1000 + k))))
            .collect();
        let layer = Layer::<circlet_core::hash::suite::Blake2sBlake2s>::new(&word, 2);
        for leaf in 0..word.len() / ARITY {
            let expected: Vec<M31> =
                word[leaf * ARITY..][..ARITY].iter().flat_map(|x| x.coordinates()).collect();
            assert_eq!(*Rows::Of(&layer.columns).row(leaf as u32), expected);
        }
    }
}
