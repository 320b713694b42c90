//! Memory taken from the system in one piece: anonymous, or a sealed memory file that others may read.
#![allow(unsafe_code, reason = "mapping memory and handing out pointers into it; the arena and the index build on it")]

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A mapped piece of memory, zeros at first. Unmapped when dropped.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    length: usize,
    /// Opened for reading alone, whatever its receiver tries.
    readable: Option<Arc<OwnedFd>>,
}

// SAFETY: a region is plain memory that it owns; nothing in it belongs to a thread.
unsafe impl Send for Region {}
// SAFETY: `&Region` gives out nothing but pointers and descriptors; who follows the pointers answers for it.
unsafe impl Sync for Region {}

impl Region {
    /// `length` bytes (a multiple of the page size), which other processes may read if `shared`.
    pub(super) fn new(length: usize, shared: bool) -> io::Result<Self> {
        if shared { Self::new_shared(length) } else { Self::new_private(length) }
    }

    fn new_private(length: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags)?
        };
        Ok(Self { start: pointer(start)?, length, readable: None })
    }

    fn new_shared(length: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = match rustix::fs::memfd_create("okapi-map", flags | MemfdFlags::NOEXEC_SEAL) {
            // Linux before 6.3 does not know the flag.
            Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("okapi-map", flags)?,
            file => file?,
        };
        rustix::fs::ftruncate(&file, length as u64)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &file, 0)?
        };
        let start = pointer(start)?;
        // From here on dropping `region` unmaps.
        let mut region = Self { start, length, readable: None };
        // Only the mapping above can ever write; the size is fixed, so no reader dies of a truncated file.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let readable = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        region.readable = Some(Arc::new(readable));
        Ok(region)
    }

    /// The first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of it.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The descriptor by which others read it, if they may.
    pub(super) fn readable(&self) -> Option<&Arc<OwnedFd>> {
        self.readable.as_ref()
    }

    /// Asks for large pages: fewer faults and fewer TLB misses where the system has some to give.
    pub(super) fn prefer_large_pages(&self) {
        let _ = self.advise(0..self.length, Advice::LinuxHugepage);
    }

    /// Makes pages real now, so that using them neither faults one by one nor fails.
    pub(super) fn populate(&self, range: std::ops::Range<usize>) -> io::Result<()> {
        match self.advise(range, Advice::LinuxPopulateWrite) {
            // Linux before 5.14 makes them real at first use.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(()),
            done => done,
        }
    }

    /// Gives pages back to the system; they are zeros afterwards. A sealed memory file cannot: says whether it did.
    ///
    /// # Safety
    /// Nothing of value lies in `range`, and no reference into it is alive.
    pub(super) unsafe fn give_back(&self, range: std::ops::Range<usize>) -> bool {
        self.readable.is_none() && self.advise(range, Advice::LinuxDontNeed).is_ok()
    }

    fn advise(&self, range: std::ops::Range<usize>, advice: Advice) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.length, "advice within the region");
        // SAFETY: the range lies in our own mapping. Only DONTNEED changes contents, and only `give_back` asks for it,
        // whose caller has nothing in that range.
        unsafe { rustix::mm::madvise(self.start.add(range.start).as_ptr().cast(), range.len(), advice)? };
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; whoever keeps pointers into a region keeps the region.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

fn pointer(start: *mut std::ffi::c_void) -> io::Result<NonNull<u8>> {
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("the system mapped memory at address 0"))
}

/// Asks the processor to bring the line of memory at `place` closer; any place will do, even one that is not there.
#[inline]
pub(super) fn fetch_ahead<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing as far as the program can tell, and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
