//! The segments of the node's own log, as the group knows them: by name. What is closed is named and told; what the log
//! removes is given back by the others only once all that lived in it lies safely with them in newer segments.

use super::driver::Event;
use super::records::{Records, RecordsError};
use super::yard::blob;
use okapi_base::SegmentName;
use okapi_peers::{Blob, Input};
use okapi_seal::hash;
use okapi_store::log::{ClosedSegment, Follower, Log, RealDisk, RestoreError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// The name of a segment that was removed before it was named: nobody else ever heard of it.
const UNNAMED: SegmentName = SegmentName([0; 32]);
/// Bytes of a row.
const ROW_BYTES: usize = 56;

/// What is known of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: SegmentName,
    /// Bytes of its file.
    pub(crate) bytes: u32,
    /// By which it is told from another of the same number.
    pub(crate) mark: [u8; 12],
    /// 0: it is here. Otherwise it was removed, and what lived in it lies in segments up to this one.
    pub(crate) released_by: u32,
}

impl Row {
    /// name (32), bytes u32, mark (12), released by u32, zero (4).
    pub(crate) fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..32].copy_from_slice(&self.name.0);
        bytes[32..36].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[36..48].copy_from_slice(&self.mark);
        bytes[48..52].copy_from_slice(&self.released_by.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ROW_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        Some(Self {
            name: SegmentName(bytes[..32].try_into().expect("32 bytes")),
            bytes: number(32),
            mark: bytes[36..48].try_into().expect("12 bytes"),
            released_by: number(48),
        })
    }
}

/// The segments of the log.
pub(crate) struct Segments {
    records: Arc<Records>,
    disk: RealDisk,
    folder: PathBuf,
    known: Mutex<Known>,
    /// Held while rows change and are written, so that what was written last is what is known.
    keeping: Mutex<()>,
    /// To the driver.
    events: Sender<Event>,
    /// To the thread that names what was closed.
    closings: Mutex<Option<Sender<ClosedSegment>>>,
}

#[derive(Default)]
struct Known {
    rows: BTreeMap<u32, Row>,
    numbers: BTreeMap<SegmentName, u32>,
    /// Those that do not lie safely with the others yet.
    unsafe_: BTreeSet<u32>,
    /// Those that were removed.
    released: BTreeSet<u32>,
    /// Those of them of which the peer has been told.
    told: BTreeSet<u32>,
}

/// Rows to be written, and those to be removed.
type Changes = Vec<(u32, Option<Row>)>;

/// What is to be told when the log is there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Closed segments.
    pub(crate) closed: Vec<(SegmentName, u64)>,
    /// Segments whose files are missing.
    pub(crate) lost: Vec<SegmentName>,
}

impl Segments {
    /// The segments that are known, in the log's directory `folder`.
    pub(crate) fn open(records: Arc<Records>, folder: &Path, events: Sender<Event>) -> Result<Arc<Self>, RecordsError> {
        let known = Known::of(records.segments()?);
        let disk = RealDisk::new(folder).map_err(|error| records.cannot_open(error))?;
        let closings = Mutex::new(None);
        let (folder, known, keeping) = (folder.to_owned(), Mutex::new(known), Mutex::new(()));
        Ok(Arc::new(Self { records, disk, folder, known, keeping, events, closings }))
    }

    /// Compares what is known with what the opened log has, and follows it from now on.
    pub(crate) fn attach(self: &Arc<Self>, log: &Log) -> Result<Found, AttachError> {
        let (send, receive) = std::sync::mpsc::channel();
        *self.closings.lock() = Some(send);
        let there = log.follow(Arc::clone(self) as Arc<dyn Follower>)?;
        let mut fresh = Vec::new();
        let mut found = Found::default();
        self.change(|known| {
            let mut changes = Vec::new();
            let numbers: BTreeSet<u32> = there.iter().map(|segment| segment.number).collect();
            for segment in &there {
                match known.rows.get_mut(&segment.number) {
                    Some(row) if row.mark == segment.mark => {
                        found.closed.push((row.name, u64::from(row.bytes)));
                        // Its release was not carried out before the node stopped.
                        if row.released_by != 0 {
                            row.released_by = 0;
                            changes.push((segment.number, Some(*row)));
                            known.released.remove(&segment.number);
                        }
                    }
                    _ => {
                        // Removed before it was named, but not carried out before the node stopped.
                        if known.is_unnamed(segment.number) {
                            known.remove(segment.number);
                        }
                        fresh.push(*segment);
                    }
                }
            }
            let gone = known.rows.iter().filter(|(number, row)| !numbers.contains(number) && row.released_by == 0);
            found.lost = gone.map(|(_, row)| row.name).collect();
            changes
        })?;
        for segment in fresh {
            if let Some(name) = self.name(segment)? {
                found.closed.push((name, u64::from(segment.bytes)));
            }
        }
        let its = Arc::clone(self);
        let naming = std::thread::Builder::new().name("okapi-naming".to_owned());
        naming
            .spawn(move || {
                for segment in receive {
                    its.closed_now(segment);
                }
            })
            .map_err(AttachError::Thread)?;
        Ok(found)
    }

    /// Nothing is told any more.
    pub(crate) fn stop(&self) {
        *self.closings.lock() = None;
    }

    fn closed_now(&self, segment: ClosedSegment) {
        match self.name(segment) {
            Ok(Some(name)) => {
                let _ = self.events.send(Event::Closed(name, u64::from(segment.bytes)));
            }
            // Removed again before it was named.
            Ok(None) => {}
            Err(error) => {
                let _ = self.events.send(Event::Halt(error.to_string()));
            }
        }
    }

    /// Names a closed segment, and keeps the name.
    fn name(&self, segment: ClosedSegment) -> Result<Option<SegmentName>, RecordsError> {
        let Ok(bytes) = std::fs::read(self.path(segment.number)) else { return Ok(None) };
        if bytes.len() != segment.bytes as usize {
            return Ok(None);
        }
        let name = SegmentName(hash(&bytes).0);
        let row = Row { name, bytes: segment.bytes, mark: segment.mark, released_by: 0 };
        let mut named = None;
        self.change(|known| {
            // It was read a moment before it was removed.
            if known.is_unnamed(segment.number) {
                return Vec::new();
            }
            named = Some(name);
            if let Some(before) = known.insert(segment.number, row).filter(|before| before.name != name) {
                // A power cut took the end of the log, and its number was used again.
                let _ = self.events.send(Event::Input(Input::Released { segment: before.name }));
            }
            vec![(segment.number, Some(row))]
        })?;
        Ok(named)
    }

    /// The segments that are here.
    pub(crate) fn names(&self) -> Vec<SegmentName> {
        self.known.lock().rows.values().filter(|row| row.released_by == 0).map(|row| row.name).collect()
    }

    /// The number of a segment.
    pub(crate) fn number(&self, name: SegmentName) -> Option<u32> {
        self.known.lock().numbers.get(&name).copied()
    }

    /// A segment's bytes, as they lie.
    pub(crate) fn read(&self, name: SegmentName) -> Option<Blob> {
        let number = *self.known.lock().numbers.get(&name)?;
        let mut file = File::open(self.path(number)).ok()?;
        let bytes = file.metadata().ok()?.len();
        blob(&mut file, bytes).ok()
    }

    /// The segments that are here, and their bytes.
    pub(crate) fn lengths(&self) -> Vec<(SegmentName, u64)> {
        let known = self.known.lock();
        let here = known.rows.values().filter(|row| row.released_by == 0 && row.name != UNNAMED);
        here.map(|row| (row.name, u64::from(row.bytes))).collect()
    }

    /// A part of a segment's bytes, if it is here; false otherwise.
    pub(crate) fn read_part(&self, name: SegmentName, offset: u64, into: &mut [u8]) -> bool {
        let Some(number) = self.number(name) else { return false };
        let file = File::open(self.path(number));
        file.is_ok_and(|file| file.read_exact_at(into, offset).is_ok())
    }

    /// A segment came back.
    ///
    /// Once the log is open only what it knows may be put back: the number of one that comes later may be another's.
    pub(crate) fn restore(&self, name: SegmentName, bytes: &[u8]) -> Result<(), RestoreError> {
        if self.closings.lock().is_some() && self.number(name).is_none() {
            return Err(RestoreError::Late);
        }
        let number = Log::restore_segment(&self.disk, bytes)?;
        let mark = bytes.last_chunk::<192>().map_or([0; 12], |end| end[144..156].try_into().expect("12 bytes"));
        let row = Row { name, bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX), mark, released_by: 0 };
        let kept = self.change(|known| {
            known.insert(number, row);
            vec![(number, Some(row))]
        });
        kept.map_err(|error| RestoreError::Io { number, source: io::Error::other(error) })
    }

    /// A segment lies safely with the others, or does no more.
    pub(crate) fn set_safe(&self, name: SegmentName, safe: bool) {
        let mut known = self.known.lock();
        if let Some(number) = known.numbers.get(&name).copied() {
            if safe {
                known.unsafe_.remove(&number);
            } else {
                known.unsafe_.insert(number);
            }
        }
    }

    /// Segments that the others may give back now.
    pub(crate) fn releasable(&self) -> Vec<SegmentName> {
        let mut may = Vec::new();
        let kept = self.change(|known| {
            let untold: Vec<u32> = known.released.difference(&known.told).copied().collect();
            let mut changes = Vec::new();
            for number in untold {
                let row = known.rows[&number];
                // What never was safe is nothing to keep: its content is awaited further on.
                let is_due = row.name != UNNAMED && known.unsafe_.contains(&number);
                if !is_due && !known.is_safe_until(number, row.released_by) {
                    continue;
                }
                if row.name == UNNAMED {
                    known.remove(number);
                    changes.push((number, None));
                } else {
                    known.told.insert(number);
                    may.push(row.name);
                }
            }
            changes
        });
        if let Err(error) = kept {
            let _ = self.events.send(Event::Halt(error.to_string()));
        }
        may
    }

    /// Whether all that lies in segments up to `until` lies safely with the others.
    pub(crate) fn is_safe_until(&self, until: u32) -> bool {
        self.known.lock().is_safe_until(0, until)
    }

    /// All shards of a released segment are given back.
    pub(crate) fn forget(&self, name: SegmentName) -> Result<(), RecordsError> {
        self.change(|known| {
            let Some(number) = known.numbers.get(&name).copied() else { return Vec::new() };
            known.remove(number);
            vec![(number, None)]
        })
    }

    /// Changes what is known, and writes what of it is to be kept.
    fn change(&self, change: impl FnOnce(&mut Known) -> Changes) -> Result<(), RecordsError> {
        let _keeping = self.keeping.lock();
        let changes = change(&mut self.known.lock());
        if changes.is_empty() { Ok(()) } else { self.records.set_segments(&changes) }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("segment-{number:010}"))
    }
}

impl Known {
    /// What was kept; nobody has told yet what is safe.
    fn of(rows: BTreeMap<u32, Row>) -> Self {
        let mut known = Self::default();
        for (number, row) in rows {
            known.insert(number, row);
        }
        known
    }

    /// Takes in a row, whose segment counts as unsafe until it is told otherwise; gives the one it replaces.
    fn insert(&mut self, number: u32, row: Row) -> Option<Row> {
        let before = self.rows.insert(number, row);
        if let Some(before) = before.filter(|before| before.name != row.name) {
            self.numbers.remove(&before.name);
        }
        self.numbers.insert(row.name, number);
        self.unsafe_.insert(number);
        self.told.remove(&number);
        if row.released_by == 0 {
            self.released.remove(&number);
        } else {
            self.released.insert(number);
        }
        before
    }

    /// Whether it was removed before it was named.
    fn is_unnamed(&self, number: u32) -> bool {
        self.rows.get(&number).is_some_and(|row| row.name == UNNAMED)
    }

    fn remove(&mut self, number: u32) {
        if let Some(row) = self.rows.remove(&number) {
            self.numbers.remove(&row.name);
        }
        for set in [&mut self.unsafe_, &mut self.released, &mut self.told] {
            set.remove(&number);
        }
    }

    /// Whether every segment after `from` and up to `until` is safe, or was removed after what follows it is.
    fn is_safe_until(&self, from: u32, until: u32) -> bool {
        if until == 0 {
            return true;
        }
        let mut until = until;
        let mut at = from + 1;
        while at <= until {
            let Some(number) = self.unsafe_.range(at..=until).next().copied() else { break };
            match self.rows[&number].released_by {
                0 => return false,
                by => until = until.max(by),
            }
            at = number + 1;
        }
        // The last of them must be closed and known; numbers in between that are not known were given back.
        let newest = self.rows.iter().rev().find(|(_, row)| row.released_by == 0).map(|(number, _)| *number);
        newest.is_some_and(|newest| newest >= until)
    }
}

impl Follower for Segments {
    fn closed(&self, segment: ClosedSegment) {
        if let Some(closings) = &*self.closings.lock() {
            let _ = closings.send(segment);
        }
    }

    fn releasing(&self, numbers: &BTreeSet<u32>, newest: u32) {
        let kept = self.change(|known| {
            let mut changes = Vec::new();
            for number in numbers {
                // One that was not named yet is remembered all the same, for those whose content went into it.
                let unnamed = Row { name: UNNAMED, bytes: 0, mark: [0; 12], released_by: 0 };
                let row = known.rows.entry(*number).or_insert(unnamed);
                row.released_by = newest;
                changes.push((*number, Some(*row)));
                if row.name == UNNAMED {
                    known.unsafe_.insert(*number);
                }
                known.released.insert(*number);
            }
            changes
        });
        if let Err(error) = kept {
            let _ = self.events.send(Event::Halt(error.to_string()));
        }
        let _ = self.events.send(Event::Moved);
    }

    fn oldest_elsewhere(&self) -> Option<u32> {
        self.known.lock().released.first().copied()
    }

    fn lies_elsewhere(&self, number: u32) -> bool {
        self.known.lock().released.contains(&number)
    }
}

/// Why the log's segments could not be compared with what is known of them.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The log.
    #[error(transparent)]
    Log(#[from] okapi_store::WriteError),
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A thread.
    #[error("a thread of the group could not be started: {0}")]
    Thread(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: u8, released_by: u32) -> Row {
        Row { name: SegmentName([name; 32]), bytes: 1, mark: [0; 12], released_by }
    }

    fn known(rows: &[(u32, u32)], safe: &[u32]) -> Known {
        let mut known = Known::of(rows.iter().map(|(number, by)| (*number, row(*number as u8, *by))).collect());
        known.unsafe_.retain(|number| !safe.contains(number));
        known
    }

    #[test]
    fn a_row_comes_back() {
        let row = Row { name: SegmentName([1; 32]), bytes: 2, mark: [3; 12], released_by: 4 };
        assert_eq!(Row::parse(&row.to_bytes()), Some(row));
        assert_eq!(Row::parse(&row.to_bytes()[1..]), None);
    }

    #[test]
    fn what_lived_in_a_removed_segment_is_safe_where_it_went() {
        // 1 went into segments up to 4, which is not closed yet.
        assert!(!known(&[(1, 4), (2, 0), (3, 0)], &[1, 2, 3]).is_safe_until(1, 4));
        assert!(!known(&[(1, 4), (2, 0), (3, 0), (4, 0)], &[1, 2, 3]).is_safe_until(1, 4));
        assert!(known(&[(1, 4), (2, 0), (3, 0), (4, 0)], &[1, 2, 3, 4]).is_safe_until(1, 4));
        // 4 itself went into 6 before it was safe.
        assert!(!known(&[(1, 4), (2, 0), (4, 6), (5, 0), (6, 0)], &[1, 2, 5]).is_safe_until(1, 4));
        assert!(known(&[(1, 4), (2, 0), (4, 6), (5, 0), (6, 0)], &[1, 2, 5, 6]).is_safe_until(1, 4));
        // 4 was safe and still lies elsewhere.
        assert!(known(&[(1, 4), (2, 0), (4, 6), (5, 0)], &[1, 2, 4, 5]).is_safe_until(1, 4));
    }
    #[test]
    fn one_removed_before_it_was_named_is_remembered_until_its_content_is_safe() {
        let mut known = known(&[(1, 4), (2, 0), (3, 0)], &[1, 2, 3]);
        known.insert(4, Row { name: UNNAMED, bytes: 0, mark: [0; 12], released_by: 6 });
        known.insert(5, row(5, 0));
        assert!(!known.is_safe_until(1, 4));
        known.insert(6, row(6, 0));
        assert!(!known.is_safe_until(1, 4));
        known.unsafe_.retain(|number| *number == 4);
        assert!(known.is_safe_until(1, 4));
    }

    #[test]
    fn one_read_for_its_name_while_it_is_removed_stays_removed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Arc::new(Records::open(&folder.path().join("group.redb")).unwrap());
        let (events, told) = std::sync::mpsc::channel();
        let segments = Segments::open(Arc::clone(&records), folder.path(), events).unwrap();
        std::fs::write(segments.path(1), [7; 500]).unwrap();
        segments.releasing(&BTreeSet::from([1]), 2);
        segments.closed_now(ClosedSegment { number: 1, bytes: 500, mark: [1; 12] });
        assert!(segments.names().is_empty() && segments.lies_elsewhere(1));
        assert!(told.try_iter().all(|event| matches!(event, Event::Moved)));
        // Its content is safe with the segment that it went into.
        std::fs::write(segments.path(2), [8; 500]).unwrap();
        segments.closed_now(ClosedSegment { number: 2, bytes: 500, mark: [2; 12] });
        segments.set_safe(segments.names()[0], true);
        assert_eq!(segments.releasable(), []);
        assert!(segments.is_safe_until(2) && !segments.lies_elsewhere(1));
    }
}
