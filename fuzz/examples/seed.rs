//! Writes the inputs that fuzzing starts from: small ones into `seeds`, where they are committed, others into `corpus`.
//! Models and ONNX cases of the repository go into `corpus` too, if they are there.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Larger inputs are not committed.
const SMALL: usize = 8 << 10;
/// Larger files are no inputs: they take too long.
const LARGEST: u64 = 1 << 19;

fn main() -> io::Result<()> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (target, name, bytes) in circlet_fuzz::seeds::all() {
        let folder = own.join(if bytes.len() <= SMALL { "seeds" } else { "corpus" }).join(target);
        write(&folder, &name, &bytes)?;
    }
    for (target, _) in circlet_fuzz::TARGETS {
        fs::create_dir_all(own.join("corpus").join(target))?;
    }
    let models = own.join("../models");
    let mut found = Vec::new();
    walk(&models, &mut found)?;
    for path in found {
        let target = match path.extension().and_then(|extension| extension.to_str()) {
            Some("onnx" | "pb") => "onnx",
            Some("gguf") => "gguf",
            Some("json") if path.ends_with("tokenizer.json") => "tokenizer",
            Some("npy" | "json") => "npy_json",
            _ => continue,
        };
        if fs::metadata(&path)?.len() <= LARGEST {
            let name = path.strip_prefix(&models).unwrap_or(&path).to_string_lossy().replace('/', "-");
            write(&own.join("corpus").join(target), &name, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, found)? } else { found.push(path) }
    }
    Ok(())
}
