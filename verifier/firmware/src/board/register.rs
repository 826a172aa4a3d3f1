//! A register of a device.

/// Where it is.
#[derive(Clone, Copy)]
pub struct Register<T>(*mut T);

impl<T: Copy> Register<T> {
    /// The register at an address.
    ///
    /// # Safety
    ///
    /// At this address is a device's register of this width, aligned, that may be read and written at any time: it is not
    /// memory, and no value or order of accesses makes the device touch memory.
    pub const unsafe fn at(address: usize) -> Self {
        Self(core::ptr::without_provenance_mut(address))
    }

    /// Its value.
    pub fn read(self) -> T {
        // SAFETY: whoever made it says that there is a register which may be read.
        unsafe { self.0.read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: T) {
        // SAFETY: whoever made it says that there is a register which may be written.
        unsafe { self.0.write_volatile(value) }
    }
}
