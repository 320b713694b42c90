//! What all reactors of a node share.

use crate::budget::Budget;
use crate::disk_workers::DiskWorkers;
use crate::seam::{Hosting, Visiting};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// See the module's text.
pub(crate) struct Shared<H: Hosting> {
    pub(crate) host: Arc<H>,
    pub(crate) workers: DiskWorkers<<H::Visitor as Visiting>::Patient>,
    /// Bytes of receive buffers beyond what each connection has for nothing.
    pub(crate) receive_budget: Arc<Budget>,
    /// Bytes of replies that wait, likewise.
    pub(crate) reply_budget: Arc<Budget>,
    /// How long the other end may keep us waiting in the middle of something.
    pub(crate) patience: Duration,
    pub(crate) seats: Arc<Seats>,
}

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Seats {
    limit: usize,
    taken: AtomicUsize,
}

/// A place for a connection; dropping it makes it free.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// A free place, if there is one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Seat> {
        let more = |taken| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Seat(self.clone()))
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
