//! Closed segments that lie elsewhere, and their ends: what a segment tells of itself stands there.

use super::format::{FIRST_RECORD, TRAILER, Trailer};
use super::index::SEGMENT_BYTES_MAX;
use parking_lot::Mutex;
use std::io;

/// Bytes of a segment's end that are asked for at first: often all that is needed of it.
const END_GUESS: u64 = 16 << 10;
/// Ends that are asked for at a time.
const ASKS: usize = 8;
/// The part before the first record, of which nothing but the label is needed; the trailer has that too.
const LEAST_BYTES: u64 = FIRST_RECORD as u64 + TRAILER as u64;

/// Where the closed segments of a log are read. They are numbered as they were handed over.
pub trait Distant: Send + Sync {
    /// Fills `into` from `offset` of a segment on, which has so many bytes.
    ///
    /// # Errors
    /// In words that say what is missing, where it cannot be had.
    fn read(&self, segment: usize, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Why the end of a segment tells nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndError {
    /// It cannot be fetched.
    #[error(transparent)]
    Unread(#[from] io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Bad(&'static str),
}

/// The last bytes of a segment.
pub(super) struct End {
    pub(super) trailer: Trailer,
    /// Where they begin.
    pub(super) from: u64,
    pub(super) bytes: Vec<u8>,
}

impl End {
    /// Reads the end of a segment of `length` bytes, from where its trailer says that what is `wanted` begins.
    pub(super) fn read(
        distant: &dyn Distant,
        at: usize,
        length: u64,
        wanted: impl Fn(&Trailer) -> u64,
    ) -> Result<Self, EndError> {
        if length < LEAST_BYTES {
            return Err(EndError::Bad("it is shorter than any segment"));
        }
        if length > SEGMENT_BYTES_MAX.into() {
            return Err(EndError::Bad("it is longer than any segment"));
        }
        let from = length - END_GUESS.min(length);
        let mut bytes = vec![0; (length - from) as usize];
        distant.read(at, from, &mut bytes)?;
        let trailer = Trailer::read(&bytes, length).ok_or(EndError::Bad("it has no end as segments have"))?;
        let begin = wanted(&trailer);
        if begin >= from {
            return Ok(Self { trailer, from, bytes });
        }
        let mut before = vec![0; (from - begin) as usize];
        distant.read(at, begin, &mut before)?;
        before.append(&mut bytes);
        Ok(Self { trailer, from: begin, bytes: before })
    }

    /// Those of the bytes that lie between two places of the segment.
    pub(super) fn between(&self, from: u64, to: u64) -> Option<&[u8]> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.from)?).ok();
        self.bytes.get(place(from)?..place(to)?)
    }
}

/// Does something for each of `count` segments, for many at a time; the first failure ends it.
pub(super) fn for_each<T: Send, E: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = Mutex::new(0..count);
    let done = Mutex::new(Vec::with_capacity(count));
    let work = || loop {
        let Some(at) = next.lock().next() else { return };
        let result = work(at);
        if result.is_err() {
            *next.lock() = 0..0;
        }
        done.lock().push((at, result));
    };
    std::thread::scope(|scope| {
        for _ in 0..ASKS.min(count) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
