//! The memory that all buffers share, and the thread that empties them.

use super::core::Core;
use super::units::Units;
use crate::limits::{BUFFER_PINNED_PART, DRAIN_EVERY, SYNC_EVERY};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Instant;

/// What buffers share.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Bytes at most.
    limit: usize,
    held: AtomicUsize,
    pinned: AtomicUsize,
    clock: Mutex<VecDeque<(Weak<Units>, u64)>>,
    buffers: Mutex<Vec<Weak<Core>>>,
    thread: OnceLock<Thread>,
    /// Held while the thread is at one of the buffers.
    tending: Mutex<()>,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            clock: Mutex::default(),
            buffers: Mutex::default(),
            thread: OnceLock::new(),
            tending: Mutex::default(),
        }
    }

    /// Whether so much is not durable yet that whoever writes more has to wait for it.
    pub(super) fn is_over(&self) -> bool {
        self.pinned.load(Ordering::Acquire) > self.limit / BUFFER_PINNED_PART
    }

    /// Bytes in memory.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Drops what was not looked at lately, down to the limit.
    pub(super) fn evict(&self) {
        if self.held() <= self.limit {
            return;
        }
        // Each block gets another round at most once: what is not durable stays however often it is passed.
        let rounds = self.clock.lock().len() * 2;
        for _ in 0..rounds {
            if self.held() <= self.limit {
                return;
            }
            let Some((units, block)) = self.clock.lock().pop_front() else { return };
            if let Some(alive) = units.upgrade()
                && !alive.pass(block)
            {
                self.clock.lock().push_back((units, block));
            }
        }
    }

    pub(super) fn took(&self, units: &Arc<Units>, block: u64, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.clock.lock().push_back((Arc::downgrade(units), block));
    }

    pub(super) fn gave(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(super) fn pin(&self, bytes: usize) {
        if self.pinned.fetch_add(bytes, Ordering::AcqRel) == 0
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    pub(super) fn unpin(&self, bytes: usize) {
        self.pinned.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Empties a buffer now and then from now on.
    pub(super) fn tend(self: &Arc<Self>, buffer: &Arc<Core>) -> std::io::Result<()> {
        let mut buffers = self.buffers.lock();
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(buffer));
        if self.thread.get().is_none() {
            let weak = Arc::downgrade(self);
            let spawned = std::thread::Builder::new().name("okapi-buffers".to_owned()).spawn(move || run(&weak))?;
            self.thread.get_or_init(|| spawned.thread().clone());
        }
        Ok(())
    }

    /// The thread is at no buffer for as long as this is held.
    pub(super) fn quiet(&self) -> MutexGuard<'_, ()> {
        self.tending.lock()
    }

    fn tend_all(&self, flush: bool) {
        let buffers = self.buffers.lock().clone();
        for buffer in buffers {
            let _tending = self.tending.lock();
            let Some(buffer) = buffer.upgrade() else { continue };
            if let Err(error) = if flush { buffer.flush_pinned() } else { buffer.drain() } {
                // Whoever flushes will be told; what could not be written stays in memory.
                tracing::warn!(%error, "what is buffered could not be written");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn run(pool: &Weak<Pool>) {
    for turn in 1u32.. {
        {
            let Some(pool) = pool.upgrade() else { return };
            if pool.pinned.load(Ordering::Acquire) == 0 {
                drop(pool);
                std::thread::park();
                continue;
            }
        }
        let until = Instant::now() + DRAIN_EVERY;
        while Instant::now() < until && pool.strong_count() > 0 {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        let Some(pool) = pool.upgrade() else { return };
        pool.tend_all(turn.is_multiple_of(SYNC_EVERY));
    }
}
