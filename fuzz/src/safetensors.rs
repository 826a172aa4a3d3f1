//! Directories of models in the Hugging Face layout, as decoders and as encoders.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use circlet::llm::{self, encoder};
use tempfile::TempDir;

use crate::gguf::read_weights;

/// The files that such a directory may have, by the number that stands for them.
pub const FILES: [&str; 10] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "generation_config.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    "vocab.txt",
    "modules.json",
    "1_Pooling/config.json",
    "other.safetensors",
];

/// Files one after the other: a byte that says which, three with its length, and its contents.
pub fn safetensors(data: &[u8]) {
    thread_local! {
        static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
    }
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(|| tempfile::tempdir().expect("a place for files"));
        open(directory.path(), data);
    });
}

fn open(directory: &Path, mut data: &[u8]) {
    fs::create_dir_all(directory.join("1_Pooling")).expect("a place for files");
    let mut written = Vec::new();
    while let Some((&[which, a, b, c], rest)) = data.split_first_chunk() {
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let (contents, rest) = rest.split_at(length.min(rest.len()));
        let path = directory.join(FILES[usize::from(which) % FILES.len()]);
        fs::write(&path, contents).expect("a place for files");
        written.push(path);
        data = rest;
    }
    if let Ok(opened) = llm::open(directory) {
        read_weights(opened.checkpoint.as_ref());
    }
    if encoder::recognizes(directory)
        && let Ok(opened) = encoder::open(directory)
    {
        let config = opened.weights.config();
        for (weight, rows, cols) in config.weights() {
            assert_eq!(opened.weights.get(weight).len(), rows * cols, "{weight:?}");
        }
    }
    for path in written {
        // A file that was given twice is gone already.
        let _ = fs::remove_file(path);
    }
}

/// What [`safetensors`] reads, from files.
pub fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, contents) in files {
        let which = FILES.iter().position(|file| file == name).expect("a file that is read");
        out.push(which as u8);
        out.extend(&(contents.len() as u32).to_le_bytes()[..3]);
        out.extend(*contents);
    }
    out
}
