//! Who comes in: sockets, and a thread for each connection.

use super::handshake::shake;
use super::input::Input;
use super::serve::{INPUT, serve};
use crate::catalog::Catalog;
use crate::socket;
use okapi_client::Target;
use parking_lot::{Condvar, Mutex};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections at a time; a guest has a few.
const CONNECTIONS_MAX: usize = 1024;
/// How long the handshake may take between two words.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server that ends waits for what is being answered.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A server of exports. Dropped, it hangs up.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<Target>,
    listeners: Vec<(OwnedFd, JoinHandle<()>)>,
    sockets: Vec<PathBuf>,
    guests: Arc<Guests>,
}

/// Those who are connected.
#[derive(Debug, Default)]
struct Guests {
    state: Mutex<(u64, HashMap<u64, OwnedFd>)>,
    left: Condvar,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from elsewhere.
    #[error(
        "{0} can be reached from other machines, and NBD proves nobody and hides nothing; listen on a unix socket or on \
         127.0.0.1, and reach it from elsewhere through ssh"
    )]
    BeyondLoopback(Target),
    /// Somebody listens there already.
    #[error("somebody listens on {0} already; choose another address")]
    InUse(Target),
    /// The system refused.
    #[error("listening on {target} failed: {why}")]
    Io {
        /// Where.
        target: Target,
        /// The system's words.
        #[source]
        why: io::Error,
    },
}

/// A stream of either kind.
trait Stream: Read + AsFd + Send + 'static {
    /// Another handle to write to.
    fn split(&self) -> io::Result<Box<dyn Write + Send>>;
}

impl Stream for UnixStream {
    fn split(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Stream for TcpStream {
    fn split(&self) -> io::Result<Box<dyn Write + Send>> {
        self.set_nodelay(true)?;
        Ok(Box::new(self.try_clone()?))
    }
}

impl Server {
    /// Listens at all of `targets` and serves what `catalog` has.
    ///
    /// # Errors
    /// [`ListenError`]; nothing listens then.
    pub fn start(targets: &[Target], catalog: &Arc<dyn Catalog>) -> Result<Self, ListenError> {
        let mut server =
            Self { addresses: Vec::new(), listeners: Vec::new(), sockets: Vec::new(), guests: Arc::default() };
        for target in targets {
            server.listen(target, catalog)?;
        }
        Ok(server)
    }

    /// Where it listens: with the port that the system chose where none was asked for.
    #[must_use]
    pub fn addresses(&self) -> &[Target] {
        &self.addresses
    }

    fn listen(&mut self, target: &Target, catalog: &Arc<dyn Catalog>) -> Result<(), ListenError> {
        let failed = |why: io::Error| match why.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(target.clone()),
            _ => ListenError::Io { target: target.clone(), why },
        };
        let (fd, address, accept): (OwnedFd, Target, Accept) = match target {
            Target::Unix(path) => {
                let listener = socket::bind(path).map_err(failed)?;
                self.sockets.push(path.clone());
                let fd = listener.try_clone().map_err(failed)?.into();
                (fd, target.clone(), Box::new(move || Ok(Box::new(listener.accept()?.0))))
            }
            Target::Tcp { host, port } => {
                let found: Vec<_> = (host.as_str(), *port).to_socket_addrs().map_err(failed)?.collect();
                if !found.iter().all(|address| address.ip().is_loopback()) {
                    return Err(ListenError::BeyondLoopback(target.clone()));
                }
                let listener = TcpListener::bind(&found[..]).map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                let fd = listener.try_clone().map_err(failed)?.into();
                let address = Target::Tcp { host: host.clone(), port };
                (fd, address, Box::new(move || Ok(Box::new(listener.accept()?.0))))
            }
        };
        let (guests, catalog) = (self.guests.clone(), catalog.clone());
        let run = move || welcome_all(&accept, &guests, &catalog);
        let thread = std::thread::Builder::new().name("okapi-nbd".to_owned()).spawn(run).map_err(failed)?;
        self.listeners.push((fd, thread));
        self.addresses.push(address);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (fd, thread) in self.listeners.drain(..) {
            // Wakes whoever accepts. What fails here has ended already.
            let _ = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
            let _ = thread.join();
        }
        for path in &self.sockets {
            let _ = std::fs::remove_file(path);
        }
        let mut state = self.guests.state.lock();
        for fd in state.1.values() {
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
        }
        // So that what they had open is flushed and let go.
        let _ = self.guests.left.wait_while_for(&mut state, |state| !state.1.is_empty(), STOP_PATIENCE);
    }
}

type Accept = Box<dyn Fn() -> io::Result<Box<dyn Stream>> + Send>;

fn welcome_all(accept: &Accept, guests: &Arc<Guests>, catalog: &Arc<dyn Catalog>) {
    loop {
        let stream = match accept() {
            Ok(stream) => stream,
            // The socket was shut down: the server ends.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        let Some(number) = guests.enter(&*stream) else {
            tracing::warn!("{CONNECTIONS_MAX} connections are served, and that is the limit");
            continue;
        };
        let (guests_there, catalog) = (guests.clone(), catalog.clone());
        let run = move || {
            match attend(stream, &*catalog) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => tracing::info!(%error, "an NBD connection was ended"),
            }
            guests_there.leave(number);
        };
        if let Err(error) = std::thread::Builder::new().name("okapi-nbd-guest".to_owned()).spawn(run) {
            tracing::warn!(%error, "a connection could not be served");
            guests.leave(number);
        }
    }
}

/// Serves one connection from its first byte to its last.
fn attend(stream: Box<dyn Stream>, catalog: &dyn Catalog) -> io::Result<()> {
    let control = stream.as_fd().try_clone_to_owned()?;
    let patience = |patience| {
        set_socket_timeout(&control, Timeout::Recv, patience)?;
        set_socket_timeout(&control, Timeout::Send, patience)
    };
    patience(Some(PATIENCE))?;
    let mut output = stream.split()?;
    let mut input = Input::new(stream, INPUT);
    let Some(agreed) = shake(&mut input, &mut output, catalog)? else { return Ok(()) };
    // From now on whoever waits may wait: guests sleep, and are stopped and go on.
    patience(None)?;
    let served = serve(&mut input, output, &agreed);
    // Who goes without a flush may still expect what it was told is written to be there.
    if let Err(trouble) = agreed.device.flush() {
        tracing::warn!("{}", trouble.text);
    }
    served
}

impl Guests {
    fn enter(&self, stream: &dyn Stream) -> Option<u64> {
        let mut state = self.state.lock();
        let (next, guests) = &mut *state;
        if guests.len() >= CONNECTIONS_MAX {
            return None;
        }
        *next += 1;
        guests.insert(*next, stream.as_fd().try_clone_to_owned().ok()?);
        Some(*next)
    }

    fn leave(&self, number: u64) {
        self.state.lock().1.remove(&number);
        self.left.notify_all();
    }
}

/// How qemu and others call an export at an address.
#[must_use]
pub fn uri(address: &Target, export: &str) -> String {
    match address {
        Target::Unix(path) => {
            format!("nbd+unix:///{}?socket={}", escaped(export), escaped(&path.display().to_string()))
        }
        Target::Tcp { host, port } if host.contains(':') => format!("nbd://[{host}]:{port}/{}", escaped(export)),
        Target::Tcp { host, port } => format!("nbd://{host}:{port}/{}", escaped(export)),
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@+".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
