//! Links within one process: two rings of bytes and, for whoever sleeps, a bell each.
//!
//! Two threads that find something to do whenever they look never enter the kernel. Nothing is allocated after
//! [`pair`].

use crate::link::{Facts, Interest, Kind, Link, Peer};
use crate::socket::{check_room, wait_for};
use bell::Bell;
use ring::{Reader, Writer};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

mod bell;
mod ring;

/// Bytes on their way in each direction that serve well for whole blocks: enough to keep both threads busy, few
/// enough to stay in a processor's own cache.
pub const CAPACITY: usize = 512 << 10;

/// Two joined ends. Each direction holds `capacity` bytes, rounded up to a power of two below 16 KiB and to a
/// multiple of 16 KiB above.
///
/// # Errors
/// What the operating system says if it has no more descriptors.
pub fn pair(capacity: usize) -> io::Result<(MemoryLink, MemoryLink)> {
    let (writer_there, reader_there) = ring::ring(capacity);
    let (writer_back, reader_back) = ring::ring(capacity);
    let one = Arc::new(End { bell: Bell::new()?, closed: AtomicBool::new(false) });
    let other = Arc::new(End { bell: Bell::new()?, closed: AtomicBool::new(false) });
    Ok((
        MemoryLink::new(reader_back, writer_there, one.clone(), other.clone()),
        MemoryLink::new(reader_there, writer_back, other, one),
    ))
}

/// One end of a link within the process.
#[derive(Debug)]
pub struct MemoryLink {
    reader: Reader,
    writer: Writer,
    me: Arc<End>,
    peer: Arc<End>,
    sleeper: bell::Sleeper,
    facts: Facts,
}

/// What one end shows the other.
#[derive(Debug)]
struct End {
    bell: Bell,
    closed: AtomicBool,
}

impl MemoryLink {
    fn new(reader: Reader, writer: Writer, me: Arc<End>, peer: Arc<End>) -> Self {
        let facts = Facts { kind: Kind::Memory, peer: Peer::Same, name: "this process".to_owned() };
        Self { reader, writer, me, peer, sleeper: bell::Sleeper::default(), facts }
    }

    fn is_closed(&self) -> bool {
        // Only this end sets it.
        self.me.closed.load(Ordering::Relaxed)
    }

    fn peer_is_closed(&self) -> bool {
        self.peer.closed.load(Ordering::Acquire)
    }

    /// Whether it is worth trying.
    fn ready(&self, interest: Interest) -> bool {
        self.is_closed()
            || self.peer_is_closed()
            || (wants_receive(interest) && self.reader.has_bytes())
            || (wants_send(interest) && self.writer.has_worthy_room())
    }
}

impl Link for MemoryLink {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        check_room(into)?;
        if self.is_closed() {
            return Ok(0);
        }
        let mut count = self.reader.read(into);
        if count == 0 {
            if !self.peer_is_closed() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // It may have sent its last bytes between our first look and its closing.
            count = self.reader.read(into);
        }
        if count > 0 {
            self.peer.bell.ring(|waits| wants_send(waits) && self.reader.leaves_worthy_room());
        }
        Ok(count)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_closed() || self.peer_is_closed() {
            return Err(Errno::PIPE.into());
        }
        let count = self.writer.write(parts);
        if count > 0 {
            self.peer.bell.ring(wants_receive);
            return Ok(count);
        }
        if parts.iter().all(|part| part.is_empty()) { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.me.bell.fd()
    }

    fn about_to_wait(&mut self, interest: Interest) -> bool {
        self.sleeper.disarm(&self.me.bell);
        self.sleeper.hear(&self.me.bell);
        self.sleeper.arm(&self.me.bell, interest);
        let ready = self.ready(interest);
        if ready {
            self.sleeper.disarm(&self.me.bell);
        }
        !ready
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while self.about_to_wait(interest) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !wait_for(self.fd(), Interest::Receive, left)? {
                self.sleeper.disarm(&self.me.bell);
                return Ok(self.ready(interest));
            }
        }
        Ok(true)
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn close(&mut self) {
        if !self.me.closed.swap(true, Ordering::Release) {
            self.peer.bell.ring(|_| true);
        }
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.close();
    }
}

fn wants_receive(interest: Interest) -> bool {
    matches!(interest, Interest::Receive | Interest::Both)
}

fn wants_send(interest: Interest) -> bool {
    matches!(interest, Interest::Send | Interest::Both)
}
