//! An engine whose writes are one list, so that a test can cut it anywhere and open what is left.

use okapi_base::{Durability, Generation, GridId, Index, Ticket, crc32c};
use okapi_store::{
    Block, Blocks, Broken, Change, Compacted, Damage, Edit, Engine, Got, GridUsage, Listed, Patience, Payload, Placed,
    ReadError, Shape, StoreUsage, Verified, Watcher, WriteError,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One write.
#[derive(Debug, Clone)]
pub enum Write {
    Put(GridId, Index, Generation, Vec<u8>),
    Delete(GridId, Index),
    Drop(GridId),
}

#[derive(Default)]
pub struct State {
    pub writes: Vec<Write>,
    blocks: BTreeMap<(GridId, Index), (Generation, Vec<u8>)>,
    generation: u64,
    durable: usize,
    /// Nothing becomes durable by itself.
    pub manual: bool,
    /// Blocks that a hurried get does not find in memory.
    pub cold: bool,
    /// Writes that are still taken; then the store is full.
    pub room: Option<usize>,
    pub broken: bool,
    pub corrupted: BTreeSet<(GridId, Index)>,
    dropped: BTreeSet<GridId>,
    pub watcher: Option<Watcher>,
    /// Deletions of blocks, not of names, wait until they get this lock.
    pub gate: Option<Arc<Mutex<()>>>,
}

/// The engine.
#[derive(Clone, Default)]
pub struct Toy(pub Arc<Mutex<State>>);

impl Toy {
    /// The store after a crash that left these writes.
    pub fn after(writes: &[Write]) -> Self {
        let toy = Self::default();
        {
            let mut state = toy.0.lock();
            for write in writes {
                state.apply(write.clone());
            }
            state.durable = state.writes.len();
        }
        toy
    }

    pub fn writes(&self) -> Vec<Write> {
        self.0.lock().writes.clone()
    }

    pub fn length(&self) -> usize {
        self.0.lock().writes.len()
    }

    /// Makes everything so far durable.
    pub fn commit(&self) {
        let watcher = {
            let mut state = self.0.lock();
            state.durable = state.writes.len();
            state.watcher.clone()
        };
        if let Some(watcher) = watcher {
            watcher();
        }
    }

    /// Breaks the store.
    pub fn break_down(&self) {
        let watcher = {
            let mut state = self.0.lock();
            state.broken = true;
            state.watcher.clone()
        };
        if let Some(watcher) = watcher {
            watcher();
        }
    }

    /// What a grid holds.
    pub fn dump(&self, grid: u32) -> BTreeMap<u64, Vec<u8>> {
        let state = self.0.lock();
        let blocks = state.blocks.iter().filter(|((id, _), _)| id.0 == grid);
        blocks.map(|((_, index), (_, bytes))| (index.get(), bytes.clone())).collect()
    }
}

fn broken() -> Broken {
    Broken { why: "the toy was broken by its test".to_owned() }
}

impl State {
    fn apply(&mut self, write: Write) {
        match &write {
            Write::Put(grid, index, generation, bytes) => {
                self.generation = self.generation.max(generation.0);
                self.blocks.insert((*grid, *index), (*generation, bytes.clone()));
            }
            Write::Delete(grid, index) => {
                self.blocks.remove(&(*grid, *index));
            }
            Write::Drop(grid) => {
                self.blocks.retain(|(id, _), _| id != grid);
                self.dropped.insert(*grid);
            }
        }
        self.writes.push(write);
    }

    fn may_write(&mut self, grid: GridId, delete: bool) -> Result<(), WriteError> {
        if self.broken {
            return Err(broken().into());
        }
        if self.dropped.contains(&grid) {
            return Err(WriteError::Dropped { grid });
        }
        match &mut self.room {
            Some(0) if !delete => Err(WriteError::Full { what: "the toy has no room".to_owned() }),
            Some(room) if !delete => {
                *room -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Engine for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        assert!(!self.0.lock().dropped.contains(&id), "grid numbers are never used again");
        Ok(Arc::new(ToyGrid { toy: self.clone(), id, shape }))
    }

    fn drop_grid(&self, id: GridId) -> Result<(), WriteError> {
        let mut state = self.0.lock();
        if state.broken {
            return Err(broken().into());
        }
        state.apply(Write::Drop(id));
        state.durable = state.writes.len();
        Ok(())
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        let state = self.0.lock();
        if state.broken { Err(broken()) } else { Ok(Ticket(state.durable as u64)) }
    }

    fn watch(&self, watcher: Watcher) {
        self.0.lock().watcher = Some(watcher);
    }

    fn flush(&self) -> Result<(), WriteError> {
        if self.0.lock().broken {
            return Err(broken().into());
        }
        self.commit();
        Ok(())
    }

    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified {
        let state = self.0.lock();
        for (grid, index) in &state.corrupted {
            let (place, what) = ("toy+0".to_owned(), "the test says so".to_owned());
            report(Damage { block: Some((*grid, *index)), place, what });
        }
        let blocks = state.blocks.len() as u64;
        Verified { segments: 1, records: blocks, blocks, bytes: 0, damages: state.corrupted.len() as u64 }
    }

    fn compact(&self) -> Result<Compacted, WriteError> {
        if self.0.lock().broken {
            return Err(broken().into());
        }
        Ok(Compacted { segments: 2, moved_bytes: 3, held_before: 5, held_after: 4 })
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage { segments: 1, ..StoreUsage::default() }
    }
}

struct ToyGrid {
    toy: Toy,
    id: GridId,
    shape: Shape,
}

impl Blocks for ToyGrid {
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError> {
        let state = self.toy.0.lock();
        if state.cold && patience == Patience::Hurried {
            return Ok(Got::NotNow);
        }
        if state.corrupted.contains(&(self.id, index)) {
            let (place, what) = ("toy+0".to_owned(), "the test says so".to_owned());
            return Err(ReadError::Corrupted { grid: self.id, index, place, what });
        }
        Ok(match state.blocks.get(&(self.id, index)) {
            None => Got::Absent,
            Some((generation, bytes)) => Got::Block(Block {
                generation: *generation,
                crc: crc32c(bytes),
                payload: Payload::Owned(bytes.clone()),
            }),
        })
    }

    fn put(&self, index: Index, change: &Change<'_>) -> Result<Placed, WriteError> {
        let gate = self.toy.0.lock().gate.clone();
        let passed = gate
            .as_ref()
            .filter(|_| self.id.0 >> 31 == 0 && matches!(change.edit, Edit::Whole { bytes: [], .. }))
            .map(|gate| gate.lock());
        let mut state = self.toy.0.lock();
        let old = state.blocks.get(&(self.id, index)).cloned();
        let (found, mut bytes) = old.clone().unwrap_or_default();
        if let Some(expected) = change.expect
            && expected != found
        {
            return Err(WriteError::Stale { index, found, length: bytes.len() as u32 });
        }
        match change.edit {
            Edit::Whole { bytes: new, crc } => {
                assert_eq!(crc32c(new), crc);
                bytes = new.to_vec();
            }
            Edit::Slice { offset, bytes: part } if !part.is_empty() => {
                bytes.resize(bytes.len().max(offset as usize + part.len()), 0);
                bytes[offset as usize..][..part.len()].copy_from_slice(part);
            }
            Edit::Slice { .. } => {}
            Edit::Zeroes { offset, length } => {
                bytes.resize(bytes.len().max((offset + length) as usize), 0);
                bytes[offset as usize..][..length as usize].fill(0);
            }
            Edit::Truncate { length } => bytes.resize(length as usize, 0),
        }
        assert!(bytes.len() <= self.shape.block_size.bytes() as usize);
        state.may_write(self.id, bytes.is_empty())?;
        let length = bytes.len() as u32;
        let generation = if bytes.is_empty() {
            if old.is_some() {
                state.apply(Write::Delete(self.id, index));
            }
            Generation::ABSENT
        } else {
            let generation = Generation(state.generation + 1);
            state.apply(Write::Put(self.id, index, generation, bytes));
            generation
        };
        drop(passed);
        let ticket = Ticket(state.writes.len() as u64);
        if self.shape.durability != Durability::Always {
            return Ok(Placed { generation, length, ticket: Ticket::NOW });
        }
        if !change.relaxed && !state.manual {
            state.durable = state.writes.len();
        }
        Ok(Placed { generation, length, ticket })
    }

    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let state = self.toy.0.lock();
        let blocks = state.blocks.range((self.id, from)..=(self.id, Index::MAX)).take(limit);
        out.extend(blocks.map(|((_, index), (generation, bytes))| match detail {
            true => Listed { index: *index, length: bytes.len() as u32, crc: crc32c(bytes), generation: *generation },
            false => Listed { index: *index, length: 0, crc: 0, generation: Generation::ABSENT },
        }));
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        let state = self.toy.0.lock();
        let found = state.blocks.range((self.id, from)..=(self.id, Index::MAX)).next();
        found.map(|((_, index), _)| *index)
    }

    fn usage(&self) -> GridUsage {
        let dump = self.toy.dump(self.id.0);
        GridUsage { blocks: dump.len() as u64, bytes: dump.values().map(|bytes| bytes.len() as u64).sum() }
    }
}
