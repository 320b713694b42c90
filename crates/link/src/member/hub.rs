//! What all connections and dials share: who this node is, whom it writes to, and which connection is the one.

mod admit;
mod announce;

pub(crate) use announce::signed;

use super::book::Book;
use super::carrier::Carrier;
use super::correspondent::{Correspondent, Next};
use super::dial;
use super::greet::plain;
use super::host::Host;
use super::identity::{Identity, PRESENCE};
use super::live::Traffic;
use super::queue::{Letter, Waiting};
use super::rate::Rate;
use super::settings::{LETTERS_RECEIVED, Settings, Tuning};
use okapi_base::NodeId;
use okapi_wire::peer::announce::{Announcement, STAMP_MAX};
use okapi_wire::peer::link::{Hello, PAYLOAD_MAX, Presence, Purpose, Reason};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
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
    pub(crate) upload: Arc<Rate>,
    pub(crate) download: Arc<Rate>,
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
        Traffic::new(self.upload.clone(), self.download.clone(), self.tuning.patience / 4)
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

    /// The nodes of which something is known, in the order of their names.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        let known = self.book.lock().nodes();
        self.correspondents.lock().keys().copied().chain(known).collect()
    }

    /// The node's entry, if there is one.
    pub(crate) fn known(&self, node: &NodeId) -> Option<Arc<Correspondent>> {
        self.correspondents.lock().get(node).cloned()
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
    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<String> {
        let announced = self.book.lock().get(node).map(|known| known.addresses.clone());
        let (good, hints) = self.known(node).map_or((None, Vec::new()), |whom| {
            let state = whom.state.lock();
            (state.good.clone(), state.hints.clone())
        });
        let mut addresses: Vec<String> = Vec::new();
        for address in good.into_iter().chain(announced.into_iter().flatten()).chain(hints) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for whom in self.correspondents() {
            if let Some(live) = &whom.state.lock().live {
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
