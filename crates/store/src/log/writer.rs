//! Appending records: sealed on the caller's thread into a chunk in memory, which the committer then writes.

use super::compact::ROUND;
use super::format::{
    ENTRY, Entry, FIRST_RECORD, Header, Kind, Label, Name, SEQUENCE_MAX, UNIT, VERSION, VERSION_WITH_PARTS,
    closing_bytes, seal_record,
};
use super::given::Given;
use super::index::{Location, SEGMENT_BYTES_MAX, SEGMENT_MAX};
use super::keys::keys_with;
use super::shelf::{SegmentFile, segment_name};
use super::{Grid, Inner, disk};
use crate::engine::{Broken, WriteError};
use okapi_base::{Generation, GridId, Index, limits};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// A chunk of this many bytes is handed to the committer; large enough for `pwrite` to run at full speed, small
/// enough to be in the processor's cache still.
pub(super) const CHUNK_TARGET: usize = 1 << 20;
/// Room in a chunk: the page before a segment's first record, and a largest record begun just below the target.
const CHUNK_ROOM: usize = FIRST_RECORD as usize + CHUNK_TARGET + limits::BLOCK_SIZE_MAX as usize + 64;
/// Bytes sealed and not yet written beyond which a put waits for the committer.
pub(super) const UNWRITTEN_MAX: usize = 8 << 20;
/// It waits until no more than this is left, so that it does not go to sleep again with the next chunk.
pub(super) const UNWRITTEN_LOW: usize = UNWRITTEN_MAX / 2;

/// A run of a segment's bytes on its way to the file.
pub(super) struct Chunk {
    pub(super) segment: Option<Arc<SegmentFile>>,
    pub(super) offset: u32,
    pub(super) length: usize,
    pub(super) bytes: Box<[u8]>,
    /// The newest record in it or before it.
    pub(super) last: u64,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self { segment: None, offset: 0, length: 0, bytes: vec![0; CHUNK_ROOM].into_boxed_slice(), last: 0 }
    }

    /// The bytes at `location`, if they lie in here.
    pub(super) fn record(&self, location: Location) -> Option<&[u8]> {
        let number = self.segment.as_ref()?.label.number;
        let from = location.offset().checked_sub(self.offset)? as usize;
        (number == location.segment() && from < self.length)
            .then(|| &self.bytes[from..from + location.bytes() as usize])
    }
}

/// The segment records are appended to.
pub(super) struct Active {
    pub(super) segment: Arc<SegmentFile>,
    /// The chunk being filled, which nobody else has yet.
    pub(super) chunk: Arc<Chunk>,
    /// Where the next record begins.
    pub(super) end: u32,
    pub(super) entries: Vec<Entry>,
    /// The number of the segment's first record.
    pub(super) first: u64,
    /// Bytes that table and parts take at its end, besides the entries of parts.
    pub(super) tail: usize,
    /// Entries of parts.
    pub(super) given: usize,
}

impl Active {
    /// Bytes of the end of the segment, were it closed with so many entries more.
    fn closing_bytes(&self, more: usize) -> usize {
        let parts = if self.tail > 0 { self.tail + (self.given + 1) * ENTRY } else { 0 };
        closing_bytes(self.entries.len() + more, parts)
    }
}

/// What is known of a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SegmentState {
    /// Bytes of its file.
    pub(super) length: u32,
    /// Bytes of live records of blocks.
    pub(super) live: u32,
    /// Bytes of records of deletions that must still be remembered.
    pub(super) deletions: u32,
    /// The number of its last record.
    pub(super) last: u64,
    /// Its footer is written; nothing is appended any more.
    pub(super) closed: bool,
    /// It cannot be compacted: something in it cannot be read.
    pub(super) damaged: bool,
}

/// The order of writes: whoever holds the lock appends next.
pub(super) struct Writer {
    pub(super) active: Option<Active>,
    /// The newest record's number.
    pub(super) sequence: u64,
    /// What it is about, if it was appended since the opening.
    pub(super) previous: Option<Name>,
    /// The newest generation given.
    pub(super) generation: u64,
    pub(super) next_segment: u32,
    pub(super) segments: BTreeMap<u32, SegmentState>,
    /// Sum of the segments' lengths.
    pub(super) held: u64,
    /// Where the records of dropped grids' drops lie, and the generation of each drop.
    pub(super) drops: HashMap<GridId, (Generation, Location)>,
    /// Why nothing is written any more.
    pub(super) broken: Option<Broken>,
    /// The last record of the segment closed last: all up to it are in closed segments, or were.
    pub(super) covered_sequence: u64,
    /// Records in the segment closed last: a guess for the next.
    pub(super) entries_hint: usize,
    /// Grids that others may read.
    pub(super) given: Given,
}

/// Who asks for room: the last segments below the limit are for those who make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Put,
    Delete,
    Compaction,
    /// The note that a segment is released, which is what gives room back.
    Release,
}

impl Purpose {
    /// Segments that must stay free for others.
    pub(super) const fn leaves(self) -> u64 {
        match self {
            Self::Put => 2,
            Self::Delete => 1,
            Self::Compaction | Self::Release => 0,
        }
    }
}

/// A record to be appended.
pub(super) struct Draft<'a> {
    pub(super) kind: Kind,
    pub(super) grid: GridId,
    pub(super) index: Index,
    pub(super) generation: Generation,
    pub(super) crc: u32,
    pub(super) payload: &'a [u8],
}

impl Writer {
    /// Counts a record that has become live, or has ceased to be.
    pub(super) fn count(&mut self, location: Location, live: bool) {
        if location == Location::NONE {
            return;
        }
        let Some(state) = self.segments.get_mut(&location.segment()) else { return };
        let sum = if location.is_block() { &mut state.live } else { &mut state.deletions };
        if live {
            *sum += location.bytes();
        } else {
            *sum = sum.checked_sub(location.bytes()).expect("no record ceases to be live twice");
        }
    }

    pub(super) fn next_generation(&mut self) -> Generation {
        self.generation += 1;
        Generation(self.generation)
    }
}

impl Inner {
    /// Appends a record and says where it is. The index is the caller's business.
    pub(super) fn append(&self, w: &mut Writer, draft: &Draft<'_>, purpose: Purpose) -> Result<Location, WriteError> {
        if let Some(broken) = &w.broken {
            return Err(broken.clone().into());
        }
        let mut entry = Entry {
            kind: draft.kind,
            grid: draft.grid,
            index: draft.index,
            generation: draft.generation,
            length: u32::try_from(draft.payload.len()).expect("a payload is at most a block"),
            crc: draft.crc,
            offset: 0,
        };
        let bytes = entry.bytes();
        // Whatever else fills a segment, the notes fit that make room on a full disk.
        let notes = if purpose == Purpose::Release { 0 } else { ROUND };
        let fits = |active: &Active| {
            let notes_bytes = notes * UNIT as usize;
            let end = active.end as usize + bytes as usize + notes_bytes + active.closing_bytes(1 + notes);
            end <= self.settings.segment_bytes as usize
        };
        if !w.active.as_ref().is_some_and(fits) {
            self.roll(w, purpose)?;
        }
        let active = w.active.as_mut().expect("a roll leaves an active segment");
        entry.offset = active.end;
        if matches!(draft.kind, Kind::Tombstone | Kind::GridDrop) && draft.crc == 0 {
            entry.crc = active.segment.label.number;
        }
        w.sequence += 1;
        let name = Name { kind: entry.kind, grid: entry.grid, index: entry.index };
        let previous = w.previous.replace(name);
        let header = Header { entry, sequence: w.sequence, synced: self.durable.load(Relaxed), previous };
        let chunk = Arc::get_mut(&mut active.chunk).expect("the open chunk is nobody else's");
        let from = chunk.length;
        chunk.length += bytes as usize;
        chunk.last = w.sequence;
        seal_record(&active.segment.keys, &header, draft.payload, &mut chunk.bytes[from..chunk.length]);
        let is_full = chunk.length >= CHUNK_TARGET;
        active.end += bytes;
        active.entries.push(entry);
        if active.tail > 0 && active.segment.keys.is_given(entry.grid) {
            active.given += 1;
            w.given.enter(entry.grid, active.segment.label.number);
        }
        let location = Location::new(active.segment.label.number, entry.offset, bytes);
        self.count_appended(w.sequence);
        if is_full {
            self.hand_over(w);
        }
        Ok(location)
    }

    /// Gives the open chunk to the committer and begins the next.
    pub(super) fn hand_over(&self, w: &mut Writer) {
        let Some(active) = w.active.as_mut().filter(|active| active.chunk.length > 0) else { return };
        let next = self.fresh_chunk(&active.segment, active.end);
        let full = std::mem::replace(&mut active.chunk, next);
        self.enqueue_chunk(full);
    }

    /// Closes the active segment, if there is one, and begins the next.
    fn roll(&self, w: &mut Writer, purpose: Purpose) -> Result<(), WriteError> {
        // The room is taken first: if there is none, all stays as it is.
        let number = w.next_segment;
        // The new segment's records need numbers, too.
        if number > SEGMENT_MAX || w.sequence > SEQUENCE_MAX - u64::from(SEGMENT_BYTES_MAX) {
            let what = format!("the store has used all its {SEGMENT_MAX} segment or {SEQUENCE_MAX} record numbers");
            return Err(WriteError::Full { what });
        }
        let limit = self.limit.load(Relaxed);
        let segment_bytes = u64::from(self.settings.segment_bytes);
        if limit > 0 && w.held + segment_bytes * (1 + purpose.leaves()) > limit {
            let what = format!("the store holds {} bytes of the {limit} that its limit allows", w.held);
            return Err(WriteError::Full { what });
        }
        let name = segment_name(number);
        let file = match self.make_segment(w, &name, purpose) {
            Ok(file) => file,
            Err(error) if disk::no_room(&error) => {
                return Err(WriteError::Full { what: format!("the disk has no room for a further segment ({error})") });
            }
            Err(error) => return Err(self.break_down(w, &format!("{name} cannot be made: {error}")).into()),
        };
        self.directory_changed.store(true, Release);
        self.close_active(w);
        w.next_segment += 1;
        let mut salt = [0; 32];
        okapi_seal::random(&mut salt);
        let version = if w.given.numbers().is_empty() { VERSION } else { VERSION_WITH_PARTS };
        let label = Label { version, number, store: self.store, salt };
        let (keys, table) = keys_with(&label, &self.ring, w.given.numbers());
        let segment = Arc::new(SegmentFile { label, keys, table, file });
        self.shelf.keep_file(&segment);
        let mut chunk = self.fresh_chunk(&segment, 0);
        let page = Arc::get_mut(&mut chunk).expect("a fresh chunk is nobody else's");
        label.write_page(segment.table.as_deref(), &mut page.bytes);
        page.length = FIRST_RECORD as usize;
        page.last = w.sequence;
        w.segments.insert(number, SegmentState { length: self.settings.segment_bytes, ..SegmentState::default() });
        w.held += segment_bytes;
        self.crowded.store(w.is_crowded(self.settings.segment_bytes), Relaxed);
        let entries = Vec::with_capacity(w.entries_hint);
        let tail = if label.has_parts() { w.given.tail_bytes(self.settings.segment_bytes) } else { 0 };
        w.active = Some(Active { segment, chunk, end: FIRST_RECORD, entries, first: w.sequence + 1, tail, given: 0 });
        Ok(())
    }

    /// Ends the active segment: its last chunk and its footer go to the committer.
    pub(super) fn close_active(&self, w: &mut Writer) {
        self.hand_over(w);
        let Some(active) = w.active.take() else { return };
        self.recycle_chunk(active.chunk);
        w.entries_hint = active.entries.len() + active.entries.len() / 8;
        let number = active.segment.label.number;
        w.segments.get_mut(&number).expect("the active segment is known").last = w.sequence;
        let told = if active.tail > 0 { w.given.told(active.tail) } else { Vec::new() };
        w.given.forget_dropped();
        self.enqueue_closing(super::committer::Closing {
            segment: active.segment,
            end: active.end,
            first: active.first,
            last: w.sequence,
            entries: Arc::new(active.entries),
            told,
        });
    }

    /// From now on nothing is written any more.
    pub(super) fn break_down(&self, w: &mut Writer, why: &str) -> Broken {
        let broken = w.broken.get_or_insert_with(|| Broken { why: why.to_owned() }).clone();
        self.announce_broken(&broken);
        broken
    }

    /// Moves the index entry of a block to `location`, and the counts with it.
    pub(super) fn place(&self, w: &mut Writer, grid: &Grid, index: Index, location: Location) {
        let old = grid.index.write().set(index.get(), location);
        w.count(old, false);
        w.count(location, true);
    }
}
