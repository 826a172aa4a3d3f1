//! Errors with an exit code.

use std::fmt;

use anyhow::{Context, Error};

/// Exit code of a rejected proof.
pub const REJECTED: u8 = 1;
/// Exit code of wrong usage.
pub const USAGE: u8 = 2;
/// Exit code of unusable files and models.
pub const FILE: u8 = 3;

/// Why a command did nothing.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: Error,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, error: Error::msg(message.into()) }
    }

    /// An unusable file or model.
    pub fn file(message: impl Into<String>) -> Self {
        Self { code: FILE, error: Error::msg(message.into()) }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.error.to_string();
        write!(f, "error: {last}")?;
        for cause in self.error.chain().skip(1) {
            // Many errors already quote their cause.
            let text = cause.to_string();
            if !last.contains(&text) {
                write!(f, "\n  because: {text}")?;
                last = text;
            }
        }
        Ok(())
    }
}

/// Turns errors into failures.
pub trait OrFail<T> {
    /// Wrong usage, with a sentence before the cause.
    fn or_usage(self, what: impl Into<String>) -> Result<T, Failure>;
    /// A file problem that explains itself.
    fn or_bad(self) -> Result<T, Failure>;
    /// A file problem, with a sentence before the cause.
    fn or_file(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<Error>> OrFail<T> for Result<T, E> {
    fn or_usage(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(Into::into).context(what.into()).map_err(|error| Failure { code: USAGE, error })
    }

    fn or_bad(self) -> Result<T, Failure> {
        self.map_err(|error| Failure { code: FILE, error: error.into() })
    }

    fn or_file(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(Into::into).context(what.into()).map_err(|error| Failure { code: FILE, error })
    }
}
