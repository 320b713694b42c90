//! The durable engine: a log of sealed segments.
//!
//! A put is sealed on the caller's thread into a chunk of memory ([`writer`]); the committer writes chunks to the
//! active segment's file and makes them durable for all who wait at once ([`committer`]). A full segment gets a sealed
//! index at its end and never changes again. In memory each block costs 8 bytes ([`index`]). Opening loads the last
//! checkpoint of that index and replays what was written since ([`recover`]). Sparse segments are rewritten in the
//! background ([`compact`]). Every byte written is drawn in `docs/format/segment.md`.
//!
//! What holds always:
//! - The order of records in the log is the order of truth: for each block the last record counts. Compaction appends
//!   a copy only while the block still lies where it was read, so a copy is the last record of its block too.
//! - A segment's file is removed only after everything appended before that is durable.
//! - No offset of a segment is written twice with a record, and an unclosed segment found at opening is closed, never
//!   appended to: no nonce is used twice.
//! - Locks are taken in this order: those of the committer, writer, pipe, then the index of a grid.

mod blocks;
mod checkpoint;
mod committer;
mod compact;
mod disk;
mod ends;
mod follow;
mod format;
mod given;
mod granted;
mod identity;
mod index;
mod keeper;
mod keys;
mod look;
mod parts;
mod reader;
mod real_disk;
mod recover;
mod reserve;
mod scan;
mod sheet;
mod shelf;
mod verify;
mod writer;

pub use disk::{Disk, DiskFile};
pub use ends::Distant;
pub use follow::{ClosedSegment, Follower, RestoreError};
pub use granted::{GrantedError, GrantedGrid};
pub use look::{Look, LookError};
pub use real_disk::RealDisk;

use crate::engine::{Blocks, Broken, Compacted, Damage, Engine, Shape, StoreUsage, Verified, Watcher, WriteError};
use blocks::{Grid, Handle};
use committer::{Committer, Pipe};
use compact::{Budget, Goal};
use format::{Kind, StoreId};
use keys::Ring;
use okapi_base::{GridId, Index, Ticket};
use okapi_seal::{GridKey, NodeKey};
use parking_lot::{Condvar, Mutex, RwLock};
use reader::Pools;
use reserve::Reserve;
use shelf::Shelf;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::{Draft, Purpose, Writer};

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a segment's file, at most 16 MiB.
    pub segment_bytes: u32,
    /// Bytes the store may take on the disk; 0 for no limit but the disk's own.
    pub limit_bytes: u64,
    /// How long a write that nobody waits for may stay undurable.
    pub interval: Duration,
    /// Bytes per second that compaction may read and write together; 0 for no limit.
    pub compaction_rate: u64,
    /// Segments closed after which the index is checkpointed. A larger index is checkpointed less often.
    pub checkpoint_every: u32,
    /// Whether the log works with threads of its own. Without, whoever calls does the work, at well-defined places:
    /// for tests that cut the power there.
    pub threads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            limit_bytes: 0,
            interval: Duration::from_secs(1),
            compaction_rate: 200 << 20,
            checkpoint_every: 64,
            threads: true,
        }
    }
}

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The store was made.
    pub created: bool,
    /// Segments there are now.
    pub segments: u64,
    /// Blocks there are now, in all grids.
    pub blocks: u64,
    /// Segments whose index was read, because the checkpoint does not cover them.
    pub replayed: u64,
    /// Records at the end of the log that nobody was told were durable and that are not whole, or follow one that is not.
    pub dropped_records: u64,
    /// Bytes of those records.
    pub dropped_bytes: u64,
    /// Segments at the end of the log in which no record could be recognised though something was written: their files
    /// were not removed but renamed to `*.damaged`, for whoever wants to look. A power cut can leave such.
    pub set_aside: u64,
    /// The checkpoint was missing or damaged, and the index was rebuilt from all segments.
    pub rebuilt: bool,
    /// What is damaged. Everything else is there.
    pub damages: Vec<Damage>,
    /// How long it took.
    pub took: Duration,
}

/// Why a log could not be opened. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key is not the one the store was made with.
    #[error("the store was made with another key; start with the key file that belongs to it")]
    WrongKey,
    /// A newer version made the store.
    #[error("the store has format {found} and this program knows up to {known}; use a newer one")]
    NewerFormat {
        /// The store's.
        found: u16,
        /// This program's.
        known: u16,
    },
    /// There are segments, and nothing that says whose.
    #[error(
        "the file `store` is missing or damaged beyond repair though there are segments; bring it back from a copy"
    )]
    NoIdentity,
    /// A setting makes no sense.
    #[error("{setting} = {value} cannot be: {why}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        why: String,
    },
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's own words.
        source: io::Error,
    },
}

fn damage(place: String, what: impl Into<String>) -> Damage {
    Damage { block: None, place, what: what.into() }
}

/// A durable store. Dropping it closes it: everything is made durable and the index checkpointed.
pub struct Log {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

/// What the log and the handles of its grids share.
struct Inner {
    disk: Arc<dyn Disk>,
    ring: Arc<Ring>,
    store: StoreId,
    settings: Settings,
    writer: Mutex<Writer>,
    pipe: Mutex<Pipe>,
    /// There is something to write.
    work: Condvar,
    /// There is something to make durable.
    sync_work: Condvar,
    /// Whoever makes durable waits until something is appended.
    sync_dozes: AtomicBool,
    /// Something was written, or became durable, or failed.
    progress: Condvar,
    /// So much was written that puts need not wait any more.
    room: Condvar,
    committer: Committer,
    grids: RwLock<HashMap<GridId, Arc<Grid>>>,
    shelf: Shelf,
    reserve: Reserve,
    pools: Pools,
    watcher: RwLock<Option<Watcher>>,
    follower: RwLock<Option<Arc<dyn Follower>>>,
    /// The newest record appended.
    appended: AtomicU64,
    /// The newest record known to be durable, and with it all before.
    durable: AtomicU64,
    /// Up to where files are written: segment (32 bits) and offset (32 bits).
    frontier: AtomicU64,
    /// Bytes handed to the committer and not yet written.
    unwritten: AtomicUsize,
    /// Bytes the store may take; 0 for no limit.
    limit: AtomicU64,
    /// Files were made, renamed or removed since the directory was last made durable.
    directory_changed: AtomicBool,
    /// The last segment that the checkpoint covers.
    checkpointed: AtomicU32,
    /// One checkpoint at a time.
    checkpointing: Mutex<()>,
    /// One compaction at a time, and what it may spend.
    compaction: Mutex<Budget>,
    /// Far more is held than lives: puts help to compact.
    crowded: AtomicBool,
    keeper_stopping: Mutex<bool>,
    keeper_wakes: Condvar,
    /// The keeper looks only now and then, until something is appended.
    keeper_dozes: AtomicBool,
    put_bytes: AtomicU64,
    written_bytes: AtomicU64,
    moved_bytes: AtomicU64,
    freed_bytes: AtomicU64,
}

impl Log {
    /// Opens the store on `disk`, making it if there is none.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is no error: it is in [`Opened::damages`].
    pub fn open(disk: Arc<dyn Disk>, key: &NodeKey, settings: Settings) -> Result<(Self, Opened), OpenError> {
        let started = Instant::now();
        check(&settings)?;
        let ring = Ring::new(key);
        let (state, mut opened) = recover::recover(&*disk, &ring)?;
        let sequence = state.writer.sequence;
        let frontier = u64::from(state.writer.next_segment) << 32;
        let limit = AtomicU64::new(settings.limit_bytes);
        let inner = Arc::new(Inner {
            disk,
            ring,
            store: state.store,
            settings,
            writer: Mutex::new(state.writer),
            pipe: Mutex::new(Pipe::starting_at(sequence)),
            work: Condvar::new(),
            sync_work: Condvar::new(),
            sync_dozes: AtomicBool::new(false),
            progress: Condvar::new(),
            room: Condvar::new(),
            committer: Committer::default(),
            grids: RwLock::new(state.grids),
            shelf: Shelf::default(),
            reserve: Reserve::default(),
            pools: Pools::new(),
            watcher: RwLock::new(None),
            follower: RwLock::new(None),
            appended: AtomicU64::new(sequence),
            durable: AtomicU64::new(sequence),
            frontier: AtomicU64::new(frontier),
            unwritten: AtomicUsize::new(0),
            limit,
            directory_changed: AtomicBool::new(false),
            checkpointed: AtomicU32::new(state.checkpointed),
            checkpointing: Mutex::new(()),
            compaction: Mutex::default(),
            crowded: AtomicBool::new(false),
            keeper_stopping: Mutex::new(false),
            keeper_wakes: Condvar::new(),
            keeper_dozes: AtomicBool::new(false),
            put_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            moved_bytes: AtomicU64::new(0),
            freed_bytes: AtomicU64::new(0),
        });
        inner.refill_reserve();
        let mut threads = Vec::new();
        if inner.settings.threads {
            // In this order they are stopped: what the first does needs the others.
            threads.push(spawn("okapi-keep", &inner, Inner::keep_until_stopped)?);
            threads.push(spawn("okapi-write", &inner, Inner::write_until_stopped)?);
            threads.push(spawn("okapi-sync", &inner, Inner::sync_until_stopped)?);
        }
        opened.took = started.elapsed();
        Ok((Self { inner, threads }, opened))
    }

    /// Does the next thing the committer has to do and says whether there was any: for tests without threads.
    #[doc(hidden)]
    pub fn step(&self) -> bool {
        self.inner.step()
    }

    /// Does what the keeper would do now: the same.
    #[doc(hidden)]
    pub fn keep(&self, idle: bool) -> bool {
        self.inner.keep(idle)
    }
}

fn spawn(name: &str, inner: &Arc<Inner>, work: fn(&Inner)) -> Result<JoinHandle<()>, OpenError> {
    let inner = Arc::clone(inner);
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&inner));
    started.map_err(|source| OpenError::Io { what: "starting a thread".to_owned(), source })
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    let bytes = settings.segment_bytes;
    if !(16 << 10..=index::SEGMENT_BYTES_MAX).contains(&bytes) || !bytes.is_multiple_of(4096) {
        let why = "segments have 16 KiB to 16 MiB, in whole pages of 4 KiB".to_owned();
        return Err(OpenError::Setting { setting: "segment_bytes", value: bytes.into(), why });
    }
    let least = u64::from(bytes) * 4;
    if settings.limit_bytes != 0 && settings.limit_bytes < least {
        let why = format!("the least that works with this segment size is {least}");
        return Err(OpenError::Setting { setting: "limit_bytes", value: settings.limit_bytes, why });
    }
    Ok(())
}

impl Engine for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        let grid = Arc::clone(self.inner.grids.write().entry(id).or_insert_with(|| Arc::new(Grid::new(id))));
        Ok(Arc::new(Handle { log: Arc::clone(&self.inner), grid, shape }))
    }

    fn drop_grid(&self, id: GridId) -> Result<(), WriteError> {
        let sequence = {
            let mut w = self.inner.writer.lock();
            let Some(grid) = self.inner.grids.read().get(&id).cloned() else { return Ok(()) };
            let generation = w.next_generation();
            let draft = Draft { kind: Kind::GridDrop, grid: id, index: Index::MIN, generation, crc: 0, payload: &[] };
            let location = self.inner.append(&mut w, &draft, Purpose::Delete)?;
            w.given.drop_grid(id, location.segment());
            if let Some((_, old)) = w.drops.insert(id, (generation, location)) {
                w.count(old, false);
            }
            w.count(location, true);
            grid.dropped.store(true, Relaxed);
            self.inner.grids.write().remove(&id);
            let index = std::mem::take(&mut *grid.index.write());
            index.entries(0).for_each(|(_, location)| w.count(location, false));
            w.sequence
        };

        self.inner.wait_durable(sequence)
    }

    fn give_key(&self, id: GridId, at_least: u16) -> Result<Option<GridKey>, WriteError> {
        self.inner.give_key(id, at_least).map(Some)
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        if let Some(broken) = &self.inner.pipe.lock().broken {
            return Err(broken.clone());
        }
        Ok(Ticket(self.inner.durable.load(Acquire)))
    }

    fn watch(&self, watcher: Watcher) {
        *self.inner.watcher.write() = Some(watcher);
    }

    fn flush(&self) -> Result<(), WriteError> {
        let sequence = self.inner.writer.lock().sequence;
        self.inner.wait_durable(sequence)
    }

    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified {
        self.inner.verify(report)
    }

    fn compact(&self) -> Result<Compacted, WriteError> {
        self.inner.compact_all()
    }

    fn usage(&self) -> StoreUsage {
        let w = self.inner.writer.lock();
        StoreUsage {
            live_bytes: w.live_bytes(),
            held_bytes: w.held,
            limit_bytes: self.inner.limit.load(Relaxed),
            segments: w.segments.len() as u64,
            put_bytes: self.inner.put_bytes.load(Relaxed),
            written_bytes: self.inner.written_bytes.load(Relaxed),
            moved_bytes: self.inner.moved_bytes.load(Relaxed),
            freed_bytes: self.inner.freed_bytes.load(Relaxed),
            moving: w.given.moving(),
        }
    }
}

impl Inner {
    fn call_watcher(&self) {
        let watcher = self.watcher.read().clone();
        if let Some(watcher) = watcher {
            watcher();
        }
    }

    /// Tries to free room for a put that found none; false if there is nothing to free.
    fn make_room(&self) -> bool {
        // Segments are compacted once their footers are written.
        if self.flush_all().and_then(|()| self.wait_until_closed()).is_err() {
            return false;
        }
        // A checkpoint makes the notes of earlier releases worthless.
        if let Err(error) = self.checkpoint() {
            tracing::warn!("no checkpoint could be written: {error}");
        }
        let gained = |round: Option<Compacted>| round.is_some_and(|gain| gain.held_after < gain.held_before);
        self.compact_round(Goal::Room, true).is_ok_and(gained)
    }

    /// Makes everything durable, closes the active segment, checkpoints, and refuses all writes from now on.
    fn close(&self) -> Result<(), WriteError> {
        self.close_active(&mut self.writer.lock());
        self.flush_all()?;
        self.wait_until_closed()?;
        let is_new = {
            let w = self.writer.lock();
            w.broken.is_none()
                && w.segments.keys().next_back().is_some_and(|last| *last > self.checkpointed.load(Acquire))
        };
        if is_new {
            self.checkpoint()?;
        }
        let mut w = self.writer.lock();
        w.broken.get_or_insert_with(|| Broken { why: "it has been closed".to_owned() });
        let sequence = w.sequence;
        drop(w);
        self.wait_durable(sequence)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        *self.inner.keeper_stopping.lock() = true;
        self.inner.keeper_wakes.notify_all();
        let mut threads = self.threads.drain(..);
        let join = |thread: Option<JoinHandle<()>>| {
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a thread of the store panicked");
            }
        };
        // The keeper first: what it does needs the committer.
        join(threads.next());
        if let Err(error) = self.inner.close() {
            tracing::error!("the store could not be closed cleanly: {error}");
        }
        self.inner.pipe.lock().stopping = true;
        self.inner.work.notify_all();
        self.inner.sync_work.notify_all();
        threads.for_each(|thread| join(Some(thread)));
    }
}

#[cfg(test)]
mod tests;
