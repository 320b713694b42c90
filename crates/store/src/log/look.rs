//! A whole log whose closed segments lie elsewhere, opened with its own key to be looked at.
//!
//! It is opened as any other, over the files that the segments were: their ends are fetched for that, many at a time, and
//! nothing else. What opening writes, and whoever tidies up after it, lies on a [`Sheet`] and is gone with it.

use super::disk::{Disk, DiskFile};
use super::ends::{Distant, End, EndError, for_each};
use super::follow::RestoreError;
use super::format::{FIRST_RECORD, Label};
use super::parts::{TABLE, Table};
use super::sheet::Sheet;
use super::shelf::segment_name;
use super::{Log, OpenError, Opened, Settings};
use crate::engine::{Blocks, Broken, Compacted, Damage, Engine, Shape, StoreUsage, Verified, Watcher, WriteError};
use okapi_base::{GridId, Ticket};
use okapi_seal::{GridKey, NodeKey};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of ends that are kept until the log is open; the others are fetched once more then.
const ENDS_BYTES_MAX: usize = 256 << 20;

/// A log that is only looked at. Until it is [shut](Look::shut) it can be tidied up, which changes nothing elsewhere.
pub struct Look {
    log: Log,
}

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The end of a segment cannot be fetched.
    #[error("the end of a segment cannot be read: {0}")]
    Unread(#[source] io::Error),
    /// A segment is none.
    #[error("one of its segments is not what it should be: {0}")]
    Bad(&'static str),
    /// They make no store.
    #[error(transparent)]
    NoStore(#[from] RestoreError),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Look {
    /// Opens the log of which these are the closed segments, of these lengths. Of two with one number the later counts: the
    /// other was of an end of the log that is no more.
    ///
    /// # Errors
    /// [`LookError`]. Damage is no error: it is in [`Opened::damages`].
    pub fn open(distant: &Arc<dyn Distant>, lengths: &[u64], key: &NodeKey) -> Result<(Self, Opened), LookError> {
        let strands = for_each(lengths.len(), |at| Strand::read(distant, at, lengths[at]))?;
        let mut files = BTreeMap::new();
        let mut kept = 0;
        for strand in strands {
            let mut end = strand.end.lock();
            kept += end.as_ref().map_or(0, |end| end.bytes.len());
            if kept > ENDS_BYTES_MAX {
                *end = None;
            }
            drop(end);
            files.insert(segment_name(strand.label.number), Arc::new(strand));
        }
        let strands: Vec<Arc<Strand>> = files.values().cloned().collect();
        let system = |source| OpenError::Io { what: "listing the segments".to_owned(), source };
        let sheet = Arc::new(Sheet::over(&Strands(files)).map_err(system)?);
        Log::finish_restore(&*sheet, key)?;
        let settings = Settings { threads: false, ..Settings::default() };
        let (log, opened) = Log::open(sheet, key, settings)?;
        strands.iter().for_each(|strand| *strand.end.lock() = None);
        Ok((Self { log }, opened))
    }

    /// From now on nothing is written any more, and `why` is told.
    pub fn shut(&self, why: &str) {
        let mut w = self.log.inner.writer.lock();
        w.broken.get_or_insert_with(|| Broken { why: why.to_owned() });
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // A log that takes no more writes is closed without a checkpoint.
        self.shut("it has been closed");
    }
}

impl From<EndError> for LookError {
    fn from(error: EndError) -> Self {
        match error {
            EndError::Unread(error) => Self::Unread(error),
            EndError::Bad(what) => Self::Bad(what),
        }
    }
}

impl Engine for Look {
    fn name(&self) -> &'static str {
        self.log.name()
    }

    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        self.log.open_grid(id, shape)
    }

    fn drop_grid(&self, id: GridId) -> Result<(), WriteError> {
        self.log.drop_grid(id)
    }

    fn give_key(&self, id: GridId, at_least: u16) -> Result<Option<GridKey>, WriteError> {
        self.log.give_key(id, at_least)
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        self.log.durable()
    }

    fn watch(&self, watcher: Watcher) {
        self.log.watch(watcher);
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.log.flush()
    }

    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified {
        self.log.verify(report)
    }

    fn compact(&self) -> Result<Compacted, WriteError> {
        match &self.log.inner.writer.lock().broken {
            Some(broken) => Err(broken.clone().into()),
            None => Ok(Compacted::default()),
        }
    }

    fn usage(&self) -> StoreUsage {
        self.log.usage()
    }
}

/// The segments, as the files that they were.
struct Strands(BTreeMap<String, Arc<Strand>>);

/// One of them.
struct Strand {
    distant: Arc<dyn Distant>,
    at: usize,
    length: u64,
    /// Of these the part before the first record is made: it need not be fetched.
    label: Label,
    table: Option<Box<Table>>,
    end: Mutex<Option<End>>,
}

impl Strand {
    fn read(distant: &Arc<dyn Distant>, at: usize, length: u64) -> Result<Self, EndError> {
        let end = End::read(&**distant, at, length, |trailer| trailer.footer_at.into())?;
        let trailer = &end.trailer;
        let from = u64::from(trailer.footer_at) + u64::from(trailer.footer_bytes);
        let table = end.between(from, from + TABLE as u64).and_then(|bytes| bytes.first_chunk::<TABLE>());
        let table = table.filter(|_| trailer.tail_bytes > 0).map(|table| Box::new(*table));
        let (distant, label) = (Arc::clone(distant), trailer.label);
        Ok(Self { distant, at, length, label, table, end: Mutex::new(Some(end)) })
    }

    /// What is to be had without fetching anything; false if it is not.
    fn read_here(&self, into: &mut [u8], offset: u64) -> bool {
        let end = self.end.lock();
        let found = end.as_ref().and_then(|end| end.between(offset, offset + into.len() as u64));
        if let Some(found) = found {
            into.copy_from_slice(found);
        }
        found.is_some()
    }
}

impl DiskFile for Strand {
    fn read_at(&self, into: &mut [u8], offset: u64, hurried: bool) -> io::Result<usize> {
        let count = self.length.saturating_sub(offset).min(into.len() as u64) as usize;
        let into = &mut into[..count];
        let ahead = u64::from(FIRST_RECORD).saturating_sub(offset).min(count as u64) as usize;
        let (head, rest) = into.split_at_mut(ahead);
        if ahead > 0 {
            let mut page = vec![0; FIRST_RECORD as usize];
            self.label.write_page(self.table.as_deref(), &mut page);
            head.copy_from_slice(&page[offset as usize..][..ahead]);
        }
        let offset = offset + ahead as u64;
        if rest.is_empty() || self.read_here(rest, offset) {
            return Ok(count);
        }
        if hurried {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.distant.read(self.at, offset, rest).map(|()| count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Disk for Strands {
    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let strand = self.0.get(name).cloned();
        strand.map(|strand| strand as Arc<dyn DiskFile>).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}
