//! Kernels on the emulator, in several schedules.
#![cfg(feature = "emulate")]

#[path = "../checks/mod.rs"]
mod checks;

use std::sync::Arc;

use circlet_cuda::Machine;
use circlet_cuda::emulated::{Emulator, Schedule};

/// Each way of running threads.
fn machines() -> Vec<Arc<dyn Machine>> {
    let emulator = |name: &str, schedule| Emulator::new(name, schedule, 1 << 30);
    vec![
        Arc::new(emulator("ascending", Schedule::Ascending)),
        Arc::new(emulator("descending", Schedule::Descending)),
        Arc::new(emulator("shuffled", Schedule::Shuffled(7))),
        Arc::new(emulator("two at once", Schedule::Shuffled(9)).with_threads(2)),
        Arc::new(emulator("little shared memory", Schedule::Ascending).with_shared(48 * 1024)),
    ]
}

#[test]
fn kernels_compute_what_is_defined() {
    for machine in machines() {
        for (name, check) in checks::CHECKS {
            check(&machine).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
