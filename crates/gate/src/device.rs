//! What is behind a door.

use okapi_client::Status;
use okapi_volume::{Buffered, Content, Disk, DiskError};

/// What is behind a door: a disk, or what a test has instead.
pub trait Device: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Whether it may be written to.
    fn is_writable(&self) -> bool;
    /// Reads what is at `offset`.
    ///
    /// # Errors
    /// [`Trouble`].
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble>;
    /// Writes at `offset`. `durable`: it is on the disk when this returns.
    ///
    /// # Errors
    /// [`Trouble`].
    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), Trouble>;
    /// Makes zeros.
    ///
    /// # Errors
    /// [`Trouble`].
    fn zero(&self, offset: u64, length: u64, durable: bool) -> Result<(), Trouble>;
    /// Whether what is written stays in this process until a flush, so that [`Self::hand_over`] costs nothing.
    fn keeps_writes(&self) -> bool {
        false
    }
    /// Hands what was written before to whoever keeps it, so that it outlives this process.
    ///
    /// # Errors
    /// [`Trouble`].
    fn hand_over(&self) -> Result<(), Trouble> {
        Ok(())
    }
    /// Makes all that was written before durable.
    ///
    /// # Errors
    /// [`Trouble`].
    fn flush(&self) -> Result<(), Trouble>;
    /// Whether the first bytes at `offset` are known to be zeros, and how many, at most `length`, are alike in that.
    ///
    /// # Errors
    /// [`Trouble`].
    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble>;
}

/// Why a request failed: a number, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One of NBD's errors, which are those of Unix.
    pub(crate) error: u32,
    /// What failed.
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) const NOT_PERMITTED: u32 = 1;
    pub(crate) const IO: u32 = 5;
    pub(crate) const INVALID: u32 = 22;
    pub(crate) const NO_SPACE: u32 = 28;
    pub(crate) const TOO_LARGE: u32 = 75;

    pub(crate) fn new(error: u32, text: impl Into<String>) -> Self {
        Self { error, text: text.into() }
    }
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Self {
        let number = match &error {
            DiskError::ReadOnly { .. } | DiskError::Fenced { .. } => Self::NOT_PERMITTED,
            DiskError::PastEnd { .. } => Self::INVALID,
            DiskError::Refused { status: Status::Full, .. } => Self::NO_SPACE,
            _ => Self::IO,
        };
        Self::new(number, error.to_string())
    }
}

impl Device for Disk {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn is_writable(&self) -> bool {
        Self::is_writable(self)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        Ok(self.read_at(offset, into)?)
    }

    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), Trouble> {
        Ok(self.write_at(offset, bytes, durable)?)
    }

    fn zero(&self, offset: u64, length: u64, durable: bool) -> Result<(), Trouble> {
        Ok(self.write_zeroes(offset, length, durable)?)
    }

    fn flush(&self) -> Result<(), Trouble> {
        Ok(Self::flush(self)?)
    }

    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble> {
        let (content, alike) = self.status(offset, length)?;
        Ok((content == Content::Zeroes, alike))
    }
}

/// A disk behind a buffer.
pub(crate) struct Behind {
    pub(crate) disk: Buffered,
    /// Whether what is written stays here until a flush.
    pub(crate) write_back: bool,
}

impl Device for Behind {
    fn size(&self) -> u64 {
        self.disk.disk().size()
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        Ok(self.disk.read_at(offset, into)?)
    }

    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), Trouble> {
        self.disk.write_at(offset, bytes)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn zero(&self, offset: u64, length: u64, durable: bool) -> Result<(), Trouble> {
        self.disk.write_zeroes(offset, length)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn keeps_writes(&self) -> bool {
        self.write_back
    }

    fn hand_over(&self) -> Result<(), Trouble> {
        if self.write_back { Ok(()) } else { Ok(self.disk.drain()?) }
    }

    fn flush(&self) -> Result<(), Trouble> {
        Ok(self.disk.flush()?)
    }

    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble> {
        let (content, alike) = self.disk.status(offset, length)?;
        Ok((content == Content::Zeroes, alike))
    }
}
