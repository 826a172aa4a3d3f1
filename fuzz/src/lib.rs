//! What is fuzzed: everything in circlet that reads bytes from outside.
//!
//! A target is a function of bytes that must return, soon and in little memory, whatever the bytes are; what it asserts
//! on the way is its oracle. `cargo fuzz` links each one with libFuzzer (`fuzz_targets/`). Without it, on stable Rust,
//! the same functions replay files: `cargo test` all that are committed, and a target's own program those that it is
//! given. `README.md` says how to fuzz and what to do with a crash.

mod fixtures;
mod frames;
mod gguf;
mod key;
mod npy_json;
mod onnx;
mod program_file;
mod proof;
mod proof_structured;
mod safetensors;
pub mod seeds;
mod statement;
mod stream;
mod tokenizer;
mod witness;

use std::path::Path;
use std::{env, fs, io};

#[cfg(fuzzing)]
pub use libfuzzer_sys;

pub use frames::frames;
pub use gguf::gguf;
pub use key::key;
pub use npy_json::npy_json;
pub use onnx::onnx;
pub use program_file::program_file;
pub use proof::proof;
pub use proof_structured::proof_structured;
pub use safetensors::safetensors;
pub use statement::statement;
pub use stream::stream;
pub use tokenizer::tokenizer;
pub use witness::witness;

/// A function of bytes.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 13] = [
    ("key", key),
    ("program_file", program_file),
    ("statement", statement),
    ("proof", proof),
    ("proof_structured", proof_structured),
    ("witness", witness),
    ("stream", stream),
    ("frames", frames),
    ("onnx", onnx),
    ("gguf", gguf),
    ("safetensors", safetensors),
    ("tokenizer", tokenizer),
    ("npy_json", npy_json),
];

/// The program of one target: with libFuzzer if `cargo fuzz` builds it, else a replay of the files that it is given.
///
/// The first input makes what all others share, such as honest proofs; libFuzzer should not take that for a slow input.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(init: $crate::$name(&[0; 16]), |data: &[u8]| $crate::$name(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay_arguments($crate::$name)
        }
    };
}

/// Runs a target on the files and folders that the command line names.
pub fn replay_arguments(target: Target) -> io::Result<()> {
    for path in env::args_os().skip(1) {
        let count = replay(target, path.as_ref())?;
        eprintln!("{}: {count} inputs", path.display());
    }
    Ok(())
}

/// Runs a target on a file, or on every file of a folder. The result is how many there were.
pub fn replay(target: Target, path: &Path) -> io::Result<usize> {
    if path.is_dir() {
        let mut paths: Vec<_> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        return paths.iter().map(|path| replay(target, path)).sum();
    }
    // A panic does not say which input it is of.
    eprintln!("{}", path.display());
    target(&fs::read(path)?);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs that are committed: real ones, and those that once made a target fail.
    #[test]
    fn committed_inputs() {
        for (name, target) in TARGETS {
            let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
            assert!(replay(target, &own).unwrap() > 0, "{name} has no seeds");
        }
    }

    /// Short inputs of every kind, for which no file is needed.
    #[test]
    fn short_inputs() {
        for (name, target) in TARGETS {
            eprintln!("{name}");
            target(&[]);
            for length in [1, 2, 3, 7, 40, 200] {
                for byte in [0, 1, 0x7f, 0xff] {
                    target(&vec![byte; length]);
                }
                target(&(0..length).map(|i| (i * 89 + 41) as u8).collect::<Vec<_>>());
            }
        }
    }
}
