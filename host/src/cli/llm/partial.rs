//! Stopped compilations and how they go on.
//!
//! The long parts of compiling, running floats on texts, are stored beside the output while they last. Everything
//! else is computed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use circlet::files::{self, Outputs, PartialFile};
use circlet::llm::quantize::Options;

use super::source::Texts;
use crate::cli::failure::{Failure, OrFail};

/// No more often than this is anything stored.
const PERIOD: Duration = Duration::from_secs(10);

/// Where a compilation stores how far it is.
pub struct Partial {
    path: PathBuf,
    inputs: [u8; 32],
    stored: Instant,
    found: Option<PartialFile>,
}

impl Partial {
    /// Looks for what a stopped compilation of the same model with the same texts and options left beside its output.
    pub fn new(output: &Path, model: &Path, texts: &Texts, options: Options) -> Result<Self, Failure> {
        let inputs = PartialFile::inputs(model, [&texts.calibration, &texts.report], options)
            .or_file(format!("cannot read {}", model.display()))?;
        let mut path = output.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        // One that cannot be used is of no interest: it is made again.
        let found = files::read(&path).ok().filter(|file: &PartialFile| file.inputs == inputs);
        Ok(Self { path, inputs, stored: Instant::now(), found })
    }

    /// What was found.
    pub fn take(&mut self) -> Option<PartialFile> {
        self.found.take()
    }

    /// Whether it is time to store something.
    pub fn is_due(&self) -> bool {
        self.stored.elapsed() >= PERIOD
    }

    /// Stores how far the compilation is.
    pub fn store(&mut self, file: &PartialFile) -> Result<(), Failure> {
        Outputs::new([&self.path], &[]).and_then(|out| out.write([&files::encode(file)])).or_bad()?;
        self.stored = Instant::now();
        Ok(())
    }

    /// The digest that belongs to it.
    pub fn inputs(&self) -> [u8; 32] {
        self.inputs
    }

    /// Removes what is stored: the compilation is done.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}
