//! Sockets, one for each disk, and whoever comes in.

use super::backend::{Backend, Memory, OVER};
use super::told::QUEUES_MAX;
use super::worker::Served;
use crate::catalog::{Catalog, Refused};
use crate::socket;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use vhost::vhost_user::{Error as VhostError, Listener};
use vhost_user_backend::{Error as DaemonError, ShutdownHandle, VhostUserDaemon};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

/// How long a server that ends waits for what is being answered.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a socket rests after it could not be served.
const REST: Duration = Duration::from_millis(10);

/// Where a disk is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The disk's name in the catalog.
    pub disk: String,
    /// The socket.
    pub socket: PathBuf,
}

/// A server of disks. Dropped, it hangs up.
#[derive(Debug)]
pub struct Server {
    house: Arc<House>,
    welcome: Option<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody listens there already.
    #[error("somebody listens on {} already; choose another place", .0.display())]
    InUse(PathBuf),
    /// The system has no thread or file for it.
    #[error("the server does not start: {0}")]
    Start(#[source] io::Error),
    /// The system refused.
    #[error("listening on {} failed: {why}", socket.display())]
    Io {
        /// Where.
        socket: PathBuf,
        /// The system's words.
        #[source]
        why: io::Error,
    },
}

/// What all threads of a server know.
#[derive(Debug)]
struct House {
    state: Mutex<State>,
    left: Condvar,
    /// Rings when a machine has left, and at the end.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    ending: bool,
    /// The ports that somebody is at, and what hangs up.
    busy: HashMap<usize, Option<HangUp>>,
}

struct HangUp(ShutdownHandle);

impl std::fmt::Debug for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HangUp")
    }
}

/// A port that is open.
#[derive(Debug)]
struct Open {
    number: usize,
    disk: String,
    listener: UnixListener,
    queues: u16,
}

impl Server {
    /// Listens at all of `ports` and serves the disks of `catalog` there, each with up to `queues` queues. A disk is opened
    /// when somebody comes, and whoever comes to a port where somebody is waits.
    ///
    /// # Errors
    /// [`ListenError`]; nothing listens then.
    ///
    /// # Panics
    /// If there are to be no queues, or more than [`QUEUES_MAX`].
    pub fn start(ports: &[Port], catalog: &Arc<dyn Catalog>, queues: u16) -> Result<Self, ListenError> {
        assert!((1..=QUEUES_MAX).contains(&queues), "{queues} queues");
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(|error| ListenError::Start(error.into()))?;
        let house = Arc::new(House { state: Mutex::default(), left: Condvar::new(), bell });
        let mut server = Self { house: house.clone(), welcome: None, sockets: Vec::new() };
        let mut open = Vec::new();
        for (number, Port { disk, socket }) in ports.iter().enumerate() {
            let listener = socket::bind(socket).map_err(|why| match why.kind() {
                io::ErrorKind::AddrInUse => ListenError::InUse(socket.clone()),
                _ => ListenError::Io { socket: socket.clone(), why },
            })?;
            server.sockets.push(socket.clone());
            open.push(Arc::new(Open { number, disk: disk.clone(), listener, queues }));
        }
        let catalog = catalog.clone();
        let thread = std::thread::Builder::new().name("okapi-vhost".to_owned());
        let started = thread.spawn(move || welcome_all(&open, &house, &catalog));
        server.welcome = Some(started.map_err(ListenError::Start)?);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        {
            let mut state = self.house.state.lock();
            state.ending = true;
            state.busy.values().flatten().for_each(|hang_up| hang_up.0.shutdown());
        }
        self.house.ring();
        if let Some(thread) = self.welcome.take() {
            let _ = thread.join();
        }
        for path in &self.sockets {
            let _ = std::fs::remove_file(path);
        }
        // So that what they had open is flushed and let go.
        let mut state = self.house.state.lock();
        let _ = self.house.left.wait_while_for(&mut state, |state| !state.busy.is_empty(), STOP_PATIENCE);
    }
}

impl House {
    fn ring(&self) {
        // It can only be full if it rings already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Somebody is at a port from now on, unless the server ends.
    fn take(&self, number: usize) -> bool {
        let mut state = self.state.lock();
        if !state.ending {
            state.busy.insert(number, None);
        }
        !state.ending
    }

    /// How to hang up on whoever is at a port. If the server ends already that is done at once.
    fn can_hang_up(&self, number: usize, handle: ShutdownHandle) {
        let mut state = self.state.lock();
        if state.ending {
            handle.shutdown();
        }
        state.busy.insert(number, Some(HangUp(handle)));
    }

    fn leave(&self, number: usize) {
        self.state.lock().busy.remove(&number);
        self.left.notify_all();
        self.ring();
    }
}

fn welcome_all(ports: &[Arc<Open>], house: &Arc<House>, catalog: &Arc<dyn Catalog>) {
    loop {
        let free: Vec<&Arc<Open>> = {
            let state = house.state.lock();
            if state.ending {
                return;
            }
            ports.iter().filter(|port| !state.busy.contains_key(&port.number)).collect()
        };
        let mut waited: Vec<PollFd<'_>> = vec![PollFd::new(&house.bell, PollFlags::IN)];
        waited.extend(free.iter().map(|port| PollFd::new(&port.listener, PollFlags::IN)));
        if let Err(error) = poll(&mut waited, None)
            && error != rustix::io::Errno::INTR
        {
            tracing::warn!(%error, "waiting for machines failed");
            std::thread::sleep(REST);
            continue;
        }
        let rung: Vec<bool> = waited.iter().map(|one| !one.revents().is_empty()).collect();
        if rung[0] {
            let _ = rustix::io::read(&house.bell, &mut [0; 8]);
        }
        for (port, _) in free.into_iter().zip(&rung[1..]).filter(|(_, rung)| **rung) {
            if house.take(port.number) {
                receive(port, house, catalog);
            }
        }
    }
}

/// Gives whoever has come to a port a thread.
fn receive(port: &Arc<Open>, house: &Arc<House>, catalog: &Arc<dyn Catalog>) {
    let (port_there, house_there, catalog) = (port.clone(), house.clone(), catalog.clone());
    let run = move || {
        attend(&port_there, &house_there, &*catalog);
        drop(catalog);
        house_there.leave(port_there.number);
    };
    if let Err(error) = std::thread::Builder::new().name("okapi-vhost-vm".to_owned()).spawn(run) {
        tracing::warn!(%error, "a machine could not be served");
        std::thread::sleep(REST);
        house.leave(port.number);
    }
}

/// Serves one machine from when it comes until it goes.
fn attend(port: &Open, house: &House, catalog: &dyn Catalog) {
    let device = match catalog.open(&port.disk) {
        Ok((_, device)) => device,
        Err(Refused::Unknown(why) | Refused::Denied(why)) => {
            tracing::warn!("a machine was sent away: {why}");
            return send_away(port);
        }
    };
    let served = Served::new(device.clone(), &port.disk);
    if let Err(error) = converse(port, house, served) {
        tracing::warn!(disk = port.disk, "a machine could not be served: {error}");
        send_away(port);
    }
    // Who goes without a flush may still expect what it was told is written to be there.
    if let Err(trouble) = device.flush() {
        tracing::warn!("{}", trouble.text);
    }
}

/// Takes whoever waits at a port and hangs up at once. There is somebody, or there was: this does not wait.
fn send_away(port: &Open) {
    let gone = port.listener.set_nonblocking(true).and_then(|()| port.listener.accept());
    let _ = port.listener.set_nonblocking(false);
    if gone.is_err() {
        std::thread::sleep(REST);
    }
}

/// Lets a machine's monitor set up its queues, and its queues be worked, until it goes.
fn converse(port: &Open, house: &House, served: Served) -> io::Result<()> {
    let failed = |error: DaemonError| io::Error::other(error.to_string());
    let memory = Memory::new(GuestMemoryMmap::new());
    let backend = Arc::new(Backend::new(served, memory.clone(), port.queues)?);
    let mut daemon = VhostUserDaemon::new("okapi-vhost-ask".to_owned(), backend.clone(), memory).map_err(failed)?;
    // Its own way to end the threads of queues keeps a file open for each of them for ever.
    let mut ready = Ok(());
    for queue in daemon.get_epoll_handlers() {
        ready = ready.and(queue.register_listener(backend.bell.as_raw_fd(), EventSet::IN, u64::from(OVER)));
    }
    let started = ready.and_then(|()| {
        let mut listener = Listener::from(port.listener.try_clone()?);
        daemon.start(&mut listener).map_err(failed)
    });
    if started.is_ok() {
        if let Some(handle) = daemon.shutdown_handle() {
            house.can_hang_up(port.number, handle);
        }
        match daemon.wait() {
            Ok(()) | Err(DaemonError::HandleRequest(VhostError::Disconnected | VhostError::PartialMessage)) => {}
            Err(error) => tracing::info!(disk = port.disk, %error, "a conversation was ended"),
        }
    }
    backend.end();
    started
}
