//! Limits on the size of a program.
//!
//! A verifier refuses keys beyond them. Together with a profile's largest matrix they make sure that every
//! profile keeps its promise for every acceptable program (a test of [`crate::security`] says so), so that no
//! check has to compute with logarithms.

/// Largest number of rows or columns of a tensor or constant.
pub const EXTENT: u32 = 1 << 24;
/// Largest number of entries of a tensor or constant.
pub const ENTRIES: u64 = 1 << 30;
/// Largest number of lookups and table rows together; far below `P`, so that counts cannot wrap.
pub const LOOKUPS: u64 = 1 << 29;
/// Largest number of columns, of relations, of wirings and of distinct operands.
pub const PARTS: usize = 1 << 17;
