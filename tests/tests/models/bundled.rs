//! The bundled models, whole: imported, quantized, proven and verified, and compared with what ONNX Runtime
//! computed for the same samples.

use circlet::backend::merkle::BulkHash;
use circlet::graph::Tensor;
use circlet::import::{ImportOptions, onnx};
use circlet::keys::ProvingKey;
use circlet::prove::prove;
use circlet::quantize::{Options, Quantized, quantize};
use circlet::samples::read_inputs;
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_verifier::verify;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/");

/// A model for `batch` rows, and its samples: what goes in and, where it is recorded, what came out.
fn load(
    model: &str,
    calibration: &str,
    samples: &str,
    batch: usize,
) -> (Quantized, Vec<Tensor>, Option<Vec<f32>>) {
    let path = |name: &str| format!("{MODELS}{name}");
    let graph = onnx::import_file(path(model).as_ref(), ImportOptions { batch }).unwrap();
    let shape = graph.shape(graph.inputs()[0].value).to_vec();
    let read = |name: &str| read_inputs(path(name).as_ref()).unwrap();
    let batches: Vec<Vec<Tensor>> =
        read(calibration).for_input(&shape).unwrap().into_iter().map(|t| vec![t]).collect();
    let quantized = quantize(&graph, &batches, Options::default()).unwrap();
    let samples = read(samples);
    let outputs = samples.outputs.as_ref().map(|t| t.data().to_vec());
    (quantized, samples.for_input(&shape).unwrap(), outputs)
}

/// Proves the first sample and returns its outputs as real numbers.
fn prove_first<S: BulkHash>(quantized: &Quantized, samples: &[Tensor], profile: ProfileId) -> Vec<f32> {
    let key = ProvingKey::<S>::new(quantized.program.clone(), quantized.data.clone(), profile).unwrap();
    let inputs: Vec<Vec<i32>> =
        quantized.quantize_inputs(&samples[..1]).into_iter().map(|input| input.values).collect();
    let (statement, proof) = prove(&key, &inputs).unwrap();
    verify(&key.verifying, &statement, &proof).unwrap();
    assert_eq!(statement.inputs, inputs);

    let mut other = statement.clone();
    other.outputs[0][0] += 1;
    assert!(verify(&key.verifying, &other, &proof).is_err());
    quantized.dequantize_outputs(&statement.outputs).remove(0)
}

fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "output {i}: {found} instead of {expected}");
    }
}

#[test]
fn digits_in_every_provable_profile_and_suite() {
    let (quantized, samples, _) = load("digits.onnx", "digits-calibration.json", "digits-samples.json", 1);
    let scores = prove_first::<Poseidon2Blake2s>(&quantized, &samples, ProfileId::P100U);
    for profile in [ProfileId::P100J, ProfileId::P100J8] {
        assert_eq!(prove_first::<Poseidon2Blake2s>(&quantized, &samples, profile), scores);
    }
    assert_eq!(prove_first::<Blake2sBlake2s>(&quantized, &samples, ProfileId::P100U), scores);
}

#[test]
fn matrix_product() {
    let (quantized, samples, outputs) =
        load("matmul128.onnx", "calibration-matmul128.json", "samples-matmul128.json", 1);
    let found = prove_first::<Poseidon2Blake2s>(&quantized, &samples, ProfileId::P100U);
    close(&found, &outputs.unwrap(), 0.004);
}

#[test]
fn layer_norm_chain() {
    let (quantized, samples, outputs) =
        load("layernorm.onnx", "calibration-layernorm.json", "samples-layernorm.json", 4);
    let found = prove_first::<Poseidon2Blake2s>(&quantized, &samples, ProfileId::P100U);
    close(&found, &outputs.unwrap(), 0.01);
}

#[test]
fn residual_network() {
    let (quantized, samples, outputs) =
        load("residual.onnx", "calibration-residual.json", "samples-residual.json", 4);
    let found = prove_first::<Poseidon2Blake2s>(&quantized, &samples, ProfileId::P100U);
    close(&found, &outputs.unwrap(), 0.01);
}
