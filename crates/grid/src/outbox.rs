//! The sending side of a connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;
use okapi_base::Ticket;
use okapi_wire::{HEADER_BYTES, Header, Op, Status};

/// Emptied buffers of held replies that are kept for the next ones.
const SPARE_KEPT: usize = 16;
/// Sent bytes at the front of the copied ones that are worth moving the rest for.
const SENT_KEPT: usize = 64 << 10;

/// Frames on their way out: bytes written here in one buffer, payloads `P` lent between them.
///
/// Replies that must wait for a disk are held back, and let go by [`Outbox::release`].
#[derive(Debug)]
pub struct Outbox<P> {
    copied: Vec<u8>,
    /// Bytes at the front of `copied` that are sent.
    sent: usize,
    pieces: VecDeque<Piece<P>>,
    waiting: usize,
    held: VecDeque<Held>,
    held_bytes: usize,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Piece<P> {
    /// The next so many of the copied bytes.
    Copied(usize),
    Lent {
        payload: P,
        range: Range<usize>,
    },
}

/// What a held reply waits for: a ticket of the engine with this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The node's number for the engine.
    pub engine: u8,
    /// The ticket that must be durable.
    pub ticket: Ticket,
}

#[derive(Debug)]
struct Held {
    hold: Hold,
    bytes: Vec<u8>,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self {
            copied: Vec::new(),
            sent: 0,
            pieces: VecDeque::new(),
            waiting: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            spare: Vec::new(),
        }
    }
}

impl<P: AsRef<[u8]>> Outbox<P> {
    /// Begins a frame with room for `count` descriptors of `each` bytes. Nothing is sent before it is finished.
    pub fn draft(&mut self, header: Header, count: u16, each: usize) -> Draft<'_, P> {
        let undo = Undo {
            copied: self.copied.len(),
            pieces: self.pieces.len(),
            last: match self.pieces.back() {
                Some(Piece::Copied(length)) => *length,
                _ => 0,
            },
            waiting: self.waiting,
        };
        let described = usize::from(count) * each;
        self.copied.resize(undo.copied + HEADER_BYTES + described, 0);
        self.add_copied(HEADER_BYTES + described);
        Draft { outbox: self, header: Header { count, ..header }, each, described, undo, done: false }
    }

    /// Writes a frame whose body is one message or text.
    pub fn message(&mut self, header: Header, body: impl FnOnce(&mut Vec<u8>)) {
        let at = self.copied.len();
        self.copied.resize(at + HEADER_BYTES, 0);
        body(&mut self.copied);
        self.finish_message(header, at);
    }

    /// Answers an ask with nothing but a status, and a text that says more (cut to 512 bytes).
    pub fn refuse(&mut self, ask: &Header, status: Status, text: &str) {
        let mut end = text.len().min(512);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.message(reply_header(ask, status), |body| body.extend_from_slice(&text.as_bytes()[..end]));
    }

    /// Holds back what was written as `frame_bytes` of the last frame.
    fn hold_last(&mut self, from: usize, hold: Hold) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(&self.copied[from..]);
        self.held_bytes += bytes.len();
        self.held.push_back(Held { hold, bytes });
    }

    /// Writes a message frame that is held until its ticket is durable.
    pub fn message_held(&mut self, header: Header, hold: Hold, body: impl FnOnce(&mut Vec<u8>)) {
        if hold.ticket == Ticket::NOW {
            return self.message(header, body);
        }
        let undo = (self.copied.len(), self.waiting);
        self.message(header, body);
        self.hold_last(undo.0, hold);
        let length = self.waiting - undo.1;
        self.copied.truncate(undo.0);
        self.take_copied(length);
    }

    /// Lets go of every held reply whose ticket `durable` (by engine) has reached.
    pub fn release(&mut self, durable: impl Fn(u8) -> Ticket) -> bool {
        let mut any = false;
        let mut at = 0;
        while at < self.held.len() {
            let hold = self.held[at].hold;
            if durable(hold.engine) >= hold.ticket {
                let held = self.held.remove(at).expect("the index is below the length");
                self.held_bytes -= held.bytes.len();
                self.copied.extend_from_slice(&held.bytes);
                self.add_copied(held.bytes.len());
                self.keep(held.bytes);
                any = true;
            } else {
                at += 1;
            }
        }
        any
    }

    /// Turns every held reply of an engine that will never reach its ticket into a refusal.
    pub fn fail_held(&mut self, engine: u8, status: Status, text: &str) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].hold.engine != engine {
                at += 1;
                continue;
            }
            let held = self.held.remove(at).expect("the index is below the length");
            self.held_bytes -= held.bytes.len();
            let head = held.bytes.first_chunk::<HEADER_BYTES>().expect("a held reply has a header");
            let reply = Header::decode(head, u32::MAX).expect("a held reply has a header of our own making");
            self.refuse(&Header { op: reply.op & !Op::REPLY, ..reply }, status, text);
            self.keep(held.bytes);
        }
    }

    /// The bytes to send next, in order: at most `parts.len()` pieces. Says how many pieces were filled in.
    pub fn fill<'a>(&'a self, parts: &mut [&'a [u8]]) -> usize {
        let mut copied = self.sent;
        let mut filled = 0;
        for (part, piece) in parts.iter_mut().zip(&self.pieces) {
            *part = match piece {
                Piece::Copied(length) => {
                    copied += length;
                    &self.copied[copied - length..copied]
                }
                Piece::Lent { payload, range } => &payload.as_ref()[range.clone()],
            };
            filled += 1;
        }
        filled
    }

    /// Says that the first `count` bytes have been sent.
    ///
    /// # Panics
    /// If so many were not waiting.
    pub fn sent(&mut self, mut count: usize) {
        assert!(count <= self.waiting, "more bytes sent than were waiting");
        self.waiting -= count;
        while count > 0 {
            let left = match self.pieces.front_mut().expect("waiting bytes are in pieces") {
                Piece::Copied(length) => {
                    let taken = count.min(*length);
                    *length -= taken;
                    self.sent += taken;
                    count -= taken;
                    *length
                }
                Piece::Lent { range, .. } => {
                    let taken = count.min(range.len());
                    range.start += taken;
                    count -= taken;
                    range.len()
                }
            };
            if left == 0 {
                self.pieces.pop_front();
            }
        }
        if self.sent == self.copied.len() {
            self.copied.clear();
            self.sent = 0;
        } else if self.sent > SENT_KEPT && self.sent > self.copied.len() / 2 {
            self.copied.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Bytes waiting to be sent, those of held replies included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting + self.held_bytes
    }

    /// Bytes that may be sent now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.waiting
    }

    /// Whether there is nothing to send now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Replies held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Appends all that waits in another outbox, held replies included.
    pub fn append(&mut self, other: &mut Self) {
        let mut copied = other.sent;
        for piece in other.pieces.drain(..) {
            match piece {
                Piece::Copied(length) => {
                    self.copied.extend_from_slice(&other.copied[copied..copied + length]);
                    copied += length;
                    self.add_copied(length);
                }
                Piece::Lent { payload, range } => {
                    self.waiting += range.len();
                    self.pieces.push_back(Piece::Lent { payload, range });
                }
            }
        }
        self.held_bytes += core::mem::take(&mut other.held_bytes);
        self.held.append(&mut other.held);
        other.copied.clear();
        (other.sent, other.waiting) = (0, 0);
    }

    /// Bytes of memory held, lent payloads not counted.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.copied.capacity()
            + self.pieces.capacity() * size_of::<Piece<P>>()
            + self.held.iter().map(|held| held.bytes.capacity() + size_of::<Held>()).sum::<usize>()
            + self.spare.iter().map(Vec::capacity).sum::<usize>()
    }

    /// Gives the memory back if nothing is in it.
    pub fn relax(&mut self) {
        if self.waiting() == 0 {
            *self = Self::default();
        }
    }

    fn finish_message(&mut self, header: Header, at: usize) {
        let body = self.copied.len() - at - HEADER_BYTES;
        let body = u32::try_from(body).expect("a message is shorter than the longest frame");
        let header = Header { body, count: 0, ..header };
        self.copied[at..at + HEADER_BYTES].copy_from_slice(&header.encode());
        okapi_wire::frame::sign(&mut self.copied[at..]);
        let length = self.copied.len() - at;
        self.add_copied(length);
    }

    fn add_copied(&mut self, length: usize) {
        self.waiting += length;
        match self.pieces.back_mut() {
            Some(Piece::Copied(last)) => *last += length,
            _ => self.pieces.push_back(Piece::Copied(length)),
        }
    }

    /// Takes the last `length` copied bytes out of the pieces again.
    fn take_copied(&mut self, length: usize) {
        self.waiting -= length;
        let Some(Piece::Copied(last)) = self.pieces.back_mut() else {
            unreachable!("copied bytes were added just before");
        };
        *last -= length;
        if *last == 0 {
            self.pieces.pop_back();
        }
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_KEPT {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

/// The header of the reply to an ask.
#[must_use]
pub fn reply_header(ask: &Header, status: Status) -> Header {
    Header { op: ask.op | Op::REPLY, flags: 0, count: 0, status: status as u16, body: 0, credit: 0, ..*ask }
}

/// How an outbox was before a draft.
#[derive(Debug, Clone, Copy)]
struct Undo {
    copied: usize,
    pieces: usize,
    last: usize,
    waiting: usize,
}

/// A frame being written. Dropped without being finished, it is as if it had never been begun.
#[derive(Debug)]
pub struct Draft<'a, P: AsRef<[u8]>> {
    outbox: &'a mut Outbox<P>,
    header: Header,
    each: usize,
    described: usize,
    undo: Undo,
    done: bool,
}

impl<P: AsRef<[u8]>> Draft<'_, P> {
    /// Writes the descriptor with this number.
    #[inline]
    pub fn descriptor(&mut self, number: usize, bytes: &[u8]) {
        assert!(bytes.len() == self.each, "a descriptor has a fixed length");
        let at = self.undo.copied + HEADER_BYTES + number * self.each;
        self.outbox.copied[at..at + self.each].copy_from_slice(bytes);
    }

    /// Appends a copy of a payload.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) {
        self.outbox.copied.extend_from_slice(bytes);
        self.outbox.add_copied(bytes.len());
    }

    /// Appends part of a payload without copying it; it is dropped once sent.
    #[inline]
    pub fn lend(&mut self, payload: P, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.outbox.waiting += range.len();
        self.outbox.pieces.push_back(Piece::Lent { payload, range });
    }

    /// Bytes of the body so far.
    #[must_use]
    pub fn body(&self) -> usize {
        self.outbox.waiting - self.undo.waiting - HEADER_BYTES
    }

    /// Completes the frame: it may be sent.
    pub fn finish(mut self, flags: u16) {
        self.complete(flags);
    }

    /// Completes the frame, to be sent only once its ticket is durable. It must lend nothing.
    pub fn finish_held(mut self, flags: u16, hold: Hold) {
        self.complete(flags);
        if hold.ticket == Ticket::NOW {
            return;
        }
        let length = self.outbox.waiting - self.undo.waiting;
        assert!(length == self.outbox.copied.len() - self.undo.copied, "a held reply lends nothing");
        self.outbox.hold_last(self.undo.copied, hold);
        self.roll_back();
    }

    fn complete(&mut self, flags: u16) {
        let body = u32::try_from(self.body()).expect("a frame is shorter than 4 GiB");
        let header = Header { flags, body, ..self.header };
        let at = self.undo.copied;
        let head = &mut self.outbox.copied[at..at + HEADER_BYTES + self.described];
        head[..HEADER_BYTES].copy_from_slice(&header.encode());
        okapi_wire::frame::sign(head);
        self.done = true;
    }

    fn roll_back(&mut self) {
        let undo = self.undo;
        self.outbox.pieces.truncate(undo.pieces);
        if let Some(Piece::Copied(last)) = self.outbox.pieces.back_mut() {
            *last = undo.last;
        }
        self.outbox.copied.truncate(undo.copied);
        self.outbox.waiting = undo.waiting;
    }
}

impl<P: AsRef<[u8]>> Drop for Draft<'_, P> {
    fn drop(&mut self) {
        if !self.done {
            self.roll_back();
        }
    }
}
