//! Reading records: from the chunks on their way to the file, or from the file, always authenticated.

use super::Inner;
use super::format::{Entry, HEADER, Header, TRAILER, UNIT, record_nonce};
use super::index::Location;
use super::keys::RecordKey;
use super::shelf::{SegmentFile, segment_name};
use crate::payload::{Buffers, Lent};
use okapi_base::{GridId, Index, limits};
use okapi_seal::TAG_BYTES;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

/// Unused buffers kept, in bytes per size.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// Pools of buffers, one for each power of two a record's payload may need.
pub(super) struct Pools(Vec<Arc<Buffers>>);

const SMALLEST: u32 = limits::BLOCK_SIZE_MIN.trailing_zeros();
const LARGEST: u32 = limits::BLOCK_SIZE_MAX.trailing_zeros();

impl Pools {
    pub(super) fn new() -> Self {
        let pool = |shift: u32| {
            let size = (1 << shift) + UNIT as usize;
            Buffers::new(size, (BUFFER_BYTES_KEPT / size).max(4))
        };
        Self((SMALLEST..=LARGEST).map(pool).collect())
    }

    /// A buffer for a record with up to `payload` bytes of payload.
    pub(super) fn lend(&self, payload: u32) -> Lent {
        let shift = payload.max(1).next_power_of_two().trailing_zeros().clamp(SMALLEST, LARGEST);
        self.0[(shift - SMALLEST) as usize].lend()
    }
}

/// A record that has been read and is authentic.
pub(super) struct Record {
    pub(super) entry: Entry,
    /// Its payload.
    pub(super) payload: Lent,
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not in memory, and there is no time for the disk.
    NotNow,
    /// The segment's file is gone.
    Gone,
    /// What is there is not the record.
    Corrupted(&'static str),
    /// The operating system said no.
    Io(io::Error),
}

impl Inner {
    /// Reads the record of a block. The index must be asked again before [`Unread::Gone`] is believed.
    pub(super) fn read(&self, grid: GridId, index: Index, location: Location, hurried: bool) -> Result<Record, Unread> {
        let bytes = location.bytes();
        if bytes - UNIT > limits::BLOCK_SIZE_MAX {
            return Err(Unread::Corrupted("the index says it is longer than any block"));
        }
        let mut lent = self.pools.lend(bytes - UNIT);
        let entry = self.open_record(grid, location, hurried, &mut lent)?;
        if (entry.grid, entry.index) != (grid, index) {
            return Err(Unread::Corrupted("it is the record of another block"));
        }
        lent.keep_range(HEADER..HEADER + entry.length as usize);
        Ok(Record { entry, payload: lent })
    }

    /// Reads the record at `location`, which is of a grid, into `into` and opens it.
    fn open_record(&self, grid: GridId, location: Location, hurried: bool, into: &mut Lent) -> Result<Entry, Unread> {
        let bytes = location.bytes() as usize;
        let start = u64::from(location.segment()) << 32 | u64::from(location.offset());
        while start >= self.frontier.load(Acquire) {
            if let Some(entry) = self.open_unwritten(grid, location, into)? {
                return Ok(entry);
            }
        }
        let segment = match self.shelf.file(location.segment()) {
            Some(segment) => segment,
            None if hurried => return Err(Unread::NotNow),
            None => self.segment_file(location.segment())?,
        };
        let sealed = &mut into.buffer()[..bytes];
        let filled =
            segment.file.read_at(sealed, location.offset().into(), hurried).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock if hurried => Unread::NotNow,
                _ => Unread::Io(error),
            })?;
        if filled < bytes {
            return Err(Unread::Corrupted("the file ends before it"));
        }
        let key = segment.keys.of(grid);
        let plain = key
            .sealer
            .open_in_place(record_nonce(location.offset()), sealed)
            .map_err(|_| Unread::Corrupted("its seal is broken"))?;
        header_of(plain, location, key)
    }

    /// The same from memory. None if it has been written meanwhile.
    fn open_unwritten(&self, grid: GridId, location: Location, into: &mut Lent) -> Result<Option<Entry>, Unread> {
        let plain = &mut into.buffer()[..location.bytes() as usize - TAG_BYTES];
        let open = |segment: &SegmentFile, sealed: &[u8], plain: &mut [u8]| {
            let key = segment.keys.of(grid);
            let opened = key.sealer.open(record_nonce(location.offset()), sealed, plain);
            opened.map_err(|_| Unread::Corrupted("its seal is broken in memory"))?;
            header_of(plain, location, key)
        };
        if let Some(chunk) = self.in_flight(location) {
            let sealed = chunk.record(location).expect("it was found in this chunk");
            let segment = chunk.segment.as_ref().expect("a chunk under way belongs to a segment");
            return open(segment, sealed, plain).map(Some);
        }
        let w = self.writer.lock();
        match w.active.as_ref().and_then(|active| Some((active, active.chunk.record(location)?))) {
            Some((active, sealed)) => open(&active.segment, sealed, plain).map(Some),
            None => Ok(None),
        }
    }

    /// The open file of a segment.
    pub(super) fn segment_file(&self, number: u32) -> Result<Arc<SegmentFile>, Unread> {
        if let Some(file) = self.shelf.file(number) {
            return Ok(file);
        }
        let opened =
            SegmentFile::open(&*self.disk, &self.ring, &self.store, number).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Unread::Gone,
                _ => Unread::Io(error),
            })?;
        let file = Arc::new(opened.ok_or(Unread::Corrupted("no copy of its segment's label is whole"))?);
        self.shelf.keep_file(&file);
        Ok(file)
    }

    /// The records of a segment by ascending offset: from its footer, or where that is damaged from the records.
    pub(super) fn segment_entries(&self, number: u32) -> Result<Arc<Vec<Entry>>, Unread> {
        if let Some(entries) = self.shelf.index(number) {
            return Ok(entries);
        }
        let segment = self.segment_file(number)?;
        let entries = match segment.footer().map_err(Unread::Io)? {
            Some((_, footer)) => footer.entries,
            None => {
                tracing::warn!("the footer of {} is damaged; reading its records instead", segment_name(number));
                let scan = super::scan::scan(&segment).map_err(Unread::Io)?;
                Arc::new(scan.found.iter().map(|found| found.header.entry).collect())
            }
        };
        self.shelf.keep_index(number, Arc::clone(&entries));
        Ok(entries)
    }

    /// What the index of the segment says about the record at `location`.
    pub(super) fn entry_at(&self, location: Location) -> Result<Entry, Unread> {
        let find = |entries: &[Entry]| {
            let at = entries.binary_search_by_key(&location.offset(), |entry| entry.offset).ok()?;
            Some(entries[at])
        };
        {
            let w = self.writer.lock();
            if let Some(active) = w.active.as_ref().filter(|active| active.segment.label.number == location.segment()) {
                return find(&active.entries).ok_or(Unread::Corrupted("its segment does not know it"));
            }
        }
        if let Some(entries) = self.shelf.index(location.segment()) {
            return find(&entries).ok_or(Unread::Corrupted("its segment does not know it"));
        }
        if let Some(entries) = self.closing_entries(location.segment()) {
            return find(&entries).ok_or(Unread::Corrupted("its segment does not know it"));
        }
        let entries = self.segment_entries(location.segment())?;
        find(&entries).ok_or(Unread::Corrupted("its segment does not know it"))
    }
}

/// The header in an opened record, which is the one that was asked for.
fn header_of(plain: &[u8], location: Location, key: RecordKey<'_>) -> Result<Entry, Unread> {
    let head = plain.first_chunk::<HEADER>().ok_or(Unread::Corrupted("it is shorter than its header"))?;
    let end = location.offset() + location.bytes();
    let header =
        Header::read(head, location.offset(), end, key).ok_or(Unread::Corrupted("its header makes no sense"))?;
    match header.entry.bytes() == location.bytes() {
        true => Ok(header.entry),
        false => Err(Unread::Corrupted("it is not as long as the index says")),
    }
}

const _: () = assert!(TRAILER.is_multiple_of(UNIT as usize));
