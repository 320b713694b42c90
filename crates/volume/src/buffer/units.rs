//! What a buffer holds of its disk: blocks, each with how far it is on its way to the node.

use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::pool::Pool;

/// Blocks of a leaf, which share a lock.
pub(super) const LEAF: u64 = 16;
/// Leaves that are allocated together.
const CHAPTER: u64 = 64;

/// How far a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The node has it, durably: it may go.
    Clean,
    /// The node does not have it.
    Dirty,
    /// It is being put.
    Flying,
    /// The node has it, and forgets it if it is killed.
    Relaxed,
}

/// A block in memory.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) bytes: Box<[u8]>,
    pub(super) stage: Stage,
    /// Since the clock's hand last passed.
    touched: AtomicBool,
}

/// A few blocks that lie beside each other.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Writes so far: what was read from the node before one of them is out of date after it.
    pub(super) version: u64,
    pub(super) units: [Option<Unit>; LEAF as usize],
}

type Chapter = Box<[RwLock<Leaf>]>;

/// The blocks of one disk that are in memory.
#[derive(Debug)]
pub(super) struct Units {
    chapters: Box<[OnceLock<Chapter>]>,
    /// Leaves with dirty blocks.
    dirty: Mutex<BTreeSet<u64>>,
    held: AtomicUsize,
    pinned: AtomicUsize,
    pool: Arc<Pool>,
}

impl Stage {
    /// Whether what is so must stay in memory.
    pub(super) fn is_pinned(self) -> bool {
        self != Self::Clean
    }
}

impl Unit {
    /// It is looked at.
    pub(super) fn touch(&self) {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }
}

impl Units {
    pub(super) fn new(blocks: u64, pool: &Arc<Pool>) -> Self {
        let chapters = blocks.div_ceil(LEAF).div_ceil(CHAPTER);
        Self {
            chapters: (0..chapters).map(|_| OnceLock::new()).collect(),
            dirty: Mutex::default(),
            held: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            pool: pool.clone(),
        }
    }

    /// Whether there is nothing in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Acquire) == 0
    }

    /// A leaf, if there ever was something in it.
    pub(super) fn leaf(&self, leaf: u64) -> Option<&RwLock<Leaf>> {
        self.chapters[(leaf / CHAPTER) as usize].get().map(|chapter| &chapter[(leaf % CHAPTER) as usize])
    }

    /// A leaf, to put something into it.
    pub(super) fn leaf_or_new(&self, leaf: u64) -> &RwLock<Leaf> {
        let new = || (0..CHAPTER).map(|_| RwLock::default()).collect();
        &self.chapters[(leaf / CHAPTER) as usize].get_or_init(new)[(leaf % CHAPTER) as usize]
    }

    /// Takes in a block that was not there.
    pub(super) fn insert(self: &Arc<Self>, leaf: &mut Leaf, block: u64, bytes: Box<[u8]>, stage: Stage) {
        let length = bytes.len();
        self.held.fetch_add(length, Ordering::AcqRel);
        self.pool.took(self, block, length);
        if stage.is_pinned() {
            self.pin(length);
        }
        let before = leaf.units[(block % LEAF) as usize].replace(Unit { bytes, stage, touched: AtomicBool::new(true) });
        assert!(before.is_none(), "a block is in memory once");
    }

    /// Puts a block that is there at another stage.
    pub(super) fn move_to(&self, unit: &mut Unit, stage: Stage) {
        match (std::mem::replace(&mut unit.stage, stage).is_pinned(), stage.is_pinned()) {
            (false, true) => self.pin(unit.bytes.len()),
            (true, false) => self.unpin(unit.bytes.len()),
            _ => {}
        }
    }

    /// Drops a block.
    pub(super) fn remove(&self, leaf: &mut Leaf, block: u64) {
        let Some(unit) = leaf.units[(block % LEAF) as usize].take() else { return };
        if unit.stage.is_pinned() {
            self.unpin(unit.bytes.len());
        }
        self.held.fetch_sub(unit.bytes.len(), Ordering::AcqRel);
        self.pool.gave(unit.bytes.len());
    }

    /// The clock's hand passes a block: it goes, unless it must stay or was looked at. False if it stays.
    pub(super) fn pass(&self, block: u64) -> bool {
        let Some(leaf) = self.leaf(block / LEAF) else { return true };
        let mut leaf = leaf.write();
        match &leaf.units[(block % LEAF) as usize] {
            Some(unit) if unit.stage.is_pinned() || unit.touched.swap(false, Ordering::Relaxed) => return false,
            Some(_) => self.remove(&mut leaf, block),
            None => {}
        }
        true
    }

    /// The leaves with dirty blocks.
    pub(super) fn dirty(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.dirty.lock()
    }

    /// The memory that all buffers share.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Bytes that must stay in memory for now.
    pub(super) fn pinned(&self) -> usize {
        self.pinned.load(Ordering::Acquire)
    }

    fn pin(&self, bytes: usize) {
        self.pinned.fetch_add(bytes, Ordering::AcqRel);
        self.pool.pin(bytes);
    }

    fn unpin(&self, bytes: usize) {
        self.pinned.fetch_sub(bytes, Ordering::AcqRel);
        self.pool.unpin(bytes);
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        self.pool.gave(*self.held.get_mut());
        self.pool.unpin(*self.pinned.get_mut());
    }
}
