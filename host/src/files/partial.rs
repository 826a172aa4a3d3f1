//! What a stopped compilation leaves for the next.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use std::{fs, io};

use circlet_core::hash::blake2s;
use serde::{Deserialize, Serialize};

use crate::llm::quantize::{Calibrating, Options};
use crate::llm::report::Accuracy;

/// A compilation of a language model on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartialFile {
    /// Digest of what is compiled, and how: it goes on only with the same.
    pub inputs: [u8; 32],
    /// The calibration, as far as it is.
    pub calibrating: Calibrating,
    /// How close the integers are to the floats, once that is known.
    pub accuracy: Option<Accuracy>,
}

impl PartialFile {
    /// The digest of a model, the texts that it is calibrated and compared on, and the options. Model files go by name,
    /// length and time of their last change.
    pub fn inputs(model: &Path, texts: [&[Vec<u32>]; 2], options: Options) -> io::Result<[u8; 32]> {
        #[derive(Serialize)]
        struct Inputs<'a> {
            version: &'static str,
            files: Vec<(PathBuf, u64, u128)>,
            texts: [&'a [Vec<u32>]; 2],
            prefix: Option<u32>,
            positions: u32,
        }
        let mut paths = vec![fs::canonicalize(model)?];
        if model.is_dir() {
            for entry in fs::read_dir(&paths[0])? {
                paths.push(entry?.path());
            }
            paths[1..].sort();
        }
        let describe = |path: PathBuf| {
            let metadata = fs::metadata(&path)?;
            let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            // Writing beside a folder's files changes the folder.
            let (length, changed) =
                if metadata.is_dir() { (0, 0) } else { (metadata.len(), changed.as_nanos()) };
            Ok::<_, io::Error>((path, length, changed))
        };
        let inputs = Inputs {
            version: env!("CARGO_PKG_VERSION"),
            files: paths.into_iter().map(describe).collect::<Result<_, _>>()?,
            texts,
            prefix: options.prefix,
            positions: options.positions,
        };
        let bytes = postcard::to_allocvec(&inputs).map_err(io::Error::other)?;
        Ok(blake2s::hash(blake2s::DIGEST, &bytes))
    }
}
