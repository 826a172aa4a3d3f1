//! Files of inputs: JSON and NumPy arrays.

use circlet::graph::Tensor;
use circlet::samples::parse_inputs;

/// A whole file.
pub fn npy_json(data: &[u8]) {
    let Ok(samples) = parse_inputs(data) else { return };
    for tensor in [Some(&samples.inputs), samples.outputs.as_ref()].into_iter().flatten() {
        assert_eq!(tensor.data().len(), tensor.shape().iter().product::<usize>());
        assert!(tensor.data().iter().all(|value| value.is_finite()));
    }
    let own = samples.inputs.shape();
    // An array is one sample of its own shape, and the rows of a matrix are samples.
    let whole = samples.for_input(own).expect("an array is a sample of its own shape");
    assert_eq!(whole.iter().map(|sample| sample.data().len()).sum::<usize>(), samples.inputs.data().len());
    for expected in [own.get(1..).unwrap_or_default(), &[1, 64], &[2, 3, 4], &[7]] {
        let Ok(all) = samples.for_input(expected) else { continue };
        assert!(all.iter().all(|sample| sample.shape() == expected));
        assert!(all.iter().flat_map(Tensor::data).eq(samples.inputs.data()), "other numbers");
    }
}
