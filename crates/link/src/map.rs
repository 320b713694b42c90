//! The reader of a shared map: gets from a grid of a node on this machine, without asking it.
//!
//! A map only makes gets faster. Whatever a reader cannot answer for is a [`MapMiss`], and the caller asks over the
//! socket. Nothing found in a map is trusted: places are checked against what is mapped before they are followed, and
//! whole blocks against their checksums.
#![allow(unsafe_code, reason = "maps memory that another process writes, and reads it by pointer")]

mod copy;
#[cfg(test)]
mod tests;

use okapi_base::map::{
    ENTRY_BYTES, Entry, HEADER_BYTES, Header, Key, Layout, LayoutError, MAGIC, MOVED, PROBES_MAX, REVOKED, Seen,
    SegmentAt, VERSION, home,
};
use okapi_base::{Generation, Index, Slice};
use rustix::fs::SealFlags;
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

/// How often a get begins again when the block changes under it.
const TRIES: usize = 16;
/// Segments one reader maps at most: 64 GiB and more.
const SEGMENTS_MAPPED_MAX: usize = 4096;

/// The mapped memory of one grid of a node.
pub struct MapReader {
    index: MappedIndex,
    block_size: u32,
    /// Ascending.
    segments: Vec<(SegmentAt, Mapping)>,
    next_part: Option<u32>,
}

/// What a get found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the whole block.
    pub length: u32,
    /// CRC-32C of the whole block. Checked if all of it was copied.
    pub crc: u32,
    /// Which put made it.
    pub generation: Generation,
    /// Bytes copied: the slice, cut at the block's end and at the end of the buffer.
    pub copied: usize,
}

/// Why a get was not answered from the map. Ask over the socket; and do with the map as said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapMiss {
    /// The index has grown into another: fetch the map again from segment 0.
    #[error("the shared map has moved")]
    Moved,
    /// The grid is no more, or not to be read any longer: drop the reader.
    #[error("the shared map is revoked")]
    Revoked,
    /// The block kept changing. Keep the map.
    #[error("the block keeps changing")]
    Busy,
    /// The block lies in a segment that is not mapped: fetch the part of the map from this number on.
    #[error("segment {0} of the shared map is not mapped")]
    UnknownSegment(u32),
    /// The map says what cannot be, or the block does not match its checksum. Keep the map; the socket's answer counts.
    #[error("the shared map is damaged at this block")]
    Damaged,
}

/// Why a map was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The layout is none.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is not one descriptor for the index and for each segment named.
    #[error("the shared map names {named} files and came with {came}")]
    Descriptors {
        /// The index and the segments of the layout.
        named: usize,
        /// Descriptors received.
        came: usize,
    },
    /// A file is not what the layout says, so reading it could be the end of this process.
    #[error("a file of the shared map {0}; read over the socket instead")]
    File(&'static str),
    /// The reader maps as many segments as it may.
    #[error("the shared map has more than {SEGMENTS_MAPPED_MAX} segments; read over the socket instead")]
    Segments,
    /// The system does not map it.
    #[error("the shared map cannot be mapped: {0}")]
    System(#[from] io::Error),
}

impl MapReader {
    /// A reader of the map whose first part came as `fds` and `layout`. While there are more parts
    /// ([`MapReader::next_part`]), [`MapReader::extend`] it by them.
    ///
    /// # Errors
    /// [`MapError`]; read over the socket then.
    pub fn open(fds: Vec<OwnedFd>, layout: &[u8]) -> Result<Self, MapError> {
        let (layout, index, segments) = received(fds, layout)?;
        let index = MappedIndex::open(&index, &layout)?;
        let mut reader = Self { index, block_size: layout.block_size, segments: Vec::new(), next_part: None };
        reader.take_segments(&layout, segments)?;
        Ok(reader)
    }

    /// Takes in another part of the map, or the same anew: adds segments, drops those that are no more, and follows
    /// the index if it has moved.
    ///
    /// # Errors
    /// [`MapError`]; the reader is then as it was.
    pub fn extend(&mut self, fds: Vec<OwnedFd>, layout: &[u8]) -> Result<(), MapError> {
        let (layout, index, segments) = received(fds, layout)?;
        if layout.block_size != self.block_size {
            return Err(MapError::File("is of another grid"));
        }
        if layout.epoch > self.index.epoch {
            self.index = MappedIndex::open(&index, &layout)?;
        }
        self.take_segments(&layout, segments)
    }

    /// The segment number from which the part after the last one is to be asked for, if there is one.
    #[must_use]
    pub fn next_part(&self) -> Option<u32> {
        self.next_part
    }

    /// Copies a slice of a block into `out`. Nothing means that the block is absent.
    ///
    /// # Errors
    /// [`MapMiss`]: the map cannot tell. `out` may have been written to.
    #[inline]
    pub fn get(&self, index: Index, slice: Slice, out: &mut [u8]) -> Result<Option<Found>, MapMiss> {
        for _ in 0..TRIES {
            if let Some(answer) = self.try_get(index, slice, out) {
                // What the index said holds only if it was still the index afterwards.
                fence(Ordering::Acquire);
                return match self.index.state() {
                    0 => answer,
                    state if state & REVOKED != 0 => Err(MapMiss::Revoked),
                    state if state & MOVED != 0 => Err(MapMiss::Moved),
                    _ => Err(MapMiss::Damaged),
                };
            }
            std::hint::spin_loop();
        }
        Err(MapMiss::Busy)
    }

    /// One try; nothing if the block changed meanwhile.
    #[inline]
    fn try_get(&self, index: Index, slice: Slice, out: &mut [u8]) -> Option<Result<Option<Found>, MapMiss>> {
        let entry = match self.index.find(index) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Some(Ok(None)),
            Err(miss) => return Some(Err(miss)),
        };
        let seen = entry.read().filter(|seen| seen.key == Key::of(index) && seen.generation != Generation::ABSENT)?;
        let answer = self.copy(&seen, slice, out);
        if entry.is_still(&seen) { Some(answer.map(Some)) } else { None }
    }

    #[inline]
    fn copy(&self, seen: &Seen, slice: Slice, out: &mut [u8]) -> Result<Found, MapMiss> {
        let (place, length) = (seen.place, seen.place.length());
        let number = place.segment();
        let at = self.segments.binary_search_by_key(&number, |(segment, _)| segment.number);
        let (_, segment) = &self.segments[at.map_err(|_| MapMiss::UnknownSegment(number))?];
        let offset = place.offset() as usize;
        if length > self.block_size || offset + length as usize > segment.length {
            return Err(MapMiss::Damaged);
        }
        let range = slice.within(length);
        let copied = range.len().min(out.len());
        let out = &mut out[..copied];
        // SAFETY: `offset` to `offset + length` is mapped, as just checked, and `range` lies within `length`.
        let from = unsafe { segment.start.as_ptr().cast_const().add(offset + range.start) };
        let found = Found { length, crc: seen.crc, generation: seen.generation, copied };
        if copied < length as usize {
            // SAFETY: as above; `copied` is at most the range's length.
            unsafe { copy::copy(from, out) };
            return Ok(found);
        }
        // SAFETY: as above.
        let crc = unsafe { copy::copy_with_crc(from, out) };
        if crc == seen.crc { Ok(found) } else { Err(MapMiss::Damaged) }
    }

    fn take_segments(&mut self, layout: &Layout, fds: Vec<OwnedFd>) -> Result<(), MapError> {
        let known = |number| self.segments.binary_search_by_key(&number, |(at, _)| at.number).is_ok();
        let mut fresh = Vec::new();
        for (at, fd) in layout.segments().iter().zip(fds) {
            // Numbers are never used twice, so what is mapped is what is meant.
            if !known(at.number) {
                fresh.push((*at, Mapping::open(&fd, at.bytes as usize)?));
            }
        }
        if self.segments.len() + fresh.len() > SEGMENTS_MAPPED_MAX {
            return Err(MapError::Segments);
        }
        let named = |at: &SegmentAt| layout.segments().iter().any(|named| named.number == at.number);
        self.segments.retain(|(at, _)| !(layout.from..layout.to).contains(&at.number) || named(at));
        self.segments.extend(fresh);
        self.segments.sort_unstable_by_key(|(at, _)| at.number);
        self.next_part = if layout.to == Layout::END { None } else { Some(layout.to) };
        Ok(())
    }
}

/// Takes apart what came.
fn received(fds: Vec<OwnedFd>, layout: &[u8]) -> Result<(Layout, OwnedFd, Vec<OwnedFd>), MapError> {
    let layout = Layout::decode(layout)?;
    let (named, came) = (layout.segments().len() + 1, fds.len());
    let mut fds = fds.into_iter();
    match fds.next() {
        Some(index) if named == came => Ok((layout, index, fds.collect())),
        _ => Err(MapError::Descriptors { named, came }),
    }
}

/// A mapped index.
struct MappedIndex {
    mapping: Mapping,
    entries: u64,
    seed: u64,
    epoch: u64,
}

impl MappedIndex {
    fn open(fd: &OwnedFd, layout: &Layout) -> Result<Self, MapError> {
        let length = usize::try_from(layout.entries).ok().and_then(|entries| entries.checked_mul(ENTRY_BYTES));
        let length = length.and_then(|length| length.checked_add(HEADER_BYTES));
        let mapping = Mapping::open(fd, length.ok_or(MapError::File("is too long"))?)?;
        let mut index = Self { mapping, entries: layout.entries, seed: 0, epoch: layout.epoch };
        let header = index.header();
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(MapError::File("is no index"));
        }
        let version = header.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(LayoutError::Version(version).into());
        }
        let same = header.entries.load(Ordering::Relaxed) == layout.entries
            && header.epoch.load(Ordering::Relaxed) == layout.epoch
            && header.block_size.load(Ordering::Relaxed) == layout.block_size;
        if !same {
            return Err(MapError::File("is another index than its layout says"));
        }
        index.seed = header.seed.load(Ordering::Relaxed);
        Ok(index)
    }

    #[inline]
    fn state(&self) -> u32 {
        self.header().state.load(Ordering::Relaxed)
    }

    #[inline]
    fn find(&self, index: Index) -> Result<Option<&Entry>, MapMiss> {
        let key = Key::of(index);
        let first = home(index, self.seed, self.entries);
        for step in 0..PROBES_MAX.min(self.entries) {
            let entry = self.entry((first + step) & (self.entries - 1));
            match entry.key() {
                found if found == key => return Ok(Some(entry)),
                Key::EMPTY => return Ok(None),
                _ => {}
            }
        }
        Err(MapMiss::Damaged)
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the mapping begins at a page and is longer than a header, which is made of atomics: any bytes are
        // valid, and they may change.
        unsafe { self.mapping.start.cast().as_ref() }
    }

    #[inline]
    fn entry(&self, number: u64) -> &Entry {
        assert!(number < self.entries);
        // SAFETY: the mapping is as long as the header and all entries, and an entry is made of atomics: any bytes are
        // valid, and they may change.
        unsafe { self.mapping.start.add(HEADER_BYTES + number as usize * ENTRY_BYTES).cast().as_ref() }
    }
}

/// A memory file of another process, mapped for reading.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to no thread; it is only ever read, and unmapped once, by its owner.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn open(fd: &OwnedFd, length: usize) -> Result<Self, MapError> {
        // A file that can shrink would kill who reads past its end; one without seals is none of ours.
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| MapError::File("is no memory file"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(MapError::File("is not sealed against shrinking"));
        }
        let size = rustix::fs::fstat(fd).map_err(io::Error::from)?.st_size;
        if u64::try_from(size).ok() != Some(length as u64) {
            return Err(MapError::File("has another size than its layout says"));
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, fd, 0)
                .map_err(io::Error::from)?
        };
        let start = NonNull::new(start.cast()).ok_or(MapError::File("was mapped at address 0"))?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; references into it live no longer than it.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}
