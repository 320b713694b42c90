//! For whoever keeps copies of closed segments elsewhere: which there are, what becomes of them, their bytes as they
//! lie, and a store made of segments that came back.

use super::disk::{Disk, read_to_end};
use super::format::{Entry, FIRST_RECORD, Kind, Label, TRAILER, Trailer};
use super::index::{Location, SEGMENT_BYTES_MAX};
use super::shelf::{read_trailer, segment_name, segment_number};
use super::{Inner, Log, identity};
use crate::engine::WriteError;
use okapi_base::{GridId, Index};
use okapi_seal::{NONCE_BYTES, NodeKey};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A closed segment: it never changes again, and is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClosedSegment {
    /// Its number.
    pub number: u32,
    /// Bytes of its file.
    pub bytes: u32,
    /// Random bytes at its end, by which it is told from another that had its number before: a power cut can take the
    /// end of the log, whose numbers are used again.
    pub mark: [u8; NONCE_BYTES],
}

/// Who keeps copies of closed segments elsewhere. It must not call the log back; [`Follower::closed`] and
/// [`Follower::releasing`] may take their time.
pub trait Follower: Send + Sync {
    /// A segment is closed, and durable.
    fn closed(&self, segment: ClosedSegment);

    /// These segments are about to be removed. All that lived in them lies, durable, in segments up to `newest`; when
    /// this returns, what must be remembered of that is durable.
    fn releasing(&self, numbers: &BTreeSet<u32>, newest: u32);

    /// The lowest number of a segment that was removed here and still lies elsewhere, so that it may come back in a
    /// restore: until it does not, it is remembered what was deleted of it.
    fn oldest_elsewhere(&self) -> Option<u32>;

    /// Whether a segment was removed here and still lies elsewhere.
    fn lies_elsewhere(&self, number: u32) -> bool;
}

/// Why a segment that came back cannot be taken into a store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is none.
    #[error("what came back is not a segment: {what}; it is left out")]
    NotASegment {
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is another store's.
    #[error(
        "segment {number} is of another store than those that came back before it; restore each into its own directory"
    )]
    OtherStore {
        /// Its number.
        number: u32,
    },
    /// The store is in use already.
    #[error("a segment came back after the store was taken into use without it")]
    Late,
    /// Its number is another one's.
    #[error(
        "there is another segment {number} already, written since this one was lost; what came back is not put in its \
         place"
    )]
    Taken {
        /// The number.
        number: u32,
    },
    /// The operating system said no.
    #[error("segment {number} could not be written: {source}")]
    Io {
        /// Its number.
        number: u32,
        /// The system's own words.
        source: io::Error,
    },
}

impl Log {
    /// Sets who is told what becomes of segments, and gives those that are closed and durable now: each closed segment
    /// is in this list or told.
    ///
    /// # Errors
    /// [`WriteError`] if what is written cannot be made durable.
    pub fn follow(&self, follower: Arc<dyn Follower>) -> Result<Vec<ClosedSegment>, WriteError> {
        *self.inner.follower.write() = Some(follower);
        self.closed_segments()
    }

    /// The segments that are closed now, and durable.
    ///
    /// # Errors
    /// [`WriteError`] if what is written cannot be made durable.
    pub fn closed_segments(&self) -> Result<Vec<ClosedSegment>, WriteError> {
        let inner = &*self.inner;
        inner.wait_until_closed()?;
        inner.wait_footers_durable()?;
        let numbers: Vec<u32> = {
            let w = inner.writer.lock();
            w.segments.iter().filter(|(_, state)| state.closed && !state.damaged).map(|(number, _)| *number).collect()
        };
        Ok(numbers.into_iter().filter_map(|number| inner.closed_segment(number)).collect())
    }

    /// A closed segment's bytes, as they lie. None: there is no such segment (any more).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn segment(&self, number: u32) -> io::Result<Option<Vec<u8>>> {
        match self.inner.disk.open(&segment_name(number)) {
            Ok(file) => read_to_end(&*file, 0, SEGMENT_BYTES_MAX.into()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The blocks that live in a closed segment; none if it cannot be read.
    #[must_use]
    pub fn blocks_in(&self, number: u32) -> Vec<(GridId, Index)> {
        let Ok(entries) = self.inner.segment_entries(number) else { return Vec::new() };
        let grids = self.inner.grids.read();
        let lives = |entry: &&Entry| {
            let location = Location::new(number, entry.offset, entry.bytes());
            let grid = grids.get(&entry.grid).filter(|_| entry.kind == Kind::Put);
            grid.is_some_and(|grid| grid.index.read().get(entry.index.get()) == location)
        };
        entries.iter().filter(lives).map(|entry| (entry.grid, entry.index)).collect()
    }

    /// Bytes of records in the segment that is not closed yet: what no copy elsewhere can hold.
    #[must_use]
    pub fn open_bytes(&self) -> u64 {
        self.inner.writer.lock().active.as_ref().map_or(0, |active| u64::from(active.end - FIRST_RECORD))
    }

    /// Changes how many bytes the store may take; 0 for no limit. What lies there already stays.
    pub fn set_limit(&self, bytes: u64) {
        let least = u64::from(self.inner.settings.segment_bytes) * 4;
        self.inner.limit.store(if bytes == 0 { 0 } else { bytes.max(least) }, Relaxed);
    }

    /// Payload bytes put since the store was opened: whether it still rests is seen by that.
    #[must_use]
    pub fn put_bytes(&self) -> u64 {
        self.inner.put_bytes.load(Relaxed)
    }

    /// Closes the active segment, full or not, and waits until it is durable. Gives the number of the newest segment:
    /// all that was put before lies in segments up to it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn close_segment(&self) -> Result<u32, WriteError> {
        let inner = &*self.inner;
        let newest = {
            let mut w = inner.writer.lock();
            inner.close_active(&mut w);
            w.next_segment - 1
        };
        inner.flush_all()?;
        inner.wait_until_closed()?;
        inner.wait_footers_durable()?;
        Ok(newest)
    }

    /// Writes a segment that came back into the directory of a store, durably; gives its number. The store is not open,
    /// or this segment of it is damaged or missing.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing is left of it then.
    pub fn restore_segment(disk: &dyn Disk, bytes: &[u8]) -> Result<u32, RestoreError> {
        let not = |what| RestoreError::NotASegment { what };
        let trailer = bytes.last_chunk::<TRAILER>().and_then(|end| Trailer::read(end, bytes.len() as u64));
        let trailer = trailer.ok_or(not("it has no end as segments have"))?;
        let label = Label::read(bytes).filter(|label| *label == trailer.label);
        let label = label.ok_or(not("its beginning does not fit its end"))?;
        let number = label.number;
        let io_error = |source| RestoreError::Io { number, source };
        // What is damaged may be replaced by what it was, and nothing else may be replaced: a store that was opened
        // without this segment has used its number again.
        match disk.open(&segment_name(number)) {
            Ok(file) => {
                let page = read_to_end(&*file, 0, FIRST_RECORD.into()).map_err(io_error)?;
                if Label::read(&page).is_some_and(|there| there != label) {
                    return Err(RestoreError::Taken { number });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(error)),
        }
        write_whole(disk, &segment_name(number), bytes).map_err(io_error)?;
        Ok(number)
    }

    /// Makes a store of the segments that came back, so that it can be opened with its key. Nothing happens if it is one
    /// already.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn finish_restore(disk: &dyn Disk, key: &NodeKey) -> Result<(), RestoreError> {
        let io_error = |source| RestoreError::Io { number: 0, source };
        let names = disk.list().map_err(io_error)?;
        if names.iter().any(|name| name == identity::NAME) {
            return Ok(());
        }
        let mut store = None;
        let mut with_parts = false;
        for number in names.iter().filter_map(|name| segment_number(name)) {
            let io_error = |source| RestoreError::Io { number, source };
            let file = disk.open(&segment_name(number)).map_err(io_error)?;
            let page = read_to_end(&*file, 0, FIRST_RECORD.into()).map_err(io_error)?;
            let label = Label::read(&page).ok_or(RestoreError::NotASegment { what: "its label is damaged" })?;
            if *store.get_or_insert(label.store) != label.store {
                return Err(RestoreError::OtherStore { number });
            }
            with_parts |= label.has_parts();
        }
        store.map_or(Ok(()), |store| identity::write(disk, key, store, with_parts).map_err(io_error))
    }
}

/// Whole or not at all.
fn write_whole(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = format!("{name}.new");
    match disk.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&beside, 0)?;
    let written = file.write_at(bytes, 0).and_then(|()| file.sync());
    if let Err(error) = written {
        let _ = disk.remove(&beside);
        return Err(error);
    }
    disk.rename(&beside, name)?;
    disk.sync_dir()
}

impl Inner {
    /// A closed segment as its file tells of it; nothing if it is gone or damaged there.
    pub(super) fn closed_segment(&self, number: u32) -> Option<ClosedSegment> {
        let file = self.disk.open(&segment_name(number)).ok()?;
        let trailer = read_trailer(&*file).ok()??;
        let bytes = u32::try_from(file.length().ok()?).ok()?;
        Some(ClosedSegment { number, bytes, mark: trailer.nonce })
    }

    /// Tells the follower of segments whose footers have become durable.
    pub(super) fn tell_closed(&self, numbers: &[u32]) {
        let follower = self.follower.read().clone();
        if let Some(follower) = follower {
            numbers
                .iter()
                .filter_map(|number| self.closed_segment(*number))
                .for_each(|segment| follower.closed(segment));
        }
    }

    pub(super) fn tell_releasing(&self, numbers: &BTreeSet<u32>) {
        let follower = self.follower.read().clone();
        if let Some(follower) = follower {
            let newest = {
                let w = self.writer.lock();
                // Readers of a grid learn where it lies from the newest segment. One that is closed already may still name
                // those that go, and the notes of this are about to begin the next.
                let is_told_before = w.active.is_none() && !w.given.numbers().is_empty();
                if is_told_before { w.next_segment } else { w.next_segment - 1 }
            };
            follower.releasing(numbers, newest);
        }
    }

    /// Whether a segment that was removed could come back.
    pub(super) fn lies_elsewhere(&self, number: u32) -> bool {
        self.follower.read().as_ref().is_some_and(|follower| follower.lies_elsewhere(number))
    }

    pub(super) fn oldest_elsewhere(&self) -> Option<u32> {
        self.follower.read().as_ref().and_then(|follower| follower.oldest_elsewhere())
    }
}
