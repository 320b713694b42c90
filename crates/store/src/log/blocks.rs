//! One grid of the log.

use super::Inner;
use super::format::{Entry, Kind};
use super::index::{GridIndex, Location};
use super::reader::{Record, Unread};
use super::shelf::segment_name;
use super::writer::{Draft, Purpose, Writer};
use crate::edit;
use crate::engine::{
    Block, Blocks, Change, Edit, Got, GridUsage, Listed, Patience, Placed, ReadError, Shape, WriteError,
};
use crate::payload::{Lent, Payload};
use okapi_base::{Durability, Generation, GridId, Index, Ticket, crc32c};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What all handles of one grid share.
pub(super) struct Grid {
    pub(super) id: GridId,
    pub(super) index: RwLock<GridIndex>,
    pub(super) dropped: AtomicBool,
}

impl Grid {
    pub(super) fn new(id: GridId) -> Self {
        Self { id, index: RwLock::default(), dropped: AtomicBool::new(false) }
    }
}

/// A grid as it was opened.
pub(super) struct Handle {
    pub(super) log: Arc<Inner>,
    pub(super) grid: Arc<Grid>,
    pub(super) shape: Shape,
}

impl Blocks for Handle {
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError> {
        let hurried = patience == Patience::Hurried;
        Ok(match self.log.fetch(&self.grid, index, hurried)? {
            Fetched::Absent => Got::Absent,
            Fetched::NotNow => Got::NotNow,
            Fetched::Found(Record { entry, payload }, _) => {
                Got::Block(Block { generation: entry.generation, crc: entry.crc, payload: Payload::Lent(payload) })
            }
        })
    }

    fn put(&self, index: Index, change: &Change<'_>) -> Result<Placed, WriteError> {
        let capacity = self.shape.block_size.bytes();
        let wanted = match change.edit {
            Edit::Whole { bytes, .. } => bytes.len() as u64,
            Edit::Slice { offset, bytes } => u64::from(offset) + bytes.len() as u64,
            Edit::Zeroes { offset, length } => u64::from(offset) + u64::from(length),
            Edit::Truncate { length } => length.into(),
        };
        if wanted > capacity.into() {
            return Err(WriteError::PastBlock { index, wanted, capacity });
        }
        let placed = loop {
            self.log.wait_for_room()?;
            self.log.help_if_crowded()?;
            let freed = || self.log.freed_bytes.load(Relaxed);
            let before = freed();
            match self.try_put(index, change) {
                // Others may have made the room meanwhile, and left nothing to gain.
                Err(WriteError::Full { .. }) if self.log.make_room() || freed() != before => {}
                Err(error) => return Err(error),
                Ok(Some(placed)) => break placed,
                Ok(None) => {}
            }
        };
        self.log.put_bytes.fetch_add(
            match change.edit {
                Edit::Whole { bytes, .. } | Edit::Slice { bytes, .. } => bytes.len() as u64,
                _ => 0,
            },
            Relaxed,
        );
        Ok(placed)
    }

    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let first = out.len();
        {
            let index = self.grid.index.read();
            out.extend(index.blocks(from.get()).take(limit).map(|(at, _)| Listed {
                index: index_of(at),
                length: 0,
                crc: 0,
                generation: Generation::ABSENT,
            }));
        }
        if !detail {
            return Ok(());
        }
        let mut kept = first;
        for at in first..out.len() {
            if let Some((entry, _)) = self.log.describe(&self.grid, out[at].index)? {
                let Entry { length, crc, generation, .. } = entry;
                out[kept] = Listed { index: out[at].index, length, crc, generation };
                kept += 1;
            }
        }
        out.truncate(kept);
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        self.grid.index.read().blocks(from.get()).next().map(|(at, _)| index_of(at))
    }

    fn usage(&self) -> GridUsage {
        let index = self.grid.index.read();
        GridUsage { blocks: index.count(), bytes: index.payload_bytes() }
    }
}

fn index_of(at: u64) -> Index {
    Index::new(at).expect("the index of a grid holds only indexes")
}

/// A block as it is now.
pub(super) enum Fetched {
    Absent,
    NotNow,
    Found(Record, Location),
}

impl Inner {
    /// Reads a block wherever it lies now.
    fn fetch(&self, grid: &Grid, index: Index, hurried: bool) -> Result<Fetched, ReadError> {
        loop {
            let location = grid.index.read().get(index.get());
            if !location.is_block() {
                return Ok(Fetched::Absent);
            }
            match self.read(grid.id, index, location, hurried) {
                Ok(record) => return Ok(Fetched::Found(record, location)),
                Err(Unread::NotNow) => return Ok(Fetched::NotNow),
                // Compaction may have moved it while it was being read.
                Err(_) if grid.index.read().get(index.get()) != location => {}
                Err(unread) => return Err(read_error(grid.id, index, location, unread)),
            }
        }
    }

    /// What is known of a block without reading its payload, and where it lies.
    fn describe(&self, grid: &Grid, index: Index) -> Result<Option<(Entry, Location)>, ReadError> {
        loop {
            let location = grid.index.read().get(index.get());
            if !location.is_block() {
                return Ok(None);
            }
            match self.entry_at(location) {
                Ok(entry) if (entry.grid, entry.index) == (grid.id, index) => return Ok(Some((entry, location))),
                _ if grid.index.read().get(index.get()) != location => {}
                Ok(_) => {
                    let unread = Unread::Corrupted("its segment has another block there");
                    return Err(read_error(grid.id, index, location, unread));
                }
                Err(unread) => return Err(read_error(grid.id, index, location, unread)),
            }
        }
    }
}

pub(super) fn place_of(location: Location) -> String {
    format!("{}+{}", segment_name(location.segment()), location.offset())
}

fn read_error(grid: GridId, index: Index, location: Location, unread: Unread) -> ReadError {
    let place = place_of(location);
    let corrupted = |place, what: &str| ReadError::Corrupted { grid, index, place, what: what.to_owned() };
    match unread {
        Unread::Io(source) => ReadError::Io { grid, index, place, source },
        Unread::Corrupted(what) => corrupted(place, what),
        Unread::Gone => corrupted(place, "the segment's file is missing"),
        Unread::NotNow => unreachable!("only a hurried read says so, and its caller takes it"),
    }
}

/// What a change has read before it takes the lock: still true if the block still lies where it lay.
struct Before {
    location: Location,
    /// Its generation and length, where the change has to know them.
    known: Option<(Generation, u32)>,
}

impl Handle {
    /// Makes the change if the block does not change meanwhile; none if it did.
    fn try_put(&self, index: Index, change: &Change<'_>) -> Result<Option<Placed>, WriteError> {
        let mut scratch = None;
        let (before, content) = self.prepare(index, change, &mut scratch)?;
        let mut w = self.log.writer.lock();
        if let Some(broken) = &w.broken {
            return Err(broken.clone().into());
        }
        if self.grid.dropped.load(Relaxed) {
            return Err(WriteError::Dropped { grid: self.grid.id });
        }
        let now = self.grid.index.read().get(index.get());
        if before.as_ref().is_some_and(|before| before.location != now) {
            return Ok(None);
        }
        let known = before.and_then(|before| before.known);
        if let Some(expected) = change.expect {
            let (found, length) = known.unwrap_or((Generation::ABSENT, 0));
            if found != expected {
                return Err(WriteError::Stale { index, found, length });
            }
        }
        let placed = match content {
            Content::Same => {
                let (generation, length) = known.unwrap_or((Generation::ABSENT, 0));
                Placed { generation, length, ticket: Ticket(w.sequence) }
            }
            Content::Whole(bytes, _) if bytes.is_empty() && !now.is_block() => {
                Placed { generation: Generation::ABSENT, length: 0, ticket: Ticket(w.sequence) }
            }
            Content::Whole([], _) => self.delete(&mut w, index)?,
            Content::Whole(bytes, crc) => self.write(&mut w, index, bytes, crc)?,
        };
        drop(w);
        Ok(Some(self.acknowledge(placed, change.relaxed)))
    }

    fn write(&self, w: &mut Writer, index: Index, bytes: &[u8], crc: u32) -> Result<Placed, WriteError> {
        let generation = w.next_generation();
        let draft = Draft { kind: Kind::Put, grid: self.grid.id, index, generation, crc, payload: bytes };
        let location = self.log.append(w, &draft, Purpose::Put)?;
        self.log.place(w, &self.grid, index, location);
        let length = u32::try_from(bytes.len()).expect("a block's length fits 32 bits");
        Ok(Placed { generation, length, ticket: Ticket(w.sequence) })
    }

    fn delete(&self, w: &mut Writer, index: Index) -> Result<Placed, WriteError> {
        let generation = w.next_generation();
        let draft = Draft { kind: Kind::Tombstone, grid: self.grid.id, index, generation, crc: 0, payload: &[] };
        let location = self.log.append(w, &draft, Purpose::Delete)?;
        self.log.place(w, &self.grid, index, location);
        Ok(Placed { generation: Generation::ABSENT, length: 0, ticket: Ticket(w.sequence) })
    }

    fn acknowledge(&self, placed: Placed, relaxed: bool) -> Placed {
        if self.shape.durability != Durability::Always {
            return Placed { ticket: Ticket::NOW, ..placed };
        }
        if !relaxed {
            self.log.want_durable(placed.ticket.0);
        }
        placed
    }

    /// Reads what the change needs of the block as it is, outside the lock, and works out the new content.
    fn prepare<'a>(
        &self,
        index: Index,
        change: &Change<'a>,
        scratch: &'a mut Option<Lent>,
    ) -> Result<(Option<Before>, Content<'a>), WriteError> {
        if let Edit::Whole { bytes, crc } = change.edit {
            let content = Content::Whole(bytes, crc);
            if change.expect.is_none() {
                return Ok((None, content));
            }
            return Ok((Some(self.look(index)?), content));
        }
        if let Edit::Slice { bytes: [], .. } | Edit::Zeroes { length: 0, .. } = change.edit {
            return Ok((Some(self.look(index)?), Content::Same));
        }
        let (before, old) = match self.log.fetch(&self.grid, index, false)? {
            Fetched::Absent => (self.look_absent(index), None),
            Fetched::NotNow => unreachable!("a get that may wait never says so"),
            Fetched::Found(record, location) => {
                let known = Some((record.entry.generation, record.entry.length));
                (Before { location, known }, Some(record.payload))
            }
        };
        let old = old.as_ref().map_or(&[][..], AsRef::as_ref);
        if matches!(change.edit, Edit::Truncate { length } if length as usize == old.len()) {
            return Ok((Some(before), Content::Same));
        }
        let length = match change.edit {
            Edit::Slice { offset, bytes } => old.len().max(offset as usize + bytes.len()),
            Edit::Zeroes { offset, length } => old.len().max(offset as usize + length as usize),
            Edit::Truncate { length } => length as usize,
            Edit::Whole { .. } => unreachable!("taken above"),
        };
        let new = &mut scratch.insert(self.log.pools.lend(self.shape.block_size.bytes())).buffer()[..length];
        edit::fill(&change.edit, old, new);
        Ok((Some(before), Content::Whole(new, crc32c(new))))
    }

    fn look(&self, index: Index) -> Result<Before, WriteError> {
        match self.log.describe(&self.grid, index)? {
            Some((entry, location)) => Ok(Before { location, known: Some((entry.generation, entry.length)) }),
            None => Ok(self.look_absent(index)),
        }
    }

    /// The place of an absent block: nothing or a deletion. If it is a block by now, the change is tried again.
    fn look_absent(&self, index: Index) -> Before {
        let location = self.grid.index.read().get(index.get());
        Before { location: if location.is_block() { Location::from_bits(1) } else { location }, known: None }
    }
}

/// What a block is to contain.
enum Content<'a> {
    /// What it contains now.
    Same,
    /// These bytes, with their CRC-32C; none to delete it.
    Whole(&'a [u8], u32),
}
