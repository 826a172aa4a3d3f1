use core::convert::Infallible;

use super::*;
use crate::{field::M31, hash::Poseidon2Blake2s};

type S = Poseidon2Blake2s;
type Digest = <S as Trees>::Digest;

fn tree(height: u32) -> Tree<S> {
    Tree::new((0..1u64 << height).map(|i| S::leaf(&[M31::reduce(i), M31::reduce(i * i + 5)])).collect())
        .unwrap()
}

fn opened(tree: &Tree<S>, indices: &[u32]) -> Vec<(u32, Digest)> {
    indices.iter().map(|&index| (index, tree.node(0, index).unwrap())).collect()
}

/// Verifies, and insists that the proof is used up; a proof that is too short is rejected.
fn accepts(cap: &[Digest], height: u32, leaves: &[(u32, Digest)], proof: &[Digest]) -> bool {
    let mut siblings = proof.iter().copied();
    let verdict = verify_multiproof::<S, ()>(cap, height, leaves, &mut || siblings.next().ok_or(()));
    verdict == Ok(true) && siblings.next().is_none()
}

/// All sets of leaves for small trees, some for a larger one.
fn index_sets(height: u32) -> Vec<Vec<u32>> {
    let width = 1u32 << height;
    if height <= 3 {
        let members = |set: u32| (0..width).filter(|i| set >> i & 1 == 1).collect();
        return (1..1u32 << width).map(members).collect();
    }
    (1..40u32)
        .map(|seed| {
            let mut set: Vec<u32> =
                (0..seed).map(|i| (seed * 7919 + i).wrapping_mul(2_654_435_761) >> (32 - height)).collect();
            set.sort_unstable();
            set.dedup();
            set
        })
        .collect()
}

#[test]
fn honest_multiproofs_pass_with_every_cap() {
    for height in [0, 1, 2, 3, 7] {
        let tree = tree(height);
        for cap_height in [0, 1, 2, height, height + 1] {
            let cap = tree.cap(cap_height);
            assert_eq!(cap.len(), 1 << cap_height.min(height));
            assert_eq!(cap_root::<S>(cap), tree.node(height, 0).unwrap());
            for indices in index_sets(height) {
                let proof = tree.multiproof(cap_height, &indices).unwrap();
                assert!(accepts(cap, height, &opened(&tree, &indices), &proof));
            }
        }
    }
}

#[test]
fn the_schedule_is_bottom_up_and_left_to_right() {
    assert_eq!(sibling_positions(3, 0, &[1, 4, 5]), [(0, 0), (1, 1), (1, 3)]);
    assert_eq!(sibling_positions(3, 1, &[1, 4, 5]), [(0, 0), (1, 1), (1, 3)]);
    assert_eq!(sibling_positions(3, 2, &[1, 4, 5]), [(0, 0)]);
    assert_eq!(sibling_positions(3, 0, &[6]), [(0, 7), (1, 2), (2, 0)]);
    assert_eq!(sibling_positions(2, 0, &[0, 1, 2, 3]), []);
    assert_eq!(sibling_positions(0, 0, &[0]), []);
    for indices in index_sets(7) {
        let positions = sibling_positions(7, 2, &indices);
        assert!(positions.is_sorted());
    }
}

#[test]
fn altered_proofs_fail() {
    let height = 5;
    let tree = tree(height);
    for cap_height in [0, 2] {
        let cap = tree.cap(cap_height).to_vec();
        for indices in index_sets(height) {
            let leaves = opened(&tree, &indices);
            let proof = tree.multiproof(cap_height, &indices).unwrap();
            assert!(accepts(&cap, height, &leaves, &proof));

            for i in 0..leaves.len() {
                let mut altered = leaves.clone();
                altered[i].1[31] ^= 1;
                assert!(!accepts(&cap, height, &altered, &proof), "altered leaf");
            }
            for i in 0..proof.len() {
                let mut altered = proof.clone();
                altered[i][0] ^= 0x80;
                assert!(!accepts(&cap, height, &leaves, &altered), "altered sibling");
                altered = proof.clone();
                let other = (i + 1) % proof.len();
                altered.swap(i, other);
                assert!(i == other || !accepts(&cap, height, &leaves, &altered), "swapped siblings");
                assert!(!accepts(&cap, height, &leaves, &proof[..i]), "short proof");
            }
            // Each leaf moved to every free place, with the proof for its true place and for the false one.
            for i in 0..leaves.len() {
                for place in (0..1 << height).filter(|place| !indices.contains(place)) {
                    let mut moved = leaves.clone();
                    moved[i].0 = place;
                    moved.sort_unstable_by_key(|leaf| leaf.0);
                    let places: Vec<u32> = moved.iter().map(|leaf| leaf.0).collect();
                    assert!(!accepts(&cap, height, &moved, &proof), "wrong index");
                    let fitting = tree.multiproof(cap_height, &places).unwrap();
                    assert!(!accepts(&cap, height, &moved, &fitting), "wrong index, its own siblings");
                }
            }
            for entry in 0..cap.len() {
                let used = indices.iter().any(|index| (index >> (height - cap_height)) as usize == entry);
                let mut altered = cap.clone();
                altered[entry][7] ^= 1;
                assert_eq!(accepts(&altered, height, &leaves, &proof), !used, "cap entry");
                assert_ne!(cap_root::<S>(&altered), cap_root::<S>(&cap));
            }
            for wrong in [0, 1, 2, 3, 4, 6, 31, 32, 64, u32::MAX] {
                assert!(!accepts(&cap, wrong, &leaves, &proof), "wrong height");
            }
        }
    }
}

#[test]
fn malformed_calls_are_refused_without_reading() {
    let tree = tree(3);
    let mut unread = || -> Result<Digest, Infallible> { panic!("nothing may be read") };
    let (cap, leaf) = (tree.cap(0).to_vec(), tree.node(0, 2).unwrap());
    let three = [cap[0]; 3];
    let sixteen = [cap[0]; 16];
    for (cap, leaves) in [
        (&cap[..], &[][..]),
        (&cap, &[(2, leaf), (2, leaf)]),
        (&cap, &[(5, leaf), (2, leaf)]),
        (&cap, &[(8, leaf)]),
        (&cap, &[(u32::MAX, leaf)]),
        (&[], &[(2, leaf)]),
        (&three, &[(2, leaf)]),
        (&sixteen, &[(2, leaf)]),
    ] {
        assert_eq!(verify_multiproof::<S, _>(cap, 3, leaves, &mut unread), Ok(false));
    }
    assert!(Tree::<S>::new(Vec::new()).is_none() && Tree::<S>::new(three.to_vec()).is_none());
    assert_eq!(tree.multiproof(0, &[8]), None);
}

#[test]
fn errors_of_the_reader_pass_through() {
    let tree = tree(3);
    let verdict = verify_multiproof::<S, &str>(tree.cap(0), 3, &opened(&tree, &[2]), &mut || Err("end"));
    assert_eq!(verdict, Err("end"));
}
