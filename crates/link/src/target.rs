//! Where a node is, in text, and how to get there.

use crate::link::Link;
use crate::tcp::TcpLink;
use crate::unix::{PATH_MAX, UnixLink};
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Where a node is: `unix:/path`, `tcp://host:port`, or short a path with a `/` in it, or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The path of a unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address (here without its brackets).
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is neither of the forms.
    #[error("`{0}` does not say where a node is; write unix:/path/to/socket or tcp://host:port")]
    Unclear(String),
    /// It has a scheme that is not known.
    #[error("`{0}` begins with a scheme that is not known; write unix:/path/to/socket or tcp://host:port")]
    Scheme(String),
    /// The host is empty, or has characters that no host has.
    #[error("`{0}` has no proper host; write tcp://host:port, and an IPv6 address in brackets, as in tcp://[::1]:7070")]
    Host(String),
    /// The port is missing or no number below 65536.
    #[error("`{0}` has no proper port; write tcp://host:port with a port from 0 to 65535")]
    Port(String),
    /// The path of the socket is missing or has a zero byte.
    #[error("`{0}` has no proper path; write unix:/path/to/socket")]
    Path(String),
}

/// Why a node could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such socket file.
    #[error("cannot connect to {target}: there is no such socket; is a node running? start one with `okapi up`")]
    NoSocket {
        /// Where it was tried.
        target: Target,
    },
    /// There is a file, and it is not a stream socket.
    #[error("cannot connect to {target}: that is not a node's socket; `okapi up` prints where its socket is")]
    NotASocket {
        /// Where it was tried.
        target: Target,
    },
    /// The path is too long for a unix socket.
    #[error(
        "cannot connect to {target}: its path has {bytes} bytes, and the system allows {PATH_MAX}; use a shorter one"
    )]
    LongPath {
        /// Where it was tried.
        target: Target,
        /// Bytes of the path.
        bytes: usize,
    },
    /// Nobody listens there.
    #[error("cannot connect to {target}: nobody answers there; is a node running? start one with `okapi up`")]
    Refused {
        /// Where it was tried.
        target: Target,
    },
    /// The file's permissions, or a firewall, forbid it.
    #[error("cannot connect to {target}: permission denied; the node's owner decides who may (its socket's file mode)")]
    Denied {
        /// Where it was tried.
        target: Target,
    },
    /// Nobody answered in time.
    #[error("cannot connect to {target}: no answer within {after:?}; is the machine up and the address right?")]
    TimedOut {
        /// Where it was tried.
        target: Target,
        /// How long was waited.
        after: Duration,
    },
    /// The host's name has no address.
    #[error("cannot connect to {target}: its name does not resolve: {source}; is it spelt right?")]
    Unresolved {
        /// Where it was tried.
        target: Target,
        /// The resolver's own words.
        source: io::Error,
    },
    /// Something else.
    #[error("cannot connect to {target}: {source}")]
    Io {
        /// Where it was tried.
        target: Target,
        /// The system's own words.
        source: io::Error,
    },
}

impl Target {
    /// Connects. Of a host's several addresses each is tried in turn, all within `timeout`; asking the resolver for
    /// them takes as long as the system lets it.
    ///
    /// # Errors
    /// [`ConnectError`], for several addresses that of the last one tried.
    pub fn connect(&self, timeout: Duration) -> Result<Box<dyn Link>, ConnectError> {
        match self {
            Self::Unix(path) => self.connect_unix(path, timeout),
            Self::Tcp { host, port } => self.connect_tcp(host, *port, timeout),
        }
    }

    fn connect_unix(&self, path: &Path, timeout: Duration) -> Result<Box<dyn Link>, ConnectError> {
        let bytes = path.as_os_str().len();
        if bytes > PATH_MAX {
            return Err(ConnectError::LongPath { target: self.clone(), bytes });
        }
        match UnixLink::connect(path, timeout) {
            Ok(link) => Ok(Box::new(link)),
            // To the kernel a file that is no socket is one that nobody listens on.
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionRefused && !is_socket(path)
                    || error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) =>
            {
                Err(ConnectError::NotASocket { target: self.clone() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ConnectError::NoSocket { target: self.clone() })
            }
            Err(error) => Err(self.explain(error, timeout)),
        }
    }

    fn connect_tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<Box<dyn Link>, ConnectError> {
        let unresolved = |source| ConnectError::Unresolved { target: self.clone(), source };
        let addresses = (host, port).to_socket_addrs().map_err(unresolved)?;
        let started = Instant::now();
        let mut last = None;
        for address in addresses {
            let left = timeout.saturating_sub(started.elapsed());
            if last.is_some() && left.is_zero() {
                break;
            }
            match TcpLink::connect(&address, left) {
                Ok(link) => return Ok(Box::new(link)),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) => self.explain(error, timeout),
            None => unresolved(io::Error::new(io::ErrorKind::NotFound, "no addresses")),
        })
    }

    fn explain(&self, source: io::Error, after: Duration) -> ConnectError {
        let target = self.clone();
        match source.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused { target },
            io::ErrorKind::PermissionDenied => ConnectError::Denied { target },
            io::ErrorKind::TimedOut => ConnectError::TimedOut { target, after },
            _ => ConnectError::Io { target, source },
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// `unix:/path` or `tcp://host:port`; parses back to the same target (if the path is UTF-8).
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As other programs write it: unix:///path.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            return unix(path, text);
        }
        if let Some(place) = text.strip_prefix("tcp://") {
            return tcp(place, text);
        }
        if text.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return Err(TargetError::Scheme(text.to_owned()));
        }
        if text.contains('/') {
            return unix(text, text);
        }
        if text.contains(':') {
            return tcp(text, text);
        }
        Err(TargetError::Unclear(text.to_owned()))
    }
}

fn unix(path: &str, text: &str) -> Result<Target, TargetError> {
    if path.is_empty() || path.contains('\0') {
        return Err(TargetError::Path(text.to_owned()));
    }
    Ok(Target::Unix(PathBuf::from(path)))
}

fn tcp(place: &str, text: &str) -> Result<Target, TargetError> {
    let (host, port) = place.rsplit_once(':').ok_or_else(|| TargetError::Port(text.to_owned()))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok().then_some(host),
        None => Some(host).filter(|host| is_name(host)),
    };
    let host = host.ok_or_else(|| TargetError::Host(text.to_owned()))?;
    // `parse` alone would take a sign.
    let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit())).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| TargetError::Port(text.to_owned()))?;
    Ok(Target::Tcp { host: host.to_owned(), port })
}

/// Whether a text can be a host's name or IPv4 address: nothing the resolver or a terminal could be tricked with.
fn is_name(host: &str) -> bool {
    let taken = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.chars().all(taken)
}

#[cfg(test)]
mod tests;
