//! Kernels on the emulator, in several schedules.
#![cfg(feature = "emulate")]

#[path = "../checks/mod.rs"]
mod checks;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use circlet_cuda::emulated::{Emulator, Schedule};
use circlet_cuda::{FAMILIES, Machine};

/// Each way of running threads.
fn machines() -> Vec<Arc<Emulator>> {
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
    for emulator in machines() {
        let machine: Arc<dyn Machine> = emulator.clone();
        for (name, check) in checks::CHECKS {
            check(&machine).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let launched: BTreeSet<&str> = emulator.launched().into_iter().collect();
        assert_eq!(FAMILIES.iter().flat_map(|family| family.kernels()).collect::<BTreeSet<_>>(), launched);
    }
}

#[test]
fn families_are_all_files_of_kernels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "cu"));
    let names = sources.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let files: BTreeSet<String> = names.filter(|name| name != "faults").collect();
    assert_eq!(FAMILIES.iter().map(|family| family.name.to_owned()).collect::<BTreeSet<_>>(), files);
}
