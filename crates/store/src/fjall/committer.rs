//! Makes writes durable, for all who wait at once.

use crate::engine::{Broken, Watcher};
use ::fjall::{Database, PersistMode};
use okapi_base::Ticket;
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// What writers tell the committer, and what it tells everybody.
pub(super) struct Committer {
    state: Mutex<State>,
    /// Something for the committer to do.
    wanted: Condvar,
    /// Durability has moved, or never will.
    moved: Condvar,
    interval: Duration,
}

#[derive(Default)]
struct State {
    /// Writes that are in the journal.
    written: u64,
    /// Up to which of them somebody waits.
    urgent: u64,
    durable: u64,
    broken: Option<Broken>,
    watcher: Option<Watcher>,
    closing: bool,
}

impl Committer {
    pub(super) fn new(interval: Duration) -> Self {
        Self { state: Mutex::default(), wanted: Condvar::new(), moved: Condvar::new(), interval }
    }

    /// Numbers a write that is now in the journal. Others may wait for an urgent one.
    pub(super) fn written(&self, urgent: bool) -> Ticket {
        let mut state = self.state.lock();
        state.written += 1;
        if urgent {
            state.urgent = state.written;
        }
        // The first write after a sync starts the interval; those after it find it running.
        if urgent || state.written == state.durable + 1 {
            self.wanted.notify_one();
        }
        Ticket(state.written)
    }

    pub(super) fn durable(&self) -> Result<Ticket, Broken> {
        let state = self.state.lock();
        state.broken.clone().map_or(Ok(Ticket(state.durable)), Err)
    }

    pub(super) fn check(&self) -> Result<(), Broken> {
        self.durable().map(drop)
    }

    /// The store has failed: for good.
    pub(super) fn broken(&self, why: String) -> Broken {
        let mut state = self.state.lock();
        let broken = state.broken.get_or_insert(Broken { why }).clone();
        let watcher = state.watcher.clone();
        drop(state);
        self.moved.notify_all();
        self.wanted.notify_all();
        if let Some(watcher) = watcher {
            watcher();
        }
        broken
    }

    pub(super) fn watch(&self, watcher: Watcher) {
        self.state.lock().watcher = Some(watcher);
    }

    /// Waits until everything written so far is durable.
    pub(super) fn flush(&self) -> Result<(), Broken> {
        let mut state = self.state.lock();
        let target = state.written;
        state.urgent = target;
        self.wanted.notify_one();
        while state.durable < target {
            if let Some(broken) = &state.broken {
                return Err(broken.clone());
            }
            self.moved.wait(&mut state);
        }
        state.broken.clone().map_or(Ok(()), Err)
    }

    /// Lets [`Committer::run`] end after a last sync.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.wanted.notify_all();
    }

    /// Syncs until closed; then syncs once more what is left.
    pub(super) fn run(&self, database: &Database) {
        while let Some(target) = self.next() {
            // Never again after a failure: the kernel may have dropped what it could not write.
            if let Err(error) = database.persist(PersistMode::SyncAll) {
                self.broken(format!("syncing its journal failed ({error})"));
                return;
            }
            let mut state = self.state.lock();
            state.durable = target;
            let watcher = state.watcher.clone();
            drop(state);
            self.moved.notify_all();
            if let Some(watcher) = watcher {
                watcher();
            }
        }
    }

    /// Waits for something to sync and says up to where it goes; nothing when closed or broken.
    fn next(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let mut due = None;
        loop {
            if state.broken.is_some() {
                return None;
            }
            let waiting = state.written > state.durable;
            let late = due.is_some_and(|due| Instant::now() >= due);
            if waiting && (state.urgent > state.durable || state.closing || late) {
                return Some(state.written);
            }
            if state.closing {
                return None;
            }
            if waiting {
                let due = *due.get_or_insert_with(|| Instant::now() + self.interval);
                self.wanted.wait_until(&mut state, due);
            } else {
                self.wanted.wait(&mut state);
            }
        }
    }
}
