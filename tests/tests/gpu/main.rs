//! Proofs made on an emulated GPU: the same bytes as on the processor, in whatever groups of columns they are committed to;
//! and where the GPU fails, an error that says so and no proof.

mod relations;
mod several;
mod transcript;

use std::collections::BTreeSet;
use std::sync::Arc;

use circlet::backend::device::{Device, Error};
use circlet::backend::gpu::products::is_large;
use circlet::backend::gpu::thresholds::LEAST;
use circlet::backend::grind::{Grinder, grind};
use circlet::backend::matrix::Matrix;
use circlet::backend::merkle::BulkHash;
use circlet::execute::{ExecuteError, execute_with};
use circlet::graph::Tensor;
use circlet::import::{ImportOptions, onnx};
use circlet::keys::{Columns, Keep, KeyError, ProvingKey};
use circlet::llm::chat::Standing;
use circlet::llm::encoder::prover::{EncoderProver, EncoderRunner};
use circlet::llm::prover::{self, DecoderProver};
use circlet::llm::run::Runner;
use circlet::llm::shape::Shape;
use circlet::prove::adversary::Honest;
use circlet::prove::prove;
use circlet::quantize::{Options, Quantized, quantize};
use circlet::queue;
use circlet::samples::read_inputs;
use circlet_core::decoder::{Text, Turn};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_core::protocol::Protocol;
use circlet_cuda::emulated::{Emulator, Schedule};
use circlet_cuda::fractions::Leaves;
use circlet_cuda::{Buffer, Machine};
use circlet_tests::programs::{self, Case, ProgramBuilder};
use circlet_verifier::verify;

/// Memory that is enough for all of these.
const ENOUGH: u64 = 1 << 30;

/// A decoder.
const SMALL: Shape = Shape {
    name: "small",
    layers: 2,
    width: 64,
    ffn: 128,
    heads: 4,
    groups: 2,
    channels: 16,
    vocab: 256,
    qk_norm: true,
};

fn emulator(memory: u64) -> Arc<Emulator> {
    Arc::new(Emulator::new("emulated", Schedule::Ascending, memory).with_threads(2))
}

fn gpu(memory: u64) -> Device {
    Device::Gpu(emulator(memory))
}

/// A bundled model and a sample.
fn model(name: &str, calibration: &str, batch: usize) -> (Quantized, Vec<Vec<i32>>) {
    let path = |name: &str| format!("{}/../models/{name}", env!("CARGO_MANIFEST_DIR"));
    let graph = onnx::import_file(path(name).as_ref(), ImportOptions { batch }).unwrap();
    let shape = graph.shape(graph.inputs()[0].value).to_vec();
    let samples = read_inputs(path(calibration).as_ref()).unwrap().for_input(&shape).unwrap();
    let samples: Vec<Vec<Tensor>> = samples.into_iter().map(|sample| vec![sample]).collect();
    let quantized = quantize(&graph, &samples, Options::default()).unwrap();
    let inputs = quantized.quantize_inputs(&samples[0]).into_iter().map(|input| input.values).collect();
    (quantized, inputs)
}

/// A program of a product with weights of eight bits and one with weights of sixteen, both large enough for a GPU if there are
/// four rows at least.
fn products(rows: u32) -> Case {
    let mut b = ProgramBuilder::new("products");
    let x = b.input(rows, 512, 127);
    let clamp = b.clamp(16, 127);
    let y = b.linear(x, 512, 127, 10, clamp);
    let z = b.linear(y, 512, 3000, 15, clamp);
    b.finish(&[y, z])
}

/// The key and a proof of a model.
fn proven<S: BulkHash>(
    device: &Device,
    (model, inputs): &(Quantized, Vec<Vec<i32>>),
    profile: ProfileId,
) -> (Vec<u8>, Vec<u8>) {
    let key = ProvingKey::<S>::on(device, model.program.clone(), model.data.clone(), profile).unwrap();
    let (statement, proof) = prove(&key, inputs).unwrap();
    assert_eq!(verify(&key.verifying, &statement, &proof), Ok(()));
    (key.verifying.to_bytes(), proof)
}

#[test]
fn the_bundled_models_are_proven_the_same() {
    let emulator = emulator(ENOUGH);
    let gpu = Device::Gpu(emulator.clone());
    let digits = model("digits.onnx", "digits-calibration.json", 1);
    for profile in [ProfileId::P100U, ProfileId::P100J8] {
        let [cpu, gpu] =
            [&Device::Cpu, &gpu].map(|device| proven::<Poseidon2Blake2s>(device, &digits, profile));
        assert!(cpu == gpu);
    }
    for (name, calibration, batch) in [
        ("digits.onnx", "digits-calibration.json", 1),
        ("layernorm.onnx", "calibration-layernorm.json", 4),
        ("residual.onnx", "calibration-residual.json", 4),
        ("matmul128.onnx", "calibration-matmul128.json", 1),
    ] {
        let model = model(name, calibration, batch);
        let [cpu, gpu] =
            [&Device::Cpu, &gpu].map(|device| proven::<Blake2sBlake2s>(device, &model, ProfileId::P100U));
        assert!(cpu == gpu, "{name}");
    }
    // Weights of eight and of sixteen bits with few rows and with more.
    for rows in [4, 16] {
        let (program, data, inputs) = products(rows);
        let [cpu, there] = [&Device::Cpu, &gpu].map(|device| {
            let key =
                ProvingKey::<Blake2sBlake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U);
            prove(&key.unwrap(), &inputs).unwrap()
        });
        assert!(cpu == there, "{rows} rows");
    }
    // Weights of eight bits and values, in matrices that are large enough to be summed there; products of columns, flipped ones
    // too, that are large enough to have their rounds there.
    let (decoder, numbers) = Shape { layers: 1, ffn: 1024, heads: 16, ..SMALL }.decoder(1, 64, 64);
    let given: Vec<u32> = (0..60).map(|k| 7 * k % 64).collect();
    let [cpu, there] = [&Device::Cpu, &gpu].map(|device| {
        let runner = Runner::new(decoder.clone(), &numbers).unwrap();
        let generated = runner.generate(&Standing::default(), &given, 1, &[], |_| {}).unwrap();
        let text = Text { tokens: [&given[..], &generated].concat(), prompt: 60 };
        let prover = DecoderProver::<Poseidon2Blake2s>::of(device, runner, ProfileId::P100U, Keep::Codewords);
        let run = prover.unwrap().run(text).unwrap();
        // Products that are large enough to be there are made of columns that are there, too.
        let reduction = &run.key.protocol.reduction;
        let large = reduction.terms.iter().filter(|term| is_large(term)).flat_map(|term| [term.a, term.b]);
        let mut forms = large.map(|operand| reduction.operands[operand].operand().form.terms.as_slice());
        assert!(forms.any(|form| matches!(form, [(1, _)])));
        run.prove().unwrap()
    });
    assert!(cpu == there);
    // A table of eight bits that shares no matrix column with wider numbers.
    let (program, data, inputs) = programs::mlp();
    let [cpu, there] = [&Device::Cpu, &gpu].map(|device| {
        let (program, data) = (program.clone(), data.clone());
        let key = ProvingKey::<Poseidon2Blake2s>::on(device, program, data, ProfileId::P100U).unwrap();
        prove(&key, &inputs).unwrap()
    });
    assert!(cpu == there);
    // Each kernel had its part, but for permutations alone, of which proofs of models have none.
    let launched: BTreeSet<&str> = emulator.launched().into_iter().collect();
    for family in circlet_cuda::FAMILIES {
        for kernel in family.kernels().filter(|&kernel| kernel != "permute_all") {
            assert!(launched.contains(kernel), "{kernel}");
        }
    }
}

/// Texts and turns of conversations, whose commitments have several trees, with codewords kept or made again.
#[test]
fn texts_are_proven_the_same() {
    let (decoder, numbers) = SMALL.decoder(2, 256, 16);
    let runner = || Runner::new(decoder.clone(), &numbers).unwrap();
    let given = [7, 1, 200];
    let generated = runner().generate(&Standing::default(), &given, 2, &[], |_| {}).unwrap();
    let text = Text { tokens: [&given[..], &generated].concat(), prompt: 3 };
    let turn = Turn { given: given.to_vec(), generated: generated.clone() };
    let ways = [(Device::Cpu, Keep::Codewords), (gpu(ENOUGH), Keep::Codewords), (gpu(ENOUGH), Keep::Tree)];
    let [cpu, kept, made] = ways.map(|(device, keep)| {
        let prover =
            DecoderProver::<Poseidon2Blake2s>::of(&device, runner(), ProfileId::P100U, keep).unwrap();
        let alone = prover::key::<Poseidon2Blake2s>(&device, &runner(), ProfileId::P100U).unwrap();
        assert!(alone == prover.key);
        let proof = prover.run(text.clone()).unwrap().prove().unwrap();
        let first = prover.run_turn(&Standing::default(), &turn).unwrap();
        let next = Turn { given: vec![9, 30], generated: Vec::new() };
        let said = runner().generate(&first.standing, &next.given, 2, &[], |_| {}).unwrap();
        let second = prover.run_turn(&first.standing, &Turn { generated: said, ..next }).unwrap();
        (prover.key, proof, first.prove().unwrap(), second.prove().unwrap())
    });
    assert!(cpu == kept && cpu == made);
}

/// Sentences, and the registration of an encoder's numbers, on one GPU and on two.
#[test]
fn sentences_are_proven_the_same() {
    let (encoder, data) = programs::encoder(1);
    let [cpu, one, two] = [Device::Cpu, gpu(ENOUGH), several::gpus(2, ENOUGH).1].map(|device| {
        let runner = EncoderRunner::new(encoder.clone(), &data).unwrap();
        let prover = EncoderProver::<Blake2sBlake2s>::of(&device, runner, ProfileId::P100U).unwrap();
        let run = prover.run(&[7, 1, 40]).unwrap();
        (
            prover.key.digest(),
            run.encoding.embedding.clone(),
            run.prove().unwrap(),
            prover.register(|_, _| {}).unwrap(),
        )
    });
    assert!(cpu == one && cpu == two);
}

/// A GPU finds the nonces that the processor finds, in one launch or in several, and leaves little work to it.
#[test]
fn work_is_done_the_same() {
    let emulator = emulator(ENOUGH);
    let device = Device::Gpu(emulator.clone());
    let mut grinder = Grinder::new(&device);
    for bits in [0, 1, LEAST.work - 1] {
        assert_eq!(grinder.grind(&[7; 32], bits), Ok(grind(&[7; 32], bits)));
    }
    assert!(emulator.launched().is_empty());
    for bits in [LEAST.work, LEAST.work + 2] {
        let mut launches = BTreeSet::new();
        for seed in (0..40).map(|k| [k; 32]) {
            let before = emulator.launched().len();
            let nonce = grinder.grind(&seed, bits).unwrap();
            assert_eq!(nonce, grind(&seed, bits), "{bits} bits, {seed:?}");
            let launched = emulator.launched().len() - before;
            assert_eq!(launched as u64, (nonce >> (bits + 1)) + 1);
            launches.insert(launched);
            if launches.len() > 2 {
                break;
            }
        }
        assert!(launches.contains(&1) && launches.contains(&2), "{launches:?}");
    }
    emulator.fail_launch(1);
    let failed = grinder.grind(&[7; 32], LEAST.work);
    assert!(matches!(&failed, Err(Error::Failed { what, .. }) if what.contains("pow_search")), "{failed:?}");
}

/// Large products are computed where the weights are, if there is room, and failures are errors that name the GPU.
#[test]
fn programs_run_the_same() {
    let emulator = emulator(ENOUGH / 4);
    let machine: Arc<dyn Machine> = emulator.clone();
    let few = ["forward_few_bytes", "forward_few_halves"];
    let many = ["forward_many_bytes", "forward_many_halves"];
    // Three rows are padded to four.
    for (rows, expected) in [(3, few), (4, few), (5, few), (16, many), (33, many)] {
        let (program, data, inputs) = products(rows);
        let key = |device: &Device| {
            ProvingKey::<Poseidon2Blake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U)
                .unwrap()
        };
        let [cpu, gpu] = [Device::Cpu, Device::Gpu(emulator.clone())].map(|device| key(&device));
        let run = |key: &ProvingKey<Poseidon2Blake2s>| {
            execute_with(key.circuit(), key.columns.clone(), &data.tables, &inputs, &[])
        };
        let trace = run(&cpu).unwrap();
        let (held, _) = emulator.used();
        let launched = || -> Vec<&str> {
            let launched = emulator.launched();
            launched.into_iter().filter(|kernel| kernel.starts_with("forward")).collect()
        };
        let before = launched().len();
        assert!(run(&gpu).unwrap() == trace, "{rows} rows");
        assert_eq!(launched()[before..], expected, "{rows} rows");
        assert_eq!(emulator.used().0, held, "what is used beside weights is given back");

        emulator.fail_launch(1);
        let Err(ExecuteError::Device(Error::Failed { device, what, .. })) = run(&gpu) else {
            panic!("a failure of the GPU is an error")
        };
        assert!(device.contains("emulated") && what.contains(expected[0]), "{device}: {what}");
        emulator.fail_launch(0);
        assert_eq!(emulator.used().0, held);

        let (before, free) = (launched().len(), machine.memory().unwrap().0);
        let full = Buffer::new(&machine, (free as usize - 4096) / 4).unwrap();
        assert!(run(&gpu).unwrap() == trace, "{rows} rows without room");
        assert_eq!(launched().len(), before);
        drop(full);
        assert!(run(&gpu).unwrap() == trace, "{rows} rows with room again");
        assert_eq!(launched().len(), before + 2);
    }
    // Fewer products are not worth it.
    let (program, data, inputs) = products(2);
    let key =
        ProvingKey::<Poseidon2Blake2s>::on(&Device::Gpu(emulator.clone()), program, data, ProfileId::P100U);
    let (key, before) = (key.unwrap(), emulator.launched().len());
    execute_with(key.circuit(), key.columns.clone(), &key.data.tables, &inputs, &[]).unwrap();
    assert_eq!(emulator.launched().len(), before);
}

/// Texts are generated token by token where the weights are, and conversations are followed there.
#[test]
fn texts_are_generated_the_same() {
    let (decoder, numbers) = Shape { layers: 1, ffn: 4096, vocab: 1 << 14, ..SMALL }.decoder(1, 1 << 14, 16);
    let emulator = emulator(ENOUGH);
    let runner = || Runner::new(decoder.clone(), &numbers).unwrap();
    let device = Device::Gpu(emulator.clone());
    let prover =
        DecoderProver::<Poseidon2Blake2s>::of(&device, runner(), ProfileId::P100U, Keep::Tree).unwrap();
    let given = [7, 1, 200];
    let generate = |runner: &Runner| {
        let generated = runner.generate(&Standing::default(), &given, 3, &[], |_| {}).unwrap();
        let turn = Turn { given: given.to_vec(), generated };
        (runner.follow(&Standing::default(), &turn).unwrap(), runner.logits(&[7, 1, 200, 5]).unwrap(), turn)
    };
    let launched = |before: usize, kernel: &str| {
        emulator.launched()[before..].iter().filter(|launched| **launched == kernel).count()
    };
    let before = emulator.launched().len();
    assert!(generate(&runner()) == generate(&prover.runner));
    // In each of the tokens at least the head.
    assert!(launched(before, "forward_few_bytes") >= 3, "{}", launched(before, "forward_few_bytes"));
}

/// A GPU with little memory commits to a few columns at a time; one with too little says what it needs.
#[test]
fn memory_is_planned() {
    let (program, data, inputs) = programs::mlp();
    let key = |device: &Device| {
        ProvingKey::<Poseidon2Blake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U)
    };
    let cpu = key(&Device::Cpu).unwrap();
    let proof = prove(&cpu, &inputs).unwrap();
    let again = |device: &Device| {
        let columns = Columns {
            program: program.clone(),
            tables: data.tables.clone(),
            columns: cpu.columns.clone(),
            protocol: cpu.protocol.clone(),
        };
        ProvingKey::<Poseidon2Blake2s>::of_columns(device, columns, Keep::Tree)
    };
    let walk = |key: &dyn Fn(&Device) -> Result<ProvingKey<Poseidon2Blake2s>, KeyError>| {
        let (mut refused, mut ways) = (0, BTreeSet::new());
        for memory in (12..30).flat_map(|log| (8..16).map(move |k| k << (log - 3))) {
            let emulator = emulator(memory);
            match key(&Device::Gpu(emulator.clone())) {
                Ok(key) => {
                    assert!(key.verifying == cpu.verifying);
                    let before = emulator.launched().len();
                    match prove(&key, &inputs) {
                        Ok(same) => assert!(same == proof, "{memory} bytes"),
                        Err(error) => {
                            assert!(matches!(error.downcast_ref(), Some(Error::Memory { .. })), "{error}");
                            refused += 1;
                            continue;
                        }
                    }
                    let launched = emulator.launched().split_off(before);
                    let count =
                        |kernel| launched.iter().filter(|launched| launched.starts_with(kernel)).count();
                    let kernels = ["columns_contract", "columns_gather", "encode_pass", "stack_weigh"];
                    ways.insert(kernels.map(count));
                }
                Err(KeyError::Device(Error::Memory { needed, free, .. })) => {
                    assert!(needed > free && free <= memory, "{needed} of {free}");
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!((1..18 * 8).contains(&refused), "{refused}");
        ways.into_iter().collect::<Vec<_>>()
    };
    // Both matrices lie on the GPU, with codewords, or one without; or one lies there alone.
    assert_eq!(walk(&key), [[1, 1, 3, 0], [2, 2, 2, 2], [2, 2, 3, 2]]);
    // The same where the other one is made again whenever it is needed, and encoded for the rows that are opened.
    assert_eq!(walk(&again), [[1, 1, 5, 0], [2, 2, 2, 2], [2, 2, 3, 2]]);

    // In the least memory in which there is a proof about a fifth of what was free stays so: what does not fit is refused
    // before it is tried.
    let used = |memory| {
        let emulator = emulator(memory);
        let key = key(&Device::Gpu(emulator.clone())).ok()?;
        let (held, _) = emulator.used();
        prove(&key, &inputs).ok()?;
        Some((memory - held, emulator.used().1 - held))
    };
    let (mut few, mut enough) = (1 << 12, ENOUGH);
    while enough - few > few / 64 {
        let between = few.midpoint(enough);
        *(if used(between).is_some() { &mut enough } else { &mut few }) = between;
    }
    let (free, taken) = used(enough).unwrap();
    assert!((70..=82).contains(&(100 * taken / free)), "{taken} of {free}");
    // What stays there takes nothing from the lookups, of which this is what they need.
    let lookups = Leaves::memory(cpu.protocol.sizes().gkr_log);
    assert!(free / 5 * 4 < lookups + lookups / 32, "{free} for {lookups}");
}

/// Numbers beyond their declared bounds, of a key that nobody has checked, take wider cells on a GPU and are committed to as
/// on the processor.
#[test]
fn numbers_beyond_their_bounds_are_committed_to() {
    let (program, data, _) = programs::mlp();
    let protocol = Protocol::new(&program, *ProfileId::P100U.profile()).unwrap();
    let key = |device: &Device, changes: &[(usize, i32)]| {
        let mut data = data.clone();
        for &(constant, number) in changes {
            data.constants[constant][5] = number;
        }
        let protocol = protocol.clone();
        ProvingKey::<Poseidon2Blake2s>::build(device, program.clone(), data, protocol, &mut Honest).unwrap()
    };
    let mut seen = BTreeSet::new();
    for changes in
        [&[][..], &[(0, 127)], &[(0, 128)], &[(0, -129)], &[(0, 1 << 15)], &[(0, 1 << 30), (2, -(1 << 30))]]
    {
        let emulator = emulator(ENOUGH);
        let there = key(&Device::Gpu(emulator.clone()), changes);
        assert!(matches!(there.fixed.matrix, Matrix::OnGpu(_)));
        assert!(there.verifying == key(&Device::Cpu, changes).verifying, "{changes:?}");
        seen.insert(emulator.used().0);
    }
    // As they are, and wider.
    assert!(seen.len() > 1, "{seen:?}");
}

/// Wherever the GPU fails there is an error that names it, and the next proof is right.
#[test]
fn failures_are_errors() {
    let (program, data, inputs) = programs::mlp();
    let emulator = emulator(ENOUGH);
    let device = Device::Gpu(emulator.clone());
    let key = || ProvingKey::<Poseidon2Blake2s>::on(&device, program.clone(), data.clone(), ProfileId::P100U);
    emulator.fail_launch(1);
    match key() {
        Err(KeyError::Device(Error::Failed { device, what, .. })) => {
            assert!(device.contains("emulated") && !what.is_empty(), "{device}: {what}");
        }
        other => panic!("{:?}", other.err()),
    }
    emulator.fail_launch(0);
    let key = key().unwrap();
    let proof = prove(&key, &inputs).unwrap();
    let before = emulator.launched().len();
    assert!(prove(&key, &inputs).unwrap() == proof);
    // Of every kernel the first launch and the last.
    let launched = emulator.launched().split_off(before);
    let ends =
        |&k: &usize| !launched[..k].contains(&launched[k]) || !launched[k + 1..].contains(&launched[k]);
    for k in (0..launched.len()).filter(ends) {
        emulator.fail_launch(k as u64 + 1);
        let error = prove(&key, &inputs).unwrap_err();
        match error.downcast_ref() {
            Some(Error::Failed { what, .. }) => assert!(what.contains(launched[k]), "{what}"),
            _ => panic!("{error}"),
        }
    }
    emulator.fail_launch(0);
    assert!(prove(&key, &inputs).unwrap() == proof);
}

/// Several GPUs make independent proofs at once, each of the next input that is left; a failure of one is named.
#[test]
fn several_prove_at_once() {
    let (program, data, inputs) = programs::mlp();
    let key = |device: &Device| {
        ProvingKey::<Poseidon2Blake2s>::on(device, program.clone(), data.clone(), ProfileId::P100U).unwrap()
    };
    let named = |name| Arc::new(Emulator::new(name, Schedule::Shuffled(5), ENOUGH));
    let emulators = ["first", "second", "third"].map(named);
    let keys = emulators.each_ref().map(|emulator| key(&Device::Gpu(emulator.clone())));
    let changed = |k: i32| {
        let mut inputs = inputs.clone();
        inputs[0][0] = k;
        inputs
    };
    let jobs: Vec<Vec<Vec<i32>>> = (0..9).map(changed).collect();
    let before = emulators.each_ref().map(|emulator| emulator.launched().len());
    let proofs = queue::on_all(&keys, &jobs, |key, inputs| prove(key, inputs)).unwrap();
    let cpu = key(&Device::Cpu);
    for (inputs, proof) in jobs.iter().zip(&proofs) {
        assert!(prove(&cpu, inputs).unwrap() == *proof);
    }
    for (emulator, before) in emulators.iter().zip(before) {
        assert!(emulator.launched().len() > before, "{} had no part", emulator.describe());
    }
    emulators[1].fail_launch(2);
    let error = queue::on_all(&keys, &jobs, |key, inputs| prove(key, inputs)).unwrap_err();
    match error.downcast_ref() {
        Some(Error::Failed { device, .. }) => assert!(device.contains("second"), "{device}"),
        _ => panic!("{error}"),
    }
}
