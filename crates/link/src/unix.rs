//! Unix sockets: processes of one machine. They prove who is at the other end and carry file descriptors.

use crate::link::{Facts, Interest, Kind, Link, Peer};
use crate::socket::{Socket, check_room};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, socket_with,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub use listen::{UnixBindError, UnixListen};

mod listen;

/// Descriptors kept until they are taken, and the most that one send may carry. More are closed as they come.
pub const FDS_MAX: usize = 16;
/// Bytes of a unix socket's path at most: the kernel has room for 108, one of them the closing zero.
pub const PATH_MAX: usize = 107;
/// Bytes the kernel keeps on their way in each direction (it doubles the figure for its own needs).
///
/// Measured with multi-gets of 16 x 64 KiB between two threads (the example `throughput`, medians of 5, two cores
/// shared with others): in the quietest run 4.2 GB/s with 104 KiB (the kernel's default), 4.7 with this, 4.5 to 4.9
/// with 512 KiB to 4 MiB, so no more than noise. In the busier runs the rates say nothing, but this took 0.23 to 0.27 s
/// of processor a gigabyte and the larger ones 0.26 to 0.33. Every system allows this much without asking, and a
/// client that does not read costs no more.
const BUFFER: usize = 208 << 10;

/// One end of a unix stream socket.
#[derive(Debug)]
pub struct UnixLink {
    socket: Socket,
    facts: Facts,
    expects_fds: bool,
    fds: Vec<OwnedFd>,
}

impl UnixLink {
    /// Takes over a connected socket; `name` is what logs call the other end.
    ///
    /// # Errors
    /// What the operating system says if it is not a connected unix stream socket.
    pub fn new(stream: UnixStream, name: String) -> io::Result<Self> {
        Self::from_fd(stream.into(), name)
    }

    /// Connects to the socket at `path`, waiting at most `timeout` for a listener too busy to accept.
    ///
    /// # Errors
    /// The operating system's own: `NotFound`, `ConnectionRefused`, `PermissionDenied`, `TimedOut`;
    /// `InvalidInput` for a path longer than [`PATH_MAX`].
    pub fn connect(path: &Path, timeout: Duration) -> io::Result<Self> {
        let address = address_of(path)?;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // A blocking connect waits for room in the listener's queue as long as a send may wait. Zero would mean
            // for ever.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| left.max(Duration::from_millis(1)));
            sockopt::set_socket_timeout(&fd, Timeout::Send, left)?;
            match connect(&fd, &address) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Self::from_fd(fd, format!("unix:{}", path.display()))
    }

    /// Two connected ends.
    ///
    /// # Errors
    /// What the operating system says if it has no more sockets.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self::new(one, "unix pair".to_owned())?, Self::new(other, "unix pair".to_owned())?))
    }

    /// The same link with other facts: those of a carrier for which this end stands.
    #[cfg(feature = "member")]
    pub(crate) fn with_facts(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    fn from_fd(fd: OwnedFd, name: String) -> io::Result<Self> {
        let user = sockopt::socket_peercred(&fd)?.uid.as_raw();
        // The kernel cuts what is more than it allows; a smaller buffer is slower, not wrong.
        sockopt::set_socket_send_buffer_size(&fd, BUFFER)?;
        let facts = Facts { kind: Kind::Unix, peer: Peer::User(user), name };
        Ok(Self { socket: Socket::new(fd)?, facts, expects_fds: false, fds: Vec::new() })
    }

    fn receive_with_fds(&mut self, into: &mut [u8]) -> io::Result<usize> {
        check_room(into)?;
        if self.socket.is_closed() {
            return Ok(0);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(into)];
        let got = retry_on_intr(|| recvmsg(self.socket.fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                // Whatever finds no place is dropped here, and so closed.
                fds.for_each(|fd| {
                    if self.fds.len() < FDS_MAX {
                        self.fds.push(fd);
                    }
                });
            }
        }
        Ok(got.bytes)
    }
}

impl Link for UnixLink {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = if self.expects_fds { self.receive_with_fds(into) } else { self.socket.receive(into) };
        match got {
            // All that the other end had sent has been received before this comes; it only says that the other
            // end closed without reading all of ours.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            got => got,
        }
    }

    #[inline]
    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.send(parts, &mut SendAncillaryBuffer::default())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        self.socket.wait(interest, timeout)
    }

    fn send_with_fds(&mut self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if fds.len() > FDS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 16 file descriptors in one send"));
        }
        if parts.iter().all(|part| part.is_empty()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "file descriptors travel with at least one byte"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "the space is for {FDS_MAX} descriptors");
        }
        self.socket.send(parts, &mut control)
    }

    fn expect_fds(&mut self, on: bool) {
        self.expects_fds = on;
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn close(&mut self) {
        self.socket.close();
    }
}

/// The kernel's form of a path, if it has room for it.
fn address_of(path: &Path) -> io::Result<SocketAddrUnix> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > PATH_MAX || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a unix socket's path has 1 to {PATH_MAX} bytes and no zero byte, this one has {}", bytes.len()),
        ));
    }
    Ok(SocketAddrUnix::new(path)?)
}
