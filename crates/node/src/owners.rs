//! Who owns which blocks of a grid: runs of indexes, each with an owner, and the free runs between them.

use okapi_base::Index;
use okapi_base::limits::INDEX_MAX;
use okapi_wire::Run;
use std::collections::BTreeMap;

/// The first index of the node's own choice for records; lower ones are reserved only on request.
pub(crate) const RESERVED_FROM: u64 = 1 << 40;
/// Free runs that are looked at before the last one, which goes on to the end of the grid, is taken.
const FREE_LOOKED_AT: usize = 256;

/// To whom a block belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The record in this slot of the companion grid.
    Record(u64),
    /// The lease with this number.
    Lease(u64),
    /// Nobody any more; it is being deleted.
    Doomed,
}

/// The owned runs, none overlapping another.
#[derive(Debug)]
pub(crate) struct Owners {
    /// Start to end (not included) and owner.
    owned: BTreeMap<u64, (u64, Owner)>,
    /// What is owned by nobody from [`RESERVED_FROM`] on: start to end (not included).
    free: BTreeMap<u64, u64>,
    /// How many blocks are doomed.
    doomed: u64,
}

impl Default for Owners {
    fn default() -> Self {
        Self { owned: BTreeMap::new(), free: BTreeMap::from([(RESERVED_FROM, INDEX_MAX + 1)]), doomed: 0 }
    }
}

/// The run from `start` to `end` (not included), which is not empty.
pub(crate) fn run(start: u64, end: u64) -> Run {
    assert!(start < end, "a run is not empty");
    Run { start: Index::new(start).expect("a run lies within the grid"), count: end - start }
}

/// Start and end (not included) of a run.
pub(crate) fn bounds(run: &Run) -> (u64, u64) {
    (run.start.get(), run.start.get() + run.count)
}

/// Appends a run to a list, joined to the last one where they meet.
pub(crate) fn push_run(list: &mut Vec<Run>, new: Run) {
    match list.last_mut() {
        Some(last) if bounds(last).1 == new.start.get() => last.count += new.count,
        _ => list.push(new),
    }
}

/// What is left of `all` without `gone`, in the order of `all`.
pub(crate) fn without(all: &[Run], gone: &[Run]) -> Vec<Run> {
    let mut gone: Vec<_> = gone.iter().map(bounds).collect();
    gone.sort_unstable();
    let mut left = Vec::new();
    for (mut start, end) in all.iter().map(bounds) {
        let first = gone.partition_point(|(_, gone_end)| *gone_end <= start);
        for (gone_start, gone_end) in &gone[first..] {
            if *gone_start >= end {
                break;
            }
            if start < *gone_start {
                left.push(run(start, *gone_start));
            }
            start = start.max(*gone_end);
        }
        if start < end {
            left.push(run(start, end));
        }
    }
    left
}

/// Whether two runs of a list have a block in common.
pub(crate) fn overlap(list: &[Run]) -> bool {
    let mut sorted: Vec<_> = list.iter().map(bounds).collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0].1 > pair[1].0)
}

impl Owners {
    /// Whether anything is owned.
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Whether any block is doomed.
    pub(crate) fn any_doomed(&self) -> bool {
        self.doomed > 0
    }

    /// The owner of a block.
    pub(crate) fn of(&self, index: Index) -> Option<Owner> {
        let (_, (end, owner)) = self.owned.range(..=index.get()).next_back()?;
        (index.get() < *end).then_some(*owner)
    }

    /// The parts of a run with their owners, in ascending order, without gaps.
    pub(crate) fn parts(&self, of: &Run) -> Vec<(Run, Option<Owner>)> {
        let (mut start, end) = bounds(of);
        let mut parts = Vec::new();
        let before = self.owned.range(..=start).next_back().map(|(at, _)| *at);
        for (at, (until, owner)) in self.owned.range(before.unwrap_or(start)..end) {
            if *until <= start {
                continue;
            }
            if start < *at {
                parts.push((run(start, *at), None));
                start = *at;
            }
            let until = (*until).min(end);
            parts.push((run(start, until), Some(*owner)));
            start = until;
        }
        if start < end {
            parts.push((run(start, end), None));
        }
        parts
    }

    /// Gives a run to an owner, whoever had it before.
    pub(crate) fn assign(&mut self, what: &Run, owner: Owner) {
        self.cut_out(what);
        let (start, end) = bounds(what);
        self.owned.insert(start, (end, owner));
        self.doomed += if owner == Owner::Doomed { end - start } else { 0 };
        self.shrink_free(start, end);
    }

    /// Makes a run nobody's.
    pub(crate) fn release(&mut self, what: &Run) {
        self.cut_out(what);
        let (start, mut end) = bounds(what);
        let mut start = start.max(RESERVED_FROM);
        if start >= end {
            return;
        }
        self.shrink_free(start, end);
        if let Some((at, until)) = self.free.range(..=start).next_back()
            && *until == start
        {
            start = *at;
        }
        if let Some(until) = self.free.remove(&end) {
            end = until;
        }
        self.free.insert(start, end);
    }

    /// The first free runs from [`RESERVED_FROM`] on that have `blocks` blocks, and the last one, which is where there
    /// is always room.
    pub(crate) fn candidates(&self, blocks: u64) -> Vec<Run> {
        let first = self.free.iter().take(FREE_LOOKED_AT).filter(|(start, end)| **end - **start >= blocks);
        let mut runs: Vec<_> = first.map(|(start, end)| run(*start, *end)).collect();
        if let Some((start, end)) = self.free.last_key_value()
            && runs.last().is_none_or(|last| last.start.get() < *start)
        {
            runs.push(run(*start, *end));
        }
        runs
    }

    fn cut_out(&mut self, what: &Run) {
        let (start, end) = bounds(what);
        if let Some((at, (until, owner))) = self.owned.range(..start).next_back().map(|(at, value)| (*at, *value))
            && until > start
        {
            self.owned.insert(at, (start, owner));
            self.doomed -= if owner == Owner::Doomed { until.min(end) - start } else { 0 };
            if until > end {
                self.owned.insert(end, (until, owner));
            }
        }
        while let Some((at, (until, owner))) = self.owned.range(start..end).next().map(|(at, value)| (*at, *value)) {
            self.owned.remove(&at);
            self.doomed -= if owner == Owner::Doomed { until.min(end) - at } else { 0 };
            if until > end {
                self.owned.insert(end, (until, owner));
            }
        }
    }

    fn shrink_free(&mut self, start: u64, end: u64) {
        if let Some((at, until)) = self.free.range(..start).next_back().map(|(at, until)| (*at, *until))
            && until > start
        {
            self.free.insert(at, start);
            if until > end {
                self.free.insert(end, until);
            }
        }
        while let Some((at, until)) = self.free.range(start..end).next().map(|(at, until)| (*at, *until)) {
            self.free.remove(&at);
            if until > end {
                self.free.insert(end, until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as [`Owners`], block by block, for the indexes around the first reserved one.
    const AROUND: std::ops::Range<u64> = RESERVED_FROM - 40..RESERVED_FROM + 200;

    #[test]
    fn owners_are_as_if_kept_block_by_block() {
        for seed in 0..200u64 {
            let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut roll = |sides: u64| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice % sides
            };
            let mut owners = Owners::default();
            let mut model = vec![None; AROUND.count()];
            for _ in 0..60 {
                let start = AROUND.start + roll(model.len() as u64 - 30);
                let what = run(start, start + 1 + roll(30));
                let owner = match roll(6) {
                    0..2 => None,
                    2 => Some(Owner::Doomed),
                    _ => Some(Owner::Record(roll(4))),
                };
                match owner {
                    Some(owner) => owners.assign(&what, owner),
                    None => owners.release(&what),
                }
                let at = (start - AROUND.start) as usize;
                model[at..at + what.count as usize].fill(owner);
                for (index, expected) in AROUND.zip(&model) {
                    assert_eq!(owners.of(Index::new(index).unwrap()), *expected, "seed {seed}, block {index}");
                    let free = owners.free.range(..=index).next_back().is_some_and(|(_, end)| *end > index);
                    assert_eq!(free, expected.is_none() && index >= RESERVED_FROM, "seed {seed}, block {index}");
                }
                let doomed = model.iter().filter(|owner| **owner == Some(Owner::Doomed)).count();
                assert_eq!(owners.doomed, doomed as u64, "seed {seed}");
                let all = run(AROUND.start, AROUND.end);
                let mut parts = owners.parts(&all).into_iter();
                let (mut part, mut owner) = parts.next().unwrap();
                for (index, expected) in AROUND.zip(&model) {
                    if index >= bounds(&part).1 {
                        (part, owner) = parts.next().unwrap();
                    }
                    assert_eq!(owner, *expected, "seed {seed}, block {index}");
                }
                let joined = owners.free.values().zip(owners.free.keys().skip(1)).all(|(end, start)| end < start);
                assert!(joined, "seed {seed}: free runs that meet are one");
            }
        }
    }

    #[test]
    fn what_is_left_is_in_order() {
        let all = [run(10, 20), run(5, 8), run(30, 31)];
        assert_eq!(
            without(&all, &[run(6, 7), run(12, 14), run(0, 1)]).iter().map(bounds).collect::<Vec<_>>(),
            [(10, 12), (14, 20), (5, 6), (7, 8), (30, 31)]
        );
        assert!(without(&all, &[run(0, 40)]).is_empty());
        assert!(overlap(&[run(3, 9), run(0, 4)]) && !overlap(&[run(4, 9), run(0, 4)]));
    }
}
