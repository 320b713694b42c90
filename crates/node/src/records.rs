//! The named records of a grid: their names in order, and whose each block is.
//!
//! Every change is written to the companion grid first and then made here, under the grid's lock. The engine has all
//! writes in one order, so what is written earlier is there after a crash if anything later is:
//!
//! - bind: a mark of the blocks the replaced record leaves behind; the record, in the slot of the one it replaces;
//!   the lease's mark, without the blocks bound. The record's block makes the whole of it true.
//! - remove: a mark of the blocks; the record's block is deleted.
//! - rename: the record's block is written with the other name.
//!
//! Blocks left behind are deleted once the change is durable, and after them their mark: see [`Doom`].

use crate::changes::Renamed;
use crate::grid::Grid;
use crate::names::{Entry, decode, encode_mark, encode_record};
use crate::owners::{Owner, Owners, overlap, push_run, without};
use crate::refusal::Refusal;
use okapi_base::limits::{DESCRIPTORS_MAX, EXTENTS_MAX, RECORD_NAME_MAX};
use okapi_base::{BlockSize, Generation, Index, Ticket, crc32c};
use okapi_grid::Hold;
use okapi_store::{Change, Edit, Got, Patience, Placed, WriteError};
use okapi_wire::message::{RecordBind, RecordInfo, RecordList, RecordPage, RecordRemove, RecordRename};
use okapi_wire::{PutAsk, PutKind, Run, Status};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The records of one grid, and the blocks set aside for more.
#[derive(Debug, Default)]
pub(crate) struct Records {
    names: BTreeMap<Arc<str>, Arc<Record>>,
    slots: HashMap<u64, Arc<str>>,
    pub(crate) owners: Owners,
    pub(crate) leases: HashMap<u64, Lease>,
    free_slots: Vec<u64>,
    next_slot: u64,
}

/// A record and the slot of the companion grid it is in.
#[derive(Debug)]
pub(crate) struct Record {
    slot: u64,
    pub(crate) info: RecordInfo,
}

/// Blocks set aside for a connection.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) visitor: u64,
    pub(crate) extents: Vec<Run>,
    /// The slot of its mark.
    pub(crate) mark: u64,
}

/// Blocks that belong to nobody any more and are to be deleted, and after them their mark.
#[derive(Debug)]
pub(crate) struct Doom {
    pub(crate) extents: Vec<Run>,
    pub(crate) mark: u64,
    /// Not before this is durable: until then they may still be somebody's after a crash.
    pub(crate) after: Ticket,
}

/// A change of a record: its generation now, what the reply waits for, what is left behind.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) generation: Generation,
    pub(crate) hold: Option<Hold>,
    pub(crate) doom: Option<Doom>,
}

/// What was found when a grid's records were read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Loaded {
    pub(crate) records: u64,
    /// Blocks of records never finished, deleted now.
    pub(crate) recovered: u64,
    /// Blocks of the companion that cannot be read or understood.
    pub(crate) damaged: u64,
}

impl Records {
    /// Named records.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether a lease is this visitor's.
    pub(crate) fn is_leased_to(&self, lease: u64, visitor: u64) -> bool {
        self.leases.get(&lease).is_some_and(|lease| lease.visitor == visitor)
    }

    /// A record by name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Record>> {
        self.names.get(name)
    }

    /// The name of the record that a block belongs to.
    pub(crate) fn name_at(&self, index: Index) -> Option<&Arc<str>> {
        match self.owners.of(index)? {
            Owner::Record(slot) => self.slots.get(&slot),
            Owner::Lease(_) | Owner::Doomed => None,
        }
    }

    /// The first record whose name is after `name`, or the very first.
    pub(crate) fn after(&self, name: Option<&str>) -> Option<&Arc<Record>> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range::<str, _>((from, Bound::Unbounded)).next().map(|(_, record)| record)
    }

    /// Makes sure that a put into a record's block leaves the block as long as the record needs it; whether the
    /// record's hash is known, and so must be forgotten.
    pub(crate) fn keeps_shape(&self, slot: u64, ask: &PutAsk, block_size: BlockSize) -> Result<bool, Status> {
        let info = &self.in_slot(slot).info;
        let last = info.extents.last().expect("a record with a block has an extent").last();
        let whole = u64::from(block_size.bytes());
        let needed = if ask.index == last { info.length - (info.length - 1) / whole * whole } else { whole };
        let end = u64::from(ask.offset) + u64::from(ask.length);
        match ask.kind {
            PutKind::Slice | PutKind::Zeroes if end <= needed => {}
            PutKind::Slice | PutKind::Zeroes => return Err(Status::PastBlock),
            PutKind::Whole | PutKind::Truncate if end == needed => {}
            PutKind::Whole | PutKind::Truncate => return Err(Status::InRecord),
        }
        Ok(info.blake3 != [0; 32])
    }

    fn in_slot(&self, slot: u64) -> &Arc<Record> {
        let name = self.slots.get(&slot).expect("an owning slot has a name");
        self.names.get(name).expect("a slot's name is there")
    }

    /// A slot nothing is in.
    pub(crate) fn take_slot(&mut self) -> u64 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        })
    }

    /// Gives a slot back, once its block is deleted.
    pub(crate) fn give_slot(&mut self, slot: u64) {
        self.free_slots.push(slot);
    }

    fn insert(&mut self, record: Record) {
        let name: Arc<str> = record.info.name.as_str().into();
        for run in &record.info.extents {
            self.owners.assign(run, Owner::Record(record.slot));
        }
        self.slots.insert(record.slot, Arc::clone(&name));
        self.names.insert(name, Arc::new(record));
    }

    fn expect(&self, name: &str, expect: Option<Generation>) -> Result<(), Refusal> {
        let found = self.find(name).map_or(Generation::ABSENT, |record| record.info.generation);
        match expect {
            Some(wanted) if wanted != found => Err(Refusal::stale(&format!("record `{name}`"), found)),
            _ => Ok(()),
        }
    }
}

impl Grid {
    /// Reads all records from the companion, and deletes the blocks that marks tell of and no record has.
    pub(crate) fn load_records(&self) -> Result<Loaded, Refusal> {
        let Some(companion) = &self.companion else { return Ok(Loaded::default()) };
        let (mut loaded, mut marks) = (Loaded::default(), Vec::new());
        let mut records = self.records.write();
        let (mut from, mut page) = (Some(Index::MIN), Vec::new());
        while let Some(start) = from {
            page.clear();
            companion.list(start, crate::grid::PAGE, false, &mut page)?;
            from = page.last().and_then(|last| last.index.next());
            for listed in &page {
                let slot = listed.index.get();
                let unused = records.next_slot..slot;
                records.free_slots.extend(unused);
                records.next_slot = slot + 1;
                match self.load_entry(listed.index) {
                    Ok(Some((Entry::Mark(extents), _))) => marks.push((slot, extents)),
                    Ok(Some((Entry::Record(info), generation))) => {
                        if records.names.contains_key(info.name.as_str()) {
                            loaded.damaged += 1;
                            tracing::error!("two records are named `{}`; the second is left out", info.name);
                            continue;
                        }
                        records.insert(Record { slot, info: RecordInfo { generation, ..info } });
                        loaded.records += 1;
                    }
                    Ok(None) => {}
                    Err(refusal) => {
                        loaded.damaged += 1;
                        tracing::error!(grid = %self.definition.name, "a record's name in slot {slot}: {refusal}");
                    }
                }
            }
        }
        // With a name unread, nobody knows which blocks are its own: then nothing is deleted.
        if loaded.damaged == 0 {
            for (slot, extents) in marks {
                for run in &extents {
                    let unowned: Vec<Run> = records
                        .owners
                        .parts(run)
                        .iter()
                        .filter(|(_, owner)| owner.is_none())
                        .map(|part| part.0)
                        .collect();
                    for run in &unowned {
                        loaded.recovered += self.delete_run(run, &|| false)?;
                    }
                }
                self.write_name(slot, &[], true)?;
                records.give_slot(slot);
            }
        }
        self.guard(&records);
        Ok(loaded)
    }

    fn load_entry(&self, index: Index) -> Result<Option<(Entry, Generation)>, Refusal> {
        let companion = self.companion.as_ref().expect("only a grid with a companion loads names");
        match companion.get(index, Patience::Waiting).map_err(Refusal::from)? {
            Got::Block(block) => match decode(block.payload.as_ref()) {
                Ok(entry) => Ok(Some((entry, block.generation))),
                Err(what) => Err(Refusal::new(Status::Corrupted, what)),
            },
            _ => Ok(None),
        }
    }

    /// The record of a name.
    pub(crate) fn find_record(&self, name: &str) -> Result<Arc<Record>, Refusal> {
        let records = self.records.read();
        records.find(name).cloned().ok_or_else(|| unknown(name))
    }

    /// A page of records.
    pub(crate) fn list_records(&self, ask: &RecordList) -> RecordPage {
        let limit = (ask.limit as usize).min(usize::from(DESCRIPTORS_MAX));
        let records = self.records.read();
        let from = if ask.after.as_str() >= ask.prefix.as_str() && !ask.after.is_empty() {
            Bound::Excluded(ask.after.as_str())
        } else {
            Bound::Included(ask.prefix.as_str())
        };
        let mut found = records
            .names
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(ask.prefix.as_str()));
        let page = found.by_ref().take(limit).map(|(_, record)| RecordInfo {
            extents: record.info.extents.iter().take(1).copied().collect(),
            ..head_of(&record.info)
        });
        let page = page.collect();
        RecordPage { more: found.next().is_some(), records: page }
    }

    /// Gives a name to blocks.
    pub(crate) fn bind(&self, visitor: u64, ask: RecordBind, records_max: usize) -> Result<Changed, Refusal> {
        let mut info = ask.record;
        info.extents = checked(&info, self.definition.shape.block_size)?;
        if info.modified == 0 {
            info.modified = now();
        }
        let mut guard = self.records.write();
        let records = &mut *guard;
        records.expect(&info.name, ask.expect)?;
        let old = records.find(&info.name).cloned();
        if old.is_none() && records.len() >= records_max {
            let text = format!("grid `{}` has {records_max} records, and that is the limit", self.definition.name);
            return Err(Refusal::new(Status::Full, text));
        }
        self.check_ownership(records, visitor, ask.lease, old.as_ref().map(|old| old.slot), &info.extents)?;
        self.check_presence(&info.extents)?;
        self.guarded.store(true, Ordering::SeqCst);
        let left = old.as_ref().map_or(Vec::new(), |old| without(&old.info.extents, &info.extents));
        let mark = self.write_mark(records, &left)?;
        let slot = old.as_ref().map_or_else(|| records.take_slot(), |old| old.slot);
        let (generation, ticket) = match self.write_name(slot, &encode_record(&info), false) {
            Ok(written) => written,
            Err(error) => {
                self.forget_mark(records, mark);
                if old.is_none() {
                    records.give_slot(slot);
                }
                return Err(error.into());
            }
        };
        info.generation = generation;
        if let Some(lease) = records.leases.get_mut(&ask.lease) {
            lease.extents = without(&lease.extents, &info.extents);
            let (lease_mark, rest) = (lease.mark, lease.extents.clone());
            let bytes = if rest.is_empty() { Vec::new() } else { encode_mark(&rest) };
            // If this fails the mark goes on telling of blocks that are a record's now, which are never deleted.
            let written = self.write_name(lease_mark, &bytes, true).is_ok();
            if rest.is_empty() {
                records.leases.remove(&ask.lease);
                if written {
                    records.give_slot(lease_mark);
                }
            }
        }
        left.iter().for_each(|run| records.owners.assign(run, Owner::Doomed));
        let name = info.name.clone();
        records.insert(Record { slot, info });
        self.tell_of_binding(&name, old.as_deref(), &left);
        let doom = mark.map(|mark| Doom { extents: left, mark, after: ticket });
        Ok(Changed { generation, hold: self.hold(ticket), doom })
    }

    /// Removes a record; its blocks are doomed.
    pub(crate) fn remove(&self, ask: &RecordRemove) -> Result<Changed, Refusal> {
        let mut guard = self.records.write();
        let records = &mut *guard;
        let old = records.find(&ask.name).cloned().ok_or_else(|| unknown(&ask.name))?;
        records.expect(&ask.name, ask.expect)?;
        let mark = self.write_mark(records, &old.info.extents)?;
        let ticket = match self.write_name(old.slot, &[], false) {
            Ok((_, ticket)) => ticket,
            Err(error) => {
                self.forget_mark(records, mark);
                return Err(error.into());
            }
        };
        records.names.remove(ask.name.as_str());
        records.slots.remove(&old.slot);
        records.give_slot(old.slot);
        old.info.extents.iter().for_each(|run| records.owners.assign(run, Owner::Doomed));
        self.changes.name(&ask.name, Renamed::Freed);
        let doom = mark.map(|mark| Doom { extents: old.info.extents.clone(), mark, after: ticket });
        Ok(Changed { generation: Generation::ABSENT, hold: self.hold(ticket), doom })
    }

    /// Gives a record another name.
    pub(crate) fn rename(&self, ask: &RecordRename) -> Result<Changed, Refusal> {
        check_name(&ask.to)?;
        let mut records = self.records.write();
        let old = records.find(&ask.from).cloned().ok_or_else(|| unknown(&ask.from))?;
        if records.find(&ask.to).is_some() {
            return Err(Refusal::new(Status::Exists, format!("there is a record named `{}` already", ask.to)));
        }
        let mut info = RecordInfo { name: ask.to.clone(), ..old.info.clone() };
        let (generation, ticket) = self.write_name(old.slot, &encode_record(&info), false)?;
        info.generation = generation;
        records.names.remove(ask.from.as_str());
        // For a follower a rename is a removal, and the same blocks and a binding after it.
        self.changes.name(&ask.from, Renamed::Freed);
        info.extents.iter().for_each(|run| self.changes.run(run));
        self.changes.name(&ask.to, Renamed::Bound);
        records.insert(Record { slot: old.slot, info });
        Ok(Changed { generation, hold: self.hold(ticket), doom: None })
    }

    /// Changes a block of the record in `slot`, after the record's hash is forgotten.
    pub(crate) fn put_into_record(
        &self,
        slot: u64,
        ask: &PutAsk,
        put: impl FnOnce() -> Result<Placed, WriteError>,
    ) -> Result<Result<Placed, WriteError>, Refusal> {
        let mut records = self.records.write();
        if records.owners.of(ask.index) != Some(Owner::Record(slot)) {
            return Err(Status::Busy.into());
        }
        if records.keeps_shape(slot, ask, self.definition.shape.block_size)? {
            let mut info = RecordInfo { blake3: [0; 32], ..records.in_slot(slot).info.clone() };
            let (generation, _) = self.write_name(slot, &encode_record(&info), true)?;
            info.generation = generation;
            self.changes.name(&info.name, Renamed::Edited);
            records.insert(Record { slot, info });
        }
        Ok(put())
    }

    /// Tells followers of a record just bound in place of `old`, of whose blocks it does not have `left`.
    fn tell_of_binding(&self, name: &str, old: Option<&Record>, left: &[Run]) {
        let Some(old) = old else { return self.changes.name(name, Renamed::Bound) };
        // A follower may have to let go of the old record first, and loses with it the blocks the new one keeps.
        without(&old.info.extents, left).iter().for_each(|run| self.changes.run(run));
        self.changes.name(name, Renamed::Freed);
    }

    /// Deletes doomed blocks and then their mark. `stop` may leave it to the next start.
    pub(crate) fn carry_out(&self, doom: &Doom, stop: &dyn Fn() -> bool) -> Result<(), Refusal> {
        if self.is_dropped() {
            return Ok(());
        }
        if self.engine.durable().map_err(WriteError::Broken)? < doom.after {
            self.engine.flush()?;
        }
        for run in &doom.extents {
            // Before, so that a follower lets go of the name first; after, so that it hears of what was deleted.
            self.changes.run(run);
            self.delete_run(run, stop)?;
            self.changes.run(run);
        }
        let mut records = self.records.write();
        self.write_name(doom.mark, &[], true)?;
        records.give_slot(doom.mark);
        doom.extents.iter().for_each(|run| records.owners.release(run));
        self.guard(&records);
        Ok(())
    }

    /// Makes puts look at the owners of blocks only if there are any.
    pub(crate) fn guard(&self, records: &Records) {
        self.guarded.store(!records.owners.is_empty(), Ordering::SeqCst);
    }

    /// Writes a block of the companion. Where there is none, everything is as durable as it will ever be.
    pub(crate) fn write_name(
        &self,
        slot: u64,
        bytes: &[u8],
        relaxed: bool,
    ) -> Result<(Generation, Ticket), WriteError> {
        let Some(companion) = &self.companion else {
            return Ok((Generation(self.bindings.fetch_add(1, Ordering::Relaxed) + 1), Ticket::NOW));
        };
        let index = Index::new(slot).expect("there are fewer names than indexes");
        let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
        let placed = companion.put(index, &Change { edit, expect: None, relaxed })?;
        Ok((placed.generation, placed.ticket))
    }

    /// Marks blocks, if there are any, before they become nobody's.
    pub(crate) fn write_mark(&self, records: &mut Records, extents: &[Run]) -> Result<Option<u64>, WriteError> {
        if extents.is_empty() {
            return Ok(None);
        }
        let slot = records.take_slot();
        match self.write_name(slot, &encode_mark(extents), true) {
            Ok(_) => Ok(Some(slot)),
            Err(error) => {
                records.give_slot(slot);
                Err(error)
            }
        }
    }

    /// Takes a mark back. If that fails its slot stays taken: the mark may be there after all.
    fn forget_mark(&self, records: &mut Records, mark: Option<u64>) {
        if let Some(slot) = mark
            && self.write_name(slot, &[], true).is_ok()
        {
            records.give_slot(slot);
        }
    }

    /// Makes sure that the blocks of a new record are the lease's (or, without a lease, nobody's), or those of the
    /// record it replaces.
    fn check_ownership(
        &self,
        records: &Records,
        visitor: u64,
        lease: u64,
        replaced: Option<u64>,
        extents: &[Run],
    ) -> Result<(), Refusal> {
        if lease != 0 && !records.is_leased_to(lease, visitor) {
            return Err(Status::NoReservation.into());
        }
        for (part, owner) in extents.iter().flat_map(|run| records.owners.parts(run)) {
            let refused = match owner {
                Some(Owner::Record(slot)) if replaced == Some(slot) => continue,
                Some(Owner::Lease(its)) if its == lease => continue,
                None if lease == 0 => continue,
                Some(Owner::Record(_)) => Status::InRecord,
                Some(Owner::Doomed) => Status::Busy,
                None | Some(Owner::Lease(_)) => Status::NoReservation,
            };
            return Err(Refusal::new(refused, format!("block {}: {}", part.start, refused.text())));
        }
        Ok(())
    }

    /// Makes sure that every block of a new record is there.
    fn check_presence(&self, extents: &[Run]) -> Result<(), Refusal> {
        let mut page = Vec::new();
        for run in extents {
            let (mut next, end) = crate::owners::bounds(run);
            while next < end {
                page.clear();
                let from = Index::new(next).expect("a run lies within the grid");
                self.blocks.list(from, crate::grid::PAGE, false, &mut page)?;
                let there = page.iter().zip(next..end).take_while(|(block, index)| block.index.get() == *index).count();
                if there == 0 {
                    return Err(Refusal::new(Status::Absent, format!("block {next} of the record is not there")));
                }
                next += there as u64;
            }
        }
        Ok(())
    }
}

/// Makes sure that a record may have this name.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > RECORD_NAME_MAX || name.chars().any(char::is_control) {
        let text = "a record's name has 1 to 1,024 bytes and no control characters";
        return Err(Refusal::new(Status::BadName, text));
    }
    Ok(())
}

/// Makes sure that a record makes sense by itself; its extents, those that meet joined.
fn checked(info: &RecordInfo, block_size: BlockSize) -> Result<Vec<Run>, Refusal> {
    check_name(&info.name)?;
    if info.content_type.chars().any(char::is_control) {
        return Err(Refusal::new(Status::BadName, "a content type has no control characters"));
    }
    let mut extents = Vec::new();
    info.extents.iter().for_each(|run| push_run(&mut extents, *run));
    let blocks = info.extents.iter().try_fold(0u64, |sum, run| sum.checked_add(run.count));
    let needed = block_size.blocks_for(info.length);
    if blocks != Some(needed) {
        let text =
            format!("a record of {} bytes has {needed} blocks, and its extents have another number", info.length);
        return Err(Refusal::new(Status::Malformed, text));
    }
    if overlap(&extents) {
        return Err(Refusal::new(Status::Malformed, "two extents of the record overlap"));
    }
    assert!(extents.len() <= EXTENTS_MAX, "the message had no more");
    Ok(extents)
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(Status::UnknownRecord, format!("there is no record named `{name}`"))
}

/// A record without its extents.
fn head_of(info: &RecordInfo) -> RecordInfo {
    let RecordInfo { name, length, modified, generation, blake3, content_type, .. } = info;
    RecordInfo {
        name: name.clone(),
        length: *length,
        modified: *modified,
        generation: *generation,
        blake3: *blake3,
        content_type: content_type.clone(),
        extents: Vec::new(),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
