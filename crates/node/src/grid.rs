//! One grid of a node: its blocks, its records, its changes.

use crate::catalog::{COMPANION, Definition, Home};
use crate::changes::Changes;
use crate::owners::{Owner, RESERVED_FROM};
use crate::records::Records;
use crate::refusal::{Refusal, read_status, write_status};
use okapi_base::{Durability, GridId, Index, Ticket};
use okapi_grid::{Fetched, Hold, Stored};
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, Payload, Placed, Shape, WriteError};
use okapi_wire::message::GridInfo;
use okapi_wire::{Listed, PutAsk, PutKind, Run, Status, flags};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Blocks that one ask for runs walks over before it says that there is more.
const RUNS_WALK_MAX: usize = 1 << 20;
/// Blocks asked of an engine at a time.
pub(crate) const PAGE: usize = 1024;

/// A grid of a node.
pub(crate) struct Grid {
    pub(crate) definition: Definition,
    pub(crate) blocks: Arc<dyn Blocks>,
    /// Where the names are kept; nothing where they need not outlive the node.
    pub(crate) companion: Option<Arc<dyn Blocks>>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) records: RwLock<Records>,
    /// Whether any block is a record's or reserved. Set under the lock of `records`.
    pub(crate) guarded: AtomicBool,
    /// How often a record's binding was numbered where there is no companion to number it.
    pub(crate) bindings: AtomicU64,
    pub(crate) changes: Changes,
    dropped: AtomicBool,
    /// The last put failed for want of room or of a working disk, and the log has been told.
    failing: AtomicBool,
}

impl Grid {
    /// Opens a grid's blocks in its engine, and its companion; its records are still to be loaded.
    pub(crate) fn open(definition: Definition, engine: &Arc<dyn Engine>, epoch: u64) -> Result<Self, WriteError> {
        let blocks = engine.open_grid(definition.id, definition.shape)?;
        let companion = if definition.shape.durability == Durability::Memory {
            None
        } else {
            // Always: what is deleted after a binding waits for the binding's ticket, whatever the grid promises.
            let shape = Shape { block_size: crate::names::companion_block(), durability: Durability::Always };
            Some(engine.open_grid(companion_of(definition.id), shape)?)
        };
        Ok(Self {
            definition,
            blocks,
            companion,
            engine: Arc::clone(engine),
            records: RwLock::default(),
            guarded: AtomicBool::new(false),
            bindings: AtomicU64::new(0),
            changes: Changes::new(epoch),
            dropped: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        })
    }

    /// Marks the grid as dropped: all asks about it are refused from now on.
    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::SeqCst);
    }

    /// Whether it has been dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The engine's number.
    pub(crate) fn home(&self) -> Home {
        self.definition.home
    }

    /// What the reply to a put must wait for.
    pub(crate) fn hold(&self, ticket: Ticket) -> Option<Hold> {
        let waits = self.definition.shape.durability == Durability::Always && ticket != Ticket::NOW;
        waits.then(|| Hold { engine: self.home() as u8, ticket })
    }

    /// The grid as others are told of it.
    pub(crate) fn info(&self, handle: u32) -> GridInfo {
        let usage = self.blocks.usage();
        let definition = &self.definition;
        GridInfo {
            handle,
            id: definition.id.0,
            block_size: definition.shape.block_size,
            durability: definition.shape.durability,
            public: definition.public,
            blocks: usage.blocks,
            bytes: usage.bytes,
            records: self.records.read().len() as u64,
            name: definition.name.clone(),
            engine: definition.home.word().to_owned(),
        }
    }

    /// A block's bytes.
    pub(crate) fn get(&self, index: Index, patience: Patience) -> Fetched<Payload> {
        match self.blocks.get(index, patience) {
            Ok(Got::Absent) => Fetched::Absent,
            Ok(Got::NotNow) => Fetched::NotNow,
            Ok(Got::Block(block)) => {
                Fetched::Block { generation: block.generation, crc: block.crc, payload: block.payload }
            }
            Err(error) => {
                tracing::error!(grid = %self.definition.name, "{error}");
                Fetched::Failed(read_status(&error))
            }
        }
    }

    /// Says that these blocks are about to be got.
    pub(crate) fn prefetch(&self, indexes: &[Index]) {
        self.blocks.prefetch(indexes);
    }

    /// Changes a block for a visitor.
    pub(crate) fn put(&self, visitor: u64, ask: &PutAsk, payload: &[u8], put_flags: u16) -> Stored {
        let edit = match ask.kind {
            PutKind::Whole => Edit::Whole { bytes: payload, crc: ask.crc },
            PutKind::Slice => Edit::Slice { offset: ask.offset, bytes: payload },
            PutKind::Zeroes => Edit::Zeroes { offset: ask.offset, length: ask.length },
            PutKind::Truncate => Edit::Truncate { length: ask.length },
        };
        let change = Change { edit, expect: ask.expect, relaxed: put_flags & flags::RELAXED != 0 };
        let for_record = put_flags & flags::RECORD != 0;
        let put = || self.blocks.put(ask.index, &change);
        // Where nothing is guarded, nothing is checked. Blocks the node itself picks for records are always looked
        // at, so that a reservation made this very moment is not written into.
        let placed = if !for_record && ask.index.get() < RESERVED_FROM && !self.guarded.load(Ordering::Relaxed) {
            put()
        } else {
            let records = self.records.read();
            match self.may_put(&records, visitor, ask, for_record) {
                Ok(None) => put(),
                Ok(Some(slot)) => {
                    drop(records);
                    match self.put_into_record(slot, ask, put) {
                        Ok(placed) => placed,
                        Err(refusal) => return Stored::refused(refusal.status),
                    }
                }
                Err(status) => return Stored::refused(status),
            }
        };
        self.stored(ask.index, placed, change.relaxed)
    }

    fn stored(&self, index: Index, placed: Result<Placed, WriteError>, relaxed: bool) -> Stored {
        match placed {
            Ok(Placed { generation, length, ticket }) => {
                self.changes.block(index);
                if self.failing.load(Ordering::Relaxed) {
                    self.failing.store(false, Ordering::Relaxed);
                }
                let hold = if relaxed { None } else { self.hold(ticket) };
                Stored { status: Status::Ok, generation, length, hold }
            }
            Err(WriteError::Stale { found, length, .. }) => {
                Stored { status: Status::Stale, generation: found, length, hold: None }
            }
            Err(error) => {
                // Once, and again after it went well: a full disk must not be filled with complaints of it.
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(grid = %self.definition.name, "{error}");
                }
                Stored::refused(write_status(&error))
            }
        }
    }

    /// Whether a put may be done; into which record's slot it goes if its hash must be forgotten first.
    fn may_put(&self, records: &Records, visitor: u64, ask: &PutAsk, for_record: bool) -> Result<Option<u64>, Status> {
        match records.owners.of(ask.index) {
            None if for_record => Err(Status::NoReservation),
            None => Ok(None),
            Some(Owner::Doomed) => Err(Status::Busy),
            Some(_) if !for_record => Err(Status::InRecord),
            Some(Owner::Lease(lease)) if records.is_leased_to(lease, visitor) => Ok(None),
            Some(Owner::Lease(_)) => Err(Status::NoReservation),
            Some(Owner::Record(slot)) => {
                let known = records.keeps_shape(slot, ask, self.definition.shape.block_size)?;
                Ok(known.then_some(slot))
            }
        }
    }

    /// Appends the occupied blocks from `from` on; whether there are more. Doomed ones are as good as gone: whoever
    /// compares must not take them for what is to stay.
    pub(crate) fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<bool, Status> {
        let guarded = self.guarded.load(Ordering::SeqCst);
        // Held while the blocks are listed, so that nothing listed is gone, and no longer doomed, when it is looked at.
        let records = guarded.then(|| self.records.read()).filter(|records| records.owners.any_doomed());
        let is_doomed = |index| records.as_ref().is_some_and(|its| its.owners.of(index) == Some(Owner::Doomed));
        let (mut from, first, mut found) = (from, out.len(), Vec::new());
        loop {
            found.clear();
            self.blocks.list(from, limit, detail, &mut found).map_err(|error| read_status(&error))?;
            let next = found.last().map_or(Some(from), |last| last.index.next());
            out.extend(found.iter().filter(|block| !is_doomed(block.index)).map(|block| Listed {
                index: block.index,
                length: block.length,
                crc: block.crc,
                generation: block.generation,
            }));
            let more = next.filter(|next| self.blocks.next_occupied(*next).is_some());
            match more {
                // A page says by its last block where the next one begins.
                Some(next) if out.len() == first && !found.is_empty() => from = next,
                more => return Ok(more.is_some()),
            }
        }
    }

    /// Appends the runs of occupied blocks from `from` on; whether there are more. A long run may come in pieces.
    pub(crate) fn runs(&self, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status> {
        let (mut from, mut walked, first) = (from, 0, out.len());
        let mut page = Vec::new();
        if limit == 0 {
            return Ok(self.blocks.next_occupied(from).is_some());
        }
        loop {
            page.clear();
            self.blocks.list(from, PAGE, false, &mut page).map_err(|error| read_status(&error))?;
            let Some(last) = page.last().map(|block| block.index) else { return Ok(false) };
            for block in &page {
                let full = out.len() - first == limit;
                match out[first..].last_mut() {
                    Some(run) if run.last().next() == Some(block.index) => run.count += 1,
                    _ if full => return Ok(true),
                    _ => out.push(Run { start: block.index, count: 1 }),
                }
            }
            walked += page.len();
            match last.next() {
                Some(next) => from = next,
                None => return Ok(false),
            }
            if walked >= RUNS_WALK_MAX {
                return Ok(self.blocks.next_occupied(from).is_some());
            }
        }
    }

    /// Deletes the occupied blocks of `run` for good reason, until `stop` says to leave off; says how many it was.
    pub(crate) fn delete_run(&self, run: &Run, stop: &dyn Fn() -> bool) -> Result<u64, Refusal> {
        let (mut from, last, mut deleted) = (run.start, run.last(), 0);
        let mut page = Vec::new();
        loop {
            page.clear();
            self.blocks.list(from, PAGE, false, &mut page)?;
            page.retain(|block| block.index <= last);
            let Some(end) = page.last().map(|block| block.index) else { return Ok(deleted) };
            if stop() {
                return Err(Status::Stopping.into());
            }
            for block in &page {
                let edit = Edit::Whole { bytes: &[], crc: 0 };
                self.blocks.put(block.index, &Change { edit, expect: None, relaxed: true })?;
                deleted += 1;
            }
            match end.next() {
                Some(next) if next <= last => from = next,
                _ => return Ok(deleted),
            }
        }
    }
}

/// The number of a grid's companion.
pub(crate) fn companion_of(id: GridId) -> GridId {
    GridId(id.0 | COMPANION)
}
