//! A disk that is open.

use crate::buffer::kept::Kept;
use crate::buffer::pool::Pool;
use crate::disks::Inner;
use crate::fault::{DiskError, DisksError};
use crate::head::Head;
use crate::holding::Held;
use crate::presence::State;
use crate::view::{Layer, View, fetch};
use okapi_client::Generation;
use parking_lot::RwLock;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

mod write;

/// Bytes moved at a time by those who go through a whole disk.
pub(crate) const STRIDE: u64 = 4 << 20;

/// A disk that is open. Reads and writes may come from many threads; those that overlap in time and place leave one or the
/// other in each block.
#[derive(Debug)]
pub struct Disk {
    head: Head,
    /// Its own blocks.
    top: Layer,
    /// What shows where it has none.
    below: Option<Below>,
    /// Held alone by whoever puts a block together from what was there, or removes one; shared by all other writers.
    order: RwLock<()>,
    /// Losses that this disk has heard of.
    seen: AtomicU64,
    /// Before `inner`, as it is let go with its help.
    held: Option<Arc<Held>>,
    inner: Arc<Inner>,
}

/// What shows through a disk, and how far.
#[derive(Debug)]
struct Below {
    view: Arc<View>,
    through: u64,
}

/// What is known of some bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// They may be anything.
    Data,
    /// They are zeros.
    Zeroes,
}

/// Some bytes of a disk, for whoever goes through all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// These bytes.
    Data(&'a [u8]),
    /// So many zeros.
    Zeroes(u64),
}

impl Disk {
    /// Opens a disk for reading: its own blocks and what is below are asked for.
    pub(crate) fn open(inner: &Arc<Inner>, head: Head) -> Result<Self, DisksError> {
        // Nobody writes to a disk that has children or is read-only: what it shows is kept, as one more that is below.
        if head.read_only || !inner.directory.lock().children(&head).is_empty() {
            let nothing = Head { parent: None, ..head.clone() };
            let top = Layer::none(&nothing);
            let below = Some(Below { view: inner.view(&head)?, through: head.size });
            return Ok(Self::new(inner, head, top, below, None));
        }
        Self::open_own(inner, head)
    }

    /// Opens a disk to see what is its own, whatever is built on it.
    pub(crate) fn open_own(inner: &Arc<Inner>, head: Head) -> Result<Self, DisksError> {
        let below = Self::below(inner, &head)?;
        let top = Layer::load(&inner.grid, &head, head.size)?;
        Ok(Self::new(inner, head, top, below, None))
    }

    /// Opens a disk that is held, and whose own blocks are known.
    pub(crate) fn open_held(inner: &Arc<Inner>, head: Head, top: Layer, held: Arc<Held>) -> Result<Self, DisksError> {
        let below = Self::below(inner, &head)?;
        Ok(Self::new(inner, head, top, below, Some(held)))
    }

    fn below(inner: &Arc<Inner>, head: &Head) -> Result<Option<Below>, DisksError> {
        let Some(parent) = head.parent else { return Ok(None) };
        let chain = inner.directory.lock().chain(head)?;
        Ok(Some(Below { view: inner.view(&chain[1])?, through: parent.through }))
    }

    fn new(inner: &Arc<Inner>, head: Head, top: Layer, below: Option<Below>, held: Option<Arc<Held>>) -> Self {
        let seen = AtomicU64::new(inner.losses());
        Self { head, top, below, order: RwLock::new(()), seen, held, inner: inner.clone() }
    }

    /// What it is, as it was when it was opened.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.size
    }

    /// Whether it was opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.held.is_some()
    }

    /// Reads what is at `offset`.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, into.len() as u64)?;
        let mut wants = Vec::new();
        for (state, from, length) in self.top.pieces(offset, into.len() as u64) {
            let at = (from - offset) as usize;
            let part = &mut into[at..at + length as usize];
            match state {
                State::Data => wants.push(self.top.want(0, from, length as usize, at)),
                State::Zeroes => part.fill(0),
                State::Missing => self.read_below(from, part)?,
            }
        }
        if wants.is_empty() {
            return Ok(());
        }
        for gone in fetch(&self.head.name, &self.inner.grid, &wants, into)? {
            let from = gone.block * self.top.block + gone.from;
            self.read_below(from, &mut into[gone.at..gone.at + gone.length])?;
        }
        Ok(())
    }

    fn read_below(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let Some(below) = &self.below else {
            into.fill(0);
            return Ok(());
        };
        let shown = usize::try_from(below.through.saturating_sub(offset)).unwrap_or(usize::MAX).min(into.len());
        into[shown..].fill(0);
        below.view.read(offset, &mut into[..shown])
    }

    /// What is known of the bytes at `offset`, and of how many (at most `length`, which is not 0) the same is known.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn status(&self, offset: u64, length: u64) -> Result<(Content, u64), DiskError> {
        self.check(offset, length)?;
        let mut alike: Option<(Content, u64)> = None;
        'pieces: for (state, from, piece) in self.top.pieces(offset, length) {
            let mut at = from;
            while at < from + piece {
                let left = from + piece - at;
                let (content, count) = match state {
                    State::Data => (Content::Data, left),
                    State::Zeroes => (Content::Zeroes, left),
                    State::Missing => self.status_below(at, left),
                };
                match &mut alike {
                    Some((before, _)) if *before != content => break 'pieces,
                    Some((_, total)) => *total += count,
                    None => alike = Some((content, count)),
                }
                at += count;
            }
        }
        Ok(alike.unwrap_or((Content::Zeroes, 0)))
    }

    fn status_below(&self, offset: u64, length: u64) -> (Content, u64) {
        let content = |zero| if zero { Content::Zeroes } else { Content::Data };
        match &self.below {
            Some(below) if offset < below.through => {
                let (zero, count) = below.view.status(offset, length.min(below.through - offset));
                (content(zero), count)
            }
            _ => (Content::Zeroes, length),
        }
    }

    /// The parts of `range` where something other than zeros may show through.
    fn shining_through(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.below.iter().flat_map(move |below| below.view.not_zero(range.start..range.end.min(below.through)))
    }

    /// Goes through the whole disk in order.
    ///
    /// # Errors
    /// [`DisksError`]; those of `take` are the stream's.
    pub fn each_part(&self, take: &mut dyn FnMut(u64, Part<'_>) -> std::io::Result<()>) -> Result<(), DisksError> {
        let mut buffer = Vec::new();
        let stream = |why| DisksError::Stream { what: "writing what a disk holds", why };
        let mut at = 0;
        while at < self.size() {
            let (content, length) = self.status(at, self.size() - at)?;
            match content {
                Content::Zeroes => {
                    take(at, Part::Zeroes(length)).map_err(stream)?;
                    at += length;
                }
                Content::Data => {
                    let length = length.min(STRIDE - at % STRIDE);
                    buffer.resize(usize::try_from(length).expect("a stride fits into memory"), 0);
                    self.read_at(at, &mut buffer)?;
                    take(at, Part::Data(&buffer)).map_err(stream)?;
                    at += length;
                }
            }
        }
        Ok(())
    }

    /// The runs of bytes that are its own, whatever they are, in order; those before the byte `from` are left out.
    pub fn own(&self, from: u64) -> impl Iterator<Item = Range<u64>> {
        let mut at = from / self.top.block;
        std::iter::from_fn(move || {
            let run = self.top.presence.next_there(at..self.head.blocks())?;
            at = run.end;
            Some(run.start * self.top.block..(run.end * self.top.block).min(self.head.size))
        })
    }

    /// Waits until all that was written before is durable.
    ///
    /// # Errors
    /// [`DiskError`]; [`DiskError::Lost`] if the node was away since the last flush: what was written since may be gone.
    pub fn flush(&self) -> Result<(), DiskError> {
        if self.held.is_none() {
            return Ok(());
        }
        let synced = self.inner.sync(&self.head.name, &self.seen);
        if matches!(synced, Err(DiskError::Lost { .. })) {
            // What was zeroed may have come back: it must not be taken for zeros when it is zeroed again.
            let _alone = self.order.write();
            let grid = |error| DiskError::Grid { name: self.head.name.clone(), error: Box::new(error) };
            let now = Layer::load(&self.inner.grid, &self.head, self.head.size).map_err(grid)?;
            self.top.presence.become_like(&now.presence);
        }
        synced
    }

    /// What is known of one of its own blocks.
    pub(crate) fn state(&self, block: u64) -> State {
        self.top.presence.state(block)
    }

    /// Whether any of these blocks is its own.
    pub(crate) fn is_own(&self, blocks: Range<u64>) -> bool {
        self.top.presence.next_there(blocks).is_some()
    }

    /// The generation of its head before it was opened for writing, and that by which it was.
    pub(crate) fn claim(&self) -> Option<(Generation, Generation)> {
        self.held.as_ref()?.claim.get().copied()
    }

    /// What is kept of disks that are closed.
    pub(crate) fn kept(&self) -> &Kept {
        &self.inner.kept
    }

    /// The memory that buffers share.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.inner.buffers
    }

    pub(crate) fn check(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.head.size => Ok(()),
            _ => Err(DiskError::PastEnd { name: self.head.name.clone(), offset, length, size: self.head.size }),
        }
    }
}
