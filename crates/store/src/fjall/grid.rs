//! One grid in an LSM tree.

use super::Core;
use super::value::{HEAD_BYTES, Head, KEY_BYTES, OVERHEAD, block_of, key};
use crate::edit::{self, Plan};
use crate::engine::{
    Block, Blocks, Change, Edit, Got, GridUsage, Listed, Patience, Placed, ReadError, Shape, WriteError,
};
use crate::payload::{Buffers, Payload};
use ::fjall::Slice;
use okapi_base::{Durability, Generation, GridId, Index, Ticket, crc32c};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// Buffers of a grid kept for its next gets.
const BUFFERS_KEPT: usize = 64;
/// Locks among which the blocks of a grid are divided.
const STRIPES: usize = 64;
/// Keys removed between two looks at the tree.
const DROP_BATCH: usize = 1000;

/// One grid: a range of keys.
pub(super) struct Grid {
    id: GridId,
    shape: Shape,
    core: Arc<Core>,
    buffers: Arc<Buffers>,
    usage: Mutex<GridUsage>,
    /// Held by one writer of a block at a time, from reading what is there to writing what will be.
    stripes: [Mutex<()>; STRIPES],
    /// Held for reading by every write; true once the grid is dropped.
    dropped: RwLock<bool>,
}

impl Grid {
    pub(super) fn new(id: GridId, shape: Shape, usage: GridUsage, core: &Arc<Core>) -> Self {
        let buffers = Buffers::new(HEAD_BYTES + shape.block_size.bytes() as usize, BUFFERS_KEPT);
        let (stripes, dropped) = (std::array::from_fn(|_| Mutex::new(())), RwLock::new(false));
        Self { id, shape, core: Arc::clone(core), buffers, usage: Mutex::new(usage), stripes, dropped }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Removes every block for good.
    pub(super) fn drop_all(&self) -> Result<(), WriteError> {
        let mut dropped = self.dropped.write();
        *dropped = true;
        remove_all(&self.core, self.id)?;
        *self.usage.lock() = GridUsage::default();
        Ok(())
    }

    fn read(&self, index: Index) -> Result<Option<Block>, ReadError> {
        let value = self.core.blocks.get(key(self.id, index)).map_err(|error| self.unread(index, error))?;
        value.map(|value| self.open(index, &value)).transpose()
    }

    fn open(&self, index: Index, value: &Slice) -> Result<Block, ReadError> {
        let mut lent = self.buffers.lend();
        let opened = self.core.vault.open(self.id, index, value, lent.buffer());
        let (Head { generation, crc }, length) = opened.map_err(|what| self.corrupted(index, what))?;
        lent.keep_range(HEAD_BYTES..HEAD_BYTES + length);
        Ok(Block { generation, crc, payload: Payload::Lent(lent) })
    }

    fn corrupted(&self, index: Index, what: String) -> ReadError {
        ReadError::Corrupted { grid: self.id, index, place: self.core.place.clone(), what }
    }

    fn unread(&self, index: Index, error: ::fjall::Error) -> ReadError {
        self.core.unread(self.id, index, error)
    }

    /// What a change makes of a block: the bytes in full, and their checksum.
    fn build(&self, index: Index, edit: &Edit<'_>, old: Option<&Block>, length: u32) -> Result<Built, WriteError> {
        if let Edit::Whole { crc, .. } = *edit {
            return Ok(Built { bytes: None, crc });
        }
        let kept = old.map_or(&[][..], |old| old.payload.as_ref());
        // What is kept gets a new checksum, which must not bless damage.
        if let Some(old) = old
            && crc32c(kept) != old.crc
        {
            return Err(self.corrupted(index, "its checksum does not match".into()).into());
        }
        let mut bytes = vec![0; length as usize];
        edit::fill(edit, kept, &mut bytes);
        let crc = crc32c(&bytes);
        Ok(Built { bytes: Some(bytes), crc })
    }
}

/// New content; of a whole edit the bytes are its own.
struct Built {
    bytes: Option<Vec<u8>>,
    crc: u32,
}

/// Removes all keys of a grid.
pub(super) fn remove_all(core: &Core, id: GridId) -> Result<(), WriteError> {
    loop {
        let range = core.blocks.range(key(id, Index::MIN)..=key(id, Index::MAX));
        let keys: Result<Vec<_>, _> = range.take(DROP_BATCH).map(::fjall::Guard::key).collect();
        let keys = keys.map_err(|error| core.unread(id, Index::MIN, error))?;
        for key in &keys {
            core.blocks.remove(key.clone()).map_err(|error| core.failed(&error))?;
        }
        if keys.len() < DROP_BATCH {
            break;
        }
    }
    core.committer.written(true);
    core.committer.flush()?;
    Ok(())
}

impl Blocks for Grid {
    /// A tree cannot say whether it would have to read the disk, so it always might.
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError> {
        if patience == Patience::Hurried {
            return Ok(Got::NotNow);
        }
        Ok(self.read(index)?.map_or(Got::Absent, Got::Block))
    }

    fn put(&self, index: Index, change: &Change<'_>) -> Result<Placed, WriteError> {
        let dropped = self.dropped.read();
        if *dropped {
            return Err(WriteError::Dropped { grid: self.id });
        }
        self.core.committer.check()?;
        let _stripe = self.stripes[index.get() as usize % STRIPES].lock();
        let whole = matches!(change.edit, Edit::Whole { .. }) && change.expect.is_none();
        let (old, found, before) = if whole {
            // How long it was is known without reading it.
            let size = self.core.blocks.size_of(key(self.id, index)).map_err(|error| self.unread(index, error))?;
            (None, Generation::ABSENT, size.map_or(0, payload_bytes))
        } else {
            let old = self.read(index)?;
            let (found, length) =
                old.as_ref().map_or((Generation::ABSENT, 0), |old| (old.generation, old.payload.as_ref().len() as u32));
            (old, found, length)
        };
        change.check(index, found, before)?;
        let capacity = self.shape.block_size.bytes();
        let (generation, length) = match Plan::of(&change.edit, index, before, capacity)? {
            Plan::Nothing => return Ok(Placed::unchanged(found, before)),
            Plan::Delete if before == 0 => return Ok(Placed::unchanged(Generation::ABSENT, 0)),
            Plan::Delete => {
                self.core.blocks.remove(key(self.id, index)).map_err(|error| self.core.failed(&error))?;
                (Generation::ABSENT, 0)
            }
            Plan::Write(length) => {
                self.core.room(u64::from(length) + OVERHEAD as u64 + KEY_BYTES as u64)?;
                let built = self.build(index, &change.edit, old.as_ref(), length)?;
                let bytes = match (&built.bytes, &change.edit) {
                    (None, Edit::Whole { bytes, .. }) => bytes,
                    (built, _) => built.as_deref().unwrap_or_default(),
                };
                let generation = self.core.next_generation()?;
                let value = self.core.vault.seal(self.id, index, Head { generation, crc: built.crc }, bytes);
                self.core.blocks.insert(key(self.id, index), value).map_err(|error| self.core.failed(&error))?;
                (generation, length)
            }
        };
        self.core.count_put(length);
        let mut usage = self.usage.lock();
        usage.blocks = usage.blocks + u64::from(length > 0) - u64::from(before > 0);
        usage.bytes = usage.bytes + u64::from(length) - u64::from(before);
        drop(usage);
        let waits = self.shape.durability == Durability::Always;
        let ticket = self.core.committer.written(waits && !change.relaxed);
        Ok(Placed { generation, length, ticket: if waits { ticket } else { Ticket::NOW } })
    }

    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let range = self.core.blocks.range(key(self.id, from)..=key(self.id, Index::MAX));
        for guard in range.take(limit) {
            let (at, value) = guard.into_inner_if(|_| detail).map_err(|error| self.unread(from, error))?;
            let (_, index) = block_of(&at).ok_or_else(|| self.corrupted(from, "a key is none".into()))?;
            let mut listed = Listed { index, length: 0, crc: 0, generation: Generation::ABSENT };
            if let Some(value) = value {
                let block = self.open(index, &value)?;
                listed.length = payload_bytes(value.len() as u32);
                (listed.crc, listed.generation) = (block.crc, block.generation);
            }
            out.push(listed);
        }
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        let guard = self.core.blocks.range(key(self.id, from)..=key(self.id, Index::MAX)).next()?;
        Some(block_of(&guard.key().ok()?)?.1)
    }

    fn usage(&self) -> GridUsage {
        *self.usage.lock()
    }
}

/// Bytes of payload in a value of `size` bytes.
pub(super) fn payload_bytes(size: u32) -> u32 {
    size.saturating_sub(OVERHEAD as u32)
}
