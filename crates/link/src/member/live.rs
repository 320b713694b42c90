//! A connection as the rest of the links sees it: what is to be said on it, and what is known of it.

use super::identity::{PRESENCE, verify};
use super::queue::Letter;
use super::rate::Rate;
use okapi_base::NodeId;
use okapi_wire::peer::announce::Announcement;
use okapi_wire::peer::link::{Farewell, Hello, Presence};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

/// Challenges that may be out on one connection at a time.
const CHALLENGES_MAX: usize = 8;

/// One connection for letters, once both ends have said hello.
pub(crate) struct Live {
    /// Its number, different for all connections of this process.
    pub(crate) id: u64,
    /// Who is at the other end.
    pub(crate) node: NodeId,
    /// Which process of that node.
    pub(crate) run: [u8; 16],
    /// When that process started, in its own milliseconds since 1970.
    pub(crate) started: u64,
    /// What the node said of itself.
    pub(crate) announcement: Announcement,
    /// Whether this end dialled.
    pub(crate) dialled: bool,
    pub(crate) address: String,
    pub(crate) kind: &'static str,
    pub(crate) since: Instant,
    /// Whether the other end has the rights of a member.
    pub(crate) trusted: AtomicBool,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) outbox: Mutex<Outbox>,
    /// Something now waits for the other end.
    pub(crate) watch: Notify,
    challenges: Mutex<Vec<([u8; 16], oneshot::Sender<Presence>)>>,
}

/// What is to be written on a connection. A state, not a queue: whatever the other end does, it does not grow.
#[derive(Default)]
pub(crate) struct Outbox {
    /// How often the other end may send a payload it has offered.
    pub(crate) goes: u32,
    /// The ping to answer.
    pub(crate) pong: Option<[u8; 8]>,
    /// The challenge to pose.
    pub(crate) prove: Vec<[u8; 16]>,
    /// The challenge to answer.
    pub(crate) presence: Option<[u8; 16]>,
    /// Nodes whose announcements the other end may not have.
    pub(crate) news: BTreeSet<NodeId>,
    /// Letters whose payloads are on their way.
    pub(crate) offered: VecDeque<Offered>,
    /// How many of them, from the first, have the other end's go.
    pub(crate) granted: usize,
    /// The ping that is out.
    pub(crate) asked: Option<(u64, Instant)>,
    /// When the last ping went out.
    pub(crate) pinged: Option<Instant>,
    /// Whether bytes are being written.
    pub(crate) busy: bool,
    /// Why this end closes.
    pub(crate) farewell: Option<Farewell>,
    /// The farewell has been written.
    pub(crate) said: bool,
    /// Why the other end closes.
    pub(crate) told: Option<Farewell>,
}

/// A letter whose payload is on its way.
pub(crate) struct Offered {
    pub(crate) letter: Letter,
    /// Bytes of the payload that were written.
    pub(crate) sent: usize,
}

/// What both ends know when they have said hello.
pub(crate) struct Parties {
    pub(crate) hello: Hello,
    pub(crate) dialled: bool,
    pub(crate) address: String,
    pub(crate) kind: &'static str,
}

impl Live {
    pub(crate) fn new(id: u64, parties: Parties, trusted: bool, traffic: Arc<Traffic>) -> Self {
        let Parties { hello: Hello { run, started, announcement, .. }, dialled, address, kind } = parties;
        Self {
            id,
            node: announcement.node,
            run,
            started,
            announcement,
            dialled,
            address,
            kind,
            since: Instant::now(),
            trusted: AtomicBool::new(trusted),
            traffic,
            outbox: Mutex::default(),
            watch: Notify::new(),
            challenges: Mutex::default(),
        }
    }

    /// There is something to write.
    pub(crate) fn wake(&self) {
        self.traffic.wake.notify_one();
    }

    /// Closes the connection, once what was begun is done if `farewell` allows it.
    pub(crate) fn close(&self, farewell: Farewell) {
        self.outbox.lock().farewell.get_or_insert(farewell);
        self.wake();
        self.watch.notify_one();
    }

    /// Tells the other end what is new about these nodes.
    pub(crate) fn tell(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let nodes = nodes.into_iter().filter(|node| *node != self.node);
        self.outbox.lock().news.extend(nodes);
        self.wake();
    }

    /// Whether the process at the other end is still there: its signed answer to `challenge`, if it comes in time.
    pub(crate) async fn prove(&self, challenge: [u8; 16], patience: Duration) -> Option<Presence> {
        let (answer, answered) = oneshot::channel();
        {
            let mut challenges = self.challenges.lock();
            challenges.retain(|(_, waits)| !waits.is_closed());
            if challenges.len() >= CHALLENGES_MAX {
                return None;
            }
            challenges.push((challenge, answer));
        }
        self.outbox.lock().prove.push(challenge);
        self.wake();
        timeout(patience, answered).await.ok()?.ok()
    }

    /// A presence came: whoever waits for it gets it, if it is genuine.
    pub(crate) fn proven(&self, presence: &Presence) {
        let mut challenges = self.challenges.lock();
        let genuine = |challenge: &[u8; 16]| {
            let run = presence.run == self.run && presence.started == self.started;
            run && verify(&self.node, PRESENCE, &presence.signed_bytes(challenge), &presence.signature)
        };
        if let Some(at) = challenges.iter().position(|(challenge, _)| genuine(challenge)) {
            // Whoever asked may have given up.
            let _ = challenges.swap_remove(at).1.send(*presence);
        }
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
}

/// Bytes that pass over one connection, under the limits of all.
pub(crate) struct Traffic {
    born: Instant,
    upload: Arc<Rate>,
    download: Arc<Rate>,
    received: AtomicU64,
    sent: AtomicU64,
    /// Microseconds from birth to the last byte that came.
    heard: AtomicU64,
    /// Microseconds from birth to the last letter or piece that was sent; 0 before the first.
    said: AtomicU64,
    /// How often an end that has nothing to say, and reads much or cannot read, says that it is there.
    pub(crate) sign_every: Duration,
    /// Microseconds from birth to the last sign of life.
    signed: AtomicU64,
    /// The other end should hear that this one is there.
    sign: AtomicBool,
    /// There is something to write.
    pub(crate) wake: Notify,
    /// The last round trip, in microseconds; 0 if none was measured.
    round_trip: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(upload: Arc<Rate>, download: Arc<Rate>, sign_every: Duration) -> Self {
        let nothing = || AtomicU64::new(0);
        Self {
            born: Instant::now(),
            upload,
            download,
            received: nothing(),
            sent: nothing(),
            heard: nothing(),
            said: nothing(),
            sign_every,
            signed: nothing(),
            sign: AtomicBool::new(false),
            wake: Notify::new(),
            round_trip: nothing(),
        }
    }

    /// Waits until more may be received.
    pub(crate) async fn before_receiving(&self) {
        loop {
            let wait = self.download.wait(Instant::now());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        let now = Instant::now();
        self.download.pay(now, bytes);
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        let age = micros(now - self.born);
        self.heard.store(age, Ordering::Relaxed);
        // What comes slowly keeps pings waiting on their way, and the other end must not think that nobody reads it.
        if age.saturating_sub(self.signed.load(Ordering::Relaxed)) >= micros(self.sign_every) {
            self.signed.store(age, Ordering::Relaxed);
            self.give_sign();
        }
    }

    /// The other end is to hear that this one is there.
    pub(crate) fn give_sign(&self) {
        self.sign.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether a sign of life is to be written, once.
    pub(crate) fn takes_sign(&self) -> bool {
        self.sign.swap(false, Ordering::Relaxed)
    }

    /// Bytes to receive at a time.
    pub(crate) fn gulp(&self, most: usize) -> usize {
        self.download.portion(most)
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.upload.pay(Instant::now(), bytes);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A letter or a piece was sent, and the other end should be heard of.
    pub(crate) fn said(&self) {
        self.said.store(micros(self.born.elapsed()), Ordering::Relaxed);
    }

    /// For how long nothing has been heard since the last letter or piece was sent; nothing if something was.
    ///
    /// What the system has taken is not on the other end's machine yet: it repeats what was lost for a quarter of an
    /// hour, and does not ask meanwhile whether anybody is there, as it does for a connection that is quiet.
    pub(crate) fn unanswered(&self) -> Option<Duration> {
        let said = self.said.load(Ordering::Relaxed);
        let since = || self.born.elapsed().saturating_sub(Duration::from_micros(said));
        (said > self.heard.load(Ordering::Relaxed)).then(since)
    }

    /// How long to wait before more should be sent.
    pub(crate) fn upload_wait(&self) -> Duration {
        self.upload.wait(Instant::now())
    }

    /// Bytes of a payload to send at a time.
    pub(crate) fn portion(&self, most: usize) -> usize {
        self.upload.portion(most)
    }

    pub(crate) fn heard(&self) -> Instant {
        self.born + Duration::from_micros(self.heard.load(Ordering::Relaxed))
    }

    pub(crate) fn measured(&self, round_trip: Duration) {
        self.round_trip.store(micros(round_trip).max(1), Ordering::Relaxed);
    }

    /// Bytes received and sent, and the last round trip in microseconds.
    pub(crate) fn figures(&self) -> (u64, u64, Option<u64>) {
        let round_trip = self.round_trip.load(Ordering::Relaxed);
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.received), of(&self.sent), (round_trip > 0).then_some(round_trip))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
