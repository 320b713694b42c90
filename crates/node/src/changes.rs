//! What has changed in a grid, in order, for those who follow it.
//!
//! Nothing is kept before a grid is followed for the first time. Then the newest changes are kept in a bounded ring:
//! whoever is further behind than that begins again with everything.

use crate::owners::{bounds, run};
use okapi_base::Index;
use okapi_wire::Run;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Changes kept of one grid.
pub(crate) const CHANGES_KEPT: usize = 1 << 16;

/// The changes of one grid.
pub(crate) struct Changes {
    /// The number by which sequences of this run of the node are told from those of others.
    pub(crate) epoch: u64,
    on: AtomicBool,
    ring: Mutex<Ring>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// These blocks were put or deleted.
    Blocks(Run),
    /// What a name stands for has changed.
    Name { name: Arc<str>, how: Renamed },
}

/// How what a name stands for has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renamed {
    /// It stood for nothing, and now for a record.
    Bound,
    /// It stood for a record whose blocks it has lost, to another or to nothing.
    Freed,
    /// It stands for the same blocks as before.
    Edited,
}

#[derive(Default)]
struct Ring {
    /// The sequence of the newest change. The first one is 2: a follower can resume after 1, which is everything.
    head: u64,
    kept: VecDeque<What>,
    /// The newest change of each block: start to end (not included) and sequence.
    blocks: BTreeMap<u64, (u64, u64)>,
    /// The newest change of each name, and the newest that was no edit.
    names: HashMap<Arc<str>, (u64, u64)>,
    watchers: Vec<(u64, Arc<dyn Fn() + Send + Sync>)>,
    limit: usize,
}

impl Changes {
    /// No changes yet.
    pub(crate) fn new(epoch: u64) -> Self {
        let ring = Ring { head: 1, limit: CHANGES_KEPT, ..Ring::default() };
        Self { epoch, on: AtomicBool::new(false), ring: Mutex::new(ring) }
    }

    /// Says that a block was changed; it must be after the change can be seen.
    #[inline]
    pub(crate) fn block(&self, index: Index) {
        if self.on.load(Ordering::SeqCst) {
            self.add(What::Blocks(Run { start: index, count: 1 }));
        }
    }

    /// Says that blocks were changed, likewise.
    pub(crate) fn run(&self, run: &Run) {
        if self.on.load(Ordering::SeqCst) {
            self.add(What::Blocks(*run));
        }
    }

    /// Says that what a name stands for has changed.
    pub(crate) fn name(&self, name: &str, how: Renamed) {
        if self.on.load(Ordering::SeqCst) {
            self.add(What::Name { name: name.into(), how });
        }
    }

    /// Begins to keep changes, if it has not begun, and calls `watcher` at each from now on.
    pub(crate) fn watch(&self, id: u64, watcher: Arc<dyn Fn() + Send + Sync>) {
        let mut ring = self.ring.lock();
        ring.watchers.push((id, watcher));
        self.on.store(true, Ordering::SeqCst);
    }

    /// Whether changes are kept.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Calls that watcher no more.
    pub(crate) fn unwatch(&self, id: u64) {
        self.ring.lock().watchers.retain(|(its, _)| *its != id);
    }

    /// Calls all watchers, though nothing has changed.
    pub(crate) fn wake(&self) {
        let ring = self.ring.lock();
        ring.watchers.iter().for_each(|(_, watcher)| watcher());
    }

    /// Keeps at most so many changes from now on.
    pub(crate) fn limit(&self, limit: usize) {
        self.ring.lock().limit = limit;
    }

    /// The sequence of the newest change.
    pub(crate) fn head(&self) -> u64 {
        self.ring.lock().head
    }

    /// Whether every change after `sequence` is still there.
    pub(crate) fn reaches(&self, sequence: u64) -> bool {
        let ring = self.ring.lock();
        sequence >= 1 && sequence <= ring.head && sequence + ring.kept.len() as u64 >= ring.head
    }

    /// The change with this sequence, or nothing if it has not been made or is no longer kept.
    pub(crate) fn at(&self, sequence: u64) -> Option<What> {
        let ring = self.ring.lock();
        let first = ring.first();
        ring.kept.get(usize::try_from(sequence.checked_sub(first)?).ok()?).cloned()
    }

    /// The newest kept change of a block, 0 if none.
    pub(crate) fn newest_of(&self, index: Index) -> u64 {
        let ring = self.ring.lock();
        let found = ring.blocks.range(..=index.get()).next_back();
        found.map_or(0, |(_, (end, sequence))| if index.get() < *end { *sequence } else { 0 })
    }

    /// The parts of a run whose newest kept change is after `sequence`.
    pub(crate) fn newer(&self, of: &Run, sequence: u64) -> Vec<Run> {
        let ring = self.ring.lock();
        let (start, end) = bounds(of);
        let before = ring.blocks.range(..=start).next_back().map_or(start, |(at, _)| *at);
        let parts = ring.blocks.range(before..end).filter(|(_, (until, its))| *until > start && *its > sequence);
        parts.map(|(at, (until, _))| run((*at).max(start), (*until).min(end))).collect()
    }

    /// The newest kept change of a name, and the newest that was no edit; 0 if none.
    pub(crate) fn newest_of_name(&self, name: &str) -> (u64, u64) {
        self.ring.lock().names.get(name).copied().unwrap_or((0, 0))
    }

    fn add(&self, what: What) {
        let mut ring = self.ring.lock();
        ring.add(what);
        while ring.kept.len() > ring.limit {
            ring.drop_oldest();
        }
        for (_, watcher) in &ring.watchers {
            watcher();
        }
    }
}

impl Ring {
    /// The sequence of the oldest change kept.
    fn first(&self) -> u64 {
        self.head + 1 - self.kept.len() as u64
    }

    fn add(&mut self, what: What) {
        self.head += 1;
        match &what {
            What::Blocks(changed) => {
                let (start, end) = bounds(changed);
                self.cut_out(start, end);
                self.blocks.insert(start, (end, self.head));
            }
            What::Name { name, how } => {
                let newest = self.names.entry(Arc::clone(name)).or_default();
                newest.0 = self.head;
                if *how != Renamed::Edited {
                    newest.1 = self.head;
                }
            }
        }
        self.kept.push_back(what);
    }

    fn drop_oldest(&mut self) {
        let sequence = self.first();
        match self.kept.pop_front() {
            Some(What::Blocks(changed)) => {
                let (start, end) = bounds(&changed);
                let stale = self.blocks.range(start..end).filter(|(_, (_, its))| *its == sequence);
                let stale: Vec<u64> = stale.map(|(at, _)| *at).collect();
                for at in stale {
                    self.blocks.remove(&at);
                }
            }
            Some(What::Name { name, .. }) => {
                if self.names.get(&name).is_some_and(|newest| newest.0 == sequence) {
                    self.names.remove(&name);
                }
            }
            None => {}
        }
    }

    fn cut_out(&mut self, start: u64, end: u64) {
        if let Some((at, (until, sequence))) = self.blocks.range(..start).next_back().map(|(at, value)| (*at, *value))
            && until > start
        {
            self.blocks.insert(at, (start, sequence));
            if until > end {
                self.blocks.insert(end, (until, sequence));
            }
        }
        while let Some((at, (until, sequence))) = self.blocks.range(start..end).next().map(|(at, value)| (*at, *value))
        {
            self.blocks.remove(&at);
            if until > end {
                self.blocks.insert(end, (until, sequence));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_before_it_is_wanted_and_no_more_than_the_limit_after() {
        let changes = Changes::new(9);
        changes.block(Index::new(1).unwrap());
        assert_eq!(changes.head(), 1);
        changes.watch(1, Arc::new(|| ()));
        changes.limit(3);
        for index in [5, 6, 5, 7] {
            changes.block(Index::new(index).unwrap());
        }
        changes.name("a", Renamed::Bound);
        assert_eq!(changes.head(), 6);
        assert!(changes.reaches(3) && changes.reaches(6) && !changes.reaches(2) && !changes.reaches(7));
        assert_eq!((changes.newest_of(Index::new(5).unwrap()), changes.newest_of(Index::new(6).unwrap())), (4, 0));
        assert_eq!(changes.at(4), Some(What::Blocks(run(5, 6))));
        assert_eq!((changes.at(3), changes.at(7)), (None, None));
        changes.run(&run(0, 10));
        assert_eq!(changes.newest_of(Index::new(5).unwrap()), 7);
        assert_eq!(changes.newer(&run(8, 20), 6), [run(8, 10)]);
        changes.name("a", Renamed::Edited);
        assert_eq!((changes.newest_of_name("a"), changes.newest_of_name("b")), ((8, 6), (0, 0)));
    }
}
