//! Mistakes in the cases of onnx 1.18.0.
//!
//! Attention has two, mended in later releases. The program that made the expected numbers cut `[batch, rows, heads * size]` into heads as if it were
//! `[batch, heads, rows, size]`, and gave query head `h` the key head `h mod groups` instead of `h / group size`.
//! Both only rename: with the inputs' elements and the query heads put in the order that the standard means, the
//! expected numbers are right.
//!
//! QLinearMatMul of int8 wraps where the standard saturates: elements at the end of the range are not compared there.

use circlet::graph::Tensor;

use crate::proto::Single;

/// Whether expected numbers beyond the range wrapped.
pub fn wraps(case: &str) -> bool {
    case.starts_with("qlinearmatmul_") && case.contains("_int8_")
}

/// Puts the elements of the first three inputs and the heads of the outputs in the standard's order.
pub fn repair(node: &Single, inputs: &mut [Tensor], expected: &mut [Tensor]) {
    let attribute = |name: &str| node.integers.iter().find(|(n, _)| n == name).map(|(_, v)| *v as usize);
    let flat = inputs[0].shape().len() == 3;
    let heads = attribute("q_num_heads").unwrap_or(inputs[0].shape()[1]);
    let groups = attribute("kv_num_heads").unwrap_or(inputs[1].shape()[1]);
    if flat {
        for (input, heads) in inputs.iter_mut().zip([heads, groups, groups]) {
            *input = rows_first(input, heads);
        }
    }
    inputs[0] = reordered(&inputs[0], heads, groups, flat);
    expected[0] = reordered(&expected[0], heads, groups, flat);
}

/// `[batch, heads, rows, size]`, which the shape hides, as `[batch, rows, heads * size]`.
fn rows_first(x: &Tensor, heads: usize) -> Tensor {
    let [batch, rows, width] = x.shape().try_into().unwrap();
    let size = width / heads;
    let mut data = Vec::new();
    for b in 0..batch {
        for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            data.extend_from_slice(&x.data()[((b * heads + head) * rows + row) * size..][..size]);
        }
    }
    Tensor::new(x.shape().to_vec(), data).unwrap()
}

/// Query heads sorted by the key head that they use.
fn reordered(x: &Tensor, heads: usize, groups: usize, flat: bool) -> Tensor {
    // The heads are a dimension with `before` blocks of them and `inner` elements in each.
    let inner = if flat { x.shape()[2] / heads } else { x.shape()[2] * x.shape()[3] };
    let mut data = Vec::new();
    for block in x.data().chunks(heads * inner) {
        for head in 0..heads {
            let from = head % (heads / groups) * groups + head / (heads / groups);
            data.extend_from_slice(&block[from * inner..][..inner]);
        }
    }
    Tensor::new(x.shape().to_vec(), data).unwrap()
}
