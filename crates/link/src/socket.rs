//! What every socket of the operating system has in common: bytes in and out, waiting, closing.

use crate::link::Interest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, sendmsg, shutdown};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Parts the kernel takes in one call (UIO_MAXIOV); more are left for the next call.
pub(crate) const PARTS_MAX: usize = 1024;
/// Bytes read away at most when a socket is closed.
const DRAIN_MAX: usize = 8 << 20;

/// A connected, nonblocking stream socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    closed: bool,
}

impl Socket {
    /// Takes a connected socket over and makes it nonblocking.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, closed: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    #[inline]
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        check_room(into)?;
        if self.closed {
            return Ok(0);
        }
        Ok(retry_on_intr(|| recv(&self.fd, &mut *into, RecvFlags::empty()))?.1)
    }

    #[inline]
    pub(crate) fn send(
        &mut self,
        parts: &[IoSlice<'_>],
        control: &mut SendAncillaryBuffer<'_, '_, '_>,
    ) -> io::Result<usize> {
        if self.closed {
            return Err(Errno::PIPE.into());
        }
        let parts = &parts[..parts.len().min(PARTS_MAX)];
        // Without NOSIGNAL a closed peer would kill programs that (unlike Rust's own) have not ignored SIGPIPE.
        Ok(retry_on_intr(|| sendmsg(&self.fd, parts, control, SendFlags::NOSIGNAL))?)
    }

    pub(crate) fn wait(&self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        // A socket shut down stays readable for ever; saying so saves the question what poll would say.
        if self.closed {
            return Ok(true);
        }
        wait_for(self.fd(), interest, timeout)
    }

    pub(crate) fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        // What has arrived and was never read would make the kernel answer with a reset, and a reset can overtake
        // and destroy what we sent last. Errors do not matter: there is nothing more to be done with this socket.
        let mut bin = [0; 16 << 10];
        let mut drained = 0;
        while drained < DRAIN_MAX {
            match retry_on_intr(|| recv(&self.fd, &mut bin, RecvFlags::DONTWAIT)) {
                Ok((_, count)) if count > 0 => drained += count,
                _ => break,
            }
        }
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

/// Nothing can be received into no room, and 0 has another meaning.
#[inline]
pub(crate) fn check_room(into: &[u8]) -> io::Result<()> {
    if into.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link was asked to receive into an empty buffer"));
    }
    Ok(())
}

/// Waits with poll(2) until `fd` is ready for `interest` (an error or a hang-up is "ready": trying tells).
pub(crate) fn wait_for(fd: BorrowedFd<'_>, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
    let flags = match interest {
        Interest::Receive => PollFlags::IN,
        Interest::Send => PollFlags::OUT,
        Interest::Both => PollFlags::IN | PollFlags::OUT,
    };
    // A timeout too long for the clock is no timeout.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
