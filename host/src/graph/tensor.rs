//! Float tensors: a shape and its elements in row-major order.

use super::GraphError;

/// Dimensions, outermost first. A scalar has none.
pub type Shape = Vec<usize>;

/// No tensor may have more elements than this.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// No tensor may have more dimensions than this.
pub const MAX_RANK: usize = 16;

/// The number of elements of a shape, refused when it has too many dimensions, when a dimension is zero or the product exceeds
/// [`MAX_ELEMENTS`]. `name` appears in the error.
pub fn elements(name: &str, dims: &[usize]) -> Result<usize, GraphError> {
    if dims.len() > MAX_RANK {
        return Err(GraphError::Rank { name: name.into(), rank: dims.len() });
    }
    if dims.contains(&0) {
        return Err(GraphError::ZeroSize { name: name.into(), dims: dims.to_vec() });
    }
    dims.iter()
        .try_fold(1usize, |product, &d| product.checked_mul(d).filter(|&p| p <= MAX_ELEMENTS))
        .ok_or_else(|| GraphError::TooLarge { name: name.into(), dims: dims.to_vec() })
}

/// A float tensor whose data always fills its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of the given shape; refused when `data` does not fill it.
    pub fn new(shape: Shape, data: Vec<f32>) -> Result<Self, GraphError> {
        let expected = elements("tensor", &shape)?;
        if expected != data.len() {
            let found = data.len();
            return Err(GraphError::DataLength { name: "tensor".into(), dims: shape, expected, found });
        }
        Ok(Self { shape, data })
    }

    /// A scalar.
    pub fn scalar(value: f32) -> Self {
        Self { shape: Vec::new(), data: vec![value] }
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Its elements, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(self, shape: Shape) -> Result<Self, GraphError> {
        Self::new(shape, self.data)
    }

    /// Applies a function to every element.
    pub fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { shape: self.shape.clone(), data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// For results whose data fills the shape by construction.
    pub(crate) fn from_parts(shape: Shape, data: Vec<f32>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data }
    }
}
