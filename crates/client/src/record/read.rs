//! Reading a record as a stream.

use super::{Extents, UNKNOWN};
use crate::connection::{Connection, Deadline};
use crate::fault::{Fault, RecordError};
use crate::grid::{Grid, check_got};
use crate::pool::Lease;
use okapi_base::limits::DESCRIPTORS_MAX;
use okapi_base::{Index, Slice};
use okapi_link::Backoff;
use okapi_wire::message::RecordInfo;
use okapi_wire::{GetAsk, Op, Status};
use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Bytes of the longest frame.
const FRAME: u64 = 1 << 20;
/// Bytes of the first frame after a jump: whoever jumps about reads little each time.
const FIRST_FRAME: u64 = 64 << 10;
/// Frames in flight while reading on and on.
const FLIGHT: usize = 4;

/// Reads a record as a stream, with several frames in flight ahead of the reader. A broken link is made again, and the
/// reading goes on where it was, unless the record has changed meanwhile.
#[derive(Debug)]
pub struct RecordReader {
    grid: Grid,
    record: RecordInfo,
    extents: Extents,
    /// The connection, from the first read on.
    stream: Option<(Lease, u32)>,
    range: Range<u64>,
    at: u64,
    /// What is here: the bytes of the record from `at - taken` on, of which `taken` are read.
    buffer: Vec<u8>,
    taken: usize,
    /// Frames in flight, with the bytes of the record they bring; the first continues the buffer.
    flying: VecDeque<(u32, Range<u64>)>,
    /// Frames in flight that nobody wants any more.
    unwanted: Vec<u32>,
    asks: Vec<GetAsk>,
    /// Bytes of the next frame.
    frame: u64,
    /// BLAKE3 of the first `hashed` bytes.
    hasher: blake3::Hasher,
    hashed: u64,
}

impl RecordReader {
    pub(super) fn open(grid: &Grid, record: RecordInfo) -> Result<Self, Fault> {
        Ok(Self {
            grid: grid.clone(),
            extents: Extents::new(&record, grid.block_size())?,
            stream: None,
            range: 0..record.length,
            at: 0,
            buffer: Vec::new(),
            taken: 0,
            flying: VecDeque::with_capacity(FLIGHT),
            unwanted: Vec::new(),
            asks: Vec::new(),
            frame: FIRST_FRAME,
            hasher: blake3::Hasher::new(),
            hashed: 0,
            record,
        })
    }

    /// The record.
    #[must_use]
    pub fn info(&self) -> &RecordInfo {
        &self.record
    }

    /// Reads only these bytes from here on, cut at the record's end; positions stay those of the record.
    pub fn limit(&mut self, range: Range<u64>) {
        let start = range.start.min(self.record.length);
        self.range = start..range.end.clamp(start, self.record.length);
        self.jump(start);
    }

    /// Checks what was read from the first byte to the last, in order, against the record's BLAKE3: true if they
    /// match, nothing if not all was read in order or the record's BLAKE3 is unknown.
    #[must_use]
    pub fn verify(&self) -> Option<bool> {
        let known = self.hashed == self.record.length && self.record.blake3 != UNKNOWN;
        known.then(|| *self.hasher.finalize().as_bytes() == self.record.blake3)
    }

    /// The next bytes, which are here then: none at the end. See [`RecordReader::consume`].
    pub(super) fn piece(&mut self) -> Result<&[u8], Fault> {
        if self.taken == self.buffer.len() && self.at < self.range.end {
            self.refill()?;
        }
        let left = usize::try_from(self.range.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let here = &self.buffer[self.taken..];
        Ok(&here[..here.len().min(left)])
    }

    /// Says that the first `count` bytes of [`RecordReader::piece`] are read.
    pub(super) fn consume(&mut self, count: usize) {
        if self.at == self.hashed {
            self.hasher.update(&self.buffer[self.taken..self.taken + count]);
            self.hashed += count as u64;
        }
        self.taken += count;
        self.at += count as u64;
    }

    /// Goes on reading at `to`.
    fn jump(&mut self, to: u64) {
        let from = self.at - self.taken as u64;
        if (from..from + self.buffer.len() as u64).contains(&to) {
            self.taken = usize::try_from(to - from).expect("the place is within the buffer");
        } else if to != self.at {
            self.buffer.clear();
            self.taken = 0;
            self.unwanted.extend(self.flying.drain(..).map(|(request, _)| request));
            self.frame = FIRST_FRAME;
        }
        self.at = to;
    }

    /// Gets what follows the buffer, which is read to its end.
    fn refill(&mut self) -> Result<(), Fault> {
        let deadline = self.grid.deadline();
        let mut backoff: Option<Backoff> = None;
        loop {
            let Err(fault) = self.refill_once(&deadline) else { return Ok(()) };
            self.abandon();
            let Fault::Broken { why } = fault else { return Err(fault) };
            let pool = &self.grid.client().pool;
            let delay = backoff.get_or_insert_with(|| pool.backoff()).delay();
            if !pool.reconnects() || deadline.left() <= delay {
                return Err(Fault::Broken { why });
            }
            std::thread::sleep(delay);
            let now = self.grid.look_up(&self.record.name)?;
            if now.generation != self.record.generation || now.extents != self.record.extents {
                return Err(Fault::refused(Status::Stale));
            }
        }
    }

    /// After a failure: what flies no longer continues what is here.
    fn abandon(&mut self) {
        self.buffer.clear();
        self.taken = 0;
        self.unwanted.extend(self.flying.drain(..).map(|(request, _)| request));
        if self.stream.as_ref().is_some_and(|(lease, _)| lease.is_broken()) {
            self.unwanted.clear();
            self.stream = None;
        }
    }

    fn refill_once(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        if self.stream.is_none() {
            self.stream = Some(self.grid.stream(deadline)?);
        }
        let (lease, handle) = self.stream.as_mut().expect("it was just made");
        for request in self.unwanted.drain(..) {
            lease.reply(request, deadline, |_| Ok(()))?;
        }
        // The buffer's bytes are read: from here on `at` is where the next ones go.
        self.buffer.clear();
        self.taken = 0;
        let mut next = self.flying.back().map_or(self.at, |(_, bytes)| bytes.end);
        // One frame at first, more as it is read on.
        let flight = if self.frame == FIRST_FRAME { 1 } else { FLIGHT };
        while self.flying.len() < flight && next < self.range.end {
            let size = u64::from(self.grid.block_size().bytes());
            let end = frame_end(next, self.frame, size).min(self.range.end);
            let request = submit(lease, *handle, &self.extents, size, next..end, &mut self.asks);
            self.flying.push_back((request, next..end));
            self.frame = (self.frame * 2).min(FRAME.max(size));
            next = end;
        }
        let (request, bytes) = self.flying.pop_front().expect("there is more to read, so something flies");
        let size = u64::from(self.grid.block_size().bytes());
        slices(&self.extents, size, bytes, &mut self.asks);
        let (asks, buffer) = (&self.asks, &mut self.buffer);
        let before = buffer.len();
        let mut short = None;
        let read = lease.outcomes(
            Some(request),
            deadline,
            |_| Some((Op::Get, asks.len())),
            |_, number, outcome, payload| {
                let ask = &asks[number];
                check_got(ask, &outcome, payload)?;
                if !outcome.status.is_ok() || payload.len() != ask.slice.length as usize {
                    short = short.or(Some((ask.index.unwrap_or_default(), outcome.status)));
                } else if short.is_none() {
                    buffer.extend_from_slice(payload);
                }
                Ok(())
            },
        );
        if read.is_err() {
            buffer.truncate(before);
        }
        read?;
        match short {
            None => Ok(()),
            Some((index, status)) => Err(missing(index, status)),
        }
    }

    fn error(&self, fault: Fault) -> RecordError {
        self.grid.record_error(&self.record.name, "reading it", fault)
    }
}

fn missing(index: Index, status: Status) -> Fault {
    let text = match status {
        Status::Ok | Status::Absent => "is not all there; was the record replaced or removed while it was read?",
        other => other.text(),
    };
    let status = if status.is_ok() { Status::Absent } else { status };
    Fault::Refused { status, text: format!("its block {index}: {text}") }
}

/// Where a frame of about `length` bytes ends that begins at `from`: at the end of a block.
fn frame_end(from: u64, length: u64, size: u64) -> u64 {
    let blocks = (length / size).clamp(1, u64::from(DESCRIPTORS_MAX));
    (from / size + blocks).saturating_mul(size)
}

/// The slices of blocks that hold these bytes of a record.
fn slices(extents: &Extents, size: u64, bytes: Range<u64>, asks: &mut Vec<GetAsk>) {
    asks.clear();
    let mut at = bytes.start;
    while at < bytes.end {
        let (index, offset) = extents.place(at);
        let length = (size - u64::from(offset)).min(bytes.end - at);
        let slice = Slice { offset, length: u32::try_from(length).expect("a block is shorter than 4 GiB") };
        asks.push(GetAsk { index: Some(index), slice });
        at += length;
    }
}

fn submit(
    lease: &mut Connection,
    handle: u32,
    extents: &Extents,
    size: u64,
    bytes: Range<u64>,
    asks: &mut Vec<GetAsk>,
) -> u32 {
    slices(extents, size, bytes, asks);
    lease.get(handle, asks)
}

impl Drop for RecordReader {
    fn drop(&mut self) {
        // A connection with answers on their way cannot be given back; take them in if they are worth less than it.
        if let Some((lease, _)) = &mut self.stream {
            let deadline = Deadline::after(std::time::Duration::from_secs(1));
            let flying = self.flying.drain(..).map(|(request, _)| request);
            for request in flying.chain(self.unwanted.drain(..)) {
                if lease.is_broken() || lease.reply(request, &deadline, |_| Ok(())).is_err() {
                    break;
                }
            }
        }
    }
}

/// Errors are [`RecordError`]s within [`io::Error`]s.
impl Read for RecordReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let piece = match self.piece() {
            Ok(piece) => piece,
            Err(fault) => return Err(io::Error::other(self.error(fault))),
        };
        let count = piece.len().min(into.len());
        into[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Positions are those of the record, whatever [`RecordReader::limit`] says; past the end nothing is read.
impl Seek for RecordReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.record.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the first byte"))?;
        self.jump(at);
        Ok(at)
    }
}
