//! What the log asks of a disk: small, so that a pretend disk for crash tests is about a page.

use std::io;
use std::sync::Arc;

/// A flat set of named files.
///
/// What survives a power cut: of a file's bytes those written before its last [`DiskFile::sync`]; of creations,
/// renames and removals those before the last [`Disk::sync_dir`]. Anything later may survive or not, in any order,
/// in pieces of 512 bytes.
pub trait Disk: Send + Sync {
    /// Makes a new file that has room for `room` bytes, all zeros.
    ///
    /// # Errors
    /// `StorageFull` (or `QuotaExceeded`) if there is no room: then nothing is left of the file. `AlreadyExists` if
    /// it is there.
    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// `NotFound` if it is not.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of all files.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file. Whoever has it open can go on reading it.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// Whatever the operating system says; what is durable is then unknown.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Fills `into` from `offset` on, as far as the file goes, and says how far that was. With `hurried` it only
    /// takes what is in memory.
    ///
    /// # Errors
    /// `WouldBlock` if `hurried` and the disk would have to be read.
    fn read_at(&self, into: &mut [u8], offset: u64, hurried: bool) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Whatever the operating system says; some of the bytes may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes written so far and the length durable.
    ///
    /// # Errors
    /// Whatever the operating system says; what is durable is then unknown.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file to a length, or extends it with zeros.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn set_length(&self, length: u64) -> io::Result<()>;
}

/// Whether an error says that the disk has no room.
pub(super) fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads from `offset` to the end of the file, at most `limit` bytes.
pub(super) fn read_to_end(file: &dyn DiskFile, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?.saturating_sub(offset).min(limit);
    let mut bytes = vec![0; usize::try_from(length).expect("a file of the store fits the memory")];
    let filled = file.read_at(&mut bytes, offset, false)?;
    bytes.truncate(filled);
    Ok(bytes)
}
