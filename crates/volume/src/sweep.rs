//! What crashes have left is removed, and so is whatever else is to go.

use crate::disks::Inner;
use crate::fault::DisksError;
use crate::head::{Head, decode_batch};
use crate::lease::now;
use crate::place::{Number, batches};
use crate::puts::Puts;
use okapi_client::{Grid, Index, flags};
use std::collections::BTreeSet;

impl Inner {
    /// Removes what is partial and whose maker is gone.
    pub(crate) fn sweep(&self) -> Result<(), DisksError> {
        let batches = self.batches()?;
        let directory = self.directory.lock();
        // Of a batch everything goes with the lease of its first.
        let first_of = |head: &Head| batches.iter().find(|(batch, _)| *batch == head.batch).map(|(_, first)| *first);
        let is_half_snapshot = |head: &Head| {
            head.parent
                .and_then(|parent| directory.get(parent.number))
                .is_some_and(|(_, parent)| parent.name == head.name)
        };
        let suspects: Vec<(Number, Head)> = directory
            .heads()
            .filter_map(|head| match first_of(head) {
                Some(first) => Some((first, head.clone())),
                None if head.partial || is_half_snapshot(head) => Some((head.number, head.clone())),
                None => None,
            })
            .collect();
        drop(directory);
        let mut makers: BTreeSet<Number> = suspects.iter().map(|(maker, _)| *maker).collect();
        makers.extend(batches.iter().map(|(_, first)| *first));
        if makers.is_empty() {
            return Ok(());
        }
        let makers: Vec<Number> = makers.into_iter().collect();
        let live: BTreeSet<Number> = self.live(&makers)?;
        let dead: Vec<Head> =
            suspects.into_iter().filter(|(maker, _)| !live.contains(maker)).map(|(_, head)| head).collect();
        if !dead.is_empty() {
            tracing::info!(disks = dead.len(), "removing disks that were never finished");
        }
        self.erase(&dead)?;
        let mut puts = Puts::default();
        batches.iter().filter(|(_, first)| !live.contains(first)).for_each(|(_, first)| {
            puts.delete(first.batch());
        });
        self.send(&puts, 0, "removing what was never finished")?;
        self.directory.lock().look(&self.grid)
    }

    /// The batches that are being made, each with its first disk.
    fn batches(&self) -> Result<Vec<(u64, Number)>, DisksError> {
        let mut found = Vec::new();
        for entry in self.grid.list(batches(), false) {
            let Some(first) = Number::of_batch(entry?.index) else { break };
            // One that makes no sense is of no disk; it goes when its place is used again.
            if let Some(Ok(batch)) = self.grid.get(first.batch())?.map(|block| decode_batch(&block.bytes)) {
                found.push((batch, first));
            }
        }
        Ok(found)
    }

    /// Those of `numbers` whose leases are live.
    fn live(&self, numbers: &[Number]) -> Result<BTreeSet<Number>, DisksError> {
        let mut live = BTreeSet::new();
        for number in numbers {
            let lease = self.grid.get(number.lease())?;
            let lease = lease.and_then(|block| crate::lease::Lease::decode(*number, &block.bytes));
            if lease.is_some_and(|lease| lease.is_live(now())) {
                live.insert(*number);
            }
        }
        Ok(live)
    }

    /// Deletes disks with all their blocks; of those that are whole it is said first that they no longer are. A child comes
    /// before its parent.
    pub(crate) fn erase(&self, heads: &[Head]) -> Result<(), DisksError> {
        let partial: Vec<_> = heads
            .iter()
            .filter(|head| !head.partial)
            .map(|head| (head.number, Head { partial: true, ..head.clone() }.encode()))
            .collect();
        let mut puts = Puts::default();
        for (number, bytes) in &partial {
            puts.whole(number.head(), bytes);
        }
        // Durable before the first block goes: half a disk must not come back as a whole one.
        self.send(&puts, 0, "removing disks")?;
        for head in heads {
            delete_blocks(&self.grid, head.number, 0)?;
        }
        let mut puts = Puts::default();
        for head in heads {
            puts.delete(head.number.head()).delete(head.number.lease());
        }
        self.send(&puts, 0, "removing disks")?;
        self.directory.lock().look(&self.grid)
    }

    /// Puts what expects nothing.
    pub(crate) fn send(&self, puts: &Puts<'_>, put_flags: u16, what: &'static str) -> Result<(), DisksError> {
        puts.put(&self.grid, put_flags)?.map_err(|(at, status)| {
            let name = format!("block {} of its grid", puts.index(at));
            DisksError::Refused { name, what, status }
        })
    }
}

/// Deletes the blocks of a disk from `from` on. Not durable before the next put that is.
pub(crate) fn delete_blocks(grid: &Grid, number: Number, from: u64) -> Result<(), DisksError> {
    let mut next = Some(number.data(from));
    while let Some(start) = next {
        let inside = |index: &Index| number.block_of(*index).is_some();
        let mut puts = Puts::default();
        for entry in grid.list(start, false).take(Puts::FRAME) {
            let index = entry?.index;
            if inside(&index) {
                puts.delete(index);
            } else {
                break;
            }
        }
        next = (puts.len() == Puts::FRAME).then(|| puts.index(puts.len() - 1).next()).flatten();
        if let Err((at, status)) = puts.put(grid, flags::RELAXED)? {
            let name = format!("number {number}");
            let _ = at;
            return Err(DisksError::Refused { name, what: "deleting its blocks", status });
        }
    }
    Ok(())
}
