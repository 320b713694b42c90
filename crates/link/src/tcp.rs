//! TCP: other machines, and this one where a socket file will not do.

use crate::link::{Facts, Interest, Kind, Link, Peer};
use crate::socket::Socket;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SocketFlags, accept_with, sockopt};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Silence after which the other end is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which the link is dead.
const KEEPALIVE_PROBES: u32 = 3;
/// Time after which a link to a server is dead if what was sent has not come: nothing is asked while something is on its
/// way. A server waits for longer: its client may be a machine that was paused.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Whether only this machine can reach `address`.
#[must_use]
pub fn is_loopback_only(address: &SocketAddr) -> bool {
    // An IPv6 socket bound to ::ffff:127.0.0.1 hears IPv4's loopback.
    address.ip().to_canonical().is_loopback()
}

/// One end of a TCP connection.
#[derive(Debug)]
pub struct TcpLink {
    socket: Socket,
    facts: Facts,
}

impl TcpLink {
    /// Takes over a connected socket; `name` is what logs call the other end.
    ///
    /// # Errors
    /// What the operating system says if it is not a connected TCP socket.
    pub fn new(stream: TcpStream, name: String) -> io::Result<Self> {
        Self::from_fd(stream.into(), name)
    }

    /// Connects to `address`, waiting at most `timeout`.
    ///
    /// # Errors
    /// The operating system's own: `ConnectionRefused`, `TimedOut` and so on.
    pub fn connect(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        // The standard library refuses zero.
        let stream = TcpStream::connect_timeout(address, timeout.max(Duration::from_millis(1)))?;
        sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED.as_millis() as u32)?;
        Self::new(stream, format!("tcp://{address}"))
    }

    fn from_fd(fd: OwnedFd, name: String) -> io::Result<Self> {
        // Without it a request's last short segment waits for the answer to the one before.
        sockopt::set_tcp_nodelay(&fd, true)?;
        sockopt::set_socket_keepalive(&fd, true)?;
        sockopt::set_tcp_keepidle(&fd, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&fd, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_PROBES)?;
        let facts = Facts { kind: Kind::Tcp, peer: Peer::Unknown, name };
        Ok(Self { socket: Socket::new(fd)?, facts })
    }
}

impl Link for TcpLink {
    #[inline]
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(into)
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

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn close(&mut self) {
        self.socket.close();
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListen {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a TCP address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum TcpBindError {
    /// Somebody listens there already.
    #[error("tcp://{address} is in use; stop what listens there, or choose another port (0: any free one)")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("tcp://{address} cannot be listened on: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The system's own words.
        source: io::Error,
    },
}

impl TcpListen {
    /// Listens on `address`; port 0 takes any free one, which [`TcpListen::local_addr`] tells.
    ///
    /// # Errors
    /// [`TcpBindError`].
    pub fn bind(address: SocketAddr) -> Result<Self, TcpBindError> {
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => TcpBindError::InUse { address },
            _ => TcpBindError::Io { address, source },
        };
        let listener = TcpListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address })
    }

    /// The next connection.
    ///
    /// # Errors
    /// `WouldBlock` if there is none now. Others (no more descriptors, no more memory) concern this one connection
    /// or this moment, not the listener: wait a little and try again.
    pub fn accept(&mut self) -> io::Result<TcpLink> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            match accept_with(&self.listener, flags) {
                Ok(fd) => {
                    let stream = TcpStream::from(fd);
                    // A peer that has gone again already has no address; the link will say so when it is used.
                    let name = stream.peer_addr().map_or("tcp://unknown".to_owned(), |peer| format!("tcp://{peer}"));
                    return TcpLink::new(stream, name);
                }
                // Linux hands over here what already went wrong on the new connection alone.
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::NETDOWN | Errno::HOSTUNREACH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What becomes readable when there is a connection to accept.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Where it listens, with the port it got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_alone_is_told() {
        for (address, loopback) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("[::ffff:10.0.0.1]:1", false),
            ("[fe80::1]:1", false),
        ] {
            assert_eq!(is_loopback_only(&address.parse().unwrap()), loopback, "{address}");
        }
    }

    #[test]
    fn a_port_in_use_is_refused_in_words() {
        let mut listen = TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(listen.local_addr().port(), 0);
        assert_eq!(listen.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let error = TcpListen::bind(listen.local_addr()).unwrap_err();
        assert!(matches!(error, TcpBindError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&listen.local_addr().to_string()), "{error}");
    }

    #[test]
    fn neither_end_holds_bytes_back_or_trusts_silence() {
        let mut listen = TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let one = TcpLink::connect(&listen.local_addr(), Duration::from_secs(10)).unwrap();
        let other = listen.accept().unwrap();
        for link in [&one, &other] {
            assert!(sockopt::tcp_nodelay(link.fd()).unwrap());
            assert!(sockopt::socket_keepalive(link.fd()).unwrap());
            assert_eq!(sockopt::tcp_keepidle(link.fd()).unwrap(), KEEPALIVE_IDLE);
        }
        assert_eq!(sockopt::tcp_user_timeout(one.fd()).unwrap(), 60_000);
        assert_eq!(sockopt::tcp_user_timeout(other.fd()).unwrap(), 0);
    }
}
