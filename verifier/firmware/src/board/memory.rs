//! Heap and stack, and with the feature `measure` how much of them was used.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use embedded_alloc::TlsfHeap;

use super::chosen::HEAP;

#[global_allocator]
static ALLOCATOR: Counting = Counting(TlsfHeap::empty());

/// What the allocator hands out.
#[unsafe(link_section = ".uninit.heap")]
static mut ARENA: [MaybeUninit<u8>; HEAP] = [MaybeUninit::uninit(); HEAP];

/// Bytes that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most there were.
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// A heap, and how much of it is used.
struct Counting(TlsfHeap);

// SAFETY: all memory comes from the heap inside, whose promises are these; counting touches none of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the heap asks for.
        let memory = unsafe { self.0.alloc(layout) };
        if cfg!(feature = "measure") && !memory.is_null() {
            let live = LIVE.load(Relaxed) + layout.size();
            LIVE.store(live, Relaxed);
            PEAK.fetch_max(live, Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if cfg!(feature = "measure") {
            LIVE.store(LIVE.load(Relaxed) - layout.size(), Relaxed);
        }
        // SAFETY: the caller's promises are those that the heap asks for.
        unsafe { self.0.dealloc(memory, layout) };
    }
}

/// Gives the allocator its memory.
pub(super) fn start() {
    // SAFETY: `ARENA` is named nowhere else, and this is called once (the heap panics otherwise): the allocator has it
    // alone. Address and size are its own.
    unsafe { ALLOCATOR.0.init((&raw mut ARENA).addr(), HEAP) }
}

/// Starts to look for the peaks.
pub fn mark() {
    if cfg!(feature = "measure") {
        PEAK.store(LIVE.load(Relaxed), Relaxed);
        paint();
    }
}

/// The most bytes that were allocated since the mark.
pub fn heap_peak() -> u32 {
    PEAK.load(Relaxed) as u32
}

/// What unused stack is painted with.
const PAINT: u32 = 0xa55a_c33c;

// The linker script puts them there.
unsafe extern "C" {
    /// Where the guard below the stack begins; it ends where the stack does.
    static _guard_start: MaybeUninit<u32>;
    /// The lowest word of the stack.
    static _stack_end: MaybeUninit<u32>;
    /// Just above the highest.
    static _stack_start: MaybeUninit<u32>;
}

/// Where nothing is and nothing may be: an address and a size, a power of two that divides the address.
pub(super) fn guard() -> (usize, usize) {
    let (start, end) = ((&raw const _guard_start).addr(), (&raw const _stack_end).addr());
    (start, end - start)
}

fn stack() -> (usize, usize) {
    ((&raw const _stack_end).addr(), (&raw const _stack_start).addr())
}

/// Paints the stack below what is in use.
#[inline(never)]
fn paint() {
    /// Below the stack pointer, for this function itself.
    const MARGIN: usize = 256;
    let (low, _) = stack();
    let high = super::processor::stack_pointer().saturating_sub(MARGIN);
    for address in (low..high).step_by(4) {
        // SAFETY: the words from the end of the stack to well below the stack pointer are in no frame, and interrupts
        // keep what they push in no other words than those that they find there when they return.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(PAINT) }
    }
}

/// The greatest depth of the stack since the mark.
pub fn stack_peak() -> u32 {
    let (low, high) = stack();
    // SAFETY: the words of the stack are memory; reading one that is in use changes nothing.
    let painted = |address: &usize| unsafe {
        core::ptr::with_exposed_provenance::<u32>(*address).read_volatile() == PAINT
    };
    let unused = (low..high).step_by(4).take_while(painted).count() * 4;
    (high - low - unused) as u32
}
