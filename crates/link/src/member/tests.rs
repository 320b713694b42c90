//! Whole links against each other, over real sockets of this machine.

use super::*;
use okapi_base::NodeId;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use zeroize::Zeroizing;

mod connections;
mod flow;
mod garbage;
mod grid;
mod letters;
mod raw;
mod relay;
mod standing;
mod twins;
#[cfg(feature = "wan")]
mod wan;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host that remembers all that happens.
pub(super) struct Recorder {
    events: Mutex<VecDeque<Event>>,
    came: Condvar,
    standings: Mutex<HashMap<NodeId, Standing>>,
    /// What nodes become once it was asked what they are.
    soon: Mutex<HashMap<NodeId, Standing>>,
    /// What nodes are that are not named.
    others: Standing,
}

impl Host for Recorder {
    fn standing(&self, node: &NodeId) -> Standing {
        let now = self.standings.lock().get(node).copied().unwrap_or(self.others);
        if let Some(soon) = self.soon.lock().remove(node) {
            self.set(*node, soon);
        }
        now
    }

    fn happened(&self, event: Event) {
        self.events.lock().push_back(event);
        self.came.notify_all();
    }
}

impl Recorder {
    /// Waits for an event of which `pick` makes something, and takes it out; the others stay.
    pub(super) fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut events = self.events.lock();
        loop {
            let found = events.iter().enumerate().find_map(|(at, event)| pick(event).map(|found| (at, found)));
            if let Some((at, found)) = found {
                events.remove(at);
                return found;
            }
            assert!(!self.came.wait_until(&mut events, until).timed_out(), "waiting for {what}: there is {events:?}");
        }
    }
}

impl Recorder {
    pub(super) fn new(others: Standing) -> Self {
        let (standings, soon) = (Mutex::default(), Mutex::default());
        Self { events: Mutex::default(), came: Condvar::new(), standings, soon, others }
    }

    pub(super) fn set(&self, node: NodeId, standing: Standing) {
        self.standings.lock().insert(node, standing);
    }

    /// Waits until the connection to `node` is there.
    pub(super) fn up(&self, node: NodeId) -> String {
        self.wait("a connection", |event| match event {
            Event::Up { node: up, address } if *up == node => Some(address.clone()),
            _ => None,
        })
    }

    /// Waits until it is gone, and says why.
    pub(super) fn down(&self, node: NodeId) -> String {
        self.wait("the end of a connection", |event| match event {
            Event::Down { node: down, why } if *down == node => Some(why.clone()),
            _ => None,
        })
    }

    pub(super) fn refused(&self, node: NodeId) -> String {
        self.wait("a refusal", |event| match event {
            Event::Refused { node: refused, why, .. } if *refused == node => Some(why.clone()),
            _ => None,
        })
    }

    pub(super) fn twin(&self) -> String {
        self.wait("word of a twin", |event| match event {
            Event::Twin { said, .. } => Some(said.clone()),
            _ => None,
        })
    }

    /// Whether something like this has happened and was not taken out.
    pub(super) fn has(&self, pick: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().iter().any(pick)
    }

    pub(super) fn count(&self, pick: impl Fn(&&Event) -> bool) -> usize {
        self.events.lock().iter().filter(pick).count()
    }
}

/// A node with links and a host.
pub(super) struct Node {
    pub(super) links: MemberLinks,
    pub(super) host: Arc<Recorder>,
}

impl Node {
    /// The node whose seed is all `seed`, in a process of its own, listening on IPv4's loopback.
    pub(super) fn new(seed: u8) -> Self {
        Self::with(seed, |_, _| {})
    }

    pub(super) fn with(seed: u8, change: impl FnOnce(&mut Settings, &mut Tuning)) -> Self {
        Self::among(seed, Standing::Member, change)
    }

    /// A node that takes all others for this.
    pub(super) fn among(seed: u8, others: Standing, change: impl FnOnce(&mut Settings, &mut Tuning)) -> Self {
        static RUNS: AtomicUsize = AtomicUsize::new(1);
        let mut run = [0; 16];
        run[..8].copy_from_slice(&RUNS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut settings = Settings::new(Zeroizing::new([seed; 32]), run);
        settings.listen = vec!["127.0.0.1:0".parse().unwrap()];
        settings.name = format!("node {seed}");
        let mut tuning = Tuning::default();
        change(&mut settings, &mut tuning);
        let host = Arc::new(Recorder::new(others));
        let links = MemberLinks::start_tuned(settings, host.clone(), tuning).unwrap();
        Self { links, host }
    }

    pub(super) fn id(&self) -> NodeId {
        self.links.node()
    }

    /// Its first address.
    pub(super) fn address(&self) -> String {
        format!("tcp://{}", self.links.targets()[0])
    }

    pub(super) fn say(&self, to: &Self, words: &[u8]) {
        self.links.send(to.id(), words.to_vec(), Arc::default());
    }

    /// Learns where another one is.
    pub(super) fn knows(&self, other: &Self) {
        self.links.learn(other.links.announcement()).unwrap();
    }

    /// Waits for the next letter of `from`.
    pub(super) fn letter(&self, from: &Self) -> (Vec<u8>, Arc<[u8]>) {
        let from = from.id();
        self.host.wait("a letter", |event| match event {
            Event::Letter { from: sender, letter, payload, .. } if *sender == from => {
                Some((letter.clone(), payload.clone()))
            }
            _ => None,
        })
    }
}

/// Bytes that are different at every place.
pub(super) fn pattern(length: usize) -> Arc<[u8]> {
    (0..length as u32).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect()
}
