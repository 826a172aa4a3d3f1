//! Files that are mapped, not read: they may be larger than memory.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use memmap2::Mmap;

/// Maps a whole file for reading.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private to this process and only ever read as bytes, any value of which is valid. As with
    // every map, the file must not be truncated or rewritten by someone else while it is open; a reader can
    // not prevent that, and the worst outcome is a signal or wrong numbers, not a wrong proof.
    unsafe { Mmap::map(file) }
}

/// Opens a model's file and maps it.
pub(crate) fn open(path: &Path) -> anyhow::Result<Bytes> {
    let file = File::open(path)
        .with_context(|| format!("cannot open {}; check the path and its permissions", path.display()))?;
    let size = file.metadata().with_context(|| format!("cannot read the size of {}", path.display()))?.len();
    anyhow::ensure!(size > 0, "{} is empty; download the model again", path.display());
    let map = map(&file).with_context(|| format!("cannot map {} into memory", path.display()))?;
    Ok(Bytes::from_owner(map))
}
