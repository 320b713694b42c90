//! Grids that others may read: their keys, where they lie, and bringing what was put before under keys of their own.
//!
//! With the first key of a grid the segments are looked for in which it lies under the node's key alone, and those are
//! compacted, whatever else lies in them: it is the safest way to move a record there is, and the only one. Another key
//! begins with the next segment. What lies under an older one stays: whoever had that key could read it.

use super::Inner;
use super::identity;
use super::keys::{Numbers, both, home};
use super::parts::{GIVEN_MAX, HOMES_MAX, PART_LEAST, TABLE, Told, part_bytes, runs};
use crate::engine::WriteError;
use okapi_base::GridId;
use okapi_seal::{GridKey, KEY_NUMBER_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Part of a segment, one in so many, that may be taken by what is told in parts besides entries.
const TOLD_PART: usize = 16;
/// Runs by which a grid may come to lie in more while a segment is filled.
const RUNS_MORE: usize = 16;
/// Looks of the keeper between two attempts to move what could not be moved for want of room.
const REST: u32 = 100;

/// What is known of the grids that others may read.
#[derive(Debug, Default)]
pub(super) struct Given {
    numbers: Numbers,
    /// Segments in which something of a grid lies.
    homes: BTreeMap<GridId, BTreeSet<u32>>,
    /// Those in which it lies under the node's key alone.
    strays: BTreeMap<GridId, BTreeSet<u32>>,
    /// Grids of which both are known in full.
    surveyed: BTreeSet<GridId>,
    /// Grids that were dropped: the next segment to be closed tells so, and none after it.
    dropped: BTreeSet<GridId>,
    /// Looks before the next attempt to move anything.
    resting: u32,
}

impl Given {
    /// As the newest segment says.
    pub(super) fn found(numbers: Numbers) -> Self {
        Self { numbers, ..Self::default() }
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// A record of a grid was appended to a segment in which it has a key of its own.
    pub(super) fn enter(&mut self, grid: GridId, segment: u32) {
        self.homes.entry(home(grid)).or_default().insert(segment);
    }

    /// Nothing that lives is in these segments any more.
    pub(super) fn leave(&mut self, segments: &BTreeSet<u32>) {
        for places in self.homes.values_mut().chain(self.strays.values_mut()) {
            places.retain(|place| !segments.contains(place));
        }
    }

    /// A grid is dropped: nothing lives in it any more, and a segment says so.
    pub(super) fn drop_grid(&mut self, grid: GridId, segment: u32) {
        if self.numbers.iter().any(|(known, _)| *known == grid) {
            self.homes.insert(grid, BTreeSet::from([segment]));
            self.strays.remove(&grid);
            self.surveyed.insert(grid);
            self.dropped.insert(grid);
        }
    }

    /// Forgets what was dropped, now that a segment says so.
    pub(super) fn forget_dropped(&mut self) {
        for grid in std::mem::take(&mut self.dropped) {
            self.numbers.retain(|(known, _)| *known != grid);
            self.homes.remove(&grid);
            self.surveyed.remove(&grid);
        }
    }

    /// Segments that are still to be moved from, and grids that are still to be looked for.
    pub(super) fn moving(&self) -> u64 {
        let strays: BTreeSet<u32> = self.strays.values().flatten().copied().collect();
        (strays.len() + self.numbers.len() - self.surveyed.len()) as u64
    }

    fn runs(&self, grid: GridId) -> Vec<(u32, u32)> {
        runs(self.homes.get(&grid).into_iter().flatten().copied())
    }

    /// Bytes to keep free at the end of a segment that is begun now.
    pub(super) fn tail_bytes(&self, segment_bytes: u32) -> usize {
        let told = |(grid, _): &(GridId, u16)| (self.runs(*grid).len() + RUNS_MORE).min(HOMES_MAX);
        let told: usize = self.numbers.iter().map(told).map(|runs| part_bytes(runs) - PART_LEAST).sum();
        TABLE + self.numbers.len() * PART_LEAST + told.min(segment_bytes as usize / TOLD_PART)
    }

    /// What there is to tell, in so many bytes of table and parts.
    pub(super) fn told(&self, tail: usize) -> Vec<(GridId, Told)> {
        let mut left = tail.saturating_sub(TABLE + self.numbers.len() * PART_LEAST);
        let mut all = Vec::new();
        for (grid, _) in self.numbers.iter().filter(|(grid, _)| self.surveyed.contains(grid)) {
            let homes = self.runs(*grid);
            let bytes = part_bytes(homes.len()) - PART_LEAST;
            if homes.len() <= HOMES_MAX && bytes <= left {
                left -= bytes;
                let whole = self.strays.get(grid).is_none_or(BTreeSet::is_empty);
                all.push((*grid, Told { whole, homes }));
            }
        }
        all
    }
}

impl Inner {
    /// Seals what is appended of a grid and its companion from now on under a key of the grid with at least this number.
    pub(super) fn give_key(&self, grid: GridId, at_least: u16) -> Result<GridKey, WriteError> {
        let grid = home(grid);
        if !(1..=KEY_NUMBER_MAX).contains(&at_least) {
            let what =
                format!("the key of grid {} has been changed {KEY_NUMBER_MAX} times, and that is the limit", grid.0);
            return Err(WriteError::Full { what });
        }
        // Whoever knows no such segments must not take the store for its own.
        identity::raise(&*self.disk, &self.ring.node, self.store).map_err(|error| {
            let what = format!("the file `store` cannot be written: {error}");
            WriteError::Full { what }
        })?;
        let mut w = self.writer.lock();
        if let Some(broken) = &w.broken {
            return Err(broken.clone().into());
        }
        let number = match w.given.numbers.binary_search_by_key(&grid, |known| known.0) {
            Ok(at) if w.given.numbers[at].1 >= at_least => return Ok(self.ring.key(grid, w.given.numbers[at].1)),
            Ok(at) => {
                w.given.numbers[at].1 = at_least;
                at_least
            }
            Err(at) => {
                let most = GIVEN_MAX.min(self.settings.segment_bytes as usize / TOLD_PART / PART_LEAST);
                if w.given.numbers.len() >= most {
                    let what = format!("{most} grids have keys of their own, and that is the limit");
                    return Err(WriteError::Full { what });
                }
                w.given.numbers.insert(at, (grid, at_least));
                at_least
            }
        };
        // The next segment has it in its table.
        self.close_active(&mut w);
        drop(w);
        Ok(self.ring.key(grid, number))
    }

    /// Looks where given grids lie, and moves what lies under the node's key alone; says whether there was anything to do.
    pub(super) fn keep_given(&self) -> bool {
        let due: Vec<GridId> = {
            let mut w = self.writer.lock();
            if w.given.resting > 0 {
                w.given.resting -= 1;
                return false;
            }
            let given = &w.given;
            given.numbers.iter().map(|(grid, _)| *grid).filter(|grid| !given.surveyed.contains(grid)).collect()
        };
        due.iter().for_each(|grid| self.survey(*grid));
        let moved = self.move_strays().unwrap_or_else(|error| {
            tracing::warn!("what others may read could not be brought under keys of its own yet: {error}");
            self.writer.lock().given.resting = REST;
            false
        });
        moved || !due.is_empty()
    }

    /// Finds the segments in which a grid lies.
    fn survey(&self, grid: GridId) {
        let mut homes = BTreeSet::new();
        for id in both(grid) {
            let Some(grid) = self.grids.read().get(&id).cloned() else { continue };
            homes.extend(grid.index.read().entries(0).map(|(_, location)| location.segment()));
        }
        // One that cannot be opened may hold anything.
        let is_stray = |number: &u32| !self.segment_file(*number).is_ok_and(|segment| segment.keys.is_given(grid));
        let strays: BTreeSet<u32> = homes.iter().copied().filter(is_stray).collect();
        let mut w = self.writer.lock();
        let there = |number: &u32| w.segments.contains_key(number);
        let homes: BTreeSet<u32> = homes.into_iter().filter(there).collect();
        let strays = strays.into_iter().filter(there).collect();
        w.given.homes.entry(grid).or_default().extend(homes);
        w.given.strays.insert(grid, strays);
        w.given.surveyed.insert(grid);
    }

    fn move_strays(&self) -> Result<bool, WriteError> {
        let mut budget = self.compaction.lock();
        let victims: Vec<u32> = {
            let w = self.writer.lock();
            let ready = |number: &&u32| w.segments.get(number).is_some_and(|state| state.closed && !state.damaged);
            let strays: BTreeSet<u32> = w.given.strays.values().flatten().filter(ready).copied().collect();
            strays.into_iter().take(super::compact::ROUND).collect()
        };
        Ok(self.compact_these(victims, &mut budget, false)?.is_some_and(|round| round.segments > 0))
    }
}
