//! Writing a record as a stream.

use super::{check_content_type, check_name};
use crate::connection::Deadline;
use crate::fault::{Fault, RecordError};
use crate::grid::Grid;
use crate::pool::Lease;
use okapi_base::limits::EXTENTS_MAX;
use okapi_base::{Generation, Index, crc32c};
use okapi_grid::ask;
use okapi_wire::message::{Lease as Reservation, RecordBind, RecordBound, RecordInfo, RecordReserve, Reserved};
use okapi_wire::{Op, PutAsk, Run, Status, flags};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::SystemTime;

/// Bytes sent in one frame.
const FRAME: usize = 1 << 20;
/// Frames in flight.
const FLIGHT: usize = 4;
/// Bytes set aside at first for a record of unknown length, and the most in one step: each is double the one before.
const FIRST_STEP: u64 = 1 << 20;
const LAST_STEP: u64 = 1 << 30;

/// Writes a record as a stream. Dropped without [`RecordWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct RecordWriter {
    grid: Grid,
    name: String,
    lease: Lease,
    handle: u32,
    /// The reservation at the node, 0 before the first.
    reservation: u64,
    reserved: Vec<Run>,
    /// Of the reserved runs: the one in use, and how many of its blocks are written.
    run: usize,
    used: u64,
    step: u64,
    buffer: Vec<u8>,
    flying: VecDeque<(u32, usize)>,
    hasher: blake3::Hasher,
    written: u64,
    /// Why nothing more can be written.
    failed: Option<Fault>,
    done: bool,
}

impl RecordWriter {
    pub(super) fn open(grid: &Grid, name: &str, length: Option<u64>) -> Result<Self, Fault> {
        let deadline = grid.deadline();
        let (lease, handle) = grid.stream(&deadline)?;
        let mut this = Self {
            grid: grid.clone(),
            name: name.to_owned(),
            lease,
            handle,
            reservation: 0,
            reserved: Vec::new(),
            run: 0,
            used: 0,
            step: grid.block_size().blocks_for(FIRST_STEP),
            buffer: Vec::new(),
            flying: VecDeque::with_capacity(FLIGHT),
            hasher: blake3::Hasher::new(),
            written: 0,
            failed: None,
            done: false,
        };
        if let Some(length) = length.filter(|length| *length > 0) {
            this.reserve(grid.block_size().blocks_for(length), &deadline)?;
        }
        Ok(this)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Binds the name to what was written, replacing a record that had it. When this returns it is durable.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is bound then (after [`crate::Fault::Interrupted`]: perhaps).
    pub fn finish(mut self, content_type: &str) -> Result<RecordInfo, RecordError> {
        self.complete(content_type, None).map_err(|fault| self.error(fault))
    }

    /// As [`RecordWriter::finish`], but only if the record of that name is at `expect`
    /// ([`Generation::ABSENT`]: if there is none).
    ///
    /// # Errors
    /// [`RecordError`], with [`okapi_wire::Status::Stale`] if it is not.
    pub fn finish_if(mut self, content_type: &str, expect: Generation) -> Result<RecordInfo, RecordError> {
        self.complete(content_type, Some(expect)).map_err(|fault| self.error(fault))
    }

    fn error(&self, fault: Fault) -> RecordError {
        self.grid.record_error(&self.name, "writing it", fault)
    }

    /// Bytes of one frame: whole blocks.
    fn frame_bytes(&self) -> usize {
        FRAME.max(self.grid.block_size().bytes() as usize)
    }

    /// Takes all of `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        self.take_in(bytes).inspect_err(|fault| self.failed = Some(fault.clone()))
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        let frame = self.frame_bytes();
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= frame {
                let (whole, rest) = bytes.split_at(frame);
                self.send(whole)?;
                bytes = rest;
                continue;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(frame - self.buffer.len()));
            self.buffer.extend_from_slice(piece);
            bytes = rest;
            if self.buffer.len() == frame {
                self.send_buffer()?;
            }
        }
        Ok(())
    }

    fn send_buffer(&mut self) -> Result<(), Fault> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let sent = self.send(&buffer);
        buffer.clear();
        self.buffer = buffer;
        sent
    }

    /// Sends the next blocks of the record; only the last one of all may be shorter than a block.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let deadline = self.grid.deadline();
        let size = self.grid.block_size().bytes() as usize;
        let mut puts: Vec<(PutAsk, &[u8])> = Vec::with_capacity(bytes.len().div_ceil(size));
        for block in bytes.chunks(size) {
            let index = self.next_block(&deadline)?;
            puts.push((PutAsk::whole(index, block, crc32c(block)), block));
        }
        for puts in puts.chunks(usize::from(okapi_base::limits::DESCRIPTORS_MAX)) {
            while self.flying.len() >= FLIGHT {
                self.land(&deadline)?;
            }
            self.grid.client().pool.note_relaxed(&mut self.lease);
            let request = self.lease.put(self.handle, flags::RELAXED | flags::RECORD, puts, &deadline)?;
            self.flying.push_back((request, puts.len()));
        }
        Ok(())
    }

    /// Waits for the oldest frame in flight.
    fn land(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        let Some((request, count)) = self.flying.pop_front() else { return Ok(()) };
        let failed = self.lease.reply(request, deadline, |frame| {
            Ok(ask::outcomes(frame, Op::Put, count)?.map(|(outcome, _)| outcome.status).find(|status| !status.is_ok()))
        })?;
        failed.map_or(Ok(()), |status| Err(Fault::refused(status)))
    }

    /// The next block set aside for this record.
    fn next_block(&mut self, deadline: &Deadline) -> Result<Index, Fault> {
        loop {
            if let Some(run) = self.reserved.get(self.run) {
                if self.used < run.count {
                    self.used += 1;
                    return Ok(run.start.plus(self.used - 1).expect("a run ends within the grid"));
                }
                // The last run may yet be made longer.
                if self.run + 1 < self.reserved.len() {
                    (self.run, self.used) = (self.run + 1, 0);
                    continue;
                }
            }
            let blocks = self.step;
            self.step = (self.step * 2).min(self.grid.block_size().blocks_for(LAST_STEP));
            self.reserve(blocks, deadline)?;
        }
    }

    fn reserve(&mut self, blocks: u64, deadline: &Deadline) -> Result<(), Fault> {
        let ask = RecordReserve { lease: self.reservation, blocks, from: None };
        let request = self.lease.message(Op::RecordReserve, self.handle, &ask);
        let Reserved { lease, extents } = self.lease.read(request, Op::RecordReserve, deadline)?;
        let count: u64 = extents.iter().fold(0, |sum, run| sum.saturating_add(run.count));
        if count != blocks || lease == 0 || (self.reservation != 0 && lease != self.reservation) {
            let why = format!("asked for {blocks} blocks, it sets {count} aside under lease {lease}");
            return Err(Fault::Nonsense { why });
        }
        self.reservation = lease;
        for run in extents {
            match self.reserved.last_mut() {
                Some(last) if last.last().next() == Some(run.start) => last.count += run.count,
                _ => self.reserved.push(run),
            }
        }
        if self.reserved.len() > EXTENTS_MAX {
            let text = format!("the grid is so fragmented that the record would have more than {EXTENTS_MAX} pieces");
            return Err(Fault::Refused { status: Status::TooLong, text });
        }
        Ok(())
    }

    fn complete(&mut self, content_type: &str, expect: Option<Generation>) -> Result<RecordInfo, Fault> {
        check_name(&self.name)?;
        check_content_type(content_type)?;
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        if !self.buffer.is_empty() {
            self.send_buffer()?;
        }
        let deadline = self.grid.deadline();
        while !self.flying.is_empty() {
            self.land(&deadline)?;
        }
        let (extents, surplus) = self.written_runs();
        let modified = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis());
        let mut record = RecordInfo {
            name: self.name.clone(),
            length: self.written,
            modified: u64::try_from(modified).unwrap_or(u64::MAX),
            generation: Generation::ABSENT,
            blake3: *self.hasher.finalize().as_bytes(),
            content_type: content_type.to_owned(),
            extents,
        };
        let lease = if record.extents.is_empty() { 0 } else { self.reservation };
        let bind = RecordBind { lease, expect, record: record.clone() };
        let request = self.lease.message(Op::RecordBind, self.handle, &bind);
        let bound: Result<RecordBound, Fault> = self.lease.read(request, Op::RecordBind, &deadline);
        record.generation = match bound {
            Ok(bound) => bound.generation,
            Err(Fault::Broken { why }) => return Err(Fault::Interrupted { op: Op::RecordBind, why }),
            Err(Fault::TimedOut { after, .. }) => return Err(Fault::TimedOut { after, changes: true }),
            Err(fault) => return Err(fault),
        };
        self.done = true;
        if surplus {
            self.release();
        }
        Ok(record)
    }

    /// The runs that were written, and whether more was set aside.
    fn written_runs(&self) -> (Vec<Run>, bool) {
        let mut runs: Vec<Run> = self.reserved.iter().take(self.run + 1).copied().collect();
        let surplus = self.run + 1 < self.reserved.len() || runs.last().is_some_and(|last| self.used < last.count);
        if let Some(last) = runs.last_mut() {
            last.count = self.used;
        }
        runs.retain(|run| run.count > 0);
        (runs, surplus)
    }

    /// Gives back what was set aside and is not bound. If that fails it is given back when the connection ends, which
    /// it then does.
    fn release(&mut self) {
        let deadline = self.grid.deadline();
        while !self.flying.is_empty() {
            if let Err(fault) = self.land(&deadline)
                && self.lease.is_broken()
            {
                tracing::debug!(name = self.name, %fault, "a record's blocks are released by a broken link");
                return;
            }
        }
        if self.reservation == 0 || self.lease.is_broken() {
            return;
        }
        let release = Reservation { lease: std::mem::take(&mut self.reservation) };
        let request = self.lease.message(Op::RecordRelease, self.handle, &release);
        if let Err(fault) = self.lease.accept(request, Op::RecordRelease, &deadline) {
            tracing::debug!(name = self.name, %fault, "a record's blocks were not released");
            self.lease.end();
        }
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        if !self.done {
            self.release();
        }
    }
}

/// Errors are [`RecordError`]s within [`io::Error`]s. `flush` does nothing: what fills no block must wait for more, and
/// only `finish` makes anything durable.
impl Write for RecordWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(|fault| io::Error::other(self.error(fault)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
