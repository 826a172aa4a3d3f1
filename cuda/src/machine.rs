//! What runs kernels.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// Why a GPU did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none, and why.
    #[error("no GPU can be used: {0}")]
    None(String),
    /// There is not enough memory for a buffer.
    #[error("{device} has not enough memory: {needed} bytes more are needed, {free} are free")]
    Memory {
        /// Which machine.
        device: String,
        /// Bytes asked for.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Something it was asked for has failed.
    #[error("{device} has failed: {what}: {why}")]
    Failed {
        /// Which machine.
        device: String,
        /// What was asked for.
        what: String,
        /// What it says.
        why: String,
    },
}

/// A file of kernels, and the module that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family {
    /// The name of its file.
    pub name: &'static str,
    /// What the driver compiles.
    pub ptx: &'static str,
}

impl Family {
    /// One of its kernels.
    pub const fn kernel(&'static self, name: &'static str) -> Kernel {
        Kernel { family: self, name }
    }

    /// The names of its kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.ptx.lines().filter_map(|line| line.strip_prefix(".visible .entry ")?.strip_suffix('('))
    }
}

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Where it is.
    pub family: &'static Family,
    /// Its name there.
    pub name: &'static str,
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along three axes.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

impl Grid {
    /// Blocks along the second axis, at most.
    pub const ROWS: usize = (1 << 16) - 1;

    /// A thread for each of so many, in blocks of 256 threads.
    pub fn of(count: usize) -> Self {
        const THREADS: u32 = 256;
        assert!(u32::try_from(count).is_ok(), "more threads than a kernel counts");
        Self { blocks: [(count as u32).div_ceil(THREADS), 1, 1], threads: THREADS, shared: 0 }
    }
}

/// What a kernel is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Memory of the machine.
    Address(u64),
    /// A number.
    Word(u32),
    /// A long number.
    Long(u64),
    /// Four words.
    Element([u32; 4]),
    /// Eight words.
    Words([u32; 8]),
}

impl Argument {
    /// Where the value is that a kernel is given.
    pub fn pointer(&self) -> *const std::ffi::c_void {
        match self {
            Self::Address(value) | Self::Long(value) => std::ptr::from_ref(value).cast(),
            Self::Word(value) => std::ptr::from_ref(value).cast(),
            Self::Element(value) => std::ptr::from_ref(value).cast(),
            Self::Words(value) => std::ptr::from_ref(value).cast(),
        }
    }

    /// The address that lies so many bytes after an address.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn after(self, bytes: usize) -> Self {
        let Self::Address(address) = self else { panic!("{self:?} is no address") };
        Self::Address(address + bytes as u64)
    }

    /// An address in two words, the lower one first.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn words(self) -> [u32; 2] {
        let Self::Address(address) = self else { panic!("{self:?} is no address") };
        [address as u32, (address >> u32::BITS) as u32]
    }

    /// Its bytes.
    pub fn size(&self) -> u32 {
        match self {
            Self::Address(_) | Self::Long(_) => 8,
            Self::Word(_) => 4,
            Self::Element(_) => 16,
            Self::Words(_) => 32,
        }
    }
}

/// Bytes that go by way of the processor at once from one machine to another.
const PIECE: u64 = 1 << 26;

/// Runs kernels, one after the other in the order in which they are launched.
pub trait Machine: Any + Debug + Send + Sync {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// Bytes of shared memory that a block may have.
    fn shared(&self) -> u32;

    /// How many multiprocessors run blocks.
    fn multiprocessors(&self) -> u32;

    /// Bytes of memory that are free, and all.
    fn memory(&self) -> Result<(u64, u64), Error>;

    /// Memory with anything in it, aligned to 256 bytes.
    fn allocate(&self, bytes: u64) -> Result<u64, Error>;

    /// Gives memory back.
    fn release(&self, address: u64, bytes: u64);

    /// Copies to the machine.
    ///
    /// # Safety
    /// There is so much memory at the address.
    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Copies from the machine, when all that was launched is done.
    ///
    /// # Safety
    /// There is so much memory at the address.
    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error>;

    /// Copies from a machine, this one or another, when all that was launched on either is done. Nothing of the memory there
    /// is read after this.
    ///
    /// # Safety
    /// There is so much memory at both addresses.
    unsafe fn receive(
        &self,
        to: u64,
        machine: &Arc<dyn Machine>,
        from: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        // By way of the processor, a piece at a time.
        let mut piece = vec![0; bytes.min(PIECE) as usize];
        for at in (0..bytes).step_by(PIECE as usize) {
            let piece = &mut piece[..(bytes - at).min(PIECE) as usize];
            // SAFETY: as the caller says.
            unsafe {
                machine.download(from + at, piece)?;
                self.upload(to + at, piece)?;
            }
        }
        Ok(())
    }

    /// Launches a kernel.
    ///
    /// # Safety
    /// The arguments are those that the kernel takes, and what it reads and writes is memory of this machine.
    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument]) -> Result<(), Error>;

    /// Waits for all that was launched.
    fn synchronize(&self) -> Result<(), Error>;
}

/// Words in a machine's memory.
#[derive(Debug)]
pub struct Buffer {
    machine: Arc<dyn Machine>,
    address: u64,
    words: usize,
}

/// Bytes of a word.
const WORD: usize = size_of::<u32>();

impl Buffer {
    /// So many words, of any value.
    pub fn new(machine: &Arc<dyn Machine>, words: usize) -> Result<Self, Error> {
        let address = machine.allocate((words * WORD) as u64)?;
        Ok(Self { machine: machine.clone(), address, words })
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// As an argument.
    pub fn address(&self) -> Argument {
        Argument::Address(self.address)
    }

    /// The address of a word of it, or of its end, as an argument.
    pub fn address_of(&self, word: usize) -> Argument {
        assert!(word <= self.words, "an address beyond a buffer");
        Argument::Address(self.address + (word * WORD) as u64)
    }

    /// Writes words from one on.
    pub fn write(&mut self, first: usize, words: &[u32]) -> Result<(), Error> {
        assert!(first + words.len() <= self.words, "a write beyond a buffer");
        // SAFETY: every word is four bytes, and the range was just compared with the buffer's.
        unsafe {
            let bytes = std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words));
            self.machine.upload(self.address + (first * WORD) as u64, bytes)
        }
    }

    /// Writes half words, two to a word, from a word on.
    pub fn write_halves(&mut self, first: usize, halves: &[i16]) -> Result<(), Error> {
        assert!(first + halves.len().div_ceil(2) <= self.words, "a write beyond a buffer");
        // SAFETY: every half is two bytes, and the range was just compared with the buffer's.
        unsafe {
            let bytes = std::slice::from_raw_parts(halves.as_ptr().cast(), size_of_val(halves));
            self.machine.upload(self.address + (first * WORD) as u64, bytes)
        }
    }

    /// Writes bytes, four to a word, from a word on.
    pub fn write_bytes(&mut self, first: usize, bytes: &[i8]) -> Result<(), Error> {
        assert!(first + bytes.len().div_ceil(4) <= self.words, "a write beyond a buffer");
        // SAFETY: the range was just compared with the buffer's.
        unsafe {
            let bytes = std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len());
            self.machine.upload(self.address + (first * WORD) as u64, bytes)
        }
    }

    /// Writes words of a buffer, from `at` on, of this machine or another.
    pub fn receive(&mut self, first: usize, from: &Self, at: usize, words: usize) -> Result<(), Error> {
        assert!(first + words <= self.words && at + words <= from.words, "a copy beyond a buffer");
        let (to, place) = (self.address + (first * WORD) as u64, from.address + (at * WORD) as u64);
        // SAFETY: both ranges were just compared with their buffers.
        unsafe { self.machine.receive(to, &from.machine, place, (words * WORD) as u64) }
    }

    /// Reads words from one on.
    pub fn read(&self, first: usize, words: &mut [u32]) -> Result<(), Error> {
        assert!(first + words.len() <= self.words, "a read beyond a buffer");
        // SAFETY: every word is four bytes and any bytes are a word, and the range was just compared with the buffer's.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words));
            self.machine.download(self.address + (first * WORD) as u64, bytes)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.machine.release(self.address, (self.words * WORD) as u64);
    }
}
