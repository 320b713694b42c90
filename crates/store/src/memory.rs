//! The memory engine: everything in an arena of this process, which other processes may be let read.
//!
//! A get takes no copy and makes no allocation: it lends the block's place ([`Slot`]), which stays as it is until the
//! last who holds it lets go. A put writes to a fresh place and then changes the index. Nothing outlives the process,
//! so every put is as durable as it will ever be when it returns.

mod arena;
mod budget;
mod class;
mod grid;
mod occupancy;
mod past_cache;
mod region;
mod shared;
mod table;
#[cfg(test)]
mod tests;

pub use arena::Slot;
pub use shared::SharedMap;

use crate::engine::{Blocks, Broken, Compacted, Damage, Engine, Shape, StoreUsage, Verified, Watcher, WriteError};
use budget::{Budget, NoRoom};
use grid::Grid;
use okapi_base::{Generation, GridId, Ticket};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a memory store is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes the store may hold at most, payloads and indexes of all grids together.
    pub limit_bytes: u64,
    /// Whether other processes can be let read grids: memory then lies in memory files, one set for each grid.
    pub shared: bool,
}

/// A store in memory.
pub struct Memory {
    core: Arc<Core>,
    grids: RwLock<BTreeMap<GridId, Arc<Grid>>>,
    freed_bytes: AtomicU64,
}

/// What all grids of a store share.
struct Core {
    shared: bool,
    budget: Arc<Budget>,
    generation: AtomicU64,
    put_bytes: AtomicU64,
}

impl Memory {
    /// An empty store. Memory is taken from the system as blocks are put.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let budget = Arc::new(Budget::new(settings.limit_bytes));
        let (generation, put_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let core = Arc::new(Core { shared: settings.shared, budget, generation, put_bytes });
        Self { core, grids: RwLock::default(), freed_bytes: AtomicU64::new(0) }
    }
}

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    /// Opening a grid that is open gives the same grid; it keeps the shape it was first opened with.
    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        let mut grids = self.grids.write();
        if let Some(grid) = grids.get(&id) {
            let size = grid.shape().block_size;
            assert_eq!(size, shape.block_size, "grid {} is opened with the block size it was made with", id.0);
            return Ok(Arc::clone(grid) as Arc<dyn Blocks>);
        }
        let grid = Grid::new(id, shape, &self.core)?;
        grids.insert(id, Arc::clone(&grid));
        Ok(grid)
    }

    fn drop_grid(&self, id: GridId) -> Result<(), WriteError> {
        let grid = self.grids.write().remove(&id);
        if let Some(grid) = grid {
            grid.revoke();
        }
        Ok(())
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        Ok(Ticket::NOW)
    }

    fn watch(&self, _: Watcher) {}

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified {
        let mut verified = Verified::default();
        for grid in self.all() {
            grid.verify(&mut verified, report);
        }
        verified
    }

    /// Gives memory that holds nothing back to the system. Blocks are not moved.
    fn compact(&self) -> Result<Compacted, WriteError> {
        let segments = |all: &[Arc<Grid>]| all.iter().map(|grid| grid.segments()).sum::<u64>();
        let all = self.all();
        let (held_before, before) = (self.core.budget.held(), segments(&all));
        let freed = all.iter().map(|grid| grid.give_back()).sum();
        self.freed_bytes.fetch_add(freed, Ordering::Relaxed);
        let removed = before.saturating_sub(segments(&all));
        Ok(Compacted { segments: removed, moved_bytes: 0, held_before, held_after: self.core.budget.held() })
    }

    fn usage(&self) -> StoreUsage {
        let all = self.all();
        StoreUsage {
            live_bytes: all.iter().map(|grid| grid.live_bytes()).sum(),
            held_bytes: self.core.budget.held(),
            limit_bytes: self.core.budget.limit(),
            segments: all.iter().map(|grid| grid.segments()).sum(),
            put_bytes: self.core.put_bytes.load(Ordering::Relaxed),
            freed_bytes: self.freed_bytes.load(Ordering::Relaxed),
            ..StoreUsage::default()
        }
    }
}

impl Memory {
    fn all(&self) -> Vec<Arc<Grid>> {
        self.grids.read().values().cloned().collect()
    }
}

impl Core {
    fn next_generation(&self) -> Generation {
        Generation(self.generation.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn count_put(&self, length: u32) {
        self.put_bytes.fetch_add(length.into(), Ordering::Relaxed);
    }
}

impl From<NoRoom> for WriteError {
    fn from(refused: NoRoom) -> Self {
        Self::Full { what: refused.to_string() }
    }
}
