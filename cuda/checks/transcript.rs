//! Poseidon2, and rounds that go on with a transcript.

use std::sync::Arc;

use circlet_core::field::{M31, P, QM31};
use circlet_core::hash::poseidon2;
use circlet_core::lookup::{round, summand};
use circlet_core::poly::{bind_high, eq_table, univariate};
use circlet_core::transcript::{Label, Poseidon2Transcript, Transcript};
use circlet_cuda::fractions::{Fractions, LAST, Sumcheck};
use circlet_cuda::sums::Element;
use circlet_cuda::transcript::{CONSTANTS, LANES, Permutation, Sponge};
use circlet_cuda::{Error, Machine};

use super::{buffer, element, layer_sums, read, words};

/// Those of the permutation.
pub fn constants() -> [u32; CONSTANTS] {
    let constants: Vec<u32> = poseidon2::constants().map(M31::value).collect();
    constants.try_into().unwrap_or_else(|_| panic!("another number of constants"))
}

/// States of all kinds, in one block and in several.
pub fn permutations(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let permutation = Permutation::new(machine, &constants())?;
    for count in [1, 256, 700] {
        let mut states: Vec<[u32; LANES]> = words(LANES * count, count as u32).as_chunks().0.to_vec();
        states.extend([[0; LANES], [P - 1; LANES]]);
        let mut there = buffer(machine, states.as_flattened())?;
        for state in &mut states {
            let mut lanes = state.map(|word| M31::reduce(word.into()));
            poseidon2::permute(&mut lanes);
            *state = lanes.map(M31::value);
        }
        permutation.permute(&mut there)?;
        assert!(read(&there)? == states.as_flattened(), "{count} states");
    }
    Ok(())
}

/// All rounds of a layer that are run on machines say what the processor says, who draws the same challenges; and leave the same
/// nodes.
pub fn rounds(
    layer: &Fractions,
    mut children: [Vec<QM31>; 4],
    (z, point): (&[Element], &[QM31]),
    lambda: (Element, QM31),
) -> Result<(), Error> {
    let mut transcript = Poseidon2Transcript::new(b"layer");
    transcript.challenges(Label::LookupLambda, layer.log() as usize % 4);
    let begin = transcript.rounds(Label::LookupRound, Label::LookupChallenge);
    let begin = begin.unwrap_or_else(|| panic!("it is of this kind"));
    let sponge = Sponge {
        constants: constants(),
        state: begin.state.map(M31::value),
        absorbed: begin.absorbed.map(M31::value),
        drawn: begin.drawn.map(M31::value),
    };
    let at = |x: usize| children.each_ref().map(|table| table[x]);
    let all = eq_table(point).into_iter().enumerate();
    let mut claim: QM31 = all.map(|(x, weight)| weight * summand(at(x), lambda.1)).sum();
    let words = |x: QM31| x.coordinates().map(M31::value);
    let bound = point.len() - LAST.ilog2() as usize;
    let with_inverse = |&z: &QM31| [z, z.inverse().unwrap_or(QM31::ONE)];
    let coordinates: Vec<[QM31; 2]> = point.iter().rev().take(bound).map(with_inverse).collect();
    let given: Vec<_> = coordinates.iter().map(|z| z.map(words)).collect();
    let sumcheck = Sumcheck::new(layer, lambda.0, z, None)?;
    let (found, nodes) = sumcheck.run(&sponge, words(claim), &given)?;
    assert_eq!(found.len(), bound);
    for ([z, inverse], found) in coordinates.into_iter().zip(found) {
        let [t0, t2] = layer_sums(&children, point, lambda.1);
        assert_eq!(found.sums.map(element), [t0, t2], "a layer of 2^{}", layer.log());
        let message = [(claim - t0) * inverse - t2, t2];
        transcript.absorb_ext(Label::LookupRound, &message);
        let r = transcript.challenge(Label::LookupChallenge);
        assert_eq!(element(found.challenge), r, "a layer of 2^{}", layer.log());
        claim = univariate(&round(claim, z, message), r);
        for table in &mut children {
            bind_high(table, r);
        }
    }
    assert_eq!(nodes.len(), LAST);
    for (i, node) in nodes.into_iter().enumerate() {
        let [p0, p1, q0, q1] = children.each_ref().map(|table| table[i]);
        assert_eq!(node.map(element), [p0, q1, q0, p1 + lambda.1 * q1]);
    }
    Ok(())
}
