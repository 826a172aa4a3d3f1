//! Proofs that several GPUs share.

use std::sync::Arc;

use circlet::backend::device::{Device, Error};
use circlet::backend::matrix::Matrix;
use circlet::keys::{Keep, KeyError, ProvingKey};
use circlet::llm::chat::Standing;
use circlet::llm::prover::DecoderProver;
use circlet::llm::run::Runner;
use circlet::prove::prove;
use circlet_core::decoder::{Text, Turn};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_cuda::Machine;
use circlet_cuda::emulated::{Emulator, Schedule};
use circlet_tests::programs;

use super::{ENOUGH, SMALL, model, products, proven};

/// So many GPUs with so much memory each, and all of them as a device.
pub fn gpus(count: u64, memory: u64) -> (Vec<Arc<Emulator>>, Device) {
    let named = |k| Arc::new(Emulator::new(format!("gpu {k}"), Schedule::Shuffled(k), memory));
    let emulators: Vec<Arc<Emulator>> = (0..count).map(named).collect();
    let device =
        Device::Gpus(emulators.iter().map(|emulator| emulator.clone() as Arc<dyn Machine>).collect());
    (emulators, device)
}

/// Kernels of which every GPU has its part where there is enough for all.
const SHARED: [&str; 9] = [
    "encode_pass",
    "absorb_columns",
    "columns_contract",
    "columns_combine",
    "columns_gather",
    "stack_weigh",
    "stack_join",
    "layer_bind",
    "leaves_fill",
];

fn all_had_a_part(emulators: &[Arc<Emulator>]) {
    for emulator in emulators {
        let launched = emulator.launched();
        for kernel in SHARED {
            let had = launched.iter().any(|launched| launched.starts_with(kernel));
            assert!(had, "{} has not run {kernel}", emulator.describe());
        }
    }
}

#[test]
fn several_share_a_proof() {
    let digits = model("digits.onnx", "digits-calibration.json", 1);
    let cpu = proven::<Blake2sBlake2s>(&Device::Cpu, &digits, ProfileId::P100U);
    for count in [2, 3, 4, 8] {
        let (emulators, device) = gpus(count, ENOUGH);
        assert!(proven::<Blake2sBlake2s>(&device, &digits, ProfileId::P100U) == cpu, "{count} GPUs");
        // A proof is shared by a power of two.
        for (k, emulator) in emulators.iter().enumerate() {
            assert_eq!(emulator.launched().is_empty(), count == 3 && k == 2);
        }
    }
    // Weights that several have parts of, for the run, too.
    let (program, data, inputs) = products(16);
    let run = |device: &Device| {
        let key = ProvingKey::<Blake2sBlake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U);
        prove(&key.unwrap(), &inputs).unwrap()
    };
    let cpu = run(&Device::Cpu);
    let (emulators, device) = gpus(2, ENOUGH);
    assert!(run(&device) == cpu);
    for emulator in emulators {
        let launched = emulator.launched();
        for kernel in ["forward_many", "matrices_over_rows"] {
            assert!(launched.iter().any(|launched| launched.starts_with(kernel)), "{kernel}");
        }
    }
    let (decoder, numbers) = SMALL.decoder(2, 256, 16);
    let runner = || Runner::new(decoder.clone(), &numbers).unwrap();
    let given = [7, 1, 200];
    let generated = runner().generate(&Standing::default(), &given, 2, &[], |_| {}).unwrap();
    let text = Text { tokens: [&given[..], &generated].concat(), prompt: 3 };
    let turn = Turn { given: given.to_vec(), generated };
    let proofs = |device: &Device| {
        let profile = ProfileId::P100U;
        let prover = DecoderProver::<Poseidon2Blake2s>::of(device, runner(), profile, Keep::Tree).unwrap();
        let first = prover.run_turn(&Standing::default(), &turn).unwrap();
        (prover.run(text.clone()).unwrap().prove().unwrap(), first.prove().unwrap())
    };
    let cpu = proofs(&Device::Cpu);
    for count in [2, 4] {
        let (emulators, device) = gpus(count, ENOUGH);
        assert!(proofs(&device) == cpu, "{count} GPUs");
        all_had_a_part(&emulators);
    }
}

/// What is computed on the first GPU alone reads only what is there, and sums only rows that are on one.
#[test]
fn cells_are_where_they_are() {
    let (program, data, _) = products(16);
    let (_, device) = gpus(2, ENOUGH);
    let key = ProvingKey::<Blake2sBlake2s>::on(&device, program, data, ProfileId::P100U).unwrap();
    let Matrix::OnGpu(matrix) = &key.fixed.matrix else { panic!("there is room") };
    let block = 16 << key.protocol.stacking.log_rows;
    assert!(matrix.count() > 32, "{} columns", matrix.count());
    for (cells, first) in [
        (0..block, Some(0)),
        (block - 8..block, Some(block - 8)),
        (block - 8..block + 8, None),
        (block..block + 8, None),
        (2 * block..2 * block + 8, Some(block)),
    ] {
        assert_eq!(matrix.on_first(cells).map(|(_, own)| own.start), first);
    }
    let across = block - 8..block + 8;
    assert!(matrix.sums(&across, 4) && matrix.sums(&across, 8) && !matrix.sums(&across, 16));
}

/// With little memory they do as much as there is room for; where there is too little, one of them says so.
#[test]
fn memory_of_all_is_planned() {
    let (program, data, inputs) = programs::mlp();
    let key = |device: &Device| {
        ProvingKey::<Poseidon2Blake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U)
    };
    let proof = prove(&key(&Device::Cpu).unwrap(), &inputs).unwrap();
    let (mut refused, mut made) = (0, 0);
    for memory in (14..26).flat_map(|log| (4..8).map(move |k| k << (log - 2))) {
        match key(&gpus(2, memory).1) {
            Ok(key) => match prove(&key, &inputs) {
                Ok(same) => {
                    made += 1;
                    assert!(same == proof, "{memory} bytes");
                }
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error.downcast_ref(), Some(Error::Memory { .. })), "{error}");
                }
            },
            Err(KeyError::Device(Error::Memory { .. })) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 3 && made > 3, "{refused} are refused, {made} are made");
}

/// Whichever of them fails, whenever it does: there is an error that names it, and the next proof is right.
#[test]
fn failures_of_one_are_errors() {
    let (program, data, inputs) = programs::mlp();
    let (emulators, device) = gpus(2, ENOUGH);
    let key = || ProvingKey::<Poseidon2Blake2s>::on(&device, program.clone(), data.clone(), ProfileId::P100U);
    let first = key().unwrap();
    let proof = prove(&first, &inputs).unwrap();
    for (k, emulator) in emulators.iter().enumerate() {
        let before = emulator.launched().len();
        assert!(prove(&first, &inputs).unwrap() == proof);
        let launches = emulator.launched().len() - before;
        for at in (1..=launches).step_by(launches / 16 + 1) {
            emulator.fail_launch(at as u64);
            let error = prove(&first, &inputs).unwrap_err();
            match error.downcast_ref() {
                Some(Error::Failed { device, .. }) => assert_eq!(*device, format!("gpu {k}")),
                _ => panic!("{error}"),
            }
        }
        for at in 1..4 {
            emulator.fail_launch(at);
            assert!(matches!(key(), Err(KeyError::Device(Error::Failed { .. }))));
        }
        emulator.fail_launch(0);
    }
    assert!(prove(&first, &inputs).unwrap() == proof);
}
