//! What links between members are told at their start, and their limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// What [`MemberLinks::start`](super::MemberLinks::start) needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The secret half of this node's Ed25519 key.
    pub seed: Zeroizing<[u8; 32]>,
    /// 16 random bytes, drawn anew at each start of the process: they tell two processes of one identity apart.
    pub run: [u8; 16],
    /// Where to listen; port 0 takes any free one. Nowhere: this node only dials.
    pub listen: Vec<SocketAddr>,
    /// What people call this node: at most 64 bytes, no control characters.
    pub name: String,
    /// Where others can reach it, as `tcp://host:port`, the best first, at most 8. Nothing stands for the addresses it
    /// listens on, as far as they name a place.
    pub advertise: Vec<String>,
    /// Bytes a second sent at most, over all links; 0 for no limit.
    pub upload: u64,
    /// Bytes a second received at most, over all links; 0 for no limit.
    pub download: u64,
    /// Bytes of letters that may wait for one node.
    pub queued_each: usize,
    /// Bytes of letters that may wait in all.
    pub queued_all: usize,
    /// Bytes of payloads received, or about to be, that the host has not let go of. At least one payload's.
    pub received: usize,
    /// Tell the local network where this node is (by multicast DNS, to whoever listens there), and hear where the others of
    /// its group are. The 16 bytes stand for the group and should say nothing to others.
    #[cfg(feature = "mdns")]
    pub local_network: Option<[u8; 16]>,
    /// Reach others, and be reached, through NAT (by iroh).
    #[cfg(feature = "wan")]
    pub wan: Option<super::Wan>,
    /// Threads that drive the links.
    pub threads: usize,
    /// Milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Settings {
    /// A node with this key, in a process with this `run`, that listens nowhere and has no limits but the usual ones.
    #[must_use]
    pub fn new(seed: Zeroizing<[u8; 32]>, run: [u8; 16]) -> Self {
        Self {
            seed,
            run,
            listen: Vec::new(),
            name: String::new(),
            advertise: Vec::new(),
            upload: 0,
            download: 0,
            queued_each: 64 << 20,
            queued_all: 256 << 20,
            received: 64 << 20,
            #[cfg(feature = "mdns")]
            local_network: None,
            #[cfg(feature = "wan")]
            wan: None,
            threads: 2,
            clock: Arc::new(wall_clock),
        }
    }
}

/// A secret is in it.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why links between members cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The seed makes no key.
    #[error("the node's key cannot be used: {0}")]
    Key(String),
    /// The name cannot be announced.
    #[error("`{0}` cannot be a node's name: take at most 64 bytes, without control characters")]
    Name(String),
    /// There are too many addresses to announce.
    #[error("{0} addresses are to be announced, and at most 8 can be; name those that others should try")]
    Addresses(usize),
    /// An address cannot be announced.
    #[error("`{0}` cannot be announced as an address of this node; write tcp://host:port")]
    Address(String),
    /// Somebody listens there already.
    #[error("tcp://{0} is in use; stop what listens there, or choose another port (0: any free one)")]
    InUse(SocketAddr),
    /// The operating system refused to listen.
    #[error("tcp://{address} cannot be listened on: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's own words.
        source: std::io::Error,
    },
    /// The local network cannot be told.
    #[cfg(feature = "mdns")]
    #[error("the local network cannot be told where this node is: {0}; leave it out of the settings to go on")]
    LocalNetwork(String),
    /// iroh cannot start.
    #[cfg(feature = "wan")]
    #[error("this node cannot be reached through NAT: {0}; leave it out of the settings to go on")]
    Wan(String),
    /// The relay cannot be one.
    #[cfg(feature = "wan")]
    #[error("`{relay}` is no relay: {why}; write https://host")]
    Relay {
        /// What is in the settings.
        relay: String,
        /// Why not.
        why: String,
    },
    /// The operating system refused threads, or what they wait with.
    #[error("the threads of the links cannot be started: {0}")]
    Threads(std::io::Error),
}

/// Spans of time and limits that only tests change.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    /// Versions this end speaks.
    pub(crate) versions: (u16, u16),
    /// How long a connection may take until both ends know each other.
    pub(crate) handshake: Duration,
    /// How long to wait before the next address of the same node is tried beside the first.
    pub(crate) stagger: Duration,
    /// How long a letter may wait to be sent.
    pub(crate) letter_age: Duration,
    /// How long a stranger may stay.
    pub(crate) stranger_time: Duration,
    /// Strangers that may be here at a time.
    pub(crate) strangers: usize,
    /// How long somebody may take to prove that it is there.
    pub(crate) prove: Duration,
    /// How long something may wait for the other end to say anything at all.
    pub(crate) patience: Duration,
    /// How long a connection that was replaced may take to end what it had begun.
    pub(crate) retire: Duration,
    /// The first and the longest delay between two attempts to dial a node.
    pub(crate) redial: (Duration, Duration),
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            versions: okapi_wire::peer::link::VERSIONS,
            handshake: Duration::from_secs(10),
            stagger: Duration::from_millis(300),
            letter_age: Duration::from_secs(60),
            stranger_time: Duration::from_secs(60),
            strangers: 32,
            prove: Duration::from_secs(2),
            patience: Duration::from_secs(20),
            retire: Duration::from_secs(30),
            redial: (Duration::from_millis(250), Duration::from_secs(30)),
        }
    }
}

/// Letters of a stranger have at most this many bytes.
pub(crate) const STRANGER_LETTER_MAX: usize = 64 << 10;
/// Bytes of letters received that the host has not let go of, payloads of up to 64 KiB included.
pub(crate) const LETTERS_RECEIVED: usize = 16 << 20;
/// Connections that may be in their handshake at a time.
pub(crate) const HANDSHAKES_MAX: usize = 64;
/// Addresses kept of one node besides those it announces.
pub(crate) const HINTS_MAX: usize = 8;
/// A clock that differs by more is told of, in milliseconds.
pub(crate) const CLOCK_TOLERANCE: u64 = 60_000;

fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
