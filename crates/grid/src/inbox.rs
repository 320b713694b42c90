//! The receiving side of a connection.

use alloc::vec::Vec;
use okapi_wire::{Frame, FrameError, HEADER_BYTES, Header};

/// Room a fresh inbox makes for the first bytes.
const FIRST_ROOM: usize = 4 << 10;
/// Room an inbox grows to when bytes keep coming; only a frame that is longer makes it grow further.
const BUSY_ROOM: usize = 64 << 10;
/// Room for payloads that are taken piece by piece: small enough to stay in a processor's own cache.
const PIECES_ROOM: usize = 256 << 10;

/// Received bytes, cut into frames where they lie.
///
/// A frame is parsed once all of it is there. Large frames are received to their last byte and no further, so that
/// each begins at the buffer's start and no payload is ever moved. Where a frame's payloads are used one by one, it need
/// not be there whole: [`Inbox::next_head`] hands out its head, and [`Inbox::next_piece`] each payload as it comes.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    /// Bytes before this are used up.
    start: usize,
    /// Bytes before this are received.
    end: usize,
    /// Bytes of the frame handed out last; used up at the next call.
    shown: usize,
    /// Bytes of payload still to be taken of the frame whose head was handed out.
    rest: usize,
    /// Bytes of the piece wanted next.
    piece: usize,
    body_max: u32,
}

impl Inbox {
    /// An empty inbox that takes bodies of at most `body_max` bytes. It takes memory only once bytes come.
    #[must_use]
    pub const fn new(body_max: u32) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, shown: 0, rest: 0, piece: 0, body_max }
    }

    /// Where the next bytes are to be received. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        self.use_up();
        let held = self.end - self.start;
        let wanted = self.wanted();
        if self.start > 0 && (held == 0 || self.buffer.len() - self.start < wanted || self.end == self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            // Twice what was really received, not what a header claims: a claim costs its maker as much as us.
            let most = if self.rest > 0 { wanted.max(PIECES_ROOM) + FIRST_ROOM } else { wanted.max(BUSY_ROOM) };
            let room = (self.buffer.len() * 2).max(FIRST_ROOM).min(most);
            // Exactly: what a frame takes in the end is what `memory_wanted` says.
            self.buffer.reserve_exact(room - self.buffer.len());
            self.buffer.resize(room, 0);
        }
        let until = match self.rest {
            0 if wanted > BUSY_ROOM => self.buffer.len().min(self.start + wanted),
            0 => self.buffer.len(),
            // Whole pieces, so that the next one begins at the buffer's start again.
            rest => self.buffer.len().min(self.start + rest.min((PIECES_ROOM / wanted).max(1) * wanted)),
        };
        &mut self.buffer[self.end..until]
    }

    /// Says that the first `count` bytes of [`Inbox::space`] have been received.
    ///
    /// # Panics
    /// If that is more than there was space for.
    pub fn received(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes received than there was room for");
        self.end += count;
    }

    /// The next whole frame, or nothing until more bytes are received. It is used up by the next call of anything.
    ///
    /// # Errors
    /// [`FrameError`]: the connection must end.
    ///
    /// # Panics
    /// If pieces of the frame before are still to be taken.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        assert!(self.rest == 0, "all pieces of a frame are taken before the next frame");
        self.use_up();
        match Frame::parse(&self.buffer[self.start..self.end], self.body_max)? {
            Some((frame, length)) => {
                self.shown = length;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// The next frame's header and descriptors, or nothing until they are received. Its payload is left out, and must
    /// be taken by [`Inbox::next_piece`] to the last byte.
    ///
    /// # Errors
    /// [`FrameError`]: the connection must end.
    ///
    /// # Panics
    /// If pieces of the frame before are still to be taken.
    pub fn next_head(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        assert!(self.rest == 0, "all pieces of a frame are taken before the next frame");
        self.use_up();
        match Frame::parse_head(&self.buffer[self.start..self.end], self.body_max)? {
            Some((frame, length)) => {
                self.shown = length;
                self.rest = HEADER_BYTES + frame.header.body as usize - length;
                self.piece = 0;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// The next `length` bytes of the payload of the frame whose head was handed out, or nothing until they are
    /// received. Used up by the next call of anything.
    ///
    /// # Panics
    /// If the frame has not so many bytes left.
    pub fn next_piece(&mut self, length: usize) -> Option<&[u8]> {
        assert!(length <= self.rest, "a frame's pieces are no longer than its payload");
        self.use_up();
        self.piece = length;
        if self.end - self.start < length {
            return None;
        }
        self.shown = length;
        self.rest -= length;
        Some(&self.buffer[self.start..self.start + length])
    }

    /// The frames that are here whole and not yet handed out, as they lie and unchecked: for guesses that may be wrong.
    pub fn unchecked(&self) -> impl Iterator<Item = (Header, &[u8])> {
        let mut rest = &self.buffer[self.start + self.shown..self.end];
        core::iter::from_fn(move || {
            let header = Header::decode(rest.first_chunk::<HEADER_BYTES>()?, self.body_max).ok()?;
            let (frame, after) = rest.split_at_checked(HEADER_BYTES + header.body as usize)?;
            rest = after;
            Some((header, &frame[HEADER_BYTES..HEADER_BYTES + header.described()]))
        })
    }

    /// The bytes received that belong to no frame handed out yet.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start + self.shown..self.end]
    }

    /// Leaves the frame or head handed out last where it is: the next call hands it out again.
    pub fn put_back(&mut self) {
        self.shown = 0;
        self.rest = 0;
    }

    /// Whether part of a frame is there and the rest is not.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.end - self.start > self.shown
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// Bytes of memory that receiving the frame at hand takes in the end: more than [`Inbox::memory`] if the next
    /// [`Inbox::space`] must grow for a frame longer than the usual.
    #[must_use]
    pub fn memory_wanted(&self) -> usize {
        let held = self.end - self.start - self.shown;
        if held < BUSY_ROOM || self.shown > 0 { self.memory() } else { self.memory().max(self.wanted()) }
    }

    /// Gives the memory back that nothing is in.
    pub fn tighten(&mut self) {
        self.use_up();
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        self.buffer.truncate(self.end);
        self.buffer.shrink_to_fit();
    }

    /// Gives the memory back if nothing is in it.
    pub fn relax(&mut self) {
        self.use_up();
        if self.start == self.end {
            self.buffer = Vec::new();
            (self.start, self.end) = (0, 0);
        }
    }

    fn use_up(&mut self) {
        self.start += core::mem::take(&mut self.shown);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Bytes the frame or piece at hand needs in all, as far as is known.
    fn wanted(&self) -> usize {
        if self.rest > 0 {
            return self.piece.max(1);
        }
        match self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() {
            // A bad header is reported by the next parse; here it only must not make the buffer grow.
            Some(head) => {
                let body = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
                HEADER_BYTES + body.min(self.body_max) as usize
            }
            None => HEADER_BYTES,
        }
    }
}
