//! A sheet over a disk: what is written lies on it, in memory, and is gone with it; what lies below is only read.

use super::disk::{Disk, DiskFile, read_to_end};
use super::index::SEGMENT_BYTES_MAX;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that may lie on a sheet. Opening a log of closed segments writes its identity and nothing else; what is tidied up
/// then takes 64 bytes for each block that is removed.
pub(super) const SHEET_BYTES_MAX: u64 = 64 << 20;

/// See the module's text.
pub(super) struct Sheet {
    /// All files there seem to be.
    files: Mutex<BTreeMap<String, Arc<Leaf>>>,
    room: Arc<Room>,
}

/// What all files of a sheet take of the memory.
#[derive(Default)]
struct Room(AtomicU64);

/// A file as it seems to be.
struct Leaf {
    lies: RwLock<Lies>,
    room: Arc<Room>,
}

enum Lies {
    /// As it is below.
    Below(Arc<dyn DiskFile>),
    /// On the sheet: what was written, and how long it is. In between are zeros.
    Here { bytes: Vec<u8>, length: u64 },
}

impl Sheet {
    /// A sheet over all files of a disk.
    pub(super) fn over(below: &dyn Disk) -> io::Result<Self> {
        let (mut files, room) = (BTreeMap::new(), Arc::new(Room::default()));
        for name in below.list()? {
            let lies = RwLock::new(Lies::Below(below.open(&name)?));
            files.insert(name, Arc::new(Leaf { lies, room: Arc::clone(&room) }));
        }
        Ok(Self { files: Mutex::new(files), room })
    }

    /// Bytes that lie on it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.room.0.load(Relaxed)
    }
}

impl Disk for Sheet {
    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // Room is promised and not taken: most of it is never written to.
        let lies = RwLock::new(Lies::Here { bytes: Vec::new(), length: room });
        let leaf = Arc::new(Leaf { lies, room: Arc::clone(&self.room) });
        files.insert(name.to_owned(), Arc::clone(&leaf));
        Ok(leaf)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let leaf = self.files.lock().get(name).cloned();
        leaf.map(|leaf| leaf as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let leaf = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), leaf);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Room {
    fn take(&self, more: u64) -> io::Result<()> {
        let taken =
            self.0.fetch_update(Relaxed, Relaxed, |taken| Some(taken + more).filter(|sum| *sum <= SHEET_BYTES_MAX));
        taken.map(drop).map_err(|_| {
            let text =
                format!("opening it would change more than {SHEET_BYTES_MAX} bytes, which is only done in earnest");
            io::Error::other(text)
        })
    }
}

impl Leaf {
    /// Changes what lies on the sheet; what lay below is copied before.
    fn change(&self, end: u64, change: impl FnOnce(&mut Vec<u8>, &mut u64)) -> io::Result<()> {
        let mut lies = self.lies.write();
        if let Lies::Below(file) = &*lies {
            let length = file.length()?;
            self.room.take(length)?;
            let bytes = read_to_end(&**file, 0, SEGMENT_BYTES_MAX.into())?;
            *lies = Lies::Here { bytes, length };
        }
        let Lies::Here { bytes, length } = &mut *lies else { unreachable!("it was brought here") };
        self.room.take(end.saturating_sub(bytes.len() as u64))?;
        change(bytes, length);
        Ok(())
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Lies::Here { bytes, .. } = self.lies.get_mut() {
            self.room.0.fetch_sub(bytes.len() as u64, Relaxed);
        }
    }
}

impl DiskFile for Leaf {
    fn read_at(&self, into: &mut [u8], offset: u64, hurried: bool) -> io::Result<usize> {
        let file = match &*self.lies.read() {
            // Not under the lock: what lies below may be far away.
            Lies::Below(file) => Arc::clone(file),
            Lies::Here { bytes, length } => {
                let count = length.saturating_sub(offset).min(into.len() as u64) as usize;
                let written = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or(&[]);
                let (head, tail) = into[..count].split_at_mut(written.len().min(count));
                head.copy_from_slice(&written[..head.len()]);
                tail.fill(0);
                return Ok(count);
            }
        };
        file.read_at(into, offset, hurried)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.change(end, |held, length| {
            let (from, end) = (offset as usize, end as usize);
            held.resize(held.len().max(end), 0);
            held[from..end].copy_from_slice(bytes);
            *length = (*length).max(end as u64);
        })
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        match &*self.lies.read() {
            Lies::Below(file) => file.length(),
            Lies::Here { length, .. } => Ok(*length),
        }
    }

    fn set_length(&self, to: u64) -> io::Result<()> {
        self.change(0, |held, length| {
            let cut = held.len().saturating_sub(usize::try_from(to).unwrap_or(usize::MAX));
            held.truncate(held.len() - cut);
            self.room.0.fetch_sub(cut as u64, Relaxed);
            *length = to;
        })
    }
}
