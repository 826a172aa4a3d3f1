//! Binary Merkle trees with a cap, opened at many leaves at once.
//!
//! Level 0 holds the `2^h` leaf digests, level `k` the `2^(h-k)` nodes above them. The *cap* is the level of `2^c`
//! nodes, `c` at most `h`; [`cap_root`] hashes it to the one digest that the transcript absorbs. A *multiproof* for a
//! set of leaves holds the nodes that cannot be computed from the leaves, level by level from the leaves to the cap,
//! from left to right; `steps` is the one definition of that schedule.

use alloc::vec::Vec;

use crate::hash::Trees;

/// What happens to one parent of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Both children are known.
    Both,
    /// The left child is known, the right one is read from the proof.
    ReadRight,
    /// The right child is known, the left one is read from the proof.
    ReadLeft,
}

/// The parents of the known nodes of a level, given by their sorted, distinct indices, with what each one reads.
fn steps(known: &[u32]) -> Vec<(u32, Step)> {
    let mut out = Vec::with_capacity(known.len());
    let mut rest = known;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let step = match (first & 1, tail) {
            (1, _) => Step::ReadLeft,
            (_, [second, after @ ..]) if *second == first | 1 => {
                rest = after;
                Step::Both
            }
            _ => Step::ReadRight,
        };
        out.push((first >> 1, step));
    }
    out
}

/// The nodes of a multiproof as `(level, index)`, in their order. `indices` are sorted and distinct.
pub fn sibling_positions(height: u32, cap_height: u32, indices: &[u32]) -> Vec<(u32, u32)> {
    let mut positions = Vec::new();
    let mut known = indices.to_vec();
    for level in 0..height.saturating_sub(cap_height) {
        let parents = steps(&known);
        positions.extend(parents.iter().filter_map(|&(parent, step)| match step {
            Step::Both => None,
            Step::ReadRight => Some((level, 2 * parent + 1)),
            Step::ReadLeft => Some((level, 2 * parent)),
        }));
        known = parents.into_iter().map(|(parent, _)| parent).collect();
    }
    positions
}

/// Whether `leaves`, sorted by distinct index, are in the tree of this height and cap, given the nodes of the
/// multiproof one by one.
///
/// `false` also for an empty set, for unsorted, repeated or too large indices, and for a cap that is no level of such
/// a tree. Nodes are read only while everything before them is in order.
pub fn verify_multiproof<T: Trees, E>(
    cap: &[T::Digest],
    height: u32,
    leaves: &[(u32, T::Digest)],
    next_sibling: &mut impl FnMut() -> Result<T::Digest, E>,
) -> Result<bool, E> {
    let sorted = leaves.is_sorted_by(|one, next| one.0 < next.0);
    let in_range = leaves.last().is_some_and(|last| height < 32 && last.0 >> height == 0);
    if !sorted || !in_range || !cap.len().is_power_of_two() || cap.len().ilog2() > height {
        return Ok(false);
    }
    let mut indices: Vec<u32> = leaves.iter().map(|leaf| leaf.0).collect();
    let mut digests: Vec<T::Digest> = leaves.iter().map(|leaf| leaf.1).collect();
    for _ in cap.len().ilog2()..height {
        let parents = steps(&indices);
        let mut known = digests.into_iter();
        let mut next_known = || known.next().unwrap_or_default();
        digests = parents
            .iter()
            .map(|(_, step)| {
                let first = next_known();
                Ok(match step {
                    Step::Both => T::node(&first, &next_known()),
                    Step::ReadRight => T::node(&first, &next_sibling()?),
                    Step::ReadLeft => T::node(&next_sibling()?, &first),
                })
            })
            .collect::<Result<_, E>>()?;
        indices = parents.into_iter().map(|(parent, _)| parent).collect();
    }
    Ok(indices.iter().zip(&digests).all(|(&index, digest)| cap.get(index as usize) == Some(digest)))
}

/// The root above a cap. The length of a cap is fixed by the key and a power of two; an odd last node of any other
/// sequence rises unchanged, and the root of nothing is the default digest.
pub fn cap_root<T: Trees>(cap: &[T::Digest]) -> T::Digest {
    let mut level = cap.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => T::node(left, right),
                rest => rest.first().copied().unwrap_or_default(),
            })
            .collect();
    }
    level.first().copied().unwrap_or_default()
}

/// A whole tree in memory, built node by node: the reference for faster builders.
#[derive(Clone, Debug)]
pub struct Tree<T: Trees> {
    levels: Vec<Vec<T::Digest>>,
}

impl<T: Trees> Tree<T> {
    /// The tree over these leaf digests, or `None` if their number is not a power of two.
    pub fn new(leaves: Vec<T::Digest>) -> Option<Self> {
        if !leaves.len().is_power_of_two() {
            return None;
        }
        let mut levels = alloc::vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            levels.push(level.as_chunks::<2>().0.iter().map(|[left, right]| T::node(left, right)).collect());
        }
        Some(Self { levels })
    }

    /// The number of levels above the leaves.
    pub fn height(&self) -> u32 {
        self.levels.len() as u32 - 1
    }

    /// A node, if there is one at this place.
    pub fn node(&self, level: u32, index: u32) -> Option<T::Digest> {
        self.levels.get(level as usize)?.get(index as usize).copied()
    }

    /// The level of `2^min(cap_height, height)` nodes.
    pub fn cap(&self, cap_height: u32) -> &[T::Digest] {
        let level = self.height().saturating_sub(cap_height) as usize;
        self.levels.get(level).map(Vec::as_slice).unwrap_or_default()
    }

    /// The multiproof for sorted, distinct leaf indices; `None` if one is out of range.
    pub fn multiproof(&self, cap_height: u32, indices: &[u32]) -> Option<Vec<T::Digest>> {
        let positions = sibling_positions(self.height(), cap_height, indices);
        positions.into_iter().map(|(level, index)| self.node(level, index)).collect()
    }
}

#[cfg(test)]
mod tests;
