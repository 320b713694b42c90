//! The fjall engine: an LSM tree, for comparison and for small hot sets.
//!
//! Every block is one entry of one tree: its grid and index in plain as the key, its generation, checksum and payload
//! sealed as the value ([`value`]; `docs/format/fjall.md`). One thread syncs the journal for all who wait
//! ([`committer`]). Grids of durability `memory` are kept like those of `interval`: a tree on a disk has no other way.

mod committer;
mod grid;
#[cfg(test)]
mod tests;
mod value;

use crate::engine::{
    Blocks, Broken, Compacted, Damage, Engine, GridUsage, ReadError, Shape, StoreUsage, Verified, Watcher, WriteError,
};
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use committer::Committer;
use grid::{Grid, payload_bytes};
use okapi_base::{Generation, GridId, Index, Ticket, crc32c};
use okapi_seal::NodeKey;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use value::{HEAD_BYTES, Head, Vault};

/// Generations reserved at a time, so that none is used twice over a crash.
const GENERATIONS_RESERVED: u64 = 1 << 20;
/// The disk is measured again after this many bytes put.
const MEASURE_EVERY: u64 = 16 << 20;
/// Bytes of the disk that are left free: a tree whose journal meets the end of the disk is broken.
const DISK_RESERVE: u64 = 256 << 20;

/// How a tree is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the cache of blocks of the tree.
    pub cache_bytes: u64,
    /// Bytes the store may take on the disk, its journal (at most 512 MiB) not counted; 0 for no limit but the disk's.
    pub limit_bytes: u64,
    /// How long a write that nobody waits for may stay undurable.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, limit_bytes: 0, interval: Duration::from_secs(1) }
    }
}

/// Why a tree could not be opened. Nothing has been lost by that.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store at {} is in use by another process; stop that one first", path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// The key is not the one the store was made with.
    #[error("the store at {} was made with another key; start with the key file that belongs to it", path.display())]
    WrongKey {
        /// Its directory.
        path: PathBuf,
    },
    /// The tree cannot be read or written.
    #[error("the store at {} cannot be opened: {what}", path.display())]
    Failed {
        /// Its directory.
        path: PathBuf,
        /// The tree's own words.
        what: String,
    },
}

/// A store in an LSM tree. Dropping it makes everything durable and closes it.
pub struct Fjall {
    core: Arc<Core>,
    grids: RwLock<BTreeMap<GridId, Arc<Grid>>>,
    /// What was there when the store was opened, of grids not opened yet.
    found: Mutex<BTreeMap<GridId, GridUsage>>,
    thread: Option<JoinHandle<()>>,
}

/// What all grids of a store share.
struct Core {
    database: Database,
    blocks: Keyspace,
    facts: Keyspace,
    vault: Vault,
    committer: Committer,
    generations: Mutex<Generations>,
    directory: PathBuf,
    /// The directory, as errors say it.
    place: String,
    limit_bytes: u64,
    put_bytes: AtomicU64,
    freed_bytes: AtomicU64,
    disk: Mutex<Disk>,
}

struct Generations {
    last: u64,
    reserved: u64,
}

/// What is known of the disk, from time to time.
struct Disk {
    /// Bytes that may still be put before it is measured again.
    room: u64,
    refused: Option<String>,
}

impl Fjall {
    /// Opens the tree in `directory`, making it if it is not there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path, key: &NodeKey, settings: &Settings) -> Result<Self, OpenError> {
        let failed = |error: ::fjall::Error| match error {
            ::fjall::Error::Locked => OpenError::InUse { path: directory.to_owned() },
            other => OpenError::Failed { path: directory.to_owned(), what: other.to_string() },
        };
        let database = Database::builder(directory).cache_size(settings.cache_bytes).open().map_err(failed)?;
        let separate = || {
            // Large values are written to the tree once, and their sizes are known without reading them.
            KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()))
        };
        let blocks = database.keyspace("blocks", separate).map_err(failed)?;
        let facts = database.keyspace("facts", KeyspaceCreateOptions::default).map_err(failed)?;
        let vault = Vault::new(key.clone());
        check_key(&facts, &vault, &database)
            .map_err(failed)?
            .then_some(())
            .ok_or_else(|| OpenError::WrongKey { path: directory.to_owned() })?;
        let last = facts.get("generation").map_err(failed)?;
        let last = last.and_then(|last| Some(u64::from_le_bytes(last[..].try_into().ok()?))).unwrap_or(0);
        let found = count(&blocks).map_err(failed)?;
        let core = Arc::new(Core {
            database,
            blocks,
            facts,
            vault,
            committer: Committer::new(settings.interval),
            generations: Mutex::new(Generations { last, reserved: last }),
            directory: directory.to_owned(),
            place: directory.display().to_string(),
            limit_bytes: settings.limit_bytes,
            put_bytes: AtomicU64::new(0),
            freed_bytes: AtomicU64::new(0),
            disk: Mutex::new(Disk { room: 0, refused: None }),
        });
        let thread = std::thread::Builder::new().name("okapi-fjall".into()).spawn({
            let core = Arc::clone(&core);
            move || core.committer.run(&core.database)
        });
        let thread = thread.map_err(|error| failed(error.into()))?;
        Ok(Self { core, grids: RwLock::default(), found: Mutex::new(found), thread: Some(thread) })
    }
}

/// Whether the store was made with this key; a new store is marked as made with it.
fn check_key(facts: &Keyspace, vault: &Vault, database: &Database) -> ::fjall::Result<bool> {
    let (grid, index) = (GridId(u32::MAX), Index::MAX);
    if let Some(mark) = facts.get("key")? {
        return Ok(vault.open(grid, index, &mark, &mut [0; HEAD_BYTES]).is_ok());
    }
    facts.insert("key", vault.seal(grid, index, Head { generation: Generation::ABSENT, crc: 0 }, b""))?;
    database.persist(PersistMode::SyncAll)?;
    Ok(true)
}

/// What there is, by grid.
fn count(blocks: &Keyspace) -> ::fjall::Result<BTreeMap<GridId, GridUsage>> {
    let mut found = BTreeMap::<GridId, GridUsage>::new();
    for key in blocks.iter().map(::fjall::Guard::key) {
        let key = key?;
        let Some((grid, _)) = value::block_of(&key) else { continue };
        let usage = found.entry(grid).or_default();
        usage.blocks += 1;
        usage.bytes += u64::from(payload_bytes(blocks.size_of(&key)?.unwrap_or_default()));
    }
    Ok(found)
}

impl Engine for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    /// Opening a grid that is open gives the same grid; it keeps the shape it was first opened with.
    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        self.core.committer.check()?;
        let mut grids = self.grids.write();
        if let Some(grid) = grids.get(&id) {
            let size = grid.shape().block_size;
            assert_eq!(size, shape.block_size, "grid {} is opened with the block size it was made with", id.0);
            return Ok(Arc::clone(grid) as Arc<dyn Blocks>);
        }
        let usage = self.found.lock().remove(&id).unwrap_or_default();
        let grid = Arc::new(Grid::new(id, shape, usage, &self.core));
        grids.insert(id, Arc::clone(&grid));
        Ok(grid)
    }

    fn drop_grid(&self, id: GridId) -> Result<(), WriteError> {
        let mut grids = self.grids.write();
        match grids.get(&id) {
            Some(grid) => grid.drop_all()?,
            None => grid::remove_all(&self.core, id)?,
        }
        grids.remove(&id);
        self.found.lock().remove(&id);
        Ok(())
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        self.core.committer.durable()
    }

    fn watch(&self, watcher: Watcher) {
        self.core.committer.watch(watcher);
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(self.core.committer.flush()?)
    }

    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified {
        let mut verified = Verified { segments: self.core.segments(), ..Verified::default() };
        let mut room = vec![0; HEAD_BYTES + okapi_base::limits::BLOCK_SIZE_MAX as usize];
        for guard in self.core.blocks.iter() {
            verified.records += 1;
            let (block, checked) = self.core.check(guard, &mut room);
            match checked {
                Ok(bytes) => {
                    verified.blocks += 1;
                    verified.bytes += bytes;
                }
                Err(what) => {
                    verified.damages += 1;
                    report(Damage { block, place: self.core.place.clone(), what });
                }
            }
        }
        verified
    }

    fn compact(&self) -> Result<Compacted, WriteError> {
        let failed = |error| self.core.failed(&error);
        let (held_before, segments) = (self.core.held(), self.core.segments());
        self.core.blocks.rotate_memtable_and_wait().map_err(failed)?;
        self.core.blocks.major_compact().map_err(failed)?;
        let held_after = self.core.held();
        self.core.freed_bytes.fetch_add(held_before.saturating_sub(held_after), Ordering::Relaxed);
        let segments = segments.saturating_sub(self.core.segments());
        // The tree keeps a journal of fixed size, so it may hold more than before; that is no gain.
        Ok(Compacted { segments, moved_bytes: 0, held_before, held_after: held_after.min(held_before) })
    }

    fn usage(&self) -> StoreUsage {
        let open = self.grids.read().values().map(|grid| grid.usage()).collect::<Vec<_>>();
        let found = self.found.lock();
        let live = open
            .iter()
            .chain(found.values())
            .map(|usage| usage.bytes + usage.blocks * (value::OVERHEAD + value::KEY_BYTES) as u64);
        let live_bytes = live.sum();
        let put_bytes = self.core.put_bytes.load(Ordering::Relaxed);
        StoreUsage {
            live_bytes,
            // What lies in the tree's buffers is in its journal as well.
            held_bytes: self.core.held().max(live_bytes),
            limit_bytes: self.core.limit_bytes,
            segments: self.core.segments(),
            put_bytes,
            written_bytes: 0,
            moved_bytes: 0,
            freed_bytes: self.core.freed_bytes.load(Ordering::Relaxed),
            moving: 0,
        }
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        self.core.committer.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the fjall store's committer has panicked");
        }
    }
}

impl Core {
    /// What a failed write means: the tree refuses all others from then on.
    fn failed(&self, error: &::fjall::Error) -> WriteError {
        WriteError::Broken(self.committer.broken(format!("writing to {} failed ({error})", self.place)))
    }

    /// What a failed read of a block means.
    fn unread(&self, grid: GridId, index: Index, error: ::fjall::Error) -> ReadError {
        let place = self.place.clone();
        match error {
            ::fjall::Error::Io(source) | ::fjall::Error::Storage(::fjall::LsmError::Io(source)) => {
                ReadError::Io { grid, index, place, source }
            }
            other => ReadError::Corrupted { grid, index, place, what: other.to_string() },
        }
    }

    fn next_generation(&self) -> Result<Generation, WriteError> {
        let mut generations = self.generations.lock();
        if generations.last == generations.reserved {
            let reserved = generations.reserved + GENERATIONS_RESERVED;
            // The journal keeps order: no block of these generations is there without this.
            self.facts.insert("generation", reserved.to_le_bytes()).map_err(|error| self.failed(&error))?;
            generations.reserved = reserved;
        }
        generations.last += 1;
        Ok(Generation(generations.last))
    }

    /// Refuses `bytes` that the limit or the disk has no room for.
    fn room(&self, bytes: u64) -> Result<(), WriteError> {
        let mut disk = self.disk.lock();
        if disk.room < bytes {
            let free = rustix::fs::statvfs(&self.directory).map_or(u64::MAX, |facts| facts.f_bavail * facts.f_frsize);
            let free = free.saturating_sub(DISK_RESERVE);
            let left = if self.limit_bytes == 0 { u64::MAX } else { self.limit_bytes.saturating_sub(self.kept()) };
            disk.refused = if left < bytes {
                Some(format!("the store may take {} bytes of disk and does", self.limit_bytes))
            } else {
                Some(format!("the disk under {} has {free} bytes to give", self.place))
            };
            disk.room = free.min(left).min(MEASURE_EVERY.max(bytes));
        }
        if disk.room < bytes {
            return Err(WriteError::Full { what: disk.refused.clone().unwrap_or_default() });
        }
        disk.room -= bytes;
        Ok(())
    }

    /// Opens an entry of the tree and says whose it is, and how many bytes it has or what is wrong with it.
    fn check(&self, guard: ::fjall::Guard, room: &mut [u8]) -> (Option<(GridId, Index)>, Result<u64, String>) {
        let (key, value) = match guard.into_inner() {
            Ok(pair) => pair,
            Err(error) => return (None, Err(error.to_string())),
        };
        let Some((grid, index)) = value::block_of(&key) else { return (None, Err("a key is none".into())) };
        let checked = self.vault.open(grid, index, &value, room).and_then(|(head, length)| {
            let crc = crc32c(&room[HEAD_BYTES..HEAD_BYTES + length]);
            if crc == head.crc { Ok(length as u64) } else { Err("its checksum does not match".into()) }
        });
        (Some((grid, index)), checked)
    }

    fn count_put(&self, length: u32) {
        self.put_bytes.fetch_add(length.into(), Ordering::Relaxed);
    }

    /// Bytes of the tree, written or yet to be written from its buffers: all but the journal.
    fn kept(&self) -> u64 {
        self.blocks.disk_space() + self.database.write_buffer_size()
    }

    fn held(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }

    fn segments(&self) -> u64 {
        (self.blocks.table_count() + self.blocks.blob_file_count()) as u64
    }
}
