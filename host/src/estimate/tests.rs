use circlet_core::profile::ProfileId;

use super::*;
use crate::graph::{GraphBuilder, Op, Tensor};
use crate::keys::ProvingKey;
use crate::prove::prove;
use crate::quantize::{Options, quantize};
use circlet_core::hash::suite::Poseidon2Blake2s;

/// A layer with `n` inputs and outputs, and `rows` samples.
fn layer(rows: usize, n: usize) -> (crate::quantize::Quantized, Vec<i32>) {
    let noise = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 8e6 - 1.0;
    let tensor =
        |dims: [usize; 2]| Tensor::new(dims.to_vec(), (0..dims[0] * dims[1]).map(noise).collect()).unwrap();
    let mut b = GraphBuilder::new();
    let x = b.input("x", vec![rows, n]).unwrap();
    let w = b.constant("w", tensor([n, n])).unwrap();
    let h = b.node("h", "h", Op::MatMul, &[x, w]).unwrap();
    let y = b.node("y", "y", Op::Relu, &[h]).unwrap();
    let graph = b.finish(&[("y", y)]).unwrap();
    let inputs = vec![tensor([rows, n])];
    let quantized = quantize(&graph, std::slice::from_ref(&inputs), Options::default()).unwrap();
    let integers = quantized.quantize_inputs(&inputs).remove(0).values;
    (quantized, integers)
}

#[test]
fn proof_sizes_are_as_estimated() {
    for (rows, n) in [(1, 4), (1, 100), (20, 60)] {
        let (quantized, input) = layer(rows, n);
        for profile in [ProfileId::P100U, ProfileId::P100J, ProfileId::P100J8] {
            let (program, data) = (quantized.program.clone(), quantized.data.clone());
            let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, profile).unwrap();
            let expected = estimate(&key.protocol, 1).proof_bytes as f64;
            let (_, proof) = prove(&key, std::slice::from_ref(&input)).unwrap();
            let ratio = expected / proof.len() as f64;
            assert!((0.96..1.04).contains(&ratio), "{rows} x {n}, {profile:?}: {expected}, {}", proof.len());
        }
    }
}

#[test]
fn more_is_more() {
    let at = |rows, profile: ProfileId, threads| {
        estimate(&Protocol::new(&layer(rows, 50).0.program, *profile.profile()).unwrap(), threads)
    };
    let (small, large) = (at(1, ProfileId::P100U, 1), at(400, ProfileId::P100U, 1));
    assert!(small.memory_bytes < large.memory_bytes);
    assert!(small.times.prove() < large.times.prove());
    assert_eq!(large.multiplications, 400 * 50 * 50);
    assert!(at(400, ProfileId::P100U, 4).times.prove() < large.times.prove());
    assert!(at(400, ProfileId::P100J8, 1).proof_bytes < large.proof_bytes);
}

#[test]
fn hostile_keys_are_refused_or_estimated() {
    let (quantized, _) = layer(2, 5);
    let (program, data) = (quantized.program, quantized.data);
    let key = ProvingKey::<Poseidon2Blake2s>::new(program, data, ProfileId::P100U).unwrap().verifying;
    let good = key.to_bytes();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len().min(400));
            bytes[at] = [0xff, 0x7f, 0x80, 0, 1, random(256) as u8][random(6)];
        }
        let Ok(key) = postcard::from_bytes::<circlet_core::key::VerifyingKey>(&bytes) else { continue };
        if let Ok(protocol) = Protocol::with_rows(&key.program, *key.profile.profile(), key.log_rows.into()) {
            estimate(&protocol, 2);
        }
    }
}
