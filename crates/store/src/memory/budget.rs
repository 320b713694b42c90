//! How much a store in memory may hold.

use okapi_base::map::SEGMENTS_MAX;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a whole store may hold, and holds.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    held: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, held: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are left.
    pub(super) fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(bytes).filter(|held| *held <= self.limit)
        });
        taken.map(drop).map_err(|_| NoRoom::Limit(self.limit))
    }

    pub(super) fn give(&self, bytes: u64) {
        let held = self.held.fetch_sub(bytes, Ordering::Relaxed);
        assert!(held >= bytes, "no more is given back than was taken");
    }
}

/// Why there is no room.
#[derive(Debug)]
pub(super) enum NoRoom {
    /// The store's limit in bytes.
    Limit(u64),
    /// The system gives no more.
    System(std::io::Error),
    /// All segment numbers are used up.
    Numbers,
}

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "the memory store may hold {limit} bytes and does"),
            Self::System(error) => write!(f, "the system gives the memory store no more memory ({error})"),
            Self::Numbers => write!(f, "the grid has used all {SEGMENTS_MAX} segment numbers; start the node anew"),
        }
    }
}
