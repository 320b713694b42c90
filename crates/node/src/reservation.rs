//! Blocks set aside for a record that is being written.
//!
//! The lease's mark in the companion is written before any of its blocks can be, so that after a crash the blocks of
//! records never finished are known from a user's own.

use crate::grid::Grid;
use crate::names::encode_mark;
use crate::owners::{Owner, bounds, push_run, run};
use crate::records::{Doom, Lease, Records};
use crate::refusal::Refusal;
use okapi_base::limits::{EXTENTS_MAX, INDEX_MAX};
use okapi_base::{Index, Ticket};
use okapi_wire::message::RecordReserve;
use okapi_wire::{Run, Status};
use std::sync::atomic::{AtomicU64, Ordering};

/// Leases one connection may have in one grid.
const LEASES_MAX: usize = 1024;
/// Occupied blocks that a search for free ones steps over.
const SEARCH_MAX: usize = 1 << 20;

impl Grid {
    /// Sets blocks aside for a visitor; the lease's number and the blocks just added.
    pub(crate) fn reserve(
        &self,
        visitor: u64,
        ask: &RecordReserve,
        numbers: &AtomicU64,
    ) -> Result<(u64, Vec<Run>), Refusal> {
        if ask.blocks == 0 || ask.blocks > INDEX_MAX {
            return Err(Refusal::new(
                Status::Malformed,
                "a reservation is of at least one block, and of less than 2^48",
            ));
        }
        let mut guard = self.records.write();
        let records = &mut *guard;
        if ask.lease != 0 && !records.is_leased_to(ask.lease, visitor) {
            return Err(Status::NoReservation.into());
        }
        if ask.lease == 0 && records.leases.values().filter(|lease| lease.visitor == visitor).count() >= LEASES_MAX {
            return Err(Refusal::new(Status::Busy, "the connection has 1,024 leases, and that is the limit"));
        }
        let found = match ask.from {
            Some(from) => vec![self.exactly(records, from, ask.blocks)?],
            None => self.anywhere(records, ask.blocks)?,
        };
        let mut extents = records.leases.get(&ask.lease).map_or(Vec::new(), |lease| lease.extents.clone());
        found.iter().for_each(|run| push_run(&mut extents, *run));
        if extents.len() > EXTENTS_MAX {
            return Err(Refusal::new(Status::TooMany, "the lease would have more than 4,096 extents"));
        }
        self.guarded.store(true, Ordering::SeqCst);
        let number = if ask.lease == 0 {
            let mark = self.write_mark(records, &extents).inspect_err(|_| self.guard(records))?;
            let mark = mark.expect("a reservation has blocks");
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            records.leases.insert(number, Lease { visitor, extents, mark });
            number
        } else {
            let lease = records.leases.get_mut(&ask.lease).expect("the lease was looked up just now");
            self.write_name(lease.mark, &encode_mark(&extents), true)?;
            lease.extents = extents;
            ask.lease
        };
        found.iter().for_each(|run| records.owners.assign(run, Owner::Lease(number)));
        Ok((number, found))
    }

    /// Gives a lease's blocks back: they are doomed.
    pub(crate) fn release(&self, visitor: u64, lease: u64, numbers: &AtomicU64) -> Result<Option<Doom>, Refusal> {
        let mut records = self.records.write();
        if !records.is_leased_to(lease, visitor) {
            // A lease all of whose blocks are bound is no more; giving it back is no mistake.
            let gone = lease != 0 && lease < numbers.load(Ordering::Relaxed) && !records.leases.contains_key(&lease);
            return if gone { Ok(None) } else { Err(Status::NoReservation.into()) };
        }
        Ok(Some(end(&mut records, lease)))
    }

    /// Ends all leases of a visitor that is no more.
    pub(crate) fn release_all(&self, visitor: u64) -> Vec<Doom> {
        let mut records = self.records.write();
        let theirs: Vec<u64> =
            records.leases.iter().filter(|(_, lease)| lease.visitor == visitor).map(|(number, _)| *number).collect();
        theirs.into_iter().map(|lease| end(&mut records, lease)).collect()
    }

    fn exactly(&self, records: &Records, from: Index, blocks: u64) -> Result<Run, Refusal> {
        let wanted = Run { start: from, count: blocks };
        if from.plus(blocks - 1).is_none() {
            return Err(Status::BadIndex.into());
        }
        if let Some((part, _)) = records.owners.parts(&wanted).iter().find(|(_, owner)| owner.is_some()) {
            return Err(Refusal::new(
                Status::Exists,
                format!("block {} belongs to a record or is reserved", part.start),
            ));
        }
        match self.blocks.next_occupied(from) {
            Some(index) if index <= wanted.last() => {
                Err(Refusal::new(Status::Exists, format!("block {index} is there already")))
            }
            _ => Ok(wanted),
        }
    }

    /// Free blocks in one run if one is found soon, otherwise between the blocks users have put there.
    fn anywhere(&self, records: &Records, blocks: u64) -> Result<Vec<Run>, Refusal> {
        let candidates = records.owners.candidates(blocks);
        for candidate in &candidates {
            let free = run(candidate.start.get(), candidate.start.get() + blocks.min(candidate.count));
            let occupied = self.blocks.next_occupied(free.start);
            if free.count == blocks && occupied.is_none_or(|index| index > free.last()) {
                return Ok(vec![free]);
            }
        }
        let full = || Refusal::new(Status::Full, "no free indexes are found for so many blocks");
        let (mut next, end) = bounds(candidates.last().ok_or_else(full)?);
        let (mut found, mut left, mut stepped) = (Vec::new(), blocks, 0);
        let mut page = Vec::new();
        while left > 0 && next < end && stepped < SEARCH_MAX && found.len() < EXTENTS_MAX {
            page.clear();
            self.blocks.list(Index::new(next).expect("below the end"), crate::grid::PAGE, false, &mut page)?;
            let last_page = page.len() < crate::grid::PAGE;
            stepped += page.len();
            let stops = page.iter().map(|block| block.index.get().min(end)).chain(last_page.then_some(end));
            for stop in stops {
                if next < stop && left > 0 && found.len() < EXTENTS_MAX {
                    let taken = left.min(stop - next);
                    found.push(run(next, next + taken));
                    left -= taken;
                }
                next = (stop + 1).min(end);
            }
        }
        if left == 0 { Ok(found) } else { Err(full()) }
    }
}

fn end(records: &mut Records, number: u64) -> Doom {
    let Lease { extents, mark, .. } = records.leases.remove(&number).expect("the lease was looked up just now");
    extents.iter().for_each(|run| records.owners.assign(run, Owner::Doomed));
    Doom { extents, mark, after: Ticket::NOW }
}
