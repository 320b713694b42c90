//! A disk that is written to, behind a buffer: what guests write is kept in memory and put together, and a flush makes it
//! durable, as with any disk that has a cache of its own.
//!
//! What is not durable yet stays in memory whatever the node has said, so that a node that was killed and is started again
//! gets it once more, and the guest does not notice.

mod core;
mod drain;
pub(crate) mod kept;
pub(crate) mod pool;
mod units;

use self::core::Core;
use crate::disk::{Content, Disk};
use crate::fault::{DiskError, DisksError};
use std::sync::Arc;

/// A disk open for writing, and its buffer. Reads and writes may come from many threads; those that overlap in time and
/// place leave one or the other in each block. Dropped, it puts what it has, without waiting until that is durable.
#[derive(Debug)]
pub struct Buffered {
    /// There until it is dropped.
    core: Option<Arc<Core>>,
}

impl Buffered {
    /// Puts a buffer before a disk.
    ///
    /// # Errors
    /// [`DisksError::System`].
    pub fn new(disk: Disk) -> Result<Self, DisksError> {
        let core = Arc::new(Core::new(disk));
        let system = |error: std::io::Error| DisksError::System { what: "a thread", why: error.to_string() };
        core.disk.pool().tend(&core).map_err(system)?;
        Ok(Self { core: Some(core) })
    }

    /// What it is.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.core().disk
    }

    /// Reads what is at `offset`.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.core().read_at(offset, into)
    }

    /// Writes `bytes` at `offset`. They are durable after the next [`Self::flush`].
    ///
    /// # Errors
    /// [`DiskError`]; what was to be written may be there in part then, each block old or new.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.core().write_at(offset, bytes)
    }

    /// Makes zeros of `length` bytes at `offset`; they take no room.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.core().write_zeroes(offset, length)
    }

    /// Puts what was written before: it is with the node when this returns, and outlives this process.
    ///
    /// # Errors
    /// As of [`Self::flush`].
    pub fn drain(&self) -> Result<(), DiskError> {
        self.core().drain()
    }

    /// Waits until all that was written before is durable.
    ///
    /// # Errors
    /// [`DiskError`]; what could not be written stays in memory, and the next flush tries again.
    pub fn flush(&self) -> Result<(), DiskError> {
        self.core().flush()
    }

    /// As [`Disk::status`].
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn status(&self, offset: u64, length: u64) -> Result<(Content, u64), DiskError> {
        self.core().status(offset, length)
    }

    fn core(&self) -> &Core {
        self.core.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        let core = self.core.take().expect("it is dropped once");
        let pool = core.disk.pool().clone();
        // So that it is gone when this returns, and somebody else may have the disk.
        let _quiet = pool.quiet();
        if let Err(error) = core.drain() {
            tracing::warn!(%error, "what was buffered, and never flushed, is lost");
        }
        core.keep();
        drop(core);
    }
}
