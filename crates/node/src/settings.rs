//! How a node is to be.

use crate::host::HostSettings;
use okapi_base::limits::CONNECTIONS_MAX;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of receive buffers beyond 64 KiB a connection that all connections share.
pub const RECEIVE_BUDGET: usize = 256 << 20;
/// Bytes of replies waiting to be sent beyond 64 KiB a connection that all connections share.
pub const REPLY_BUDGET: usize = 256 << 20;
/// The smallest budget a node can be given: one longest frame or fullest window must fit, and a modest one besides.
pub const BUDGET_MIN: usize = 24 << 20;
/// How long the other end may keep a node waiting: with a hello, in the middle of a frame, or not reading what others
/// wait for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long stopping may take before connections that do not end are cut.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a reactor looks again and again before it sleeps, while that pays off.
pub const SPIN: Duration = Duration::from_micros(50);
/// Threads that wait for disks.
pub const DISK_THREADS: usize = 4;

/// How a node is to be. [`NodeSettings::new`] has what serves most.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// The path of its unix socket; none: `okapi.sock` in the data directory.
    pub socket: Option<PathBuf>,
    /// Who may connect to the unix socket, as a file mode. Whoever is not the node's own user still needs a token.
    pub socket_mode: u32,
    /// TCP addresses to listen on besides. Only those of this machine: there is no authenticated transport yet.
    pub tcp: Vec<SocketAddr>,
    /// Threads that serve connections; 0: half as many as there are processors.
    pub threads: usize,
    /// Threads that wait for disks; 0: [`DISK_THREADS`].
    pub disk_threads: usize,
    /// How long a serving thread looks again and again before it sleeps, as long as that pays off. Zero: never.
    pub spin: Duration,
    /// Connections at a time.
    pub connections_max: usize,
    /// [`RECEIVE_BUDGET`] in bytes, at least [`BUDGET_MIN`].
    pub receive_budget: usize,
    /// [`REPLY_BUDGET`] in bytes, at least [`BUDGET_MIN`].
    pub reply_budget: usize,
    /// [`PATIENCE`].
    pub patience: Duration,
    /// [`STOP_PATIENCE`].
    pub stop_patience: Duration,
    /// How it deals with the other members of its group, if it is in one.
    pub group: GroupSettings,
    /// What the stores are opened with; its `data` is the node's data directory.
    pub host: HostSettings,
}

/// How a node deals with the other members of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// Where to listen for them, instead of where the node was founded to.
    pub listen: Vec<SocketAddr>,
    /// Bytes a second that may be sent to all of them together; 0: as many as the line takes.
    pub upload_rate: u64,
    /// Bytes a second that may be received from all of them together; 0: as many as the line takes.
    pub download_rate: u64,
    /// Whether to tell the local network where this node is, and to hear where others of its group are.
    pub local_network: bool,
    /// Whether and how to reach others, and be reached, through NAT (by iroh).
    #[cfg(feature = "wan")]
    pub wan: Option<okapi_link::member::Wan>,
    /// Whether work for the group pauses while the machine runs on battery.
    pub pause_on_battery: bool,
    /// Whether a restore ends without what only members know of that do not answer.
    pub without_silent: bool,
}

impl NodeSettings {
    /// A node with these stores that listens on a unix socket only.
    #[must_use]
    pub fn new(host: HostSettings) -> Self {
        Self {
            socket: None,
            socket_mode: 0o600,
            tcp: Vec::new(),
            threads: 0,
            disk_threads: 0,
            spin: SPIN,
            connections_max: CONNECTIONS_MAX,
            receive_budget: RECEIVE_BUDGET,
            reply_budget: REPLY_BUDGET,
            patience: PATIENCE,
            stop_patience: STOP_PATIENCE,
            group: GroupSettings::default(),
            host,
        }
    }
}
