//! A global allocator that asks for huge pages and keeps them.
//!
//! Proving fills gigabytes of fresh memory again and again, and in pages of 4 KiB the operating system's part of that
//! (finding pages and clearing them) costs as much as the cryptography. Under Linux's default policy huge pages go to
//! whoever asks for them, region by region; the C library's allocator does not ask. [`HugePages`] gives every large
//! block a mapping of its own and asks, and keeps mappings that are given back for the next large block, as long as
//! all together are no more than were in use at once before: the process's peak stays what it was. Small blocks, and
//! everything on other systems, go to mimalloc.
//!
//! ```
//! #[global_allocator]
//! static MEMORY: circlet::pages::HugePages = circlet::pages::HugePages;
//! # fn main() {}
//! ```

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

/// Blocks from this many bytes on get mappings of their own.
pub const LARGE: usize = 8 << 20;

/// Alignments up to the size of an ordinary page, on all processors, are given by any mapping.
const ALIGNED: usize = 4096;

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// Whether a block has a mapping of its own: what a layout decides alone, so that blocks find their way back.
fn is_large(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= LARGE && layout.align() <= ALIGNED
}

// SAFETY: every layout belongs to one of the two allocators by its size and alignment, in all four methods;
// `realloc` keeps to this where a block changes sides. Blocks of `mapped` are mappings of at least their size.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return mapped::map(layout.size(), false);
        }
        // SAFETY: the caller's promise on the layout.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return mapped::map(layout.size(), true);
        }
        // SAFETY: the caller's promise on the layout.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: a large block came from `map` or `remap` with this size, and nobody uses it any more.
            return unsafe { mapped::unmap(block, layout.size()) };
        }
        // SAFETY: the caller's promise; a small block came from the other allocator.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(new)) {
            // SAFETY: the caller's promise; the block came from the other allocator and stays there.
            (false, false) => unsafe { MiMalloc.realloc(block, layout, size) },
            // SAFETY: the block is a mapping of its old size and stays one.
            (true, true) => unsafe { mapped::remap(block, layout.size(), size) },
            _ => {
                // SAFETY: both layouts are valid, and the two blocks are distinct and at least as long as what is
                // copied.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod mapped {
    use std::ptr::null_mut;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::LARGE;

    /// The size of a huge page.
    const HUGE: usize = 2 << 20;

    /// A mapping of whole huge pages.
    #[derive(Clone, Copy)]
    struct Mapping {
        start: *mut u8,
        length: usize,
    }

    const NONE: Mapping = Mapping { start: null_mut(), length: 0 };

    /// Mappings that are kept, and how much is in use.
    struct Pool {
        /// Kept mappings; unused places are empty.
        kept: [Mapping; 128],
        /// Bytes kept.
        idle: usize,
        /// Bytes in use.
        live: usize,
        /// The most that was in use at once.
        peak: usize,
    }

    // SAFETY: what is kept belongs to the pool alone.
    unsafe impl Send for Pool {}

    static POOL: Mutex<Pool> = Mutex::new(Pool { kept: [NONE; 128], idle: 0, live: 0, peak: 0 });

    fn pool() -> MutexGuard<'static, Pool> {
        // Nothing panics while it is held.
        POOL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Pool {
        /// The smallest kept mapping that is long enough, cut to this length.
        fn take(&mut self, length: usize) -> Option<Mapping> {
            let fits = |m: &&mut Mapping| m.length >= length;
            let place = self.kept.iter_mut().filter(fits).min_by_key(|m| m.length)?;
            let Mapping { start, length: all } = std::mem::replace(place, NONE);
            self.idle -= all;
            if all > length {
                self.keep(Mapping { start: start.wrapping_add(length), length: all - length });
            }
            Some(Mapping { start, length })
        }

        /// Keeps a mapping together with its neighbours, or gives it back to the system if it is small or there is no
        /// place.
        fn keep(&mut self, mut mapping: Mapping) {
            let end = |m: &Mapping| m.start.addr() + m.length;
            let touches = |m: &Mapping, n: &Mapping| {
                m.length > 0 && (end(m) == n.start.addr() || end(n) == m.start.addr())
            };
            while let Some(place) = self.kept.iter_mut().find(|m| touches(m, &mapping)) {
                let other = std::mem::replace(place, NONE);
                self.idle -= other.length;
                let start = if other.start < mapping.start { other.start } else { mapping.start };
                mapping = Mapping { start, length: mapping.length + other.length };
            }
            match self.kept.iter_mut().find(|m| m.length == 0) {
                Some(place) if mapping.length >= LARGE => {
                    self.idle += mapping.length;
                    *place = mapping;
                }
                _ => unmap_now(mapping),
            }
        }

        /// Counts bytes as in use, and gives kept ones back until all together are no more than were in use at once.
        fn count(&mut self, length: usize) {
            self.live += length;
            self.peak = self.peak.max(self.live);
            while self.live + self.idle > self.peak {
                let Some(place) = self.kept.iter_mut().max_by_key(|m| m.length) else { return };
                let mapping = std::mem::replace(place, NONE);
                self.idle -= mapping.length;
                unmap_now(mapping);
            }
        }
    }

    /// Gives a mapping that nobody uses back to the system.
    fn unmap_now(mapping: Mapping) {
        // SAFETY: only the pool's own mappings, or parts of them, come here, each once.
        unsafe { libc::munmap(mapping.start.cast(), mapping.length) };
    }

    /// Bytes of the mapping of a block.
    fn length(size: usize) -> usize {
        size.next_multiple_of(HUGE)
    }

    /// A mapping for so many bytes that begins at a huge page, or null.
    pub fn map(size: usize, zeroed: bool) -> *mut u8 {
        let length = length(size);
        let mut pool = pool();
        if let Some(Mapping { start, .. }) = pool.take(length) {
            pool.count(length);
            drop(pool);
            if zeroed {
                // SAFETY: the mapping is at least so long and ours.
                unsafe { start.write_bytes(0, size) };
            }
            return start;
        }
        let start = map_now(length);
        if !start.is_null() {
            pool.count(length);
        }
        start
    }

    /// A new mapping, of zeros.
    fn map_now(length: usize) -> *mut u8 {
        let Some(spare) = length.checked_add(HUGE) else { return null_mut() };
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                spare,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return null_mut();
        }
        let start = start.cast::<u8>();
        let before = start.addr().next_multiple_of(HUGE) - start.addr();
        let block = start.wrapping_add(before);
        // SAFETY: both ends lie in the new mapping, and the block between them is kept. That huge pages cannot be
        // had is no failure.
        unsafe {
            if before > 0 {
                libc::munmap(start.cast(), before);
            }
            if before < HUGE {
                libc::munmap(block.wrapping_add(length).cast(), HUGE - before);
            }
            libc::madvise(block.cast(), length, libc::MADV_HUGEPAGE);
        }
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block came from [`map`] or [`remap`] with this size, and is not used afterwards.
    pub unsafe fn unmap(block: *mut u8, size: usize) {
        let mapping = Mapping { start: block, length: length(size) };
        let mut pool = pool();
        pool.live -= mapping.length;
        pool.keep(mapping);
    }

    /// A block of another size with the same beginning, or null and the old block stays.
    ///
    /// # Safety
    ///
    /// The block came from [`map`] or [`remap`] with the size `old`; unless null is returned, only the result is
    /// used afterwards.
    pub unsafe fn remap(block: *mut u8, old: usize, new: usize) -> *mut u8 {
        let (old, new) = (length(old), length(new));
        if old == new {
            return block;
        }
        // SAFETY: the whole mapping may move.
        let moved = unsafe { libc::mremap(block.cast(), old, new, libc::MREMAP_MAYMOVE) };
        if moved == libc::MAP_FAILED {
            // Neighbours that became one block may be two mappings still.
            let moved = map(new, false);
            if !moved.is_null() {
                // SAFETY: two distinct blocks, both as long as what is copied; the old one is ours.
                unsafe {
                    moved.copy_from_nonoverlapping(block, old.min(new));
                    unmap(block, old);
                }
            }
            return moved;
        }
        let mut pool = pool();
        pool.live -= old;
        pool.count(new);
        moved.cast()
    }
}

#[cfg(not(target_os = "linux"))]
mod mapped {
    pub fn map(_: usize, _: bool) -> *mut u8 {
        unreachable!("no block is large here")
    }

    pub unsafe fn unmap(_: *mut u8, _: usize) {
        unreachable!("no block is large here")
    }

    pub unsafe fn remap(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        unreachable!("no block is large here")
    }
}

#[cfg(test)]
mod tests {
    use super::{HugePages, LARGE};
    use std::alloc::{GlobalAlloc, Layout};

    /// Blocks on both sides of the border keep what was written while they grow and shrink, and are zero where
    /// that was asked for.
    #[test]
    fn blocks_keep_their_bytes() {
        let sizes = [LARGE - 1, LARGE, 3 * LARGE + 5, 3 * LARGE + 6, 2 * LARGE, 100, LARGE, 9 * LARGE, 1];
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        let byte = |k: usize| (k / 4099) as u8;
        let mut size = sizes[0];
        // SAFETY: layouts are those of the blocks, and reads stay inside of them.
        unsafe {
            let mut block = HugePages.alloc(layout(size));
            (0..size).step_by(511).for_each(|k| block.add(k).write(byte(k)));
            for next in sizes {
                block = HugePages.realloc(block, layout(size), next);
                assert!(block.addr().is_multiple_of(64));
                let kept = size.min(next);
                assert!((0..kept).step_by(511).all(|k| block.add(k).read() == byte(k)));
                (0..next).step_by(511).for_each(|k| block.add(k).write(byte(k)));
                size = next;
            }
            HugePages.dealloc(block, layout(size));
            for size in [LARGE - 1, LARGE + 1] {
                let block = HugePages.alloc_zeroed(layout(size));
                assert!((0..size).all(|k| block.add(k).read() == 0));
                HugePages.dealloc(block, layout(size));
            }
            // Larger alignments than a page's are left to mimalloc.
            let layout = Layout::from_size_align(LARGE, 1 << 16).unwrap();
            let block = HugePages.alloc(layout);
            assert!(block.addr().is_multiple_of(1 << 16));
            HugePages.dealloc(block, layout);
        }
    }

    /// Blocks that are kept are zero for whoever asks for zeros, whole or in part.
    #[test]
    fn kept_blocks_are_cleared() {
        let layout = |size| Layout::from_size_align(size, 64).unwrap();
        // SAFETY: layouts are those of the blocks, and accesses stay inside of them.
        unsafe {
            let block = HugePages.alloc(layout(5 * LARGE));
            block.write_bytes(7, 5 * LARGE);
            HugePages.dealloc(block, layout(5 * LARGE));
            for size in [2 * LARGE, 3 * LARGE, 5 * LARGE] {
                let block = HugePages.alloc_zeroed(layout(size));
                assert!((0..size).step_by(101).all(|k| block.add(k).read() == 0));
                block.write_bytes(9, size);
                HugePages.dealloc(block, layout(size));
            }
        }
    }

    /// More than there is gives null, not a crash.
    #[test]
    fn too_much_is_refused() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4095, 1).unwrap();
        // SAFETY: the layout is valid.
        assert!(unsafe { HugePages.alloc(layout) }.is_null());
    }
}
