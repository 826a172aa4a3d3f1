//! From what size on a form is better off on a GPU: the processor has what is smaller, and what is left of larger ones in the
//! end.
//!
//! A round costs a GPU two launches and a wait for what is read back, some thirty microseconds however little there is to do;
//! in that time sixteen cores bind about 2^14 elements of the extension, sum 2^16 cells, multiply 2^20 small integers or
//! hash 2^15 nonces. These are estimates from `cargo bench`, not measurements beside a GPU: `scripts/gpu-check` measures the forms
//! on both. A form whose least size is that of its kernels' blocks is small where it matters little.

use circlet_cuda::{fold, fractions};

/// The least sizes.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Log of the number of fractions of the lookups.
    pub fractions: u32,
    /// Log of the number of rows of matrices, for the rounds over rows.
    pub rows: u32,
    /// Cells of matrices of numbers that are summed over their rows.
    pub sums: usize,
    /// Columns of such matrices.
    pub width: usize,
    /// Log of the number of entries of a relation's term. Smaller ones have operands that are sums over rows, by and large, and
    /// to send these takes as long as their rounds.
    pub products: u32,
    /// Entries of all these terms.
    pub all_products: u64,
    /// Log of the number of entries of a term that are left when the processor goes on.
    pub last_products: u32,
    /// Multiplications of activations with weights.
    pub forward: usize,
    /// Bits of work.
    pub work: u32,
}

/// They are these.
pub const LEAST: Thresholds = Thresholds {
    fractions: fractions::LEAST,
    rows: fold::LAST.ilog2(),
    sums: 1 << 16,
    width: 4,
    products: 14,
    all_products: 1 << 16,
    last_products: 10,
    forward: 1 << 20,
    work: 15,
};
