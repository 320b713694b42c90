//! Gets from a shared map: a grid's own memory, of a node on this machine, read without asking it.

use crate::connection::Deadline;
use crate::fault::{BlockError, Fault};
use crate::grid::{Block, Got, Grid};
use okapi_base::{Index, Slice};
use okapi_link::map::{MapMiss, MapReader};
use parking_lot::{Mutex, RwLock};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two attempts to get a map that was not to be had.
const PAUSE: Duration = Duration::from_secs(1);

/// Gets from one grid, over its shared map where that can answer and over the socket where not. What was acknowledged
/// before a get began is what the get finds, as over the socket.
#[derive(Debug, Clone)]
pub struct MapGets(Arc<Inner>);

struct Inner {
    grid: Grid,
    map: RwLock<Option<Mapped>>,
    /// When a map was last asked for; held while it is.
    asked: Mutex<Instant>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("grid", &self.grid).finish_non_exhaustive()
    }
}

/// A map, for as long as the node that made it lives: afterwards nobody would change or revoke it.
struct Mapped {
    reader: MapReader,
    dead: Arc<AtomicBool>,
    /// The connection the map came over, which a thread watches.
    watched: UnixStream,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Ends the thread. An error would mean that the connection is gone already, and the thread with it.
        let _ = self.watched.shutdown(std::net::Shutdown::Both);
    }
}

impl Grid {
    /// Gets over the grid's shared map; nothing if there is none (it takes a unix socket and a memory grid).
    #[must_use]
    pub fn map(&self) -> Option<MapGets> {
        match Mapped::fetch(self) {
            Ok(mapped) => {
                let map = RwLock::new(Some(mapped));
                Some(MapGets(Arc::new(Inner { grid: self.clone(), map, asked: Mutex::new(Instant::now()) })))
            }
            Err(fault) => {
                tracing::debug!(grid = self.name(), %fault, "no shared map");
                None
            }
        }
    }
}

impl MapGets {
    /// As [`Grid::get_into`].
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get_into(&self, index: Index, slice: Slice, into: &mut [u8]) -> Result<Option<Got>, BlockError> {
        for _ in 0..2 {
            match self.try_map(index, slice, into) {
                Some(Ok(got)) => return Ok(got),
                // The map has grown or moved: with the new one at hand it is worth another try.
                Some(Err(miss)) if self.renew(miss) => {}
                _ => break,
            }
        }
        self.0.grid.get_into(index, slice, into)
    }

    /// As [`Grid::get`].
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get(&self, index: Index) -> Result<Option<Block>, BlockError> {
        let mut bytes = vec![0; self.0.grid.block_size().bytes() as usize];
        let Some(got) = self.get_into(index, Slice::WHOLE, &mut bytes)? else { return Ok(None) };
        bytes.truncate(got.filled);
        let crc = okapi_base::crc32c(&bytes);
        Ok(Some(Block { bytes, length: got.length, generation: got.generation, crc }))
    }

    /// The grid.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.0.grid
    }

    /// Whether a map is at hand that can answer; if not, gets go over the socket.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.0.map.read().as_ref().is_some_and(|mapped| !mapped.dead.load(Ordering::Acquire))
    }

    /// Nothing if there is no map that lives.
    #[inline]
    fn try_map(&self, index: Index, slice: Slice, into: &mut [u8]) -> Option<Result<Option<Got>, MapMiss>> {
        let map = self.0.map.read();
        let Some(mapped) = map.as_ref().filter(|mapped| !mapped.dead.load(Ordering::Acquire)) else {
            drop(map);
            // For the next get.
            self.renew(MapMiss::Revoked);
            return None;
        };
        let found = mapped.reader.get(index, slice, into);
        Some(found.map(|found| {
            found.map(|found| Got { filled: found.copied, length: found.length, generation: found.generation })
        }))
    }

    /// Fetches the map again if the miss asks for it; says whether it is worth asking the map again.
    fn renew(&self, miss: MapMiss) -> bool {
        let rests = match miss {
            MapMiss::Busy | MapMiss::Damaged => return false,
            // These come once each time the grid grows; the others as often as somebody asks.
            MapMiss::Moved | MapMiss::UnknownSegment(_) => Duration::ZERO,
            MapMiss::Revoked => PAUSE,
        };
        // One thread fetches it; the others ask over the socket meanwhile.
        let Some(mut asked) = self.0.asked.try_lock() else { return false };
        if asked.elapsed() < rests {
            return false;
        }
        let fetched = Mapped::fetch(&self.0.grid);
        *asked = Instant::now();
        match fetched {
            Ok(mapped) => {
                *self.0.map.write() = Some(mapped);
                true
            }
            Err(fault) => {
                tracing::debug!(grid = self.0.grid.name(), %fault, "the shared map is gone");
                *self.0.map.write() = None;
                false
            }
        }
    }
}

impl Mapped {
    /// Asks for all parts of the map, over a connection of its own.
    fn fetch(grid: &Grid) -> Result<Self, Fault> {
        let deadline = Deadline::after(grid.client().pool.settings().connect_timeout);
        let (mut lease, handle) = grid.stream(&deadline)?;
        let damaged = |error: okapi_link::map::MapError| Fault::Nonsense { why: error.to_string() };
        let (fds, layout) = lease.map_part(handle, 0, &deadline)?;
        let mut reader = MapReader::open(fds, &layout).map_err(damaged)?;
        let mut at = 0;
        while let Some(next) = reader.next_part() {
            if next <= at {
                return Err(Fault::Nonsense { why: "the parts of the shared map go round in circles".to_owned() });
            }
            at = next;
            let (fds, layout) = lease.map_part(handle, next, &deadline)?;
            reader.extend(fds, &layout).map_err(damaged)?;
        }
        let dead = Arc::new(AtomicBool::new(false));
        let local = |error: std::io::Error| Fault::Local { what: "watching the shared map", why: error.to_string() };
        let watched = UnixStream::from(lease.fd().try_clone_to_owned().map_err(local)?);
        let flag = dead.clone();
        let watch = move || {
            let fault = lease.watch(&Deadline::after(Duration::MAX));
            flag.store(true, Ordering::Release);
            tracing::debug!(%fault, "a shared map is no longer read");
            lease.end();
        };
        std::thread::Builder::new().name("okapi-map".to_owned()).spawn(watch).map_err(local)?;
        Ok(Self { reader, dead, watched })
    }
}
