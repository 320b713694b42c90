//! Making the records of one grid like those of another, once the blocks are there.

use super::ReplicateError;
use super::copy::{Mover, Patience, Report};
use crate::fault::Fault;
use crate::grid::Grid;
use okapi_base::Index;
use okapi_wire::message::RecordInfo;
use okapi_wire::{Run, Status};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Removes the records that the source no longer has, and binds those that are missing or differ.
pub(super) fn settle_records(from: &Grid, to: &Grid, report: &mut Report) -> Result<(), ReplicateError> {
    // First what is gone, so that its blocks are free for what came in their place.
    each_pair(from, to, |source, destination| {
        if let (None, Some(gone)) = (&source, &destination) {
            report.removed += u64::from(to.remove(&gone.name, None)?);
        }
        Ok(())
    })?;
    each_pair(from, to, |source, destination| {
        let Some(source) = source else { return Ok(()) };
        if destination.is_some_and(|destination| is_same_so_far(&source, &destination) && is_whole(&source, from)) {
            return Ok(());
        }
        // The list shows only the first extent of each.
        match from.find(&source.name)? {
            Some(record) => settle_record(from, to, &record, report),
            None => Ok(()),
        }
    })
}

/// Binds one record at the destination as it is at the source, unless it is so already. Its blocks should be there;
/// those that are not are fetched.
pub(super) fn settle_record(
    from: &Grid,
    to: &Grid,
    record: &RecordInfo,
    report: &mut Report,
) -> Result<(), ReplicateError> {
    if to.find(&record.name)?.is_some_and(|other| is_same(record, &other)) {
        return Ok(());
    }
    let record = RecordInfo { generation: okapi_base::Generation::ABSENT, ..record.clone() };
    let fault = match bind(to, &record) {
        Ok(()) => {
            report.bound += 1;
            return Ok(());
        }
        Err(fault) => fault,
    };
    // Blocks are missing, or still belong to a record that the source no longer has there.
    if !matches!(fault.status(), Some(Status::InRecord | Status::Absent | Status::NoReservation)) {
        return Err(to.record_error(&record.name, "binding it", fault).into());
    }
    remove_overlapping(from, to, &record, report)?;
    let indexes = record.extents.iter().flat_map(|run| {
        let start = run.start;
        (0..run.count).map(move |by| start.plus(by).expect("a run ends within the grid"))
    });
    Mover::new(from, to).move_all(indexes, report)?;
    match bind(to, &record) {
        Ok(()) => report.bound += 1,
        // It changed at the source meanwhile, or this would have worked; it comes with the next pass.
        Err(fault)
            if fault.status().is_some() && !from.find(&record.name)?.is_some_and(|now| is_same(&record, &now)) => {}
        Err(fault) => return Err(to.record_error(&record.name, "binding it", fault).into()),
    }
    Ok(())
}

/// Binds a record as soon as no removed one has its blocks any more.
fn bind(to: &Grid, record: &RecordInfo) -> Result<(), Fault> {
    let mut patience = Patience::new(to);
    loop {
        match to.bind(record) {
            Err(fault) if fault.status() == Some(Status::Busy) && patience.wait() => {}
            done => return done,
        }
    }
}

/// Removes the destination's records that have one of these blocks, and says how many there were.
pub(super) fn remove_owners(to: &Grid, blocks: &BTreeSet<Index>) -> Result<u64, ReplicateError> {
    let mut removed = 0;
    for listed in to.records("") {
        let Some(record) = to.find(&listed?.name)? else { continue };
        let owns = |run: &Run| blocks.range(run.start..=run.last()).next().is_some();
        if record.extents.iter().any(owns) {
            removed += u64::from(to.remove(&record.name, Some(record.generation))?);
        }
    }
    Ok(removed)
}

/// Removes the destination's other records that have some of a record's blocks.
fn remove_overlapping(from: &Grid, to: &Grid, record: &RecordInfo, report: &mut Report) -> Result<(), ReplicateError> {
    for other in to.records("") {
        let other = other?;
        if other.name == record.name {
            continue;
        }
        let Some(other) = to.find(&other.name)? else { continue };
        if !overlap(record, &other) {
            continue;
        }
        let name = other.name.clone();
        report.removed += u64::from(to.remove(&name, Some(other.generation))?);
        // If the source still has it, elsewhere, its own turn comes; its blocks are missing until then.
        tracing::debug!(name, by = record.name, grid = from.name(), "a record's blocks were taken over");
    }
    Ok(())
}

fn overlap(one: &RecordInfo, other: &RecordInfo) -> bool {
    let ends = |run: &Run| -> (Index, Index) { (run.start, run.last()) };
    let mut runs: Vec<_> = one.extents.iter().chain(&other.extents).map(ends).collect();
    runs.sort_unstable();
    runs.windows(2).any(|pair| pair[1].0 <= pair[0].1)
}

fn is_same(one: &RecordInfo, other: &RecordInfo) -> bool {
    is_same_so_far(one, other) && one.extents == other.extents
}

/// Whether two records are the same as far as a list tells.
fn is_same_so_far(one: &RecordInfo, other: &RecordInfo) -> bool {
    (one.length, one.blake3, &one.content_type, one.extents.first())
        == (other.length, other.blake3, &other.content_type, other.extents.first())
}

/// Whether the first extent, the only one that a list tells, is all there is.
fn is_whole(record: &RecordInfo, grid: &Grid) -> bool {
    record.extents.first().map_or(0, |run| run.count) >= grid.block_size().blocks_for(record.length)
}

/// Calls `visit` for each name that either grid has a record of, in order.
fn each_pair(
    from: &Grid,
    to: &Grid,
    mut visit: impl FnMut(Option<RecordInfo>, Option<RecordInfo>) -> Result<(), ReplicateError>,
) -> Result<(), ReplicateError> {
    let (mut ours, mut theirs) = (from.records(""), to.records(""));
    let (mut source, mut destination) = (ours.next().transpose()?, theirs.next().transpose()?);
    loop {
        let order = match (&source, &destination) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(destination)) => source.name.cmp(&destination.name),
        };
        let (left, right) = match order {
            Ordering::Less => (source.take(), None),
            Ordering::Greater => (None, destination.take()),
            Ordering::Equal => (source.take(), destination.take()),
        };
        if left.is_some() {
            source = ours.next().transpose()?;
        }
        if right.is_some() {
            destination = theirs.next().transpose()?;
        }
        visit(left, right)?;
    }
}
