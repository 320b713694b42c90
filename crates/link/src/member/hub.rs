//! What all connections and dials share: who this node is, whom it writes to, and which connection is the one.

use super::book::{Book, LearnError};
use super::carrier::Carrier;
use super::connection;
use super::correspondent::{Correspondent, Next};
use super::dial;
use super::greet::{Greeting, plain};
use super::host::{Event, Host, Standing};
use super::identity::{ANNOUNCEMENT, Identity, PRESENCE, verify};
use super::live::{Live, Traffic};
use super::queue::{Letter, Waiting};
use super::rate::Rate;
use super::settings::{CLOCK_TOLERANCE, LETTERS_RECEIVED, Settings, Tuning};
use okapi_base::NodeId;
use okapi_wire::peer::announce::{Announcement, STAMP_MAX};
use okapi_wire::peer::link::{Farewell, Hello, PAYLOAD_MAX, Presence, Purpose, Reason};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// What a node hears that has left the group.
pub(crate) const PARTED: &str = "this node has parted from the group; it can join anew";

/// All that the links of a node share.
pub(crate) struct Hub {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) tuning: Tuning,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) carriers: Vec<Arc<dyn Carrier>>,
    pub(crate) runtime: Handle,
    /// When this process started, in milliseconds since 1970.
    started: u64,
    announcement: Mutex<Announcement>,
    book: Mutex<Book>,
    correspondents: Mutex<HashMap<NodeId, Arc<Correspondent>>>,
    waiting: Arc<Waiting>,
    upload: Arc<Rate>,
    download: Arc<Rate>,
    /// Memory for payloads that come, in bytes.
    pub(crate) payload_room: Arc<Semaphore>,
    /// Memory for letters that come, in bytes.
    pub(crate) letter_room: Arc<Semaphore>,
    /// Strangers that may still come.
    pub(crate) strangers: Arc<Semaphore>,
    numbers: AtomicU64,
    stopping: AtomicBool,
    /// How many connections there are.
    pub(crate) connections: watch::Sender<usize>,
    /// Announcements refused because their node had not signed them.
    pub(crate) forged: AtomicU64,
}

impl Hub {
    pub(crate) fn new(
        identity: Identity,
        settings: Settings,
        tuning: Tuning,
        host: Arc<dyn Host>,
        carriers: Vec<Arc<dyn Carrier>>,
        addresses: Vec<String>,
    ) -> Self {
        let now = Instant::now();
        let started = (settings.clock)().min(STAMP_MAX);
        let announcement = signed(&identity, &settings.name, started, addresses);
        Self {
            started,
            announcement: Mutex::new(announcement),
            book: Mutex::default(),
            correspondents: Mutex::default(),
            waiting: Arc::new(Waiting::new(settings.queued_all)),
            upload: Arc::new(Rate::new(settings.upload, now)),
            download: Arc::new(Rate::new(settings.download, now)),
            payload_room: Arc::new(Semaphore::new(settings.received.max(PAYLOAD_MAX))),
            letter_room: Arc::new(Semaphore::new(LETTERS_RECEIVED)),
            strangers: Arc::new(Semaphore::new(tuning.strangers)),
            numbers: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            connections: watch::Sender::new(0),
            forged: AtomicU64::new(0),
            runtime: Handle::current(),
            identity,
            settings,
            tuning,
            host,
            carriers,
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.identity.node()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::new(self.upload.clone(), self.download.clone())
    }

    /// This node's first frame.
    pub(crate) fn hello(&self, purpose: Purpose) -> Hello {
        let (oldest, newest) = self.tuning.versions;
        Hello {
            oldest,
            newest,
            purpose,
            run: self.settings.run,
            started: self.started,
            stamp: (self.settings.clock)(),
            announcement: self.announcement.lock().clone(),
        }
    }

    /// This process's answer to a challenge.
    pub(crate) fn presence(&self, challenge: &[u8; 16]) -> Presence {
        let mut presence = Presence { run: self.settings.run, started: self.started, signature: [0; 64] };
        presence.signature = self.identity.sign(PRESENCE, &presence.signed_bytes(challenge));
        presence
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The node's entry, made if there is none.
    pub(crate) fn correspondent(&self, node: NodeId) -> Arc<Correspondent> {
        let mut correspondents = self.correspondents.lock();
        let new = || Arc::new(Correspondent::new(node, &self.settings, &self.tuning, self.waiting.clone()));
        correspondents.entry(node).or_insert_with(new).clone()
    }

    pub(crate) fn correspondents(&self) -> Vec<Arc<Correspondent>> {
        self.correspondents.lock().values().cloned().collect()
    }

    /// Takes a letter to send, and sees to it that there is a connection.
    pub(crate) fn send(self: &Arc<Self>, to: NodeId, letter: Vec<u8>, payload: Arc<[u8]>) {
        if to == self.me() {
            return;
        }
        let whom = self.correspondent(to);
        if let Next::Dial = whom.post(Letter { letter, payload, since: Instant::now() }) {
            self.runtime.spawn(dial::until_connected(self.clone(), whom));
        }
    }

    /// Where a node may be: where it answered last, where it says, where others say.
    pub(crate) fn addresses(&self, whom: &Correspondent) -> Vec<String> {
        let announced = self.book.lock().get(&whom.node).map(|known| known.addresses.clone());
        let state = whom.state.lock();
        let mut addresses: Vec<String> = Vec::new();
        for address in state.good.iter().chain(announced.iter().flatten()).chain(&state.hints) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for whom in self.correspondents() {
            let live = whom.state.lock().live.clone();
            if let Some(live) = live {
                live.close(plain(Reason::Stopping, "the other node stops"));
            }
            whom.look.notify_one();
        }
    }

    pub(crate) fn forget(&self, node: &NodeId) {
        self.book.lock().forget(node);
        let whom = self.correspondents.lock().remove(node);
        let live = whom.and_then(|whom| whom.state.lock().live.take());
        if let Some(live) = live {
            live.close(plain(Reason::Parted, "the other node no longer knows this one"));
        }
    }
}

/// Announcements.
impl Hub {
    pub(crate) fn announced(&self, node: &NodeId) -> Option<Announcement> {
        if *node == self.me() { Some(self.announcement.lock().clone()) } else { self.book.lock().get(node).cloned() }
    }

    /// Announces other addresses of this node.
    pub(crate) fn announce(&self, addresses: Vec<String>) {
        let now = (self.settings.clock)();
        let mut known = self.announcement.lock();
        let stamp = now.max(known.stamp + 1).min(STAMP_MAX);
        *known = signed(&self.identity, &self.settings.name, stamp, addresses);
        let announcement = known.clone();
        drop(known);
        self.spread(&announcement, None);
        self.host.happened(Event::Announced(announcement));
    }

    /// Takes an announcement in, from the host or from another node, and tells it to all that may not have it.
    pub(crate) fn learn(&self, announcement: Announcement, from: Option<&Live>) -> Result<(), LearnError> {
        if announcement.node == self.me() {
            self.outlive(&announcement);
            return Err(LearnError::Old);
        }
        let learned = self.book.lock().learn(&announcement);
        if learned == Err(LearnError::Forged) {
            self.forged.fetch_add(1, Ordering::Relaxed);
        }
        learned?;
        let whom = self.correspondents.lock().get(&announcement.node).cloned();
        if let Some(whom) = whom {
            whom.dial_anew();
        }
        self.spread(&announcement, from);
        if from.is_some() {
            self.host.happened(Event::Announced(announcement));
        }
        Ok(())
    }

    /// What a process before this one announced, perhaps under a clock that was ahead, must not outlive what this one
    /// announces.
    fn outlive(&self, former: &Announcement) {
        let known = self.announcement.lock().clone();
        let newer = (former.stamp, &former.addresses) > (known.stamp, &known.addresses);
        if newer && super::book::is_genuine(former) && former.stamp < STAMP_MAX {
            let mut known = self.announcement.lock();
            *known = signed(&self.identity, &self.settings.name, former.stamp + 1, known.addresses.clone());
            let announcement = known.clone();
            drop(known);
            self.spread(&announcement, None);
            self.host.happened(Event::Announced(announcement));
        }
    }

    fn spread(&self, announcement: &Announcement, from: Option<&Live>) {
        let node = announcement.node;
        let may_be_told = node == self.me() || self.host.standing(&node) == Standing::Member;
        for whom in self.correspondents().iter().filter(|_| may_be_told) {
            let live = whom.state.lock().live.clone();
            if let Some(live) = live.filter(|live| live.is_trusted() && from.is_none_or(|from| from.id != live.id)) {
                live.tell([node]);
            }
        }
    }

    /// All nodes whose announcements a member may be told.
    pub(crate) fn members_known(&self) -> Vec<NodeId> {
        let mut nodes = self.book.lock().nodes();
        nodes.retain(|node| self.host.standing(node) == Standing::Member);
        nodes
    }
}

/// Connections.
impl Hub {
    /// A connection on which both ends have said hello, not yet in use.
    pub(crate) fn meet(&self, greeting: &Greeting, hello: Hello, trusted: bool) -> Arc<Live> {
        let ahead = hello.stamp.cast_signed().wrapping_sub((self.settings.clock)().cast_signed());
        if ahead.unsigned_abs() > CLOCK_TOLERANCE {
            self.host.happened(Event::ClockOff { node: greeting.node(), milliseconds: ahead });
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        Arc::new(Live::new(number, greeting.parties(hello), trusted, greeting.traffic.clone()))
    }

    /// Lets letters take this connection from now on, unless another one stands in its way. It is to be driven by
    /// [`Hub::start`] then, or given up by [`Hub::never_began`].
    pub(crate) async fn admit(self: &Arc<Self>, fresh: &Arc<Live>) -> Result<(), Farewell> {
        let whom = self.correspondent(fresh.node);
        loop {
            let old = {
                let mut state = whom.state.lock();
                match state.live.clone() {
                    Some(old) if !self.yields(&old, fresh) => old,
                    old => {
                        state.live = Some(fresh.clone());
                        drop(state);
                        self.took(fresh, old);
                        return Ok(());
                    }
                }
            };
            // The old one stays, if it is there at all.
            let presence = old.prove(fresh.run, self.tuning.prove).await;
            match presence {
                Some(_) if old.run == fresh.run => {
                    return Err(plain(Reason::Replaced, "another connection between the two is in use"));
                }
                Some(presence) if (old.started, old.run) < (fresh.started, fresh.run) => {
                    return Err(self.twin_of(&presence));
                }
                // The old connection is dead, or leads to the later of two twins.
                _ => {
                    let mut state = whom.state.lock();
                    if state.live.as_ref().is_some_and(|live| live.id == old.id) {
                        state.live = Some(fresh.clone());
                        drop(state);
                        self.took(fresh, Some(old));
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether an old connection gives way to a new one without being asked: of two that the same two processes made
    /// at once that one stays which the smaller of them dialled, and of two that one process dialled the newer.
    fn yields(&self, old: &Live, fresh: &Live) -> bool {
        let smaller_dialled = |live: &Live| live.dialled == (self.me() < live.node);
        old.run == fresh.run && (old.dialled == fresh.dialled || smaller_dialled(fresh))
    }

    /// A new connection took the place of none or an old one.
    fn took(self: &Arc<Self>, fresh: &Arc<Live>, old: Option<Arc<Live>>) {
        match old {
            None => self.host.happened(Event::Up { node: fresh.node, address: fresh.address.clone() }),
            Some(old) if old.run == fresh.run => {
                old.close(plain(Reason::Replaced, "another connection between the two is in use"));
            }
            Some(old) => {
                // Either the old process is gone, or it is the later of two: then it is told so, with proof.
                let (hub, fresh) = (self.clone(), fresh.clone());
                self.runtime.spawn(async move {
                    let presence = fresh.prove(old.run, hub.tuning.prove).await;
                    old.close(match presence {
                        Some(presence) => hub.twin_of(&presence),
                        None => plain(Reason::Replaced, "another connection between the two is in use"),
                    });
                });
            }
        }
    }

    fn twin_of(&self, presence: &Presence) -> Farewell {
        let words = "another process that runs with this identity has been connected for longer";
        Farewell { twin: Some(Box::new(*presence)), ..plain(Reason::Twin, words) }
    }

    /// Drives a connection, in a task of its own. `place` is a stranger's.
    pub(crate) fn start(self: &Arc<Self>, live: Arc<Live>, greeting: Greeting, place: Option<OwnedSemaphorePermit>) {
        match self.host.standing(&live.node) {
            // Whom this node dialled it knows.
            Standing::Stranger if live.is_trusted() => self.exchange(&live),
            // It may have changed since the hello, when a review did not find the connection yet.
            _ => self.judge(&live),
        }
        self.connections.send_modify(|count| *count += 1);
        self.runtime.spawn(connection::run(self.clone(), live, greeting, place));
    }

    /// Takes in what a member says of itself, and tells it of all others.
    pub(crate) fn exchange(&self, live: &Live) {
        if self.learn(live.announcement.clone(), Some(live)) == Err(LearnError::Old)
            && self.announced(&live.node).is_some_and(|known| known.stamp > live.announcement.stamp)
        {
            // It does not know what it said itself, under a clock that was ahead: it will say something newer.
            live.outbox.lock().news.insert(live.node);
        }
        live.tell(self.members_known());
    }

    /// What nodes are to the group may have changed.
    pub(crate) fn review(&self) {
        for whom in self.correspondents() {
            let live = whom.state.lock().live.clone();
            if let Some(live) = live {
                self.judge(&live);
            }
        }
    }

    /// Goes by what the node at the other end is to the group now.
    fn judge(&self, live: &Live) {
        match self.host.standing(&live.node) {
            Standing::Parted => live.close(plain(Reason::Parted, PARTED)),
            Standing::Member => {
                live.trusted.store(true, Ordering::Relaxed);
                self.exchange(live);
            }
            Standing::Stranger => {}
        }
    }

    /// A connection was lost before it was driven.
    pub(crate) fn never_began(self: &Arc<Self>, live: &Live, why: String) {
        self.connections.send_modify(|count| *count += 1);
        self.ended(live, why);
    }

    /// A connection is over.
    pub(crate) fn ended(self: &Arc<Self>, live: &Live, why: String) {
        self.connections.send_modify(|count| *count -= 1);
        // A node that was forgotten has none.
        let Some(whom) = self.correspondents.lock().get(&live.node).cloned() else { return };
        let mut state = whom.state.lock();
        let was_current = state.live.as_ref().is_some_and(|current| current.id == live.id);
        let offered = std::mem::take(&mut live.outbox.lock().offered);
        for offered in offered.into_iter().rev() {
            state.queue.put_back(offered.letter);
        }
        if was_current {
            state.live = None;
            state.failure = Some(why.clone());
            if live.since.elapsed() >= self.tuning.handshake {
                state.backoff.reset();
            }
            state.not_before = Instant::now() + state.backoff.delay();
        } else if let Some(current) = &state.live {
            current.wake.notify_one();
        }
        let dial = state.live.is_none() && !state.dialling && !state.queue.is_empty() && !self.is_stopping();
        state.dialling |= dial;
        drop(state);
        if was_current {
            self.host.happened(Event::Down { node: live.node, why });
        }
        if dial {
            self.runtime.spawn(dial::until_connected(self.clone(), whom));
        } else if !live.is_trusted() {
            self.drop_stranger(&whom);
        }
    }

    /// Keeps nothing of a stranger to whom nobody has anything to say: there may be many of them.
    fn drop_stranger(&self, whom: &Arc<Correspondent>) {
        let mut correspondents = self.correspondents.lock();
        let unused = {
            let state = whom.state.lock();
            state.live.is_none() && !state.dialling && state.queue.is_empty() && state.hints.is_empty()
        };
        // Besides the entry itself there is only the one at hand; others are made under this lock.
        if unused && Arc::strong_count(whom) == 2 {
            correspondents.remove(&whom.node);
        }
    }

    /// Another end's farewell, where it means more than that a connection is over.
    pub(crate) fn told(&self, node: NodeId, address: &str, farewell: &Farewell) {
        match (farewell.reason, &farewell.twin) {
            (Reason::Twin, Some(twin)) => self.twin(address, twin, &farewell.words),
            (Reason::Versions | Reason::Parted, _) => self.refused(node, address, &farewell.words),
            _ => {}
        }
    }

    /// Another process with this node's identity was shown to be there. The later of the two stops.
    fn twin(&self, address: &str, twin: &Presence, said: &str) {
        let record = twin.signed_bytes(&self.settings.run);
        let genuine = twin.run != self.settings.run && verify(&self.me(), PRESENCE, &record, &twin.signature);
        if genuine {
            self.met_twin(address, twin.started, twin.run, said);
        }
    }

    pub(crate) fn met_twin(&self, address: &str, started: u64, run: [u8; 16], said: &str) {
        if (started, run) < (self.started, self.settings.run) {
            self.host.happened(Event::Twin { address: address.to_owned(), said: said.to_owned() });
        }
    }

    /// Tells people why a node cannot be reached, once for the same reason.
    pub(crate) fn refused(&self, node: NodeId, address: &str, why: &str) {
        let whom = self.correspondent(node);
        let told = Some((address.to_owned(), why.to_owned()));
        let mut state = whom.state.lock();
        if state.refused != told {
            state.refused = told;
            drop(state);
            self.host.happened(Event::Refused { node, address: address.to_owned(), why: why.to_owned() });
        }
    }
}

pub(crate) fn signed(identity: &Identity, name: &str, stamp: u64, addresses: Vec<String>) -> Announcement {
    let mut announcement =
        Announcement { node: identity.node(), stamp, name: name.to_owned(), addresses, signature: [0; 64] };
    announcement.signature = identity.sign(ANNOUNCEMENT, &announcement.signed_bytes());
    announcement
}
