//! The circlet host.
