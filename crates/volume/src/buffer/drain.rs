//! From the buffer to the node.

use super::core::Core;
use super::units::{LEAF, Stage};
use crate::fault::DiskError;
use crate::limits::{DRAIN_BYTES, FLUSHED_AT_ONCE, ZEROED_MAX};
use std::collections::BTreeSet;
use std::ops::Range;

/// Attempts to make something durable at a node that forgets it each time.
const ATTEMPTS: usize = 4;

/// What the node has, and would forget if it was killed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Leaves with blocks that it has relaxed.
    relaxed: BTreeSet<u64>,
    /// What was zeroed since the last flush, in bytes, in order.
    zeroed: Vec<Range<u64>>,
    staging: Vec<u8>,
}

impl Owed {
    pub(super) fn zeroed(&mut self, range: Range<u64>) {
        match self.zeroed.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.zeroed.push(range),
        }
    }

    /// Whether so much was zeroed that a flush is due.
    pub(super) fn is_much(&self) -> bool {
        self.zeroed.len() >= ZEROED_MAX
    }

    fn is_nothing(&self) -> bool {
        self.relaxed.is_empty() && self.zeroed.is_empty()
    }
}

impl Core {
    /// Puts all that is dirty.
    pub(super) fn drain(&self) -> Result<(), DiskError> {
        if self.units.dirty().is_empty() {
            return Ok(());
        }
        self.put_dirty(&mut self.owed.lock(), false)
    }

    /// The same, and makes it durable, if there is anything that is not.
    pub(super) fn flush_pinned(&self) -> Result<(), DiskError> {
        let mut owed = self.owed.lock();
        if self.units.pinned() == 0 && owed.is_nothing() {
            return Ok(());
        }
        self.settle(&mut owed)
    }

    /// After a write: makes room, if there is too much in memory.
    pub(super) fn relieve(&self) -> Result<(), DiskError> {
        if self.units.pool().is_over() {
            self.drain()?;
            if self.units.pool().is_over() {
                self.flush_pinned()?;
            }
        }
        self.units.pool().evict();
        Ok(())
    }

    /// Makes all that was written before durable.
    pub(super) fn settle(&self, owed: &mut Owed) -> Result<(), DiskError> {
        if owed.is_nothing() && self.units.dirty().len() <= FLUSHED_AT_ONCE {
            return self.put_dirty(owed, true);
        }
        let mut attempts = 0;
        loop {
            self.put_dirty(owed, false)?;
            match self.disk.flush() {
                Ok(()) => break,
                Err(DiskError::Lost { .. }) if attempts < ATTEMPTS => {
                    attempts += 1;
                    tracing::info!(
                        disk = self.disk.name(),
                        "the node was away; what it may have forgotten is put again"
                    );
                    self.owe_again(owed)?;
                }
                Err(error) => return Err(error),
            }
        }
        owed.zeroed.clear();
        for leaf in std::mem::take(&mut owed.relaxed) {
            self.restage(leaf, Stage::Relaxed, Stage::Clean);
        }
        self.units.pool().evict();
        Ok(())
    }

    fn put_dirty(&self, owed: &mut Owed, durable: bool) -> Result<(), DiskError> {
        loop {
            let mut leaves = Vec::new();
            let mut blocks: Vec<(u64, Range<usize>)> = Vec::new();
            let mut staging = std::mem::take(&mut owed.staging);
            staging.clear();
            while staging.len() < DRAIN_BYTES {
                let Some(number) = self.units.dirty().pop_first() else { break };
                self.take_off(number, &mut blocks, &mut staging);
                leaves.push(number);
            }
            if leaves.is_empty() {
                owed.staging = staging;
                return Ok(());
            }
            let all: Vec<(u64, &[u8])> = blocks.iter().map(|(block, at)| (*block, &staging[at.clone()])).collect();
            let put = self.disk.put_blocks(&all, durable);
            drop(all);
            owed.staging = staging;
            for leaf in leaves {
                let is_back = put.is_err() && self.restage(leaf, Stage::Flying, Stage::Dirty);
                if is_back {
                    self.units.dirty().insert(leaf);
                } else if put.is_ok() && durable {
                    self.restage(leaf, Stage::Flying, Stage::Clean);
                } else if put.is_ok() {
                    self.restage(leaf, Stage::Flying, Stage::Relaxed);
                    owed.relaxed.insert(leaf);
                }
            }
            put?;
        }
    }

    /// Copies the dirty blocks of a leaf, which are on their way from now on.
    fn take_off(&self, number: u64, blocks: &mut Vec<(u64, Range<usize>)>, staging: &mut Vec<u8>) {
        let mut leaf = self.units.leaf_or_new(number).write();
        for (block, unit) in (number * LEAF..).zip(&mut leaf.units) {
            if let Some(unit) = unit.as_mut().filter(|unit| unit.stage == Stage::Dirty) {
                let from = staging.len();
                staging.extend_from_slice(&unit.bytes);
                blocks.push((block, from..staging.len()));
                self.units.move_to(unit, Stage::Flying);
            }
        }
    }

    /// Moves the blocks of a leaf from one stage to another; whether there were any.
    fn restage(&self, number: u64, from: Stage, to: Stage) -> bool {
        let mut leaf = self.units.leaf_or_new(number).write();
        let mut any = false;
        for unit in leaf.units.iter_mut().flatten().filter(|unit| unit.stage == from) {
            self.units.move_to(unit, to);
            any = true;
        }
        any
    }

    /// The node may have forgotten what it had relaxed. What was zeroed comes first: what was written over it is in memory.
    fn owe_again(&self, owed: &mut Owed) -> Result<(), DiskError> {
        for leaf in std::mem::take(&mut owed.relaxed) {
            if self.restage(leaf, Stage::Relaxed, Stage::Dirty) {
                self.units.dirty().insert(leaf);
            }
        }
        for range in &owed.zeroed {
            self.disk.write_zeroes(range.start, range.end - range.start, false)?;
        }
        Ok(())
    }
}
