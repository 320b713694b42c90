//! A running node: the threads that serve, and how it starts and stops.

use crate::budget::Budget;
use crate::disk_workers::DiskWorkers;
use crate::giving::Dealings;
use crate::group::links::{Links, Streams};
use crate::group::neighbours::Others;
use crate::group::running::{Group, Returning, Seat};
use crate::group::{GroupDoor, GroupError, RestoreVia, founding};
use crate::host::{Host, HostSettings, OpenError, Opened};
use crate::listen::Listener;
use crate::lock::{DataLock, LockError};
use crate::mailbox::{Letter, Mailbox};
use crate::open::{TOKEN_FILE, open_log, token};
use crate::preview::{Preview, Readable};
use crate::reactor::{Doors, Reactor};
use crate::seam::Hosting;
use crate::settings::{BUDGET_MIN, DISK_THREADS, NodeSettings};
use crate::shared::{Seats, Shared};
use okapi_base::NodeId;
use okapi_link::{Link, Target, TcpBindError, TcpListen, UnixBindError, UnixListen, is_loopback_only, memory};
use okapi_seal::{NodeKey, RecipientKey};
use okapi_store::WriteError;
use okapi_store::log::Log;
use okapi_wire::message::GroupStatus;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The unix socket's file in the data directory.
const SOCKET_FILE: &str = "okapi.sock";
/// A running node. Dropped, it stops as [`Node::stop`] does, and only logs what goes wrong.
pub struct Node {
    serving: Option<Serving<Host>>,
    dealings: Option<Dealings>,
    group: Option<Arc<Group>>,
    opened: Opened,
    targets: Vec<Target>,
    settings: NodeSettings,
    lock: DataLock,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be had.
    #[error(transparent)]
    Data(#[from] LockError),
    /// The stores could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The unix socket cannot be listened on.
    #[error(transparent)]
    Unix(#[from] UnixBindError),
    /// A TCP address cannot be listened on.
    #[error(transparent)]
    Tcp(#[from] TcpBindError),
    /// A TCP address can be reached from other machines.
    #[error(
        "tcp://{address} can be reached from other machines, and nothing would prove there who asks: authenticated \
         transport comes later. Listen on 127.0.0.1 or [::1], and reach it from elsewhere through ssh: \
         `ssh -L {port}:127.0.0.1:{port} USER@THIS-MACHINE`",
        port = address.port()
    )]
    TcpBeyondLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A budget is too small.
    #[error("the {which} is {bytes} bytes, and a node needs at least {BUDGET_MIN}")]
    BudgetTooSmall {
        /// Which setting.
        which: &'static str,
        /// What it was set to.
        bytes: usize,
    },
    /// Its part in its group could not be started.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The operating system refused threads or descriptors.
    #[error("the node's threads could not be started: {0}")]
    Threads(#[source] io::Error),
}

/// Why a node did not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// What was not yet durable could not be made so. It had not been acknowledged as durable.
    #[error("the stores could not be closed: {0}")]
    Store(#[from] WriteError),
    /// A thread had panicked.
    #[error("a thread of the node had panicked; its log says where")]
    Panicked,
}

impl Node {
    /// Locks the data directory, opens the stores and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind then but the data directory.
    pub fn start(settings: NodeSettings) -> Result<Self, StartError> {
        check(&settings)?;
        let lock = DataLock::take(&settings.host.data)?;
        let listeners = listen(&settings)?;
        let seat = Seat::load(&settings.host.data, &settings.group)?;
        if seat.is_some() && founding::pending_restore(&settings.host.data).is_ok_and(|via| via.is_some()) {
            return Err(GroupError::Restoring.into());
        }
        let (log, key) = open_log(&host_settings(&settings, seat.as_ref()))?;
        let streams = Arc::default();
        let group = match &seat {
            Some(seat) => Some(Group::start(seat, &key, &log, |hook| Links::start_dyn(seat, hook, &streams))?),
            None => None,
        };
        Self::serve(settings, lock, listeners, (log, &key), group, &streams)
    }

    /// Gets back what the node had from its group, and then serves as [`Node::start`] does. Meanwhile programs can read what
    /// the others hold. `key` opens what was sealed to its member; `progress` is told how far it is, several times a second,
    /// and ends it by breaking: it goes on with the next call.
    ///
    /// # Errors
    /// [`StartError`]; what came back stays.
    pub fn restore(
        settings: NodeSettings,
        key: RecipientKey,
        progress: &mut dyn FnMut(&GroupStatus, Option<Readable>) -> ControlFlow<()>,
    ) -> Result<Self, StartError> {
        check(&settings)?;
        let mut lock = DataLock::take(&settings.host.data)?;
        let seat = Seat::load(&settings.host.data, &settings.group)?.ok_or(GroupError::NotFounded)?;
        let via = founding::pending_restore(&settings.host.data).map_err(GroupError::reading_restore)?;
        let via = via.ok_or(GroupError::NothingToRestore)?;
        let via = RestoreVia::parse(&via).map_err(|error| GroupError::Links(error.to_string()))?;
        let (streams, recipient) = (Arc::default(), key.clone());
        let returning = Returning::begin(&seat, &via, key, |hook| Links::start_dyn(&seat, hook, &streams))?;
        let preview = preview(&settings, &mut lock, recipient, returning.group());
        let preview = preview.inspect_err(|_| returning.group().stop())?;
        let group = returning.wait(&mut |status, key| {
            let preview = preview.as_ref().inspect(|preview| preview.look(status, key));
            progress(status, preview.and_then(Preview::readable))
        })?;
        let (log, key) = open_log(&host_settings(&settings, Some(&seat)))?;
        group.attach(&log)?;
        founding::restore_is_done(&settings.host.data).map_err(GroupError::reading_restore)?;
        let listeners = match preview.and_then(Preview::end) {
            Some(listeners) => listeners,
            None => listen(&settings)?,
        };
        Self::serve(settings, lock, listeners, (log, &key), Some(group), &streams)
    }

    fn serve(
        settings: NodeSettings,
        lock: DataLock,
        listeners: Vec<Listener>,
        (log, key): (Arc<Log>, &NodeKey),
        group: Option<Arc<Group>>,
        streams: &Arc<Mutex<Option<Streams>>>,
    ) -> Result<Self, StartError> {
        let mut lock = lock;
        let targets: Vec<Target> = listeners.iter().map(Listener::target).collect();
        let names = tell(&mut lock, &listeners);
        let (host, opened) = Host::over_log(&settings.host, log, key)?;
        let host = Arc::new(host);
        let serving = Serving::start(&host, &settings, listeners).map_err(StartError::Threads)?;
        let mailboxes = serving.mailboxes.clone();
        let moved = move || mailboxes.iter().for_each(|mailbox| mailbox.durable_moved());
        host.watch(Arc::new(moved.clone()));
        // Whatever moved on before somebody watched.
        moved();
        // Weak: the host must not keep alive what keeps the host alive.
        let shared = Arc::downgrade(&serving.shared);
        let threads = serving.mailboxes.len();
        host.set_facts(Arc::new(move || shared.upgrade().map_or_else(Vec::new, |shared| facts(&shared, threads))));
        if let Some(group) = &group {
            host.set_group(Arc::clone(group) as Arc<dyn GroupDoor>);
            host.set_pace(Arc::clone(&group.pace));
            host.set_roster(&group.roster);
            // Weak: the group must not keep alive what it is stopped after.
            let named = Arc::downgrade(&host);
            group.set_names(Box::new(move |blocks, most| {
                named.upgrade().map_or_else(Vec::new, |host| host.records_of(blocks, most))
            }));
        }
        let dealings = match &group {
            Some(group) => Some(Dealings::start(group, &host, &settings).map_err(StartError::Threads)?),
            None => None,
        };
        if let Some(dealings) = &dealings {
            dealings.serve(streams, member_streams(&serving));
        }
        tracing::info!("serving on {}", names.join(" and "));
        Ok(Self { serving: Some(serving), dealings, group, opened, targets, settings, lock })
    }

    /// Where it listens: the unix socket first, then TCP addresses with the ports they got.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> &NodeSettings {
        &self.settings
    }

    /// Where it listens for members of its group; nothing if it is in none.
    #[must_use]
    pub fn group_addresses(&self) -> Vec<String> {
        self.group.as_ref().map_or_else(Vec::new, |group| group.addresses())
    }

    /// What was found when the stores were opened.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What the node is, holds and does, as names and values.
    #[must_use]
    pub fn status(&self) -> Vec<(String, String)> {
        self.serving.as_ref().map_or_else(Vec::new, |serving| serving.shared.host.status())
    }

    /// How it stands in its group; nothing if it has no identity.
    #[must_use]
    pub fn group_status(&self) -> Option<GroupStatus> {
        let door = self.serving.as_ref()?.shared.host.group()?;
        Some(door.status())
    }

    /// Sets who answers for the group, in place of the node's own driver if it has one.
    pub fn set_group(&self, group: Arc<dyn GroupDoor>) {
        if let Some(serving) = &self.serving {
            serving.shared.host.set_group(group);
        }
    }

    /// A connection from within the process, without any socket.
    ///
    /// # Errors
    /// What the operating system says if it has no more descriptors; `ConnectionRefused` if the node has as many
    /// connections as it takes.
    pub fn in_process(&self) -> io::Result<Box<dyn Link>> {
        self.serving.as_ref().expect("a node serves until it is stopped").in_process()
    }

    /// Stops in good order: accepts no more, answers what was read, says goodbye, makes everything durable. Takes
    /// little longer than the setting `stop_patience` whatever the other ends do.
    ///
    /// # Errors
    /// [`StopError`]; everything acknowledged is safe all the same.
    pub fn stop(mut self) -> Result<(), StopError> {
        self.stop_now()
    }

    fn stop_now(&mut self) -> Result<(), StopError> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        if let Some(dealings) = self.dealings.take() {
            dealings.stop();
        }
        let host = serving.shared.host.clone();
        let quiet = serving.stop();
        let closed = host.close();
        drop(host);
        if let Some(group) = self.group.take() {
            group.stop();
        }
        closed?;
        // Until here nobody else may have the directory.
        let _ = &self.lock;
        if quiet { Ok(()) } else { Err(StopError::Panicked) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.stop_now() {
            tracing::error!("the node did not stop in good order: {error}");
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// The half for its own data bounds the store of a node in a group.
fn host_settings(settings: &NodeSettings, seat: Option<&Seat>) -> HostSettings {
    let mut host = settings.host.clone();
    if let Some(seat) = seat {
        let (user, _) = seat.gift.halves();
        host.store_max = if host.store_max == 0 { user } else { host.store_max.min(user) };
    }
    host
}

/// How streams of members come to those who serve.
fn member_streams(serving: &Serving<Host>) -> Box<dyn Fn(NodeId, Box<dyn Link>) + Send + Sync> {
    let (shared, mailboxes) = (Arc::downgrade(&serving.shared), serving.mailboxes.clone());
    Box::new(move |_, link| {
        let Some(shared) = shared.upgrade() else { return };
        if let Some(seat) = shared.seats.take() {
            let which = shared.seats.taken() % mailboxes.len();
            mailboxes[which].post(Letter::Link(link, seat));
        }
    })
}

fn check(settings: &NodeSettings) -> Result<(), StartError> {
    if let Some(address) = settings.tcp.iter().find(|address| !is_loopback_only(address)) {
        return Err(StartError::TcpBeyondLoopback { address: *address });
    }
    for (which, bytes) in [("receive budget", settings.receive_budget), ("reply budget", settings.reply_budget)] {
        if bytes < BUDGET_MIN {
            return Err(StartError::BudgetTooSmall { which, bytes });
        }
    }
    Ok(())
}

fn listen(settings: &NodeSettings) -> Result<Vec<Listener>, StartError> {
    let default = settings.host.data.join(SOCKET_FILE);
    let path: &Path = settings.socket.as_deref().unwrap_or(&default);
    let mut listeners = vec![Listener::Unix(UnixListen::bind(path, settings.socket_mode)?)];
    for address in &settings.tcp {
        listeners.push(Listener::Tcp(TcpListen::bind(*address)?));
    }
    Ok(listeners)
}

/// Writes into the lock's file where the node listens.
fn tell(lock: &mut DataLock, listeners: &[Listener]) -> Vec<String> {
    let names: Vec<String> = listeners.iter().map(|listener| listener.target().to_string()).collect();
    if let Err(error) = lock.tell(&names) {
        tracing::warn!("the lock's file could not be written, so a second start will not say where we listen: {error}");
    }
    names
}

/// Listens, and shows what of the node's data can be read while it comes back. The restore goes on without where that cannot
/// be done.
fn preview(
    settings: &NodeSettings,
    lock: &mut DataLock,
    key: RecipientKey,
    group: &Arc<Group>,
) -> Result<Option<Preview>, StartError> {
    let token = token(&settings.host.data.join(TOKEN_FILE))?;
    let listeners = listen(settings)?;
    tell(lock, &listeners);
    let preview = Preview::start(group, Others::new(group), (token, key), settings, listeners);
    Ok(preview.inspect_err(|error| tracing::warn!("nothing can be read before the restore is done: {error}")).ok())
}

fn facts(shared: &Shared<Host>, threads: usize) -> Vec<(String, String)> {
    let budget = |budget: &Budget| format!("{} of {} bytes", budget.used(), budget.limit());
    [
        ("connections", shared.seats.taken().to_string()),
        ("threads", threads.to_string()),
        ("disk.waiting", shared.workers.waiting().to_string()),
        ("budget.receive", budget(&shared.receive_budget)),
        ("budget.reply", budget(&shared.reply_budget)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The threads that serve one host.
pub(crate) struct Serving<H: Hosting> {
    pub(crate) shared: Arc<Shared<H>>,
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    threads: Vec<JoinHandle<Vec<Listener>>>,
}

impl<H: Hosting> Serving<H> {
    pub(crate) fn start(host: &Arc<H>, settings: &NodeSettings, listeners: Vec<Listener>) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let disk_threads = if settings.disk_threads == 0 { DISK_THREADS } else { settings.disk_threads };
        let shared = Arc::new(Shared {
            host: host.clone(),
            workers: DiskWorkers::start(disk_threads)?,
            receive_budget: Arc::new(Budget::new(settings.receive_budget)),
            reply_budget: Arc::new(Budget::new(settings.reply_budget)),
            patience: settings.patience,
            seats: Seats::new(settings.connections_max),
        });
        let count = if settings.threads == 0 { (processors / 2).max(1) } else { settings.threads };
        // On a single processor spinning only keeps the other end from answering.
        let spin = if processors == 1 { std::time::Duration::ZERO } else { settings.spin };
        let mut reactors = Vec::with_capacity(count);
        for _ in 0..count {
            reactors.push(Reactor::new(&shared, spin, settings.stop_patience)?);
        }
        let mailboxes: Arc<[_]> = reactors.iter().map(|reactor| reactor.mailbox().clone()).collect();
        reactors[0].open_doors(Doors { listeners, mailboxes: mailboxes.clone(), next: 0, again_at: None })?;
        let mut serving = Self { shared, mailboxes, threads: Vec::with_capacity(count) };
        for (number, reactor) in reactors.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("okapi-{number}")).spawn(move || reactor.run());
            match thread {
                Ok(thread) => serving.threads.push(thread),
                Err(error) => {
                    serving.stop();
                    return Err(error);
                }
            }
        }
        Ok(serving)
    }

    pub(crate) fn in_process(&self) -> io::Result<Box<dyn Link>> {
        let full = || io::Error::new(io::ErrorKind::ConnectionRefused, "the node has as many connections as it takes");
        let seat = self.shared.seats.take().ok_or_else(full)?;
        let (ours, theirs) = memory::pair(memory::CAPACITY)?;
        let which = self.shared.seats.taken() % self.mailboxes.len();
        self.mailboxes[which].post(Letter::Link(Box::new(ours), seat));
        Ok(Box::new(theirs))
    }

    /// Ends every connection in good order, then the threads; false if one of them had panicked.
    pub(crate) fn stop(mut self) -> bool {
        let quiet = self.end_reactors(|| Letter::Stop).is_some();
        self.shared.workers.stop();
        quiet
    }

    /// Ends every connection in good order, and gives back what it listened on; nothing if a thread had panicked. Threads
    /// that still wait for something on behalf of those connections are left to end by themselves, and `last` then ends the
    /// host.
    pub(crate) fn retire(mut self, last: impl FnOnce(&H) + Send + 'static) -> Option<Vec<Listener>> {
        let listeners = self.end_reactors(|| Letter::Retire);
        let shared = self.shared;
        let ending = std::thread::Builder::new().name("okapi-ending".to_owned());
        let end = move || {
            shared.workers.stop();
            last(&shared.host);
        };
        if let Err(error) = ending.spawn(end) {
            tracing::debug!("nobody waits for threads that are about to end: {error}");
        }
        listeners
    }

    fn end_reactors(&mut self, letter: impl Fn() -> Letter) -> Option<Vec<Listener>> {
        for mailbox in &*self.mailboxes {
            mailbox.post(letter());
        }
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ended.into_iter().try_fold(Vec::new(), |mut all, listeners| {
            all.extend(listeners.ok()?);
            Some(all)
        })
    }
}
