//! Compaction: the live records of sparse segments are appended again, and the segments removed.
//!
//! The order that makes it safe: copies are appended and made durable; then a note that the segment is released is
//! appended and made durable, which also states in the log that everything before it was; only then the file goes.
//!
//! The record of a deletion is kept while a segment may exist that holds what it deleted, that is any segment up to the
//! one in which the deletion first was. A released segment no longer counts: its note is durable before any file goes,
//! and recovery believes the note, not the file.

use super::Inner;
use super::format::{Entry, FIRST_RECORD, Kind};
use super::index::Location;
use super::reader::Unread;
use super::shelf::segment_name;
use super::writer::{Draft, Purpose, SegmentState, Writer};
use crate::engine::{Compacted, WriteError};
use okapi_base::{Generation, GridId, Index};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// Segments compacted between two waits for the disk.
pub(super) const ROUND: usize = 8;
/// Bytes held per live byte, in percent, from which compaction begins while puts come in. Under evenly spread
/// overwrites a log that holds `r` bytes per live byte copies `u / (1 - u)` bytes per byte put, where
/// `1 / r = (u - 1) / ln u`: at 160 % that is 0.56, at 125 % it would be 1.7.
const BUSY_PERCENT: u64 = 160;
/// The same while no puts come in.
const IDLE_PERCENT: u64 = 118;
/// Beyond this, puts help to compact.
const CROWDED_PERCENT: u64 = 220;
/// Segments held beyond the percentage that are no reason for anything.
const SLACK_SEGMENTS: u64 = 3;
/// Bytes of remembered deletions per live byte, in percent, from which the oldest segment is rewritten too, so that
/// deletions come to be forgotten.
const DELETIONS_PERCENT: u64 = 5;
/// A segment filled by live records to more than this is not worth rewriting.
const DENSE_PERCENT: u64 = 95;

/// Short segments that may lie about: a log with a follower closes its segments before they are full, and those are
/// made into longer ones once there are so many. The shortest first, so a record moves a few times only.
const SHORT_MAX: usize = 32;
/// A segment counts as short below this part of a full one.
const SHORT_PART: u32 = 4;

/// What a round of compaction is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Bytes held per live byte, in percent.
    Percent(u64),
    /// A segment's worth of room, without taking much of what is left first.
    Room,
    /// As much as can be gained.
    All,
}

impl Goal {
    pub(super) const BUSY: Self = Self::Percent(BUSY_PERCENT);
    pub(super) const IDLE: Self = Self::Percent(IDLE_PERCENT);
}

/// Bytes compaction may read and write now.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    filled: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 0, filled: Instant::now() }
    }
}

impl Writer {
    pub(super) fn live_bytes(&self) -> u64 {
        self.segments.values().map(|state| u64::from(state.live) + u64::from(state.deletions)).sum()
    }

    fn is_beyond(&self, percent: u64, segment_bytes: u32) -> bool {
        let allowed = self.live_bytes() / 100 * percent + SLACK_SEGMENTS * u64::from(segment_bytes);
        self.held > allowed
    }

    pub(super) fn is_crowded(&self, segment_bytes: u32) -> bool {
        self.is_beyond(CROWDED_PERCENT, segment_bytes)
    }

    /// The shortest segments, if there are many short ones.
    fn short_victims(&self, segment_bytes: u32) -> Vec<u32> {
        let short = |state: &SegmentState| state.closed && !state.damaged && state.length < segment_bytes / SHORT_PART;
        let short = self.segments.iter().filter(|(_, state)| short(state));
        let mut short: Vec<(u32, u32)> = short.map(|(&number, state)| (state.length, number)).collect();
        if short.len() < SHORT_MAX {
            return Vec::new();
        }
        short.sort_unstable();
        short.into_iter().take(ROUND).map(|(_, number)| number).collect()
    }

    /// The segments to compact next, sparsest first; none if the goal is reached.
    fn victims(&self, goal: Goal, segment_bytes: u32) -> Vec<u32> {
        if let Goal::Percent(percent) = goal
            && !self.is_beyond(percent, segment_bytes)
        {
            return Vec::new();
        }
        let oldest = self.segments.keys().next().copied();
        let deletions: u64 = self.segments.values().map(|state| u64::from(state.deletions)).sum();
        let many_deletions = deletions > self.live_bytes() / 100 * DELETIONS_PERCENT + u64::from(segment_bytes) / 8;
        let stays = |number: u32, state: &SegmentState| {
            // In the oldest segment no deletion need be remembered.
            let deletions = if Some(number) == oldest { 0 } else { state.deletions };
            u64::from(state.live) + u64::from(deletions)
        };
        let mut victims: Vec<(u64, u32)> = self
            .segments
            .iter()
            .filter(|(_, state)| state.closed && !state.damaged)
            .map(|(&number, state)| {
                // A short segment counts as the full one it could be a part of.
                let room = match goal {
                    Goal::All => u64::from(segment_bytes).max(1),
                    Goal::Percent(_) | Goal::Room => u64::from(state.length).max(1),
                };
                let filled = stays(number, state) * 100 / room;
                (if many_deletions && Some(number) == oldest { 0 } else { filled }, number)
            })
            .filter(|(filled, _)| *filled < DENSE_PERCENT)
            .collect();
        victims.sort_unstable();
        victims.into_iter().map(|(_, number)| number).collect()
    }
}

impl Inner {
    /// One round; none if there was nothing to do.
    pub(super) fn compact_round(&self, goal: Goal, in_haste: bool) -> Result<Option<Compacted>, WriteError> {
        let mut budget = self.compaction.lock();
        let victims = {
            let w = self.writer.lock();
            let mut victims = w.victims(goal, self.settings.segment_bytes);
            victims.truncate(ROUND);
            if goal == Goal::Room && !self.is_worth_while(&w, &mut victims) {
                victims.clear();
            }
            victims
        };
        self.compact_these(victims, &mut budget, in_haste)
    }

    /// Makes the shortest segments into one, if there are many short ones.
    pub(super) fn merge_short(&self) -> Result<Option<Compacted>, WriteError> {
        let mut budget = self.compaction.lock();
        let victims = self.writer.lock().short_victims(self.settings.segment_bytes);
        self.compact_these(victims, &mut budget, false)
    }

    /// Keeps those whose copies fit what the limit leaves; says whether a whole segment is gained by them.
    fn is_worth_while(&self, w: &Writer, victims: &mut Vec<u32>) -> bool {
        let segment_bytes = u64::from(self.settings.segment_bytes);
        let left = match self.limit.load(Relaxed) {
            0 => u64::MAX,
            limit => limit.saturating_sub(w.held),
        };
        // What of a segment can hold records, by a cautious guess at its footer.
        let usable = segment_bytes - u64::from(FIRST_RECORD) - segment_bytes / 8;
        let needed = |stays: u64| stays.div_ceil(usable) * segment_bytes;
        let (mut copied, mut freed) = (0, 0);
        victims.retain(|number| {
            let state = &w.segments[number];
            let stays = u64::from(state.live) + u64::from(state.deletions);
            let fits = needed(copied + stays) <= left;
            if fits {
                copied += stays;
                // One that was closed because it was full is a whole one, though its end was cut off.
                let length = u64::from(state.length);
                freed += if length >= usable { length.max(segment_bytes) } else { length };
            }
            fits
        });
        freed >= needed(copied) + segment_bytes
    }

    /// A round of compaction on the thread of a put, where far more is held than lives.
    pub(super) fn help_if_crowded(&self) -> Result<(), WriteError> {
        if self.settings.threads && self.crowded.load(Relaxed) {
            let done = self.compact_round(Goal::BUSY, true)?.is_some_and(|round| round.segments > 0);
            let crowded = done && self.writer.lock().is_crowded(self.settings.segment_bytes);
            self.crowded.store(crowded, Relaxed);
        }
        Ok(())
    }

    /// Compacts all that can be compacted.
    pub(super) fn compact_all(&self) -> Result<Compacted, WriteError> {
        let mut budget = self.compaction.lock();
        let held_before = {
            let mut w = self.writer.lock();
            self.close_active(&mut w);
            w.held
        };
        self.flush_all()?;
        self.wait_until_closed()?;
        let mut victims = self.writer.lock().victims(Goal::All, self.settings.segment_bytes);
        // A lone short segment would only be copied into another one.
        if let [only] = victims[..]
            && self.is_tidy(only)
        {
            victims.clear();
        }
        let mut sum = Compacted { held_before, ..Compacted::default() };
        for round in victims.chunks(ROUND) {
            if let Some(gain) = self.compact_these(round.to_vec(), &mut budget, true)? {
                sum.segments += gain.segments;
                sum.moved_bytes += gain.moved_bytes;
            }
        }
        sum.held_after = self.writer.lock().held;
        Ok(sum)
    }

    /// Whether a segment holds nothing dead to speak of.
    fn is_tidy(&self, number: u32) -> bool {
        let w = self.writer.lock();
        let Some(state) = w.segments.get(&number) else { return true };
        let oldest_dead = if w.segments.keys().next() == Some(&number) { 0 } else { state.deletions };
        let used = u64::from(state.live) + u64::from(oldest_dead);
        used * 100 >= u64::from(state.length.saturating_sub(FIRST_RECORD)) * 90
    }

    pub(super) fn compact_these(
        &self,
        mut victims: Vec<u32>,
        budget: &mut Budget,
        in_haste: bool,
    ) -> Result<Option<Compacted>, WriteError> {
        if victims.is_empty() {
            return Ok(None);
        }
        // In the order of the log, so that a deletion comes after what it deleted.
        victims.sort_unstable();
        let held_before = self.writer.lock().held;
        let mut moved_bytes = 0;
        let mut emptied = BTreeSet::new();
        for victim in victims {
            match self.empty(victim, &emptied, budget, in_haste) {
                Ok(Some(bytes)) => {
                    moved_bytes += bytes;
                    emptied.insert(victim);
                }
                Ok(None) => {}
                // What is emptied already can go nevertheless, and so make the room that is missing.
                Err(WriteError::Full { what }) if !emptied.is_empty() => {
                    tracing::debug!("compaction found no room: {what}");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.release(&emptied)?;
        let held_after = self.writer.lock().held;
        Ok(Some(Compacted { segments: emptied.len() as u64, moved_bytes, held_before, held_after }))
    }

    /// Appends copies of all that lives in a segment; says how many bytes they had, or nothing if not all could be read.
    fn empty(
        &self,
        victim: u32,
        gone: &BTreeSet<u32>,
        budget: &mut Budget,
        in_haste: bool,
    ) -> Result<Option<u64>, WriteError> {
        let entries = match self.segment_entries(victim) {
            Ok(entries) => entries,
            Err(unread) => return Ok(self.leave_alone(victim, &unread)),
        };
        let mut moved = 0;
        for entry in &*entries {
            let location = Location::new(victim, entry.offset, entry.bytes());
            let bytes = match entry.kind {
                Kind::Put => match self.move_block(entry, location)? {
                    Ok(bytes) => bytes,
                    Err(unread) => return Ok(self.leave_alone(victim, &unread)),
                },
                Kind::Tombstone => self.move_tombstone(entry, location, gone)?,
                Kind::GridDrop => self.move_drop(entry, location, gone)?,
                Kind::Released => self.move_release(entry, victim)?,
            };
            moved += u64::from(bytes);
            self.throttle(budget, u64::from(bytes) * 2, in_haste);
        }
        // A footer that was rebuilt from records may lack some; their blocks must not lose their place.
        let state = self.writer.lock().segments.get(&victim).copied().unwrap_or_default();
        if state.live > 0 {
            return Ok(self.leave_alone(victim, &Unread::Corrupted("some of its records cannot be found")));
        }
        Ok(Some(moved))
    }

    fn leave_alone(&self, victim: u32, why: &Unread) -> Option<u64> {
        tracing::warn!("{} cannot be compacted: {why:?}; run `okapi fsck`", segment_name(victim));
        if let Some(state) = self.writer.lock().segments.get_mut(&victim) {
            state.damaged = true;
        }
        None
    }

    fn move_block(&self, entry: &Entry, location: Location) -> Result<Result<u32, Unread>, WriteError> {
        let Some(grid) = self.grids.read().get(&entry.grid).cloned() else { return Ok(Ok(0)) };
        let lives = || grid.index.read().get(entry.index.get()) == location;
        if !lives() {
            return Ok(Ok(0));
        }
        let record = match self.read(entry.grid, entry.index, location, false) {
            Ok(record) => record,
            Err(_) if !lives() => return Ok(Ok(0)),
            Err(unread) => return Ok(Err(unread)),
        };
        self.wait_for_room()?;
        let mut w = self.writer.lock();
        if !lives() {
            return Ok(Ok(0));
        }
        let Entry { kind, grid: id, index, generation, crc, .. } = record.entry;
        let draft = Draft { kind, grid: id, index, generation, crc, payload: record.payload.as_ref() };
        let copy = self.append(&mut w, &draft, Purpose::Compaction)?;
        self.place(&mut w, &grid, index, copy);
        self.moved_bytes.fetch_add(copy.bytes().into(), Relaxed);
        Ok(Ok(copy.bytes()))
    }

    fn move_tombstone(&self, entry: &Entry, location: Location, gone: &BTreeSet<u32>) -> Result<u32, WriteError> {
        let Some(grid) = self.grids.read().get(&entry.grid).cloned() else { return Ok(0) };
        let mut w = self.writer.lock();
        if grid.index.read().get(entry.index.get()) != location {
            return Ok(0);
        }
        if self.is_forgettable(&w, entry, location.segment(), gone) {
            self.place(&mut w, &grid, entry.index, Location::NONE);
            return Ok(0);
        }
        let copy = self.append(&mut w, &draft_of(entry), Purpose::Compaction)?;
        self.place(&mut w, &grid, entry.index, copy);
        Ok(copy.bytes())
    }

    fn move_drop(&self, entry: &Entry, location: Location, gone: &BTreeSet<u32>) -> Result<u32, WriteError> {
        let mut w = self.writer.lock();
        if w.drops.get(&entry.grid) != Some(&(entry.generation, location)) {
            return Ok(0);
        }
        if self.is_forgettable(&w, entry, location.segment(), gone) {
            w.drops.remove(&entry.grid);
            w.count(location, false);
            return Ok(0);
        }
        let copy = self.append(&mut w, &draft_of(entry), Purpose::Compaction)?;
        w.drops.insert(entry.grid, (entry.generation, copy));
        w.count(location, false);
        w.count(copy, true);
        Ok(copy.bytes())
    }

    /// A checkpoint made before a segment was released still points into it, so until there is a newer one the note
    /// must be kept; and as long as the segment could come back from elsewhere.
    fn move_release(&self, entry: &Entry, victim: u32) -> Result<u32, WriteError> {
        let released = u32::try_from(entry.index.get()).expect("a note is of a segment");
        if victim <= self.checkpointed.load(Acquire) && !self.lies_elsewhere(released) {
            return Ok(0);
        }
        let mut w = self.writer.lock();
        Ok(self.append(&mut w, &draft_of(entry), Purpose::Compaction)?.bytes())
    }

    /// Removes segments of which everything live has been copied.
    fn release(&self, emptied: &BTreeSet<u32>) -> Result<(), WriteError> {
        if emptied.is_empty() {
            return Ok(());
        }
        // Not only the copies: what made the other records of these segments worthless must be durable too.
        self.flush_all()?;
        // Before it is told which segment is the newest: no later one says then that anything lies in these.
        self.writer.lock().given.leave(emptied);
        self.tell_releasing(emptied);
        {
            let mut w = self.writer.lock();
            for &number in emptied {
                let index = Index::new(number.into()).expect("a segment's number fits an index");
                let (kind, grid) = (Kind::Released, GridId(0));
                let draft = Draft { kind, grid, index, generation: Generation::ABSENT, crc: 0, payload: &[] };
                self.append(&mut w, &draft, Purpose::Release)?;
            }
        }
        self.flush_all()?;
        for &number in emptied {
            if let Err(error) = self.disk.remove(&segment_name(number)) {
                // The note stands; the file goes at the next opening.
                tracing::warn!("{} could not be removed: {error}", segment_name(number));
            }
            self.directory_changed.store(true, Release);
            let mut w = self.writer.lock();
            let state = w.segments.remove(&number).expect("a segment is released once");
            w.held -= u64::from(state.length);
            self.freed_bytes.fetch_add(state.length.into(), Relaxed);
            drop(w);
            self.shelf.forget(number);
        }
        self.refill_reserve();
        Ok(())
    }

    pub(super) fn flush_all(&self) -> Result<(), WriteError> {
        let sequence = self.writer.lock().sequence;
        self.wait_durable(sequence)
    }

    /// Waits until compaction may spend `bytes` more.
    fn throttle(&self, budget: &mut Budget, bytes: u64, in_haste: bool) {
        let rate = self.settings.compaction_rate;
        if rate == 0 || in_haste || !self.settings.threads || self.crowded.load(Relaxed) {
            return;
        }
        while budget.bytes < bytes {
            let earned = budget.filled.elapsed().as_millis() as u64 * rate / 1000;
            if earned > 0 {
                budget.bytes = (budget.bytes + earned).min(rate.max(bytes));
                budget.filled = Instant::now();
            }
            if budget.bytes < bytes {
                let mut stopping = self.keeper_stopping.lock();
                if *stopping {
                    return;
                }
                self.keeper_wakes.wait_for(&mut stopping, Duration::from_millis(5));
            }
        }
        budget.bytes -= bytes;
    }

    /// Whether nothing that a deletion deleted can exist any more: no segment up to the one where it first was, but for
    /// the one it is in now and those that will be gone by then; and none that could come back from elsewhere.
    fn is_forgettable(&self, w: &Writer, entry: &Entry, own: u32, gone: &BTreeSet<u32>) -> bool {
        let origin = entry.crc;
        let oldest = w.segments.keys().find(|&&number| number != own && !gone.contains(&number)).copied();
        let back = gone.iter().next().copied().filter(|_| self.follower.read().is_some());
        [oldest, back, self.oldest_elsewhere()].into_iter().flatten().all(|oldest| oldest > origin)
    }
}

fn draft_of(entry: &Entry) -> Draft<'static> {
    let Entry { kind, grid, index, generation, crc, .. } = *entry;
    Draft { kind, grid, index, generation, crc, payload: &[] }
}
