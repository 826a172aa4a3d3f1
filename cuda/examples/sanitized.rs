//! Kernels under a sanitizer, for `scripts/cuda-sanitize`: `sanitized NAME...`.
//!
//! A name is that of a fault of `kernels/faults.cu`, `correct` for its right kernels, or that of a check in `checks/`;
//! with no names, it is `correct` and every check. Tests would run in threads of which a sanitizer knows too little:
//! here everything runs in the main thread and those that the emulator starts.

#[path = "../checks/mod.rs"]
mod checks;
#[path = "../tests/planted/mod.rs"]
mod planted;

use std::process::ExitCode;
use std::sync::Arc;

use circlet_cuda::emulated::{Emulator, Schedule};
use circlet_cuda::{Error, Machine};

/// Runs what a name stands for, on two machines: one whose blocks run one after the other, one with two at once.
fn run(name: &str) -> Result<(), Error> {
    let emulator = |schedule, threads| Emulator::new("emulator", schedule, 1 << 30).with_threads(threads);
    for emulator in [emulator(Schedule::Ascending, 1), emulator(Schedule::Shuffled(1), 2)] {
        let machine: Arc<dyn Machine> = Arc::new(emulator);
        if name == "correct" {
            planted::run_correct(&machine)?;
        } else if let Some(fault) = planted::FAULTS.into_iter().find(|fault| fault.name == name) {
            planted::run(&machine, fault)?;
        } else if let Some((_, check)) = checks::CHECKS.into_iter().find(|check| check.0 == name) {
            check(&machine)?;
        } else {
            panic!("there is nothing of the name {name}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        let all = std::iter::once("correct").chain(checks::CHECKS.iter().map(|check| check.0));
        names = all.map(String::from).collect();
    }
    for name in names {
        match run(&name) {
            Ok(()) => println!("{name}: done"),
            Err(error) => {
                println!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
