//! Pinned memory of a GPU, through which large copies go.

use std::ops::Range;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUevent_flags_enum as Flags};

use super::Context;
use super::staging::{BUFFERS, BYTES, Ring};

/// A buffer of pinned memory, and the event that says that it was sent or fetched.
struct Buffer {
    memory: *mut u8,
    event: sys::CUevent,
}

/// Buffers of pinned memory. They are given back in whatever context is this thread's: their own must be.
pub(super) struct Pinned {
    buffers: Vec<Buffer>,
    next: usize,
}

impl Pinned {
    /// All buffers, in the context that is this thread's.
    pub fn new() -> Result<Self, DriverError> {
        let mut all = Self { buffers: Vec::with_capacity(BUFFERS), next: 0 };
        for _ in 0..BUFFERS {
            let event = result::event::create(Flags::CU_EVENT_DISABLE_TIMING)?;
            // SAFETY: no flags are asked for, and what is allocated is freed once.
            let memory: *mut u8 = match unsafe { result::malloc_host(BYTES, 0) } {
                Ok(memory) => memory.cast(),
                Err(error) => {
                    // SAFETY: the event was just created, and nothing knows it.
                    let _ = unsafe { result::event::destroy(event) };
                    return Err(error);
                }
            };
            // SAFETY: there are so many bytes, which nobody else knows.
            unsafe { memory.write_bytes(0, BYTES) }
            all.buffers.push(Buffer { memory, event });
        }
        Ok(all)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for Buffer { memory, event } in self.buffers.drain(..) {
            // SAFETY: each was made once and is given back once. A copy that is still on its way is waited for by who drops
            // this, unless the device is lost.
            unsafe {
                let _ = result::event::destroy(event);
                let _ = result::free_host(memory.cast());
            }
        }
    }
}

/// Copies between pinned memory and memory of the GPU from an address on, on a stream of its context.
pub(super) struct Copies<'a> {
    pub context: &'a Context,
    pub stream: sys::CUstream,
    pub address: u64,
    pub pinned: &'a mut Pinned,
}

impl Ring for Copies<'_> {
    type Error = DriverError;

    fn size(&self) -> (usize, usize) {
        (self.pinned.buffers.len(), BYTES)
    }

    fn turn(&mut self) -> usize {
        let buffer = self.pinned.next;
        self.pinned.next = (buffer + 1) % self.pinned.buffers.len();
        buffer
    }

    fn wait(&mut self, buffer: usize) -> Result<(), DriverError> {
        self.context.enter()?;
        // SAFETY: the event is there as long as the buffer. One that was not recorded yet is not waited for.
        unsafe { result::event::synchronize(self.pinned.buffers[buffer].event) }
    }

    fn bytes(&mut self, buffer: usize) -> &mut [u8] {
        // SAFETY: there are so many bytes, which were all written, and which no one else has while this is borrowed; what was
        // on its way was waited for.
        unsafe { std::slice::from_raw_parts_mut(self.pinned.buffers[buffer].memory, BYTES) }
    }

    fn send(&mut self, buffer: usize, to: Range<usize>) -> Result<(), DriverError> {
        // Threads that wait for others may have done something else in between, in another context.
        self.context.enter()?;
        let (address, event, stream) =
            (self.address + to.start as u64, self.pinned.buffers[buffer].event, self.stream);
        let bytes = &self.bytes(buffer)[..to.len()];
        // SAFETY: who made this says that there is so much memory. The buffer stays as it is until the event was waited for.
        unsafe {
            result::memcpy_htod_async(address, bytes, stream)?;
            result::event::record(event, stream)
        }
    }

    fn fetch(&mut self, buffer: usize, from: Range<usize>) -> Result<(), DriverError> {
        self.context.enter()?;
        let (address, event, stream) =
            (self.address + from.start as u64, self.pinned.buffers[buffer].event, self.stream);
        let bytes = &mut self.bytes(buffer)[..from.len()];
        // SAFETY: who made this says that there is so much memory. What is still sent from the buffer comes first on the same
        // stream, and nobody looks at it before the event was waited for.
        unsafe {
            result::memcpy_dtoh_async(bytes, address, stream)?;
            result::event::record(event, stream)
        }
    }
}
