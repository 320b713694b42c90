//! The listening end: a socket file that is never open wider than it should be, and never takes another's place.

use super::{PATH_MAX, UnixLink, address_of};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, fchmod, flock, lstat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections the kernel keeps ready to be accepted.
const BACKLOG: i32 = 1024;
/// Times a directory's lock is tried, 5 ms apart: its holder needs well under one.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A listening unix socket. Dropping it removes its path.
#[derive(Debug)]
pub struct UnixListen {
    fd: OwnedFd,
    path: PathBuf,
    /// The file's device and number: what is removed must be what was made.
    file: (u64, u64),
}

/// Why a unix socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixBindError {
    /// The kernel has no room for the path.
    #[error(
        "unix socket {} cannot be made: its path has {bytes} bytes, and the system allows 1 to {PATH_MAX} without a \
         zero byte; choose a shorter one",
        path.display()
    )]
    BadPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// Somebody answers there.
    #[error("unix socket {} is in use: somebody answers there; stop that node, or choose another path", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is a file that is not a stream socket.
    #[error("unix socket {} cannot be made: something else has that name; remove it, or choose another", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused a step.
    #[error("unix socket {} cannot be made: {step}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's own words.
        source: io::Error,
    },
}

impl UnixListen {
    /// Makes the socket file with permissions `mode` (such as 0o600), whatever the umask, and listens.
    /// A socket that nobody answers on is replaced.
    ///
    /// # Errors
    /// [`UnixBindError`]; what was at the path before is then still there.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, UnixBindError> {
        let io = |step| move |error: Errno| UnixBindError::Io { path: path.to_owned(), step, source: error.into() };
        let address = address_of(path)
            .map_err(|_| UnixBindError::BadPath { path: path.to_owned(), bytes: path.as_os_str().len() })?;
        let mode = Mode::from_raw_mode(mode & 0o777);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io("making a socket"))?;
        // Linux gives the file the mode the socket has, less the umask: so there is no moment with a wider one.
        fchmod(&fd, mode).map_err(io("setting its mode"))?;

        let _alone = Alone::in_directory_of(path);
        match bind(&fd, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path)?;
                bind(&fd, &address).map_err(io("binding it"))?;
            }
            bound => bound.map_err(io("binding it"))?,
        }
        let made = lstat(path).map_err(io("looking at it"))?;
        let this = Self { fd, path: path.to_owned(), file: (made.st_dev, made.st_ino) };
        // The umask may have taken away what was asked for.
        rustix::fs::chmod(path, mode).map_err(io("setting its mode"))?;
        listen(&this.fd, BACKLOG).map_err(io("listening"))?;
        Ok(this)
    }

    /// The next connection.
    ///
    /// # Errors
    /// `WouldBlock` if there is none now. Others (no more descriptors, no more memory) concern this one connection
    /// or this moment, not the listener: wait a little and try again.
    pub fn accept(&mut self) -> io::Result<UnixLink> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            match accept_with(&self.fd, flags) {
                Ok(fd) => return UnixLink::from_fd(fd, format!("a client of unix:{}", self.path.display())),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What becomes readable when there is a connection to accept.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixListen {
    fn drop(&mut self) {
        let _alone = Alone::in_directory_of(&self.path);
        if lstat(&self.path).is_ok_and(|found| (found.st_dev, found.st_ino) == self.file) {
            let _ = unlinkat(rustix::fs::CWD, &self.path, AtFlags::empty());
        }
    }
}

/// Removes a socket file that nobody answers on; anything else stays and is an error.
fn remove_stale(path: &Path) -> Result<(), UnixBindError> {
    let io = |step| move |error: Errno| UnixBindError::Io { path: path.to_owned(), step, source: error.into() };
    let in_use = || UnixBindError::InUse { path: path.to_owned() };
    let not_a_socket = || UnixBindError::NotASocket { path: path.to_owned() };
    match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        found => {
            let found = found.map_err(io("looking at what is there"))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
                return Err(not_a_socket());
            }
        }
    }
    let address = address_of(path).map_err(|_| not_a_socket())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io("making a socket"))?;
    match connect(&probe, &address) {
        // AGAIN: somebody listens, with many waiting before us.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Err(in_use()),
        Err(Errno::PROTOTYPE) => Err(not_a_socket()),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) => {
            unlinkat(rustix::fs::CWD, path, AtFlags::empty()).map_err(io("removing a stale socket"))
        }
        Err(error) => Err(io("asking whether somebody answers")(error)),
    }
}

/// A lock on a directory, so that two starting nodes cannot each take the other's socket, bound and not yet
/// listened on, for a stale one. Where it is not to be had one goes on without: the store's own lock still holds.
struct Alone(#[expect(dead_code, reason = "closing it unlocks")] Option<OwnedFd>);

impl Alone {
    fn in_directory_of(path: &Path) -> Self {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(lock) = rustix::fs::open(directory, flags, Mode::empty()) else { return Self(None) };
        for _ in 0..LOCK_TRIES {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
                Err(_) => return Self(None),
                Ok(()) => return Self(Some(lock)),
            }
        }
        Self(None)
    }
}
