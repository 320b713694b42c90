//! Writing chunks and footers to their files by one thread, in one order, and making them durable by another, so that
//! a disk that takes its time over that does not keep puts from being written.

use super::Inner;
use super::format::{Entry, Footer};
use super::index::Location;
use super::parts::{Told, tail};
use super::shelf::SegmentFile;
use super::writer::{Chunk, UNWRITTEN_LOW, UNWRITTEN_MAX};
use crate::engine::{Broken, WriteError};
use okapi_base::GridId;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Instant;

/// Chunks kept for reuse.
const CHUNKS_KEPT: usize = 12;
/// Segments written and not yet made durable, beyond which that is begun without anyone's asking: what a recovery may
/// have to read in full.
const UNSYNCED_SEGMENTS_MAX: usize = 256;

/// Something to write.
#[derive(Clone)]
pub(super) enum Work {
    Chunk(Arc<Chunk>),
    Close(Arc<Closing>),
}

/// A segment to which nothing is appended any more.
pub(super) struct Closing {
    pub(super) segment: Arc<SegmentFile>,
    pub(super) end: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) entries: Arc<Vec<Entry>>,
    /// What is told of grids with keys of their own.
    pub(super) told: Vec<(GridId, Told)>,
}

/// Between those who append and the one who writes.
#[derive(Default)]
pub(super) struct Pipe {
    queue: VecDeque<Work>,
    /// All records up to this one are to be made durable.
    wanted: u64,
    /// All records up to this one are written.
    written: u64,
    /// Footers have been written and are not durable yet.
    footers_unsynced: bool,
    /// They are to be.
    footers_wanted: bool,
    /// Segments whose footers these are.
    closed_unsynced: Vec<u32>,
    /// Files are being made durable just now.
    syncing: bool,
    pub(super) broken: Option<Broken>,
    pub(super) stopping: bool,
    spare: Vec<Arc<Chunk>>,
}

impl Pipe {
    /// The pipe of a store whose records up to `sequence` are durable.
    pub(super) fn starting_at(sequence: u64) -> Self {
        Self { wanted: sequence, written: sequence, ..Self::default() }
    }
}

impl Pipe {
    /// Whether there is something to be made durable, all of which is written.
    fn is_sync_due(&self, durable: u64) -> bool {
        (self.wanted > durable && self.written >= self.wanted) || (self.footers_wanted && self.footers_unsynced)
    }

    /// Whether the open chunk should be written, full or not. While files are being made durable it goes on filling:
    /// all that comes in meanwhile is made durable together.
    fn is_chunk_wanted(&self) -> bool {
        self.wanted > self.written && !self.syncing
    }
}

/// What the two who do the work have between them.
#[derive(Default)]
pub(super) struct Committer {
    /// Held by the one who writes, with a buffer for footers.
    writing: Mutex<Vec<u8>>,
    /// Held by the one who makes durable.
    syncing: Mutex<()>,
    /// Segments written to and not made durable since.
    unsynced: Mutex<Vec<Arc<SegmentFile>>>,
}

impl Inner {
    pub(super) fn fresh_chunk(&self, segment: &Arc<SegmentFile>, offset: u32) -> Arc<Chunk> {
        let spare = self.pipe.lock().spare.pop();
        let mut chunk = spare.unwrap_or_else(|| Arc::new(Chunk::new()));
        let fresh = Arc::get_mut(&mut chunk).expect("a spare chunk is nobody's");
        fresh.segment = Some(Arc::clone(segment));
        fresh.offset = offset;
        fresh.length = 0;
        chunk
    }

    pub(super) fn recycle_chunk(&self, mut chunk: Arc<Chunk>) {
        // Whoever still reads it drops it.
        if let Some(free) = Arc::get_mut(&mut chunk) {
            free.segment = None;
            let mut pipe = self.pipe.lock();
            if pipe.spare.len() < CHUNKS_KEPT {
                pipe.spare.push(chunk);
            }
        }
    }

    pub(super) fn enqueue_chunk(&self, chunk: Arc<Chunk>) {
        self.unwritten.fetch_add(chunk.length, Relaxed);
        self.enqueue(Work::Chunk(chunk));
    }

    pub(super) fn enqueue_closing(&self, closing: Closing) {
        self.enqueue(Work::Close(Arc::new(closing)));
    }

    fn enqueue(&self, work: Work) {
        self.pipe.lock().queue.push_back(work);
        self.work.notify_one();
    }

    /// Asks for all records up to `sequence` to be made durable.
    pub(super) fn want_durable(&self, sequence: u64) {
        let mut pipe = self.pipe.lock();
        if pipe.wanted < sequence {
            pipe.wanted = sequence;
            let is_written = pipe.written >= sequence;
            drop(pipe);
            if is_written { &self.sync_work } else { &self.work }.notify_one();
        }
    }

    /// Waits for the committer if more than the limit is unwritten.
    pub(super) fn wait_for_room(&self) -> Result<(), Broken> {
        if self.unwritten.load(Relaxed) <= UNWRITTEN_MAX {
            return Ok(());
        }
        while self.unwritten.load(Relaxed) > UNWRITTEN_LOW {
            if !self.settings.threads {
                self.step();
                continue;
            }
            let mut pipe = self.pipe.lock();
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone());
            }
            if self.unwritten.load(Relaxed) > UNWRITTEN_LOW {
                self.room.wait(&mut pipe);
            }
        }
        Ok(())
    }

    /// Waits until all records up to `sequence` are durable.
    pub(super) fn wait_durable(&self, sequence: u64) -> Result<(), WriteError> {
        self.want_durable(sequence);
        loop {
            if self.durable.load(Acquire) >= sequence {
                return Ok(());
            }
            if !self.settings.threads {
                self.step();
            }
            let mut pipe = self.pipe.lock();
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone().into());
            }
            if self.settings.threads && self.durable.load(Acquire) < sequence {
                self.progress.wait(&mut pipe);
            }
        }
    }

    /// Waits until all that was handed over is written, footers too.
    pub(super) fn wait_until_closed(&self) -> Result<(), WriteError> {
        while !self.settings.threads && self.step() {}
        let mut pipe = self.pipe.lock();
        while !pipe.queue.is_empty() {
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone().into());
            }
            self.progress.wait(&mut pipe);
        }
        Ok(())
    }

    /// Waits until all footers written so far are durable.
    pub(super) fn wait_footers_durable(&self) -> Result<(), WriteError> {
        loop {
            if !self.settings.threads {
                while self.step() {}
            }
            let mut pipe = self.pipe.lock();
            if !pipe.footers_unsynced && !pipe.syncing {
                return Ok(());
            }
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone().into());
            }
            pipe.footers_wanted = true;
            if self.settings.threads {
                self.sync_work.notify_one();
                self.progress.wait(&mut pipe);
            }
        }
    }

    /// The record at `location`, if it is on its way to the file.
    pub(super) fn in_flight(&self, location: Location) -> Option<Arc<Chunk>> {
        let pipe = self.pipe.lock();
        pipe.queue.iter().find_map(|work| match work {
            Work::Chunk(chunk) => chunk.record(location).map(|_| Arc::clone(chunk)),
            Work::Close(_) => None,
        })
    }

    /// The records of a segment whose footer is on its way to the file.
    pub(super) fn closing_entries(&self, number: u32) -> Option<Arc<Vec<Entry>>> {
        let pipe = self.pipe.lock();
        pipe.queue.iter().find_map(|work| match work {
            Work::Close(closing) if closing.segment.label.number == number => Some(Arc::clone(&closing.entries)),
            _ => None,
        })
    }

    /// The thread that writes.
    pub(super) fn write_until_stopped(&self) {
        loop {
            while self.write_step() {}
            let mut pipe = self.pipe.lock();
            let idle = pipe.queue.is_empty() && !pipe.is_chunk_wanted();
            if pipe.stopping && (idle || pipe.broken.is_some()) {
                return;
            }
            if idle || pipe.broken.is_some() {
                self.work.wait(&mut pipe);
            }
        }
    }

    /// The newest record is this one. Wakes those who sleep until there is something to do, which they do only after a rest:
    /// the next puts find them awake.
    pub(super) fn count_appended(&self, sequence: u64) {
        self.appended.store(sequence, SeqCst);
        // Under the lock, so that whoever begins to wait just now does not miss it.
        if self.sync_dozes.load(SeqCst) {
            let _pipe = self.pipe.lock();
            self.sync_work.notify_one();
        }
        if self.keeper_dozes.load(SeqCst) {
            let _stopping = self.keeper_stopping.lock();
            self.keeper_wakes.notify_all();
        }
    }

    /// The thread that makes durable.
    pub(super) fn sync_until_stopped(&self) {
        let mut synced_at = Instant::now();
        let mut rested = false;
        loop {
            while self.sync_step() {}
            let mut pipe = self.pipe.lock();
            if pipe.stopping {
                return;
            }
            if pipe.broken.is_some() || !pipe.is_sync_due(self.durable.load(Relaxed)) {
                let slept = rested;
                rested = self.wait_for_sync(&mut pipe, rested);
                if slept || rested {
                    synced_at = Instant::now();
                }
            }
            if synced_at.elapsed() >= self.settings.interval {
                pipe.wanted = pipe.wanted.max(self.appended.load(Acquire));
                synced_at = Instant::now();
                self.work.notify_one();
            }
        }
    }

    /// Waits until something is to be made durable, or may fall due by time; whether all was durable when it began, and
    /// nobody called meanwhile. `rested` is what it said last: if all still is, it sleeps until somebody appends.
    fn wait_for_sync(&self, pipe: &mut MutexGuard<'_, Pipe>, rested: bool) -> bool {
        let is_all_durable = || self.appended.load(SeqCst) <= self.durable.load(Acquire);
        if rested || pipe.broken.is_some() {
            self.sync_dozes.store(true, SeqCst);
            // Whoever appends from here on sees that it sleeps; what came just before is seen here.
            if is_all_durable() || pipe.broken.is_some() {
                self.sync_work.wait(pipe);
            }
            self.sync_dozes.store(false, SeqCst);
            return false;
        }
        let before = is_all_durable();
        self.sync_work.wait_for(pipe, self.settings.interval).timed_out() && before && is_all_durable()
    }

    /// Does the next thing there is to do, be it writing or making durable; says whether there was any.
    pub(super) fn step(&self) -> bool {
        self.sync_step() || self.write_step()
    }

    /// Writes the next thing there is to write; says whether there was any.
    fn write_step(&self) -> bool {
        let mut footer = self.committer.writing.lock();
        let (next, chunk_wanted) = {
            let pipe = self.pipe.lock();
            if pipe.broken.is_some() {
                return false;
            }
            (pipe.queue.front().cloned(), pipe.is_chunk_wanted())
        };
        match next {
            Some(work) => {
                if let Err((what, error)) = self.write(&mut footer, work) {
                    drop(footer);
                    self.break_down(&mut self.writer.lock(), &format!("{what}: {error}"));
                }
            }
            // All that has been appended so far goes along.
            None if chunk_wanted => self.hand_over(&mut self.writer.lock()),
            None => return false,
        }
        true
    }

    /// Makes durable what is written, if anyone waits for that; says whether anyone did.
    fn sync_step(&self) -> bool {
        let alone = self.committer.syncing.lock();
        let (written, closed) = {
            let mut pipe = self.pipe.lock();
            if pipe.broken.is_some() || !pipe.is_sync_due(self.durable.load(Relaxed)) {
                return false;
            }
            pipe.syncing = true;
            (pipe.footers_unsynced, pipe.footers_wanted) = (false, false);
            (pipe.written, std::mem::take(&mut pipe.closed_unsynced))
        };
        let done = self.sync();
        self.pipe.lock().syncing = false;
        match done {
            Ok(()) => {
                // Under the lock, so that nobody decides to wait just before this and misses it.
                let pipe = self.pipe.lock();
                self.durable.store(written, Release);
                drop(pipe);
                self.progress.notify_all();
                self.work.notify_one();
                self.call_watcher();
                drop(alone);
                self.tell_closed(&closed);
            }
            Err((what, error)) => {
                drop(alone);
                self.break_down(&mut self.writer.lock(), &format!("{what}: {error}"));
            }
        }
        true
    }

    fn write(&self, footer: &mut Vec<u8>, work: Work) -> Result<(), (String, io::Error)> {
        let segment = match &work {
            Work::Chunk(chunk) => {
                let segment = chunk.segment.as_ref().expect("a chunk under way belongs to a segment");
                let place = || format!("segment {} could not be written at {}", segment.label.number, chunk.offset);
                segment
                    .file
                    .write_at(&chunk.bytes[..chunk.length], chunk.offset.into())
                    .map_err(|error| (place(), error))?;
                self.written_bytes.fetch_add(chunk.length as u64, Relaxed);
                let end = u64::from(segment.label.number) << 32 | (u64::from(chunk.offset) + chunk.length as u64);
                self.frontier.store(end, Release);
                segment
            }
            Work::Close(closing) => {
                self.write_footer(footer, closing).map_err(|error| {
                    (format!("segment {} could not be closed", closing.segment.label.number), error)
                })?;
                &closing.segment
            }
        };
        let unsynced = {
            let mut unsynced = self.committer.unsynced.lock();
            if unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, segment)) {
                unsynced.push(Arc::clone(segment));
            }
            unsynced.len()
        };
        let mut pipe = self.pipe.lock();
        pipe.queue.pop_front();
        let mut is_room = false;
        if let Work::Chunk(chunk) = &work {
            pipe.written = pipe.written.max(chunk.last);
            is_room = self.unwritten.fetch_sub(chunk.length, Relaxed) - chunk.length <= UNWRITTEN_LOW;
        } else {
            pipe.footers_unsynced = true;
            pipe.closed_unsynced.push(segment.label.number);
            // Who keeps copies elsewhere can begin with them.
            pipe.footers_wanted |= self.follower.read().is_some();
        }
        if unsynced > UNSYNCED_SEGMENTS_MAX {
            pipe.wanted = pipe.wanted.max(pipe.written);
        }
        let is_sync_due = pipe.is_sync_due(self.durable.load(Relaxed));
        drop(pipe);
        if is_sync_due {
            self.sync_work.notify_one();
        }
        self.progress.notify_all();
        if is_room {
            self.room.notify_all();
        }
        if let Work::Chunk(chunk) = work {
            self.recycle_chunk(chunk);
        }
        Ok(())
    }

    fn write_footer(&self, bytes: &mut Vec<u8>, closing: &Closing) -> io::Result<()> {
        let SegmentFile { label, keys, table, file } = &*closing.segment;
        let footer = Footer {
            first: closing.first,
            last: closing.last,
            synced: self.durable.load(Relaxed),
            entries: Arc::clone(&closing.entries),
        };
        let mut nonce = okapi_seal::Nonce::default();
        okapi_seal::random(&mut nonce);
        let told = |grid| closing.told.iter().find(|told| told.0 == grid).map(|told| told.1.clone());
        let tail = table.as_ref().map(|table| tail(table, keys, &closing.entries, told)).unwrap_or_default();
        footer.write((label, keys), closing.end, nonce, &tail, bytes);
        file.write_at(bytes, closing.end.into())?;
        self.written_bytes.fetch_add(bytes.len() as u64, Relaxed);
        let length = closing.end + u32::try_from(bytes.len()).expect("a footer fits its segment");
        file.set_length(length.into())?;
        self.shelf.keep_index(label.number, Arc::clone(&closing.entries));
        let mut w = self.writer.lock();
        let state = w.segments.get_mut(&label.number).expect("a segment being closed is known");
        let before = std::mem::replace(&mut state.length, length);
        state.closed = true;
        w.held -= u64::from(before - length);
        w.covered_sequence = closing.last;
        Ok(())
    }

    /// Makes all that is written durable.
    fn sync(&self) -> Result<(), (String, io::Error)> {
        let unsynced = std::mem::take(&mut *self.committer.unsynced.lock());
        for segment in unsynced {
            let what = || format!("segment {} could not be made durable", segment.label.number);
            segment.file.sync().map_err(|error| (what(), error))?;
        }
        if self.directory_changed.swap(false, Acquire) {
            self.disk.sync_dir().map_err(|error| ("the directory could not be made durable".to_owned(), error))?;
        }
        Ok(())
    }

    pub(super) fn announce_broken(&self, broken: &Broken) {
        tracing::error!("{broken}");
        self.pipe.lock().broken = Some(broken.clone());
        self.progress.notify_all();
        self.room.notify_all();
        self.work.notify_one();
        self.sync_work.notify_one();
        self.call_watcher();
    }
}
