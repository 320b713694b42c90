//! The connections of one client: shared by single asks, owned by streams, made anew when they break.

use crate::client::Dial;
use crate::connection::{Connection, Deadline};
use crate::fault::{ConnectError, Fault};
use crate::settings::Settings;
use okapi_link::Backoff;
use okapi_wire::{Op, Status, Welcome};
use parking_lot::{Condvar, Mutex};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A connection unused for longer is looked at before it is trusted with an ask.
const FRESH: Duration = Duration::from_millis(1);

/// All that the clones of a client share.
pub(crate) struct Pool {
    dial: Box<dyn Dial>,
    address: Arc<str>,
    settings: Settings,
    /// The client was made over one link and cannot make another.
    single: bool,
    welcome: Welcome,
    as_of: Option<u64>,
    state: Mutex<State>,
    freed: Condvar,
    /// Relaxed puts so far, and how many of them a sync has covered.
    relaxed: AtomicU64,
    synced: AtomicU64,
    /// A connection broke that had carried relaxed puts which no sync has covered.
    relaxed_lost: AtomicBool,
}

struct State {
    idle: Vec<Connection>,
    /// Connections of single asks, idle ones included.
    open: usize,
    streams: usize,
}

/// What a connection is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// One ask.
    Ask,
    /// A writer, reader, pipeline or follower.
    Stream,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Pool {
    /// Connects for the first time, once.
    pub(crate) fn open(dial: Box<dyn Dial>, settings: Settings, single: bool) -> Result<Arc<Self>, ConnectError> {
        let address: Arc<str> = match &settings.member {
            Some(member) => format!("{member} by way of {}", dial.address()).into(),
            None => dial.address().into(),
        };
        let mut settings = settings;
        settings.connections = if single { 1 } else { settings.connections.max(1) };
        let first = connect(&*dial, &settings, &address, settings.connect_timeout)?;
        Ok(Arc::new(Self {
            dial,
            settings,
            single,
            welcome: *first.welcome(),
            as_of: first.as_of(),
            address,
            state: Mutex::new(State { idle: vec![first], open: 1, streams: 0 }),
            freed: Condvar::new(),
            relaxed: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            relaxed_lost: AtomicBool::new(false),
        }))
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    pub(crate) fn as_of(&self) -> Option<u64> {
        self.as_of
    }

    /// Whether a broken link can be made again.
    pub(crate) fn reconnects(&self) -> bool {
        !self.single && self.settings.reconnect.is_some()
    }

    pub(crate) fn backoff(&self) -> Backoff {
        let delays = self.settings.reconnect.unwrap_or_default();
        // Any number will do that differs from client to client: an address in memory, and the time.
        let seed = std::ptr::from_ref(self) as usize as u64;
        let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()));
        Backoff::new(delays.first, delays.cap, seed ^ clock << 32 ^ u64::from(std::process::id()))
    }

    /// Runs one ask on a connection. If the link breaks, it is asked again on another if that does no harm (`again`, or
    /// nothing was sent), until the deadline.
    pub(crate) fn ask<T>(
        self: &Arc<Self>,
        op: Op,
        again: bool,
        deadline: &Deadline,
        mut run: impl FnMut(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut backoff = None;
        loop {
            let mut lease = self.take(Use::Ask, deadline)?;
            let before = lease.sent_bytes();
            let fault = match run(&mut lease) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            let harmless = again || lease.sent_bytes() == before;
            let why = match fault {
                Fault::Broken { why } => why,
                Fault::TimedOut { after, .. } => return Err(Fault::TimedOut { after, changes: !harmless }),
                other => return Err(other),
            };
            drop(lease);
            if !harmless {
                return Err(Fault::Interrupted { op, why });
            }
            let delay = backoff.get_or_insert_with(|| self.backoff()).delay();
            if !self.reconnects() || deadline.left() <= delay {
                return Err(Fault::Broken { why });
            }
            tracing::debug!(address = &*self.address, ?op, why, "the link broke; asking again");
            std::thread::sleep(delay);
        }
    }

    /// A connection for as long as the lease is held.
    pub(crate) fn take(self: &Arc<Self>, purpose: Use, deadline: &Deadline) -> Result<Lease, Fault> {
        // Over a single link streams take the place of asks.
        let purpose = if self.single { Use::Ask } else { purpose };
        let mut state = self.state.lock();
        if purpose == Use::Stream {
            if state.streams >= self.settings.streams {
                return Err(Fault::TooManyStreams { most: self.settings.streams });
            }
            state.streams += 1;
        }
        loop {
            if let Some(mut connection) = state.idle.pop() {
                if connection.used.elapsed() > FRESH && !connection.is_alive() {
                    state.open -= 1;
                    self.bury(&connection);
                    continue;
                }
                if purpose == Use::Stream {
                    state.open -= 1;
                }
                return Ok(Lease { connection: Some(connection), purpose, pool: self.clone() });
            }
            if purpose == Use::Stream || state.open < self.settings.connections {
                if purpose == Use::Ask {
                    state.open += 1;
                }
                drop(state);
                // Counted already: dropped without a connection, the lease gives its place back.
                let mut lease = Lease { connection: None, purpose, pool: self.clone() };
                lease.connection = Some(self.connect_again(deadline)?);
                return Ok(lease);
            }
            let timed_out = self.freed.wait_for(&mut state, deadline.left().min(Duration::from_secs(3600)));
            if timed_out.timed_out() && deadline.is_over() {
                return Err(Fault::NoConnection { after: deadline.whole });
            }
        }
    }

    fn connect_again(&self, deadline: &Deadline) -> Result<Connection, Fault> {
        if self.single {
            return Err(Fault::Connect(Arc::new(ConnectError::Gone { address: self.address.to_string() })));
        }
        let mut backoff = None;
        loop {
            let timeout = self.settings.connect_timeout.min(deadline.left());
            let error = match connect(&*self.dial, &self.settings, &self.address, timeout) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let delay = backoff.get_or_insert_with(|| self.backoff()).delay();
            if !self.reconnects() || !may_pass(&error) || deadline.left() <= delay {
                return Err(Fault::Connect(Arc::new(error)));
            }
            tracing::debug!(address = &*self.address, %error, ?delay, "connecting again failed");
            std::thread::sleep(delay);
        }
    }

    fn give_back(&self, purpose: Use, connection: Option<Connection>) {
        let healthy = connection.filter(|connection| {
            let healthy = !connection.is_broken() && connection.outstanding() == 0;
            if !healthy {
                self.bury(connection);
            }
            healthy
        });
        let mut state = self.state.lock();
        match purpose {
            Use::Stream => state.streams -= 1,
            Use::Ask => state.open -= 1,
        }
        if let Some(mut connection) = healthy
            && state.open < self.settings.connections
        {
            connection.used = Instant::now();
            state.open += 1;
            state.idle.push(connection);
        }
        drop(state);
        self.freed.notify_one();
    }

    /// Notes that a put was asked on `connection` that waits for no disk.
    pub(crate) fn note_relaxed(&self, connection: &mut Connection) {
        connection.relaxed = self.relaxed.fetch_add(1, Ordering::AcqRel) + 1;
    }

    fn bury(&self, connection: &Connection) {
        if connection.relaxed > self.synced.load(Ordering::Acquire) {
            self.relaxed_lost.store(true, Ordering::Release);
        }
    }

    /// Runs a sync, and fails if relaxed puts may have been lost with their connection since the last one.
    pub(crate) fn synced(self: &Arc<Self>, sync: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let covered = self.relaxed.load(Ordering::Acquire);
        sync()?;
        // A node that was started anew has cut all its connections: look at those that nobody is using.
        let mut state = self.state.lock();
        let idle = std::mem::take(&mut state.idle);
        for mut connection in idle {
            if connection.is_alive() {
                state.idle.push(connection);
            } else {
                state.open -= 1;
                self.bury(&connection);
            }
        }
        drop(state);
        if self.relaxed_lost.swap(false, Ordering::AcqRel) {
            let why = "a connection broke that had carried puts since the last sync; put them again".to_owned();
            return Err(Fault::Interrupted { op: Op::Sync, why });
        }
        self.synced.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }
}

fn connect(dial: &dyn Dial, settings: &Settings, address: &str, timeout: Duration) -> Result<Connection, ConnectError> {
    let deadline = Deadline::after(timeout);
    let link = dial.dial(timeout)?;
    Connection::open(link, settings, address, deadline.left())
}

/// Whether the same may succeed later without anybody changing anything here.
fn may_pass(error: &ConnectError) -> bool {
    use okapi_link::ConnectError as L;
    match error {
        ConnectError::Link(error) => {
            matches!(error, L::NoSocket { .. } | L::Refused { .. } | L::TimedOut { .. } | L::Io { .. })
        }
        ConnectError::Refused { status, .. } | ConnectError::NoWay { status, .. } => {
            matches!(status, Status::Busy | Status::Stopping)
        }
        ConnectError::NoWelcome { fault, .. } => fault.is_link(),
        ConnectError::Gone { .. } => false,
    }
}

/// A connection on loan. Given back when dropped, if it is still fit for use.
pub(crate) struct Lease {
    connection: Option<Connection>,
    purpose: Use,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.connection.fmt(f)
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a lease that was handed out has a connection")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease that was handed out has a connection")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = self.connection.take();
        self.pool.give_back(self.purpose, connection);
    }
}
