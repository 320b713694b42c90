//! A thread that serves connections: it sleeps until something happens, then does all there is to do.

use crate::connection::{Connection, Sweep, Turn};
use crate::listen::Listener;
use crate::mailbox::{Key, Letter, Mailbox};
use crate::seam::Hosting;
use crate::shared::{Seat, Shared};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use okapi_link::{Kind, Link, Spin};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Events taken from the system at a time.
const EVENTS: usize = 1024;
/// Time between two looks at what only time decides, while there is anything to look at.
const SWEEP: Duration = Duration::from_secs(1);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Looks at the connection that was busy last for one look at all.
const HOT_LOOKS: u32 = 4;
/// Tokens: connections have their slot's number, listeners and the waker what is above.
const WAKER: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX / 2;

/// See the module's text.
pub(crate) struct Reactor<H: Hosting> {
    shared: Arc<Shared<H>>,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    letters: Vec<Letter>,
    slots: Vec<Slot<H>>,
    free: Vec<usize>,
    /// To be driven.
    ready: VecDeque<Key>,
    /// With replies that wait for a disk.
    holding: Vec<Key>,
    /// For the sweep.
    warm: Vec<Key>,
    /// Driven since they were last armed.
    unarmed: Vec<Key>,
    /// The connection that was busy last.
    hot: Option<Key>,
    spin: Spin,
    now: Instant,
    next_sweep: Option<Instant>,
    doors: Option<Doors>,
    /// What it listened on, to be given to whoever listens next.
    shut: Vec<Listener>,
    /// When to give up on those that do not end.
    stop_at: Option<Instant>,
    stop_patience: Duration,
}

struct Slot<H: Hosting> {
    life: u64,
    connection: Option<Box<Connection<H::Visitor>>>,
}

/// What the reactor that accepts has besides.
pub(crate) struct Doors {
    pub(crate) listeners: Vec<Listener>,
    /// All reactors, this one among them.
    pub(crate) mailboxes: Arc<[Arc<Mailbox>]>,
    pub(crate) next: usize,
    pub(crate) again_at: Option<Instant>,
}

impl<H: Hosting> Reactor<H> {
    /// A reactor that is not running yet.
    pub(crate) fn new(shared: &Arc<Shared<H>>, spin: Duration, stop_patience: Duration) -> io::Result<Self>
    where
        H: Hosting,
    {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        Ok(Self {
            shared: shared.clone(),
            poll,
            mailbox: Arc::new(Mailbox::new(waker)),
            letters: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            holding: Vec::new(),
            warm: Vec::new(),
            unarmed: Vec::new(),
            hot: None,
            spin: Spin::new(spin),
            now: Instant::now(),
            next_sweep: None,
            doors: None,
            shut: Vec::new(),
            stop_at: None,
            stop_patience,
        })
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// From now on this reactor accepts, for all of them.
    pub(crate) fn open_doors(&mut self, doors: Doors) -> io::Result<()> {
        for (number, listener) in doors.listeners.iter().enumerate() {
            let token = Token(LISTENERS + number);
            self.poll.registry().register(&mut SourceFd(&listener.fd()), token, Interest::READABLE)?;
        }
        self.doors = Some(doors);
        Ok(())
    }

    /// Serves until a [`Letter::Stop`] comes and everything is ended. After a [`Letter::Retire`] it gives back what it
    /// listened on, where others may wait to be accepted.
    pub(crate) fn run(mut self) -> Vec<Listener> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.read_letters();
            for _ in 0..self.ready.len() {
                if let Some(key) = self.ready.pop_front() {
                    self.drive(key);
                }
            }
            self.look_at_the_time();
            if self.is_over() {
                return self.shut;
            }
            if let Err(error) = self.rest(&mut events) {
                tracing::error!("a reactor cannot wait for its connections: {error}");
                return self.shut;
            }
        }
    }

    fn connection(&mut self, key: Key) -> Option<&mut Connection<H::Visitor>> {
        find(&mut self.slots, key)
    }

    fn make_ready(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !std::mem::replace(&mut connection.place.ready, true)
        {
            self.ready.push_back(key);
        }
    }

    fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        let Some(news) = self.mailbox.look(&mut letters) else {
            self.letters = letters;
            return;
        };
        for letter in letters.drain(..) {
            match letter {
                Letter::Link(link, seat) => self.welcome(link, seat),
                Letter::Drive(key) => self.make_ready(key),
                Letter::Answer { key, mut outbox, expected } => {
                    if let Some(connection) = self.connection(key) {
                        connection.take_answer(&mut outbox, expected);
                        self.make_ready(key);
                    }
                }
                Letter::Stop => self.begin_to_stop(),
                Letter::Retire => {
                    self.shut = self.shut_doors();
                    self.begin_to_stop();
                }
            }
        }
        self.letters = letters;
        if news.durable {
            self.wake_those_that_hold();
        }
    }

    fn welcome(&mut self, link: Box<dyn Link>, seat: Seat) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { life: 0, connection: None });
            self.slots.len() - 1
        });
        let key = Key { slot, life: self.slots[slot].life };
        let fd = link.fd().as_raw_fd();
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), Token(slot), Interest::READABLE) {
            tracing::warn!("{}: cannot be waited for: {error}", link.facts().name);
            self.free.push(slot);
            return;
        }
        tracing::debug!("{}: connected", link.facts().name);
        let connection = Connection::new(link, seat, key, &self.mailbox, &self.shared, self.now);
        self.slots[slot].connection = Some(Box::new(connection));
        self.make_ready(key);
        if self.stop_at.is_some() {
            self.stop_one(key);
        }
    }

    fn drive(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = find(&mut self.slots, key) else { return };
        connection.place.ready = false;
        match connection.drive(&self.shared, now) {
            Turn::Gone => return self.remove(key),
            Turn::Again => {
                connection.place.ready = true;
                self.ready.push_back(key);
            }
            Turn::Rest => {}
        }
        self.hot = Some(key);
        if connection.holds() && !std::mem::replace(&mut connection.place.holding, true) {
            self.holding.push(key);
        }
        if !std::mem::replace(&mut connection.place.warm, true) {
            self.warm.push(key);
            self.next_sweep.get_or_insert(now + SWEEP);
        }
        if connection.link().facts().kind == Kind::Memory && !std::mem::replace(&mut connection.place.unarmed, true) {
            self.unarmed.push(key);
        }
        let wants = connection.wants_writable();
        if wants != connection.place.hears_writable {
            connection.place.hears_writable = wants;
            let fd = connection.link().fd().as_raw_fd();
            listen_for(self.poll.registry(), fd, key, wants);
        }
    }

    fn remove(&mut self, key: Key) {
        let slot = &mut self.slots[key.slot];
        let Some(connection) = slot.connection.take() else { return };
        slot.life += 1;
        let fd = connection.link().fd().as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            tracing::debug!("a connection was not registered any more: {error}");
        }
        tracing::debug!("{}: closed", connection.link().facts().name);
        self.free.push(key.slot);
        connection.part();
    }

    /// Everything that only time decides. Costs nothing while there is nothing of the kind.
    fn look_at_the_time(&mut self) {
        let now = self.now;
        if self.doors.as_ref().is_some_and(|doors| doors.again_at.is_some_and(|at| now >= at)) {
            self.accept();
        }
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        let mut warm = std::mem::take(&mut self.warm);
        warm.retain(|&key| {
            let Some(connection) = find(&mut self.slots, key) else { return false };
            match connection.sweep(&self.shared, now) {
                Sweep::Warm => true,
                Sweep::Cold => {
                    connection.place.warm = false;
                    false
                }
                Sweep::Drive => {
                    self.make_ready(key);
                    true
                }
            }
        });
        self.next_sweep = (!warm.is_empty()).then_some(now + SWEEP);
        self.warm = warm;
    }

    /// Some engine's durability has moved on.
    fn wake_those_that_hold(&mut self) {
        let mut holding = std::mem::take(&mut self.holding);
        holding.retain(|&key| {
            let Some(connection) = self.connection(key) else { return false };
            connection.place.holding = connection.holds();
            if connection.place.holding {
                self.make_ready(key);
                return true;
            }
            false
        });
        self.holding = holding;
    }

    fn accept(&mut self) {
        let Some(doors) = &mut self.doors else { return };
        let (mailboxes, next) = (&doors.mailboxes, &mut doors.next);
        let mut all = true;
        for listener in &mut doors.listeners {
            all &= listener.accept_all(&self.shared, |link, seat| {
                *next = (*next + 1) % mailboxes.len();
                mailboxes[*next].post(Letter::Link(link, seat));
            });
        }
        doors.again_at = (!all).then(|| self.now + ACCEPT_PAUSE);
    }

    /// Accepts no more, and leaves those who come to whoever listens next.
    fn shut_doors(&mut self) -> Vec<Listener> {
        let listeners = self.doors.take().map_or_else(Vec::new, |doors| doors.listeners);
        for listener in &listeners {
            if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&listener.fd())) {
                tracing::debug!("a listener was not registered any more: {error}");
            }
        }
        listeners
    }

    fn begin_to_stop(&mut self) {
        self.doors = None;
        self.stop_at = Some(self.now + self.stop_patience);
        let keys: Vec<Key> =
            self.slots.iter().filter_map(|slot| slot.connection.as_ref().map(|connection| connection.key())).collect();
        for key in keys {
            self.stop_one(key);
        }
    }

    fn stop_one(&mut self, key: Key) {
        if let Some(connection) = find(&mut self.slots, key) {
            connection.stop(&self.shared);
            self.make_ready(key);
        }
    }

    fn is_over(&self) -> bool {
        self.stop_at.is_some_and(|at| self.now >= at || self.slots.iter().all(|slot| slot.connection.is_none()))
    }

    /// Waits until there is something to do.
    fn rest(&mut self, events: &mut Events) -> io::Result<()> {
        if !self.ready.is_empty() {
            self.poll_for(events, Some(Duration::ZERO))?;
            self.now = Instant::now();
            return Ok(());
        }
        let began = Instant::now();
        self.now = began;
        if let Some(longest) = self.spin.now() {
            self.arm_all(self.hot);
            if self.ready.is_empty() && !self.spin_for(longest, began, events)? {
                self.spin.in_vain();
            }
            if !self.ready.is_empty() {
                self.now = Instant::now();
                self.spin.waited(self.now - began);
                return Ok(());
            }
        }
        self.arm_all(None);
        if !self.ready.is_empty() || !self.mailbox.fall_asleep() {
            return Ok(());
        }
        let until = [self.next_sweep, self.stop_at, self.doors.as_ref().and_then(|doors| doors.again_at)];
        let until = until.into_iter().flatten().min();
        let result = self.poll_for(events, until.map(|until| until.saturating_duration_since(began)));
        self.mailbox.woke_up();
        self.now = Instant::now();
        if !events.is_empty() {
            self.spin.waited(self.now - began);
        }
        result
    }

    /// Looks again and again; whether there was something.
    fn spin_for(&mut self, longest: Duration, began: Instant, events: &mut Events) -> io::Result<bool> {
        let mut looks = 0;
        loop {
            if self.mailbox.has_news() {
                return Ok(true);
            }
            if let Some(key) = self.hot
                && self.connection(key).is_some_and(Connection::try_receive)
            {
                self.make_ready(key);
                return Ok(true);
            }
            looks += 1;
            if looks % HOT_LOOKS == 0 {
                self.poll_for(events, Some(Duration::ZERO))?;
                if !self.ready.is_empty() {
                    return Ok(true);
                }
                if began.elapsed() >= longest {
                    return Ok(false);
                }
            }
        }
    }

    /// Tells links within the process that they must ring from now on; `but` this one, which is looked at anyway.
    fn arm_all(&mut self, but: Option<Key>) {
        let mut unarmed = std::mem::take(&mut self.unarmed);
        unarmed.retain(|&key| {
            let Some(connection) = self.connection(key) else { return false };
            if Some(key) == but && connection.only_receives() {
                return true;
            }
            if connection.arm() {
                connection.place.unarmed = false;
                return false;
            }
            self.make_ready(key);
            true
        });
        self.unarmed = unarmed;
    }

    fn poll_for(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        let mut accepts = false;
        for event in events.iter() {
            let Token(slot) = event.token();
            if event.token() == WAKER {
                continue;
            }
            if slot >= LISTENERS {
                accepts = true;
                continue;
            }
            let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_deref_mut()) else {
                continue;
            };
            let hung_up = event.is_read_closed() || event.is_error();
            connection.heard(event.is_readable() || hung_up, event.is_writable() || event.is_error(), hung_up);
            let key = connection.key();
            self.make_ready(key);
        }
        if accepts {
            self.accept();
        }
        Ok(())
    }
}

/// The connection with this key, if it still is.
fn find<H: Hosting>(slots: &mut [Slot<H>], key: Key) -> Option<&mut Connection<H::Visitor>> {
    let slot = slots.get_mut(key.slot)?;
    if slot.life == key.life { slot.connection.as_deref_mut() } else { None }
}

fn listen_for(registry: &Registry, fd: i32, key: Key, writable: bool) {
    let interest = if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
    if let Err(error) = registry.reregister(&mut SourceFd(&fd), Token(key.slot), interest) {
        tracing::error!("a connection cannot be waited for any more: {error}");
    }
}
