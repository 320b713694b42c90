//! The trait every link fulfils.

use okapi_base::NodeId;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// One end of a byte stream. Never blocks but in [`Link::wait`].
///
/// Whoever drives it tries first and waits after: [`Link::receive`] and [`Link::send`] until they say `WouldBlock`,
/// then [`Link::about_to_wait`], then waits for [`Link::fd`] (edge-triggered or not) or calls [`Link::wait`].
pub trait Link: Send {
    /// Receives at most `into.len()` bytes. 0 means the other end is closed.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing now; anything else is final.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends as much of `parts`, in order, as fits now, and says how many bytes that was.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now; anything else is final.
    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// What becomes ready when trying again is worth while.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Says that the driver is about to wait for `interest`. False: do not wait, there is something to do now.
    fn about_to_wait(&mut self, interest: Interest) -> bool {
        let _ = interest;
        true
    }

    /// Waits until something of `interest` is worth trying or `timeout` has passed; says whether it is.
    ///
    /// # Errors
    /// Whatever the operating system says of the waiting itself.
    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool>;

    /// Hands file descriptors over together with at least one byte of `parts`.
    ///
    /// # Errors
    /// `Unsupported` where the link cannot carry descriptors; otherwise as [`Link::send`].
    fn send_with_fds(&mut self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let _ = (parts, fds);
        Err(io::Error::new(io::ErrorKind::Unsupported, "this link carries no file descriptors"))
    }

    /// From now on receive descriptors too (links that can carry them). Off at first: it costs a little each time.
    fn expect_fds(&mut self, on: bool) {
        let _ = on;
    }

    /// The descriptors received and not yet taken, in the order they came. At most 16 are kept; more are closed.
    fn take_fds(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// What is known of the link and its other end.
    fn facts(&self) -> &Facts;

    /// Closes both directions. The other end receives what was sent before, then 0.
    fn close(&mut self);
}

/// What a driver waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to receive.
    Receive,
    /// Room to send.
    Send,
    /// Either.
    Both,
}

/// What is known of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What carries the bytes.
    pub kind: Kind,
    /// Who is at the other end.
    pub peer: Peer,
    /// The other end as text, as logs show it.
    pub name: String,
}

/// What carries a link's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Memory of this process.
    Memory,
    /// A unix socket.
    Unix,
    /// TCP.
    Tcp,
    /// TLS between two nodes of a group.
    Tls,
}

/// Who is at the other end of a link, as far as the link itself proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// This very process.
    Same,
    /// A process of this machine, run by the user with this number.
    User(u32),
    /// Anyone who can reach the address.
    Unknown,
    /// The node whose key this is.
    Member(NodeId),
}
