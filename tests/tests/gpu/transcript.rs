//! Rounds that one GPU runs with the transcript, without the processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use circlet::backend::device::{Device, Error};
use circlet::backend::merkle::BulkHash;
use circlet::execute::execute_with;
use circlet::keys::ProvingKey;
use circlet::prove::adversary::Adversary;
use circlet::prove::{prove, prove_trace, statement};
use circlet_core::hash::suite::{Blake2sBlake2s, Poseidon2Blake2s};
use circlet_core::profile::ProfileId;
use circlet_cuda::emulated::Emulator;
use circlet_cuda::{Argument, Grid, Kernel, Machine};
use circlet_tests::programs;

use super::{ENOUGH, emulator};

/// The kernel that ends such a round.
const ROUND: &str = "layer_round";

fn key<S: BulkHash>(device: &Device) -> ProvingKey<S> {
    let (program, data, _) = programs::mlp();
    ProvingKey::on(device, program, data, ProfileId::P100U).unwrap()
}

/// How often a kernel was launched.
fn launches(emulator: &Emulator, kernel: &str) -> usize {
    emulator.launched().into_iter().filter(|&launched| launched == kernel).count()
}

/// Who may change what is sent, and does not.
struct Onlooker;

impl Adversary for Onlooker {}

#[test]
fn challenges_are_drawn_where_nobody_may_meddle() {
    let (_, _, inputs) = programs::mlp();
    let emulator = emulator(ENOUGH);
    let gpu = Device::Gpu(emulator.clone());

    let key_there = key::<Poseidon2Blake2s>(&gpu);
    let proof = prove(&key::<Poseidon2Blake2s>(&Device::Cpu), &inputs).unwrap();
    assert!(prove(&key_there, &inputs).unwrap() == proof);
    let rounds = launches(&emulator, ROUND);
    assert!(rounds > 0);
    // Rounds of the lookups are ended by no other.
    let ended = launches(&emulator, "total");

    let (columns, tables) = (key_there.columns.clone(), &key_there.data.tables);
    let trace = execute_with(key_there.circuit(), columns, tables, &inputs, &[]).unwrap();
    let statement = statement(&key_there, &trace);
    assert!(prove_trace(&key_there, &trace, &statement, &mut Onlooker).unwrap() == proof.1);
    assert_eq!(launches(&emulator, ROUND), rounds);
    assert!(launches(&emulator, "total") > ended + rounds);

    // A transcript that GPUs do not know, and one of which several would have to know.
    prove(&key::<Blake2sBlake2s>(&gpu), &inputs).unwrap();
    assert_eq!(launches(&emulator, ROUND), rounds);
    let (emulators, several) = super::several::gpus(2, ENOUGH);
    assert!(prove(&key::<Poseidon2Blake2s>(&several), &inputs).unwrap() == proof);
    assert!(emulators.iter().all(|emulator| launches(emulator, ROUND) == 0));
}

/// A GPU that draws another challenge in one of its rounds, and goes on with it.
#[derive(Debug)]
struct Wayward {
    emulator: Arc<Emulator>,
    /// The round, counted from now on; nothing happens after it.
    round: AtomicUsize,
}

impl Machine for Wayward {
    fn describe(&self) -> String {
        self.emulator.describe()
    }
    fn shared(&self) -> u32 {
        self.emulator.shared()
    }
    fn multiprocessors(&self) -> u32 {
        self.emulator.multiprocessors()
    }
    fn memory(&self) -> Result<(u64, u64), Error> {
        self.emulator.memory()
    }
    fn allocate(&self, bytes: u64) -> Result<u64, Error> {
        self.emulator.allocate(bytes)
    }
    fn release(&self, address: u64, bytes: u64) {
        self.emulator.release(address, bytes);
    }
    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: as the caller says.
        unsafe { self.emulator.upload(to, bytes) }
    }
    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        // SAFETY: as the caller says.
        unsafe { self.emulator.download(from, bytes) }
    }
    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument]) -> Result<(), Error> {
        // SAFETY: as the caller says.
        unsafe { self.emulator.launch(kernel, grid, arguments)? }
        let (ROUND, [.., Argument::Address(round)]) = (kernel.name, arguments) else { return Ok(()) };
        if self.round.fetch_sub(1, Ordering::Relaxed) == 1 {
            // The coordinate, its inverse and two sums come before the challenge.
            let challenge = round + 4 * 16;
            let mut word = [0; 4];
            // SAFETY: the kernel has just written there.
            unsafe {
                self.emulator.download(challenge, &mut word)?;
                word[0] ^= 1;
                self.emulator.upload(challenge, &word)?;
            }
        }
        Ok(())
    }
    fn synchronize(&self) -> Result<(), Error> {
        self.emulator.synchronize()
    }
}

#[test]
fn another_challenge_is_an_error() {
    let (_, _, inputs) = programs::mlp();
    let machine = Arc::new(Wayward { emulator: emulator(ENOUGH), round: usize::MAX.into() });
    let key = key::<Poseidon2Blake2s>(&Device::Gpu(machine.clone()));
    let proof = prove(&key, &inputs).unwrap();
    let rounds = launches(&machine.emulator, ROUND);
    assert!(rounds > 1);
    for round in [1, rounds / 2 + 1, rounds] {
        machine.round.store(round, Ordering::Relaxed);
        let error = prove(&key, &inputs).unwrap_err();
        match error.downcast_ref() {
            Some(Error::Failed { device, what, .. }) => {
                assert!(device.contains("emulated") && what.contains("transcript"), "{error}");
            }
            _ => panic!("{error}"),
        }
    }
    assert!(prove(&key, &inputs).unwrap() == proof);
}
