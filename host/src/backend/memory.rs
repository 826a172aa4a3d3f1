//! Large vectors that are used once. A page costs more when it is first touched than all that is then computed
//! in it, so they are asked for in large pages, and are zero without being written.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use super::field::E;

/// Bytes from which pages are mapped.
const LARGE: usize = 1 << 21;

/// A vector that begins with zeros.
#[derive(Debug)]
pub enum Memory {
    /// From the allocator.
    Small(Vec<E>),
    /// From the system.
    Large(MmapMut),
}

impl Memory {
    /// So many zeros.
    pub fn new(len: usize) -> Self {
        let bytes = len * size_of::<E>();
        if bytes >= LARGE
            && let Ok(map) = MmapMut::map_anon(bytes)
        {
            // Advice: where it is not taken pages are small.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Large(map);
        }
        Self::Small(vec![bytemuck::Zeroable::zeroed(); len])
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl From<Vec<E>> for Memory {
    fn from(vectors: Vec<E>) -> Self {
        Self::Small(vectors)
    }
}

impl Deref for Memory {
    type Target = [E];
    fn deref(&self) -> &[E] {
        match self {
            Self::Small(vectors) => vectors,
            Self::Large(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [E] {
        match self {
            Self::Small(vectors) => vectors,
            Self::Large(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
