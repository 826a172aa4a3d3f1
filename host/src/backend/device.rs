//! What computes the heavy forms: the processor's cores, a GPU, or several.

use std::slice;
use std::sync::Arc;

pub use circlet_cuda::driver::Info;
use circlet_cuda::driver::{self, Gpu};
pub use circlet_cuda::{Error, Machine};

/// What computes the heavy forms that both can compute. Results are the same to the bit.
#[derive(Clone, Debug)]
pub enum Device {
    /// The processor's cores.
    Cpu,
    /// A GPU, or an emulated one.
    Gpu(Arc<dyn Machine>),
    /// Several, which share all forms that are worth it; a power of two of them is used. Threads of their own wait for them, so
    /// that proofs are not to be begun in tasks of a pool that has no thread left.
    Gpus(Vec<Arc<dyn Machine>>),
}

impl Device {
    /// The GPUs: none, or a power of two of them, of which the first does what is not shared.
    pub fn machines(&self) -> &[Arc<dyn Machine>] {
        match self {
            Self::Cpu => &[],
            Self::Gpu(machine) => slice::from_ref(machine),
            Self::Gpus(machines) if machines.is_empty() => machines,
            Self::Gpus(machines) => &machines[..1 << machines.len().ilog2()],
        }
    }
}

/// All GPUs, or why there is none.
pub fn devices() -> Result<Vec<Info>, Error> {
    driver::devices()
}

/// The GPU with this number.
pub fn open(index: usize) -> Result<Device, Error> {
    Ok(Device::Gpu(Arc::new(Gpu::open(index)?)))
}

/// The GPU with most memory that is free, of those that can be used.
pub fn best() -> Result<Device, Error> {
    match usable()?.into_iter().max_by_key(|info| info.memory.0) {
        Some(info) => Ok(Device::Gpu(Arc::new(Gpu::of(info)?))),
        None => unreachable!("there is one that can be used"),
    }
}

/// The GPUs with these numbers, which share every proof.
pub fn shared(indices: &[usize]) -> Result<Device, Error> {
    let all = driver::devices()?;
    let machine = |&index: &usize| {
        let machine: Arc<dyn Machine> = Arc::new(Gpu::of(Info::find(&all, index)?)?);
        Ok(machine)
    };
    Ok(Device::Gpus(indices.iter().map(machine).collect::<Result<_, Error>>()?))
}

/// The numbers of all GPUs that can be used, at least one.
pub fn numbers() -> Result<Vec<usize>, Error> {
    Ok(usable()?.into_iter().map(|info| info.index).collect())
}

/// All GPUs that can be used.
pub fn all() -> Result<Vec<Device>, Error> {
    usable()?.into_iter().map(|info| Ok(Device::Gpu(Arc::new(Gpu::of(info)?)))).collect()
}

/// All GPUs that can be used, at least one.
fn usable() -> Result<Vec<Info>, Error> {
    let gpus = driver::devices()?;
    let why = || gpus.iter().filter_map(Info::unusable).collect::<Vec<_>>().join("; ");
    let usable: Vec<Info> = gpus.iter().filter(|info| info.unusable().is_none()).cloned().collect();
    if usable.is_empty() { Err(Error::None(why())) } else { Ok(usable) }
}
