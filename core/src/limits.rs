//! Limits on the size of a program.
//!
//! A verifier refuses keys beyond them, which does two things. Together with a profile's largest matrix they
//! make every profile keep its promise for every acceptable program (a test of [`crate::security`] says so), so
//! that no check has to compute with logarithms. And no key can make a verifier work for long, or use much
//! memory, before it looks at a proof.

/// Largest number of rows or columns of a tensor or constant.
pub const EXTENT: u32 = 1 << 24;
/// Log of the largest number of entries of a tensor or column, padding included.
pub const LOG_ENTRIES: u32 = 30;
/// The same of a constant, which may lie in several columns: no vocabulary of a language model has more.
pub const LOG_CONSTANT: u32 = 32;
/// Largest number of cells of all columns together, padding included.
pub const CELLS: u64 = 1 << 35;
/// Largest number of lookups and table rows together; far below `P`, so that counts cannot wrap.
pub const LOOKUPS: u64 = 1 << 29;
/// Largest number of columns, of public tensors, of relations, of products and of wirings.
pub const PARTS: usize = 1 << 16;
/// Largest number of entries, all together, of those axes of wirings that have several digits: a verifier
/// weighs every one of them.
pub const WEIGHED: u64 = 1 << 22;
/// Log of the largest number of columns of a committed matrix.
pub const LOG_MATRIX_COLUMNS: u32 = 12;
