//! A ring of bytes with one writer and one reader.
//!
//! The bytes lie in chunks, each behind a lock of its own: the two sides meet at a lock only when both are in the
//! same chunk, and then for the time of one copy. What may be read and written is told by two counters alone.

use parking_lot::{Mutex, MutexGuard};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a chunk, in rings that have at least as many.
const CHUNK: usize = 16 << 10;
/// Times a lock is tried before its holder is taken to have lost its processor.
const SPINS: u32 = 10_000;

/// The two sides of a new ring.
pub(super) fn ring(capacity: usize) -> (Writer, Reader) {
    let chunk = capacity.max(1).next_power_of_two().min(CHUNK);
    let chunks = capacity.max(1).div_ceil(chunk);
    let ring = Arc::new(Ring {
        chunks: (0..chunks).map(|_| Mutex::new(vec![0; chunk].into_boxed_slice())).collect(),
        shift: chunk.trailing_zeros(),
        capacity: (chunks * chunk) as u64,
        written: Counter::default(),
        read: Counter::default(),
    });
    (Writer { ring: ring.clone(), at: 0, written: 0, read_seen: 0 }, Reader { ring, at: 0, read: 0, written_seen: 0 })
}

#[derive(Debug)]
struct Ring {
    chunks: Box<[Mutex<Box<[u8]>>]>,
    /// A chunk has 2^shift bytes.
    shift: u32,
    capacity: u64,
    /// Bytes written since the beginning. Only the writer stores it.
    written: Counter,
    /// Bytes read since the beginning, never more than written. Only the reader stores it.
    read: Counter,
}

/// A counter with a cache line (and its prefetched neighbour) of its own, so that the sides do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

impl Ring {
    #[inline]
    fn chunk(&self, at: usize) -> (MutexGuard<'_, Box<[u8]>>, usize) {
        let chunk = &self.chunks[at >> self.shift];
        let offset = at & ((1 << self.shift) - 1);
        for _ in 0..SPINS {
            if let Some(guard) = chunk.try_lock() {
                return (guard, offset);
            }
            std::hint::spin_loop();
        }
        (chunk.lock(), offset)
    }

    /// Whether a sleeping writer should be woken for `room`: for a few bytes at a time it would do nothing but wake.
    fn is_worthy(&self, room: u64) -> bool {
        room >= self.capacity.div_ceil(4)
    }

    fn wrap(&self, at: usize) -> usize {
        if at as u64 == self.capacity { 0 } else { at }
    }
}

/// The writing side.
#[derive(Debug)]
pub(super) struct Writer {
    ring: Arc<Ring>,
    at: usize,
    written: u64,
    read_seen: u64,
}

impl Writer {
    /// Writes as much of `parts` as there is room for, and says how many bytes that was.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> usize {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let mut room = self.ring.capacity - (self.written - self.read_seen);
        if room < wanted as u64 {
            self.read_seen = self.ring.read.0.load(Ordering::Acquire);
            room = self.ring.capacity - (self.written - self.read_seen);
        }
        let total = wanted.min(room as usize);
        let mut left = total;
        let mut parts = parts.iter().map(|part| &**part);
        let mut part: &[u8] = &[];
        while left > 0 {
            let (mut chunk, mut offset) = self.ring.chunk(self.at);
            let start = offset;
            while left > 0 && offset < chunk.len() {
                while part.is_empty() {
                    part = parts.next().expect("the parts have as many bytes as were counted");
                }
                let count = part.len().min(left).min(chunk.len() - offset);
                chunk[offset..offset + count].copy_from_slice(&part[..count]);
                part = &part[count..];
                offset += count;
                left -= count;
            }
            drop(chunk);
            self.at = self.ring.wrap(self.at + (offset - start));
        }
        self.written += total as u64;
        self.ring.written.0.store(self.written, Ordering::Release);
        total
    }

    /// Whether there is enough room to wake up for.
    pub(super) fn has_worthy_room(&self) -> bool {
        self.ring.is_worthy(self.ring.capacity - (self.written - self.ring.read.0.load(Ordering::Acquire)))
    }
}

/// The reading side.
#[derive(Debug)]
pub(super) struct Reader {
    ring: Arc<Ring>,
    at: usize,
    read: u64,
    written_seen: u64,
}

impl Reader {
    /// Reads as much as there is and `into` has room for, and says how many bytes that was.
    pub(super) fn read(&mut self, into: &mut [u8]) -> usize {
        if self.written_seen - self.read < into.len() as u64 {
            self.written_seen = self.ring.written.0.load(Ordering::Acquire);
        }
        let total = into.len().min((self.written_seen - self.read) as usize);
        let mut done = 0;
        while done < total {
            let (chunk, offset) = self.ring.chunk(self.at);
            let count = (total - done).min(chunk.len() - offset);
            into[done..done + count].copy_from_slice(&chunk[offset..offset + count]);
            drop(chunk);
            done += count;
            self.at = self.ring.wrap(self.at + count);
        }
        if total > 0 {
            self.read += total as u64;
            self.ring.read.0.store(self.read, Ordering::Release);
        }
        total
    }

    pub(super) fn has_bytes(&self) -> bool {
        self.ring.written.0.load(Ordering::Acquire) != self.read
    }

    /// Whether the writer now has enough room to wake up for.
    pub(super) fn leaves_worthy_room(&self) -> bool {
        let written = self.ring.written.0.load(Ordering::Acquire);
        self.ring.is_worthy(self.ring.capacity - (written - self.read))
    }
}
