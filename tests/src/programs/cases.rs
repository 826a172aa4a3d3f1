//! The programs, each of one op or a few.

use circlet_core::program::Factor;

use super::{Case, ProgramBuilder};

/// A value like a sigmoid's: between 0 and 127, and 64 at zero.
fn sigmoid(x: i64) -> i64 {
    64 + 63 * x / (x.abs() + 100)
}

/// `20 -> 13` channels in three rows: 20 is split into blocks, 13 is not. Inputs that match the signs of the
/// weights leave the table's domain.
pub fn matmul() -> Case {
    let mut b = ProgramBuilder::new("matmul");
    let x = b.input(3, 20, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 13, 31, 5, clamp);
    b.finish(&[y])
}

/// Both sides of a matrix product split into blocks: `20 -> 37` channels in five rows.
pub fn matmul_blocks() -> Case {
    let mut b = ProgramBuilder::new("matmul_blocks");
    let x = b.input(5, 20, 127);
    let clamp = b.clamp(12, 127);
    let y = b.linear(x, 37, 15, 5, clamp);
    b.finish(&[y])
}

/// Powers of two only, without bias.
pub fn matmul_pow2() -> Case {
    let mut b = ProgramBuilder::new("matmul_pow2");
    let x = b.input(4, 16, 127);
    let clamp = b.clamp(12, 127);
    let w = b.constant(8, 16, 31);
    let y = b.matmul(x, Factor::Weight(w), None, 6, clamp);
    b.finish(&[y])
}

/// Three layers `64 -> 44 -> 10 -> 10` with the activation in the table.
pub fn mlp() -> Case {
    let mut b = ProgramBuilder::new("mlp");
    let x = b.input(2, 64, 127);
    let relu = b.table("relu", 13, |x| x.clamp(0, 127));
    let clamp = b.clamp(13, 127);
    let hidden = b.linear(x, 44, 15, 6, relu);
    let hidden = b.linear(hidden, 10, 15, 6, relu);
    let y = b.linear(hidden, 10, 15, 4, clamp);
    b.finish(&[y])
}

/// A product of two activations, `3 x 7` times `7 x 20`.
pub fn product() -> Case {
    let mut b = ProgramBuilder::new("product");
    let (x, z) = (b.input(3, 7, 127), b.input(7, 20, 63));
    let clamp = b.clamp(12, 127);
    let y = b.matmul(x, Factor::Tensor(z), None, 5, clamp);
    b.finish(&[y])
}

/// A sum of two scales.
pub fn add() -> Case {
    let mut b = ProgramBuilder::new("add");
    let (p, q) = (b.input(3, 11, 500), b.input(3, 11, 127));
    let clamp = b.clamp(11, 400);
    let y = b.add((p, 0), (q, 3), 1, clamp);
    b.finish(&[y])
}

/// A product entry by entry.
pub fn mul() -> Case {
    let mut b = ProgramBuilder::new("mul");
    let (p, q) = (b.input(5, 6, 127), b.input(5, 6, 127));
    let clamp = b.clamp(10, 127);
    let y = b.mul(p, q, 5, clamp);
    b.finish(&[y])
}

/// A scale and offset per channel.
pub fn affine() -> Case {
    let mut b = ProgramBuilder::new("affine");
    let x = b.input(3, 21, 127);
    let clamp = b.clamp(11, 127);
    let y = b.affine(x, 63, 4, clamp);
    b.finish(&[y])
}

/// A table that is not zero at zero, so that padding is not zero either, and a product that reads it.
pub fn map() -> Case {
    let mut b = ProgramBuilder::new("map");
    let x = b.input(3, 11, 511);
    let table = b.table("sigmoid", 10, sigmoid);
    let clamp = b.clamp(11, 127);
    let y = b.map(x, table);
    let z = b.linear(y, 5, 15, 5, clamp);
    b.finish(&[y, z])
}

/// LayerNorm of 20 channels, in two blocks. Row 1 is constant, row 2 alternates between the bounds.
pub fn layernorm() -> Case {
    let mut b = ProgramBuilder::new("layernorm");
    let x = b.input(3, 20, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 5, 10, clamp);
    let (program, data, mut inputs) = b.finish(&[y]);
    for c in 0..20 {
        inputs[0][20 + c] = 77;
        inputs[0][40 + c] = if c % 2 == 0 { 8191 } else { -8191 };
    }
    (program, data, inputs)
}

/// LayerNorm of 64 channels, one block.
pub fn layernorm_wide() -> Case {
    let mut b = ProgramBuilder::new("layernorm_wide");
    let x = b.input(2, 64, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 1, 10, clamp);
    b.finish(&[y])
}

/// LayerNorm of 2 channels in one row: the smallest circuit with all its gadgets.
pub fn layernorm_tiny() -> Case {
    let mut b = ProgramBuilder::new("layernorm_tiny");
    let x = b.input(1, 2, 8191);
    let clamp = b.clamp(10, 500);
    let y = b.layernorm(x, 40, 5, clamp);
    b.finish(&[y])
}

/// LayerNorm of 13 channels, in a single padded block.
pub fn layernorm_padded() -> Case {
    let mut b = ProgramBuilder::new("layernorm_padded");
    let x = b.input(3, 13, 8191);
    let clamp = b.clamp(13, 4000);
    let y = b.layernorm(x, 9, 10, clamp);
    b.finish(&[y])
}

/// A transpose of three axes and a reshape, neither of powers of two.
pub fn rewire() -> Case {
    let mut b = ProgramBuilder::new("rewire");
    let x = b.input(3, 20, 127);
    // 3 x (4 x 5) -> 5 x (3 x 4) -> 20 rows of 3.
    let y = b.rewire(x, &[3, 4, 5], &[2, 0, 1], 12);
    let z = b.rewire(y, &[5, 12], &[0, 1], 3);
    let t = b.rewire(z, &[20, 3], &[1, 0], 20);
    b.finish(&[y, z, t])
}

/// Every op in one graph, tensors used twice.
pub fn residual() -> Case {
    let mut b = ProgramBuilder::new("residual");
    let x = b.input(7, 20, 127);
    let clamp = b.clamp(12, 127);
    let sigmoid = b.table("sigmoid", 10, sigmoid);
    let norm = b.clamp(13, 127);
    let n = b.layernorm(x, 3, 6, norm);
    let gate = b.map(n, sigmoid);
    let a = b.affine(n, 31, 4, clamp);
    let m = b.mul(a, gate, 6, clamp);
    let h = b.linear(m, 20, 15, 6, clamp);
    let r = b.add((x, 0), (h, 1), 1, clamp);
    let k = b.linear(r, 13, 15, 6, clamp);
    let transposed = b.rewire(k, &[7, 13], &[1, 0], 7);
    let scores = b.matmul(k, Factor::Tensor(transposed), None, 8, clamp);
    let y = b.matmul(scores, Factor::Tensor(r), None, 7, clamp);
    let y = b.add((y, 0), (x, 0), 0, clamp);
    b.finish(&[y, gate])
}

/// Rounding by no bits: no remainder column.
pub fn no_shift() -> Case {
    let mut b = ProgramBuilder::new("no_shift");
    let x = b.input(3, 5, 7);
    let clamp = b.clamp(10, 127);
    let y = b.linear(x, 6, 3, 0, clamp);
    let z = b.add((y, 0), (y, 0), 0, clamp);
    b.finish(&[y, z])
}

/// One row.
pub fn single_row() -> Case {
    let mut b = ProgramBuilder::new("single_row");
    let x = b.input(1, 7, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 5, 15, 5, clamp);
    let z = b.affine(y, 15, 3, clamp);
    let w = b.layernorm(z, 2, 5, clamp);
    b.finish(&[w])
}

/// One column, and LayerNorm of one channel.
pub fn single_column() -> Case {
    let mut b = ProgramBuilder::new("single_column");
    let x = b.input(5, 1, 127);
    let clamp = b.clamp(11, 127);
    let y = b.linear(x, 1, 15, 3, clamp);
    let z = b.layernorm(y, 2, 5, clamp);
    let m = b.mul(y, z, 5, clamp);
    let t = b.rewire(m, &[5, 1], &[1, 0], 5);
    let s = b.matmul(y, Factor::Tensor(t), None, 6, clamp);
    b.finish(&[s])
}

/// Centred rows of a wide tensor, in two blocks of which one is padded, with an offset.
pub fn center() -> Case {
    let mut b = ProgramBuilder::new("center");
    let x = b.input(3, 11, 4000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 5, 0);
    let w = b.center(w, Some(9000));
    let y = b.rms_norm(w, 50, 9, clamp);
    b.finish(&[y])
}

/// Centred rows of 64 channels, as they are.
pub fn center_plain() -> Case {
    let mut b = ProgramBuilder::new("center_plain");
    let x = b.input(2, 64, 2000);
    let clamp = b.clamp(16, 8191);
    let w = b.widen(None, x, 3, 0);
    let w = b.center(w, None);
    let y = b.rms_norm(w, 1, 9, clamp);
    b.finish(&[y])
}

/// Means of five, of one and of all of eight rows of 20 channels.
pub fn mean() -> Case {
    let mut b = ProgramBuilder::new("mean");
    let x = b.input(8, 20, 500);
    let y = b.mean(x, 5);
    let z = b.mean(x, 1);
    let w = b.mean(x, 8);
    b.finish(&[y, z, w])
}

/// All of them.
pub fn all() -> Vec<Case> {
    vec![
        matmul(),
        matmul_blocks(),
        matmul_pow2(),
        mlp(),
        product(),
        add(),
        mul(),
        affine(),
        map(),
        layernorm(),
        layernorm_wide(),
        layernorm_tiny(),
        layernorm_padded(),
        rewire(),
        residual(),
        no_shift(),
        single_row(),
        single_column(),
        center(),
        center_plain(),
        mean(),
    ]
}
