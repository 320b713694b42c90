//! Writing chunks and footers to their files, and making them durable: one thread, one order.

use super::Inner;
use super::format::{Entry, Footer};
use super::index::Location;
use super::shelf::SegmentFile;
use super::writer::{Chunk, UNWRITTEN_MAX};
use crate::engine::{Broken, WriteError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

/// Chunks kept for reuse.
const CHUNKS_KEPT: usize = 40;
/// Segments written and not yet made durable, beyond which they are without anyone's asking: what a recovery may
/// have to read in full.
const UNSYNCED_SEGMENTS_MAX: usize = 64;

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

/// What only the one who writes knows.
#[derive(Default)]
pub(super) struct Committer {
    unsynced: Vec<Arc<SegmentFile>>,
    footer: Vec<u8>,
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
            drop(pipe);
            self.work.notify_one();
        }
    }

    /// Waits until less than the limit is unwritten.
    pub(super) fn wait_for_room(&self) -> Result<(), Broken> {
        while self.unwritten.load(Relaxed) > UNWRITTEN_MAX {
            if !self.settings.threads {
                self.step();
                continue;
            }
            let mut pipe = self.pipe.lock();
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone());
            }
            if self.unwritten.load(Relaxed) > UNWRITTEN_MAX {
                self.progress.wait(&mut pipe);
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
            if !pipe.footers_unsynced {
                return Ok(());
            }
            if let Some(broken) = &pipe.broken {
                return Err(broken.clone().into());
            }
            pipe.footers_wanted = true;
            if self.settings.threads {
                self.work.notify_one();
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

    /// The committer's thread.
    pub(super) fn commit_until_stopped(&self) {
        let mut synced_at = Instant::now();
        loop {
            while self.step() {}
            let mut pipe = self.pipe.lock();
            let footers = pipe.footers_wanted && pipe.footers_unsynced;
            let idle = pipe.queue.is_empty() && pipe.wanted <= self.durable.load(Relaxed) && !footers;
            if pipe.stopping && (idle || pipe.broken.is_some()) {
                return;
            }
            if idle || pipe.broken.is_some() {
                self.work.wait_for(&mut pipe, self.settings.interval);
            }
            if synced_at.elapsed() >= self.settings.interval {
                pipe.wanted = pipe.wanted.max(self.appended.load(Acquire));
                synced_at = Instant::now();
            }
        }
    }

    /// Does the next thing there is to do; says whether there was any.
    pub(super) fn step(&self) -> bool {
        let mut committer = self.committer.lock();
        let (next, written, wanted, footers) = {
            let pipe = self.pipe.lock();
            if pipe.broken.is_some() {
                return false;
            }
            let footers = pipe.footers_wanted && pipe.footers_unsynced;
            (pipe.queue.front().cloned(), pipe.written, pipe.wanted, footers)
        };
        let durable = self.durable.load(Relaxed);
        let asked = (wanted > durable && written >= wanted) || footers;
        let done = if asked || committer.unsynced.len() > UNSYNCED_SEGMENTS_MAX {
            self.sync(&mut committer, written)
        } else if let Some(work) = next {
            self.write(&mut committer, work)
        } else if wanted > durable {
            // All that has been appended so far goes along.
            self.hand_over(&mut self.writer.lock());
            Ok(())
        } else {
            return false;
        };
        if let Err((what, error)) = done {
            drop(committer);
            self.break_down(&mut self.writer.lock(), &format!("{what}: {error}"));
        }
        true
    }

    fn write(&self, committer: &mut Committer, work: Work) -> Result<(), (String, io::Error)> {
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
                self.write_footer(committer, closing).map_err(|error| {
                    (format!("segment {} could not be closed", closing.segment.label.number), error)
                })?;
                &closing.segment
            }
        };
        if committer.unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, segment)) {
            committer.unsynced.push(Arc::clone(segment));
        }
        let mut pipe = self.pipe.lock();
        pipe.queue.pop_front();
        if let Work::Chunk(chunk) = &work {
            pipe.written = pipe.written.max(chunk.last);
            self.unwritten.fetch_sub(chunk.length, Relaxed);
        } else {
            pipe.footers_unsynced = true;
        }
        drop(pipe);
        self.progress.notify_all();
        if let Work::Chunk(chunk) = work {
            self.recycle_chunk(chunk);
        }
        Ok(())
    }

    fn write_footer(&self, committer: &mut Committer, closing: &Closing) -> io::Result<()> {
        let SegmentFile { label, keys, file } = &*closing.segment;
        let footer = Footer {
            first: closing.first,
            last: closing.last,
            synced: self.durable.load(Relaxed),
            entries: Arc::clone(&closing.entries),
        };
        let mut nonce = okapi_seal::Nonce::default();
        okapi_seal::random(&mut nonce);
        footer.write(label, keys, closing.end, nonce, &mut committer.footer);
        file.write_at(&committer.footer, closing.end.into())?;
        self.written_bytes.fetch_add(committer.footer.len() as u64, Relaxed);
        let length = closing.end + u32::try_from(committer.footer.len()).expect("a footer fits its segment");
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
    fn sync(&self, committer: &mut Committer, written: u64) -> Result<(), (String, io::Error)> {
        for segment in committer.unsynced.drain(..) {
            let what = || format!("segment {} could not be made durable", segment.label.number);
            segment.file.sync().map_err(|error| (what(), error))?;
        }
        if self.directory_changed.swap(false, Acquire) {
            self.disk.sync_dir().map_err(|error| ("the directory could not be made durable".to_owned(), error))?;
        }
        self.durable.store(written, Release);
        {
            let mut pipe = self.pipe.lock();
            (pipe.footers_unsynced, pipe.footers_wanted) = (false, false);
        }
        self.progress.notify_all();
        self.call_watcher();
        Ok(())
    }

    pub(super) fn announce_broken(&self, broken: &Broken) {
        tracing::error!("{broken}");
        self.pipe.lock().broken = Some(broken.clone());
        self.progress.notify_all();
        self.work.notify_one();
        self.call_watcher();
    }
}

/// The committer's state, which whoever steps has to hold.
pub(super) type CommitterLock = Mutex<Committer>;
