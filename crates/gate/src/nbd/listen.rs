//! Who comes in: sockets, and a thread for each connection.

use super::handshake::{Greeted, Secrecy, greet, haggle, until_tls};
use super::input::Input;
use super::serve::{INPUT, serve};
use super::tls::Tls;
use super::wait::Wait;
use super::writers::{Careful, Client, Whom, Writers};
use crate::catalog::Catalog;
use crate::socket;
use okapi_client::Target;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections at a time; a guest has a few.
const CONNECTIONS_MAX: usize = 1024;
/// Of these, how many may not have agreed on an export yet: whoever proves nothing does not keep out those who do.
const NEWCOMERS_MAX: usize = 512;
/// How long the handshake may take between two words, and on the whole if others wait for the place.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection's thread looks for more before it sleeps.
pub const SPIN: Duration = Duration::from_micros(50);
/// How long a server that ends waits for what is being answered.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A server of exports. Dropped, it hangs up.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<Target>,
    listeners: Vec<(OwnedFd, JoinHandle<()>)>,
    sockets: Vec<PathBuf>,
    options: Options,
    guests: Arc<Guests>,
    /// Nothing if exports are shared.
    writers: Option<Arc<Writers>>,
}

/// How exports are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who comes over TCP must speak TLS. A unix socket is its owner's alone: there it would prove nothing.
    pub tls: Option<Tls>,
    /// How long a connection's thread looks for more before it sleeps, while that pays off. On a single processor never: it
    /// would only keep the other end from asking.
    pub spin: Duration,
    /// Several clients may write to one export at a time. Otherwise whoever comes while another writes may only read.
    pub shared: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: None, spin: SPIN, shared: false }
    }
}

/// Those who are connected.
#[derive(Debug, Default)]
struct Guests {
    state: Mutex<(u64, HashMap<u64, Guest>)>,
    left: Condvar,
}

#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    /// When it came, until it has agreed on an export.
    came: Option<Instant>,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from elsewhere, and there is no TLS.
    #[error(
        "{0} can be reached from other machines, and NBD proves nobody and hides nothing; listen on a unix socket or on \
         127.0.0.1, and reach it from elsewhere through ssh, or by TLS with certificates"
    )]
    BeyondLoopback(Target),
    /// The address can be reached from elsewhere, and whoever comes proves nothing.
    #[error(
        "{0} can be reached from other machines, and whoever comes from there must prove who they are; name the \
         authority that their certificates are from"
    )]
    Unproven(Target),
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
pub(crate) trait Stream: Read + Write + AsFd + Send + 'static {
    /// Another handle to write to.
    fn split(&self) -> io::Result<Box<dyn Write + Send>>;

    /// Who is at the other end, as far as the system says.
    fn whom(&self) -> Option<Whom>;
}

impl Stream for UnixStream {
    fn split(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn whom(&self) -> Option<Whom> {
        socket_peercred(self).ok().map(|peer| Whom::Process(peer.pid.as_raw_nonzero().get()))
    }
}

impl Stream for TcpStream {
    fn split(&self) -> io::Result<Box<dyn Write + Send>> {
        self.set_nodelay(true)?;
        Ok(Box::new(self.try_clone()?))
    }

    fn whom(&self) -> Option<Whom> {
        self.peer_addr().ok().map(|peer| Whom::Host(peer.ip()))
    }
}

impl Server {
    /// Listens at all of `targets` and serves what `catalog` has.
    ///
    /// # Errors
    /// [`ListenError`]; nothing listens then.
    pub fn start(targets: &[Target], catalog: &Arc<dyn Catalog>) -> Result<Self, ListenError> {
        Self::start_with(targets, catalog, Options::default())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// [`ListenError`]; nothing listens then.
    pub fn start_with(
        targets: &[Target],
        catalog: &Arc<dyn Catalog>,
        mut options: Options,
    ) -> Result<Self, ListenError> {
        if std::thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
            options.spin = Duration::ZERO;
        }
        let writers = (!options.shared).then(Arc::default);
        let mut server = Self {
            addresses: Vec::new(),
            listeners: Vec::new(),
            sockets: Vec::new(),
            options,
            guests: Arc::default(),
            writers,
        };
        for target in targets {
            server.listen(target, catalog)?;
        }
        Ok(server)
    }

    /// How qemu and others call an export at one of the addresses.
    #[must_use]
    pub fn uri(&self, address: &Target, export: &str) -> String {
        let plain = uri(address, export);
        match (address, &self.options.tls) {
            (Target::Tcp { .. }, Some(_)) => plain.replacen("nbd:", "nbds:", 1),
            _ => plain,
        }
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
                    match &self.options.tls {
                        None => return Err(ListenError::BeyondLoopback(target.clone())),
                        Some(tls) if !tls.proves_clients() => return Err(ListenError::Unproven(target.clone())),
                        Some(_) => {}
                    }
                }
                let listener = TcpListener::bind(&found[..]).map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                let fd = listener.try_clone().map_err(failed)?.into();
                let address = Target::Tcp { host: host.clone(), port };
                (fd, address, Box::new(move || Ok(Box::new(listener.accept()?.0))))
            }
        };
        let Options { tls, spin, .. } = self.options.clone();
        let tls = tls.filter(|_| matches!(target, Target::Tcp { .. }));
        let door = Arc::new(Door {
            guests: self.guests.clone(),
            catalog: catalog.clone(),
            tls,
            spin,
            writers: self.writers.clone(),
        });
        let run = move || welcome_all(&accept, &door);
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
        for guest in state.1.values() {
            let _ = rustix::net::shutdown(&guest.socket, rustix::net::Shutdown::Both);
        }
        // So that what they had open is flushed and let go.
        let _ = self.guests.left.wait_while_for(&mut state, |state| !state.1.is_empty(), STOP_PATIENCE);
    }
}

type Accept = Box<dyn Fn() -> io::Result<Box<dyn Stream>> + Send>;

/// What all who come in at one address find.
struct Door {
    guests: Arc<Guests>,
    catalog: Arc<dyn Catalog>,
    tls: Option<Tls>,
    spin: Duration,
    writers: Option<Arc<Writers>>,
}

fn welcome_all(accept: &Accept, door: &Arc<Door>) {
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
        let Some(number) = door.guests.enter(&*stream) else {
            tracing::warn!(
                "{CONNECTIONS_MAX} connections are served, or {NEWCOMERS_MAX} have not said yet what they want, and that \
                 is the limit"
            );
            continue;
        };
        let there = door.clone();
        let run = move || {
            match there.attend(stream, number) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => tracing::info!(%error, "an NBD connection was ended"),
            }
            if let Some(writers) = &there.writers {
                writers.leave(number);
            }
            there.guests.leave(number);
        };
        if let Err(error) = std::thread::Builder::new().name("okapi-nbd-guest".to_owned()).spawn(run) {
            tracing::warn!(%error, "a connection could not be served");
            door.guests.leave(number);
        }
    }
}

impl Door {
    /// Serves one connection from its first byte to its last.
    fn attend(&self, stream: Box<dyn Stream>, number: u64) -> io::Result<()> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        let client = Arc::new(Client { number, whom: stream.whom(), socket });
        let patience = |patience| {
            set_socket_timeout(&client.socket, Timeout::Recv, patience)?;
            set_socket_timeout(&client.socket, Timeout::Send, patience)
        };
        // From then on whoever waits may wait: guests sleep, and are stopped and go on.
        let settle = || {
            self.guests.settle(number);
            patience(None)
        };
        let is_ready = || {
            let mut polled = [PollFd::new(&client.socket, PollFlags::IN)];
            matches!(poll(&mut polled, Some(&Timespec::default())), Ok(1))
        };
        patience(Some(PATIENCE))?;
        let mut output = stream.split()?;
        let mut input = Input::new(stream, INPUT);
        let greeted = greet(&mut input, &mut output)?;
        let Some(tls) = &self.tls else {
            return self.converse(&mut input, &mut output, (greeted, Secrecy::Plain), &client, (&settle, &is_ready));
        };
        if !until_tls(&mut input, &mut output, greeted)? {
            return Ok(());
        }
        drop(output);
        let (reader, mut writer) = tls.begin(input.into_stream())?;
        let mut input = Input::new(reader, INPUT);
        let served = self.converse(&mut input, &mut writer, (greeted, Secrecy::Tls), &client, (&settle, &is_ready));
        patience(Some(PATIENCE))?;
        // It may be gone already.
        let _ = writer.close();
        served
    }

    fn converse(
        &self,
        input: &mut Input<impl Read>,
        output: &mut impl Write,
        (greeted, secrecy): (Greeted, Secrecy),
        client: &Arc<Client>,
        (settle, is_ready): (&dyn Fn() -> rustix::io::Result<()>, &dyn Fn() -> bool),
    ) -> io::Result<()> {
        let careful = self.writers.as_ref().map(|writers| Careful { catalog: &*self.catalog, writers, client });
        let catalog = careful.as_ref().map_or(&*self.catalog, |careful| careful as &dyn Catalog);
        let Some(agreed) = haggle(input, output, catalog, greeted, secrecy)? else { return Ok(()) };
        if let Some(writers) = &self.writers
            && agreed.device.is_writable()
            && !writers.enter(&agreed.name, client)
        {
            return Err(io::Error::other("another client began to write to the same export at the same moment"));
        }
        settle()?;
        let served = serve(input, output, &agreed, Wait::new(is_ready, self.spin));
        // Who goes without a flush may still expect what it was told is written to be there.
        if let Err(trouble) = agreed.device.flush() {
            tracing::warn!("{}", trouble.text);
        }
        served
    }
}

impl Guests {
    fn enter(&self, stream: &dyn Stream) -> Option<u64> {
        let mut state = self.state.lock();
        let (next, guests) = &mut *state;
        let newcomers = guests.values().filter(|guest| guest.came.is_some()).count();
        if guests.len() >= CONNECTIONS_MAX || newcomers >= NEWCOMERS_MAX {
            let slow = |guest: &&Guest| guest.came.is_some_and(|came| came.elapsed() >= PATIENCE);
            for guest in guests.values().filter(slow) {
                // Its thread sees that, and makes room.
                let _ = rustix::net::shutdown(&guest.socket, rustix::net::Shutdown::Both);
            }
            return None;
        }
        *next += 1;
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        guests.insert(*next, Guest { socket, came: Some(Instant::now()) });
        Some(*next)
    }

    /// It has agreed on an export.
    fn settle(&self, number: u64) {
        if let Some(guest) = self.state.lock().1.get_mut(&number) {
            guest.came = None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_nothing_makes_room_in_the_end() {
        let guests = Guests::default();
        let mut pairs: Vec<_> = (0..NEWCOMERS_MAX).map(|_| UnixStream::pair().unwrap()).collect();
        let numbers: Vec<u64> = pairs.iter().map(|(ours, _)| guests.enter(ours).unwrap()).collect();
        let (next, _other) = UnixStream::pair().unwrap();
        assert_eq!(guests.enter(&next), None, "so many are about to say what they want");
        // One of them does, and there is room for another; a second has taken its time.
        guests.settle(numbers[0]);
        let number = guests.enter(&next).unwrap();
        guests.settle(number);
        assert!(guests.enter(&next).is_some());
        let long_ago = Instant::now().checked_sub(PATIENCE);
        for settled in [numbers[1], number] {
            let mut state = guests.state.lock();
            let guest = state.1.get_mut(&settled).unwrap();
            guest.came = guest.came.and(long_ago);
        }
        assert_eq!(guests.enter(&next), None);
        let is_over = |(_, theirs): &mut (UnixStream, UnixStream)| {
            theirs.set_nonblocking(true).unwrap();
            matches!(theirs.read(&mut [0]), Ok(0))
        };
        let over: Vec<usize> = (0..NEWCOMERS_MAX).filter(|at| is_over(&mut pairs[*at])).collect();
        assert_eq!(over, [1]);
        guests.leave(numbers[1]);
        assert!(guests.enter(&next).is_some());
    }
}
