//! The index of one grid: an open-addressing table in memory that other processes may read, and beside it, private,
//! the slots that its entries name.
//!
//! Searches probe one entry after the other from the block's home. An entry is taken from its block by a mark that
//! searches pass over, so no block ever moves to another entry of the same table, and a reader that looks on from
//! entry to entry without a lock misses none.
#![allow(unsafe_code, reason = "the table lies in mapped memory, which is reached by a pointer")]

use super::arena::Slot;
use super::budget::{Budget, NoRoom};
use super::region::{Region, fetch_ahead};
use okapi_base::map::{self, ENTRY_BYTES, Entry, HEADER_BYTES, Header, Key};
use okapi_base::{BlockSize, Generation, Index};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An index grows by this much at a time while it is small ...
const GROWTH_SMALL: u64 = 4;
/// ... which is up to this many entries; then it doubles.
const SMALL: u64 = 1 << 16;

/// The index of one grid.
pub(super) struct Table {
    cells: Cells,
    budget: Arc<Budget>,
    seed: u64,
    epoch: u64,
    block_size: BlockSize,
    slots: Vec<Option<Slot>>,
    live: u64,
    /// Entries with the mark of the deleted.
    deleted: u64,
}

/// A block's entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(usize);

impl Table {
    /// The first index of a grid.
    pub(super) fn new(block_size: BlockSize, shared: bool, budget: &Arc<Budget>) -> Result<Self, NoRoom> {
        Self::with_entries(map::ENTRIES_MIN, 1, block_size, shared, budget)
    }

    fn with_entries(
        entries: u64,
        epoch: u64,
        block_size: BlockSize,
        shared: bool,
        budget: &Arc<Budget>,
    ) -> Result<Self, NoRoom> {
        let cost = Self::cost(entries);
        budget.take(cost)?;
        let region = Self::region(entries as usize, shared);
        let region = region.inspect_err(|_| budget.give(cost)).map_err(NoRoom::System)?;
        // A seed that nobody can guess: who chooses block indexes cannot make them all have one home.
        let seed = RandomState::new().hash_one(epoch);
        let slots = std::iter::repeat_with(|| None).take(entries as usize).collect();
        let budget = Arc::clone(budget);
        let cells = Cells { region, entries: entries as usize };
        let table = Self { cells, budget, seed, epoch, block_size, slots, live: 0, deleted: 0 };
        let header = table.cells.header();
        header.version.store(map::VERSION, Ordering::Relaxed);
        header.block_size.store(block_size.bytes(), Ordering::Relaxed);
        header.entries.store(entries, Ordering::Relaxed);
        header.seed.store(seed, Ordering::Relaxed);
        header.epoch.store(epoch, Ordering::Relaxed);
        header.magic.store(map::MAGIC, Ordering::Release);
        Ok(table)
    }

    fn region(entries: usize, shared: bool) -> std::io::Result<Region> {
        let region = Region::new(HEADER_BYTES + entries * ENTRY_BYTES, shared)?;
        region.prefer_large_pages();
        region.populate(0..region.length())?;
        Ok(region)
    }

    fn cost(entries: u64) -> u64 {
        HEADER_BYTES as u64 + entries * (ENTRY_BYTES + size_of::<Option<Slot>>()) as u64
    }

    /// Where a block's entry is.
    #[inline]
    pub(super) fn find(&self, index: Index) -> Option<At> {
        let (key, entries) = (Key::of(index), self.cells.entries());
        let mut at = self.home(index);
        loop {
            match entries[at].key() {
                found if found == key => return Some(At(at)),
                Key::EMPTY => return None,
                _ => at = (at + 1) & (entries.len() - 1),
            }
        }
    }

    /// Has the memory fetched that finding a block will read.
    #[inline]
    pub(super) fn prefetch(&self, index: Index) {
        let home = self.home(index);
        fetch_ahead(&raw const self.cells.entries()[home]);
        fetch_ahead(&raw const self.slots[home]);
    }

    /// The slot, the checksum and the generation of an entry.
    #[inline]
    pub(super) fn block(&self, at: At) -> (&Slot, u32, Generation) {
        let (crc, generation) = self.cells.entries()[at.0].own();
        (self.slots[at.0].as_ref().expect("an entry with a key has a slot"), crc, generation)
    }

    /// Gives a block that has an entry another content, and returns the slot of the old one.
    pub(super) fn replace(&mut self, at: At, generation: Generation, crc: u32, slot: Slot) -> Slot {
        let entry = &self.cells.entries()[at.0];
        entry.change(entry.key(), generation, crc, slot.place());
        self.note_segment(&slot);
        self.slots[at.0].replace(slot).expect("an entry with a key has a slot")
    }

    /// Gives a block that has none an entry. There must be [`Table::room`].
    pub(super) fn insert(&mut self, index: Index, generation: Generation, crc: u32, slot: Slot) {
        assert!(self.live + self.deleted < self.entries(), "a table is never full, or searches would not end");
        let entries = self.cells.entries();
        let mut at = self.home(index);
        let mut found = entries[at].key();
        while found != Key::EMPTY && found != Key::DELETED {
            at = (at + 1) & (entries.len() - 1);
            found = entries[at].key();
        }
        entries[at].change(Key::of(index), generation, crc, slot.place());
        self.note_segment(&slot);
        self.deleted -= u64::from(found == Key::DELETED);
        self.live += 1;
        self.slots[at] = Some(slot);
    }

    /// Takes a block's entry from it, and returns the slot.
    pub(super) fn remove(&mut self, at: At) -> Slot {
        let entries = self.cells.entries();
        let around = |at: usize, by: usize| at.wrapping_add(by) & (entries.len() - 1);
        if entries[around(at.0, 1)].key() == Key::EMPTY {
            // No search goes on past here, so neither this mark nor those before it are needed.
            let mut last = around(at.0, usize::MAX);
            entries[at.0].clear(Key::EMPTY);
            let mut cleared = 0;
            while entries[last].key() == Key::DELETED {
                entries[last].clear(Key::EMPTY);
                cleared += 1;
                last = around(last, usize::MAX);
            }
            self.deleted -= cleared;
        } else {
            entries[at.0].clear(Key::DELETED);
            self.deleted += 1;
        }
        self.live -= 1;
        self.slots[at.0].take().expect("an entry with a key has a slot")
    }

    /// Makes sure that one more block can be inserted, moving to a larger table if need be.
    pub(super) fn room(&mut self) -> Result<(), NoRoom> {
        let used = self.live + self.deleted + 1;
        if used <= self.entries() / 4 * 3 {
            return Ok(());
        }
        // Where deleted entries are most of it, a table of the same size will do.
        let moved = if self.live < self.entries() / 3 {
            self.moved(self.entries())
        } else if self.entries() < SMALL {
            self.moved(self.entries() * GROWTH_SMALL).or_else(|_| self.moved(self.entries() * 2))
        } else {
            self.moved(self.entries() * 2)
        };
        match moved {
            Ok(()) => Ok(()),
            // Searches get longer, but they end.
            Err(_) if used <= self.entries() / 16 * 15 => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    fn moved(&mut self, entries: u64) -> Result<(), NoRoom> {
        if entries > map::ENTRIES_MAX {
            return Err(NoRoom::Numbers);
        }
        let shared = self.cells.region.readable().is_some();
        let mut next = Self::with_entries(entries, self.epoch + 1, self.block_size, shared, &self.budget)?;
        for at in 0..self.slots.len() {
            if let Some(slot) = self.slots[at].take() {
                let entry = &self.cells.entries()[at];
                let (crc, generation) = entry.own();
                let index = entry.key().index().expect("an entry with a slot has a block's key");
                next.insert(index, generation, crc, slot);
            }
        }
        self.set_state(map::MOVED);
        *self = next;
        Ok(())
    }

    /// Tells readers that the grid is no more, and empties the table.
    pub(super) fn revoke(&mut self) {
        self.set_state(map::REVOKED);
        for (entry, slot) in self.cells.entries().iter().zip(&mut self.slots) {
            if slot.take().is_some() {
                entry.clear(Key::EMPTY);
            }
        }
        (self.live, self.deleted) = (0, 0);
    }

    /// The descriptor by which others read the index, if they may, with its epoch and its entries.
    pub(super) fn readable(&self) -> Option<(Arc<OwnedFd>, u64, u64)> {
        self.cells.region.readable().map(|fd| (Arc::clone(fd), self.epoch, self.entries()))
    }

    fn set_state(&self, bit: u32) {
        self.cells.header().state.fetch_or(bit, Ordering::SeqCst);
    }

    fn note_segment(&self, slot: &Slot) {
        let past = slot.place().segment() + 1;
        if self.cells.header().segments.load(Ordering::Relaxed) < past {
            self.cells.header().segments.store(past, Ordering::Release);
        }
    }

    fn entries(&self) -> u64 {
        self.cells.entries as u64
    }

    #[inline]
    fn home(&self, index: Index) -> usize {
        map::home(index, self.seed, self.entries()) as usize
    }
}

/// The part of a table that others may read: its header and its entries.
struct Cells {
    region: Region,
    entries: usize,
}

impl Cells {
    fn header(&self) -> &Header {
        // SAFETY: the region is longer than a header, page-aligned, and lives as long as `self`; a header is made of
        // atomics, for which any bytes are valid.
        unsafe { self.region.start().cast().as_ref() }
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        // SAFETY: the region was made long enough for this many entries after the header, which is a multiple of
        // their alignment long; entries are made of atomics, for which any bytes are valid.
        unsafe { std::slice::from_raw_parts(self.region.start().add(HEADER_BYTES).cast().as_ptr(), self.entries) }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.budget.give(Self::cost(self.entries()));
    }
}
