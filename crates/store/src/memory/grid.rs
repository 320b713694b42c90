//! One grid in memory.

use super::Core;
use super::arena::{Arena, Slot};
use super::occupancy::Occupancy;
use super::past_cache;
use super::shared::SharedMap;
use super::table::Table;
use crate::edit::{self, Plan};
use crate::engine::{
    Block, Blocks, Change, Damage, Edit, Got, GridUsage, Listed, Patience, Placed, ReadError, Shape, Verified,
    WriteError,
};
use crate::payload::Payload;
use okapi_base::{Generation, GridId, Index, Ticket, crc32c};
use parking_lot::RwLock;
use std::sync::Arc;

/// Bytes of index one block takes.
const INDEX_BYTES: u64 = okapi_base::map::ENTRY_BYTES as u64 + size_of::<Option<Slot>>() as u64;

/// One grid: an arena of payloads and an index of them.
///
/// Payloads are written into fresh slots without the lock; it is held only to look into the index or to change it.
pub(super) struct Grid {
    id: GridId,
    shape: Shape,
    core: Arc<Core>,
    arena: Arc<Arena>,
    state: RwLock<State>,
}

struct State {
    table: Table,
    occupancy: Occupancy,
    usage: GridUsage,
    /// Bytes of arena and index that live blocks take.
    live_bytes: u64,
    dropped: bool,
}

/// New content, in place and not yet to be seen.
struct Ready {
    slot: Slot,
    crc: u32,
}

impl Grid {
    pub(super) fn new(id: GridId, shape: Shape, core: &Arc<Core>) -> Result<Arc<Self>, WriteError> {
        let table = Table::new(shape.block_size, core.shared, &core.budget)?;
        let usage = GridUsage::default();
        let state = State { table, occupancy: Occupancy::default(), usage, live_bytes: 0, dropped: false };
        let arena = Arena::new(core.shared, Arc::clone(&core.budget));
        Ok(Arc::new(Self { id, shape, core: Arc::clone(core), arena, state: RwLock::new(state) }))
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Empties the grid for good: from now on it takes nothing, and readers of its map know.
    pub(super) fn revoke(&self) {
        let mut state = self.state.write();
        state.dropped = true;
        state.table.revoke();
        state.occupancy = Occupancy::default();
        state.usage = GridUsage::default();
        state.live_bytes = 0;
        drop(state);
        self.arena.give_back();
    }

    /// Gives memory that holds nothing back to the system, and says how much.
    pub(super) fn give_back(&self) -> u64 {
        self.arena.give_back()
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.state.read().live_bytes
    }

    pub(super) fn segments(&self) -> u64 {
        self.arena.segments().len() as u64
    }

    /// Checks every block against its checksum.
    pub(super) fn verify(&self, verified: &mut Verified, report: &mut dyn FnMut(Damage)) {
        verified.segments += self.segments();
        let mut from = Some(Index::MIN);
        while let Some(index) = from.and_then(|from| self.next_occupied(from)) {
            from = index.next();
            let Some(found) = self.find(index) else { continue };
            verified.records += 1;
            verified.blocks += 1;
            verified.bytes += found.slot.as_ref().len() as u64;
            if let Err(what) = found.check() {
                verified.damages += 1;
                report(Damage { block: Some((self.id, index)), place: found.place(), what });
            }
        }
    }

    #[inline]
    fn find(&self, index: Index) -> Option<Found> {
        let state = self.state.read();
        let (slot, crc, generation) = state.table.block(state.table.find(index)?);
        Some(Found { slot: slot.lend(), crc, generation })
    }

    /// Writes what `edit` makes of `old` to a place of its own.
    fn prepare(&self, index: Index, edit: &Edit<'_>, old: Option<&Found>, length: u32) -> Result<Ready, WriteError> {
        let mut fresh = self.arena.fresh(length)?;
        let kept = old.map_or(&[][..], |old| old.slot.as_ref());
        let room = fresh.bytes();
        match *edit {
            Edit::Whole { bytes, .. } => past_cache::copy(room, bytes),
            _ => edit::fill(edit, kept, room),
        }
        let crc = match *edit {
            Edit::Whole { crc, .. } => crc,
            Edit::Slice { .. } | Edit::Zeroes { .. } | Edit::Truncate { .. } => {
                // What is kept gets a new checksum, which must not bless damage.
                if let Some(Err(what)) = old.map(Found::check) {
                    let place = old.map(Found::place).unwrap_or_default();
                    return Err(ReadError::Corrupted { grid: self.id, index, place, what }.into());
                }
                crc32c(room)
            }
        };
        Ok(Ready { slot: fresh.filled(), crc })
    }

    /// Makes a change seen, unless the block is no longer the one it was made from: then nothing.
    fn commit(
        &self,
        index: Index,
        change: &Change<'_>,
        basis: Option<Generation>,
        next: Option<Ready>,
    ) -> Result<Option<Placed>, WriteError> {
        let mut guard = self.state.write();
        let state = &mut *guard;
        if state.dropped {
            return Err(WriteError::Dropped { grid: self.id });
        }
        let at = state.table.find(index);
        let (found, length) = at.map_or((Generation::ABSENT, 0), |at| {
            let (slot, _, generation) = state.table.block(at);
            (generation, slot.length())
        });
        change.check(index, found, length)?;
        if basis.is_some_and(|basis| basis != found) {
            return Ok(None);
        }
        let mut placed = Placed { generation: Generation::ABSENT, length: 0, ticket: Ticket::NOW };
        if let Some(next) = &next {
            if at.is_none() {
                state.table.room()?;
            }
            placed.generation = self.core.next_generation();
            placed.length = next.slot.length();
            state.usage.blocks += 1;
            state.usage.bytes += u64::from(placed.length);
            state.live_bytes += next.slot.footprint() + INDEX_BYTES;
        }
        let old = match (at, next) {
            (Some(at), Some(next)) => Some(state.table.replace(at, placed.generation, next.crc, next.slot)),
            (None, Some(next)) => {
                state.table.insert(index, placed.generation, next.crc, next.slot);
                state.occupancy.insert(index);
                None
            }
            (Some(at), None) => {
                state.occupancy.remove(index);
                Some(state.table.remove(at))
            }
            (None, None) => None,
        };
        if let Some(old) = &old {
            state.usage.blocks -= 1;
            state.usage.bytes -= u64::from(length);
            state.live_bytes -= old.footprint() + INDEX_BYTES;
        }
        drop(guard);
        Ok(Some(placed))
    }
}

impl Blocks for Grid {
    #[inline]
    fn get(&self, index: Index, _: Patience) -> Result<Got, ReadError> {
        Ok(match self.find(index) {
            Some(Found { slot, crc, generation }) => {
                Got::Block(Block { generation, crc, payload: Payload::Slot(slot) })
            }
            None => Got::Absent,
        })
    }

    /// Entries first, then payloads: each is a wait for memory that the others' waits cover.
    fn prefetch(&self, indexes: &[Index]) {
        let state = self.state.read();
        for index in indexes {
            state.table.prefetch(*index);
        }
        for index in indexes {
            if let Some(at) = state.table.find(*index) {
                state.table.block(at).0.prefetch();
            }
        }
    }

    fn put(&self, index: Index, change: &Change<'_>) -> Result<Placed, WriteError> {
        let capacity = self.shape.block_size.bytes();
        loop {
            let whole = matches!(change.edit, Edit::Whole { .. });
            let old = if whole && change.expect.is_none() { None } else { self.find(index) };
            let (found, length) =
                old.as_ref().map_or((Generation::ABSENT, 0), |old| (old.generation, old.slot.length()));
            // A whole block depends on nothing that was there; anything else must be made of what it replaces.
            let basis = if whole { None } else { Some(found) };
            let next = match Plan::of(&change.edit, index, length, capacity)? {
                Plan::Nothing => {
                    change.check(index, found, length)?;
                    return Ok(Placed::unchanged(found, length));
                }
                Plan::Delete => None,
                Plan::Write(wanted) => {
                    if old.is_some() {
                        change.check(index, found, length)?;
                    }
                    Some(self.prepare(index, &change.edit, old.as_ref(), wanted)?)
                }
            };
            if let Some(placed) = self.commit(index, change, basis, next)? {
                self.core.count_put(placed.length);
                return Ok(placed);
            }
        }
    }

    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let state = self.state.read();
        let listed = |index| {
            let bare = Listed { index, length: 0, crc: 0, generation: Generation::ABSENT };
            if !detail {
                return bare;
            }
            let at = state.table.find(index).expect("what is occupied is in the table");
            let (slot, crc, generation) = state.table.block(at);
            Listed { length: slot.length(), crc, generation, ..bare }
        };
        out.extend(state.occupancy.iter_from(from).take(limit).map(listed));
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        self.state.read().occupancy.iter_from(from).next()
    }

    fn usage(&self) -> GridUsage {
        self.state.read().usage
    }

    fn shared_map(&self) -> Option<SharedMap> {
        let state = self.state.read();
        let (index, epoch, entries) = state.table.readable()?;
        Some(SharedMap::new(self.shape.block_size, index, epoch, entries, self.arena.segments()))
    }
}

/// A block, held.
struct Found {
    slot: Slot,
    crc: u32,
    generation: Generation,
}

impl Found {
    /// Says what is wrong with the payload, if anything is.
    fn check(&self) -> Result<(), String> {
        let crc = crc32c(self.slot.as_ref());
        if crc == self.crc {
            return Ok(());
        }
        Err(format!("its CRC-32C is {crc:08x}, and {:08x} was stored with it", self.crc))
    }

    fn place(&self) -> String {
        let place = self.slot.place();
        format!("memory segment {} offset {}", place.segment(), place.offset())
    }
}
