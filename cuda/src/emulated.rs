//! An emulator: a CPU that runs the kernels as they are, so that they and all that launches them are tested without a
//! GPU.
//!
//! `emulator/` says how. Here is what a machine is beside that: memory with a limit, filled with `0xa5`, and a check of
//! every address that a copy or a kernel is given. A kernel that is wrong ends in an error that names a line of it;
//! builds with the feature `emulate-threads` or `emulate-addresses` see more (`scripts/cuda-sanitize`).

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::machine::{Argument, Error, Grid, Kernel, Machine};

/// The order in which blocks run, their threads begin, and those that have waited go on. What a kernel computes is the
/// same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// The first is first.
    Ascending,
    /// The last is first.
    Descending,
    /// As this number says, other in each launch.
    Shuffled(u64),
}

/// The emulator as a machine.
#[derive(Debug)]
pub struct Emulator {
    name: String,
    schedule: Schedule,
    threads: u32,
    shared: u32,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Allocations, by address, and their bytes.
    live: BTreeMap<u64, u64>,
    /// The bytes of all, and the most that there were.
    used: u64,
    peak: u64,
    /// Launches so far, and the kernels that were to run.
    launches: u64,
    launched: Vec<&'static str>,
    /// The launch that fails, if one should.
    lost_at: Option<u64>,
}

/// What memory holds before it is written.
const UNWRITTEN: u8 = 0xa5;

/// To what memory is aligned.
const ALIGNMENT: usize = 256;

/// Bytes of shared memory of a block, as on an H100.
const SHARED: u32 = 227 * 1024;

/// Bytes of a message from the emulator.
const MESSAGE: usize = 1024;

/// A launch, as `emulator.cpp` has it.
#[repr(C)]
struct Launch {
    name: *const c_char,
    name_bytes: usize,
    arguments: *const *const c_void,
    argument_bytes: *const u32,
    argument_is_address: *const bool,
    argument_count: usize,
    blocks: [u32; 3],
    threads: u32,
    shared: u32,
    most_shared: u32,
    schedule: u32,
    os_threads: u32,
    seed: u64,
}

unsafe extern "C" {
    fn circlet_emulator_launch(launch: *const Launch, message: *mut c_char, message_bytes: usize) -> bool;
}

impl Emulator {
    /// A machine with so many bytes of memory, which runs blocks one after the other.
    pub fn new(name: impl Into<String>, schedule: Schedule, memory: u64) -> Self {
        let name = name.into();
        Self { name, schedule, threads: 1, shared: SHARED, limit: memory, state: Mutex::default() }
    }

    /// Runs so many blocks at once, each on a thread of the operating system.
    pub fn with_threads(mut self, threads: u32) -> Self {
        assert!(threads > 0, "nobody to run blocks");
        self.threads = threads;
        self
    }

    /// Gives blocks so many bytes of shared memory, at most 227 KiB.
    pub fn with_shared(mut self, bytes: u32) -> Self {
        assert!(bytes <= SHARED, "more shared memory than there is");
        self.shared = bytes;
        self
    }

    /// For tests of GPUs that are lost: the `n`th launch from now fails, and everything that is asked for after it,
    /// until this is called again. With 0, none does.
    pub fn fail_launch(&self, n: u64) {
        let mut state = self.state();
        state.lost_at = (n > 0).then(|| state.launches + n);
    }

    /// Bytes that are allocated, and the most that were since this was asked last.
    pub fn used(&self) -> (u64, u64) {
        let mut state = self.state();
        let (used, peak) = (state.used, state.peak);
        state.peak = used;
        (used, peak)
    }

    /// The kernels of all launches so far, in their order.
    pub fn launched(&self) -> Vec<&'static str> {
        self.state().launched.clone()
    }

    /// A panic in a test that holds it leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Failed { device: self.name.clone(), what: what.into(), why: why.into() }
    }

    /// The state, unless the machine is lost.
    fn present(&self, what: &str) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        match state.lost_at {
            Some(at) if state.launches >= at => Err(self.failed(what, "the machine is lost, as it was told")),
            _ => Ok(state),
        }
    }
}

impl State {
    /// Whether there is so much memory at an address.
    fn has(&self, address: u64, bytes: usize) -> bool {
        let allocation = self.live.range(..=address).next_back();
        allocation.is_some_and(|(&start, &all)| {
            let before = address - start;
            before <= all && bytes as u64 <= all - before
        })
    }
}

/// How memory of so many bytes is allocated. It has exactly so many, that AddressSanitizer sees the next.
fn layout(bytes: u64) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(bytes.max(1)).ok()?, ALIGNMENT).ok()
}

impl Machine for Emulator {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn shared(&self) -> u32 {
        self.shared
    }

    /// One, so that blocks of a sum have several tiles each where there are not many.
    fn multiprocessors(&self) -> u32 {
        1
    }

    fn memory(&self) -> Result<(u64, u64), Error> {
        let state = self.present("memory")?;
        Ok((self.limit - state.used, self.limit))
    }

    fn allocate(&self, bytes: u64) -> Result<u64, Error> {
        let mut state = self.present("allocate")?;
        let free = self.limit - state.used;
        let none = || Error::Memory { device: self.name.clone(), needed: bytes, free };
        let layout = layout(bytes).filter(|_| bytes <= free).ok_or_else(none)?;
        // SAFETY: the layout has at least a byte.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            return Err(none());
        }
        // SAFETY: there are so many bytes, which nobody else knows.
        unsafe { ptr::write_bytes(memory, UNWRITTEN, layout.size()) }
        let address = memory.expose_provenance() as u64;
        state.live.insert(address, bytes);
        state.used += bytes;
        state.peak = state.peak.max(state.used);
        Ok(address)
    }

    fn release(&self, address: u64, bytes: u64) {
        let mut state = self.state();
        let found = state.live.remove(&address);
        assert_eq!(found, Some(bytes), "{}: no such allocation is released at {address:#x}", self.name);
        state.used -= bytes;
        free(address, bytes);
    }

    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        let state = self.present("upload")?;
        if !state.has(to, bytes.len()) {
            let why = format!("no allocation has {} bytes at {to:#x}", bytes.len());
            return Err(self.failed("upload", why));
        }
        // SAFETY: an allocation has so many bytes there, and nobody copies or runs while the state is held.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory(to), bytes.len()) }
        Ok(())
    }

    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let state = self.present("download")?;
        if !state.has(from, bytes.len()) {
            let why = format!("no allocation has {} bytes at {from:#x}", bytes.len());
            return Err(self.failed("download", why));
        }
        // SAFETY: an allocation has so many bytes there, and nobody copies or runs while the state is held.
        unsafe { ptr::copy_nonoverlapping(memory(from), bytes.as_mut_ptr(), bytes.len()) }
        Ok(())
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument]) -> Result<(), Error> {
        let what = format!("launch of {}", kernel.name);
        let mut state = self.present(&what)?;
        state.launches += 1;
        state.launched.push(kernel.name);
        drop(state);
        // Held to the end: kernels run one after the other.
        let state = self.present(&what)?;
        for (index, argument) in arguments.iter().enumerate() {
            if let &Argument::Address(address) = argument
                && address != 0
                && !state.has(address, 0)
            {
                return Err(self.failed(what, format!("no allocation has argument {index}, {address:#x}")));
            }
        }
        let pointers: Vec<*const c_void> = arguments.iter().map(Argument::pointer).collect();
        let sizes: Vec<u32> = arguments.iter().map(Argument::size).collect();
        let is_address: Vec<bool> = arguments.iter().map(|a| matches!(a, Argument::Address(_))).collect();
        let (schedule, seed) = match self.schedule {
            Schedule::Ascending => (0, 0),
            Schedule::Descending => (1, 0),
            Schedule::Shuffled(seed) => (2, seed.wrapping_add(state.launches)),
        };
        let launch = Launch {
            name: kernel.name.as_ptr().cast(),
            name_bytes: kernel.name.len(),
            arguments: pointers.as_ptr(),
            argument_bytes: sizes.as_ptr(),
            argument_is_address: is_address.as_ptr(),
            argument_count: arguments.len(),
            blocks: grid.blocks,
            threads: grid.threads,
            shared: grid.shared,
            most_shared: self.shared,
            schedule,
            os_threads: self.threads,
            seed,
        };
        let mut message: [c_char; MESSAGE] = [0; MESSAGE];
        // SAFETY: the launch describes memory that lives until it is done, and the message has so many bytes. Addresses
        // and what a kernel does with them are the caller's promise.
        if unsafe { circlet_emulator_launch(&raw const launch, message.as_mut_ptr(), MESSAGE) } {
            return Ok(());
        }
        // SAFETY: it ends in a zero.
        let why = unsafe { CStr::from_ptr(message.as_ptr()) };
        Err(self.failed(what, why.to_string_lossy()))
    }

    fn synchronize(&self) -> Result<(), Error> {
        self.present("synchronize").map(drop)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for (address, bytes) in std::mem::take(&mut self.state().live) {
            free(address, bytes);
        }
    }
}

/// The memory at an address.
fn memory(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}

/// Frees an allocation, which the caller has just taken from those that live.
fn free(address: u64, bytes: u64) {
    if let Some(layout) = layout(bytes) {
        // SAFETY: it was allocated with this layout, and nobody else will free it.
        unsafe { dealloc(memory(address), layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::Buffer;

    fn emulator(memory: u64) -> Emulator {
        Emulator::new("test", Schedule::Ascending, memory)
    }

    #[test]
    fn words_go_from_one_machine_to_another() {
        let [one, other] = [(); 2].map(|()| Arc::new(emulator(1 << 28)) as Arc<dyn Machine>);
        // More than go at once.
        let words: Vec<u32> = (0..(1 << 24) + 5).collect();
        let mut from = Buffer::new(&one, words.len()).unwrap();
        from.write(0, &words).unwrap();
        for machine in [&one, &other] {
            let mut to = Buffer::new(machine, words.len() + 2).unwrap();
            to.receive(3, &from, 1, words.len() - 1).unwrap();
            let mut found = vec![0; words.len() - 1];
            to.read(3, &mut found).unwrap();
            assert!(found == words[1..]);
        }
        let mut none = Buffer::new(&other, 0).unwrap();
        none.receive(0, &from, words.len(), 0).unwrap();
    }

    #[test]
    fn memory_has_a_limit() {
        let machine = emulator(1000);
        let first = machine.allocate(600).unwrap();
        assert!(first.is_multiple_of(256));
        assert_eq!(machine.memory(), Ok((400, 1000)));
        let expected = Error::Memory { device: "test".into(), needed: 401, free: 400 };
        assert_eq!(machine.allocate(401), Err(expected));
        let (second, empty) = (machine.allocate(400).unwrap(), machine.allocate(0).unwrap());
        for (address, bytes) in [(first, 600), (second, 400), (empty, 0)] {
            machine.release(address, bytes);
        }
        assert_eq!(machine.memory(), Ok((1000, 1000)));
        assert!(matches!(emulator(u64::MAX).allocate(u64::MAX), Err(Error::Memory { .. })));
    }

    #[test]
    fn copies_stay_within_allocations() {
        let machine = emulator(1000);
        let address = machine.allocate(100).unwrap();
        let mut bytes = [0; 101];
        // SAFETY: the emulator checks addresses.
        unsafe {
            machine.download(address, &mut bytes[..100]).unwrap();
            assert_eq!(bytes[..100], [UNWRITTEN; 100]);
            machine.upload(address + 90, &[7; 10]).unwrap();
            machine.download(address + 89, &mut bytes[..11]).unwrap();
            assert_eq!(bytes[..11], [UNWRITTEN, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
            assert!(matches!(machine.download(address, &mut bytes), Err(Error::Failed { .. })));
            assert!(matches!(machine.download(address - 1, &mut bytes[..1]), Err(Error::Failed { .. })));
            assert!(matches!(machine.upload(address + 91, &[7; 10]), Err(Error::Failed { .. })));
            assert!(matches!(machine.upload(0, &[7]), Err(Error::Failed { .. })));
        }
    }

    #[test]
    #[should_panic(expected = "no such allocation")]
    fn memory_is_released_once() {
        let machine = emulator(1000);
        let address = machine.allocate(4).unwrap();
        machine.release(address, 4);
        machine.release(address, 4);
    }

    #[test]
    #[should_panic(expected = "no such allocation")]
    fn memory_is_released_whole() {
        let machine = emulator(1000);
        let address = machine.allocate(4).unwrap();
        machine.release(address, 3);
    }
}
