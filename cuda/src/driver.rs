//! GPUs behind NVIDIA's driver, which is looked for when the program runs.

mod pinned;
mod staging;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};

use crate::machine::{Argument, Error, Family, Grid, Kernel, Machine};
use pinned::{Copies, Pinned};

/// The oldest version of the driver, as it numbers itself: that of CUDA 11.0, which knows all that kernels use.
const OLDEST: i32 = 11_000;

/// The lowest compute capability for which kernels are compiled.
const CAPABILITY: (i32, i32) = (8, 0);

/// Bytes of shared memory that a block may have without being asked for.
const UNASKED: u32 = 48 * 1024;

/// A GPU, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What it can do.
    pub capability: (i32, i32),
    /// Number of multiprocessors.
    pub multiprocessors: i32,
    /// Clock rate of its multiprocessors in kHz.
    pub clock: i32,
    /// Bytes that its memory gives or takes in a second, at most.
    pub bandwidth: u64,
    /// Bytes of level 2 cache.
    pub cache: i32,
    /// Bytes of shared memory that a block may have.
    pub shared: i32,
    /// Bytes of memory that are free, and all.
    pub memory: (u64, u64),
    /// The GPUs whose memory it can reach itself.
    pub peers: Vec<usize>,
}

impl Info {
    /// Whether it multiplies matrices of small integers in one instruction.
    pub fn tensor_cores(&self) -> bool {
        // Those of bytes came with 7.2.
        self.capability >= (7, 2)
    }

    /// The GPU with a number, of all that there are.
    pub fn find(all: &[Self], index: usize) -> Result<Self, Error> {
        let none = || Error::None(format!("there is no GPU {index}, only {} in all, from 0 on", all.len()));
        all.get(index).cloned().ok_or_else(none)
    }

    /// Why it cannot be used, if it cannot.
    pub fn unusable(&self) -> Option<String> {
        let ((major, minor), (most, least)) = (self.capability, CAPABILITY);
        (self.capability < CAPABILITY)
            .then(|| format!("{} has compute capability {major}.{minor}, below {most}.{least}", self.name))
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        write!(f, "cuda:{} ({}, sm_{major}{minor})", self.index, self.name)
    }
}

/// The driver's word for an error.
fn word(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("error {:?}", error.0),
    }
}

/// Starts the driver, or says why there is none.
fn start() -> Result<(), Error> {
    // SAFETY: it opens the library, whose initialisation is the driver's own.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::None("there is no NVIDIA driver (libcuda)".into()));
    }
    let mut version = 0;
    // SAFETY: it writes a number to where it is told. Every version of the driver has this function.
    let answer = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    answer
        .result()
        .map_err(|error| Error::None(format!("the NVIDIA driver does not start: {}", word(error))))?;
    if version < OLDEST {
        let (own, oldest) = (version / 1000, OLDEST / 1000);
        return Err(Error::None(format!(
            "the NVIDIA driver is too old: it knows CUDA {own}.{}, and {oldest}.{} is needed",
            version % 1000 / 10,
            OLDEST % 1000 / 10
        )));
    }
    result::init().map_err(|error| Error::None(format!("the NVIDIA driver does not start: {}", word(error))))
}

/// All GPUs, or why there is none.
pub fn devices() -> Result<Vec<Info>, Error> {
    start()?;
    let none = |error| Error::None(word(error));
    let count = result::device::get_count().map_err(none)?;
    if count == 0 {
        return Err(Error::None("the NVIDIA driver finds none".into()));
    }
    (0..count).map(|index| describe(index, count).map_err(none)).collect()
}

fn describe(index: i32, count: i32) -> Result<Info, DriverError> {
    let device = result::device::get(index)?;
    // SAFETY: the device is one that the driver has named, here and below.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let all = unsafe { result::device::total_mem(device) }?;
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let mut peers = Vec::new();
    for other in (0..count).filter(|&other| other != index) {
        let mut reaches = 0;
        // SAFETY: it writes a number to where it is told.
        unsafe {
            sys::cuDeviceCanAccessPeer(&raw mut reaches, device, result::device::get(other)?).result()?;
        }
        if reaches != 0 {
            peers.push(other as usize);
        }
    }
    Ok(Info {
        index: index as usize,
        name: result::device::get_name(device)?,
        capability,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        clock: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
        // Two transfers in a cycle, of so many bits.
        bandwidth: 2
            * 1000
            * attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?.max(0) as u64
            * attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?.max(0) as u64
            / 8,
        cache: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        shared: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        // Free memory is known in a context alone.
        memory: (
            Context::retain(device).and_then(|context| context.memory()).map_or(0, |memory| memory.0),
            all as u64,
        ),
        peers,
    })
}

/// A device's primary context, kept while there is this.
struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: a context may be used by all threads, each of which makes it its own first.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    fn retain(device: sys::CUdevice) -> Result<Self, DriverError> {
        // SAFETY: the device is one that the driver has named, and what is retained is released once.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        Ok(Self { device, context })
    }

    /// Makes it this thread's.
    fn enter(&self) -> Result<(), DriverError> {
        // SAFETY: the context is retained.
        unsafe { result::ctx::set_current(self.context) }
    }

    fn memory(&self) -> Result<(u64, u64), DriverError> {
        self.enter()?;
        result::mem_get_info().map(|(free, all)| (free as u64, all as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// A GPU that runs kernels, all on one stream.
pub struct Gpu {
    info: Info,
    context: Context,
    stream: sys::CUstream,
    /// Modules of families and functions of kernels, loaded when they are first used.
    loaded: Mutex<Loaded>,
    pinned: Mutex<Staging>,
    /// Whether it reads memory of the processor that is not pinned: copies from there may then come later.
    reads_memory: bool,
}

/// Pinned memory for large copies, made when it is first needed.
enum Staging {
    Unasked,
    There(Pinned),
    /// There is none: it could not be had, or a copy through it has failed.
    None,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, sys::CUfunction>,
    /// GPUs whose memory this one reaches itself, as far as it can, since it was asked to.
    peers: HashSet<usize>,
}

// SAFETY: streams, modules, functions, events and pinned memory may be used by all threads that have entered the context; the
// last two are one thread's at a time.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpu").field(&self.info).finish()
    }
}

impl Gpu {
    /// The GPU with this number.
    pub fn open(index: usize) -> Result<Self, Error> {
        Self::of(Info::find(&devices()?, index)?)
    }

    /// The GPU that is described so.
    pub fn of(info: Info) -> Result<Self, Error> {
        if let Some(why) = info.unusable() {
            return Err(Error::None(why));
        }
        let failed = |error| Error::None(format!("{info}: {}", word(error)));
        let device = result::device::get(info.index as i32).map_err(failed)?;
        let context = Context::retain(device).map_err(failed)?;
        context.enter().map_err(failed)?;
        let attribute = Attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS;
        // SAFETY: the device is one that the driver has named.
        let reads_memory = unsafe { result::device::get_attribute(device, attribute) }.map_err(failed)? != 0;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        let pinned = Mutex::new(Staging::Unasked);
        Ok(Self { info, context, stream, loaded: Mutex::default(), pinned, reads_memory })
    }

    fn failed(&self, what: &str, error: DriverError) -> Error {
        Error::Failed { device: self.info.to_string(), what: what.into(), why: word(error) }
    }

    /// Lets the context that was entered reach another GPU's memory itself, if it can: copies go by way of the processor
    /// otherwise.
    fn reach(&self, other: &Self) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if self.info.peers.contains(&other.info.index) && loaded.peers.insert(other.info.index) {
            // SAFETY: both contexts are retained. An error says that it cannot, or does already.
            let _ = unsafe { sys::cuCtxEnablePeerAccess(other.context.context, 0) };
        }
    }

    /// Does a large copy from or to an address through pinned memory, in the context that was entered. If there is none, or it
    /// is another copy's, nothing is done: waiting could be for a copy that this very thread has begun.
    ///
    /// # Safety
    /// There is so much memory at the address.
    unsafe fn staged(
        &self,
        address: u64,
        copy: impl FnOnce(&mut Copies<'_>) -> Result<(), DriverError>,
    ) -> Option<Result<(), DriverError>> {
        let mut staging = match self.pinned.try_lock() {
            Ok(staging) => staging,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Staging::Unasked = *staging {
            *staging = Pinned::new().map_or(Staging::None, Staging::There);
        }
        let Staging::There(pinned) = &mut *staging else { return None };
        let (context, stream) = (&self.context, self.stream);
        let copied = copy(&mut Copies { context, stream, address, pinned });
        if copied.is_err() {
            // Whether a buffer is on its way is not known any more.
            let _ = self.context.enter();
            // SAFETY: the stream is this GPU's own.
            let _ = unsafe { result::stream::synchronize(self.stream) };
            *staging = Staging::None;
        }
        Some(copied)
    }

    /// The function of a kernel.
    fn function(&self, kernel: &Kernel) -> Result<sys::CUfunction, Error> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let Loaded { modules, functions, .. } = &mut *loaded;
        if let Some(&function) = functions.get(kernel.name) {
            return Ok(function);
        }
        let Family { name, ptx } = *kernel.family;
        let failed = |error| self.failed(&format!("loading {name}"), error);
        let module = if let Some(&module) = modules.get(name) {
            module
        } else {
            let image = CString::new(ptx).unwrap_or_default();
            // SAFETY: the image is a text that ends in zero, as the driver takes it.
            let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(failed)?;
            modules.insert(name, module);
            module
        };
        let name = CString::new(kernel.name).unwrap_or_default();
        // SAFETY: the module is loaded, and stays so as long as this GPU.
        let function = unsafe { result::module::get_function(module, name) }.map_err(failed)?;
        functions.insert(kernel.name, function);
        Ok(function)
    }
}

impl Machine for Gpu {
    fn describe(&self) -> String {
        self.info.to_string()
    }

    fn shared(&self) -> u32 {
        self.info.shared.max(0) as u32
    }

    fn multiprocessors(&self) -> u32 {
        self.info.multiprocessors.max(1) as u32
    }

    fn memory(&self) -> Result<(u64, u64), Error> {
        self.context.memory().map_err(|error| self.failed("asking for its memory", error))
    }

    fn allocate(&self, bytes: u64) -> Result<u64, Error> {
        self.context.enter().map_err(|error| self.failed("an allocation", error))?;
        // SAFETY: the context was entered, and an empty allocation, which the driver refuses, is one of a byte.
        unsafe { result::malloc_sync(bytes.max(1) as usize) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let free = self.context.memory().map_or(0, |memory| memory.0);
                Error::Memory { device: self.info.to_string(), needed: bytes, free }
            }
            _ => self.failed("an allocation", error),
        })
    }

    fn release(&self, address: u64, _: u64) {
        // A device that is lost has no memory to give back.
        if self.context.enter().is_ok() {
            // SAFETY: the address is one that `allocate` has given. The driver waits for what uses it.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let copied = self.context.enter().and_then(|()| {
            // SAFETY: the caller says that there is so much memory. A copy from memory that is not pinned is out of it when
            // this returns, unless the GPU reads it there itself.
            unsafe {
                if bytes.len() >= staging::LEAST
                    && let Some(copied) = self.staged(to, |copies| staging::upload(copies, bytes))
                {
                    return copied;
                }
                result::memcpy_htod_async(to, bytes, self.stream)?;
                if self.reads_memory { result::stream::synchronize(self.stream) } else { Ok(()) }
            }
        });
        copied.map_err(|error| self.failed("a copy to it", error))
    }

    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let copied = self.context.enter().and_then(|()| {
            // SAFETY: the caller says that there is so much memory; the copy is waited for.
            unsafe {
                if bytes.len() >= staging::LEAST
                    && let Some(copied) = self.staged(from, |copies| staging::download(copies, bytes))
                {
                    return copied;
                }
                result::memcpy_dtoh_async(bytes, from, self.stream)?;
                result::stream::synchronize(self.stream)
            }
        });
        copied.map_err(|error| self.failed("a copy from it", error))
    }

    unsafe fn receive(
        &self,
        to: u64,
        machine: &Arc<dyn Machine>,
        from: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        let Some(other) = (&**machine as &dyn Any).downcast_ref::<Self>() else {
            return Err(Error::Failed {
                device: self.info.to_string(),
                what: format!("a copy from {}", machine.describe()),
                why: "it is no GPU".into(),
            });
        };
        other.synchronize()?;
        let copied = self.context.enter().and_then(|()| {
            self.reach(other);
            // SAFETY: the caller says that there is so much memory at both, in the contexts of both; the copy is waited for.
            unsafe {
                let (own, others) = (self.context.context, other.context.context);
                sys::cuMemcpyPeerAsync(to, own, from, others, bytes as usize, self.stream).result()?;
                result::stream::synchronize(self.stream)
            }
        });
        copied.map_err(|error| self.failed(&format!("a copy from {}", other.info), error))
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, arguments: &[Argument]) -> Result<(), Error> {
        self.context.enter().map_err(|error| self.failed(kernel.name, error))?;
        let function = self.function(kernel)?;
        if grid.shared > UNASKED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is loaded.
            unsafe { result::function::set_function_attribute(function, attribute, grid.shared as i32) }
                .map_err(|error| self.failed(kernel.name, error))?;
        }
        let mut pointers: Vec<*mut c_void> =
            arguments.iter().map(|argument| argument.pointer().cast_mut()).collect();
        let [x, y, z] = grid.blocks;
        // SAFETY: the caller answers for what the kernel does with its arguments, which are read before this returns.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (grid.threads, 1, 1),
                grid.shared,
                self.stream,
                &mut pointers,
            )
        };
        launched.map_err(|error| self.failed(kernel.name, error))
    }

    fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the stream is this GPU's own.
        let done = self.context.enter().and_then(|()| unsafe { result::stream::synchronize(self.stream) });
        done.map_err(|error| self.failed("what was launched", error))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let pinned = self.pinned.get_mut().unwrap_or_else(PoisonError::into_inner);
        let pinned = std::mem::replace(pinned, Staging::None);
        if self.context.enter().is_err() {
            // What is lost with its context cannot be given back.
            std::mem::forget(pinned);
            return;
        }
        let loaded = self.loaded.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing uses the stream or a module after this, and each is given back once.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            // Nothing is on its way any more, and the context is this thread's.
            drop(pinned);
            for &module in loaded.modules.values() {
                let _ = result::module::unload(module);
            }
            let _ = result::stream::destroy(self.stream);
        }
    }
}
