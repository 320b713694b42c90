//! Making one grid like another, once.

use super::records::{remove_owners, settle_records};
use super::{ReplicateError, check};
use crate::connection::Deadline;
use crate::fault::Fault;
use crate::grid::Grid;
use okapi_base::Index;
use okapi_wire::{GetAsk, Listed, Outcome, PutAsk, Status, flags};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Blocks moved in one go.
const BATCH: usize = 256;
/// Bytes moved in one go, at most; at least one block.
const BATCH_BYTES: usize = 4 << 20;
/// Times it begins again without having got any further.
const VAIN_MAX: u32 = 3;
/// How long to wait at first, and at most, before a destination is asked again that is busy with these very blocks.
const BUSY_FIRST: Duration = Duration::from_millis(1);
const BUSY_CAP: Duration = Duration::from_millis(200);
/// Passes over a source whose records change all the time.
const PASSES_MAX: u32 = 4;

/// How far [`copy()`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks compared so far.
    pub compared: u64,
    /// Blocks the source says it has in all.
    pub total: u64,
    /// Blocks moved so far.
    pub moved: u64,
    /// Bytes moved so far.
    pub moved_bytes: u64,
}

/// What [`copy()`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Blocks compared.
    pub compared: u64,
    /// Blocks moved.
    pub moved: u64,
    /// Bytes moved.
    pub moved_bytes: u64,
    /// Blocks deleted, because the source no longer has them.
    pub deleted: u64,
    /// Records bound.
    pub bound: u64,
    /// Records removed, because the source no longer has them.
    pub removed: u64,
    /// Times it began again after a broken link.
    pub resumed: u64,
}

/// Makes `to` hold what `from` holds: moves the blocks that differ in length or CRC-32C, deletes those that are gone,
/// then binds the records over the same blocks. Begun again after a cut it moves only what is still missing; broken
/// links are made anew as the settings say. What changes at the source meanwhile may or may not arrive. When it
/// returns all is durable.
///
/// # Errors
/// [`ReplicateError`].
pub fn copy(from: &Grid, to: &Grid, progress: &mut dyn FnMut(Progress)) -> Result<Report, ReplicateError> {
    check(from, to)?;
    let mut report = Report::default();
    let mut vain = 0;
    loop {
        let before = report.moved + report.deleted + report.bound + report.removed;
        let error = match settle(from, to, &mut report, progress) {
            Ok(()) => return Ok(report),
            Err(error) => error,
        };
        let got_on = report.moved + report.deleted + report.bound + report.removed > before;
        vain = if got_on { 0 } else { vain + 1 };
        if !error.fault().is_some_and(Fault::is_link) || vain >= VAIN_MAX {
            return Err(error);
        }
        tracing::debug!(%error, "copying begins again");
        report.resumed += 1;
    }
}

/// Passes over both until the records no longer had to be changed: one that goes takes its blocks with it, and those
/// may have been written anew before.
pub(super) fn settle(
    from: &Grid,
    to: &Grid,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ReplicateError> {
    for _ in 0..PASSES_MAX {
        let before = report.bound + report.removed;
        pass(from, to, report, progress)?;
        if report.bound + report.removed == before {
            break;
        }
    }
    Ok(())
}

fn pass(from: &Grid, to: &Grid, report: &mut Report, progress: &mut dyn FnMut(Progress)) -> Result<(), ReplicateError> {
    let total = from.stat()?.blocks;
    report.compared = 0;
    let mut mover = Mover::new(from, to);
    let (mut ours, mut theirs) = (from.list(Index::MIN, true), to.list(Index::MIN, true));
    let (mut source, mut destination) = (ours.next().transpose()?, theirs.next().transpose()?);
    loop {
        let order = match (&source, &destination) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(destination)) => source.index.cmp(&destination.index),
        };
        if order.is_le() {
            let block = source.take().expect("the order says that there is one");
            let same = order.is_eq() && destination.as_ref().is_some_and(|other| is_same(&block, other));
            if !same {
                mover.take(&block, report)?;
            }
            report.compared += 1;
            if report.compared.is_multiple_of(BATCH as u64) {
                progress(said(report, total));
            }
            source = ours.next().transpose()?;
        }
        if order.is_ge() {
            let block = destination.take().expect("the order says that there is one");
            if order.is_gt() {
                mover.delete(block.index, report)?;
            }
            destination = theirs.next().transpose()?;
        }
    }
    mover.flush(report)?;
    mover.flush_deletes(report)?;
    settle_records(from, to, report)?;
    to.sync()?;
    progress(said(report, total));
    Ok(())
}

fn said(report: &Report, total: u64) -> Progress {
    let Report { compared, moved, moved_bytes, .. } = *report;
    Progress { compared, total: total.max(compared), moved, moved_bytes }
}

fn is_same(one: &Listed, other: &Listed) -> bool {
    (one.length, one.crc) == (other.length, other.crc)
}

/// Moves blocks in batches.
pub(super) struct Mover<'a> {
    from: &'a Grid,
    to: &'a Grid,
    asks: Vec<GetAsk>,
    bytes: usize,
    deletes: Vec<(PutAsk, &'static [u8])>,
}

impl<'a> Mover<'a> {
    pub(super) fn new(from: &'a Grid, to: &'a Grid) -> Self {
        Self { from, to, asks: Vec::new(), bytes: 0, deletes: Vec::new() }
    }

    fn take(&mut self, block: &Listed, report: &mut Report) -> Result<(), ReplicateError> {
        let length = block.length as usize;
        if self.asks.len() == BATCH || self.bytes + length > BATCH_BYTES {
            self.flush(report)?;
        }
        self.bytes += length;
        self.asks.push(GetAsk::whole(block.index));
        Ok(())
    }

    /// Moves these blocks, whatever is at the destination.
    pub(super) fn move_all(
        &mut self,
        indexes: impl Iterator<Item = Index>,
        report: &mut Report,
    ) -> Result<(), ReplicateError> {
        let length = self.from.block_size().bytes();
        for index in indexes {
            self.take(&Listed { index, length, crc: 0, generation: okapi_base::Generation::ABSENT }, report)?;
        }
        self.flush(report)
    }

    fn delete(&mut self, index: Index, report: &mut Report) -> Result<(), ReplicateError> {
        if self.deletes.len() == BATCH {
            self.flush_deletes(report)?;
        }
        self.deletes.push((PutAsk::delete(index), &[]));
        Ok(())
    }

    fn flush(&mut self, report: &mut Report) -> Result<(), ReplicateError> {
        if self.asks.is_empty() {
            return Ok(());
        }
        let mut blocks: Vec<(PutAsk, std::ops::Range<usize>)> = Vec::with_capacity(self.asks.len());
        let mut bytes = Vec::with_capacity(self.bytes);
        let mut failed = None;
        self.from.get_many(&self.asks, |number, outcome, payload| {
            let index = self.asks[number].index.unwrap_or_default();
            match outcome.status {
                Status::Ok => {
                    let start = bytes.len();
                    bytes.extend_from_slice(payload);
                    blocks.push((PutAsk::whole(index, payload, outcome.crc), start..bytes.len()));
                }
                // It went after it was listed.
                Status::Absent => {}
                status => {
                    failed.get_or_insert((index, status));
                }
            }
        })?;
        if let Some((index, status)) = failed {
            return Err(self.from.block_error(index, "copying it", Fault::refused(status)).into());
        }
        let puts: Vec<(PutAsk, &[u8])> = blocks.iter().map(|(ask, range)| (*ask, &bytes[range.clone()])).collect();
        report.removed += put_all(self.to, &puts)?;
        report.moved += puts.len() as u64;
        report.moved_bytes += bytes.len() as u64;
        self.asks.clear();
        self.bytes = 0;
        Ok(())
    }

    fn flush_deletes(&mut self, report: &mut Report) -> Result<(), ReplicateError> {
        let outcomes = put_some(self.to, &self.deletes, flags::RELAXED)?;
        for ((ask, _), outcome) in self.deletes.iter().zip(outcomes) {
            match outcome.status {
                Status::Ok => report.deleted += 1,
                // It goes with its record, if that is gone at the source.
                Status::Absent | Status::InRecord | Status::Busy => {}
                status => return Err(self.to.block_error(ask.index, "deleting it", Fault::refused(status)).into()),
            }
        }
        self.deletes.clear();
        Ok(())
    }
}

/// Deletes the blocks from `first` to `last`, both included, that are not among those that `came`. Blocks of records
/// stay: they go with their record.
pub(super) fn delete_others(to: &Grid, first: Index, last: Index, came: &BTreeSet<u64>) -> Result<(), ReplicateError> {
    let mut deletes: Vec<(PutAsk, &[u8])> = Vec::new();
    for block in to.list(first, false) {
        let index = block?.index;
        if index > last {
            break;
        }
        if !came.contains(&index.get()) {
            deletes.push((PutAsk::delete(index), &[]));
        }
        if deletes.len() == BATCH {
            put_all(to, &deletes)?;
            deletes.clear();
        }
    }
    put_all(to, &deletes).map(drop)
}

fn put_some(to: &Grid, puts: &[(PutAsk, &[u8])], put_flags: u16) -> Result<Vec<Outcome>, ReplicateError> {
    let mut outcomes = vec![Outcome::bare(Status::Failed); puts.len()];
    if !puts.is_empty() {
        to.put_many(puts, put_flags, |number, outcome| outcomes[number] = outcome)?;
    }
    Ok(outcomes)
}

/// Puts blocks at the destination, those of its records too: a sync makes them durable. Deletes of absent blocks are
/// done already. A record of the destination that a block does not fit into is not what the source has there: it is
/// removed, and how many were is returned; their blocks and names are then missing until the next pass.
pub(super) fn put_all(to: &Grid, puts: &[(PutAsk, &[u8])]) -> Result<u64, ReplicateError> {
    let mut removed = 0;
    let mut patience = Patience::new(to);
    let mut puts: Vec<(PutAsk, &[u8])> = puts.to_vec();
    loop {
        let refused = put_once(to, &puts)?;
        let Some((&index, &status)) = refused.first_key_value() else { return Ok(removed) };
        let in_the_way: BTreeSet<Index> =
            refused.iter().filter(|(_, status)| **status == Status::InRecord).map(|(index, _)| *index).collect();
        let cleared = if in_the_way.is_empty() { 0 } else { remove_owners(to, &in_the_way)? };
        removed += cleared;
        if cleared == 0 && !patience.wait() {
            return Err(to.block_error(index, "copying it", Fault::refused(status)).into());
        }
        // Of a block that was put several times only the last counts.
        let mut last: BTreeMap<Index, (PutAsk, &[u8])> = BTreeMap::new();
        last.extend(puts.iter().filter(|put| refused.contains_key(&put.0.index)).map(|put| (put.0.index, *put)));
        puts = last.into_values().collect();
    }
}

/// Puts blocks, and says which could not be put now and why.
fn put_once(to: &Grid, puts: &[(PutAsk, &[u8])]) -> Result<BTreeMap<Index, Status>, ReplicateError> {
    let mut again: Vec<(PutAsk, &[u8])> = Vec::new();
    let mut refused = BTreeMap::new();
    for (put, outcome) in puts.iter().zip(put_some(to, puts, flags::RELAXED)?) {
        match outcome.status {
            Status::Ok => {}
            // A block of a record goes when its record does: deleting it would damage that.
            Status::Absent | Status::InRecord | Status::Busy if put.1.is_empty() => {}
            Status::InRecord => again.push(*put),
            // A record that had it has just been removed, and the block is on its way out.
            Status::Busy => drop(refused.insert(put.0.index, Status::Busy)),
            status => return Err(to.block_error(put.0.index, "copying it", Fault::refused(status)).into()),
        }
    }
    for (put, outcome) in again.iter().zip(put_some(to, &again, flags::RELAXED | flags::RECORD)?) {
        match outcome.status {
            Status::Ok => {}
            status @ (Status::InRecord | Status::NoReservation | Status::Busy) => {
                refused.insert(put.0.index, status);
            }
            status => return Err(to.block_error(put.0.index, "copying it", Fault::refused(status)).into()),
        }
    }
    Ok(refused)
}

/// Waits for what the destination is about to finish: longer each time, and not for ever.
pub(super) struct Patience {
    deadline: Deadline,
    delay: Duration,
}

impl Patience {
    pub(super) fn new(to: &Grid) -> Self {
        Self { deadline: to.deadline(), delay: BUSY_FIRST }
    }

    /// False once it has been long enough.
    pub(super) fn wait(&mut self) -> bool {
        if self.deadline.is_over() {
            return false;
        }
        std::thread::sleep(self.delay);
        self.delay = (self.delay * 2).min(BUSY_CAP);
        true
    }
}
