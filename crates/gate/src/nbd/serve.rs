//! Requests and their answers.

use super::handshake::Agreed;
use super::input::Input;
use super::wire::{ALLOCATION_ID, HOLE_OF_ZEROES, REQUEST_MAX, Request, chunk, command, flag, simple, structured};
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
/// Runs that one answer about block status tells of.
const RUNS_MAX: usize = 4096;

/// Answers requests until the client goes.
///
/// # Errors
/// The stream's, and `InvalidData` for what is no request.
pub(crate) fn serve<R: Read, W: Write>(input: &mut Input<R>, output: W, agreed: &Agreed) -> io::Result<()> {
    let mut answers = Answers { output, buffer: vec![0; OUTPUT].into(), filled: 0, owed: Vec::new(), agreed };
    loop {
        if input.here() < Request::BYTES {
            // All that has come is answered: now it goes, in one piece.
            answers.settle()?;
            answers.send()?;
            match input.wait_for(Request::BYTES) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && input.here() == 0 => return Ok(()),
                waited => waited?,
            }
        }
        let bytes = input.take(Request::BYTES).as_array().expect("so many were taken");
        let Some(request) = Request::decode(bytes) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client sent something else than a request"));
        };
        match request.command {
            command::DISC => {
                answers.settle()?;
                return answers.send();
            }
            command::WRITE => answers.write(&request, input)?,
            command::READ => answers.read(&request)?,
            command::BLOCK_STATUS => answers.block_status(&request)?,
            command::FLUSH => answers.owe(&request)?,
            _ => match answers.other(&request) {
                Ok(()) if request.command != command::CACHE => answers.owe(&request)?,
                done => answers.done(&request, done)?,
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
    agreed: &'a Agreed,
}

impl<W: Write> Answers<'_, W> {
    /// Answers a request once what it has written is where it must be.
    fn owe(&mut self, request: &Request) -> io::Result<()> {
        self.owed.push(*request);
        if self.owed.len() < OWED_MAX { Ok(()) } else { self.settle() }
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let device = &self.agreed.device;
        let is_flush = |request: &Request| request.command == command::FLUSH || request.flags & flag::FUA != 0;
        let settled = if self.owed.iter().any(is_flush) { device.flush() } else { device.hand_over() };
        for request in std::mem::take(&mut self.owed) {
            self.done(&request, settled.clone())?;
        }
        Ok(())
    }

    fn read(&mut self, request: &Request) -> io::Result<()> {
        let (length, cookie) = (request.length as usize, request.cookie);
        if let Err(trouble) = self.check(request, flag::DF | flag::FUA, Trouble::INVALID) {
            return self.done(request, Err(trouble));
        }
        if self.agreed.structured {
            let in_one = request.flags & flag::DF != 0 || length <= PIECE;
            if in_one && length > PIECE {
                let text = format!("at most {PIECE} bytes are sent in one chunk");
                return self.done(request, Err(Trouble::new(Trouble::TOO_LARGE, text)));
            }
            let mut done = 0;
            loop {
                let now = (length - done).min(PIECE);
                let last = done + now == length;
                let offset = request.offset + done as u64;
                let size = u32::try_from(now + 8).expect("a piece is short");
                let flags = if last { chunk::DONE } else { 0 };
                let mut head = structured(flags, chunk::OFFSET_DATA, cookie, size).to_vec();
                head.extend(offset.to_be_bytes());
                let before = self.reserve(head.len() + now)?;
                let place = before + head.len();
                match self.agreed.device.read(offset, &mut self.buffer[place..place + now]) {
                    Ok(()) => {
                        self.buffer[before..place].copy_from_slice(&head);
                        self.filled = place + now;
                    }
                    Err(trouble) => return self.done(request, Err(trouble)),
                }
                done += now;
                if last {
                    return Ok(());
                }
            }
        }
        let mut done = 0;
        while done < length {
            let head: &[u8] = if done == 0 { &simple(0, cookie) } else { &[] };
            let now = (length - done).min(PIECE);
            let before = self.reserve(head.len() + now)?;
            let place = before + head.len();
            let into = &mut self.buffer[place..place + now];
            match self.agreed.device.read(request.offset + done as u64, into) {
                Ok(()) => {
                    self.buffer[before..place].copy_from_slice(head);
                    self.filled = place + now;
                }
                Err(trouble) if done == 0 => return self.done(request, Err(trouble)),
                // It has been said that all is well, and there is no other way to take that back.
                Err(trouble) => return Err(io::Error::other(trouble.text)),
            }
            done += now;
        }
        if length == 0 { self.done(request, Ok(())) } else { Ok(()) }
    }

    fn write<R: Read>(&mut self, request: &Request, input: &mut Input<R>) -> io::Result<()> {
        let length = request.length as usize;
        if request.length > REQUEST_MAX {
            let text = format!("the client announced a write of {length} bytes, more than it was told to");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut done = self.check(request, flag::FUA, Trouble::NO_SPACE).and_then(|()| self.writable());
        if input.here() < length.min(PIECE) {
            // What is still to come may wait for answers to what came before.
            self.settle()?;
            self.send()?;
        }
        let (device, mut at) = (&self.agreed.device, request.offset);
        input.each(length, PIECE, |bytes| {
            if done.is_ok() {
                done = device.write(at, bytes, false);
                at += bytes.len() as u64;
            }
        })?;
        if done.is_ok() { self.owe(request) } else { self.done(request, done) }
    }

    fn other(&mut self, request: &Request) -> Result<(), Trouble> {
        let device = &self.agreed.device;
        let (offset, length) = (request.offset, u64::from(request.length));
        match request.command {
            command::TRIM => {
                self.check_range(request, flag::FUA, Trouble::INVALID)?;
                self.writable()?;
                device.zero(offset, length, false)
            }
            command::WRITE_ZEROES => {
                self.check_range(request, flag::FUA | flag::NO_HOLE | flag::FAST_ZERO, Trouble::NO_SPACE)?;
                self.writable()?;
                device.zero(offset, length, false)
            }
            command::CACHE => {
                self.check_range(request, 0, Trouble::INVALID)?;
                let mut buffer = vec![0; PIECE.min(request.length as usize)];
                let mut at = 0;
                while at < length {
                    let now = (length - at).min(PIECE as u64);
                    device.read(offset + at, &mut buffer[..now as usize])?;
                    at += now;
                }
                Ok(())
            }
            other => Err(Trouble::new(Trouble::INVALID, format!("command {other} is not known here"))),
        }
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
        let (mut at, end) = (request.offset, request.offset + u64::from(request.length));
        let mut runs = ALLOCATION_ID.to_be_bytes().to_vec();
        while at < end && runs.len() < 4 + most * 8 {
            match self.agreed.device.is_zero(at, end - at) {
                Ok((zero, length)) => {
                    runs.extend(u32::try_from(length).expect("no more than was asked for").to_be_bytes());
                    runs.extend((if zero { HOLE_OF_ZEROES } else { 0 }).to_be_bytes());
                    at += length;
                }
                Err(trouble) => return self.done(request, Err(trouble)),
            }
        }
        let length = u32::try_from(runs.len()).expect("runs are few");
        self.put(&structured(chunk::DONE, chunk::BLOCK_STATUS, request.cookie, length))?;
        self.put(&runs)
    }

    /// Answers that a request is done, or why not.
    fn done(&mut self, request: &Request, done: Result<(), Trouble>) -> io::Result<()> {
        if let Err(trouble) = &done {
            tracing::debug!(command = request.command, error = trouble.error, "{}", trouble.text);
        }
        let cookie = request.cookie;
        match (self.agreed.structured, done) {
            (true, Ok(())) => self.put(&structured(chunk::DONE, chunk::NONE, cookie, 0)),
            (true, Err(trouble)) => {
                let text: String = trouble.text.chars().take(1000).collect();
                let length = u16::try_from(text.len()).expect("a thousand characters have at most 4,000 bytes");
                self.put(&structured(chunk::DONE, chunk::ERROR, cookie, 6 + u32::from(length)))?;
                self.put(&trouble.error.to_be_bytes())?;
                self.put(&length.to_be_bytes())?;
                self.put(text.as_bytes())
            }
            (false, done) => self.put(&simple(done.map_or_else(|trouble| trouble.error, |()| 0), cookie)),
        }
    }

    /// Makes sure that the request is no longer than agreed and within the device, and has no other flags than these.
    fn check(&self, request: &Request, flags: u16, past: u32) -> Result<(), Trouble> {
        if request.length > REQUEST_MAX {
            return Err(Trouble::new(Trouble::INVALID, format!("requests are of at most {REQUEST_MAX} bytes")));
        }
        self.check_range(request, flags, past)
    }

    /// The same for requests without data, whose length has no other limit than the device.
    fn check_range(&self, request: &Request, flags: u16, past: u32) -> Result<(), Trouble> {
        if request.flags & !flags != 0 {
            return Err(Trouble::new(Trouble::INVALID, "flags that do not belong here"));
        }
        match request.offset.checked_add(u64::from(request.length)) {
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
