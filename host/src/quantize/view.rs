//! Reshapes and transposes, composed before they become ops.
//!
//! A [`View`] reads a tensor's entries in another order: the tensor is an array of some dimensions, and the
//! view goes through them in some order. A reshape changes nothing here; a transpose cuts the array where
//! the shape does and permutes. So any chain of both is one rewiring, as long as the cuts fit.

use circlet_core::program::TensorId;

/// The entries of a tensor in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The tensor.
    pub base: TensorId,
    /// Dimensions of the tensor's entries, read row by row; none is one.
    pub sizes: Vec<usize>,
    /// The dimensions in the order of the view.
    pub order: Vec<usize>,
}

/// Rows and columns of a shape: all leading dimensions, and the last one.
pub fn matrix(shape: &[usize]) -> (u32, u32) {
    let (cols, leading) = shape.split_last().map_or((1, &[][..]), |(&cols, leading)| (cols, leading));
    (leading.iter().product::<usize>() as u32, cols as u32)
}

impl View {
    /// A tensor as it is.
    pub fn plain(base: TensorId, shape: &[usize]) -> Self {
        let sizes: Vec<usize> = shape.iter().copied().filter(|&d| d > 1).collect();
        Self { base, order: (0..sizes.len()).collect(), sizes }
    }

    /// The entries are in the tensor's own order.
    pub fn is_plain(&self) -> bool {
        self.order.is_sorted()
    }

    /// Cuts dimension `axis` in two.
    fn cut(&mut self, axis: usize, high: usize) {
        let low = self.sizes[axis] / high;
        self.sizes[axis] = high;
        self.sizes.insert(axis + 1, low);
        for other in &mut self.order {
            *other += usize::from(*other > axis);
        }
        if let Some(place) = self.order.iter().position(|&a| a == axis) {
            self.order.insert(place + 1, axis + 1);
        }
    }

    /// Which of the view's dimensions make up each dimension of `shape`, cutting some; None if they cross.
    fn group(&mut self, shape: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut place = 0;
        let mut groups = Vec::new();
        for &dim in shape {
            let mut rest = dim;
            let start = place;
            while rest > 1 {
                let axis = *self.order.get(place)?;
                let size = self.sizes[axis];
                if rest.is_multiple_of(size) {
                    rest /= size;
                } else if size.is_multiple_of(rest) {
                    self.cut(axis, rest);
                    rest = 1;
                } else {
                    return None;
                }
                place += 1;
            }
            groups.push(start..place);
        }
        // Later cuts move axes but not the places of earlier groups.
        Some(groups.into_iter().map(|places| self.order[places].to_vec()).collect())
    }

    /// The transpose of the view, which has shape `shape`; None if one rewiring cannot do it.
    pub fn permute(mut self, shape: &[usize], perm: &[usize]) -> Option<Self> {
        let groups = self.group(shape)?;
        self.order = perm.iter().flat_map(|&p| groups[p].iter().copied()).collect();
        Some(self)
    }

    /// Cuts the dimensions such that some of the last make up a row of `cols`; None if they cross.
    pub fn align(&mut self, (rows, cols): (u32, u32)) -> Option<()> {
        let mut own = Self { base: self.base, sizes: self.sizes.clone(), order: Vec::new() };
        own.order = (0..own.sizes.len()).collect();
        own.group(&[rows as usize, cols as usize])?;
        if own.sizes.len() > self.sizes.len() {
            let axis = own.sizes.iter().zip(&self.sizes).position(|(a, b)| a != b)?;
            self.cut(axis, own.sizes[axis]);
        }
        Some(())
    }
}
