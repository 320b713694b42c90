//! Requests and their answers.

use super::handshake::Agreed;
use super::input::Input;
use super::wait::Wait;
use super::wire::{
    ALLOCATION_ID, Dialect, HOLE_OF_ZEROES, REQUEST_MAX, Request, chunk, chunk_head, command, flag, simple,
};
use crate::device::Trouble;
use std::io::{self, Read, Write};

/// Bytes of a write that are passed on, and of a read that are sent, at a time.
pub(crate) const PIECE: usize = 256 << 10;
/// Room for what comes.
pub(crate) const INPUT: usize = PIECE + (64 << 10);
/// Room for what goes.
const OUTPUT: usize = PIECE + (64 << 10);
/// Writes and flushes that are settled together.
const OWED_MAX: usize = 256;
/// Bytes of writes that are settled together, if they have come: each time is a way to the node and back.
const GATHERED_MAX: u64 = 1 << 20;
/// Runs that one answer about block status tells of.
const RUNS_MAX: usize = 4096;
/// Bytes that are zeroed at a time: other writers of the disk wait for each.
const ZEROES: u64 = 1 << 30;
/// Bytes that a client may have read ahead at once. It is a hint, and nobody has memory for more.
const AHEAD_MAX: u64 = u32::MAX as u64;

/// Answers requests until the client goes.
///
/// # Errors
/// The stream's, and `InvalidData` for what is no request.
pub(crate) fn serve<R: Read, W: Write>(
    input: &mut Input<R>,
    output: W,
    agreed: &Agreed,
    mut wait: Wait<'_>,
) -> io::Result<()> {
    let buffer = vec![0; OUTPUT].into();
    let mut answers = Answers { output, buffer, filled: 0, owed: Vec::new(), gathered: 0, agreed };
    let bytes = agreed.dialect.request_bytes();
    loop {
        if input.here() < bytes {
            // All that has come is answered: now it goes, in one piece.
            if !answers.gathers() || !wait.is_ready() {
                answers.settle()?;
            }
            answers.send()?;
            match wait.until(|| input.wait_for(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && input.here() == 0 => return Ok(()),
                waited => waited?,
            }
        }
        let Some(request) = Request::decode(agreed.dialect, input.take(bytes)) else {
            return Err(nonsense("the client sent something else than a request"));
        };
        if let Some(trouble) = answers.misplaced(&request, input)? {
            answers.done(&request, Err(trouble))?;
            continue;
        }
        match request.command {
            command::DISC => {
                answers.settle()?;
                return answers.send();
            }
            command::WRITE => answers.write(&request, input)?,
            command::READ => answers.read(&request)?,
            command::BLOCK_STATUS => answers.block_status(&request)?,
            command::FLUSH => answers.owe(&request)?,
            command::CACHE => answers.read_ahead(&request)?,
            _ => match answers.zero(&request) {
                Ok(()) => answers.owe(&request)?,
                failed => answers.done(&request, failed)?,
            },
        }
    }
}

/// What goes to the client, gathered.
struct Answers<'a, W> {
    output: W,
    buffer: Box<[u8]>,
    filled: usize,
    /// Writes and flushes that are done but for being handed over, or being durable: all that have come together become so
    /// together.
    owed: Vec<Request>,
    /// Bytes of these writes.
    gathered: u64,
    agreed: &'a Agreed,
}

impl<W: Write> Answers<'_, W> {
    /// Answers a request once what it has written is where it must be.
    fn owe(&mut self, request: &Request) -> io::Result<()> {
        self.owed.push(*request);
        if request.command == command::WRITE {
            self.gathered += request.length;
        }
        if self.owed.len() < OWED_MAX { Ok(()) } else { self.settle() }
    }

    /// Whether it is better to see what else has come before writes are settled.
    fn gathers(&self) -> bool {
        (1..GATHERED_MAX).contains(&self.gathered) && !self.agreed.device.keeps_writes()
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let device = &self.agreed.device;
        let is_flush = |request: &Request| request.command == command::FLUSH || request.flags & flag::FUA != 0;
        let settled = if self.owed.iter().any(is_flush) { device.flush() } else { device.hand_over() };
        self.gathered = 0;
        for request in std::mem::take(&mut self.owed) {
            self.done(&request, settled.clone())?;
        }
        Ok(())
    }

    fn read(&mut self, request: &Request) -> io::Result<()> {
        if let Err(trouble) = self.check_range(request, flag::DF | flag::FUA, Trouble::INVALID) {
            return self.done(request, Err(trouble));
        }
        let dialect = self.agreed.dialect;
        let length = usize::try_from(request.length).ok().filter(|length| *length <= REQUEST_MAX as usize);
        let Some(length) = length else {
            // Only where a server may send less in one than was asked for is there a word for that.
            let error = if dialect == Dialect::Simple { Trouble::INVALID } else { Trouble::TOO_LARGE };
            return self.done(request, Err(Trouble::new(error, format!("at most {REQUEST_MAX} bytes are read"))));
        };
        match dialect {
            // A chunk would have to be of one byte at least.
            _ if length == 0 => self.done(request, Ok(())),
            Dialect::Simple => self.read_whole(request, length),
            _ if request.flags & flag::DF != 0 && length > PIECE => self.read_whole(request, length),
            _ => self.read_in_chunks(request, length),
        }
    }

    fn read_in_chunks(&mut self, request: &Request, length: usize) -> io::Result<()> {
        let head = self.agreed.dialect.head_bytes() + 8;
        for done in (0..length).step_by(PIECE) {
            let now = (length - done).min(PIECE);
            let offset = request.offset + done as u64;
            let place = self.reserve(head + now)? + head;
            if let Err(trouble) = self.agreed.device.read(offset, &mut self.buffer[place..place + now]) {
                return self.done(request, Err(trouble));
            }
            let flags = if done + now == length { chunk::DONE } else { 0 };
            self.data_head(request, flags, offset, now)?;
            self.filled = place + now;
        }
        Ok(())
    }

    /// One answer, or one chunk, however long it is. Its head says that it is there before all of it is read: otherwise
    /// whoever asks for 64 MiB in one would cost as much memory.
    fn read_whole(&mut self, request: &Request, length: usize) -> io::Result<()> {
        let is_simple = self.agreed.dialect == Dialect::Simple;
        let head = self.agreed.dialect.head_bytes() + if is_simple { 0 } else { 8 };
        let mut failed = None;
        for done in (0..length).step_by(PIECE) {
            let now = (length - done).min(PIECE);
            let before = if done == 0 { head } else { 0 };
            let place = self.reserve(before + now)? + before;
            let into = &mut self.buffer[place..place + now];
            if failed.is_some() {
                into.fill(0);
            } else if let Err(trouble) = self.agreed.device.read(request.offset + done as u64, into) {
                match (done, is_simple) {
                    (0, _) => return self.done(request, Err(trouble)),
                    // It has been said that all is well, and there is no other way to take that back.
                    (_, true) => return Err(io::Error::other(trouble.text)),
                    // What was announced must come, whatever it is; then it can be said what it is worth.
                    (_, false) => {
                        into.fill(0);
                        failed = Some(trouble);
                    }
                }
            }
            match (done, is_simple) {
                (0, true) => self.put(&simple(0, request.cookie))?,
                (0, false) => self.data_head(request, 0, request.offset, length)?,
                _ => {}
            }
            self.filled = place + now;
        }
        if is_simple { Ok(()) } else { self.done(request, failed.map_or(Ok(()), Err)) }
    }

    /// The head of a chunk of data, for which there is room.
    fn data_head(&mut self, request: &Request, flags: u16, offset: u64, length: usize) -> io::Result<()> {
        self.chunk_head(request, flags, chunk::OFFSET_DATA, length + 8)?;
        self.put(&offset.to_be_bytes())
    }

    fn write<R: Read>(&mut self, request: &Request, input: &mut Input<R>) -> io::Result<()> {
        let flags = flag::FUA | if self.agreed.dialect == Dialect::Extended { flag::PAYLOAD } else { 0 };
        let mut done = self.check_range(request, flags, Trouble::NO_SPACE).and_then(|()| self.writable());
        let (agreed, mut at) = (self.agreed, request.offset);
        self.payload(request, input, |bytes| {
            if done.is_ok() {
                done = agreed.device.write(at, bytes, false);
                at += bytes.len() as u64;
            }
        })?;
        if done.is_ok() { self.owe(request) } else { self.done(request, done) }
    }

    /// What came with a request, in pieces.
    fn payload<R: Read>(&mut self, request: &Request, input: &mut Input<R>, take: impl FnMut(&[u8])) -> io::Result<()> {
        let length = usize::try_from(request.length).ok().filter(|length| *length <= REQUEST_MAX as usize);
        let Some(length) = length else {
            let length = request.length;
            return Err(nonsense(&format!("the client announced {length} bytes of data, more than it was told to")));
        };
        if input.here() < length.min(PIECE) {
            // Nobody waits for answers to writes in the middle of one. But what has been read waits for nothing.
            self.send()?;
        }
        input.each(length, PIECE, take)
    }

    /// Whether a request of extended headers has data where none belongs, or none where some does. The data is skipped, so
    /// that the next request is found.
    fn misplaced<R: Read>(&mut self, request: &Request, input: &mut Input<R>) -> io::Result<Option<Trouble>> {
        if self.agreed.dialect != Dialect::Extended {
            return Ok(None);
        }
        let text = match (request.command == command::WRITE, request.flags & flag::PAYLOAD != 0) {
            (true, true) | (false, false) => return Ok(None),
            (true, false) => "a write must say that its data comes with it",
            (false, true) => {
                self.payload(request, input, |_| ())?;
                "this takes no data"
            }
        };
        Ok(Some(Trouble::new(Trouble::INVALID, text)))
    }

    fn zero(&self, request: &Request) -> Result<(), Trouble> {
        let (flags, past) = match request.command {
            command::TRIM => (flag::FUA, Trouble::INVALID),
            command::WRITE_ZEROES => (flag::FUA | flag::NO_HOLE | flag::FAST_ZERO, Trouble::NO_SPACE),
            other => return Err(Trouble::new(Trouble::INVALID, format!("command {other} is not known here"))),
        };
        self.check_range(request, flags, past)?;
        self.writable()?;
        let (mut at, end) = (request.offset, request.offset + request.length);
        while at < end {
            let now = (end - at).min(ZEROES);
            self.agreed.device.zero(at, now, false)?;
            at += now;
        }
        Ok(())
    }

    fn read_ahead(&mut self, request: &Request) -> io::Result<()> {
        let mut done = self.check_range(request, 0, Trouble::INVALID);
        if done.is_ok() && request.length > AHEAD_MAX {
            done = Err(Trouble::new(Trouble::TOO_LARGE, format!("at most {AHEAD_MAX} bytes are read ahead")));
        }
        let mut read = 0;
        while done.is_ok() && read < request.length {
            let now = (request.length - read).min(PIECE as u64) as usize;
            // Into room for answers, that none is.
            let place = self.reserve(now)?;
            done = self.agreed.device.read(request.offset + read, &mut self.buffer[place..place + now]);
            read += now as u64;
        }
        self.done(request, done)
    }

    fn block_status(&mut self, request: &Request) -> io::Result<()> {
        let checked = self.check_range(request, flag::REQ_ONE, Trouble::INVALID).and_then(|()| {
            match (self.agreed.allocation, request.length) {
                (true, 1..) => Ok(()),
                _ => Err(Trouble::new(Trouble::INVALID, "of no bytes, or before it was agreed on")),
            }
        });
        if let Err(trouble) = checked {
            return self.done(request, Err(trouble));
        }
        let most = if request.flags & flag::REQ_ONE != 0 { 1 } else { RUNS_MAX };
        let is_extended = self.agreed.dialect == Dialect::Extended;
        let (mut at, end) = (request.offset, request.offset + request.length);
        let (mut runs, mut count) = (Vec::new(), 0);
        while at < end && count < most {
            let (zero, length) = match self.agreed.device.is_zero(at, end - at) {
                Ok(found) => found,
                Err(trouble) => return self.done(request, Err(trouble)),
            };
            let state = if zero { HOLE_OF_ZEROES } else { 0 };
            if is_extended {
                runs.extend(length.to_be_bytes());
                runs.extend(u64::from(state).to_be_bytes());
            } else {
                runs.extend(u32::try_from(length).expect("no more than was asked for").to_be_bytes());
                runs.extend(state.to_be_bytes());
            }
            at += length;
            count += 1;
        }
        let count = u32::try_from(count).expect("runs are few").to_be_bytes();
        let (kind, count): (_, &[u8]) =
            if is_extended { (chunk::BLOCK_STATUS_EXT, &count) } else { (chunk::BLOCK_STATUS, &[]) };
        self.chunk_head(request, chunk::DONE, kind, 4 + count.len() + runs.len())?;
        self.put(&ALLOCATION_ID.to_be_bytes())?;
        self.put(count)?;
        self.put(&runs)
    }

    /// Answers that a request is done, or why not.
    fn done(&mut self, request: &Request, done: Result<(), Trouble>) -> io::Result<()> {
        if let Err(trouble) = &done {
            tracing::debug!(command = request.command, error = trouble.error, "{}", trouble.text);
        }
        if self.agreed.dialect == Dialect::Simple {
            let error = done.map_or_else(|trouble| trouble.error, |()| 0);
            return self.put(&simple(error, request.cookie));
        }
        let Err(trouble) = done else { return self.chunk_head(request, chunk::DONE, chunk::NONE, 0) };
        let text: String = trouble.text.chars().take(1000).collect();
        let length = u16::try_from(text.len()).expect("a thousand characters have at most 4,000 bytes");
        self.chunk_head(request, chunk::DONE, chunk::ERROR, 6 + text.len())?;
        self.put(&trouble.error.to_be_bytes())?;
        self.put(&length.to_be_bytes())?;
        self.put(text.as_bytes())
    }

    /// Makes sure that the request is within the device, and has no other flags than these.
    fn check_range(&self, request: &Request, flags: u16, past: u32) -> Result<(), Trouble> {
        if request.flags & !flags != 0 {
            return Err(Trouble::new(Trouble::INVALID, "flags that do not belong here"));
        }
        match request.offset.checked_add(request.length) {
            Some(end) if end <= self.agreed.device.size() => Ok(()),
            _ => Err(Trouble::new(past, "it reaches past the end")),
        }
    }

    fn writable(&self) -> Result<(), Trouble> {
        match self.agreed.device.is_writable() {
            true => Ok(()),
            false => Err(Trouble::new(Trouble::NOT_PERMITTED, "it is served for reading only")),
        }
    }

    /// Makes room for so many bytes after what is there; where they go.
    fn reserve(&mut self, count: usize) -> io::Result<usize> {
        if self.filled + count > self.buffer.len() {
            self.send()?;
        }
        Ok(self.filled)
    }

    fn chunk_head(&mut self, request: &Request, flags: u16, kind: u16, length: usize) -> io::Result<()> {
        let (dialect, length) = (self.agreed.dialect, u32::try_from(length).expect("chunks are short"));
        let count = dialect.head_bytes();
        let at = self.reserve(count)?;
        chunk_head(&mut self.buffer[at..at + count], dialect, (flags, kind), request, length);
        self.filled = at + count;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.reserve(bytes.len())?;
        self.buffer[at..at + bytes.len()].copy_from_slice(bytes);
        self.filled = at + bytes.len();
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer[..std::mem::take(&mut self.filled)])
    }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
