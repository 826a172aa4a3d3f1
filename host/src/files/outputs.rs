//! Writing files whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::slice;

use tempfile::NamedTempFile;

use super::FileError;

/// Files to be written together, checked before the work that fills them begins.
#[derive(Debug)]
pub struct Outputs<const N: usize>([PathBuf; N]);

impl<const N: usize> Outputs<N> {
    /// Makes sure that the paths can be written and that none of them is an input.
    pub fn new(paths: [&Path; N], inputs: &[&Path]) -> Result<Self, FileError> {
        for (i, path) in paths.iter().enumerate() {
            let clash = inputs.iter().any(|input| same_file(path, input));
            if clash || paths[..i].iter().any(|other| other == path || same_file(path, other)) {
                return Err(FileError::Overwrites { path: (*path).into() });
            }
            if path.is_dir() || path.file_name().is_none() {
                let source = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(FileError::Write { path: (*path).into(), source });
            }
            drop(temporary(path)?);
        }
        Ok(Self(paths.map(PathBuf::from)))
    }

    /// Writes all files. None replaces its predecessor before all are safely on the disk.
    pub fn write(&self, contents: [&[u8]; N]) -> Result<(), FileError> {
        self.write_parts(contents.each_ref().map(slice::from_ref))
    }

    /// Writes all files, whose contents are in parts.
    pub fn write_parts<T: AsRef<[u8]>>(&self, contents: [&[T]; N]) -> Result<(), FileError> {
        let mut written = Vec::with_capacity(N);
        for (path, parts) in self.0.iter().zip(contents) {
            let failed = |source| FileError::Write { path: path.clone(), source };
            let mut file = temporary(path)?;
            for part in parts {
                file.write_all(part.as_ref()).map_err(failed)?;
            }
            file.as_file().sync_all().map_err(failed)?;
            written.push(file);
        }
        for (path, file) in self.0.iter().zip(written) {
            file.persist(path)
                .map_err(|error| FileError::Write { path: path.clone(), source: error.error })?;
        }
        // So that the renames survive a crash, where folders can be synced. Not between them: it takes a while.
        for path in &self.0 {
            if let Ok(folder) = File::open(folder(path)) {
                let _ = folder.sync_all();
            }
        }
        Ok(())
    }
}

/// The folder that a file is in.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> Result<NamedTempFile, FileError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".circlet-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What any new file gets; the umask applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
        .tempfile_in(folder(path))
        // The name of the temporary file would only confuse.
        .map_err(|error| FileError::Write { path: path.into(), source: error.kind().into() })
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}
